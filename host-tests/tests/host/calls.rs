use std::time::Duration;

use gatemeter_host_tests::host::process::Thread;
use gatemeter_host_tests::{
    CallResponse, Envoy, EnvoyBuilder, Module, NO_HEADERS, Request, Status,
};

use crate::{header_data, module_with, said};

const IMPORTS: &str = r#"
    (import "env" "proxy_http_call"
        (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_status" (func $status (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_buffer_bytes"
        (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_add_header_map_value"
        (func $add (param i32 i32 i32 i32 i32) (result i32)))
"#;

const COMPLETE: [(&str, &str); 4] = [
    (":method", "POST"),
    (":path", "/check"),
    (":authority", "auth.example"),
    ("X-Id", "7"),
];

/// Asks the cluster `auth` at each request, with a body, a trailer and a timeout
/// of 100 ms, and pauses. The answer says what it was called with, what it could
/// read, and the status; then the request goes on with a header, or is refused
/// with 403 if the answer had no body.
fn asking(headers: &[(&str, &str)], timeout: &str) -> Module {
    let (headers, size) = header_data(headers);
    let (trailer, trailer_size) = header_data(&[("Sum", "9")]);
    let rest = format!(
        r#"
        (data (i32.const 0) "auth")
        (data (i32.const 16) "question")
        (data (i32.const 32) ":status")
        (data (i32.const 48) "{trailer}")
        (data (i32.const 128) "{headers}")
        (global $stream (mut i32) (i32.const 0))
        (func $show (drop (call $log (i32.const 2)
            (i32.load (i32.const 1100)) (i32.load (i32.const 1104)))))
        ;; What can be read of an answer now.
        (func $read
            (call $say (call $value (i32.const 6)
                (i32.const 32) (i32.const 7) (i32.const 1100) (i32.const 1104)))
            (call $say (call $buffer (i32.const 4)
                (i32.const 0) (i32.const 100) (i32.const 1100) (i32.const 1104))))
        (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
            (global.set $stream (local.get $id))
            (i32.store (i32.const 1120) (i32.const 77))
            (call $say (call $http_call (i32.const 0) (i32.const 4)
                (i32.const 128) (i32.const {size}) (i32.const 16) (i32.const 8)
                (i32.const 48) (i32.const {trailer_size}) (i32.const {timeout}) (i32.const 1120)))
            (call $say (i32.load (i32.const 1120)))
            (call $read)
            (i32.const 1))
        (func (export "proxy_on_http_call_response") (param $id i32) (param $token i32)
            (param $headers i32) (param $body i32) (param $trailers i32)
            (call $say (local.get $id))
            (call $say (local.get $token))
            (call $say (local.get $headers))
            (call $say (local.get $body))
            (call $say (local.get $trailers))
            (call $read)
            (if (local.get $body) (then (call $show)))
            (drop (call $status (i32.const 1108) (i32.const 1100) (i32.const 1104)))
            (call $say (i32.load (i32.const 1108)))
            (call $show)
            (drop (call $speak_for (global.get $stream)))
            (if (local.get $body)
                (then
                    ;; The maps of the request are open, and those of the answer too.
                    (call $read)
                    (drop (call $add (i32.const 0)
                        (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 8)))
                    (drop (call $continue (i32.const 0))))
                (else (drop (call $reply (i32.const 403) (i32.const 0) (i32.const 4)
                    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1))))))
        (func (export "proxy_on_log") (param i32)
            (call $read)
            (drop (call $status (i32.const 1108) (i32.const 1100) (i32.const 1104)))
            (call $say (i32.load (i32.const 1108)))
            (call $show))"#
    );
    module_with(IMPORTS, &rest)
}

fn envoy() -> EnvoyBuilder {
    Envoy::new(asking(&COMPLETE, "100")).cluster("auth")
}

/// What is said before any answer: OK, token 4; no map and no buffer.
const ASKED: [&str; 4] = ["A", "E", "C", "B"];

#[test]
fn a_test_sees_what_was_sent_and_where() {
    let envoy = envoy().workers(2).configure("").expect("accepted");
    assert!(envoy.http_calls().is_empty());
    let _stream = envoy.worker(1).request(Request::get("/"));
    let call = envoy.http_call();
    assert_eq!(call.cluster(), "auth");
    assert_eq!(call.thread(), Thread::Worker(1));
    assert_eq!(call.header(":path").as_deref(), Some("/check"));
    assert_eq!(call.header("x-id").as_deref(), Some("7"));
    assert_eq!(call.header("content-length").as_deref(), Some("8"));
    assert_eq!(call.body(), b"question");
    assert_eq!(call.sent().trailers, [(b"sum".to_vec(), b"9".to_vec())]);
    assert_eq!(call.sent().timeout, Some(Duration::from_millis(100)));
}

#[test]
fn an_answer_is_read_in_its_callback_and_only_there() {
    let envoy = envoy().configure("").expect("accepted");
    let stream = envoy.worker(0).request(Request::get("/"));
    assert!(stream.paused());
    let response = CallResponse::new(200)
        .headers([("a", "b")])
        .body("yes")
        .trailers([("c", "d"), ("e", "f"), ("g", "h")]);
    let call = envoy.http_call();
    call.respond(response);
    assert!(!call.pending());
    assert!(envoy.http_calls().is_empty());
    assert!(!stream.paused(), "the module let it go on");
    assert_eq!(stream.request_header("auth").as_deref(), Some("question"));
    assert_eq!(said(&envoy)[..4], ASKED);
    assert_eq!(
        said(&envoy)[4..],
        [
            // In the root, 1: the token, 2 headers, 3 bytes, 3 trailers.
            "B", "E", "C", "D", "D", // Status line and body; all well.
            "A", "A", "yes", "A", "", // From the stream as well.
            "A", "A",
        ]
    );
    stream.respond(200, NO_HEADERS);
    stream.finish();
    assert_eq!(
        said(&envoy)[16..],
        ["B", "B", "A", ""],
        "not in the log callback"
    );
}

#[test]
fn a_broken_call_has_no_headers_but_a_status_with_a_text() {
    let envoy = envoy().configure("").expect("accepted");
    let stream = envoy.worker(0).request(Request::get("/"));
    envoy.http_call().reset();
    let reset = ["B", "E", "A", "A", "A", "C", "B", "L", "reset"];
    assert_eq!(said(&envoy)[4..13], reset);
    // The refusal was sent at once, by a callback of another context.
    assert!(stream.ended());
    let response = stream.local_response().expect("a refusal");
    assert_eq!((response.status, response.details), (403, b"auth".to_vec()));
    assert_eq!(
        stream.response_header_sent(":status").as_deref(),
        Some("403")
    );
    // The number of the status stays, its text does not.
    assert_eq!(said(&envoy)[13..], ["B", "B", "L", ""]);
}

#[test]
fn a_call_is_out_of_time_on_the_virtual_clock_and_gets_the_answer_of_envoy() {
    let envoy = envoy().configure("").expect("accepted");
    let stream = envoy.worker(0).request(Request::get("/"));
    let call = envoy.http_call();
    envoy.advance(Duration::from_millis(99));
    assert!(call.pending());
    envoy.advance(Duration::from_millis(1));
    assert!(!call.pending());
    let text = "upstream request timeout";
    // Three headers, 24 bytes.
    let answer = ["B", "E", "D", "Y", "A", "A", "A", text, "A", ""];
    assert_eq!(said(&envoy)[4..14], answer);
    assert!(!stream.paused());
}

#[test]
fn without_a_timeout_a_call_waits_for_ever() {
    let envoy = Envoy::new(asking(&COMPLETE, "0")).cluster("auth");
    let envoy = envoy.configure("").expect("accepted");
    let _stream = envoy.worker(0).request(Request::get("/"));
    envoy.advance(Duration::from_secs(100_000));
    assert!(envoy.http_call().pending());
}

#[test]
fn a_call_is_refused_as_in_envoy() {
    let without = |missing: &str| {
        let headers: Vec<_> = COMPLETE
            .into_iter()
            .filter(|(name, _)| *name != missing)
            .collect();
        asking(&headers, "100")
    };
    let refusals = [
        (
            "an unknown cluster",
            Envoy::new(asking(&COMPLETE, "100")),
            "C",
        ),
        (
            "no method",
            Envoy::new(without(":method")).cluster("auth"),
            "C",
        ),
        ("no path", Envoy::new(without(":path")).cluster("auth"), "C"),
        (
            "no host",
            Envoy::new(without(":authority")).cluster("auth"),
            "C",
        ),
        (
            "a negative timeout",
            Envoy::new(asking(&COMPLETE, "-1")).cluster("auth"),
            "C",
        ),
        (
            "a cluster without hosts",
            Envoy::new(asking(&COMPLETE, "100")).cluster_without_hosts("auth"),
            "K",
        ),
    ];
    for (why, envoy, status) in refusals {
        let envoy = envoy.configure("").expect("accepted");
        let _stream = envoy.worker(0).request(Request::get("/"));
        // The token is overwritten with 0.
        assert_eq!(said(&envoy), [status, "A", "C", "B"], "{why}");
        assert!(envoy.http_calls().is_empty(), "{why}");
    }
}

#[test]
fn tokens_are_unique_in_a_virtual_machine_and_calls_are_answered_in_any_order() {
    let envoy = envoy().configure("").expect("accepted");
    let _streams: Vec<_> = (0..3)
        .map(|_| envoy.worker(0).request(Request::get("/")))
        .collect();
    let calls = envoy.http_calls();
    let tokens: Vec<u32> = calls.iter().map(|call| call.token()).collect();
    assert_eq!(tokens, [4, 8, 12]);
    calls[1].respond(200);
    let left: Vec<u32> = envoy.http_calls().iter().map(|call| call.token()).collect();
    assert_eq!(left, [4, 12]);
}

#[test]
fn calls_go_with_their_root_and_nobody_is_told() {
    let envoy = envoy().configure("").expect("accepted");
    let stream = envoy.worker(0).request(Request::get("/"));
    let call = envoy.http_call();
    stream.client_leaves();
    assert!(call.pending(), "the call is the root's, not the stream's");
    let before = said(&envoy).len();
    envoy.drain();
    assert!(!call.pending());
    envoy.advance(Duration::from_secs(1));
    assert_eq!(said(&envoy).len(), before);
}

#[test]
#[should_panic(expected = "the call is over")]
fn a_call_is_answered_once() {
    let envoy = envoy().configure("").expect("accepted");
    let _stream = envoy.worker(0).request(Request::get("/"));
    let call = envoy.http_call();
    call.respond(200);
    call.respond(200);
}

#[test]
fn a_call_can_be_made_to_fail_like_every_host_call() {
    let envoy = envoy().configure("").expect("accepted");
    envoy.fail("proxy_http_call", Status::INTERNAL_FAILURE);
    let _stream = envoy.worker(0).request(Request::get("/"));
    assert_eq!(said(&envoy)[0], "K");
    assert!(envoy.http_calls().is_empty());
}
