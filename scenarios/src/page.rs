//! A metrics page as samples: read from the Prometheus text format 0.0.4,
//! compared with another page, asked for one value.
//!
//! A line that is no sample is refused, and so is a sample that stands twice:
//! a page that only seems to be right must not pass.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use gatemeter_core::catalog::{self, Origin};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::text::parsed;

/// Name and labels of a sample, as the page writes them: `a_total{b="c"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    /// Name of the sample; of a histogram with `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// Its labels, without `service`.
    pub labels: BTreeMap<String, String>,
}

/// What is no sample.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(r#"`{0}` is no sample; expected one as on the page, such as http_requests_total{{method="GET",path="/a",status="200"}}"#)]
pub struct NoSample(String);

/// What is no page.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoPage {
    /// A line that is no comment and no sample with a value.
    #[error("line {line} of the page is no sample: {text}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// It.
        text: String,
    },
    /// Two values for one sample.
    #[error("{0} stands twice on the page")]
    Twice(Sample),
}

/// The samples of one service.
#[derive(Clone, Debug, Default)]
pub struct Page {
    text: String,
    samples: BTreeMap<Sample, f64>,
}

/// Whose clock ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// One that the scenario moves: durations are exact.
    Virtual,
    /// The machine's: of durations only how many there are can be foreseen.
    Real,
}

impl Sample {
    /// Whether its value is the same in every run where this clock ran: all
    /// are on a virtual one. On a real one the sum of durations, the buckets
    /// but the last one, the number of ticks, and the bytes that HTTP itself
    /// takes on a connection are not.
    pub fn is_foreseeable(&self, clock: Clock) -> bool {
        let last_bucket = self.labels.get("le").is_some_and(|bound| bound == "+Inf");
        let of_the_run = (self.name.ends_with("_bucket") && !last_bucket)
            || self.name.ends_with("_seconds_sum")
            || self.name == "gatemeter_filter_ticks_total"
            || self.name.starts_with("http_connection_");
        clock == Clock::Virtual || !of_the_run
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (index, (name, value)) in self.labels.iter().enumerate() {
            let value = value.replace('\\', r"\\").replace('"', r#"\""#);
            let before = if index == 0 { '{' } else { ',' };
            write!(f, "{before}{name}=\"{}\"", value.replace('\n', r"\n"))?;
        }
        if !self.labels.is_empty() {
            f.write_str("}")?;
        }
        Ok(())
    }
}

impl FromStr for Sample {
    type Err = NoSample;

    fn from_str(text: &str) -> Result<Self, NoSample> {
        let no_sample = || NoSample(text.to_owned());
        let (sample, rest) = split(text).ok_or_else(no_sample)?;
        rest.is_empty().then_some(sample).ok_or_else(no_sample)
    }
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a sample")
    }
}

/// The sample at the start of `text`, and what comes after it.
fn split(text: &str) -> Option<(Sample, &str)> {
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"")?;
            let (value, after) = unquote(quoted)?;
            let is_new = labels.insert(label.to_owned(), value).is_none();
            if !is_new || label.is_empty() || !label.chars().all(is_name) {
                return None;
            }
            rest = after.strip_prefix(',').unwrap_or(after);
            if !rest.starts_with('}') && !after.starts_with(',') {
                return None;
            }
        }
        rest = rest.strip_prefix('}')?;
    }
    let name = name.to_owned();
    Some((Sample { name, labels }, rest))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// A label value up to its closing quote, and what comes after that.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => match chars.next()?.1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                _ => return None,
            },
            (_, c) => value.push(c),
        }
    }
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// Where a line is no sample, or a sample stands twice.
    pub fn parse(text: &str) -> Result<Self, NoPage> {
        let mut samples = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let read = split(line).and_then(|(sample, value)| {
                let value = value.strip_prefix(' ')?.parse::<f64>().ok()?;
                Some((sample, value))
            });
            let Some((sample, value)) = read else {
                return Err(NoPage::Line {
                    line: index + 1,
                    text: line.to_owned(),
                });
            };
            if samples.insert(sample.clone(), value).is_some() {
                return Err(NoPage::Twice(sample));
            }
        }
        let text = text.to_owned();
        Ok(Self { text, samples })
    }

    /// The samples of one service on a page of many, without the label
    /// `service`; what belongs to no service is left out, and so is what the
    /// bridge tells of its reads of Envoy.
    #[must_use]
    pub fn of_service(mut self, service: &str) -> Self {
        let samples = std::mem::take(&mut self.samples);
        for (mut sample, value) in samples {
            let row = catalog::metric(&sample.name);
            let is_of_reads = row.is_some_and(|row| row.origin == Origin::Bridge);
            if sample.labels.remove("service").as_deref() == Some(service) && !is_of_reads {
                self.samples.insert(sample, value);
            }
        }
        self
    }

    /// The page as it was printed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of a sample; `None` where the page does not show it.
    pub fn value(&self, sample: &Sample) -> Option<f64> {
        self.samples.get(sample).copied()
    }

    /// All samples of the family that `sample` belongs to, a line each.
    pub fn near(&self, sample: &Sample) -> Vec<String> {
        let same = self.samples.iter();
        same.filter(|(other, _)| other.name == sample.name)
            .map(|(other, value)| format!("{other} {value}"))
            .collect()
    }

    /// Every foreseeable sample in which `found` differs from this page: what
    /// is expected here, what is found there.
    pub fn differences(&self, found: &Self, clock: Clock) -> Vec<String> {
        let shown = |value: Option<f64>| match value {
            Some(value) => value.to_string(),
            None => "absent".to_owned(),
        };
        let only_found = found.samples.keys().filter(|s| self.value(s).is_none());
        self.samples
            .keys()
            .chain(only_found)
            .filter(|sample| sample.is_foreseeable(clock))
            .filter(|sample| self.value(sample) != found.value(sample))
            .map(|sample| {
                let (expected, found) = (self.value(sample), found.value(sample));
                format!(
                    "{sample}: expected {}, found {}",
                    shown(expected),
                    shown(found)
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total A.\n# TYPE a_total counter\n\
        a_total{service=\"api\",b=\"q\\\"\\\\\\n,}\"} 3\n\nup 1\n\
        d_bucket{service=\"api\",le=\"0.1\"} 1\nd_bucket{service=\"api\",le=\"+Inf\"} 2\n";

    #[test]
    fn a_sample_is_written_as_it_was_read() {
        for text in ["up", r#"a_total{b="c",d="e"}"#, r#"a{b="q\"\\\n,}"}"#] {
            assert_eq!(text.parse::<Sample>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "{}",
            "1a",
            "a b",
            r#"a{b}"#,
            r#"a{b="c" d="e"}"#,
            r#"a{b="c",b="d"}"#,
            "a{",
        ] {
            let error = text.parse::<Sample>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` is no sample")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_page_of_many_gives_the_samples_of_one_service() {
        let page = Page::parse(TEXT).unwrap().of_service("api");
        let sample = "a_total{b=\"q\\\"\\\\\\n,}\"}".parse().unwrap();
        assert_eq!(page.value(&sample), Some(3.0));
        assert_eq!(page.value(&"up".parse().unwrap()), None);
        assert_eq!(page.near(&"d_bucket".parse().unwrap()).len(), 2);
    }

    #[test]
    fn a_line_that_is_no_sample_and_a_sample_that_stands_twice_are_refused() {
        assert!(matches!(
            Page::parse("up 1\nup"),
            Err(NoPage::Line { line: 2, .. })
        ));
        assert!(matches!(Page::parse("up 1\nup 2"), Err(NoPage::Twice(_))));
    }

    #[test]
    fn pages_differ_in_buckets_only_on_a_virtual_clock() {
        let one = Page::parse(TEXT).unwrap();
        let other = Page::parse(&TEXT.replace("\"0.1\"} 1", "\"0.1\"} 2")).unwrap();
        assert_eq!(one.differences(&other, Clock::Real), [""; 0]);
        let differences = one.differences(&other, Clock::Virtual);
        assert_eq!(differences.len(), 1, "{differences:?}");
        assert!(
            differences[0].ends_with("expected 1, found 2"),
            "{differences:?}"
        );
        let empty = Page::default().differences(&one, Clock::Real);
        assert!(
            empty.contains(&"up: expected absent, found 1".to_owned()),
            "{empty:?}"
        );
    }
}
