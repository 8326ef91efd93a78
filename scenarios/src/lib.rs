#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! - [`scenario`]: a scenario, typed; `format` is the file, `order` whether its
//!   steps fit together, [`text`] bytes and headers in it
//! - [`expect`]: what must be so; [`page`]: samples of a metrics page
//! - [`proxy`]: the verbs, as a trait; [`run`]: the interpreter
//! - [`native`], [`wasm`]: two proxies; the third one, real Envoy, is in `e2e`
//! - `cases`: the scenarios that ship
//! - `stats`: from stats to a page, by the bridge's code
//!
//! # Invariants
//!
//! - A scenario that parses can be run: its exchanges are open where a step
//!   means them.
//! - Every way to run it is asked the same verbs in the same order.

#![forbid(unsafe_code)]

mod cases;
pub mod expect;
mod format;
pub mod native;
mod order;
pub mod page;
pub mod proxy;
pub mod run;
pub mod scenario;
mod stats;
pub mod text;
pub mod wasm;

pub use cases::{NoCases, cases};
/// How a page is spelled.
pub use gatemeter_bridge::exposition::Format;
