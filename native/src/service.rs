//! One filter configuration: its counts, one set for each worker, and its tick.
//!
//! Envoy gives a dynamic module no timer on a worker. A thread of the module
//! sleeps between ticks and asks Envoy to run the tick on its main thread; there
//! the workers' counts are taken, one lock after the other, and then written.
//! A worker and the tick are the only ones that want the same lock.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gatemeter_core::catalog::{FILTER_ERRORS, StatKind};
use gatemeter_core::exchange::Exchange;
use gatemeter_core::host::Failed;
use gatemeter_core::plugin_config::PluginConfig;
use gatemeter_core::recorder::Recorder;
use gatemeter_core::stat_name;

use crate::abi::{Config, Refused, Scheduler, Stream, concurrency};
use crate::stats::{Stats, lock};
use crate::stream::{Host, now};

/// What the label `reason` says of a panic that was caught.
const PANIC: &str = "panic";

/// Where Envoy does not let the module define its stats.
const NO_STATS: &str = "Envoy defines no stats for it";

/// A configuration in service.
#[derive(Debug)]
pub(crate) struct Service {
    name: String,
    stats: Arc<Stats>,
    /// By worker.
    recorders: Vec<Mutex<Recorder>>,
    panics: AtomicUsize,
    /// `None` once it is stopped.
    ticker: Option<Ticker>,
}

impl Service {
    /// Reads a configuration and begins to count by it.
    ///
    /// # Errors
    /// What is wrong with the configuration, or what Envoy refused.
    pub(crate) fn new(config: Config, json: &[u8]) -> Result<Box<Self>, String> {
        let plugin = PluginConfig::parse(json).map_err(|errors| errors.to_string())?;
        let interval = Duration::from_millis(plugin.flush_interval_ms.into());
        let name = plugin.service.clone();
        let stats = Stats::new(config, &name).map_err(|Refused| NO_STATS.to_owned())?;
        let stats = Arc::new(stats);
        // Time and addresses differ from start to start; clients see neither.
        let seed = now() ^ json.as_ptr().addr() as u64;
        let host = Host {
            stats: &stats,
            stream: None,
            at: None,
        };
        let mut recorders = Vec::new();
        for _ in 0..concurrency().max(1) {
            let mut recorder = Recorder::new(plugin.clone(), seed);
            recorder.configure(&host).map_err(describe)?;
            recorders.push(Mutex::new(recorder));
        }
        stats.close().map_err(|Refused| NO_STATS.to_owned())?;
        let mut service = Box::new(Self {
            name,
            stats,
            recorders,
            panics: AtomicUsize::new(0),
            ticker: None,
        });
        service.write();
        service.ticker = Some(Ticker::start(config.scheduler(), interval)?);
        Ok(service)
    }

    /// Takes what the workers counted since the last tick, and writes it.
    pub(crate) fn tick(&self) {
        let host = self.host(None);
        for recorder in &self.recorders {
            lock(recorder).tick(&host);
        }
        self.write();
    }

    /// Writes what was counted. No exchange is open any more, none will come.
    pub(crate) fn close(&mut self) {
        self.ticker = None;
        let host = self.host(None);
        for recorder in &self.recorders {
            lock(recorder).close(&host);
        }
        self.write();
        self.stats.end();
    }

    fn write(&self) {
        let panics = self.panics.swap(0, Ordering::Relaxed);
        if panics > 0
            && let Ok(name) = stat_name::encode(&FILTER_ERRORS, &[&self.name, PANIC])
            && let Ok(id) = self.stats.define(StatKind::Counter, &name)
        {
            self.stats
                .add(id, i64::try_from(panics).unwrap_or(i64::MAX));
        }
        if let Err(failed) = self.stats.write()
            && let Some(recorder) = self.recorders.first()
        {
            let mut recorder = lock(recorder);
            failed.into_iter().for_each(|error| recorder.failed(error));
        }
    }

    /// Counts a panic that was caught.
    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    fn host<'s>(&'s self, stream: Option<&'s Stream>) -> Host<'s> {
        Host {
            stats: &self.stats,
            stream,
            at: None,
        }
    }
}

/// A number of the thread that runs, the same at every call.
fn worker() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static WORKER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    WORKER.with(|worker| {
        if worker.get() == usize::MAX {
            worker.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        worker.get()
    })
}

fn describe(Failed(call): Failed) -> String {
    format!("Envoy refuses what {} stands for", call.as_str())
}

/// An exchange of a configuration.
#[derive(Debug)]
pub(crate) struct Filter<'s> {
    pub(crate) service: &'s Service,
    /// The counts of the worker that it is on.
    recorder: Option<&'s Mutex<Recorder>>,
    /// When it came, in monotonic nanoseconds.
    came: u64,
    /// Whether its request reached this filter.
    asked: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing was asked of it yet, and nothing counted.
    New,
    Open(Exchange),
    Over,
}

impl<'s> Filter<'s> {
    pub(crate) fn new(service: &'s Service) -> Self {
        let worker = worker() % service.recorders.len().max(1);
        Self {
            service,
            recorder: service.recorders.get(worker),
            came: now(),
            asked: false,
            state: State::New,
        }
    }

    pub(crate) fn request_headers(&mut self, stream: &Stream) {
        self.asked = true;
        self.with(Some(stream), |exchange, recorder, host| {
            exchange.on_request_headers(recorder, host);
        });
    }

    /// A filter before this one may have answered: what there is to say of such
    /// an exchange is read at its end, as the proxy-wasm module has it.
    pub(crate) fn response_headers(&mut self, stream: &Stream) {
        if !self.asked {
            return;
        }
        self.with(Some(stream), |exchange, recorder, host| {
            exchange.on_response_headers(recorder, host);
        });
    }

    /// Everything is over; headers and attributes can still be read.
    pub(crate) fn complete(&mut self, stream: &Stream) {
        self.with(Some(stream), |exchange, recorder, host| {
            exchange.on_log(recorder, host);
            exchange.on_end(recorder, host);
        });
        self.state = State::Over;
    }

    /// The filter goes away, also where it was never complete.
    pub(crate) fn end(&mut self) {
        self.with(None, |exchange, recorder, host| {
            exchange.on_end(recorder, host);
        });
        self.state = State::Over;
    }

    fn with(
        &mut self,
        stream: Option<&Stream>,
        act: impl FnOnce(&mut Exchange, &mut Recorder, &Host<'_>),
    ) {
        let (Some(recorder), false) = (self.recorder, matches!(self.state, State::Over)) else {
            return;
        };
        let host = self.service.host(stream);
        let recorder = &mut *lock(recorder);
        if matches!(self.state, State::New) {
            let at = Some(self.came);
            self.state = State::Open(Exchange::start(recorder, &Host { at, ..host }));
        }
        if let State::Open(exchange) = &mut self.state {
            act(exchange, recorder, &host);
        }
    }
}

/// A thread that asks for ticks until it is dropped.
#[derive(Debug)]
struct Ticker {
    stopped: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(scheduler: Scheduler, interval: Duration) -> Result<Self, String> {
        let stopped = Arc::new((Mutex::new(false), Condvar::new()));
        let waits = Arc::clone(&stopped);
        let thread = std::thread::Builder::new()
            .name("gatemeter".to_owned())
            .spawn(move || {
                let (stopped, changed) = &*waits;
                let mut guard = lock(stopped);
                while !*guard {
                    let waited = changed.wait_timeout(guard, interval);
                    let (next, waited) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
                    guard = next;
                    if waited.timed_out() {
                        scheduler.wake();
                    }
                }
            })
            .map_err(|error| format!("no thread for the tick: {error}"))?;
        Ok(Self {
            stopped,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let (stopped, changed) = &*self.stopped;
        *lock(stopped) = true;
        changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It cannot panic; were it so, there is nothing left to stop.
            let _ = thread.join();
        }
    }
}
