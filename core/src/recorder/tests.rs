use super::*;
use crate::fake::{FakeProxy, serialize};
use crate::header_map::HeaderMap;
use crate::host::HostCall;
use crate::labels::OTHER;

const MILLI: u64 = 1_000_000;

pub(super) fn recorder(proxy: &FakeProxy, json: &str) -> Recorder {
    let config = PluginConfig::parse(json.as_bytes()).unwrap();
    let mut recorder = Recorder::new(config, 1);
    recorder.configure(proxy).unwrap();
    recorder
}

fn api(proxy: &FakeProxy) -> Recorder {
    recorder(proxy, r#"{"service": "api"}"#)
}

/// What a request's path is.
pub(super) fn looked_up(recorder: &mut Recorder, target: &str) -> RequestPath {
    let mut path = RequestPath::Unread;
    recorder.look_up(target.as_bytes(), &mut path);
    path
}

pub(super) fn send(
    recorder: &mut Recorder,
    proxy: &FakeProxy,
    method: &str,
    path: &str,
    status: u16,
    nanos: u64,
) {
    let path = looked_up(recorder, path);
    let method = Method::new(method.as_bytes());
    let status = Status::new(status.to_string().as_bytes());
    let facts = Facts::default();
    let request = Counted {
        method,
        path: &path,
        status,
        nanos,
        facts,
    };
    recorder.request(proxy, request);
}

/// A response with these headers, at a moment in nanoseconds.
pub(super) fn respond(
    recorder: &mut Recorder,
    proxy: &FakeProxy,
    now: u64,
    headers: &[(&str, &str)],
) -> Heard {
    let pairs: Vec<(&[u8], &[u8])> = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    let map = serialize(&pairs);
    let mut heard = Heard::default();
    for (name, value) in HeaderMap::new(&map) {
        recorder.hear(proxy, name, value, now, &mut heard);
    }
    recorder.heard_all(proxy, &map, &mut heard);
    heard
}

fn requests(proxy: &FakeProxy) -> Vec<(String, u64)> {
    proxy
        .stats("http_requests_total.service=api.")
        .into_iter()
        .collect()
}

fn total(proxy: &FakeProxy) -> u64 {
    requests(proxy).iter().map(|(_, count)| count).sum()
}

#[test]
fn a_request_reaches_the_proxy_with_the_next_tick_and_not_before() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    send(&mut recorder, &proxy, "GET", "/a/7?x", 200, 3 * MILLI);
    assert_eq!(requests(&proxy), []);
    recorder.tick(&proxy);
    assert_eq!(
        requests(&proxy),
        [("method=GET.path=/a/:id.status=200".to_owned(), 1)]
    );
    assert_eq!(
        proxy.stat("gatemeter_filter_ticks_total.service=api"),
        Some(1)
    );
    recorder.tick(&proxy);
    assert_eq!(total(&proxy), 1);
}

#[test]
fn a_duration_on_a_bound_is_in_that_bin_and_one_nanosecond_more_in_the_next() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    for bound in crate::buckets::GUIDE_BOUNDS {
        send(&mut recorder, &proxy, "GET", "/a", 200, bound);
        send(&mut recorder, &proxy, "GET", "/a", 200, bound + 1);
    }
    recorder.tick(&proxy);
    let bins = proxy
        .stats("http_request_duration_seconds_bin.service=api.method=GET.path=/a.status=200.le=");
    let mut expected: Vec<(String, u64)> = [
        ("0.001", 1),
        ("0.005", 2),
        ("0.01", 2),
        ("0.025", 2),
        ("0.05", 2),
        ("0.1", 2),
        ("0.25", 2),
        ("0.5", 2),
        ("1.0", 2),
        ("2.5", 2),
        ("5.0", 2),
        ("+Inf", 1),
    ]
    .map(|(bound, count)| (bound.to_owned(), count))
    .into();
    expected.sort();
    assert_eq!(bins.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_sum_is_exact_to_the_nanosecond_and_over_all_statuses() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    let durations = [1, 999_999_999, 7_547_560, 123_456_789_012, 0];
    for (index, nanos) in durations.into_iter().enumerate() {
        let status = if index % 2 == 0 { 200 } else { 500 };
        send(&mut recorder, &proxy, "GET", "/a", status, nanos);
        if index == 2 {
            recorder.tick(&proxy);
        }
    }
    recorder.tick(&proxy);
    assert_eq!(
        proxy.stat("http_request_duration_nanoseconds_sum.service=api.method=GET.path=/a"),
        Some(durations.iter().sum())
    );
}

#[test]
fn bins_and_plain_counter_hold_the_same_requests() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    for number in 0..100 {
        let status = [200, 204, 404, 503][number % 4];
        let nanos = u64::try_from(number).unwrap() * 70 * MILLI;
        send(&mut recorder, &proxy, "POST", "/a", status, nanos);
    }
    recorder.tick(&proxy);
    let bins = proxy.stats("http_request_duration_seconds_bin.");
    assert_eq!(bins.values().sum::<u64>(), 100);
    assert_eq!(total(&proxy), 100);
}

#[test]
fn without_templates_a_path_gets_its_label_with_the_first_answer_below_400() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    send(&mut recorder, &proxy, "GET", "/a", 404, 0);
    send(&mut recorder, &proxy, "GET", "/a", 500, 0);
    send(&mut recorder, &proxy, "GET", "/a", 302, 0);
    send(&mut recorder, &proxy, "GET", "/a", 404, 0);
    recorder.tick(&proxy);
    assert_eq!(
        requests(&proxy),
        [
            ("method=GET.path=/a.status=302".to_owned(), 1),
            ("method=GET.path=/a.status=404".to_owned(), 1),
            ("method=GET.path=_UNMATCHED.status=404".to_owned(), 1),
            ("method=GET.path=_UNMATCHED.status=500".to_owned(), 1),
        ]
    );
}

#[test]
fn a_path_that_one_worker_knows_all_workers_know() {
    let proxy = FakeProxy::default();
    let mut first = api(&proxy);
    let other = proxy.worker();
    let mut second = api(&other);
    send(&mut first, &proxy, "GET", "/a", 200, 0);
    send(&mut second, &other, "GET", "/a", 503, 0);
    send(&mut second, &other, "GET", "/b", 503, 0);
    first.tick(&proxy);
    second.tick(&other);
    assert_eq!(
        requests(&proxy),
        [
            ("method=GET.path=/a.status=200".to_owned(), 1),
            ("method=GET.path=/a.status=503".to_owned(), 1),
            ("method=GET.path=_UNMATCHED.status=503".to_owned(), 1),
        ]
    );
}

#[test]
fn all_workers_together_never_exceed_the_cap_and_no_request_is_lost() {
    let proxy = FakeProxy::default();
    let json = r#"{"service": "api", "max_series": 50}"#;
    let mut workers: Vec<(FakeProxy, Recorder)> = (0..4)
        .map(|_| {
            let worker = proxy.worker();
            let recorder = recorder(&worker, json);
            (worker, recorder)
        })
        .collect();
    for number in 0..400 {
        for (worker, recorder) in &mut workers {
            send(recorder, worker, "GET", &format!("/p{number}x"), 200, 0);
        }
    }
    for (worker, recorder) in &mut workers {
        recorder.tick(worker);
    }
    assert_eq!(total(&proxy), 1_600);
    let sets = requests(&proxy);
    let ordinary = sets.iter().filter(|(set, _)| !set.contains("_OVERFLOW"));
    assert_eq!(ordinary.count(), 50);
    assert_eq!(proxy.stat("gatemeter_series.service=api"), Some(50));
    assert_eq!(proxy.stat("gatemeter_series_limit.service=api"), Some(50));
    assert_eq!(
        proxy.stat("gatemeter_series_overflows_total.service=api"),
        Some(4 * 350)
    );
}

#[test]
fn the_overflow_keeps_method_and_status_until_its_reserve_is_used_up() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, r#"{"service": "api", "max_series": 1}"#);
    send(&mut recorder, &proxy, "GET", "/first", 200, 0);
    for method in ["GET", "POST", "PUT"] {
        for status in 100..500 {
            send(&mut recorder, &proxy, method, "/first", status, 0);
        }
    }
    recorder.tick(&proxy);
    let sets = requests(&proxy);
    let reserve = usize::try_from(RESERVE).unwrap();
    // The first set, and the reserve, the last of which takes the rest.
    assert_eq!(sets.len(), 1 + reserve);
    let rest = format!("method={OTHER}.path=_OVERFLOW.status={OTHER}");
    let rest = sets.iter().find(|(set, _)| *set == rest).unwrap();
    assert_eq!(rest.1, 3 * 400 - 1 - (u64::from(RESERVE) - 1));
    assert_eq!(total(&proxy), 1 + 3 * 400);
}

#[test]
fn templates_still_get_their_labels_after_a_flood_of_other_paths() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(
        &proxy,
        r#"{"service": "api", "max_series": 20, "routes": ["/real/:id"]}"#,
    );
    for number in 0..10_000 {
        let status = if number % 2 == 0 { 404 } else { 200 };
        send(
            &mut recorder,
            &proxy,
            "GET",
            &format!("/x{number}"),
            status,
            0,
        );
    }
    send(&mut recorder, &proxy, "GET", "/real/1", 200, 0);
    recorder.tick(&proxy);
    let sets = requests(&proxy);
    assert_eq!(sets.len(), 3);
    assert_eq!(
        sets[0],
        ("method=GET.path=/real/:id.status=200".to_owned(), 1)
    );
}

#[test]
fn a_name_beyond_the_limit_overflows() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    let path = format!("/{}", "x".repeat(500));
    send(&mut recorder, &proxy, "GET", &path, 200, 0);
    recorder.tick(&proxy);
    assert_eq!(
        requests(&proxy),
        [("method=GET.path=_OVERFLOW.status=200".to_owned(), 1)]
    );
}

#[test]
fn configuring_adds_nothing_and_shows_families_at_zero() {
    let proxy = FakeProxy::default();
    let json = r#"{"service": "api", "cache": {"types": {"redis": "redis"}}}"#;
    for _ in 0..3 {
        recorder(&proxy.worker(), json);
    }
    for name in [
        "active_connections.service=api",
        "db_connections_active.service=api",
        "db_connections_idle.service=api",
        "cache_hits_total.service=api.cache_type=redis",
        "cache_misses_total.service=api.cache_type=redis",
        "gatemeter_excluded_requests_total.service=api",
        "gatemeter_filter_ticks_total.service=api",
    ] {
        assert_eq!(proxy.stat(name), Some(0), "{name}");
    }
    assert_eq!(
        proxy.stat("cache_hits_total.service=api.cache_type=other"),
        None
    );
    assert_eq!(
        proxy
            .stats("gatemeter_filter_info.")
            .into_values()
            .collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(
        proxy
            .stats("gatemeter_bucket_bound.service=api.metric=http_request_duration_seconds.le=")
            .len(),
        12
    );
}

#[test]
fn a_bound_that_a_new_configuration_takes_away_is_set_to_zero() {
    let proxy = FakeProxy::default();
    recorder(&proxy, r#"{"service": "api", "buckets": [0.1, 1]}"#);
    recorder(&proxy, r#"{"service": "api", "buckets": [0.1, 2]}"#);
    let bounds =
        proxy.stats("gatemeter_bucket_bound.service=api.metric=http_request_duration_seconds.le=");
    assert_eq!(
        bounds.into_keys().collect::<Vec<_>>(),
        ["+Inf", "0.1", "2.0"]
    );
    assert_eq!(
        proxy
            .stat("gatemeter_bucket_bound.service=api.metric=http_request_duration_seconds.le=1.0"),
        Some(0)
    );
}

#[test]
fn what_the_proxy_refuses_is_pushed_by_the_next_tick_and_counted_as_an_error() {
    for call in [HostCall::DefineMetric, HostCall::IncrementMetric] {
        let proxy = FakeProxy::default();
        let mut recorder = api(&proxy);
        send(&mut recorder, &proxy, "GET", "/a", 200, 5);
        proxy.fail(call);
        recorder.tick(&proxy);
        assert_eq!(total(&proxy), 0);
        send(&mut recorder, &proxy, "GET", "/a", 200, 5);
        proxy.heal();
        recorder.tick(&proxy);
        recorder.tick(&proxy);
        assert_eq!(total(&proxy), 2);
        assert_eq!(
            proxy.stat("http_request_duration_nanoseconds_sum.service=api.method=GET.path=/a"),
            Some(10)
        );
        let bins = "http_request_duration_seconds_bin.service=api.";
        assert_eq!(proxy.stats(bins).values().sum::<u64>(), 2);
        let errors = format!(
            "gatemeter_filter_errors_total.service=api.reason={}",
            call.as_str()
        );
        assert!(proxy.stat(&errors).unwrap() > 0, "{errors}");
    }
}

#[test]
fn without_shared_data_requests_are_counted_under_overflow() {
    for call in [HostCall::SharedData, HostCall::SetSharedData] {
        let proxy = FakeProxy::default();
        let mut recorder = api(&proxy);
        proxy.fail(call);
        send(&mut recorder, &proxy, "GET", "/a", 200, 5);
        recorder.tick(&proxy);
        let rest = format!("method={OTHER}.path=_OVERFLOW.status={OTHER}");
        assert_eq!(requests(&proxy), [(rest, 1)], "{call:?}");
    }
}

#[test]
fn a_place_is_given_back_when_another_worker_wrote_the_same_set_first() {
    let proxy = FakeProxy::default();
    let json = r#"{"service": "api", "max_series": 2}"#;
    let mut first = recorder(&proxy, json);
    let other = proxy.worker();
    let mut second = recorder(&other, json);
    // The first worker has taken its place and is about to write the set.
    let mut writes = 0;
    let (sender, counted) = std::sync::mpsc::channel();
    proxy.before_each_write(move |_| {
        writes += 1;
        if writes == 2 {
            send(&mut second, &other, "GET", "/a", 200, 0);
            second.tick(&other);
            sender.send(()).unwrap();
        }
    });
    send(&mut first, &proxy, "GET", "/a", 200, 0);
    assert!(counted.try_recv().is_ok(), "the second worker came between");
    send(&mut first, &proxy, "GET", "/b", 200, 0);
    send(&mut first, &proxy, "GET", "/c", 200, 0);
    first.tick(&proxy);
    assert_eq!(proxy.stat("gatemeter_series.service=api"), Some(2));
    assert_eq!(
        requests(&proxy),
        [
            ("method=GET.path=/a.status=200".to_owned(), 2),
            ("method=GET.path=/b.status=200".to_owned(), 1),
            ("method=GET.path=_OVERFLOW.status=200".to_owned(), 1),
        ]
    );
}

#[test]
fn a_count_that_another_worker_changed_meanwhile_is_not_overwritten() {
    let proxy = FakeProxy::default();
    let json = r#"{"service": "api", "max_series": 9}"#;
    let mut first = recorder(&proxy, json);
    let other = proxy.worker();
    let mut second = recorder(&other, json);
    // The first worker has read the count and is about to write it.
    let mut writes = 0;
    proxy.before_each_write(move |_| {
        writes += 1;
        if writes == 1 {
            send(&mut second, &other, "GET", "/b", 200, 0);
        }
    });
    send(&mut first, &proxy, "GET", "/a", 200, 0);
    first.tick(&proxy);
    assert_eq!(proxy.stat("gatemeter_series.service=api"), Some(2));
}

#[test]
fn every_configured_cache_type_is_shown_at_zero_also_one_named_other() {
    let proxy = FakeProxy::default();
    recorder(
        &proxy,
        r#"{"service": "api", "cache": {"types": {"a": "other", "z": "redis"}}}"#,
    );
    for cache_type in ["other", "redis"] {
        let name = format!("cache_hits_total.service=api.cache_type={cache_type}");
        assert_eq!(proxy.stat(&name), Some(0), "{name}");
    }
}

#[test]
fn after_the_end_every_request_is_pushed_at_once() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    send(&mut recorder, &proxy, "GET", "/a", 200, 0);
    recorder.close(&proxy);
    assert_eq!(total(&proxy), 1);
    send(&mut recorder, &proxy, "GET", "/a", 200, 0);
    assert_eq!(total(&proxy), 2);
}

#[test]
fn the_steady_state_makes_no_metric_call_between_ticks() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    send(&mut recorder, &proxy, "GET", "/a", 200, 0);
    recorder.tick(&proxy);
    let calls =
        |proxy: &FakeProxy| -> u64 { HostCall::ALL.iter().map(|call| proxy.calls(*call)).sum() };
    let before = calls(&proxy);
    for _ in 0..1_000 {
        send(&mut recorder, &proxy, "GET", "/a", 200, 0);
    }
    assert_eq!(calls(&proxy), before);
}

#[test]
fn a_stat_that_is_pushed_again_is_not_defined_again() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    let mut request_and_tick = || {
        send(&mut recorder, &proxy, "GET", "/a", 200, 0);
        recorder.tick(&proxy);
        proxy.calls(HostCall::DefineMetric)
    };
    let before = request_and_tick();
    assert_eq!(request_and_tick(), before);
}

#[test]
fn an_idle_tick_sets_no_gauge_again() {
    let proxy = FakeProxy::default();
    let mut recorder = api(&proxy);
    send(&mut recorder, &proxy, "GET", "/a", 200, 0);
    recorder.tick(&proxy);
    let before = proxy.calls(HostCall::RecordMetric);
    recorder.tick(&proxy);
    assert_eq!(proxy.calls(HostCall::RecordMetric), before);
}

#[test]
fn signals_move_their_metrics_and_a_malformed_one_is_counted() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(
        &proxy,
        r#"{"service": "api", "cache": {"types": {"redis": "redis", "edge": "cdn"}}}"#,
    );
    let headers = [
        ("cache-status", "redis; hit, edge; fwd=miss, varnish; hit"),
        ("cache-status", "redis; ="),
        ("x-db-pool", "active=15, idle=25"),
        ("x-db-pool", "active=-1"),
    ];
    respond(&mut recorder, &proxy, 1, &headers);
    recorder.tick(&proxy);
    for (name, value) in [
        ("cache_hits_total.service=api.cache_type=redis", 1),
        ("cache_hits_total.service=api.cache_type=other", 1),
        ("cache_misses_total.service=api.cache_type=cdn", 1),
        ("db_connections_active.service=api", 15),
        ("db_connections_idle.service=api", 25),
        (
            "gatemeter_signal_errors_total.service=api.signal=cache-status",
            1,
        ),
        (
            "gatemeter_signal_errors_total.service=api.signal=x-db-pool",
            1,
        ),
    ] {
        assert_eq!(proxy.stat(name), Some(value), "{name}");
    }
}

#[test]
fn a_native_histogram_gets_each_request_in_milliseconds() {
    let proxy = FakeProxy::default();
    let mut recorder = recorder(&proxy, r#"{"service": "api", "native_histogram": true}"#);
    send(&mut recorder, &proxy, "GET", "/a", 200, 12 * MILLI);
    assert_eq!(
        proxy.stat("http_request_duration_ms.service=api.method=GET.path=/a"),
        Some(12)
    );
}
