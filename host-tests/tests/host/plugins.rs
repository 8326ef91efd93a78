use gatemeter_host_tests::scenario::{FailurePolicy, Plugin};
use gatemeter_host_tests::{AccessLog, Envoy, Module, NO_HEADERS, Request};

use crate::{diary, said};

/// Says its name, root id, virtual machine id and both configurations at each
/// request or log line, and counts in a global how many contexts its machine
/// has seen.
const IDENTITY: &str = r#"(module
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_buffer_bytes"
        (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "plugin_nameplugin_root_idplugin_vm_id")
    (global $free (mut i32) (i32.const 4096))
    (global $requests (mut i32) (i32.const 48))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param $size i32) (result i32)
        (global.get $free)
        (global.set $free (i32.add (global.get $free) (local.get $size))))
    (func $say (param $status i32)
        (drop (call $log (i32.const 2) (i32.load (i32.const 100)) (i32.load (i32.const 104)))))
    (func $identity
        (call $say (call $property (i32.const 0) (i32.const 11)
            (i32.const 100) (i32.const 104)))
        (call $say (call $property (i32.const 11) (i32.const 14)
            (i32.const 100) (i32.const 104)))
        (call $say (call $property (i32.const 25) (i32.const 12)
            (i32.const 100) (i32.const 104))))
    (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (call $say (call $buffer (i32.const 6) (i32.const 0) (local.get 1)
            (i32.const 100) (i32.const 104)))
        (i32.const 1))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $say (call $buffer (i32.const 7) (i32.const 0) (local.get 1)
            (i32.const 100) (i32.const 104)))
        (i32.const 1))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $identity)
        (global.set $requests (i32.add (global.get $requests) (i32.const 1)))
        (i32.store8 (i32.const 200) (global.get $requests))
        (drop (call $log (i32.const 2) (i32.const 200) (i32.const 1)))
        (i32.const 0))
    (func (export "proxy_on_log") (param $context i32)
        (call $identity)))"#;

fn identity() -> Module {
    Module::from_wat(IDENTITY).expect("the module is valid")
}

#[test]
fn plugins_share_a_machine_and_each_has_its_root_and_its_names() {
    let first = Envoy::new(identity())
        .vm_id("shared")
        .vm_configuration("machine")
        .plugin(Plugin::named("one").root_id("filter"))
        .configure("first")
        .expect("accepted");
    let second = first
        .add_plugin(Plugin::named("two").root_id("other"), "second")
        .expect("accepted");
    // Each root is started with the machine's configuration and its own.
    assert_eq!(said(&first), ["machine", "first", "machine", "second"]);
    assert_ne!(first.worker(0).root(), second.worker(0).root());

    let one = first.worker(0).request(Request::get("/"));
    let two = second.worker(0).request(Request::get("/"));
    let lines = said(&first);
    assert_eq!(lines[4..8], ["one", "filter", "shared", "1"]);
    assert_eq!(
        lines[8..],
        ["two", "other", "shared", "2"],
        "the same memory"
    );
    assert_ne!(one.context(), two.context());
    one.client_leaves();
    two.client_leaves();
}

#[test]
fn an_access_logger_beside_a_filter_logs_in_its_own_root() {
    let filter = Envoy::new(identity())
        .plugin(Plugin::named("filter"))
        .configure("")
        .expect("accepted");
    let logger = filter
        .add_plugin(Plugin::named("logger"), "")
        .expect("accepted");
    let before = said(&filter).len();
    let log = AccessLog::of(Request::get("/")).response(200, NO_HEADERS);
    logger.worker(0).access_log(log);
    assert_eq!(said(&filter)[before..], ["logger", "", "vm"]);
}

#[test]
fn equal_plugins_share_one_root_which_ends_with_the_last_of_them() {
    let filter = Envoy::new(diary()).configure("same").expect("accepted");
    let before = said(&filter);
    let logger = filter.add_plugin(Plugin::named("plugin"), "same");
    let logger = logger.expect("accepted");
    assert_eq!(said(&filter), before, "no callback ran");
    assert_eq!(filter.worker(0).root(), logger.worker(0).root());
    assert_eq!(
        filter.contexts(),
        2,
        "one on the main thread, one on the worker"
    );

    filter.drain();
    assert_eq!(said(&filter), before, "the logger holds it");
    logger.drain();
    assert_eq!(said(&filter)[before.len()..], ["done 1", "delete 1"]);
}

#[test]
fn a_plugin_that_is_configured_anew_leaves_the_other_alone() {
    let one = Envoy::new(diary())
        .plugin(Plugin::named("one"))
        .configure("1")
        .expect("accepted");
    let two = one.add_plugin(Plugin::named("two"), "1").expect("accepted");
    let before = said(&one).len();
    let (root, other) = (one.worker(0).root(), two.worker(0).root());
    one.reconfigure("2").expect("accepted");
    assert_eq!(
        said(&one)[before..],
        [
            "context_create 3 0",
            "vm_start 3 0",
            "configure 3 1",
            "done 1",
            "delete 1",
        ]
    );
    assert_ne!(one.worker(0).root(), root);
    assert_eq!(two.worker(0).root(), other);
}

#[test]
fn a_plugin_that_is_refused_leaves_the_others_alone() {
    let module = Module::from_wat(
        r#"(module
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 1024))
            ;; Takes no configuration.
            (func (export "proxy_on_configure") (param i32 i32) (result i32)
                (i32.eqz (local.get 1))))"#,
    );
    let module = module.expect("the module is valid");
    let envoy = Envoy::new(module).configure("").expect("accepted");
    let refused = envoy.add_plugin(Plugin::named("other"), "no");
    refused.expect_err("it takes none");
    let refused = envoy.reconfigure("no");
    refused.expect_err("it takes none");
    assert_eq!(envoy.contexts(), 2, "the roots of main thread and worker");
    let stream = envoy.worker(0).request(Request::get("/"));
    stream.respond(200, NO_HEADERS);
    stream.finish();
    assert_eq!(stream.outcome().status, Some(200));
}

#[test]
fn a_failed_machine_fails_all_its_plugins_and_each_follows_its_policy() {
    let open = Envoy::new(diary())
        .plugin(Plugin::named("open").failure_policy(FailurePolicy::FailOpen))
        .configure("")
        .expect("accepted");
    let add = |name: &str, policy| {
        let plugin = Plugin::named(name).failure_policy(policy);
        open.add_plugin(plugin, "").expect("accepted")
    };
    let closed = add("closed", FailurePolicy::FailClosed);
    let reload = add("reload", FailurePolicy::reload());
    open.advance(std::time::Duration::from_secs(1));
    let status = |envoy: &Envoy| {
        let stream = envoy.worker(0).request(Request::get("/"));
        if !stream.ended() {
            stream.respond(200, NO_HEADERS);
        }
        stream.outcome().status
    };
    let trapping = Request::get("/").header("x-do", "Tq");
    let trapped = open.worker(0).request(trapping);
    assert_eq!(trapped.outcome().status, Some(503), "it was in flight");
    assert_eq!(status(&open), Some(200));
    assert_eq!(status(&closed), Some(503));
    let lines = said(&open).len();
    assert_eq!(status(&reload), Some(200));
    assert!(said(&open).len() > lines, "a new machine saw it");
    // The others stay with the machine that failed.
    assert_eq!(status(&closed), Some(503));
    open.proxy_stats()
        .assert_counter("wasm.reload.vm_reload_success", 1);
    open.proxy_stats()
        .assert_counter("wasm.closed.vm_reload_success", 0);
}
