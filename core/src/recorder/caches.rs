//! What caches did: by type, which the configuration names or the first
//! comers give themselves.
//!
//! With `cache.types` only the names listed there have a type of their own.
//! Without it the first [`MOST_TYPES`] names that are plain tokens become
//! types, over all workers together: a list in shared data says which. What
//! has none is `other`.

use super::scalars::Slot;
use crate::catalog::{
    CACHE_HITS, CACHE_MISSES, CACHE_RESPONSE_BYTES, CACHE_RESPONSES, Stat, StatKind,
};
use crate::host::{Failed, HostCall, Stats};
use crate::plugin_config::{CacheConfig, OTHER_CACHE};
use crate::signals::CacheResult;
use crate::stat_name;

/// Most types that are taken from what caches call themselves.
pub const MOST_TYPES: usize = 16;

/// Longest name that becomes a type.
const LONGEST_TYPE: usize = 32;

/// Most results of one exchange whose bytes are counted.
const MOST_OUTCOMES: usize = 8;

/// Races lost in a row after which it counts as a failed host call.
const TRIES: u32 = 64;

/// One result, so that the bytes of its response can follow at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    cache_type: u8,
    result: CacheResult,
}

/// The results of one exchange; empty where bytes are not counted.
pub(crate) type Outcomes = Vec<Outcome>;

#[derive(Clone, Debug)]
struct Type {
    label: Box<str>,
    hits: Slot,
    misses: Slot,
    responses: [Slot; CacheResult::ALL.len()],
    bytes: [Slot; CacheResult::ALL.len()],
}

impl Type {
    fn new(label: &str) -> Self {
        Self {
            label: label.into(),
            hits: Slot::EMPTY,
            misses: Slot::EMPTY,
            responses: [Slot::EMPTY; CacheResult::ALL.len()],
            bytes: [Slot::EMPTY; CacheResult::ALL.len()],
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Caches {
    service: Box<str>,
    /// Names that have a type, with its place; `None` where names are taken as
    /// they come.
    listed: Option<Vec<(Box<str>, usize)>>,
    /// The last is the one of what has none.
    types: Vec<Type>,
    /// How many of them appear at 0 before they are needed; the first ones.
    shown: usize,
    /// Under which the workers share the names that they have taken.
    key: String,
    counts_bytes: bool,
    dirty: bool,
}

impl Caches {
    pub(super) fn new(service: &str, config: &CacheConfig) -> Self {
        let mut types: Vec<Type> = Vec::new();
        let mut listed = Vec::new();
        for (name, label) in config.types.iter().flatten() {
            let known = types.iter().position(|known| &*known.label == label);
            let place = known.unwrap_or_else(|| {
                types.push(Type::new(label));
                types.len() - 1
            });
            listed.push((name.as_str().into(), place));
        }
        let shown = types.len();
        // A type that nobody configured appears only if it is ever needed.
        if config.types.is_none() || !types.iter().any(|known| &*known.label == OTHER_CACHE) {
            types.push(Type::new(OTHER_CACHE));
        }
        Self {
            service: service.into(),
            listed: config.types.is_some().then_some(listed),
            types,
            shown,
            key: format!("gatemeter.{service}.cache_types"),
            counts_bytes: config.bytes,
            dirty: false,
        }
    }

    /// Counts what a cache of this name did, and notes it where its bytes are
    /// to follow.
    pub(super) fn count(
        &mut self,
        host: &impl Stats,
        name: &str,
        result: CacheResult,
        outcomes: &mut Outcomes,
    ) -> Result<(), Failed> {
        let (place, outcome) = match self.place(host, name) {
            Ok(place) => (place, Ok(())),
            Err(error) => (self.other(), Err(error)),
        };
        let Some(cache) = self.types.get_mut(place) else {
            return outcome;
        };
        self.dirty = true;
        if let Some(slot) = cache.responses.get_mut(result as usize) {
            slot.add(1);
        }
        if result.is_hit() {
            cache.hits.add(1);
        } else if result.is_miss() {
            cache.misses.add(1);
        }
        if self.counts_bytes && outcomes.len() < MOST_OUTCOMES {
            outcomes.push(Outcome {
                cache_type: u8::try_from(place).unwrap_or(u8::MAX),
                result,
            });
        }
        outcome
    }

    /// The bytes of the body that went out.
    pub(super) fn bytes(&mut self, outcomes: &[Outcome], bytes: u64) {
        for outcome in outcomes {
            let cache = self.types.get_mut(usize::from(outcome.cache_type));
            let slot = cache.and_then(|cache| cache.bytes.get_mut(outcome.result as usize));
            if let Some(slot) = slot {
                slot.add(bytes);
                self.dirty = true;
            }
        }
    }

    fn other(&self) -> usize {
        let other = |known: &Type| &*known.label == OTHER_CACHE;
        self.types.iter().position(other).unwrap_or(0)
    }

    fn place(&mut self, host: &impl Stats, name: &str) -> Result<usize, Failed> {
        if let Some(listed) = &self.listed {
            let found = listed.iter().find(|(known, _)| &**known == name);
            return Ok(found.map_or_else(|| self.other(), |(_, place)| *place));
        }
        if let Some(place) = self.types.iter().position(|known| &*known.label == name) {
            return Ok(place);
        }
        if self.types.len() > MOST_TYPES || !is_plain(name) {
            return Ok(self.other());
        }
        self.take(host, name)
    }

    /// Takes a name as a type, if another worker has not taken the last place.
    fn take(&mut self, host: &impl Stats, name: &str) -> Result<usize, Failed> {
        for _ in 0..TRIES {
            let taken = host.shared_data(&self.key)?;
            let (bytes, token) = match &taken {
                Some((bytes, token)) => (&**bytes, *token),
                None => (&b""[..], 0),
            };
            let names: Vec<&str> = str::from_utf8(bytes)
                .unwrap_or_default()
                .split(' ')
                .filter(|name| !name.is_empty())
                .collect();
            for known in &names {
                if !self.types.iter().any(|cache| &*cache.label == *known) {
                    self.types.push(Type::new(known));
                }
            }
            if names.contains(&name) || names.len() >= MOST_TYPES {
                let place = self.types.iter().position(|cache| &*cache.label == name);
                return Ok(place.unwrap_or_else(|| self.other()));
            }
            let more = [&names[..], &[name]].concat().join(" ");
            if host.set_shared_data(&self.key, more.as_bytes(), token)? {
                self.types.push(Type::new(name));
                return Ok(self.types.len() - 1);
            }
        }
        Err(Failed(HostCall::SetSharedData))
    }

    /// Creates what the workers share, where it is not there yet, and makes the
    /// configured types appear at 0.
    pub(super) fn define(&mut self, host: &impl Stats) -> Result<(), Failed> {
        if self.listed.is_none() && host.shared_data(&self.key)?.is_none() {
            host.set_shared_data(&self.key, b"", 0)?;
        }
        let counts_bytes = self.counts_bytes;
        for cache in self.types.iter_mut().take(self.shown) {
            each(&self.service, cache, counts_bytes, |slot, name| {
                slot.define(host, StatKind::Counter, name).map(|_| ())
            })?;
        }
        Ok(())
    }

    pub(super) fn push(&mut self, host: &impl Stats, failed: &mut impl FnMut(Failed)) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        for cache in &mut self.types {
            let pushed = each(&self.service, cache, true, |slot, name| {
                slot.push(host, name)
            });
            if let Err(error) = pushed {
                self.dirty = true;
                failed(error);
            }
        }
    }
}

/// Every slot of a type with its name.
fn each(
    service: &str,
    cache: &mut Type,
    with_bytes: bool,
    mut run: impl FnMut(&mut Slot, &dyn Fn() -> Option<String>) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let Type {
        label,
        hits,
        misses,
        responses,
        bytes,
    } = cache;
    let plain = |stat: &Stat| stat_name::encode(stat, &[service, &**label]).ok();
    run(hits, &|| plain(&CACHE_HITS))?;
    run(misses, &|| plain(&CACHE_MISSES))?;
    let by_result = |stat: &Stat, result: CacheResult| {
        stat_name::encode(stat, &[service, &**label, result.label()]).ok()
    };
    for (result, slot) in CacheResult::ALL.into_iter().zip(responses) {
        run(slot, &|| by_result(&CACHE_RESPONSES, result))?;
    }
    if with_bytes {
        for (result, slot) in CacheResult::ALL.into_iter().zip(bytes) {
            run(slot, &|| by_result(&CACHE_RESPONSE_BYTES, result))?;
        }
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=LONGEST_TYPE).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests;
