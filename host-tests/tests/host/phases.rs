use std::time::Duration;

use gatemeter_host_tests::{AccessLog, Envoy, NO_HEADERS, Request};

use crate::{module, said};

/// In each callback of an exchange, says one letter for the status of each
/// probe: pairs and `:path` of the request, pairs and `:path` of the response,
/// the attributes `request.duration` and `response.code`.
const PROBE: &str = r#"
    (data (i32.const 0) ":path")
    (data (i32.const 16) "request\00duration")
    (data (i32.const 48) "response\00code")
    (func $put (param $at i32) (param $status i32)
        (i32.store8 (i32.add (i32.const 1010) (local.get $at))
            (i32.add (i32.const 65) (local.get $status))))
    (func $probe
        (call $put (i32.const 0) (call $pairs (i32.const 0) (i32.const 1100) (i32.const 1104)))
        (call $put (i32.const 1) (call $value (i32.const 0)
            (i32.const 0) (i32.const 5) (i32.const 1100) (i32.const 1104)))
        (call $put (i32.const 2) (call $pairs (i32.const 2) (i32.const 1100) (i32.const 1104)))
        (call $put (i32.const 3) (call $value (i32.const 2)
            (i32.const 0) (i32.const 5) (i32.const 1100) (i32.const 1104)))
        (call $put (i32.const 4) (call $property
            (i32.const 16) (i32.const 16) (i32.const 1100) (i32.const 1104)))
        (call $put (i32.const 5) (call $property
            (i32.const 48) (i32.const 13) (i32.const 1100) (i32.const 1104)))
        (drop (call $log (i32.const 2) (i32.const 1010) (i32.const 6))))
    (func (export "proxy_on_context_create") (param i32 i32) (call $probe))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $probe) (i32.const 0))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (call $probe) (i32.const 0))
    (func (export "proxy_on_log") (param i32) (call $probe))
    (func (export "proxy_on_delete") (param i32) (call $probe))
"#;

#[test]
fn maps_and_attributes_answer_in_their_phases_as_in_envoy() {
    let envoy = Envoy::new(module(PROBE)).configure("").expect("accepted");
    let stream = envoy.worker(0).request(Request::get("/"));
    stream.respond(200, NO_HEADERS);
    stream.finish();
    // A is OK, B NOT_FOUND, C BAD_ARGUMENT. Pairs of a map that is not there
    // are OK and empty.
    assert_eq!(
        said(&envoy),
        [
            "ACACBB", // root created
            "ACACBB", // stream created
            "AAACBB", // request headers
            "ACABBA", // response headers: no :path in a response
            "AAABAA", // log
            "ACACAA", // delete
        ]
    );
}

#[test]
fn without_a_response_the_log_callback_finds_no_code_and_an_empty_map() {
    let envoy = Envoy::new(module(PROBE)).configure("").expect("accepted");
    envoy.worker(0).request(Request::get("/")).client_leaves();
    assert_eq!(said(&envoy)[3], "AAABAB");
}

#[test]
fn an_access_logger_sees_maps_and_attributes_while_it_logs_and_not_later() {
    let envoy = Envoy::new(module(PROBE)).configure("").expect("accepted");
    let worker = envoy.worker(0);
    let log = AccessLog::of(Request::get("/")).response(200, NO_HEADERS);
    worker.access_log(log.duration(Duration::from_millis(3)));
    worker.access_log_unparsed();
    envoy.drain();
    assert_eq!(said(&envoy)[1..], ["AAABAA", "ABABAB", "ACACBB"]);
}

#[test]
fn a_map_without_headers_is_a_null_pointer_and_size_0() {
    let module = module(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (i32.store (i32.const 8) (i32.const 7))
            (i32.store (i32.const 12) (i32.const 7))
            (call $say (call $pairs (i32.const 0) (i32.const 8) (i32.const 12)))
            (call $say (i32.load (i32.const 8)))
            (call $say (i32.load (i32.const 12)))
            (i32.const 0))"#,
    );
    let envoy = Envoy::new(module).configure("").expect("accepted");
    envoy.worker(0).request(NO_HEADERS).client_leaves();
    assert_eq!(said(&envoy), ["A", "A", "A"]);
}

/// Says what it finds of `:path` and `x-envoy-original-path`, a dash for
/// nothing, at the request's headers and in the log callback.
const PATHS: &str = r#"
    (data (i32.const 0) ":path")
    (data (i32.const 16) "x-envoy-original-path")
    (data (i32.const 48) "-")
    (func $say_header (param $name i32) (param $size i32)
        (if (call $value (i32.const 0) (local.get $name) (local.get $size)
                (i32.const 1100) (i32.const 1104))
            (then (drop (call $log (i32.const 2) (i32.const 48) (i32.const 1))))
            (else (drop (call $log (i32.const 2)
                (i32.load (i32.const 1100)) (i32.load (i32.const 1104)))))))
    (func $say_both
        (call $say_header (i32.const 0) (i32.const 5))
        (call $say_header (i32.const 16) (i32.const 21)))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $say_both) (i32.const 0))
    (func (export "proxy_on_log") (param i32) (call $say_both))
"#;

#[test]
fn a_rewritten_path_is_the_new_one_in_the_log_callback_with_the_old_beside_it() {
    let envoy = Envoy::new(module(PATHS)).configure("").expect("accepted");
    let stream = envoy.worker(0).request(Request::get("/api/content/42"));
    stream.rewrite_path("/content/42");
    stream.respond(200, NO_HEADERS);
    stream.finish();
    assert_eq!(
        said(&envoy),
        ["/api/content/42", "-", "/content/42", "/api/content/42"]
    );
}

#[test]
fn trailers_are_readable_in_their_callback_and_only_those_of_the_response_in_the_log() {
    // In each callback, the trailers of the request and of the response.
    let module = module(
        r#"(data (i32.const 0) "t")
        (func $probe
            (call $say (call $value (i32.const 1) (i32.const 0) (i32.const 1)
                (i32.const 1100) (i32.const 1104)))
            (call $say (call $value (i32.const 3) (i32.const 0) (i32.const 1)
                (i32.const 1100) (i32.const 1104))))
        (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
            (call $probe) (i32.const 0))
        (func (export "proxy_on_response_trailers") (param i32 i32) (result i32)
            (call $probe) (i32.const 0))
        (func (export "proxy_on_log") (param i32) (call $probe))"#,
    );
    let envoy = Envoy::new(module).configure("").expect("accepted");
    let stream = envoy.worker(0).request(Request::get("/").with_body());
    stream.request_trailers([("t", "1")]);
    stream.respond(200, NO_HEADERS);
    stream.response_trailers([("t", "1")]);
    stream.finish();
    let (request, response, log) = (["A", "C"], ["C", "A"], ["B", "A"]);
    assert_eq!(said(&envoy), [request, response, log].concat());
}

#[test]
fn a_module_that_is_paused_keeps_its_map_until_it_goes_on() {
    // Pauses, and reads its map in two ticks; the first lets it go on.
    let module = module(
        r#"(data (i32.const 0) ":path")
        (global $stream (mut i32) (i32.const 0))
        (func $probe
            (call $say (call $value (i32.const 0) (i32.const 0) (i32.const 5)
                (i32.const 1100) (i32.const 1104))))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $tick (i32.const 10))) (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (global.set $stream (local.get 0)) (i32.const 1))
        (func (export "proxy_on_tick") (param i32)
            (if (global.get $stream) (then
                (drop (call $speak_for (global.get $stream)))
                (call $probe)
                (drop (call $continue (i32.const 0)))
                (call $probe))))"#,
    );
    let envoy = Envoy::new(module).configure("").expect("accepted");
    let stream = envoy.worker(0).request(Request::get("/"));
    envoy.advance(Duration::from_millis(10));
    assert!(!stream.paused());
    envoy.advance(Duration::from_millis(10));
    assert_eq!(said(&envoy), ["A", "C", "C", "C"]);
}
