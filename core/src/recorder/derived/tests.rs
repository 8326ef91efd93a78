use super::*;
use crate::fake::FakeProxy;
use crate::host::Property;
use crate::recorder::tests::{looked_up, recorder, respond, send};
use crate::recorder::{Counted, Recorder};

fn ticked(mut recorder: Recorder, proxy: &FakeProxy, prefix: &str) -> Vec<(String, u64)> {
    recorder.tick(proxy);
    proxy.stats(prefix).into_iter().collect()
}

fn row(name: &str, count: u64) -> (String, u64) {
    (name.to_owned(), count)
}

#[test]
fn logins_are_counted_by_their_status_also_before_the_first_that_succeeds() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, r#"{"service": "api", "preset": "api"}"#);
    for status in [401, 401, 200, 403, 500, 204] {
        send(&mut recorder, &proxy, "POST", "/api/login", status, 1);
    }
    send(&mut recorder, &proxy, "GET", "/api/login", 200, 1);
    assert_eq!(
        ticked(recorder, &proxy, "auth_attempts_total.service=api.result="),
        [row("failure", 3), row("success", 2)]
    );
}

#[test]
fn a_status_counts_on_any_path_also_one_without_a_label() {
    let proxy = FakeProxy::default();
    let json = r#"{"service": "api", "preset": "api", "routes": ["/api/login"], "max_series": 1}"#;
    let mut recorder = recorder(&proxy, json);
    for path in ["/a", "/api/login", "/b"] {
        send(&mut recorder, &proxy, "POST", path, 429, 1);
        send(&mut recorder, &proxy, "PUT", path, 429, 1);
    }
    assert_eq!(
        ticked(recorder, &proxy, "rate_limit_hits_total."),
        [row("service=api", 6)]
    );
}

#[test]
fn an_exchange_counts_for_the_first_case_of_a_rule_that_it_meets() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, r#"{"service": "api", "preset": "discovery"}"#);
    let path = looked_up(&mut recorder, "/search?q=x");
    for (status, headers) in [
        ("200", &[("x-search-results", "0")][..]),
        ("200", &[("x-search-results", "3")]),
        ("200", &[]),
        ("503", &[("x-search-results", "0")]),
        ("400", &[]),
    ] {
        let heard = respond(&mut recorder, &proxy, 1, headers);
        let counted = Counted {
            method: Method::new(b"GET"),
            path: &path,
            status: Status::new(status.as_bytes()),
            nanos: 1,
            facts: Facts {
                request: 0,
                response: heard.facts,
            },
        };
        recorder.request(&proxy, counted);
    }
    assert_eq!(
        ticked(recorder, &proxy, "search_queries_total.service=api.result="),
        [row("empty", 1), row("error", 1), row("found", 2)]
    );
}

#[test]
fn the_bytes_of_an_upload_count_and_of_one_that_was_cut_what_came() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, r#"{"service": "api", "preset": "ingestion"}"#);
    let number = |value: u64| value.to_le_bytes();
    proxy.set_property(Property::RequestSize, &number(1000));
    proxy.set_property(Property::RequestTotalSize, &number(1200));
    send(&mut recorder, &proxy, "POST", "/ingest", 201, 1);
    send(&mut recorder, &proxy, "POST", "/ingest", 413, 1);
    proxy.set_property(Property::RequestTotalSize, &number(300));
    send(&mut recorder, &proxy, "POST", "/ingest", 200, 1);
    recorder.tick(&proxy);
    assert_eq!(
        proxy.stat("storage_upload_bytes_total.service=api"),
        Some(1300)
    );
    assert_eq!(
        ticked(
            recorder,
            &proxy,
            "storage_uploads_total.service=api.result="
        ),
        [row("failure", 1), row("success", 2)]
    );
}

#[test]
fn the_guides_own_metric_needs_a_configuration_only() {
    let proxy = FakeProxy::default();
    let json = r#"{"service": "api", "signals": [
        {"name": "custom_operations_total", "type": "counter", "help": "Total custom operations",
         "count": [{"method": "POST", "path": "/operations"}]}]}"#;
    let mut recorder = recorder(&proxy, json);
    assert_eq!(proxy.stat("custom_operations_total.service=api"), Some(0));
    send(&mut recorder, &proxy, "POST", "/operations", 200, 1);
    send(&mut recorder, &proxy, "GET", "/operations", 200, 1);
    assert_eq!(
        ticked(recorder, &proxy, "custom_operations_total."),
        [row("service=api", 1)]
    );
}

#[test]
fn timings_fall_into_bins_that_are_all_there_from_the_start() {
    let proxy = FakeProxy::default();
    let json = r#"{"service": "api", "signals": [
        {"name": "db_query_duration_seconds", "type": "histogram", "help": "Queries.",
         "server_timing": "db", "buckets": [0.01, 0.1]}]}"#;
    let mut recorder = recorder(&proxy, json);
    let bin = |le: &str| {
        proxy.stat(&format!(
            "db_query_duration_seconds_bin.service=api.le={le}"
        ))
    };
    assert_eq!([bin("0.01"), bin("0.1"), bin("+Inf")], [Some(0); 3]);
    let line = "db;dur=10, app;dur=5, db;dur=53.25;desc=\"x\", DB;dur=1";
    respond(&mut recorder, &proxy, 1, &[("server-timing", line)]);
    recorder.tick(&proxy);
    assert_eq!(
        [bin("0.01"), bin("0.1"), bin("+Inf")],
        [Some(1), Some(1), Some(0)]
    );
    assert_eq!(
        proxy.stat("db_query_duration_nanoseconds_sum.service=api"),
        Some(63_250_000)
    );
    let bounds = "gatemeter_bucket_bound.service=api.metric=db_query_duration_seconds.le=";
    assert_eq!(proxy.stats(bounds).len(), 3);
}

#[test]
fn a_metric_that_a_new_configuration_does_not_name_is_taken_back() {
    let proxy = FakeProxy::default();
    let named = |help: &str| {
        format!(
            r#"{{"service": "api", "signals": [{{"name": "ops_total", "type": "counter", "help": "{help}", "count": [{{}}]}}]}}"#
        )
    };
    let family = |help: &str| {
        proxy.stat(&format!(
            "gatemeter_family.service=api.metric=ops_total.type=counter.help={help}"
        ))
    };
    recorder(&proxy, &named("One"));
    assert_eq!(family("One"), Some(1));
    recorder(&proxy, &named("Two"));
    assert_eq!((family("One"), family("Two")), (Some(0), Some(1)));
    recorder(&proxy, r#"{"service": "api"}"#);
    assert_eq!((family("One"), family("Two")), (Some(0), Some(0)));
}

#[test]
fn bytes_per_route_are_counted_only_where_that_is_asked_for() {
    let proxy = FakeProxy::default();
    for (property, value) in [
        (Property::RequestSize, 10_u64),
        (Property::RequestTotalSize, 500),
        (Property::ResponseSize, 2000),
    ] {
        proxy.set_property(property, &value.to_le_bytes());
    }
    let mut plain = recorder(&proxy, r#"{"service": "api"}"#);
    send(&mut plain, &proxy, "GET", "/a", 200, 1);
    plain.tick(&proxy);
    assert_eq!(
        proxy
            .stats("http_re")
            .keys()
            .filter(|name| name.contains("bytes"))
            .count(),
        0
    );
    let mut recorder = recorder(&proxy, r#"{"service": "api", "bytes_per_route": true}"#);
    send(&mut recorder, &proxy, "GET", "/a", 200, 1);
    send(&mut recorder, &proxy, "GET", "/a", 404, 1);
    recorder.tick(&proxy);
    let bytes = |way: &str| {
        proxy.stat(&format!(
            "http_{way}_bytes_total.service=api.method=GET.path=/a"
        ))
    };
    assert_eq!(
        (bytes("request"), bytes("response")),
        (Some(20), Some(4000))
    );
}
