use std::time::Duration;

use gatemeter_host_tests::{CallResponse, Envoy, NO_HEADERS, Request, Status, Stream};

use crate::build;

fn envoy() -> Envoy {
    let envoy = Envoy::new(build::auth()).cluster("auth");
    envoy.configure("auth").expect("accepted")
}

fn request(envoy: &Envoy) -> Stream {
    let request = Request::get("/private").header("authorization", "Bearer 7");
    envoy.worker(0).request(request)
}

#[track_caller]
fn assert_decisions(envoy: &Envoy, allowed: u64, denied: u64, failed: u64) {
    let stats = envoy.stats();
    let counts = [("allowed", allowed), ("denied", denied), ("failed", failed)];
    for (name, count) in counts {
        let name = format!("auth.{name}");
        assert_eq!(stats.counter(&name).unwrap_or_default(), count, "{name}");
    }
}

#[test]
fn a_request_waits_for_the_answer_and_passes_with_the_user() {
    let envoy = envoy();
    let stream = request(&envoy);
    assert!(stream.paused());
    let call = envoy.http_call();
    assert_eq!(call.header("authorization").as_deref(), Some("Bearer 7"));
    assert_eq!(call.header("x-original-path").as_deref(), Some("/private"));
    call.respond(CallResponse::new(200).headers([("x-user", "ada")]));
    assert!(!stream.paused());
    assert_eq!(stream.request_header("x-user").as_deref(), Some("ada"));
    assert_eq!(stream.request_header("authorization"), None);
    stream.respond(200, NO_HEADERS);
    stream.finish();
    let served_for = stream.response_header_sent("x-served-for");
    assert_eq!(served_for.as_deref(), Some("ada"));
    assert_decisions(&envoy, 1, 0, 0);
}

#[test]
fn a_denied_client_gets_the_answer_of_the_service() {
    let envoy = envoy();
    let stream = request(&envoy);
    envoy
        .http_call()
        .respond(CallResponse::new(401).body("who are you?"));
    assert!(stream.ended());
    let response = stream.local_response().expect("an answer");
    assert_eq!(
        (response.status, response.body),
        (401, b"who are you?".to_vec())
    );
    assert_decisions(&envoy, 0, 1, 0);
}

#[test]
fn answers_come_in_any_order_and_each_to_its_request() {
    let envoy = envoy();
    let streams = [request(&envoy), request(&envoy), request(&envoy)];
    let calls = envoy.http_calls();
    for index in [2, 0, 1] {
        let user = format!("user-{index}");
        calls[index].respond(CallResponse::new(200).headers([("x-user", &user)]));
    }
    for (index, stream) in streams.iter().enumerate() {
        let user = stream.request_header("x-user");
        assert_eq!(user, Some(format!("user-{index}")));
    }
    assert_decisions(&envoy, 3, 0, 0);
}

#[test]
fn without_an_answer_in_time_the_client_gets_what_envoy_made_up() {
    let envoy = envoy();
    let stream = request(&envoy);
    envoy.advance(Duration::from_millis(250));
    assert_eq!(
        stream.local_response().map(|response| response.status),
        Some(504)
    );
    assert_decisions(&envoy, 0, 1, 0);
}

#[test]
fn a_broken_call_and_one_that_could_not_be_made_are_failures() {
    let envoy = envoy();
    let stream = request(&envoy);
    envoy.http_call().reset();
    assert_eq!(
        stream.local_response().map(|response| response.status),
        Some(503)
    );

    envoy.fail("proxy_http_call", Status::INTERNAL_FAILURE);
    let stream = request(&envoy);
    assert_eq!(
        stream.local_response().map(|response| response.status),
        Some(503)
    );
    assert_decisions(&envoy, 0, 0, 2);
}

#[test]
fn a_client_that_left_is_not_answered_and_costs_nothing_more() {
    let envoy = envoy();
    let stream = request(&envoy);
    let call = envoy.http_call();
    stream.client_leaves();
    call.respond(200);
    assert_decisions(&envoy, 0, 0, 0);
    assert_eq!(envoy.contexts(), 2, "the roots of main thread and worker");
}

#[test]
fn a_configuration_without_a_cluster_is_refused() {
    let refused = Envoy::new(build::auth()).configure("");
    let refused = refused.expect_err("no cluster").to_string();
    assert!(refused.contains("names no cluster"), "{refused}");
}
