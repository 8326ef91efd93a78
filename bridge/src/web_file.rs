//! The file for TLS, headers and basic authentication, in the form that the
//! exporters of Prometheus share (prometheus/exporter-toolkit,
//! `docs/web-configuration.md`).
//!
//! As strict as the bridge's own file, and all errors at once. What the form
//! has and this server does not do is an error that says so, never silence:
//! HTTP/2, rate limits, TLS below 1.2, and client certificates that nobody
//! verifies. Hashes and keys are never repeated in a message.

mod tls;

use std::{
    collections::BTreeMap,
    fmt, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio_rustls::rustls::ServerConfig;

use crate::config::{
    ConfigErrors, Problem,
    node::Document,
    reader::{Group, Reader, Rule},
    rules::SWITCH,
};

/// What the file says; the default is no TLS and no authentication.
#[derive(Clone, Debug, Default)]
pub struct WebFile {
    /// How TLS is spoken; plain HTTP without.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whether every client has to show a certificate.
    pub verifies_clients: bool,
    /// Headers of every answer, besides those of this server.
    pub headers: HeaderMap,
    /// Who may ask; everybody where nobody is named.
    pub users: BTreeMap<String, PasswordHash>,
    files: Stamps,
}

/// A bcrypt hash.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// As the file has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn for_tests(hash: String) -> Self {
        Self(hash)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// Files, and what they looked like before they were read.
#[derive(Clone, Debug, Default)]
struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

/// Time of the last change, length and inode.
type Stamp = (SystemTime, u64, u64);

impl Stamps {
    fn add(&mut self, path: &Path) {
        self.0.push((path.to_owned(), stamp(path)));
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

impl WebFile {
    /// Reads the file at `path` and those that it names.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(path: &Path) -> Result<Self, ConfigErrors> {
        let mut files = Stamps::default();
        files.add(path);
        let document = &Document::read(path);
        let mut reader = Reader::new(document, Default::default());
        let r = &mut reader;
        let root = r.group(String::new(), &document.root, GROUPS);
        let group = r.child(&root, "tls_server_config", tls::KEYS);
        let tls = tls::server_config(r, &group, &mut files);
        let group = r.child(&root, "http_server_config", HTTP_KEYS);
        let headers = headers(r, &group);
        let users = users(r, &root);
        if let Some(node) = root.get("rate_limit") {
            let problem = Problem::Unsupported {
                accepted: "none: scrapes at once cost one read of Envoy, however many they are",
            };
            r.refuse(&node.place, root.key("rate_limit"), problem);
        }
        let file = || {
            let tls = tls?;
            Some(Self {
                verifies_clients: tls.as_ref().is_some_and(|tls| tls.verifies_clients),
                tls: tls.map(|tls| tls.config),
                headers: headers?,
                users: users?,
                files,
            })
        };
        let file = file();
        reader.end(file)
    }

    /// Whether the file or one that it names is another than the one that was
    /// read.
    pub fn has_changed(&self) -> bool {
        let mut files = self.files.0.iter();
        files.any(|(path, read)| stamp(path) != *read)
    }

    /// Every key of the file, in order; `*` stands for any name.
    pub fn keys() -> Vec<String> {
        let tls = tls::KEYS.iter();
        let headers = HEADERS.iter();
        let mut keys: Vec<_> = tls
            .map(|key| format!("tls_server_config.{key}"))
            .chain(headers.map(|name| format!("http_server_config.headers.{name}")))
            .collect();
        keys.extend(
            [
                "basic_auth_users.*",
                "http_server_config.http2",
                "rate_limit",
            ]
            .map(Into::into),
        );
        keys.sort();
        keys
    }
}

const GROUPS: &[&str] = &[
    "basic_auth_users",
    "http_server_config",
    "rate_limit",
    "tls_server_config",
];

const HTTP_KEYS: &[&str] = &["headers", "http2"];

const HEADERS: &[&str] = &[
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];

fn headers(reader: &mut Reader, http: &Group<'_>) -> Option<HeaderMap> {
    let http2 = reader.value(http, "http2", &SWITCH);
    if let (Some(place), Some(true)) = (http2.place().cloned(), http2.or(false)) {
        let accepted = "false: scrapes gain nothing by it, so this server speaks HTTP/1.1";
        let problem = Problem::Unsupported { accepted };
        reader.refuse(&place, http.key("http2"), problem);
    }
    let group = reader.child(http, "headers", HEADERS);
    let mut headers = Some(HeaderMap::new());
    for name in HEADERS {
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            continue;
        };
        let rule = match header {
            header::X_CONTENT_TYPE_OPTIONS => &NOSNIFF,
            header::X_FRAME_OPTIONS => &FRAME_OPTIONS,
            _ => &HEADER_VALUE,
        };
        match reader.value(&group, name, rule).optional() {
            None => headers = None,
            // An empty value sets nothing, as in other exporters.
            Some(value) => {
                if let (Some(value), Some(headers)) =
                    (value.filter(|value| !value.is_empty()), headers.as_mut())
                {
                    headers.insert(header, value);
                }
            }
        }
    }
    headers
}

fn users(reader: &mut Reader, root: &Group<'_>) -> Option<BTreeMap<String, PasswordHash>> {
    let Some(node) = root.get("basic_auth_users") else {
        return Some(BTreeMap::new());
    };
    let group = reader.open_group(root.key("basic_auth_users"), node);
    let mut users = Some(BTreeMap::new());
    for (name, node) in group.entries() {
        if !is_user(&name.text) {
            let problem = Problem::Value {
                value: crate::config::error::shortened(&name.text),
                accepted: "a name without colons and control characters",
            };
            reader.refuse(&name.place, group.path.clone(), problem);
        }
        match reader
            .node(&group.key(&name.text), node, &PASSWORD)
            .optional()
        {
            Some(Some(hash)) => {
                if let Some(users) = &mut users {
                    users.insert(name.text.clone(), hash);
                }
            }
            _ => users = None,
        }
    }
    users
}

/// RFC 7617 §2: a colon ends the name.
fn is_user(name: &str) -> bool {
    !name.contains(|c: char| c == ':' || c.is_control())
}

const NOSNIFF: Rule<HeaderValue> = Rule::new("nosniff", |text| {
    matches!(text, "" | "nosniff")
        .then(|| HeaderValue::from_str(text).ok())
        .flatten()
});

const FRAME_OPTIONS: Rule<HeaderValue> = Rule::new("deny or sameorigin", |text| {
    matches!(text, "" | "deny" | "sameorigin")
        .then(|| HeaderValue::from_str(text).ok())
        .flatten()
});

const HEADER_VALUE: Rule<HeaderValue> = Rule::new("printable ASCII characters", |text| {
    let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    is_printable
        .then(|| HeaderValue::from_str(text).ok())
        .flatten()
});

/// A check of a password at cost 15 takes seconds, which no scrape waits for.
const PASSWORD: Rule<PasswordHash> = Rule {
    accepted: "a bcrypt hash of cost 4 to 15, as of htpasswd -nBC 10",
    parse: |text| {
        let hash: bcrypt::HashParts = text.parse().ok()?;
        let is_usable = (4..=15).contains(&hash.get_cost());
        is_usable.then(|| PasswordHash(text.to_owned()))
    },
    is_secret: true,
};

#[cfg(test)]
mod tests;
