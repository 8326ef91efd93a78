//! The label sets of one worker and their bins.
//!
//! A set is (method, path, status). Its duration bins are the truth for both
//! the request counter and the histogram that the bridge serves; the plain
//! counter beside them is for people who look at Envoy's own page. The sum of
//! nanoseconds belongs to (method, path).
//!
//! Finding a set is one multiplication; observing is a search in the bounds and
//! two additions: the plain counter gets at a push what its bins push.

use super::counts::{Count, Spilled};
use super::growth::make_room;
use super::index::Index;
use super::paths::{PathId, Paths};
use super::scalars::Slot;
use crate::buckets::Buckets;
use crate::catalog::{
    REQUEST_BYTES, REQUEST_DURATION_BIN, REQUEST_DURATION_NATIVE, REQUEST_DURATION_SUM, REQUESTS,
    RESPONSE_BYTES, StatKind,
};
use crate::host::{Failed, Stats};
use crate::labels::{Method, Status};
use crate::stat_name;

/// Bytes of the bodies of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) request: u64,
    pub(crate) response: u64,
}

/// The labels of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) method: Method,
    pub(super) path: PathId,
    pub(super) status: Status,
}

impl Set {
    /// All three in one integer: 32 bits of path, 16 of status, the method.
    #[inline]
    fn key(self) -> u64 {
        u64::from(self.path.0) << 32
            | u64::from(self.status.code()) << 8
            | u64::from(self.method.index())
    }

    /// The set with this key.
    fn of_key(key: u64) -> Self {
        let [method, low, high, _, path @ ..] = key.to_le_bytes();
        Self {
            method: Method::of_index(method),
            path: PathId(u32::from_le_bytes(path)),
            status: Status::of_code(u16::from_le_bytes([low, high])),
        }
    }
}

/// Method and path only, of the key of a set.
const fn sum_key(key: u64) -> u64 {
    key & 0xffff_ffff_0000_00ff
}

#[derive(Debug)]
struct Series {
    /// That of its set.
    key: u64,
    /// What the bins have pushed and this has not.
    requests: Slot,
    bins: Box<[Count]>,
    sum: usize,
    dirty: bool,
}

/// The nanoseconds of a method and path.
#[derive(Debug)]
struct Sum {
    key: u64,
    nanos: Slot,
}

#[derive(Debug)]
pub(super) struct SeriesTable {
    service: Box<str>,
    buckets: Buckets,
    native: bool,
    index: Index,
    series: Vec<Series>,
    /// What the bins have no room for.
    spilled: Spilled,
    sum_index: Index,
    sums: Vec<Sum>,
    /// In the order of `sums`; empty where they are not asked for.
    natives: Vec<Slot>,
    bytes: Vec<[Slot; 2]>,
    dirty: Vec<usize>,
}

impl SeriesTable {
    pub(super) fn new(service: &str, buckets: Buckets, native: bool) -> Self {
        Self {
            service: service.into(),
            buckets,
            native,
            index: Index::default(),
            series: Vec::new(),
            spilled: Spilled::default(),
            sum_index: Index::default(),
            sums: Vec::new(),
            natives: Vec::new(),
            bytes: Vec::new(),
            dirty: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn find(&self, set: Set) -> Option<usize> {
        let key = set.key();
        let is = |at: usize| self.series.get(at).map(|series| series.key == key);
        self.index.get(key, is)
    }

    /// The labels of a series.
    pub(super) fn set(&self, at: usize) -> Option<Set> {
        self.series.get(at).map(|series| Set::of_key(series.key))
    }

    pub(super) fn fits(&self, method: Method, path: &str, status: Status) -> bool {
        request_name_fits(&self.service, method, path, status, &self.buckets)
    }

    pub(super) fn add(&mut self, set: Set) -> usize {
        let key = set.key();
        let sum = self.sum_of(sum_key(key));
        let at = self.series.len();
        make_room(&mut self.series, 1);
        self.series.push(Series {
            key,
            requests: Slot::EMPTY,
            bins: vec![Count::EMPTY; self.buckets.bins()].into(),
            sum,
            dirty: false,
        });
        let series = &self.series;
        let key_of = |at: usize| series.get(at).map_or(0, |series| series.key);
        self.index.insert(key, at, key_of);
        at
    }

    /// The place of the sum with this key, which from now on exists.
    fn sum_of(&mut self, key: u64) -> usize {
        let is = |at: usize| self.sums.get(at).map(|sum| sum.key == key);
        if let Some(known) = self.sum_index.get(key, is) {
            return known;
        }
        let at = self.sums.len();
        let nanos = Slot::EMPTY;
        make_room(&mut self.sums, 1);
        self.sums.push(Sum { key, nanos });
        let sums = &self.sums;
        let key_of = |at: usize| sums.get(at).map_or(0, |sum| sum.key);
        self.sum_index.insert(key, at, key_of);
        at
    }

    /// One request of a series; gives the place of its sum.
    #[inline]
    pub(super) fn count(&mut self, at: usize, nanos: u64) -> Option<usize> {
        let series = self.series.get_mut(at)?;
        if !series.dirty {
            series.dirty = true;
            self.dirty.push(at);
        }
        let bin = self.buckets.bin(nanos);
        if let Some(count) = series.bins.get_mut(bin)
            && let Some(more) = count.add()
        {
            self.spilled.add((at, bin), more);
        }
        let sum = series.sum;
        self.sums.get_mut(sum)?.nanos.add(nanos);
        Some(sum)
    }

    /// The same, and what else is observed of it.
    pub(super) fn observe(
        &mut self,
        host: &impl Stats,
        paths: &Paths,
        at: usize,
        nanos: u64,
        bytes: Option<Bytes>,
    ) -> Result<(), Failed> {
        let Some(sum) = self.count(at, nanos) else {
            return Ok(());
        };
        if let Some(bytes) = bytes {
            self.add_bytes(sum, bytes);
        }
        if self.native {
            return self.record(host, paths, sum, nanos);
        }
        Ok(())
    }

    fn add_bytes(&mut self, sum: usize, bytes: Bytes) {
        if self.bytes.len() <= sum {
            self.bytes.resize(sum + 1, [Slot::EMPTY; 2]);
        }
        if let Some([request, response]) = self.bytes.get_mut(sum) {
            request.add(bytes.request);
            response.add(bytes.response);
        }
    }

    /// Records a request in the proxy's own histogram.
    fn record(
        &mut self,
        host: &impl Stats,
        paths: &Paths,
        at: usize,
        nanos: u64,
    ) -> Result<(), Failed> {
        if self.natives.len() <= at {
            self.natives.resize(at + 1, Slot::EMPTY);
        }
        let (Some(native), Some(sum)) = (self.natives.get_mut(at), self.sums.get(at)) else {
            return Ok(());
        };
        let Set { method, path, .. } = Set::of_key(sum.key);
        let values = [&*self.service, method.as_str(), paths.label(path)];
        let name = || stat_name::encode(&REQUEST_DURATION_NATIVE, &values).ok();
        let id = native.define(host, StatKind::Histogram, name)?;
        host.record_metric(id, nanos / 1_000_000)
    }

    /// Pushes all that has been observed; what is refused stays for the next time.
    pub(super) fn push(
        &mut self,
        host: &impl Stats,
        paths: &Paths,
        mut failed: impl FnMut(Failed),
    ) {
        // The list is used again: the first request after a push allocates nothing.
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.retain(|at| match self.push_series(host, paths, *at) {
            Ok(()) => {
                if let Some(series) = self.series.get_mut(*at) {
                    series.dirty = false;
                }
                false
            }
            Err(error) => {
                failed(error);
                true
            }
        });
        self.dirty = dirty;
    }

    fn push_series(&mut self, host: &impl Stats, paths: &Paths, at: usize) -> Result<(), Failed> {
        let Some(series) = self.series.get_mut(at) else {
            return Ok(());
        };
        let set = Set::of_key(series.key);
        let status = set.status.label();
        let path = paths.label(set.path);
        let method = set.method.as_str();
        let labels = [&*self.service, method, path, status.as_str()];
        for (bin, count) in series.bins.iter_mut().enumerate() {
            let name = || {
                let bound = self.buckets.spelled(bin);
                let [service, method, path, status] = labels;
                let values = [service, method, path, status, &bound];
                stat_name::encode(&REQUEST_DURATION_BIN, &values).ok()
            };
            let pushed = count.push(host, &mut self.spilled, (at, bin), name)?;
            series.requests.add(pushed);
        }
        series
            .requests
            .push(host, || stat_name::encode(&REQUESTS, &labels).ok())?;
        let sum = series.sum;
        let labels = [&*self.service, method, path];
        if let Some(sum) = self.sums.get_mut(sum) {
            sum.nanos.push(host, || {
                stat_name::encode(&REQUEST_DURATION_SUM, &labels).ok()
            })?;
        }
        let slots = self.bytes.get_mut(sum).into_iter().flatten();
        for (stat, slot) in [REQUEST_BYTES, RESPONSE_BYTES].iter().zip(slots) {
            slot.push(host, || stat_name::encode(stat, &labels).ok())?;
        }
        Ok(())
    }
}

/// Whether the longest stat name of such a request is within
/// [`stat_name::MAX_LENGTH`]; one whose name is longer counts as overflow.
pub fn request_name_fits(
    service: &str,
    method: Method,
    path: &str,
    status: Status,
    buckets: &Buckets,
) -> bool {
    let status = status.label();
    let longest = buckets.longest();
    let values = [service, method.as_str(), path, status.as_str(), longest];
    stat_name::length(&REQUEST_DURATION_BIN, &values) <= stat_name::MAX_LENGTH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_sets_have_different_keys() {
        let mut keys = std::collections::HashSet::new();
        for method in Method::all() {
            for path in [0, 1, 2, 255, 256, u32::MAX] {
                for status in ["100", "200", "255", "256", "512", "599", "x"] {
                    let set = Set {
                        method,
                        path: PathId(path),
                        status: Status::new(status.as_bytes()),
                    };
                    assert_eq!(Set::of_key(set.key()), set);
                    keys.insert(set.key());
                }
            }
        }
        // 256 and 599 are statuses like any other; only "x" is none.
        assert_eq!(keys.len(), 11 * 6 * 7);
    }
}
