//! `--faults`: what webhooks and health answer while everything that can freeze is frozen.

use std::time::Duration;

use dealix_sandbox::{Fault, Service, Trouble};
use serde::Serialize;

use crate::bed::{Bed, Store, freeze, thaw};
use crate::clients::{client, open_checkouts};
use crate::load::{Answers, deliveries, pay, post, probe};
use crate::{abuse, report};

/// How long the load lasts; when within it the fault begins, and how long that lasts.
const SPAN: Duration = Duration::from_secs(20);
const FROM: Duration = Duration::from_secs(4);
const FAULT: Duration = Duration::from_secs(12);

/// No answer may take longer, whatever is frozen.
const LIMIT_MS: f64 = 2_000.0;

/// The process may not grow beyond this under any load; idle it holds about a tenth.
const MEMORY_LIMIT_MIB: f64 = 300.0;

/// An open breaker of the provider waits a minute before it lets a probe through.
const PATIENCE: Duration = Duration::from_secs(150);

/// A body that anybody could send: well-formed, with a secret of nobody's.
const FORGED: &str = r#"{"id":"66c164e7-c859-40d2-a844-c762939ae232","type":"payment_paid","created_at":"2026-11-20T09:00:00Z","secret_token":"a-secret-that-nobody-agreed-on","live":false,"data":{"id":"0d6a5a4e-5f0e-4b0e-9b0e-0d6a5a4e5f0e","status":"paid","amount":99000}}"#;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Scenario {
    name: &'static str,
    about: &'static str,
    stores: &'static [Store],
    outside: bool,
    abuse: bool,
    per_second: u32,
}

const STEADY: Scenario = Scenario {
    name: "steady",
    about: "nothing is wrong",
    stores: &[],
    outside: false,
    abuse: false,
    per_second: 200,
};

const SCENARIOS: [Scenario; 6] = [
    STEADY,
    Scenario {
        name: "postgres",
        about: "every process of Postgres is stopped",
        stores: &[Store::Postgres],
        ..STEADY
    },
    Scenario { name: "redis", about: "Redis is stopped", stores: &[Store::Redis], ..STEADY },
    Scenario {
        name: "both",
        about: "both stores are stopped; the provider sends again",
        stores: &[Store::Postgres, Store::Redis],
        ..STEADY
    },
    Scenario {
        name: "outside",
        about: "Moyasar and PostHog accept and never answer",
        outside: true,
        ..STEADY
    },
    Scenario {
        name: "abuse",
        about: "5,000 idle connections, 200 that send a byte a second, 2,000 forged webhooks a second",
        abuse: true,
        per_second: 50,
        ..STEADY
    },
];

/// What a scenario came to.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub name: &'static str,
    pub about: &'static str,
    pub webhooks: Answers,
    pub health: Answers,
    pub deep_health: Answers,
    pub forged: Option<Answers>,
    pub sent: u64,
    pub applied: u64,
    /// From the last webhook's intended time until all were applied.
    pub settled_after_s: f64,
    pub peak_mib: Option<f64>,
    pub verdicts: Vec<Verdict>,
}

/// A promise, and whether it was kept.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub promise: String,
    pub is_kept: bool,
}

/// Runs all of them, or one.
pub async fn run(only: Option<&str>) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let chosen = SCENARIOS.iter().filter(|scenario| only.is_none_or(|only| only == scenario.name));
    for scenario in chosen {
        eprintln!("{}: {}", scenario.name, scenario.about);
        let outcome = play(scenario).await?;
        eprint!("{}", report::table(&outcome));
        outcomes.push(outcome);
    }
    anyhow::ensure!(!outcomes.is_empty(), "there is no such scenario");
    Ok(outcomes)
}

async fn play(scenario: &Scenario) -> anyhow::Result<Outcome> {
    let mut bed = Bed::make().await?;
    let count = usize::try_from(SPAN.as_secs() * u64::from(scenario.per_second))?;
    let invoices = open_checkouts(&bed, count).await?;
    eprintln!("  {count} checkouts are open; {} s of load begin", SPAN.as_secs());

    let crowd = scenario.abuse.then(|| abuse::begin(bed.url.trim_start_matches("http://")));
    let health = probe(client()?, format!("{}/health", bed.url), SPAN);
    let deep = probe(client()?, format!("{}/health/deep", bed.url), SPAN);
    let webhook = format!("{}/api/v1/webhooks/moyasar", bed.url);
    let forging = async {
        if scenario.abuse {
            return anyhow::Ok(Some(post(client()?, webhook, FORGED, 2_000, SPAN).await));
        }
        Ok(None)
    };
    let paying = pay(&bed, &invoices, scenario.per_second);
    let (intended, health, deep, forged, hurt) =
        tokio::join!(paying, health, deep, forging, hurt(&bed, scenario));
    let (intended, forged) = (intended?, forged?);
    hurt?;
    drop(crowd);
    eprintln!("  the load is over; waiting until every payment is applied");

    let sent = intended.len() as u64;
    let paid = "select count(*) from payment_effects where effect = 'granted'";
    let settled_after = bed.until(paid, sent, PATIENCE).await?;
    // What still comes is a repetition.
    bed.sandbox.concluded().await;
    let applied = bed.count(paid).await?;
    let mut outcome = Outcome {
        name: scenario.name,
        about: scenario.about,
        webhooks: Answers::of(deliveries(&bed, &intended)),
        health: Answers::of(health),
        deep_health: Answers::of(deep),
        forged: forged.map(Answers::of),
        sent,
        applied,
        settled_after_s: settled_after.as_secs_f64(),
        peak_mib: bed
            .peak_kib()
            .map(|kib| f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0),
        verdicts: Vec::new(),
    };
    outcome.verdicts = judge(scenario, &outcome, bed.is_alive());
    Ok(outcome)
}

/// Breaks what the scenario breaks, and mends it again, whatever happens in between.
async fn hurt(bed: &Bed, scenario: &Scenario) -> anyhow::Result<()> {
    tokio::time::sleep(FROM).await;
    for store in scenario.stores {
        freeze(*store).await?;
    }
    if scenario.outside {
        bed.sandbox.fault(Fault::before(Service::Moyasar, Trouble::Hang));
        bed.sandbox.fault(Fault::before(Service::Posthog, Trouble::Hang));
    }
    tokio::time::sleep(FAULT).await;
    for store in scenario.stores {
        thaw(*store).await?;
    }
    bed.sandbox.clear_faults();
    Ok(())
}

fn judge(scenario: &Scenario, outcome: &Outcome, is_alive: bool) -> Vec<Verdict> {
    let Outcome { webhooks, health, deep_health, .. } = outcome;
    let verdict = |is_kept: bool, promise: &str| Verdict { promise: promise.to_owned(), is_kept };
    let is_quick = |answers: &Answers| answers.with("none") == 0 && answers.max_ms <= LIMIT_MS;
    let has_both_down = scenario.stores.len() == 2;
    let (taken, refused) = (webhooks.with("200"), webhooks.with("503"));
    let mut verdicts = vec![
        verdict(is_quick(webhooks), "every webhook is answered within 2 s"),
        verdict(
            is_quick(health) && is_quick(deep_health),
            "every health probe is answered within 2 s",
        ),
        if has_both_down {
            let is_so = refused > 0 && taken + refused == webhooks.count;
            verdict(is_so, "200 or 503, and 503 while both stores are down")
        } else {
            verdict(taken == webhooks.count, "every webhook is answered 200")
        },
        verdict(outcome.applied == outcome.sent, "every payment is applied, once"),
        verdict(is_alive, "the process lives"),
        verdict(
            outcome.peak_mib.is_none_or(|mib| mib <= MEMORY_LIMIT_MIB),
            "its memory stays below 300 MiB",
        ),
    ];
    if let Some(forged) = &outcome.forged {
        verdicts.push(verdict(
            forged.with("401") == forged.count,
            "every forged webhook is refused with 401",
        ));
    }
    verdicts
}
