//! `Cache-Status` (RFC 9211 §2): which caches served a response, and how.
//!
//! ```text
//! Cache-Status: redis; hit, "edge, Paris"; fwd=uri-miss; stored
//! ```
//!
//! | Parameters                       | Result      |
//! | -------------------------------- | ----------- |
//! | `hit`                            | hit         |
//! | `hit; ttl=-30`, `hit; fwd=stale` | stale       |
//! | `fwd=stale; fwd-status=304`      | revalidated |
//! | `fwd=bypass`, `fwd=method`       | bypass      |
//! | any other `fwd`                  | miss        |
//! | neither `hit` nor `fwd`          | other       |
//!
//! A stale response that a cache gave has a negative lifetime (§2.4); §2.2 lets
//! `hit` and `fwd` not stand together, but caches in use write `hit; fwd=stale`
//! for the same. `stored`, `collapsed`, `key`, `detail` and unknown parameters
//! change nothing. Several members count one by one. A header that stands on several lines is read
//! line by line, which RFC 9651 §3.1 allows a list to be split into; a line
//! that is malformed anywhere gives nothing (§4.2).

use std::borrow::Cow;

use sfv::visitor::{EntryVisitor, InnerListVisitor, ItemVisitor, ListVisitor, ParameterVisitor};
use sfv::{BareItemFromInput, KeyRef, Parser};

use super::room::PassedBy;
use super::{CacheResult, Malformed, Room};

/// One cache and what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// What it calls itself; any text.
    pub name: Cow<'a, str>,
    /// What it did.
    pub result: CacheResult,
}

/// The members of one header line, in its order: nearest the origin first.
///
/// # Errors
/// Where the line is no structured list, or the room is too small for it.
pub fn read<'a>(line: &'a [u8], room: &mut Room) -> Result<Vec<Member<'a>>, Malformed> {
    room.line(line)?;
    let members = Members {
        found: Vec::new(),
        room,
    };
    Ok(Parser::new(line).parse_list_with_visitor(members)?)
}

struct Members<'r, 'de> {
    found: Vec<Member<'de>>,
    room: &'r mut Room,
}

impl<'de> ListVisitor<'de> for Members<'_, 'de> {
    type Out = Vec<Member<'de>>;
    type Error = Malformed;

    fn entry(&mut self) -> Result<impl EntryVisitor<'de>, Malformed> {
        self.room.part()?;
        Ok(Entry {
            found: &mut self.found,
            room: self.room,
        })
    }

    fn finish(self) -> Result<Self::Out, Malformed> {
        Ok(self.found)
    }
}

struct Entry<'m, 'de> {
    found: &'m mut Vec<Member<'de>>,
    room: &'m mut Room,
}

impl<'de> EntryVisitor<'de> for Entry<'_, 'de> {
    type Error = Malformed;

    fn item(self) -> Result<impl ItemVisitor<'de>, Malformed> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Malformed> {
        Ok(PassedBy(self.room))
    }
}

impl<'de> ItemVisitor<'de> for Entry<'_, 'de> {
    type Out = ();
    type Error = Malformed;

    fn bare_item(
        self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = ()>, Malformed> {
        Ok(Parameters {
            entry: self,
            // RFC 9211 §2: a member is a string or a token; others are ignored.
            name: match item {
                BareItemFromInput::Token(name) => Some(Cow::Borrowed(name.as_str())),
                BareItemFromInput::String(name) => Some(match name {
                    Cow::Borrowed(name) => Cow::Borrowed(name.as_str()),
                    Cow::Owned(name) => Cow::Owned(name.into()),
                }),
                _ => None,
            },
            hit: false,
            forwarded: None,
            validated: false,
            outlived: false,
        })
    }
}

struct Parameters<'m, 'de> {
    entry: Entry<'m, 'de>,
    name: Option<Cow<'de, str>>,
    hit: bool,
    /// Why the cache went forward.
    forwarded: Option<Reason>,
    /// Whether the answer to that was 304.
    validated: bool,
    /// Whether its lifetime was over.
    outlived: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// `bypass` or `method`: the cache was not to be asked.
    NotAsked,
    /// `stale`.
    Stale,
    /// That of §2.2 which is left, or one that is not known.
    NothingToGive,
}

impl Parameters<'_, '_> {
    fn result(&self) -> CacheResult {
        match (self.hit, self.forwarded) {
            (true, Some(Reason::Stale)) => CacheResult::Stale,
            (true, _) if self.outlived => CacheResult::Stale,
            (true, _) => CacheResult::Hit,
            (false, Some(Reason::Stale)) if self.validated => CacheResult::Revalidated,
            (false, Some(Reason::NotAsked)) => CacheResult::Bypass,
            (false, Some(_)) => CacheResult::Miss,
            (false, None) => CacheResult::Other,
        }
    }
}

impl<'de> ParameterVisitor<'de> for Parameters<'_, 'de> {
    type Out = ();
    type Error = Malformed;

    fn parameter(
        &mut self,
        key: &'de KeyRef,
        value: BareItemFromInput<'de>,
    ) -> Result<(), Malformed> {
        self.entry.room.part()?;
        match key.as_str() {
            "hit" => self.hit = matches!(value, BareItemFromInput::Boolean(true)),
            "fwd" => {
                self.forwarded = match value {
                    BareItemFromInput::Token(reason) => Some(match reason.as_str() {
                        "bypass" | "method" => Reason::NotAsked,
                        "stale" => Reason::Stale,
                        _ => Reason::NothingToGive,
                    }),
                    _ => None,
                }
            }
            "fwd-status" => {
                self.validated = matches!(
                    value,
                    BareItemFromInput::Integer(status) if i64::from(status) == 304
                );
            }
            "ttl" => {
                self.outlived = matches!(
                    value,
                    BareItemFromInput::Integer(seconds) if i64::from(seconds) < 0
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Malformed> {
        let result = self.result();
        if let Some(name) = self.name {
            self.entry.found.push(Member { name, result });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
