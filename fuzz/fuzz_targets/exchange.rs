//! Exchanges on a hostile proxy: callbacks in any order and number, header maps
//! of any bytes, host calls that fail, several workers, a configuration that
//! changes under way. Whatever comes, each exchange is counted exactly once.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Arbitrary, Unstructured};
use gatemeter_core::buckets::{Buckets, INFINITY, parse_seconds};
use gatemeter_core::catalog::LE;
use gatemeter_core::exchange::{Exchange, on_access_log};
use gatemeter_core::header_map::HeaderMap;
use gatemeter_core::host::{HostCall, Property};
use gatemeter_core::path_label::{OVERFLOW, PathLabeller, RouteTable};
use gatemeter_core::plugin_config::{OTHER_CACHE, PluginConfig};
use gatemeter_core::recorder::{RESERVE, Recorder};
use gatemeter_core::signals::cache_status::{self, CacheResult};
use gatemeter_core::signals::pool;
use gatemeter_core::signals::{Room, Signal};
use gatemeter_core::stat_name;
use gatemeter_fuzz::proxy::{Proxy, serialize};
use libfuzzer_sys::fuzz_target;

#[derive(Debug)]
struct Plan {
    settings: Settings,
    steps: Vec<Step>,
}

/// Most steps of a plan; more only cost time.
const MOST_STEPS: usize = 64;

/// Steps as long as there is input; the derived list would end at any one.
impl<'a> Arbitrary<'a> for Plan {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let settings = Settings::arbitrary(input)?;
        let mut steps = Vec::new();
        while !input.is_empty() && steps.len() < MOST_STEPS {
            steps.push(Step::arbitrary(input)?);
        }
        Ok(Self { settings, steps })
    }
}

#[derive(Arbitrary, Clone, Debug)]
struct Settings {
    routes: bool,
    exclude: bool,
    max_series: u8,
    bounds: bool,
    strip: [bool; 3],
    native_histogram: bool,
    two_workers: bool,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Open {
        worker: bool,
        request: Map,
    },
    Request {
        which: u8,
    },
    Response {
        which: u8,
        response: Map,
    },
    Log {
        which: u8,
        properties: Properties,
    },
    End {
        which: u8,
    },
    AccessLog {
        worker: bool,
        request: Map,
        response: Map,
        properties: Properties,
    },
    Tick {
        worker: bool,
    },
    Advance {
        micros: u32,
    },
    Fail {
        calls: u16,
        every: u8,
    },
    Reload {
        worker: bool,
        max_series: u8,
    },
}

#[derive(Arbitrary, Clone, Debug)]
enum Map {
    /// Of a request, then anything.
    Ask(Known, Known, Vec<(Name, Text)>),
    /// Of a response, then anything.
    Answer(Known, Vec<(Name, Text)>),
    Pairs(Vec<(Name, Text)>),
    Raw(Vec<u8>),
}

/// A place in one of the lists below, counted from the start again.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Known(u8);

#[derive(Arbitrary, Clone, Debug)]
enum Name {
    Known(Known),
    Any(Vec<u8>),
}

#[derive(Arbitrary, Clone, Debug)]
enum Text {
    Known(Known),
    Any(Vec<u8>),
}

#[derive(Arbitrary, Clone, Debug, Default)]
struct Properties {
    duration: Option<u32>,
    flags: Option<u32>,
    redirected: bool,
    odd: Option<Vec<u8>>,
}

const NAMES: &[&[u8]] = &[
    b":method",
    b":path",
    b":status",
    b"cache-status",
    b"x-db-pool",
    b"server-timing",
    b"content-type",
    b"x-envoy-original-path",
];

const METHODS: &[&[u8]] = &[b"GET", b"POST", b"CONNECT", b"BREW"];

const PATHS: &[&[u8]] = &[
    b"/a/7",
    b"/a/8?token=secret",
    b"/b",
    b"/c/d#e",
    b"/metrics",
    b"/\xff\n",
    b"*",
    b"/d/0190163d-8694-739b-aea5-966c26f8ad91",
];

const STATUSES: &[&[u8]] = &[b"200", b"101", b"404", b"302", b"503", b"999", b"2\xff0"];

const TEXTS: &[&[u8]] = &[
    b"redis; hit",
    b"CDN; fwd=miss, redis; hit",
    b"x; hit, y; =",
    b"active=15, idle=25",
    b"active=-1",
    b"text/event-stream; charset=utf-8",
    b"db;dur=53",
    b"200",
    b"/a/7?x",
];

fuzz_target!(|plan: Plan| Run::new(&plan.settings).play(plan.steps));

struct Run {
    proxy: Proxy,
    settings: Settings,
    /// One for each worker, then those that a reload has replaced.
    recorders: Vec<Recorder>,
    exchanges: Vec<Flight>,
    started: u64,
    logged: u64,
    reloads: u8,
    hits: u64,
    misses: u64,
    largest_cap: u32,
}

struct Flight {
    recorder: usize,
    exchange: Exchange,
    request: Vec<u8>,
    response: Vec<u8>,
    ended: bool,
}

impl Run {
    fn new(settings: &Settings) -> Self {
        let mut run = Self {
            proxy: Proxy::default(),
            settings: settings.clone(),
            recorders: Vec::new(),
            exchanges: Vec::new(),
            started: 0,
            logged: 0,
            reloads: 0,
            hits: 0,
            misses: 0,
            largest_cap: 0,
        };
        for _ in 0..=usize::from(settings.two_workers) {
            let recorder = run.recorder(settings.max_series);
            run.recorders.push(recorder);
        }
        run
    }

    /// A configured recorder; every host call works meanwhile.
    fn recorder(&mut self, max_series: u8) -> Recorder {
        let table = |templates: &[&str]| {
            let templates = templates
                .iter()
                .map(|text| text.parse().expect("a template"));
            RouteTable::try_new(templates.collect()).expect("a table")
        };
        let settings = &self.settings;
        let strip = Signal::ALL.into_iter().zip(settings.strip);
        let config = PluginConfig {
            service: "api".to_owned(),
            paths: PathLabeller::new(
                Vec::new(),
                if settings.routes {
                    table(&["/a/:id", "/b", "/c/*"])
                } else {
                    RouteTable::default()
                },
                if settings.exclude {
                    table(&["/metrics"])
                } else {
                    RouteTable::default()
                },
            ),
            max_series: u32::from(max_series % 8) + 1,
            buckets: if settings.bounds {
                Buckets::try_new(vec![1_000_000, 2_000_000]).expect("bounds")
            } else {
                Buckets::default()
            },
            cache_types: vec![("redis".to_owned(), "redis".to_owned())],
            strip: strip
                .filter_map(|(signal, strip)| strip.then_some(signal))
                .collect(),
            native_histogram: settings.native_histogram,
            flush_interval_ms: 100,
        };
        self.largest_cap = self.largest_cap.max(config.max_series);
        let mut recorder = Recorder::new(config, 7);
        self.proxy.fail(0, 0);
        recorder.configure(&self.proxy).expect("no call fails");
        recorder
    }

    fn worker(&self, worker: bool) -> usize {
        usize::from(worker && self.settings.two_workers)
    }

    fn play(mut self, steps: Vec<Step>) {
        for step in steps {
            self.step(step);
        }
        self.finish();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open { worker, request } => {
                let recorder = self.worker(worker);
                let exchange = Exchange::start(&mut self.recorders[recorder], &self.proxy);
                self.started += 1;
                self.exchanges.push(Flight {
                    recorder,
                    exchange,
                    request: request.bytes(),
                    response: Vec::new(),
                    ended: false,
                });
            }
            Step::Request { which } => self.with(which, Properties::default(), |run, flight| {
                let recorder = &mut run.recorders[flight.recorder];
                flight.exchange.on_request_headers(recorder, &run.proxy);
            }),
            Step::Response { which, response } => {
                if let Some(index) = self.index(which) {
                    self.exchanges[index].response = response.bytes();
                }
                self.with(which, Properties::default(), Self::respond);
            }
            Step::Log { which, properties } => self.with(which, properties, |run, flight| {
                let recorder = &mut run.recorders[flight.recorder];
                flight.exchange.on_log(recorder, &run.proxy);
            }),
            Step::End { which } => self.with(which, Properties::default(), Self::end),
            Step::AccessLog {
                worker,
                request,
                response,
                properties,
            } => {
                let recorder = self.worker(worker);
                let response = response.bytes();
                self.proxy
                    .turn_to(request.bytes(), response.clone(), properties.list());
                self.expect_signals(&response);
                on_access_log(&mut self.recorders[recorder], &self.proxy);
                self.logged += 1;
                assert!(self.proxy.removed().is_empty(), "a logger removed a header");
            }
            Step::Tick { worker } => {
                let recorder = self.worker(worker);
                self.recorders[recorder].tick(&self.proxy);
            }
            Step::Advance { micros } => self.proxy.advance(u64::from(micros) * 1_000),
            Step::Fail { calls, every } => self.proxy.fail(calls, every.into()),
            // Each makes a recorder, which is most of the work of a plan.
            Step::Reload { worker, max_series } if self.reloads < 2 => {
                self.reloads += 1;
                let worker = self.worker(worker);
                self.recorders[worker].close(&self.proxy);
                let fresh = self.recorder(max_series);
                let before = std::mem::replace(&mut self.recorders[worker], fresh);
                let replaced = self.recorders.len();
                self.recorders.push(before);
                for flight in &mut self.exchanges {
                    if flight.recorder == worker {
                        flight.recorder = replaced;
                    }
                }
            }
            Step::Reload { .. } => {}
        }
    }

    fn index(&self, which: u8) -> Option<usize> {
        usize::from(which).checked_rem(self.exchanges.len())
    }

    /// Turns the proxy to an exchange and runs one of its callbacks. One that
    /// has ended is gone: its callbacks may come again, its end not.
    fn with(
        &mut self,
        which: u8,
        properties: Properties,
        act: impl FnOnce(&mut Self, &mut Flight),
    ) {
        let Some(index) = self.index(which) else {
            return;
        };
        let mut flight = self.exchanges.swap_remove(index);
        let (request, response) = (flight.request.clone(), flight.response.clone());
        self.proxy.turn_to(request, response, properties.list());
        act(self, &mut flight);
        self.exchanges.push(flight);
        let last = self.exchanges.len() - 1;
        self.exchanges.swap(index, last);
    }

    fn respond(&mut self, flight: &mut Flight) {
        self.expect_signals(&flight.response);
        let recorder = &mut self.recorders[flight.recorder];
        flight.exchange.on_response_headers(recorder, &self.proxy);
        let removed = self.proxy.removed();
        for (signal, strip) in Signal::ALL.iter().zip(self.settings.strip) {
            let name = signal.header();
            let present = HeaderMap::new(&flight.response).any(|(n, _)| n == name.as_bytes());
            let times = removed.iter().filter(|removed| *removed == name).count();
            if self.proxy.has_failed() {
                assert!(times <= usize::from(strip && present), "{name}");
            } else {
                assert_eq!(times, usize::from(strip && present), "{name}");
            }
        }
    }

    fn end(&mut self, flight: &mut Flight) {
        flight
            .exchange
            .on_end(&mut self.recorders[flight.recorder], &self.proxy);
        flight.ended = true;
    }

    /// What a response says of caches is counted, each time it is read.
    fn expect_signals(&mut self, response: &[u8]) {
        let mut room = Room::default();
        for (name, line) in HeaderMap::new(response) {
            match Signal::of_header(name) {
                Some(Signal::CacheStatus) => {
                    for member in cache_status::read(line, &mut room).unwrap_or_default() {
                        match member.result {
                            CacheResult::Hit => self.hits += 1,
                            CacheResult::Miss => self.misses += 1,
                            CacheResult::Neither => {}
                        }
                    }
                }
                // Only what it takes of the room matters here.
                Some(Signal::DbPool) => drop(pool::read(line, &mut room)),
                _ => {}
            }
        }
    }

    fn finish(mut self) {
        self.proxy.fail(0, 0);
        for mut flight in std::mem::take(&mut self.exchanges) {
            self.proxy.turn_to(Vec::new(), Vec::new(), Vec::new());
            if !flight.ended {
                self.end(&mut flight);
            }
        }
        // Twice: a failure is counted when the stats have been pushed.
        for recorder in &mut self.recorders {
            recorder.tick(&self.proxy);
            recorder.tick(&self.proxy);
        }
        let page = Page::new(&self.proxy);
        let requests = page.sum("http_requests_total");
        let counted = requests
            + page.sum("gatemeter_excluded_requests_total")
            + page.sum("gatemeter_internal_redirects_total")
            + page.sum("gatemeter_unparsed_requests_total");
        assert_eq!(counted, self.started + self.logged, "counted once each");
        assert_eq!(page.sum("http_request_duration_seconds_bin"), requests);
        assert_eq!(page.sum("active_connections"), 0);
        let overflow = page.with("http_requests_total", "path", OVERFLOW);
        assert_eq!(page.sum("gatemeter_series_overflows_total"), overflow);
        page.labels_are_closed();
        page.sums_fit_their_bins();

        let (ordinary, reserve) = page.sets();
        assert!(ordinary <= self.largest_cap as usize, "{ordinary} sets");
        assert!(reserve <= RESERVE as usize);
        if !self.proxy.has_failed() {
            assert_eq!(page.sum("gatemeter_filter_errors_total"), 0);
            assert_eq!(page.sum("gatemeter_series"), ordinary as u64);
            assert_eq!(page.sum("cache_hits_total"), self.hits);
            assert_eq!(page.sum("cache_misses_total"), self.misses);
        }
    }
}

impl Map {
    fn bytes(&self) -> Vec<u8> {
        let mut pairs: Vec<(&[u8], &[u8])> = Vec::new();
        let more = match self {
            Self::Raw(bytes) => return bytes.clone(),
            Self::Ask(method, path, more) => {
                pairs.push((b":method", method.of(METHODS)));
                pairs.push((b":path", path.of(PATHS)));
                more
            }
            Self::Answer(status, more) => {
                pairs.push((b":status", status.of(STATUSES)));
                more
            }
            Self::Pairs(more) => more,
        };
        pairs.extend(more.iter().map(|(name, text)| {
            let name = match name {
                Name::Known(at) => at.of(NAMES),
                Name::Any(bytes) => bytes,
            };
            let text = match text {
                Text::Known(at) => at.of(TEXTS),
                Text::Any(bytes) => bytes,
            };
            (name, text)
        }));
        serialize(pairs)
    }
}

impl Known {
    fn of(self, list: &'static [&'static [u8]]) -> &'static [u8] {
        list[usize::from(self.0) % list.len()]
    }
}

impl Properties {
    fn list(self) -> Vec<(Property, Vec<u8>)> {
        let number = |number: u32| u64::from(number).to_le_bytes().to_vec();
        let odd = self.odd.map(|bytes| (Property::RequestDuration, bytes));
        let duration = self
            .duration
            .map(|nanos| (Property::RequestDuration, number(nanos)));
        let flags = self
            .flags
            .map(|flags| (Property::ResponseFlags, number(flags)));
        let details = (Property::ResponseCodeDetails, b"internal_redirect".to_vec());
        let details = self.redirected.then_some(details);
        odd.into_iter()
            .chain(duration)
            .chain(flags)
            .chain(details)
            .collect()
    }
}

/// The proxy's stats, taken apart.
struct Page(Vec<(&'static str, BTreeMap<&'static str, String>, u64)>);

impl Page {
    fn new(proxy: &Proxy) -> Self {
        let values = proxy.values();
        let lines = values.iter().map(|(name, value)| {
            let decoded = stat_name::decode(name).expect("a name of the codec");
            let labels = decoded.stat.labels.iter().copied();
            let values = decoded.values.iter().map(|value| value.to_string());
            (decoded.stat.name, labels.zip(values).collect(), *value)
        });
        Self(lines.collect())
    }

    fn sum(&self, stat: &str) -> u64 {
        self.0
            .iter()
            .filter(|line| line.0 == stat)
            .map(|line| line.2)
            .sum()
    }

    fn with(&self, stat: &str, label: &str, value: &str) -> u64 {
        let is_it = |labels: &BTreeMap<_, String>| labels.get(label).is_some_and(|v| v == value);
        let lines = self
            .0
            .iter()
            .filter(|line| line.0 == stat && is_it(&line.1));
        lines.map(|line| line.2).sum()
    }

    /// Label sets with a place of their own, and those of the overflow.
    fn sets(&self) -> (usize, usize) {
        let sets = self.0.iter().filter(|line| line.0 == "http_requests_total");
        let (overflow, ordinary): (BTreeSet<_>, BTreeSet<_>) = sets
            .map(|line| &line.1)
            .partition(|labels| labels["path"] == OVERFLOW);
        (ordinary.len(), overflow.len())
    }

    fn labels_are_closed(&self) {
        let calls = HostCall::ALL.map(HostCall::as_str);
        for (stat, labels, _) in &self.0 {
            for (label, value) in labels {
                let is_known = match *label {
                    "path" => !value.contains(['?', '#']) && value.is_ascii(),
                    "cache_type" => value == "redis" || value == OTHER_CACHE,
                    "signal" => Signal::ALL.iter().any(|signal| signal.header() == value),
                    "reason" if *stat == "gatemeter_filter_errors_total" => {
                        calls.contains(&value.as_str())
                    }
                    _ => value.len() <= 16,
                };
                assert!(is_known, "{stat} {label}={value}");
            }
        }
    }

    /// The sum of a method and path lies between what its bins allow.
    fn sums_fit_their_bins(&self) {
        let mut ranges: BTreeMap<(&str, &str), (u128, Option<u128>)> = BTreeMap::new();
        let bins = || {
            self.0
                .iter()
                .filter(|l| l.0 == "http_request_duration_seconds_bin")
        };
        let bounds: BTreeSet<u64> = self
            .0
            .iter()
            .filter(|line| line.0 == "gatemeter_bucket_bound")
            .filter_map(|line| parse_seconds(&line.1[LE]))
            .collect();
        for (_, labels, count) in bins() {
            let count = u128::from(*count);
            let le = parse_seconds(&labels[LE]);
            assert!(le.is_some() || labels[LE] == INFINITY);
            let below = bounds.range(..le.unwrap_or(u64::MAX)).next_back();
            let range = ranges
                .entry((&labels["method"], &labels["path"]))
                .or_insert((0, Some(0)));
            range.0 += count * below.map_or(0, |bound| u128::from(*bound) + 1);
            range.1 = range
                .1
                .zip(le)
                .map(|(sum, le)| sum + count * u128::from(le));
        }
        for (_, labels, sum) in self
            .0
            .iter()
            .filter(|l| l.0 == "http_request_duration_nanoseconds_sum")
        {
            let (least, most) = ranges[&(labels["method"].as_str(), labels["path"].as_str())];
            let sum = u128::from(*sum);
            assert!(
                sum >= least && most.is_none_or(|most| sum <= most),
                "{labels:?} {sum}"
            );
        }
    }
}
