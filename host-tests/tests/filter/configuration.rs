use std::time::Duration;

use gatemeter_host_tests::abi::LogLevel;
use gatemeter_host_tests::host::process::Thread;
use gatemeter_host_tests::scenario::{Configuration, Plugin};
use gatemeter_host_tests::{Envoy, NO_HEADERS, Request};
use serde_json::json;

use crate::{api, assert_requests, envoy, flushed, gatemeter, get};

/// The one line that the module logs when it refuses `configuration`.
#[track_caller]
fn refusal(configuration: impl Into<Configuration>) -> String {
    let refused = gatemeter()
        .workers(2)
        .configure(configuration)
        .expect_err("the configuration is wrong");
    assert_eq!(refused.trap, None);
    assert_eq!(refused.log.len(), 1, "{:#?}", refused.log);
    let line = &refused.log[0];
    assert!(line.level >= LogLevel::Error, "{line}");
    assert_eq!(line.thread, Thread::Canary, "{line}");
    assert!(!line.message.contains('\n'), "{line}");
    line.message.clone()
}

#[test]
fn each_wrong_value_is_refused_with_key_value_and_what_is_accepted() {
    let cases = [
        (json!({"servcie": "api"}), vec!["servcie", "service"]),
        (json!({"service": "a b"}), vec!["service", "a b", "letters"]),
        (json!({"service": 7}), vec!["service", "7"]),
        (api(json!({"colour": 1})), vec!["colour", "max_series"]),
        (
            api(json!({"max_series": 0})),
            vec!["max_series", "0", "from 1"],
        ),
        (
            api(json!({"max_series": "many"})),
            vec!["max_series", "many"],
        ),
        (api(json!({"routes": "/a"})), vec!["routes", "/a", "list"]),
        (api(json!({"routes": ["a"]})), vec!["routes[0]", "a"]),
        (
            api(json!({"routes": ["/a/:id", "/a/:other"]})),
            vec!["routes[1]", "/a/:other"],
        ),
        (
            api(json!({"path_rules": [{"match": "(", "replace": "x"}]})),
            vec!["path_rules[0].match", "("],
        ),
        (
            api(json!({"path_rules": [{"match": "a"}]})),
            vec!["path_rules[0].replace"],
        ),
        (api(json!({"exclude": [1]})), vec!["exclude[0]", "1"]),
        (api(json!({"buckets": [0.5, 0.1]})), vec!["buckets", "0.1"]),
        (api(json!({"buckets": []})), vec!["buckets", "[]"]),
        (
            api(json!({"buckets": ["soon"]})),
            vec!["buckets", "soon", "seconds"],
        ),
        (
            api(json!({"cache": {"typos": {}}})),
            vec!["cache.typos", "types"],
        ),
        (
            api(json!({"cache": {"types": {"redis": "a.b"}}})),
            vec!["cache.types.redis", "a.b"],
        ),
        (
            api(json!({"strip": ["server"]})),
            vec!["strip[0]", "server", "x-db-pool"],
        ),
        (
            api(json!({"native_histogram": 1})),
            vec!["native_histogram", "true or false"],
        ),
        (
            api(json!({"flush_interval_ms": 1})),
            vec!["flush_interval_ms", "1"],
        ),
    ];
    for (configuration, needles) in cases {
        let line = refusal(configuration.clone());
        for needle in needles {
            assert!(
                line.contains(needle),
                "{configuration}: {line:?} lacks {needle:?}"
            );
        }
    }
}

#[test]
fn what_is_no_json_object_is_refused() {
    for text in [
        "",
        "{",
        "[]",
        "\"api\"",
        "null",
        "service: api",
        "{\"service\":\"a\"} x",
    ] {
        let line = refusal(text);
        assert!(line.contains("configuration"), "{text}: {line}");
    }
    refusal(vec![0xff, 0xfe, 0]);
}

#[test]
fn all_errors_are_named_at_once() {
    let line = refusal(json!({
        "service": "",
        "max_series": -1,
        "buckets": [2, 1],
        "routes": ["nope"],
        "unknown": true,
    }));
    for key in ["service", "max_series", "buckets", "routes[0]", "unknown"] {
        assert!(line.contains(key), "{line:?} lacks {key}");
    }
}

#[test]
fn only_the_service_is_required() {
    envoy(json!({}));
}

#[test]
fn numbers_may_be_written_as_a_struct_writes_them() {
    envoy(json!({"max_series": 5000.0, "flush_interval_ms": 100.0, "buckets": [1.0, 2.0]}));
    // Envoy's reader of YAML makes a string of a fraction.
    envoy(json!({"buckets": ["0.1", 1.0]}));
}

#[test]
fn a_refused_change_leaves_the_old_configuration_in_use() {
    let envoy = envoy(json!({"routes": ["/a/:id"]}));
    envoy
        .reconfigure(api(json!({"routes": 1})))
        .expect_err("refused");
    get(&envoy.worker(0), "/a/1", 200);
    assert_requests(&flushed(&envoy), &[("GET", "/a/:id", "200", 1)]);
}

#[test]
fn configuring_counts_nothing_however_many_workers_there_are() {
    let envoy = gatemeter()
        .workers(4)
        .configure(api(json!({"cache": {"types": {"redis": "redis"}}})))
        .unwrap_or_else(|refused| panic!("{refused}"));
    let stats = envoy.stats();
    let counters = stats
        .names()
        .into_iter()
        .filter_map(|name| stats.counter(name));
    assert_eq!(counters.sum::<u64>(), 0);
    stats.assert_gauge("active_connections.service=api", 0);
    stats.assert_gauge("gatemeter_series_limit.service=api", 5000);
    let info = stats
        .names()
        .into_iter()
        .find(|name| name.starts_with("gatemeter_filter_info.service=api.version="))
        .expect("the version is shown");
    stats.assert_gauge(info, 1);
}

#[test]
fn families_without_labels_are_shown_at_zero_before_any_traffic() {
    let stats = envoy(json!({})).stats();
    for name in [
        "active_connections",
        "db_connections_active",
        "db_connections_idle",
    ] {
        stats.assert_gauge(&format!("{name}.service=api"), 0);
    }
    for name in [
        "gatemeter_excluded_requests_total",
        "gatemeter_filter_ticks_total",
        "gatemeter_internal_redirects_total",
        "gatemeter_series_overflows_total",
    ] {
        stats.assert_counter(&format!("{name}.service=api"), 0);
    }
}

#[test]
fn counts_are_pushed_by_the_tick_of_the_configured_interval() {
    for interval in [100, 1000] {
        let envoy = envoy(json!({"flush_interval_ms": interval}));
        get(&envoy.worker(0), "/a", 200);
        envoy.advance(Duration::from_millis(interval - 1));
        assert_eq!(envoy.stats().sum("http_requests_total"), 0);
        envoy.advance(Duration::from_millis(1));
        let stats = envoy.stats();
        assert_eq!(stats.sum("http_requests_total"), 1);
        // The main thread's virtual machine ticks as well.
        stats.assert_counter("gatemeter_filter_ticks_total.service=api", 2);
    }
}

#[test]
fn the_end_of_a_root_pushes_what_no_tick_will() {
    let envoy = envoy(json!({}));
    get(&envoy.worker(0), "/a", 200);
    envoy.drain();
    let stats = envoy.stats();
    assert_requests(&stats, &[("GET", "/a", "200", 1)]);
    stats.assert_gauge("active_connections.service=api", 0);
}

#[test]
fn requests_that_cross_a_change_of_configuration_count_once() {
    let envoy = envoy(json!({"routes": ["/old/:id"]}));
    let crossing = envoy.worker(0).request(Request::get("/old/1"));
    envoy
        .reconfigure(api(json!({"routes": ["/new/:id"]})))
        .expect("accepted");
    get(&envoy.worker(0), "/new/1", 200);
    crossing.respond(200, NO_HEADERS);
    crossing.finish();
    let stats = flushed(&envoy);
    let lines = [("GET", "/old/:id", "200", 1), ("GET", "/new/:id", "200", 1)];
    assert_requests(&stats, &lines);
    stats.assert_gauge("active_connections.service=api", 0);
}

#[test]
fn nothing_is_lost_over_many_changes_of_configuration() {
    let envoy = gatemeter()
        .workers(2)
        .configure(api(json!({})))
        .unwrap_or_else(|refused| panic!("{refused}"));
    for change in 0..30 {
        for worker in 0..2 {
            get(&envoy.worker(worker), "/a", 200);
        }
        let keys = json!({"flush_interval_ms": 100 + change});
        envoy.reconfigure(api(keys)).expect("accepted");
    }
    assert_requests(&flushed(&envoy), &[("GET", "/a", "200", 60)]);
    assert_eq!(envoy.contexts(), 3, "one root a thread");
}

#[test]
fn exchanges_that_keep_many_configurations_in_use_are_all_counted() {
    let envoy = envoy(json!({}));
    let changes = |from: u64| -> Vec<_> {
        let changed = |change| {
            let exchange = envoy.worker(0).request(Request::get("/a"));
            let keys = json!({"flush_interval_ms": change});
            envoy.reconfigure(api(keys)).expect("accepted");
            exchange
        };
        (from..from + 20).map(changed).collect()
    };
    // What the first ones leave behind is used by the others.
    for from in [100, 200] {
        let open = changes(from);
        assert!(envoy.contexts() > 40, "a root and an exchange for each");
        for exchange in open {
            exchange.respond(200, NO_HEADERS);
            exchange.finish();
        }
    }
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/a", "200", 40)]);
    stats.assert_gauge("active_connections.service=api", 0);
    assert_eq!(envoy.contexts(), 2, "one root a thread");
}

#[test]
fn services_of_one_vm_count_apart_and_one_that_goes_loses_nothing() {
    let api = envoy(json!({}));
    let discovery = Plugin::named("discovery");
    let discovery = api.add_plugin(discovery, json!({"service": "discovery"}));
    let discovery = discovery.expect("accepted");
    let counted = |envoy: &Envoy, of_api, of_discovery| {
        let labels = ["api", "discovery"]
            .map(|service| format!("service={service}.method=GET.path=/a.status=200"));
        let series = [(labels[0].as_str(), of_api), (&labels[1], of_discovery)];
        flushed(envoy).assert_series("http_requests_total", &series);
    };
    for _ in 0..3 {
        let open = discovery.worker(0).request(Request::get("/a"));
        get(&api.worker(0), "/a", 200);
        open.respond(200, NO_HEADERS);
        get(&api.worker(0), "/a", 200);
        open.finish();
    }
    counted(&api, 6, 3);
    get(&api.worker(0), "/a", 200);
    api.drain();
    get(&discovery.worker(0), "/a", 200);
    counted(&discovery, 7, 4);
}

#[test]
fn bounds_that_a_change_takes_away_are_taken_back() {
    let bound = |le: &str| {
        format!("gatemeter_bucket_bound.service=api.metric=http_request_duration_seconds.le={le}")
    };
    let envoy = envoy(json!({"buckets": [0.1, 1]}));
    let stats = envoy.stats();
    for le in ["0.1", "1.0", "+Inf"] {
        stats.assert_gauge(&bound(le), 1);
    }
    envoy
        .reconfigure(api(json!({"buckets": [0.2, 1]})))
        .expect("accepted");
    let stats = envoy.stats();
    stats.assert_gauge(&bound("0.1"), 0);
    for le in ["0.2", "1.0", "+Inf"] {
        stats.assert_gauge(&bound(le), 1);
    }
}
