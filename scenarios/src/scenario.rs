//! A scenario as the interpreter runs it: everything typed, every verb said of
//! an exchange that is open then.
//!
//! [`Scenario::parse`] makes it of the file; what a file may say is in
//! `format`, what order it may say it in is checked in `order`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::expect::Expect;
use crate::text::{Pair, parsed, shown};
use crate::{format, order};

/// Traffic, and what must come of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it shows, in a sentence.
    pub description: String,
    /// The plugin configuration.
    pub config: Config,
    /// How the module is loaded.
    pub form: Form,
    /// Workers of the proxy, 1 to 16.
    pub workers: usize,
    /// Why it does not run in every way.
    pub only: Option<Only>,
    /// The exchanges, in the order in which they begin.
    pub exchanges: Vec<Exchange>,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// What is expected at the end.
    pub expect: Expect,
}

/// Why there is no scenario. The message says where, what stands there and
/// what is accepted.
#[derive(Debug, Error)]
pub enum BadScenario {
    /// The text is no scenario's.
    #[error("{0}")]
    Text(#[from] serde_yaml_ng::Error),
    /// The steps do not fit together; all that do not are told.
    #[error("{}", .0.join("\n"))]
    Steps(Vec<String>),
}

impl Scenario {
    /// Reads a scenario from YAML.
    ///
    /// # Errors
    /// Where a key is unknown, a value is not what is accepted, or a step says
    /// something of an exchange that is not open.
    pub fn parse(yaml: &str) -> Result<Self, BadScenario> {
        let raw: format::File = serde_yaml_ng::from_str(yaml)?;
        order::check(raw).map_err(BadScenario::Steps)
    }

    /// Whether it runs in this way.
    pub fn runs(&self, way: Way) -> bool {
        let only = self.only.as_ref();
        only.is_none_or(|only| only.ways.contains(&way))
    }
}

/// The plugin configuration as it stands in Envoy's `configuration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// A mapping, handed over as JSON text.
    Json(serde_json::Map<String, serde_json::Value>),
    /// Text, handed over as it is.
    Text(String),
}

impl Config {
    /// The bytes that the module gets.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Json(map) => serde_json::Value::from(map.clone())
                .to_string()
                .into_bytes(),
            Self::Text(text) => text.clone().into_bytes(),
        }
    }

    /// What it calls the service, where it is a configuration of our filter.
    pub fn service(&self) -> Option<String> {
        let parsed = match self {
            Self::Json(map) => serde_json::Value::from(map.clone()),
            Self::Text(text) => serde_json::from_str(text).ok()?,
        };
        Some(parsed.get("service")?.as_str()?.to_owned())
    }
}

/// How the module is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// As HTTP filter.
    #[default]
    Filter,
    /// As access logger.
    AccessLogger,
}

/// A way to run a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// On the filter's logic, compiled into this program.
    Native,
    /// On the module, under wasmtime.
    Wasm,
    /// Through Envoy.
    Envoy,
}

/// The ways that a scenario can be run in, where that is not all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Only {
    /// They.
    pub ways: Vec<Way>,
    /// Why not the others.
    pub because: String,
}

/// Number of an exchange in [`Scenario::exchanges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub usize);

/// One HTTP exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What the steps call it.
    pub name: Option<String>,
    /// The worker that it comes to, from 0.
    pub worker: usize,
    /// What the client sends.
    pub request: Request,
    /// Who answers.
    pub fate: Fate,
}

/// The request of an exchange.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method.
    pub method: Vec<u8>,
    /// Its path and query; none for `CONNECT`.
    pub path: Option<Vec<u8>>,
    /// Further headers.
    pub headers: Vec<Pair>,
    /// Over HTTP/2, on both sides of the proxy.
    pub http2: bool,
    /// Whether a body or trailers follow.
    pub has_body: bool,
    /// The path that the route puts in place of the client's.
    pub rewritten: Option<String>,
}

impl Request {
    /// All headers, pseudo-headers first, as the filter gets them.
    pub fn pairs(&self) -> Vec<Pair> {
        let pair = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
        let mut pairs = vec![pair(":method", &self.method)];
        pairs.extend(self.path.as_ref().map(|path| pair(":path", path)));
        pairs.push(pair(":authority", AUTHORITY.as_bytes()));
        pairs.push(pair(":scheme", b"http"));
        pairs.extend(self.headers.iter().cloned());
        pairs
    }
}

/// The authority of every request.
pub const AUTHORITY: &str = "example.com";

/// Who answers an exchange. A real proxy must know it when the request comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The service, or nobody: the client or the service goes away.
    Served,
    /// The proxy itself.
    LocalReply(LocalReply),
    /// A filter before ours, with this status.
    BeforeFilter(Status),
}

/// An answer that the proxy makes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// Its status.
    pub status: Status,
    /// Why; a direct response of a route has no flag.
    pub flag: Option<Flag>,
    /// Why, in words: `response.code_details`.
    pub details: String,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it stands: `steps[3]`.
    pub place: String,
    /// What it is.
    pub act: Act,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum Act {
    /// A request arrives.
    Request(ExchangeId),
    /// Something goes on with an exchange that is open.
    Exchange(ExchangeId, Verb),
    /// A request that the proxy's codec answers with this status, so that no
    /// filter gets its headers.
    Malformed(Status, Vec<u8>),
    /// Bytes that the codec refuses or loses, without an answer.
    Unparsed(Vec<u8>),
    /// Time passes.
    Advance(Duration),
    /// Every timer of the module fires.
    Tick,
    /// The proxy gets another plugin configuration, which it takes, or refuses
    /// with a log line that contains this.
    Reconfigure(Config, Option<String>),
    /// The page must be so now.
    Expect(Expect),
}

/// What can happen to an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The service sends response headers.
    Respond(Status, Vec<Pair>),
    /// A chunk of a body passes; `end` says that nothing follows.
    Body {
        /// Which way.
        direction: Direction,
        /// It.
        chunk: Vec<u8>,
        /// Whether it is the last.
        end: bool,
    },
    /// Trailers pass, which end that direction.
    Trailers(Direction, Vec<Pair>),
    /// The proxy follows a redirect itself: another hop, to this path.
    Redirect(Status, String),
    /// It ends so.
    End(End),
}

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the service.
    Request,
    /// To the client.
    Response,
}

/// How an exchange ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Whole.
    Finished,
    /// The client goes away, before or after the response headers.
    Aborted,
    /// The service cuts its response after the headers.
    Reset,
    /// The proxy answers itself.
    LocalReply(LocalReply),
}

/// Method and path of a request: `GET /api/content/42`, or `CONNECT` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestLine {
    pub(crate) method: Vec<u8>,
    pub(crate) path: Option<Vec<u8>>,
}

impl TryFrom<Vec<u8>> for RequestLine {
    type Error = String;

    fn try_from(line: Vec<u8>) -> Result<Self, String> {
        let mut parts = line.splitn(2, |byte| *byte == b' ');
        let method = parts.next().unwrap_or_default().to_vec();
        let path = parts.next().map(<[u8]>::to_vec);
        if method.is_empty() || path.as_ref().is_some_and(Vec::is_empty) {
            let line = shown(&line);
            return Err(format!(
                "`{line}` is no request; expected METHOD PATH, such as GET /api/content/42"
            ));
        }
        Ok(Self { method, path })
    }
}

/// A status code, 100 to 999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let code = text.parse().ok().filter(|code| (100..=999).contains(code));
        code.map(Self)
            .ok_or_else(|| format!("`{text}` is no status; expected a number from 100 to 999"))
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a status")
    }
}

/// A time that passes: a whole number with `us`, `ms`, `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let micros = match &text[digits.len()..] {
            "us" => Some(1),
            "ms" => Some(1_000),
            "s" => Some(1_000_000),
            "m" => Some(60_000_000),
            "h" => Some(3_600_000_000_u64),
            _ => None,
        };
        let number = digits.parse::<u64>().ok();
        micros
            .and_then(|micros| number?.checked_mul(micros))
            .map(|micros| Self(Duration::from_micros(micros)))
            .ok_or_else(|| {
                format!("`{text}` is no time; expected a whole number with us, ms, s, m or h, such as 12ms")
            })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a time")
    }
}

/// Why the proxy answered itself: a response flag of Envoy's access log
/// (`%RESPONSE_FLAGS%`) that a scenario can bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// The service closed the connection before it answered.
    Uc,
    /// The connection to the service could not be made.
    Uf,
    /// No healthy host in the cluster.
    Uh,
    /// The cluster has no room.
    Uo,
    /// The service did not answer in time.
    Ut,
    /// No route matches.
    Nr,
    /// A fault was injected.
    Fi,
}

impl Flag {
    const ALL: [Self; 7] = [
        Self::Uc,
        Self::Uf,
        Self::Uh,
        Self::Uo,
        Self::Ut,
        Self::Nr,
        Self::Fi,
    ];

    /// Its name in the access log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uc => "UC",
            Self::Uf => "UF",
            Self::Uh => "UH",
            Self::Uo => "UO",
            Self::Ut => "UT",
            Self::Nr => "NR",
            Self::Fi => "FI",
        }
    }

    /// The status that Envoy gives with it; any for an injected fault.
    pub const fn status(self) -> Option<Status> {
        match self {
            Self::Uc | Self::Uf | Self::Uh | Self::Uo => Some(Status(503)),
            Self::Ut => Some(Status(504)),
            Self::Nr => Some(Status(404)),
            Self::Fi => None,
        }
    }

    /// Its bit in `response.flags`.
    pub(crate) fn bit(self) -> i64 {
        let flags = gatemeter_core::labels::RESPONSE_FLAGS;
        let index = flags.iter().position(|name| *name == self.as_str());
        index.map_or(0, |index| 1 << index)
    }

    /// What Envoy says in `response.code_details`.
    pub(crate) const fn details(self) -> &'static str {
        match self {
            Self::Uc => "upstream_reset_before_response_started{connection_termination}",
            Self::Uf => "upstream_reset_before_response_started{connection_failure}",
            Self::Uh => "no_healthy_upstream",
            Self::Uo => "upstream_reset_before_response_started{overflow}",
            Self::Ut => "response_timeout",
            Self::Nr => "route_not_found",
            Self::Fi => "fault_filter_abort",
        }
    }
}

impl FromStr for Flag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|flag| flag.as_str() == text);
        known.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is no flag of a local reply; expected one of {all}")
        })
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a response flag")
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Wasm => "wasm",
            Self::Envoy => "envoy",
        })
    }
}
