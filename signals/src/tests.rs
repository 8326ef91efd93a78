//! What is said, read back by a parser of structured fields that is not ours.

use std::time::Duration;

use proptest::prelude::*;
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parser};

use super::*;

/// The value of the one header of that name.
fn value(signals: &Signals, name: &str) -> Option<String> {
    let headers = signals.headers();
    let found: Vec<_> = headers
        .iter()
        .filter(|(header, _)| *header == name)
        .collect();
    assert!(found.len() <= 1, "{headers:?}");
    found.first().map(|(_, value)| value.clone())
}

/// The members of `Cache-Status`: name, and parameters as `key=value`.
fn members(line: &str) -> Vec<(String, Vec<String>)> {
    let list: List = Parser::new(line).parse().unwrap();
    let text = |item: &BareItem| match item {
        BareItem::Token(token) => token.as_str().to_owned(),
        BareItem::String(string) => string.as_str().to_owned(),
        BareItem::Integer(integer) => integer.to_string(),
        BareItem::Boolean(true) => String::new(),
        other => panic!("{other:?} in {line}"),
    };
    let mut members = Vec::new();
    for entry in list {
        let ListEntry::Item(item) = entry else {
            panic!("a list in {line}");
        };
        let parameters = item.params.iter();
        let parameters = parameters.map(|(key, value)| format!("{}={}", key.as_str(), text(value)));
        members.push((text(&item.bare_item), parameters.collect()));
    }
    members
}

/// Name and milliseconds of each entry of `Server-Timing`.
fn timings(line: &str) -> Vec<(String, f64)> {
    let entries = line.split(", ");
    let entries = entries.map(|entry| entry.split_once(";dur=").unwrap());
    entries
        .map(|(name, milliseconds)| (name.to_owned(), milliseconds.parse().unwrap()))
        .collect()
}

#[test]
fn says_nothing_where_there_is_nothing_to_say() {
    let signals = Signals::new();
    drop(signals.cache("redis"));
    let mut headers = HeaderMap::new();
    signals.write_to(&mut headers);
    assert!(headers.is_empty(), "{headers:?}");
    assert_eq!(signals.headers(), []);
}

#[test]
fn a_hit_and_a_reason_to_forward_exclude_each_other() {
    let signals = Signals::new();
    let told = |lookup: CacheLookup| lookup.ttl(-412).fwd_status(304).stored().collapsed();
    told(signals.cache("stale")).forwarded(Forward::Stale);
    told(signals.cache("fresh")).hit();
    assert_eq!(
        value(&signals, "cache-status").unwrap(),
        "fresh;hit;ttl=-412, stale;fwd=stale;fwd-status=304;ttl=-412;stored;collapsed"
    );
}

#[test]
fn each_reason_has_the_word_of_the_standard() {
    for (reason, word) in [
        (Forward::Bypass, "bypass"),
        (Forward::Method, "method"),
        (Forward::UriMiss, "uri-miss"),
        (Forward::VaryMiss, "vary-miss"),
        (Forward::Miss, "miss"),
        (Forward::Request, "request"),
        (Forward::Stale, "stale"),
        (Forward::Partial, "partial"),
    ] {
        let signals = Signals::new();
        signals.cache("c").forwarded(reason);
        let line = value(&signals, "cache-status").unwrap();
        let fwd = vec![format!("fwd={word}")];
        assert_eq!(members(&line), [("c".to_owned(), fwd)]);
    }
}

#[test]
fn caches_stand_from_the_origin_to_the_client_whichever_answers_first() {
    let signals = Signals::new();
    let memory = signals.cache("memory");
    let redis = signals.cache("redis");
    let disk = signals.cache("disk");
    memory.miss();
    disk.hit();
    redis.miss();
    assert_eq!(
        value(&signals, "cache-status").unwrap(),
        "disk;hit, redis;fwd=miss, memory;fwd=miss"
    );
}

#[test]
fn a_name_that_is_no_token_is_a_string_and_one_that_is_no_string_is_left_out() {
    let signals = Signals::new();
    for name in ["caf\u{e9}", "line\nbreak", "", &"x".repeat(65)] {
        signals.cache(name).hit();
    }
    signals
        .cache("CDN \"Paris\", \\1")
        .detail("disk, slow")
        .hit();
    signals.cache("redis").detail("\u{7f}").miss();
    let line = value(&signals, "cache-status").unwrap();
    assert_eq!(
        members(&line),
        [
            ("redis".to_owned(), vec!["fwd=miss".to_owned()]),
            (
                "CDN \"Paris\", \\1".to_owned(),
                vec!["hit=".to_owned(), "detail=disk, slow".to_owned()]
            ),
        ]
    );
}

#[test]
fn durations_are_milliseconds_to_the_microsecond() {
    let signals = Signals::new();
    signals.took("vectordb", Duration::from_nanos(12_345_999));
    signals.took("quick", Duration::from_micros(7));
    signals.took("endless", Duration::MAX);
    signals.took("no token", Duration::ZERO);
    signals.took("", Duration::ZERO);
    assert_eq!(
        value(&signals, "server-timing").unwrap(),
        "vectordb;dur=12.345, quick;dur=0.007, endless;dur=86400000.000"
    );
}

#[test]
fn a_timer_tells_when_it_is_dropped_or_stopped_and_not_before() {
    let signals = Signals::new();
    let start = Instant::now();
    let outer = signals.time("outer");
    let inner = signals.time("inner");
    assert_eq!(value(&signals, "server-timing"), None);
    std::thread::sleep(Duration::from_millis(2));
    inner.stop();
    drop(outer);
    let most = start.elapsed().as_secs_f64() * 1000.0;
    let timings = timings(&value(&signals, "server-timing").unwrap());
    let [(inner, shorter), (outer, longer)] = timings.as_slice() else {
        panic!("{timings:?}");
    };
    assert_eq!((inner.as_str(), outer.as_str()), ("inner", "outer"));
    assert!(
        2.0 <= *shorter && shorter <= longer && *longer <= most,
        "{timings:?}"
    );
}

#[tokio::test]
async fn a_timed_future_gives_its_output_and_a_dropped_one_tells_nothing() {
    let signals = Signals::new();
    assert_eq!(signals.timed("search", async { 7 }).await, 7);
    let pending = signals.timed("never", std::future::pending::<()>());
    let ended = tokio::time::timeout(Duration::from_millis(1), pending).await;
    assert!(ended.is_err());
    let timings = timings(&value(&signals, "server-timing").unwrap());
    assert_eq!(timings.len(), 1, "{timings:?}");
    assert_eq!(timings[0].0, "search");
}

#[test]
fn pool_and_results_are_numbers_of_structured_fields_however_large() {
    let signals = Signals::new();
    signals.pool(Pool { active: 1, idle: 2 });
    signals.pool(Pool {
        active: u64::MAX,
        idle: 0,
    });
    signals.results(0);
    let line = value(&signals, "x-db-pool").unwrap();
    let pool: Dictionary = Parser::new(&line).parse().unwrap();
    let number = |key: &str| match pool.get(key) {
        Some(ListEntry::Item(item)) => item.bare_item.as_integer().map(i64::from),
        _ => None,
    };
    assert_eq!(number("active"), Some(999_999_999_999_999));
    assert_eq!(number("idle"), Some(0));
    let line = value(&signals, "x-search-results").unwrap();
    let results: Item = Parser::new(&line).parse().unwrap();
    assert_eq!(results.bare_item.as_integer().map(i64::from), Some(0));
}

#[test]
fn what_others_said_stays_before_ours_and_single_values_are_ours() {
    let signals = Signals::new();
    signals.cache("redis").hit();
    signals.took("search", Duration::from_millis(3));
    signals.pool(Pool { active: 1, idle: 2 });
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_STATUS, HeaderValue::from_static("origin;hit"));
    headers.insert(SERVER_TIMING, HeaderValue::from_static("db;dur=1"));
    headers.insert(X_DB_POOL, HeaderValue::from_static("active=9"));
    signals.write_to(&mut headers);
    let lines = |name| headers.get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(lines(CACHE_STATUS), ["origin;hit", "redis;hit"]);
    assert_eq!(lines(SERVER_TIMING), ["db;dur=1", "search;dur=3.000"]);
    assert_eq!(lines(X_DB_POOL), ["active=1, idle=2"]);
}

#[test]
fn a_response_that_is_full_already_gets_nothing_more() {
    let signals = Signals::new();
    signals.cache("redis").hit();
    signals.results(3);
    for full in [vec!["a"; 64].join(","), "a".repeat(1000)] {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_STATUS, HeaderValue::try_from(full).unwrap());
        signals.write_to(&mut headers);
        assert_eq!(headers.len(), 1, "{headers:?}");
    }
}

#[test]
fn of_too_many_the_first_are_said() {
    let signals = Signals::new();
    for n in 0..1000 {
        signals.cache(&format!("c{n}")).hit();
        signals.took("t", Duration::from_millis(n));
    }
    let line = value(&signals, "cache-status").unwrap();
    let caches = members(&line);
    assert_eq!(caches.len(), 32, "{line}");
    assert_eq!(caches[0].0, "c31");
    assert_eq!(caches[31].0, "c0");
    assert_eq!(value(&signals, "server-timing"), None, "no part is left");
}

/// One thing that a handler may say.
#[derive(Clone, Debug)]
enum Saying {
    Cache(String, Option<String>, i64, bool),
    Timing(usize, u64),
    Pool(u64, u64),
    Results(usize),
}

fn saying() -> impl Strategy<Value = Saying> {
    prop_oneof![
        (
            any::<String>(),
            any::<Option<String>>(),
            any::<i64>(),
            any::<bool>()
        )
            .prop_map(|(name, detail, ttl, hit)| Saying::Cache(name, detail, ttl, hit)),
        (
            "[ -~]{0,70}",
            proptest::option::of("[ -~]{0,70}"),
            any::<i64>(),
            any::<bool>()
        )
            .prop_map(|(name, detail, ttl, hit)| Saying::Cache(name, detail, ttl, hit)),
        (0..4_usize, any::<u64>()).prop_map(|(name, time)| Saying::Timing(name, time)),
        (any::<u64>(), any::<u64>()).prop_map(|(active, idle)| Saying::Pool(active, idle)),
        any::<usize>().prop_map(Saying::Results),
    ]
}

fn say(signals: &Signals, saying: Saying) {
    match saying {
        Saying::Cache(name, detail, ttl, hit) => {
            let mut lookup = signals.cache(&name).ttl(ttl).stored().fwd_status(200);
            if let Some(detail) = detail {
                lookup = lookup.detail(&detail);
            }
            if hit {
                lookup.hit();
            } else {
                lookup.miss();
            }
        }
        Saying::Timing(name, time) => {
            let name = ["search", "bad name", "x!#$", "recommend"][name];
            signals.took(name, Duration::from_nanos(time));
        }
        Saying::Pool(active, idle) => signals.pool(Pool { active, idle }),
        Saying::Results(results) => signals.results(results),
    }
}

proptest! {
    /// Whatever is said, each header parses, and all of them are within what
    /// the filter reads of a response.
    #[test]
    fn whatever_is_said_can_be_read(sayings in proptest::collection::vec(saying(), 0..80)) {
        let signals = Signals::new();
        for saying in sayings {
            say(&signals, saying);
        }
        let mut headers = HeaderMap::new();
        signals.write_to(&mut headers);
        let (mut bytes, mut parts) = (0, 0);
        for (name, value) in &headers {
            let line = value.to_str().unwrap();
            bytes += line.len() + 32;
            parts += match name.as_str() {
                "cache-status" => {
                    let members = members(line);
                    members.iter().map(|(_, parameters)| 1 + parameters.len()).sum()
                }
                "server-timing" => 2 * timings(line).len(),
                "x-db-pool" => Parser::new(line).parse::<Dictionary>().unwrap().len(),
                "x-search-results" => {
                    prop_assert!(Parser::new(line).parse::<Item>().is_ok());
                    1
                }
                other => panic!("{other}"),
            };
        }
        prop_assert!(bytes <= 1024 && parts <= 64, "{bytes} bytes, {parts} parts: {headers:?}");
        let listed: Vec<_> = signals.headers();
        prop_assert_eq!(listed.len(), headers.len());
        for (name, value) in listed {
            prop_assert_eq!(headers[name].to_str().unwrap(), value);
        }
    }
}
