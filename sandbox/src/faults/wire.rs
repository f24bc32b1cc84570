//! The JSON shape in which faults are armed and shown under `/_sandbox/faults`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fault, FaultScope, Kind, Mischief, Trouble, Twist, When};
use crate::operations::{Operation, Service};

/// The wire shape of a fault. Exactly one thing may go wrong per fault.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRequest {
    service: String,
    #[serde(default = "any")]
    operation: String,
    fault: FaultBody,
    times: Option<u32>,
}

fn any() -> String {
    "*".to_owned()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FaultBody {
    when: When,
    latency_ms: Option<u64>,
    hang: Option<bool>,
    status: Option<u16>,
    retry_after: Option<u64>,
    reset: Option<bool>,
    malformed: Option<bool>,
    late_payment: Option<bool>,
    charge: Option<ChargeBody>,
    drop: Option<bool>,
    duplicate: Option<u32>,
    reorder: Option<bool>,
    delay_ms: Option<u64>,
    wrong_token: Option<bool>,
    tamper: Option<TamperBody>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChargeBody {
    amount: Option<i64>,
    currency: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TamperBody {
    amount: i64,
}

enum Wanted {
    Trouble(Trouble),
    Mischief(Mischief),
    Twist(Twist),
}

impl FaultBody {
    fn wanted(self) -> Result<Wanted, String> {
        let is_on = |flag: Option<bool>| flag == Some(true);
        let mut wanted = Vec::new();
        if let Some(ms) = self.latency_ms {
            wanted.push(Wanted::Trouble(Trouble::Latency(Duration::from_millis(ms))));
        }
        if let Some(code) = self.status {
            if !(200..=599).contains(&code) {
                return Err(format!("{code} is no status: give 200 to 599"));
            }
            wanted.push(Wanted::Trouble(Trouble::Status { code, retry_after: self.retry_after }));
        }
        if let Some(charge) = self.charge {
            let (amount, currency) = (charge.amount, charge.currency);
            wanted.push(Wanted::Twist(Twist::Charge { amount, currency }));
        }
        if let Some(copies) = self.duplicate {
            wanted.push(Wanted::Mischief(Mischief::Duplicate(copies)));
        }
        if let Some(ms) = self.delay_ms {
            wanted.push(Wanted::Mischief(Mischief::Delay(Duration::from_millis(ms))));
        }
        if let Some(tamper) = self.tamper {
            wanted.push(Wanted::Mischief(Mischief::Tamper { amount: tamper.amount }));
        }
        for (flag, meaning) in [
            (self.hang, Wanted::Trouble(Trouble::Hang)),
            (self.reset, Wanted::Trouble(Trouble::Reset)),
            (self.malformed, Wanted::Trouble(Trouble::Malformed)),
            (self.late_payment, Wanted::Twist(Twist::Late)),
            (self.drop, Wanted::Mischief(Mischief::Drop)),
            (self.reorder, Wanted::Mischief(Mischief::Reorder)),
            (self.wrong_token, Wanted::Mischief(Mischief::WrongToken)),
        ] {
            if is_on(flag) {
                wanted.push(meaning);
            }
        }
        match (wanted.pop(), wanted.is_empty()) {
            (Some(one), true) => Ok(one),
            (_, _) => Err("a fault says exactly one thing that goes wrong".to_owned()),
        }
    }
}

impl Fault {
    /// Reads the wire shape; the error says what to write instead.
    pub(crate) fn from_json(body: &[u8]) -> Result<Self, String> {
        let request: FaultRequest =
            serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let when = request.fault.when;
        let service = match request.service.as_str() {
            "moyasar" => Some(Service::Moyasar),
            "posthog" => Some(Service::Posthog),
            "sentry" => Some(Service::Sentry),
            "pager" => Some(Service::Pager),
            "webhook" => None,
            other => {
                return Err(format!("no service `{other}`: moyasar, posthog, sentry, webhook"));
            }
        };
        let operation = match request.operation.as_str() {
            "*" => None,
            name => Some(
                Operation::ALL
                    .iter()
                    .copied()
                    .find(|one| one.name() == name && Some(one.service()) == service)
                    .ok_or_else(|| format!("`{}` has no operation `{name}`", request.service))?,
            ),
        };
        let kind = match (request.fault.wanted()?, service, operation) {
            (Wanted::Trouble(trouble), Some(_), Some(operation)) => {
                Kind::Request { scope: operation.into(), trouble, when }
            }
            (Wanted::Trouble(trouble), Some(service), None) => {
                Kind::Request { scope: service.into(), trouble, when }
            }
            (Wanted::Mischief(mischief), None, None) => Kind::Delivery(mischief),
            (Wanted::Twist(twist), Some(_), Some(Operation::PayInvoice)) => Kind::Payment(twist),
            (Wanted::Trouble(_) | Wanted::Mischief(_) | Wanted::Twist(_), _, _) => {
                return Err("this fault does not fit there: late_payment and charge need pay_invoice; \
                     drop, duplicate, reorder, delay_ms, wrong_token and tamper need the service webhook; \
                     the others need moyasar, posthog or sentry"
                    .to_owned());
            }
        };
        Ok(Self { kind, times: request.times })
    }

    /// The shape that arms this fault.
    pub(super) fn to_json(&self) -> Value {
        let (service, operation, fault) = match &self.kind {
            Kind::Request { scope, trouble, when } => {
                let (service, operation) = match scope {
                    FaultScope::Service(service) => (json!(service), "*"),
                    FaultScope::Operation(one) => (json!(one.service()), one.name()),
                };
                let mut fault = match trouble {
                    Trouble::Latency(more) => json!({"latency_ms": more.as_millis()}),
                    Trouble::Hang => json!({"hang": true}),
                    Trouble::Status { code, retry_after: None } => json!({"status": code}),
                    Trouble::Status { code, retry_after } => {
                        json!({"status": code, "retry_after": retry_after})
                    }
                    Trouble::Reset => json!({"reset": true}),
                    Trouble::Malformed => json!({"malformed": true}),
                };
                if let Some(fields) = fault.as_object_mut() {
                    let when = match when {
                        When::Before => "before",
                        When::After => "after",
                    };
                    fields.insert("when".to_owned(), json!(when));
                }
                (service, operation, fault)
            }
            Kind::Delivery(mischief) => {
                let fault = match mischief {
                    Mischief::Drop => json!({"drop": true}),
                    Mischief::Duplicate(copies) => json!({"duplicate": copies}),
                    Mischief::Reorder => json!({"reorder": true}),
                    Mischief::Delay(wait) => json!({"delay_ms": wait.as_millis()}),
                    Mischief::WrongToken => json!({"wrong_token": true}),
                    Mischief::Tamper { amount } => json!({"tamper": {"amount": amount}}),
                };
                (json!("webhook"), "*", fault)
            }
            Kind::Payment(twist) => {
                let fault = match twist {
                    Twist::Late => json!({"late_payment": true}),
                    Twist::Charge { amount, currency } => {
                        json!({"charge": {"amount": amount, "currency": currency}})
                    }
                };
                (json!(Service::Moyasar), Operation::PayInvoice.name(), fault)
            }
        };
        json!({"service": service, "operation": operation, "fault": fault, "times": self.times})
    }
}
