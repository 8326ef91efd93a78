//! The services' own pages of metrics.
pub mod join;
mod line;
pub mod page;
mod series;
