//! The label sets of one worker and their bins.
//!
//! A set is (method, path, status). Its duration bins are the truth for both
//! the request counter and the histogram that the bridge serves; the plain
//! counter beside them is for people who look at Envoy's own page. The sum of
//! nanoseconds belongs to (method, path).
//!
//! Finding a set is one multiplication; observing is a search in the bounds and
//! three additions.

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
        u64::from(self.path.0) << 32 | self.sum_key() & 0xff | u64::from(self.status.code()) << 8
    }

    /// Method and path only.
    #[inline]
    fn sum_key(self) -> u64 {
        u64::from(self.path.0) << 32 | u64::from(self.method.index())
    }
}

#[derive(Debug)]
struct Series {
    set: Set,
    sum: usize,
    requests: Slot,
    dirty: bool,
}

#[derive(Debug)]
struct Sum {
    method: Method,
    path: PathId,
    nanos: Slot,
    native: Slot,
    bytes: [Slot; 2],
}

#[derive(Debug)]
pub(super) struct SeriesTable {
    service: Box<str>,
    buckets: Buckets,
    native: bool,
    index: Index,
    series: Vec<Series>,
    /// `buckets.bins()` for each series, in the order of `series`.
    bins: Vec<Slot>,
    sum_index: Index,
    sums: Vec<Sum>,
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
            bins: Vec::new(),
            sum_index: Index::default(),
            sums: Vec::new(),
            dirty: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn find(&self, set: Set) -> Option<usize> {
        self.index.get(set.key())
    }

    /// The labels of a series.
    pub(super) fn set(&self, at: usize) -> Option<Set> {
        self.series.get(at).map(|series| series.set)
    }

    pub(super) fn fits(&self, method: Method, path: &str, status: Status) -> bool {
        request_name_fits(&self.service, method, path, status, &self.buckets)
    }

    pub(super) fn add(&mut self, set: Set) -> usize {
        let next = self.sums.len();
        let known = self.sum_index.get(set.sum_key());
        let sum = known.unwrap_or(next);
        if known.is_none() {
            self.sum_index.insert(set.sum_key(), sum);
            self.sums.push(Sum {
                method: set.method,
                path: set.path,
                nanos: Slot::EMPTY,
                native: Slot::EMPTY,
                bytes: [Slot::EMPTY; 2],
            });
        }
        let series = self.series.len();
        self.series.push(Series {
            set,
            sum,
            requests: Slot::EMPTY,
            dirty: false,
        });
        let bins = self.bins.len() + self.buckets.bins();
        self.bins.resize(bins, Slot::EMPTY);
        self.index.insert(set.key(), series);
        series
    }

    pub(super) fn observe(
        &mut self,
        host: &impl Stats,
        paths: &Paths,
        at: usize,
        nanos: u64,
        bytes: Option<Bytes>,
    ) -> Result<(), Failed> {
        let Some(series) = self.series.get_mut(at) else {
            return Ok(());
        };
        series.requests.add(1);
        if !series.dirty {
            series.dirty = true;
            self.dirty.push(at);
        }
        let bin = at * self.buckets.bins() + self.buckets.bin(nanos);
        if let Some(slot) = self.bins.get_mut(bin) {
            slot.add(1);
        }
        let Some(sum) = self.sums.get_mut(series.sum) else {
            return Ok(());
        };
        sum.nanos.add(nanos);
        if let Some(bytes) = bytes {
            let [request, response] = &mut sum.bytes;
            request.add(bytes.request);
            response.add(bytes.response);
        }
        if self.native {
            let values = [&*self.service, sum.method.as_str(), paths.label(sum.path)];
            let name = || stat_name::encode(&REQUEST_DURATION_NATIVE, &values).ok();
            let id = sum.native.define(host, StatKind::Histogram, name)?;
            host.record_metric(id, nanos / 1_000_000)?;
        }
        Ok(())
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
        let status = series.set.status.label();
        let path = paths.label(series.set.path);
        let method = series.set.method.as_str();
        let labels = [&*self.service, method, path, status.as_str()];
        let stride = self.buckets.bins();
        let bins = self.bins.get_mut(at * stride..(at + 1) * stride);
        for (bin, slot) in bins.into_iter().flatten().enumerate() {
            slot.push(host, || {
                let bound = self.buckets.spelled(bin);
                let [service, method, path, status] = labels;
                let values = [service, method, path, status, &bound];
                stat_name::encode(&REQUEST_DURATION_BIN, &values).ok()
            })?;
        }
        series
            .requests
            .push(host, || stat_name::encode(&REQUESTS, &labels).ok())?;
        let Some(sum) = self.sums.get_mut(series.sum) else {
            return Ok(());
        };
        let labels = [&*self.service, method, path];
        sum.nanos.push(host, || {
            stat_name::encode(&REQUEST_DURATION_SUM, &labels).ok()
        })?;
        for (stat, slot) in [REQUEST_BYTES, RESPONSE_BYTES].iter().zip(&mut sum.bytes) {
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
                    keys.insert(set.key());
                }
            }
        }
        // 256 and 599 are statuses like any other; only "x" is none.
        assert_eq!(keys.len(), 11 * 6 * 7);
    }
}
