//! What the filter and the bridge agree on.
//!
//! # Layout
//! - [`catalog`]: every metric and every Envoy stat behind it, one table
//! - [`stat_name`]: labels to the name of an Envoy stat, and back
//! - [`buckets`]: histogram bounds
//! - [`labels`]: the closed sets: methods, statuses, response flags
//! - [`path_label`]: which label a path gets
//! - [`signals`]: what services say in response headers
//! - [`signal_rules`]: which metrics a configuration makes of that
//! - [`plugin_config`]: the filter's configuration
//! - [`host`]: what is needed of the proxy
//! - [`header_map`]: how the proxy hands over headers
//! - [`exchange`]: when one HTTP exchange is counted
//! - [`recorder`]: the counts, and their way to the proxy
//! - [`words`]: bytes a word at a time
//! - [`trial`]: what one exchange would move, without a proxy
//!
//! # Invariants
//! - Pure: no proxy-wasm, no runtime, no I/O, no clock. Time and host are passed in.
//! - Nothing here panics, whatever the input; the lints below are denied.
//! - `decode(encode(x)) == x` for every stat name.

#![forbid(unsafe_code)]
#![deny(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

pub mod buckets;
pub mod catalog;
pub mod exchange;
#[cfg(test)]
mod fake;
pub mod header_map;
pub mod host;
pub mod labels;
pub mod path_label;
pub mod plugin_config;
pub mod recorder;
pub mod signal_rules;
pub mod signals;
pub mod stat_name;
pub mod trial;
mod words;
