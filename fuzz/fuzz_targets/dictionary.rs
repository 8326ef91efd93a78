//! Numbers of a dictionary: what is read is what the dictionary says, and no
//! number that is none.
#![no_main]

use gatemeter_core::signals::Room;
use gatemeter_core::signals::dictionary::read;
use gatemeter_fuzz::has_room;
use libfuzzer_sys::fuzz_target;
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

const KEYS: [&str; 3] = ["active", "idle", "a"];

fuzz_target!(|line: &[u8]| {
    let found = read(line, &KEYS, &mut Room::default());
    let Ok(dictionary) = Parser::new(line).parse::<Dictionary>() else {
        assert!(found.is_err());
        return;
    };
    let count = |key: &str| -> Result<Option<u64>, ()> {
        match dictionary.get(key) {
            None => Ok(None),
            Some(ListEntry::Item(Item {
                bare_item: BareItem::Integer(number),
                ..
            })) => u64::try_from(i64::from(*number)).map(Some).map_err(|_| ()),
            Some(_) => Err(()),
        }
    };
    let expected: Result<Vec<_>, ()> = KEYS.iter().map(|key| count(key)).collect();
    match found {
        Ok(numbers) => {
            let numbers: Vec<_> = (0..KEYS.len()).map(|key| numbers.of(key)).collect();
            assert_eq!(Ok(numbers), expected);
        }
        Err(_) => assert!(expected.is_err() || !has_room(line)),
    }
});
