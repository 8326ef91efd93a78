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
//! # How to test a filter
//!
//! Any proxy-wasm module will do, in any language. **Load** it from its bytes
//! ([`Module::from_bytes`]) or from text, build the proxy around it, and
//! **configure** it, as Envoy would: the plugin on a canary first, then on the
//! main thread and on each worker.
//!
//! ```
//! use std::time::Duration;
//! use gatemeter_host_tests::{CallResponse, Envoy, Module, NO_HEADERS, Request, Status};
//!
//! // A filter that asks the cluster "auth" before a request may pass.
//! let module = Module::from_wat(include_str!(concat!(
//!     env!("CARGO_MANIFEST_DIR"),
//!     "/modules/ask.wat"
//! )))?;
//! let envoy = Envoy::new(module).workers(2).cluster("auth").configure("")?;
//!
//! // Traffic arrives on a worker. Each verb runs the callbacks, in Envoy's order,
//! // and returns when the proxy is done with it.
//! let stream = envoy.worker(0).request(Request::get("/a"));
//! assert!(stream.paused());
//!
//! // Calls wait until the test answers them, breaks them off, or their time is up.
//! let call = envoy.http_call();
//! assert_eq!(call.header(":path").as_deref(), Some("/check"));
//! call.respond(CallResponse::new(200).body("welcome"));
//! assert!(!stream.paused());
//! stream.respond(200, NO_HEADERS);
//! stream.finish();
//!
//! // Time stands still until the test moves it: ticks and timeouts come then.
//! let late = envoy.worker(1).request(Request::get("/b"));
//! envoy.advance(Duration::from_millis(50));
//! assert_eq!(late.response_header_sent(":status").as_deref(), Some("403"));
//!
//! // Stats are state, of all workers together, and so are headers, logs
//! // (`envoy.logs()`) and what the client got (`stream.outcome()`).
//! envoy.stats().assert_counter("asked", 2);
//!
//! // Any host call can fail, at one call site or for good.
//! envoy.fail_once("proxy_http_call", Status::INTERNAL_FAILURE, 0);
//! assert!(envoy.worker(0).request(Request::get("/c")).ended());
//! envoy.stats().assert_counter("asked", 2);
//!
//! // What anything costs: host calls and crossings by name, fuel, bytes, pages.
//! let cost = envoy.measure(|| drop(envoy.worker(0).request(Request::get("/d"))));
//! assert_eq!(cost.host_calls("proxy_http_call"), 1);
//! assert_eq!(cost.crossings("proxy_on_request_headers").calls, 1);
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! Beyond that:
//!
//! * **Configuration**: [`Envoy::reconfigure`], [`Envoy::drain`], several plugins
//!   in the same machines ([`Envoy::add_plugin`]), other proxies in the same
//!   process ([`EnvoyBuilder::beside`]), with which data and queues are shared.
//! * **Traffic**: bodies, trailers, upgrades, redirects, local replies and resets
//!   ([`Stream`]), TCP ([`Worker::connect`]), access logs
//!   ([`Worker::access_log`]).
//! * **Calls**: HTTP ([`HttpCall`]), gRPC calls and streams ([`GrpcCall`]), and
//!   functions of the proxy by name ([`EnvoyBuilder::foreign_function`]).
//! * **Time**: [`Envoy::advance`], or [`Envoy::tick`] at once.
//! * **Failures**: [`Envoy::fail`] and [`Envoy::lie`] for host calls,
//!   [`Envoy::interrupt`] for races, and for traps a
//!   [`FailurePolicy`](scenario::FailurePolicy); without one a trap fails the
//!   test.
//! * **Costs**: [`Envoy::measure`] gives a [`Cost`](host::cost::Cost), the same
//!   on every machine.

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
