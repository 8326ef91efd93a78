//! `Cache-Status` (RFC 9211 §2): which caches served a response, and how.
//!
//! ```text
//! Cache-Status: redis; hit, "edge, Paris"; fwd=uri-miss; stored
//! ```
//!
//! A member with `hit` is a hit. A member with `fwd` (and no `hit`) that names
//! a reason to go forward because the cache had no response to give is a miss.
//! `fwd=bypass` and `fwd=method` say that the cache was not asked, a member
//! with neither parameter says nothing: neither hit nor miss. Several members
//! count one by one. A header that stands on several lines is read line by
//! line, which RFC 9651 §3.1 allows a list to be split into.

use std::borrow::Cow;

use sfv::visitor::{EntryVisitor, InnerListVisitor, ItemVisitor, ListVisitor, ParameterVisitor};
use sfv::{BareItemFromInput, KeyRef, Parser};

use super::room::PassedBy;
use super::{Malformed, Room};

/// What one cache did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// It gave the response.
    Hit,
    /// It had to go forward for the response.
    Miss,
    /// It was not asked, or does not say.
    Neither,
}

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
        })
    }
}

struct Parameters<'m, 'de> {
    entry: Entry<'m, 'de>,
    name: Option<Cow<'de, str>>,
    hit: bool,
    forwarded: Option<CacheResult>,
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
                        "bypass" | "method" => CacheResult::Neither,
                        _ => CacheResult::Miss,
                    }),
                    _ => None,
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Malformed> {
        let result = if self.hit {
            CacheResult::Hit
        } else {
            self.forwarded.unwrap_or(CacheResult::Neither)
        };
        if let Some(name) = self.name {
            self.entry.found.push(Member { name, result });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(line: &str) -> Result<Vec<(String, CacheResult)>, Malformed> {
        let members = read(line.as_bytes(), &mut Room::default())?;
        let members = members.into_iter();
        Ok(members.map(|m| (m.name.into_owned(), m.result)).collect())
    }

    fn one(line: &str) -> CacheResult {
        let members = members(line).unwrap();
        assert_eq!(members.len(), 1, "{line}");
        members[0].1
    }

    #[test]
    fn reads_the_examples_of_the_standard() {
        assert_eq!(one("ExampleCache; hit"), CacheResult::Hit);
        assert_eq!(one("ExampleCache; hit; ttl=-412"), CacheResult::Hit);
        assert_eq!(one("ExampleCache; fwd=uri-miss"), CacheResult::Miss);
        assert_eq!(one("ExampleCache; fwd=uri-miss; stored"), CacheResult::Miss);
        assert_eq!(
            one("ExampleCache; fwd=stale; fwd-status=304"),
            CacheResult::Miss
        );
        assert_eq!(one("ExampleCache; fwd=bypass"), CacheResult::Neither);
        assert_eq!(one("ExampleCache; fwd=method"), CacheResult::Neither);
        assert_eq!(
            one(r#"ExampleCache; hit; detail="disk, slow""#),
            CacheResult::Hit
        );
        assert_eq!(one("ExampleCache"), CacheResult::Neither);
    }

    #[test]
    fn several_caches_count_one_by_one_in_their_order() {
        assert_eq!(
            members(r#"OriginCache; hit; ttl=1100, "CDN, Paris"; fwd=uri-miss;"#),
            Err(Malformed)
        );
        assert_eq!(
            members(r#"OriginCache; hit; ttl=1100, "CDN, Paris"; fwd=uri-miss"#).unwrap(),
            [
                ("OriginCache".to_owned(), CacheResult::Hit),
                ("CDN, Paris".to_owned(), CacheResult::Miss),
            ]
        );
    }

    #[test]
    fn hit_false_is_no_hit_and_the_last_of_a_repeated_parameter_counts() {
        assert_eq!(one("c; hit=?0; fwd=miss"), CacheResult::Miss);
        assert_eq!(one("c; hit; hit=?0"), CacheResult::Neither);
        assert_eq!(one("c; hit; fwd=stale"), CacheResult::Hit);
    }

    #[test]
    fn members_that_are_no_name_are_ignored() {
        assert_eq!(members("(a b); hit, 1; hit, c; hit").unwrap().len(), 1);
        assert_eq!(members("").unwrap(), []);
    }

    #[test]
    fn a_line_that_is_malformed_anywhere_gives_nothing() {
        for line in ["a; hit, b; =", "a; hit\u{ff}", "a; hit,"] {
            assert_eq!(members(line), Err(Malformed), "{line}");
        }
    }

    #[test]
    fn a_name_with_escapes_is_unescaped() {
        assert_eq!(members(r#""a\"b"; hit"#).unwrap()[0].0, "a\"b");
    }

    #[test]
    fn a_response_has_room_for_so_many_members_and_bytes() {
        let line = |members| vec!["a"; members].join(",");
        assert_eq!(members(&line(64)).unwrap().len(), 64);
        for line in [
            line(65),
            format!("a{}", ";b".repeat(64)),
            format!("({})", "a ".repeat(64)),
            format!("(){}", ";b".repeat(64)),
            "a".repeat(1024),
        ] {
            assert_eq!(members(&line), Err(Malformed), "{line}");
        }
        let mut room = Room::default();
        let lines = (0..).take_while(|_| read(b"a", &mut room).is_ok());
        assert_eq!(lines.count(), 31);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(line: Vec<u8>) {
            let _ = read(&line, &mut Room::default());
        }
    }
}
