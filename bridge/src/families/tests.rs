use super::*;
use crate::decode::decode;

const BIN: &str = "wasmcustom.http_request_duration_seconds_bin";

fn reading_with(lines: &[String], own_scrapes: &[(&str, u64)]) -> Reading {
    let body = lines.join("\n");
    let answer = decode(body.as_bytes());
    assert!(answer.dropped.is_empty(), "{:?}", answer.dropped);
    let own_scrapes = own_scrapes.iter().map(|(s, n)| ((*s).to_owned(), *n));
    Reading::new(answer, &own_scrapes.collect())
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
            key.extend(series.values());
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
    assert_eq!(histogram.count, 60);
    assert_eq!(histogram.sum_nanoseconds, 23_450_000_001);
    assert_eq!(
        histogram.buckets[..4],
        [
            (1_000_000, 45),
            (5_000_000, 45),
            (10_000_000, 57),
            (25_000_000, 57)
        ]
    );
    assert_eq!(histogram.buckets.len(), 11);
}

#[test]
fn shows_every_bound_in_use_and_folds_bins_of_the_others_upwards() {
    let reading = reading(&[
        "wasmcustom.gatemeter_bucket_bound.service=api.le=0.01: 1",
        "wasmcustom.gatemeter_bucket_bound.service=api.le=0.02: 0",
        "wasmcustom.gatemeter_bucket_bound.service=api.le=0.5: 1",
        "wasmcustom.gatemeter_bucket_bound.service=api.le=+Inf: 1",
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=0.005: 1"),
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=0.02: 10"),
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=1.0: 100"),
        &format!("{BIN}.service=api.method=GET.path=/a.status=200.le=+Inf: 1000"),
    ]);
    let histogram = histogram(&reading);
    assert_eq!(histogram.buckets, [(10_000_000, 1), (500_000_000, 11)]);
    assert_eq!(histogram.count, 1111);
    assert_eq!(histogram.sum_nanoseconds, 0);
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
    assert_eq!(histogram.buckets.len(), 12);
    assert_eq!(
        histogram.buckets[..3],
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
    assert_eq!(histogram(&reading).count, 2 * u128::from(max));
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
        hits.labels,
        [(Cow::Borrowed("cache_type"), "redis".to_owned())]
    );
    assert_eq!(numbers(&reading, "db_connections_idle"), is(&[("api", 25)]));
}

/// Another one needs its own bins in [`Reading::new`].
#[test]
fn the_only_histogram_with_a_page_is_that_of_the_durations() {
    let histograms: Vec<_> = CATALOG
        .iter()
        .filter(|metric| metric.kind == Kind::Histogram && metric.page != Page::None)
        .map(|metric| metric.name)
        .collect();
    assert_eq!(histograms, [REQUEST_DURATION]);
}
