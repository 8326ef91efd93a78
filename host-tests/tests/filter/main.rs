//! The filter of this workspace, as Envoy would run it: the real module in
//! `dist/`, never a native build.

// The other form of the module: an access logger.
mod access_logger;
// What a request may cost, as recorded.
mod budget;
// What cargo builds of this workspace.
#[path = "../built/mod.rs"]
mod built;
// All sequences of callbacks, in and out of order.
mod callback_orders;
// Configurations at random, valid and nearly so.
mod config_fuzz;
// What is taken, refused, replaced and shown at 0.
mod configuration;
// What a request costs in the steady state.
mod cost;
// Nanoseconds: bounds, sums, clocks.
mod duration;
// An exchange in each of the two forms.
mod form;
// A module that makes our host calls and nothing of them.
mod floor;
// What a request costs beside label sets, routes and headers; the module's size.
mod growth;
// How exchanges end, and how often they count then.
mod endings;
// What the module exports and imports.
mod exports;
// Every byte everywhere, and headers that are missing, many or huge.
mod hostile_bytes;
// Each host call failing at each call site.
mod failing_calls;
// Labels of ordinary requests.
mod labels;
// A long mix of everything, counted by both sides.
mod ledger;
// Linear memory, without traffic and with every label set in use.
mod memory;
// Hosts that lie about what they hand over.
mod lies;
// The run that failures and lies are put into.
mod recorded;
// The cap on label sets, and paths that never get a label.
mod series;
// The exchange that costs are compared with.
mod usual;
// What the costliest input costs.
mod worst_case;
// Response headers that a service speaks to the filter with.
mod signals;

use gatemeter_core::stat_name;
use gatemeter_host_tests::scenario::Worker;
use gatemeter_host_tests::stats::Stats;
use gatemeter_host_tests::{Envoy, EnvoyBuilder, Module, NO_HEADERS, Request};
use serde_json::{Value, json};

/// The filter, or a failed test that says how to build it.
#[track_caller]
fn gatemeter() -> EnvoyBuilder {
    match Module::gatemeter() {
        Ok(module) => Envoy::new(module).vm_id("api"),
        Err(error) => panic!("{error}"),
    }
}

/// The configuration of the service `api`, with more keys.
fn api(keys: Value) -> Value {
    let mut configuration = json!({"service": "api"});
    if let (Some(configuration), Value::Object(keys)) = (configuration.as_object_mut(), keys) {
        configuration.extend(keys);
    }
    configuration
}

/// Keys with which everything is read that can be: caches with their bytes,
/// players, timings, headers and bodies.
fn all_that_is_read() -> Value {
    json!({
        "preset": "playback",
        "cache": {"types": {"redis": "redis"}, "bytes": true},
        "bytes_per_route": true,
        "signals": [
            {"name": "search_query_duration_seconds", "server_timing": "db"},
            {"name": "rate_limit_hits_total", "count": [
                {"status": 200, "request_header": "x-plan", "response_header": "x-limit"},
                {"status": 429},
            ]},
        ],
    })
}

/// A proxy with one worker and these keys in its configuration.
#[track_caller]
fn envoy(keys: Value) -> Envoy {
    match gatemeter().configure(api(keys)) {
        Ok(envoy) => envoy,
        Err(refused) => panic!("{refused}"),
    }
}

/// A proxy with one worker and these route templates.
#[track_caller]
fn envoy_with_routes(routes: &[&str]) -> Envoy {
    envoy(json!({"routes": routes}))
}

/// One `GET` of `path`, answered with `status` without delay.
#[track_caller]
fn get(worker: &Worker, path: &str, status: u16) {
    let stream = worker.request(Request::get(path));
    stream.respond(status, NO_HEADERS);
    stream.finish();
}

/// The stats after a tick, which is when the filter pushes what it counted.
/// Checks what holds at any time: the bins of each method, path and status add
/// up to the requests of it.
#[track_caller]
fn flushed(envoy: &Envoy) -> Stats {
    envoy.tick();
    let stats = envoy.stats();
    for (name, requests) in stats.series("http_requests_total") {
        let labels = &name["http_requests_total".len()..];
        let bins: u64 = stats
            .series("http_request_duration_seconds_bin")
            .filter(|(bin, _)| bin.contains(&format!("{labels}.le=")))
            .map(|(_, count)| count)
            .sum();
        assert_eq!(bins, requests, "the bins of {name}");
    }
    assert_eq!(
        stats.sum("http_request_duration_seconds_bin"),
        stats.sum("http_requests_total"),
        "no bin without its request"
    );
    assert_eq!(bad_names(&stats), Vec::<String>::new());
    stats
}

/// The names that the codec did not write, and why they are none of its own:
/// such a one may hold a byte that some page of Envoy would have to escape.
fn bad_names(stats: &Stats) -> Vec<String> {
    let names = stats.names().into_iter();
    names
        .filter_map(|name| {
            let error = stat_name::decode(name).err()?;
            Some(format!("the stat name {name:?}: {error}"))
        })
        .collect()
}

/// The exchanges that were counted, as what they are.
fn counted(stats: &Stats) -> u64 {
    [
        "http_requests_total",
        "gatemeter_excluded_requests_total",
        "gatemeter_internal_redirects_total",
        "gatemeter_unparsed_requests_total",
    ]
    .into_iter()
    .map(|metric| stats.sum(metric))
    .sum()
}

/// The gauge of open exchanges.
const ACTIVE: &str = "active_connections.service=api";

/// Asserts what `http_requests_total` of the service `api` shows, as lines of
/// method, path, status and count.
#[track_caller]
fn assert_requests(stats: &Stats, lines: &[(&str, &str, &str, u64)]) {
    let series: Vec<(String, u64)> = lines
        .iter()
        .map(|(method, path, status, count)| {
            let labels = format!("service=api.method={method}.path={path}.status={status}");
            (labels, *count)
        })
        .collect();
    let series: Vec<(&str, u64)> = series
        .iter()
        .map(|(labels, count)| (labels.as_str(), *count))
        .collect();
    stats.assert_series("http_requests_total", &series);
}
