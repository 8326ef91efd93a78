//! What the fuzz targets share.
//!
//! A target states what must hold of any input, not only that nothing crashes.
//! Where it can it asks for a second opinion: a plain rewrite of the rule, or
//! another library.
//!
//! # Layout
//! - [`proxy`]: a proxy that fails on demand and refuses what Envoy refuses
//! - [`page`]: a strict reader of the pages that the bridge makes
//! - [`route`]: which template a path matches, segment by segment

#![forbid(unsafe_code)]

pub mod page;
pub mod proxy;
pub mod route;

/// Whether a line of structured fields is so short that it has its
/// [`Room`](gatemeter_core::signals::Room) for certain, whatever it says.
pub fn has_room(line: &[u8]) -> bool {
    let parts = line.iter().filter(|byte| b",;( ".contains(byte)).count();
    line.len() <= 900 && parts < 60
}
