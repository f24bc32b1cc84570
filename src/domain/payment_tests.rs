//! Tests of the payment state machine.

use proptest::prelude::*;

use super::*;

const PRICE: Halalas = Halalas(99_000);

fn bill() -> Bill {
    Bill { amount: PRICE, currency: "SAR".into(), is_paid_by_another: false, is_closed: false }
}

fn at(second: u32) -> DateTime<Utc> {
    format!("2026-11-20T10:00:{second:02}Z").parse().unwrap()
}

fn fetched(status: &str, second: u32) -> Fetched {
    Fetched {
        status: PaymentStatus::from_name(status),
        amount: PRICE,
        currency: "SAR".into(),
        refunded: Halalas::ZERO,
        captured: Halalas::ZERO,
        updated_at: Some(at(second)),
        message: None,
    }
}

fn refunded(total: i64, second: u32) -> Fetched {
    Fetched { refunded: Halalas(total), ..fetched("refunded", second) }
}

fn captured(total: i64, second: u32) -> Fetched {
    Fetched { captured: Halalas(total), ..fetched("captured", second) }
}

/// Every effect of seeing these snapshots one after the other, and the standing in the end.
fn run(bill: &Bill, snapshots: &[Fetched]) -> (Vec<Effect>, Standing) {
    let (mut recorded, mut effects) = (None, Vec::new());
    for snapshot in snapshots {
        let settlement = settle(bill, recorded.as_ref(), snapshot);
        effects.extend(settlement.effects);
        recorded = Some(settlement.record);
    }
    (effects, recorded.unwrap().standing)
}

const STATUSES: [&str; 11] = [
    "initiated",
    "authorized",
    "verified",
    "failed",
    "abandoned",
    "expired",
    "canceled",
    "paid",
    "captured",
    "refunded",
    "voided",
];

#[test]
fn every_status_keeps_its_name() {
    for name in STATUSES {
        let status = PaymentStatus::from_name(name);
        assert_eq!(status.name(), name);
        assert!(!matches!(status, PaymentStatus::Other(_)), "{name}");
    }
    assert_eq!(PaymentStatus::from_name("on_hold"), PaymentStatus::Other("on_hold".into()));
    assert_eq!(PaymentStatus::from_name("on_hold").name(), "on_hold");
}

#[test]
fn a_paid_or_fully_captured_payment_grants_once() {
    for paid in [fetched("paid", 1), captured(99_000, 1)] {
        let again = Fetched { updated_at: Some(at(2)), ..paid.clone() };
        assert_eq!(
            run(&bill(), &[paid.clone(), paid, again]),
            (vec![Effect::Grant], Standing::Granted)
        );
    }
}

#[test]
fn what_is_not_money_grants_nothing() {
    for status in ["initiated", "authorized", "verified", "voided"] {
        assert_eq!(run(&bill(), &[fetched(status, 1)]), (vec![], Standing::Open), "{status}");
    }
}

#[test]
fn an_attempt_that_ended_is_noted_once_and_leaves_the_checkout_payable() {
    for status in ["failed", "abandoned", "expired", "canceled"] {
        let ended = fetched(status, 1);
        let again = fetched(status, 2);
        assert_eq!(
            run(&bill(), &[fetched("initiated", 0), ended, again]),
            (vec![Effect::NoteAttempt], Standing::Open),
            "{status}"
        );
    }
}

#[test]
fn another_amount_or_currency_is_held_for_a_person() {
    let billed = PRICE;
    for charged in [98_999, 99_001, 100] {
        let wrong = Fetched { amount: Halalas(charged), ..fetched("paid", 1) };
        let doubt = Doubt::AmountMismatch { billed, charged: Halalas(charged) };
        assert_eq!(run(&bill(), &[wrong]), (vec![Effect::Review(doubt)], Standing::Held));
    }
    let part = Doubt::AmountMismatch { billed, charged: Halalas(50_000) };
    assert_eq!(run(&bill(), &[captured(50_000, 1)]), (vec![Effect::Review(part)], Standing::Held));
    let dollars = Fetched { currency: "USD".into(), ..fetched("paid", 1) };
    let doubt = Doubt::CurrencyMismatch { billed: "SAR".into(), charged: "USD".into() };
    assert_eq!(run(&bill(), &[dollars]), (vec![Effect::Review(doubt)], Standing::Held));
}

#[test]
fn a_second_or_a_late_payment_is_held_for_a_person() {
    let paid = Bill { is_paid_by_another: true, is_closed: true, ..bill() };
    assert_eq!(
        run(&paid, &[fetched("paid", 1)]),
        (vec![Effect::Review(Doubt::SecondPayment)], Standing::Held)
    );
    let closed = Bill { is_closed: true, ..bill() };
    assert_eq!(
        run(&closed, &[fetched("paid", 1)]),
        (vec![Effect::Review(Doubt::LatePayment)], Standing::Held)
    );
}

#[test]
fn what_is_held_is_never_granted_by_itself_and_asked_about_once() {
    let wrong = |second| Fetched { amount: Halalas(100), ..fetched("paid", second) };
    let (effects, standing) = run(&bill(), &[wrong(1), wrong(2), fetched("paid", 3)]);
    assert_eq!((effects.len(), standing), (1, Standing::Held));
    let (effects, standing) = run(&bill(), &[wrong(1), refunded(99_000, 4)]);
    assert_eq!((effects.len(), standing), (1, Standing::Held));
}

#[test]
fn a_full_refund_takes_back_what_was_granted() {
    let whole = vec![Effect::Grant, Effect::Reverse, Effect::NoteRefund(PRICE)];
    assert_eq!(
        run(&bill(), &[fetched("paid", 1), refunded(99_000, 2), refunded(99_000, 3)]),
        (whole.clone(), Standing::Reversed)
    );
    // The sale that we never saw is recorded before the refund.
    assert_eq!(run(&bill(), &[refunded(99_000, 2)]), (whole.clone(), Standing::Reversed));
    let captured_before = Fetched { captured: PRICE, ..refunded(99_000, 2) };
    assert_eq!(run(&bill(), &[captured_before]), (whole, Standing::Reversed));
}

#[test]
fn of_a_hold_that_was_given_back_only_what_was_captured_counts() {
    let (billed, charged) = (PRICE, Halalas(50_000));
    let part = Fetched { captured: charged, ..refunded(50_000, 2) };
    let doubt = Doubt::AmountMismatch { billed, charged };
    assert_eq!(run(&bill(), &[part]), (vec![Effect::Review(doubt)], Standing::Held));
}

#[test]
fn a_partial_refund_leaves_what_was_granted_and_asks_a_person_each_time() {
    let (part, more) = (Halalas(40_000), Halalas(98_999));
    let review = |refunded| Effect::Review(Doubt::PartialRefund { refunded, charged: PRICE });
    let still_paid = Fetched { status: PaymentStatus::Paid, ..refunded(40_000, 2) };
    for first in [refunded(40_000, 2), still_paid] {
        let seen = [fetched("paid", 1), first, refunded(98_999, 3), refunded(99_000, 4)];
        assert_eq!(
            run(&bill(), &seen),
            (
                vec![
                    Effect::Grant,
                    Effect::NoteRefund(part),
                    review(part),
                    Effect::NoteRefund(more),
                    review(more),
                    Effect::Reverse,
                    Effect::NoteRefund(PRICE),
                ],
                Standing::Reversed
            )
        );
    }
}

#[test]
fn a_void_takes_back_what_was_granted() {
    assert_eq!(
        run(&bill(), &[fetched("paid", 1), fetched("voided", 2), fetched("voided", 3)]),
        (vec![Effect::Grant, Effect::Reverse, Effect::NoteRefund(PRICE)], Standing::Reversed)
    );
}

#[test]
fn an_older_snapshot_changes_nothing() {
    let newer = settle(&bill(), None, &fetched("paid", 5)).record;
    for older in [fetched("failed", 4), fetched("initiated", 4), refunded(99_000, 4)] {
        let settlement = settle(&bill(), Some(&newer), &older);
        assert_eq!(settlement, Settlement { record: newer.clone(), effects: vec![] });
    }
}

#[test]
fn without_a_time_what_has_come_further_wins() {
    let timeless = |snapshot: Fetched| Fetched { updated_at: None, ..snapshot };
    let order = [
        vec!["on_hold"],
        vec!["initiated"],
        vec!["authorized", "verified"],
        vec!["failed", "abandoned", "expired", "canceled"],
        vec!["paid"],
        vec!["refunded", "voided"],
    ];
    for (level, names) in order.iter().enumerate() {
        for name in names {
            let seen = settle(&bill(), None, &timeless(fetched(name, 0))).record;
            for earlier in order.iter().take(level).flatten() {
                let settlement = settle(&bill(), Some(&seen), &timeless(fetched(earlier, 0)));
                assert_eq!(settlement.record, seen, "{earlier} after {name}");
                assert_eq!(settlement.effects, [], "{earlier} after {name}");
            }
        }
    }
    let whole = settle(&bill(), None, &timeless(refunded(99_000, 0))).record;
    let part = settle(&bill(), Some(&whole), &timeless(refunded(1, 0)));
    assert_eq!(part.record, whole);
    let much = settle(&bill(), None, &timeless(captured(99_000, 0))).record;
    let little = settle(&bill(), Some(&much), &timeless(captured(1, 0)));
    assert_eq!(little.record, much);
    // At one and the same instant, too.
    let paid = settle(&bill(), None, &fetched("paid", 1)).record;
    assert_eq!(settle(&bill(), Some(&paid), &fetched("failed", 1)).record, paid);
    let voided = settle(&bill(), None, &fetched("voided", 1)).record;
    let settlement = settle(&bill(), Some(&voided), &fetched("paid", 1));
    assert_eq!(settlement, Settlement { record: voided, effects: vec![] });
}

#[test]
fn of_two_that_have_come_equally_far_the_later_look_counts() {
    let timeless = |status| Fetched { updated_at: None, ..fetched(status, 0) };
    let failed = settle(&bill(), None, &timeless("failed")).record;
    let expired = settle(&bill(), Some(&failed), &timeless("expired"));
    assert_eq!(expired.record.status, PaymentStatus::Expired);
    assert_eq!(expired.effects, [Effect::NoteAttempt]);
}

#[test]
fn totals_never_go_down() {
    let seen = settle(&bill(), None, &Fetched { captured: PRICE, ..refunded(40_000, 1) }).record;
    let odd = settle(&bill(), Some(&seen), &fetched("paid", 2)).record;
    assert_eq!((odd.refunded, odd.captured), (Halalas(40_000), PRICE));
    assert_eq!(odd.updated_at, Some(at(2)));
    assert_eq!(odd.status, PaymentStatus::Refunded);
}

#[test]
fn a_payment_never_goes_back_however_new_the_news() {
    for news in
        ["initiated", "authorized", "verified", "failed", "abandoned", "expired", "canceled"]
    {
        let (effects, standing) = run(&bill(), &[fetched("paid", 1), fetched(news, 2)]);
        assert_eq!((effects, standing), (vec![Effect::Grant], Standing::Granted), "{news}");
        let paid = settle(&bill(), None, &fetched("paid", 1)).record;
        let record = settle(&bill(), Some(&paid), &fetched(news, 2)).record;
        assert_eq!(record.status, PaymentStatus::Paid, "{news}");
        assert_eq!(record.updated_at, Some(at(2)), "{news}");
    }
}

#[test]
fn an_unknown_status_asks_a_person_once() {
    let review = Effect::Review(Doubt::UnknownStatus("on_hold".into()));
    assert_eq!(
        run(&bill(), &[fetched("on_hold", 1), fetched("on_hold", 2), fetched("paid", 3)]),
        (vec![review, Effect::Grant], Standing::Granted)
    );
}

#[test]
fn every_doubt_is_spelled_out() {
    let (billed, charged) = (Halalas(99_000), Halalas(9_950));
    let currency = |name: &str| name.to_owned();
    for (doubt, kind, text) in [
        (
            Doubt::AmountMismatch { billed, charged },
            "amount_mismatch",
            "billed 990 SAR, charged 99.50 SAR",
        ),
        (
            Doubt::CurrencyMismatch { billed: currency("SAR"), charged: currency("USD") },
            "currency_mismatch",
            "billed in SAR, charged in USD",
        ),
        (
            Doubt::SecondPayment,
            "second_payment",
            "the checkout was already paid by another payment",
        ),
        (Doubt::LatePayment, "late_payment", "the checkout was already closed"),
        (
            Doubt::PartialRefund { refunded: charged, charged: billed },
            "partial_refund",
            "99.50 of 990 SAR were given back",
        ),
        (
            Doubt::UnknownStatus(currency("on_hold")),
            "unknown_status",
            "the payment is `on_hold`, whatever that is",
        ),
    ] {
        assert_eq!((doubt.kind(), doubt.to_string().as_str()), (kind, text));
    }
}

/// A life that a payment can really have at the provider, one snapshot a second.
fn lives() -> impl Strategy<Value = Vec<Fetched>> {
    let steps: &[&[(&str, i64)]] = &[
        &[("initiated", 0), ("paid", 0)],
        &[("initiated", 0), ("failed", 0)],
        &[("initiated", 0), ("paid", 0), ("refunded", 99_000)],
        &[("initiated", 0), ("paid", 0), ("paid", 40_000), ("refunded", 99_000)],
        &[("initiated", 0), ("paid", 0), ("refunded", 40_000)],
        &[("initiated", 0), ("authorized", 0), ("voided", 0)],
        &[("initiated", 0), ("paid", 0), ("voided", 0)],
    ];
    prop::sample::select(steps).prop_map(|life| {
        let snapshot = |(second, (status, total)): (usize, &(&str, i64))| Fetched {
            refunded: Halalas(*total),
            ..fetched(status, u32::try_from(second).unwrap())
        };
        life.iter().enumerate().map(snapshot).collect()
    })
}

proptest! {
    /// Whatever order, loss and repetition the prompts come in: once the last state was seen, the
    /// record is the one of seeing all in order, and nothing happened twice.
    #[test]
    fn every_order_of_the_same_facts_ends_the_same(
        life in lives(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let last = life.last().unwrap().clone();
        let mut seen: Vec<_> = picks.iter().map(|pick| pick.get(&life).clone()).collect();
        seen.push(last.clone());
        let (mut recorded, mut effects) = (None, Vec::new());
        for snapshot in &seen {
            let settlement = settle(&bill(), recorded.as_ref(), snapshot);
            effects.extend(settlement.effects);
            recorded = Some(settlement.record);
        }
        let recorded = recorded.unwrap();
        prop_assert_eq!(&recorded.status, &last.status);
        prop_assert_eq!(recorded.refunded, last.refunded);
        for effect in [Effect::Grant, Effect::Reverse, Effect::NoteAttempt] {
            prop_assert!(effects.iter().filter(|seen| **seen == effect).count() <= 1);
        }
        let (_, in_order) = run(&bill(), &life);
        // Of a payment that was voided before we ever saw it paid, nothing is left to take back.
        if last.status == PaymentStatus::Voided && !effects.contains(&Effect::Grant) {
            prop_assert_eq!(recorded.standing, Standing::Open);
        } else {
            prop_assert_eq!(recorded.standing, in_order);
        }
    }
}
