use std::time::Duration;

use gatemeter_host_tests::abi::LogLevel;
use gatemeter_host_tests::{Envoy, EnvoyBuilder, Module, Request, Status};

use crate::said;

/// A module with some imports of WASI that runs `body` at request headers, and
/// then says the byte at 1000 as a letter.
fn envoy(body: &str) -> EnvoyBuilder {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get"
                (func $clock (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get"
                (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get"
                (func $environ_sizes (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_get"
                (func $environ (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_open"
                (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_unstable" "sched_yield" (func $yield (result i32)))
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 2048))
            (func $say (param $number i32)
                (i32.store8 (i32.const 1000) (i32.add (i32.const 65) (local.get $number)))
                (drop (call $log (i32.const 2) (i32.const 1000) (i32.const 1))))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                {body}
                (i32.const 0)))"#
    );
    Envoy::new(Module::from_wat(&text).expect("the module is valid"))
}

#[track_caller]
fn run(body: &str) -> Envoy {
    let envoy = envoy(body).configure("").expect("accepted");
    envoy.worker(0).request(Request::get("/")).client_leaves();
    envoy
}

#[test]
fn standard_output_is_info_and_standard_error_is_error() {
    let write = |fd: u32| {
        format!(
            r#"(i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 2))
               (i32.store (i32.const 8) (i32.const 200)) (i32.store (i32.const 12) (i32.const 1))
               (i32.store16 (i32.const 100) (i32.const 0x6968))
               (i32.store8 (i32.const 200) (i32.const 10))
               (call $say (call $write (i32.const {fd}) (i32.const 0) (i32.const 2) (i32.const 16)))
               (call $say (i32.load (i32.const 16)))"#
        )
    };
    for (fd, level) in [(1, LogLevel::Info), (2, LogLevel::Error)] {
        let envoy = run(&write(fd));
        let line = envoy.logs().into_iter().find(|line| line.message == "hi");
        assert_eq!(line.map(|line| line.level), Some(level));
        assert_eq!(said(&envoy), ["hi", "A", "D"], "3 bytes written");
    }
    assert_eq!(said(&run(&write(3))), ["I", "A"], "EBADF");
}

#[test]
fn the_clocks_move_only_when_the_test_moves_them() {
    // Says the difference of two readings in units of 1,000 ns.
    let body = r#"
        (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 0)))
        (call $say (i32.wrap_i64 (i64.div_u
            (i64.sub (i64.load (i32.const 0)) (i64.load (i32.const 8))) (i64.const 1000))))
        (i64.store (i32.const 8) (i64.load (i32.const 0)))"#;
    let envoy = envoy(body).configure("").expect("accepted");
    let request = || envoy.worker(0).request(Request::get("/")).client_leaves();
    request();
    request();
    envoy.advance(Duration::from_micros(7));
    request();
    assert_eq!(said(&envoy)[1..], ["A", "H"]);
}

#[test]
fn an_unknown_clock_and_a_file_do_not_exist() {
    let envoy = run(
        r#"(call $say (call $clock (i32.const 2) (i64.const 0) (i32.const 0)))
           (call $say (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0)
               (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0)))
           (call $say (call $yield))"#,
    );
    let letter = |errno: u8| char::from(b'A' + errno).to_string();
    assert_eq!(said(&envoy), [letter(58), letter(44), letter(0)]);
}

#[test]
fn randomness_is_there_and_the_same_in_every_run() {
    let body = r#"
        (call $say (call $random (i32.const 0) (i32.const 16)))
        (call $say (i32.and (i32.load (i32.const 4)) (i32.const 31)))
        (call $say (i32.and (i32.load (i32.const 8)) (i32.const 31)))
        (call $say (call $random (i32.const 0) (i32.const 65537)))"#;
    let one = said(&run(body));
    assert_eq!(one, said(&run(body)));
    assert_eq!(
        (one[0].as_str(), one[3].as_str()),
        ("A", "]"),
        "OK and EINVAL"
    );
    assert_ne!(one[1], one[2]);
}

#[test]
fn environment_variables_are_given_as_text() {
    let body = r#"
        (drop (call $environ_sizes (i32.const 0) (i32.const 4)))
        (call $say (i32.load (i32.const 0)))
        (drop (call $environ (i32.const 8) (i32.const 100)))
        (drop (call $log (i32.const 2) (i32.load (i32.const 12))
            (i32.sub (i32.load (i32.const 4)) (i32.const 5))))"#;
    let builder = envoy(body)
        .environment("A", "1")
        .environment("KEY", "value");
    let envoy = builder.configure("").expect("accepted");
    envoy.worker(0).request(Request::get("/")).client_leaves();
    // Two variables; the second begins after "A=1\0".
    assert_eq!(said(&envoy), ["C", "KEY=value"].map(str::to_owned));
}

#[test]
fn a_function_of_wasi_can_be_made_to_fail_too() {
    let body = "(call $say (call $clock (i32.const 1) (i64.const 0) (i32.const 0)))";
    let envoy = envoy(body).configure("").expect("accepted");
    envoy.fail("clock_time_get", Status(28));
    envoy.worker(0).request(Request::get("/")).client_leaves();
    assert_eq!(said(&envoy), ["]"]);
}
