use std::time::Duration;

use gatemeter_host_tests::scenario::flags;
use gatemeter_host_tests::{AccessLog, NO_HEADERS, Request};
use serde_json::json;

use crate::{assert_requests, envoy, envoy_with_routes, flushed};

const SUM: &str = "http_request_duration_nanoseconds_sum.service=api.method=GET.path=/a";

fn log(path: &str, status: u16) -> AccessLog {
    AccessLog::of(Request::get(path)).response(status, NO_HEADERS)
}

#[test]
fn an_exchange_is_counted_when_it_is_logged_with_the_proxys_duration() {
    let envoy = envoy_with_routes(&["/a"]);
    let worker = envoy.worker(0);
    worker.access_log(log("/a", 200).duration(Duration::from_nanos(5_000_000)));
    worker.access_log(log("/a", 200).duration(Duration::from_nanos(5_000_001)));
    worker.access_log(log("/b", 404));
    let stats = flushed(&envoy);
    let lines = [("GET", "/a", "200", 2), ("GET", "_UNMATCHED", "404", 1)];
    assert_requests(&stats, &lines);
    stats.assert_counter(SUM, 10_000_001);
    let bin = "http_request_duration_seconds_bin.service=api.method=GET.path=/a.status=200.le=";
    stats.assert_counter(&format!("{bin}0.005"), 1);
    stats.assert_counter(&format!("{bin}0.01"), 1);
}

#[test]
fn the_path_is_the_original_one_where_a_route_rewrote_it() {
    let envoy = envoy_with_routes(&["/api/content/:id", "/content/:id"]);
    let rewritten = Request::get("/content/42").header("x-envoy-original-path", "/api/content/42");
    envoy
        .worker(0)
        .access_log(AccessLog::of(rewritten).response(200, NO_HEADERS));
    assert_requests(&flushed(&envoy), &[("GET", "/api/content/:id", "200", 1)]);
}

#[test]
fn a_stream_is_observed_whole() {
    let envoy = envoy_with_routes(&["/a"]);
    let headers = [("content-type", "text/event-stream")];
    let stream = AccessLog::of(Request::get("/a")).response(200, headers);
    envoy
        .worker(0)
        .access_log(stream.duration(Duration::from_secs(60)));
    flushed(&envoy).assert_counter(SUM, 60_000_000_000);
}

#[test]
fn an_abort_is_499_and_a_reply_of_the_proxy_has_its_reason() {
    let envoy = envoy_with_routes(&["/a"]);
    let worker = envoy.worker(0);
    let abort = AccessLog::of(Request::get("/a")).flags(flags::DC);
    worker.access_log(abort.details("downstream_remote_disconnect"));
    worker.access_log(log("/a", 503).flags(flags::UF));
    let stats = flushed(&envoy);
    let lines = [("GET", "/a", "499", 1), ("GET", "/a", "503", 1)];
    assert_requests(&stats, &lines);
    stats.assert_counter("http_local_replies_total.service=api.reason=UF", 1);
}

#[test]
fn a_hop_that_is_redirected_internally_is_no_request() {
    let envoy = envoy_with_routes(&["/a"]);
    envoy
        .worker(0)
        .access_log(log("/a", 302).details("internal_redirect"));
    envoy
        .worker(0)
        .access_log(log("/a", 302).details("via_upstream"));
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/a", "302", 1)]);
    stats.assert_counter("gatemeter_internal_redirects_total.service=api", 1);
}

#[test]
fn what_the_codec_refused_is_counted_apart() {
    let envoy = envoy(json!({}));
    envoy.worker(0).access_log_unparsed();
    let stats = flushed(&envoy);
    stats.assert_series("http_requests_total", &[]);
    stats.assert_counter("gatemeter_unparsed_requests_total.service=api", 1);
}

#[test]
fn signals_of_the_service_are_read() {
    let envoy = envoy(json!({"cache": {"types": {"redis": "redis"}}}));
    let headers = [
        ("x-db-pool", "active=3, idle=4"),
        ("cache-status", "redis; hit"),
    ];
    let exchange = AccessLog::of(Request::get("/a")).response(200, headers);
    envoy.worker(0).access_log(exchange);
    let stats = flushed(&envoy);
    stats.assert_gauge("db_connections_active.service=api", 3);
    stats.assert_gauge("db_connections_idle.service=api", 4);
    stats.assert_counter("cache_hits_total.service=api.cache_type=redis", 1);
}

#[test]
fn excluded_paths_are_counted_apart_here_too() {
    let envoy = envoy(json!({"exclude": ["/metrics"]}));
    envoy.worker(0).access_log(log("/metrics", 200));
    envoy
        .worker(0)
        .access_log(log("/metrics", 503).flags(flags::UF));
    let stats = flushed(&envoy);
    stats.assert_series("http_requests_total", &[]);
    stats.assert_series("http_local_replies_total", &[]);
    stats.assert_counter("gatemeter_excluded_requests_total.service=api", 2);
}

#[test]
fn filter_and_logger_on_one_root_do_not_disturb_each_other() {
    let envoy = envoy_with_routes(&["/a"]);
    let stream = envoy.worker(0).request(Request::get("/a"));
    envoy.worker(0).access_log(log("/a", 200));
    stream.respond(204, NO_HEADERS);
    stream.finish();
    let stats = flushed(&envoy);
    let lines = [("GET", "/a", "200", 1), ("GET", "/a", "204", 1)];
    assert_requests(&stats, &lines);
    stats.assert_gauge("active_connections.service=api", 0);
}
