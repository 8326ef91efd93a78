//! What the bridge counts of itself, of its Envoys ([`envoy`]) and of the
//! services' own pages ([`source`]).
//!
//! Names, types and HELP texts are the catalogue's. Reasons are closed sets and
//! all of them are shown from the start at 0, so that a rate over the first
//! error is not lost. Counts outlive a change of the configuration: an Envoy or
//! a source that stays keeps them. OpenMetrics also says since when a counter
//! counts.

pub mod envoy;
mod process;
pub mod source;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use gatemeter_core::catalog::{self, Page, Unit};
use prometheus::{
    IntCounterVec, IntGaugeVec, Opts, Registry,
    proto::{self, MetricType},
};

use self::{envoy::EnvoyMetrics, source::SourceMetrics};
use crate::{
    exposition::Format,
    families::{Family, Kind, LabelSet, Line, Number, Point, Series},
    sources::page::Owner,
};

/// The bridge's own metrics; clones share them.
#[derive(Clone, Debug)]
pub struct OwnMetrics(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    counters: Counters,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the last configuration was taken, and when one was last.
    config: Option<(bool, SystemTime)>,
    /// How long it took to make the page before.
    rendered: Option<Duration>,
    envoys: BTreeMap<String, EnvoyMetrics>,
    sources: BTreeMap<Owner, SourceMetrics>,
}

impl OwnMetrics {
    /// Registers the metrics of the bridge itself.
    ///
    /// # Errors
    /// Where the registry already has metrics of these names.
    pub fn register(registry: Registry) -> Result<Self, prometheus::Error> {
        let build_info = IntGaugeVec::new(opts("gatemeter_build_info"), &["version"])?;
        build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        registry.register(Box::new(build_info))?;
        Ok(Self(Arc::new(Shared {
            counters: Counters::new(registry),
            state: Mutex::default(),
        })))
    }

    /// Those of the Envoy whose series have these labels.
    ///
    /// # Errors
    /// Never where the catalogue is right.
    pub fn envoy(&self, labels: &str) -> Result<EnvoyMetrics, prometheus::Error> {
        self.with(|state| {
            if let Some(known) = state.envoys.get(labels) {
                return Ok(known.clone());
            }
            let new = EnvoyMetrics::register(Registry::new())?;
            state.envoys.insert(labels.to_owned(), new.clone());
            Ok(new)
        })
    }

    /// Those of the service's page that belongs to `owner`.
    ///
    /// # Errors
    /// Never where the catalogue is right.
    pub fn source(&self, owner: &Owner) -> Result<SourceMetrics, prometheus::Error> {
        self.with(|state| {
            if let Some(known) = state.sources.get(owner) {
                return Ok(known.clone());
            }
            let new = SourceMetrics::register(Registry::new(), owner)?;
            state.sources.insert(owner.clone(), new.clone());
            Ok(new)
        })
    }

    /// A configuration was read: taken, or refused and the one before kept.
    pub fn config_loaded(&self, is_taken: bool) {
        self.with(|state| {
            let before = state.config.map(|(_, when)| when);
            let when = match before {
                Some(when) if !is_taken => when,
                _ => SystemTime::now(),
            };
            state.config = Some((is_taken, when));
        });
    }

    /// Notes how long it took to make a page.
    pub fn page_made(&self, took: Duration) {
        self.with(|state| state.rendered = Some(took));
    }

    /// What the bridge says of itself on a page, where reading the sources took
    /// this long; in the order of the catalogue.
    pub fn families(&self, sources: Duration, format: Format) -> Vec<Family> {
        let (config, rendered) = self.with(|state| (state.config, state.rendered));
        let mut families = self.0.counters.families(format);
        families.extend(process::families());
        let phases = [("sources", Some(sources)), ("render", rendered)];
        families.push(durations(phases));
        let (is_taken, when) = config.unzip();
        families.push(gauge(
            "gatemeter_config_last_reload_successful",
            is_taken.map(|is_taken| Number::Whole(is_taken.into())),
        ));
        families.push(gauge(
            "gatemeter_config_last_reload_success_timestamp_seconds",
            when.map(|when| Number::Real(seconds_since_epoch(when))),
        ));
        sort(&mut families);
        families
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // No code between lock and unlock can leave the state half changed.
        work(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counters and gauges of a registry, and since when they count.
#[derive(Clone, Debug)]
struct Counters {
    registry: Registry,
    created: SystemTime,
}

impl Counters {
    fn new(registry: Registry) -> Self {
        Self {
            registry,
            created: SystemTime::now(),
        }
    }

    fn families(&self, format: Format) -> Vec<Family> {
        let created = (format == Format::OpenMetrics).then_some(self.created);
        let gathered = self.registry.gather();
        gathered.iter().map(|family| of(family, created)).collect()
    }
}

/// How many series a page with these families has, as Prometheus counts them.
pub fn series<'f>(families: impl IntoIterator<Item = &'f Family>) -> usize {
    let of_series = |series: &Series| match &series.point {
        Point::Number(_) => 1,
        // The bucket for infinity, sum and count.
        Point::Histogram(histogram) => histogram.bounds().len() + 3,
        Point::Lines(lines) => lines.len(),
    };
    let families = families.into_iter();
    families
        .map(|family| family.series.iter().map(of_series).sum::<usize>())
        .sum()
}

/// A family of the catalogue with one series without labels; without any where
/// there is no number.
pub fn gauge(name: &'static str, value: Option<Number>) -> Family {
    with_series(name, value.map(|value| plain(Arc::default(), value)))
}

fn durations<const N: usize>(phases: [(&'static str, Option<Duration>); N]) -> Family {
    let series = phases.into_iter().filter_map(|(phase, took)| {
        let seconds = Number::Real(took?.as_secs_f64());
        Some(plain(LabelSet::shared([("phase", phase)]), seconds))
    });
    with_series("gatemeter_scrape_duration_seconds", series)
}

fn with_series(name: &'static str, series: impl IntoIterator<Item = Series>) -> Family {
    let empty = Family {
        name: Cow::Borrowed(name),
        help: Cow::Borrowed(""),
        kind: Kind::Gauge,
        unit: Unit::One,
        page: Page::Operator,
        is_usual: true,
        series: Vec::new(),
    };
    let mut family = catalog::metric(name).map_or(empty, Family::of);
    family.series.extend(series);
    family
}

fn plain(labels: Arc<LabelSet>, value: Number) -> Series {
    Series {
        service: None,
        labels,
        point: Point::Number(value),
    }
}

fn opts(name: &str) -> Opts {
    Opts::new(name, catalog::metric(name).map_or("", |row| row.help))
}

/// A counter by reason, all reasons at 0, in this registry.
fn by_reason<'r>(
    registry: &Registry,
    name: &str,
    reasons: impl IntoIterator<Item = &'r str>,
) -> Result<IntCounterVec, prometheus::Error> {
    let counter = IntCounterVec::new(opts(name), &["reason"])?;
    for reason in reasons {
        counter.with_label_values(&[reason]);
    }
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn of(gathered: &proto::MetricFamily, created: Option<SystemTime>) -> Family {
    let is_counter = gathered.get_field_type() == MetricType::COUNTER;
    let row = catalog::metric(gathered.name());
    let series = gathered.get_metric().iter().map(|metric| {
        let labels = metric.get_label().iter();
        let value = if is_counter {
            metric.get_counter().get_value()
        } else {
            metric.get_gauge().get_value()
        };
        let point = match created {
            Some(created) if is_counter => since(value, created),
            _ => Point::Number(Number::Real(value)),
        };
        Series {
            service: None,
            labels: LabelSet::shared(labels.map(|label| (label.name().to_owned(), label.value()))),
            point,
        }
    });
    Family {
        name: Cow::Owned(gathered.name().to_owned()),
        help: Cow::Owned(gathered.help().to_owned()),
        kind: if is_counter {
            Kind::Counter
        } else {
            Kind::Gauge
        },
        unit: row.map_or(Unit::One, |row| row.unit),
        page: Page::Operator,
        is_usual: true,
        series: series.collect(),
    }
}

fn since(value: f64, created: SystemTime) -> Point {
    let line = |suffix: &str, value: f64| Line {
        suffix: suffix.into(),
        labels: "".into(),
        value: value.to_string().into(),
    };
    let created = seconds_since_epoch(created);
    Point::Lines(vec![line("", value), line("_created", created)])
}

/// In milliseconds, which is all that a clock is good for here.
fn seconds_since_epoch(time: SystemTime) -> f64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    (since.as_secs_f64() * 1000.0).floor() / 1000.0
}

/// Into the order of the catalogue.
fn sort(families: &mut [Family]) {
    families.sort_by_key(|family| {
        let mut rows = catalog::CATALOG.iter();
        rows.position(|row| row.name == family.name)
            .unwrap_or(usize::MAX)
    });
}

#[cfg(test)]
mod tests;
