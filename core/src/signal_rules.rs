//! What a configuration derives from requests and from what services say of
//! them: metrics of its own, and those of the presets.
//!
//! A rule has one metric and one source. Counters count exchanges by method,
//! path, status and headers; histograms take entries of `Server-Timing`;
//! gauges take integers of a structured dictionary. Label values are written in
//! the rule, so no text of a header becomes one, and the number of series is
//! known from the configuration.
//!
//! Here are the rules as the recorder wants them; `plugin_config` reads and
//! refuses them. A preset is a list of rules as a configuration would write
//! them; a rule of the configuration for the same metric takes its place.

use crate::buckets::Buckets;
use crate::catalog::{Kind, Metric};
use crate::labels::{Method, Status};

/// Most rules of one configuration, those of its preset included.
pub const MAX_RULES: usize = 64;

/// Most cases of one counter.
pub const MAX_CASES: usize = 64;

/// Most headers of a direction that conditions look at.
pub const MAX_HEADER_TESTS: usize = 32;

/// Most headers whose dictionaries are read. With those of conditions and the
/// seven that are read in any case they are at most 64, a bit each.
pub const MAX_DICTIONARIES: usize = 16;

/// Bounds of the histograms of timings where the configuration has none, in
/// nanoseconds: the guide's, and beyond, for uploads are slower than requests.
pub const TIMING_BOUNDS: [u64; 14] = [
    1_000_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// Names of the presets, and their rules.
pub const PRESETS: [(&str, &str); 4] = [
    ("api", include_str!("signal_rules/api.json")),
    ("discovery", include_str!("signal_rules/discovery.json")),
    ("playback", include_str!("signal_rules/playback.json")),
    ("ingestion", include_str!("signal_rules/ingestion.json")),
];

/// The rules that every configuration has.
pub const DEFAULTS: &str = include_str!("signal_rules/defaults.json");

/// All rules of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalRules {
    /// Counters of exchanges.
    pub counters: Vec<CounterRule>,
    /// Histograms of what `Server-Timing` says.
    pub timings: Vec<TimingRule>,
    /// Gauges of what dictionaries say.
    pub gauges: Vec<GaugeRule>,
    /// What is read of players' CMCD.
    pub players: PlayerRules,
}

impl SignalRules {
    /// The metrics of all rules but the players', by source.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        let counters = self.counters.iter().map(|rule| &rule.family);
        let timings = self.timings.iter().map(|rule| &rule.family);
        let gauges = self.gauges.iter().map(|rule| &rule.family);
        counters.chain(timings).chain(gauges)
    }
}

/// A metric that a rule moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name as Prometheus sees it.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Names of its labels, without `service`, in the order in which they are
    /// shown.
    pub labels: Vec<String>,
    /// Text of the `# HELP` line; `None` for a metric of the catalogue.
    pub help: Option<String>,
}

impl Family {
    /// The metric of a row of the catalogue.
    pub fn listed(metric: &Metric) -> Self {
        Self {
            name: metric.name.to_owned(),
            kind: metric.kind,
            labels: metric.labels.iter().map(|&label| label.into()).collect(),
            help: None,
        }
    }

    /// Whether a page or Envoy could not tell the two apart.
    pub fn collides(&self, other: &Self) -> bool {
        let names = |family: &Self| match family.kind {
            Kind::Histogram => vec![
                family.name.clone(),
                family.bin_stat(),
                family.sum_stat(),
                format!("{}_bucket", family.name),
                format!("{}_count", family.name),
                format!("{}_sum", family.name),
            ],
            // OpenMetrics names the family of a counter without `_total`.
            Kind::Counter => vec![
                family.name.clone(),
                family.name.trim_end_matches("_total").to_owned(),
            ],
            Kind::Gauge => vec![family.name.clone()],
        };
        let others = names(other);
        names(self).iter().any(|name| others.contains(name))
    }

    /// Name of the stat for the bins of a histogram of seconds.
    pub fn bin_stat(&self) -> String {
        format!("{}_bin", self.name)
    }

    /// Name of the stat for the sum of a histogram of seconds, in nanoseconds.
    pub fn sum_stat(&self) -> String {
        let base = self.name.strip_suffix("_seconds").unwrap_or(&self.name);
        format!("{base}_nanoseconds_sum")
    }
}

/// Metrics of players that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlayerRules {
    /// `stream_init_duration_seconds`, with these bounds.
    pub start: Option<Buckets>,
    /// `stream_bitrate_changes_total`.
    pub bitrate: bool,
    /// `stream_buffer_events_total`.
    pub buffer: bool,
}

impl PlayerRules {
    /// Whether CMCD has to be read at all.
    pub const fn any(&self) -> bool {
        self.start.is_some() || self.bitrate || self.buffer
    }
}

/// A counter of exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterRule {
    /// What it moves.
    pub family: Family,
    /// By how much.
    pub amount: Amount,
    /// An exchange counts for the first case that it meets.
    pub cases: Vec<Case>,
}

/// By how much an exchange moves a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// One.
    One,
    /// The bytes of the request's body; read from Envoy.
    RequestBytes,
    /// The bytes of the response's body; read from Envoy.
    ResponseBytes,
}

/// Values of a counter's labels, and which exchanges have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// In the order of the family's labels.
    pub values: Vec<String>,
    /// Which exchanges.
    pub when: Condition,
}

/// What must hold of an exchange; what is empty holds always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// One of these methods.
    pub methods: Vec<Method>,
    /// One of these values of the label `path`.
    pub paths: Vec<String>,
    /// One of these statuses.
    pub statuses: Vec<StatusTest>,
    /// The request has such a header.
    pub request_header: Option<HeaderTest>,
    /// The response has such a header.
    pub response_header: Option<HeaderTest>,
}

impl Condition {
    /// Whether method, path and status are as wanted; headers are another
    /// matter.
    pub fn admits(&self, method: Method, path: &str, status: Status) -> bool {
        (self.methods.is_empty() || self.methods.contains(&method))
            && (self.paths.is_empty() || self.paths.iter().any(|wanted| wanted == path))
            && (self.statuses.is_empty() || self.statuses.iter().any(|test| test.admits(status)))
    }
}

/// One status, or all of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusTest {
    /// 100 to 599.
    Exact(u16),
    /// 1 to 5, the first digit.
    Class(u16),
}

impl StatusTest {
    fn admits(self, status: Status) -> bool {
        match self {
            Self::Exact(code) => status.code() == code,
            Self::Class(class) => status.code() / 100 == class,
        }
    }
}

/// A header that has to be there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderTest {
    /// Its name in lower case.
    pub name: String,
    /// Its whole value, if any but this is not meant.
    pub value: Option<String>,
}

/// A histogram of an entry of `Server-Timing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimingRule {
    /// What it moves; without labels.
    pub family: Family,
    /// Name of the entry, compared as it is.
    pub entry: String,
    /// Bounds.
    pub buckets: Buckets,
}

/// A gauge of an integer in a structured dictionary (RFC 9651 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GaugeRule {
    /// What it moves; without labels.
    pub family: Family,
    /// Name of the response header in lower case.
    pub header: String,
    /// Key in its dictionary.
    pub key: String,
}
