use std::collections::BTreeSet;

use gatemeter_host_tests::stats::Stats;
use gatemeter_host_tests::{Envoy, EnvoyBuilder, NO_HEADERS, Request, Status};
use serde_json::json;

use crate::{api, assert_requests, envoy, envoy_with_routes, flushed, gatemeter, get};

const OVERFLOWS: &str = "gatemeter_series_overflows_total.service=api";
const IN_USE: &str = "gatemeter_series.service=api";

#[track_caller]
fn capped(workers: usize, max_series: u32) -> Envoy {
    gatemeter()
        .workers(workers)
        .configure(api(json!({"max_series": max_series})))
        .unwrap_or_else(|refused| panic!("{refused}"))
}

/// The label sets in use: those with a path of their own, and those of the
/// overflow.
fn sets(stats: &Stats) -> (usize, usize) {
    let names: BTreeSet<&str> = stats
        .series("http_requests_total")
        .map(|(name, _)| name)
        .collect();
    let overflow = names
        .iter()
        .filter(|name| name.contains(".path=_OVERFLOW."))
        .count();
    (names.len() - overflow, overflow)
}

#[test]
fn several_workers_never_exceed_the_cap_and_what_overflows_is_counted() {
    let envoy = capped(3, 20);
    for number in 0..100 {
        let worker = envoy.worker(number % 3);
        // Each path twice, by two workers.
        get(&worker, &format!("/page-{}", number / 2), 200);
    }
    let stats = flushed(&envoy);
    assert_eq!(sets(&stats), (20, 1));
    assert_eq!(stats.sum("http_requests_total"), 100);
    stats.assert_counter(OVERFLOWS, 60);
    let overflow = "http_requests_total.service=api.method=GET.path=_OVERFLOW.status=200";
    stats.assert_counter(overflow, 60);
    stats.assert_gauge(IN_USE, 20);
    stats.assert_gauge("gatemeter_series_limit.service=api", 20);
}

#[test]
fn a_set_that_has_its_place_keeps_it() {
    let envoy = capped(2, 1);
    get(&envoy.worker(0), "/first", 200);
    get(&envoy.worker(0), "/second", 200);
    get(&envoy.worker(1), "/first", 200);
    get(&envoy.worker(1), "/first", 404);
    let lines = [
        ("GET", "/first", "200", 2),
        ("GET", "_OVERFLOW", "200", 1),
        ("GET", "_OVERFLOW", "404", 1),
    ];
    assert_requests(&flushed(&envoy), &lines);
}

#[test]
fn the_overflow_keeps_method_and_status_in_its_reserve_and_then_they_are_other() {
    let envoy = capped(2, 1);
    get(&envoy.worker(0), "/first", 200);
    let mut requests = 0;
    for method in ["GET", "POST"] {
        for status in 100..400 {
            if status == 101 {
                continue;
            }
            let stream = envoy
                .worker(requests % 2)
                .request(Request::new(method, "/more"));
            stream.respond(status, NO_HEADERS);
            stream.finish();
            requests += 1;
        }
    }
    let stats = flushed(&envoy);
    // The reserve of 500; its last set takes all that the others do not.
    assert_eq!(sets(&stats), (1, 500));
    let other = "http_requests_total.service=api.method=_OTHER.path=_OVERFLOW.status=_OTHER";
    stats.assert_counter(other, requests as u64 - 499);
    stats.assert_counter(OVERFLOWS, requests as u64);
    assert_eq!(stats.sum("http_requests_total"), requests as u64 + 1);
}

#[test]
fn losing_a_race_with_another_worker_loses_no_request() {
    for lost in 0..12 {
        let envoy = capped(2, 3);
        envoy.fail_once("proxy_set_shared_data", Status::CAS_MISMATCH, lost);
        for number in 0..10 {
            get(&envoy.worker(number % 2), &format!("/page-{number}"), 200);
        }
        let stats = flushed(&envoy);
        assert_eq!(stats.sum("http_requests_total"), 10, "race {lost}");
        let (labelled, overflow) = sets(&stats);
        assert_eq!((labelled, overflow), (3, 1), "race {lost}");
        stats.assert_gauge(IN_USE, 3);
    }
}

#[test]
fn a_worker_gives_its_place_back_when_another_was_quicker_with_the_same_set() {
    let configuration = || api(json!({"max_series": 2}));
    let configured = |envoy: EnvoyBuilder| envoy.configure(configuration()).expect("accepted");
    // A path that succeeds is noted, a place is taken, the set is noted.
    for call in ["proxy_get_shared_data", "proxy_set_shared_data"] {
        for undisturbed in 0..3 {
            let envoy = configured(gatemeter());
            let quicker = configured(gatemeter().beside(&envoy));
            envoy.interrupt(call, undisturbed, {
                let quicker = quicker.clone();
                move || get(&quicker.worker(0), "/same", 200)
            });
            get(&envoy.worker(0), "/same", 200);
            quicker.tick();
            let stats = flushed(&envoy);
            // Else the interruption came too late.
            assert_requests(&stats, &[("GET", "/same", "200", 2)]);
            stats.assert_gauge(IN_USE, 1);
            get(&envoy.worker(0), "/other", 200);
            let stats = flushed(&envoy);
            assert_eq!(sets(&stats), (2, 0), "{call} after {undisturbed}");
            stats.assert_counter(OVERFLOWS, 0);
        }
    }
}

#[test]
fn the_cap_survives_a_new_configuration() {
    let envoy = capped(1, 2);
    get(&envoy.worker(0), "/a", 200);
    get(&envoy.worker(0), "/b", 200);
    let wider = json!({"max_series": 2, "flush_interval_ms": 200});
    envoy.reconfigure(api(wider)).expect("accepted");
    get(&envoy.worker(0), "/c", 200);
    get(&envoy.worker(0), "/a", 200);
    let lines = [
        ("GET", "/a", "200", 2),
        ("GET", "/b", "200", 1),
        ("GET", "_OVERFLOW", "200", 1),
    ];
    assert_requests(&flushed(&envoy), &lines);
}

#[test]
fn with_templates_what_matches_none_is_unmatched_whatever_its_status() {
    let envoy = envoy_with_routes(&["/a", "/b/:id"]);
    for number in 0..50 {
        get(&envoy.worker(0), &format!("/scan-{number}"), 200);
        get(&envoy.worker(0), &format!("/scan-{number}"), 404);
    }
    get(&envoy.worker(0), "/b/1", 200);
    let stats = flushed(&envoy);
    let lines = [
        ("GET", "_UNMATCHED", "200", 50),
        ("GET", "_UNMATCHED", "404", 50),
        ("GET", "/b/:id", "200", 1),
    ];
    assert_requests(&stats, &lines);
    stats.assert_counter(OVERFLOWS, 0);
}

#[test]
fn real_routes_get_their_labels_after_a_scan_when_templates_name_them() {
    let routes = json!({"routes": ["/late/:id"], "max_series": 5});
    let envoy = envoy(routes);
    for number in 0..300 {
        let method = ["GET", "INVENTED"][number % 2];
        let request = Request::new(method, &format!("/scan/{number}"));
        let stream = envoy.worker(0).request(request);
        stream.respond(404, NO_HEADERS);
        stream.finish();
    }
    get(&envoy.worker(0), "/late/1", 200);
    let late = "http_requests_total.service=api.method=GET.path=/late/:id.status=200";
    flushed(&envoy).assert_counter(late, 1);
}

#[test]
fn without_templates_a_path_becomes_a_label_once_it_was_answered_below_400() {
    let envoy = gatemeter()
        .workers(2)
        .configure(api(json!({})))
        .unwrap_or_else(|refused| panic!("{refused}"));
    get(&envoy.worker(0), "/a", 404);
    get(&envoy.worker(0), "/a", 500);
    get(&envoy.worker(0), "/a", 304);
    get(&envoy.worker(0), "/a", 404);
    // The other worker has never seen it answered.
    get(&envoy.worker(1), "/a", 404);
    get(&envoy.worker(1), "/b", 404);
    let lines = [
        ("GET", "_UNMATCHED", "404", 2),
        ("GET", "_UNMATCHED", "500", 1),
        ("GET", "/a", "304", 1),
        ("GET", "/a", "404", 2),
    ];
    assert_requests(&flushed(&envoy), &lines);
}

#[test]
fn a_scanner_uses_up_no_room() {
    let envoy = envoy(json!({"max_series": 3}));
    for number in 0..500 {
        get(&envoy.worker(0), &format!("/wp-{number}.php"), 404);
    }
    get(&envoy.worker(0), "/real", 200);
    let stats = flushed(&envoy);
    let lines = [
        ("GET", "_UNMATCHED", "404", 500),
        ("GET", "/real", "200", 1),
    ];
    assert_requests(&stats, &lines);
    stats.assert_gauge(IN_USE, 2);
}

#[test]
fn a_name_that_would_be_too_long_overflows() {
    let envoy = envoy(json!({}));
    let long = format!("/{}", "x".repeat(600));
    get(&envoy.worker(0), &long, 200);
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "_OVERFLOW", "200", 1)]);
    stats.assert_counter(OVERFLOWS, 1);
    assert!(stats.names().iter().all(|name| name.len() <= 512));
}

#[test]
fn a_path_of_64_kib_is_one_request() {
    for segment in ["/", "/a", "%", ";", "/1"] {
        let envoy = envoy(json!({"path_rules": [{"match": "/\\d+", "replace": "/:id"}]}));
        let long = format!("/{}", segment.repeat(65_536 / segment.len()));
        get(&envoy.worker(0), &long, 200);
        assert_eq!(flushed(&envoy).sum("http_requests_total"), 1, "{segment}");
    }
}
