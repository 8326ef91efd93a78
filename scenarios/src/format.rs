//! The file of a scenario, as it is written: which keys there are, and what
//! type their values have. Whether the steps fit together is for `order`.
//!
//! Unknown keys and values that are not what is accepted are refused, with the
//! line, the value and what is accepted.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::expect::Expect;
use crate::scenario::{Config, Flag, Form, RequestLine, Span, Status, Way};
use crate::text::{Headers, Text};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) description: String,
    pub(crate) config: Config,
    #[serde(default)]
    pub(crate) form: Form,
    #[serde(default = "one")]
    pub(crate) workers: usize,
    pub(crate) only: Option<Vec<Way>>,
    pub(crate) because: Option<String>,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    #[serde(default)]
    pub(crate) expect: Expect,
}

fn one() -> usize {
    1
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ConfigVisitor;
        impl<'de> Visitor<'de> for ConfigVisitor {
            type Value = Config;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the plugin configuration: a mapping, or text as it is to be handed over",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Config, E> {
                Ok(Config::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Config, A::Error> {
                let map = de::value::MapAccessDeserializer::new(map);
                serde_json::Map::deserialize(map).map(Config::Json)
            }
        }
        deserializer.deserialize_any(ConfigVisitor)
    }
}

/// One step: a verb and what belongs to it.
pub(crate) struct Step {
    pub(crate) verb: Verb,
    pub(crate) with: With,
}

/// What a step does.
pub(crate) enum Verb {
    Exchange(RequestLine, Answer),
    Request(RequestLine),
    Respond(Status),
    Upgrade,
    Events,
    RequestBody(Text),
    ResponseBody(Text),
    RequestTrailers(Headers),
    ResponseTrailers(Headers),
    Finish,
    Abort,
    Reset,
    LocalReply(Status),
    Redirect(String),
    Malformed(Status),
    Unparsed(Text),
    Advance(Span),
    Tick,
    Reconfigure(Config),
    Expect(Expect),
}

/// The keys that may stand beside a verb.
#[derive(Default)]
pub(crate) struct With {
    pub(crate) stream: Option<String>,
    pub(crate) worker: Option<usize>,
    pub(crate) headers: Option<Headers>,
    pub(crate) http2: Option<bool>,
    pub(crate) rewritten: Option<String>,
    pub(crate) times: Option<usize>,
    pub(crate) flag: Option<Flag>,
    pub(crate) details: Option<String>,
    pub(crate) sent: Option<Text>,
    pub(crate) refused: Option<String>,
}

/// How a whole exchange is answered: a status, `aborted`, or a mapping.
pub(crate) enum Answer {
    Served(Served),
    Aborted(Option<Span>),
    LocalReply {
        status: Status,
        flag: Option<Flag>,
        details: Option<String>,
        takes: Option<Span>,
    },
    BeforeFilter(Status),
}

/// An answer of the service.
#[derive(Default)]
pub(crate) struct Served {
    pub(crate) status: Option<Status>,
    pub(crate) headers: Headers,
    pub(crate) body: Option<Text>,
    pub(crate) takes: Option<Span>,
}

const VERBS: &[&str] = &[
    "METHOD PATH",
    "request",
    "respond",
    "upgrade",
    "events",
    "request_body",
    "response_body",
    "request_trailers",
    "response_trailers",
    "finish",
    "abort",
    "reset",
    "local_reply",
    "redirect",
    "malformed",
    "unparsed",
    "advance",
    "tick",
    "reconfigure",
    "expect",
];

impl Verb {
    /// The keys that go with it.
    const fn takes(&self) -> &'static [&'static str] {
        match self {
            Self::Exchange(..) => &["stream", "worker", "headers", "http2", "rewritten", "times"],
            Self::Request(_) => &["stream", "worker", "headers", "http2", "rewritten"],
            Self::Respond(_) => &["stream", "headers"],
            Self::LocalReply(_) => &["stream", "flag", "details"],
            Self::Malformed(_) => &["sent"],
            Self::Reconfigure(_) => &["refused"],
            Self::Unparsed(_) | Self::Advance(_) | Self::Tick | Self::Expect(_) => &[],
            Self::Upgrade
            | Self::Events
            | Self::RequestBody(_)
            | Self::ResponseBody(_)
            | Self::RequestTrailers(_)
            | Self::ResponseTrailers(_)
            | Self::Finish
            | Self::Abort
            | Self::Reset
            | Self::Redirect(_) => &["stream"],
        }
    }

    /// The verb of a key that needs no value.
    fn bare(key: &str) -> Option<Self> {
        Some(match key {
            "upgrade" => Self::Upgrade,
            "events" => Self::Events,
            "finish" => Self::Finish,
            "abort" => Self::Abort,
            "reset" => Self::Reset,
            "tick" => Self::Tick,
            _ => return None,
        })
    }

    /// The verb of this key, with its value; `None` where the key is no verb.
    fn read<'de, A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<Option<Self>, A::Error> {
        let line = |text: Text| RequestLine::try_from(text.0).map_err(de::Error::custom);
        if let Some(verb) = Self::bare(key) {
            map.next_value::<()>()?;
            return Ok(Some(verb));
        }
        Ok(Some(match key {
            "request" => Self::Request(line(map.next_value()?)?),
            "respond" => Self::Respond(map.next_value()?),
            "request_body" => Self::RequestBody(map.next_value()?),
            "response_body" => Self::ResponseBody(map.next_value()?),
            "request_trailers" => Self::RequestTrailers(map.next_value()?),
            "response_trailers" => Self::ResponseTrailers(map.next_value()?),
            "local_reply" => Self::LocalReply(map.next_value()?),
            "redirect" => Self::Redirect(map.next_value()?),
            "malformed" => Self::Malformed(map.next_value()?),
            "unparsed" => Self::Unparsed(map.next_value()?),
            "advance" => Self::Advance(map.next_value()?),
            "reconfigure" => Self::Reconfigure(map.next_value()?),
            "expect" => Self::Expect(map.next_value()?),
            _ if key.contains(' ') => {
                let line = line(Text(key.as_bytes().to_vec()))?;
                Self::Exchange(line, map.next_value()?)
            }
            _ => return Ok(None),
        }))
    }
}

impl With {
    /// Takes the value of this key; `false` where there is no such key.
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "stream" => self.stream = map.next_value()?,
            "worker" => self.worker = map.next_value()?,
            "headers" => self.headers = map.next_value()?,
            "http2" => self.http2 = map.next_value()?,
            "rewritten" => self.rewritten = map.next_value()?,
            "times" => self.times = map.next_value()?,
            "flag" => self.flag = map.next_value()?,
            "details" => self.details = map.next_value()?,
            "sent" => self.sent = map.next_value()?,
            "refused" => self.refused = map.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StepVisitor;
        impl<'de> Visitor<'de> for StepVisitor {
            type Value = Step;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a step, which is one of {}", VERBS.join(", "))
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<Step, E> {
                let verb = Verb::bare(key).ok_or_else(|| {
                    E::custom(format!(
                        "`{key}` is no step without a value; expected one of upgrade, events, \
                         finish, abort, reset, tick"
                    ))
                })?;
                let with = With::default();
                Ok(Step { verb, with })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Step, A::Error> {
                let mut verb: Option<(String, Verb)> = None;
                let mut with = With::default();
                let mut seen: Vec<String> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if seen.contains(&key) {
                        return Err(de::Error::custom(format!("`{key}` stands twice")));
                    }
                    if let Some(read) = Verb::read(&key, &mut map)? {
                        if let Some((first, _)) = &verb {
                            return Err(de::Error::custom(format!(
                                "`{first}` and `{key}` are two steps; expected each in an item of its own"
                            )));
                        }
                        verb = Some((key, read));
                    } else if with.read(&key, &mut map)? {
                        seen.push(key);
                    } else {
                        return Err(de::Error::unknown_field(&key, VERBS));
                    }
                }
                let Some((name, verb)) = verb else {
                    return Err(de::Error::custom(format!(
                        "a step does nothing; expected one of {}",
                        VERBS.join(", ")
                    )));
                };
                let taken = verb.takes();
                if let Some(key) = seen.iter().find(|key| !taken.contains(&key.as_str())) {
                    let taken = match taken {
                        [] => "no further key".to_owned(),
                        keys => keys.join(", "),
                    };
                    return Err(de::Error::custom(format!(
                        "`{key}` does not go with `{name}`; expected {taken}"
                    )));
                }
                Ok(Step { verb, with })
            }
        }
        deserializer.deserialize_any(StepVisitor)
    }
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnswerVisitor;
        impl<'de> Visitor<'de> for AnswerVisitor {
            type Value = Answer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an answer: a status, aborted, or a mapping")
            }

            fn visit_u64<E: de::Error>(self, code: u64) -> Result<Answer, E> {
                self.visit_str(&code.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Answer, E> {
                if text == "aborted" {
                    return Ok(Answer::Aborted(None));
                }
                let status = text.parse::<Status>().map_err(|_| {
                    E::custom(format!(
                        "`{text}` is no answer; expected a status from 100 to 999, aborted, or a mapping"
                    ))
                })?;
                Ok(Answer::Served(Served {
                    status: Some(status),
                    ..Served::default()
                }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Answer, A::Error> {
                AnswerMap::deserialize(de::value::MapAccessDeserializer::new(map))?
                    .answer()
                    .map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(AnswerVisitor)
    }
}

/// An answer with details: one of `status`, `aborted`, `local_reply` and
/// `before_filter`, and what goes with it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerMap {
    status: Option<Status>,
    aborted: Option<bool>,
    local_reply: Option<Status>,
    before_filter: Option<Status>,
    #[serde(default)]
    headers: Headers,
    body: Option<Text>,
    takes: Option<Span>,
    flag: Option<Flag>,
    details: Option<String>,
}

impl AnswerMap {
    fn answer(self) -> Result<Answer, String> {
        let served = !self.headers.0.is_empty() || self.body.is_some();
        let replied = self.flag.is_some() || self.details.is_some();
        match (
            self.status,
            self.aborted,
            self.local_reply,
            self.before_filter,
        ) {
            (Some(_), None, None, None) if !replied => Ok(Answer::Served(Served {
                status: self.status,
                headers: self.headers,
                body: self.body,
                takes: self.takes,
            })),
            (None, Some(true), None, None) if !served && !replied => {
                Ok(Answer::Aborted(self.takes))
            }
            (None, None, Some(status), None) if !served => Ok(Answer::LocalReply {
                status,
                flag: self.flag,
                details: self.details,
                takes: self.takes,
            }),
            (None, None, None, Some(status)) if !served && !replied && self.takes.is_none() => {
                Ok(Answer::BeforeFilter(status))
            }
            _ => Err(
                "an answer is one of status (with headers, body, takes), aborted: true \
                      (with takes), local_reply (with flag, details, takes) and before_filter"
                    .to_owned(),
            ),
        }
    }
}
