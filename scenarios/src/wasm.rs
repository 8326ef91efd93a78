//! A scenario on the module, under wasmtime: every verb becomes the callbacks
//! that Envoy would make, in Envoy's order.

use std::collections::BTreeMap;
use std::time::Duration;

use gatemeter_bridge::exposition::Format;
use gatemeter_host_tests::scenario::{FailurePolicy, flags};
use gatemeter_host_tests::{AccessLog, Envoy, Module, NO_HEADERS, Request, Stream};

use crate::expect::Got;
use crate::page::{Clock, Page};
use crate::proxy::{Proxy, RunError};
use crate::scenario::{Config, Direction, End, Exchange, ExchangeId, Fate, Form, Scenario, Status};
use crate::stats::{self, EnvoyStats};
use crate::text::Pair;

/// A proxy that runs the module.
#[derive(Debug)]
pub struct WasmProxy {
    envoy: Envoy,
    form: Form,
    service: Option<String>,
    format: Format,
    own: EnvoyStats,
    elapsed: Duration,
    open: BTreeMap<ExchangeId, Open>,
    got: BTreeMap<ExchangeId, Got>,
}

/// An exchange that is not over.
#[derive(Debug)]
struct Open {
    worker: usize,
    http2: bool,
    began: Duration,
    request: Vec<Pair>,
    response: Option<(u16, Vec<Pair>)>,
    /// None for the access logger, which hears of an exchange at its end.
    stream: Option<Stream>,
}

impl WasmProxy {
    /// A proxy with the configuration of `scenario`; its page is printed in
    /// `format`.
    ///
    /// # Errors
    /// Where the module refuses the configuration or traps.
    pub fn start(module: Module, scenario: &Scenario, format: Format) -> Result<Self, RunError> {
        let service = scenario.config.service();
        let envoy = Envoy::new(module)
            .workers(scenario.workers)
            .vm_id(service.as_deref().unwrap_or("vm"))
            .failure_policy(FailurePolicy::FailOpen)
            .configure(scenario.config.bytes())
            .map_err(refused)?;
        Ok(Self {
            envoy,
            form: scenario.form,
            service,
            format,
            own: EnvoyStats::default(),
            elapsed: Duration::ZERO,
            open: BTreeMap::new(),
            got: BTreeMap::new(),
        })
    }

    /// A trap ends the run: what comes after it would prove nothing.
    fn trapped(&self) -> Result<(), RunError> {
        match self.envoy.traps().first() {
            None => Ok(()),
            Some(trap) => {
                let mut text = trap.to_string();
                let logs = self.envoy.logs();
                for line in logs.iter().skip(logs.len().saturating_sub(5)) {
                    text.push_str(&format!("\n  {line}"));
                }
                Err(RunError::Broken(text))
            }
        }
    }

    fn stream(&self, id: ExchangeId) -> Option<&Stream> {
        self.open.get(&id)?.stream.as_ref()
    }

    /// The access logger hears of an exchange, or of one hop of it.
    fn log_access(&self, open: &Open, response_flags: i64, details: Option<&str>) {
        let mut log = AccessLog::of(Request::from(open.request.clone()))
            .duration(self.elapsed.saturating_sub(open.began))
            .flags(response_flags);
        if let Some((status, headers)) = &open.response {
            log = log.response(*status, headers.clone());
        }
        if let Some(details) = details {
            log = log.details(details);
        }
        self.envoy.worker(open.worker).access_log(log);
    }
}

fn refused(refused: gatemeter_host_tests::scenario::Refused) -> RunError {
    if refused.trap.is_some() {
        return RunError::Broken(refused.to_string());
    }
    let lines: Vec<String> = refused.log.into_iter().map(|line| line.message).collect();
    RunError::Refused(lines.join("\n"))
}

impl Proxy for WasmProxy {
    fn clock(&self) -> Clock {
        Clock::Virtual
    }

    fn request(&mut self, id: ExchangeId, exchange: &Exchange) -> Result<(), RunError> {
        let worker = self.envoy.worker(exchange.worker);
        let mut pairs = exchange.request.pairs();
        if let Fate::BeforeFilter(Status(status)) = exchange.fate {
            match self.form {
                Form::Filter => worker.answer_before_filter(pairs, status, NO_HEADERS),
                Form::AccessLogger => {
                    let log = AccessLog::of(Request::from(pairs));
                    worker.access_log(
                        log.response(status, NO_HEADERS)
                            .details("fault_filter_abort"),
                    );
                }
            }
            let headers = Vec::new();
            self.got.insert(id, Got { status, headers });
            return self.trapped();
        }
        self.own.begins();
        let stream = (self.form == Form::Filter).then(|| {
            let mut request = Request::from(pairs.clone());
            if exchange.request.has_body {
                request = request.with_body();
            }
            worker.request(request)
        });
        if let Some(path) = &exchange.request.rewritten {
            if let Some(stream) = &stream {
                stream.rewrite_path(path);
            }
            rewrite(&mut pairs, path);
        }
        let open = Open {
            worker: exchange.worker,
            http2: exchange.request.http2,
            began: self.elapsed,
            request: pairs,
            response: None,
            stream,
        };
        self.open.insert(id, open);
        self.trapped()
    }

    fn respond(
        &mut self,
        id: ExchangeId,
        Status(status): Status,
        headers: &[Pair],
    ) -> Result<(), RunError> {
        let Some(open) = self.open.get_mut(&id) else {
            return Ok(());
        };
        open.response = Some((status, headers.to_vec()));
        let headers = match &open.stream {
            None => headers.to_vec(),
            Some(stream) => {
                stream.respond(status, headers.to_vec());
                let mut sent = stream.response_headers_sent();
                sent.retain(|(name, _)| name != b":status");
                sent
            }
        };
        self.got.insert(id, Got { status, headers });
        self.trapped()
    }

    fn body(
        &mut self,
        id: ExchangeId,
        direction: Direction,
        chunk: &[u8],
        end: bool,
    ) -> Result<(), RunError> {
        if let Some(stream) = self.stream(id) {
            match direction {
                Direction::Request => stream.request_body(chunk, end),
                Direction::Response => stream.response_body(chunk, end),
            };
        }
        self.trapped()
    }

    fn trailers(
        &mut self,
        id: ExchangeId,
        direction: Direction,
        trailers: &[Pair],
    ) -> Result<(), RunError> {
        if let Some(stream) = self.stream(id) {
            match direction {
                Direction::Request => stream.request_trailers(trailers.to_vec()),
                Direction::Response => stream.response_trailers(trailers.to_vec()),
            }
        }
        self.trapped()
    }

    fn redirect(
        &mut self,
        id: ExchangeId,
        Status(status): Status,
        path: &str,
    ) -> Result<(), RunError> {
        let Some(mut open) = self.open.remove(&id) else {
            return Ok(());
        };
        match open.stream.take() {
            Some(hop) => open.stream = Some(hop.redirect_internally(status, path)),
            None => {
                let location = (b"location".to_vec(), path.as_bytes().to_vec());
                open.response = Some((status, vec![location]));
                self.log_access(&open, 0, Some("internal_redirect"));
                open.response = None;
            }
        }
        for (name, value) in &mut open.request {
            if name == b":path" {
                *value = path.as_bytes().to_vec();
            }
        }
        self.open.insert(id, open);
        self.trapped()
    }

    fn end(&mut self, id: ExchangeId, end: &End) -> Result<(), RunError> {
        let Some(mut open) = self.open.remove(&id) else {
            return Ok(());
        };
        let (response_flags, details) = match end {
            End::Finished => (0, Some("via_upstream")),
            End::Aborted => (client_left(open.http2), None),
            End::Reset => (flags::UC, None),
            End::LocalReply(reply) => {
                let headers = vec![(b"content-type".to_vec(), b"text/plain".to_vec())];
                let Status(status) = reply.status;
                open.response = Some((status, headers.clone()));
                self.got.insert(id, Got { status, headers });
                let flag = reply.flag.map_or(0, |flag| flag.bit());
                (flag, Some(reply.details.as_str()))
            }
        };
        match (&open.stream, end) {
            (None, _) => self.log_access(&open, response_flags, details),
            (Some(stream), End::Finished) => stream.finish(),
            (Some(stream), End::Aborted | End::Reset) => stream.reset(response_flags),
            (Some(stream), End::LocalReply(reply)) => {
                stream.local_reply(reply.status.0, response_flags, &reply.details);
            }
        }
        let status = open.response.as_ref().map(|(status, _)| *status);
        self.own.ends(status, end);
        self.trapped()
    }

    fn malformed(&mut self, Status(status): Status, _sent: &[u8]) -> Result<(), RunError> {
        let worker = self.envoy.worker(0);
        let request = Request::without_headers();
        match self.form {
            Form::Filter => worker.answer_before_filter(request, status, NO_HEADERS),
            Form::AccessLogger => {
                worker.access_log(AccessLog::of(request).response(status, NO_HEADERS));
            }
        }
        self.trapped()
    }

    fn unparsed(&mut self, _sent: &[u8]) -> Result<(), RunError> {
        match self.form {
            Form::Filter => self.own.loses_one(),
            Form::AccessLogger => self.envoy.worker(0).access_log_unparsed(),
        }
        self.trapped()
    }

    fn advance(&mut self, time: Duration) -> Result<(), RunError> {
        self.envoy.advance(time);
        self.elapsed += time;
        self.trapped()
    }

    fn tick(&mut self) -> Result<(), RunError> {
        self.envoy.tick();
        self.trapped()
    }

    fn reconfigure(&mut self, config: &Config) -> Result<(), RunError> {
        self.envoy.reconfigure(config.bytes()).map_err(refused)
    }

    fn page(&mut self, _fits: &mut dyn FnMut(&Page) -> bool) -> Result<Page, RunError> {
        self.tick()?;
        let stats = self.envoy.stats();
        let text = stats::page(&stats, &self.own, self.service.as_deref(), self.format)?;
        Page::parse(&text).map_err(|error| RunError::Broken(error.to_string()))
    }

    fn got(&self, id: ExchangeId) -> Option<Got> {
        self.got.get(&id).cloned()
    }

    fn log(&self) -> Vec<String> {
        self.envoy
            .logs()
            .into_iter()
            .map(|line| line.message)
            .collect()
    }
}

/// The flag of a client that went away: HTTP/1 can only close its connection,
/// HTTP/2 resets the stream.
pub(crate) const fn client_left(http2: bool) -> i64 {
    if http2 { flags::DR } else { flags::DC }
}

/// What a route's rewrite leaves of the request headers.
pub(crate) fn rewrite(pairs: &mut Vec<Pair>, path: &str) {
    let Some((_, value)) = pairs.iter_mut().find(|(name, _)| name == b":path") else {
        return;
    };
    let original = std::mem::replace(value, path.as_bytes().to_vec());
    pairs.push((b"x-envoy-original-path".to_vec(), original));
}
