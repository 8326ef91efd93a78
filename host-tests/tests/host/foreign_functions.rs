use gatemeter_host_tests::{Envoy, EnvoyBuilder, Request, Status};

use crate::{module_with, said};

const IMPORTS: &str = r#"
    (import "env" "proxy_call_foreign_function"
        (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_buffer_bytes"
        (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
"#;

/// Calls `upper` with `abc` at request headers, with these places for the
/// result and its size, and says the status, the result and the size.
fn envoy(result_at: u32, size_at: u32) -> EnvoyBuilder {
    let rest = format!(
        r#"
        (data (i32.const 0) "upper")
        (data (i32.const 16) "abc")
        (func $show (drop (call $log (i32.const 2)
            (i32.load (i32.const 1100)) (i32.load (i32.const 1104)))))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (i32.store (i32.const 1100) (i32.const 16))
            (i32.store (i32.const 1104) (i32.const 1))
            (call $say (call $foreign (i32.const 0) (i32.const 5) (i32.const 16) (i32.const 3)
                (i32.const {result_at}) (i32.const {size_at})))
            (call $show)
            (i32.const 0))
        (func $read
            (call $say (call $buffer (i32.const 8)
                (i32.const 0) (i32.const 100) (i32.const 1100) (i32.const 1104)))
            (call $show))
        (func (export "proxy_on_foreign_function") (param i32 i32 i32)
            (call $say (local.get 0))
            (call $say (local.get 1))
            (call $say (local.get 2))
            (call $read))
        (func (export "proxy_on_tick") (param i32) (call $read))"#
    );
    Envoy::new(module_with(IMPORTS, &rest))
}

#[track_caller]
fn answers(envoy: EnvoyBuilder) -> Vec<String> {
    let envoy = envoy.configure("").expect("accepted");
    let _stream = envoy.worker(0).request(Request::get("/"));
    said(&envoy)
}

#[test]
fn a_function_of_the_test_gets_the_bytes_and_gives_its_own() {
    let upper = |bytes: &[u8]| Ok(bytes.to_ascii_uppercase());
    let said = answers(envoy(1100, 1104).foreign_function("upper", upper));
    assert_eq!(said, ["A", "ABC"]);
}

#[test]
fn a_function_that_fails_leaves_an_empty_result() {
    let fails = |_: &[u8]| Err(Status::BAD_EXPRESSION);
    let said = answers(envoy(1100, 1104).foreign_function("upper", fails));
    assert_eq!(said, ["F", ""]);
}

#[test]
fn an_unknown_function_is_not_found_and_nothing_is_written() {
    assert_eq!(answers(envoy(1100, 1104)), ["B", "a"]);
}

#[test]
fn a_module_need_not_take_the_result() {
    let upper = |bytes: &[u8]| Ok(bytes.to_ascii_uppercase());
    let said = answers(envoy(0, 0).foreign_function("upper", upper));
    assert_eq!(said, ["A", "a"]);
    let size = answers(envoy(0, 1104).foreign_function("upper", upper));
    assert_eq!(size, ["A", "abc"], "the size alone");
}

#[test]
fn the_proxy_calls_a_function_of_the_module_with_a_buffer() {
    let envoy = envoy(1100, 1104).configure("").expect("accepted");
    let worker = envoy.worker(0);
    let root = worker.root().expect("configured");
    worker.call_foreign(root, 9, "four");
    assert_eq!(said(&envoy), ["B", "J", "E", "A", "four"]);
    worker.callback(root, "proxy_on_tick", &[root]);
    assert_eq!(said(&envoy)[5..], ["A", ""], "it is gone then");
}
