//! The filter of this workspace at length: ten million exchanges, and ten
//! thousand changes of its configuration. After the warm-up nothing grows, and
//! nothing is lost.

use std::time::{Duration, Instant};

use gatemeter_host_tests::stats::Stats;
use gatemeter_host_tests::{Envoy, EnvoyBuilder, Module, Request, Stream, Worker};
use serde_json::{Value, json};

const EXCHANGES: u64 = 10_000_000;

const RECONFIGURATIONS: u64 = 10_000;

const ACTIVE: &str = "active_connections.service=api";

/// The filter, or a failed test that says how to build it.
#[track_caller]
fn envoy(workers: usize, configuration: Value) -> Envoy {
    let builder: EnvoyBuilder = match Module::gatemeter() {
        Ok(module) => Envoy::new(module).vm_id("api").workers(workers),
        Err(error) => panic!("{error}"),
    };
    builder
        .configure(configuration)
        .unwrap_or_else(|refused| panic!("{refused}"))
}

fn report(what: &str, count: u64, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let each = seconds * 1e6 / count as f64;
    println!("{count} {what} in {seconds:.1} s, {each:.2} us each");
}

#[test]
fn ten_million_exchanges_are_counted_exactly_in_flat_memory() {
    const MAX_SERIES: u64 = 200;
    let began = Instant::now();
    let envoy = envoy(
        1,
        json!({"service": "api", "max_series": MAX_SERIES, "cache": {"types": {"redis": "redis"}}}),
    );
    let worker = envoy.worker(0);
    let mut warm = None;
    for number in 0..EXCHANGES {
        exchange(&worker, number);
        if number % 10_000 == 9_999 {
            envoy.advance(Duration::from_millis(100));
        }
        if number == EXCHANGES / 10 {
            warm = Some((envoy.cost().pages, envoy.metric_ids()));
        }
    }
    envoy.tick();
    report("exchanges", EXCHANGES, began);

    let stats = envoy.stats();
    assert_eq!(stats.sum("http_requests_total"), EXCHANGES);
    assert_eq!(stats.sum("http_request_duration_seconds_bin"), EXCHANGES);
    stats.assert_gauge(ACTIVE, 0);
    stats.assert_counter(
        "cache_hits_total.service=api.cache_type=redis",
        EXCHANGES / 10,
    );
    assert_eq!(stats.sum("gatemeter_filter_errors_total"), 0);
    assert_eq!(envoy.contexts(), 2, "one root a thread");

    let cost = envoy.cost();
    assert_eq!(
        Some((cost.pages, envoy.metric_ids())),
        warm,
        "pages and metric ids since the warm-up"
    );
    // Each label set has a counter, at most twelve bins and a sum; beside the
    // cap there is the reserve of the overflow.
    let sets = series(&stats);
    assert!(sets <= MAX_SERIES + 500, "{sets} label sets");
    let others = 2 * 64;
    let defined = cost.host_calls("proxy_define_metric");
    assert!(
        defined <= sets * 14 + others,
        "{defined} definitions for {sets} label sets"
    );
}

fn series(stats: &Stats) -> u64 {
    stats.series("http_requests_total").count() as u64
}

/// One of many paths, most of which find the cap reached; every tenth response
/// has a signal, every seventh request is aborted.
fn exchange(worker: &Worker, number: u64) {
    let path = match number % 4 {
        0 => format!("/api/content/{number}"),
        1 => format!("/page-{}/{number}", number % 997),
        _ => "/api/discovery/popular".to_owned(),
    };
    let stream = worker.request(Request::get(&path));
    if number.is_multiple_of(10) {
        stream.respond(
            200,
            [("cache-status", "redis; hit"), ("x-db-pool", "active=3")],
        );
        stream.finish();
    } else if number.is_multiple_of(7) {
        stream.client_leaves();
    } else {
        stream.respond(200, [("content-type", "application/json")]);
        stream.finish();
    }
}

#[test]
fn ten_thousand_reconfigurations_lose_nothing_in_flat_memory() {
    let began = Instant::now();
    let configuration = |number: u64| {
        let route = format!("/route-{}/:id", number % 7);
        json!({
            "service": "api",
            "routes": ["/api/content/:id", route],
            "path_rules": [{"match": "/v[0-9]+/", "replace": "/"}],
            "buckets": [0.001 * (number % 3 + 1) as f64, 0.1, 1],
            "flush_interval_ms": 100 + number % 50,
        })
    };
    let envoy = envoy(1, configuration(0));
    let worker = envoy.worker(0);
    let mut open: Vec<Stream> = Vec::new();
    let mut warm = None;
    let mut exchanges = 0;
    for number in 1..=RECONFIGURATIONS {
        envoy
            .reconfigure(configuration(number))
            .unwrap_or_else(|refused| panic!("{refused}"));
        for stream in open.drain(..) {
            stream.respond(200, [("content-type", "text/plain")]);
            stream.finish();
        }
        let path = format!("/route-{}/{number}", number % 7);
        for _ in 0..2 {
            let stream = worker.request(Request::get(&path));
            exchanges += 1;
            if number % 5 == 0 {
                // Open over the next change.
                open.push(stream);
            } else {
                stream.respond(200, [("content-type", "text/plain")]);
                stream.finish();
            }
        }
        if number == RECONFIGURATIONS / 10 {
            warm = Some(envoy.cost().pages);
        }
    }
    for stream in open.drain(..) {
        stream.finish();
    }
    envoy.tick();
    report("changes of the configuration", RECONFIGURATIONS, began);

    let stats = envoy.stats();
    assert_eq!(stats.sum("http_requests_total"), exchanges);
    assert_eq!(stats.sum("http_request_duration_seconds_bin"), exchanges);
    stats.assert_gauge(ACTIVE, 0);
    assert_eq!(stats.sum("gatemeter_filter_errors_total"), 0);
    assert_eq!(envoy.contexts(), 2, "one root a thread");
    let pages = envoy.cost().pages;
    assert_eq!(
        Some(pages),
        warm,
        "pages of linear memory since the warm-up"
    );
    // A root defines what it shows, and what its traffic needs.
    let ids = envoy.metric_ids() as u64;
    assert!(ids <= 2 * RECONFIGURATIONS * 40, "{ids} metric ids");
}
