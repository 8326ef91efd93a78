//! The numbers of one answer, and what its names mean, kept from read to read.
//!
//! Envoy prints the same names in the same order every time. So each name is
//! taken apart once, and a line is then compared with the one that is expected
//! next; only a line that is another one is parsed again ([`mod@line`]).
//! Of the bins of a series the common part of the name is kept once.
//!
//! An answer comes in pieces that may cut a line anywhere. Nothing but the
//! rest of a cut line is kept of them. What a finished answer does not hold is
//! forgotten at its end, so that the names kept are those that Envoy has. An
//! answer that is not finished changes nothing of what the next one says.

mod entry;
mod sweep;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
    sync::Arc,
    time::Instant,
};

use foldhash::fast::RandomState;
use gatemeter_core::catalog::StatKind;
use hashbrown::HashTable;

pub(crate) use self::entry::{Bin, Entry, Role};
use super::{
    DropReason,
    line::{self, Bound, EnvoyStat, Line, Listed, Meaning, StateStat, Unlisted},
};
use crate::families::LabelSet;

/// What Envoy said last.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    entries: Vec<Entry>,
    /// Places in `entries`, by stem.
    index: HashTable<u32>,
    hasher: RandomState,
    /// Every bound of a bin, with its text.
    bounds: Vec<(Box<str>, Bound)>,
    bound_index: HashMap<Box<str>, u32, RandomState>,
    services: HashSet<Arc<str>, RandomState>,
    label_sets: HashSet<Arc<LabelSet>, RandomState>,
    /// Which answer this is; entries and bins that it held have the same.
    read: u32,
    /// Numbers kept, and those of them that this answer held.
    numbers: usize,
    seen: usize,
    /// Whether entries or bins have come or gone since the last finished answer.
    is_changed: bool,
    /// The first entry of an answer.
    first: Option<u32>,
    /// The entry of the last line, and which of its bins comes next.
    last: Option<u32>,
    next_bin: usize,
    /// What a piece left of a line, without its end.
    rest: Vec<u8>,
    /// Whether `rest` would be too long and the line is passed over to its end.
    is_too_long: bool,
    dropped: BTreeMap<DropReason, u64>,
    readable: u64,
    is_empty: bool,
}

/// What a finished answer held beside its numbers.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// How many lines were refused, by reason.
    pub(crate) dropped: BTreeMap<DropReason, u64>,
    /// Lines that read as `name: value`, ours or not.
    pub(crate) readable: u64,
    /// Whether other names were there than in the last finished answer.
    pub(crate) is_changed: bool,
}

/// Longest line that is read; Envoy's own are below 2 KiB.
const MAX_LINE: usize = 64 * 1024;

impl Stats {
    /// An answer begins. One that was not finished is forgotten.
    pub(crate) fn begin(&mut self) {
        self.read = self.read.wrapping_add(1);
        self.seen = 0;
        self.last = None;
        self.next_bin = 0;
        self.rest.clear();
        self.is_too_long = false;
        self.dropped.clear();
        self.readable = 0;
        self.is_empty = true;
    }

    /// The next piece of the answer.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let mut piece = piece;
        self.is_empty &= piece.is_empty();
        if !self.rest.is_empty() || self.is_too_long {
            let Some(end) = memchr::memchr(b'\n', piece) else {
                self.keep(piece);
                return;
            };
            let (end_of_line, others) = piece.split_at(end);
            self.keep(end_of_line);
            self.end_line();
            piece = &others[1..];
        }
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (line, others) = piece.split_at(end);
            self.take(line);
            piece = &others[1..];
        }
        self.keep(piece);
    }

    /// Whether not one line so far reads as `name: value`, of an answer that is
    /// not empty.
    pub(crate) fn is_unreadable(&self) -> bool {
        let is_rest_readable = || str::from_utf8(&self.rest).is_ok_and(line::is_readable);
        !self.is_empty && self.readable == 0 && !is_rest_readable()
    }

    /// The answer is whole: what it did not hold is forgotten.
    pub(crate) fn end(&mut self) -> Told {
        self.end_line();
        if self.seen != self.numbers {
            self.sweep();
        }
        if self.is_changed {
            // It stays as it is for a long time.
            self.entries.shrink_to_fit();
            self.entries
                .iter_mut()
                .for_each(|entry| entry.bins.shrink_to_fit());
        }
        Told {
            dropped: mem::take(&mut self.dropped),
            readable: self.readable,
            is_changed: mem::take(&mut self.is_changed),
        }
    }

    /// What the last finished answer held.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Notes which entries have other numbers than in the last answer that was
    /// noted, as of `now`.
    pub(crate) fn note_moves(&mut self, now: Instant) {
        for entry in &mut self.entries {
            // Counters that only rise: another sum wherever one is another. The
            // gauges among them are not asked.
            let sum = entry
                .bins
                .iter()
                .fold(entry.value, |sum, bin| sum.wrapping_add(bin.count));
            if entry.moved.is_none_or(|(before, _)| before != sum) {
                entry.moved = Some((sum, now));
            }
        }
    }

    pub(crate) fn bound(&self, bin: Bin) -> Bound {
        let bound = usize::try_from(bin.bound).map(|at| self.bounds.get(at));
        match bound {
            Ok(Some(&(_, bound))) => bound,
            // A bin is only made with a bound that is there.
            _ => Bound::Infinity,
        }
    }

    /// Every bound of a bin, by its place.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = Bound> {
        self.bounds.iter().map(|(_, bound)| *bound)
    }

    /// The same labels as before where there are such.
    pub(crate) fn label_set(&mut self, labels: LabelSet) -> Arc<LabelSet> {
        if let Some(known) = self.label_sets.get(&labels) {
            return Arc::clone(known);
        }
        let labels = Arc::new(labels);
        self.label_sets.insert(Arc::clone(&labels));
        labels
    }

    /// How much is kept of each kind.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 5] {
        [
            self.entries.capacity(),
            self.bounds.len(),
            self.services.len(),
            self.label_sets.len(),
            self.index.len(),
        ]
    }

    fn service(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.services.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.services.insert(Arc::clone(&name));
        name
    }

    fn keep(&mut self, part: &[u8]) {
        if self.is_too_long || self.rest.len() + part.len() > MAX_LINE {
            self.is_too_long = true;
            self.rest.clear();
        } else {
            self.rest.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) {
        if mem::take(&mut self.is_too_long) {
            self.drop_line(DropReason::BadLine);
            return;
        }
        let mut line = mem::take(&mut self.rest);
        self.take(&line);
        line.clear();
        self.rest = line;
    }

    fn take(&mut self, line: &[u8]) {
        if self.is_expected(line) {
            self.readable += 1;
        } else if line.len() > MAX_LINE {
            self.drop_line(DropReason::BadLine);
        } else if !line.is_empty() {
            let parsed = str::from_utf8(line)
                .map_err(|_| DropReason::NotUtf8)
                .and_then(line::parse);
            let unread = [DropReason::NotUtf8, DropReason::BadLine];
            if !parsed.as_ref().is_err_and(|reason| unread.contains(reason)) {
                self.readable += 1;
            }
            if let Err(reason) = parsed.and_then(|line| self.store(&line)) {
                self.drop_line(reason);
            }
        }
    }

    fn drop_line(&mut self, reason: DropReason) {
        *self.dropped.entry(reason).or_default() += 1;
    }

    /// Takes the line if it is the one that followed last time, and nothing is
    /// wrong with it.
    fn is_expected(&mut self, line: &[u8]) -> bool {
        let (mut at, mut next_bin) = (self.last, self.next_bin);
        let current = at.and_then(|at| self.entries.get(at as usize));
        let of_next_bin = current
            .filter(|entry| next_bin < entry.bins.len())
            .and_then(|entry| line.strip_prefix(entry.stem.as_bytes()));
        if of_next_bin.is_none() {
            at = current.map_or(self.first, |entry| entry.next);
            next_bin = 0;
        }
        let Some(entry) = at.and_then(|at| self.entries.get_mut(at as usize)) else {
            return false;
        };
        let Some(rest) = of_next_bin.or_else(|| line.strip_prefix(entry.stem.as_bytes())) else {
            return false;
        };
        let (kept, read, rest) = if entry.is_binned {
            let Some(bin) = entry.bins.get_mut(next_bin) else {
                return false;
            };
            let text = self.bounds.get(bin.bound as usize);
            let text = text.map_or(&[][..], |(text, _)| text.as_bytes());
            let Some(rest) = rest.strip_prefix(text) else {
                return false;
            };
            (&mut bin.count, &mut bin.read, rest)
        } else {
            (&mut entry.value, &mut entry.read, rest)
        };
        let Some(value) = rest.strip_prefix(b": ").and_then(number) else {
            return false;
        };
        if *read == self.read || (entry.is_gauge && value > i64::MAX.unsigned_abs()) {
            return false;
        }
        *kept = value;
        *read = self.read;
        entry.read = self.read;
        self.seen += 1;
        self.last = at;
        self.next_bin = next_bin + 1;
        true
    }

    /// Takes a line that was not expected.
    fn store(&mut self, line: &Line<'_>) -> Result<(), DropReason> {
        let bound = match &line.meaning {
            Meaning::Passed => return Ok(()),
            Meaning::Listed(Listed { bound, .. }) | Meaning::Unlisted(Unlisted { bound, .. }) => {
                *bound
            }
            Meaning::Envoy(..) | Meaning::State(_) => None,
        };
        let stem = match bound {
            Some((_, text)) => line.name.strip_suffix(text).unwrap_or(line.name),
            None => line.name,
        };
        let at = match self.find(stem) {
            Some(at) => at,
            None => self.add(stem, line, bound.is_some()),
        };
        let bound = bound.map(|(bound, text)| self.bound_place(bound, text));
        let Some(entry) = self.entries.get_mut(at as usize) else {
            return Ok(());
        };
        let (kept, read) = match bound {
            Some(bound) => {
                let known = entry.bins.iter().position(|bin| bin.bound == bound);
                let place = known.unwrap_or(entry.bins.len());
                if known.is_none() {
                    entry.bins.push(Bin {
                        bound,
                        read: self.read.wrapping_sub(1),
                        count: 0,
                    });
                    self.numbers += 1;
                    self.is_changed = true;
                }
                self.next_bin = place + 1;
                let Some(bin) = entry.bins.get_mut(place) else {
                    return Ok(());
                };
                (&mut bin.count, &mut bin.read)
            }
            None => (&mut entry.value, &mut entry.read),
        };
        if *read == self.read {
            return match line.meaning {
                Meaning::Unlisted(_) => Ok(()),
                _ => Err(DropReason::Duplicate),
            };
        }
        *kept = line.value;
        *read = self.read;
        entry.read = self.read;
        self.seen += 1;
        if self.last != Some(at) {
            let before = self.last.and_then(|at| self.entries.get_mut(at as usize));
            match before {
                Some(before) => before.next = Some(at),
                None => self.first = Some(at),
            }
            self.last = Some(at);
        }
        Ok(())
    }

    fn find(&self, stem: &str) -> Option<u32> {
        let hash = hash(&self.hasher, stem);
        let is_it = |at: &u32| {
            let entry = self.entries.get(*at as usize);
            entry.is_some_and(|entry| *entry.stem == *stem)
        };
        self.index.find(hash, is_it).copied()
    }

    fn add(&mut self, stem: &str, line: &Line<'_>, is_binned: bool) -> u32 {
        let (role, service, labels, is_gauge) = match &line.meaning {
            Meaning::Listed(listed) => {
                let names = listed.stat.labels.iter().copied().skip(1);
                let values = listed.values.iter().skip(1).map(AsRef::<str>::as_ref);
                let service = listed.values.first().map_or("", AsRef::as_ref);
                let labels = LabelSet::new(names.zip(values));
                let is_gauge = listed.stat.kind == StatKind::Gauge;
                let role = Role::Listed(listed.stat, listed.metric);
                (role, service, labels, is_gauge)
            }
            Meaning::Unlisted(unlisted) => {
                let labels = unlisted.labels.iter();
                let labels = labels.map(|(name, value)| ((*name).to_owned(), value.as_ref()));
                let role = Role::Unlisted(self.service(unlisted.stat));
                let service = unlisted.service.as_ref();
                (role, service, LabelSet::new(labels), false)
            }
            Meaning::Envoy(stat_prefix, stat) => {
                let is_gauge = *stat == EnvoyStat::RequestsActive;
                (
                    Role::Envoy(*stat),
                    *stat_prefix,
                    LabelSet::default(),
                    is_gauge,
                )
            }
            Meaning::State(stat) => {
                let (role, plugin) = match stat {
                    StateStat::Uptime => (Role::Uptime, ""),
                    StateStat::VmReload(plugin, result) => (Role::VmReload(result), *plugin),
                    StateStat::VmsActive => (Role::VmsActive, ""),
                    StateStat::VmsCreated => (Role::VmsCreated, ""),
                };
                (role, plugin, LabelSet::default(), false)
            }
            // Never stored.
            Meaning::Passed => (Role::Uptime, "", LabelSet::default(), false),
        };
        let entry = Entry {
            stem: stem.into(),
            role,
            service: self.service(service),
            labels: self.label_set(labels),
            value: 0,
            bins: Vec::new(),
            is_binned,
            is_gauge,
            read: self.read.wrapping_sub(1),
            next: None,
            moved: None,
        };
        // An answer of 2^32 names would not fit into memory.
        let at = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let Self {
            entries,
            hasher,
            index,
            ..
        } = self;
        entries.push(entry);
        let rehash = |at: &u32| {
            let entry = entries.get(*at as usize);
            hash(hasher, entry.map_or("", |entry| &entry.stem))
        };
        index.insert_unique(hash(hasher, stem), at, rehash);
        self.numbers += usize::from(!is_binned);
        self.is_changed = true;
        at
    }

    fn bound_place(&mut self, bound: Bound, text: &str) -> u32 {
        if let Some(&place) = self.bound_index.get(text) {
            return place;
        }
        let place = u32::try_from(self.bounds.len()).unwrap_or(u32::MAX);
        self.bounds.push((text.into(), bound));
        self.bound_index.insert(text.into(), place);
        place
    }
}

fn hash(hasher: &RandomState, stem: &str) -> u64 {
    use std::hash::BuildHasher as _;
    hasher.hash_one(stem)
}

/// A `u64` in decimal digits, and nothing else.
fn number(text: &[u8]) -> Option<u64> {
    let (safe, last) = text.split_at(text.len().min(19));
    let mut number: u64 = 0;
    for &byte in safe {
        // Nineteen digits always fit.
        number = number.wrapping_mul(10).wrapping_add(digit(byte)?);
    }
    match last {
        [] if safe.is_empty() => None,
        [] => Some(number),
        &[byte] => number.checked_mul(10)?.checked_add(digit(byte)?),
        _ => None,
    }
}

fn digit(byte: u8) -> Option<u64> {
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some(digit.into())
}
