use std::time::Duration;

use gatemeter_host_tests::{NO_HEADERS, Request};
use serde_json::json;

use crate::{envoy, envoy_with_routes, flushed, get, usual};

#[test]
fn the_steady_state_is_two_maps_two_clocks_and_no_metric_call() {
    let envoy = envoy_with_routes(&["/api/content/:id"]);
    usual::exchange(&envoy.worker(0), "/api/content/42", &[]);
    envoy.tick();
    let cost = envoy.measure(|| usual::exchange(&envoy.worker(0), "/api/content/42", &[]));
    assert_eq!(
        cost.all_host_calls(),
        [("clock_time_get", 2), ("proxy_get_header_map_pairs", 2)]
    );
    assert_eq!(
        cost.all_crossings(),
        [
            ("proxy_on_context_create", 1),
            ("proxy_on_delete", 1),
            ("proxy_on_log", 1),
            ("proxy_on_request_headers", 1),
            ("proxy_on_response_headers", 1),
        ]
    );
    assert_eq!(cost.allocations.calls, 2, "one for each map");
    assert_eq!(cost.pages, 0, "no growth");
}

#[test]
fn a_path_that_is_not_remembered_costs_no_more_host_calls() {
    let envoy = envoy_with_routes(&["/api/content/:id"]);
    usual::exchange(&envoy.worker(0), "/api/content/1", &[]);
    let cost = envoy.measure(|| usual::exchange(&envoy.worker(0), "/api/content/2", &[]));
    assert_eq!(
        cost.all_host_calls(),
        [("clock_time_get", 2), ("proxy_get_header_map_pairs", 2)]
    );
}

#[test]
fn a_tick_pushes_a_stat_at_most_once_and_an_idle_one_pushes_little() {
    let envoy = envoy_with_routes(&["/a"]);
    let traffic = || {
        for _ in 0..100 {
            let stream = envoy.worker(0).request(Request::get("/a"));
            envoy.advance(Duration::from_micros(3));
            stream.respond(200, NO_HEADERS);
            stream.finish();
        }
    };
    traffic();
    envoy.tick();
    traffic();
    let busy = envoy.measure(|| envoy.tick());
    assert_eq!(busy.host_calls("proxy_define_metric"), 0, "ids are kept");
    // Requests, bin, sum and the tick itself; the main thread has its tick.
    assert_eq!(busy.host_calls("proxy_increment_metric"), 5);
    let idle = envoy.measure(|| envoy.tick());
    assert_eq!(idle.host_calls("proxy_increment_metric"), 2);
}

#[test]
fn memory_and_metric_ids_are_flat_after_the_warm_up() {
    let envoy = envoy(json!({"max_series": 50}));
    let mut number = 0;
    let mut traffic = |exchanges: usize| {
        for _ in 0..exchanges {
            number += 1;
            let status = if number % 3 == 0 { 404 } else { 200 };
            get(
                &envoy.worker(0),
                &format!("/page-{}/{number}", number % 400),
                status,
            );
            if number % 50 == 0 {
                envoy.tick();
            }
        }
    };
    traffic(20_000);
    let ids = envoy.metric_ids();
    let cost = envoy.measure(|| traffic(10_000));
    assert_eq!(cost.pages, 0, "pages of linear memory");
    assert_eq!(envoy.metric_ids(), ids);
    assert_eq!(cost.host_calls("proxy_define_metric"), 0);
    assert_eq!(flushed(&envoy).sum("http_requests_total"), 30_000);
}

#[test]
fn beyond_the_bytes_that_are_looked_at_a_longer_path_costs_nothing_more() {
    let envoy = envoy(json!({}));
    for segment in ["/", "%", "x", "/1", "?", "\u{e9}"] {
        let cost = |bytes: usize| {
            let path = format!("/{}", segment.repeat(bytes / segment.len()));
            envoy
                .measure(|| usual::exchange(&envoy.worker(0), &path, &[]))
                .fuel()
        };
        cost(4 * 1024);
        let (long, longest) = (cost(4 * 1024), cost(64 * 1024));
        assert!(
            longest <= long + long / 10,
            "{segment:?}: 64 KiB cost {longest}, 4 KiB {long}"
        );
    }
}
