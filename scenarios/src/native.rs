//! A scenario on the filter's logic, compiled into this program: no module, no
//! virtual machine, but the same stat store and the same exchanges as there.
//!
//! What stands in `filter` between the host calls and `core` is said again
//! here, in few lines; that both do the same is what running a scenario in two
//! ways proves.

mod host;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use gatemeter_bridge::exposition::Format;
use gatemeter_core::exchange::{self, Exchange as Counted};
use gatemeter_core::host::Failed;
use gatemeter_core::plugin_config::PluginConfig;
use gatemeter_core::recorder::Recorder;
use gatemeter_host_tests::abi::MapType;
use gatemeter_host_tests::host::exchange::Exchange as Known;
use gatemeter_host_tests::host::headers::HeaderMap;
use gatemeter_host_tests::host::process::Process;
use gatemeter_host_tests::scenario::flags;
use gatemeter_host_tests::stats::MetricIds;

use self::host::Host;
use crate::expect::Got;
use crate::page::{Clock, Page};
use crate::proxy::{Proxy, RunError};
use crate::scenario::{Config, Direction, End, Exchange, ExchangeId, Fate, Form, Scenario, Status};
use crate::stats::{self, EnvoyStats};
use crate::text::Pair;
use crate::wasm::{client_left, rewrite};

/// A proxy that runs the filter's logic.
#[derive(Debug)]
pub struct NativeProxy {
    process: Rc<RefCell<Process>>,
    form: Form,
    service: Option<String>,
    format: Format,
    own: EnvoyStats,
    /// The main thread, which has no traffic, and the workers.
    threads: Vec<Thread>,
    config: Config,
    open: BTreeMap<ExchangeId, Open>,
    got: BTreeMap<ExchangeId, Got>,
    log: Vec<String>,
}

/// One thread: its metric ids and its roots, the one that gets traffic last.
#[derive(Debug, Default)]
struct Thread {
    ids: Rc<RefCell<MetricIds>>,
    roots: Vec<Root>,
}

/// The counts for one configuration.
#[derive(Debug)]
struct Root {
    recorder: Rc<RefCell<Recorder>>,
    period: u64,
    due: u64,
}

/// An exchange that is not over.
#[derive(Debug)]
struct Open {
    thread: usize,
    http2: bool,
    recorder: Rc<RefCell<Recorder>>,
    known: Known,
    /// None for the access logger.
    counted: Option<Counted>,
}

impl NativeProxy {
    /// A proxy with the configuration of `scenario`; its page is printed in
    /// `format`.
    ///
    /// # Errors
    /// Where the configuration is refused.
    pub fn start(scenario: &Scenario, format: Format) -> Result<Self, RunError> {
        let mut proxy = Self {
            process: Rc::default(),
            form: scenario.form,
            service: scenario.config.service(),
            format,
            own: EnvoyStats::default(),
            threads: (0..=scenario.workers).map(|_| Thread::default()).collect(),
            config: scenario.config.clone(),
            open: BTreeMap::new(),
            got: BTreeMap::new(),
            log: Vec::new(),
        };
        proxy.configure(&scenario.config)?;
        Ok(proxy)
    }

    fn configure(&mut self, config: &Config) -> Result<(), RunError> {
        let parsed = PluginConfig::parse(&config.bytes()).map_err(|errors| {
            let line = format!("gatemeter: configuration refused: {errors}");
            self.log.push(line.clone());
            RunError::Refused(line)
        })?;
        for thread in 0..self.threads.len() {
            let mut recorder = Recorder::new(parsed.clone(), thread as u64);
            let host = self.host(thread, Known::default());
            recorder.configure(&host).map_err(broken)?;
            let period = u64::from(parsed.flush_interval_ms) * 1_000_000;
            let due = self.now() + period;
            let recorder = Rc::new(RefCell::new(recorder));
            self.threads[thread].roots.push(Root {
                recorder,
                period,
                due,
            });
        }
        self.config = config.clone();
        self.release_roots();
        Ok(())
    }

    /// A root that was replaced ends with its last exchange.
    fn release_roots(&mut self) {
        for thread in 0..self.threads.len() {
            let host = self.host(thread, Known::default());
            let roots = &mut self.threads[thread].roots;
            let last = roots.len() - 1;
            let mut index = 0;
            roots.retain(|root| {
                let stays = index == last || Rc::strong_count(&root.recorder) > 1;
                index += 1;
                if !stays {
                    root.recorder.borrow_mut().close(&host);
                }
                stays
            });
        }
    }

    fn now(&self) -> u64 {
        self.process.borrow().monotonic()
    }

    fn host(&self, thread: usize, exchange: Known) -> Host {
        Host {
            process: Rc::clone(&self.process),
            ids: Rc::clone(&self.threads[thread].ids),
            exchange: RefCell::new(exchange),
        }
    }

    fn known(&self, headers: Option<Vec<Pair>>) -> Known {
        let wall_clock = self.process.borrow().wall_clock();
        Known::new(headers.map(HeaderMap::new), self.now(), wall_clock)
    }

    /// Runs a callback of an exchange.
    fn with(&self, open: &mut Open, act: impl FnOnce(&mut Counted, &mut Recorder, &Host)) {
        let Some(counted) = &mut open.counted else {
            return;
        };
        let host = self.host(open.thread, std::mem::take(&mut open.known));
        act(counted, &mut open.recorder.borrow_mut(), &host);
        open.known = host.exchange.into_inner();
    }

    /// An exchange begins on a worker.
    fn begin(&self, worker: usize, known: Known) -> Open {
        let thread = worker + 1;
        let roots = &self.threads[thread].roots;
        let recorder = Rc::clone(&roots[roots.len() - 1].recorder);
        let host = self.host(thread, Known::default());
        let counted =
            (self.form == Form::Filter).then(|| Counted::start(&mut recorder.borrow_mut(), &host));
        Open {
            thread,
            http2: false,
            recorder,
            known,
            counted,
        }
    }

    /// An exchange is over: log, delete.
    fn finish(&mut self, mut open: Open, response_flags: i64, details: &str) {
        open.known.ended = Some(self.now());
        open.known.response_flags |= response_flags;
        if open.known.response_code_details.is_none() {
            open.known.response_code_details = Some(details.to_owned());
        }
        match self.form {
            Form::Filter => self.with(&mut open, |counted, recorder, host| {
                counted.on_log(recorder, host);
                counted.on_end(recorder, host);
            }),
            Form::AccessLogger => {
                let host = self.host(open.thread, std::mem::take(&mut open.known));
                exchange::on_access_log(&mut open.recorder.borrow_mut(), &host);
            }
        }
        drop(open);
        self.release_roots();
    }

    /// An exchange that the filter hears of only when it is over.
    fn answered_before(&mut self, worker: usize, headers: Option<Vec<Pair>>, status: u16) {
        let mut open = self.begin(worker, self.known(headers));
        set_response(&mut open.known, status, Vec::new());
        self.finish(open, 0, "fault_filter_abort");
    }
}

fn set_response(known: &mut Known, status: u16, headers: Vec<Pair>) {
    let mut pairs = vec![(b":status".to_vec(), status.to_string().into_bytes())];
    pairs.extend(headers);
    known.response_code = Some(i64::from(status));
    known
        .maps
        .insert(MapType::ResponseHeaders, HeaderMap::new(pairs));
}

fn broken(Failed(call): Failed) -> RunError {
    RunError::Broken(format!("the host call {} failed", call.as_str()))
}

impl Proxy for NativeProxy {
    fn clock(&self) -> Clock {
        Clock::Virtual
    }

    fn request(&mut self, id: ExchangeId, exchange: &Exchange) -> Result<(), RunError> {
        let mut pairs = exchange.request.pairs();
        if let Fate::BeforeFilter(Status(status)) = exchange.fate {
            self.answered_before(exchange.worker, Some(pairs), status);
            let headers = Vec::new();
            self.got.insert(id, Got { status, headers });
            return Ok(());
        }
        self.own.begins();
        let mut open = self.begin(exchange.worker, self.known(Some(pairs.clone())));
        open.http2 = exchange.request.http2;
        self.with(&mut open, Counted::on_request_headers);
        if let Some(path) = &exchange.request.rewritten {
            rewrite(&mut pairs, path);
            let headers = HeaderMap::new(pairs);
            open.known.maps.insert(MapType::RequestHeaders, headers);
        }
        self.open.insert(id, open);
        Ok(())
    }

    fn respond(
        &mut self,
        id: ExchangeId,
        Status(status): Status,
        headers: &[Pair],
    ) -> Result<(), RunError> {
        let Some(mut open) = self.open.remove(&id) else {
            return Ok(());
        };
        set_response(&mut open.known, status, headers.to_vec());
        self.with(&mut open, Counted::on_response_headers);
        let sent = open.known.maps.get(MapType::ResponseHeaders);
        let mut headers = sent.map_or_else(Vec::new, |sent| sent.pairs().to_vec());
        headers.retain(|(name, _)| name != b":status");
        self.got.insert(id, Got { status, headers });
        self.open.insert(id, open);
        Ok(())
    }

    fn body(
        &mut self,
        id: ExchangeId,
        direction: Direction,
        chunk: &[u8],
        _end: bool,
    ) -> Result<(), RunError> {
        // The filter does not look at bodies, but may ask for their sizes.
        if let Some(open) = self.open.get_mut(&id) {
            let bytes = match direction {
                Direction::Request => &mut open.known.request_bytes,
                Direction::Response => &mut open.known.response_bytes,
            };
            *bytes += chunk.len() as u64;
        }
        Ok(())
    }

    fn trailers(
        &mut self,
        id: ExchangeId,
        direction: Direction,
        trailers: &[Pair],
    ) -> Result<(), RunError> {
        if let Some(open) = self.open.get_mut(&id)
            && direction == Direction::Response
        {
            let trailers = HeaderMap::new(trailers.to_vec());
            open.known.maps.insert(MapType::ResponseTrailers, trailers);
        }
        Ok(())
    }

    fn redirect(
        &mut self,
        id: ExchangeId,
        Status(status): Status,
        path: &str,
    ) -> Result<(), RunError> {
        let Some(mut hop) = self.open.remove(&id) else {
            return Ok(());
        };
        let location = (b"location".to_vec(), path.as_bytes().to_vec());
        set_response(&mut hop.known, status, vec![location]);
        let mut headers = hop.known.maps.get(MapType::RequestHeaders).cloned();
        if let Some(headers) = &mut headers {
            headers.replace(b":path", path.as_bytes());
        }
        let pairs = headers.map(|headers| headers.pairs().to_vec());
        let (worker, http2) = (hop.thread - 1, hop.http2);
        self.finish(hop, 0, "internal_redirect");
        let mut next = self.begin(worker, self.known(pairs));
        next.http2 = http2;
        self.with(&mut next, Counted::on_request_headers);
        self.open.insert(id, next);
        Ok(())
    }

    fn end(&mut self, id: ExchangeId, end: &End) -> Result<(), RunError> {
        let Some(mut open) = self.open.remove(&id) else {
            return Ok(());
        };
        let (response_flags, details) = match end {
            End::Finished => (0, "via_upstream"),
            End::Aborted => (client_left(open.http2), "downstream_remote_disconnect"),
            End::Reset => (
                flags::UC,
                "upstream_reset_after_response_started{remote_reset}",
            ),
            End::LocalReply(reply) => {
                let headers = vec![(b"content-type".to_vec(), b"text/plain".to_vec())];
                let Status(status) = reply.status;
                set_response(&mut open.known, status, headers.clone());
                self.with(&mut open, Counted::on_response_headers);
                self.got.insert(id, Got { status, headers });
                let flag = reply.flag.map_or(0, |flag| flag.bit());
                (flag, reply.details.as_str())
            }
        };
        let status = open
            .known
            .response_code
            .and_then(|code| u16::try_from(code).ok());
        self.own.ends(status, end);
        self.finish(open, response_flags, details);
        Ok(())
    }

    fn malformed(&mut self, Status(status): Status, _sent: &[u8]) -> Result<(), RunError> {
        self.answered_before(0, None, status);
        Ok(())
    }

    fn unparsed(&mut self, _sent: &[u8]) -> Result<(), RunError> {
        match self.form {
            Form::Filter => self.own.loses_one(),
            Form::AccessLogger => {
                let open = self.begin(0, self.known(None));
                self.finish(open, flags::DPE, "");
            }
        }
        Ok(())
    }

    fn advance(&mut self, time: Duration) -> Result<(), RunError> {
        let end = self.now() + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let roots = self.threads.iter().flat_map(|thread| &thread.roots);
            let Some(due) = roots.map(|root| root.due).min().filter(|due| *due <= end) else {
                break;
            };
            self.move_to(due);
            self.tick_roots(|root| root.due <= due);
        }
        self.move_to(end);
        Ok(())
    }

    fn tick(&mut self) -> Result<(), RunError> {
        self.tick_roots(|_| true);
        Ok(())
    }

    fn reconfigure(&mut self, config: &Config) -> Result<(), RunError> {
        if *config == self.config {
            return Ok(());
        }
        self.configure(config)
    }

    fn page(&mut self, _fits: &mut dyn FnMut(&Page) -> bool) -> Result<Page, RunError> {
        self.tick()?;
        let stats = self.process.borrow().stats.clone();
        let text = stats::page(&stats, &self.own, self.service.as_deref(), self.format)?;
        Page::parse(&text).map_err(|error| RunError::Broken(error.to_string()))
    }

    fn got(&self, id: ExchangeId) -> Option<Got> {
        self.got.get(&id).cloned()
    }

    fn log(&self) -> Vec<String> {
        self.log.clone()
    }
}

impl NativeProxy {
    fn move_to(&self, time: u64) {
        let step = Duration::from_nanos(time - self.now());
        self.process.borrow_mut().advance(step);
    }

    fn tick_roots(&mut self, is_due: impl Fn(&Root) -> bool) {
        let now = self.now();
        for thread in 0..self.threads.len() {
            let host = self.host(thread, Known::default());
            for root in &mut self.threads[thread].roots {
                if is_due(root) {
                    root.recorder.borrow_mut().tick(&host);
                    root.due = now + root.period;
                }
            }
        }
    }
}
