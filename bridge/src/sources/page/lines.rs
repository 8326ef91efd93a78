//! The lines of a whole page: what it says of each name, and its samples.
//!
//! Refused are an unknown type, a unit that is no suffix of its name, an end
//! that is missing (the line feed of the last line; `# EOF` in OpenMetrics), a
//! line behind that end, and more than the limits.

use std::{borrow::Cow, collections::HashMap};

use foldhash::fast::RandomState;
use gatemeter_core::catalog::Unit;

use super::{
    super::line::{self, Line, Sample},
    MOST_FAMILIES, PageError,
};
use crate::exposition::Format;

/// What a page says of a name.
#[derive(Default)]
pub(super) struct Metadata<'a> {
    pub(super) kind: Option<Type>,
    pub(super) help: Cow<'a, str>,
    pub(super) unit: Option<Unit>,
    /// It has two types.
    pub(super) is_in_conflict: bool,
}

/// The types of both formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Counter,
    Gauge,
    GaugeHistogram,
    Histogram,
    Info,
    StateSet,
    Summary,
    Untyped,
}

impl Type {
    fn of(word: &str, format: Format) -> Option<Self> {
        let is_openmetrics = format == Format::OpenMetrics;
        Some(match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            "untyped" if !is_openmetrics => Self::Untyped,
            "gaugehistogram" if is_openmetrics => Self::GaugeHistogram,
            "info" if is_openmetrics => Self::Info,
            "stateset" if is_openmetrics => Self::StateSet,
            "unknown" if is_openmetrics => Self::Untyped,
            _ => return None,
        })
    }

    /// What may follow the name in the samples of such a family.
    pub(super) const fn suffixes(self, format: Format) -> &'static [&'static str] {
        match (self, format) {
            (Self::Counter, Format::OpenMetrics) => &["_total", "_created"],
            (Self::Counter, Format::Text) | (Self::Gauge | Self::StateSet | Self::Untyped, _) => {
                &[""]
            }
            (Self::GaugeHistogram, _) => &["_bucket", "_gcount", "_gsum"],
            (Self::Histogram, Format::OpenMetrics) => &["_bucket", "_count", "_sum", "_created"],
            (Self::Histogram, Format::Text) => &["_bucket", "_count", "_sum"],
            (Self::Info, _) => &["_info"],
            (Self::Summary, Format::OpenMetrics) => &["", "_count", "_sum", "_created"],
            (Self::Summary, Format::Text) => &["", "_count", "_sum"],
        }
    }
}

/// Longest line in bytes.
pub(super) const MOST_LINE_BYTES: usize = 64 * 1024;
/// Most samples of a page.
pub(super) const MOST_SAMPLES: usize = 200_000;

/// What is known of each name.
pub(super) type ByName<'a, T> = HashMap<&'a str, T, RandomState>;

/// Takes a page apart.
///
/// # Errors
/// Where one line is none, or the page is not whole or beyond the limits.
pub(super) fn lines(
    text: &str,
    format: Format,
) -> Result<(ByName<'_, Metadata<'_>>, Vec<Sample<'_>>), PageError> {
    let mut metadata: ByName<'_, Metadata<'_>> = HashMap::default();
    let mut samples = Vec::new();
    let mut has_ended = false;
    let whole = match format {
        // Here the last line needs no line feed.
        Format::OpenMetrics => text.strip_suffix('\n').unwrap_or(text),
        Format::Text if text.is_empty() => return Ok((metadata, samples)),
        Format::Text => text
            .strip_suffix('\n')
            .ok_or(PageError::Truncated("a line feed behind the last line"))?,
    };
    for (index, text) in whole.split('\n').enumerate() {
        let wrong = |problem| PageError::Line {
            line: index + 1,
            problem,
        };
        if has_ended {
            return Err(wrong("a line behind # EOF"));
        }
        if text.len() > MOST_LINE_BYTES {
            return Err(PageError::TooLarge("65536 bytes in a line"));
        }
        match line::line(text, format).map_err(wrong)? {
            Line::Nothing => {}
            Line::End => has_ended = true,
            Line::Sample(_) if samples.len() >= MOST_SAMPLES => {
                return Err(PageError::TooLarge("200000 samples"));
            }
            Line::Sample(sample) => samples.push(sample),
            Line::Help { name, text } => {
                let about = metadata.entry(name).or_default();
                if about.help.is_empty() {
                    about.help = text;
                }
            }
            Line::Type { name, kind } => {
                let kind = Type::of(kind, format).ok_or_else(|| wrong("an unknown type"))?;
                let about = metadata.entry(name).or_default();
                about.is_in_conflict |= about.kind.is_some_and(|known| known != kind);
                about.kind = Some(kind);
            }
            Line::Unit { name, unit } => {
                let is_suffix = name
                    .strip_suffix(unit)
                    .is_some_and(|name| unit.is_empty() || name.ends_with('_'));
                if !is_suffix {
                    return Err(wrong("a unit that the name does not end in"));
                }
                let units = [Unit::Seconds, Unit::Bytes];
                metadata.entry(name).or_default().unit =
                    units.into_iter().find(|known| known.as_str() == Some(unit));
            }
        }
        if metadata.len() > MOST_FAMILIES {
            return Err(PageError::TooLarge("10000 metrics"));
        }
    }
    if format == Format::OpenMetrics && !has_ended {
        return Err(PageError::Truncated("# EOF"));
    }
    Ok((metadata, samples))
}
