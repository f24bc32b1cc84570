//! What goes wrong on demand: which fault applies to which request, delivery or payment. How it is played lives elsewhere.

mod wire;

use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::operations::{Operation, Service};
use crate::world::lock;

/// Names a fault that was armed, for reading it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct FaultId(pub u64);

/// Which requests a [`Trouble`] meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultScope {
    /// Every operation of one service.
    Service(Service),
    /// One operation.
    Operation(Operation),
}

impl From<Service> for FaultScope {
    fn from(service: Service) -> Self {
        Self::Service(service)
    }
}

impl From<Operation> for FaultScope {
    fn from(operation: Operation) -> Self {
        Self::Operation(operation)
    }
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It takes this much longer.
    Latency(Duration),
    /// It is never answered.
    Hang,
    /// It is answered with this status and the body documented for it.
    Status {
        /// Any code, 400 to 599 make most sense.
        code: u16,
        /// The `Retry-After` header in seconds.
        retry_after: Option<u64>,
    },
    /// The connection is reset.
    Reset,
    /// It is answered 200 with JSON that breaks off.
    Malformed,
}

impl Trouble {
    /// An answer with this status and no `Retry-After`.
    pub const fn status(code: u16) -> Self {
        Self::Status { code, retry_after: None }
    }
}

/// What happens to a webhook delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mischief {
    /// It is lost.
    Drop,
    /// It is sent this many times more.
    Duplicate(u32),
    /// It is held back until `flush`, which sends the newest first.
    Reorder,
    /// Its first attempt comes this much later; the time scale does not apply.
    Delay(Duration),
    /// Its body carries a wrong `secret_token`.
    WrongToken,
    /// Its body claims another amount than the payment has.
    Tamper {
        /// The forged amount in the smallest unit.
        amount: i64,
    },
}

/// What happens to a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Twist {
    /// Its invoice takes money although it is expired, canceled or paid.
    Late,
    /// It charges something else than the invoice asks for.
    Charge {
        /// Another amount in the smallest unit.
        amount: Option<i64>,
        /// Another currency.
        currency: Option<String>,
    },
}

/// When a trouble strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum When {
    #[default]
    Before,
    After,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Request { scope: FaultScope, trouble: Trouble, when: When },
    Delivery(Mischief),
    Payment(Twist),
}

/// Something that goes wrong, for as often as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    kind: Kind,
    times: Option<u32>,
}

impl Fault {
    /// The request fails and has no effect.
    pub fn before(scope: impl Into<FaultScope>, trouble: Trouble) -> Self {
        Self::lasting(Kind::Request { scope: scope.into(), trouble, when: When::Before })
    }

    /// The request has its effect, then its answer fails.
    pub fn after(scope: impl Into<FaultScope>, trouble: Trouble) -> Self {
        Self::lasting(Kind::Request { scope: scope.into(), trouble, when: When::After })
    }

    /// A webhook delivery goes astray.
    pub fn delivery(mischief: Mischief) -> Self {
        Self::lasting(Kind::Delivery(mischief))
    }

    /// A payment goes another way than the invoice says.
    pub fn payment(twist: Twist) -> Self {
        Self::lasting(Kind::Payment(twist))
    }

    /// Ends after `times` uses instead of lasting until it is cleared.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Ends after one use.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    fn lasting(kind: Kind) -> Self {
        Self { kind, times: None }
    }
}

#[derive(Debug)]
struct Armed {
    id: FaultId,
    fault: Fault,
    fired: u32,
}

impl Armed {
    fn is_spent(&self) -> bool {
        self.fault.times.is_some_and(|times| self.fired >= times)
    }
}

/// What meets one request.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) latency_before: Duration,
    pub(crate) before: Option<Trouble>,
    pub(crate) latency_after: Duration,
    pub(crate) after: Option<Trouble>,
}

/// The faults that are armed.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Mutex<(u64, Vec<Armed>)>,
}

impl Faults {
    pub(crate) fn arm(&self, fault: Fault) -> FaultId {
        let mut armed = lock(&self.armed);
        armed.0 += 1;
        let id = FaultId(armed.0);
        armed.1.push(Armed { id, fault, fired: 0 });
        id
    }

    pub(crate) fn clear(&self) {
        lock(&self.armed).1.clear();
    }

    /// Takes what meets this request: all latencies add up, and the first other trouble of each side wins.
    pub(crate) fn take_for_request(&self, operation: Operation) -> Plan {
        let mut plan = Plan::default();
        self.take(|kind| {
            let Kind::Request { scope, trouble, when } = kind else { return false };
            let meets = match scope {
                FaultScope::Service(service) => *service == operation.service(),
                FaultScope::Operation(one) => *one == operation,
            };
            if !meets {
                return false;
            }
            let (latency, slot) = match when {
                When::Before => (&mut plan.latency_before, &mut plan.before),
                When::After => (&mut plan.latency_after, &mut plan.after),
            };
            match trouble {
                Trouble::Latency(more) => {
                    *latency += *more;
                    true
                }
                Trouble::Hang | Trouble::Status { .. } | Trouble::Reset | Trouble::Malformed => {
                    let is_free = slot.is_none();
                    slot.get_or_insert_with(|| trouble.clone());
                    is_free
                }
            }
        });
        plan
    }

    pub(crate) fn take_for_delivery(&self) -> Vec<Mischief> {
        let mut taken = Vec::new();
        self.take(|kind| {
            if let Kind::Delivery(mischief) = kind {
                taken.push(mischief.clone());
            }
            matches!(kind, Kind::Delivery(_))
        });
        taken
    }

    pub(crate) fn take_for_payment(&self) -> Vec<Twist> {
        let mut taken = Vec::new();
        self.take(|kind| {
            if let Kind::Payment(twist) = kind {
                taken.push(twist.clone());
            }
            matches!(kind, Kind::Payment(_))
        });
        taken
    }

    /// Offers every fault that is not spent; `uses` says which ones were used.
    fn take(&self, mut uses: impl FnMut(&Kind) -> bool) {
        for armed in &mut lock(&self.armed).1 {
            if !armed.is_spent() && uses(&armed.fault.kind) {
                armed.fired += 1;
            }
        }
    }

    /// All faults since the last clearing, spent ones included, in the shape that arms them.
    pub(crate) fn to_json(&self) -> Value {
        lock(&self.armed)
            .1
            .iter()
            .map(|armed| {
                let mut shown = armed.fault.to_json();
                if let Some(fields) = shown.as_object_mut() {
                    fields.insert("id".to_owned(), json!(armed.id));
                    fields.insert("fired".to_owned(), json!(armed.fired));
                }
                shown
            })
            .collect()
    }
}
