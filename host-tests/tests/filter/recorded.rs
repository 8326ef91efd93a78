//! One run of everything that the filter does, with a fixed number of calls of
//! each host function: what faults and lies are put into.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use gatemeter_core::signals::RESPONSE_HEADERS;
use gatemeter_host_tests::scenario::{FailurePolicy, Refused, flags};
use gatemeter_host_tests::{AccessLog, Envoy, EnvoyBuilder, Module, NO_HEADERS, Request};
use serde_json::{Value, json};

use crate::{ACTIVE, all_that_is_read, api, bad_names, counted, gatemeter};

/// What a run came to.
pub(crate) struct Run {
    pub(crate) envoy: Envoy,
    /// Exchanges that ended.
    pub(crate) ended: u64,
    /// The changes of the configuration that were refused, but for the one that
    /// had to be.
    pub(crate) refused: Vec<Refused>,
    /// The calls made when it was configured, and before and after it was again.
    marks: [BTreeMap<&'static str, u64>; 3],
}

fn configuration(max_series: u32) -> Value {
    let mut keys = all_that_is_read();
    keys["exclude"] = json!(["/metrics"]);
    keys["max_series"] = json!(max_series);
    keys["native_histogram"] = json!(true);
    keys["strip"] = json!(RESPONSE_HEADERS);
    api(keys)
}

/// The filter, which goes on after a trap so that the run can tell of it.
#[track_caller]
pub(crate) fn builder() -> EnvoyBuilder {
    gatemeter().failure_policy(FailurePolicy::FailOpen)
}

/// The functions that the module imports, by their names in the ABI.
#[track_caller]
pub(crate) fn imports() -> Vec<String> {
    let module = Module::gatemeter().unwrap_or_else(|error| panic!("{error}"));
    let imports = module.imports().into_iter();
    imports
        .filter_map(|import| import.split_once('.').map(|(_, name)| name.to_owned()))
        .collect()
}

/// Asserts that nothing went wrong in so many runs; shows the first of it.
#[track_caller]
pub(crate) fn assert_none(problems: &[String], runs: u32) {
    let shown = &problems[..problems.len().min(100)];
    assert!(
        problems.is_empty(),
        "{} problems in {runs} runs\n{}",
        problems.len(),
        shown.join("\n"),
    );
}

/// Configures, runs traffic of every kind, ticks, reconfigures and drains.
/// Before the drain the host is told `before_drain`.
///
/// # Errors
///
/// If the first configuration is refused.
#[track_caller]
pub(crate) fn run(
    builder: EnvoyBuilder,
    before_drain: impl FnOnce(&Envoy),
) -> Result<Run, Refused> {
    let envoy = builder.configure(configuration(9))?;
    let configured = envoy.all_calls();
    let mut refused = Vec::new();
    let mut ended = traffic(&envoy, "/first");
    envoy.tick();
    envoy
        .reconfigure(api(json!({"max_series": 0})))
        .expect_err("no configuration");
    let over = envoy.worker(0).request(Request::get("/over"));
    let reconfigures = envoy.all_calls();
    refused.extend(envoy.reconfigure(configuration(10)).err());
    let reconfigured = envoy.all_calls();
    over.respond(200, [("x-db-pool", "active=7")]);
    over.finish();
    ended += 1 + traffic(&envoy, "/second");
    envoy.advance(Duration::from_millis(250));
    before_drain(&envoy);
    envoy.drain();
    Ok(Run {
        envoy,
        ended,
        refused,
        marks: [configured, reconfigures, reconfigured],
    })
}

/// How often a host function is called in a run, and which of these calls are
/// made while a configuration is looked at.
#[derive(Debug)]
pub(crate) struct Marks {
    pub(crate) calls: u64,
    pub(crate) configuring: [Range<u64>; 2],
}

/// More calls than this in one configuration come from a loop.
const LOOP: u64 = 100;

impl Marks {
    /// Which of `injections` to try at this call: all of them, but in a loop
    /// over what is shared or defined, which is one call site, one in turn.
    pub(crate) fn of_call<'all, T>(&self, call: u64, injections: &'all [T]) -> &'all [T] {
        let in_loop = self
            .configuring
            .iter()
            .any(|calls| calls.contains(&call) && calls.end - calls.start > LOOP);
        if !in_loop {
            return injections;
        }
        let turn = usize::try_from(call).unwrap_or_default() % injections.len();
        &injections[turn..=turn]
    }
}

/// The calls of `call` in a run that nothing befalls.
#[track_caller]
pub(crate) fn marks(call: &str) -> Marks {
    let run = match run(builder(), |_| {}) {
        Ok(run) => run,
        Err(refused) => panic!("{refused}"),
    };
    let [configured, reconfigures, reconfigured] = run
        .marks
        .map(|calls| calls.get(call).copied().unwrap_or_default());
    Marks {
        calls: run.envoy.all_calls().get(call).copied().unwrap_or_default(),
        configuring: [0..configured, reconfigures..reconfigured],
    }
}

/// Exchanges of every kind; gives how many ended.
#[track_caller]
fn traffic(envoy: &Envoy, path: &str) -> u64 {
    let worker = envoy.worker(0);
    let signals = [
        ("cache-status", "redis; hit, edge; fwd=miss"),
        ("x-db-pool", "active=1, idle=2"),
        ("server-timing", "db;dur=1"),
        ("trailer", "server-timing"),
    ];
    let mut ended = 0;
    for _ in 0..2 {
        let player = Request::get(path).header("cmcd-object", "bs,br=800,ot=v,sid=\"a\"");
        let stream = worker.request(player);
        envoy.advance(Duration::from_micros(700));
        stream.respond(200, signals);
        stream.finish();
        ended += 1;
    }
    worker.request(Request::get(path)).client_leaves();
    worker.answer_before_filter(Request::get(path), 503, NO_HEADERS);
    let slow = worker.request(Request::new("POST", path));
    slow.local_reply(504, flags::UT, "response_timeout");
    let socket = worker.request(Request::get("/ws"));
    socket.upgrade();
    socket.client_leaves();
    let next = worker
        .request(Request::get(path))
        .redirect_internally(302, "/next");
    next.respond(404, NO_HEADERS);
    next.finish();
    let excluded = worker.request(Request::get("/metrics"));
    excluded.respond(200, NO_HEADERS);
    excluded.finish();
    ended += 7;
    worker.access_log(AccessLog::of(Request::get(path)).response(200, signals));
    worker.access_log(AccessLog::of(Request::get(path)).flags(flags::DC));
    worker.access_log_unparsed();
    ended + 3
}

impl Run {
    /// What is wrong with the counts, if anything: each exchange that ended
    /// counts once, none is open, and every name is one of the codec's.
    pub(crate) fn problems(&self) -> Vec<String> {
        let traps = self.envoy.traps();
        let mut problems: Vec<String> = traps.iter().map(ToString::to_string).collect();
        let stats = self.envoy.stats();
        let counted = counted(&stats);
        if counted != self.ended {
            problems.push(format!("{counted} counted of {} that ended", self.ended));
        }
        let active = stats.gauge(ACTIVE).unwrap_or_default();
        if active != 0 {
            problems.push(format!("{} open at the end", active.cast_signed()));
        }
        problems.extend(self.refused.iter().filter_map(trap));
        problems.extend(bad_names(&stats));
        problems
    }

    /// The failures that the filter counted, by reason.
    pub(crate) fn errors(&self) -> Vec<(String, u64)> {
        let stats = self.envoy.stats();
        let errors = stats.series("gatemeter_filter_errors_total");
        errors
            .filter(|(_, count)| *count > 0)
            .filter_map(|(name, count)| Some((name.split_once("reason=")?.1.to_owned(), count)))
            .collect()
    }
}

/// The trap that refused a configuration.
pub(crate) fn trap(refused: &Refused) -> Option<String> {
    refused.trap.as_ref().map(ToString::to_string)
}

/// How often the host function `call` is called in a run.
#[track_caller]
pub(crate) fn call_sites(call: &str) -> u64 {
    marks(call).calls
}
