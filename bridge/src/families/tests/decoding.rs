use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Answers one after the other, to one decoder.
struct Envoy {
    decoder: Decoder,
    start: Instant,
}

impl Envoy {
    fn expiring_after(seconds: u64) -> Self {
        Self {
            decoder: Decoder::new(Some(Duration::from_secs(seconds))),
            start: Instant::now(),
        }
    }

    /// What is read so many seconds after the start.
    fn says(&mut self, seconds: u64, lines: &[&str]) -> Reading {
        self.decoder.begin();
        self.decoder.feed(lines.join("\n").as_bytes());
        let now = self.start + Duration::from_secs(seconds);
        self.decoder.finish(&BTreeMap::new(), now)
    }
}

#[test]
fn totals_and_histogram_of_a_route_go_when_both_stand_still_and_come_back_with_all_they_had() {
    let mut envoy = Envoy::expiring_after(60);
    let mut read = |seconds, ok: u64, error: u64| {
        let lines = [
            format!("{BIN}.service=api.method=GET.path=/a.status=200.le=0.001: {ok}"),
            format!("{BIN}.service=api.method=GET.path=/a.status=500.le=0.001: {error}"),
            format!("{BIN}.service=api.method=GET.path=/b.status=200.le=0.001: 9"),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let reading = envoy.says(seconds, &lines);
        let counts = series(&reading, REQUEST_DURATION).iter().map(|series| {
            let Point::Histogram(histogram) = &series.point else {
                panic!("{series:?}")
            };
            (
                series.labels.get("path").unwrap().to_owned(),
                histogram.count(),
            )
        });
        let counts: Vec<_> = counts.collect();
        (numbers(&reading, "http_requests_total"), counts)
    };
    let a = |ok, error| [("api GET /a 200", ok), ("api GET /a 500", error)];
    let histograms = |counts: &[(&str, u128)]| is(counts);
    let all = is(&[&a(1, 1)[..], &[("api GET /b 200", 9)]].concat());
    assert_eq!(
        read(0, 1, 1),
        (all.clone(), histograms(&[("/a", 2), ("/b", 9)]))
    );
    assert_eq!(read(59, 1, 1), (all, histograms(&[("/a", 2), ("/b", 9)])));
    // One status moves: the other stays, or the sums would not agree.
    assert_eq!(read(60, 2, 1), (is(&a(2, 1)), histograms(&[("/a", 3)])));
    assert_eq!(read(119, 2, 1), (is(&a(2, 1)), histograms(&[("/a", 3)])));
    assert_eq!(read(120, 2, 1), (is(&[]), histograms(&[])));
    assert_eq!(read(500, 2, 2), (is(&a(2, 2)), histograms(&[("/a", 4)])));
}

#[test]
fn gauges_and_what_tells_of_the_filter_never_expire() {
    let mut envoy = Envoy::expiring_after(60);
    let lines = [
        API,
        "http.api.downstream_rq_active: 1",
        "http.api.downstream_cx_rx_bytes_total: 1",
        "wasmcustom.db_connections_idle.service=api: 25",
        "wasmcustom.cache_hits_total.service=api.cache_type=redis: 1",
        "wasmcustom.gatemeter_series_limit.service=api: 5000",
        "wasmcustom.gatemeter_filter_ticks_total.service=api: 1",
    ];
    envoy.says(0, &lines);
    let reading = envoy.says(1000, &lines);
    let left = reading.families.iter().filter(|f| !f.series.is_empty());
    let left: Vec<_> = left.map(|family| &*family.name).collect();
    assert_eq!(
        left,
        [
            "active_connections",
            "db_connections_idle",
            "http_connection_received_bytes_total",
            "gatemeter_series_limit",
            "gatemeter_filter_ticks_total",
            "gatemeter_filter_info",
        ]
    );
}

#[test]
fn a_read_that_fails_in_the_middle_leaves_no_trace() {
    let hits = "wasmcustom.cache_hits_total.service=api.cache_type";
    let ticks = "wasmcustom.gatemeter_filter_ticks_total.service=api";
    let first = format!("{hits}=a: 1\n{hits}=b: 1\n{ticks}: 1\n");
    let cut = format!("{hits}=a: 7\n{hits}=c: 7\nnonsense\n{ticks}: 7\n{hits}=d");
    let second = format!("{hits}=b: 2\n{ticks}: 1\n");
    let now = Instant::now();
    let mut envoy = Decoder::new(Some(Duration::from_secs(60)));
    envoy.begin();
    envoy.feed(first.as_bytes());
    envoy.finish(&BTreeMap::new(), now);
    let cut_read = envoy.begin();
    envoy.feed(cut.as_bytes());
    assert!(envoy.is_at(cut_read));
    envoy.begin();
    assert!(!envoy.is_at(cut_read));
    envoy.feed(second.as_bytes());
    let reading = envoy.finish(&BTreeMap::new(), now + Duration::from_secs(59));
    let expected = Reading::of(second.as_bytes(), &BTreeMap::new());
    assert_eq!(reading.families, expected.families);
    assert_eq!(reading.dropped, expected.dropped);
    assert_eq!(reading.readable, 2);
    // Nor in what is taken for having moved: a was 1 all the time.
    let third = format!("{hits}=a: 1\n{hits}=b: 2\n{ticks}: 1\n");
    let mut steady = Decoder::new(Some(Duration::from_secs(60)));
    for (at, answer) in [(0, third.as_str()), (30, &cut), (60, &third)] {
        steady.begin();
        steady.feed(answer.as_bytes());
        if answer != cut {
            let now = now + Duration::from_secs(at);
            let reading = steady.finish(&BTreeMap::new(), now);
            let expected = if at == 0 { 2 } else { 0 };
            assert_eq!(series(&reading, "cache_hits_total").len(), expected);
        }
    }
}

proptest! {
    #[test]
    fn a_decoder_that_knows_other_answers_reads_the_next_one_as_if_it_were_the_first(
        answers in prop::collection::vec(prop::collection::vec(0..32_u32, 0..40), 1..5),
        counts in prop::collection::vec(0..4_u64, 40),
    ) {
        let mut decoder = Decoder::new(None);
        for answer in &answers {
            let mut body = String::new();
            for (kind, count) in answer.iter().zip(&counts) {
                let (service, variant) = (["a", "b"][(kind % 2) as usize], kind / 8);
                let line = match kind / 2 % 4 {
                    0 => format!("{BIN}.service={service}.method=GET.path=/{variant}.status=200.le=0.{}: {count}", variant + 1),
                    1 => format!("wasmcustom.gatemeter_bucket_bound.service={service}.metric=http_request_duration_seconds.le=0.{}: {count}", variant + 1),
                    2 => named(service, "ops_total", ["counter", "gauge"][(variant % 2) as usize], "x").replace(": 1", &format!(": {count}")),
                    _ => format!("wasmcustom.ops_total.service={service}.{}=x: {count}", ["x", "y", "z", "v"][variant as usize]),
                };
                body += &line;
                body.push('\n');
            }
            decoder.begin();
            decoder.feed(body.as_bytes());
            let reading = decoder.finish(&BTreeMap::new(), Instant::now());
            let first = Reading::of(body.as_bytes(), &BTreeMap::new());
            prop_assert_eq!(reading.families, first.families);
            prop_assert_eq!(reading.services, first.services);
            prop_assert_eq!(reading.dropped, first.dropped);
        }
    }
}

#[test]
fn a_steady_scrape_spells_no_labels_anew_and_new_names_only_their_own() {
    let mut envoy = Envoy::expiring_after(60);
    let hits = "wasmcustom.cache_hits_total.service=api.cache_type";
    let bin = format!("{BIN}.service=api.method=GET.path=/a.status=200.le=0.001");
    let sum = "wasmcustom.http_request_duration_nanoseconds_sum.service=api.method=GET.path=/a";
    let mut lines = vec![
        format!("{hits}=a: 1"),
        format!("{sum}: 5"),
        format!("{bin}: 1"),
    ];
    let mut read = |lines: &[String]| {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let families = envoy.says(0, &lines).families;
        let series = families.into_iter().flat_map(|family| family.series);
        series.map(|series| series.labels).collect::<Vec<_>>()
    };
    let first = read(&lines);
    assert_eq!(first.len(), 3);
    lines.insert(1, format!("{hits}=b: 1"));
    let second = read(&lines);
    assert_eq!(second.len(), 4);
    for labels in &first {
        assert!(
            second.iter().any(|other| Arc::ptr_eq(labels, other)),
            "{labels:?}"
        );
    }
}

#[test]
fn gauges_that_decide_what_is_shown_are_asked_at_every_read() {
    let mut envoy = Envoy::expiring_after(60);
    let mut read = |is_used: u64| {
        let lines = [
            "wasmcustom.gatemeter_bucket_bound.service=api.metric=http_request_duration_seconds.le=0.01: 1".to_owned(),
            format!("wasmcustom.gatemeter_bucket_bound.service=api.metric=http_request_duration_seconds.le=0.5: {is_used}"),
            named("api", "ops_total", "counter", "x").replace(": 1", &format!(": {is_used}")),
            format!("{BIN}.service=api.method=GET.path=/a.status=200.le=0.5: 3"),
            "wasmcustom.ops_total.service=api: 4".to_owned(),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let reading = envoy.says(0, &lines);
        let is_named = reading
            .families
            .iter()
            .any(|family| family.name == "ops_total");
        (buckets(histogram(&reading)), is_named)
    };
    let both = vec![(10_000_000, 0), (500_000_000, 3)];
    assert_eq!(read(1), (both.clone(), true));
    assert_eq!(read(0), (vec![(10_000_000, 0)], false));
    assert_eq!(read(1), (both, true));
}
