//! The bridge between Envoy and Prometheus: reads the stats that the Gatemeter
//! filter keeps in Envoy and serves them as metrics, in seconds, with HELP
//! texts and the guide's buckets.
//!
//! # Layout
//! In the order of the data path:
//! - [`admin`]: one whole answer of Envoy's admin interface, or why not
//! - [`decode`]: lines of `/stats` to numbers
//! - [`families`]: numbers to metric families
//! - [`scrape`]: one Envoy, read; [`sources`]: a service's own page, read, parsed
//!   and joined; `single_flight`: one read at a time for all callers
//! - [`own_scrapes`], [`own_metrics`]: what the bridge knows of itself
//! - [`pages`]: which families stand on which page
//! - [`exposition`]: families to text, in a [`piece`] after the other; [`rendered`]: once for all callers
//! - [`live`]: the last 15 minutes, and the page that shows them
//! - [`negotiate`], [`server`]: HTTP; [`room`]: how much of it waits in memory
//! - `background`: work that would keep sockets waiting
//! - [`app`]: wiring; [`config`], [`web_file`], [`cli`]: settings
//! - [`explain`]: what a plugin configuration does, without any Envoy
//!
//! # Invariants
//! - A page is whole or there is none.
//! - `http_requests_total` summed over status equals the histogram's count for
//!   each method and path, in every page.
//! - A page never shows numbers from before its request.
//! - No input panics the process; what is dropped is counted.

#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
mod background;
pub mod cli;
pub mod config;
pub mod decode;
pub mod explain;
pub mod exposition;
pub mod families;
pub mod live;
pub mod negotiate;
pub mod own_metrics;
pub mod own_scrapes;
pub mod pages;
pub mod piece;
pub mod rendered;
pub mod room;
pub mod scrape;
pub mod server;
mod single_flight;
pub mod sources;
pub mod web_file;
