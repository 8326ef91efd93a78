//! From the pieces of an answer to a reading, with what is known from before.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    EnvoyState, Number, Point, Reading, Series,
    layout::{Layout, Members, Row, Source},
};
use crate::decode::{
    DropReason,
    stats::{Entry, Role, Stats, Told},
};

/// Reads the answers of one Envoy, one after the other.
///
/// It keeps what Envoy's names mean from answer to answer, and forgets those
/// that a whole answer does not have. An answer of which no
/// [`finish`](Self::finish) is seen leaves no trace in later readings.
#[derive(Debug, Default)]
pub struct Decoder {
    stats: Stats,
    layout: Option<Layout>,
    expire_after: Option<Duration>,
    answer: AnswerId,
}

/// Which answer a [`Decoder`] is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerId(u64);

impl Decoder {
    /// Leaves out of its readings the counters and histograms of services that
    /// have stood still for longer than `expire_after`; never gauges, never
    /// what tells of Gatemeter or Envoy. The request totals of a method and
    /// path and their histogram go and come back together, with their full
    /// counts. A series that is new to the decoder counts as moved.
    pub fn new(expire_after: Option<Duration>) -> Self {
        Self {
            expire_after,
            ..Self::default()
        }
    }

    /// An answer begins.
    pub fn begin(&mut self) -> AnswerId {
        self.stats.begin();
        self.answer = AnswerId(self.answer.0.wrapping_add(1));
        self.answer
    }

    /// Whether no other answer has begun since.
    pub fn is_at(&self, answer: AnswerId) -> bool {
        self.answer == answer
    }

    /// The next piece of the answer; it may be cut anywhere.
    pub fn feed(&mut self, piece: &[u8]) {
        self.stats.feed(piece);
    }

    /// Whether not one line of the answer reads as `name: value`, and it is not
    /// empty: not the answer of an Envoy, and not to be finished.
    pub fn is_unreadable(&self) -> bool {
        self.stats.is_unreadable()
    }

    /// The answer was whole, and arrived at `now`. `own_scrapes` says how many
    /// scrapes of the bridge were open through each service's listener.
    pub fn finish(&mut self, own_scrapes: &BTreeMap<String, u64>, now: Instant) -> Reading {
        let mut told = self.stats.end();
        let layout = match self.layout.take() {
            Some(layout) if !told.is_changed && layout.is_as_decided(&self.stats) => layout,
            before => {
                drop(before);
                Layout::new(&mut self.stats)
            }
        };
        if self.expire_after.is_some() {
            self.stats.note_moves(now);
        }
        let numbers = Numbers {
            stats: &self.stats,
            layout: &layout,
            own_scrapes,
            idle_since: self
                .expire_after
                .and_then(|expire_after| now.checked_sub(expire_after)),
        };
        let reading = numbers.reading(&mut told);
        self.layout = Some(layout);
        reading
    }
}

struct Numbers<'d> {
    stats: &'d Stats,
    layout: &'d Layout,
    own_scrapes: &'d BTreeMap<String, u64>,
    /// What has not moved since is left out.
    idle_since: Option<Instant>,
}

impl<'d> Numbers<'d> {
    fn reading(&self, told: &mut Told) -> Reading {
        let mut wrapped = 0;
        let families = self.layout.families.iter().map(|family| {
            let mut series = Vec::with_capacity(family.rows.len());
            for row in family.rows.iter().filter(|row| !self.is_idle(row)) {
                match self.point(row) {
                    Some(point) => series.push(Series {
                        service: Some(Arc::clone(&row.service)),
                        labels: Arc::clone(&row.labels),
                        point,
                    }),
                    None => wrapped += 1,
                }
            }
            let mut family = family.family.clone();
            family.series = series;
            family
        });
        let families = families.collect();
        let mut dropped = std::mem::take(&mut told.dropped);
        for (reason, count) in [
            (DropReason::Conflict, self.layout.conflicts),
            (DropReason::NegativeGauge, wrapped),
        ] {
            if count > 0 {
                *dropped.entry(reason).or_default() += count;
            }
        }
        Reading {
            services: self.layout.services.clone(),
            families,
            envoy: self.envoy(),
            dropped,
            readable: told.readable,
        }
    }

    /// `None` for a gauge that Envoy wrapped below zero.
    fn point(&self, row: &Row) -> Option<Point> {
        let number = match &row.source {
            Source::Active(at) => {
                let own = self.own_scrapes.get(&*row.service).copied();
                self.value(*at).saturating_sub(own.unwrap_or(0)).into()
            }
            Source::Gauge(at) => {
                let value = self.value(*at);
                if value > i64::MAX.unsigned_abs() {
                    return None;
                }
                value.into()
            }
            Source::Histogram { bins, sums, bounds } => {
                let bounds = self.layout.bounds.get(*bounds as usize)?;
                let histogram = bounds.histogram(self.members(bins), self.members(sums));
                return Some(Point::Histogram(histogram));
            }
            Source::Number(at) => self.value(*at).into(),
            Source::Total(at) => self.entry(*at).map_or(0, Entry::total),
        };
        Some(Point::Number(Number::Whole(number)))
    }

    fn is_idle(&self, row: &Row) -> bool {
        self.idle_since.is_some_and(|since| {
            let mut members = self.members(&row.moves_with).peekable();
            members.peek().is_some() && members.all(|entry| entry.has_stood_still_since(since))
        })
    }

    fn envoy(&self) -> EnvoyState {
        let mut state = EnvoyState::default();
        for entry in self.layout.state.iter().filter_map(|&at| self.entry(at)) {
            let value = entry.value;
            match &entry.role {
                Role::Uptime => state.uptime_seconds = Some(value),
                Role::VmReload(result) => {
                    let key = (Arc::clone(&entry.service), *result);
                    state.vm_reloads.insert(key, value);
                }
                Role::VmsActive => state.vms_active = Some(value),
                Role::VmsCreated => {
                    let created = state.vms_created.get_or_insert(0);
                    *created = created.saturating_add(value);
                }
                Role::Envoy(_) | Role::Listed(..) | Role::Unlisted(_) => {}
            }
        }
        state
    }

    fn members(&self, members: &Members) -> impl Iterator<Item = &'d Entry> {
        let entries = self.stats.entries();
        let members = self.layout.members(members);
        members.iter().filter_map(|&at| entries.get(at as usize))
    }

    fn entry(&self, at: u32) -> Option<&'d Entry> {
        self.stats.entries().get(at as usize)
    }

    fn value(&self, at: u32) -> u64 {
        self.entry(at).map_or(0, |entry| entry.value)
    }
}
