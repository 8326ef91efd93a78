use gatemeter_host_tests::{Envoy, Request};
use serde_json::{Value, json};

use crate::{assert_requests, envoy, flushed};

const ACTIVE: &str = "db_connections_active.service=api";
const IDLE: &str = "db_connections_idle.service=api";

#[track_caller]
fn with_cache_types(keys: Value) -> Envoy {
    let mut all = json!({"cache": {"types": {"redis": "redis", "edge-cache": "cdn"}}});
    if let (Some(all), Value::Object(keys)) = (all.as_object_mut(), keys) {
        all.extend(keys);
    }
    envoy(all)
}

/// A response with these headers; gives the names that reached the client.
#[track_caller]
fn respond(envoy: &Envoy, headers: &[(&str, &str)]) -> Vec<String> {
    let stream = envoy.worker(0).request(Request::get("/a"));
    stream.respond(200, headers.to_vec());
    stream.finish();
    let sent = stream.response_headers_sent().into_iter();
    sent.map(|(name, _)| String::from_utf8_lossy(&name).into_owned())
        .collect()
}

fn hits(cache: &str) -> String {
    format!("cache_hits_total.service=api.cache_type={cache}")
}

fn misses(cache: &str) -> String {
    format!("cache_misses_total.service=api.cache_type={cache}")
}

fn signal_errors(signal: &str) -> String {
    format!("gatemeter_signal_errors_total.service=api.signal={signal}")
}

#[test]
fn the_pool_header_sets_the_gauges_and_does_not_reach_the_client() {
    let envoy = envoy(json!({}));
    let sent = respond(
        &envoy,
        &[("x-db-pool", "active=15, idle=25"), ("x-other", "1")],
    );
    assert_eq!(sent, [":status", "x-other"]);
    let stats = flushed(&envoy);
    stats.assert_gauge(ACTIVE, 15);
    stats.assert_gauge(IDLE, 25);

    respond(&envoy, &[("x-db-pool", "idle=40")]);
    respond(&envoy, &[]);
    let stats = flushed(&envoy);
    stats.assert_gauge(ACTIVE, 15);
    stats.assert_gauge(IDLE, 40);
    stats.assert_uncounted(&signal_errors("x-db-pool"));
}

#[test]
fn the_pool_header_of_a_request_is_not_believed() {
    let envoy = envoy(json!({}));
    let request = Request::get("/a")
        .header("x-db-pool", "active=1, idle=1")
        .header("cache-status", "redis; hit");
    let stream = envoy.worker(0).request(request);
    stream.respond(200, [("x-db-pool", "active=2, idle=2")]);
    stream.finish();
    let stats = flushed(&envoy);
    stats.assert_gauge(ACTIVE, 2);
    stats.assert_series("cache_hits_total", &[]);
}

#[test]
fn a_pool_header_that_is_no_dictionary_is_counted_and_still_stripped() {
    let envoy = envoy(json!({}));
    for value in [
        "active",
        "active=",
        "active=-1",
        "active=1.5",
        "active=99999999999999999999",
        "\u{e9}",
    ] {
        let sent = respond(&envoy, &[("x-db-pool", value)]);
        assert_eq!(sent, [":status"], "{value}");
    }
    let stats = flushed(&envoy);
    stats.assert_counter(&signal_errors("x-db-pool"), 6);
    stats.assert_gauge(ACTIVE, 0);
    assert_requests(&stats, &[("GET", "/a", "200", 6)]);
}

#[test]
fn what_to_strip_is_configured() {
    let envoy = envoy(json!({"strip": ["Cache-Status"]}));
    let headers = [("x-db-pool", "active=1"), ("cache-status", "redis; hit")];
    assert_eq!(respond(&envoy, &headers), [":status", "x-db-pool"]);
    flushed(&envoy).assert_gauge(ACTIVE, 1);
}

#[test]
fn server_timing_is_not_read_but_can_be_stripped() {
    let headers = [("server-timing", "cache;desc=hit"), ("x-db-pool", "idle=3")];
    for (strip, left) in [
        (json!([]), vec![":status", "server-timing", "x-db-pool"]),
        (json!(["Server-Timing"]), vec![":status", "x-db-pool"]),
    ] {
        let envoy = envoy(json!({"strip": strip}));
        assert_eq!(respond(&envoy, &headers), left);
        let stats = flushed(&envoy);
        stats.assert_gauge(IDLE, 3);
        stats.assert_series("cache_hits_total", &[]);
        stats.assert_uncounted(&signal_errors("server-timing"));
    }
}

#[test]
fn hits_and_misses_are_counted_by_configured_type_and_others_share_one() {
    let envoy = with_cache_types(json!({}));
    let sent = respond(&envoy, &[("cache-status", "redis; hit")]);
    assert_eq!(
        sent,
        [":status", "cache-status"],
        "not stripped unless asked for"
    );
    respond(&envoy, &[("cache-status", "redis; fwd=uri-miss; stored")]);
    respond(
        &envoy,
        &[("cache-status", "redis; hit; ttl=10, edge-cache; fwd=stale")],
    );
    respond(
        &envoy,
        &[
            ("cache-status", "redis; hit"),
            ("cache-status", "edge-cache; hit"),
        ],
    );
    respond(&envoy, &[("cache-status", r#""Varnish, Paris"; hit"#)]);
    respond(&envoy, &[("cache-status", "redis; fwd=bypass, edge-cache")]);
    let stats = flushed(&envoy);
    stats.assert_series(
        "cache_hits_total",
        &[
            ("service=api.cache_type=redis", 3),
            ("service=api.cache_type=cdn", 1),
            ("service=api.cache_type=other", 1),
        ],
    );
    stats.assert_series(
        "cache_misses_total",
        &[
            ("service=api.cache_type=redis", 1),
            ("service=api.cache_type=cdn", 1),
        ],
    );
}

#[test]
fn text_of_a_header_never_becomes_a_label() {
    let envoy = with_cache_types(json!({}));
    for number in 0..200 {
        let value = format!("cache-{number}; hit, \"line\\\\feed={number}\"; hit");
        respond(&envoy, &[("cache-status", &value)]);
    }
    let stats = flushed(&envoy);
    stats.assert_counter(&hits("other"), 400);
    assert_eq!(stats.series("cache_hits_total").count(), 3);
}

#[test]
fn nothing_counts_of_a_malformed_cache_header() {
    let envoy = with_cache_types(json!({}));
    respond(&envoy, &[("cache-status", "redis; hit, =")]);
    let stats = flushed(&envoy);
    stats.assert_counter(&hits("redis"), 0);
    stats.assert_counter(&signal_errors("cache-status"), 1);
}

#[test]
fn configured_cache_types_are_shown_at_zero() {
    let stats = with_cache_types(json!({})).stats();
    for cache in ["redis", "cdn"] {
        stats.assert_counter(&hits(cache), 0);
        stats.assert_counter(&misses(cache), 0);
    }
}
