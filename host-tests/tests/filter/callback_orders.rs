//! Every sequence of callbacks up to a length, in the order that Envoy keeps
//! and in every other.
//!
//! The rule, which [`Oracle`] states on its own: an exchange begins where its
//! context is created and ends where that is deleted; it counts once, by what
//! comes first of a response that stays open, the log callback and the delete
//! callback. What comes to a context that is not there changes nothing, and so
//! does creating one that is.

use gatemeter_host_tests::{AccessLog, Envoy, Request, Worker};
use serde_json::json;

use crate::{ACTIVE, counted, envoy};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callback {
    Create,
    Request,
    Response,
    Log,
    Done,
    Delete,
}

impl Callback {
    const ALL: [Self; 6] = [
        Self::Create,
        Self::Request,
        Self::Response,
        Self::Log,
        Self::Done,
        Self::Delete,
    ];

    #[track_caller]
    fn call(self, worker: &Worker, id: u32, root: u32) {
        let (name, arguments): (_, &[u32]) = match self {
            Self::Create => ("proxy_on_context_create", &[id, root]),
            Self::Request => ("proxy_on_request_headers", &[id, 4, 1]),
            Self::Response => ("proxy_on_response_headers", &[id, 1, 0]),
            Self::Log => ("proxy_on_log", &[id]),
            Self::Done => ("proxy_on_done", &[id]),
            Self::Delete => ("proxy_on_delete", &[id]),
        };
        worker.callback(id, name, arguments);
    }
}

/// All sequences of `length` items.
fn sequences<T: Copy>(items: &[T], length: usize) -> Vec<Vec<T>> {
    let mut sequences = vec![Vec::new()];
    for _ in 0..length {
        sequences = sequences
            .iter()
            .flat_map(|head| {
                items
                    .iter()
                    .map(move |item| [head.as_slice(), &[*item]].concat())
            })
            .collect();
    }
    sequences
}

/// What must have been counted, said without a look at the filter.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Oracle {
    counted: u64,
    open: u64,
}

impl Oracle {
    /// What one context adds that sees these callbacks.
    fn add(&mut self, callbacks: &[Callback], response_stays_open: bool) {
        let mut context: Option<bool> = None;
        for callback in callbacks {
            let counts = match (callback, &mut context) {
                (Callback::Create, None) => {
                    context = Some(false);
                    self.open += 1;
                    false
                }
                (Callback::Log, Some(counted)) => !std::mem::replace(counted, true),
                (Callback::Response, Some(counted)) if response_stays_open => {
                    !std::mem::replace(counted, true)
                }
                (Callback::Delete, Some(counted)) => {
                    let counts = !*counted;
                    context = None;
                    self.open -= 1;
                    counts
                }
                _ => false,
            };
            self.counted += u64::from(counts);
        }
    }
}

#[track_caller]
fn seen(envoy: &Envoy) -> Oracle {
    envoy.tick();
    let stats = envoy.stats();
    Oracle {
        counted: counted(&stats),
        open: stats.gauge(ACTIVE).unwrap_or_default(),
    }
}

/// Exchanges that differ in what their response makes of them.
fn exchanges() -> [(&'static str, AccessLog, bool); 4] {
    let of = |request: Request| AccessLog::of(request);
    let plain = [("content-type", "text/plain"), ("x-db-pool", "active=1")];
    let events = [("content-type", "text/event-stream")];
    [
        (
            "answered",
            of(Request::get("/a")).response(200, plain),
            false,
        ),
        (
            "event stream",
            of(Request::get("/a")).response(200, events),
            true,
        ),
        (
            "upgraded",
            of(Request::get("/a")).response(101, [("upgrade", "websocket")]),
            true,
        ),
        ("unanswered", of(Request::get("/a")), false),
    ]
}

/// Runs each sequence in a context of its own and compares what was counted.
#[track_caller]
fn try_all(length: usize, exchange: &AccessLog, name: &str, stays_open: bool) {
    let envoy = envoy(json!({}));
    let worker = envoy.worker(0);
    let root = worker.root().expect("a root");
    let mut expected = Oracle::default();
    for sequence in sequences(&Callback::ALL, length) {
        let id = worker.untold(exchange.clone());
        for callback in &sequence {
            callback.call(&worker, id, root);
        }
        let mut now = expected;
        now.add(&sequence, stays_open);
        assert_eq!(seen(&envoy), now, "{name}: {sequence:?}");
        // However it went, its end settles it, and a second end does nothing.
        let ended = [sequence.as_slice(), &[Callback::Delete, Callback::Delete]].concat();
        Callback::Delete.call(&worker, id, root);
        Callback::Delete.call(&worker, id, root);
        expected.add(&ended, stays_open);
        assert_eq!(seen(&envoy), expected, "{name}: {ended:?}");
        worker.forget(id);
    }
    assert_eq!(expected.open, 0);
}

#[test]
fn every_sequence_of_up_to_four_callbacks_counts_by_the_rule_for_every_kind_of_exchange() {
    for (name, exchange, stays_open) in exchanges() {
        for length in 0..=4 {
            try_all(length, &exchange, name, stays_open);
        }
    }
}

#[test]
fn every_sequence_of_five_callbacks_counts_by_the_rule() {
    let [(name, answered, stays_open), ..] = exchanges();
    try_all(5, &answered, name, stays_open);
}

#[test]
fn two_contexts_in_every_interleaving_count_by_the_rule_each() {
    let envoy = envoy(json!({}));
    let worker = envoy.worker(0);
    let root = worker.root().expect("a root");
    let [(_, exchange, _), ..] = exchanges();
    let callbacks = [Callback::Create, Callback::Log, Callback::Delete];
    let items: Vec<(usize, Callback)> = (0..2)
        .flat_map(|which| callbacks.map(|callback| (which, callback)))
        .collect();
    let mut expected = Oracle::default();
    for sequence in sequences(&items, 5) {
        let ids = [
            worker.untold(exchange.clone()),
            worker.untold(exchange.clone()),
        ];
        let mut each = [vec![], vec![]];
        let ends = [(0, Callback::Delete), (1, Callback::Delete)];
        for (which, callback) in sequence.iter().chain(&ends) {
            callback.call(&worker, ids[*which], root);
            each[*which].push(*callback);
        }
        for callbacks in each {
            expected.add(&callbacks, false);
        }
        assert_eq!(seen(&envoy), expected, "{sequence:?}");
        for id in ids {
            worker.forget(id);
        }
    }
}

#[test]
fn a_context_under_a_root_that_is_not_there_is_none() {
    let envoy = envoy(json!({}));
    let worker = envoy.worker(0);
    let [(_, exchange, _), ..] = exchanges();
    for root in [999, u32::MAX] {
        for sequence in sequences(&Callback::ALL, 3) {
            let id = worker.untold(exchange.clone());
            for callback in [Callback::Create].iter().chain(&sequence) {
                callback.call(&worker, id, root);
            }
            assert_eq!(
                seen(&envoy),
                Oracle::default(),
                "under {root}: {sequence:?}"
            );
            worker.forget(id);
        }
    }
}

/// What can befall a root that is used as an access logger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfRoot {
    /// An exchange is logged.
    Log,
    /// The root is created once more, or anew.
    Create,
    /// Callbacks that only a stream has.
    Request,
    Response,
    Tick,
    Done,
    Delete,
}

#[test]
fn a_root_counts_each_exchange_it_logs_while_it_lives_whatever_else_befalls_it() {
    let items = [
        OfRoot::Log,
        OfRoot::Create,
        OfRoot::Request,
        OfRoot::Response,
        OfRoot::Tick,
        OfRoot::Done,
        OfRoot::Delete,
    ];
    for length in 0..=3 {
        for sequence in sequences(&items, length) {
            let envoy = envoy(json!({}));
            let worker = envoy.worker(0);
            let root = worker.root().expect("a root");
            // A root that comes back was never configured, and counts nothing.
            let (mut configured, mut logged) = (true, 0);
            for item in &sequence {
                match item {
                    OfRoot::Log => {
                        worker.access_log(exchanges()[0].1.clone());
                        logged += u64::from(configured);
                    }
                    OfRoot::Create => {
                        worker.callback(root, "proxy_on_context_create", &[root, 0]);
                    }
                    OfRoot::Request => {
                        worker.callback(root, "proxy_on_request_headers", &[root, 4, 1]);
                    }
                    OfRoot::Response => {
                        worker.callback(root, "proxy_on_response_headers", &[root, 1, 0]);
                    }
                    OfRoot::Tick => {
                        worker.callback(root, "proxy_on_tick", &[root]);
                    }
                    OfRoot::Done => {
                        worker.callback(root, "proxy_on_done", &[root]);
                    }
                    OfRoot::Delete => {
                        worker.callback(root, "proxy_on_delete", &[root]);
                        configured = false;
                    }
                }
            }
            worker.callback(root, "proxy_on_delete", &[root]);
            let stats = envoy.stats();
            assert_eq!(counted(&stats), logged, "{sequence:?}");
            stats.assert_gauge(ACTIVE, 0);
        }
    }
}
