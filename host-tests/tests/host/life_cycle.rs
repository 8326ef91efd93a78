use std::time::Duration;

use gatemeter_host_tests::{Envoy, Request};

use crate::{diary, module, said};

#[test]
fn a_configuration_goes_to_a_canary_the_main_thread_and_each_worker() {
    let envoy = Envoy::new(diary()).workers(2).configure("x");
    let envoy = envoy.expect("accepted");
    let lines: Vec<String> = envoy
        .logs()
        .iter()
        .map(|line| format!("{}: {}", line.thread, line.message))
        .collect();
    let expected: Vec<String> = ["canary", "main thread", "worker 0", "worker 1"]
        .iter()
        .flat_map(|thread| {
            ["context_create 1 0", "vm_start 1 0", "configure 1 1"]
                .map(|callback| format!("{thread}: {callback}"))
        })
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn the_same_configuration_again_changes_nothing() {
    let envoy = Envoy::new(diary()).configure("1").expect("accepted");
    let before = said(&envoy);
    envoy.reconfigure("1").expect("accepted");
    assert_eq!(said(&envoy), before);
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
