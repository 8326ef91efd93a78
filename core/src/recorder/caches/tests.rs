use super::*;
use crate::fake::FakeProxy;
use crate::recorder::tests::{recorder, respond};

const ANY: &str = r#"{"service": "api"}"#;

fn cached(proxy: &FakeProxy) -> Vec<(String, u64)> {
    let mut stats: Vec<_> = proxy.stats("cache_").into_iter().collect();
    stats.retain(|(name, _)| name.starts_with("responses_total"));
    let name = |name: String| name.replace("responses_total.service=api.cache_type=", "");
    stats
        .into_iter()
        .map(|(full, value)| (name(full), value))
        .collect()
}

fn one(json: &str, headers: &[(&str, &str)]) -> Vec<(String, u64)> {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, json);
    respond(&mut recorder, &proxy, 1, headers);
    recorder.tick(&proxy);
    cached(&proxy)
}

fn row(name: &str, count: u64) -> (String, u64) {
    (name.to_owned(), count)
}

#[test]
fn each_cache_on_the_way_counts_with_its_result() {
    let line = "redis; hit, edge; hit; fwd=stale, cdn; fwd=uri-miss; stored, shop; fwd=bypass, x; fwd=stale; fwd-status=304";
    assert_eq!(
        one(ANY, &[("cache-status", line), ("cache-status", "redis")]),
        [
            row("cdn.result=miss", 1),
            row("edge.result=stale", 1),
            row("redis.result=hit", 1),
            row("redis.result=other", 1),
            row("shop.result=bypass", 1),
            row("x.result=revalidated", 1),
        ]
    );
}

#[test]
fn the_words_of_a_vendor_count_under_the_name_of_their_header() {
    let headers = [("cf-cache-status", "DYNAMIC"), ("x-cache", "MISS, HIT")];
    assert_eq!(
        one(ANY, &headers),
        [row("x-cache.result=hit", 1), row("x-cache.result=miss", 1)]
    );
    let renamed = r#"{"service": "api", "cache": {"types": {"cf-cache-status": "cdn"}}}"#;
    assert_eq!(
        one(renamed, &[("cf-cache-status", "EXPIRED")]),
        [row("cdn.result=miss", 1)]
    );
}

#[test]
fn where_the_standard_header_stands_the_words_of_vendors_do_not_count() {
    let headers = [("x-cache", "HIT"), ("cache-status", "edge; fwd=miss")];
    assert_eq!(one(ANY, &headers), [row("edge.result=miss", 1)]);
}

#[test]
fn all_workers_together_take_so_many_names_and_the_rest_is_other() {
    let proxy = FakeProxy::default();
    let workers: Vec<_> = (0..4).map(|_| proxy.worker()).collect();
    let mut recorders: Vec<_> = workers.iter().map(|worker| recorder(worker, ANY)).collect();
    for name in 0..50 {
        for (recorder, worker) in recorders.iter_mut().zip(&workers) {
            let line = format!("cache-{name}; hit");
            respond(recorder, worker, 1, &[("cache-status", &line)]);
        }
    }
    for (recorder, worker) in recorders.iter_mut().zip(&workers) {
        recorder.tick(worker);
    }
    let counted = cached(&proxy);
    assert_eq!(counted.len(), MOST_TYPES + 1);
    let sum: u64 = counted.iter().map(|(_, count)| count).sum();
    assert_eq!(sum, 200);
    let others = (50 - MOST_TYPES as u64) * 4;
    assert!(counted.contains(&row("other.result=hit", others)));
}

#[test]
fn a_name_that_is_no_plain_token_is_other() {
    for name in ["\"CDN, Paris\"", "a.b", &"x".repeat(33)] {
        let line = format!("{name}; hit");
        assert_eq!(
            one(ANY, &[("cache-status", &line)]),
            [row("other.result=hit", 1)],
            "{name}"
        );
    }
}

#[test]
fn with_an_empty_list_every_cache_is_other() {
    let json = r#"{"service": "api", "cache": {"types": {}}}"#;
    assert_eq!(
        one(json, &[("cache-status", "redis; hit")]),
        [row("other.result=hit", 1)]
    );
}

#[test]
fn the_bytes_of_a_response_count_for_each_cache_only_where_that_is_asked_for() {
    let proxy = FakeProxy::default();
    let json = r#"{"service": "api", "cache": {"types": {"edge": "edge"}, "bytes": true}}"#;
    let mut recorder = recorder(&proxy, json);
    let headers = [("cache-status", "redis; fwd=miss, edge; hit")];
    let heard = respond(&mut recorder, &proxy, 1, &headers);
    recorder.cache_bytes(&heard.outcomes, 1_000);
    recorder.tick(&proxy);
    let bytes = proxy.stats("cache_response_bytes_total.service=api.cache_type=");
    let bytes: Vec<_> = bytes.into_iter().collect();
    assert_eq!(
        bytes,
        [row("edge.result=hit", 1000), row("other.result=miss", 1000)]
    );

    let mut without = crate::recorder::tests::recorder(&proxy, ANY);
    let heard = respond(&mut without, &proxy, 1, &headers);
    assert!(heard.outcomes.is_empty());
}

#[test]
fn without_shared_data_a_name_that_is_new_is_other_and_the_failure_is_counted() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, ANY);
    proxy.fail(HostCall::SharedData);
    respond(&mut recorder, &proxy, 1, &[("cache-status", "redis; hit")]);
    proxy.heal();
    recorder.tick(&proxy);
    assert_eq!(cached(&proxy), [row("other.result=hit", 1)]);
    let failed = "gatemeter_filter_errors_total.service=api.reason=get_shared_data";
    assert_eq!(proxy.stat(failed), Some(1));
}
