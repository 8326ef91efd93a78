//! A player in a browser: what it says of itself, and what follows from the
//! CMCD (CTA-5004) that it sent.
//!
//! Nothing is taken from our own parser: [`Expected`] is computed here, from
//! the text that the player put on each request.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::browser::Tab;

/// The page's own record, `window.record` of the demo's player page. Times are
/// milliseconds from the order to load.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    /// Until frames moved for the first time.
    pub startup_ms: Option<f64>,
    /// The bitrates that were shown, in that order.
    pub levels: Vec<Level>,
    /// Stalls after the start.
    pub stalls: Vec<Stall>,
    /// Requests in the order of sending, retries too.
    pub requests: Vec<Sent>,
    /// What the library complained of.
    pub errors: Vec<Complaint>,
    /// Whether the film is over.
    pub ended: bool,
}

/// A bitrate from a moment on.
#[derive(Clone, Debug, Deserialize)]
pub struct Level {
    /// When.
    pub at_ms: f64,
    /// Bits a second, as the master playlist says.
    pub bitrate: u32,
}

/// Frames stood still.
#[derive(Clone, Debug, Deserialize)]
pub struct Stall {
    /// From when.
    pub at_ms: f64,
    /// Until when; `None`: they still do.
    pub resumed_ms: Option<f64>,
}

/// A request that the player sent.
#[derive(Clone, Debug, Deserialize)]
pub struct Sent {
    /// When.
    pub at_ms: f64,
    /// The path, without query.
    pub path: String,
    /// Its CMCD, if it had some; several headers joined by commas.
    pub cmcd: Option<String>,
}

/// Something went wrong in the player; often that it stalls.
#[derive(Clone, Debug, Deserialize)]
pub struct Complaint {
    /// hls.js's name for it.
    pub details: String,
    /// Whether the player gave up.
    pub fatal: bool,
}

impl Record {
    /// The record so far.
    ///
    /// # Errors
    ///
    /// The tab does not show the player page, or the player gave up.
    pub async fn read(tab: &mut Tab) -> Result<Self> {
        let record: Self = serde_json::from_value(tab.evaluate("window.record").await?)
            .context("not the record of a player")?;
        let fatal = record.errors.iter().find(|error| error.fatal);
        ensure!(fatal.is_none(), "the player gave up: {fatal:?}");
        Ok(record)
    }

    /// How often the shown bitrate rose and fell.
    pub fn switches(&self) -> Switches {
        Switches::between(self.levels.iter().map(|level| u64::from(level.bitrate)))
    }
}

/// Changes of a bitrate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// To a larger one.
    pub up: u64,
    /// To a smaller one.
    pub down: u64,
}

impl Switches {
    /// Those in a row of bitrates.
    pub fn between(bitrates: impl IntoIterator<Item = u64>) -> Self {
        let mut switches = Self::default();
        let mut last = None;
        for bitrate in bitrates {
            match last.replace(bitrate) {
                Some(last) if bitrate > last => switches.up += 1,
                Some(last) if bitrate < last => switches.down += 1,
                _ => {}
            }
        }
        switches
    }
}

/// What metrics must show of requests that were sent with CMCD.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    /// Changes of `br` to a larger one from media object to media object of a
    /// session: objects whose `ot` is `v` or `av`, or that have none.
    pub switches_up: u64,
    /// Changes to a smaller one.
    pub switches_down: u64,
    /// Requests with `bs`.
    pub stalls: u64,
    /// Sessions with a media object that was asked for without `su`.
    pub starts: u64,
    /// For each of these, the time from the session's first request until then.
    pub init: Vec<Duration>,
}

impl Expected {
    /// Of these requests in this order.
    ///
    /// # Errors
    ///
    /// The CMCD of one cannot be read or names no session.
    pub fn of(requests: &[Sent]) -> Result<Self> {
        let mut expected = Self::default();
        let mut sessions: BTreeMap<String, Session> = BTreeMap::new();
        for sent in requests {
            let Some(text) = &sent.cmcd else {
                continue;
            };
            let cmcd = Cmcd::parse(text).with_context(|| format!("{sent:?}"))?;
            expected.stalls += u64::from(cmcd.has("bs"));
            let session = sessions
                .entry(cmcd.value("sid").context("no sid")?.to_owned())
                .or_insert_with(|| Session {
                    began_ms: sent.at_ms,
                    started: false,
                    bitrates: Vec::new(),
                });
            if !cmcd.is_media() {
                continue;
            }
            if let Some(br) = cmcd.value("br") {
                session.bitrates.push(br.parse()?);
            }
            if !session.started && !cmcd.has("su") {
                session.started = true;
                expected.starts += 1;
                let milliseconds = sent.at_ms - session.began_ms;
                expected
                    .init
                    .push(Duration::from_secs_f64(milliseconds / 1_000.0));
            }
        }
        for session in sessions.into_values() {
            let switches = Switches::between(session.bitrates);
            expected.switches_up += switches.up;
            expected.switches_down += switches.down;
        }
        Ok(expected)
    }
}

struct Session {
    began_ms: f64,
    started: bool,
    bitrates: Vec<u64>,
}

/// The keys of one request's CMCD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmcd(BTreeMap<String, String>);

impl Cmcd {
    /// Reads `key=value` pairs between commas, of version 1 or 2. A key alone is
    /// true; quotes and the brackets of version 2's lists are not kept.
    ///
    /// # Errors
    ///
    /// There is no pair, an empty key or an open quote.
    pub fn parse(text: &str) -> Result<Self> {
        let mut pairs = vec![String::new()];
        let (mut quoted, mut escaped) = (false, false);
        for character in text.chars() {
            let pair = pairs.last_mut().context("never empty")?;
            match character {
                _ if escaped => {
                    pair.push(character);
                    escaped = false;
                }
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                ',' if !quoted => pairs.push(String::new()),
                '(' | ')' if !quoted => {}
                _ => pair.push(character),
            }
        }
        ensure!(!quoted, "an open quote");
        let mut keys = BTreeMap::new();
        for pair in pairs {
            let (key, value) = pair.split_once('=').unwrap_or((&pair, "?1"));
            ensure!(!key.trim().is_empty(), "an empty key");
            keys.insert(key.trim().to_owned(), value.to_owned());
        }
        Ok(Self(keys))
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// A key's value.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn is_media(&self) -> bool {
        matches!(self.value("ot"), None | Some("v" | "av"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(at_ms: f64, cmcd: &str) -> Sent {
        Sent {
            at_ms,
            path: "/".to_owned(),
            cmcd: Some(cmcd.to_owned()),
        }
    }

    #[test]
    fn reads_both_versions() {
        let one = Cmcd::parse(r#"bs,br=1355,nor="a%2C,b=\"",ot=av,sid="5-f""#).unwrap();
        let two = Cmcd::parse(r#"br=(1355),ot=av,sid="5-f",bs,nor=("a%2C,b=\"")"#).unwrap();
        assert_eq!(one, two);
        assert!(one.has("bs") && !one.has("su"));
        assert_eq!(one.value("br"), Some("1355"));
        assert_eq!(one.value("nor"), Some(r#"a%2C,b=""#));
        for bad in ["", "a,,b", "=1", r#"a="b"#] {
            Cmcd::parse(bad).unwrap_err();
        }
    }

    #[test]
    fn expects_what_each_session_sent_for_itself() {
        let expected = Expected::of(&[
            sent(10.0, "sid=a,ot=m,su"),
            sent(20.0, "sid=a,ot=av,br=200,su"),
            sent(30.0, "sid=b,ot=v,br=900,su"),
            // A manifest's is none of the object that is played.
            sent(40.0, "sid=a,ot=m,br=900"),
            sent(60.0, "sid=a,ot=av,br=200"),
            sent(70.0, "sid=a,br=300,bs,su"),
            sent(80.0, "sid=a,ot=a,br=900"),
            sent(90.0, "sid=a,ot=av,br=100"),
        ]);
        assert_eq!(
            expected.unwrap(),
            Expected {
                switches_up: 1,
                switches_down: 1,
                stalls: 1,
                starts: 1,
                init: vec![Duration::from_millis(50)],
            }
        );
    }
}
