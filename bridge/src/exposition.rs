//! Families to pages: the Prometheus text format 0.0.4 and OpenMetrics 1.0.
//!
//! Text 0.0.4 is printed as the metrics guide prints it: HELP, TYPE, samples,
//! an empty line between families. OpenMetrics 1.0 names a counter's family
//! without `_total`, adds `# UNIT`, allows no empty line and ends in `# EOF`.
//! Both spell bounds and sums as exact decimal seconds (`1.0`, not `1`).
//! Nothing is decided here but spelling and which series a page shows.

use std::{borrow::Cow, fmt::Write as _};

use gatemeter_core::{
    buckets::{INFINITY, spell_seconds},
    catalog::{Kind, LE, SERVICE},
};

use crate::families::{Family, Histogram, Number, Point, Series};

/// How a page is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text format 0.0.4.
    Text,
}

impl Format {
    /// Value of the header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Whose series a page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// All, the label `service` first on those that belong to a service.
    All,
    /// Those of one service, without the label `service`.
    Service(&'a str),
}

impl Scope<'_> {
    fn shows(self, series: &Series) -> bool {
        match self {
            Self::All => true,
            Self::Service(service) => series.service.as_deref() == Some(service),
        }
    }
}

/// A whole page of these families; of those that are not usual, only the ones that
/// have series on it.
pub fn page<'f>(
    families: impl IntoIterator<Item = &'f Family>,
    scope: Scope<'_>,
    format: Format,
) -> String {
    let mut page = Page {
        text: String::with_capacity(16 * 1024),
        scope,
        format,
    };
    for family in families {
        if family.is_usual || family.series.iter().any(|series| scope.shows(series)) {
            page.family(family);
        }
    }
    if format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

struct Page<'a> {
    text: String,
    scope: Scope<'a>,
    format: Format,
}

impl Page<'_> {
    fn family(&mut self, family: &Family) {
        let name = match (self.format, family.kind) {
            (Format::OpenMetrics, Kind::Counter) => {
                family.name.strip_suffix("_total").unwrap_or(&family.name)
            }
            _ => &family.name,
        };
        let kind = family.kind.as_str();
        match self.format {
            Format::OpenMetrics => {
                let help = escape(&family.help, true);
                self.line(format_args!("# HELP {name} {help}"));
                self.line(format_args!("# TYPE {name} {kind}"));
                if let Some(unit) = family.unit.as_str() {
                    self.line(format_args!("# UNIT {name} {unit}"));
                }
            }
            Format::Text => {
                if !self.text.is_empty() {
                    self.text.push('\n');
                }
                let help = escape(&family.help, false);
                self.line(format_args!("# HELP {name} {help}"));
                self.line(format_args!("# TYPE {name} {kind}"));
            }
        }
        let scope = self.scope;
        for series in family.series.iter().filter(|series| scope.shows(series)) {
            let labels = self.labels(series);
            match &series.point {
                Point::Number(number) => {
                    self.sample(&family.name, "", &labels, "", *number);
                }
                Point::Histogram(histogram) => self.histogram(&family.name, &labels, histogram),
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        for &(bound, count) in &histogram.buckets {
            let le = spell_seconds(bound.into());
            self.sample(name, "_bucket", labels, &le, Number::Whole(count));
        }
        let count = Number::Whole(histogram.count);
        self.sample(name, "_bucket", labels, INFINITY, count);
        self.text.push_str(name);
        self.text.push_str("_sum");
        if !labels.is_empty() {
            self.line_part(format_args!("{{{labels}}}"));
        }
        let sum = spell_seconds(histogram.sum_nanoseconds);
        self.line(format_args!(" {sum}"));
        self.sample(name, "_count", labels, "", count);
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &str, le: &str, value: Number) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        let comma = if labels.is_empty() { "" } else { "," };
        match (labels, le) {
            ("", "") => {}
            (labels, "") => self.line_part(format_args!("{{{labels}}}")),
            (labels, le) => self.line_part(format_args!("{{{labels}{comma}{LE}=\"{le}\"}}")),
        }
        match value {
            Number::Whole(value) => self.line(format_args!(" {value}")),
            Number::Real(value) if value.is_nan() => self.line(format_args!(" NaN")),
            Number::Real(value) if value == f64::INFINITY => self.line(format_args!(" +Inf")),
            Number::Real(value) if value == f64::NEG_INFINITY => self.line(format_args!(" -Inf")),
            Number::Real(value) => self.line(format_args!(" {value}")),
        }
    }

    /// `a="b",c="d"`, escaped; made once for all lines of a series.
    fn labels(&self, series: &Series) -> String {
        let mut text = String::with_capacity(64);
        if let (Scope::All, Some(service)) = (self.scope, &series.service) {
            push_label(&mut text, SERVICE, service);
        }
        for (name, value) in &series.labels {
            push_label(&mut text, name, value);
        }
        text
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.line_part(text);
        self.text.push('\n');
    }

    fn line_part(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(text);
    }
}

fn push_label(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(name);
    text.push_str("=\"");
    text.push_str(&escape(value, true));
    text.push('"');
}

fn escape(text: &str, quotes: bool) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '\\' | '\n') || (quotes && c == '"');
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if quotes => escaped.push_str("\\\""),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests;
