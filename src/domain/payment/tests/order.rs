//! What is shown in another order than it happened, or without a time, or that goes back.

use super::*;

#[test]
fn an_older_snapshot_can_prove_that_money_was_taken() {
    let (effects, standing) = run(&bill(), &[fetched("voided", 2), fetched("paid", 1)]);
    assert!(
        effects.ends_with(&[Effect::Grant, Effect::Reverse, Effect::NoteRefund(PRICE)]),
        "{effects:?}"
    );
    assert_eq!(standing, Standing::Reversed);
    let (effects, standing) = run(&bill(), &[fetched("on_hold", 2), fetched("paid", 1)]);
    assert_eq!((effects.last(), standing), (Some(&Effect::Grant), Standing::Granted));
}

#[test]
fn a_provider_that_takes_back_what_it_said_of_money_is_asked_about() {
    let back = |from, to| Effect::Review(Doubt::WentBack { from, to });
    for before in [fetched("voided", 1), refunded(99_000, 1)] {
        let doubt = back(before.status.clone(), PaymentStatus::Paid);
        let (effects, standing) = run(&bill(), &[before.clone(), fetched("paid", 2)]);
        assert!(effects.contains(&doubt), "{effects:?}");
        assert_eq!(standing, Standing::Reversed);
        // The other way round it is no news, and ends the same.
        let (effects, standing) = run(&bill(), &[fetched("paid", 2), before]);
        assert!(!effects.contains(&doubt), "{effects:?}");
        assert_eq!(standing, Standing::Reversed);
    }
    // The status is as far, the total is not.
    let doubt = back(PaymentStatus::Paid, PaymentStatus::Paid);
    let part = Fetched { status: PaymentStatus::Paid, ..refunded(40_000, 1) };
    assert!(run(&bill(), &[part, fetched("paid", 2)]).0.contains(&doubt));
    // Where no money moved, or nobody knows what the word means, nobody needs to know.
    let (effects, _) = run(&bill(), &[fetched("authorized", 1), fetched("initiated", 2)]);
    assert_eq!(effects, []);
    let unknown = Effect::Review(Doubt::UnknownStatus("on_hold".into()));
    let (effects, _) = run(&bill(), &[fetched("paid", 1), fetched("on_hold", 2)]);
    assert_eq!(effects, [Effect::Grant, unknown]);
}

#[test]
fn an_older_snapshot_changes_nothing() {
    let newer = settle(&bill(), None, &fetched("paid", 5)).record;
    for older in [fetched("failed", 4), fetched("initiated", 4), fetched("paid", 4)] {
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
        vec!["verified"],
        vec!["authorized"],
        vec!["abandoned"],
        vec!["expired"],
        vec!["canceled"],
        vec!["failed"],
        vec!["paid"],
        vec!["captured"],
        vec!["refunded"],
        vec!["voided"],
    ];
    for (level, names) in order.iter().enumerate() {
        for name in names {
            let seen = settle(&bill(), None, &timeless(fetched(name, 0))).record;
            for earlier in order.iter().take(level).flatten() {
                if *name == "voided" && ["paid", "captured", "refunded"].contains(earlier) {
                    // It proves that money was taken, and changes no status.
                    continue;
                }
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
    let record = settle(&bill(), Some(&voided), &fetched("paid", 1)).record;
    assert_eq!((record.status, record.standing), (PaymentStatus::Voided, Standing::Reversed));
}

#[test]
fn of_two_words_that_we_do_not_know_the_newer_counts() {
    let first = settle(&bill(), None, &fetched("on_hold", 1)).record;
    let second = settle(&bill(), Some(&first), &fetched("of_tomorrow", 2)).record;
    assert_eq!(second.status.name(), "of_tomorrow");
    let again = settle(&bill(), Some(&second), &fetched("on_hold", 1)).record;
    assert_eq!(again.status.name(), "of_tomorrow");
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
        let to = PaymentStatus::from_name(news);
        let doubt = Doubt::WentBack { from: PaymentStatus::Paid, to };
        let asked = vec![Effect::Grant, Effect::Review(doubt)];
        assert_eq!((effects, standing), (asked, Standing::Granted), "{news}");
        let paid = settle(&bill(), None, &fetched("paid", 1)).record;
        let record = settle(&bill(), Some(&paid), &fetched(news, 2)).record;
        assert_eq!(record.status, PaymentStatus::Paid, "{news}");
        assert_eq!(record.updated_at, Some(at(2)), "{news}");
    }
}

#[test]
fn at_one_and_the_same_instant_what_has_come_less_far_is_no_news() {
    let paid = settle(&bill(), None, &fetched("paid", 1)).record;
    assert_eq!(settle(&bill(), Some(&paid), &fetched("on_hold", 1)).effects, []);
}

#[test]
fn at_one_and_the_same_instant_what_has_come_as_far_is_news() {
    let paid = settle(&bill(), None, &fetched("paid", 1)).record;
    let other = Fetched { amount: Halalas(100), ..fetched("paid", 1) };
    let (billed, charged) = (PRICE, Halalas(100));
    let doubt = Doubt::AmountMismatch { billed, charged, coupon: None };
    assert_eq!(settle(&bill(), Some(&paid), &other).effects, [Effect::Review(doubt)]);
}
