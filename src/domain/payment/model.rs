//! A second opinion on the state machine: what must have happened, worked out from all that was shown at
//! once, and held against what the machine did one snapshot after the other.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const BILLED: i64 = 99_000;

/// What the provider showed of one payment at one second of its life.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Shot {
    second: u32,
    word: &'static str,
    amount: i64,
    captured: i64,
    refunded: i64,
}

impl Shot {
    fn fetched(&self) -> Fetched {
        Fetched {
            status: PaymentStatus::from_name(self.word),
            amount: Halalas(self.amount),
            currency: "SAR".into(),
            refunded: Halalas(self.refunded),
            captured: Halalas(self.captured),
            updated_at: Some(format!("2026-11-20T10:00:{:02}Z", self.second).parse().unwrap()),
            message: None,
            coupon: None,
        }
    }

    /// What it shows that was charged, if it shows that anything was.
    fn proof(&self) -> Option<i64> {
        match self.word {
            "paid" => Some(self.amount),
            "captured" => Some(self.captured),
            "refunded" => Some(if self.captured > 0 { self.captured } else { self.amount }),
            "voided" if self.captured > 0 => Some(self.captured),
            _ => None,
        }
    }

    /// How far it is: unknown words tell nothing.
    fn distance(&self) -> usize {
        const ROAD: [&str; 11] = [
            "initiated",
            "verified",
            "authorized",
            "abandoned",
            "expired",
            "canceled",
            "failed",
            "paid",
            "captured",
            "refunded",
            "voided",
        ];
        ROAD.iter().position(|stop| *stop == self.word).map_or(0, |stop| stop + 1)
    }
}

/// What must have become of a payment.
#[derive(Debug, PartialEq, Eq)]
struct Fate {
    status: String,
    refunded: i64,
    captured: i64,
    standing: Standing,
    effects: BTreeSet<String>,
}

/// The fate of payment `me` after everything in `seen` was seen, in that order.
fn fate(seen: &[(usize, Shot)], me: usize) -> Fate {
    let mine: Vec<(usize, &Shot)> = seen
        .iter()
        .enumerate()
        .filter(|(_, (who, _))| *who == me)
        .map(|(at, (_, it))| (at, it))
        .collect();
    let furthest = mine.iter().max_by_key(|(_, it)| (it.distance(), it.second)).unwrap().1;
    let proof = |who: usize| {
        let mut all = seen.iter().enumerate().filter(|(_, (whose, _))| *whose == who);
        all.find_map(|(at, (_, it))| it.proof().map(|charged| (at, charged)))
    };
    // Who comes first with the right sum has paid; everybody else's money is held.
    let payer = (0..=2)
        .filter_map(|who| {
            proof(who).filter(|(_, charged)| *charged == BILLED).map(|it| (it.0, who))
        })
        .min();
    let is_payer = payer.is_some_and(|(_, who)| who == me);

    let mut effects = BTreeSet::new();
    let mut standing = Standing::Open;
    if let Some((proven_at, charged)) = proof(me) {
        let is_gone_by = |at: usize| {
            let mut until = mine.iter().filter(|(when, _)| *when <= at);
            until.any(|(_, it)| it.word == "voided" || it.refunded >= charged)
        };
        let total_by = |at: usize| {
            mine.iter().filter(|(when, _)| *when <= at).map(|(_, it)| it.refunded).max().unwrap()
        };
        let riyals = |halalas: i64| Halalas(halalas).riyals();
        let heard = |total: i64| {
            let (total, charged) = (riyals(total), riyals(charged));
            format!(
                "review:held_refund:of money that is held {total} of {charged} SAR were given back"
            )
        };
        let moments = || mine.iter().map(|(at, _)| *at).filter(|at| proven_at <= *at);
        // Totals on the way, as far as they were the largest when they were seen.
        for at in moments().filter(|at| !is_gone_by(*at) && total_by(*at) > 0) {
            let total = total_by(at);
            if is_payer {
                effects.insert(format!("refunded:{total}"));
                effects.insert(format!(
                    "review:partial_refund:{} of {} SAR were given back",
                    riyals(total),
                    riyals(charged)
                ));
            } else {
                effects.insert(heard(total));
            }
        }
        let gone_at = moments().find(|at| is_gone_by(*at));
        let gone = gone_at.map(|at| {
            let is_void = mine.iter().any(|(when, it)| *when <= at && it.word == "voided");
            if is_void { charged } else { total_by(at) }
        });
        standing = match (is_payer, gone) {
            (true, None) => Standing::Granted,
            (true, Some(total)) => {
                effects.extend(["reversed".to_owned(), format!("refunded:{total}")]);
                Standing::Reversed
            }
            (false, None) => Standing::Held,
            (false, Some(total)) => {
                effects.extend(["returned".to_owned(), heard(total)]);
                Standing::Returned
            }
        };
        effects.insert(if is_payer {
            "granted".to_owned()
        } else if charged == BILLED {
            "review:second_payment:the checkout was already paid by another payment".to_owned()
        } else {
            let (billed, charged) = (riyals(BILLED), riyals(charged));
            format!("review:amount_mismatch:billed {billed} SAR, charged {charged} SAR")
        });
    }
    effects.extend(news(&mine, proof(me).map(|(at, _)| at)));
    Fate {
        status: furthest.word.to_owned(),
        refunded: mine.iter().map(|(_, it)| it.refunded).max().unwrap(),
        captured: mine.iter().map(|(_, it)| it.captured).max().unwrap(),
        standing,
        effects,
    }
}

/// The effects of what was news when it was seen.
fn news(mine: &[(usize, &Shot)], proven_at: Option<usize>) -> BTreeSet<String> {
    let mut effects = BTreeSet::new();
    for (place, (at, it)) in mine.iter().enumerate() {
        let before = &mine[..place];
        if before.iter().any(|(_, earlier)| earlier.second >= it.second) {
            continue;
        }
        match it.word {
            "failed" | "abandoned" | "expired" | "canceled" => {
                effects.insert(format!("attempt:{}", it.word));
            }
            "voided" if proven_at.is_none_or(|proven_at| proven_at > *at) => {
                effects.insert("attempt:voided".to_owned());
                let stop = before.iter().max_by_key(|(_, it)| (it.distance(), it.second));
                if stop.is_none_or(|(_, it)| !["authorized", "verified"].contains(&it.word)) {
                    effects.insert(format!("review:voided_unseen:{}", Doubt::VoidedUnseen));
                }
            }
            "on_hold" => {
                let text = "the payment is `on_hold`, whatever that is";
                effects.insert(format!("review:unknown_status:{text}"));
            }
            _ => (),
        }
    }
    effects
}

/// A life that a payment can really have at the provider: words, with the totals captured and refunded.
const LIVES: &[&[(&str, i64, i64)]] = &[
    &[("initiated", 0, 0), ("paid", 0, 0)],
    &[("initiated", 0, 0), ("failed", 0, 0)],
    &[("initiated", 0, 0), ("abandoned", 0, 0)],
    &[("initiated", 0, 0), ("expired", 0, 0)],
    &[("initiated", 0, 0), ("canceled", 0, 0)],
    &[("verified", 0, 0), ("voided", 0, 0)],
    &[("initiated", 0, 0), ("paid", 0, 0), ("refunded", 0, 99_000)],
    &[("paid", 0, 0), ("paid", 0, 40_000), ("paid", 0, 70_000), ("refunded", 0, 99_000)],
    &[("paid", 0, 0), ("refunded", 0, 40_000), ("refunded", 0, 98_999)],
    &[("initiated", 0, 0), ("paid", 0, 0), ("voided", 0, 0)],
    &[("initiated", 0, 0), ("authorized", 0, 0), ("voided", 0, 0)],
    &[("authorized", 0, 0), ("captured", 99_000, 0), ("refunded", 99_000, 99_000)],
    &[("authorized", 0, 0), ("captured", 99_000, 0), ("voided", 99_000, 0)],
    &[("authorized", 0, 0), ("captured", 50_000, 0), ("refunded", 50_000, 50_000)],
    &[("authorized", 0, 0), ("captured", 50_000, 0), ("captured", 50_000, 20_000)],
];

/// One payment: its life, perhaps of another amount, perhaps with a word in it that we do not know.
fn life() -> impl Strategy<Value = Vec<Shot>> {
    let amount = prop_oneof![4 => Just(BILLED), 1 => Just(9_900_i64), 1 => Just(990_000_i64)];
    let unknown = prop::option::weighted(0.3, any::<Index>());
    (prop::sample::select(LIVES), amount, unknown).prop_map(|(life, amount, unknown)| {
        let mut shots: Vec<Shot> = life
            .iter()
            .map(|(word, captured, refunded)| Shot {
                second: 0,
                word,
                amount,
                captured: *captured,
                refunded: *refunded,
            })
            .collect();
        if let Some(index) = unknown {
            let after = index.index(shots.len());
            shots.insert(after + 1, Shot { word: "on_hold", ..shots[after].clone() });
        }
        for (second, shot) in (0_u32..).zip(&mut shots) {
            shot.second = second;
        }
        shots
    })
}

/// What is seen of up to three payments of one checkout: any of their snapshots, in any order, again and
/// again, interleaved.
fn sightings() -> impl Strategy<Value = Vec<(usize, Shot)>> {
    let lives = prop::collection::vec(life(), 1..=3);
    let picks = prop::collection::vec((any::<Index>(), any::<Index>()), 1..24);
    (lives, picks).prop_map(|(lives, picks)| {
        let pick = |(who, when): (Index, Index)| {
            let who = who.index(lives.len());
            (who, when.get(&lives[who]).clone())
        };
        picks.into_iter().map(pick).collect()
    })
}

/// A snapshot of any word at any second, whether a payment can have such a life or not.
fn anything() -> impl Strategy<Value = Shot> {
    let words = [
        "on_hold",
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
    let refunded = prop_oneof![Just(0_i64), Just(40_000), Just(BILLED)];
    (prop::sample::select(words.to_vec()), refunded).prop_map(|(word, refunded)| {
        let captured = if word == "captured" { BILLED } else { 0 };
        Shot { second: 0, word, amount: BILLED, captured, refunded }
    })
}

/// Lets the machine see them one after the other, and tells every effect that it wanted, in order.
fn run(seen: &[(usize, Shot)]) -> (Vec<Option<Recorded>>, Vec<(usize, Effect)>) {
    let mut records: Vec<Option<Recorded>> = vec![None; 3];
    let mut effects = Vec::new();
    for (who, shot) in seen {
        let has_paid =
            |record: &Recorded| matches!(record.standing, Standing::Granted | Standing::Reversed);
        let others = records.iter().enumerate().filter(|(other, _)| other != who);
        let bill = Bill {
            amount: Halalas(BILLED),
            currency: "SAR".into(),
            is_paid_by_another: others.filter_map(|(_, it)| it.as_ref()).any(has_paid),
            is_closed: false,
            plan_change: None,
        };
        let settlement = settle(&bill, records[*who].as_ref(), &shot.fetched());
        effects.extend(settlement.effects.into_iter().map(|effect| (*who, effect)));
        records[*who] = Some(settlement.record);
    }
    (records, effects)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_machine_agrees_with_the_model_whatever_was_seen_in_whatever_order(
        seen in sightings(),
    ) {
        let (records, effects) = run(&seen);
        for (who, record) in records.iter().enumerate() {
            let Some(record) = record else { continue };
            let happened: Vec<String> =
                effects.iter().filter(|(whose, _)| *whose == who).map(|it| it.1.key()).collect();
            let once: BTreeSet<String> = happened.iter().cloned().collect();
            prop_assert_eq!(happened.len(), once.len(), "an effect happened twice");
            prop_assert_eq!(&once, &record.done);
            let became = Fate {
                status: record.status.name().to_owned(),
                refunded: record.refunded.0,
                captured: record.captured.0,
                standing: record.standing,
                effects: once,
            };
            prop_assert_eq!(became, fate(&seen, who));
        }
        let granted = effects.iter().filter(|(_, effect)| *effect == Effect::Grant).count();
        prop_assert!(granted <= 1, "a checkout is granted once");
    }

    /// Also of a provider that says what makes no sense: the order of the same facts changes nothing of
    /// what is recorded, granted or taken back.
    #[test]
    fn every_order_of_the_same_facts_ends_the_same(
        shots in prop::collection::vec(anything(), 1..6),
        order in prop::collection::vec(any::<Index>(), 0..16),
    ) {
        let shots: Vec<(usize, Shot)> =
            (0_u32..).zip(shots).map(|(second, shot)| (0, Shot { second, ..shot })).collect();
        let mut shuffled: Vec<_> = order.iter().map(|at| at.get(&shots).clone()).collect();
        let missing: Vec<_> = shots.iter().filter(|it| !shuffled.contains(it)).cloned().collect();
        shuffled.extend(missing);
        let end = |seen: &[(usize, Shot)]| {
            let (records, effects) = run(seen);
            let record = records[0].clone().unwrap();
            let lasting = [Effect::Grant, Effect::Reverse].map(|effect| {
                effects.iter().filter(|(_, it)| *it == effect).count()
            });
            let Recorded { status, refunded, captured, updated_at, standing, .. } = record;
            (status, refunded, captured, updated_at, standing, lasting)
        };
        prop_assert_eq!(end(&shots), end(&shuffled));
    }
}
