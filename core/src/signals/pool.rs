//! `X-Db-Pool`: the state of a database pool, as a dictionary of structured
//! fields (RFC 9651 §3.2).
//!
//! ```text
//! X-Db-Pool: active=15, idle=25
//! ```
//!
//! Both keys are integers from zero on. A key that is missing leaves its gauge
//! as it is; unknown keys are ignored, as the standard wants it.

use sfv::visitor::{
    DictionaryVisitor, EntryVisitor, InnerListVisitor, ItemVisitor, ParameterVisitor,
};
use sfv::{BareItemFromInput, KeyRef, Parser};

use super::room::PassedBy;
use super::{Malformed, Room};

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
/// Where the line is no dictionary, a number is negative or no integer, or the
/// room is too small for it.
pub fn read(line: &[u8], room: &mut Room) -> Result<Pool, Malformed> {
    room.line(line)?;
    let mut found = Found::default();
    let keys = Keys {
        found: &mut found,
        room,
    };
    Parser::new(line).parse_dictionary_with_visitor(keys)?;
    Ok(Pool {
        active: found.active.transpose()?,
        idle: found.idle.transpose()?,
    })
}

/// What was said last of a key: RFC 9651 §4.2.2 lets a later one replace it.
type Number = Option<Result<u64, Malformed>>;

#[derive(Default)]
struct Found {
    active: Number,
    idle: Number,
}

struct Keys<'p> {
    found: &'p mut Found,
    room: &'p mut Room,
}

impl<'de> DictionaryVisitor<'de> for Keys<'_> {
    type Out = ();
    type Error = Malformed;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Malformed> {
        self.room.part()?;
        Ok(Entry {
            number: match key.as_str() {
                "active" => Some(&mut self.found.active),
                "idle" => Some(&mut self.found.idle),
                _ => None,
            },
            room: self.room,
        })
    }

    fn finish(self) -> Result<(), Malformed> {
        Ok(())
    }
}

struct Entry<'p> {
    /// Where the number goes; `None` for a key that is of no interest.
    number: Option<&'p mut Number>,
    room: &'p mut Room,
}

impl<'de> ItemVisitor<'de> for Entry<'_> {
    type Out = ();
    type Error = Malformed;

    fn bare_item(
        self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = ()>, Malformed> {
        if let Some(number) = self.number {
            *number = Some(match item {
                BareItemFromInput::Integer(integer) => {
                    u64::try_from(i64::from(integer)).map_err(|_| Malformed)
                }
                _ => Err(Malformed),
            });
        }
        Ok(PassedBy(self.room))
    }
}

impl<'de> EntryVisitor<'de> for Entry<'_> {
    type Error = Malformed;

    fn item(self) -> Result<impl ItemVisitor<'de>, Malformed> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Malformed> {
        if let Some(number) = self.number {
            *number = Some(Err(Malformed));
        }
        Ok(PassedBy(self.room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &[u8]) -> Result<Pool, Malformed> {
        super::read(line, &mut Room::default())
    }

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
    fn the_last_of_a_repeated_key_counts() {
        let active = |line: &[u8]| read(line).map(|pool| pool.active);
        assert_eq!(active(b"active=1, active=2"), Ok(Some(2)));
        assert_eq!(active(b"active=many, active=2"), Ok(Some(2)));
        assert_eq!(active(b"active=2, active=(1)"), Err(Malformed));
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

    #[test]
    fn a_response_has_room_for_so_many_keys() {
        let keys = |keys: usize| "a=1,".repeat(keys) + "active=2";
        assert_eq!(read(keys(63).as_bytes()).map(|p| p.active), Ok(Some(2)));
        assert_eq!(read(keys(64).as_bytes()), Err(Malformed));
        let list = format!("x=({})", "1 ".repeat(64));
        assert_eq!(read(list.as_bytes()), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(line: Vec<u8>) {
            let _ = read(&line);
        }
    }
}
