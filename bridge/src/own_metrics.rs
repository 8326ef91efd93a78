//! What the bridge counts of itself, in a registry that is passed in.
//!
//! Reasons are a closed set and all of them are shown from the start at 0, so
//! that a rate over the first error is not lost. Names and HELP texts are the
//! catalogue's.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use gatemeter_core::catalog::{self, Page, Unit};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry, proto::MetricType};

use crate::{
    admin::ReadError,
    decode::DropReason,
    families::{Family, Kind, LabelSet, Number, Point, Series},
};

/// The bridge's own counters.
#[derive(Clone, Debug)]
pub struct OwnMetrics {
    registry: Registry,
    scrape_errors: IntCounterVec,
    dropped_stats: IntCounterVec,
}

impl OwnMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// Where the registry already has metrics of these names.
    pub fn register(registry: Registry) -> Result<Self, prometheus::Error> {
        let scrape_errors = IntCounterVec::new(opts("gatemeter_scrape_errors_total"), &["reason"])?;
        for reason in ReadError::REASONS {
            scrape_errors.with_label_values(&[reason]);
        }
        let dropped_stats = IntCounterVec::new(opts("gatemeter_dropped_stats_total"), &["reason"])?;
        for reason in DropReason::ALL {
            dropped_stats.with_label_values(&[reason.as_str()]);
        }
        let build_info = IntGaugeVec::new(opts("gatemeter_build_info"), &["version"])?;
        build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        registry.register(Box::new(scrape_errors.clone()))?;
        registry.register(Box::new(dropped_stats.clone()))?;
        registry.register(Box::new(build_info))?;
        Ok(Self {
            registry,
            scrape_errors,
            dropped_stats,
        })
    }

    /// Counts a read that failed.
    pub fn read_failed(&self, error: &ReadError) {
        self.scrape_errors
            .with_label_values(&[error.reason()])
            .inc();
    }

    /// Counts what one read dropped.
    pub fn stats_dropped(&self, dropped: &BTreeMap<DropReason, u64>) {
        for (reason, &count) in dropped {
            self.dropped_stats
                .with_label_values(&[reason.as_str()])
                .inc_by(count);
        }
    }

    /// Everything in the registry, and whether and how fast Envoy was read for
    /// this page; in the order of the catalogue.
    pub fn families(&self, is_up: bool, took: Duration) -> Vec<Family> {
        let mut families: Vec<Family> = self.registry.gather().iter().map(family).collect();
        families.push(single("gatemeter_up", Number::Whole(is_up.into())));
        families.push(single(
            "gatemeter_scrape_duration_seconds",
            Number::Real(took.as_secs_f64()),
        ));
        families.sort_by_key(|family| {
            let place = catalog::CATALOG
                .iter()
                .position(|row| row.name == family.name);
            place.unwrap_or(usize::MAX)
        });
        families
    }
}

fn opts(name: &str) -> Opts {
    Opts::new(name, catalog::metric(name).map_or("", |row| row.help))
}

fn single(name: &'static str, value: Number) -> Family {
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
    family.series.push(Series {
        service: None,
        labels: Default::default(),
        point: Point::Number(value),
    });
    family
}

fn family(gathered: &prometheus::proto::MetricFamily) -> Family {
    let is_counter = gathered.get_field_type() == MetricType::COUNTER;
    let row = catalog::metric(gathered.name());
    let series = gathered.get_metric().iter().map(|metric| Series {
        service: None,
        labels: LabelSet::shared(
            metric
                .get_label()
                .iter()
                .map(|label| (label.name().to_owned(), label.value())),
        ),
        point: Point::Number(Number::Real(if is_counter {
            metric.get_counter().get_value()
        } else {
            metric.get_gauge().get_value()
        })),
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

#[cfg(test)]
mod tests {
    use super::*;
    use gatemeter_core::catalog::{CATALOG, Origin};

    #[test]
    fn shows_every_row_of_the_catalogue_that_is_the_bridges_own_in_its_order() {
        let own = OwnMetrics::register(Registry::new()).unwrap();
        let names: Vec<_> = own
            .families(true, Duration::from_millis(3))
            .into_iter()
            .map(|family| {
                assert!(!family.help.is_empty(), "{}", family.name);
                assert!(!family.series.is_empty(), "{}", family.name);
                family.name.into_owned()
            })
            .collect();
        let expected: Vec<_> = CATALOG
            .iter()
            .filter(|row| row.origin == Origin::Bridge)
            .map(|row| row.name)
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn counts_by_reason() {
        let own = OwnMetrics::register(Registry::new()).unwrap();
        own.read_failed(&ReadError::Truncated);
        own.stats_dropped(&BTreeMap::from([(DropReason::Duplicate, 3)]));
        let families = own.families(false, Duration::ZERO);
        let value = |name: &str, reason: &str| {
            let family = families.iter().find(|family| family.name == name).unwrap();
            let series = family
                .series
                .iter()
                .find(|s| s.labels.get("reason") == Some(reason));
            series.unwrap().point.clone()
        };
        assert_eq!(
            value("gatemeter_scrape_errors_total", "truncated"),
            Point::Number(Number::Real(1.0))
        );
        assert_eq!(
            value("gatemeter_scrape_errors_total", "connect"),
            Point::Number(Number::Real(0.0))
        );
        assert_eq!(
            value("gatemeter_dropped_stats_total", "duplicate"),
            Point::Number(Number::Real(3.0))
        );
    }
}
