use std::time::Duration;

use gatemeter_host_tests::{Envoy, NO_HEADERS, Request};
use serde_json::json;

use crate::{envoy, envoy_with_routes, flushed};

/// One request that takes exactly `nanoseconds`.
#[track_caller]
fn request_of(envoy: &Envoy, nanoseconds: u64) {
    let stream = envoy.worker(0).request(Request::get("/a"));
    envoy.advance(Duration::from_nanos(nanoseconds));
    stream.respond(200, NO_HEADERS);
    stream.finish();
}

fn bin(le: &str) -> String {
    format!("http_request_duration_seconds_bin.service=api.method=GET.path=/a.status=200.le={le}")
}

const SUM: &str = "http_request_duration_nanoseconds_sum.service=api.method=GET.path=/a";

/// The bounds of the guide, as they are spelled, in nanoseconds.
const BOUNDS: [(&str, u64); 11] = [
    ("0.001", 1_000_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
    ("0.25", 250_000_000),
    ("0.5", 500_000_000),
    ("1.0", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("5.0", 5_000_000_000),
];

#[test]
fn a_duration_on_a_bound_is_in_its_bin_and_a_nanosecond_more_in_the_next() {
    for (index, (le, nanoseconds)) in BOUNDS.into_iter().enumerate() {
        let next = BOUNDS.get(index + 1).map_or("+Inf", |(le, _)| le);
        let envoy = envoy_with_routes(&["/a"]);
        request_of(&envoy, nanoseconds);
        let stats = flushed(&envoy);
        stats.assert_counter(&bin(le), 1);
        stats.assert_uncounted(&bin(next));

        request_of(&envoy, nanoseconds + 1);
        let stats = flushed(&envoy);
        stats.assert_counter(&bin(le), 1);
        stats.assert_counter(&bin(next), 1);
        stats.assert_counter(SUM, 2 * nanoseconds + 1);
    }
}

#[test]
fn nothing_and_an_hour_have_bins_too() {
    let envoy = envoy_with_routes(&["/a"]);
    request_of(&envoy, 0);
    request_of(&envoy, 3_600_000_000_000);
    let stats = flushed(&envoy);
    stats.assert_counter(&bin("0.001"), 1);
    stats.assert_counter(&bin("+Inf"), 1);
    stats.assert_counter(SUM, 3_600_000_000_000);
}

#[test]
fn the_sum_is_exact_to_the_nanosecond_over_many_requests() {
    let envoy = envoy_with_routes(&["/a"]);
    let mut sum = 0;
    for number in 1..=1000_u64 {
        let nanoseconds = number * 7_919 % 30_000_019;
        sum += nanoseconds;
        request_of(&envoy, nanoseconds);
    }
    let stats = flushed(&envoy);
    stats.assert_counter(SUM, sum);
    assert_eq!(stats.sum("http_request_duration_seconds_bin"), 1000);
}

#[test]
fn configured_buckets_replace_those_of_the_guide() {
    let envoy = envoy(json!({"routes": ["/a"], "buckets": [0.3, 2]}));
    request_of(&envoy, 300_000_000);
    request_of(&envoy, 300_000_001);
    request_of(&envoy, 2_000_000_001);
    let stats = flushed(&envoy);
    stats.assert_counter(&bin("0.3"), 1);
    stats.assert_counter(&bin("2.0"), 1);
    stats.assert_counter(&bin("+Inf"), 1);
}

#[test]
fn a_duration_ends_with_the_response_and_not_with_its_headers() {
    let envoy = envoy_with_routes(&["/a"]);
    let stream = envoy.worker(0).request(Request::get("/a"));
    envoy.advance(Duration::from_millis(3));
    stream.respond(200, NO_HEADERS);
    envoy.advance(Duration::from_millis(4));
    stream.finish();
    flushed(&envoy).assert_counter(SUM, 7_000_000);
}

#[test]
fn a_wall_clock_that_is_set_under_way_changes_no_duration() {
    let envoy = envoy_with_routes(&["/a"]);
    for hour in [3_600_000_000_000, -3_600_000_000_000] {
        let stream = envoy.worker(0).request(Request::get("/a"));
        envoy.advance(Duration::from_millis(3));
        envoy.step_wall_clock(hour);
        stream.respond(200, NO_HEADERS);
        stream.finish();
    }
    let stats = flushed(&envoy);
    stats.assert_counter(&bin("0.005"), 2);
    stats.assert_counter(SUM, 6_000_000);
}

#[test]
fn what_an_earlier_filter_took_is_not_the_services_time() {
    let envoy = envoy_with_routes(&["/a"]);
    let request = Request::get("/a").delayed_by(Duration::from_millis(400));
    let stream = envoy.worker(0).request(request);
    envoy.advance(Duration::from_millis(1));
    stream.respond(200, NO_HEADERS);
    stream.finish();
    flushed(&envoy).assert_counter(SUM, 1_000_000);
}

#[test]
fn where_no_response_passed_the_filter_the_duration_is_that_of_the_proxy() {
    let envoy = envoy_with_routes(&["/a"]);
    let request = Request::get("/a").delayed_by(Duration::from_millis(397));
    envoy
        .worker(0)
        .answer_before_filter(request, 200, NO_HEADERS);
    flushed(&envoy).assert_counter(SUM, 397_000_000);
}

#[test]
fn a_native_histogram_takes_milliseconds_if_asked_for() {
    let name = "http_request_duration_ms.service=api.method=GET.path=/a";
    let with = envoy(json!({"routes": ["/a"], "native_histogram": true}));
    request_of(&with, 12_000_000);
    request_of(&with, 3_000_000);
    assert_eq!(flushed(&with).histogram(name), Some([12, 3].as_slice()));

    let without = envoy_with_routes(&["/a"]);
    request_of(&without, 12_000_000);
    assert_eq!(flushed(&without).histogram(name), None);
}
