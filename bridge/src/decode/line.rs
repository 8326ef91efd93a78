//! What one line of `/stats` says, by itself.

use std::borrow::Cow;

use gatemeter_core::{
    buckets,
    catalog::{self, LE, Metric, SERVICE, Stat, StatKind},
    stat_name::{self, DecodeError},
};

use super::DropReason;

/// A line that reads as `name: value`, and is none to be refused for itself.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// All that stands before `": "`.
    pub(crate) name: &'a str,
    pub(crate) meaning: Meaning<'a>,
    /// 0 where the line is passed over; below 2^63 where the stat is a gauge.
    pub(crate) value: u64,
}

/// Whose stat a line tells of.
#[derive(Debug)]
pub(crate) enum Meaning<'a> {
    /// A stat that Envoy keeps for an HTTP connection manager, named by its
    /// `stat_prefix`.
    Envoy(&'a str, EnvoyStat),
    /// A stat of the catalogue.
    Listed(Listed<'a>),
    /// Nobody's of ours, or an approximate histogram: to be passed over.
    Passed,
    /// A stat that Envoy keeps of itself.
    State(StateStat<'a>),
    /// A stat whose name reads as ours, but is not in the catalogue: of a
    /// metric that a plugin configuration names, or of somebody else's module.
    Unlisted(Unlisted<'a>),
}

#[derive(Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) stat: &'static Stat,
    pub(crate) metric: &'static Metric,
    /// In the order of `stat.labels`, without `le`; the first is the service.
    pub(crate) values: Vec<Cow<'a, str>>,
    /// Value of `le`, where the stat has that label, and how it is spelled at
    /// the end of the name.
    pub(crate) bound: Option<(Bound, &'a str)>,
}

#[derive(Debug)]
pub(crate) struct Unlisted<'a> {
    /// What stands before the labels.
    pub(crate) stat: &'a str,
    pub(crate) service: Cow<'a, str>,
    /// Further labels, without `le`: each name at most once, and a plain one.
    pub(crate) labels: Vec<(&'a str, Cow<'a, str>)>,
    /// As in [`Listed`].
    pub(crate) bound: Option<(Bound, &'a str)>,
}

/// Bound of a histogram's bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bound {
    /// Inclusive.
    Nanoseconds(u64),
    /// The bin without a bound.
    Infinity,
}

/// The stats below `http.<stat_prefix>.` that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EnvoyStat {
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

/// The stats of Envoy itself that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateStat<'a> {
    /// `server.uptime`.
    Uptime,
    /// `wasm.<plugin>.vm_reload_<result>`.
    VmReload(&'a str, &'static str),
    /// `wasm.wasm_vm_count`.
    VmsActive,
    /// `wasm.envoy.wasm.runtime.<runtime>.created`.
    VmsCreated,
}

/// Whether a line is read as `name: value`, however it is judged then.
pub(crate) fn is_readable(line: &str) -> bool {
    name_and_value(line).is_some()
}

/// The meaning of a line.
///
/// # Errors
/// Why it is dropped.
pub(crate) fn parse(line: &str) -> Result<Line<'_>, DropReason> {
    let (name, value) = name_and_value(line).ok_or(DropReason::BadLine)?;
    let (meaning, value) = if let Some(own) = name.strip_prefix(catalog::ENVOY_NAMESPACE) {
        of_the_filter(own, value)?
    } else if let Some((stat_prefix, stat)) = envoy_stat(name) {
        let value = match stat {
            EnvoyStat::RequestsActive => gauge(value)?,
            EnvoyStat::ResetsSent | EnvoyStat::BytesReceived | EnvoyStat::BytesSent => {
                whole(value)?
            }
        };
        (Meaning::Envoy(stat_prefix, stat), value)
    } else if let Some(stat) = state_stat(name) {
        (Meaning::State(stat), whole(value)?)
    } else {
        (Meaning::Passed, 0)
    };
    Ok(Line {
        name,
        meaning,
        value,
    })
}

fn of_the_filter<'a>(own: &'a str, value: &str) -> Result<(Meaning<'a>, u64), DropReason> {
    let mut decoded = match stat_name::decode(own) {
        Ok(decoded) => decoded,
        Err(DecodeError::UnknownStat) => {
            let passed = (Meaning::Passed, 0);
            return Ok(unlisted(own, value).unwrap_or(passed));
        }
        Err(_) => return Err(DropReason::BadName),
    };
    let value = match decoded.stat.kind {
        StatKind::Histogram => return Ok((Meaning::Passed, 0)),
        StatKind::Counter => whole(value)?,
        StatKind::Gauge => gauge(value)?,
    };
    // Only an escape can stand for a control character.
    if own.contains('%') && decoded.values.iter().any(|text| has_control(text)) {
        return Err(DropReason::ControlCharacter);
    }
    let bound = match decoded.stat.labels.last() {
        Some(&LE) => Some(spelled_bound(decoded.values.pop()).ok_or(DropReason::BadBound)?),
        _ => None,
    };
    let listed = Listed {
        stat: decoded.stat,
        metric: decoded.metric,
        values: decoded.values,
        bound,
    };
    Ok((Meaning::Listed(listed), value))
}

/// `None` for what is nobody's of ours: another module may write what it likes.
fn unlisted<'a>(own: &'a str, value: &str) -> Option<(Meaning<'a>, u64)> {
    let stat_name::Unlisted { stat, mut labels } = stat_name::decode_unlisted(own).ok()?;
    if labels.first().is_none_or(|(name, _)| *name != SERVICE) {
        return None;
    }
    let (_, service) = labels.remove(0);
    let bound = match labels.last() {
        Some((LE, _)) => Some(spelled_bound(labels.pop().map(|(_, le)| le))?),
        _ => None,
    };
    let is_bad = |(at, (name, value)): (usize, &(&str, Cow<'_, str>))| {
        let is_twice = labels.iter().take(at).any(|(other, _)| other == name);
        !is_label_name(name) || is_twice || has_control(value)
    };
    if has_control(&service) || labels.iter().enumerate().any(is_bad) {
        return None;
    }
    let value = whole(value).ok()?;
    let unlisted = Unlisted {
        stat,
        service,
        labels,
        bound,
    };
    Some((Meaning::Unlisted(unlisted), value))
}

/// A name that a page may show as that of a label which is none of its own.
fn is_label_name(name: &str) -> bool {
    let starts = |c: u8| c.is_ascii_alphabetic() || c == b'_';
    name.bytes().next().is_some_and(starts)
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        && !name.starts_with("__")
        && ![SERVICE, LE].contains(&name)
}

fn has_control(text: &str) -> bool {
    text.contains(|c: char| c.is_control())
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

fn state_stat(name: &str) -> Option<StateStat<'_>> {
    if name == "server.uptime" {
        return Some(StateStat::Uptime);
    }
    let name = name.strip_prefix("wasm.")?;
    if name == "wasm_vm_count" {
        return Some(StateStat::VmsActive);
    }
    match name.rsplit_once('.')? {
        (runtime, "created") if runtime.starts_with("envoy.wasm.runtime.") => {
            Some(StateStat::VmsCreated)
        }
        (plugin, _) if has_control(plugin) => None,
        (plugin, "vm_reload_success") => Some(StateStat::VmReload(plugin, "success")),
        (plugin, "vm_reload_failure") => Some(StateStat::VmReload(plugin, "failure")),
        (plugin, "vm_reload_backoff") => Some(StateStat::VmReload(plugin, "backoff")),
        _ => None,
    }
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

fn spelled_bound(le: Option<Cow<'_, str>>) -> Option<(Bound, &str)> {
    // The codec never unescapes a bound.
    match le? {
        Cow::Borrowed(text) => Some((bound(text)?, text)),
        Cow::Owned(_) => None,
    }
}

/// One spelling a bound: two would be two stats for the same bin.
fn bound(text: &str) -> Option<Bound> {
    if text == buckets::INFINITY {
        return Some(Bound::Infinity);
    }
    let nanos = buckets::parse_seconds(text)?;
    (buckets::spell_seconds(nanos.into()) == text).then_some(Bound::Nanoseconds(nanos))
}
