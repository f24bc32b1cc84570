//! What a health check may find, how long a finding counts, and what the findings together mean.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// One thing that is checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Check {
    /// The database.
    Postgres,
    /// The store of dead letters.
    Redis,
    /// The language-model providers.
    LlmProviders,
    /// The payment provider.
    Moyasar,
    /// Product analytics.
    Posthog,
    /// Whether the schema is the one this binary expects.
    Migrations,
    /// The dead-letter queues.
    Dlq,
    /// The comparison of our books with the provider's.
    Reconciliation,
    /// The last backup.
    Backup,
}

impl Check {
    /// Every check, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Postgres,
        Self::Redis,
        Self::LlmProviders,
        Self::Moyasar,
        Self::Posthog,
        Self::Migrations,
        Self::Dlq,
        Self::Reconciliation,
        Self::Backup,
    ];

    /// The name in answers, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::LlmProviders => "llm_providers",
            Self::Moyasar => "moyasar",
            Self::Posthog => "posthog",
            Self::Migrations => "migrations",
            Self::Dlq => "dlq",
            Self::Reconciliation => "reconciliation",
            Self::Backup => "backup",
        }
    }

    /// Whether its failure is the failure of the whole.
    pub const fn is_vital(self) -> bool {
        match self {
            Self::Postgres | Self::Redis => true,
            Self::LlmProviders
            | Self::Moyasar
            | Self::Posthog
            | Self::Migrations
            | Self::Dlq
            | Self::Reconciliation
            | Self::Backup => false,
        }
    }
}

/// How one checked thing is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// All is well.
    Ok,
    /// It works, with a reservation.
    Degraded,
    /// It does not work.
    Fail,
    /// It is switched off, or not configured where it need not be.
    Disabled,
    /// It was not checked yet.
    Unknown,
}

impl Status {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Fail => "fail",
            Self::Disabled => "disabled",
            Self::Unknown => "unknown",
        }
    }
}

/// How the service as a whole is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Overall {
    /// All is well.
    Ok,
    /// It serves, but something needs a look.
    Degraded,
    /// It cannot do its work, or does not know yet whether it can.
    Fail,
}

impl Overall {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Fail => "fail",
        }
    }
}

/// Why a check failed, in a word that gives nothing away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorClass {
    /// No connection.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// Our credentials were refused.
    Auth,
    /// It failed so often that it is left alone for a while.
    BreakerOpen,
    /// It answered, but not with what was asked for.
    Refused,
}

impl ErrorClass {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Auth => "auth",
            Self::BreakerOpen => "breaker_open",
            Self::Refused => "refused",
        }
    }
}

/// What one run of a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How the checked thing is.
    pub status: Status,
    /// Why it failed: for everybody.
    pub error: Option<ErrorClass>,
    /// Why it is not ok although it answers, in a word of ours: for everybody.
    pub reason: Option<&'static str>,
    /// What it said: for administrators only.
    pub text: Option<String>,
    /// How long it took to answer, if it was asked and did.
    pub took: Option<Duration>,
    /// What else is worth showing.
    pub facts: Facts,
}

/// Whether something has to be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Without it we cannot do our work: in production.
    Required,
    /// We can do without it: anywhere else.
    Optional,
}

/// What only some checks can tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Facts {
    /// Nothing.
    None,
    /// The configured language-model providers, first choice first.
    Providers(Vec<String>),
    /// The state of the service's breaker.
    Breaker(&'static str),
    /// The dead-letter queues: how many letters are unresolved, the dead included, and how old the oldest
    /// is that is not dead.
    Queues { depth: u64, oldest_age: Option<Duration> },
    /// The migrations that the database lacks.
    MissingMigrations(Vec<i64>),
}

impl Finding {
    /// It answered, and well.
    pub fn ok(took: Duration) -> Self {
        Self { took: Some(took), ..Self::bare(Status::Ok) }
    }

    /// It failed.
    pub fn failed(error: ErrorClass, text: String) -> Self {
        Self { error: Some(error), text: Some(text), ..Self::bare(Status::Fail) }
    }

    /// Nobody wants it.
    pub fn disabled() -> Self {
        Self::bare(Status::Disabled)
    }

    /// Nobody can use it for want of a key.
    pub fn without_key(need: Need) -> Self {
        match need {
            Need::Required => Self {
                reason: Some("not_configured"),
                ..Self::failed(ErrorClass::Auth, "it has no key".to_owned())
            },
            Need::Optional => Self::disabled(),
        }
    }

    /// The language-model providers that have a key. The gateway to them is not built yet, so that
    /// with a key they are merely listed.
    pub fn of_providers(providers: &[String], need: Need) -> Self {
        let finding = if providers.is_empty() { Self::without_key(need) } else { Self::disabled() };
        Self { facts: Facts::Providers(providers.to_vec()), ..finding }
    }

    /// The dead-letter queues: letters that only a person can help, or that wait for long, need a look.
    pub fn of_letters(depth: u64, dead: u64, oldest_age: Option<Duration>, took: Duration) -> Self {
        let reason = if dead > 0 {
            Some("dead_letters")
        } else if oldest_age.is_some_and(|age| age > LONG_WAIT) {
            Some("long_wait")
        } else {
            None
        };
        let status = if reason.is_some() { Status::Degraded } else { Status::Ok };
        let text = reason.map(|_| format!("{depth} letters, {dead} of them dead"));
        let facts = Facts::Queues { depth, oldest_age };
        Self { status, reason, text, facts, ..Self::ok(took) }
    }

    /// A status and nothing else.
    pub fn bare(status: Status) -> Self {
        Self { status, error: None, reason: None, text: None, took: None, facts: Facts::None }
    }
}

/// A letter this old should have been settled by now: a failed event is tried again after ten minutes.
const LONG_WAIT: Duration = Duration::from_mins(15);

/// A finding and when it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// What was found.
    pub finding: Finding,
    /// The time of day at which the check ended.
    pub checked_at: DateTime<Utc>,
    /// The same moment, for ages.
    pub at: Instant,
}

/// A finding older than this many intervals says nothing any more.
const INTERVALS_UNTIL_STALE: u32 = 3;

impl Reading {
    /// How old it is.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }

    /// What it is worth at `now`: a check that stopped reporting counts as one that timed out.
    pub fn judged(&self, now: Instant, interval: Duration) -> Finding {
        if self.age(now) <= interval.saturating_mul(INTERVALS_UNTIL_STALE) {
            return self.finding.clone();
        }
        let text = format!("last answered {}s ago", self.age(now).as_secs());
        Finding { facts: self.finding.facts.clone(), ..Finding::failed(ErrorClass::Timeout, text) }
    }
}

/// What the checks mean together: a vital failure is a failure of the whole, anything else at
/// worst degrades it, and what is unknown cannot be vouched for.
pub fn overall(findings: impl IntoIterator<Item = (Check, Status)>) -> Overall {
    let weight = |(check, status): (Check, Status)| match status {
        Status::Ok | Status::Disabled => Overall::Ok,
        Status::Unknown => Overall::Fail,
        Status::Fail if check.is_vital() => Overall::Fail,
        Status::Fail | Status::Degraded => Overall::Degraded,
    };
    findings.into_iter().map(weight).max().unwrap_or(Overall::Fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_with(odd: Check, status: Status) -> Overall {
        overall(Check::ALL.map(|check| (check, if check == odd { status } else { Status::Ok })))
    }

    #[test]
    fn a_vital_failure_fails_the_whole_and_any_other_degrades_it() {
        for check in Check::ALL {
            let expected = if matches!(check, Check::Postgres | Check::Redis) {
                Overall::Fail
            } else {
                Overall::Degraded
            };
            assert_eq!(all_with(check, Status::Fail), expected, "{}", check.name());
        }
    }

    #[test]
    fn every_status_has_its_weight() {
        for check in Check::ALL {
            assert_eq!(all_with(check, Status::Ok), Overall::Ok);
            assert_eq!(all_with(check, Status::Degraded), Overall::Degraded);
            assert_eq!(all_with(check, Status::Disabled), Overall::Ok);
            assert_eq!(all_with(check, Status::Unknown), Overall::Fail);
        }
    }

    #[test]
    fn nothing_checked_is_nothing_vouched_for() {
        assert_eq!(overall([]), Overall::Fail);
    }

    #[test]
    fn a_finding_counts_for_three_intervals_to_the_instant() {
        let at = tokio::time::Instant::now().into_std();
        let checked_at = "2026-01-02T03:04:05Z".parse().unwrap();
        let facts = Facts::Breaker("closed");
        let finding = Finding { facts: facts.clone(), ..Finding::ok(Duration::from_millis(7)) };
        let reading = Reading { finding: finding.clone(), checked_at, at };
        let interval = Duration::from_secs(5);

        assert_eq!(reading.judged(at, interval), finding);
        assert_eq!(reading.judged(at + Duration::from_secs(15), interval), finding);
        let late = reading.judged(at + Duration::from_millis(15_001), interval);
        let expected = Finding::failed(ErrorClass::Timeout, "last answered 15s ago".to_owned());
        assert_eq!(late, Finding { facts, ..expected });
        assert_eq!(late.took, None);
        assert_eq!(reading.age(at + Duration::from_secs(2)), Duration::from_secs(2));
    }

    #[test]
    fn every_word_is_the_word_of_the_contract() {
        let names = Check::ALL.map(Check::name);
        let expected =
            "postgres redis llm_providers moyasar posthog migrations dlq reconciliation backup";
        assert_eq!(names.join(" "), expected);
        let statuses =
            [Status::Ok, Status::Degraded, Status::Fail, Status::Disabled, Status::Unknown];
        assert_eq!(statuses.map(Status::name).join(" "), "ok degraded fail disabled unknown");
        let overall = [Overall::Ok, Overall::Degraded, Overall::Fail];
        assert_eq!(overall.map(Overall::name).join(" "), "ok degraded fail");
        let classes = [
            ErrorClass::Unreachable,
            ErrorClass::Timeout,
            ErrorClass::Auth,
            ErrorClass::BreakerOpen,
            ErrorClass::Refused,
        ];
        let words = "unreachable timeout auth breaker_open refused";
        assert_eq!(classes.map(ErrorClass::name).join(" "), words);
    }

    #[test]
    fn each_kind_of_finding_says_what_it_means() {
        let took = Duration::from_millis(3);
        assert_eq!(Finding::ok(took).status, Status::Ok);
        assert_eq!(Finding::ok(took).took, Some(took));
        let failed = Finding::failed(ErrorClass::Auth, "no".to_owned());
        assert_eq!((failed.status, failed.error), (Status::Fail, Some(ErrorClass::Auth)));
        assert_eq!(failed.text.as_deref(), Some("no"));
        assert_eq!(Finding::disabled().status, Status::Disabled);
        assert_eq!(Finding::bare(Status::Degraded).status, Status::Degraded);
    }

    #[test]
    fn letters_need_a_look_when_they_are_dead_or_wait_for_long() {
        let (took, minute) = (Duration::from_millis(3), Duration::from_mins(1));
        let of = |depth, dead, age: Option<u32>| {
            Finding::of_letters(depth, dead, age.map(|minutes| minute * minutes), took)
        };
        let none = of(0, 0, None);
        assert_eq!((none.status, none.reason, none.took), (Status::Ok, None, Some(took)));
        assert_eq!(none.facts, Facts::Queues { depth: 0, oldest_age: None });
        assert_eq!((of(3, 0, Some(15)).status, of(3, 0, Some(15)).text), (Status::Ok, None));
        let old = of(3, 0, Some(16));
        assert_eq!((old.status, old.reason), (Status::Degraded, Some("long_wait")));
        let dead = of(1, 1, None);
        assert_eq!((dead.status, dead.reason), (Status::Degraded, Some("dead_letters")));
        assert_eq!(dead.text.as_deref(), Some("1 letters, 1 of them dead"));
    }

    #[test]
    fn a_missing_key_is_a_failure_only_where_it_is_needed() {
        let needed = Finding::without_key(Need::Required);
        assert_eq!((needed.status, needed.error), (Status::Fail, Some(ErrorClass::Auth)));
        assert_eq!(needed.reason, Some("not_configured"));
        assert_eq!(Finding::without_key(Need::Optional), Finding::disabled());

        let none = Finding::of_providers(&[], Need::Required);
        assert_eq!((none.status, none.facts), (Status::Fail, Facts::Providers(Vec::new())));
        assert_eq!(Finding::of_providers(&[], Need::Optional).status, Status::Disabled);
        let some = ["groq".to_owned()];
        let listed = Finding::of_providers(&some, Need::Required);
        assert_eq!(
            (listed.status, listed.facts),
            (Status::Disabled, Facts::Providers(some.into()))
        );
    }
}
