//! Places by number: a table that only grows, of what lies elsewhere.
//!
//! One multiplication and, most often, one comparison. The table holds places and
//! no keys: whoever asks knows what lies at a place, so that an entry takes four
//! bytes. Numbers are such that no client chooses where they lie: labels by a
//! hash with a seed, label sets by a method and a status from closed sets and the
//! number of a path label, which are given in turn.

use crate::words::{home, mix};

/// Entries of the smallest table.
const SMALLEST: usize = 64;

/// No place: nothing has so many.
const VACANT: u32 = u32::MAX;

/// Places by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// A power of two of them, or none; at most half of them are in use.
    places: Vec<u32>,
    used: usize,
}

impl Index {
    /// The place with this number for which `is` says so. It says `None` of a
    /// place where nothing lies.
    #[inline]
    pub(super) fn get(&self, number: u64, is: impl Fn(usize) -> Option<bool>) -> Option<usize> {
        let mask = self.places.len().wrapping_sub(1);
        let mut at = home(mix(0, number));
        loop {
            let place = *self.places.get(at & mask)? as usize;
            if is(place)? {
                return Some(place);
            }
            at = at.wrapping_add(1);
        }
    }

    /// Gives a number a place that it does not have so far; `number_of` tells
    /// those of the others.
    pub(super) fn insert(&mut self, number: u64, place: usize, number_of: impl Fn(usize) -> u64) {
        // What is not in the table is not found, and counts as overflow.
        let Ok(new) = u32::try_from(place) else {
            return;
        };
        if 2 * (self.used + 1) > self.places.len() {
            let size = (2 * self.places.len()).max(SMALLEST);
            let before = std::mem::replace(&mut self.places, vec![VACANT; size]);
            for place in before.into_iter().filter(|place| *place != VACANT) {
                self.put(number_of(place as usize), place);
            }
        }
        self.used += 1;
        self.put(number, new);
    }

    fn put(&mut self, number: u64, new: u32) {
        let mask = self.places.len().wrapping_sub(1);
        let mut at = home(mix(0, number));
        while let Some(place) = self.places.get_mut(at & mask) {
            if *place == VACANT {
                *place = new;
                return;
            }
            at = at.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys, each at the place of its turn.
    #[derive(Default)]
    struct Keys {
        index: Index,
        keys: Vec<u64>,
    }

    impl Keys {
        fn add(&mut self, key: u64) {
            let place = self.keys.len();
            self.keys.push(key);
            self.index.insert(key, place, |at| self.keys[at]);
        }

        fn get(&self, key: u64) -> Option<usize> {
            let is = |at: usize| self.keys.get(at).map(|known| *known == key);
            self.index.get(key, is)
        }
    }

    #[test]
    fn every_number_that_was_inserted_has_its_place_and_no_other_has_one() {
        let mut keys = Keys::default();
        assert_eq!(keys.get(0), None);
        for number in 0..5_000_u64 {
            assert_eq!(keys.get(number << 32 | 200), None);
            keys.add(number << 32 | 200);
        }
        for (number, place) in (0..5_000_u64).zip(0..) {
            assert_eq!(keys.get(number << 32 | 200), Some(place));
            assert_eq!(keys.get(number << 32 | 404), None);
        }
        assert!(keys.index.places.len() >= 2 * keys.index.used);
    }

    #[test]
    fn what_has_one_number_is_told_apart() {
        let names = ["a", "b", "c"];
        let mut index = Index::default();
        let get = |index: &Index, name: &str| {
            index.get(7, |at| names.get(at).map(|known| *known == name))
        };
        for place in 0..names.len() {
            index.insert(7, place, |_| 7);
        }
        for (place, name) in names.into_iter().enumerate() {
            assert_eq!(get(&index, name), Some(place));
        }
        assert_eq!(get(&index, "d"), None);
    }

    #[test]
    fn the_keys_of_a_service_lie_far_apart() {
        let mut all = Keys::default();
        let keys = (0..1_000_u64).flat_map(|path| {
            let statuses = [200_u64, 201, 304, 404, 500];
            statuses.map(|status| path << 32 | status << 8 | 1)
        });
        for key in keys.clone() {
            all.add(key);
        }
        let places = &all.index.places;
        let steps = |key: u64| {
            let mask = places.len() - 1;
            (0..)
                .position(|step| {
                    let place = places[(home(mix(0, key)) + step) & mask];
                    all.keys[place as usize] == key
                })
                .unwrap()
        };
        let sum: usize = keys.clone().map(steps).sum();
        assert!(sum < 2 * keys.count(), "{sum} steps");
    }
}
