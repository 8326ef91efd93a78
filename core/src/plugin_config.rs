//! The plugin configuration, parsed once into what the filter needs: JSON,
//! which Envoy hands over from a StringValue, or an encoded Struct.
//!
//! Unknown keys are errors. All errors are found in one go; each names the
//! key, the value and what is accepted. Nothing of a refused configuration is
//! used.

mod fields;
mod paths;
mod proto_struct;
pub mod reference;
mod signals;

use std::fmt;

use serde_json::{Map, Value};

use crate::buckets::Buckets;
use crate::path_label::PathLabeller;
use crate::signal_rules::SignalRules;
use fields::{Fields, is_name, refuse, shown};

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
    /// What is done with what caches say.
    pub cache: CacheConfig,
    /// Metrics of presets and of the configuration itself.
    pub signals: SignalRules,
    /// Response headers that the client does not see, in lower case.
    pub strip: Vec<String>,
    /// Whether bytes of bodies are counted by method and path.
    pub bytes_per_route: bool,
    /// Whether each request is also recorded in an Envoy histogram.
    pub native_histogram: bool,
    /// Milliseconds between two flushes to Envoy's stats.
    pub flush_interval_ms: u32,
}

/// What is done with what caches say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheConfig {
    /// Names of caches, each with its value of the label `cache_type`; what is
    /// not listed is [`OTHER_CACHE`]. `None`: the first names that come are
    /// taken as they are.
    pub types: Option<Vec<(String, String)>>,
    /// Whether bytes are counted, too.
    pub bytes: bool,
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

const KEYS: [&str; 13] = [
    "service",
    "preset",
    "routes",
    "path_rules",
    "exclude",
    "max_series",
    "buckets",
    "cache",
    "signals",
    "strip",
    "bytes_per_route",
    "native_histogram",
    "flush_interval_ms",
];

const DEFAULT_MAX_SERIES: u32 = 5_000;
const MOST_SERIES: u32 = 100_000;
const DEFAULT_FLUSH_INTERVAL_MS: u32 = 100;
const SHORTEST_FLUSH_MS: u32 = 10;
const LONGEST_FLUSH_MS: u32 = 60_000;
/// Most unknown keys and cache types that are named.
const MOST_NAMED: usize = 100;

/// Most errors that one line shows.
const SHOWN_ERRORS: usize = 10;

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
        let cache = fields.cache();
        let signals = fields.signal_rules(&routes);
        let strip = fields.strip(&signals);
        let bytes_per_route = fields.flag("bytes_per_route");
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
            cache,
            signals,
            strip,
            bytes_per_route,
            native_histogram,
            flush_interval_ms,
        })
    }
}

impl Fields<'_> {
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
}

#[cfg(test)]
mod tests;
