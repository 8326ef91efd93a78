//! What a virtual machine answers to host calls.

use std::borrow::Cow;
use std::time::Duration;

use super::super::context::{After, Tick};
use super::super::flow::Half;
use super::super::headers::HeaderMap;
use super::super::process::LogLine;
use super::VmState;
use crate::abi::host::{ForeignFunction, Host, LocalResponse};
use crate::abi::pairs::Pair;
use crate::abi::{BufferType, LogLevel, MapType, MetricType, Status, StreamType};

/// What a WASI function answers that is no capability: `ENOTCAPABLE`.
const NOT_CAPABLE: Status = Status(76);

impl Host for VmState {
    fn admit(&mut self, call: &'static str) -> wasmtime::Result<Option<Status>> {
        if let Some(restriction) = self.restriction
            && !restriction.allows(call)
        {
            let message = format!("{call} is not allowed while {restriction:?}");
            return Err(wasmtime::Error::msg(message));
        }
        self.cost.count_host_call(call);
        self.lie = None;
        if !self.settings.allows(call) {
            return Ok(Some(match call.starts_with("proxy_") {
                true => Status::INTERNAL_FAILURE,
                false => NOT_CAPABLE,
            }));
        }
        let interruption = {
            let mut process = self.process.borrow_mut();
            process.count_call(call);
            if process.is_undisturbed() {
                return Ok(None);
            }
            process.interruption(call)
        };
        if let Some(run) = interruption {
            run();
        }
        let (fault, lie) = self.process.borrow_mut().befalls(self.thread, call);
        self.lie = lie;
        Ok(fault)
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
                let plugin = self.configuring.as_ref().ok_or(Status::NOT_FOUND)?;
                Ok(plugin.configuration.clone())
            }
            BufferType::HttpCallResponseBody | BufferType::GrpcReceiveBuffer => {
                self.received_buffer(kind)
            }
            BufferType::CallData => Ok(self.call_data.clone()),
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
        // Envoy can replace at the beginning, or append, nothing else
        // (`source/extensions/common/wasm/context.cc`, `Buffer::copyFrom`).
        if start == 0 {
            body.splice(..length.min(body.len()), data.iter().copied());
        } else if start >= body.len() {
            body.extend_from_slice(data);
        } else {
            return Err(Status::BAD_ARGUMENT);
        }
        Ok(())
    }

    fn map(&mut self, map: MapType) -> Result<Cow<'_, [Pair]>, Status> {
        let headers = match self.received_map(map) {
            Some(_) => self.received_map(map),
            None => self.exchange().and_then(|exchange| exchange.readable(map)),
        };
        Ok(headers.map_or(Cow::Borrowed(&[]), |headers| headers.pairs().into()))
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
        if let Some(headers) = self.received_map(map) {
            return Ok(headers.first(name).ok_or(Status::NOT_FOUND)?.to_vec());
        }
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
            b"plugin_name" | b"plugin_root_id" => {
                let plugin = self.plugin().ok_or(Status::NOT_FOUND)?;
                let text = match path {
                    b"plugin_name" => &plugin.name,
                    _ => &plugin.root_id,
                };
                Ok(text.clone().into_bytes())
            }
            b"plugin_vm_id" => Ok(self.settings.vm_id.clone().into_bytes()),
            _ => {
                let context = self.context().ok_or(Status::NOT_FOUND)?;
                match (&context.exchange, &context.connection) {
                    (Some(exchange), _) => exchange.attribute(path),
                    (None, Some(connection)) => connection.attribute(path),
                    (None, None) => Err(Status::NOT_FOUND),
                }
            }
        }
    }

    fn set_property(&mut self, path: &[u8], value: &[u8]) -> Result<(), Status> {
        let context = self.context().ok_or(Status::NOT_FOUND)?;
        let set = match (&mut context.exchange, &mut context.connection) {
            (Some(exchange), _) => &mut exchange.filter_state,
            (None, Some(connection)) => &mut connection.attributes,
            (None, None) => return Err(Status::NOT_FOUND),
        };
        set.insert(path.to_vec(), value.to_vec());
        Ok(())
    }

    fn continue_stream(&mut self, stream: StreamType) -> Result<(), Status> {
        let half = match stream {
            StreamType::Request => Half::Request,
            StreamType::Response => Half::Response,
            StreamType::Downstream => {
                let id = self.meant();
                self.after.push_back(After::ContinueReading(id));
                return Ok(());
            }
            StreamType::Upstream => return Err(Status::UNIMPLEMENTED),
        };
        let id = self.meant();
        if let Some(exchange) = self.exchange() {
            // Envoy closes the maps of the request, whichever half goes on.
            exchange.open.remove(MapType::RequestHeaders);
            exchange.open.remove(MapType::RequestTrailers);
            self.after.push_back(After::Continue(id, half));
        }
        Ok(())
    }

    fn close_stream(&mut self, stream: StreamType) -> Result<(), Status> {
        let id = self.meant();
        match stream {
            StreamType::Request | StreamType::Response if self.exchange().is_some() => {
                self.after.push_back(After::Close(id));
            }
            // Either side is the connection with the client.
            StreamType::Downstream | StreamType::Upstream => {
                self.after.push_back(After::CloseConnection(id));
            }
            _ => {}
        }
        Ok(())
    }

    fn send_local_response(&mut self, response: LocalResponse) {
        let id = self.meant();
        if self.exchange().is_some() {
            self.after.push_back(After::Reply(id, response));
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
        let root = self.meant();
        self.after.push_back(After::DeleteRoot(root));
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
        self.register_own_queue(name)
    }

    fn resolve_queue(&mut self, vm_id: &[u8], name: &[u8]) -> Result<u32, Status> {
        let own = self.settings.vm_id.as_bytes();
        let vm_id = if vm_id.is_empty() { own } else { vm_id };
        self.process.borrow().queues.resolve(vm_id, name)
    }

    fn enqueue(&mut self, queue: u32, value: &[u8]) -> Result<(), Status> {
        self.process.borrow_mut().queues.enqueue(queue, value)
    }

    fn dequeue(&mut self, queue: u32) -> Result<Vec<u8>, Status> {
        self.process.borrow_mut().queues.dequeue(queue)
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

    fn http_call(
        &mut self,
        cluster: &[u8],
        headers: Vec<Pair>,
        body: Vec<u8>,
        trailers: Vec<Pair>,
        milliseconds: u32,
    ) -> Result<u32, Status> {
        self.start_http_call(cluster, headers, body, trailers, milliseconds)
    }

    fn grpc_call(
        &mut self,
        service: &[u8],
        name: &[u8],
        method: &[u8],
        metadata: Vec<Pair>,
        message: Option<(Vec<u8>, u32)>,
    ) -> Result<u32, Status> {
        self.start_grpc(service, name, method, metadata, message)
    }

    fn grpc_send(&mut self, token: u32, message: Vec<u8>, end: bool) -> Result<(), Status> {
        self.send_on_grpc_stream(token, message, end)
    }

    fn grpc_cancel(&mut self, token: u32) -> Result<(), Status> {
        self.cancel_grpc(token)
    }

    fn grpc_close(&mut self, token: u32) -> Result<(), Status> {
        self.close_grpc(token)
    }

    fn status(&self) -> (u32, Vec<u8>) {
        self.call_status()
    }

    fn foreign_function(&mut self, name: &[u8]) -> Option<ForeignFunction> {
        self.process.borrow().foreign_functions.get(name)
    }

    fn environment(&self) -> Vec<(String, String)> {
        self.settings.environment.clone()
    }

    fn fill_random(&mut self, bytes: &mut [u8]) {
        self.process.borrow_mut().fill_random(bytes);
    }
}
