//! The proxy-wasm module that Envoy loads, one VM for each worker.
//!
//! Glue only: each callback hands what the proxy knows to `gatemeter-core` and
//! lets the traffic pass. Nothing is paused, no body is looked at, and nothing
//! changes but the signal headers that the configuration lists under `strip`.
//!
//! # Layout
//! In the order of a call:
//! - [`callbacks`]: every export of the module, as the ABI has it
//! - [`contexts`]: the root context or the exchange that an id stands for
//! - [`open`]: the exchanges, by id
//! - [`services`]: what the roots count for, by number
//! - [`list`]: a list that takes no room in the module's file
//! - [`host`]: every host call, and nowhere else
//! - [`handed`]: the memory into which the host copies what a call returns
//!
//! # Invariants
//! - Nothing here panics; a host call that fails is counted, not fatal.
//! - A callback for an id that was never created, or is gone, changes nothing.
//! - What the host says of the memory it filled is checked before it is read.
//! - A request in the steady state allocates nothing.

// The ABI is made of exported and imported functions with C names; `callbacks`
// and `host` say where else `unsafe` is needed and why.
#![allow(unsafe_code, missing_docs)]
#![deny(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

mod callbacks;
mod contexts;
mod handed;
mod host;
mod list;
mod open;
mod services;
