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
