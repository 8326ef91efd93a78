//! A proxy-wasm host on wasmtime, for tests: it keeps state as Envoy 1.40
//! keeps it, and a test asserts on that state, never on the order of calls.
//!
//! # Layout
//!
//! From the top down; a module uses only those below it.
//!
//! * [`scenario`]: the language of the tests. [`Envoy`] is a proxy with workers,
//!   [`Stream`] an HTTP exchange that passes through it, [`Connection`] one of
//!   TCP.
//! * [`host`]: virtual machines, their contexts and their life cycle, exchanges
//!   and how far they are, calls, clocks, shared data, what a callback cost.
//! * [`abi`]: Proxy-Wasm 0.2.1 and 0.2.0 and WASI preview 1 as imports and
//!   exports: it turns pointers into values and statuses into numbers, and
//!   decides nothing.
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
//! * A trap fails the test at the line that provoked it, unless the plugin has a
//!   [`FailurePolicy`](scenario::FailurePolicy).
//! * The verbs of the language keep Envoy's order of callbacks. A test that
//!   wants another one calls by hand: [`Worker::callback`], any export, with any
//!   arguments, on any context id.
//!
//! # What is not emulated
//!
//! * Clusters: a test names those that there are, and answers the calls of
//!   modules itself. There are no endpoints, no retries, no upstream filters.
//! * Metadata callbacks, ABI 0.1.0, and the foreign functions in
//!   [`host::foreign::NOT_EMULATED`].
//! * A chain of several filters: a [`Stream`] passes one plugin. Two filters that
//!   share machines are two handles of one proxy
//!   ([`Envoy::add_plugin`]), and two streams.
//! * Codecs: a piece of body comes as a test says. Envoy's HTTP/1 gives the end
//!   of a body in an empty piece of its own, and empty pieces after an upgrade.
//!   The headers that Envoy adds on the way are there only where a module sees
//!   them because of a verb (a rewrite, an internal redirect, a local reply).
//! * The limits of what a pause may buffer (413, 500), watermarks and timeouts.
//! * The base virtual machine of the main thread, which is only initialised and
//!   then cloned; the gauges `wasm.envoy.wasm.runtime.*` and
//!   `wasm.remote_load_*`; fetching code.
//! * Jitter: a reload comes as soon as Envoy may do it.
//! * The end of shared data and queues with the last machine of their id: here
//!   they last as long as the proxy and those beside it.
//! * Mid-stream access logs, which Envoy does not show to a module either.
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
