//! What the facts mean: nothing wrong is said to be well, everything wrong is told, worst first.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// Every kind, worst first.
const ALL: [Kind; 16] = [
    Kind::ApiDown,
    Kind::PostgresAway,
    Kind::RedisAway,
    Kind::RedisNotDurable,
    Kind::MigrationsMissing,
    Kind::PaidNotGranted,
    Kind::EventsWaiting,
    Kind::CheckoutsInDoubt,
    Kind::LettersDead,
    Kind::ReviewsOpen,
    Kind::BreakerOpen,
    Kind::LettersWaiting,
    Kind::LooksOverdue,
    Kind::OutboxRefused,
    Kind::OutboxWaiting,
    Kind::WebhooksRefused,
];

fn now() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn well() -> Facts {
    Facts {
        now: now(),
        is_api_down: false,
        postgres: Ok(Books::default()),
        redis: Ok(Letters::default()),
        breakers: Vec::new(),
    }
}

fn question(number: u128, is_held: bool, payment: Option<&str>, amount: i64) -> Question {
    Question {
        id: Uuid::from_u128(number),
        opened_at: now() - TimeDelta::minutes(i64::try_from(number).unwrap()),
        payment_id: payment.map(str::to_owned),
        checkout_id: Some(CheckoutId(Uuid::from_u128(number))),
        is_held,
        amount: Halalas(amount),
    }
}

fn pile(number: u64, minutes: i64) -> Pile {
    Pile { number, oldest_at: Some(now() - TimeDelta::minutes(minutes)) }
}

/// Facts in which one kind of thing, and no other, is wrong.
fn with(kind: Kind) -> Facts {
    let mut facts = well();
    let (mut books, mut letters) = (Books::default(), Letters::default());
    let queue = QueueFacts {
        name: "webhooks",
        depth: 3,
        dead: 0,
        oldest_at: None,
        dead_groups: Vec::new(),
    };
    match kind {
        Kind::ApiDown => facts.is_api_down = true,
        Kind::PostgresAway => return Facts { postgres: Err(ErrorClass::Timeout), ..facts },
        Kind::RedisAway => return Facts { redis: Err(ErrorClass::Unreachable), ..facts },
        Kind::RedisNotDurable => letters.flaw = Some("aof_off"),
        Kind::MigrationsMissing => books.missing_migrations = vec![7],
        Kind::PaidNotGranted => {
            books.open_questions = 1;
            books.questions = vec![question(1, true, Some("p1"), 100)];
        }
        Kind::EventsWaiting => books.events = pile(2, 2),
        Kind::CheckoutsInDoubt => books.in_doubt = pile(2, 6),
        Kind::LettersDead => letters.queues = vec![QueueFacts { dead: 3, ..queue }],
        Kind::ReviewsOpen => {
            books.open_questions = 1;
            books.questions = vec![question(1, false, None, 0)];
        }
        Kind::BreakerOpen => facts.breakers = vec![OpenBreaker { name: "moyasar", since: None }],
        Kind::LettersWaiting => {
            let oldest_at = pile(1, 16).oldest_at;
            letters.queues = vec![QueueFacts { oldest_at, ..queue }];
        }
        Kind::LooksOverdue => books.overdue_looks = pile(2, 11),
        Kind::OutboxRefused => books.outbox_refused = 1,
        Kind::OutboxWaiting => books.outbox = pile(2, 11),
        Kind::WebhooksRefused => books.refused_webhooks = 100,
    }
    Facts { postgres: Ok(books), redis: Ok(letters), ..facts }
}

#[test]
fn all_green_says_so_in_both_languages_and_has_nothing_to_do() {
    let report = report(&well());
    assert_eq!(report.status, Word::Ok);
    assert_eq!((report.message_en.as_str(), report.next_command), ("All is well.", None));
    assert_eq!(report.message_ar, "كل شيء على ما يرام.");
    assert_eq!((report.customers_at_risk, report.amount_halalas), (Some(0), Some(Halalas::ZERO)));
    assert!(report.problems.is_empty());
}

#[test]
fn each_kind_is_found_alone_with_words_of_its_own_and_something_to_type() {
    let mut said = std::collections::HashSet::new();
    for kind in ALL {
        let report = report(&with(kind));
        let kinds: Vec<_> = report.problems.iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds, [kind]);
        let [problem] = report.problems.as_slice() else { panic!("{kind:?}") };
        assert!(said.insert(problem.message_en.clone()) && said.insert(problem.message_ar.clone()));
        assert!(problem.message_ar.chars().any(|c| ('\u{621}'..='\u{64a}').contains(&c)));
        assert_eq!(report.next_command.as_deref(), Some(&*problem.next_command));
        assert!(!problem.next_command.is_empty());
        let is_vital = matches!(kind, Kind::ApiDown | Kind::PostgresAway | Kind::RedisAway);
        assert_eq!(report.status, if is_vital { Word::Fail } else { Word::Degraded });
    }
    assert!(ALL.is_sorted());
}

#[test]
fn what_is_young_or_little_is_no_problem_yet() {
    let books = Books {
        events: pile(5, 1),
        in_doubt: pile(5, 5),
        overdue_looks: pile(5, 10),
        outbox: pile(5, 10),
        refused_webhooks: 99,
        ..Books::default()
    };
    let oldest_at = pile(1, 15).oldest_at;
    let queue =
        QueueFacts { name: "webhooks", depth: 999, dead: 0, oldest_at, dead_groups: Vec::new() };
    let mut facts = Facts {
        postgres: Ok(books),
        redis: Ok(Letters { flaw: None, queues: vec![queue.clone()] }),
        ..well()
    };
    assert_eq!(report(&facts).problems, []);
    let queues = vec![QueueFacts { depth: 1_000, ..queue }];
    facts.redis = Ok(Letters { flaw: None, queues });
    assert_eq!(report(&facts).problems[0].kind, Kind::LettersWaiting);
}

#[test]
fn a_payment_with_two_questions_counts_once_and_money_without_access_comes_first() {
    let questions = vec![
        question(1, false, Some("p2"), 500),
        question(2, true, Some("p1"), 99_000),
        question(3, true, Some("p1"), 99_000),
        question(4, false, None, 0),
    ];
    let books = Books { open_questions: 9, questions, ..Books::default() };
    let report = report(&Facts { postgres: Ok(books), ..well() });
    let [held, others] = report.problems.as_slice() else { panic!("{report:?}") };
    assert_eq!((held.kind, held.count), (Kind::PaidNotGranted, 2));
    assert_eq!((held.amount_halalas, held.about.as_deref()), (Halalas(99_000), Some("p1")));
    assert_eq!(held.since, Some(now() - TimeDelta::minutes(3)));
    assert_eq!(held.next_command, "dealix-api explain p1");
    assert!(held.message_en.ends_with("(990 SAR)."), "{}", held.message_en);
    // More are open than were listed: they are counted all the same.
    assert_eq!((others.kind, others.count), (Kind::ReviewsOpen, 7));
    assert_eq!((report.amount_halalas, report.customers_at_risk), (Some(Halalas(99_500)), Some(4)));
    assert!(report.message_en.starts_with("2 problems. The worst: 2 payments were taken"));
}

#[test]
fn no_more_than_twenty_checkouts_are_named() {
    let questions = (1..=30).map(|number| question(number, false, None, 0)).collect();
    let books = Books { open_questions: 30, questions, ..Books::default() };
    let report = report(&Facts { postgres: Ok(books), ..well() });
    assert_eq!(report.problems[0].checkout_ids.len(), 20);
}

proptest! {
    #[test]
    fn whatever_is_wrong_is_told_worst_first_and_only_then(
        kinds in proptest::sample::subsequence(ALL.to_vec(), 0..=ALL.len()),
    ) {
        let mut facts = well();
        let (mut books, mut letters) = (Books::default(), Letters::default());
        for kind in &kinds {
            let one = with(*kind);
            facts.is_api_down |= one.is_api_down;
            facts.breakers.extend(one.breakers);
            if let Ok(one) = one.redis {
                letters.flaw = letters.flaw.or(one.flaw);
                letters.queues.extend(one.queues);
            }
            if let Ok(one) = one.postgres {
                books.missing_migrations.extend(one.missing_migrations);
                books.open_questions += one.open_questions;
                books.questions.extend(one.questions);
                books.outbox_refused += one.outbox_refused;
                books.refused_webhooks += one.refused_webhooks;
                for (pile, other) in [
                    (&mut books.events, one.events),
                    (&mut books.in_doubt, one.in_doubt),
                    (&mut books.overdue_looks, one.overdue_looks),
                    (&mut books.outbox, one.outbox),
                ] {
                    if other.number > 0 {
                        *pile = other;
                    }
                }
            }
        }
        let hidden_by_postgres = kinds.contains(&Kind::PostgresAway);
        let hidden_by_migrations = hidden_by_postgres || kinds.contains(&Kind::MigrationsMissing);
        let hidden_by_redis = kinds.contains(&Kind::RedisAway);
        facts.postgres = if hidden_by_postgres { Err(ErrorClass::Timeout) } else { Ok(books) };
        facts.redis = if hidden_by_redis { Err(ErrorClass::Timeout) } else { Ok(letters) };
        let is_visible = |kind: &Kind| match kind {
            Kind::ApiDown | Kind::PostgresAway | Kind::RedisAway | Kind::BreakerOpen => true,
            Kind::MigrationsMissing => !hidden_by_postgres,
            Kind::RedisNotDurable | Kind::LettersDead | Kind::LettersWaiting => !hidden_by_redis,
            Kind::PaidNotGranted
            | Kind::EventsWaiting
            | Kind::CheckoutsInDoubt
            | Kind::ReviewsOpen
            | Kind::LooksOverdue
            | Kind::OutboxRefused
            | Kind::OutboxWaiting
            | Kind::WebhooksRefused => !hidden_by_migrations,
        };
        let expected: Vec<_> = kinds.into_iter().filter(is_visible).collect();
        let report = report(&facts);
        let told: Vec<_> = report.problems.iter().map(|problem| problem.kind).collect();
        prop_assert_eq!(told, expected);
        let parts: i64 = report.problems.iter().map(|problem| problem.amount_halalas.0).sum();
        prop_assert_eq!(report.amount_halalas.unwrap_or(Halalas::ZERO).0, parts);
        prop_assert_eq!(report.status == Word::Ok, report.problems.is_empty());
    }
}
