use std::time::Duration;

use gatemeter_host_tests::scenario::flags;
use gatemeter_host_tests::{NO_HEADERS, Request};

use crate::{assert_requests, envoy_with_routes, flushed, get};

const ACTIVE: &str = "active_connections.service=api";
const SUM: &str = "http_request_duration_nanoseconds_sum.service=api.method=GET.path=/a";

fn local_reply(reason: &str) -> String {
    format!("http_local_replies_total.service=api.reason={reason}")
}

#[test]
fn a_reply_before_the_filter_counts_once_with_its_status() {
    let envoy = envoy_with_routes(&["/a"]);
    let worker = envoy.worker(0);
    worker.answer_before_filter(Request::get("/a"), 403, NO_HEADERS);
    worker.answer_before_filter(Request::get("/nowhere"), 400, NO_HEADERS);
    worker.answer_before_filter(Request::without_headers(), 431, NO_HEADERS);
    let stats = flushed(&envoy);
    assert_requests(
        &stats,
        &[
            ("GET", "/a", "403", 1),
            ("GET", "_UNMATCHED", "400", 1),
            ("_OTHER", "_UNMATCHED", "431", 1),
        ],
    );
    stats.assert_gauge(ACTIVE, 0);
}

#[test]
fn a_local_reply_after_the_request_headers_counts_once_with_its_reason() {
    let envoy = envoy_with_routes(&["/a"]);
    let replies = [
        (503, flags::UH, "no_healthy_upstream", "UH"),
        (
            503,
            flags::UF,
            "upstream_reset_before_response_started",
            "UF",
        ),
        (504, flags::UT, "response_timeout", "UT"),
    ];
    for (status, flags, details, _) in replies {
        let stream = envoy.worker(0).request(Request::get("/a"));
        stream.local_reply(status, flags, details);
    }
    let stats = flushed(&envoy);
    let lines = [("GET", "/a", "503", 2), ("GET", "/a", "504", 1)];
    assert_requests(&stats, &lines);
    for (.., reason) in replies {
        stats.assert_counter(&local_reply(reason), 1);
    }
}

#[test]
fn an_error_of_the_service_is_no_local_reply() {
    let envoy = envoy_with_routes(&["/a"]);
    get(&envoy.worker(0), "/a", 500);
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/a", "500", 1)]);
    stats.assert_series("http_local_replies_total", &[]);
}

#[test]
fn counts_499_when_the_client_leaves_before_the_response() {
    let envoy = envoy_with_routes(&["/a"]);
    envoy.worker(0).request(Request::get("/a")).client_leaves();
    let reset = envoy.worker(0).request(Request::get("/a"));
    reset.reset(flags::DR);
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/a", "499", 2)]);
    stats.assert_gauge(ACTIVE, 0);
}

#[test]
fn the_duration_of_an_abort_is_the_time_until_it() {
    let envoy = envoy_with_routes(&["/a"]);
    let stream = envoy.worker(0).request(Request::get("/a"));
    envoy.advance(Duration::from_millis(20));
    stream.client_leaves();
    flushed(&envoy).assert_counter(SUM, 20_000_000);
}

#[test]
fn an_abort_after_the_response_headers_counts_with_the_status_that_was_sent() {
    let envoy = envoy_with_routes(&["/a"]);
    for flags in [flags::DC, flags::DR, flags::UR, flags::UC] {
        let stream = envoy.worker(0).request(Request::get("/a"));
        stream.respond(200, NO_HEADERS);
        stream.response_body("half of ", false);
        stream.reset(flags);
    }
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/a", "200", 4)]);
    stats.assert_gauge(ACTIVE, 0);
}

#[test]
fn no_response_and_no_client_that_left_is_other() {
    let envoy = envoy_with_routes(&["/a"]);
    envoy.worker(0).request(Request::get("/a")).finish();
    envoy.worker(0).request(Request::get("/a")).reset(flags::SI);
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/a", "_OTHER", 2)]);
    stats.assert_counter(&local_reply("SI"), 1);
}

#[test]
fn a_hop_that_is_redirected_internally_is_no_request() {
    let envoy = envoy_with_routes(&["/old", "/new", "/newer"]);
    let first = envoy.worker(0).request(Request::get("/old"));
    let second = first.redirect_internally(302, "/new");
    let third = second.redirect_internally(307, "/newer");
    third.respond(200, NO_HEADERS);
    third.finish();
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/newer", "200", 1)]);
    stats.assert_counter("gatemeter_internal_redirects_total.service=api", 2);
    stats.assert_gauge(ACTIVE, 0);
}

#[test]
fn a_redirect_that_the_client_gets_is_a_request() {
    let envoy = envoy_with_routes(&["/old"]);
    get(&envoy.worker(0), "/old", 302);
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/old", "302", 1)]);
    stats.assert_counter("gatemeter_internal_redirects_total.service=api", 0);
}

#[test]
fn an_upgrade_counts_once_at_its_response_headers() {
    let envoy = envoy_with_routes(&["/ws/*"]);
    let socket = envoy.worker(0).request(Request::get("/ws/live"));
    envoy.advance(Duration::from_millis(2));
    socket.upgrade();
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/ws/*", "101", 1)]);
    stats.assert_gauge(ACTIVE, 1);

    envoy.advance(Duration::from_secs(3600));
    socket.finish();
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/ws/*", "101", 1)]);
    stats.assert_gauge(ACTIVE, 0);
    let sum = "http_request_duration_nanoseconds_sum.service=api.method=GET.path=/ws/*";
    stats.assert_counter(sum, 2_000_000);
}

#[test]
fn a_socket_that_is_cut_does_not_count_again() {
    let envoy = envoy_with_routes(&["/ws/*"]);
    let socket = envoy.worker(0).request(Request::get("/ws/live"));
    socket.upgrade();
    socket.client_leaves();
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/ws/*", "101", 1)]);
    stats.assert_gauge(ACTIVE, 0);
}

#[test]
fn an_upgrade_that_is_refused_is_an_ordinary_request() {
    let envoy = envoy_with_routes(&["/ws/*"]);
    let stream = envoy.worker(0).request(Request::get("/ws/live"));
    stream.respond(403, NO_HEADERS);
    envoy.tick();
    envoy.stats().assert_series("http_requests_total", &[]);
    stream.finish();
    assert_requests(&flushed(&envoy), &[("GET", "/ws/*", "403", 1)]);
}

#[test]
fn a_tunnel_counts_when_it_opens_and_other_answers_to_connect_at_their_end() {
    let envoy = envoy_with_routes(&["/a"]);
    let connect = || Request::from([(":method", "CONNECT"), (":authority", "x:443")]);
    let tunnel = envoy.worker(0).request(connect());
    tunnel.respond(200, NO_HEADERS);
    let refused = envoy.worker(0).request(connect());
    refused.respond(407, NO_HEADERS);
    let line = ("CONNECT", "_UNMATCHED", "200", 1);
    assert_requests(&flushed(&envoy), &[line]);
    refused.finish();
    tunnel.finish();
    let lines = [line, ("CONNECT", "_UNMATCHED", "407", 1)];
    assert_requests(&flushed(&envoy), &lines);
}

#[test]
fn an_event_stream_counts_once_at_its_response_headers() {
    let envoy = envoy_with_routes(&["/a"]);
    let stream = envoy.worker(0).request(Request::get("/a"));
    envoy.advance(Duration::from_millis(2));
    stream.stream_events();
    let other = envoy.worker(0).request(Request::get("/a"));
    other.respond(200, [("content-type", "Text/Event-Stream; charset=utf-8")]);
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/a", "200", 2)]);
    stats.assert_gauge(ACTIVE, 2);
    envoy.advance(Duration::from_secs(60));
    stream.client_leaves();
    other.finish();
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/a", "200", 2)]);
    stats.assert_counter(SUM, 2_000_000);
    stats.assert_gauge(ACTIVE, 0);
}

#[test]
fn the_gauge_follows_the_open_exchanges_of_all_workers() {
    let envoy = crate::gatemeter()
        .workers(2)
        .configure(crate::api(serde_json::json!({})))
        .unwrap_or_else(|refused| panic!("{refused}"));
    let streams: Vec<_> = (0..6)
        .map(|number| envoy.worker(number % 2).request(Request::get("/a")))
        .collect();
    flushed(&envoy).assert_gauge(ACTIVE, 6);
    for (number, stream) in streams.iter().enumerate() {
        match number % 3 {
            0 => stream.finish(),
            1 => stream.client_leaves(),
            _ => stream.local_reply(503, flags::UO, "overflow"),
        }
    }
    flushed(&envoy).assert_gauge(ACTIVE, 0);
}

#[test]
fn nothing_is_changed_held_back_or_answered() {
    let envoy = envoy_with_routes(&["/a"]);
    let request = [
        (":method", "GET"),
        (":path", "/a"),
        ("x-db-pool", "active=1"),
    ];
    let stream = envoy.worker(0).request(request);
    assert!(!stream.paused());
    assert_eq!(
        stream.request_header("x-db-pool").as_deref(),
        Some("active=1")
    );
    stream.respond(200, [("x-custom", "1"), ("content-length", "2")]);
    assert!(!stream.paused());
    assert_eq!(stream.local_response(), None);
    let names: Vec<String> = stream
        .response_headers_sent()
        .into_iter()
        .map(|(name, _)| String::from_utf8_lossy(&name).into_owned())
        .collect();
    assert_eq!(names, [":status", "x-custom", "content-length"]);
    stream.finish();
}
