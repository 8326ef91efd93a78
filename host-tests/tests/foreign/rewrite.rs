use gatemeter_host_tests::{Envoy, NO_HEADERS, Request};

use crate::build;

fn request() -> Request {
    Request::new("POST", "/")
        .header("content-length", "11")
        .with_body()
}

#[test]
fn headers_are_taken_away_and_added() {
    let envoy = Envoy::new(build::rewrite()).configure("");
    let stream = envoy.expect("accepted").worker(0).request(request());
    assert_eq!(stream.request_header("content-length"), None);
    assert_eq!(stream.request_header("x-rewritten").as_deref(), Some("yes"));
}

#[test]
fn a_body_is_held_back_until_it_is_whole_and_changed_at_once() {
    let envoy = Envoy::new(build::rewrite()).configure("");
    let stream = envoy.expect("accepted").worker(0).request(request());
    assert_eq!(stream.request_body("Hello ", false), b"");
    assert!(stream.paused());
    assert_eq!(stream.request_body("World", true), b"HELLO WORLD");
    assert!(!stream.paused());
    assert_eq!(stream.request_body_sent(), b"HELLO WORLD");
}

#[test]
fn pieces_of_a_response_pass_as_they_come_and_trailers_begin_with_the_last() {
    let envoy = Envoy::new(build::rewrite()).configure("");
    let stream = envoy.expect("accepted").worker(0).request(request());
    stream.respond(200, NO_HEADERS);
    assert_eq!(stream.response_body("one", false), b"[one");
    assert_eq!(stream.response_body("two", true), b"[two");
    let trailers = stream.outcome().trailers;
    assert_eq!(trailers, [(b"x-pieces".to_vec(), b"2".to_vec())]);
}
