//! The one screen: what is wrong, worst first, whom it concerns, how much money it holds up, and the
//! one thing to do next. From facts that somebody else has gathered; the words are in `words`.

use std::cmp::Reverse;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::domain::checkout::CheckoutId;
use crate::domain::health::ErrorClass;
use crate::domain::money::{Halalas, Riyals};

mod words;

/// An event is usually settled within a second.
const EVENTS_WAIT: TimeDelta = TimeDelta::minutes(1);
/// A checkout whose invoice nobody knows of is looked up after a minute.
const DOUBT_LASTS: TimeDelta = TimeDelta::minutes(5);
/// What is due at the provider is asked within seconds.
const LOOKS_WAIT: TimeDelta = TimeDelta::minutes(10);
/// Analytics hears of everything within a minute.
const OUTBOX_WAITS: TimeDelta = TimeDelta::minutes(10);
/// A letter that failed once is tried again before. One that waits longer has failed again, or what it
/// needs is away.
const LETTERS_WAIT: TimeDelta = TimeDelta::minutes(15);
/// So many letters in a queue are too many, however young they are.
const MANY_LETTERS: u64 = 1_000;
/// So many refused webhooks in an hour are no accident.
const MANY_REFUSED: u64 = 100;
/// Checkouts that are named for one problem.
const NAMED: usize = 20;

/// What is known at one moment; what could not be found out is a fact as well.
#[derive(Clone, Debug)]
pub struct Facts {
    pub now: DateTime<Utc>,
    /// Whether the API itself does not answer, so that somebody else asks.
    pub is_api_down: bool,
    pub postgres: Result<Books, ErrorClass>,
    pub redis: Result<Letters, ErrorClass>,
    /// The breakers that are open or half open; unknown to anybody but the API.
    pub breakers: Vec<OpenBreaker>,
}

/// What Postgres tells.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// The migrations that it lacks; with any, nothing else of it is known.
    pub missing_migrations: Vec<i64>,
    /// How many questions to a person are open.
    pub open_questions: u64,
    /// The oldest of them.
    pub questions: Vec<Question>,
    /// Events that nobody has settled yet, those that failed included.
    pub events: Pile,
    /// What the oldest of them claim.
    pub claims: Vec<Claim>,
    /// Checkouts of which nobody knows whether there is an invoice.
    pub in_doubt: Pile,
    pub in_doubt_ids: Vec<CheckoutId>,
    /// Checkouts about which the provider should have been asked.
    pub overdue_looks: Pile,
    /// What analytics was not told yet.
    pub outbox: Pile,
    /// What analytics will not have.
    pub outbox_refused: u64,
    /// Webhooks that did not carry our secret, in the last hour.
    pub refused_webhooks: u64,
}

/// How many there are, and since when the oldest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pile {
    pub number: u64,
    pub oldest_at: Option<DateTime<Utc>>,
}

/// A question to a person that is open.
#[derive(Clone, Debug)]
pub struct Question {
    pub id: uuid::Uuid,
    pub opened_at: DateTime<Utc>,
    pub payment_id: Option<String>,
    pub checkout_id: Option<CheckoutId>,
    /// Whether money was taken and nothing was granted for it.
    pub is_held: bool,
    /// What is left of the payment.
    pub amount: Halalas,
}

/// What an event that nobody has settled says of a payment that nobody has recorded. It decides nothing;
/// it tells how much may be waiting.
#[derive(Clone, Debug)]
pub struct Claim {
    pub event_id: uuid::Uuid,
    pub checkout_id: Option<CheckoutId>,
    pub amount: Halalas,
}

/// What Redis tells.
#[derive(Clone, Debug, Default)]
pub struct Letters {
    /// Why what it acknowledges may be lost.
    pub flaw: Option<&'static str>,
    pub queues: Vec<QueueFacts>,
}

/// One queue of dead letters.
#[derive(Clone, Debug)]
pub struct QueueFacts {
    pub name: &'static str,
    pub depth: u64,
    pub dead: u64,
    /// When the oldest was made that is not dead.
    pub oldest_at: Option<DateTime<Utc>>,
    /// In which ways the dead failed: the first few.
    pub dead_groups: Vec<DeadGroup>,
}

/// Entries that failed in the same way, some of which were given up.
#[derive(Clone, Debug)]
pub struct DeadGroup {
    pub fingerprint: String,
    pub error_class: String,
    /// When the first of them was given up.
    pub since: DateTime<Utc>,
}

/// A service that is not called.
#[derive(Clone, Debug)]
pub struct OpenBreaker {
    pub name: &'static str,
    pub since: Option<DateTime<Utc>>,
}

/// What can be wrong, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProblemKind)]
pub enum Kind {
    ApiDown,
    PostgresAway,
    RedisAway,
    RedisNotDurable,
    MigrationsMissing,
    PaidNotGranted,
    EventsWaiting,
    CheckoutsInDoubt,
    LettersDead,
    ReviewsOpen,
    BreakerOpen,
    LettersWaiting,
    LooksOverdue,
    OutboxRefused,
    OutboxWaiting,
    WebhooksRefused,
}

impl Kind {
    /// The name in answers, alerts and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiDown => "api_down",
            Self::PostgresAway => "postgres_away",
            Self::RedisAway => "redis_away",
            Self::RedisNotDurable => "redis_not_durable",
            Self::MigrationsMissing => "migrations_missing",
            Self::PaidNotGranted => "paid_not_granted",
            Self::EventsWaiting => "events_waiting",
            Self::CheckoutsInDoubt => "checkouts_in_doubt",
            Self::LettersDead => "letters_dead",
            Self::ReviewsOpen => "reviews_open",
            Self::BreakerOpen => "breaker_open",
            Self::LettersWaiting => "letters_waiting",
            Self::LooksOverdue => "looks_overdue",
            Self::OutboxRefused => "outbox_refused",
            Self::OutboxWaiting => "outbox_waiting",
            Self::WebhooksRefused => "webhooks_refused",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = StatusProblem)]
pub struct Problem {
    pub kind: Kind,
    /// The queue or the service that it is about, or the first id to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("webhooks"))]
    pub about: Option<String>,
    /// Since when, as far as anybody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// How many there are of what it is about.
    #[schema(examples(2))]
    pub count: u64,
    /// The checkouts of those whom it concerns, twenty at most.
    pub checkout_ids: Vec<CheckoutId>,
    /// The money that it holds up, as far as anybody knows.
    #[schema(value_type = i64, examples(99_000))]
    pub amount_halalas: Halalas,
    pub amount_sar: Riyals,
    #[schema(examples("2 payments were taken and nothing was granted for them (990 SAR)."))]
    pub message_en: String,
    #[schema(examples("مدفوعات استُلمت ولم يُمنح مقابلها شيء، عددها 2 (990 ريال)."))]
    pub message_ar: String,
    /// The one thing to do next, to be typed as it is.
    #[schema(examples("dealix-api explain b61e6ba5-3682-4dd6-b804-69b84b2d451c"))]
    pub next_command: String,
}

/// All of it in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StatusWord)]
pub enum Word {
    /// All is well.
    Ok,
    /// Something needs a look.
    Degraded,
    /// A part without which we cannot do our work is away.
    Fail,
}

/// The one screen.
#[derive(Clone, PartialEq, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = StatusReport)]
pub struct Report {
    pub status: Word,
    pub checked_at: DateTime<Utc>,
    /// Customers, counted by checkout, whom a problem concerns. More, if a list was cut. This and the
    /// sums are null while nobody can know.
    #[schema(examples(2))]
    pub customers_at_risk: Option<usize>,
    #[schema(value_type = Option<i64>, examples(99_000))]
    pub amount_halalas: Option<Halalas>,
    pub amount_sar: Option<Riyals>,
    #[schema(examples("1 problem. The worst: 2 payments were taken and nothing was granted."))]
    pub message_en: String,
    #[schema(examples("كل شيء على ما يرام."))]
    pub message_ar: String,
    /// The one thing to do next; absent when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("dealix-api explain b61e6ba5-3682-4dd6-b804-69b84b2d451c"))]
    pub next_command: Option<String>,
    /// What is wrong, worst first; of one kind the oldest first.
    pub problems: Vec<Problem>,
}

/// What the facts mean.
pub fn report(facts: &Facts) -> Report {
    let mut problems: Vec<_> = found(facts).into_iter().map(Found::told).collect();
    // What is known to be older comes first; what nobody knows the age of comes last.
    problems.sort_by_key(|problem| (problem.kind, Reverse(problem.since.map(Reverse))));
    let named = problems.iter().flat_map(|problem| &problem.checkout_ids);
    let customers = named.collect::<std::collections::HashSet<_>>().len();
    // No payment is in two problems, so that no riyal is counted twice.
    let amount = sum(problems.iter().map(|problem| problem.amount_halalas));
    let is_known = facts.postgres.as_ref().is_ok_and(|books| books.missing_migrations.is_empty());
    let amount = is_known.then_some(amount);
    let word = match problems.first().map(|problem| problem.kind) {
        None => Word::Ok,
        Some(Kind::ApiDown | Kind::PostgresAway | Kind::RedisAway) => Word::Fail,
        Some(_) => Word::Degraded,
    };
    let (message_en, message_ar) = words::summary(&problems);
    Report {
        status: word,
        checked_at: facts.now,
        customers_at_risk: is_known.then_some(customers),
        amount_halalas: amount,
        amount_sar: amount.map(Halalas::riyals),
        message_en,
        message_ar,
        next_command: problems.first().map(|problem| problem.next_command.clone()),
        problems,
    }
}

/// A problem without its words.
struct Found {
    kind: Kind,
    about: Option<String>,
    since: Option<DateTime<Utc>>,
    count: u64,
    checkout_ids: Vec<CheckoutId>,
    amount: Halalas,
}

impl Found {
    fn new(kind: Kind, count: u64) -> Self {
        let (about, since, checkout_ids) = (None, None, Vec::new());
        Self { kind, about, since, count, checkout_ids, amount: Halalas::ZERO }
    }

    fn told(mut self) -> Problem {
        self.checkout_ids.truncate(NAMED);
        let (message_en, message_ar) = words::messages(&self);
        let next_command = words::command(&self);
        let Self { kind, about, since, count, checkout_ids, amount } = self;
        Problem {
            kind,
            about,
            since,
            count,
            checkout_ids,
            amount_halalas: amount,
            amount_sar: amount.riyals(),
            message_en,
            message_ar,
            next_command,
        }
    }
}

fn found(facts: &Facts) -> Vec<Found> {
    let mut all = Vec::new();
    if facts.is_api_down {
        all.push(Found::new(Kind::ApiDown, 1));
    }
    match &facts.postgres {
        Err(class) => all.push(away(Kind::PostgresAway, *class)),
        Ok(books) if !books.missing_migrations.is_empty() => {
            let number = count(books.missing_migrations.len());
            all.push(Found::new(Kind::MigrationsMissing, number));
        }
        Ok(books) => in_books(books, facts.now, &mut all),
    }
    match &facts.redis {
        Err(class) => all.push(away(Kind::RedisAway, *class)),
        Ok(letters) => in_letters(letters, facts.now, &mut all),
    }
    for breaker in &facts.breakers {
        let about = Some(breaker.name.to_owned());
        all.push(Found { about, since: breaker.since, ..Found::new(Kind::BreakerOpen, 1) });
    }
    all
}

fn away(kind: Kind, class: ErrorClass) -> Found {
    Found { about: Some(class.name().to_owned()), ..Found::new(kind, 1) }
}

fn in_books(books: &Books, now: DateTime<Utc>, all: &mut Vec<Found>) {
    questions(books, all);
    if is_old(books.events.oldest_at, EVENTS_WAIT, now) {
        all.push(Found {
            about: books.claims.first().map(|claim| claim.event_id.to_string()),
            checkout_ids: once(books.claims.iter().filter_map(|claim| claim.checkout_id)),
            amount: sum(books.claims.iter().map(|claim| claim.amount)),
            ..of_pile(Kind::EventsWaiting, books.events)
        });
    }
    if is_old(books.in_doubt.oldest_at, DOUBT_LASTS, now) {
        all.push(Found {
            about: books.in_doubt_ids.first().map(CheckoutId::to_string),
            checkout_ids: books.in_doubt_ids.clone(),
            ..of_pile(Kind::CheckoutsInDoubt, books.in_doubt)
        });
    }
    if is_old(books.overdue_looks.oldest_at, LOOKS_WAIT, now) {
        all.push(of_pile(Kind::LooksOverdue, books.overdue_looks));
    }
    if is_old(books.outbox.oldest_at, OUTBOX_WAITS, now) {
        all.push(of_pile(Kind::OutboxWaiting, books.outbox));
    }
    if books.outbox_refused > 0 {
        all.push(Found::new(Kind::OutboxRefused, books.outbox_refused));
    }
    if books.refused_webhooks >= MANY_REFUSED {
        all.push(Found::new(Kind::WebhooksRefused, books.refused_webhooks));
    }
}

/// Money that was taken for nothing first; a payment with several questions counts once.
fn questions(books: &Books, all: &mut Vec<Found>) {
    let mut seen = std::collections::HashSet::new();
    let mut rest = books.open_questions;
    for is_held in [true, false] {
        let those: Vec<_> = books.questions.iter().filter(|it| it.is_held == is_held).collect();
        let Some(oldest) = those.iter().min_by_key(|question| question.opened_at) else { continue };
        let paid = those.iter().filter(|question| {
            question.payment_id.as_deref().is_none_or(|id| seen.insert(id.to_owned()))
        });
        let amount = sum(paid.map(|question| question.amount));
        let number = if is_held { count(those.len()) } else { rest };
        rest = rest.saturating_sub(number);
        let named = oldest.payment_id.clone();
        all.push(Found {
            about: Some(named.unwrap_or_else(|| oldest.id.to_string())),
            since: Some(oldest.opened_at),
            checkout_ids: once(those.iter().filter_map(|question| question.checkout_id)),
            amount,
            ..Found::new(if is_held { Kind::PaidNotGranted } else { Kind::ReviewsOpen }, number)
        });
    }
}

fn in_letters(letters: &Letters, now: DateTime<Utc>, all: &mut Vec<Found>) {
    if let Some(flaw) = letters.flaw {
        all.push(Found { about: Some(flaw.to_owned()), ..Found::new(Kind::RedisNotDurable, 1) });
    }
    for queue in &letters.queues {
        let about = Some(queue.name.to_owned());
        if queue.dead > 0 {
            let (about, groups) = (about.clone(), queue.dead_groups.iter());
            let since = groups.map(|group| group.since).min();
            all.push(Found { about, since, ..Found::new(Kind::LettersDead, queue.dead) });
        }
        let waiting = queue.depth.saturating_sub(queue.dead);
        if is_old(queue.oldest_at, LETTERS_WAIT, now) || waiting >= MANY_LETTERS {
            let since = queue.oldest_at;
            all.push(Found { about, since, ..Found::new(Kind::LettersWaiting, waiting) });
        }
    }
}

fn of_pile(kind: Kind, pile: Pile) -> Found {
    Found { since: pile.oldest_at, ..Found::new(kind, pile.number) }
}

fn is_old(since: Option<DateTime<Utc>>, limit: TimeDelta, now: DateTime<Utc>) -> bool {
    since.is_some_and(|since| now - since > limit)
}

/// Each once, in their order.
fn once(ids: impl Iterator<Item = CheckoutId>) -> Vec<CheckoutId> {
    let mut seen = std::collections::HashSet::new();
    ids.filter(|id| seen.insert(*id)).collect()
}

fn sum(amounts: impl Iterator<Item = Halalas>) -> Halalas {
    Halalas(amounts.fold(0, |sum: i64, amount| sum.saturating_add(amount.0.max(0))))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
