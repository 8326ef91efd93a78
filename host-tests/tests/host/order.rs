//! The order of callbacks for each kind of exchange, as a table: what happens,
//! and then each callback with its arguments. The order is the host's contract
//! with a module, so here it is asserted, as nowhere else.
//!
//! The lines are those that Envoy 1.40 gave for the same module, `diary.wat`,
//! with the same traffic; only the numbers of headers differ, since Envoy adds
//! some. Arguments are: context and root for `context_create`; context, number
//! of headers, end of stream for headers; context, bytes, end of stream for a
//! body; context and number for trailers.

use std::time::Duration;

use gatemeter_host_tests::scenario::{Ending, Worker, flags};
use gatemeter_host_tests::{AccessLog, Envoy, NO_HEADERS, Request, Stream};

use crate::diary;

/// Runs `traffic` on a fresh proxy and compares what the module logged since its
/// configuration.
#[track_caller]
fn assert_order(traffic: impl FnOnce(&Envoy, &Worker), expected: &[&str]) {
    let envoy = Envoy::new(diary()).configure("").expect("accepted");
    traffic(&envoy, &envoy.worker(0));
    let lines = crate::said(&envoy);
    let begin = lines.iter().position(|line| line.starts_with("configure"));
    assert_eq!(lines[begin.expect("it was configured") + 1..], *expected);
}

/// `name: |envoy, worker| traffic => [callbacks];`
macro_rules! order {
    ($($(#[$doc:meta])* $name:ident: |$envoy:ident, $worker:ident| $traffic:block
        => [$($line:literal),* $(,)?];)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $name() {
                assert_order(|$envoy: &Envoy, $worker: &Worker| $traffic, &[$($line),*]);
            }
        )*
    };
}

/// A `GET` of `/` that has `diary.wat` do something.
fn ordered(orders: &str) -> Request {
    Request::get("/").header("x-do", orders)
}

/// A `POST` to `/` that has `diary.wat` do something.
fn ordered_body(orders: &str) -> Request {
    Request::new("POST", "/").with_body().header("x-do", orders)
}

/// A response with a body in one piece, and the end.
fn answer(stream: &Stream) {
    stream.respond(200, [("content-length", "2")]);
    stream.response_body("ok", true);
    stream.finish();
}

/// The next tick, in which `diary.wat` lets go on what it stopped.
fn resume(envoy: &Envoy) {
    envoy.advance(Duration::from_millis(20));
}

// Ordinary exchanges.
order! {
    a_request_without_a_body: |_envoy, worker| {
        answer(&worker.request(Request::get("/")));
    } => [
        "context_create 2 1",
        "request_headers 2 4 1",
        "response_headers 2 2 0",
        "response_body 2 2 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    a_response_without_a_body: |_envoy, worker| {
        let stream = worker.request(Request::get("/"));
        stream.respond_without_body(204, NO_HEADERS);
        stream.finish();
    } => [
        "context_create 2 1",
        "request_headers 2 4 1",
        "response_headers 2 1 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    // HTTP/1 says the end of a body in a piece of its own.
    bodies_in_pieces: |_envoy, worker| {
        let stream = worker.request(Request::new("POST", "/").with_body());
        stream.request_body("abc", false);
        stream.request_body("de", false);
        stream.request_body("", true);
        stream.respond(200, NO_HEADERS);
        stream.response_body("abc", false);
        stream.response_body("", true);
        stream.finish();
    } => [
        "context_create 2 1",
        "request_headers 2 4 0",
        "request_body 2 3 0",
        "request_body 2 2 0",
        "request_body 2 0 1",
        "response_headers 2 1 0",
        "response_body 2 3 0",
        "response_body 2 0 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    trailers_both_ways: |_envoy, worker| {
        let stream = worker.request(Request::new("POST", "/").with_body());
        stream.request_body("abc", false);
        stream.request_trailers([("t", "1")]);
        stream.respond(200, NO_HEADERS);
        stream.response_body("abc", false);
        stream.response_trailers([("t", "1"), ("u", "2")]);
        stream.finish();
    } => [
        "context_create 2 1",
        "request_headers 2 4 0",
        "request_body 2 3 0",
        "request_trailers 2 1",
        "response_headers 2 1 0",
        "response_body 2 3 0",
        "response_trailers 2 2",
        "log 2",
        "done 2",
        "delete 2",
    ];

    a_response_before_the_request_is_complete: |_envoy, worker| {
        let stream = worker.request(Request::new("POST", "/").with_body());
        stream.request_body("abc", false);
        answer(&stream);
    } => [
        "context_create 2 1",
        "request_headers 2 4 0",
        "request_body 2 3 0",
        "response_headers 2 2 0",
        "response_body 2 2 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    a_rewritten_route: |_envoy, worker| {
        let stream = worker.request(Request::get("/old"));
        stream.rewrite_path("/new");
        answer(&stream);
        assert_eq!(stream.request_header(":path").as_deref(), Some("/new"));
        let original = stream.request_header("x-envoy-original-path");
        assert_eq!(original.as_deref(), Some("/old"));
    } => [
        "context_create 2 1",
        "request_headers 2 4 1",
        "response_headers 2 2 0",
        "response_body 2 2 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    // No callback for a 1xx.
    an_informational_response_first: |_envoy, worker| {
        let stream = worker.request(Request::get("/"));
        stream.inform(103);
        answer(&stream);
        assert_eq!(stream.outcome().informational, [103]);
    } => [
        "context_create 2 1",
        "request_headers 2 4 1",
        "response_headers 2 2 0",
        "response_body 2 2 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    a_grpc_response_with_its_trailers_in_its_headers: |_envoy, worker| {
        let request = Request::new("POST", "/s/m").header("content-type", "application/grpc");
        let stream = worker.request(request.with_body());
        stream.request_body([0, 0, 0, 0, 0], true);
        let headers = [("content-type", "application/grpc"), ("grpc-status", "12")];
        stream.respond_without_body(200, headers);
        stream.finish();
    } => [
        "context_create 2 1",
        "request_headers 2 5 0",
        "request_body 2 5 1",
        "response_headers 2 3 1",
        "log 2",
        "done 2",
        "delete 2",
    ];
}

// Answers that are not the service's, and exchanges that are cut.
order! {
    a_local_reply_after_the_filter: |_envoy, worker| {
        let stream = worker.request(Request::get("/"));
        stream.local_reply(503, flags::UH, "no_healthy_upstream");
        assert_eq!(stream.outcome().status, Some(503));
    } => [
        "context_create 2 1",
        "request_headers 2 4 1",
        "response_headers 2 3 0",
        "response_body 2 19 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    // To a gRPC client it is headers only.
    a_local_reply_to_a_grpc_client: |_envoy, worker| {
        let request = Request::new("POST", "/s/m").header("content-type", "application/grpc");
        let stream = worker.request(request);
        stream.local_reply(503, flags::UH, "no_healthy_upstream");
        assert_eq!(stream.response_header_sent("grpc-status").as_deref(), Some("14"));
        assert_eq!(stream.outcome().status, Some(200));
    } => [
        "context_create 2 1",
        "request_headers 2 5 1",
        "response_headers 2 4 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    a_reply_before_the_filter: |_envoy, worker| {
        worker.answer_before_filter(Request::get("/"), 400, NO_HEADERS);
    } => ["context_create 2 1", "log 2", "done 2", "delete 2"];

    the_client_leaves_before_the_response: |_envoy, worker| {
        let stream = worker.request(Request::get("/"));
        stream.client_leaves();
        assert_eq!(stream.outcome().ending, Ending::Reset);
    } => [
        "context_create 2 1",
        "request_headers 2 4 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    a_reset_after_response_headers: |_envoy, worker| {
        let stream = worker.request(Request::get("/"));
        stream.respond(200, NO_HEADERS);
        stream.response_body("abc", false);
        stream.reset(flags::UC);
        assert_eq!(stream.outcome().body, b"abc");
        assert_eq!(stream.outcome().ending, Ending::Reset);
    } => [
        "context_create 2 1",
        "request_headers 2 4 1",
        "response_headers 2 1 0",
        "response_body 2 3 0",
        "log 2",
        "done 2",
        "delete 2",
    ];

    // A full cycle a hop; the response that no client gets is not shown.
    an_internal_redirect: |_envoy, worker| {
        let first = worker.request(Request::get("/old"));
        let second = first.redirect_internally(302, "/new");
        assert!(first.ended());
        answer(&second);
    } => [
        "context_create 2 1",
        "request_headers 2 4 1",
        "log 2",
        "done 2",
        "delete 2",
        "context_create 3 1",
        "request_headers 3 5 1",
        "response_headers 3 2 0",
        "response_body 3 2 1",
        "log 3",
        "done 3",
        "delete 3",
    ];
}

// Exchanges that stay open: they are logged when they close.
order! {
    an_upgrade: |envoy, worker| {
        let socket = worker.request(Request::get("/").with_body());
        socket.upgrade();
        socket.request_body("ping", false);
        socket.response_body("pong!", false);
        envoy.advance(Duration::from_secs(3600));
        socket.client_leaves();
    } => [
        "context_create 2 1",
        "request_headers 2 4 0",
        "response_headers 2 3 0",
        "request_body 2 4 0",
        "response_body 2 5 0",
        "log 2",
        "done 2",
        "delete 2",
    ];

    a_tunnel: |_envoy, worker| {
        let connect = Request::from([(":method", "CONNECT"), (":authority", "x:443")]);
        let tunnel = worker.request(connect.with_body());
        tunnel.respond(200, NO_HEADERS);
        tunnel.request_body("hello", false);
        tunnel.response_body("hello", false);
        tunnel.finish();
    } => [
        "context_create 2 1",
        "request_headers 2 2 0",
        "response_headers 2 1 0",
        "request_body 2 5 0",
        "response_body 2 5 0",
        "log 2",
        "done 2",
        "delete 2",
    ];
}

// The module answers in the service's place.
order! {
    the_module_replies_to_request_headers: |_envoy, worker| {
        let stream = worker.request(ordered("Rq"));
        assert_eq!(stream.outcome().status, Some(429));
        assert_eq!(stream.outcome().body, b"x-do");
        assert_eq!(stream.outcome().ending, Ending::Complete);
    } => [
        "context_create 2 1",
        "request_headers 2 5 1",
        "response_headers 2 3 0",
        "response_body 2 4 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    the_module_replies_to_a_request_body: |_envoy, worker| {
        let stream = worker.request(ordered_body("Rb"));
        stream.request_body("abcd", false);
        assert_eq!(stream.outcome().status, Some(429));
    } => [
        "context_create 2 1",
        "request_headers 2 5 0",
        "request_body 2 4 0",
        "response_headers 2 3 0",
        "response_body 2 4 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    the_module_replies_to_request_trailers: |_envoy, worker| {
        let stream = worker.request(ordered_body("Rt"));
        stream.request_body("abc", false);
        stream.request_trailers([("t", "1")]);
        assert_eq!(stream.outcome().status, Some(429));
    } => [
        "context_create 2 1",
        "request_headers 2 5 0",
        "request_body 2 3 0",
        "request_trailers 2 1",
        "response_headers 2 3 0",
        "response_body 2 4 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    // It has seen response headers, so the reply goes past it.
    the_module_replies_to_response_headers: |_envoy, worker| {
        let stream = worker.request(ordered("Rh"));
        stream.respond(200, NO_HEADERS);
        assert_eq!(stream.outcome().status, Some(429));
        assert_eq!(stream.outcome().ending, Ending::Complete);
    } => [
        "context_create 2 1",
        "request_headers 2 5 1",
        "response_headers 2 1 0",
        "log 2",
        "done 2",
        "delete 2",
    ];

    // The client has response headers, so it gets no other answer.
    the_module_replies_to_a_response_body: |_envoy, worker| {
        let stream = worker.request(ordered("Rd"));
        stream.respond(200, NO_HEADERS);
        stream.response_body("ok", false);
        assert_eq!(stream.outcome().status, Some(200));
        assert_eq!(stream.outcome().body, b"");
        assert_eq!(stream.outcome().ending, Ending::Reset);
    } => [
        "context_create 2 1",
        "request_headers 2 5 1",
        "response_headers 2 1 0",
        "response_body 2 2 0",
        "log 2",
        "done 2",
        "delete 2",
    ];

    the_module_closes_the_stream_at_request_headers: |_envoy, worker| {
        let stream = worker.request(ordered("Cq"));
        assert_eq!(stream.outcome().status, None);
        assert_eq!(stream.outcome().ending, Ending::Reset);
        assert_eq!(stream.outcome().details.as_deref(), Some("wasm_close_stream"));
    } => [
        "context_create 2 1",
        "request_headers 2 5 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    the_module_closes_the_stream_at_a_response_body: |_envoy, worker| {
        let stream = worker.request(ordered("Cd"));
        stream.respond(200, NO_HEADERS);
        stream.response_body("ok", true);
        assert_eq!(stream.outcome().status, Some(200));
        assert_eq!(stream.outcome().ending, Ending::Reset);
    } => [
        "context_create 2 1",
        "request_headers 2 5 1",
        "response_headers 2 1 0",
        "response_body 2 2 1",
        "log 2",
        "done 2",
        "delete 2",
    ];
}

// The module pauses, and lets go on with its next tick.
order! {
    a_pause_at_request_headers: |envoy, worker| {
        let stream = worker.request(ordered("Pq"));
        assert!(stream.paused());
        resume(envoy);
        assert!(!stream.paused());
        answer(&stream);
    } => [
        "context_create 2 1",
        "request_headers 2 5 1",
        "response_headers 2 2 0",
        "response_body 2 2 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    // What waited comes in one piece.
    a_pause_at_request_headers_with_body_and_trailers_behind: |envoy, worker| {
        let stream = worker.request(ordered_body("Pq"));
        assert_eq!(stream.request_body("abc", false), b"");
        assert_eq!(stream.request_body("de", false), b"");
        stream.request_trailers([("t", "1")]);
        resume(envoy);
        assert_eq!(stream.request_body_sent(), b"abcde");
        answer(&stream);
    } => [
        "context_create 2 1",
        "request_headers 2 5 0",
        "request_body 2 5 0",
        "request_trailers 2 1",
        "response_headers 2 2 0",
        "response_body 2 2 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    // The piece that was held back is not shown again.
    a_pause_at_a_request_body_that_goes_on_by_itself: |envoy, worker| {
        let stream = worker.request(ordered_body("Pb"));
        assert_eq!(stream.request_body("abc", false), b"");
        resume(envoy);
        assert_eq!(stream.request_body_sent(), b"abc");
        assert_eq!(stream.request_body("de", true), b"de");
        answer(&stream);
    } => [
        "context_create 2 1",
        "request_headers 2 5 0",
        "request_body 2 3 0",
        "request_body 2 2 1",
        "response_headers 2 2 0",
        "response_body 2 2 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    // More comes first, and the module sees all of it.
    a_pause_at_a_request_body_with_more_behind: |_envoy, worker| {
        let stream = worker.request(ordered_body("Pb"));
        assert_eq!(stream.request_body("abcd", false), b"");
        assert_eq!(stream.request_body("", true), b"abcd");
        assert!(!stream.paused());
        answer(&stream);
    } => [
        "context_create 2 1",
        "request_headers 2 5 0",
        "request_body 2 4 0",
        "request_body 2 4 1",
        "response_headers 2 2 0",
        "response_body 2 2 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    a_pause_at_request_trailers: |envoy, worker| {
        let stream = worker.request(ordered_body("Pt"));
        stream.request_body("abc", false);
        stream.request_trailers([("t", "1")]);
        assert!(stream.paused());
        resume(envoy);
        assert!(!stream.paused());
        answer(&stream);
    } => [
        "context_create 2 1",
        "request_headers 2 5 0",
        "request_body 2 3 0",
        "request_trailers 2 1",
        "response_headers 2 2 0",
        "response_body 2 2 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    a_pause_at_response_headers: |envoy, worker| {
        let stream = worker.request(ordered("Ph"));
        stream.respond(200, NO_HEADERS);
        assert_eq!(stream.response_body("ok", false), b"");
        assert_eq!(stream.response_body("", true), b"");
        assert_eq!(stream.outcome().status, None);
        resume(envoy);
        assert_eq!(stream.outcome().status, Some(200));
        assert_eq!(stream.outcome().body, b"ok");
        stream.finish();
    } => [
        "context_create 2 1",
        "request_headers 2 5 1",
        "response_headers 2 1 0",
        "response_body 2 2 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    a_pause_at_a_response_body: |envoy, worker| {
        let stream = worker.request(ordered("Pd"));
        stream.respond(200, NO_HEADERS);
        assert_eq!(stream.response_body("abc", false), b"");
        resume(envoy);
        assert_eq!(stream.response_body("abc", true), b"abc");
        assert_eq!(stream.outcome().body, b"abcabc");
        stream.finish();
    } => [
        "context_create 2 1",
        "request_headers 2 5 1",
        "response_headers 2 1 0",
        "response_body 2 3 0",
        "response_body 2 3 1",
        "log 2",
        "done 2",
        "delete 2",
    ];

    a_pause_at_response_trailers: |envoy, worker| {
        let stream = worker.request(ordered("Pe"));
        stream.respond(200, NO_HEADERS);
        stream.response_body("abc", false);
        stream.response_trailers([("t", "1")]);
        assert_eq!(stream.outcome().trailers, []);
        resume(envoy);
        assert_eq!(stream.outcome().trailers.len(), 1);
        stream.finish();
    } => [
        "context_create 2 1",
        "request_headers 2 5 1",
        "response_headers 2 1 0",
        "response_body 2 3 0",
        "response_trailers 2 1",
        "log 2",
        "done 2",
        "delete 2",
    ];
}

// Root contexts.
order! {
    an_access_logger: |_envoy, worker| {
        worker.access_log(AccessLog::of(Request::get("/")).response(200, NO_HEADERS));
        worker.access_log_unparsed();
    } => ["log 1", "log 1"];

    a_new_configuration_with_a_stream_open: |envoy, worker| {
        let old = worker.request(Request::get("/"));
        envoy.reconfigure("new").expect("accepted");
        let new = worker.request(Request::get("/"));
        old.client_leaves();
        new.client_leaves();
    } => [
        "context_create 2 1",
        "request_headers 2 4 1",
        "context_create 3 0",
        "vm_start 3 0",
        "configure 3 3",
        "context_create 4 3",
        "request_headers 4 4 1",
        "log 2",
        "done 2",
        "delete 2",
        "done 1",
        "delete 1",
        "log 4",
        "done 4",
        "delete 4",
    ];

    the_end_of_a_plugin: |envoy, _worker| {
        envoy.drain();
    } => ["done 1", "delete 1"];
}

#[test]
#[should_panic(expected = "the module holds the response back")]
fn a_response_that_is_held_back_does_not_finish() {
    let envoy = Envoy::new(diary()).configure("").expect("accepted");
    let stream = envoy.worker(0).request(ordered("Ph"));
    stream.respond(200, NO_HEADERS);
    stream.finish();
}

#[test]
#[should_panic(expected = "a local response in the log callback")]
fn a_reply_to_the_log_callback_is_what_crashes_envoy() {
    let envoy = Envoy::new(diary()).configure("").expect("accepted");
    answer(&envoy.worker(0).request(ordered("Rl")));
}
