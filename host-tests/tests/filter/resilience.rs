use gatemeter_host_tests::{NO_HEADERS, Request, Status};
use serde_json::json;

use crate::{envoy, flushed, get};

/// The host calls of the filter, by their import.
const CALLS: [&str; 9] = [
    "clock_time_get",
    "proxy_define_metric",
    "proxy_get_header_map_pairs",
    "proxy_get_property",
    "proxy_get_shared_data",
    "proxy_increment_metric",
    "proxy_record_metric",
    "proxy_remove_header_map_value",
    "proxy_set_shared_data",
];

/// What a host can answer: each status of the ABI, and one it does not have.
fn failures() -> impl Iterator<Item = Status> {
    (1..=12).chain([255]).map(Status)
}

#[test]
fn no_failing_host_call_stops_the_filter_or_loses_a_request() {
    for call in CALLS {
        for status in failures() {
            let envoy = envoy(json!({}));
            envoy.fail(call, status);
            let stream = envoy.worker(0).request(Request::get("/a"));
            stream.respond(200, [("x-db-pool", "active=1"), ("cache-status", "a; hit")]);
            stream.finish();
            envoy.worker(0).request(Request::get("/b")).client_leaves();
            envoy
                .worker(0)
                .answer_before_filter(Request::get("/c"), 503, NO_HEADERS);
            envoy.tick();
            envoy.heal();
            let stats = flushed(&envoy);
            let requests = stats.sum("http_requests_total");
            assert_eq!(requests, 3, "{call} answers {status:?}");
            stats.assert_gauge("active_connections.service=api", 0);
        }
    }
}

#[test]
fn each_failure_is_counted_under_its_call() {
    for call in CALLS {
        let envoy = envoy(json!({}));
        envoy.fail_once(call, Status::INTERNAL_FAILURE, 0);
        let stream = envoy.worker(0).request(Request::get("/a"));
        stream.respond(200, [("x-db-pool", "active=1")]);
        stream.finish();
        envoy.worker(0).request(Request::get("/b")).client_leaves();
        // The failure may be in the flush itself, which then shows it next time.
        envoy.tick();
        let stats = flushed(&envoy);
        let reason = call.trim_start_matches("proxy_");
        let name = format!("gatemeter_filter_errors_total.service=api.reason={reason}");
        stats.assert_counter(&name, 1);
        assert_eq!(stats.sum("gatemeter_filter_errors_total"), 1, "{call}");
    }
}

#[test]
fn a_failing_host_call_while_configuring_refuses_or_is_survived_but_never_traps() {
    for call in CALLS {
        for status in failures() {
            let envoy = envoy(json!({}));
            envoy.fail(call, status);
            let changed = envoy.reconfigure(crate::api(json!({"max_series": 7})));
            if let Err(refused) = changed {
                assert_eq!(refused.trap, None, "{call} answers {status:?}");
            }
            envoy.heal();
            get(&envoy.worker(0), "/a", 200);
            assert_eq!(flushed(&envoy).sum("http_requests_total"), 1);
        }
    }
}

#[test]
fn a_host_that_says_ok_and_does_nothing_does_no_harm() {
    for call in CALLS {
        let envoy = envoy(json!({}));
        envoy.fail(call, Status::OK);
        get(&envoy.worker(0), "/a", 200);
        envoy.tick();
        envoy.drain();
        assert_eq!(envoy.traps(), [], "{call}");
    }
}

#[test]
fn callbacks_in_any_order_count_a_stream_once() {
    let orders: [&[&str]; 8] = [
        &["create", "log"],
        &["create", "log", "done", "delete"],
        &["create", "done", "log", "delete"],
        &["create", "log", "log", "done", "delete"],
        &["create", "delete"],
        &["create", "response", "log", "delete"],
        &["create", "request", "response", "delete"],
        &[
            "create", "request", "request", "response", "response", "log", "delete",
        ],
    ];
    for order in orders {
        let envoy = envoy(json!({}));
        let worker = envoy.worker(0);
        let root = worker.root().expect("a root");
        let id = 1000;
        for callback in order {
            match *callback {
                "create" => worker.callback(id, "proxy_on_context_create", &[id, root]),
                "request" => worker.callback(id, "proxy_on_request_headers", &[id, 0, 1]),
                "response" => worker.callback(id, "proxy_on_response_headers", &[id, 0, 1]),
                "log" => worker.callback(id, "proxy_on_log", &[id]),
                "done" => worker.callback(id, "proxy_on_done", &[id]),
                _ => worker.callback(id, "proxy_on_delete", &[id]),
            };
        }
        let stats = flushed(&envoy);
        assert_eq!(stats.sum("http_requests_total"), 1, "{order:?}");
        if order.contains(&"delete") {
            stats.assert_gauge("active_connections.service=api", 0);
        }
    }
}
