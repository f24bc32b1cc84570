//! A bounded store in order of arrival with an index by key; the oldest item leaves when it is full.

use std::collections::{HashMap, VecDeque};

/// Finds by key and by position in constant time, and walks from the newest.
#[derive(Debug)]
pub(crate) struct Shelf<T> {
    items: VecDeque<(String, T)>,
    index: HashMap<String, u64>,
    /// The position of the oldest item still here.
    first: u64,
    limit: usize,
}

impl<T> Shelf<T> {
    pub(crate) fn unbounded() -> Self {
        Self::bounded(usize::MAX)
    }

    pub(crate) fn bounded(limit: usize) -> Self {
        Self { items: VecDeque::new(), index: HashMap::new(), first: 0, limit: limit.max(1) }
    }

    /// Adds an item under a new key and answers its position.
    pub(crate) fn insert(&mut self, key: &str, item: T) -> u64 {
        if self.items.len() >= self.limit
            && let Some((oldest, _)) = self.items.pop_front()
        {
            self.index.remove(&oldest);
            self.first += 1;
        }
        let position = self.total();
        self.items.push_back((key.to_owned(), item));
        self.index.insert(key.to_owned(), position);
        position
    }

    pub(crate) fn position(&self, key: &str) -> Option<u64> {
        self.index.get(key).copied()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        self.at(self.position(key)?)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut T> {
        let place = usize::try_from(self.position(key)?.checked_sub(self.first)?).ok()?;
        self.items.get_mut(place).map(|(_, item)| item)
    }

    pub(crate) fn at(&self, position: u64) -> Option<&T> {
        let place = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.items.get(place).map(|(_, item)| item)
    }

    /// How many items ever arrived, those that left included.
    pub(crate) fn total(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    pub(crate) fn oldest_first(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.iter().map(|(_, item)| item)
    }

    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &T> {
        self.oldest_first().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_shelf_forgets_its_oldest_item_and_still_finds_the_others() {
        let mut shelf = Shelf::bounded(2);
        for key in ["a", "b", "c"] {
            shelf.insert(key, key.to_uppercase());
        }
        assert_eq!(shelf.get("a"), None);
        assert_eq!(shelf.get("b").map(String::as_str), Some("B"));
        assert_eq!(shelf.get_mut("c").map(|item| item.as_str()), Some("C"));
        assert_eq!(shelf.newest_first().collect::<Vec<_>>(), ["C", "B"]);
        assert_eq!(shelf.total(), 3);
    }
}
