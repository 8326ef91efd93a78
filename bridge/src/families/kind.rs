//! Types of metric families: ours, and those that a service's own page may have.

use gatemeter_core::catalog;

/// Type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Monotonic; of ours the name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, `_sum` and `_count`.
    Histogram,
    /// Quantiles, `_sum` and `_count`; never ours.
    Summary,
    /// Not told; never ours.
    Untyped,
}

impl Kind {
    /// Word of the `# TYPE` line of text format 0.0.4.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => catalog::Kind::Counter.as_str(),
            Self::Gauge => catalog::Kind::Gauge.as_str(),
            Self::Histogram => catalog::Kind::Histogram.as_str(),
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        }
    }
}

impl From<catalog::Kind> for Kind {
    fn from(kind: catalog::Kind) -> Self {
        match kind {
            catalog::Kind::Counter => Self::Counter,
            catalog::Kind::Gauge => Self::Gauge,
            catalog::Kind::Histogram => Self::Histogram,
        }
    }
}
