//! The audit: every letter in exactly one state, and every index in agreement with the letters.

use std::collections::{BTreeMap, BTreeSet};

use redis::Commands;
use serde_json::Value;

use crate::world::World;

/// Tells what a packed value holds.
const UNPACK: &str = "local told = {}
for at, packed in ipairs(redis.call('hvals', KEYS[1])) do told[at] = cjson.encode(cmsgpack.unpack(packed)) end
return told";

type Scores = BTreeMap<String, i64>;

/// What a letter is found by.
struct Face {
    created: i64,
    class: String,
    source: String,
    group: String,
    request: String,
}

impl World {
    /// Looks at every key of the queue.
    pub fn audit(&mut self) {
        let letters: BTreeMap<String, String> = self.raw.hgetall(self.key("letters")).unwrap();
        let faces = self.faces();
        let ids: BTreeSet<_> = letters.keys().cloned().collect();
        assert_eq!(ids, faces.keys().cloned().collect(), "every letter has a face");

        let states = ["ready", "scheduled", "in_flight", "dead"].map(|state| self.scores(state));
        let placed: usize = states.iter().map(Scores::len).sum();
        assert_eq!(placed, letters.len(), "every letter is in one state");
        for (id, created) in states.iter().flatten() {
            assert_eq!(*created, faces[id].created, "{id}");
        }
        let [ready, scheduled, in_flight, _] = states;
        assert_eq!(names(&ready), names(&self.scores("line")));
        assert_eq!(names(&scheduled), names(&self.scores("due")));
        assert_eq!(names(&in_flight), names(&self.scores("leased")));
        assert_eq!(names(&in_flight), self.fields("leases"));
        assert!(self.fields("deaths").is_subset(&ids));
        assert_eq!(self.fields("bin"), names(&self.scores("binned")));

        for (id, written) in &letters {
            if let Ok(Value::Object(letter)) = serde_json::from_str(written)
                && letter["v"] == 1
            {
                let face = &faces[id];
                assert_eq!(letter["created_at"], face.created, "{id}");
                assert_eq!(letter["error_class"], face.class.as_str(), "{id}");
                assert_eq!(letter["source"], face.source.as_str(), "{id}");
                assert_eq!(letter["request_id"], face.request.as_str(), "{id}");
            }
        }
        self.audit_indexes(&faces);
    }

    fn audit_indexes(&mut self, faces: &BTreeMap<String, Face>) {
        let mut expected: BTreeMap<String, Scores> = BTreeMap::new();
        let mut requests = BTreeSet::new();
        for (id, face) in faces {
            let Face { created, class, source, group, request } = face;
            for name in
                [format!("class:{class}"), format!("source:{source}"), format!("group:{group}")]
            {
                expected.entry(self.key(&name)).or_default().insert(id.clone(), *created);
            }
            requests.insert(format!("{request}\0{created:015}\0{id}"));
        }
        let mut found = BTreeMap::new();
        for kind in ["class", "source", "group"] {
            let keys: Vec<String> = self.raw.keys(self.key(kind) + ":*").unwrap();
            for key in keys {
                let scores: Vec<(String, i64)> = self.raw.zrange_withscores(&key, 0, -1).unwrap();
                found.insert(key, scores.into_iter().collect::<Scores>());
            }
        }
        assert_eq!(found, expected, "the indexes agree with the letters");
        assert_eq!(names(&self.scores("requests")), requests);

        let groups: BTreeSet<_> = faces.values().map(|face| face.group.clone()).collect();
        let (live, gone) = (names(&self.scores("groups_live")), names(&self.scores("groups_gone")));
        assert_eq!(live, groups, "a group with letters is live, and no other");
        assert!(live.is_disjoint(&gone));
        assert_eq!(self.fields("groups"), live.union(&gone).cloned().collect());
    }

    fn faces(&mut self) -> BTreeMap<String, Face> {
        let ids: Vec<String> = self.raw.hkeys(self.key("faces")).unwrap();
        let mut unpack = redis::cmd("EVAL");
        unpack.arg(UNPACK).arg(1).arg(self.key("faces"));
        let faces: Vec<String> = unpack.query(&mut self.raw).unwrap();
        let read = |face: String| {
            let (created, number, class, source, group, request): (i64, u64, _, _, _, _) =
                serde_json::from_str(&face).unwrap();
            assert!(number > 0);
            Face { created, class, source, group, request }
        };
        ids.into_iter().zip(faces.into_iter().map(read)).collect()
    }

    fn scores(&mut self, part: &str) -> Scores {
        let scores: Vec<(String, i64)> = self.raw.zrange_withscores(self.key(part), 0, -1).unwrap();
        scores.into_iter().collect()
    }

    fn fields(&mut self, part: &str) -> BTreeSet<String> {
        let fields: Vec<String> = self.raw.hkeys(self.key(part)).unwrap();
        fields.into_iter().collect()
    }
}

fn names(scores: &Scores) -> BTreeSet<String> {
    scores.keys().cloned().collect()
}
