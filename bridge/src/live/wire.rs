//! What the page is sent, as JSON: the state after a read, and the numbers of
//! each moment. Field names are short because a moment is sent many times.

use std::time::Duration;

use serde::Serialize;

use super::{
    point::{CLASSES, Health},
    quantile::{self, as_f64},
    ring::{At, Envoy, MAX_ROUTES, MAX_SERVICES, Moment, OTHER, Ring, ServiceMoment, WINDOW},
    service::Service,
};

/// Spans of time, to the last read, that the page can show.
const RANGES: [Duration; 3] = [
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
];

/// Plugins and results that are listed.
const MOST_RELOADS: usize = 16;

/// Everything but the moments.
#[derive(Serialize)]
struct State<'r> {
    version: &'static str,
    interval_seconds: f64,
    limits: Limits,
    /// When this was read.
    at: Option<u64>,
    /// The first moment of the ring.
    since: Option<u64>,
    envoys: Vec<EnvoyState<'r>>,
    hidden_services: usize,
    ranges: [Range; 3],
    services: Vec<ServiceState<'r>>,
}

#[derive(Serialize)]
struct Limits {
    services: usize,
    routes: usize,
    minutes: u64,
    bytes: usize,
    worst_bytes: usize,
    listeners: usize,
}

#[derive(Serialize)]
struct EnvoyState<'r> {
    name: Option<&'r str>,
    up: bool,
    reason: Option<&'static str>,
    error: Option<&'r str>,
    since: u64,
    uptime_seconds: Option<u64>,
    /// Plugin, result and count of those above 0.
    reloads: Vec<(&'r str, &'static str, u64)>,
}

#[derive(Serialize)]
struct Range {
    /// What was asked for.
    seconds: u64,
    /// Of that, what was between reads.
    covered_seconds: f64,
}

#[derive(Serialize)]
struct ServiceState<'r> {
    name: &'r str,
    /// Seconds.
    bounds: Vec<f64>,
    /// Totals since Envoy's start by class; text, since JavaScript's numbers end
    /// at 2^53.
    totals: [String; CLASSES],
    active: Option<u64>,
    pool: Option<[u64; 2]>,
    caches: Vec<CacheState<'r>>,
    health: HealthState<'r>,
    ranges: Vec<Sum>,
    routes: Vec<RouteState<'r>>,
}

#[derive(Serialize)]
struct CacheState<'r> {
    /// `None`: all that have no place of their own.
    name: Option<&'r str>,
    totals: [String; 2],
    /// Hits and misses by range.
    ranges: [[u64; 2]; 3],
}

#[derive(Serialize)]
struct RouteState<'r> {
    row: u8,
    /// Method and path; `None`: all that have no row.
    name: Option<[&'r str; 2]>,
    totals: [String; CLASSES],
    ranges: Vec<Sum>,
}

/// What came in a range.
#[derive(Clone, Default, Serialize)]
struct Sum {
    classes: [u64; CLASSES],
    /// Percentiles in seconds.
    q: Option<[f64; 3]>,
    #[serde(skip)]
    bins: Vec<u64>,
}

#[derive(Serialize)]
struct HealthState<'r> {
    series: Option<u64>,
    series_limit: Option<u64>,
    overflows: Option<u64>,
    ticks: Option<u64>,
    signal_errors: Vec<(&'r str, u64)>,
    filter_errors: Vec<(&'r str, u64)>,
    versions: Vec<&'r str>,
}

/// One moment.
#[derive(Serialize)]
struct Point {
    /// Milliseconds since 1970.
    at: u64,
    /// Since the read before.
    seconds: Option<f64>,
    gap: bool,
    partial: bool,
    reset: bool,
    services: Vec<ServicePoint>,
}

#[derive(Serialize)]
struct ServicePoint {
    i: u8,
    active: Option<u32>,
    pool: Option<[u32; 2]>,
    caches: Vec<[u32; 2]>,
    q: Option<[f64; 3]>,
    routes: Vec<RoutePoint>,
}

#[derive(Serialize)]
struct RoutePoint {
    row: u8,
    n: [u32; CLASSES],
    b: Vec<u32>,
    q: Option<[f64; 3]>,
}

/// The state as JSON.
pub(super) fn state(
    ring: &Ring,
    interval: Duration,
    worst_bytes: usize,
    listeners: usize,
) -> String {
    let moments: Vec<&Moment> = ring.moments_from(0).map(|(_, moment)| moment).collect();
    let now = moments.last().map_or_else(At::default, |moment| moment.at);
    // Reads are not exactly an interval apart.
    let slack = interval / 4;
    // A moment is in a range where it began in it.
    let is_in = |moment: &Moment, range: Duration| {
        let age = now.elapsed.saturating_sub(moment.at.elapsed);
        moment.span.is_some_and(|span| age + span <= range + slack)
    };
    let mut services: Vec<_> = ring.services.iter().map(Sums::new).collect();
    let mut covered = [Duration::ZERO; 3];
    for moment in &moments {
        for (range, seconds) in RANGES.iter().enumerate() {
            if is_in(moment, *seconds) {
                covered[range] += moment.span.unwrap_or_default();
                for part in &moment.services {
                    if let Some(sums) = services.get_mut(usize::from(part.service)) {
                        sums.add(range, part);
                    }
                }
            }
        }
    }
    let mut range = RANGES.iter().zip(covered);
    let state = State {
        version: env!("CARGO_PKG_VERSION"),
        interval_seconds: interval.as_secs_f64(),
        limits: Limits {
            services: MAX_SERVICES,
            routes: MAX_ROUTES,
            minutes: WINDOW.as_secs() / 60,
            bytes: ring.bytes(),
            worst_bytes,
            listeners,
        },
        at: moments.last().map(|moment| moment.at.unix_ms),
        since: moments.first().map(|moment| moment.at.unix_ms),
        envoys: ring.envoys.iter().map(envoy).collect(),
        hidden_services: ring.hidden_services,
        ranges: [(); 3].map(|()| {
            let (seconds, covered) = range.next().unwrap_or((&Duration::ZERO, Duration::ZERO));
            Range {
                seconds: seconds.as_secs(),
                covered_seconds: covered.as_secs_f64(),
            }
        }),
        services: services.into_iter().map(Sums::state).collect(),
    };
    json(&state)
}

/// One moment as JSON.
pub(super) fn point(ring: &Ring, moment: &Moment) -> String {
    json(&Point {
        at: moment.at.unix_ms,
        seconds: moment.span.map(|span| span.as_secs_f64()),
        gap: moment.is_gap,
        partial: moment.is_partial,
        reset: moment.is_reset,
        services: moment
            .services
            .iter()
            .map(|part| service_point(part, &ring.services))
            .collect(),
    })
}

fn service_point(part: &ServiceMoment, services: &[Service]) -> ServicePoint {
    let service = services.get(usize::from(part.service));
    let bounds = service.map_or(&[][..], |service| &service.bounds);
    let mut all = Vec::new();
    let routes = part.routes.iter().map(|route| {
        let bins: Vec<u64> = route.bins.iter().map(|bin| u64::from(*bin)).collect();
        add_bins(&mut all, &bins);
        RoutePoint {
            row: route.row,
            n: route.classes,
            b: route.bins.to_vec(),
            q: quantile::shown(bounds, &bins),
        }
    });
    let routes = routes.collect();
    ServicePoint {
        i: part.service,
        active: part.active,
        pool: part.pool,
        caches: part.caches.to_vec(),
        q: quantile::shown(bounds, &all),
        routes,
    }
}

fn envoy(envoy: &Envoy) -> EnvoyState<'_> {
    let unread = envoy.state.as_ref().err();
    let reloads = envoy.about.vm_reloads.iter();
    let reloads = reloads
        .filter(|(_, count)| **count > 0)
        .map(|((plugin, result), count)| (plugin.as_ref(), *result, *count));
    EnvoyState {
        name: envoy.name.as_deref(),
        up: unread.is_none(),
        reason: unread.map(|unread| unread.reason),
        error: unread.map(|unread| unread.text.as_str()),
        since: envoy.since.unix_ms,
        uptime_seconds: envoy.about.uptime_seconds,
        reloads: reloads.take(MOST_RELOADS).collect(),
    }
}

/// Sums of a service over each range.
struct Sums<'r> {
    service: &'r Service,
    all: Vec<Sum>,
    /// By row, then `other`.
    rows: Vec<Vec<Sum>>,
    caches: Vec<[[u64; 2]; 3]>,
}

impl<'r> Sums<'r> {
    fn new(service: &'r Service) -> Self {
        let empty = vec![Sum::default(); RANGES.len()];
        Self {
            service,
            all: empty.clone(),
            rows: vec![empty; service.rows.len() + 1],
            caches: vec![Default::default(); service.caches.len() + 1],
        }
    }

    fn add(&mut self, range: usize, part: &ServiceMoment) {
        for route in &part.routes {
            let bins: Vec<u64> = route.bins.iter().map(|bin| u64::from(*bin)).collect();
            let last = self.rows.len() - 1;
            let row = if route.row == OTHER {
                last
            } else {
                usize::from(route.row)
            };
            let of_row = self.rows.get_mut(row).and_then(|row| row.get_mut(range));
            for sum in self.all.get_mut(range).into_iter().chain(of_row) {
                for (sum, class) in sum.classes.iter_mut().zip(route.classes) {
                    *sum += u64::from(class);
                }
                add_bins(&mut sum.bins, &bins);
            }
        }
        for (sums, counts) in self.caches.iter_mut().zip(&part.caches) {
            for (sum, count) in sums[range].iter_mut().zip(counts) {
                *sum += u64::from(*count);
            }
        }
    }

    fn state(mut self) -> ServiceState<'r> {
        let service = self.service;
        let all = self.all.iter_mut().chain(self.rows.iter_mut().flatten());
        for sum in all {
            sum.q = quantile::shown(&service.bounds, &sum.bins);
        }
        let latest = &service.latest;
        let names = service.rows.iter().map(|row| {
            let route = &row.route;
            Some([route.method.as_ref(), route.path.as_ref()])
        });
        let routes = names
            .chain([None])
            .zip(self.rows)
            .enumerate()
            .map(|(row, (name, ranges))| RouteState {
                row: name.map_or(OTHER, |_| u8::try_from(row).unwrap_or(OTHER)),
                name,
                totals: text(latest.rows.get(row).copied().unwrap_or_default()),
                ranges,
            });
        // `other` only where there is something in it.
        let routes = routes.filter(|route| {
            let is_idle = route.totals.iter().all(|total| total == "0");
            route.name.is_some() || !is_idle || route.ranges.iter().any(|sum| sum.classes != [0; 6])
        });
        let names = service.caches.iter().map(|name| Some(name.as_ref()));
        let caches = names.chain([None]).zip(self.caches).enumerate();
        let caches = caches.map(|(cache, (name, ranges))| CacheState {
            name,
            totals: text(latest.caches.get(cache).copied().unwrap_or_default()),
            ranges,
        });
        let caches = caches
            .filter(|cache| cache.name.is_some() || cache.totals.iter().any(|total| total != "0"));
        ServiceState {
            name: &service.name,
            bounds: service.bounds.iter().map(|b| as_f64(*b) / 1e9).collect(),
            totals: text(latest.classes),
            active: latest.active,
            pool: latest.pool,
            caches: caches.collect(),
            health: health(&latest.health),
            ranges: self.all,
            routes: routes.collect(),
        }
    }
}

fn health(health: &Health) -> HealthState<'_> {
    HealthState {
        series: health.series,
        series_limit: health.series_limit,
        overflows: health.overflows,
        ticks: health.ticks,
        signal_errors: health
            .signal_errors
            .iter()
            .map(|(n, v)| (&**n, *v))
            .collect(),
        filter_errors: health
            .filter_errors
            .iter()
            .map(|(n, v)| (&**n, *v))
            .collect(),
        versions: health.versions.keys().map(AsRef::as_ref).collect(),
    }
}

fn add_bins(sums: &mut Vec<u64>, bins: &[u64]) {
    if sums.len() < bins.len() {
        sums.resize(bins.len(), 0);
    }
    for (sum, bin) in sums.iter_mut().zip(bins) {
        *sum = sum.saturating_add(*bin);
    }
}

fn text<const N: usize>(numbers: [u64; N]) -> [String; N] {
    numbers.map(|number| number.to_string())
}

fn json(value: &impl Serialize) -> String {
    // Maps with text keys and finite numbers cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}
