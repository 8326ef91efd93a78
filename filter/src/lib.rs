//! The proxy-wasm module that Envoy loads, one VM for each worker.
//!
//! Glue only: each callback hands what the proxy knows to `gatemeter-core` and
//! lets the traffic pass. Nothing is paused, no body is looked at, and nothing
//! changes but the signal headers that the configuration lists under `strip`.
//!
//! # Layout
//! - [`root`]: configuration, ticks, the access logger form
//! - [`exchange`]: the callbacks of one HTTP exchange
//! - [`host`]: every host call, and nowhere else
//!
//! # Invariants
//! - Nothing here panics; a host call that fails is counted, not fatal.
//! - Callbacks that are not used cost nothing: `finish` takes their exports out
//!   of the module that `make wasm` writes. A plain build works too, slower.

// `proxy_wasm::main!` makes an exported, unmangled function, which is what the
// ABI wants; `host` says where else and why.
#![allow(unsafe_code, missing_docs)]
#![deny(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

mod exchange;
mod host;
mod root;

use proxy_wasm::traits::RootContext;

proxy_wasm::main! {{
    // Envoy allows nothing but this in `_initialize`.
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(root::Root::default()) });
}}
