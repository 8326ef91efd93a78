use std::time::Duration;

use gatemeter_host_tests::scenario::flags;
use gatemeter_host_tests::{AccessLog, Envoy, EnvoyBuilder, Module, NO_HEADERS, Request};

use crate::{module, said};

/// Logs the name of each callback that runs.
fn diary(extra: &str) -> Module {
    let callbacks = [
        ("proxy_on_context_create", 2, None),
        ("proxy_on_vm_start", 2, Some(1)),
        ("proxy_on_configure", 2, Some(1)),
        ("proxy_on_tick", 1, None),
        ("proxy_on_request_headers", 3, Some(0)),
        ("proxy_on_request_body", 3, Some(0)),
        ("proxy_on_request_trailers", 2, Some(0)),
        ("proxy_on_response_headers", 3, Some(0)),
        ("proxy_on_response_body", 3, Some(0)),
        ("proxy_on_response_trailers", 2, Some(0)),
        ("proxy_on_log", 1, None),
        ("proxy_on_done", 1, Some(1)),
        ("proxy_on_delete", 1, None),
    ];
    let mut text = extra.to_owned();
    for (index, (name, parameters, answer)) in callbacks.into_iter().enumerate() {
        let at = 100 + index * 32;
        let word = &name["proxy_on_".len()..];
        let result = answer.map_or("", |_| "(result i32)");
        let answer = answer.map_or_else(String::new, |value| format!("(i32.const {value})"));
        text.push_str(&format!(
            r#"(data (i32.const {at}) "{word} ")
               (func (export "{name}") (param {}) {result}
                   (i32.store8 (i32.const {}) (i32.add (i32.const 48) (local.get 0)))
                   (drop (call $log (i32.const 2) (i32.const {at}) (i32.const {})))
                   {answer})
            "#,
            "i32 ".repeat(parameters),
            at + word.len() + 1,
            word.len() + 2,
        ));
    }
    module(&text)
}

fn envoy(extra: &str) -> EnvoyBuilder {
    Envoy::new(diary(extra))
}

/// What the worker's module did after it was configured.
fn after_configuration(envoy: &Envoy) -> Vec<String> {
    let mut diary = said(envoy);
    let begin = diary.iter().position(|word| word.starts_with("configure"));
    diary.drain(..=begin.expect("it was configured"));
    diary
}

#[test]
fn a_configuration_goes_to_a_canary_the_main_thread_and_each_worker() {
    let envoy = envoy("").workers(2).configure("x").expect("accepted");
    let lines: Vec<String> = envoy
        .logs()
        .iter()
        .map(|line| format!("{}: {}", line.thread, line.message))
        .collect();
    let expected: Vec<String> = ["canary", "main thread", "worker 0", "worker 1"]
        .iter()
        .flat_map(|thread| {
            ["context_create 1", "vm_start 1", "configure 1"]
                .map(|callback| format!("{thread}: {callback}"))
        })
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn an_exchange_runs_through_all_callbacks_in_order() {
    let envoy = envoy("").configure("").expect("accepted");
    let stream = envoy
        .worker(0)
        .request(Request::new("POST", "/").with_body());
    stream.request_body("abc", false);
    stream.request_trailers([("t", "1")]);
    stream.respond(200, NO_HEADERS);
    stream.response_body("def", false);
    stream.response_trailers([("t", "1")]);
    stream.finish();
    assert_eq!(
        after_configuration(&envoy),
        [
            "context_create 2",
            "request_headers 2",
            "request_body 2",
            "request_trailers 2",
            "response_headers 2",
            "response_body 2",
            "response_trailers 2",
            "log 2",
            "done 2",
            "delete 2",
        ]
    );
    assert_eq!(envoy.contexts(), 2, "the roots of main thread and worker");
}

#[test]
fn a_reply_before_the_filter_creates_the_context_when_it_is_logged() {
    let envoy = envoy("").configure("").expect("accepted");
    let worker = envoy.worker(0);
    worker.answer_before_filter(Request::get("/"), 400, NO_HEADERS);
    let diary = ["context_create 2", "log 2", "done 2", "delete 2"];
    assert_eq!(after_configuration(&envoy), diary);
}

#[test]
fn a_local_reply_passes_the_response_callback() {
    let envoy = envoy("").configure("").expect("accepted");
    let stream = envoy.worker(0).request(Request::get("/"));
    stream.local_reply(503, flags::UH, "no_healthy_upstream");
    assert!(stream.ended());
    let diary = after_configuration(&envoy);
    let reply = ["response_headers 2", "response_body 2", "log 2"];
    assert_eq!(diary[2..5], reply);
}

#[test]
fn an_abort_without_a_response_skips_the_response_callback() {
    let envoy = envoy("").configure("").expect("accepted");
    envoy.worker(0).request(Request::get("/")).client_leaves();
    let diary = after_configuration(&envoy);
    assert_eq!(diary[1..3], ["request_headers 2", "log 2"]);
}

#[test]
fn an_internal_redirect_is_two_streams_and_one_response() {
    let envoy = envoy("").configure("").expect("accepted");
    let first = envoy.worker(0).request(Request::get("/old"));
    let second = first.redirect_internally(302, "/new");
    assert!(first.ended());
    second.respond(200, NO_HEADERS);
    second.finish();
    assert_eq!(
        after_configuration(&envoy),
        [
            "context_create 2",
            "request_headers 2",
            "log 2",
            "done 2",
            "delete 2",
            "context_create 3",
            "request_headers 3",
            "response_headers 3",
            "log 3",
            "done 3",
            "delete 3",
        ]
    );
}

#[test]
fn an_access_logger_logs_in_the_root_context_only() {
    let envoy = envoy("").configure("").expect("accepted");
    let log = AccessLog::of(Request::get("/")).response(200, NO_HEADERS);
    envoy.worker(0).access_log(log);
    envoy.worker(0).access_log_unparsed();
    assert_eq!(after_configuration(&envoy), ["log 1", "log 1"]);
}

#[test]
fn a_new_configuration_gets_a_new_root_and_the_old_one_ends_with_its_last_stream() {
    let envoy = envoy("").configure("1").expect("accepted");
    let old = envoy.worker(0).request(Request::get("/"));
    envoy.reconfigure("2").expect("accepted");
    let new = envoy.worker(0).request(Request::get("/"));
    old.client_leaves();
    new.client_leaves();
    assert_eq!(
        after_configuration(&envoy),
        [
            "context_create 2",
            "request_headers 2",
            "context_create 3",
            "vm_start 3",
            "configure 3",
            "context_create 4",
            "request_headers 4",
            "log 2",
            "done 2",
            "delete 2",
            "done 1",
            "delete 1",
            "log 4",
            "done 4",
            "delete 4",
        ]
    );
}

#[test]
fn the_same_configuration_again_changes_nothing() {
    let envoy = envoy("").configure("1").expect("accepted");
    envoy.reconfigure("1").expect("accepted");
    assert_eq!(after_configuration(&envoy), Vec::<String>::new());
}

#[test]
fn draining_ends_the_roots() {
    let envoy = envoy("").configure("").expect("accepted");
    envoy.drain();
    assert_eq!(after_configuration(&envoy), ["done 1", "delete 1"]);
    assert_eq!(envoy.contexts(), 0);
}

#[test]
fn a_root_that_is_not_done_is_deleted_when_it_says_so() {
    let module = module(
        r#"
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $tick (i32.const 10))) (i32.const 1))
        (func (export "proxy_on_done") (param i32) (result i32) (i32.const 0))
        (func (export "proxy_on_tick") (param i32) (call $say (call $done)))
        (func (export "proxy_on_delete") (param i32) (call $say (i32.const 25)))
        "#,
    );
    let envoy = Envoy::new(module).configure("").expect("accepted");
    envoy.advance(Duration::from_millis(10));
    envoy.drain();
    assert_eq!(said(&envoy), ["B"], "done before it was asked: NOT_FOUND");
    envoy.advance(Duration::from_millis(10));
    assert_eq!(
        said(&envoy),
        ["B", "A", "Z"],
        "deleted when the tick is over"
    );
    assert_eq!(envoy.contexts(), 0);
}

#[test]
fn ticks_come_when_they_are_due_in_every_thread() {
    let module = module(
        r#"
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $tick (i32.const 100))) (i32.const 1))
        (func (export "proxy_on_tick") (param i32) (call $say (i32.const 0)))
        "#,
    );
    let envoy = Envoy::new(module)
        .workers(2)
        .configure("")
        .expect("accepted");
    envoy.advance(Duration::from_millis(99));
    assert_eq!(envoy.logs().len(), 0);
    envoy.advance(Duration::from_millis(1));
    assert_eq!(envoy.logs().len(), 3);
    envoy.advance(Duration::from_millis(250));
    assert_eq!(envoy.logs().len(), 9);
    envoy.tick();
    assert_eq!(envoy.logs().len(), 12);
}

#[test]
fn a_reply_of_the_module_is_sent_and_ends_the_exchange() {
    let module = module(
        r#"
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $reply (i32.const 429)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const -1)))
            (i32.const 1))
        (func (export "proxy_on_log") (param i32) (call $say (i32.const 11)))
        "#,
    );
    let envoy = Envoy::new(module).configure("").expect("accepted");
    let stream = envoy.worker(0).request(Request::get("/"));
    assert!(stream.ended());
    assert_eq!(stream.local_response().map(|reply| reply.status), Some(429));
    assert_eq!(
        stream.response_header_sent(":status").as_deref(),
        Some("429")
    );
    assert_eq!(said(&envoy), ["L"]);
}
