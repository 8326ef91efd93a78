//! What an answer did not hold is forgotten: entries, bins, bounds, and the names
//! and labels that only they had. The places of what stays are made anew, in the
//! same order.

use std::sync::Arc;

use super::{Stats, hash};

impl Stats {
    /// Forgets what the answer did not hold.
    pub(super) fn sweep(&mut self) {
        let read = self.read;
        let mut places = Vec::with_capacity(self.entries.len());
        let mut kept = 0;
        for entry in &mut self.entries {
            entry.bins.retain(|bin| bin.read == read);
            let is_kept = entry.read == read;
            places.push(is_kept.then_some(kept));
            kept += u32::from(is_kept);
        }
        let moved = |at: Option<u32>| *places.get(at? as usize)?;
        self.entries.retain_mut(|entry| {
            entry.next = moved(entry.next);
            entry.read == read
        });
        self.first = moved(self.first);
        self.last = None;
        self.index.clear();
        let Self {
            entries,
            hasher,
            index,
            ..
        } = self;
        let hash_of = |at: &u32| {
            let entry = entries.get(*at as usize);
            hash(hasher, entry.map_or("", |entry| &entry.stem))
        };
        index.shrink_to(entries.len(), hash_of);
        for at in 0..kept {
            index.insert_unique(hash_of(&at), at, hash_of);
        }
        self.label_sets
            .retain(|labels| Arc::strong_count(labels) > 1);
        self.services
            .retain(|service| Arc::strong_count(service) > 1);
        self.sweep_bounds();
        self.numbers = self.seen;
        self.is_changed = true;
    }

    fn sweep_bounds(&mut self) {
        let mut places: Vec<Option<u32>> = vec![None; self.bounds.len()];
        let mut kept = Vec::new();
        for bin in self.entries.iter_mut().flat_map(|entry| &mut entry.bins) {
            let Some(place) = places.get_mut(bin.bound as usize) else {
                continue;
            };
            let bounds = &self.bounds;
            bin.bound = *place.get_or_insert_with(|| {
                kept.extend(bounds.get(bin.bound as usize).cloned());
                u32::try_from(kept.len() - 1).unwrap_or(u32::MAX)
            });
        }
        self.bounds = kept;
        self.bound_index.clear();
        for ((text, _), place) in self.bounds.iter().zip(0..) {
            self.bound_index.insert(text.clone(), place);
        }
    }
}
