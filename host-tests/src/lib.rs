//! A proxy-wasm host on wasmtime, for tests: it keeps state as Envoy 1.40
//! keeps it, and a test asserts on that state, never on the order of calls.
//!
//! # Layout
//!
//! From the top down; a module uses only those below it.
//!
//! * [`scenario`]: the language of the tests. [`Envoy`] is a proxy with workers,
//!   [`Stream`] an HTTP exchange that passes through it.
//! * [`host`]: virtual machines, their contexts and their life cycle, clocks,
//!   shared data, what a callback cost.
//! * [`abi`]: Proxy-Wasm 0.2.1 and WASI preview 1 as imports: it turns pointers
//!   into values and statuses into numbers, and decides nothing.
//! * [`memory`]: every read from and write to a module's linear memory.
//! * [`stats`]: the one stat store that all virtual machines share.
//!
//! # Invariants
//!
//! * Nothing is global but compiled code, which does not change: each [`Envoy`]
//!   has its own stats, clocks, shared data and logs, so tests run in parallel.
//! * Workers are virtual machines, not threads. A test says which one works
//!   when, so every run is the same.
//! * Time moves only when a test moves it.
//! * A pointer from the guest is checked before it is followed.
//! * A trap that a test does not expect fails that test at the line that
//!   provoked it.
//!
//! # What is not emulated
//!
//! There are no clusters, so HTTP and gRPC calls are answered as Envoy answers
//! them for a cluster it does not know. There is no TCP proxying, no foreign
//! function, no metadata callback, no notice when a queue gets a value, and no
//! ABI 0.1.0.
//!
//! # Example
//!
//! ```
//! use gatemeter_host_tests::{Envoy, Module};
//!
//! // A filter that does nothing but exist.
//! let module = Module::from_wat(
//!     r#"(module
//!         (memory (export "memory") 1)
//!         (func (export "proxy_abi_version_0_2_1"))
//!         (func (export "malloc") (param i32) (result i32) (i32.const 1024))
//!     )"#,
//! )?;
//! let envoy = Envoy::new(module).workers(2).configure("")?;
//! let stream = envoy.worker(0).request([(":method", "GET"), (":path", "/")]);
//! stream.respond(200, [("content-type", "text/plain")]);
//! stream.finish();
//! assert!(envoy.stats().names().is_empty());
//! # Ok::<(), anyhow::Error>(())
//! ```

pub mod abi;
pub mod host;
pub mod memory;
pub mod scenario;
pub mod stats;

pub use abi::Status;
pub use host::module::Module;
pub use memory::Lie;
pub use scenario::{
    AccessLog, CallResponse, Connection, Envoy, EnvoyBuilder, GrpcCall, HttpCall, NO_HEADERS,
    Request, Stream, Worker,
};
