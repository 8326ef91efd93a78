//! What the bridge knows of one page of a service.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use prometheus::{IntCounterVec, Registry};

use super::{Counters, by_reason, gauge, sort};
use crate::{
    exposition::Format,
    families::{Family, LabelSet, Number},
    sources::{
        SourceError,
        page::{Owner, SeriesDrop},
    },
};

/// Counts of one page; clones share them.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    service: Arc<str>,
    labels: Arc<LabelSet>,
    counters: Counters,
    errors: IntCounterVec,
    dropped_series: IntCounterVec,
}

impl SourceMetrics {
    pub(super) fn register(registry: Registry, owner: &Owner) -> Result<Self, prometheus::Error> {
        let errors = by_reason(
            &registry,
            "gatemeter_source_errors_total",
            SourceError::reasons(),
        )?;
        let reasons = SeriesDrop::ALL.map(SeriesDrop::as_str);
        let dropped_series = by_reason(&registry, "gatemeter_dropped_series_total", reasons)?;
        let labels = owner.labels.iter();
        Ok(Self {
            service: Arc::clone(&owner.service),
            labels: LabelSet::shared(labels.map(|(name, value)| (name.clone(), value.as_str()))),
            counters: Counters::new(registry),
            errors,
            dropped_series,
        })
    }

    /// Counts a read that failed.
    pub fn read_failed(&self, error: &SourceError) {
        self.errors.with_label_values(&[error.reason()]).inc();
    }

    /// Counts what one page of ours left out of it.
    pub fn series_dropped(&self, dropped: &BTreeMap<SeriesDrop, u64>) {
        for (reason, &count) in dropped {
            self.dropped_series
                .with_label_values(&[reason.as_str()])
                .inc_by(count);
        }
    }

    /// What a page says of this one, whose read took so long; in the order of
    /// the catalogue.
    pub fn families(&self, is_up: bool, took: Duration, format: Format) -> Vec<Family> {
        let mut families = self.counters.families(format);
        families.push(gauge(
            "gatemeter_source_up",
            Some(Number::Whole(is_up.into())),
        ));
        let took = Number::Real(took.as_secs_f64());
        families.push(gauge("gatemeter_source_duration_seconds", Some(took)));
        for family in &mut families {
            for series in &mut family.series {
                series.service = Some(Arc::clone(&self.service));
                let own = self.labels.iter().chain(series.labels.iter());
                let labels = own.map(|(name, value)| (name.to_owned(), value));
                series.labels = LabelSet::shared(labels);
            }
        }
        sort(&mut families);
        families
    }
}
