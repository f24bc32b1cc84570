//! What whoever is on call is told of: which of the troubles are worth a call, each by a name under which
//! it is told once.

use std::collections::HashSet;

use crate::domain::redaction::redact;
use crate::domain::status::{DeadGroup, Facts, Kind, Problem, report};

/// A trouble that is told once when it begins and once when it is over.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cause {
    pub kind: Kind,
    /// The queue, the group of its entries or the review that it is about; empty where there is only one
    /// of the kind.
    pub subject: String,
    pub message_en: String,
    pub message_ar: String,
    pub next_command: String,
}

/// What the facts give reason to call somebody for. Each question to a person is a cause of its own.
pub fn causes(facts: &Facts) -> Vec<Cause> {
    let mut causes = Vec::new();
    for problem in report(facts).problems {
        match problem.kind {
            // It is the API that tells, each of its processes has breakers of its own, and a breaker
            // that opens is reported where it opens.
            Kind::ApiDown | Kind::BreakerOpen => (),
            Kind::PaidNotGranted | Kind::ReviewsOpen => {
                causes.extend(questions(facts, problem.kind));
            }
            Kind::LettersDead => causes.extend(dead_groups(facts, problem)),
            Kind::LettersWaiting => {
                let subject = problem.about.clone().unwrap_or_default();
                causes.push(cause(problem, subject));
            }
            Kind::PostgresAway
            | Kind::RedisAway
            | Kind::RedisNotDurable
            | Kind::MigrationsMissing
            | Kind::EventsWaiting
            | Kind::CheckoutsInDoubt
            | Kind::LooksOverdue
            | Kind::OutboxRefused
            | Kind::OutboxWaiting
            | Kind::WebhooksRefused => causes.push(cause(problem, String::new())),
        }
    }
    if let Ok(books) = &facts.postgres
        && let Ok(listed) = u64::try_from(books.questions.len())
        && let Some(more @ 1..) = books.open_questions.checked_sub(listed)
    {
        causes.push(unlisted(more));
    }
    causes
}

/// Those that were there at the look before as well: what comes and goes within one wakes nobody. A
/// question does not go by itself.
pub fn lasting(now: &[Cause], before: &[Cause]) -> Vec<Cause> {
    let name = |cause: &Cause| (cause.kind, cause.subject.clone());
    let before: HashSet<_> = before.iter().map(name).collect();
    let is_lasting = |cause: &&Cause| {
        let is_question = matches!(cause.kind, Kind::PaidNotGranted | Kind::ReviewsOpen);
        is_question || before.contains(&name(cause))
    };
    now.iter().filter(is_lasting).cloned().collect()
}

fn cause(problem: Problem, subject: String) -> Cause {
    let Problem { kind, message_en, message_ar, next_command, .. } = problem;
    Cause { kind, subject, message_en, message_ar, next_command }
}

/// The first entry of each group that is given up is told; of a queue whose groups nobody could name,
/// that it has some.
fn dead_groups(facts: &Facts, problem: Problem) -> Vec<Cause> {
    let name = problem.about.clone().unwrap_or_default();
    let queues = facts.redis.iter().flat_map(|letters| &letters.queues);
    let groups: Vec<_> =
        queues.filter(|queue| queue.name == name).flat_map(|queue| &queue.dead_groups).collect();
    if groups.is_empty() {
        return vec![cause(problem, name)];
    }
    let cause = |group: &&DeadGroup| {
        let (fingerprint, kind) = (&group.fingerprint, problem.kind);
        let error_class = redact(&group.error_class);
        Cause {
            kind,
            subject: format!("{name}/{fingerprint}"),
            message_en: format!(
                "Entries of the queue {name} were given up ({error_class}); only a person can help."
            ),
            message_ar: format!(
                "عناصر في قائمة {name} استُنفدت محاولاتها ({error_class})، ولا يحلها إلا تدخل مسؤول."
            ),
            next_command: format!("dealix-api dlq list {name} --group {fingerprint}"),
        }
    };
    groups.iter().map(cause).collect()
}

fn questions(facts: &Facts, kind: Kind) -> Vec<Cause> {
    let Ok(books) = &facts.postgres else { return Vec::new() };
    let of_kind = books.questions.iter().filter(|it| it.is_held == (kind == Kind::PaidNotGranted));
    let cause = |question: &crate::domain::status::Question| {
        let sar = question.amount.riyals();
        let (message_en, message_ar) = if kind == Kind::PaidNotGranted {
            (
                format!("A customer paid {sar} SAR and got nothing yet: a person must decide."),
                format!("عميل دفع {sar} ريال ولم يحصل على شيء بعد، والأمر يحتاج قرار مسؤول."),
            )
        } else {
            (
                format!("A question waits for a person ({sar} SAR)."),
                format!("مسألة تنتظر قرار مسؤول ({sar} ريال)."),
            )
        };
        let subject = question.id.to_string();
        let next_command = format!("dealix-api explain {subject}");
        Cause { kind, subject, message_en, message_ar, next_command }
    };
    of_kind.map(cause).collect()
}

/// So many that nobody lists them one by one: those to come call nobody by themselves.
fn unlisted(number: u64) -> Cause {
    Cause {
        kind: Kind::ReviewsOpen,
        subject: "unlisted".to_owned(),
        message_en: format!("{number} questions more wait for a person than are told one by one."),
        message_ar: format!("مسائل أخرى كثيرة تنتظر قرار مسؤول، عددها {number}."),
        next_command: "dealix-api status".to_owned(),
    }
}
