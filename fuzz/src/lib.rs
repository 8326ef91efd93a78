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
