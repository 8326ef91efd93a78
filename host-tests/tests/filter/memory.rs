//! The linear memory of a VM: without traffic, and with as many label sets in
//! use as it may have unless it is told otherwise.

use std::time::Duration;

use gatemeter_host_tests::{AccessLog, Envoy, NO_HEADERS, Request};
use serde_json::json;

use crate::envoy;

/// Pages of 64 KiB of a VM that is configured.
const IDLE: u64 = 6;

/// Pages when every label set is in use and every bin of it.
const BUSY: u64 = 41;

const REQUESTS: u64 = 1_000_000;

const LABEL_SETS: u64 = 5_000;

/// Pages of the only worker; the main thread has a VM without traffic.
fn pages(envoy: &Envoy) -> u64 {
    envoy.cost().pages - idle()
}

/// Pages of each of two VMs without traffic.
#[track_caller]
fn idle() -> u64 {
    let pages = envoy(json!({})).cost().pages;
    assert!(pages.is_multiple_of(2), "{pages} pages of two equal VMs");
    pages / 2
}

#[test]
fn a_vm_without_traffic_takes_little_memory() {
    let pages = idle();
    assert!(pages <= IDLE, "{pages} pages");
}

#[test]
fn memory_is_bounded_when_every_label_set_is_in_use() {
    let envoy = envoy(json!({}));
    let worker = envoy.worker(0);
    let mut warm = 0;
    for number in 0..REQUESTS {
        // One path in ten was never seen before, and half of those is not there.
        let (path, status) = match number % 20 {
            0 => (format!("/wp-content/{number:07}/setup.php"), 404),
            10 => (format!("/campaign/{number:07}/landing"), 200),
            _ => {
                let set = (number - number / 10) % LABEL_SETS;
                (format!("/api/catalogue/section-{set:04}/items"), 200)
            }
        };
        let request = Request::get(&path);
        if number % 10 == 1 {
            let stream = worker.request(request);
            stream.respond(status, NO_HEADERS);
            stream.finish();
        } else {
            // From below the first bound to above the last.
            let duration = Duration::from_micros(600 << (number / 10_000 % 15));
            let log = AccessLog::of(request).response(status, NO_HEADERS);
            worker.access_log(log.duration(duration));
        }
        if number % 1_000 == 999 {
            envoy.tick();
        }
        if number == REQUESTS / 2 {
            warm = pages(&envoy);
        }
    }
    envoy.tick();
    let stats = envoy.stats();
    assert_eq!(stats.sum("http_requests_total"), REQUESTS);
    assert_eq!(stats.sum("http_request_duration_seconds_bin"), REQUESTS);
    assert_eq!(stats.sum("gatemeter_filter_errors_total"), 0);
    let sets = stats.series("http_requests_total").count() as u64;
    assert!((LABEL_SETS..=LABEL_SETS + 500).contains(&sets), "{sets}");
    let pages = pages(&envoy);
    println!("{pages} pages, {} without traffic", idle());
    assert_eq!(pages, warm, "pages since half of the requests");
    assert!(pages <= BUSY, "{pages} pages");
}
