//! `Cache-Status`: nothing counts of a malformed line, and a well-formed one says
//! what RFC 9211 says.
#![no_main]

use gatemeter_core::signals::cache_status::{Member, read};
use gatemeter_core::signals::{CacheResult, Room};
use gatemeter_fuzz::has_room;
use libfuzzer_sys::fuzz_target;
use sfv::{BareItem, Item, List, ListEntry, Parser};

fuzz_target!(|line: &[u8]| {
    let found = read(line, &mut Room::default());
    let Ok(list) = Parser::new(line).parse::<List>() else {
        assert!(found.is_err());
        return;
    };
    let Ok(found) = found else {
        assert!(!has_room(line), "refused, although well-formed and short");
        return;
    };
    let expected: Vec<_> = list.iter().filter_map(member).collect();
    assert_eq!(found, expected);

    for Member { name, .. } in &found {
        assert!(
            name.bytes()
                .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        );
    }
});

/// RFC 9211 §2 on a list that is in memory as a whole.
fn member(entry: &ListEntry) -> Option<Member<'_>> {
    let ListEntry::Item(Item { bare_item, params }) = entry else {
        return None;
    };
    let name = match bare_item {
        BareItem::Token(name) => name.as_str(),
        BareItem::String(name) => name.as_str(),
        _ => return None,
    };
    let hit = params.get("hit").and_then(BareItem::as_boolean) == Some(true);
    let forwarded = params.get("fwd").and_then(BareItem::as_token);
    let status = params.get("fwd-status").and_then(BareItem::as_integer);
    let validated = status.is_some_and(|status| i64::from(status) == 304);
    let ttl = params.get("ttl").and_then(BareItem::as_integer);
    let outlived = ttl.is_some_and(|ttl| i64::from(ttl) < 0);
    let result = match (hit, forwarded.map(|reason| reason.as_str())) {
        (true, Some("stale")) => CacheResult::Stale,
        (true, _) if outlived => CacheResult::Stale,
        (true, _) => CacheResult::Hit,
        (false, Some("stale")) if validated => CacheResult::Revalidated,
        (false, Some("bypass" | "method")) => CacheResult::Bypass,
        (false, Some(_)) => CacheResult::Miss,
        (false, None) => CacheResult::Other,
    };
    let name = name.into();
    Some(Member { name, result })
}
