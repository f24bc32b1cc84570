//! Tests of the payment state machine, and what they share.

mod order;

use super::*;

const PRICE: Halalas = Halalas(99_000);

fn bill() -> Bill {
    Bill {
        amount: PRICE,
        currency: "SAR".into(),
        is_paid_by_another: false,
        is_closed: false,
        plan_change: None,
    }
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
        coupon: None,
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
    for status in ["initiated", "authorized", "verified"] {
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
            (vec![Effect::NoteAttempt(PaymentStatus::from_name(status))], Standing::Open),
            "{status}"
        );
    }
}

#[test]
fn another_amount_or_currency_is_held_for_a_person() {
    let billed = PRICE;
    for charged in [98_999, 99_001, 100] {
        let wrong = Fetched { amount: Halalas(charged), ..fetched("paid", 1) };
        let doubt = Doubt::AmountMismatch { billed, charged: Halalas(charged), coupon: None };
        assert_eq!(run(&bill(), &[wrong]), (vec![Effect::Review(doubt)], Standing::Held));
    }
    let part = Doubt::AmountMismatch { billed, charged: Halalas(50_000), coupon: None };
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
    let doubt = Doubt::AmountMismatch { billed: PRICE, charged: Halalas(100), coupon: None };
    assert_eq!(
        run(&bill(), &[wrong(1), wrong(2)]),
        (vec![Effect::Review(doubt.clone())], Standing::Held)
    );
    // Whoever has the question hears that the facts have changed; nothing else happens.
    let fits = Effect::Review(Doubt::FitsNow);
    assert_eq!(
        run(&bill(), &[wrong(1), fetched("paid", 2), fetched("paid", 3)]),
        (vec![Effect::Review(doubt), fits], Standing::Held)
    );
    let dollars = Fetched { currency: "USD".into(), ..fetched("paid", 1) };
    let (effects, standing) = run(&bill(), &[dollars, fetched("paid", 2)]);
    assert_eq!((effects.last(), standing), (Some(&Effect::Review(Doubt::FitsNow)), Standing::Held));
    // What is held for another reason always fitted.
    let late = Bill { is_closed: true, ..bill() };
    assert_eq!(
        run(&late, &[fetched("paid", 1), fetched("paid", 2)]),
        (vec![Effect::Review(Doubt::LatePayment)], Standing::Held)
    );
}

#[test]
fn what_was_granted_and_fits_no_longer_is_asked_about_and_stays() {
    let less = Fetched { amount: Halalas(100), ..fetched("paid", 2) };
    let doubt = Doubt::AmountMismatch { billed: PRICE, charged: Halalas(100), coupon: None };
    let older = Fetched { updated_at: Some(at(0)), ..less.clone() };
    assert_eq!(
        run(&bill(), &[fetched("paid", 1), older, less]),
        (vec![Effect::Grant, Effect::Review(doubt)], Standing::Granted)
    );
}

#[test]
fn of_held_money_that_is_given_back_the_review_hears() {
    let late = Bill { is_closed: true, ..bill() };
    let doubt = Effect::Review(Doubt::LatePayment);
    let heard = |refunded| Effect::Review(Doubt::HeldRefund { refunded, charged: PRICE });
    let part = Halalas(40_000);
    assert_eq!(
        run(&late, &[fetched("paid", 1), refunded(40_000, 2), refunded(99_000, 3)]),
        (vec![doubt.clone(), heard(part), heard(PRICE), Effect::Return(PRICE)], Standing::Returned)
    );
    for gone in [fetched("voided", 2), refunded(99_000, 2)] {
        let again = Fetched { updated_at: Some(at(3)), ..gone.clone() };
        assert_eq!(
            run(&late, &[fetched("paid", 1), gone, again]),
            (vec![doubt.clone(), heard(PRICE), Effect::Return(PRICE)], Standing::Returned)
        );
    }
    // Of nothing nothing was given back.
    let nothing = Fetched { amount: Halalas::ZERO, ..fetched("paid", 1) };
    assert_eq!(run(&bill(), &[nothing]).1, Standing::Held);
}

#[test]
fn another_plan_than_the_one_that_runs_is_held_for_a_person() {
    let (from, to) = ("starter".to_owned(), "growth".to_owned());
    let plan_change = Some(PlanChange { from: from.clone(), to: to.clone() });
    let other = Bill { plan_change, ..bill() };
    let doubt = Effect::Review(Doubt::PlanChange { from, to });
    assert_eq!(run(&other, &[fetched("paid", 1)]), (vec![doubt.clone()], Standing::Held));
    // A refund that comes together with it is heard of, too.
    let heard = Effect::Review(Doubt::HeldRefund { refunded: PRICE, charged: PRICE });
    assert_eq!(
        run(&other, &[refunded(99_000, 2)]),
        (vec![doubt, heard, Effect::Return(PRICE)], Standing::Returned)
    );
}

#[test]
fn a_coupon_that_nobody_told_us_of_is_named_in_the_difference() {
    let coupon = Some("RAMADAN15".to_owned());
    let less = Fetched { amount: Halalas(84_150), coupon: coupon.clone(), ..fetched("paid", 1) };
    let doubt = Doubt::AmountMismatch { billed: PRICE, charged: Halalas(84_150), coupon };
    let text = "billed 990 SAR, charged 841.50 SAR, with coupon RAMADAN15";
    assert_eq!(doubt.to_string(), text);
    assert_eq!(run(&bill(), &[less]), (vec![Effect::Review(doubt)], Standing::Held));
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
    let doubt = Doubt::AmountMismatch { billed, charged, coupon: None };
    let heard = Doubt::HeldRefund { refunded: charged, charged };
    assert_eq!(
        run(&bill(), &[part]),
        (
            vec![Effect::Review(doubt), Effect::Review(heard), Effect::Return(charged)],
            Standing::Returned
        )
    );
}

#[test]
fn what_was_captured_of_a_hold_may_become_known_after_all_of_it_was_given_back() {
    let late = Bill { is_closed: true, ..bill() };
    let all = Halalas(50_000);
    let heard = |charged| Effect::Review(Doubt::HeldRefund { refunded: all, charged });
    let mismatch = Doubt::AmountMismatch { billed: PRICE, charged: all, coupon: None };
    let captured_too = Fetched { captured: all, ..refunded(50_000, 3) };
    assert_eq!(
        run(&late, &[refunded(50_000, 2), captured_too]),
        (
            vec![
                Effect::Review(Doubt::LatePayment),
                heard(PRICE),
                Effect::Review(mismatch),
                heard(all),
                Effect::Return(all),
            ],
            Standing::Returned
        )
    );
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
fn what_was_voided_before_it_was_seen_paid_is_for_a_person_unless_it_was_a_hold() {
    let ended = Effect::NoteAttempt(PaymentStatus::Voided);
    let unseen = Effect::Review(Doubt::VoidedUnseen);
    for before in [vec![], vec![fetched("initiated", 0)], vec![fetched("on_hold", 0)]] {
        let seen = [before, vec![fetched("voided", 2), fetched("voided", 3)]].concat();
        let (effects, standing) = run(&bill(), &seen);
        assert!(effects.ends_with(&[ended.clone(), unseen.clone()]), "{effects:?}");
        assert_eq!(standing, Standing::Open);
    }
    for hold in ["authorized", "verified"] {
        let seen = [fetched(hold, 1), fetched("voided", 2), fetched("voided", 3)];
        assert_eq!(run(&bill(), &seen), (vec![ended.clone()], Standing::Open), "{hold}");
    }
    // What was captured was money, whether we saw it or not.
    let captured = Fetched { captured: PRICE, ..fetched("voided", 2) };
    assert_eq!(
        run(&bill(), &[captured]),
        (vec![Effect::Grant, Effect::Reverse, Effect::NoteRefund(PRICE)], Standing::Reversed)
    );
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
            Doubt::AmountMismatch { billed, charged, coupon: None },
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
        (Doubt::FitsNow, "fits_now", "the payment fits its bill now, and is still held"),
        (
            Doubt::PlanChange { from: currency("starter"), to: currency("growth") },
            "plan_change",
            "a subscription to `starter` runs, `growth` was paid for",
        ),
        (
            Doubt::HeldRefund { refunded: charged, charged: billed },
            "held_refund",
            "of money that is held 99.50 of 990 SAR were given back",
        ),
        (
            Doubt::VoidedUnseen,
            "voided_unseen",
            "voided before it was seen paid: a hold, or a sale that was undone",
        ),
        (
            Doubt::WentBack { from: PaymentStatus::Paid, to: PaymentStatus::Failed },
            "went_back",
            "the payment was `paid` and is `failed` now",
        ),
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

#[test]
fn what_is_remembered_of_a_payment_of_nobody_only_grows() {
    let first = remember(None, &refunded(40_000, 2));
    assert_eq!(remember(Some(&first), &fetched("paid", 1)), first);
}
