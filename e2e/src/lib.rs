//! Gatemeter on real Envoy: a room with real processes in it, a client that
//! keeps its own books, and a comparison of the two.
//!
//! Nothing here knows how the filter or the bridge are made. They are files,
//! found by [`artefact`], which refuses a missing or stale one.
//!
//! # Layout
//!
//! - [`room`] holds a test's processes, files and ports, and shows the logs of
//!   a test that failed; [`process`] is one of them, [`port`] is a port that
//!   nobody else gets, [`until`] waits with a limit.
//! - [`envoy`] writes Envoy's configuration and starts it; [`bridge`],
//!   [`demo`], [`store`] (Redis, PostgreSQL) and [`prometheus`] start the rest.
//! - [`upstream`] is the service behind Envoy, which does what a request's
//!   header tells it to.
//! - [`client`] sends requests and writes each one down in a [`ledger`];
//!   [`raw`] sends what no library would send; [`flood`] sends many.
//! - [`film`] is a stream that a player can play; [`browser`] is Chromium, driven
//!   by [`devtools`]; [`player`] is what a player in it says, and what its CMCD says.
//! - [`live_page`] visits the bridge's page for people, by Playwright.
//! - [`scenario`] is real Envoy as a proxy that runs the scenarios of
//!   `scenarios/`.
//! - [`scene`] is a service with all the traffic that a client can make on it.
//! - [`shipped`] is the setup that ships, on free ports; [`example`] is an Envoy as
//!   `docs/getting-started.md` makes it of one that somebody has.
//! - [`shown`] is what dashboards, rules and documents ask Prometheus, [`asked`] where it
//!   must have an answer, [`promql`] which metrics they name, and [`known`] which they may; [`document`] reads what the
//!   documents tell people to write.
//! - [`page`] reads a metrics page with a parser that we did not write.

pub mod artefact;
pub mod asked;
pub mod bridge;
pub mod browser;
pub mod client;
pub mod demo;
pub mod devtools;
pub mod document;
pub mod envoy;
pub mod example;
pub mod film;
pub mod flood;
pub mod known;
pub mod ledger;
pub mod live_page;
pub mod page;
pub mod player;
pub mod port;
pub mod process;
pub mod prometheus;
pub mod promql;
pub mod raw;
pub mod room;
pub mod scenario;
pub mod scene;
pub mod shipped;
pub mod shown;
pub mod store;
pub mod until;
pub mod upstream;
