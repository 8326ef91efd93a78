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
    buckets::{push_seconds, spell_seconds},
    catalog::{LE, Page as PageOf, SERVICE},
};

use crate::{
    families::{Family, Histogram, Kind, Line, Number, Point, Series, escape, push_label},
    piece::{Piece, Pieces},
};

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
    let pieces = pieces(parts, scope, format);
    pieces.iter().map(|piece| &**piece).collect()
}

/// The same, in pieces that end with a line.
pub fn pieces(parts: &[Part<'_>], scope: Scope<'_>, format: Format) -> Vec<Piece> {
    let mut page = Page {
        pieces: Pieces::new(),
        begin_of: ("", None),
        begin: "{".to_owned(),
        head: String::new(),
        bucket: String::new(),
        les: Vec::new(),
        digits: itoa::Buffer::new(),
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
        page.pieces.text().push_str("# EOF\n");
    }
    page.pieces.end()
}

struct Page<'a> {
    pieces: Pieces,
    /// The labels before those of a series and the service that `begin` is of.
    begin_of: (&'a str, Option<&'a str>),
    /// `{` and what stands before the labels of a series.
    begin: String,
    /// `{` and the labels of a series, without the end; empty without labels.
    head: String,
    /// All of a bucket's line that stands before the label `le`.
    bucket: String,
    /// The bounds of the last histogram, and the label as it ends a line's head.
    les: Vec<(u64, String)>,
    digits: itoa::Buffer,
    scope: Scope<'a>,
    format: Format,
}

impl<'a> Page<'a> {
    fn family(&mut self, same: &[(&'a str, &'a Family)]) {
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
                if !self.pieces.is_empty() {
                    self.pieces.text().push('\n');
                }
                let help = escape(&family.help, false);
                self.line(format_args!("# HELP {name} {help}"));
                self.line(format_args!("# TYPE {name} {kind}"));
            }
        }
        for (labels, family) in same {
            for series in family.series.iter().filter(|series| scope.shows(series)) {
                self.begin_series(labels, series);
                match &series.point {
                    Point::Number(number) => {
                        self.begin_sample(&family.name, "");
                        self.number(*number);
                    }
                    Point::Histogram(histogram) => self.histogram(&family.name, histogram),
                    Point::Lines(lines) => self.lines(family, lines),
                }
                self.pieces.may_end();
            }
        }
    }

    /// Samples as they are spelled. When a series was created only OpenMetrics
    /// has a name for, without `_total`.
    fn lines(&mut self, family: &Family, lines: &[Line]) {
        for line in lines {
            let name = match (&*line.suffix, self.format) {
                ("_created", Format::Text) => continue,
                ("_created", Format::OpenMetrics) => {
                    let base = family.name.strip_suffix("_total");
                    base.unwrap_or(&family.name)
                }
                _ => &family.name,
            };
            self.pieces.text().push_str(name);
            self.pieces.text().push_str(&line.suffix);
            self.pieces.text().push_str(&self.head);
            if !line.labels.is_empty() {
                let before = if self.head.is_empty() { "{" } else { "," };
                self.pieces.text().push_str(before);
                self.pieces.text().push_str(&line.labels);
            }
            let has_labels = !(self.head.is_empty() && line.labels.is_empty());
            self.pieces
                .text()
                .push_str(if has_labels { "} " } else { " " });
            self.pieces.text().push_str(&line.value);
            self.pieces.text().push('\n');
        }
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram) {
        self.bucket.clear();
        self.bucket.push_str(name);
        self.bucket.push_str("_bucket");
        self.bucket.push_str(&self.head);
        self.bucket
            .push(if self.head.is_empty() { '{' } else { ',' });
        for (at, (bound, count)) in histogram.buckets().enumerate() {
            self.pieces.text().push_str(&self.bucket);
            self.le(at, bound);
            self.whole(count);
        }
        self.pieces.text().push_str(&self.bucket);
        self.pieces.text().push_str(LE_INFINITY);
        self.whole(histogram.count());
        self.begin_sample(name, "_sum");
        push_seconds(self.pieces.text(), histogram.sum_nanoseconds());
        self.pieces.text().push('\n');
        self.begin_sample(name, "_count");
        self.whole(histogram.count());
    }

    /// The label `le`; histograms have the same bounds as a rule.
    fn le(&mut self, at: usize, bound: u64) {
        self.les.truncate(match self.les.get(at) {
            Some((known, _)) if *known == bound => self.les.len(),
            _ => at,
        });
        if self.les.len() == at {
            let text = format!("{LE}=\"{}\"}} ", spell_seconds(bound.into()));
            self.les.push((bound, text));
        }
        if let Some((_, text)) = self.les.get(at) {
            self.pieces.text().push_str(text);
        }
    }

    /// All of a line that stands before the number, without labels of its own.
    fn begin_sample(&mut self, name: &str, suffix: &str) {
        self.pieces.text().push_str(name);
        self.pieces.text().push_str(suffix);
        self.pieces.text().push_str(&self.head);
        self.pieces
            .text()
            .push_str(if self.head.is_empty() { " " } else { "} " });
    }

    fn number(&mut self, value: Number) {
        match value {
            Number::Whole(value) => self.whole(value),
            Number::Real(value) if value.is_nan() => self.pieces.text().push_str("NaN\n"),
            Number::Real(value) if value == f64::INFINITY => self.pieces.text().push_str("+Inf\n"),
            Number::Real(value) if value == f64::NEG_INFINITY => {
                self.pieces.text().push_str("-Inf\n");
            }
            Number::Real(value) => self.line(format_args!("{value}")),
        }
    }

    fn whole(&mut self, value: u128) {
        let digits = match u64::try_from(value) {
            Ok(value) => self.digits.format(value),
            Err(_) => self.digits.format(value),
        };
        self.pieces.text().push_str(digits);
        self.pieces.text().push('\n');
    }

    /// The labels of a series, made once for all of its lines.
    fn begin_series(&mut self, before: &'a str, series: &'a Series) {
        let service = match self.scope {
            Scope::All => series.service.as_deref(),
            Scope::Service(_) => None,
        };
        if self.begin_of != (before, service) {
            self.begin_of = (before, service);
            let mut labels = before.to_owned();
            if let Some(service) = service {
                push_label(&mut labels, SERVICE, service);
            }
            self.begin = format!("{{{labels}");
        }
        self.head.clear();
        let labels = series.labels.text();
        match (self.begin.len() > 1, labels.is_empty()) {
            (false, true) => {}
            (_, true) => self.head.push_str(&self.begin),
            (has_others, false) => {
                self.head.push_str(&self.begin);
                if has_others {
                    self.head.push(',');
                }
                self.head.push_str(labels);
            }
        }
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.line_part(text);
        self.pieces.text().push('\n');
    }

    fn line_part(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.pieces.text().write_fmt(text);
    }
}

/// The label `le` of the last bucket, as it ends a line's head.
const LE_INFINITY: &str = "le=\"+Inf\"} ";

/// OpenMetrics' word for a type that is not told.
const UNKNOWN: &str = "unknown";

#[cfg(test)]
mod tests;
