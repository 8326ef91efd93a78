//! Settings as text, not yet understood: a file, and what flags and
//! environment lay over it.

use std::{collections::BTreeMap, path::Path};

use super::{error::Place, node::Document};

/// What is configured, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub(super) file: Option<Document>,
    pub(super) overrides: Overrides,
}

/// Settings that are one value with a name of their own, so that a flag or an
/// environment variable can give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Envoy's admin interface, where it is one.
    EnvoyAdmin,
    /// Most time for connecting to it.
    EnvoyConnectTimeout,
    /// Most bytes of one answer.
    EnvoyMaxAnswerBytes,
    /// Most time for a read, where the scraper names none.
    EnvoyTimeout,
    /// Whether there is a live page.
    LiveEnabled,
    /// Time between two reads for the live page.
    LiveInterval,
    /// Form of the log lines.
    LogFormat,
    /// Least severe messages to log.
    LogLevel,
    /// Time after which a series that does not move is left out.
    SeriesExpireAfter,
    /// The file for TLS and authentication.
    WebConfigFile,
    /// Time for requests in hand when the bridge ends.
    WebDrainTimeout,
    /// Whether POST /-/reload is answered.
    WebEnableLifecycle,
    /// Address to serve on.
    WebListenAddress,
    /// Connections at once.
    WebMaxConnections,
}

impl Key {
    /// Every key.
    pub const ALL: [Self; 14] = [
        Self::EnvoyAdmin,
        Self::EnvoyConnectTimeout,
        Self::EnvoyMaxAnswerBytes,
        Self::EnvoyTimeout,
        Self::LiveEnabled,
        Self::LiveInterval,
        Self::LogFormat,
        Self::LogLevel,
        Self::SeriesExpireAfter,
        Self::WebConfigFile,
        Self::WebDrainTimeout,
        Self::WebEnableLifecycle,
        Self::WebListenAddress,
        Self::WebMaxConnections,
    ];

    /// The group that holds it and its name there.
    pub const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::EnvoyAdmin => ("envoy", "admin"),
            Self::EnvoyConnectTimeout => ("envoy", "connect_timeout"),
            Self::EnvoyMaxAnswerBytes => ("envoy", "max_answer_bytes"),
            Self::EnvoyTimeout => ("envoy", "timeout"),
            Self::LiveEnabled => ("live", "enabled"),
            Self::LiveInterval => ("live", "interval"),
            Self::LogFormat => ("log", "format"),
            Self::LogLevel => ("log", "level"),
            Self::SeriesExpireAfter => ("series", "expire_after"),
            Self::WebConfigFile => ("web", "config_file"),
            Self::WebDrainTimeout => ("web", "drain_timeout"),
            Self::WebEnableLifecycle => ("web", "enable_lifecycle"),
            Self::WebListenAddress => ("web", "listen_address"),
            Self::WebMaxConnections => ("web", "max_connections"),
        }
    }
}

impl Settings {
    /// What the file at `path` says. What is wrong with it, or why it cannot
    /// be read, is said when the settings are understood.
    pub fn from_file(path: &Path) -> Self {
        Self {
            file: Some(Document::read(path)),
            overrides: Overrides::default(),
        }
    }

    /// What `text` says, which stands in `file`.
    pub fn from_yaml(file: &str, text: &str) -> Self {
        Self {
            file: Some(Document::parse(file.into(), text)),
            overrides: Overrides::default(),
        }
    }

    /// Sets one key over what the file says; an error names it by `place`.
    pub fn set_from(&mut self, place: String, key: Key, value: &str) {
        let (group, name) = key.parts();
        let value = (Place::Setting(place), value.to_owned());
        self.overrides.0.insert(format!("{group}.{name}"), value);
    }

    /// As [`Self::set_from`], with the key's own name for the place.
    pub fn set(&mut self, key: Key, value: &str) {
        let (group, name) = key.parts();
        self.set_from(format!("{group}.{name}"), key, value);
    }

    /// These settings, and `stronger` over them.
    #[must_use]
    pub fn overlaid_by(mut self, stronger: Self) -> Self {
        self.overrides.0.extend(stronger.overrides.0);
        if stronger.file.is_some() {
            self.file = stronger.file;
        }
        self
    }
}

/// Values over those of the file, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overrides(BTreeMap<String, (Place, String)>);

impl Overrides {
    pub(crate) fn take(&mut self, key: &str) -> Option<(Place, String)> {
        self.0.remove(key)
    }
}
