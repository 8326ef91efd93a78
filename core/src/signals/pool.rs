//! `X-Db-Pool`: the state of a database pool, as a dictionary of structured
//! fields (RFC 9651 §3.2).
//!
//! ```text
//! X-Db-Pool: active=15, idle=25
//! ```
//!
//! Both keys are integers from zero on. A key that is missing leaves its gauge
//! as it is; unknown keys are ignored, as the standard wants it.

use std::convert::Infallible;

use sfv::visitor::{
    DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor,
};
use sfv::{BareItemFromInput, KeyRef, Parser};

use super::Malformed;

/// Connections of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// In use.
    pub active: Option<u64>,
    /// Open and waiting for use.
    pub idle: Option<u64>,
}

/// The pool that one header line describes.
///
/// # Errors
/// Where the line is no dictionary, or a number is negative or no integer.
pub fn read(line: &[u8]) -> Result<Pool, Malformed> {
    let mut found = Found::default();
    Parser::new(line).parse_dictionary_with_visitor(Keys(&mut found))?;
    if found.malformed {
        return Err(Malformed);
    }
    Ok(found.pool)
}

#[derive(Default)]
struct Found {
    pool: Pool,
    malformed: bool,
}

struct Keys<'f>(&'f mut Found);

impl<'de> DictionaryVisitor<'de> for Keys<'_> {
    type Out = ();
    type Error = Infallible;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Self::Error> {
        let wanted = matches!(key.as_str(), "active" | "idle");
        Ok(wanted.then_some(Entry {
            found: &mut *self.0,
            key: key.as_str(),
        }))
    }

    fn finish(self) -> Result<Self::Out, Self::Error> {
        Ok(())
    }
}

struct Entry<'f, 'de> {
    found: &'f mut Found,
    key: &'de str,
}

impl<'de> ItemVisitor<'de> for Entry<'_, 'de> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = Self::Out>, Self::Error> {
        let number = match item {
            BareItemFromInput::Integer(number) => u64::try_from(i64::from(number)).ok(),
            _ => None,
        };
        match number {
            None => self.found.malformed = true,
            Some(_) if self.key == "active" => self.found.pool.active = number,
            Some(_) => self.found.pool.idle = number,
        }
        Ok(Ignored)
    }
}

impl<'de> EntryVisitor<'de> for Entry<'_, 'de> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Self::Error> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Self::Error> {
        self.found.malformed = true;
        Ok(Ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_both_gauges() {
        assert_eq!(
            read(b"active=15, idle=25"),
            Ok(Pool {
                active: Some(15),
                idle: Some(25)
            })
        );
    }

    #[test]
    fn a_missing_key_leaves_its_gauge_alone_and_an_unknown_one_is_ignored() {
        assert_eq!(
            read(b"max=40, idle=0;x=1, wait=(1 2)"),
            Ok(Pool {
                active: None,
                idle: Some(0)
            })
        );
        assert_eq!(read(b""), Ok(Pool::default()));
    }

    #[test]
    fn refuses_what_is_no_count() {
        for line in [
            "active=-1",
            "active=1.5",
            "active",
            "active=many",
            "active=(1)",
            "active=15,",
            "active: 15",
            "active=1 idle=2",
        ] {
            assert_eq!(read(line.as_bytes()), Err(Malformed), "{line}");
        }
        assert_eq!(read(b"active=\xff"), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(line: Vec<u8>) {
            let _ = read(&line);
        }
    }
}
