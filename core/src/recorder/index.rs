//! Places by number: a table that only grows, made for numbers that no client
//! chooses.
//!
//! One multiplication and, most often, one comparison. A label set is looked up
//! at each request, and its key is made of a method and a status from closed sets
//! and the number of a path label, which are given in turn.

use crate::words::{home, mix};

/// Places in the smallest table.
const SMALLEST: usize = 64;

/// No key: not all of its bits are in use.
const VACANT: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    place: usize,
}

/// Places by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// A power of two of them, or none; at most half of them are in use.
    entries: Vec<Entry>,
    used: usize,
}

impl Index {
    /// The place of a number.
    #[inline]
    pub(super) fn get(&self, key: u64) -> Option<usize> {
        let mask = self.entries.len().wrapping_sub(1);
        let mut at = home(mix(0, key));
        loop {
            let entry = self.entries.get(at & mask)?;
            if entry.key == key {
                return Some(entry.place);
            }
            if entry.key == VACANT {
                return None;
            }
            at = at.wrapping_add(1);
        }
    }

    /// Gives a number its place; it has none so far.
    pub(super) fn insert(&mut self, key: u64, place: usize) {
        if 2 * (self.used + 1) > self.entries.len() {
            let vacant = Entry {
                key: VACANT,
                place: 0,
            };
            let size = (2 * self.entries.len()).max(SMALLEST);
            let before = std::mem::replace(&mut self.entries, vec![vacant; size]);
            for entry in before.into_iter().filter(|entry| entry.key != VACANT) {
                self.put(entry);
            }
        }
        self.used += 1;
        self.put(Entry { key, place });
    }

    fn put(&mut self, new: Entry) {
        let mask = self.entries.len().wrapping_sub(1);
        let mut at = home(mix(0, new.key));
        while let Some(entry) = self.entries.get_mut(at & mask) {
            if entry.key == VACANT {
                *entry = new;
                return;
            }
            at = at.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_that_was_inserted_has_its_place_and_no_other_has_one() {
        let mut index = Index::default();
        assert_eq!(index.get(0), None);
        for (number, place) in (0..5_000_u64).zip(0..) {
            assert_eq!(index.get(number << 32 | 200), None);
            index.insert(number << 32 | 200, place);
        }
        for (number, place) in (0..5_000_u64).zip(0..) {
            assert_eq!(index.get(number << 32 | 200), Some(place));
            assert_eq!(index.get(number << 32 | 404), None);
        }
        assert!(index.entries.len() >= 2 * index.used);
    }

    #[test]
    fn the_keys_of_a_service_lie_far_apart() {
        let mut index = Index::default();
        let keys = (0..1_000_u64).flat_map(|path| {
            let statuses = [200_u64, 201, 304, 404, 500];
            statuses.map(|status| path << 32 | status << 8 | 1)
        });
        for key in keys.clone() {
            index.insert(key, 0);
        }
        let steps = |key: u64| {
            let mask = index.entries.len() - 1;
            (0..)
                .position(|step| index.entries[(home(mix(0, key)) + step) & mask].key == key)
                .unwrap()
        };
        let all: usize = keys.clone().map(steps).sum();
        assert!(all < 2 * keys.count(), "{all} steps");
    }
}
