//! `Cache-Status`: nothing counts of a malformed line, a well-formed one says
//! what RFC 9211 says, and whatever a cache calls itself its label stands in
//! the configuration.
#![no_main]

use gatemeter_core::plugin_config::{OTHER_CACHE, PluginConfig};
use gatemeter_core::signals::cache_status::{CacheResult, read};
use libfuzzer_sys::fuzz_target;
use sfv::{BareItem, Item, List, ListEntry, Parser};

fuzz_target!(|line: &[u8]| {
    let mut found: Vec<(String, CacheResult)> = Vec::new();
    let outcome = read(line, |name, result| found.push((name.to_owned(), result)));
    match Parser::new(line).parse::<List>() {
        Err(_) => {
            assert!(outcome.is_err());
            assert!(found.is_empty());
        }
        Ok(list) => {
            assert!(outcome.is_ok());
            let expected: Vec<_> = list.iter().filter_map(member).collect();
            assert_eq!(found, expected);
        }
    }
    let config = br#"{"service": "api", "cache": {"types": {"redis": "redis", "CDN": "cdn"}}}"#;
    let config = PluginConfig::parse(config).expect("a configuration");
    for (name, _) in &found {
        assert!(
            name.bytes()
                .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        );
        let label = config.cache_type(name);
        assert!(["redis", "cdn", OTHER_CACHE].contains(&label));
        assert_eq!(label == OTHER_CACHE, name != "redis" && name != "CDN");
    }
});

/// RFC 9211 §2 on a list that is in memory as a whole.
fn member(entry: &ListEntry) -> Option<(String, CacheResult)> {
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
    let result = match (hit, forwarded.map(|reason| reason.as_str())) {
        (true, _) => CacheResult::Hit,
        (false, None | Some("bypass" | "method")) => CacheResult::Neither,
        (false, Some(_)) => CacheResult::Miss,
    };
    Some((name.to_owned(), result))
}
