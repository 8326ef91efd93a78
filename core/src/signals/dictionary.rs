//! Numbers from a dictionary of structured fields (RFC 9651 §3.2), under keys
//! that the configuration names.
//!
//! ```text
//! X-Db-Pool: active=15, idle=25
//! ```
//!
//! The numbers are integers from zero on, of at most fifteen digits (§3.3.1):
//! the proxy's gauges hold nothing else. A decimal is refused and not rounded,
//! so that a service which changes its unit is noticed. A key that is missing
//! gives nothing; unknown keys and all parameters are ignored, as the standard
//! wants it. Of a repeated key the last value counts (§4.2.2).

use sfv::visitor::{
    DictionaryVisitor, EntryVisitor, InnerListVisitor, ItemVisitor, ParameterVisitor,
};
use sfv::{BareItemFromInput, KeyRef, Parser};

use super::room::PassedBy;
use super::{Malformed, Room};

/// Keys that are read of one dictionary at most.
pub const MAX_KEYS: usize = 8;

/// The numbers that one line gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    values: [u64; MAX_KEYS],
    /// A bit for each value that is there.
    present: u32,
}

impl Numbers {
    /// That of the key at this index.
    pub fn of(&self, key: usize) -> Option<u64> {
        let value = *self.values.get(key)?;
        (self.present >> key & 1 == 1).then_some(value)
    }

    /// Each with the index of its key.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        (0..MAX_KEYS).filter_map(|key| Some((key, self.of(key)?)))
    }
}

/// What one header line says under these keys. Of more than [`MAX_KEYS`] keys
/// the rest is not read.
///
/// # Errors
/// Where the line is no dictionary, a number is negative or no integer, or the
/// room is too small for it.
pub fn read<K: AsRef<str>>(line: &[u8], keys: &[K], room: &mut Room) -> Result<Numbers, Malformed> {
    room.line(line)?;
    let mut found = Found::default();
    Parser::new(line).parse_dictionary_with_visitor(Entries {
        keys,
        found: &mut found,
        room,
    })?;
    match found.malformed {
        0 => Ok(found.numbers),
        _ => Err(Malformed),
    }
}

#[derive(Default)]
struct Found {
    numbers: Numbers,
    /// A bit for each key whose last value is no number: a later one may still
    /// replace it.
    malformed: u32,
}

impl Found {
    fn say(&mut self, key: usize, number: Result<u64, Malformed>) {
        let Some(place) = self.numbers.values.get_mut(key) else {
            return;
        };
        let bit = 1 << key;
        match number {
            Ok(number) => {
                *place = number;
                self.numbers.present |= bit;
                self.malformed &= !bit;
            }
            Err(Malformed) => {
                *place = 0;
                self.numbers.present &= !bit;
                self.malformed |= bit;
            }
        }
    }
}

struct Entries<'p, K> {
    keys: &'p [K],
    found: &'p mut Found,
    room: &'p mut Room,
}

impl<'de, K: AsRef<str>> DictionaryVisitor<'de> for Entries<'_, K> {
    type Out = ();
    type Error = Malformed;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Malformed> {
        self.room.part()?;
        let named = |name: &K| name.as_ref() == key.as_str();
        Ok(Entry {
            key: self.keys.iter().position(named),
            found: self.found,
            room: self.room,
        })
    }

    fn finish(self) -> Result<(), Malformed> {
        Ok(())
    }
}

struct Entry<'p> {
    /// Index of the key; `None` for one that is of no interest.
    key: Option<usize>,
    found: &'p mut Found,
    room: &'p mut Room,
}

impl Entry<'_> {
    fn say(&mut self, number: Result<u64, Malformed>) {
        if let Some(key) = self.key {
            self.found.say(key, number);
        }
    }
}

impl<'de> ItemVisitor<'de> for Entry<'_> {
    type Out = ();
    type Error = Malformed;

    fn bare_item(
        mut self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = ()>, Malformed> {
        self.say(match item {
            BareItemFromInput::Integer(integer) => {
                u64::try_from(i64::from(integer)).map_err(|_| Malformed)
            }
            _ => Err(Malformed),
        });
        Ok(PassedBy(self.room))
    }
}

impl<'de> EntryVisitor<'de> for Entry<'_> {
    type Error = Malformed;

    fn item(self) -> Result<impl ItemVisitor<'de>, Malformed> {
        Ok(self)
    }

    fn inner_list(mut self) -> Result<impl InnerListVisitor<'de>, Malformed> {
        self.say(Err(Malformed));
        Ok(PassedBy(self.room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POOL: [&str; 2] = ["active", "idle"];

    fn pool(line: &[u8]) -> Result<[Option<u64>; 2], Malformed> {
        let numbers = read(line, &POOL, &mut Room::default())?;
        Ok([numbers.of(0), numbers.of(1)])
    }

    #[test]
    fn reads_the_numbers_under_the_keys_in_the_order_of_the_keys() {
        assert_eq!(pool(b"active=15, idle=25"), Ok([Some(15), Some(25)]));
        assert_eq!(pool(b"idle=25,active=15"), Ok([Some(15), Some(25)]));
        assert_eq!(pool(b"active=999999999999999"), {
            Ok([Some(999_999_999_999_999), None])
        });
        let numbers = read(b"c=3, a=1", &["a", "b", "c"], &mut Room::default()).unwrap();
        assert!(numbers.iter().eq([(0, 1), (2, 3)]));
    }

    #[test]
    fn a_missing_key_gives_nothing_and_an_unknown_one_is_ignored() {
        let line = b"max=40, idle=0;x=1, wait=(1 2), load=0.5, up";
        assert_eq!(pool(line), Ok([None, Some(0)]));
        assert_eq!(pool(b""), Ok([None, None]));
        let none: [&str; 0] = [];
        assert_eq!(
            read(b"active=1", &none, &mut Room::default()),
            Ok(Numbers::default())
        );
    }

    #[test]
    fn the_last_of_a_repeated_key_counts() {
        let active = |line: &[u8]| pool(line).map(|[active, _]| active);
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
            "active=1000000000000000",
        ] {
            assert_eq!(pool(line.as_bytes()), Err(Malformed), "{line}");
        }
        assert_eq!(pool(b"active=\xff"), Err(Malformed));
    }

    #[test]
    fn eight_keys_are_read_and_no_more() {
        let keys: Vec<String> = (0..17).map(|key| format!("k{key}")).collect();
        let line: Vec<String> = keys.iter().map(|key| format!("{key}=7")).collect();
        let numbers = read(line.join(", ").as_bytes(), &keys, &mut Room::default()).unwrap();
        assert!(numbers.iter().eq((0..8).map(|key| (key, 7))));
        assert_eq!(numbers.of(16), None);
        assert_eq!(
            read(b"k16=-1", &keys, &mut Room::default()),
            Ok(Numbers::default())
        );
    }

    #[test]
    fn a_response_has_room_for_so_many_keys() {
        let keys = |keys: usize| "a=1,".repeat(keys) + "active=2";
        assert_eq!(pool(keys(63).as_bytes()), Ok([Some(2), None]));
        assert_eq!(pool(keys(64).as_bytes()), Err(Malformed));
        let list = format!("x=({})", "1 ".repeat(64));
        assert_eq!(pool(list.as_bytes()), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(line: Vec<u8>) {
            let _ = pool(&line);
        }

        #[test]
        fn what_is_written_is_read(
            active in 0..=999_999_999_999_999_u64,
            idle in prop::option::of(0..=999_999_999_999_999_u64),
        ) {
            let line = match idle {
                Some(idle) => format!("idle={idle}, active={active};since=@1"),
                None => format!("active={active}"),
            };
            prop_assert_eq!(pool(line.as_bytes()), Ok([Some(active), idle]));
        }
    }
}
