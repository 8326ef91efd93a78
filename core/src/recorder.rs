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
mod asked;
mod caches;
mod constants;
mod counts;
mod derived;
mod gauges;
mod growth;
mod heard;
mod index;
mod memory;
mod paths;
mod players;
mod scalars;
mod series;
mod watch;

use crate::catalog::{FILTER_INFO, SERIES_LIMIT};
use crate::host::{Failed, Property, Stats, Stream};
use crate::labels::{Method, Status};
use crate::path_label::UNMATCHED;
use crate::plugin_config::PluginConfig;
use crate::signal_rules::Amount;

pub use admission::RESERVE;
pub(crate) use asked::Asked;
pub use caches::MOST_TYPES;
pub(crate) use derived::Facts;
pub(crate) use heard::Heard;
pub(crate) use paths::{PathId, RequestPath};
pub(crate) use players::Playback;
pub use series::request_name_fits;

use admission::{Admission, Fingerprint, Place};
use caches::Caches;
use derived::{Cases, Derived};
use gauges::Gauges;
use paths::Paths;
use players::Players;
use scalars::{Scalars, set_constant};
use series::{Bytes, SeriesTable, Set};
use watch::Watch;

/// Version that `gatemeter_filter_info` shows.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An exchange that is over, or stays open for long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted<'r> {
    pub(crate) method: Method,
    pub(crate) path: &'r RequestPath,
    pub(crate) status: Status,
    /// How long it took.
    pub(crate) nanos: u64,
    pub(crate) facts: Facts,
}

/// The counts of one service in one worker.
#[derive(Debug)]
pub struct Recorder {
    /// Without its `paths`, which moved to the field of that name: with thousands
    /// of routes a second copy in each worker would be felt.
    config: PluginConfig,
    admission: Admission,
    paths: Paths,
    series: SeriesTable,
    /// By the place of a series; empty where no rule counts.
    cases: Vec<Cases>,
    derived: Derived,
    caches: Caches,
    gauges: Gauges,
    players: Players,
    /// Headers of responses that are of interest.
    responses: Watch,
    /// Headers of requests that are of interest.
    requests: Watch,
    scalars: Scalars,
    published_series: Option<u32>,
    closed: bool,
    /// Whether requests are looked at beyond method and path.
    asks: bool,
    /// Whether a request needs nothing but to be counted in its series.
    plain: bool,
}

impl Recorder {
    /// A recorder for this configuration; `seed` is any number that clients
    /// cannot know.
    pub fn new(mut config: PluginConfig, seed: u64) -> Self {
        let responses = Watch::responses(&config);
        let signals = responses.names().chain([heard::CMCD]);
        let derived = Derived::new(&config);
        let requests = Watch::requests(&config);
        let players = Players::new(&config);
        Self {
            scalars: Scalars::new(&config, signals),
            cases: Vec::new(),
            plain: !derived.counts() && !config.bytes_per_route && !config.native_histogram,
            derived,
            caches: Caches::new(&config.service, &config.cache),
            gauges: Gauges::new(&config),
            asks: !requests.is_empty() || players.listen(),
            players,
            requests,
            responses,
            admission: Admission::new(&config.service, config.max_series),
            paths: Paths::new(std::mem::take(&mut config.paths), seed),
            series: SeriesTable::new(
                &config.service,
                config.buckets.clone(),
                config.native_histogram,
            ),
            published_series: None,
            closed: false,
            config,
        }
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
        self.publish_constants(host)?;
        self.derived.define(host)?;
        self.caches.define(host)?;
        self.gauges.define(host)?;
        self.players.define(host)?;
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
        let mut failed = |Failed(call)| scalars.errors.add(call as usize);
        self.series.push(host, &self.paths, &mut failed);
        self.derived.push(host, &mut failed);
        self.caches.push(host, &mut failed);
        if let Err(error) = self.gauges.push(host) {
            failed(error);
        }
        self.players.push(host, &mut failed);
        self.scalars.push(host);
    }

    /// Pushes what has been counted, and from now on every request at once.
    pub fn close(&mut self, host: &impl Stats) {
        self.closed = true;
        self.plain = false;
        self.flush(host);
    }

    /// Counts a host call that failed.
    #[cold]
    pub fn failed(&mut self, Failed(call): Failed) {
        self.scalars.errors.add(call as usize);
    }

    /// A request that Envoy's codec refused before any filter saw it.
    pub(crate) fn unparsed(&mut self, host: &impl Stats) {
        self.scalars.unparsed.add(0);
        self.recorded(host);
    }

    /// An exchange begins.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.scalars.active(1);
    }

    /// An exchange ends.
    pub(crate) fn end(&mut self, host: &impl Stats) {
        self.scalars.active(-1);
        self.recorded(host);
    }

    #[inline]
    pub(crate) fn look_up(&mut self, target: &[u8], path: &mut RequestPath) {
        self.paths.look_up(target, path);
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
    #[inline]
    pub(crate) fn local_reply(&mut self, reason: usize) {
        self.scalars.local_replies.add(reason);
    }

    /// One request that needs nothing but to be counted in a series that there
    /// is; `false` where it is another one, and was not counted.
    #[inline(always)]
    pub(crate) fn request_like_another(
        &mut self,
        method: Method,
        path: &RequestPath,
        status: Status,
        nanos: u64,
    ) -> bool {
        let &RequestPath::Known(path) = path else {
            return false;
        };
        let set = Set {
            method,
            path,
            status,
        };
        match self.series.find(set) {
            Some(series) if self.plain => {
                self.series.count(series, nanos);
                true
            }
            _ => false,
        }
    }

    /// One request: one count, one observation.
    pub(crate) fn request(&mut self, host: &impl Stream, request: Counted<'_>) {
        let known = match request.path {
            RequestPath::Known(path) => self.series.find(Set {
                method: request.method,
                path: *path,
                status: request.status,
            }),
            _ => None,
        };
        let series = match known {
            Some(series) => Some(series),
            None => self.new_series(host, &request),
        };
        if self.derived.counts() {
            self.derive(host, &request, series);
        }
        let bytes = self.config.bytes_per_route.then(|| Bytes {
            request: self.size(host, Amount::RequestBytes),
            response: self.size(host, Amount::ResponseBytes),
        });
        let series = series.unwrap_or_else(|| self.overflow(host, request.method, request.status));
        let observed = self
            .series
            .observe(host, &self.paths, series, request.nanos, bytes);
        if let Err(error) = observed {
            self.failed(error);
        }
        self.recorded(host);
    }

    /// The place of a request whose label set was not met before.
    #[cold]
    fn new_series(&mut self, host: &impl Stats, request: &Counted<'_>) -> Option<usize> {
        self.ordinary(host, request.method, request.path, request.status)
            .unwrap_or_else(|error| {
                self.failed(error);
                None
            })
    }

    /// Moves the counters of rules. A path that has no label yet is asked for
    /// under the one that it would have: a failed login is one before the first
    /// that succeeds.
    fn derive(&mut self, host: &impl Stream, request: &Counted<'_>, series: Option<usize>) {
        let Counted {
            method,
            path,
            status,
            facts,
            ..
        } = *request;
        let known = match path {
            RequestPath::Known(_) => series,
            _ => None,
        };
        let mut derived = std::mem::take(&mut self.derived);
        if let Some(series) = known {
            while self.cases.len() <= series {
                let set = self.series.set(self.cases.len());
                let cases = set
                    .map(|set| derived.cases(set.method, self.paths.label(set.path), set.status));
                self.cases.push(cases.unwrap_or_default());
            }
            let cases = std::mem::take(&mut self.cases);
            if let Some(cases) = cases.get(series) {
                derived.count(cases, facts, |amount| self.size(host, amount));
            }
            self.cases = cases;
        } else {
            let label = match path {
                RequestPath::Known(path) => self.paths.label(*path),
                RequestPath::Candidate(label) => label,
                RequestPath::Unread | RequestPath::Excluded | RequestPath::TooLong => UNMATCHED,
            };
            let cases = derived.cases(method, label, status);
            derived.count(&cases, facts, |amount| self.size(host, amount));
        }
        self.derived = derived;
    }

    /// Bytes of a body, of one that was cut those that came or went.
    fn size(&mut self, host: &impl Stream, amount: Amount) -> u64 {
        match amount {
            Amount::One => 1,
            Amount::ResponseBytes => self.integer(host, Property::ResponseSize),
            // Envoy believes `content-length`; what came in all, with the
            // headers, is more than the body, unless that was cut.
            Amount::RequestBytes => self
                .integer(host, Property::RequestSize)
                .min(self.integer(host, Property::RequestTotalSize)),
        }
    }

    fn integer(&mut self, host: &impl Stream, property: Property) -> u64 {
        let bytes = host.property(property).unwrap_or_else(|error| {
            self.failed(error);
            None
        });
        let bytes = bytes.and_then(|bytes| (*bytes).try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }

    fn publish_constants(&self, host: &impl Stats) -> Result<(), Failed> {
        let histograms = self.derived.histograms().chain(self.players.histogram());
        let histograms =
            histograms.map(|histogram| (histogram.family().name.as_str(), histogram.buckets()));
        constants::publish(host, &self.config, histograms)
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
            RequestPath::Unread | RequestPath::Excluded | RequestPath::TooLong => PathId::UNMATCHED,
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

#[cfg(test)]
mod tests;
