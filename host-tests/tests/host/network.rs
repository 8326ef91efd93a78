use gatemeter_host_tests::{Connection, Envoy};

use crate::{module_with, said};

const IMPORTS: &str = r#"
    (import "env" "proxy_get_buffer_bytes"
        (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_buffer_bytes"
        (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
    (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
"#;

/// Says each callback by a letter, and its numbers; the answers to data are
/// the first byte of it: `h` holds back, `c` closes, all else goes on.
const MODULE: &str = r#"
    (data (i32.const 0) "nduDUplk")
    (data (i32.const 16) "connection\00id")
    (func $name (param $at i32)
        (drop (call $log (i32.const 2) (local.get $at) (i32.const 1))))
    (func $decide (param $kind i32) (result i32)
        (local $first i32)
        (drop (call $buffer (local.get $kind)
            (i32.const 0) (i32.const 100) (i32.const 1100) (i32.const 1104)))
        (drop (call $log (i32.const 2) (i32.load (i32.const 1100)) (i32.load (i32.const 1104))))
        (if (i32.eqz (i32.load (i32.const 1104))) (then (return (i32.const 0))))
        (local.set $first (i32.load8_u (i32.load (i32.const 1100))))
        (if (i32.eq (local.get $first) (i32.const 99))
            (then (drop (call $close (i32.const 2)))))
        (i32.eq (local.get $first) (i32.const 104)))
    (func (export "proxy_on_new_connection") (param i32) (result i32)
        (call $name (i32.const 0)) (i32.const 0))
    (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
        (call $name (i32.const 1))
        (call $say (local.get 1)) (call $say (local.get 2))
        (call $decide (i32.const 2)))
    (func (export "proxy_on_upstream_data") (param i32 i32 i32) (result i32)
        (call $name (i32.const 2))
        (call $say (local.get 1)) (call $say (local.get 2))
        (call $decide (i32.const 3)))
    (func (export "proxy_on_downstream_connection_close") (param i32 i32)
        (call $name (i32.const 3)) (call $say (local.get 1)))
    (func (export "proxy_on_upstream_connection_close") (param i32 i32)
        (call $name (i32.const 4)) (call $say (local.get 1)))
    (func (export "proxy_on_done") (param i32) (result i32)
        (call $name (i32.const 5)) (i32.const 1))
    (func (export "proxy_on_log") (param i32) (call $name (i32.const 6)))
    (func (export "proxy_on_delete") (param i32) (call $name (i32.const 7)))
    ;; A test calls these with the connection as the present context.
    (func (export "proxy_test_continue") (param i32)
        (call $say (call $continue (local.get 0))))
    (func (export "proxy_test_close") (param i32)
        (call $say (call $close (local.get 0))))
    (func (export "proxy_test_properties")
        (call $say (call $property (i32.const 16) (i32.const 13)
            (i32.const 1100) (i32.const 1104)))
        (call $say (i32.load (i32.const 1104)))
        (call $say (call $property (i32.const 0) (i32.const 3)
            (i32.const 1100) (i32.const 1104)))
        (call $say (call $set_property
            (i32.const 0) (i32.const 3) (i32.const 16) (i32.const 4)))
        (call $say (call $property (i32.const 0) (i32.const 3)
            (i32.const 1100) (i32.const 1104)))
        (call $say (i32.load (i32.const 1104))))
    ;; In place of all that is there, before it, behind it, in place of two bytes,
    ;; and in the middle.
    (func (export "proxy_test_buffers")
        (call $say (call $set_buffer (i32.const 2)
            (i32.const 0) (i32.const 100) (i32.const 16) (i32.const 4)))
        (call $say (call $set_buffer (i32.const 2)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)))
        (call $say (call $set_buffer (i32.const 2)
            (i32.const 100) (i32.const 0) (i32.const 0) (i32.const 2)))
        (call $say (call $set_buffer (i32.const 2)
            (i32.const 0) (i32.const 2) (i32.const 5) (i32.const 1)))
        (call $say (call $set_buffer (i32.const 2)
            (i32.const 1) (i32.const 2) (i32.const 0) (i32.const 1)))
        (call $say (call $set_buffer (i32.const 3)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1))))
"#;

fn open() -> (Envoy, Connection) {
    let module = module_with(IMPORTS, MODULE);
    let envoy = Envoy::new(module).configure("").expect("accepted");
    let connection = envoy.worker(0).connect();
    (envoy, connection)
}

/// What was said after the new connection.
fn then(envoy: &Envoy) -> Vec<String> {
    said(envoy)[1..].to_vec()
}

#[test]
fn bytes_pass_both_ways_and_the_client_ends_it_done_before_log() {
    let (envoy, connection) = open();
    assert_eq!(said(&envoy), ["n"]);
    assert_eq!(connection.downstream_data("ping", false), b"ping");
    assert_eq!(connection.upstream_data("pong!", false), b"pong!");
    assert_eq!(connection.downstream_data("", true), b"");
    connection.client_closes();
    assert!(connection.ended());
    let all = [
        &["d", "E", "A", "ping"][..],
        &["u", "F", "A", "pong!"],
        &["d", "A", "B", ""],
        // By the client; done, log, delete.
        &["D", "C", "p", "l", "k"],
    ];
    assert_eq!(then(&envoy), all.concat());
    assert_eq!(connection.sent_to_service(), b"ping");
    assert_eq!(connection.sent_to_client(), b"pong!");
    assert_eq!(envoy.contexts(), 2, "the roots of main thread and worker");
}

#[test]
fn the_end_of_the_service_is_told_once_and_the_proxy_closes() {
    let (envoy, connection) = open();
    connection.upstream_data("bye", true);
    connection.close();
    let all = [
        &["u", "D", "B", "bye", "U", "A"][..],
        &["D", "B", "p", "l", "k"],
    ];
    assert_eq!(then(&envoy), all.concat());
}

#[test]
fn bytes_that_are_held_back_are_seen_again_and_go_on_when_the_module_says() {
    let (envoy, connection) = open();
    assert_eq!(connection.downstream_data("h1", false), b"");
    assert!(connection.paused());
    assert_eq!(connection.downstream_data("h2", false), b"");
    let seen = ["d", "C", "A", "h1", "d", "E", "A", "h1h2"];
    assert_eq!(then(&envoy), seen);
    let id = connection.context();
    envoy.worker(0).callback(id, "proxy_test_continue", &[2]);
    assert!(!connection.paused());
    assert_eq!(connection.sent_to_service(), b"h1h2");
    assert_eq!(connection.downstream_data("more", false), b"more");
}

#[test]
fn what_comes_from_the_service_cannot_be_continued_and_goes_with_the_next() {
    let (envoy, connection) = open();
    assert_eq!(connection.upstream_data("h", false), b"");
    let id = connection.context();
    envoy.worker(0).callback(id, "proxy_test_continue", &[3]);
    assert_eq!(then(&envoy)[4..], ["M"], "UNIMPLEMENTED");
    assert_eq!(connection.sent_to_client(), b"");
}

#[test]
fn a_module_closes_the_connection_when_its_callback_has_returned() {
    let (envoy, connection) = open();
    // Before the bytes go on, so that they do not.
    assert_eq!(connection.downstream_data("close", false), b"");
    assert!(connection.ended());
    let all = ["d", "F", "A", "close", "D", "B", "p", "l", "k"];
    assert_eq!(then(&envoy), all, "closed by the proxy");
}

#[test]
fn closing_the_upstream_side_closes_the_connection_too() {
    let (envoy, connection) = open();
    let id = connection.context();
    envoy.worker(0).callback(id, "proxy_test_close", &[3]);
    assert!(connection.ended());
    assert_eq!(then(&envoy), ["A", "D", "B", "p", "l", "k"]);
}

#[test]
fn a_buffer_changes_at_its_beginning_and_at_its_end() {
    let (envoy, connection) = open();
    connection.downstream_data("hold", false);
    let id = connection.context();
    envoy.worker(0).callback(id, "proxy_test_buffers", &[]);
    // All but the middle, and the other buffer is not there.
    assert_eq!(then(&envoy)[4..], ["A", "A", "A", "A", "C", "C"]);
    envoy.worker(0).callback(id, "proxy_test_continue", &[2]);
    // "conn", "nconn", "nconnnd", "pnnnd".
    assert_eq!(connection.sent_to_service(), b"ponnnd");
}

#[test]
fn attributes_of_the_connection_are_there_and_can_be_set() {
    let (envoy, connection) = open();
    let id = connection.context();
    envoy.worker(0).callback(id, "proxy_test_properties", &[]);
    // A number of 8 bytes; nothing, set, 4 bytes.
    assert_eq!(then(&envoy), ["A", "I", "B", "A", "A", "E"]);
    connection.set_attribute("connection.id", "x");
    envoy.worker(0).callback(id, "proxy_test_properties", &[]);
    assert_eq!(then(&envoy)[6..8], ["A", "B"]);
}

#[test]
#[should_panic(expected = "the connection has ended")]
fn nothing_comes_after_the_end() {
    let (_envoy, connection) = open();
    connection.client_closes();
    connection.downstream_data("late", false);
}
