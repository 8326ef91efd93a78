//! The data of one virtual machine, and what it answers to host calls: the
//! behaviour of Envoy 1.40, phase by phase.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::cost::Cost;
use super::exchange::Exchange;
use super::headers::HeaderMap;
use super::process::{LogLine, Process, Thread};
use crate::abi::host::{Host, LocalResponse};
use crate::abi::pairs::Pair;
use crate::abi::{BufferType, LogLevel, MapType, MetricType, Status, StreamType};
use crate::memory::Observer;
use crate::stats::MetricIds;

/// What a virtual machine and its plugin are called and given.
#[derive(Debug, Clone, Default)]
pub struct VmSettings {
    /// The id under which virtual machines share data.
    pub vm_id: String,
    /// The configuration of the virtual machine.
    pub vm_configuration: Vec<u8>,
    /// The name of the plugin.
    pub plugin_name: String,
    /// The id of the root context, for modules with several plugins.
    pub root_id: String,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
}

/// A root or stream context inside a virtual machine.
#[derive(Debug, Default)]
pub struct Context {
    /// The root of a stream context; 0 for a root.
    pub root: u32,
    /// Whether the module has been told of it.
    pub created: bool,
    /// The exchange that the context sees: a stream always has one, a root
    /// while it logs one.
    pub exchange: Option<Exchange>,
    /// For a root: its timer.
    pub tick: Option<Tick>,
    /// For a root: the open streams under it.
    pub streams: u32,
    /// For a root: nothing new comes to it; it ends with its last stream.
    pub released: bool,
    /// For a root: its done callback wants to be asked again.
    pub done_pending: bool,
    /// For a root: it said that it is done, and is to be deleted.
    pub delete_pending: bool,
}

/// A timer, in nanoseconds of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Time between two ticks.
    pub period: u64,
    /// When the next one is due.
    pub due: u64,
}

/// The time in which a module may call few host functions only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// While it initialises.
    Initializing,
    /// While it allocates memory for the host.
    Allocating,
}

impl Restriction {
    fn allows(self, call: &str) -> bool {
        match self {
            // Envoy lists nearly all of WASI here.
            Self::Initializing => call == "proxy_log" || !call.starts_with("proxy_"),
            Self::Allocating => {
                ["proxy_log", "fd_write", "clock_time_get", "poll_oneoff"].contains(&call)
            }
        }
    }
}

/// The data of one virtual machine.
#[derive(Debug)]
pub struct VmState {
    /// What it shares with the others.
    pub process: Rc<RefCell<Process>>,
    /// The thread it belongs to.
    pub thread: Thread,
    /// Its names and environment.
    pub settings: VmSettings,
    /// Its contexts by id.
    pub contexts: BTreeMap<u32, Context>,
    /// The context whose callback runs; 0 for none.
    pub current: u32,
    /// The context that the module chose to speak for; 0 for none.
    pub effective: u32,
    /// The plugin configuration, while it can be read.
    pub plugin_configuration: Option<Vec<u8>>,
    /// Set while only few host calls are allowed.
    pub restriction: Option<Restriction>,
    /// What was spent so far.
    pub cost: Cost,
    /// The metric ids given out.
    pub metric_ids: MetricIds,
    allocating: Option<(Option<Restriction>, u64)>,
    next_context: u32,
}

impl VmState {
    /// A virtual machine without contexts.
    #[must_use]
    pub fn new(process: Rc<RefCell<Process>>, thread: Thread, settings: VmSettings) -> Self {
        Self {
            process,
            thread,
            settings,
            contexts: BTreeMap::new(),
            current: 0,
            effective: 0,
            plugin_configuration: None,
            restriction: None,
            cost: Cost::default(),
            metric_ids: MetricIds::default(),
            allocating: None,
            next_context: 1,
        }
    }

    /// Adds a context and gives its id. Ids are never used twice.
    pub fn add_context(&mut self, context: Context) -> u32 {
        let id = self.next_context;
        self.next_context += 1;
        self.contexts.insert(id, context);
        id
    }

    /// The context that a host call means.
    fn context(&mut self) -> Option<&mut Context> {
        let id = match self.effective {
            0 => self.current,
            id if self.contexts.contains_key(&id) => id,
            _ => self.current,
        };
        self.contexts.get_mut(&id)
    }

    fn exchange(&mut self) -> Option<&mut Exchange> {
        self.context()?.exchange.as_mut()
    }

    fn writable(&mut self, map: MapType) -> Result<&mut HeaderMap, Status> {
        self.exchange().ok_or(Status::BAD_ARGUMENT)?.writable(map)
    }

    fn body(&mut self, kind: BufferType) -> Option<&mut Option<Vec<u8>>> {
        let exchange = self.exchange()?;
        match kind {
            BufferType::RequestBody => Some(&mut exchange.request_body),
            BufferType::ResponseBody => Some(&mut exchange.response_body),
            _ => None,
        }
    }
}

impl Observer for VmState {
    fn allocation_begins(&mut self, fuel: u64) {
        self.allocating = Some((self.restriction, fuel));
        self.restriction = Some(Restriction::Allocating);
    }

    fn allocation_ends(&mut self, fuel: u64) {
        if let Some((restriction, before)) = self.allocating.take() {
            self.restriction = restriction;
            self.cost.allocations.calls += 1;
            self.cost.allocations.fuel += before.saturating_sub(fuel);
        }
    }

    fn read(&mut self, bytes: usize) {
        self.cost.bytes_read += bytes as u64;
    }

    fn written(&mut self, bytes: usize) {
        self.cost.bytes_written += bytes as u64;
    }
}

impl Host for VmState {
    fn admit(&mut self, call: &'static str) -> wasmtime::Result<Option<Status>> {
        if let Some(restriction) = self.restriction
            && !restriction.allows(call)
        {
            let message = format!("{call} is not allowed while {restriction:?}");
            return Err(wasmtime::Error::msg(message));
        }
        self.cost.count_host_call(call);
        let interruption = self.process.borrow_mut().interruption(call);
        if let Some(run) = interruption {
            run();
        }
        Ok(self.process.borrow_mut().fault(call))
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        self.process.borrow_mut().log.push(LogLine {
            thread: self.thread,
            level,
            message: String::from_utf8_lossy(message).into_owned(),
        });
    }

    fn log_level(&self) -> LogLevel {
        self.process.borrow().log_level
    }

    fn wall_clock_nanoseconds(&self) -> u64 {
        self.process.borrow().wall_clock()
    }

    fn monotonic_nanoseconds(&self) -> u64 {
        self.process.borrow().monotonic()
    }

    fn set_tick_period(&mut self, period: Duration) {
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let due = self.monotonic_nanoseconds().saturating_add(period);
        let tick = (period > 0).then_some(Tick { period, due });
        // The timer belongs to the root, also where a stream sets it.
        let root = match self.context() {
            Some(context) if context.root == 0 => {
                context.tick = tick;
                return;
            }
            Some(context) => context.root,
            None => return,
        };
        if let Some(context) = self.contexts.get_mut(&root) {
            context.tick = tick;
        }
    }

    fn buffer(&mut self, kind: BufferType) -> Result<Vec<u8>, Status> {
        match kind {
            BufferType::VmConfiguration => Ok(self.settings.vm_configuration.clone()),
            BufferType::PluginConfiguration => {
                self.plugin_configuration.clone().ok_or(Status::NOT_FOUND)
            }
            BufferType::HttpCallResponseBody => Err(Status::NOT_FOUND),
            _ => Ok(self
                .body(kind)
                .and_then(|body| body.clone())
                .unwrap_or_default()),
        }
    }

    fn set_buffer(
        &mut self,
        kind: BufferType,
        start: usize,
        length: usize,
        data: &[u8],
    ) -> Result<(), Status> {
        let body = self
            .body(kind)
            .and_then(Option::as_mut)
            .ok_or(Status::BAD_ARGUMENT)?;
        // Envoy can put before, replace all, or append, nothing else.
        match (start, length) {
            (0, 0) => {
                body.splice(0..0, data.iter().copied());
            }
            (0, length) if length >= body.len() => *body = data.to_vec(),
            (start, _) if start > 0 && start >= body.len() => body.extend_from_slice(data),
            _ => return Err(Status::BAD_ARGUMENT),
        }
        Ok(())
    }

    fn map(&mut self, map: MapType) -> Result<Vec<Pair>, Status> {
        let headers = self.exchange().and_then(|exchange| exchange.readable(map));
        Ok(headers
            .map(|headers| headers.pairs().to_vec())
            .unwrap_or_default())
    }

    fn set_map(&mut self, map: MapType, pairs: Vec<Pair>) -> Result<(), Status> {
        *self.writable(map)? = HeaderMap::new(pairs);
        Ok(())
    }

    fn map_size(&mut self, map: MapType) -> Result<u32, Status> {
        let size = self.writable(map)?.byte_size();
        u32::try_from(size).map_err(|_| Status::INTERNAL_FAILURE)
    }

    fn header(&mut self, map: MapType, name: &[u8]) -> Result<Vec<u8>, Status> {
        let exchange = self.exchange().ok_or(Status::BAD_ARGUMENT)?;
        match exchange.readable(map) {
            Some(headers) => Ok(headers.first(name).ok_or(Status::NOT_FOUND)?.to_vec()),
            None if exchange.log_phase => Err(Status::NOT_FOUND),
            None => Err(Status::BAD_ARGUMENT),
        }
    }

    fn add_header(&mut self, map: MapType, name: &[u8], value: &[u8]) -> Result<(), Status> {
        self.writable(map)?.add(name, value);
        Ok(())
    }

    fn replace_header(&mut self, map: MapType, name: &[u8], value: &[u8]) -> Result<(), Status> {
        self.writable(map)?.replace(name, value);
        Ok(())
    }

    fn remove_header(&mut self, map: MapType, name: &[u8]) -> Result<(), Status> {
        self.writable(map)?.remove(name);
        Ok(())
    }

    fn property(&mut self, path: &[u8]) -> Result<Vec<u8>, Status> {
        match path {
            b"" => Err(Status::SERIALIZATION_FAILURE),
            b"plugin_name" => Ok(self.settings.plugin_name.clone().into_bytes()),
            b"plugin_root_id" => Ok(self.settings.root_id.clone().into_bytes()),
            b"plugin_vm_id" => Ok(self.settings.vm_id.clone().into_bytes()),
            _ => self.exchange().ok_or(Status::NOT_FOUND)?.attribute(path),
        }
    }

    fn set_property(&mut self, path: &[u8], value: &[u8]) -> Result<(), Status> {
        let exchange = self.exchange().ok_or(Status::NOT_FOUND)?;
        exchange.filter_state.insert(path.to_vec(), value.to_vec());
        Ok(())
    }

    fn continue_stream(&mut self, stream: StreamType) -> Result<(), Status> {
        match stream {
            StreamType::Request | StreamType::Response => {
                if let Some(exchange) = self.exchange() {
                    exchange.paused = false;
                    exchange.open.remove(&MapType::RequestHeaders);
                    exchange.open.remove(&MapType::RequestTrailers);
                }
                Ok(())
            }
            StreamType::Downstream => Ok(()),
            StreamType::Upstream => Err(Status::UNIMPLEMENTED),
        }
    }

    fn close_stream(&mut self, stream: StreamType) -> Result<(), Status> {
        if let (StreamType::Request | StreamType::Response, Some(exchange)) =
            (stream, self.exchange())
        {
            exchange.closed = true;
        }
        Ok(())
    }

    fn send_local_response(&mut self, response: LocalResponse) {
        if let Some(exchange) = self.exchange() {
            exchange.local_response = Some(response);
        }
    }

    fn set_effective_context(&mut self, context: u32) -> Result<(), Status> {
        if context != 0 && !self.contexts.contains_key(&context) {
            return Err(Status::BAD_ARGUMENT);
        }
        self.effective = context;
        Ok(())
    }

    fn done(&mut self) -> Result<(), Status> {
        let context = self.context().ok_or(Status::NOT_FOUND)?;
        if !context.done_pending {
            return Err(Status::NOT_FOUND);
        }
        context.done_pending = false;
        context.delete_pending = true;
        Ok(())
    }

    fn shared_data(&mut self, key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
        let process = self.process.borrow();
        process.shared_data(self.settings.vm_id.as_bytes(), key)
    }

    fn set_shared_data(&mut self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        let mut process = self.process.borrow_mut();
        process.set_shared_data(self.settings.vm_id.as_bytes(), key, value, cas)
    }

    fn register_queue(&mut self, name: &[u8]) -> u32 {
        let mut process = self.process.borrow_mut();
        process.register_queue(self.settings.vm_id.as_bytes(), name)
    }

    fn resolve_queue(&mut self, vm_id: &[u8], name: &[u8]) -> Result<u32, Status> {
        let own = self.settings.vm_id.as_bytes();
        let vm_id = if vm_id.is_empty() { own } else { vm_id };
        self.process.borrow().resolve_queue(vm_id, name)
    }

    fn enqueue(&mut self, queue: u32, value: &[u8]) -> Result<(), Status> {
        self.process
            .borrow_mut()
            .queue(queue)?
            .push_back(value.to_vec());
        Ok(())
    }

    fn dequeue(&mut self, queue: u32) -> Result<Vec<u8>, Status> {
        let mut process = self.process.borrow_mut();
        process.queue(queue)?.pop_front().ok_or(Status::EMPTY)
    }

    fn define_metric(&mut self, kind: MetricType, name: &[u8]) -> u32 {
        // Envoy takes every byte; a test looks for text.
        let name = String::from_utf8_lossy(name);
        let mut process = self.process.borrow_mut();
        process.stats.define(&mut self.metric_ids, kind, &name)
    }

    fn increment_metric(&mut self, metric: u32, offset: i64) -> Result<(), Status> {
        let mut process = self.process.borrow_mut();
        process.stats.increment(&self.metric_ids, metric, offset)
    }

    fn record_metric(&mut self, metric: u32, value: u64) -> Result<(), Status> {
        let mut process = self.process.borrow_mut();
        process.stats.record(&self.metric_ids, metric, value)
    }

    fn metric(&mut self, metric: u32) -> Result<u64, Status> {
        self.process.borrow().stats.value(&self.metric_ids, metric)
    }

    fn http_call(&mut self, _cluster: &[u8]) -> Result<u32, Status> {
        Err(Status::BAD_ARGUMENT)
    }

    fn grpc_call(&mut self, _service: &[u8]) -> Result<u32, Status> {
        Err(Status::PARSE_FAILURE)
    }

    fn grpc_send(&mut self, token: u32) -> Result<(), Status> {
        // The two low bits of a token say what it is for: 2 is a stream.
        match token & 3 {
            2 => Err(Status::NOT_FOUND),
            _ => Err(Status::BAD_ARGUMENT),
        }
    }

    fn grpc_end(&mut self, token: u32) -> Result<(), Status> {
        match token & 3 {
            1 | 2 => Err(Status::NOT_FOUND),
            _ => Err(Status::BAD_ARGUMENT),
        }
    }

    fn call_foreign_function(&mut self, _name: &[u8]) -> Result<Vec<u8>, Status> {
        Err(Status::NOT_FOUND)
    }

    fn environment(&self) -> Vec<(String, String)> {
        self.settings.environment.clone()
    }

    fn fill_random(&mut self, bytes: &mut [u8]) {
        self.process.borrow_mut().fill_random(bytes);
    }
}
