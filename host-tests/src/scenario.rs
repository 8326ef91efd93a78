//! The language of the tests: a proxy with workers, the traffic that passes
//! through it, and then what the stats, headers, logs and costs are.
//!
//! A verb runs at once and returns when the proxy is done with it. A trap in
//! the module fails the test at the line of the verb, with the module's last
//! log lines, unless the plugin has a [`FailurePolicy`].
//!
//! ```
//! use std::time::Duration;
//! use gatemeter_host_tests::{Envoy, Module, NO_HEADERS};
//!
//! # let module = Module::from_wat(
//! #     r#"(module
//! #         (memory (export "memory") 1)
//! #         (func (export "proxy_abi_version_0_2_1"))
//! #         (func (export "malloc") (param i32) (result i32) (i32.const 1024))
//! #         (func (export "proxy_on_log") (param i32)))"#,
//! # )?;
//! let envoy = Envoy::new(module).workers(2).configure("")?;
//! let stream = envoy.worker(1).request([(":method", "GET"), (":path", "/a")]);
//! envoy.advance(Duration::from_millis(3));
//! stream.respond(204, NO_HEADERS);
//! let cost = envoy.measure(|| stream.finish());
//! assert_eq!(cost.crossings("proxy_on_log").calls, 1);
//! assert_eq!(cost.all_host_calls(), []);
//! # Ok::<(), anyhow::Error>(())
//! ```

mod calls;
mod connection;
mod envoy;
mod failure;
pub mod flags;
mod notices;
mod outcome;
mod plugin;
mod proxy;
mod stream;
mod traffic;
mod worker;

pub use calls::{CallResponse, GrpcCall, HttpCall};
pub use connection::Connection;
pub use envoy::{Envoy, EnvoyBuilder};
pub use failure::FailurePolicy;
pub use outcome::{Ending, Outcome};
pub use plugin::Plugin;
pub use proxy::{Configuration, Refused};
pub use stream::Stream;
pub use traffic::{AccessLog, Headers, NO_HEADERS, Request};
pub use worker::Worker;
