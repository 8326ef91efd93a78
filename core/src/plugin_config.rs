//! The plugin configuration, parsed once into what the filter needs: JSON,
//! which Envoy hands over from a StringValue, or an encoded Struct.
//!
//! Unknown keys are errors. All errors are found in one go; each names the
//! key, the value and what is accepted. Nothing of a refused configuration is
//! used.

mod proto_struct;

use std::fmt;

use serde_json::{Map, Value};

use crate::buckets::{self, Buckets, BucketsError};
use crate::labels::{Method, Status};
use crate::path_label::{
    MAX_RULES, MAX_SLOW_RULES, PathLabeller, PathRule, RouteTable, RuleError, Template,
};
use crate::recorder::request_name_fits;
use crate::signals::Signal;
use crate::stat_name::MAX_LENGTH;

/// What the filter does for one service.
#[derive(Clone, Debug)]
pub struct PluginConfig {
    /// Value of the label `service`, and Envoy's `stat_prefix` for it.
    pub service: String,
    /// Which label a path gets.
    pub paths: PathLabeller,
    /// Most label sets of method, path and status over all workers.
    pub max_series: u32,
    /// Bounds of the duration histogram.
    pub buckets: Buckets,
    /// Names of caches in `Cache-Status`, each with its value of the label
    /// `cache_type`. What is not listed is `other`.
    pub cache_types: Vec<(String, String)>,
    /// Signal headers that the client does not see.
    pub strip: Vec<Signal>,
    /// Whether each request is also recorded in an Envoy histogram.
    pub native_histogram: bool,
    /// Milliseconds between two flushes to Envoy's stats.
    pub flush_interval_ms: u32,
}

/// Value of `cache_type` for a cache that is not listed.
pub const OTHER_CACHE: &str = "other";

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: `path_rules[0].match`.
    pub key: String,
    /// What stands there, and what is accepted.
    pub problem: String,
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors in the order of the keys.
    pub fn errors(&self) -> &[ConfigError] {
        &self.0
    }
}

/// On one line, as Envoy's log wants it, which shows [`SHOWN_ERRORS`] of them.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().take(SHOWN_ERRORS).enumerate() {
            let separator = if index == 0 { "" } else { " | " };
            write!(f, "{separator}{}: {}", error.key, error.problem)?;
        }
        match self.0.len().saturating_sub(SHOWN_ERRORS) {
            0 => Ok(()),
            more => write!(f, " | and {more} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

const KEYS: [&str; 10] = [
    "service",
    "routes",
    "path_rules",
    "exclude",
    "max_series",
    "buckets",
    "cache",
    "strip",
    "native_histogram",
    "flush_interval_ms",
];

const DEFAULT_MAX_SERIES: u32 = 5_000;
const MOST_SERIES: u32 = 100_000;
const DEFAULT_FLUSH_INTERVAL_MS: u32 = 100;
const SHORTEST_FLUSH_MS: u32 = 10;
const LONGEST_FLUSH_MS: u32 = 60_000;
const LONGEST_NAME: usize = 64;

/// Most items of a list, so that looking at it does not stop a worker.
const MOST_ITEMS: usize = 10_000;

/// Most unknown keys and cache types that are named.
const MOST_NAMED: usize = 100;

/// Most errors that one line shows.
const SHOWN_ERRORS: usize = 10;

/// Longest value that an error repeats, in characters.
const SHOWN_VALUE: usize = 120;

impl PluginConfig {
    /// Parses the bytes of a plugin configuration: JSON or an encoded
    /// `google.protobuf.Struct`.
    ///
    /// ```
    /// use gatemeter_core::plugin_config::PluginConfig;
    /// let error = PluginConfig::parse(br#"{"service": "api", "max_series": 0}"#).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "max_series: 0; expected a whole number from 1 to 100000"
    /// );
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let value = serde_json::from_slice(json).or_else(|error| {
            proto_struct::decode(json)
                .filter(|_| !json.is_empty())
                .ok_or(error)
        });
        let config = match value {
            Ok(Value::Object(map)) => Self::from_map(&map, &mut errors),
            Ok(other) => {
                errors.push(refuse(
                    "configuration",
                    &other,
                    "a JSON object with the key service",
                ));
                None
            }
            Err(error) => {
                errors.push(ConfigError {
                    key: "configuration".to_owned(),
                    problem: format!(
                        "is no JSON ({error}); expected an object such as {{\"service\": \"api\"}}"
                    ),
                });
                None
            }
        };
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(ConfigErrors(errors)),
        }
    }

    /// The label `cache_type` of a cache that names itself so.
    pub fn cache_type(&self, cache: &str) -> &str {
        self.cache_types
            .iter()
            .find(|(name, _)| name == cache)
            .map_or(OTHER_CACHE, |(_, cache_type)| cache_type)
    }

    fn from_map(map: &Map<String, Value>, errors: &mut Vec<ConfigError>) -> Option<Self> {
        let unknown = map.iter().filter(|(key, _)| !KEYS.contains(&key.as_str()));
        for (key, value) in unknown.take(MOST_NAMED) {
            let accepted = format!("one of the keys {}", KEYS.join(", "));
            errors.push(refuse(&shown(key), value, &accepted));
        }
        let mut fields = Fields { map, errors };
        let service = fields.service();
        let rules = fields.path_rules();
        let buckets = fields.buckets();
        let routes = fields.templates("routes");
        let exclude = fields.templates("exclude");
        let max_series = fields.whole("max_series", 1, MOST_SERIES, DEFAULT_MAX_SERIES);
        let cache_types = fields.cache_types();
        let strip = fields.strip();
        let native_histogram = fields.flag("native_histogram");
        let flush_interval_ms = fields.whole(
            "flush_interval_ms",
            SHORTEST_FLUSH_MS,
            LONGEST_FLUSH_MS,
            DEFAULT_FLUSH_INTERVAL_MS,
        );
        let service = service?;
        let buckets = buckets?;
        fields.labels_fit(&service, &routes, &buckets);
        Some(Self {
            service,
            paths: PathLabeller::new(rules, routes, exclude),
            max_series,
            buckets,
            cache_types,
            strip,
            native_histogram,
            flush_interval_ms,
        })
    }
}

/// The keys of one configuration, and what was found wrong with them so far.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    errors: &'a mut Vec<ConfigError>,
}

impl Fields<'_> {
    fn refuse(&mut self, key: &str, value: &Value, accepted: &str) {
        self.errors.push(refuse(key, value, accepted));
    }

    fn problem(&mut self, key: String, value: &Value, problem: &str) {
        self.errors.push(ConfigError {
            key,
            problem: format!("{} {problem}", shown_json(value)),
        });
    }

    fn service(&mut self) -> Option<String> {
        let accepted = "1 to 64 letters, digits, _ and -";
        let Some(value) = self.map.get("service") else {
            self.errors.push(ConfigError {
                key: "service".to_owned(),
                problem: format!("is missing; expected {accepted}"),
            });
            return None;
        };
        match value.as_str() {
            Some(service) if is_name(service) => Some(service.to_owned()),
            _ => {
                self.refuse("service", value, accepted);
                None
            }
        }
    }

    fn whole(&mut self, key: &str, least: u32, most: u32, default: u32) -> u32 {
        let Some(value) = self.map.get(key) else {
            return default;
        };
        // 500.0 is whole, too.
        let whole = value
            .as_f64()
            .filter(|number| number.fract() == 0.0)
            .and_then(|number| format!("{number}").parse::<u32>().ok())
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

    fn flag(&mut self, key: &str) -> bool {
        let Some(value) = self.map.get(key) else {
            return false;
        };
        value.as_bool().unwrap_or_else(|| {
            self.refuse(key, value, "true or false");
            false
        })
    }

    /// The items of a list; none, and an error, where the value is no list.
    fn list(&mut self, key: &str, accepted: &str) -> &[Value] {
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

    fn templates(&mut self, key: &str) -> RouteTable {
        let accepted = "a list of paths such as /api/content/:id";
        let items = self.list(key, accepted).to_vec();
        let mut templates = Vec::new();
        let mut places = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = format!("{key}[{index}]");
            match item.as_str().map(str::parse::<Template>) {
                Some(Ok(template)) => {
                    templates.push(template);
                    places.push((place, item));
                }
                Some(Err(error)) => self.problem(place, item, &error.to_string()),
                None => self.refuse(&place, item, "a path such as /api/content/:id"),
            }
        }
        RouteTable::try_new(templates).unwrap_or_else(|conflicts| {
            for (index, error) in conflicts {
                if let Some((place, item)) = places.get(index) {
                    self.problem(place.clone(), item, &error.to_string());
                }
            }
            RouteTable::default()
        })
    }

    fn path_rules(&mut self) -> Vec<PathRule> {
        let accepted = r#"a list of {"match": "/\\d+", "replace": "/:id"}"#;
        let items = self.list("path_rules", accepted).to_vec();
        if items.len() > MAX_RULES {
            self.errors.push(ConfigError {
                key: "path_rules".to_owned(),
                problem: format!("has {} rules; expected at most {MAX_RULES}", items.len()),
            });
        }
        let mut rules = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = format!("path_rules[{index}]");
            let Some(rule) = item.as_object() else {
                self.refuse(&place, item, r#"{"match": "/\\d+", "replace": "/:id"}"#);
                continue;
            };
            for (key, value) in rule {
                if !["match", "replace", "slow"].contains(&key.as_str()) {
                    let place = format!("{place}.{}", shown(key));
                    self.refuse(&place, value, "only the keys match, replace and slow");
                }
            }
            let mut text = |key: &str| {
                let value = rule.get(key).unwrap_or(&Value::Null);
                let text = value.as_str();
                if text.is_none() {
                    self.refuse(&format!("{place}.{key}"), value, "a string");
                }
                text
            };
            let (pattern, replacement) = (text("match"), text("replace"));
            let may_be_slow = match rule.get("slow") {
                None => Some(false),
                Some(Value::Bool(slow)) => Some(*slow),
                Some(value) => {
                    self.refuse(&format!("{place}.slow"), value, "true or false");
                    None
                }
            };
            if let (Some(pattern), Some(replacement), Some(may_be_slow)) =
                (pattern, replacement, may_be_slow)
            {
                match PathRule::try_new(pattern, replacement, may_be_slow) {
                    Ok(rule) => rules.push(rule),
                    Err(error) => {
                        let accepted = match error {
                            RuleError::Invalid(_) => {
                                "a regular expression as in the crate regex-lite"
                            }
                            RuleError::Slow => {
                                r#"characters, classes and repeats in a row, or "slow": true beside it"#
                            }
                        };
                        self.problem(
                            format!("{place}.match"),
                            &Value::from(pattern),
                            &format!("is refused: {error}; expected {accepted}"),
                        );
                    }
                }
            }
        }
        let slow = rules.iter().filter(|rule| rule.is_slow()).count();
        if slow > MAX_SLOW_RULES {
            self.errors.push(ConfigError {
                key: "path_rules".to_owned(),
                problem: format!("has {slow} slow rules; expected at most {MAX_SLOW_RULES}"),
            });
        }
        rules
    }

    fn buckets(&mut self) -> Option<Buckets> {
        let Some(value) = self.map.get("buckets") else {
            return Some(Buckets::default());
        };
        let accepted = "a list of bounds in seconds, to the nanosecond, such as [0.005, 0.1, 1]";
        let Some(items) = value.as_array() else {
            self.refuse("buckets", value, accepted);
            return None;
        };
        if items.len() > buckets::MAX_BOUNDS {
            let error = BucketsError::TooMany(items.len());
            self.problem("buckets".to_owned(), value, &error.to_string());
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
            self.refuse("buckets", value, accepted);
            return None;
        };
        match Buckets::try_new(bounds) {
            Ok(buckets) => Some(buckets),
            Err(error) => {
                self.problem("buckets".to_owned(), value, &error.to_string());
                None
            }
        }
    }

    fn cache_types(&mut self) -> Vec<(String, String)> {
        let accepted = r#"{"types": {"redis": "redis"}}"#;
        let Some(value) = self.map.get("cache") else {
            return Vec::new();
        };
        let Some(cache) = value.as_object() else {
            self.refuse("cache", value, accepted);
            return Vec::new();
        };
        for (key, value) in cache {
            if key != "types" {
                let place = format!("cache.{}", shown(key));
                self.refuse(&place, value, "only the key types");
            }
        }
        let Some(value) = cache.get("types") else {
            return Vec::new();
        };
        let Some(types) = value.as_object() else {
            self.refuse(
                "cache.types",
                value,
                r#"an object such as {"redis": "redis"}"#,
            );
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, value) in types {
            match value.as_str() {
                Some(cache_type) if is_name(cache_type) => {
                    found.push((name.clone(), cache_type.to_owned()));
                }
                _ => {
                    let place = format!("cache.types.{}", shown(name));
                    self.refuse(&place, value, "1 to 64 letters, digits, _ and -");
                }
            }
        }
        found
    }

    fn strip(&mut self) -> Vec<Signal> {
        if !self.map.contains_key("strip") {
            return vec![Signal::DbPool];
        }
        let headers = Signal::ALL.map(Signal::header).join(", ");
        let accepted = format!("a list of signal headers, which are {headers}");
        let items = self.list("strip", &accepted).to_vec();
        let mut found = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let name = item.as_str().map(str::to_ascii_lowercase);
            match name.and_then(|name| Signal::of_header(name.as_bytes())) {
                Some(signal) => found.push(signal),
                None => {
                    let accepted = format!("one of the signal headers {headers}");
                    self.refuse(&format!("strip[{index}]"), item, &accepted);
                }
            }
        }
        found
    }

    /// A template whose longest stat name is beyond the limit would always
    /// overflow; better to say so at once.
    fn labels_fit(&mut self, service: &str, routes: &RouteTable, buckets: &Buckets) {
        for template in routes.templates() {
            let label = template.label();
            if !request_name_fits(service, Method::CONNECT, label, Status::OTHER, buckets) {
                self.problem(
                    "routes".to_owned(),
                    &Value::from(label),
                    &format!(
                        "makes a stat name of more than {MAX_LENGTH} bytes; expected a shorter path"
                    ),
                );
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(plain)
}

fn refuse(key: &str, value: &Value, accepted: &str) -> ConfigError {
    ConfigError {
        key: key.to_owned(),
        problem: format!("{}; expected {accepted}", shown_json(value)),
    }
}

fn shown_json(value: &Value) -> String {
    shown(&value.to_string())
}

/// Bounded, and on one line.
fn shown(text: &str) -> String {
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

#[cfg(test)]
mod tests;
