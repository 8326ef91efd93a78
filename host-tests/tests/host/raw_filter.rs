use gatemeter_host_tests::{Envoy, Module, NO_HEADERS, Request, Status};

fn module() -> Module {
    Module::from_wat(include_str!("raw_filter.wat")).expect("the module is valid")
}

#[test]
fn a_filter_without_an_sdk_counts_over_all_workers() {
    let envoy = Envoy::new(module())
        .workers(2)
        .configure("")
        .expect("accepted");
    for (worker, status) in [(0, 200), (1, 204), (0, 404), (1, 200)] {
        let stream = envoy.worker(worker).request(Request::get("/"));
        stream.respond(status, NO_HEADERS);
        stream.finish();
    }
    let stats = envoy.stats();
    stats.assert_series("responses", &[("class=2xx", 3), ("class=4xx", 1)]);
    stats.assert_gauge("open", 0);
    assert_eq!(stats.histogram("status_length"), Some([3; 4].as_slice()));
}

#[test]
fn the_gauge_shows_what_is_open() {
    let envoy = Envoy::new(module()).configure("").expect("accepted");
    let stream = envoy.worker(0).request(Request::get("/"));
    envoy.stats().assert_gauge("open", 1);
    stream.client_leaves();
    envoy.stats().assert_gauge("open", 0);
    envoy.stats().assert_series("responses", &[]);
}

#[test]
fn a_failed_definition_refuses_the_configuration() {
    let envoy = Envoy::new(module()).configure("1").expect("accepted");
    envoy.fail("proxy_define_metric", Status::INTERNAL_FAILURE);
    let refused = envoy.reconfigure("2").expect_err("no metric, no filter");
    assert!(refused.trap.is_none(), "{refused}");
    envoy.heal();
    envoy.reconfigure("3").expect("accepted");
    // Envoy remembers what it refused.
    envoy.reconfigure("2").expect_err("not asked again");
}

#[test]
fn a_fault_hits_one_call_site_and_the_stat_stays() {
    let envoy = Envoy::new(module()).configure("").expect("accepted");
    let exchange = || {
        let stream = envoy.worker(0).request(Request::get("/"));
        stream.respond(200, NO_HEADERS);
        stream.finish();
    };
    // The increments of an exchange: open, class, closed. The third is lost.
    envoy.fail_once("proxy_increment_metric", Status::BAD_ARGUMENT, 2);
    exchange();
    envoy.stats().assert_gauge("open", 1);
    exchange();
    envoy.stats().assert_gauge("open", 1);
    envoy
        .stats()
        .assert_series("responses", &[("class=2xx", 2)]);
}

#[test]
fn costs_are_counted_by_call_and_callback() {
    let envoy = Envoy::new(module()).configure("").expect("accepted");
    let exchange = || {
        let stream = envoy.worker(0).request(Request::get("/"));
        stream.respond(200, NO_HEADERS);
        stream.finish();
    };
    let first = envoy.measure(exchange);
    assert_eq!(
        first.all_host_calls(),
        [
            ("proxy_get_header_map_value", 1),
            ("proxy_increment_metric", 3),
            ("proxy_record_metric", 1),
        ]
    );
    // Callbacks that the module does not export are no crossings.
    assert_eq!(
        first.all_crossings(),
        [
            ("proxy_on_context_create", 1),
            ("proxy_on_delete", 1),
            ("proxy_on_log", 1),
        ]
    );
    assert_eq!(first.allocations.calls, 1);
    // The name out; the value, its pointer and its size in.
    assert_eq!((first.bytes_read, first.bytes_written), (7, 3 + 8));
    assert_eq!(first.pages, 0, "no growth");
    assert!(first.fuel() > 10, "{}", first.fuel());
    assert_eq!(
        envoy.measure(exchange),
        first,
        "every exchange costs the same"
    );
    assert_eq!(
        envoy.cost().pages,
        2,
        "one page in the main thread, one in the worker"
    );
}
