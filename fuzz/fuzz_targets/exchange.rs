//! Exchanges on a hostile proxy: callbacks in any order and number, header maps
//! of any bytes, host calls that fail, several workers, a configuration that
//! changes under way. Whatever comes, each exchange is counted exactly once.
#![no_main]

#[path = "exchange/plan.rs"]
mod plan;
#[path = "exchange/stats.rs"]
mod stats;

use gatemeter_core::buckets::Buckets;
use gatemeter_core::exchange::{Exchange, on_access_log};
use gatemeter_core::header_map::HeaderMap;
use gatemeter_core::path_label::{OVERFLOW, PathLabeller, RouteTable};
use gatemeter_core::plugin_config::PluginConfig;
use gatemeter_core::recorder::{RESERVE, Recorder};
use gatemeter_core::signals::{
    CacheResult, Room, cache_status, cache_words, dictionary, server_timing,
};
use gatemeter_fuzz::proxy::Proxy;
use libfuzzer_sys::fuzz_target;

use self::plan::{Plan, Properties, Settings, Step};
use self::stats::StatPage;

/// What no setting changes: everything is read that can be.
const CONFIGURATION: &[u8] = br#"{
    "service": "api",
    "preset": "playback",
    "cache": {"types": {"redis": "redis"}, "bytes": true},
    "bytes_per_route": true,
    "signals": [
        {"name": "search_query_duration_seconds", "server_timing": "db"},
        {"name": "rate_limit_hits_total", "count": [{"status": 429, "response_header": "x-limit"}]}
    ]
}"#;

/// Headers that the settings hide, in their order.
const STRIPPED: [&str; 3] = ["cache-status", "x-db-pool", "server-timing"];

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
        let strip = STRIPPED.into_iter().zip(settings.strip);
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
            strip: strip
                .filter_map(|(name, strip)| strip.then_some(name.to_owned()))
                .collect(),
            native_histogram: settings.native_histogram,
            ..PluginConfig::parse(CONFIGURATION).expect("a configuration")
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
        for (name, strip) in STRIPPED.into_iter().zip(self.settings.strip) {
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
        let mut is_said = false;
        // Of a header that is malformed no further line is read.
        let mut bad = Vec::new();
        for (name, line) in HeaderMap::new(response) {
            is_said |= name == b"cache-status";
            if bad.contains(&name) {
                continue;
            }
            let read = match name {
                b"cache-status" => cache_status::read(line, &mut room).map(|members| {
                    for member in members {
                        self.expect(member.result);
                    }
                }),
                // Only what they take of the room matters here.
                b"x-db-pool" => dictionary::read(line, &["active", "idle"], &mut room).map(|_| ()),
                b"server-timing" => server_timing::read(line, &mut room, |_, _| ()),
                _ => Ok(()),
            };
            if read.is_err() {
                bad.push(name);
            }
        }
        if is_said {
            return;
        }
        for words in ["x-cache", "x-cache-status", "cf-cache-status"] {
            let map = HeaderMap::new(response);
            let lines: Vec<_> = map.filter(|(name, _)| *name == words.as_bytes()).collect();
            for (_, line) in &lines {
                // What was found before the room ran out has been counted.
                if cache_words::read(line, &mut room, |result| self.expect(result)).is_err() {
                    break;
                }
            }
            if !lines.is_empty() {
                return;
            }
        }
    }

    fn expect(&mut self, result: CacheResult) {
        self.hits += u64::from(result.is_hit());
        self.misses += u64::from(result.is_miss());
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
        let page = StatPage::new(&self.proxy);
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
