//! The filter's logic as a native dynamic module of Envoy
//! (`envoy.filters.http.dynamic_modules`), for those who trust native code.
//!
//! Glue only, as the proxy-wasm module is: each hook hands what Envoy knows to
//! `gatemeter-core` and lets the traffic pass. Configuration, stat names and
//! counts are those of the proxy-wasm module. What is different: there is no
//! VM, so a fault in here is a fault of Envoy; headers are not copied twice;
//! workers share memory; and a main-thread event takes the place of the tick.
//!
//! # Layout
//! In the order of a call:
//! - [`hooks`]: every function that Envoy calls
//! - [`service`]: one filter configuration, its workers and its tick
//! - [`stream`]: one exchange as Envoy shows it to a hook
//! - [`stats`]: stats by name, and what the workers know together
//! - [`abi`]: every function of Envoy that is called, and nowhere else
//!
//! # Invariants
//! - No panic leaves a hook: it is caught, counted and logged.
//! - A pointer of Envoy is used only in the hook that was given it; the one of
//!   a configuration until its destroy hook has returned.
//! - No worker's counts are locked while Envoy's stats are written.

// The ABI is made of exported and imported C functions; `abi` and `hooks` say
// where else `unsafe` is needed and why.
#![allow(unsafe_code)]
#![deny(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

mod abi;
mod hooks;
mod service;
mod stats;
mod stream;
