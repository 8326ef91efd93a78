//! Envoy's `/stats` text taken apart: `name: value` lines to samples.
//!
//! Decides which lines are ours (the stats of the filter, and Envoy's own
//! `http.<stat_prefix>.downstream_*` that we ask for), and refuses line by
//! line what cannot be right: a line that is not `name: value`, a name of ours
//! that the codec would not have written, a value that is no `u64`, a gauge
//! below zero (Envoy wraps it to 2^64-x), a name that stands twice. What is
//! refused is counted by a bounded reason and never repeated in a log: a name
//! may hold what somebody else's module wrote. Stats of other modules and
//! Envoy's approximate histograms are passed over.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    str::Utf8Error,
};

use foldhash::fast::RandomState;
use gatemeter_core::{
    buckets,
    catalog::{self, LE, Metric, Stat, StatKind},
    stat_name::{self, DecodeError},
};

/// Path and query of the request for the stats that [`decode`] reads.
///
/// The filter is the RE2 expression
/// `^wasmcustom\.|^http\.[^.]+\.downstream_(rq_active|rq_tx_reset|cx_[rt]x_bytes_total)$`,
/// so that Envoy's main thread does not print what we do not read. `usedonly` is never
/// asked for: it hides metrics that are defined and still 0.
pub const STATS_PATH: &str = "/stats?filter=%5Ewasmcustom%5C.%7C%5Ehttp%5C.%5B%5E.%5D%2B%5C.downstream_%28rq_active%7Crq_tx_reset%7Ccx_%5Brt%5Dx_bytes_total%29%24";

/// What one answer of Envoy holds.
#[derive(Debug, Default)]
pub struct Answer<'a> {
    /// Stats that the filter wrote, in the order of the answer.
    pub samples: Vec<Sample<'a>>,
    /// Stats that the catalogue does not know: of a metric that a plugin
    /// configuration names, or of somebody else's module.
    pub unlisted: Vec<UnlistedSample<'a>>,
    /// Envoy's own stats of its HTTP connection managers.
    pub envoy: Vec<EnvoySample<'a>>,
    /// How many lines were refused, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Lines that read as `name: value`, ours or not.
    pub readable: u64,
}

/// One stat of the filter.
#[derive(Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Its row in the catalogue.
    pub stat: &'static Stat,
    /// The metric that the stat belongs to.
    pub metric: &'static Metric,
    /// Values in the order of `stat.labels`, without `le`; never empty, the
    /// first is the service.
    pub values: Vec<Cow<'a, str>>,
    /// Value of `le`, where the stat has that label.
    pub bound: Option<Bound>,
    /// The number; below 2^63 where the stat is a gauge.
    pub value: u64,
}

impl Sample<'_> {
    /// The service that the stat belongs to.
    pub fn service(&self) -> &str {
        self.values.first().map_or("", AsRef::as_ref)
    }
}

/// One stat whose name reads as ours, but is not in the catalogue.
#[derive(Debug, PartialEq, Eq)]
pub struct UnlistedSample<'a> {
    /// What stands before the labels.
    pub stat: &'a str,
    /// The service that it belongs to.
    pub service: Cow<'a, str>,
    /// Names and values of its further labels, without `le`.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// Value of `le`, where the stat has that label.
    pub bound: Option<Bound>,
    /// The number.
    pub value: u64,
}

/// Bound of a histogram's bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The bin without a bound.
    Infinity,
    /// Inclusive.
    Nanoseconds(u64),
}

/// One stat that Envoy keeps for an HTTP connection manager.
#[derive(Debug, PartialEq, Eq)]
pub struct EnvoySample<'a> {
    /// `stat_prefix` of the connection manager.
    pub stat_prefix: &'a str,
    /// Which stat.
    pub stat: EnvoyStat,
    /// The number; below 2^63 where the stat is a gauge.
    pub value: u64,
}

/// The stats below `http.<stat_prefix>.` that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvoyStat {
    /// `downstream_rq_active`: exchanges and WebSocket sessions now open.
    RequestsActive,
    /// `downstream_rq_tx_reset`: exchanges that Envoy reset towards the client
    /// after it had begun to answer.
    ResetsSent,
    /// `downstream_cx_rx_bytes_total`: bytes from clients.
    BytesReceived,
    /// `downstream_cx_tx_bytes_total`: bytes to clients.
    BytesSent,
}

/// Why a line was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Not `name: value`.
    BadLine,
    /// A stat of ours whose name the codec would not have written.
    BadName,
    /// Not a `u64` in decimal.
    BadValue,
    /// A bound that is no canonical number of seconds.
    BadBound,
    /// Two services give one metric different types or labels.
    Conflict,
    /// A label value with a control character.
    ControlCharacter,
    /// The name stood in the answer before.
    Duplicate,
    /// A gauge that Envoy wrapped below zero.
    NegativeGauge,
    /// Not UTF-8.
    NotUtf8,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::BadLine,
        Self::BadName,
        Self::BadValue,
        Self::BadBound,
        Self::Conflict,
        Self::ControlCharacter,
        Self::Duplicate,
        Self::NegativeGauge,
        Self::NotUtf8,
    ];

    /// The value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadLine => "bad_line",
            Self::BadName => "bad_name",
            Self::BadValue => "bad_value",
            Self::BadBound => "bad_bound",
            Self::Conflict => "conflict",
            Self::ControlCharacter => "control_character",
            Self::Duplicate => "duplicate",
            Self::NegativeGauge => "negative_gauge",
            Self::NotUtf8 => "not_utf8",
        }
    }
}

/// Takes an answer apart.
pub fn decode(body: &[u8]) -> Answer<'_> {
    let mut decoder = Decoder::default();
    decoder.answer.samples.reserve(body.len() / TYPICAL_LINE);
    decoder.seen.reserve(body.len() / TYPICAL_LINE);
    match str::from_utf8(body) {
        Ok(text) => text.split('\n').for_each(|line| decoder.take(Ok(line))),
        Err(_) => body
            .split(|&byte| byte == b'\n')
            .for_each(|line| decoder.take(str::from_utf8(line))),
    }
    decoder.answer
}

/// Bytes of a line that tells of one bin.
const TYPICAL_LINE: usize = 120;

#[derive(Default)]
struct Decoder<'a> {
    answer: Answer<'a>,
    seen: HashSet<&'a str, RandomState>,
    /// Bounds that were read before; a service has few, and many stats for each.
    bounds: Vec<(&'a str, Bound)>,
}

/// Bounds that are kept; any more are read each time.
const KEPT_BOUNDS: usize = 64;

impl<'a> Decoder<'a> {
    fn take(&mut self, line: Result<&'a str, Utf8Error>) {
        if line == Ok("") {
            return;
        }
        let taken = line
            .map_err(|_| DropReason::NotUtf8)
            .and_then(|line| self.line(line));
        if let Err(reason) = taken {
            *self.answer.dropped.entry(reason).or_default() += 1;
        }
    }

    fn line(&mut self, line: &'a str) -> Result<(), DropReason> {
        let (name, value) = name_and_value(line).ok_or(DropReason::BadLine)?;
        self.answer.readable += 1;
        if let Some((stat_prefix, stat)) = envoy_stat(name) {
            let value = match stat {
                EnvoyStat::RequestsActive => gauge(value)?,
                EnvoyStat::ResetsSent | EnvoyStat::BytesReceived | EnvoyStat::BytesSent => {
                    whole(value)?
                }
            };
            if !self.seen.insert(name) {
                return Err(DropReason::Duplicate);
            }
            self.answer.envoy.push(EnvoySample {
                stat_prefix,
                stat,
                value,
            });
            return Ok(());
        }
        let Some(own) = name.strip_prefix(catalog::ENVOY_NAMESPACE) else {
            return Ok(());
        };
        let mut decoded = match stat_name::decode(own) {
            Ok(decoded) => decoded,
            Err(DecodeError::UnknownStat) => {
                if let Some(sample) = self.unlisted(own, value)
                    && self.seen.insert(name)
                {
                    self.answer.unlisted.push(sample);
                }
                return Ok(());
            }
            Err(_) => return Err(DropReason::BadName),
        };
        let value = match decoded.stat.kind {
            StatKind::Histogram => return Ok(()),
            StatKind::Counter => whole(value)?,
            StatKind::Gauge => gauge(value)?,
        };
        // Only an escape can stand for a control character.
        let is_control = |text: &Cow<'_, str>| text.contains(|c: char| c.is_control());
        if own.contains('%') && decoded.values.iter().any(is_control) {
            return Err(DropReason::ControlCharacter);
        }
        let bound = match decoded.stat.labels.last() {
            Some(&LE) => Some(
                self.bound(decoded.values.pop())
                    .ok_or(DropReason::BadBound)?,
            ),
            _ => None,
        };
        if !self.seen.insert(name) {
            return Err(DropReason::Duplicate);
        }
        self.answer.samples.push(Sample {
            stat: decoded.stat,
            metric: decoded.metric,
            values: decoded.values,
            bound,
            value,
        });
        Ok(())
    }

    /// `None` for what is nobody's of ours: another module may write what it
    /// likes.
    fn unlisted(&mut self, own: &'a str, value: &str) -> Option<UnlistedSample<'a>> {
        let stat_name::Unlisted { stat, mut labels } = stat_name::decode_unlisted(own).ok()?;
        if labels
            .first()
            .is_none_or(|(name, _)| *name != catalog::SERVICE)
        {
            return None;
        }
        let (_, service) = labels.remove(0);
        let bound = match labels.last() {
            Some((LE, _)) => Some(self.bound(labels.pop().map(|(_, le)| le))?),
            _ => None,
        };
        let is_control = |text: &str| text.contains(|c: char| c.is_control());
        if is_control(&service) || labels.iter().any(|(_, value)| is_control(value)) {
            return None;
        }
        Some(UnlistedSample {
            stat,
            service,
            labels,
            bound,
            value: whole(value).ok()?,
        })
    }

    fn bound(&mut self, le: Option<Cow<'a, str>>) -> Option<Bound> {
        // The codec never unescapes a bound.
        let Some(Cow::Borrowed(text)) = le else {
            return None;
        };
        if let Some((_, bound)) = self.bounds.iter().find(|(known, _)| *known == text) {
            return Some(*bound);
        }
        let bound = bound(text)?;
        if self.bounds.len() < KEPT_BOUNDS {
            self.bounds.push((text, bound));
        }
        Some(bound)
    }
}

/// Parted at the first `": "`; our names hold no space, so the first space
/// almost always is the one.
fn name_and_value(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(' ')?;
    match name.strip_suffix(':') {
        Some(name) => Some((name, value)),
        None => line.split_once(": "),
    }
}

fn envoy_stat(name: &str) -> Option<(&str, EnvoyStat)> {
    let (stat_prefix, stat) = name.strip_prefix("http.")?.split_once('.')?;
    let stat = match stat {
        "downstream_rq_active" => EnvoyStat::RequestsActive,
        "downstream_rq_tx_reset" => EnvoyStat::ResetsSent,
        "downstream_cx_rx_bytes_total" => EnvoyStat::BytesReceived,
        "downstream_cx_tx_bytes_total" => EnvoyStat::BytesSent,
        _ => return None,
    };
    Some((stat_prefix, stat))
}

/// Digits only: `u64::from_str` would also take a plus sign.
fn whole(text: &str) -> Result<u64, DropReason> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DropReason::BadValue);
    }
    text.parse().map_err(|_| DropReason::BadValue)
}

fn gauge(text: &str) -> Result<u64, DropReason> {
    let value = whole(text)?;
    if value > i64::MAX.unsigned_abs() {
        return Err(DropReason::NegativeGauge);
    }
    Ok(value)
}

/// One spelling a bound: two would be two stats for the same bin.
fn bound(text: &str) -> Option<Bound> {
    if text == buckets::INFINITY {
        return Some(Bound::Infinity);
    }
    let nanos = buckets::parse_seconds(text)?;
    (buckets::spell_seconds(nanos.into()) == text).then_some(Bound::Nanoseconds(nanos))
}

#[cfg(test)]
mod tests;
