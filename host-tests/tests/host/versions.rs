use gatemeter_host_tests::abi::Version;
use gatemeter_host_tests::{Envoy, Module, Request};

use crate::said;

/// A module that declares `version` and asks for the log level or not.
fn module(version: &str, asks: bool) -> Module {
    let (import, call) = match asks {
        true => (
            r#"(import "env" "proxy_get_log_level" (func $level (param i32) (result i32)))"#,
            "(drop (call $level (i32.const 100)))",
        ),
        false => ("", "(i32.store (i32.const 100) (i32.const 3))"),
    };
    let text = format!(
        r#"(module {import}
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_{version}"))
            (func (export "malloc") (param i32) (result i32) (i32.const 1024))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                {call}
                (i32.store8 (i32.const 200) (i32.add (i32.const 48) (i32.load (i32.const 100))))
                (drop (call $log (i32.const 2) (i32.const 200) (i32.const 1)))
                (i32.const 0)))"#
    );
    Module::from_wat(&text).expect("the module is valid")
}

#[test]
fn a_module_of_0_2_0_runs_as_one_of_0_2_1() {
    for version in ["0_2_0", "0_2_1"] {
        let envoy = Envoy::new(module(version, false)).configure("");
        let envoy = envoy.expect("accepted");
        envoy.worker(0).request(Request::get("/")).client_leaves();
        assert_eq!(said(&envoy), ["3"], "{version}");
    }
}

#[test]
fn only_0_2_1_can_ask_for_the_log_level() {
    let module_0_2_1 = module("0_2_1", true);
    assert_eq!(module_0_2_1.version(), Version::V0_2_1);
    let envoy = Envoy::new(module_0_2_1).configure("").expect("accepted");
    envoy.worker(0).request(Request::get("/")).client_leaves();
    assert_eq!(said(&envoy), ["2"], "INFO");

    let module_0_2_0 = module("0_2_0", true);
    assert_eq!(module_0_2_0.version(), Version::V0_2_0);
    let refused = Envoy::new(module_0_2_0).configure("").expect_err("too new");
    let message = refused.to_string();
    let expected = "missing import env.proxy_get_log_level: the module declares ABI 0.2.0";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn the_first_version_that_a_module_declares_counts() {
    let declare = |first: &str, second: &str| {
        let text = format!(
            r#"(module (func (export "proxy_abi_version_{first}"))
                (func (export "proxy_abi_version_{second}")))"#
        );
        Module::from_wat(&text).expect("valid").version()
    };
    assert_eq!(declare("0_2_0", "0_2_1"), Version::V0_2_0);
    assert_eq!(declare("0_2_1", "0_2_0"), Version::V0_2_1);
}

/// Why a proxy refuses a module with these exports.
fn refusal(exports: &str) -> String {
    let text = format!(
        r#"(module (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1")) {exports})"#
    );
    let module = Module::from_wat(&text).expect("the module is valid");
    let refused = Envoy::new(module).configure("").expect_err("refused");
    refused.to_string()
}

#[test]
fn a_module_without_an_allocator_is_refused() {
    let message = refusal("");
    assert!(message.contains("exports neither malloc nor"), "{message}");
}

#[test]
fn an_export_with_another_signature_is_refused() {
    let malloc =
        r#"(func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 8))"#;
    for (export, expected) in [
        (
            r#"(func (export "proxy_on_log") (param i32 i32))"#,
            "bad function signature for proxy_on_log: \
             want (i32) -> (), the module has (i32 i32) -> ()",
        ),
        (
            r#"(func (export "proxy_on_done") (param i32))"#,
            "bad function signature for proxy_on_done: \
             want (i32) -> (i32), the module has (i32) -> ()",
        ),
    ] {
        let message = refusal(&format!("{malloc} {export}"));
        assert!(message.contains(expected), "{message}");
    }
    let message = refusal(r#"(func (export "malloc") (param i64) (result i32) (i32.const 8))"#);
    assert!(
        message.contains("bad function signature for malloc"),
        "{message}"
    );
}

#[test]
fn an_import_with_another_signature_is_refused() {
    let text = r#"(module
        (import "env" "proxy_log" (func (param i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 1024)))"#;
    let module = Module::from_wat(text).expect("the module is valid");
    let refused = Envoy::new(module).configure("").expect_err("refused");
    let message = refused.to_string();
    assert!(message.contains("proxy_log"), "{message}");
    assert!(message.contains("incompatible import type"), "{message}");
}

/// What a module with these ways to begin says before its configuration.
fn beginning(exports: &[&str]) -> Vec<String> {
    let functions: Vec<String> = exports
        .iter()
        .enumerate()
        .map(|(index, export)| {
            let (signature, answer) = match *export {
                "main" => ("(param i32 i32) (result i32)", "(i32.const 0)"),
                "__main_void" => ("(result i32)", "(i32.const 0)"),
                _ => ("", ""),
            };
            let (at, size) = (100 + index * 32, export.len());
            format!(
                r#"(data (i32.const {at}) "{export}")
                (func (export "{export}") {signature}
                    (drop (call $log (i32.const 2) (i32.const {at}) (i32.const {size})))
                    {answer})"#
            )
        })
        .collect();
    let text = format!(
        r#"(module
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 1024))
            {})"#,
        functions.concat()
    );
    let module = Module::from_wat(&text).expect("the module is valid");
    said(&Envoy::new(module).configure("").expect("accepted"))
}

#[test]
fn a_reactor_runs_its_initialiser_and_then_one_main_and_a_command_its_start() {
    assert_eq!(beginning(&["_start"]), ["_start"]);
    assert_eq!(beginning(&["_initialize", "_start"]), ["_initialize"]);
    let both = ["_initialize", "main", "__main_void"];
    assert_eq!(beginning(&both), ["_initialize", "main"]);
    let void = ["_initialize", "__main_void"];
    assert_eq!(beginning(&void), void);
    assert_eq!(beginning(&["main"]), Vec::<String>::new());
}
