use gatemeter_host_tests::host::process::{LogLine, Thread};
use gatemeter_host_tests::{Envoy, Request};

use crate::{data, module_with, said};

const IMPORTS: &str = r#"
    (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
    (import "env" "proxy_resolve_shared_queue"
        (func $resolve (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
    (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
"#;

/// Takes one value at each notice, and says root, queue, status and value.
const READY: &str = r#"
    (func (export "proxy_on_queue_ready") (param i32 i32)
        (call $say (local.get 0))
        (call $say (local.get 1))
        (call $say (call $dequeue (local.get 1) (i32.const 1100) (i32.const 1104)))
        (drop (call $log (i32.const 2)
            (i32.load (i32.const 1100)) (i32.load (i32.const 1104)))))
    (data (i32.const 0) "jobs")
    (data (i32.const 16) ":path")"#;

/// Registers the queue `jobs` when it starts.
const REGISTER: &str = r#"
    (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (drop (call $register (i32.const 0) (i32.const 4) (i32.const 1120)))
        (i32.const 1))"#;

/// Puts the path of each request into the queue `jobs` of `vm_id`, says the
/// status of finding it and of putting.
fn produce(vm_id: &str) -> String {
    let (size, vm_id) = (vm_id.len(), data(vm_id.as_bytes()));
    format!(
        r#"
        (data (i32.const 32) "{vm_id}")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $value (i32.const 0)
                (i32.const 16) (i32.const 5) (i32.const 1100) (i32.const 1104)))
            (call $say (call $resolve (i32.const 32) (i32.const {size})
                (i32.const 0) (i32.const 4) (i32.const 1124)))
            (call $say (call $enqueue (i32.load (i32.const 1124))
                (i32.load (i32.const 1100)) (i32.load (i32.const 1104))))
            (i32.const 0))"#
    )
}

fn by_thread(envoy: &Envoy) -> Vec<(Thread, String)> {
    let lines = envoy.logs().into_iter();
    lines
        .map(
            |LogLine {
                 thread, message, ..
             }| (thread, message),
        )
        .collect()
}

#[test]
fn who_registered_last_is_told_when_the_callback_has_returned() {
    let module = module_with(IMPORTS, &format!("{READY} {REGISTER} {}", produce("")));
    let envoy = Envoy::new(module)
        .workers(2)
        .configure("")
        .expect("accepted");
    let _stream = envoy.worker(0).request(Request::get("/a"));
    let line = |worker, text: &str| (Thread::Worker(worker), text.to_owned());
    // Found and put by the first worker; in the second, root 1 and queue 1.
    let told = [
        line(0, "A"),
        line(0, "A"),
        line(1, "B"),
        line(1, "B"),
        line(1, "A"),
        line(1, "/a"),
    ];
    assert_eq!(by_thread(&envoy), told);
}

#[test]
fn a_notice_comes_for_each_value_and_the_queue_is_empty_then() {
    let module = module_with(
        IMPORTS,
        &format!(
            r#"{READY} {REGISTER}
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                (drop (call $enqueue (i32.const 1) (i32.const 0) (i32.const 2)))
                (drop (call $enqueue (i32.const 1) (i32.const 2) (i32.const 2)))
                (i32.const 0))
            (func (export "proxy_on_log") (param i32)
                (call $say (call $dequeue
                    (i32.const 1) (i32.const 1100) (i32.const 1104)))
                (call $say (call $dequeue
                    (i32.const 2) (i32.const 1100) (i32.const 1104)))
                (call $say (call $enqueue
                    (i32.const 2) (i32.const 0) (i32.const 2))))"#
        ),
    );
    let envoy = Envoy::new(module).configure("").expect("accepted");
    envoy.worker(0).request(Request::get("/")).client_leaves();
    let all = [["B", "B", "A", "jo"], ["B", "B", "A", "bs"]];
    assert_eq!(said(&envoy)[..8], all.concat());
    // EMPTY, and twice NOT_FOUND.
    assert_eq!(said(&envoy)[8..], ["H", "B", "B"]);
}

#[test]
fn another_proxy_of_the_process_is_told_by_its_virtual_machine_id() {
    let consumer = module_with(IMPORTS, &format!("{READY} {REGISTER}"));
    let consumer = Envoy::new(consumer).vm_id("consumer").workers(0);
    let consumer = consumer.configure("").expect("accepted");
    let producer = module_with(IMPORTS, &format!("{READY} {}", produce("consumer")));
    let producer = Envoy::new(producer).beside(&consumer).vm_id("producer");
    let producer = producer.configure("").expect("accepted");
    let _stream = producer.worker(0).request(Request::get("/job"));
    let line = |thread, text: &str| (thread, text.to_owned());
    let told = [
        line(Thread::Worker(0), "A"),
        line(Thread::Worker(0), "A"),
        line(Thread::Main, "B"),
        line(Thread::Main, "B"),
        line(Thread::Main, "A"),
        line(Thread::Main, "/job"),
    ];
    assert_eq!(by_thread(&consumer), told);
}

#[test]
fn a_queue_that_nobody_registered_is_not_found() {
    let module = module_with(IMPORTS, &format!("{READY} {}", produce("consumer")));
    let envoy = Envoy::new(module).configure("").expect("accepted");
    let _stream = envoy.worker(0).request(Request::get("/"));
    assert_eq!(said(&envoy), ["B", "B"]);
}

#[test]
fn values_stay_when_nobody_is_there_to_be_told() {
    let module = module_with(IMPORTS, &format!("{READY} {REGISTER} {}", produce("")));
    let first = Envoy::new(module.clone()).configure("").expect("accepted");
    let other = Envoy::new(module).beside(&first).configure("");
    // The later proxy is the one that would be told, and goes.
    drop(other.expect("accepted"));
    let _stream = first.worker(0).request(Request::get("/a"));
    assert_eq!(said(&first), ["A", "A"]);
}

#[test]
#[should_panic(expected = "keep each other busy")]
fn modules_that_never_come_to_rest_fail_the_test() {
    let module = module_with(
        IMPORTS,
        &format!(
            r#"{REGISTER}
            (func (export "proxy_on_queue_ready") (param i32 i32)
                (drop (call $enqueue (local.get 1) (i32.const 0) (i32.const 1))))
            (func (export "proxy_on_log") (param i32)
                (drop (call $enqueue (i32.const 1) (i32.const 0) (i32.const 1))))"#
        ),
    );
    let envoy = Envoy::new(module).configure("").expect("accepted");
    envoy.worker(0).request(Request::get("/")).client_leaves();
}
