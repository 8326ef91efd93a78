//! A member of `Cache-Status` (RFC 9211 §2): which cache was asked and what it did.
//!
//! A member says either `hit` or `fwd`, never both (§2.2); a parameter that
//! belongs to the other of the two is left out. The parameter `key` is not
//! offered: a key of a service's own cache is nothing for its clients.

use sfv::{Integer, KeyRef, ListSerializer, StringRef, TokenRef, key_ref, token_ref};

use crate::Signals;
use crate::room::Part;

/// The longest name and the longest detail, in bytes.
const MAX_TEXT: usize = 64;

const HIT: &KeyRef = key_ref("hit");
const FWD: &KeyRef = key_ref("fwd");
const FWD_STATUS: &KeyRef = key_ref("fwd-status");
const TTL: &KeyRef = key_ref("ttl");
const STORED: &KeyRef = key_ref("stored");
const COLLAPSED: &KeyRef = key_ref("collapsed");
const DETAIL: &KeyRef = key_ref("detail");

/// Why a cache went on towards the origin (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// It was configured not to handle the request.
    Bypass,
    /// The request's method is none that it answers.
    Method,
    /// It held nothing for this URI.
    UriMiss,
    /// It held something for the URI, for other request headers.
    VaryMiss,
    /// It held nothing, for a reason it does not tell apart.
    Miss,
    /// What it held was fresh, but the request wanted it otherwise.
    Request,
    /// What it held was stale.
    Stale,
    /// It held only a part of what was asked for.
    Partial,
}

impl Forward {
    const fn token(self) -> &'static TokenRef {
        token_ref(match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        })
    }
}

/// A lookup in a cache, made by [`Signals::cache`]. It is told by
/// [`hit`](Self::hit), [`miss`](Self::miss) or [`forwarded`](Self::forwarded),
/// and not at all where it is dropped before.
#[derive(Debug)]
#[must_use = "a lookup says nothing until its result is told"]
pub struct CacheLookup {
    signals: Signals,
    /// Its place among the caches that were asked; `None` where there is no
    /// room or the name cannot be said.
    slot: Option<usize>,
    name: String,
    ttl: Option<i64>,
    detail: Option<String>,
    fwd_status: Option<u16>,
    stored: bool,
    collapsed: bool,
}

impl CacheLookup {
    pub(crate) fn new(signals: Signals, slot: Option<usize>, name: &str) -> Self {
        let name = sayable(name);
        Self {
            signals,
            slot: slot.filter(|_| name.is_some()),
            name: name.unwrap_or_default(),
            ttl: None,
            detail: None,
            fwd_status: None,
            stored: false,
            collapsed: false,
        }
    }

    /// How long the response stays fresh, in seconds; negative where it was stale.
    pub fn ttl(mut self, seconds: i64) -> Self {
        self.ttl = Some(seconds);
        self
    }

    /// Something for a human who debugs, such as `unavailable` (§2.8); at most
    /// 64 bytes of printable ASCII.
    pub fn detail(mut self, detail: &str) -> Self {
        self.detail = sayable(detail);
        self
    }

    /// The status that the next cache or the origin answered (§2.3); not with a hit.
    pub fn fwd_status(mut self, status: u16) -> Self {
        self.fwd_status = Some(status);
        self
    }

    /// The response was stored (§2.5); not with a hit.
    pub fn stored(mut self) -> Self {
        self.stored = true;
        self
    }

    /// The request waited for another one's answer (§2.6); not with a hit.
    pub fn collapsed(mut self) -> Self {
        self.collapsed = true;
        self
    }

    /// The cache had it.
    pub fn hit(self) {
        self.tell(None);
    }

    /// The cache did not have it: `fwd=miss`.
    pub fn miss(self) {
        self.tell(Some(Forward::Miss));
    }

    /// The cache went on towards the origin, for this reason.
    pub fn forwarded(self, reason: Forward) {
        self.tell(Some(reason));
    }

    fn tell(self, forward: Option<Forward>) {
        if let (Some(slot), Some(member)) = (self.slot, self.member(forward)) {
            self.signals.told(slot, member);
        }
    }

    fn member(&self, forward: Option<Forward>) -> Option<Part> {
        let mut list = ListSerializer::new();
        // §2: a token where the name is one, else a string.
        let mut member = match TokenRef::from_str(&self.name) {
            Ok(name) => list.bare_item(name),
            Err(_) => list.bare_item(StringRef::from_str(&self.name).ok()?),
        };
        let mut parts = 1;
        match forward {
            None => {
                member = member.parameter(HIT, true);
                parts += 1;
            }
            Some(forward) => {
                member = member.parameter(FWD, forward.token());
                parts += 1;
                if let Some(status) = self.fwd_status {
                    member = member.parameter(FWD_STATUS, Integer::from(status));
                    parts += 1;
                }
            }
        }
        if let Some(ttl) = self.ttl {
            let most = if ttl < 0 { Integer::MIN } else { Integer::MAX };
            member = member.parameter(TTL, Integer::try_from(ttl).unwrap_or(most));
            parts += 1;
        }
        for (key, said) in [(STORED, self.stored), (COLLAPSED, self.collapsed)] {
            if said && forward.is_some() {
                member = member.parameter(key, true);
                parts += 1;
            }
        }
        if let Some(detail) = &self.detail {
            // §2.8: a token or a string.
            member = match TokenRef::from_str(detail) {
                Ok(detail) => member.parameter(DETAIL, detail),
                Err(_) => member.parameter(DETAIL, StringRef::from_str(detail).ok()?),
            };
            parts += 1;
        }
        _ = member;
        Some(Part {
            text: list.finish()?,
            parts,
        })
    }
}

/// The text, where a structured field can carry it: printable ASCII (RFC 9651 §3.3.3).
fn sayable(text: &str) -> Option<String> {
    let short = (1..=MAX_TEXT).contains(&text.len());
    (short && StringRef::from_str(text).is_ok()).then(|| text.to_owned())
}
