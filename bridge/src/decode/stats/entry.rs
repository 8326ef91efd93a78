//! What is kept of one stat, or of all bins of a series.

use std::{sync::Arc, time::Instant};

use gatemeter_core::catalog::{Metric, Stat};

use super::super::line::EnvoyStat;
use crate::families::LabelSet;

/// One stat, or all bins of a series.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The whole name; of bins all of it up to the bound.
    pub(super) stem: Box<str>,
    pub(crate) role: Role,
    /// Value of the label `service`, or of Envoy's `stat_prefix`.
    pub(crate) service: Arc<str>,
    /// The others, without `le`.
    pub(crate) labels: Arc<LabelSet>,
    /// The number, of what is no bin.
    pub(crate) value: u64,
    pub(crate) bins: Vec<Bin>,
    pub(super) is_binned: bool,
    /// Values above 2^63 are refused.
    pub(super) is_gauge: bool,
    /// The answer that held it last.
    pub(super) read: u32,
    /// The entry that followed in that answer.
    pub(super) next: Option<u32>,
    /// The sum of its numbers when it last moved, and when that was seen.
    pub(super) moved: Option<(u64, Instant)>,
}

/// One bin of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bin {
    /// Place among the bounds.
    pub(super) bound: u32,
    pub(super) read: u32,
    /// Observations in it; not cumulative.
    pub(crate) count: u64,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Envoy(EnvoyStat),
    Listed(&'static Stat, &'static Metric),
    Uptime,
    /// Of the catalogue's unknown: what stands before the labels.
    Unlisted(Arc<str>),
    /// The plugin is the entry's service.
    VmReload(&'static str),
    VmsActive,
    VmsCreated,
}

impl Bin {
    /// Place of its bound in [`Stats::bounds`](super::Stats::bounds).
    pub(crate) const fn bound_place(self) -> usize {
        self.bound as usize
    }
}

impl Entry {
    pub(crate) const fn is_binned(&self) -> bool {
        self.is_binned
    }

    /// Whether its numbers are what they were at `since`, as far as they were
    /// noted.
    pub(crate) fn has_stood_still_since(&self, since: Instant) -> bool {
        self.moved.is_some_and(|(_, at)| at <= since)
    }

    /// How many stats it stands for.
    pub(crate) fn stats(&self) -> usize {
        if self.is_binned { self.bins.len() } else { 1 }
    }

    /// All observations of its bins.
    pub(crate) fn total(&self) -> u128 {
        self.bins.iter().map(|bin| u128::from(bin.count)).sum()
    }
}
