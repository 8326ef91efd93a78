use std::time::Duration;

use gatemeter_host_tests::{Envoy, EnvoyBuilder, NO_HEADERS, Request};

use crate::{data, header_data, module_with, said};

const IMPORTS: &str = r#"
    (import "env" "proxy_grpc_call" (func $grpc_call
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_grpc_stream" (func $grpc_stream
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_grpc_send" (func $send (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_grpc_cancel" (func $cancel (param i32) (result i32)))
    (import "env" "proxy_grpc_close" (func $close (param i32) (result i32)))
    (import "env" "proxy_get_status" (func $status (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_buffer_bytes"
        (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
"#;

/// Runs `body` at request headers, with `$call` and `$stream` at hand, each with
/// the service of `service`; each callback says its name as a letter, its
/// numbers, and what it could read.
fn envoy(service: &[u8], body: &str) -> EnvoyBuilder {
    let (metadata, size) = header_data(&[("key", "value")]);
    let service_size = service.len();
    let service = data(service);
    let rest = format!(
        r#"
        (data (i32.const 0) "{service}")
        (data (i32.const 64) "pkg.Service")
        (data (i32.const 80) "Method")
        (data (i32.const 96) "message")
        (data (i32.const 128) "{metadata}")
        (data (i32.const 200) "imtc")
        (func $show (drop (call $log (i32.const 2)
            (i32.load (i32.const 1100)) (i32.load (i32.const 1104)))))
        (func $name (param $at i32)
            (drop (call $log (i32.const 2) (local.get $at) (i32.const 1))))
        (func $start_call (result i32)
            (call $grpc_call (i32.const 0) (i32.const {service_size})
                (i32.const 64) (i32.const 11) (i32.const 80) (i32.const 6)
                (i32.const 128) (i32.const {size}) (i32.const 96) (i32.const 7)
                (i32.const 50) (i32.const 1120)))
        (func $start_stream (result i32)
            (call $grpc_stream (i32.const 0) (i32.const {service_size})
                (i32.const 64) (i32.const 11) (i32.const 80) (i32.const 6)
                (i32.const 128) (i32.const {size}) (i32.const 1120)))
        (func $token (result i32) (i32.load (i32.const 1120)))
        (func $send_one (param $end i32) (result i32)
            (call $send (call $token) (i32.const 96) (i32.const 7) (local.get $end)))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            {body} (i32.const 0))
        (func $metadata (param $token i32) (param $elements i32) (param $map i32)
            (call $say (local.get $token))
            (call $say (local.get $elements))
            (call $say (call $pairs (local.get $map) (i32.const 1100) (i32.const 1104)))
            (call $say (i32.load (i32.load (i32.const 1100)))))
        (func (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32)
            (call $name (i32.const 200))
            (call $metadata (local.get 1) (local.get 2) (i32.const 4)))
        (func (export "proxy_on_grpc_receive_trailing_metadata") (param i32 i32 i32)
            (call $name (i32.const 202))
            (call $metadata (local.get 1) (local.get 2) (i32.const 5)))
        (func (export "proxy_on_grpc_receive") (param i32 i32 i32)
            (call $name (i32.const 201))
            (call $say (local.get 0))
            (call $say (local.get 1))
            (call $say (local.get 2))
            (call $say (call $buffer (i32.const 5)
                (i32.const 0) (i32.const 100) (i32.const 1100) (i32.const 1104)))
            (call $show))
        (func (export "proxy_on_grpc_close") (param i32 i32 i32)
            (call $name (i32.const 203))
            (call $say (local.get 0))
            (call $say (local.get 1))
            (call $say (local.get 2))
            (drop (call $status (i32.const 1108) (i32.const 1100) (i32.const 1104)))
            (call $say (i32.load (i32.const 1108)))
            (call $show))"#
    );
    Envoy::new(module_with(IMPORTS, &rest))
}

#[track_caller]
fn run(envoy: EnvoyBuilder) -> Envoy {
    let envoy = envoy.configure("").expect("accepted");
    envoy.worker(0).request(Request::get("/")).client_leaves();
    envoy
}

const CALL: &str = "(call $say (call $start_call)) (call $say (call $token))";
const STREAM: &str = "(call $say (call $start_stream)) (call $say (call $token))";

#[test]
fn a_call_is_answered_with_one_message() {
    let envoy = run(envoy(b"auth", CALL).cluster("auth"));
    let call = envoy.grpc_call();
    assert_eq!((call.cluster(), call.is_stream()), ("auth", false));
    let sent = call.sent();
    assert_eq!(
        (sent.service.as_str(), sent.method.as_str()),
        ("pkg.Service", "Method")
    );
    assert_eq!(sent.messages, [b"message"]);
    assert_eq!(sent.timeout, Some(Duration::from_millis(50)));
    assert_eq!(call.header("key").as_deref(), Some("value"));
    call.message("four");
    assert!(!call.pending());
    // OK, token 5; in the root, 4 bytes.
    let all = ["A", "F", "m", "B", "F", "E", "A", "four"];
    assert_eq!(said(&envoy), all);
}

#[test]
fn a_call_that_fails_is_closed_with_status_and_text() {
    let envoy = run(envoy(b"auth", CALL).cluster("auth"));
    envoy.grpc_call().close(7, "no", NO_HEADERS);
    assert_eq!(said(&envoy)[2..], ["c", "B", "F", "H", "H", "no"]);
    assert!(envoy.grpc_calls().is_empty());
}

#[test]
fn a_call_out_of_time_is_unavailable() {
    let envoy = run(envoy(b"auth", CALL).cluster("auth"));
    envoy.advance(Duration::from_millis(50));
    let text = "upstream request timeout";
    assert_eq!(said(&envoy)[2..], ["c", "B", "F", "O", "O", text]);
}

#[test]
fn a_stream_carries_messages_both_ways_with_metadata_around_them() {
    let body = format!(
        "{STREAM} (call $say (call $send_one (i32.const 0))) (call $say (call $send_one (i32.const 1)))
         (call $say (call $send_one (i32.const 0)))"
    );
    let envoy = run(envoy(b"auth", &body).cluster("auth"));
    let call = envoy.grpc_call();
    assert!(call.is_stream());
    assert!(call.closed(), "with the second message");
    assert_eq!(call.messages(), [b"message", b"message"]);
    call.initial_metadata([("a", "b")]);
    call.message("one");
    call.message("");
    call.close(0, "", [("c", "d")]);
    assert!(envoy.grpc_calls().is_empty());
    let all = [
        &["A", "G", "A", "A", "A"][..],
        // Two headers of the response, one of the test.
        &["i", "G", "D", "A", "D"],
        &["m", "B", "G", "D", "A", "one"],
        &["m", "B", "G", "A", "A", ""],
        // Status and text, one of the test.
        &["t", "G", "D", "A", "D"],
        &["c", "B", "G", "A", "A", ""],
    ];
    assert_eq!(said(&envoy), all.concat());
}

#[test]
fn a_stream_that_breaks_is_closed_as_internal() {
    let envoy = run(envoy(b"auth", STREAM).cluster("auth"));
    envoy.grpc_call().reset();
    let tail = ["t", "G", "A", "A"];
    assert_eq!(said(&envoy)[2..6], tail, "no trailing metadata");
    assert_eq!(said(&envoy)[7..], ["c", "B", "G", "N", "N", ""]);
}

#[test]
fn a_stream_lives_until_both_sides_closed_it() {
    // Opened, closed from here; a second one cancelled.
    let body = format!(
        "{STREAM} (call $say (call $close (call $token))) {STREAM}
         (call $say (call $cancel (call $token))) (call $say (call $cancel (call $token)))"
    );
    let envoy = run(envoy(b"auth", &body).cluster("auth"));
    let all = ["A", "G", "A", "A", "K", "A", "B"];
    assert_eq!(said(&envoy), all, "the second cancel finds nothing");
    let call = envoy.grpc_call();
    assert_eq!((call.token(), call.closed()), (6, true));
    call.message("late");
    call.close(0, "", NO_HEADERS);
    assert!(envoy.grpc_calls().is_empty());
}

#[test]
fn a_service_that_closed_first_leaves_the_token_to_the_module() {
    let envoy = run(envoy(b"auth", STREAM).cluster("auth"));
    let call = envoy.grpc_call();
    call.close(0, "", NO_HEADERS);
    assert!(call.pending(), "until the module closes it");
    envoy.drain();
    assert!(!call.pending());
}

#[test]
fn a_token_must_be_of_the_right_kind_and_known() {
    let envoy = run(envoy(
        b"auth",
        "(i32.store (i32.const 1120) (i32.const 5)) (call $say (call $send_one (i32.const 0)))
         (call $say (call $cancel (i32.const 5))) (call $say (call $close (i32.const 6)))
         (call $say (call $cancel (i32.const 4))) (call $say (call $close (i32.const 7)))
         (i32.store (i32.const 1120) (i32.const 6)) (call $say (call $send_one (i32.const 0)))",
    ));
    // BAD_ARGUMENT for another kind, NOT_FOUND for an unknown one.
    assert_eq!(said(&envoy), ["C", "B", "B", "C", "C", "B"]);
}

#[test]
fn a_service_is_the_name_of_a_cluster_or_a_message_that_names_one() {
    let message = b"\x0a\x06\x0a\x04auth";
    let named = run(envoy(message, CALL).cluster("auth"));
    assert_eq!(named.grpc_call().cluster(), "auth");

    let unknown = run(envoy(b"auth", CALL));
    assert_eq!(said(&unknown)[0], "E", "PARSE_FAILURE");
}

#[test]
fn a_call_to_nobody_fails_and_is_closed_all_the_same() {
    let message = b"\x0a\x06\x0a\x04auth";
    let unknown = envoy(message, CALL);
    let empty = envoy(b"auth", CALL).cluster_without_hosts("auth");
    for (builder, text) in [
        (unknown, "Cluster not available"),
        (empty, "no healthy upstream"),
    ] {
        let envoy = run(builder);
        let close = ["c", "B", "F", "O", "O", text];
        assert_eq!(said(&envoy)[0], "K", "INTERNAL_FAILURE");
        assert_eq!(said(&envoy)[2..], close);
        assert!(envoy.grpc_calls().is_empty());
    }
}
