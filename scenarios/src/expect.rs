//! What a scenario expects: samples of the page, what clients got, log lines,
//! a refused configuration. Says what is not so, never why.

use serde::{Deserialize, Deserializer};

use crate::page::{Clock, Page, Sample};
use crate::scenario::Status;
use crate::text::{Pair, Pairs, Text, parsed, shown};

/// What must be so at one moment.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// Samples of the page.
    pub metrics: Vec<(Sample, Number)>,
    /// What the client of an exchange got by then.
    pub response: Vec<(String, Response)>,
    /// Text that a log line of the module contains.
    pub log: Vec<String>,
    /// Text that the module says when it refuses the configuration.
    pub refused: Option<String>,
}

/// The value of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// The page does not show it.
    Absent,
    /// It shows this.
    Is(f64),
}

impl std::str::FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "absent" => Ok(Self::Absent),
            Ok(number) => Ok(Self::Is(number)),
            Err(_) => Err(format!("`{text}` is no value; expected a number or absent")),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a number or absent")
    }
}

/// What a client got.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Response {
    status: Option<Status>,
    headers: HeaderValues,
}

#[derive(Clone, Debug, Default)]
struct HeaderValues(Vec<(String, HeaderValue)>);

/// The first value of a header, or that it is not there.
#[derive(Clone, Debug)]
enum HeaderValue {
    Absent,
    First(Vec<u8>),
}

impl<'de> Deserialize<'de> for HeaderValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs: Pairs<String, Text> = Pairs::deserialize(deserializer)?;
        let value = |text: Text| match text.0.as_slice() {
            b"absent" => HeaderValue::Absent,
            _ => HeaderValue::First(text.0),
        };
        let pairs = pairs.0.into_iter();
        Ok(Self(
            pairs.map(|(name, text)| (name, value(text))).collect(),
        ))
    }
}

/// A response as the client got it, so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case, without `:status`.
    pub headers: Vec<Pair>,
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            #[serde(default)]
            metrics: Pairs<Sample, Number>,
            #[serde(default)]
            response: Pairs<String, Response>,
            #[serde(default)]
            log: Vec<String>,
            refused: Option<String>,
        }
        let raw = Raw::deserialize(deserializer)?;
        Ok(Self {
            metrics: raw.metrics.0,
            response: raw.response.0,
            log: raw.log,
            refused: raw.refused,
        })
    }
}

impl Expect {
    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty()
            && self.response.is_empty()
            && self.log.is_empty()
            && self.refused.is_none()
    }

    /// Samples that are not as expected. What the clock makes unforeseeable is
    /// not looked at.
    pub fn unmet_by_page(&self, page: &Page, clock: Clock) -> Vec<String> {
        let mut unmet = Vec::new();
        for (sample, expected) in &self.metrics {
            let found = page.value(sample);
            let expected = match expected {
                Number::Absent => None,
                Number::Is(number) => Some(*number),
            };
            if found == expected || !sample.is_foreseeable(clock) {
                continue;
            }
            let said = |value: Option<f64>| match value {
                Some(value) => value.to_string(),
                None => "absent".to_owned(),
            };
            let mut text = format!(
                "metrics: {sample}: expected {}, found {}",
                said(expected),
                said(found)
            );
            if found.is_none() {
                for line in page.near(sample) {
                    text.push_str("\n    the page has ");
                    text.push_str(&line);
                }
            }
            unmet.push(text);
        }
        unmet
    }

    /// Lines that were expected of the log and are not there.
    pub fn unmet_by_log(&self, log: &[String]) -> Vec<String> {
        let missing = |part: &&String| !log.iter().any(|line| line.contains(part.as_str()));
        let missing = self.log.iter().filter(missing);
        missing
            .map(|part| format!("log: no line contains `{part}`, in {} lines", log.len()))
            .collect()
    }
}

impl Response {
    /// What of it is not so.
    pub fn unmet(&self, name: &str, got: Option<&Got>) -> Vec<String> {
        let mut unmet = Vec::new();
        let status = got.map(|got| got.status);
        if let Some(Status(expected)) = self.status
            && status != Some(expected)
        {
            let found = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            unmet.push(format!(
                "response.{name}.status: expected {expected}, found {found}"
            ));
        }
        for (header, expected) in &self.headers.0 {
            let found = got.and_then(|got| {
                let mut headers = got.headers.iter();
                headers.find(|(key, _)| key.eq_ignore_ascii_case(header.as_bytes()))
            });
            let found = found.map(|(_, value)| value.as_slice());
            let expected = match expected {
                HeaderValue::Absent => None,
                HeaderValue::First(value) => Some(value.as_slice()),
            };
            let said = |value: Option<&[u8]>| value.map_or_else(|| "absent".to_owned(), shown);
            if found != expected {
                unmet.push(format!(
                    "response.{name}.headers.{header}: expected {}, found {}",
                    said(expected),
                    said(found)
                ));
            }
        }
        unmet
    }
}
