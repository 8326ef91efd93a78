use super::{MetricIds, Stats};
use crate::abi::{MetricType, Status};

#[test]
fn a_known_name_gets_a_new_id_for_the_same_stat() {
    let mut stats = Stats::default();
    let mut ids = MetricIds::default();
    let first = stats.define(&mut ids, MetricType::Counter, "a");
    let second = stats.define(&mut ids, MetricType::Counter, "a");
    assert_ne!(first, second);
    assert_eq!(stats.increment(&ids, first, 1), Ok(()));
    assert_eq!(stats.increment(&ids, second, 2), Ok(()));
    assert_eq!(stats.counter("a"), Some(3));
    assert_eq!(ids.len(), 2);
}

#[test]
fn ids_belong_to_one_virtual_machine_and_stats_to_all() {
    let mut stats = Stats::default();
    let mut one = MetricIds::default();
    let mut other = MetricIds::default();
    let id = stats.define(&mut one, MetricType::Counter, "a");
    assert_eq!(stats.increment(&other, id, 1), Err(Status::NOT_FOUND));
    let id = stats.define(&mut other, MetricType::Counter, "a");
    assert_eq!(stats.increment(&other, id, 1), Ok(()));
    assert_eq!(stats.counter("a"), Some(1));
}

#[test]
fn a_counter_refuses_offsets_of_zero_and_less() {
    let mut stats = Stats::default();
    let mut ids = MetricIds::default();
    let id = stats.define(&mut ids, MetricType::Counter, "a");
    assert_eq!(stats.increment(&ids, id, 0), Err(Status::BAD_ARGUMENT));
    assert_eq!(stats.increment(&ids, id, -1), Err(Status::BAD_ARGUMENT));
    assert_eq!(stats.counter("a"), Some(0));
}

#[test]
fn recording_on_a_counter_adds_and_on_a_gauge_sets() {
    let mut stats = Stats::default();
    let mut ids = MetricIds::default();
    let counter = stats.define(&mut ids, MetricType::Counter, "c");
    let gauge = stats.define(&mut ids, MetricType::Gauge, "g");
    for value in [3, 4] {
        assert_eq!(stats.record(&ids, counter, value), Ok(()));
        assert_eq!(stats.record(&ids, gauge, value), Ok(()));
    }
    assert_eq!(stats.value(&ids, counter), Ok(7));
    assert_eq!(stats.value(&ids, gauge), Ok(4));
}

#[test]
fn a_gauge_wraps_below_zero() {
    let mut stats = Stats::default();
    let mut ids = MetricIds::default();
    let id = stats.define(&mut ids, MetricType::Gauge, "g");
    assert_eq!(stats.increment(&ids, id, -20), Ok(()));
    assert_eq!(stats.gauge("g"), Some(18_446_744_073_709_551_596));
    assert_eq!(stats.increment(&ids, id, 20), Ok(()));
    assert_eq!(stats.gauge("g"), Some(0));
}

#[test]
fn a_histogram_keeps_samples_and_has_no_value() {
    let mut stats = Stats::default();
    let mut ids = MetricIds::default();
    let id = stats.define(&mut ids, MetricType::Histogram, "h");
    assert_eq!(stats.record(&ids, id, 5), Ok(()));
    assert_eq!(stats.record(&ids, id, 1), Ok(()));
    assert_eq!(stats.histogram("h"), Some([5, 1].as_slice()));
    assert_eq!(stats.increment(&ids, id, 1), Err(Status::BAD_ARGUMENT));
    assert_eq!(stats.value(&ids, id), Err(Status::BAD_ARGUMENT));
}

#[test]
fn unknown_ids_are_not_found() {
    let mut stats = Stats::default();
    let ids = MetricIds::default();
    assert_eq!(stats.increment(&ids, 400, 1), Err(Status::NOT_FOUND));
    assert_eq!(stats.record(&ids, 401, 1), Err(Status::NOT_FOUND));
    assert_eq!(stats.record(&ids, 403, 1), Err(Status::NOT_FOUND));
    assert_eq!(stats.value(&ids, 401), Err(Status::NOT_FOUND));
}

#[test]
#[should_panic(expected = "http_requests_total.method=GET: 1")]
fn a_failed_assertion_prints_the_stats_that_share_the_metric() {
    let mut stats = Stats::default();
    let mut ids = MetricIds::default();
    let id = stats.define(
        &mut ids,
        MetricType::Counter,
        "http_requests_total.method=GET",
    );
    assert_eq!(stats.increment(&ids, id, 1), Ok(()));
    stats.assert_counter("http_requests_total.method=POST", 1);
}

#[test]
#[should_panic(expected = "no stat of http_request_total; there are: http_requests_total")]
fn a_failed_assertion_on_an_unknown_metric_lists_the_metrics() {
    let mut stats = Stats::default();
    let mut ids = MetricIds::default();
    stats.define(
        &mut ids,
        MetricType::Counter,
        "http_requests_total.method=GET",
    );
    stats.assert_counter("http_request_total.method=GET", 1);
}
