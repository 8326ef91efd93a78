use gatemeter_host_tests::{Envoy, Module, Request};

use crate::said;

/// Writes its path to shared data with the version it read, and to a queue, and
/// says what it found there before.
const MODULE: &str = r#"(module
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_value"
        (func $value (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_shared_data"
        (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_shared_data"
        (func $set (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
    (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
    (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) ":pathkeynothing")
    (global $free (mut i32) (i32.const 4096))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param $size i32) (result i32)
        (global.get $free)
        (global.set $free (i32.add (global.get $free) (local.get $size))))
    ;; At 100 and 104 the path, at 108 and 112 what was found, at 116 its version.
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $value (i32.const 0) (i32.const 0) (i32.const 5)
            (i32.const 100) (i32.const 104)))
        (i32.store (i32.const 116) (i32.const 0))
        (if (call $get (i32.const 5) (i32.const 3)
                (i32.const 108) (i32.const 112) (i32.const 116))
            (then (drop (call $log (i32.const 2) (i32.const 8) (i32.const 7))))
            (else (drop (call $log (i32.const 2)
                (i32.load (i32.const 108)) (i32.load (i32.const 112))))))
        (drop (call $set (i32.const 5) (i32.const 3)
            (i32.load (i32.const 100)) (i32.load (i32.const 104)) (i32.load (i32.const 116))))
        (drop (call $register (i32.const 5) (i32.const 3) (i32.const 120)))
        (drop (call $enqueue (i32.load (i32.const 120))
            (i32.load (i32.const 100)) (i32.load (i32.const 104))))
        (i32.const 0))
    ;; Takes one value out of the queue.
    (func (export "proxy_on_log") (param i32)
        (if (call $dequeue (i32.load (i32.const 120)) (i32.const 108) (i32.const 112))
            (then (drop (call $log (i32.const 2) (i32.const 8) (i32.const 7))))
            (else (drop (call $log (i32.const 2)
                (i32.load (i32.const 108)) (i32.load (i32.const 112))))))))"#;

#[test]
fn workers_share_data_and_queues_and_proxies_do_not() {
    let module = Module::from_wat(MODULE).expect("the module is valid");
    let envoy = Envoy::new(module.clone())
        .workers(2)
        .configure("")
        .expect("accepted");
    let first = envoy.worker(0).request(Request::get("/one"));
    let second = envoy.worker(1).request(Request::get("/two"));
    let third = envoy.worker(0).request(Request::get("/three"));
    assert_eq!(said(&envoy), ["nothing", "/one", "/two"]);
    for stream in [&second, &first, &third] {
        stream.client_leaves();
    }
    assert_eq!(
        said(&envoy)[3..],
        ["/one", "/two", "/three"],
        "in their order"
    );

    let other = Envoy::new(module).configure("").expect("accepted");
    other
        .worker(0)
        .request(Request::get("/four"))
        .client_leaves();
    assert_eq!(said(&other), ["nothing", "/four"]);
}

#[test]
fn what_interrupts_a_host_call_is_done_before_it_and_once() {
    let module = Module::from_wat(MODULE).expect("the module is valid");
    let envoy = Envoy::new(module.clone()).configure("").expect("accepted");
    let other = Envoy::new(module).beside(&envoy).configure("");
    let other = other.expect("accepted");
    let request = |path| envoy.worker(0).request(Request::get(path)).client_leaves();
    request("/one");
    envoy.interrupt("proxy_set_shared_data", 1, move || {
        let stream = other.worker(0).request(Request::get("/other"));
        stream.client_leaves();
    });
    request("/two");
    request("/three");
    request("/four");
    let one = ["nothing", "/one"];
    let two = ["/one", "/two"];
    // Both read the same; then the third is too late to write.
    let three = ["/two", "/two", "/other", "/three"];
    let four = ["/other", "/four"];
    let all = [&one[..], &two, &three, &four].concat();
    assert_eq!(said(&envoy), all);
}
