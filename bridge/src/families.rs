//! Samples to metric families: the arithmetic between Envoy's stats and what
//! Prometheus sees.
//!
//! - Histograms are built from bins, one increment per observation
//!   (`histogram`). `http_requests_total` is the sum of the same bins, so it
//!   equals the histogram's count in every page, whatever moment Envoy printed
//!   each stat at.
//! - `active_connections` is Envoy's gauge less the bridge's own scrapes that
//!   are in flight through that listener.
//! - Metrics that a plugin configuration names follow, by name (`own`).
//! - Every other metric of the filter is one stat, one series.
//!
//! Nothing is rounded: numbers stay integers up to the page. Families stand in
//! catalogue order, series are sorted by service and labels. A service is what
//! the filter calls itself; Envoy's own stats never make one.

mod envoy_state;
mod histogram;
mod kind;
mod label_set;
mod own;

pub use self::{envoy_state::EnvoyState, kind::Kind, label_set::LabelSet};

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gatemeter_core::catalog::{
    self, ACTIVE, BUCKET_BOUND, CATALOG, FAMILY, Metric, Origin, Page, REQUEST_DURATION, REQUESTS,
    RESPONSES_INCOMPLETE, Unit,
};

pub(crate) use self::label_set::{escape, push_label};

use self::histogram::{Bins, Part};
use crate::decode::{Answer, DropReason, EnvoyStat, Sample};

/// What one whole answer of Envoy says.
#[derive(Debug, Default)]
pub struct Reading {
    /// Names of the services that the filter serves.
    pub services: BTreeSet<Arc<str>>,
    /// Every metric of the catalogue that has a page and does not come from
    /// the bridge itself, with or without series, then those that plugin
    /// configurations name.
    pub families: Vec<Family>,
    /// What Envoy says of itself.
    pub envoy: EnvoyState,
    /// How many stats were dropped, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
}

/// A metric family as Prometheus knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name of the metric; a counter's ends in `_total`.
    pub name: Cow<'static, str>,
    /// Text of the `# HELP` line, not escaped.
    pub help: Cow<'static, str>,
    /// Type of every series.
    pub kind: Kind,
    /// Unit of every value.
    pub unit: Unit,
    /// Pages that show it.
    pub page: Page,
    /// Whether it is announced also where it has no series: the guide's metrics
    /// and the operator's, as opposed to what depends on a configuration.
    pub is_usual: bool,
    /// Sorted by service, then by label values.
    pub series: Vec<Series>,
}

/// One label set and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The service it belongs to; `None` for what the bridge says of itself.
    pub service: Option<Arc<str>>,
    /// Labels in the order in which they are shown, without `service` and `le`.
    pub labels: Arc<LabelSet>,
    /// Its value.
    pub point: Point,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// A counter's or gauge's value.
    Number(Number),
    /// A histogram.
    Histogram(Histogram),
    /// Samples of a service's own page that are passed on as they are spelled.
    Lines(Vec<Line>),
}

/// One sample of a series, as it was spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What follows the family's name: empty, `_bucket`, `_sum`, `_count`,
    /// `_created`.
    pub suffix: Box<str>,
    /// Further labels behind those of the series, escaped: `le="0.5"`,
    /// `quantile="0.9"` or empty.
    pub labels: Box<str>,
    /// The number.
    pub value: Box<str>,
}

/// A number and how it is spelled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Printed digit by digit.
    Whole(u128),
    /// Printed in the shortest form that reads back as the same number.
    Real(f64),
}

/// A histogram in exact numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Bound in nanoseconds, inclusive, and how many observations are at or
    /// below it; strictly increasing bounds.
    pub buckets: Vec<(u64, u128)>,
    /// All observations.
    pub count: u128,
    /// Sum of all observations in nanoseconds.
    pub sum_nanoseconds: u128,
}

impl Reading {
    /// Builds the families of an answer. `own_scrapes` says how many scrapes of
    /// the bridge were open through each service's listener.
    pub fn new(answer: Answer<'_>, own_scrapes: &BTreeMap<String, u64>) -> Self {
        let envoy = EnvoyStats::new(&answer);
        let mut services: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut samples: BTreeMap<&'static str, Vec<Sample<'_>>> = BTreeMap::new();
        for sample in answer.samples {
            if !services.contains(sample.service()) {
                services.insert(Arc::from(sample.service()));
            }
            samples.entry(sample.metric.name).or_default().push(sample);
        }
        let mut take = |name: &str| samples.remove(name).unwrap_or_default();

        let bounds = histogram::bounds_in_use(&take(BUCKET_BOUND.name));
        let durations = Bins::new(take(REQUEST_DURATION).into_iter().map(Part::from));
        let named = take(FAMILY.name);
        let mut families: Vec<Family> = CATALOG
            .iter()
            .filter(|metric| metric.page != Page::None && metric.origin != Origin::Bridge)
            .map(|metric| {
                let mut family = Family::of(metric);
                family.series = match metric.name {
                    name if name == REQUESTS.name => {
                        request_totals(&services, &durations, &take(name))
                    }
                    name if name == REQUEST_DURATION => {
                        durations.histograms(name, metric.labels, &services, &bounds)
                    }
                    name if metric.kind == catalog::Kind::Histogram => {
                        let bins = Bins::new(take(name).into_iter().map(Part::from));
                        bins.histograms(name, metric.labels, &services, &bounds)
                    }
                    RECEIVED => of_envoy(&services, &envoy.received),
                    SENT => of_envoy(&services, &envoy.sent),
                    name if name == ACTIVE.name => {
                        active_connections(&services, &take(name), &envoy, own_scrapes)
                    }
                    name if name == RESPONSES_INCOMPLETE.name => {
                        responses_incomplete(&services, &take(name), &envoy)
                    }
                    name => one_stat_one_series(&services, &take(name)),
                };
                family.sort();
                family
            })
            .collect();
        let mut dropped = answer.dropped;
        let own = own::families(&named, answer.unlisted, &services, &bounds, &mut dropped);
        families.extend(own);
        Self {
            services,
            families,
            envoy: EnvoyState::default(),
            dropped,
        }
    }
}

impl Family {
    /// The family of a catalogue row, without series.
    pub fn of(metric: &'static Metric) -> Self {
        Self {
            name: Cow::Borrowed(metric.name),
            help: Cow::Borrowed(metric.help),
            kind: metric.kind.into(),
            unit: metric.unit,
            page: metric.page,
            is_usual: metric.page == Page::Operator || metric.is_of_the_guide(),
            series: Vec::new(),
        }
    }

    fn sort(&mut self) {
        self.series.sort_by(|a, b| {
            a.service
                .cmp(&b.service)
                .then_with(|| a.values().cmp(b.values()))
        });
    }
}

impl Series {
    fn number(service: &Arc<str>, labels: Arc<LabelSet>, value: u128) -> Self {
        Self {
            service: Some(Arc::clone(service)),
            labels,
            point: Point::Number(Number::Whole(value)),
        }
    }

    fn values(&self) -> impl Iterator<Item = &str> {
        self.labels.values()
    }
}

const RECEIVED: &str = "http_connection_received_bytes_total";
const SENT: &str = "http_connection_sent_bytes_total";

/// Reason of a response that Envoy reset towards the client because the
/// upstream broke off, or because a timeout ran out after the headers.
const UPSTREAM_RESET: &str = "upstream_reset";

/// Envoy's own stats by the `stat_prefix` of the connection manager, which the
/// shipped configurations name after the service.
#[derive(Default)]
struct EnvoyStats<'a> {
    active: BTreeMap<&'a str, u64>,
    resets_sent: BTreeMap<&'a str, u64>,
    received: BTreeMap<&'a str, u64>,
    sent: BTreeMap<&'a str, u64>,
}

impl<'a> EnvoyStats<'a> {
    fn new(answer: &Answer<'a>) -> Self {
        let mut stats = Self::default();
        for sample in &answer.envoy {
            let by_prefix = match sample.stat {
                EnvoyStat::RequestsActive => &mut stats.active,
                EnvoyStat::ResetsSent => &mut stats.resets_sent,
                EnvoyStat::BytesReceived => &mut stats.received,
                EnvoyStat::BytesSent => &mut stats.sent,
            };
            by_prefix.insert(sample.stat_prefix, sample.value);
        }
        stats
    }
}

/// `http_requests_total` from the bins; from the plain stat only for a service
/// that has none.
fn request_totals(
    services: &BTreeSet<Arc<str>>,
    durations: &Bins<'_>,
    plain: &[Sample<'_>],
) -> Vec<Series> {
    let mut with_bins = BTreeSet::new();
    let mut series = Vec::new();
    for (values, count) in durations.totals() {
        let Some(service) = values.first().and_then(|name| services.get(name.as_ref())) else {
            continue;
        };
        with_bins.insert(service);
        series.push(Series::number(
            service,
            labels(&REQUESTS.labels[1..], &values[1..]),
            count,
        ));
    }
    for sample in plain {
        if let Some(service) = services.get(sample.service())
            && !with_bins.contains(service)
        {
            series.push(one_series(service, sample));
        }
    }
    series
}

/// Envoy's gauge less the bridge's own scrapes; the filter's gauge where Envoy
/// has none below the service's name.
fn active_connections(
    services: &BTreeSet<Arc<str>>,
    gauges: &[Sample<'_>],
    envoy: &EnvoyStats<'_>,
    own_scrapes: &BTreeMap<String, u64>,
) -> Vec<Series> {
    services
        .iter()
        .filter_map(|service| {
            let of_envoy = envoy.active.get(service.as_ref()).map(|active| {
                active.saturating_sub(own_scrapes.get(service.as_ref()).copied().unwrap_or(0))
            });
            let of_filter = || {
                let gauge = gauges.iter().find(|s| s.service() == service.as_ref())?;
                Some(gauge.value)
            };
            let active = of_envoy.or_else(of_filter)?;
            Some(Series::number(service, Arc::default(), active.into()))
        })
        .collect()
}

/// The stats that say who cut a response, and where none says it of the
/// upstream's side, Envoy's count of the exchanges that it reset after it had
/// begun to answer.
///
/// Envoy's `downstream_rq_rx_reset` is not used: it also rises for answers 400,
/// 426 and 431 and for requests that were never complete.
fn responses_incomplete(
    services: &BTreeSet<Arc<str>>,
    stats: &[Sample<'_>],
    envoy: &EnvoyStats<'_>,
) -> Vec<Series> {
    let mut series = one_stat_one_series(services, stats);
    for service in services {
        let is_said = stats.iter().any(|s| {
            s.service() == service.as_ref() && s.values.get(1).is_some_and(|v| v == UPSTREAM_RESET)
        });
        if !is_said && let Some(&resets) = envoy.resets_sent.get(service.as_ref()) {
            let labels = LabelSet::shared([("reason", UPSTREAM_RESET)]);
            series.push(Series::number(service, labels, resets.into()));
        }
    }
    series
}

fn of_envoy(services: &BTreeSet<Arc<str>>, stats: &BTreeMap<&str, u64>) -> Vec<Series> {
    let of = |service: &Arc<str>| {
        let value = stats.get(service.as_ref())?;
        Some(Series::number(service, Arc::default(), (*value).into()))
    };
    services.iter().filter_map(of).collect()
}

fn one_stat_one_series(services: &BTreeSet<Arc<str>>, samples: &[Sample<'_>]) -> Vec<Series> {
    samples
        .iter()
        .filter_map(|sample| Some(one_series(services.get(sample.service())?, sample)))
        .collect()
}

fn one_series(service: &Arc<str>, sample: &Sample<'_>) -> Series {
    let labels = labels(
        sample.stat.labels.get(1..).unwrap_or_default(),
        sample.values.get(1..).unwrap_or_default(),
    );
    Series::number(service, labels, sample.value.into())
}

fn labels(names: &[&'static str], values: &[Cow<'_, str>]) -> Arc<LabelSet> {
    let values = values.iter().map(AsRef::as_ref);
    LabelSet::shared(names.iter().copied().zip(values))
}

#[cfg(test)]
mod tests;
