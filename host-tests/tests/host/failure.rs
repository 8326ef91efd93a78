use std::time::Duration;

use gatemeter_host_tests::scenario::{Ending, FailurePolicy, Outcome};
use gatemeter_host_tests::{AccessLog, Envoy, EnvoyBuilder, Module, NO_HEADERS, Request, Stream};

use crate::{diary, said};

/// Each policy, and whether exchanges in flight and new ones pass after a trap.
/// Here a reload comes too soon.
const POLICIES: [(FailurePolicy, bool, bool); 4] = [
    (FailurePolicy::FailClosed, false, false),
    (FailurePolicy::FailOpen, false, true),
    (FailurePolicy::reload(), false, false),
    (FailurePolicy::LegacyFailOpen, true, true),
];

fn envoy(policy: FailurePolicy) -> Envoy {
    let envoy = Envoy::new(diary()).failure_policy(policy).configure("");
    envoy.expect("accepted")
}

/// A `GET` that makes `diary.wat` trap in the callback of this letter.
fn trapping(callback: char) -> Request {
    Request::get("/").header("x-do", format!("T{callback}"))
}

/// As far as the proxy lets it, a response with a body, and the end.
fn answer(stream: &Stream) -> Outcome {
    let open = || !stream.ended();
    if open() {
        stream.respond(200, NO_HEADERS);
    }
    if open() {
        stream.response_body("ok", true);
    }
    if open() {
        stream.finish();
    }
    stream.outcome()
}

fn is_failed(outcome: &Outcome) -> bool {
    outcome.status == Some(503) && outcome.details.as_deref() == Some("wasm_fail_stream")
}

fn is_served(outcome: &Outcome) -> bool {
    outcome.status == Some(200) && outcome.body == b"ok" && outcome.ending == Ending::Complete
}

fn get(envoy: &Envoy) -> Outcome {
    answer(&envoy.worker(0).request(Request::get("/")))
}

#[test]
fn the_exchange_that_traps_is_answered_503_or_reset_or_passes() {
    for (policy, passes, _) in POLICIES {
        for callback in ['q', 'h', 'd', 'l'] {
            let envoy = envoy(policy);
            let outcome = answer(&envoy.worker(0).request(trapping(callback)));
            let expected = match callback {
                _ if passes => is_served(&outcome),
                // Its response headers are out.
                'd' => outcome.status == Some(200) && outcome.ending == Ending::Reset,
                // All of it is out.
                'l' => is_served(&outcome),
                _ => is_failed(&outcome),
            };
            assert!(expected, "{policy:?} {callback}: {outcome:?}");
            assert_eq!(envoy.traps().len(), 1, "{policy:?} {callback}");
        }
    }
}

#[test]
fn exchanges_in_flight_fail_at_their_next_callback_except_under_the_older_fail_open() {
    for (policy, passes, _) in POLICIES {
        let envoy = envoy(policy);
        let worker = envoy.worker(0);
        let waiting = worker.request(Request::get("/"));
        let begun = worker.request(Request::get("/"));
        begun.respond(200, NO_HEADERS);
        begun.response_body("half", false);
        answer(&worker.request(trapping('l')));
        assert!(!waiting.ended(), "nothing happens to it before that");

        let waiting = answer(&waiting);
        begun.response_body("half", true);
        if passes {
            assert!(is_served(&waiting), "{policy:?}: {waiting:?}");
            assert_eq!(begun.outcome().body, b"halfhalf");
            continue;
        }
        assert!(is_failed(&waiting), "{policy:?}: {waiting:?}");
        let begun = begun.outcome();
        assert_eq!(begun.status, Some(200), "{policy:?}");
        assert_eq!(begun.body, b"half");
        assert_eq!(begun.ending, Ending::Reset);
    }
}

#[test]
fn new_exchanges_pass_without_the_module_or_fail() {
    for (policy, _, passes) in POLICIES {
        let envoy = envoy(policy);
        answer(&envoy.worker(0).request(trapping('q')));
        let before = said(&envoy);
        let outcome = get(&envoy);
        assert_eq!(is_served(&outcome), passes, "{policy:?}: {outcome:?}");
        assert_eq!(is_failed(&outcome), !passes, "{policy:?}: {outcome:?}");
        assert_eq!(said(&envoy), before, "no callback runs, not even delete");
    }
}

#[test]
fn a_failure_stays_on_its_worker() {
    let envoy = Envoy::new(diary())
        .workers(2)
        .failure_policy(FailurePolicy::FailClosed)
        .configure("")
        .expect("accepted");
    answer(&envoy.worker(0).request(trapping('q')));
    assert!(is_failed(&get(&envoy)));
    let other = answer(&envoy.worker(1).request(Request::get("/")));
    assert!(is_served(&other));
}

#[test]
fn a_grpc_client_gets_the_failure_as_a_grpc_status() {
    let envoy = envoy(FailurePolicy::FailClosed);
    answer(&envoy.worker(0).request(trapping('q')));
    let request = Request::new("POST", "/").header("content-type", "application/grpc+proto");
    let stream = envoy.worker(0).request(request);
    assert_eq!(stream.outcome().status, Some(200));
    let status = stream.response_header_sent("grpc-status");
    assert_eq!(status.as_deref(), Some("14"), "UNAVAILABLE");
}

fn reloads(envoy: &Envoy) -> [Option<u64>; 3] {
    let stats = envoy.proxy_stats();
    ["success", "failure", "backoff"]
        .map(|reload| stats.counter(&format!("wasm.plugin.vm_reload_{reload}")))
}

#[test]
fn a_reload_waits_for_a_request_and_for_the_interval() {
    let envoy = envoy(FailurePolicy::reload());
    answer(&envoy.worker(0).request(trapping('q')));
    assert!(is_failed(&get(&envoy)), "the machine was loaded just now");
    assert_eq!(reloads(&envoy), [Some(0), Some(0), Some(1)]);
    envoy.advance(Duration::from_millis(999));
    assert!(is_failed(&get(&envoy)));
    envoy.advance(Duration::from_millis(1));
    assert_eq!(
        reloads(&envoy),
        [Some(0), Some(0), Some(2)],
        "time alone does nothing"
    );
    let lines = said(&envoy).len();
    assert!(is_served(&get(&envoy)));
    assert_eq!(reloads(&envoy), [Some(1), Some(0), Some(2)]);
    // A fresh machine: its ids begin anew.
    let begin = [
        "context_create 1 0",
        "vm_start 1 0",
        "configure 1 0",
        "context_create 2 1",
    ];
    assert_eq!(said(&envoy)[lines..lines + 4], begin);
    answer(&envoy.worker(0).request(trapping('l')));
    assert!(
        is_failed(&get(&envoy)),
        "the interval begins with the reload"
    );
}

#[test]
fn the_interval_is_the_operators() {
    let base_interval = Duration::from_secs(30);
    let envoy = envoy(FailurePolicy::FailReload { base_interval });
    answer(&envoy.worker(0).request(trapping('q')));
    envoy.advance(Duration::from_secs(29));
    assert!(is_failed(&get(&envoy)));
    envoy.advance(Duration::from_secs(1));
    assert!(is_served(&get(&envoy)));
}

#[test]
fn an_old_stream_keeps_its_failed_machine_beside_the_new_one() {
    let envoy = envoy(FailurePolicy::reload());
    let worker = envoy.worker(0);
    let old = worker.request(Request::get("/"));
    envoy.advance(Duration::from_secs(1));
    answer(&worker.request(trapping('l')));
    let new = worker.request(Request::get("/"));
    assert_eq!(new.context(), 2, "the first of its machine");
    assert!(is_failed(&answer(&old)));
    assert!(is_served(&answer(&new)));
    assert_eq!(envoy.contexts(), 2, "the roots of main thread and worker");
}

#[test]
fn an_access_logger_is_silent_until_it_is_reloaded() {
    let log = || AccessLog::of(Request::get("/")).response(200, NO_HEADERS);
    let trapping = || AccessLog::of(trapping('l')).response(200, NO_HEADERS);
    for (policy, comes_back) in [
        (FailurePolicy::FailClosed, false),
        (FailurePolicy::FailOpen, false),
        (FailurePolicy::reload(), true),
    ] {
        let envoy = envoy(policy);
        let worker = envoy.worker(0);
        worker.access_log(trapping());
        let before = said(&envoy).len();
        worker.access_log(log());
        assert_eq!(said(&envoy).len(), before, "{policy:?}");
        envoy.advance(Duration::from_secs(2));
        worker.access_log(log());
        let after = said(&envoy);
        assert_eq!(after.len() > before, comes_back, "{policy:?}");
        if comes_back {
            assert_eq!(after.last().map(String::as_str), Some("log 1"));
        }
    }
}

#[test]
fn another_configuration_revives_under_every_policy() {
    for (policy, ..) in POLICIES {
        let envoy = envoy(policy);
        answer(&envoy.worker(0).request(trapping('q')));
        envoy.reconfigure("new").expect("accepted");
        let lines = said(&envoy).len();
        assert!(is_served(&get(&envoy)), "{policy:?}");
        assert!(said(&envoy).len() > lines, "{policy:?}");
    }
}

/// Counts requests, leaves a mark in shared data, and traps where a request has
/// seven headers. A machine that finds the mark when it is configured counts
/// that too, and runs what is put for `REVIVED`.
const COUNTER: &str = r#"(module
    (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
    (import "env" "proxy_get_shared_data"
        (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_shared_data"
        (func $set (param i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "requestsknown")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 4096))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $define (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 100)))
        (if (i32.eqz (call $get (i32.const 8) (i32.const 5)
                (i32.const 104) (i32.const 108) (i32.const 112)))
            (then
                (drop (call $define (i32.const 0) (i32.const 8) (i32.const 5) (i32.const 104)))
                (drop (call $increment (i32.load (i32.const 104)) (i64.const 1)))
                REVIVED))
        (i32.const 1))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $increment (i32.load (i32.const 100)) (i64.const 1)))
        (drop (call $set (i32.const 8) (i32.const 5) (i32.const 0) (i32.const 1) (i32.const 0)))
        (if (i32.eq (local.get 1) (i32.const 7)) (then unreachable))
        (i32.const 0)))"#;

/// The module above, and how it takes its second life.
fn counter(revived: &str) -> EnvoyBuilder {
    let text = COUNTER.replace("REVIVED", revived);
    let module = Module::from_wat(&text).expect("the module is valid");
    Envoy::new(module).failure_policy(FailurePolicy::reload())
}

/// A request that it traps at.
fn too_much() -> Request {
    let request = Request::get("/").header("a", "1").header("b", "2");
    request.header("c", "3")
}

#[test]
fn stats_and_shared_data_survive_and_metric_ids_do_not() {
    let envoy = counter("").configure("").expect("accepted");
    assert!(is_served(&get(&envoy)));
    assert_eq!(
        envoy.metric_ids(),
        2,
        "one in the main thread, one in the worker"
    );
    answer(&envoy.worker(0).request(too_much()));
    envoy.advance(Duration::from_secs(1));
    assert!(is_served(&get(&envoy)));
    let stats = envoy.stats();
    stats.assert_counter("requests", 3);
    stats.assert_counter("known", 1);
    assert_eq!(
        envoy.metric_ids(),
        3,
        "those of the failed machine are gone"
    );
}

#[test]
fn a_reload_that_fails_is_counted_and_tried_again_after_the_interval() {
    let envoy = counter("unreachable").configure("").expect("accepted");
    answer(&envoy.worker(0).request(too_much()));
    for attempt in 1..=2 {
        envoy.advance(Duration::from_secs(1));
        assert!(is_failed(&get(&envoy)));
        assert_eq!(reloads(&envoy), [Some(0), Some(attempt), Some(attempt - 1)]);
        assert!(is_failed(&get(&envoy)));
    }
    assert_eq!(envoy.traps().len(), 3);
}

#[test]
#[should_panic(expected = "the module trapped in proxy_on_request_headers on the worker 0")]
fn without_a_policy_a_trap_fails_the_test() {
    let envoy = Envoy::new(diary()).configure("").expect("accepted");
    answer(&envoy.worker(0).request(trapping('q')));
}
