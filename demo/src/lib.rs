//! The four services of a small media gateway: api, discovery, playback and ingestion.
//!
//! They are the thing to measure: plain HTTP services which know nothing of
//! metrics. What they do is real (a database behind a pool, a cache with a time
//! to live, a search by vectors, uploads on disk that are looked into), and they
//! say so in response headers that any service could send, by way of the crate
//! `gatemeter-signals`: `Cache-Status`, `Server-Timing`, `X-Db-Pool` and
//! `X-Search-Results`.
//!
//! # Layout
//!
//! - [`cli`]: the flags and environment variables, checked into a [`Config`]
//! - [`app`]: binds, prepares the database, serves until told to stop
//! - `service`: which routes each service has, one file per service
//! - `cache`: Redis, or a map in this process
//! - `database`: SQLite, or PostgreSQL; the pool and what it says about itself
//! - `reply`: errors and cached values, the same for all four
//! - [`traffic`]: requests to all four, as clients and players would send them
//!
//! # Invariants
//!
//! - Nothing is left behind: the SQLite file and the uploads live in one
//!   temporary folder that goes with the process.
//! - Everything a client can make grow is bounded: bodies, delays, streams,
//!   cache entries, bytes on disk.

pub mod app;
mod cache;
pub mod cli;
mod database;
mod reply;
mod service;
pub mod traffic;

pub use app::{Demo, StartError};
pub use cli::Config;
pub use database::UnsupportedScheme;
pub use service::Service;
pub use service::playback::film::Film;
pub use traffic::{Answers, Traffic};
