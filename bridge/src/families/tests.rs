use gatemeter_core::catalog::{CATALOG, FAMILY, Origin, REQUEST_DURATION};

use super::*;

mod decoding;

const BIN: &str = "wasmcustom.http_request_duration_seconds_bin";

fn reading_with(lines: &[String], own_scrapes: &[(&str, u64)]) -> Reading {
    let body = lines.join("\n");
    let own_scrapes = own_scrapes.iter().map(|(s, n)| ((*s).to_owned(), *n));
    let reading = Reading::of(body.as_bytes(), &own_scrapes.collect());
    let of_families = [DropReason::Conflict, DropReason::NegativeGauge];
    let mut dropped = reading.dropped.keys();
    assert!(
        dropped.all(|reason| of_families.contains(reason)),
        "{reading:?}"
    );
    reading
}

fn reading(lines: &[&str]) -> Reading {
    let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    reading_with(&lines, &[])
}

fn series<'r>(reading: &'r Reading, name: &str) -> &'r [Series] {
    let family = reading.families.iter().find(|family| family.name == name);
    &family.unwrap_or_else(|| panic!("no family {name}")).series
}

/// `service label-values -> number` of each series.
fn numbers(reading: &Reading, name: &str) -> Vec<(String, u128)> {
    series(reading, name)
        .iter()
        .map(|series| {
            let mut key = vec![series.service.as_deref().unwrap_or("-")];
            key.extend(series.labels.values());
            let Point::Number(Number::Whole(value)) = series.point else {
                panic!("{series:?}")
            };
            (key.join(" "), value)
        })
        .collect()
}

fn histogram(reading: &Reading) -> &Histogram {
    let [series] = series(reading, REQUEST_DURATION) else {
        panic!("not one histogram")
    };
    let Point::Histogram(histogram) = &series.point else {
        panic!("{series:?}")
    };
    histogram
}

fn buckets(histogram: &Histogram) -> Vec<(u64, u128)> {
    histogram.buckets().collect()
}

fn is(expected: &[(&str, u128)]) -> Vec<(String, u128)> {
    let expected = expected.iter().map(|(key, n)| ((*key).to_owned(), *n));
    expected.collect()
}

#[test]
fn adds_bins_up_over_status_to_the_histogram_and_over_bounds_to_the_total() {
    let reading = reading(&[
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=0.001: 45"),
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=0.01: 5"),
        &format!("{BIN}.service=api.method=GET.path=/a.status=500.le=0.01: 7"),
        &format!("{BIN}.service=api.method=GET.path=/a.status=500.le=+Inf: 3"),
        "wasmcustom.http_request_duration_nanoseconds_sum.service=api.method=GET.path=/a: 23450000001",
    ]);
    assert_eq!(
        numbers(&reading, "http_requests_total"),
        is(&[("api GET /a 200", 50), ("api GET /a 500", 10)])
    );
    let histogram = histogram(&reading);
    assert_eq!(histogram.count(), 60);
    assert_eq!(histogram.sum_nanoseconds(), 23_450_000_001);
    assert_eq!(
        buckets(histogram)[..4],
        [
            (1_000_000, 45),
            (5_000_000, 45),
            (10_000_000, 57),
            (25_000_000, 57)
        ]
    );
    assert_eq!(histogram.bounds().len(), 11);
}

#[test]
fn shows_every_bound_in_use_and_folds_bins_of_the_others_upwards() {
    let reading = reading(&[
        "wasmcustom.gatemeter_bucket_bound.service=api.metric=http_request_duration_seconds.le=0.01: 1",
        "wasmcustom.gatemeter_bucket_bound.service=api.metric=http_request_duration_seconds.le=0.02: 0",
        "wasmcustom.gatemeter_bucket_bound.service=api.metric=http_request_duration_seconds.le=0.5: 1",
        "wasmcustom.gatemeter_bucket_bound.service=api.metric=http_request_duration_seconds.le=+Inf: 1",
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=0.005: 1"),
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=0.02: 10"),
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=1.0: 100"),
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=+Inf: 1000"),
    ]);
    let histogram = histogram(&reading);
    assert_eq!(buckets(histogram), [(10_000_000, 1), (500_000_000, 11)]);
    assert_eq!(histogram.count(), 1111);
    assert_eq!(histogram.sum_nanoseconds(), 0);
    assert_eq!(
        numbers(&reading, "http_requests_total"),
        is(&[("api GET /a 200", 1111)])
    );
}

#[test]
fn shows_the_guides_bounds_and_those_seen_where_the_filter_names_none() {
    let reading = reading(&[&format!(
        "{BIN}.service=api.method=GET.path=/a.status=200.le=0.002: 1"
    )]);
    let histogram = histogram(&reading);
    assert_eq!(histogram.bounds().len(), 12);
    assert_eq!(
        buckets(histogram)[..3],
        [(1_000_000, 0), (2_000_000, 1), (5_000_000, 1)]
    );
}

#[test]
fn takes_the_plain_total_only_for_a_service_without_bins() {
    let reading = reading(&[
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=0.001: 4"),
        "wasmcustom.http_requests_total.service=api.method=GET.path=/a.status=200: 5",
        "wasmcustom.http_requests_total.service=api.method=GET.path=/b.status=200: 6",
        "wasmcustom.http_requests_total.service=playback.method=GET.path=/c.status=200: 7",
    ]);
    assert_eq!(
        numbers(&reading, "http_requests_total"),
        is(&[("api GET /a 200", 4), ("playback GET /c 200", 7)])
    );
}

#[test]
fn a_sum_without_bins_makes_no_series() {
    let reading = reading(&[
        "wasmcustom.http_request_duration_nanoseconds_sum.service=api.method=GET.path=/a: 5",
    ]);
    assert_eq!(series(&reading, REQUEST_DURATION), []);
}

#[test]
fn counts_that_together_exceed_64_bits_stay_exact() {
    let max = u64::MAX;
    let reading = reading(&[
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=0.001: {max}"),
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=0.005: {max}"),
    ]);
    assert_eq!(histogram(&reading).count(), 2 * u128::from(max));
}

const API: &str = "wasmcustom.gatemeter_filter_info.service=api.version=0%2E1%2E0: 1";

#[test]
fn active_connections_are_envoys_less_our_own_scrapes() {
    let lines = [
        API.to_owned(),
        "http.api.downstream_rq_active: 5".to_owned(),
    ];
    let active = |own: &[(&str, u64)]| numbers(&reading_with(&lines, own), "active_connections");
    assert_eq!(active(&[]), is(&[("api", 5)]));
    assert_eq!(active(&[("api", 2), ("playback", 9)]), is(&[("api", 3)]));
    assert_eq!(active(&[("api", 6)]), is(&[("api", 0)]));
}

#[test]
fn the_filters_gauge_stands_in_where_envoy_has_none() {
    let with = |line: &str| {
        let gauge = "wasmcustom.active_connections.service=api: 7";
        numbers(&reading(&[API, gauge, line]), "active_connections")
    };
    assert_eq!(
        with("http.admin.downstream_rq_active: 1"),
        is(&[("api", 7)])
    );
    assert_eq!(with("http.api.downstream_rq_active: 1"), is(&[("api", 1)]));
}

#[test]
fn a_service_is_what_the_filter_serves_and_nothing_else() {
    let reading = reading(&[
        API,
        "http.admin.downstream_rq_active: 1",
        "http.admin.downstream_rq_tx_reset: 1",
    ]);
    assert_eq!(
        reading
            .services
            .iter()
            .map(AsRef::as_ref)
            .collect::<Vec<_>>(),
        ["api"]
    );
    assert_eq!(numbers(&reading, "active_connections"), []);
    assert_eq!(numbers(&reading, "http_responses_incomplete_total"), []);
}

#[test]
fn responses_cut_upstream_are_envoys_resets_unless_a_stat_says_it() {
    let client =
        "wasmcustom.http_responses_incomplete_total.service=api.reason=downstream_reset: 2";
    let resets = "http.api.downstream_rq_tx_reset: 3";
    assert_eq!(
        numbers(
            &reading(&[API, client, resets]),
            "http_responses_incomplete_total"
        ),
        is(&[("api downstream_reset", 2), ("api upstream_reset", 3)])
    );
    let upstream =
        "wasmcustom.http_responses_incomplete_total.service=api.reason=upstream_reset: 9";
    assert_eq!(
        numbers(
            &reading(&[API, upstream, resets]),
            "http_responses_incomplete_total"
        ),
        is(&[("api upstream_reset", 9)])
    );
}

#[test]
fn every_family_with_a_page_is_there_in_catalogue_order_without_any_stat() {
    let names: Vec<_> = reading(&[])
        .families
        .into_iter()
        .map(|family| {
            assert_eq!(family.series, []);
            family.name
        })
        .collect();
    let expected: Vec<_> = CATALOG
        .iter()
        .filter(|row| row.page != Page::None && row.origin != Origin::Bridge)
        .map(|row| row.name)
        .collect();
    assert_eq!(names, expected);
}

#[test]
fn the_order_of_the_answer_changes_nothing() {
    let mut lines: Vec<String> = Vec::new();
    for service in ["playback", "api"] {
        for path in ["/b", "/a", "/a/:id"] {
            for le in ["+Inf", "0.001", "2.5", "0.25"] {
                lines.push(format!(
                    "{BIN}.service={service}.method=GET.path={path}.status=200.le={le}: 1"
                ));
            }
            lines.push(format!(
                "wasmcustom.cache_hits_total.service={service}.cache_type=c{}: 3",
                lines.len()
            ));
        }
    }
    let forwards = reading_with(&lines, &[]);
    lines.reverse();
    assert_eq!(forwards.families, reading_with(&lines, &[]).families);
    let requests = numbers(&forwards, "http_requests_total");
    assert!(requests.is_sorted(), "{requests:?}");
}

#[test]
fn one_stat_is_one_series_with_the_catalogues_labels() {
    let reading = reading(&[
        "wasmcustom.cache_hits_total.service=api.cache_type=redis: 8934",
        "wasmcustom.db_connections_idle.service=api: 25",
    ]);
    let [hits] = series(&reading, "cache_hits_total") else {
        panic!()
    };
    assert_eq!(
        hits.labels.iter().collect::<Vec<_>>(),
        [("cache_type", "redis")]
    );
    assert_eq!(numbers(&reading, "db_connections_idle"), is(&[("api", 25)]));
}

#[test]
fn a_histogram_of_a_rule_has_bounds_of_its_own() {
    let reading = reading(&[
        "wasmcustom.gatemeter_bucket_bound.service=api.metric=search_query_duration_seconds.le=0.01: 1",
        "wasmcustom.gatemeter_bucket_bound.service=api.metric=search_query_duration_seconds.le=0.1: 1",
        "wasmcustom.gatemeter_bucket_bound.service=api.metric=http_request_duration_seconds.le=5.0: 1",
        "wasmcustom.search_query_duration_seconds_bin.service=api.le=0.01: 2",
        "wasmcustom.search_query_duration_seconds_bin.service=api.le=0.05: 1",
        "wasmcustom.search_query_duration_seconds_bin.service=api.le=+Inf: 1",
        "wasmcustom.search_query_duration_nanoseconds_sum.service=api: 5000000000",
    ]);
    let [found] = series(&reading, "search_query_duration_seconds") else {
        panic!("not one series");
    };
    // The bin at 0.05 counts with the next bound that is shown.
    let bins = [(0, 2), (1, 1), (2, 1)];
    let expected = Histogram::new([10_000_000, 100_000_000].into(), bins, 5_000_000_000);
    assert_eq!(found.point, Point::Histogram(expected));
    assert!(found.labels.is_empty());
}

#[test]
fn bytes_of_connections_are_envoys_own_of_a_service_that_the_filter_serves() {
    let reading = reading(&[
        "wasmcustom.gatemeter_filter_ticks_total.service=api: 1",
        "http.api.downstream_cx_rx_bytes_total: 12",
        "http.api.downstream_cx_tx_bytes_total: 345",
        "http.admin.downstream_cx_tx_bytes_total: 9",
    ]);
    let received = "http_connection_received_bytes_total";
    assert_eq!(numbers(&reading, received), is(&[("api", 12)]));
    let sent = "http_connection_sent_bytes_total";
    assert_eq!(numbers(&reading, sent), is(&[("api", 345)]));
}

/// The gauge that names a metric, its words escaped as the codec does it.
fn named(service: &str, metric: &str, kind: &str, help: &str) -> String {
    let values = [service, metric, kind, help];
    let name = gatemeter_core::stat_name::encode(&FAMILY, &values).unwrap();
    format!("wasmcustom.{name}: 1")
}

#[test]
fn metrics_that_a_configuration_names_have_its_type_and_text() {
    let lines = [
        named("api", "ops_total", "counter", "Operations, by result."),
        named("api", "queue_depth", "gauge", "Jobs."),
        named("api", "db_seconds", "histogram", "Queries."),
        "wasmcustom.gatemeter_bucket_bound.service=api.metric=db_seconds.le=0.1: 1".to_owned(),
        "wasmcustom.ops_total.service=api.result=ok: 3".to_owned(),
        "wasmcustom.ops_total.service=api.result=bad%3D: 1".to_owned(),
        "wasmcustom.queue_depth.service=api: 4".to_owned(),
        "wasmcustom.db_seconds_bin.service=api.le=0.1: 2".to_owned(),
        "wasmcustom.db_seconds_bin.service=api.le=+Inf: 1".to_owned(),
        "wasmcustom.db_nanoseconds_sum.service=api: 7".to_owned(),
        "wasmcustom.somebody_elses_total.service=api: 9".to_owned(),
    ];
    let reading = reading_with(&lines, &[]);
    assert_eq!(
        numbers(&reading, "ops_total"),
        is(&[("api bad=", 1), ("api ok", 3)])
    );
    assert_eq!(numbers(&reading, "queue_depth"), is(&[("api", 4)]));
    let family = |name: &str| reading.families.iter().find(|family| family.name == name);
    assert_eq!(family("ops_total").unwrap().help, "Operations, by result.");
    assert_eq!(family("queue_depth").unwrap().kind, Kind::Gauge);
    assert!(family("somebody_elses_total").is_none());
    let Point::Histogram(histogram) = &series(&reading, "db_seconds")[0].point else {
        panic!("no histogram");
    };
    assert_eq!((histogram.count(), histogram.sum_nanoseconds()), (3, 7));
    assert_eq!(buckets(histogram), [(100_000_000, 2)]);
    assert!(reading.dropped.is_empty());
}

#[test]
fn a_metric_that_is_no_longer_named_is_gone() {
    let gone = named("api", "ops_total", "counter", "x").replace(": 1", ": 0");
    let reading = reading_with(
        &[gone, "wasmcustom.ops_total.service=api: 3".to_owned()],
        &[],
    );
    assert!(
        reading
            .families
            .iter()
            .all(|family| family.name != "ops_total")
    );
}

#[test]
fn of_services_that_mean_different_things_by_a_name_the_first_has_it() {
    let lines = [
        named("a", "ops_total", "counter", "A."),
        named("b", "ops_total", "counter", "B."),
        named("c", "ops_total", "gauge", "C."),
        "wasmcustom.ops_total.service=a.result=ok: 1".to_owned(),
        "wasmcustom.ops_total.service=b.outcome=ok: 2".to_owned(),
        "wasmcustom.ops_total.service=c.result=ok: 3".to_owned(),
        "wasmcustom.ops_total.service=nobody.result=ok: 4".to_owned(),
    ];
    let reading = reading_with(&lines, &[]);
    assert_eq!(numbers(&reading, "ops_total"), is(&[("a ok", 1)]));
    assert_eq!(reading.dropped, BTreeMap::from([(DropReason::Conflict, 2)]));
}

#[test]
fn a_gauge_of_a_rule_that_envoy_wrapped_below_zero_is_dropped() {
    let lines = [
        named("api", "queue_depth", "gauge", "Jobs."),
        format!("wasmcustom.queue_depth.service=api: {}", u64::MAX),
    ];
    let reading = reading_with(&lines, &[]);
    assert_eq!(numbers(&reading, "queue_depth"), is(&[]));
    assert_eq!(
        reading.dropped,
        BTreeMap::from([(DropReason::NegativeGauge, 1)])
    );
}

#[test]
fn says_what_envoy_says_of_itself() {
    let reading = reading(&[
        API,
        "server.uptime: 77",
        "wasm.envoy.wasm.runtime.v8.active: 3",
        "wasm.envoy.wasm.runtime.v8.created: 4",
        "wasm.envoy.wasm.runtime.null.created: 1",
        "wasm.gatemeter-api.vm_reload: 2",
        "wasm.gatemeter-api.vm_reload_backoff: 0",
        "wasm.a.b.vm_reload_failure: 1",
        "wasm.gatemeter-api.vm_reload_success: 2",
        "wasm.wasm_vm_count: 3",
    ]);
    let reload = |plugin: &str, result, count| ((Arc::from(plugin), result), count);
    assert_eq!(
        reading.envoy,
        EnvoyState {
            uptime_seconds: Some(77),
            vm_reloads: BTreeMap::from([
                reload("gatemeter-api", "backoff", 0),
                reload("a.b", "failure", 1),
                reload("gatemeter-api", "success", 2),
            ]),
            vms_active: Some(3),
            vms_created: Some(5),
        }
    );
    assert_eq!(Reading::empty().envoy, EnvoyState::default());
}

#[test]
fn names_that_no_page_could_show_or_that_it_has_already_are_nobodys() {
    let names = [
        "a b",
        "gatemeter_up",
        "http_requests_total",
        "x\"} 1 {",
        "9x",
        "",
    ];
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        lines.push(named("api", name, "counter", "Forged."));
        lines.push(format!("wasmcustom.{name}.service=api.x=y: 1"));
    }
    lines.push(named("api", "ops_total", "counter", "Operations."));
    for label in ["a b", "x\"} 1 {", "service", "le ", "__name__", "9", ""] {
        lines.push(format!("wasmcustom.ops_total.service=api.{label}=y: 1"));
    }
    lines.push("wasmcustom.ops_total.service=api.x=y.x=z: 1".to_owned());
    lines.push("wasmcustom.ops_total.service=api.x=y: 5".to_owned());
    let reading = Reading::of(lines.join("\n").as_bytes(), &BTreeMap::new());
    assert_eq!(numbers(&reading, "ops_total"), is(&[("api y", 5)]));
    let of_rules = reading.families.iter().filter(|family| !family.is_usual);
    let shown = of_rules.filter(|family| !family.series.is_empty());
    assert_eq!(
        shown.map(|family| &*family.name).collect::<Vec<_>>(),
        ["ops_total"]
    );
    assert_eq!(numbers(&reading, "http_requests_total"), is(&[]));
}
