//! `X-Db-Pool`: what is read is what the dictionary says, and no number that
//! is none.
#![no_main]

use gatemeter_core::signals::Room;
use gatemeter_core::signals::pool::read;
use gatemeter_fuzz::has_room;
use libfuzzer_sys::fuzz_target;
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

fuzz_target!(|line: &[u8]| {
    let found = read(line, &mut Room::default());
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
    match (found, count("active"), count("idle")) {
        (Ok(pool), active, idle) => {
            assert_eq!((Ok(pool.active), Ok(pool.idle)), (active, idle));
        }
        (Err(_), Ok(_), Ok(_)) if has_room(line) => {
            // Of a repeated key the dictionary keeps the last value only; a
            // line with a first one that is no count is refused.
            let mentions = |key: &[u8]| line.windows(key.len()).filter(|w| *w == key).count();
            assert!(mentions(b"active") > 1 || mentions(b"idle") > 1);
        }
        (Err(_), _, _) => {}
    }
});
