//! Wires the two stores of the webhook and what moves between them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::TimeDelta;
use sqlx::PgPool;
use uuid::Uuid;

use crate::clients::moyasar::secrets::WebhookSecrets;
use crate::clients::moyasar::{Mode, Moyasar};
use crate::clients::posthog::Posthog;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::funnel::Analytics;
use crate::flows::letters::adopt_old_lists::AdoptOldLists;
use crate::flows::letters::debts::Debts;
use crate::flows::letters::hand_over::HandOver;
use crate::flows::letters::hand_over_refused::HandOverRefused;
use crate::flows::letters::notice_loss::NoticeLoss;
use crate::flows::letters::operate::Operate;
use crate::flows::letters::owed_analytics::OwedAnalytics;
use crate::flows::letters::owed_event::OwedEvents;
use crate::flows::letters::redrives::Redrives;
use crate::flows::letters::replay_letter::{Holds, ReplayLetters};
use crate::flows::settling::company::Company;
use crate::flows::settling::settle_event::SettleEvents;
use crate::flows::webhooks::commit_events::commit_queue;
use crate::flows::webhooks::inbox::Inbox;
use crate::flows::webhooks::quarantine::quarantine;
use crate::jobs::Step;
use crate::jobs::adopt_old_lists::AdoptOldListsJob;
use crate::jobs::commit_events::CommitEventsJob;
use crate::jobs::hand_over::HandOverJob;
use crate::jobs::keep_quarantine::KeepQuarantineJob;
use crate::jobs::redrive::RedriveJob;
use crate::jobs::replay_letters::ReplayLettersJob;
use crate::jobs::tidy_letters::TidyLettersJob;
use crate::queue::{Letters, Queue, Redis};
use crate::tasks::Tasks;
use crate::telemetry::BUILD;
use crate::wake::Wake;

/// What the keys in Redis begin with.
const PREFIX: &str = "dealix";

/// What the wiring needs of the rest of the house.
pub(super) struct Surroundings<'a> {
    pub config: &'a Config,
    pub db: PgPool,
    pub redis: Redis,
    /// Another prefix of keys, in tests.
    pub redis_prefix: Option<String>,
    /// None without a key at the payment provider; none where analytics is switched off.
    pub clients: (Option<Moyasar>, Option<Posthog>),
    pub analytics: Analytics,
    pub clock: Clock,
    pub wake: Wake,
    pub tasks: Tasks,
}

/// The webhook's side of the house.
pub(super) struct Parts {
    pub inbox: Arc<Inbox>,
    /// None without a key at the payment provider: there is nothing to settle.
    pub settle: Option<SettleEvents>,
    pub letters: Letters,
    pub operate: Operate,
    pub commit_events: CommitEventsJob,
    pub keep_quarantine: KeepQuarantineJob,
    pub letter_jobs: LetterJobs,
}

/// The jobs that look after dead letters.
#[derive(Clone)]
pub(super) struct LetterJobs {
    hand_over: HandOverJob,
    tidy_letters: TidyLettersJob,
    adopt_old_lists: AdoptOldListsJob,
    redrive: RedriveJob,
    /// None in mode `sync`, in which the automatic replay rests.
    replay_letters: Vec<ReplayLettersJob>,
}

impl LetterJobs {
    /// Starts all of them.
    pub fn start(&self, tasks: &Tasks) {
        let Self { hand_over, tidy_letters, adopt_old_lists, redrive, replay_letters } =
            self.clone();
        tasks.start("hand_over", |stop| hand_over.run(stop));
        tasks.start("tidy_letters", |stop| tidy_letters.run(stop));
        tasks.start("adopt_old_lists", |stop| adopt_old_lists.run(stop));
        tasks.start("redrive", |stop| redrive.run(stop));
        for job in replay_letters {
            tasks.start("replay_letters", |stop| job.run(stop));
        }
    }

    /// Runs one step of each.
    pub async fn step(&self) -> anyhow::Result<Step> {
        let mut step = Box::pin(self.hand_over.step()).await?;
        step = step.or(self.tidy_letters.step().await?);
        step = step.or(Box::pin(self.adopt_old_lists.step()).await?);
        step = step.or(Box::pin(self.redrive.step()).await?);
        for job in &self.replay_letters {
            step = step.or(Box::pin(job.step()).await?);
        }
        Ok(step)
    }
}

pub(super) fn wire(house: Surroundings<'_>) -> anyhow::Result<Parts> {
    let Surroundings { config, db, redis, redis_prefix, analytics, .. } = house;
    let Surroundings { clock, wake, tasks, clients: (moyasar, posthog), .. } = house;
    let (process, lease) = (Uuid::new_v4(), TimeDelta::seconds(config.jobs.lease_secs.into()));
    let mode = moyasar.as_ref().map_or(Mode::Test, Moyasar::mode);
    let company = Company::default();
    let settle = moyasar.map(|moyasar| SettleEvents {
        db: db.clone(),
        moyasar,
        analytics,
        lease,
        process,
        company: company.clone(),
        clock: clock.clone(),
        wake: wake.clone(),
    });
    let prefix = redis_prefix.as_deref().unwrap_or(PREFIX);
    let letters = Letters::new(redis, prefix, process, BUILD.commit);
    let max_retries = config.dlq.max_retries;
    let is_async = config.flags.new_queue_enabled;
    let (commits, commit_events) = commit_queue(db.clone(), clock.clone(), wake.clone());
    let (offered, keep_quarantine) = quarantine(db.clone(), clock.clone());
    let inbox = Arc::new(Inbox {
        secrets: WebhookSecrets::new(&config.moyasar),
        mode,
        commits,
        quarantine: offered,
        letters: letters.clone(),
        max_retries,
        settle_at_once: settle.clone().filter(|_| !is_async),
        clock: clock.clone(),
        wake: wake.clone(),
        tasks: tasks.clone(),
    });
    let hand_over = HandOverJob {
        events: HandOver {
            db: db.clone(),
            letters: letters.clone(),
            analytics,
            max_retries,
            clock: clock.clone(),
            wake: wake.clone(),
        },
        refused: HandOverRefused {
            db: db.clone(),
            letters: letters.clone(),
            max_retries,
            clock: clock.clone(),
        },
        loss: NoticeLoss { db: db.clone(), letters: letters.clone(), clock: clock.clone() },
    };
    let tidy_letters = TidyLettersJob { letters: letters.clone(), clock: clock.clone() };
    let adopt_old_lists = AdoptOldLists {
        letters: letters.clone(),
        max_retries,
        clock: clock.clone(),
        progress: Arc::default(),
    };
    let owed_events = OwedEvents {
        has_workers: is_async,
        db: db.clone(),
        settle: settle.clone(),
        mode,
        analytics,
        clock: clock.clone(),
        wake,
    };
    let replay = Arc::new(ReplayLetters {
        letters: letters.clone(),
        debts: Debts::new(company).with(Queue::Webhooks, owed_events).with(
            Queue::Analytics,
            OwedAnalytics { db: db.clone(), posthog, clock: clock.clone() },
        ),
        lease,
        batch: usize::try_from(config.dlq.drain_batch_size).context("dlq.drain_batch_size")?,
        clock: clock.clone(),
        holds: Holds::default(),
    });
    let redrives = Redrives { db: db.clone(), replay: Arc::clone(&replay), clock: clock.clone() };
    let redrive = RedriveJob { flow: redrives.clone() };
    let (operated, its_replay) = (letters.clone(), Arc::clone(&replay));
    let operate = Operate { db, letters: operated, replay: its_replay, redrives, tasks, clock };
    let replay_letters =
        if is_async { replayed_by_themselves(config, &replay) } else { Vec::new() };
    Ok(Parts {
        inbox,
        settle,
        letters,
        operate,
        commit_events: CommitEventsJob { flow: commit_events },
        keep_quarantine: KeepQuarantineJob { flow: keep_quarantine },
        letter_jobs: LetterJobs {
            hand_over,
            tidy_letters,
            adopt_old_lists: AdoptOldListsJob { flow: adopt_old_lists },
            redrive,
            replay_letters,
        },
    })
}

/// A loop for each queue whose letters somebody can settle.
fn replayed_by_themselves(config: &Config, replay: &Arc<ReplayLetters>) -> Vec<ReplayLettersJob> {
    let tick = Duration::from_millis(config.jobs.tick_ms);
    let with_handler = Queue::ALL.into_iter().filter(|queue| replay.debts.has_handler(*queue));
    with_handler.map(|queue| ReplayLettersJob { flow: Arc::clone(replay), queue, tick }).collect()
}
