//! Families to pages: the Prometheus text format 0.0.4 and OpenMetrics 1.0.
//!
//! Text 0.0.4 is printed as the metrics guide prints it: HELP, TYPE, samples,
//! an empty line between families. OpenMetrics 1.0 names a counter's family
//! without `_total`, adds `# UNIT`, allows no empty line and ends in `# EOF`.
//! Both spell bounds and sums as exact decimal seconds (`1.0`, not `1`).
//! Families of one name in several parts are one family on the page: announced
//! once, with the series of all parts below. Nothing is decided here but
//! spelling and which series a page shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use gatemeter_core::{
    buckets::{INFINITY, spell_seconds},
    catalog::{LE, Page as PageOf, SERVICE},
};

use crate::families::{Family, Histogram, Kind, Line, Number, Point, Series, escape, push_label};

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
    /// Those of one service in families of its page, without the label
    /// `service`.
    Service(&'a str),
}

impl Scope<'_> {
    fn has(self, family: &Family) -> bool {
        match self {
            Self::All => true,
            Self::Service(_) => family.page == PageOf::Service,
        }
    }

    fn shows(self, series: &Series) -> bool {
        match self {
            Self::All => true,
            Self::Service(service) => series.service.as_deref() == Some(service),
        }
    }
}

/// Families of one origin, and what stands before the labels of all of their
/// series.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Escaped, such as `envoy="edge-1",zone="a"`, or empty.
    pub labels: &'a str,
    /// Each name once.
    pub families: &'a [Family],
}

impl<'a> Part<'a> {
    /// Families whose series have their own labels only.
    pub const fn plain(families: &'a [Family]) -> Self {
        Self {
            labels: "",
            families,
        }
    }
}

/// A whole page of these parts; of families that are not usual, only those
/// that have series on it. Families of one name must have one type and no
/// series twice; text and unit are those of the first.
pub fn page(parts: &[Part<'_>], scope: Scope<'_>, format: Format) -> String {
    let mut page = Page {
        text: String::with_capacity(16 * 1024),
        scope,
        format,
    };
    let mut by_name: BTreeMap<&str, Vec<(&str, &Family)>> = BTreeMap::new();
    for part in parts {
        for family in part.families.iter().filter(|family| scope.has(family)) {
            let same = by_name.entry(&family.name).or_default();
            same.push((part.labels, family));
        }
    }
    let mut done = BTreeSet::new();
    for family in parts.iter().flat_map(|part| part.families) {
        let Some(same) = by_name.get(&*family.name) else {
            continue;
        };
        if done.insert(&*family.name) {
            page.family(same);
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
    fn family(&mut self, same: &[(&str, &Family)]) {
        let scope = self.scope;
        let is_shown = |(_, family): &(&str, &Family)| {
            family.is_usual || family.series.iter().any(|series| scope.shows(series))
        };
        let Some((_, family)) = same.first().filter(|_| same.iter().any(is_shown)) else {
            return;
        };
        let (name, kind) = match (self.format, family.kind) {
            (Format::OpenMetrics, Kind::Counter) => match family.name.strip_suffix("_total") {
                Some(name) => (name, family.kind.as_str()),
                // A counter of OpenMetrics must end so.
                None => (&*family.name, UNKNOWN),
            },
            (Format::OpenMetrics, Kind::Untyped) => (&*family.name, UNKNOWN),
            _ => (&*family.name, family.kind.as_str()),
        };
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
        for (labels, family) in same {
            for series in family.series.iter().filter(|series| scope.shows(series)) {
                let labels = self.labels(labels, series);
                match &series.point {
                    Point::Number(number) => {
                        self.sample(&family.name, "", &labels, "", *number);
                    }
                    Point::Histogram(histogram) => self.histogram(&family.name, &labels, histogram),
                    Point::Lines(lines) => self.lines(family, &labels, lines),
                }
            }
        }
    }

    /// Samples as they are spelled. When a series was created only OpenMetrics
    /// has a name for, without `_total`.
    fn lines(&mut self, family: &Family, labels: &str, lines: &[Line]) {
        for line in lines {
            let name = match (&*line.suffix, self.format) {
                ("_created", Format::Text) => continue,
                ("_created", Format::OpenMetrics) => {
                    let base = family.name.strip_suffix("_total");
                    base.unwrap_or(&family.name)
                }
                _ => &family.name,
            };
            self.text.push_str(name);
            self.text.push_str(&line.suffix);
            match (labels, &*line.labels) {
                ("", "") => {}
                (labels, "") | ("", labels) => self.line_part(format_args!("{{{labels}}}")),
                (labels, more) => self.line_part(format_args!("{{{labels},{more}}}")),
            }
            self.line(format_args!(" {}", line.value));
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
    fn labels(&self, before: &str, series: &Series) -> String {
        let mut text = String::with_capacity(64);
        text.push_str(before);
        if let (Scope::All, Some(service)) = (self.scope, &series.service) {
            push_label(&mut text, SERVICE, service);
        }
        if !text.is_empty() && !series.labels.is_empty() {
            text.push(',');
        }
        text.push_str(series.labels.text());
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

/// OpenMetrics' word for a type that is not told.
const UNKNOWN: &str = "unknown";

#[cfg(test)]
mod tests;
