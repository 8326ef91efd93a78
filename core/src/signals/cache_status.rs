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

use std::convert::Infallible;

use sfv::visitor::{
    EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ListVisitor, ParameterVisitor,
};
use sfv::{BareItemFromInput, KeyRef, Parser};

use super::Malformed;

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

/// Calls `member` with the name and result of each member of one header line,
/// in the order of the line: nearest the origin first.
///
/// # Errors
/// Where the line is no structured list. Nothing is called then.
pub fn read(line: &[u8], mut member: impl FnMut(&str, CacheResult)) -> Result<(), Malformed> {
    // Once to check the whole line, once to call: a line that turns out to be
    // malformed at its end must not have counted at its start.
    Parser::new(line).parse_list_with_visitor(Members(&mut |_, _| {}))?;
    Parser::new(line).parse_list_with_visitor(Members(&mut member))?;
    Ok(())
}

struct Members<'f>(&'f mut dyn FnMut(&str, CacheResult));

impl<'de> ListVisitor<'de> for Members<'_> {
    type Out = ();
    type Error = Infallible;

    fn entry(&mut self) -> Result<impl EntryVisitor<'de>, Self::Error> {
        Ok(Member(&mut *self.0))
    }

    fn finish(self) -> Result<Self::Out, Self::Error> {
        Ok(())
    }
}

struct Member<'f>(&'f mut dyn FnMut(&str, CacheResult));

impl<'de> ItemVisitor<'de> for Member<'_> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = Self::Out>, Self::Error> {
        Ok(Parameters {
            member: self.0,
            name: item,
            hit: false,
            forwarded: None,
        })
    }
}

impl<'de> EntryVisitor<'de> for Member<'_> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Self::Error> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Self::Error> {
        Ok(Ignored)
    }
}

struct Parameters<'f, 'de> {
    member: &'f mut dyn FnMut(&str, CacheResult),
    name: BareItemFromInput<'de>,
    hit: bool,
    forwarded: Option<CacheResult>,
}

impl<'de> ParameterVisitor<'de> for Parameters<'_, 'de> {
    type Out = ();
    type Error = Infallible;

    fn parameter(
        &mut self,
        key: &'de KeyRef,
        value: BareItemFromInput<'de>,
    ) -> Result<(), Self::Error> {
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

    fn finish(self) -> Result<Self::Out, Self::Error> {
        let result = if self.hit {
            CacheResult::Hit
        } else {
            self.forwarded.unwrap_or(CacheResult::Neither)
        };
        match &self.name {
            BareItemFromInput::Token(name) => (self.member)(name.as_str(), result),
            BareItemFromInput::String(name) => (self.member)(name.as_str(), result),
            // RFC 9211 §2: a member is a string or a token; others are ignored.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(line: &str) -> Result<Vec<(String, CacheResult)>, Malformed> {
        let mut found = Vec::new();
        read(line.as_bytes(), |name, result| {
            found.push((name.to_owned(), result));
        })?;
        Ok(found)
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
    fn nothing_counts_of_a_malformed_line() {
        let mut calls = 0;
        assert_eq!(read(b"a; hit, b; =", |_, _| calls += 1), Err(Malformed));
        assert_eq!(read(b"a; hit\xff", |_, _| calls += 1), Err(Malformed));
        assert_eq!(calls, 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(line: Vec<u8>) {
            let _ = read(&line, |_, _| {});
        }
    }
}
