//! What the bridge knows of one Envoy: its reads, and the health of Envoy and
//! of the filter in it.
//!
//! A restart shows as `server.uptime` that fell, or as ticks of the filter that
//! did: Envoy updates its uptime only now and then, and a request to reset the
//! counters leaves it alone. Either way counters begin again; they stand on the
//! page as Envoy has them, and one of ours says that it happened. The first read
//! has nothing before it, so it is no restart.
//!
//! A filter that lives ticks ten times a second, so its count of ticks is
//! another in each read. The age of its heartbeat is the time since a read first
//! saw the present count. At the first read that is 0; the age can only be
//! larger than what is shown, never smaller.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use gatemeter_core::catalog::TICKS;
use prometheus::{IntCounter, IntCounterVec, Registry};

use super::{Counters, by_reason, durations, gauge, opts, plain, sort, with_series};
use crate::{
    admin::ReadError,
    decode::DropReason,
    exposition::Format,
    families::{Family, LabelSet, Number, Point, Reading, Series},
    scrape::Outcome,
};

/// Counts of one Envoy; clones share them. The labels of the Envoy are the
/// page's to add.
#[derive(Clone, Debug)]
pub struct EnvoyMetrics {
    counters: Counters,
    scrape_errors: IntCounterVec,
    dropped_stats: IntCounterVec,
    restarts: IntCounter,
}

impl EnvoyMetrics {
    pub(super) fn register(registry: Registry) -> Result<Self, prometheus::Error> {
        let scrape_errors = by_reason(
            &registry,
            "gatemeter_scrape_errors_total",
            ReadError::REASONS,
        )?;
        let reasons = DropReason::ALL.map(DropReason::as_str);
        let dropped_stats = by_reason(&registry, "gatemeter_dropped_stats_total", reasons)?;
        let restarts = IntCounter::with_opts(opts("gatemeter_envoy_restarts_total"))?;
        registry.register(Box::new(restarts.clone()))?;
        Ok(Self {
            counters: Counters::new(registry),
            scrape_errors,
            dropped_stats,
            restarts,
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
        for (&reason, &count) in dropped {
            self.count_dropped(reason, count);
        }
    }

    /// Counts series that a page could not show.
    pub fn count_dropped(&self, reason: DropReason, count: u64) {
        self.dropped_stats
            .with_label_values(&[reason.as_str()])
            .inc_by(count);
    }

    /// Counts that Envoy's counters began again.
    pub fn restarted(&self) {
        self.restarts.inc();
    }

    /// What a page says of this Envoy after a read; in the order of the
    /// catalogue.
    pub fn families(&self, outcome: &Outcome, format: Format) -> Vec<Family> {
        let mut families = self.counters.families(format);
        let is_up = outcome.reading.is_ok();
        families.push(gauge("gatemeter_up", Some(Number::Whole(is_up.into()))));
        let facts = outcome.facts.as_deref();
        let waited = facts.map_or(outcome.took, |facts| facts.waited);
        let decoded = facts.map(|facts| facts.decoded);
        families.push(durations([("envoy", Some(waited)), ("decode", decoded)]));
        let bytes = facts.map(|facts| Number::Whole(facts.answer_bytes.into()));
        families.push(gauge("gatemeter_envoy_answer_bytes", bytes));
        families.extend(facts.map_or(&[][..], |facts| &facts.health).iter().cloned());
        sort(&mut families);
        families
    }
}

/// What takes more than one read to tell.
#[derive(Debug, Default)]
pub(crate) struct Health {
    uptime_seconds: Option<u64>,
    /// Ticks by service, and when a read first saw so many.
    ticks: BTreeMap<Arc<str>, (Ticks, Instant)>,
}

type Ticks = u128;

/// What one more read tells.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) has_restarted: bool,
    pub(crate) families: Vec<Family>,
}

impl Health {
    /// Takes in a reading that was asked for at `now`.
    pub(crate) fn observe(&mut self, reading: &Reading, now: Instant) -> Seen {
        let ticks = ticks(reading);
        let uptime = reading.envoy.uptime_seconds;
        let has_fallen = self.uptime_seconds > uptime && uptime.is_some();
        let begins_again = self.ticks.iter().any(|(service, (before, _))| {
            // A stat that Envoy once had it never forgets.
            ticks.get(service).is_none_or(|now| now < before)
        });
        self.uptime_seconds = uptime.or(self.uptime_seconds);
        let before = std::mem::take(&mut self.ticks);
        for (service, count) in ticks {
            let since = match before.get(&service) {
                Some((same, since)) if *same == count => *since,
                _ => now,
            };
            self.ticks.insert(service, (count, since));
        }
        Seen {
            has_restarted: has_fallen || begins_again,
            families: self.families(reading, now),
        }
    }

    fn families(&self, reading: &Reading, now: Instant) -> Vec<Family> {
        let ages = self.ticks.iter().map(|(service, (_, since))| {
            let age = now.saturating_duration_since(*since);
            Series {
                service: Some(Arc::clone(service)),
                ..plain(Arc::default(), Number::Real(age.as_secs_f64()))
            }
        });
        let reloads = reading.envoy.vm_reloads.iter();
        let reloads = reloads.map(|((plugin, result), count)| {
            let labels = LabelSet::shared([("plugin", plugin.as_ref()), ("result", result)]);
            plain(labels, Number::Whole((*count).into()))
        });
        let whole = |count: Option<u64>| count.map(|count| Number::Whole(count.into()));
        vec![
            with_series("gatemeter_filter_heartbeat_age_seconds", ages),
            with_series("gatemeter_vm_reloads_total", reloads),
            gauge("gatemeter_vms", whole(reading.envoy.vms_active)),
            gauge(
                "gatemeter_vm_creations_total",
                whole(reading.envoy.vms_created),
            ),
        ]
    }
}

fn ticks(reading: &Reading) -> BTreeMap<Arc<str>, Ticks> {
    let family = reading
        .families
        .iter()
        .find(|family| family.name == TICKS.name);
    let series = family.map_or(&[][..], |family| &family.series);
    let of = |series: &Series| match series.point {
        Point::Number(Number::Whole(count)) => Some((series.service.clone()?, count)),
        _ => None,
    };
    series.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reading(uptime_seconds: Option<u64>, stats: &str) -> Reading {
        let mut reading = Reading::of(stats.as_bytes(), &BTreeMap::new());
        reading.envoy.uptime_seconds = uptime_seconds;
        reading
    }

    fn ticked(uptime: Option<u64>, ticks: &[(&str, u64)]) -> Reading {
        let stats = ticks.iter().map(|(service, count)| {
            format!("wasmcustom.gatemeter_filter_ticks_total.service={service}: {count}\n")
        });
        reading(uptime, &stats.collect::<String>())
    }

    #[test]
    fn a_restart_is_an_uptime_or_a_count_of_ticks_that_fell() {
        for (before, after, expected) in [
            (
                ticked(Some(10), &[("api", 5)]),
                ticked(Some(10), &[("api", 5)]),
                false,
            ),
            (
                ticked(Some(10), &[("api", 5)]),
                ticked(Some(25), &[("api", 9)]),
                false,
            ),
            // The new Envoy has ticked more than the old one had.
            (
                ticked(Some(10), &[("api", 5)]),
                ticked(Some(2), &[("api", 9)]),
                true,
            ),
            // The uptime is not there, or not new yet.
            (
                ticked(None, &[("api", 5)]),
                ticked(None, &[("api", 4)]),
                true,
            ),
            (
                ticked(Some(10), &[("api", 5)]),
                ticked(Some(10), &[("api", 4)]),
                true,
            ),
            (ticked(Some(10), &[("api", 5)]), ticked(None, &[]), true),
            (
                ticked(Some(10), &[("api", 5)]),
                ticked(None, &[("api", 5)]),
                false,
            ),
            // Another service comes.
            (
                ticked(Some(10), &[("api", 5)]),
                ticked(Some(11), &[("api", 5), ("b", 1)]),
                false,
            ),
            (ticked(None, &[]), ticked(Some(0), &[("api", 1)]), false),
        ] {
            let mut health = Health::default();
            let now = Instant::now();
            assert!(!health.observe(&before, now).has_restarted);
            assert_eq!(
                health.observe(&after, now).has_restarted,
                expected,
                "{after:?}"
            );
            // It happened once.
            assert!(!health.observe(&after, now).has_restarted);
        }
    }

    #[test]
    fn a_heartbeat_is_as_old_as_the_count_of_ticks_that_does_not_change() {
        let mut health = Health::default();
        let start = Instant::now();
        let mut ages = |reading: &Reading, seconds| {
            let seen = health.observe(reading, start + Duration::from_secs(seconds));
            let family = seen.families.into_iter().next().unwrap();
            assert_eq!(family.name, "gatemeter_filter_heartbeat_age_seconds");
            let series = family.series.iter();
            series
                .map(|series| {
                    (
                        series.service.as_deref().unwrap().to_owned(),
                        series.point.clone(),
                    )
                })
                .collect::<Vec<_>>()
        };
        let are = |ages: &[(&str, f64)]| {
            let age = |(service, age): &(&str, f64)| {
                ((*service).to_owned(), Point::Number(Number::Real(*age)))
            };
            ages.iter().map(age).collect::<Vec<_>>()
        };
        let both = |api, b| ticked(None, &[("api", api), ("b", b)]);
        assert_eq!(ages(&both(5, 7), 0), are(&[("api", 0.0), ("b", 0.0)]));
        assert_eq!(ages(&both(5, 8), 15), are(&[("api", 15.0), ("b", 0.0)]));
        assert_eq!(ages(&both(5, 8), 30), are(&[("api", 30.0), ("b", 15.0)]));
        // Also where it begins again.
        assert_eq!(ages(&both(1, 8), 45), are(&[("api", 0.0), ("b", 30.0)]));
    }

    #[test]
    fn shows_what_envoy_says_of_its_vms() {
        let mut reading = reading(Some(1), "");
        reading
            .envoy
            .vm_reloads
            .insert(("api".into(), "success"), 3);
        reading.envoy.vms_active = Some(4);
        let seen = Health::default().observe(&reading, Instant::now());
        let series = |name: &str| {
            let family = seen.families.iter().find(|family| family.name == name);
            let series = family.unwrap().series.iter();
            series
                .map(|s| (s.labels.text().to_owned(), s.point.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            series("gatemeter_vm_reloads_total"),
            [(
                "plugin=\"api\",result=\"success\"".to_owned(),
                Point::Number(Number::Whole(3))
            )]
        );
        assert_eq!(
            series("gatemeter_vms"),
            [(String::new(), Point::Number(Number::Whole(4)))]
        );
        assert_eq!(series("gatemeter_vm_creations_total"), []);
    }
}
