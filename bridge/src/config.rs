//! The configuration: what the file, the environment and the flags say
//! ([`Settings`]), and what the program needs ([`Config`]).
//!
//! Precedence, stated here once: defaults < file < environment < flags.
//! The file is YAML, in groups:
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
//! at once, each with its place, its key, the bad value and what is accepted.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::level_filters::LevelFilter;

pub use self::{
    error::{ConfigError, ConfigErrors, Place, Problem},
    settings::{Key, Settings},
    targets::{BadSourceUrl, EnvoyTarget, SourceTarget, SourceUrl},
};
use self::{
    node::Document,
    reader::{Given, Reader},
};

pub(crate) mod error;
pub(crate) mod node;
pub(crate) mod reader;
pub mod reference;
pub(crate) mod rules;
mod settings;
mod targets;

/// What the program needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is read; never empty. Default one Envoy without a name.
    pub envoys: Vec<EnvoyTarget>,
    /// The services' own pages. Default none.
    pub sources: Vec<SourceTarget>,
    /// Most time for connecting to an Envoy or a source. Default 1 s.
    pub connect_timeout: Duration,
    /// Most bytes of one answer. Default 256 MiB.
    pub max_answer_bytes: u64,
    /// Most time for a read, where the scraper names none. Default 10 s.
    pub read_timeout: Duration,
    /// Time after which a series that does not move is left out; none: never.
    /// Default none.
    pub expire_after: Option<Duration>,
    /// The live page; none where it is off. Default on.
    pub live: Option<LiveConfig>,
    /// Address to serve on; port 0 takes a free one. Default `127.0.0.1:9464`.
    pub listen_address: SocketAddr,
    /// Connections at once. Default 512.
    pub max_connections: usize,
    /// Time for requests in hand when the bridge ends. Default 5 s.
    pub drain_timeout: Duration,
    /// The file for TLS and authentication, relative to the process.
    /// Default none.
    pub web_config_file: Option<PathBuf>,
    /// Whether POST /-/reload is answered. Default no.
    pub lifecycle: bool,
    /// Least severe messages to log. Default `info`.
    pub log_level: LevelFilter,
    /// Form of the log lines. Default [`LogFormat::Text`].
    pub log_format: LogFormat,
}

/// How the live page is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveConfig {
    /// Time between two reads. Default 5 s.
    pub interval: Duration,
}

/// Form of the log lines on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Time, level, message and `key=value` pairs.
    Text,
}

impl Config {
    /// Every key of the file, in order; `[]` stands for each item of a list,
    /// `*` for any name.
    pub fn keys() -> Vec<String> {
        let groups = Key::ALL.map(|key| {
            let (group, name) = key.parts();
            format!("{group}.{name}")
        });
        let of_envoys = targets::ENVOY_KEYS.iter();
        let of_sources = targets::SOURCE_KEYS.iter();
        let mut keys: Vec<_> = groups
            .into_iter()
            .chain(of_envoys.map(|name| format!("envoys[].{name}")))
            .chain(of_sources.map(|name| format!("sources[].{name}")))
            .map(|key| match key.ends_with(".labels") {
                true => key + ".*",
                false => key,
            })
            .collect();
        keys.sort();
        keys
    }
}

impl Config {
    /// Whether what is read is read in the same way as with `other`; then only
    /// what concerns the server can differ.
    pub fn reads_as(&self, other: &Self) -> bool {
        let read = |config: &Self| Self {
            listen_address: self.listen_address,
            max_connections: self.max_connections,
            drain_timeout: self.drain_timeout,
            web_config_file: None,
            lifecycle: self.lifecycle,
            log_level: self.log_level,
            log_format: self.log_format,
            ..config.clone()
        };
        read(self) == read(other)
    }

    /// What differs from the configuration of a running process, `running`, and
    /// cannot change without a restart.
    pub fn fixed_but_changed(&self, running: &Self) -> Vec<ConfigError> {
        let changed = [
            ("log.format", self.log_format != running.log_format),
            (
                "web.listen_address",
                self.listen_address != running.listen_address,
            ),
            (
                "web.max_connections",
                self.max_connections != running.max_connections,
            ),
        ];
        let changed = changed.into_iter().filter(|(_, is_changed)| *is_changed);
        changed
            .map(|(key, _)| ConfigError {
                place: Place::Setting("reload".to_owned()),
                key: key.to_owned(),
                problem: Problem::Fixed,
            })
            .collect()
    }
}

impl TryFrom<Settings> for Config {
    type Error = ConfigErrors;

    fn try_from(settings: Settings) -> Result<Self, ConfigErrors> {
        use rules::{
            BYTES, CONNECTIONS, DURATION, EXPIRY, INTERVAL, LISTEN_ADDRESS, LOG_FORMAT, LOG_LEVEL,
            PATH, SWITCH,
        };

        let document = settings
            .file
            .unwrap_or_else(|| Document::parse("".into(), ""));
        let mut reader = Reader::new(&document, settings.overrides);
        let r = &mut reader;
        let root = r.group(
            String::new(),
            &document.root,
            &["envoy", "envoys", "live", "log", "series", "sources", "web"],
        );
        let envoy = r.child(&root, "envoy", &names("envoy"));
        let live = r.child(&root, "live", &names("live"));
        let log = r.child(&root, "log", &names("log"));
        let series = r.child(&root, "series", &names("series"));
        let web = r.child(&root, "web", &names("web"));

        let envoys = targets::envoys(r, &root, &envoy);
        let sources = targets::sources(r, &root);
        let seconds = Duration::from_secs;
        let connect_timeout = r.value(&envoy, "connect_timeout", &DURATION).or(seconds(1));
        let max_answer_bytes = r.value(&envoy, "max_answer_bytes", &BYTES).or(256 << 20);
        let read_timeout = r.value(&envoy, "timeout", &DURATION).or(seconds(10));
        let expire_after = r.value(&series, "expire_after", &EXPIRY).or(None);
        let has_live = r.value(&live, "enabled", &SWITCH).or(true);
        let interval = r.value(&live, "interval", &INTERVAL).or(seconds(5));
        let listen_address =
            r.value(&web, "listen_address", &LISTEN_ADDRESS)
                .or((Ipv4Addr::LOCALHOST, 9464).into());
        let max_connections = r.value(&web, "max_connections", &CONNECTIONS).or(512);
        let drain_timeout = r.value(&web, "drain_timeout", &DURATION).or(seconds(5));
        let web_config_file = match r.value(&web, "config_file", &PATH) {
            Given::Absent => Some(None),
            Given::Bad => None,
            Given::Good(path, place) => Some(Some(beside(&place, path))),
        };
        let lifecycle = r.value(&web, "enable_lifecycle", &SWITCH).or(false);
        let log_level = r.value(&log, "level", &LOG_LEVEL).or(LevelFilter::INFO);
        let log_format = r.value(&log, "format", &LOG_FORMAT).or(LogFormat::Text);
        let config = || {
            let (has_live, interval) = (has_live?, interval?);
            Some(Self {
                envoys: envoys?,
                sources: sources?,
                connect_timeout: connect_timeout?,
                max_answer_bytes: max_answer_bytes?,
                read_timeout: read_timeout?,
                expire_after: expire_after?,
                live: has_live.then_some(LiveConfig { interval }),
                listen_address: listen_address?,
                max_connections: max_connections?,
                drain_timeout: drain_timeout?,
                web_config_file: web_config_file?,
                lifecycle: lifecycle?,
                log_level: log_level?,
                log_format: log_format?,
            })
        };
        let config = config();
        reader.end(config)
    }
}

/// Names of the single values in a group.
fn names(group: &str) -> Vec<&'static str> {
    let parts = Key::ALL.map(Key::parts).into_iter();
    let of_group = parts.filter(|(of, _)| *of == group);
    of_group.map(|(_, name)| name).collect()
}

/// A path in a file is relative to that file; elsewhere to the process.
pub(crate) fn beside(place: &Place, path: PathBuf) -> PathBuf {
    match place {
        Place::File(file) | Place::Position { file, .. } => {
            let folder = Path::new(&**file).parent();
            folder.map_or(path.clone(), |folder| folder.join(&path))
        }
        Place::Setting(_) => path,
    }
}

#[cfg(test)]
pub(crate) mod tests;
