//! A bounded memory of what paths are, by their bytes as they came.
//!
//! It holds two generations; a path that is asked for again moves to the young
//! one, and when that is full the old one is dropped. So a flood of new paths
//! costs the work of labelling, and never the place of a path in use for long.
//!
//! The bytes of a generation lie in one piece of memory, so nothing is allocated
//! for a path and dropping all of them is one step. Clients choose what is kept
//! here: a path is looked for in [`TRIES`] places and no more, so that paths with
//! one hash drive out each other and cost nobody else.

use super::growth::make_room;
use crate::path_label::MAX_LOOKED_AT;
use crate::words::{bytes_like, home, last, mix, same};

/// Paths in one generation: all those of a service with as many label sets as it
/// may have, unless it is told otherwise.
const GENERATION: usize = 6 * 1024;

/// Bytes of all their paths.
const BYTES: usize = 256 * 1024;

/// Longest path that is remembered, in bytes.
pub(super) const LONGEST: usize = 256;

/// Places in the smallest table.
const SMALLEST: usize = 64;

/// Places from which on half of a table may be in use, in place of a quarter.
const LARGE: usize = 4 * 1024;

/// Places in which a path may be.
const TRIES: usize = 32;

/// A path that can be remembered: what stands before `?`. A fragment is no part of
/// a request (RFC 9112 §3.2); where one comes nevertheless, the path is remembered
/// with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    path: &'a [u8],
    hash: u64,
}

impl<'a> Key<'a> {
    /// `None` where the path is empty or longer than [`LONGEST`]. The end of the
    /// path and its hash are found in one go.
    #[inline]
    pub(super) fn new(target: &'a [u8], seed: u64) -> Option<Self> {
        // One byte more than is remembered shows that there is more.
        const { assert!(LONGEST < MAX_LOOKED_AT) };
        let seen = target.get(..=LONGEST).unwrap_or(target);
        let mut hash = seed;
        let mut end = 0;
        for word in seen.as_chunks::<8>().0 {
            let word = u64::from_le_bytes(*word);
            let ends = bytes_like(word, b'?');
            if ends != 0 {
                return Self::cut(seen, end, ends, hash);
            }
            hash = mix(hash, word);
            end += 8;
        }
        let word = last(seen);
        let ends = bytes_like(word, b'?');
        if ends != 0 {
            // Of a last word that overlaps these, what they bring is none.
            return Self::cut(seen, seen.len().saturating_sub(8), ends, hash);
        }
        Self::of(seen, hash, word)
    }

    /// The key where the path ends before a `?`: at `begin`, where the word begins
    /// that has it, and the place of the lowest bit of `ends`.
    #[inline(always)]
    fn cut(seen: &'a [u8], begin: usize, ends: u64, hash: u64) -> Option<Self> {
        let path = seen.get(..begin + ends.trailing_zeros() as usize / 8)?;
        Self::of(path, hash, last(path))
    }

    /// The key of a path whose last word is `word`, and `hash` that of the others.
    /// The last word overlaps the one before, so the length tells of how many
    /// bytes it brings.
    #[inline(always)]
    fn of(path: &'a [u8], hash: u64, word: u64) -> Option<Self> {
        if path.is_empty() || path.len() > LONGEST {
            return None;
        }
        let hash = mix(hash ^ path.len() as u64, word);
        Some(Self { path, hash })
    }

    /// The key with this path and hash.
    pub(super) const fn of_parts(path: &'a [u8], hash: u64) -> Self {
        Self { path, hash }
    }

    #[inline]
    pub(super) fn path(&self) -> &'a [u8] {
        self.path
    }

    #[inline]
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

/// Where the bytes of a path begin, and below that their number, and what it is.
#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    /// 0 where the place is vacant.
    bytes: u32,
    what: T,
}

/// Bits of the number of a path's bytes.
const LENGTH: u32 = LONGEST.ilog2() + 1;

impl<T: Copy + Default> Entry<T> {
    fn vacant() -> Self {
        Self {
            bytes: 0,
            what: T::default(),
        }
    }

    #[inline]
    const fn is_vacant(&self) -> bool {
        self.bytes == 0
    }
}

#[derive(Debug)]
struct Generation<T> {
    /// A power of two of them, or none.
    entries: Vec<Entry<T>>,
    used: usize,
    bytes: Vec<u8>,
    seed: u64,
}

impl<T: Copy + Default> Generation<T> {
    const fn new(seed: u64) -> Self {
        Self {
            entries: Vec::new(),
            used: 0,
            bytes: Vec::new(),
            seed,
        }
    }

    fn has_room(&self, path: &[u8]) -> bool {
        self.used < GENERATION && self.bytes.len() + path.len() <= BYTES
    }

    /// Drops all paths, and makes as much room as `other` has: growing step by
    /// step, it would leave holes behind.
    fn clear(&mut self, other: &Self) {
        if self.entries.len() < other.entries.len() {
            self.entries = Vec::new();
            self.entries = vec![Entry::vacant(); other.entries.len()];
        } else {
            self.entries.fill(Entry::vacant());
        }
        self.used = 0;
        self.bytes.clear();
        self.bytes.reserve_exact(other.bytes.len());
    }

    /// What a path is, if it lies where it is looked for first.
    #[inline]
    fn at_home(&self, key: Key<'_>) -> Option<T> {
        let mask = self.entries.len().wrapping_sub(1);
        let entry = self.entries.get(home(key.hash) & mask)?;
        same(self.path(entry), key.path).then_some(entry.what)
    }

    fn get(&self, key: Key<'_>) -> Option<T> {
        let mask = self.entries.len().wrapping_sub(1);
        for place in 0..TRIES {
            let entry = self
                .entries
                .get(home(key.hash).wrapping_add(place) & mask)?;
            if entry.is_vacant() {
                return None;
            }
            if same(self.path(entry), key.path) {
                return Some(entry.what);
            }
        }
        None
    }

    #[inline]
    fn path(&self, entry: &Entry<T>) -> &[u8] {
        let begin = (entry.bytes >> LENGTH) as usize;
        let end = begin + (entry.bytes & ((1 << LENGTH) - 1)) as usize;
        self.bytes.get(begin..end).unwrap_or_default()
    }

    fn insert(&mut self, key: Key<'_>, what: T) {
        const { assert!((BYTES as u64) << LENGTH <= u32::MAX as u64) };
        if self.is_crowded() {
            self.grow();
        }
        let Ok(bytes) = u32::try_from(self.bytes.len() << LENGTH | key.path.len()) else {
            return;
        };
        make_room(&mut self.bytes, key.path.len());
        self.bytes.extend_from_slice(key.path);
        self.used += 1;
        self.put(key.hash, Entry { bytes, what });
    }

    /// Small tables are kept emptier: there it costs no memory that most paths
    /// are found at home.
    fn is_crowded(&self) -> bool {
        let places = self.entries.len();
        let each = if places < LARGE { 4 } else { 2 };
        each * (self.used + 1) > places
    }

    fn grow(&mut self) {
        let size = (2 * self.entries.len()).max(SMALLEST);
        let before = std::mem::replace(&mut self.entries, vec![Entry::vacant(); size]);
        for entry in before.into_iter().filter(|entry| !entry.is_vacant()) {
            // What is in here can be remembered.
            if let Some(key) = Key::new(self.path(&entry), self.seed) {
                self.put(key.hash, entry);
            }
        }
    }

    fn put(&mut self, hash: u64, new: Entry<T>) {
        let mask = self.entries.len().wrapping_sub(1);
        let home = home(hash);
        let vacant = (0..TRIES)
            .map(|place| home.wrapping_add(place) & mask)
            .find(|at| self.entries.get(*at).is_some_and(Entry::is_vacant));
        if let Some(entry) = self.entries.get_mut(vacant.unwrap_or(home & mask)) {
            *entry = new;
        }
    }
}

/// What paths are.
#[derive(Debug)]
pub(super) struct Memory<T> {
    young: Generation<T>,
    old: Generation<T>,
    seed: u64,
}

impl<T: Copy + Default> Memory<T> {
    /// An empty one; `seed` is any number that clients cannot know.
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            young: Generation::new(seed),
            old: Generation::new(seed),
            seed,
        }
    }

    /// The path of a request target, if such a one can be remembered.
    #[inline]
    pub(super) fn key<'a>(&self, target: &'a [u8]) -> Option<Key<'a>> {
        Key::new(target, self.seed)
    }

    /// What a path is, if that is found at once, as most are.
    #[inline]
    pub(super) fn at_home(&self, key: Key<'_>) -> Option<T> {
        self.young.at_home(key)
    }

    /// What a path is, if that is remembered.
    pub(super) fn recall(&mut self, key: Key<'_>) -> Option<T> {
        if let Some(what) = self.young.get(key) {
            return Some(what);
        }
        let what = self.old.get(key)?;
        self.remember(key, what);
        Some(what)
    }

    /// Remembers what a path is.
    pub(super) fn remember(&mut self, key: Key<'_>, what: T) {
        if !self.young.has_room(key.path()) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear(&self.old);
        }
        self.young.insert(key, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recalled(memory: &mut Memory<u32>, path: &str) -> Option<u32> {
        let key = memory.key(path.as_bytes())?;
        memory.recall(key)
    }

    fn remember(memory: &mut Memory<u32>, path: &str, what: u32) {
        let key = memory.key(path.as_bytes()).expect("short enough");
        memory.remember(key, what);
    }

    #[test]
    fn as_many_paths_as_a_generation_has_are_all_remembered() {
        let mut memory = Memory::new(7);
        let path = |number: u32| format!("/content/item-{number}/page");
        let numbers = 0..u32::try_from(GENERATION).unwrap();
        for number in numbers.clone() {
            remember(&mut memory, &path(number), number);
        }
        let forgotten = numbers
            .filter(|number| recalled(&mut memory, &path(*number)) != Some(*number))
            .count();
        assert_eq!(forgotten, 0);
    }

    #[test]
    fn it_stays_bounded_and_a_path_in_use_stays_in_it() {
        let mut memory = Memory::new(7);
        remember(&mut memory, "/used", 1);
        for number in 0..20 * GENERATION {
            remember(
                &mut memory,
                &format!("/{number}/{}", "x".repeat(number % 240)),
                2,
            );
            assert_eq!(recalled(&mut memory, "/used"), Some(1), "{number}");
        }
        for generation in [&memory.young, &memory.old] {
            assert!(generation.used <= GENERATION);
            assert!(generation.bytes.len() <= BYTES);
            assert!(generation.entries.len() <= 4 * GENERATION);
        }
    }

    #[test]
    fn paths_with_one_hash_are_told_apart_and_cost_no_more_than_the_tries() {
        let mut generation = Generation::new(7);
        let paths: Vec<String> = (0..100).map(|number| format!("/{number}")).collect();
        let key = |path: &'static str| Key {
            path: path.as_bytes(),
            hash: 5,
        };
        for path in &paths {
            generation.insert(key(path.clone().leak()), path.len());
        }
        let found = paths
            .iter()
            .filter(|path| generation.get(key((*path).clone().leak())).is_some());
        assert!((1..=TRIES).contains(&found.count()));
    }

    #[test]
    fn a_long_or_empty_path_has_no_key() {
        let memory = Memory::<u32>::new(7);
        assert!(memory.key(b"").is_none());
        assert!(memory.key(b"?a").is_none());
        let long = vec![b'a'; LONGEST];
        assert!(memory.key(&long).is_some());
        assert!(memory.key(&[&long[..], b"?x"].concat()).is_some());
        assert!(memory.key(&[&long[..], b"x"].concat()).is_none());
    }

    proptest! {
        #[test]
        fn the_key_of_a_path_is_the_same_whatever_query_follows(
            path in "[/a-z\u{e9}]{1,40}", query in "[?][a-z?#]{0,20}", seed: u64,
        ) {
            let plain = Key::new(path.as_bytes(), seed).unwrap();
            let target = path.clone() + &query;
            let asked = Key::new(target.as_bytes(), seed).unwrap();
            prop_assert_eq!(asked.path, path.as_bytes());
            prop_assert_eq!(asked.hash, plain.hash);
        }
    }
}
