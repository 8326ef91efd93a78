//! The configuration: what the file, the environment and the flags say
//! ([`Settings`]), and what the program needs ([`Config`]).
//!
//! Precedence, stated here once: defaults < file < environment < flags.
//! The file is YAML, in groups, with the keys of [`Key`]:
//!
//! ```yaml
//! envoy:
//!   admin: http://127.0.0.1:9901
//! web:
//!   listen_address: 127.0.0.1:9464
//! ```
//!
//! It is strict: an unknown key, a key that stands twice or a value of the
//! wrong kind is an error, never a default in silence. All errors are reported
//! at once, each with its key, the bad value and what is accepted.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde_yaml_ng::Value;
use thiserror::Error;
use tracing::level_filters::LevelFilter;

use crate::admin::AdminAddress;

/// Settings as text, not yet understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<Key, String>,
    /// What the file holds and should not.
    errors: Vec<ConfigError>,
}

/// Every setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Envoy's admin interface.
    EnvoyAdmin,
    /// Most time for connecting to it.
    EnvoyConnectTimeout,
    /// Most bytes of one answer.
    EnvoyMaxAnswerBytes,
    /// Most time for a read, where the scraper names none.
    EnvoyTimeout,
    /// Form of the log lines.
    LogFormat,
    /// Least severe messages to log.
    LogLevel,
    /// Time for requests in hand when the bridge ends.
    WebDrainTimeout,
    /// Address to serve on.
    WebListenAddress,
    /// Connections at once.
    WebMaxConnections,
}

impl Key {
    const ALL: [Self; 9] = [
        Self::EnvoyAdmin,
        Self::EnvoyConnectTimeout,
        Self::EnvoyMaxAnswerBytes,
        Self::EnvoyTimeout,
        Self::LogFormat,
        Self::LogLevel,
        Self::WebDrainTimeout,
        Self::WebListenAddress,
        Self::WebMaxConnections,
    ];

    /// The key as the file spells it, groups joined by dots.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EnvoyAdmin => "envoy.admin",
            Self::EnvoyConnectTimeout => "envoy.connect_timeout",
            Self::EnvoyMaxAnswerBytes => "envoy.max_answer_bytes",
            Self::EnvoyTimeout => "envoy.timeout",
            Self::LogFormat => "log.format",
            Self::LogLevel => "log.level",
            Self::WebDrainTimeout => "web.drain_timeout",
            Self::WebListenAddress => "web.listen_address",
            Self::WebMaxConnections => "web.max_connections",
        }
    }
}

/// What the program needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Envoy's admin interface. Default `http://127.0.0.1:9901`.
    pub admin: AdminAddress,
    /// Most time for connecting to it. Default 1 s.
    pub connect_timeout: Duration,
    /// Most bytes of one answer. Default 256 MiB.
    pub max_answer_bytes: u64,
    /// Most time for a read, where the scraper names none. Default 10 s.
    pub read_timeout: Duration,
    /// Address to serve on; port 0 takes a free one. Default `127.0.0.1:9464`.
    pub listen_address: SocketAddr,
    /// Connections at once. Default 512.
    pub max_connections: usize,
    /// Time for requests in hand when the bridge ends. Default 5 s.
    pub drain_timeout: Duration,
    /// Least severe messages to log. Default `info`.
    pub log_level: LevelFilter,
    /// Form of the log lines. Default [`LogFormat::Text`].
    pub log_format: LogFormat,
}

/// Form of the log lines on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Time, level, message and `key=value` pairs.
    Text,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A name that no key or group can have.
    #[error("{name:?}: unknown key; expected names without dots, in their groups")]
    BadName {
        /// The name as given, shortened.
        name: String,
    },
    /// A value that its key does not accept.
    #[error("{key}: {value:?}; expected {accepted}")]
    BadValue {
        /// The key with its groups.
        key: String,
        /// The value as given, shortened.
        value: String,
        /// What the key accepts.
        accepted: &'static str,
    },
    /// The file is no YAML.
    #[error("not YAML: {0}")]
    NotYaml(String),
    /// No such key.
    #[error("{key}: unknown key; expected one of {expected}")]
    UnknownKey {
        /// The key with its groups.
        key: String,
        /// Keys that exist.
        expected: String,
    },
    /// The file cannot be read.
    #[error("config.file: {path:?} cannot be read: {cause}")]
    UnreadableFile {
        /// As given.
        path: String,
        /// What the system says.
        cause: String,
    },
    /// A list or group where one value is expected, or the other way round.
    #[error("{key}: {found}; expected {accepted}")]
    WrongKind {
        /// The key with its groups.
        key: String,
        /// What stands there.
        found: &'static str,
        /// What should stand there.
        accepted: &'static str,
    },
}

/// All that is wrong with the configuration; never empty. Displayed one a line.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl Settings {
    /// What a file says.
    pub fn from_yaml(text: &str) -> Self {
        let mut settings = Self::default();
        match serde_yaml_ng::from_str(text) {
            Ok(Value::Null) => {}
            Ok(value) => settings.take(String::new(), &value),
            Err(error) => settings
                .errors
                .push(ConfigError::NotYaml(error.to_string())),
        }
        settings
    }

    /// Sets one key, over what was there.
    pub fn set(&mut self, key: Key, value: &str) {
        self.values.insert(key, value.to_owned());
    }

    /// These settings, and `stronger` over them.
    #[must_use]
    pub fn overlaid_by(mut self, stronger: Self) -> Self {
        self.values.extend(stronger.values);
        self.errors.extend(stronger.errors);
        self
    }

    fn take(&mut self, path: String, value: &Value) {
        let key = Key::ALL.into_iter().find(|key| key.as_str() == path);
        let is_group = path.is_empty()
            || Key::ALL.iter().any(|key| {
                key.as_str()
                    .split_once('.')
                    .is_some_and(|(group, _)| group == path)
            });
        match (value, key) {
            (Value::Mapping(mapping), _) if is_group => {
                for (name, value) in mapping {
                    let name = scalar(name).unwrap_or_else(|| "?".to_owned());
                    // Joined by dots it would pass for another key.
                    if name.is_empty() || name.contains('.') {
                        let name = shortened(&name);
                        self.errors.push(ConfigError::BadName { name });
                        continue;
                    }
                    let dot = if path.is_empty() { "" } else { "." };
                    self.take(format!("{path}{dot}{name}"), value);
                }
            }
            // A group whose lines are all commented out.
            (Value::Null, _) if is_group => {}
            (_, Some(key)) => match scalar(value) {
                Some(text) => self.set(key, &text),
                None => self.errors.push(ConfigError::WrongKind {
                    key: path,
                    found: kind(value),
                    accepted: "one value",
                }),
            },
            (_, None) if is_group => self.errors.push(ConfigError::WrongKind {
                key: if path.is_empty() {
                    "the file".to_owned()
                } else {
                    path
                },
                found: kind(value),
                accepted: "a group of keys",
            }),
            (_, None) => {
                let group = path.split_once('.').map(|(group, _)| format!("{group}."));
                let near: Vec<_> = Key::ALL
                    .iter()
                    .map(|key| key.as_str())
                    .filter(|key| {
                        group
                            .as_ref()
                            .is_some_and(|group| key.starts_with(group.as_str()))
                    })
                    .collect();
                let expected = if near.is_empty() {
                    Key::ALL.map(Key::as_str).join(", ")
                } else {
                    near.join(", ")
                };
                let key = shortened(&path);
                self.errors.push(ConfigError::UnknownKey { key, expected });
            }
        }
    }
}

impl TryFrom<Settings> for Config {
    type Error = ConfigErrors;

    fn try_from(settings: Settings) -> Result<Self, ConfigErrors> {
        let mut reader = Reader {
            values: settings.values,
            errors: settings.errors,
        };
        let admin = reader.read(
            Key::EnvoyAdmin,
            "http://127.0.0.1:9901",
            "http://HOST:PORT or unix:/PATH",
            |text| text.parse().ok(),
        );
        let connect_timeout = reader.read(Key::EnvoyConnectTimeout, "1s", DURATION, duration);
        let max_answer_bytes = reader.read(
            Key::EnvoyMaxAnswerBytes,
            "268435456",
            "a number of bytes from 1024 to 17179869184",
            |text| whole(text).filter(|bytes| (1 << 10..=1 << 34).contains(bytes)),
        );
        let read_timeout = reader.read(Key::EnvoyTimeout, "10s", DURATION, duration);
        let listen_address = reader.read(
            Key::WebListenAddress,
            "127.0.0.1:9464",
            "ADDRESS:PORT such as 127.0.0.1:9464 or [::1]:9464, or :PORT for all interfaces",
            listen_address,
        );
        let max_connections = reader.read(
            Key::WebMaxConnections,
            "512",
            "a number from 1 to 65536",
            |text| {
                let number = usize::try_from(whole(text)?).ok()?;
                (1..=65_536).contains(&number).then_some(number)
            },
        );
        let drain_timeout = reader.read(Key::WebDrainTimeout, "5s", DURATION, duration);
        let log_level = reader.read(
            Key::LogLevel,
            "info",
            "error, warn, info, debug or trace",
            |text| match text {
                "error" => Some(LevelFilter::ERROR),
                "warn" => Some(LevelFilter::WARN),
                "info" => Some(LevelFilter::INFO),
                "debug" => Some(LevelFilter::DEBUG),
                "trace" => Some(LevelFilter::TRACE),
                _ => None,
            },
        );
        let log_format = reader.read(Key::LogFormat, "text", "text or json", |text| match text {
            "json" => Some(LogFormat::Json),
            "text" => Some(LogFormat::Text),
            _ => None,
        });
        let all = || {
            Some(Self {
                admin: admin?,
                connect_timeout: connect_timeout?,
                max_answer_bytes: max_answer_bytes?,
                read_timeout: read_timeout?,
                listen_address: listen_address?,
                max_connections: max_connections?,
                drain_timeout: drain_timeout?,
                log_level: log_level?,
                log_format: log_format?,
            })
        };
        match all() {
            Some(config) if reader.errors.is_empty() => Ok(config),
            _ => Err(ConfigErrors(reader.errors)),
        }
    }
}

struct Reader {
    values: BTreeMap<Key, String>,
    errors: Vec<ConfigError>,
}

impl Reader {
    fn read<T>(
        &mut self,
        key: Key,
        default: &str,
        accepted: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.values.get(&key).map_or(default, String::as_str);
        let parsed = parse(text);
        if parsed.is_none() {
            self.errors.push(ConfigError::BadValue {
                key: key.as_str().to_owned(),
                value: shortened(text),
                accepted,
            });
        }
        parsed
    }
}

const DURATION: &str = "a duration from 1ms to 1h such as 500ms, 10s or 1m";

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number = whole(number)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let milliseconds = number.checked_mul(milliseconds)?;
    (1..=3_600_000)
        .contains(&milliseconds)
        .then(|| Duration::from_millis(milliseconds))
}

fn listen_address(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix(':') {
        let port = whole(port)?.try_into().ok()?;
        return Some((Ipv4Addr::UNSPECIFIED, port).into());
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        let port = whole(port)?.try_into().ok()?;
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().ok()
}

fn whole(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::String(value) => Some(value.clone()),
        Value::Mapping(_) | Value::Null | Value::Sequence(_) | Value::Tagged(_) => None,
    }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) | Value::Number(_) | Value::String(_) => "one value",
        Value::Mapping(_) => "a group of keys",
        Value::Null => "nothing",
        Value::Sequence(_) => "a list",
        Value::Tagged(_) => "a tagged value",
    }
}

/// A message stays a line of the log, whatever stands in the file.
fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
