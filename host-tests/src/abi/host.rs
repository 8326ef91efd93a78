//! What a host does for a module, in values: one method for each function of
//! `env`, without pointers and sizes. [`super::imports`] calls
//! them.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use super::pairs::Pair;
use super::{BufferType, LogLevel, MapType, MetricType, Status, StreamType};
use crate::memory::Observer;

/// A response that a plugin sends itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalResponse {
    /// The status code, as the plugin gave it.
    pub status: u32,
    /// Envoy's `response.code_details`.
    pub details: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
    /// Headers beside those that Envoy adds.
    pub headers: Vec<Pair>,
    /// The gRPC status, -1 for none.
    pub grpc_status: i32,
}

/// What a function that a plugin calls by name does: arguments in, result or
/// status out.
pub type ForeignFunction = Rc<dyn Fn(&[u8]) -> Result<Vec<u8>, Status>>;

/// What a host does, in values. Each method is the call of the same name; an
/// `Err` is the status that the module gets.
#[expect(missing_docs, reason = "the specification documents each call")]
pub trait Host: Observer {
    /// Called before each import, with its name: counts it, and may answer in
    /// its place (`Some`) or refuse it.
    ///
    /// # Errors
    ///
    /// An error traps the module: the call is not allowed now.
    fn admit(&mut self, call: &'static str) -> wasmtime::Result<Option<Status>>;

    fn log(&mut self, level: LogLevel, message: &[u8]);
    fn log_level(&self) -> LogLevel;

    fn wall_clock_nanoseconds(&self) -> u64;
    fn monotonic_nanoseconds(&self) -> u64;
    fn set_tick_period(&mut self, period: Duration);

    fn buffer(&mut self, kind: BufferType) -> Result<Vec<u8>, Status>;
    fn set_buffer(
        &mut self,
        kind: BufferType,
        start: usize,
        length: usize,
        data: &[u8],
    ) -> Result<(), Status>;

    fn map(&mut self, map: MapType) -> Result<Cow<'_, [Pair]>, Status>;
    fn set_map(&mut self, map: MapType, pairs: Vec<Pair>) -> Result<(), Status>;
    fn map_size(&mut self, map: MapType) -> Result<u32, Status>;
    fn header(&mut self, map: MapType, name: &[u8]) -> Result<Vec<u8>, Status>;
    fn add_header(&mut self, map: MapType, name: &[u8], value: &[u8]) -> Result<(), Status>;
    fn replace_header(&mut self, map: MapType, name: &[u8], value: &[u8]) -> Result<(), Status>;
    fn remove_header(&mut self, map: MapType, name: &[u8]) -> Result<(), Status>;

    fn property(&mut self, path: &[u8]) -> Result<Vec<u8>, Status>;
    fn set_property(&mut self, path: &[u8], value: &[u8]) -> Result<(), Status>;

    fn continue_stream(&mut self, stream: StreamType) -> Result<(), Status>;
    fn close_stream(&mut self, stream: StreamType) -> Result<(), Status>;
    fn send_local_response(&mut self, response: LocalResponse);
    fn set_effective_context(&mut self, context: u32) -> Result<(), Status>;
    fn done(&mut self) -> Result<(), Status>;

    fn shared_data(&mut self, key: &[u8]) -> Result<(Vec<u8>, u32), Status>;
    fn set_shared_data(&mut self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status>;

    fn register_queue(&mut self, name: &[u8]) -> u32;
    fn resolve_queue(&mut self, vm_id: &[u8], name: &[u8]) -> Result<u32, Status>;
    fn enqueue(&mut self, queue: u32, value: &[u8]) -> Result<(), Status>;
    fn dequeue(&mut self, queue: u32) -> Result<Vec<u8>, Status>;

    fn define_metric(&mut self, kind: MetricType, name: &[u8]) -> u32;
    fn increment_metric(&mut self, metric: u32, offset: i64) -> Result<(), Status>;
    fn record_metric(&mut self, metric: u32, value: u64) -> Result<(), Status>;
    fn metric(&mut self, metric: u32) -> Result<u64, Status>;

    fn http_call(
        &mut self,
        cluster: &[u8],
        headers: Vec<Pair>,
        body: Vec<u8>,
        trailers: Vec<Pair>,
        milliseconds: u32,
    ) -> Result<u32, Status>;
    /// A call with its message and timeout in milliseconds, or else a stream.
    fn grpc_call(
        &mut self,
        service: &[u8],
        name: &[u8],
        method: &[u8],
        metadata: Vec<Pair>,
        message: Option<(Vec<u8>, u32)>,
    ) -> Result<u32, Status>;
    fn grpc_send(&mut self, token: u32, message: Vec<u8>, end: bool) -> Result<(), Status>;
    fn grpc_cancel(&mut self, token: u32) -> Result<(), Status>;
    fn grpc_close(&mut self, token: u32) -> Result<(), Status>;
    fn status(&self) -> (u32, Vec<u8>);
    fn foreign_function(&mut self, name: &[u8]) -> Option<ForeignFunction>;

    fn environment(&self) -> Vec<(String, String)>;
    fn fill_random(&mut self, bytes: &mut [u8]);
}
