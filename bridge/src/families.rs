//! Stats to metric families: the arithmetic between Envoy's stats and what
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
//! What stands where is decided once for the names that Envoy has (`layout`);
//! a [`Decoder`] keeps that from answer to answer.
//!
//! Nothing is rounded: numbers stay integers up to the page. Families stand in
//! catalogue order, series are sorted by service and labels. A service is what
//! the filter calls itself; Envoy's own stats never make one.

mod decoder;
mod envoy_state;
mod histogram;
mod kind;
mod label_set;
mod layout;
mod own;

pub use self::{
    decoder::Decoder, envoy_state::EnvoyState, histogram::Histogram, kind::Kind,
    label_set::LabelSet,
};

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use gatemeter_core::catalog::{Metric, Page, Unit};

pub(crate) use self::label_set::{escape, push_label};
use crate::decode::DropReason;

/// What one whole answer of Envoy says.
#[derive(Debug)]
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
    /// Lines that read as `name: value`, whosever they are.
    pub readable: u64,
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

impl Reading {
    /// What an Envoy that has no stats says.
    pub fn empty() -> Self {
        Self::of(b"", &BTreeMap::new())
    }

    /// What a whole answer says by itself; see [`Decoder::finish`].
    pub fn of(answer: &[u8], own_scrapes: &BTreeMap<String, u64>) -> Self {
        let mut decoder = Decoder::new(None);
        decoder.begin();
        decoder.feed(answer);
        decoder.finish(own_scrapes, Instant::now())
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
}

#[cfg(test)]
mod tests;
