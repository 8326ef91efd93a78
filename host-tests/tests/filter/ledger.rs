use std::time::Duration;

use gatemeter_host_tests::host::process::Process;
use gatemeter_host_tests::scenario::flags;
use gatemeter_host_tests::{AccessLog, NO_HEADERS, Request, Stream};
use serde_json::json;

use crate::{api, flushed, gatemeter};

/// Numbers below a bound, the same in every run.
struct Dice(Process);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.fill_random(&mut bytes);
        let number = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or_default();
        number % bound
    }
}

/// What Envoy's `downstream_rq_total` is made of.
#[derive(Default)]
struct Ledger {
    requests: u64,
    excluded: u64,
    redirects: u64,
    unparsed: u64,
}

#[test]
fn every_exchange_is_counted_once_however_it_ends() {
    let mut dice = Dice(Process::default());
    let mut ledger = Ledger::default();
    let keys = |flush: usize| json!({"exclude": ["/metrics"], "flush_interval_ms": 50 + flush});
    let envoy = gatemeter()
        .workers(3)
        .configure(api(keys(0)))
        .unwrap_or_else(|refused| panic!("{refused}"));
    let mut open: Vec<Stream> = Vec::new();
    let mut sockets: Vec<Stream> = Vec::new();

    for step in 0..4_000 {
        let worker = envoy.worker(dice.below(3));
        let path = ["/a", "/b/7", "/c", "/metrics", "/d?e=f"][dice.below(5)];
        let request = Request::new(["GET", "POST", "BREW"][dice.below(3)], path);
        if path == "/metrics" {
            ledger.excluded += 1;
        } else {
            ledger.requests += 1;
        }
        let status = [200, 204, 302, 404, 500, 503][dice.below(6)];
        match dice.below(5) {
            0 => worker.answer_before_filter(request, status, NO_HEADERS),
            1 => worker.access_log(AccessLog::of(request).response(status, NO_HEADERS)),
            _ => open.push(worker.request(request)),
        }
        if dice.below(40) == 0 {
            worker.access_log_unparsed();
            ledger.unparsed += 1;
        }
        if dice.below(3) > 0 && !open.is_empty() {
            let stream = open.swap_remove(dice.below(open.len()));
            match dice.below(9) {
                0 => stream.client_leaves(),
                1 => stream.reset(flags::UC),
                2 => stream.local_reply(504, flags::UT, "response_timeout"),
                3 => {
                    open.push(stream.redirect_internally(302, "/next"));
                    // A hop is neither excluded nor a request; the next is one.
                    ledger.redirects += 1;
                }
                4 => {
                    stream.upgrade();
                    sockets.push(stream);
                }
                5 => {
                    stream.stream_events();
                    sockets.push(stream);
                }
                6 => {
                    stream.respond(status, NO_HEADERS);
                    stream.client_leaves();
                }
                _ => {
                    stream.respond(status, NO_HEADERS);
                    stream.finish();
                }
            }
        }
        if dice.below(4) == 0 && !sockets.is_empty() {
            let socket = sockets.swap_remove(dice.below(sockets.len()));
            match dice.below(2) {
                0 => socket.finish(),
                _ => socket.client_leaves(),
            }
        }
        envoy.advance(Duration::from_micros(dice.below(20_000) as u64));
        if step % 500 == 499 {
            envoy.reconfigure(api(keys(step))).expect("accepted");
        }
    }
    let still_open = open.len() + sockets.len();
    let active = "active_connections.service=api";
    flushed(&envoy).assert_gauge(active, still_open as u64);
    for stream in open.drain(..) {
        stream.respond(200, NO_HEADERS);
        stream.finish();
    }
    for socket in sockets.drain(..) {
        socket.finish();
    }

    let stats = flushed(&envoy);
    stats.assert_gauge(active, 0);
    stats.assert_counter(
        "gatemeter_internal_redirects_total.service=api",
        ledger.redirects,
    );
    stats.assert_counter(
        "gatemeter_unparsed_requests_total.service=api",
        ledger.unparsed,
    );
    // The path of a redirected exchange is not excluded, whatever the first was.
    let counted = stats.sum("http_requests_total");
    let excluded = stats.sum("gatemeter_excluded_requests_total");
    assert_eq!(counted + excluded, ledger.requests + ledger.excluded);
    assert!(excluded > 0 && excluded <= ledger.excluded, "{excluded}");
}
