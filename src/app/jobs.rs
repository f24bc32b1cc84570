//! Wires the background loops: who looks and reports, and who does what requests leave behind.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sqlx::PgPool;

use super::{AppState, providers};
use crate::clients::alerts::Pager;
use crate::clients::health::Service;
use crate::clients::moyasar::{self, Moyasar};
use crate::clients::posthog::{self, Posthog};
use crate::clock::Clock;
use crate::config::{Config, Environment};
use crate::domain::health::{Finding, Need};
use crate::flows::breakers::follow_overrides::FollowOverrides;
use crate::flows::call_for_help::CallForHelp;
use crate::flows::deliver_events::DeliverEvents;
use crate::flows::health::check_health::{HealthChecks, Settled};
use crate::flows::settling::settle_event::SettleEvents;
use crate::jobs::call_for_help::CallForHelpJob;
use crate::jobs::check_health::CheckHealthJob;
use crate::jobs::deliver_events::DeliverEventsJob;
use crate::jobs::follow_overrides::FollowOverridesJob;
use crate::jobs::send_reports::SendReportsJob;
use crate::jobs::settle_events::SettleEventsJob;
use crate::jobs::upkeep::UpkeepJob;
use crate::jobs::watch_backlog::WatchBacklogJob;
use crate::wake::Wake;

/// The jobs that change nothing: they look and report, and run in a passive process too.
#[derive(Clone)]
pub(super) struct Watch {
    pub check_health: CheckHealthJob,
    pub upkeep: UpkeepJob,
    pub send_reports: SendReportsJob,
    pub backlog: WatchBacklogJob,
    pub follow_overrides: FollowOverridesJob,
}

/// Who does what requests leave behind. In mode `sync` they rest: events are settled in their requests,
/// and what is owed to analytics waits.
pub(super) fn workers(
    config: &Config,
    settle: Option<SettleEvents>,
    posthog: Option<Posthog>,
    db: &PgPool,
    wake: &Wake,
    clock: &Clock,
) -> (Option<SettleEventsJob>, Option<DeliverEventsJob>) {
    if !config.flags.new_queue_enabled {
        return (None, None);
    }
    let tick = Duration::from_millis(config.jobs.tick_ms);
    let settle_events = settle.map(|flow| SettleEventsJob {
        flow,
        concurrency: config.jobs.event_concurrency,
        tick,
    });
    let deliver_events = posthog.map(|posthog| DeliverEventsJob {
        flow: DeliverEvents {
            db: db.clone(),
            posthog,
            batch_size: config.posthog.batch_size.into(),
            lease: TimeDelta::seconds(config.jobs.lease_secs.into()),
            clock: clock.clone(),
        },
        bell: Arc::clone(&wake.outbox),
        tick,
    });
    (settle_events, deliver_events)
}

/// Who tells whoever is on call.
pub(super) fn call_for_help(config: &Config, state: &AppState) -> anyhow::Result<CallForHelpJob> {
    let AppState { db, clock, show_status, .. } = state.clone();
    let pager = Pager::new(&config.alerts, clock.clone())?;
    let environment = config.app.env.name();
    let seen = Arc::default();
    Ok(CallForHelpJob { flow: CallForHelp { db, show_status, pager, environment, clock, seen } })
}

pub(super) fn watch(
    config: &Config,
    state: &AppState,
    (moyasar, posthog): (Option<Moyasar>, Option<Posthog>),
) -> Watch {
    let AppState { db, clock, redis, letters, health, .. } = state.clone();
    let AppState { breakers, metrics, check_sentry, .. } = state.clone();
    let idle_after = Duration::from_secs(config.health.idle_probe_secs);
    let service = |name| {
        let breaker = breakers.get(name)?;
        Some(Arc::new(Service::new(Arc::clone(breaker), clock.clone(), idle_after)))
    };
    let checks = HealthChecks {
        redis,
        letters,
        moyasar: moyasar.zip(service(moyasar::CLIENT)),
        posthog: posthog.zip(service(posthog::CLIENT)),
        settled: settled(config),
        patience: Duration::from_millis(config.health.timeout_ms),
        board: health,
        clock: clock.clone(),
        db: db.clone(),
    };
    let interval = Duration::from_secs(config.health.interval_secs);
    let started = clock.monotonic();
    Watch {
        check_health: CheckHealthJob { checks, interval },
        backlog: WatchBacklogJob { db: db.clone(), clock: clock.clone() },
        follow_overrides: FollowOverridesJob { flow: FollowOverrides { db: db.clone(), breakers } },
        upkeep: UpkeepJob { metrics, db, clock, started },
        send_reports: SendReportsJob { sentry: check_sentry.sentry },
    }
}

/// What health makes of the settings alone.
fn settled(config: &Config) -> Settled {
    let need = match config.app.env {
        Environment::Production => Need::Required,
        Environment::Development | Environment::Test | Environment::Staging => Need::Optional,
    };
    let is_off = !config.posthog.enabled;
    Settled {
        llm_providers: Finding::of_providers(&providers(&config.llm), need),
        moyasar: Finding::without_key(need),
        posthog: if is_off { Finding::disabled() } else { Finding::without_key(need) },
    }
}
