use gatemeter_host_tests::{Envoy, NO_HEADERS, Request, Status};

use crate::build;

fn envoy(configuration: &str) -> Envoy {
    let envoy = Envoy::new(build::status_classes()).workers(2);
    envoy.configure(configuration).expect("accepted")
}

/// One exchange on a worker; gives the number that the client got.
#[track_caller]
fn exchange(envoy: &Envoy, worker: usize, status: u16) -> Option<String> {
    let stream = envoy.worker(worker).request(Request::get("/"));
    stream.respond(status, NO_HEADERS);
    stream.finish();
    stream.response_header_sent("x-response-number")
}

#[test]
fn responses_are_counted_by_class_over_all_workers() {
    let envoy = envoy("");
    for (worker, status) in [(0, 200), (1, 201), (0, 404), (1, 503), (1, 200)] {
        exchange(&envoy, worker, status);
    }
    let counts = [("class=2xx", 3), ("class=4xx", 1), ("class=5xx", 1)];
    envoy.stats().assert_series("responses", &counts);
}

#[test]
fn the_configuration_bounds_the_classes() {
    let envoy = envoy("3");
    exchange(&envoy, 0, 302);
    exchange(&envoy, 0, 404);
    envoy
        .stats()
        .assert_series("responses", &[("class=3xx", 1)]);
}

#[test]
fn a_configuration_that_is_no_class_is_refused_with_a_reason() {
    for wrong in ["6", "0", "45", "x"] {
        let refused = Envoy::new(build::status_classes()).configure(wrong);
        let refused = refused.expect_err("no class").to_string();
        assert!(refused.contains("no digit from 1 to 5"), "{refused}");
    }
}

#[test]
fn responses_are_numbered_over_all_workers() {
    let envoy = envoy("");
    let numbers: Vec<_> = (0..12)
        .map(|number| exchange(&envoy, number % 2, 200))
        .collect();
    let expected: Vec<_> = (1..=12).map(|number| Some(number.to_string())).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn two_workers_that_race_for_a_number_get_two() {
    let envoy = envoy("");
    let other = Envoy::new(build::status_classes()).beside(&envoy);
    let other = other.configure("").expect("accepted");
    // The first of a race would write unconditionally: nothing is there yet.
    exchange(&envoy, 0, 200);
    envoy.interrupt("proxy_set_shared_data", 0, move || {
        assert_eq!(exchange(&other, 0, 200).as_deref(), Some("2"));
    });
    assert_eq!(exchange(&envoy, 0, 200).as_deref(), Some("3"));
    envoy.stats().assert_counter("contention", 1);
}

#[test]
fn a_host_that_keeps_no_data_costs_the_number_and_not_the_count() {
    let envoy = envoy("");
    envoy.fail("proxy_set_shared_data", Status::INTERNAL_FAILURE);
    assert_eq!(exchange(&envoy, 0, 200), None);
    envoy
        .stats()
        .assert_series("responses", &[("class=2xx", 1)]);
}
