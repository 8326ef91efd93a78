//! What a request costs does not grow with what the service has: label sets,
//! routes. With headers it grows, by little each. And the module stays small.

use std::fs;

use gatemeter_host_tests::{Envoy, Request};
use serde_json::json;

use crate::{envoy, usual};

/// By how many parts in a hundred fuel may differ.
const SAME: u64 = 5;

/// Bytes of the module as a file.
const LARGEST_MODULE: u64 = 400_000;

/// Fuel of a usual exchange with each of these paths, on average, when all that
/// they need is known.
#[track_caller]
fn fuel(envoy: &Envoy, paths: &[String]) -> u64 {
    let worker = envoy.worker(0);
    let round = || {
        for path in paths {
            usual::exchange(&worker, path, &[]);
        }
    };
    for _ in 0..3 {
        round();
        envoy.tick();
    }
    envoy.measure(round).fuel() / paths.len() as u64
}

#[track_caller]
fn assert_same(costs: &[(usize, u64)]) {
    println!("{costs:?}");
    let (_, least) = costs[0];
    for (number, cost) in costs {
        assert!(
            cost.abs_diff(least) * 100 <= least * SAME,
            "{number}: {cost} units of fuel, {least} with {}",
            costs[0].0
        );
    }
}

#[test]
fn a_request_costs_the_same_with_one_label_set_and_with_five_thousand() {
    let cost = |sets: usize| {
        let envoy = envoy(json!({}));
        let paths: Vec<String> = (0..sets)
            .map(|number| format!("/content-{number:04}/page"))
            .collect();
        let fuel = fuel(&envoy, &paths);
        let series = envoy.stats().series("http_requests_total").count();
        assert_eq!(series, sets, "each path has its own label set");
        (sets, fuel)
    };
    assert_same(&[1, 100, 5_000].map(cost));
}

#[test]
fn a_request_costs_the_same_with_ten_routes_and_with_ten_thousand() {
    let cost = |routes: usize| {
        let templates: Vec<String> = (0..routes)
            .map(|number| format!("/service-{number:05}/items/:id/parts/*"))
            .collect();
        let envoy = envoy(json!({"routes": templates}));
        let paths: Vec<String> = (0..10)
            .map(|number| {
                format!(
                    "/service-{:05}/items/{number}/parts/x",
                    number * routes / 10
                )
            })
            .collect();
        (routes, fuel(&envoy, &paths))
    };
    assert_same(&[10, 1_000, 10_000].map(cost));
}

#[test]
fn a_header_of_no_interest_costs_little() {
    let envoy = envoy(json!({}));
    let cost = |headers: usize| {
        let names: Vec<String> = (0..headers)
            .map(|number| format!("x-{number:04}"))
            .collect();
        let act = || {
            let request = names.iter().fold(Request::get("/a"), |request, name| {
                request.header(name, "value")
            });
            let stream = envoy.worker(0).request(request);
            let response: Vec<(&str, &str)> =
                names.iter().map(|name| (name.as_str(), "value")).collect();
            stream.respond(200, response);
            stream.finish();
        };
        for _ in 0..3 {
            act();
            envoy.tick();
        }
        (headers, envoy.measure(act).fuel())
    };
    let costs = [5, 15, 50, 100].map(cost);
    println!("{costs:?}");
    let [(few, least), .., (many, most)] = costs;
    let each = (most - least) / (many - few) as u64;
    assert!(each <= 40, "{each} units a header: {costs:?}");
}

#[test]
fn the_module_is_no_larger_than_it_is_said_to_be() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/gatemeter_filter.wasm");
    let bytes = fs::metadata(file)
        .map(|file| file.len())
        .unwrap_or(u64::MAX);
    assert!(
        bytes <= LARGEST_MODULE,
        "{bytes} bytes; 2^64 - 1: run `make wasm`"
    );
}
