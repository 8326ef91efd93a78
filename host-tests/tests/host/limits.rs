use gatemeter_host_tests::scenario::FailurePolicy;
use gatemeter_host_tests::{Envoy, Module, NO_HEADERS, Request};

use crate::{module, said};

#[test]
fn only_logging_is_allowed_while_a_module_initialises() {
    let allowed = module(
        r#"(func (export "_initialize")
               (drop (call $log (i32.const 2) (i32.const 0) (i32.const 1))))"#,
    );
    Envoy::new(allowed).configure("").expect("accepted");

    let forbidden = module(
        r#"(func (export "_initialize")
               (drop (call $define (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))))"#,
    );
    let refused = Envoy::new(forbidden).configure("").expect_err("a trap");
    let message = refused.to_string();
    assert!(
        message.contains("proxy_define_metric is not allowed while Initializing"),
        "{message}"
    );
}

#[test]
fn of_wasi_a_module_may_read_clocks_but_no_file_while_it_initialises() {
    let initialising = |call: &str| {
        let text = format!(
            r#"(module
            (import "wasi_snapshot_preview1" "clock_time_get"
                (func $clock (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 1024))
            (func (export "_initialize") (drop {call})))"#
        );
        let module = Module::from_wat(&text).expect("valid");
        Envoy::new(module).configure("")
    };
    let clock = "(call $clock (i32.const 0) (i64.const 0) (i32.const 8))";
    initialising(clock).expect("accepted");
    let read = "(call $read (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8))";
    let refused = initialising(read).expect_err("a trap").to_string();
    let expected = "fd_read is not allowed while Initializing";
    assert!(refused.contains(expected), "{refused}");
}

#[test]
fn a_module_may_not_call_back_while_it_allocates() {
    let text = r#"(module
        (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
        (import "env" "proxy_done" (func $done (result i32)))
        (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (call $done))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $pairs (i32.const 0) (i32.const 8) (i32.const 12))))"#;
    let module = Module::from_wat(text).expect("valid");
    let envoy = Envoy::new(module)
        .failure_policy(FailurePolicy::LegacyFailOpen)
        .configure("")
        .expect("accepted");
    let stream = envoy.worker(0).request(Request::get("/"));
    stream.client_leaves();
    let traps = envoy.traps();
    assert_eq!(traps.len(), 1);
    assert!(traps[0].cause.contains("while Allocating"), "{}", traps[0]);
}

#[test]
fn an_allocator_that_answers_null_or_nonsense_is_an_invalid_memory_access() {
    for address in ["0", "-16"] {
        let text = format!(
            r#"(module
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (import "env" "proxy_get_header_map_pairs"
                (func $pairs (param i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const {address}))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                (i32.store8 (i32.const 0) (i32.add (i32.const 65)
                    (call $pairs (i32.const 0) (i32.const 8) (i32.const 12))))
                (call $log (i32.const 2) (i32.const 0) (i32.const 1))))"#
        );
        let module = Module::from_wat(&text).expect("valid");
        let envoy = Envoy::new(module).configure("").expect("accepted");
        envoy.worker(0).request(Request::get("/")).client_leaves();
        assert_eq!(said(&envoy), ["G"], "INVALID_MEMORY_ACCESS for {address}");
    }
}

#[test]
fn pointers_outside_the_memory_are_refused_and_null_is_an_address() {
    let module = module(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            ;; A name that begins inside and ends outside.
            (call $say (call $define (i32.const 0) (i32.const 65530) (i32.const 7) (i32.const 8)))
            ;; A size that wraps.
            (call $say (call $define (i32.const 0) (i32.const 8) (i32.const -1) (i32.const 8)))
            ;; A result outside.
            (call $say (call $define (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 65534)))
            ;; A result at the null pointer.
            (call $say (call $define (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 0)))
            (i32.const 0))"#,
    );
    let envoy = Envoy::new(module).configure("").expect("accepted");
    envoy.worker(0).request(Request::get("/")).client_leaves();
    assert_eq!(said(&envoy), ["G", "G", "G", "A"]);
}

#[test]
fn an_endless_loop_is_a_trap() {
    let module = module(r#"(func (export "proxy_on_log") (param i32) (loop $l (br $l)))"#);
    let envoy = Envoy::new(module)
        .failure_policy(FailurePolicy::LegacyFailOpen)
        .configure("")
        .expect("accepted");
    envoy.worker(0).request(Request::get("/")).client_leaves();
    let traps = envoy.traps();
    assert!(traps[0].cause.contains("fuel"), "{}", traps[0]);
}

#[test]
fn after_a_trap_traffic_goes_on_without_the_module() {
    let module = module(
        r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) unreachable)
           (func (export "proxy_on_log") (param i32) (call $say (i32.const 0)))"#,
    );
    let envoy = Envoy::new(module)
        .workers(2)
        .failure_policy(FailurePolicy::LegacyFailOpen)
        .configure("")
        .expect("accepted");
    for worker in [0, 0, 1] {
        let stream = envoy.worker(worker).request(Request::get("/"));
        stream.respond(200, NO_HEADERS);
        stream.finish();
        assert_eq!(
            stream.response_header_sent(":status").as_deref(),
            Some("200")
        );
    }
    let threads: Vec<String> = envoy
        .traps()
        .iter()
        .map(|trap| trap.thread.to_string())
        .collect();
    assert_eq!(threads, ["worker 0", "worker 1"]);
    assert_eq!(said(&envoy), Vec::<String>::new());
}

#[test]
#[should_panic(expected = "the module trapped in proxy_on_log on the worker 0")]
fn a_trap_that_no_test_expects_fails_the_test() {
    let module = module(r#"(func (export "proxy_on_log") (param i32) unreachable)"#);
    let envoy = Envoy::new(module).configure("").expect("accepted");
    envoy.worker(0).request(Request::get("/")).client_leaves();
}

#[test]
fn a_module_that_wants_what_the_host_does_not_have_is_refused() {
    let text = r#"(module
        (import "env" "proxy_invented" (func (result i32)))
        (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_0")))"#;
    let module = Module::from_wat(text).expect("valid");
    let refused = Envoy::new(module)
        .configure("")
        .expect_err("no such import");
    assert!(refused.to_string().contains("proxy_invented"), "{refused}");
}

#[test]
fn only_the_capabilities_that_are_listed_work() {
    let probe = || {
        module(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                   (call $say (call $define (i32.const 0) (i32.const 8)
                       (i32.const 1) (i32.const 100)))
                   (i32.const 0))
               (func (export "proxy_on_log") (param i32) (call $say (i32.const 11)))"#,
        )
    };
    let said = |capabilities: &[&str]| {
        let envoy = Envoy::new(probe()).capabilities(capabilities).configure("");
        let envoy = envoy.expect("accepted");
        envoy.worker(0).request(Request::get("/")).client_leaves();
        said(&envoy)
    };
    assert_eq!(said(&[]), ["A", "L"], "no list is no restriction");
    let calls = ["proxy_log", "proxy_on_request_headers"];
    assert_eq!(said(&calls), ["K"], "INTERNAL_FAILURE, and no log callback");
    let all = [&calls[..], &["proxy_define_metric", "proxy_on_log"]].concat();
    assert_eq!(said(&all), ["A", "L"]);
}
