//! Reading the keys of a configuration: typed values, or an error that names
//! the key, the value and what is accepted.

use serde_json::{Map, Value};

use super::ConfigError;
use crate::buckets::{self, Buckets, BucketsError};

/// Most items of a list, so that looking at it does not stop a worker.
pub(super) const MOST_ITEMS: usize = 10_000;

/// Longest value that an error repeats, in characters.
const SHOWN_VALUE: usize = 120;

pub(super) const LONGEST_NAME: usize = 64;

/// The whole number that this is; `None` for a fraction and what is out of range.
pub(super) fn whole_number(number: f64) -> Option<i64> {
    const OUT_OF_RANGE: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is in range, and whole")]
    let whole = number as i64;
    (number.fract() == 0.0 && number.abs() < OUT_OF_RANGE).then_some(whole)
}

/// The keys of one configuration, and what was found wrong with them so far.
pub(super) struct Fields<'a> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) errors: &'a mut Vec<ConfigError>,
}

impl Fields<'_> {
    pub(super) fn refuse(&mut self, key: &str, value: &Value, accepted: &str) {
        self.errors.push(refuse(key, value, accepted));
    }

    pub(super) fn problem(&mut self, key: String, value: &Value, problem: &str) {
        self.errors.push(ConfigError {
            key,
            problem: format!("{} {problem}", shown_json(value)),
        });
    }

    pub(super) fn whole(&mut self, key: &str, least: u32, most: u32, default: u32) -> u32 {
        let Some(value) = self.map.get(key) else {
            return default;
        };
        // 500.0 is whole, too.
        let whole = value
            .as_f64()
            .and_then(whole_number)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (least..=most).contains(number));
        whole.unwrap_or_else(|| {
            self.refuse(
                key,
                value,
                &format!("a whole number from {least} to {most}"),
            );
            default
        })
    }

    pub(super) fn flag(&mut self, key: &str) -> bool {
        let Some(value) = self.map.get(key) else {
            return false;
        };
        value.as_bool().unwrap_or_else(|| {
            self.refuse(key, value, "true or false");
            false
        })
    }

    /// The items of a list; none, and an error, where the value is no list.
    pub(super) fn list(&mut self, key: &str, accepted: &str) -> &[Value] {
        let Some(value) = self.map.get(key) else {
            return &[];
        };
        match value.as_array() {
            Some(items) if items.len() <= MOST_ITEMS => return items,
            Some(items) => self.errors.push(ConfigError {
                key: key.to_owned(),
                problem: format!("has {} items; expected at most {MOST_ITEMS}", items.len()),
            }),
            None => self.errors.push(refuse(key, value, accepted)),
        }
        &[]
    }

    pub(super) fn buckets(&mut self) -> Option<Buckets> {
        match self.map.get("buckets") {
            None => Some(Buckets::default()),
            Some(value) => self.buckets_of("buckets", value),
        }
    }

    /// Bounds that stand at a place of the configuration.
    pub(super) fn buckets_of(&mut self, place: &str, value: &Value) -> Option<Buckets> {
        let accepted = "a list of bounds in seconds, to the nanosecond, such as [0.005, 0.1, 1]";
        let Some(items) = value.as_array() else {
            self.refuse(place, value, accepted);
            return None;
        };
        if items.len() > buckets::MAX_BOUNDS {
            let error = BucketsError::TooMany(items.len());
            self.problem(place.to_owned(), value, &error.to_string());
            return None;
        }
        // The shortest text of the number is what was written. Envoy's YAML
        // reader makes a string of a fraction in a Struct.
        let nanos = |item: &Value| match item {
            Value::Number(number) => buckets::parse_seconds(&number.to_string()),
            Value::String(text) => buckets::parse_seconds(text),
            _ => None,
        };
        let bounds: Option<Vec<u64>> = items.iter().map(nanos).collect();
        let Some(bounds) = bounds else {
            self.refuse(place, value, accepted);
            return None;
        };
        match Buckets::try_new(bounds) {
            Ok(buckets) => Some(buckets),
            Err(error) => {
                self.problem(place.to_owned(), value, &error.to_string());
                None
            }
        }
    }
}

pub(super) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(plain)
}

pub(super) fn refuse(key: &str, value: &Value, accepted: &str) -> ConfigError {
    ConfigError {
        key: key.to_owned(),
        problem: format!("{}; expected {accepted}", shown_json(value)),
    }
}

pub(super) fn shown_json(value: &Value) -> String {
    shown(&value.to_string())
}

/// Bounded, and on one line.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN_VALUE)
        .collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}
