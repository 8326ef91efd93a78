//! Counts: which stats one request moves, and when they reach the proxy.
//!
//! Counting is coalesced. A request adds to numbers in memory; a tick, and the
//! end of the root context, pushes them to the proxy's stats. So a request in
//! the steady state makes no metric call at all, and what the proxy refuses is
//! kept and pushed by the next tick. After [`Recorder::close`] every request
//! pushes at once: no tick will come.
//!
//! A label set takes its place by [`admission`](self): what finds none counts
//! under the path `_OVERFLOW`, and where even the reserve for that is used up,
//! under `_OTHER` for method and status. Totals stay right in every case.

mod admission;
mod paths;
mod scalars;
mod series;

use crate::buckets::Buckets;
use crate::catalog::{BUCKET_BOUND, FILTER_INFO, SERIES_LIMIT};
use crate::host::{Failed, HostCall, Stats};
use crate::labels::{Method, Status};
use crate::plugin_config::PluginConfig;
use crate::signals::{Malformed, Room, Signal, cache_status, dictionary};

pub use admission::RESERVE;
pub(crate) use paths::{PathId, RequestPath};
pub use series::request_name_fits;

use admission::{Admission, Fingerprint, Place};
use paths::Paths;
use scalars::{Scalars, set_constant};
use series::{SeriesTable, Set};

/// Version that `gatemeter_filter_info` shows.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The counts of one service in one worker.
#[derive(Debug)]
pub struct Recorder {
    /// Without its `paths`, which moved to the field of that name: with thousands
    /// of routes a second copy in each worker would be felt.
    config: PluginConfig,
    admission: Admission,
    paths: Paths,
    series: SeriesTable,
    scalars: Scalars,
    published_series: Option<u32>,
    closed: bool,
}

impl Recorder {
    /// A recorder for this configuration; `seed` is any number that clients
    /// cannot know.
    pub fn new(mut config: PluginConfig, seed: u64) -> Self {
        Self {
            admission: Admission::new(&config.service, config.max_series),
            paths: Paths::new(std::mem::take(&mut config.paths), seed),
            series: SeriesTable::new(
                &config.service,
                config.buckets.clone(),
                config.native_histogram,
            ),
            scalars: Scalars::new(&config),
            published_series: None,
            closed: false,
            config,
        }
    }

    /// Whether the client is not to see the header of this signal.
    pub(crate) fn strips(&self, signal: Signal) -> bool {
        self.config.strip.contains(&signal)
    }

    /// Makes everything appear that is shown at 0, and the constants of the
    /// configuration. Runs on a canary and on every worker, so it adds nothing.
    ///
    /// # Errors
    /// Where the proxy has no stats or no shared data for the module.
    pub fn configure(&mut self, host: &impl Stats) -> Result<(), Failed> {
        self.admission.prepare(host)?;
        let service = self.config.service.as_str();
        set_constant(host, FILTER_INFO, &[service, VERSION], 1)?;
        set_constant(
            host,
            SERIES_LIMIT,
            &[service],
            self.config.max_series.into(),
        )?;
        publish_bounds(host, service, &self.config.buckets)?;
        self.scalars.define(host)
    }

    /// Counts a tick, and pushes what has been counted since the last one.
    pub fn tick(&mut self, host: &impl Stats) {
        self.scalars.ticks.add(0);
        match self.admission.in_use(host) {
            Ok(in_use) if self.published_series != Some(in_use) => {
                self.scalars.series.set(in_use.into());
                self.published_series = Some(in_use);
            }
            Ok(_) => {}
            Err(error) => self.failed(error),
        }
        self.flush(host);
    }

    /// Pushes what has been counted.
    pub fn flush(&mut self, host: &impl Stats) {
        self.push(host);
        if self.closed {
            // No tick comes: what was refused, and that it was, goes out now.
            self.push(host);
        }
    }

    fn push(&mut self, host: &impl Stats) {
        let scalars = &mut self.scalars;
        self.series.push(host, &self.paths, |Failed(call)| {
            scalars.errors.add(call as usize);
        });
        self.scalars.push(host);
    }

    /// Pushes what has been counted, and from now on every request at once.
    pub fn close(&mut self, host: &impl Stats) {
        self.closed = true;
        self.flush(host);
    }

    /// Counts a host call that failed.
    pub fn failed(&mut self, Failed(call): Failed) {
        self.scalars.errors.add(call as usize);
    }

    /// A request that Envoy's codec refused before any filter saw it.
    pub(crate) fn unparsed(&mut self, host: &impl Stats) {
        self.scalars.unparsed.add(0);
        self.recorded(host);
    }

    /// An exchange begins.
    pub(crate) fn begin(&mut self) {
        self.scalars.active(1);
    }

    /// An exchange ends.
    pub(crate) fn end(&mut self, host: &impl Stats) {
        self.scalars.active(-1);
        self.recorded(host);
    }

    pub(crate) fn look_up(&mut self, path: &[u8]) -> RequestPath {
        self.paths.look_up(path)
    }

    pub(crate) fn excluded(&mut self, host: &impl Stats) {
        self.scalars.excluded.add(0);
        self.recorded(host);
    }

    pub(crate) fn internal_redirect(&mut self, host: &impl Stats) {
        self.scalars.internal_redirects.add(0);
        self.recorded(host);
    }

    /// A reply that Envoy made itself, by the index of its flag.
    pub(crate) fn local_reply(&mut self, reason: usize) {
        self.scalars.local_replies.add(reason);
    }

    /// One request: one count, one observation.
    pub(crate) fn request(
        &mut self,
        host: &impl Stats,
        method: Method,
        path: &RequestPath,
        status: Status,
        nanos: u64,
    ) {
        let series = match self.ordinary(host, method, path, status) {
            Ok(Some(series)) => series,
            Ok(None) => self.overflow(host, method, status),
            Err(error) => {
                self.failed(error);
                self.overflow(host, method, status)
            }
        };
        if let Err(error) = self.series.observe(host, &self.paths, series, nanos) {
            self.failed(error);
        }
        self.recorded(host);
    }

    /// One line of a signal header of a response, and the room that the
    /// signals before it have left.
    pub(crate) fn signal(&mut self, signal: Signal, line: &[u8], room: &mut Room) {
        let read = match signal {
            Signal::CacheStatus => self.caches(line, room),
            Signal::DbPool => self.pool(line, room),
            Signal::ServerTiming => Ok(()),
        };
        if read.is_err() {
            self.scalars.signal_errors.add(signal as usize);
        }
    }

    fn caches(&mut self, line: &[u8], room: &mut Room) -> Result<(), Malformed> {
        for member in cache_status::read(line, room)? {
            let cache_type = self.config.cache_type(&member.name);
            let index = self.scalars.cache_type(cache_type);
            if member.result.is_hit() {
                self.scalars.cache_hits.add(index);
            } else if member.result.is_miss() {
                self.scalars.cache_misses.add(index);
            }
        }
        Ok(())
    }

    fn pool(&mut self, line: &[u8], room: &mut Room) -> Result<(), Malformed> {
        let pool = dictionary::read(line, &["active", "idle"], room)?;
        if let Some(active) = pool.of(0) {
            self.scalars.db_active.set(active);
        }
        if let Some(idle) = pool.of(1) {
            self.scalars.db_idle.set(idle);
        }
        Ok(())
    }

    fn recorded(&mut self, host: &impl Stats) {
        if self.closed {
            self.flush(host);
        }
    }

    /// The series of a request that has a place, or gets one now; `None` where
    /// there is no place left.
    fn ordinary(
        &mut self,
        host: &impl Stats,
        method: Method,
        path: &RequestPath,
        status: Status,
    ) -> Result<Option<usize>, Failed> {
        let path = match path {
            RequestPath::Known(path) => *path,
            RequestPath::TooLong if status.is_below_400() => return Ok(None),
            RequestPath::Excluded | RequestPath::TooLong => PathId::UNMATCHED,
            RequestPath::Candidate(label) => match self.paths.known(label) {
                Some(path) => path,
                None if status.is_below_400() => {
                    return self.first_answer(host, method, label, status);
                }
                // Another worker may have seen such an answer.
                None if self.admission.knows(host, Fingerprint::of_path(label))? => {
                    self.paths.intern(label)
                }
                None => PathId::UNMATCHED,
            },
        };
        let set = Set {
            method,
            path,
            status,
        };
        if let Some(series) = self.series.find(set) {
            return Ok(Some(series));
        }
        let label = self.paths.label(path);
        let admitted = self.admit(host, method, label, status, Place::Ordinary)?;
        Ok(admitted.then(|| self.series.add(set)))
    }

    /// A path without a label was answered below 400: it gets one, if there is
    /// a place.
    fn first_answer(
        &mut self,
        host: &impl Stats,
        method: Method,
        label: &str,
        status: Status,
    ) -> Result<Option<usize>, Failed> {
        if !self.admit(host, method, label, status, Place::Ordinary)? {
            return Ok(None);
        }
        self.admission.note(host, Fingerprint::of_path(label))?;
        let path = self.paths.intern(label);
        Ok(Some(self.series.add(Set {
            method,
            path,
            status,
        })))
    }

    fn admit(
        &self,
        host: &impl Stats,
        method: Method,
        label: &str,
        status: Status,
        place: Place,
    ) -> Result<bool, Failed> {
        if !self.series.fits(method, label, status) {
            return Ok(false);
        }
        let set = Fingerprint::of_set(method.index(), label, status.code());
        self.admission.admit(host, set, place)
    }

    fn overflow(&mut self, host: &impl Stats, method: Method, status: Status) -> usize {
        self.scalars.overflows.add(0);
        let set = Set {
            method,
            path: PathId::OVERFLOW,
            status,
        };
        if let Some(series) = self.series.find(set) {
            return series;
        }
        let label = self.paths.label(PathId::OVERFLOW);
        let admitted = self
            .admit(host, method, label, status, Place::Reserve)
            .unwrap_or_else(|error| {
                self.failed(error);
                false
            });
        let set = if admitted {
            set
        } else {
            Set {
                method: Method::OTHER,
                path: PathId::OVERFLOW,
                status: Status::OTHER,
            }
        };
        self.series
            .find(set)
            .unwrap_or_else(|| self.series.add(set))
    }
}

/// Says which bounds are in use, and takes back those of the configuration
/// before: the bridge folds the bins of a bound that is gone into the next.
fn publish_bounds(host: &impl Stats, service: &str, buckets: &Buckets) -> Result<(), Failed> {
    let key = format!("gatemeter.{service}.bounds");
    let spelled: Vec<String> = (0..buckets.bins())
        .map(|bin| buckets.spelled(bin))
        .collect();
    let before = host.shared_data(&key)?;
    let before = before.as_ref().map_or(&[][..], |(bytes, _)| bytes);
    for bound in str::from_utf8(before).unwrap_or_default().split(' ') {
        if !bound.is_empty() && !spelled.iter().any(|now| now == bound) {
            set_constant(host, BUCKET_BOUND, &[service, bound], 0)?;
        }
    }
    for bound in &spelled {
        set_constant(host, BUCKET_BOUND, &[service, bound], 1)?;
    }
    let stored = host.set_shared_data(&key, spelled.join(" ").as_bytes(), 0)?;
    stored.then_some(()).ok_or(Failed(HostCall::SetSharedData))
}

#[cfg(test)]
mod tests;
