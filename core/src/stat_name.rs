//! The codec between labels and the name of an Envoy stat.
//!
//! Envoy knows no labels for the metrics of a wasm module, so they stand in
//! the name:
//!
//! ```text
//! <stat>(.<label>=<value>)*        labels in catalogue order, `le` last
//! http_requests_total.service=api.method=GET.path=/api/content/:id.status=200
//! ```
//!
//! A value keeps letters, digits and `/ : - _ ~ *`; every other byte becomes
//! `%XX`, so `.` and `=` never occur in a value, a line feed cannot forge a
//! line of `/stats`, and no name needs escaping on any page of Envoy. Only the
//! value of `le`, which is last, is written as it is: it is a number.
//!
//! [`decode`] accepts exactly what [`encode`] writes: an escape that was not
//! needed, a lower-case digit in one or a label out of order is refused, so
//! two names never mean the same series.

use std::borrow::Cow;

use thiserror::Error;

use crate::catalog::{self, LE, Metric, Stat};

/// Longest name that is written, in bytes.
pub const MAX_LENGTH: usize = 512;

/// A stat's name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// Its row in the catalogue.
    pub stat: &'static Stat,
    /// The metric that the stat belongs to.
    pub metric: &'static Metric,
    /// Values in the order of `stat.labels`.
    pub values: Vec<Cow<'a, str>>,
}

impl Decoded<'_> {
    /// The value of a label; `None` where the stat has no such label.
    pub fn value(&self, label: &str) -> Option<&str> {
        let at = self.stat.labels.iter().position(|l| *l == label)?;
        self.values.get(at).map(AsRef::as_ref)
    }
}

/// Why a name is not written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EncodeError {
    /// Longer than [`MAX_LENGTH`].
    #[error("stat name of {0} bytes; expected at most {MAX_LENGTH}")]
    TooLong(usize),
    /// Not one value for each label.
    #[error("{0} values for the {1} labels of {2}")]
    ValueCount(usize, usize, &'static str),
}

/// Why a name is none of ours. The messages never repeat the name: it may hold
/// what somebody else's module wrote.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// A `%` without two upper-case hex digits, or an escape that was not
    /// needed, or a byte that should have been escaped.
    #[error("bad escape; expected %XX exactly where a byte is none of A-Z a-z 0-9 / : - _ ~ *")]
    BadEscape,
    /// The labels are not those of the catalogue, in its order.
    #[error("labels differ from the catalogue's")]
    BadLabels,
    /// A decoded value is not UTF-8.
    #[error("value is not UTF-8")]
    NotUtf8,
    /// The catalogue has no such stat.
    #[error("no such stat in the catalogue")]
    UnknownStat,
}

/// The name of `stat` with these values, which stand in the order of its labels.
///
/// ```
/// use gatemeter_core::{catalog, stat_name};
/// let name = stat_name::encode(&catalog::REQUESTS, &["api", "GET", "/v1.2/:id", "200"]);
/// assert_eq!(
///     name.as_deref(),
///     Ok("http_requests_total.service=api.method=GET.path=/v1%2E2/:id.status=200")
/// );
/// ```
///
/// # Errors
/// Where the name would be too long, or the values are not one a label.
pub fn encode(stat: &Stat, values: &[&str]) -> Result<String, EncodeError> {
    if values.len() != stat.labels.len() {
        return Err(EncodeError::ValueCount(
            values.len(),
            stat.labels.len(),
            stat.name,
        ));
    }
    let labels = stat.labels.iter().zip(values);
    encode_labels(stat.name, labels.map(|(label, value)| (*label, *value)))
}

/// The same for a stat that the catalogue does not know: one of a metric that
/// a configuration names itself. Name and labels must be plain names.
///
/// # Errors
/// Where the name would be too long.
pub fn encode_labels<'a>(
    stat: &str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<String, EncodeError> {
    let mut name = String::with_capacity(128);
    name.push_str(stat);
    for (label, value) in labels {
        name.push('.');
        name.push_str(label);
        name.push('=');
        if label == LE {
            name.push_str(value);
        } else {
            push_escaped(&mut name, value);
        }
    }
    if name.len() > MAX_LENGTH {
        return Err(EncodeError::TooLong(name.len()));
    }
    Ok(name)
}

/// Takes a stat's name apart; Envoy's namespace must already be cut off.
///
/// # Errors
/// Where [`encode`] cannot have written the name.
pub fn decode(name: &str) -> Result<Decoded<'_>, DecodeError> {
    let (stat, mut rest) = match name.split_once('.') {
        Some((stat, rest)) => (stat, Some(rest)),
        None => (name, None),
    };
    let (stat, metric) = catalog::stat(stat).ok_or(DecodeError::UnknownStat)?;
    let mut values = Vec::with_capacity(stat.labels.len());
    for label in stat.labels {
        let text = rest.ok_or(DecodeError::BadLabels)?;
        let value = text
            .strip_prefix(label)
            .and_then(|text| text.strip_prefix('='))
            .ok_or(DecodeError::BadLabels)?;
        if *label == LE {
            values.push(Cow::Borrowed(value));
            rest = None;
            break;
        }
        let (value, after) = match value.split_once('.') {
            Some((value, after)) => (value, Some(after)),
            None => (value, None),
        };
        values.push(unescape(value)?);
        rest = after;
    }
    if rest.is_some() {
        return Err(DecodeError::BadLabels);
    }
    Ok(Decoded {
        stat,
        metric,
        values,
    })
}

/// A name of a stat that the catalogue does not know, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlisted<'a> {
    /// What stands before the labels.
    pub stat: &'a str,
    /// Names and values of the labels, in the order of the name.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
}

/// Takes the name of a stat apart that the catalogue does not know; whether it
/// is one of ours only [`catalog::FAMILY`] tells.
///
/// # Errors
/// Where [`encode_labels`] cannot have written the name.
pub fn decode_unlisted(name: &str) -> Result<Unlisted<'_>, DecodeError> {
    let (stat, mut rest) = match name.split_once('.') {
        Some((stat, rest)) => (stat, Some(rest)),
        None => (name, None),
    };
    let mut labels = Vec::new();
    while let Some(text) = rest {
        let (label, value) = text.split_once('=').ok_or(DecodeError::BadLabels)?;
        if label == LE {
            labels.push((label, Cow::Borrowed(value)));
            break;
        }
        let (value, after) = match value.split_once('.') {
            Some((value, after)) => (value, Some(after)),
            None => (value, None),
        };
        labels.push((label, unescape(value)?));
        rest = after;
    }
    Ok(Unlisted { stat, labels })
}

fn is_kept(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b':' | b'-' | b'_' | b'~' | b'*')
}

/// How many bytes a name has, without making it; see [`encode`].
pub(crate) fn length(stat: &Stat, values: &[&str]) -> usize {
    let labels = stat.labels.iter().zip(values).map(|(label, value)| {
        let escaped = match *label {
            LE => 0,
            _ => value.bytes().filter(|byte| !is_kept(*byte)).count(),
        };
        2 + label.len() + value.len() + 2 * escaped
    });
    stat.name.len() + labels.sum::<usize>()
}

fn push_escaped(name: &mut String, value: &str) {
    for byte in value.bytes() {
        if is_kept(byte) {
            name.push(char::from(byte));
        } else {
            name.extend(percent(byte).map(char::from));
        }
    }
}

/// A byte as `%XX`, with upper-case digits (RFC 3986 §2.1).
#[inline(always)] // a call of it costs more than it does
pub(crate) fn percent(byte: u8) -> [u8; 3] {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    [b'%', digit(byte >> 4), digit(byte & 0x0f)]
}

fn unescape(value: &str) -> Result<Cow<'_, str>, DecodeError> {
    if value.bytes().all(is_kept) {
        return Ok(Cow::Borrowed(value));
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if is_kept(byte) {
            bytes.push(byte);
            continue;
        }
        if byte != b'%' {
            return Err(DecodeError::BadEscape);
        }
        let high = rest.next().and_then(nibble).ok_or(DecodeError::BadEscape)?;
        let low = rest.next().and_then(nibble).ok_or(DecodeError::BadEscape)?;
        let escaped = high << 4 | low;
        if is_kept(escaped) {
            return Err(DecodeError::BadEscape);
        }
        bytes.push(escaped);
    }
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| DecodeError::NotUtf8)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
