//! Any sequence of moves, held against a model: every letter is where the model has it, whoever moved it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use dealix::queue::{Change, Filter, InHand, Letter, Letters, Pause, Pushed, Reach, Verdict};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

use crate::world::{LEASE, QUEUE, World, ids, letter, noon};

const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// One move. Ids are places in [`IDS`], bits of a mask say which of them are meant.
#[derive(Clone, Copy, Debug)]
enum Move {
    Push { id: usize, class: u8, delay: i64 },
    PushDead { id: usize },
    Rebuild { id: usize },
    Take { is_other: bool, limit: usize },
    TakeThese { mask: u8, is_dead_meant: bool },
    Settle { nth: usize, ending: Ending },
    Delete { mask: u8 },
    Restore { mask: u8 },
    Edit { id: usize },
    Pause,
    Resume,
    Wait { seconds: i64 },
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Done,
    Back { delay: i64 },
    Failed { class: u8, delay: i64 },
    Dead,
}

fn moves() -> impl Strategy<Value = Move> {
    let id = || 0..IDS.len();
    let mask = || any::<u8>();
    let delay = || prop_oneof![Just(0_i64), 0..50_i64];
    let ending = prop_oneof![
        Just(Ending::Done),
        delay().prop_map(|delay| Ending::Back { delay }),
        (0..2_u8, delay()).prop_map(|(class, delay)| Ending::Failed { class, delay }),
        Just(Ending::Dead),
    ];
    prop_oneof![
        4 => (id(), 0..2_u8, delay()).prop_map(|(id, class, delay)| Move::Push { id, class, delay }),
        1 => id().prop_map(|id| Move::PushDead { id }),
        1 => id().prop_map(|id| Move::Rebuild { id }),
        3 => (any::<bool>(), 0..4_usize).prop_map(|(is_other, limit)| Move::Take { is_other, limit }),
        1 => (mask(), any::<bool>())
            .prop_map(|(mask, is_dead_meant)| Move::TakeThese { mask, is_dead_meant }),
        4 => (0..8_usize, ending).prop_map(|(nth, ending)| Move::Settle { nth, ending }),
        1 => mask().prop_map(|mask| Move::Delete { mask }),
        1 => mask().prop_map(|mask| Move::Restore { mask }),
        1 => id().prop_map(|id| Move::Edit { id }),
        1 => Just(Move::Pause),
        2 => Just(Move::Resume),
        2 => (1..40_i64).prop_map(|seconds| Move::Wait { seconds }),
    ]
}

/// Where the model has a letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Waits { due: i64 },
    Held { by: usize, until: i64, is_other: bool, was_dead: bool },
    Dead,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    place: Place,
    deaths: u32,
}

#[derive(Default)]
struct Model {
    now: i64,
    is_paused: bool,
    letters: BTreeMap<&'static str, Known>,
    bin: BTreeMap<&'static str, Known>,
    /// How many were ever taken: each has a number.
    taken: usize,
}

impl Model {
    /// Somebody looks: leases that are over end.
    fn look(&mut self, asks_other: bool) {
        for known in self.letters.values_mut() {
            if let Place::Held { until, is_other, was_dead, .. } = known.place
                && until <= self.now
            {
                known.deaths += u32::from(is_other != asks_other);
                known.place = if was_dead { Place::Dead } else { Place::Waits { due: self.now } };
            }
        }
    }

    fn lease(&mut self, id: &'static str, is_other: bool) -> u32 {
        let until = self.now + LEASE.num_seconds();
        let known = self.letters.get_mut(id).unwrap();
        let was_dead = known.place == Place::Dead;
        known.place = Place::Held { by: self.taken, until, is_other, was_dead };
        self.taken += 1;
        known.deaths
    }

    /// Whom a worker gets.
    fn take(&mut self, is_other: bool, limit: usize) -> Vec<&'static str> {
        self.look(is_other);
        let mut line: Vec<_> = self
            .letters
            .iter()
            .filter_map(|(id, known)| match known.place {
                Place::Waits { due } if due <= self.now && !self.is_paused => Some((due, *id)),
                Place::Waits { .. } | Place::Held { .. } | Place::Dead => None,
            })
            .collect();
        line.sort_unstable();
        let line: Vec<_> = line.into_iter().map(|(_, id)| id).take(limit).collect();
        self.lease_in_order(&line, is_other).0
    }

    /// Those that are taken, and those that are left because one has to be alone.
    fn lease_in_order(
        &mut self,
        line: &[&'static str],
        is_other: bool,
    ) -> (Vec<&'static str>, Vec<&'static str>) {
        let (mut taken, mut left, mut is_alone) = (Vec::new(), Vec::new(), false);
        for id in line {
            let deaths = self.letters[id].deaths;
            is_alone |= deaths > 0 && !taken.is_empty();
            if is_alone {
                left.push(*id);
            } else {
                self.lease(id, is_other);
                taken.push(*id);
                is_alone = deaths > 0;
            }
        }
        (taken, left)
    }

    fn counts(&self) -> [u64; 4] {
        let mut counts = [0; 4];
        for known in self.letters.values() {
            let state = match known.place {
                Place::Waits { due } => usize::from(due > self.now),
                Place::Held { .. } => 2,
                Place::Dead => 3,
            };
            counts[state] += 1;
        }
        counts
    }
}

fn meant(mask: u8) -> Vec<&'static str> {
    (0..).zip(IDS).filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, id)| id).collect()
}

fn owned(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn time(second: i64) -> DateTime<Utc> {
    noon() + TimeDelta::seconds(second)
}

/// The real queue beside its model.
struct Both {
    world: World,
    model: Model,
    in_hand: Vec<(&'static str, InHand)>,
}

impl Both {
    fn new() -> Self {
        Self { world: World::new(), model: Model::default(), in_hand: Vec::new() }
    }

    fn letters(&self) -> &Letters {
        &self.world.letters
    }

    fn written(&self, id: usize, class: u8, delay: i64) -> Letter {
        Letter {
            error: format!("error {class} of {id}"),
            error_class: format!("class{class}"),
            next_attempt_at: time(self.model.now + delay),
            ..letter(IDS[id], self.model.now)
        }
    }

    /// Notes letters that were taken, in the order in which the model gave them numbers.
    fn hold(&mut self, expected: &[&'static str], taken: Vec<InHand>) {
        assert_eq!(ids(&taken), expected);
        for (id, held) in expected.iter().zip(taken) {
            assert_eq!(held.deaths, self.model.letters[id].deaths);
            self.in_hand.push((id, held));
        }
    }

    async fn push(&mut self, id: usize, is_rebuilt: bool, letter: &Letter, place: Place) {
        let now = time(self.model.now);
        let pushed = match (place, is_rebuilt) {
            (Place::Dead, _) => self.letters().push_dead(QUEUE, letter, now).await.unwrap(),
            (_, true) => self.letters().rebuild(QUEUE, letter, now).await.unwrap(),
            (_, false) => self.letters().push(QUEUE, letter, now).await.unwrap(),
        };
        let expected = if self.model.letters.contains_key(IDS[id]) {
            Pushed::Known
        } else if is_rebuilt && self.model.bin.contains_key(IDS[id]) {
            Pushed::Deleted
        } else {
            self.model.letters.insert(IDS[id], Known { place, deaths: 0 });
            Pushed::New
        };
        assert_eq!(pushed, expected);
    }

    async fn settle(&mut self, nth: usize, ending: Ending) {
        let Some((id, held)) = self.in_hand.get(nth) else { return };
        let (now, model) = (self.model.now, &mut self.model);
        let is_ours = matches!(model.letters.get(id), Some(Known { place: Place::Held { by, .. }, .. }) if *by == nth);
        let place = IDS.iter().position(|other| other == id).unwrap();
        let failed = |class: u8, delay| Letter {
            error: format!("error {class} of {place}"),
            error_class: format!("class{class}"),
            next_attempt_at: time(now + delay),
            ..letter(id, now)
        };
        let (rewritten, ending_at) = match ending {
            Ending::Done | Ending::Dead => (None, None),
            Ending::Back { delay } => (None, Some(delay)),
            Ending::Failed { class, delay } => (Some(failed(class, delay)), Some(delay)),
        };
        let verdict = match (ending, ending_at) {
            (Ending::Done, _) => Verdict::Done,
            (_, Some(delay)) => {
                Verdict::Back { letter: rewritten.as_ref(), due_at: time(now + delay) }
            }
            (_, None) => Verdict::Dead { letter: None },
        };
        let settled =
            self.world.letters.settle(QUEUE, time(now), &[(held, verdict)]).await.unwrap();
        assert_eq!(settled, [is_ours]);
        if is_ours {
            match (ending, ending_at) {
                (Ending::Done, _) => {
                    model.letters.remove(id);
                }
                (_, Some(delay)) => {
                    let place = Place::Waits { due: now + delay };
                    model.letters.insert(id, Known { place, deaths: 0 });
                }
                (_, None) => {
                    model.letters.insert(id, Known { place: Place::Dead, deaths: 0 });
                }
            }
        }
    }

    async fn delete(&mut self, ids: &[&'static str]) {
        self.model.look(false);
        let now = time(self.model.now);
        let changes = self.letters().delete(QUEUE, &owned(ids), "ops", now).await.unwrap();
        for (id, change) in ids.iter().zip(changes) {
            let expected = match self.model.letters.get(id).copied() {
                None if self.model.bin.contains_key(id) => Change::Done,
                None => Change::Missing,
                Some(Known { place: Place::Held { .. }, .. }) => Change::InFlight,
                Some(mut known) => {
                    if let Place::Waits { due } = &mut known.place {
                        // What is ready has no date of its own any more.
                        *due = if *due <= self.model.now { self.model.now } else { *due };
                    }
                    self.model.letters.remove(id);
                    self.model.bin.insert(id, known);
                    Change::Done
                }
            };
            assert_eq!(change, expected, "{id}");
        }
    }

    async fn restore(&mut self, ids: &[&'static str]) {
        let now = time(self.model.now);
        let changes = self.letters().restore(QUEUE, &owned(ids), now).await.unwrap();
        for (id, change) in ids.iter().zip(changes) {
            let expected = match self.model.bin.get(id).copied() {
                None => Change::Missing,
                Some(_) if self.model.letters.contains_key(id) => Change::Differs,
                Some(known) => {
                    self.model.bin.remove(id);
                    self.model.letters.insert(id, known);
                    Change::Done
                }
            };
            assert_eq!(change, expected, "{id}");
        }
    }

    async fn edit(&mut self, id: usize) {
        self.model.look(false);
        let body = format!(r#"{{"edited":{}}}"#, self.model.now);
        let now = time(self.model.now);
        let change = self.letters().edit(QUEUE, IDS[id], &body, now).await.unwrap();
        let expected = match self.model.letters.get(IDS[id]) {
            None => Change::Missing,
            Some(Known { place: Place::Held { .. }, .. }) => Change::InFlight,
            Some(Known { place: Place::Waits { .. } | Place::Dead, .. }) => Change::Done,
        };
        assert_eq!(change, expected);
    }

    async fn make(&mut self, one: Move) {
        let now = time(self.model.now);
        match one {
            Move::Push { id, class, delay } => {
                let letter = self.written(id, class, delay);
                let place = Place::Waits { due: self.model.now + delay };
                self.push(id, false, &letter, place).await;
            }
            Move::PushDead { id } => {
                let letter = self.written(id, 0, 0);
                self.push(id, false, &letter, Place::Dead).await;
            }
            Move::Rebuild { id } => {
                let letter = self.written(id, 1, 0);
                let place = Place::Waits { due: self.model.now };
                self.push(id, true, &letter, place).await;
            }
            Move::Take { is_other, limit } => {
                let expected = self.model.take(is_other, limit);
                let process = if is_other { &self.world.other } else { &self.world.letters };
                let taken = process.take(QUEUE, now, LEASE, limit).await.unwrap();
                self.hold(&expected, taken);
            }
            Move::TakeThese { mask, is_dead_meant } => {
                self.model.look(false);
                let wanted = meant(mask);
                let there = |id: &&'static str| match self.model.letters.get(id) {
                    Some(Known { place: Place::Waits { .. }, .. }) => true,
                    Some(Known { place: Place::Dead, .. }) => is_dead_meant,
                    Some(Known { place: Place::Held { .. }, .. }) | None => false,
                };
                let there: Vec<_> = wanted.iter().copied().filter(there).collect();
                let (expected, left) = self.model.lease_in_order(&there, false);
                let reach = if is_dead_meant { Reach::AlsoDead } else { Reach::Waiting };
                let wanted = owned(&wanted);
                let taken = self.letters().take_these(QUEUE, &wanted, reach, now, LEASE).await;
                let taken = taken.unwrap();
                assert_eq!(taken.left, left);
                self.hold(&expected, taken.in_hand);
            }
            Move::Settle { nth, ending } => self.settle(nth, ending).await,
            Move::Delete { mask } => self.delete(&meant(mask)).await,
            Move::Restore { mask } => self.restore(&meant(mask)).await,
            Move::Edit { id } => self.edit(id).await,
            Move::Pause => {
                let pause = Pause { by: "ops".into(), reason: "a test".into(), at: now };
                self.letters().pause(QUEUE, &pause).await.unwrap();
                self.model.is_paused = true;
            }
            Move::Resume => {
                let was_paused = self.letters().resume(QUEUE).await.unwrap();
                assert_eq!(was_paused, self.model.is_paused);
                self.model.is_paused = false;
            }
            Move::Wait { seconds } => self.model.now += seconds,
        }
    }

    async fn compare(&mut self) {
        let now = time(self.model.now);
        assert_eq!(self.world.counts(now).await, self.model.counts());
        self.model.look(false);
        let found = self.world.ids(&Filter::default(), now).await;
        let known: Vec<_> = self.model.letters.keys().copied().collect();
        let mut sorted = found.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, known);
        for id in found {
            assert_eq!(self.world.get(&id, now).await.deaths, self.model.letters[&*id].deaths);
        }
        assert_eq!(self.world.counts(now).await, self.model.counts());
        self.world.audit();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_moves_leave_every_letter_where_the_model_has_it(
        moves in proptest::collection::vec(moves(), 1..50)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut both = Both::new();
            for one in moves {
                both.make(one).await;
                both.compare().await;
            }
        });
    }
}
