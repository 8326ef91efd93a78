//! The last 15 minutes, in bounded memory.
//!
//! A moment is what came between two reads of Envoy, with the exact time between
//! them, so a rate is a division and nothing is interpolated. A read that failed
//! is a moment that says so and holds no numbers; what came meanwhile is in the
//! next one. Several Envoys are added up by service.
//!
//! [`MAX_SERVICES`] services have their numbers here, and [`MAX_ROUTES`] routes
//! of each: those with most requests of late, a failed one counting as ten,
//! because a route that fails is what a reader looks for. The others are one
//! sum, `other`. A route that loses its row has its past added
//! to `other` too, so the routes of a moment always add up to the service.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use gatemeter_core::buckets::MAX_BOUNDS;

use super::{
    baseline::{Baseline, MAX_WATCHED, table_bytes},
    point::{CLASSES, Counts, Hashes, MAX_NAME_BYTES, Totals},
    service::{Latest, Part, Service, common_bounds},
};
use crate::families::EnvoyState;

/// Services that are shown.
pub(super) const MAX_SERVICES: usize = 16;
/// Routes of a service that have a row.
pub(super) const MAX_ROUTES: usize = 20;
/// Caches of a service that are shown.
pub(super) const MAX_CACHES: usize = 4;
/// How long a moment is kept.
pub(super) const WINDOW: Duration = Duration::from_mins(15);
/// The row of all routes that have none.
pub(super) const OTHER: u8 = u8::MAX;

/// The ring and what it must know to go on.
#[derive(Debug)]
pub(super) struct Ring {
    most_moments: usize,
    moments: VecDeque<Moment>,
    /// Number of the first moment since the start.
    first: u64,
    /// How often what was already told of a moment changed.
    generation: u64,
    hashes: Hashes,
    pub(super) envoys: Vec<Envoy>,
    pub(super) services: Vec<Service>,
    /// Services that there was no room for.
    pub(super) hidden_services: usize,
}

/// When something was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    /// Since the bridge's start, by a clock that never jumps.
    pub(super) elapsed: Duration,
    /// Milliseconds since 1970.
    pub(super) unix_ms: u64,
}

/// One Envoy, for the page.
#[derive(Debug)]
pub(super) struct Envoy {
    pub(super) name: Option<Arc<str>>,
    pub(super) state: Result<(), Unread>,
    /// Since when it is so.
    pub(super) since: At,
    /// What it last said of itself.
    pub(super) about: EnvoyState,
    baseline: Option<Baseline>,
}

/// Why an Envoy could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) reason: &'static str,
    pub(super) text: String,
}

/// What was read of one Envoy.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) name: Option<Arc<str>>,
    pub(super) about: EnvoyState,
    pub(super) totals: Result<Totals, Unread>,
}

/// What came between two reads.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) at: At,
    /// Since the read before; `None` where that was the first, or this failed.
    pub(super) span: Option<Duration>,
    /// Whether no Envoy could be read.
    pub(super) is_gap: bool,
    /// Whether only some could.
    pub(super) is_partial: bool,
    /// Whether an Envoy began again from 0.
    pub(super) is_reset: bool,
    pub(super) services: Box<[ServiceMoment]>,
}

/// A service's part of a moment.
#[derive(Debug)]
pub(super) struct ServiceMoment {
    pub(super) service: u8,
    pub(super) active: Option<u32>,
    pub(super) pool: Option<[u32; 2]>,
    /// Hits and misses, by cache.
    pub(super) caches: Box<[[u32; 2]]>,
    /// Those with requests, by row.
    pub(super) routes: Box<[RouteMoment]>,
}

/// A route's part of a moment.
#[derive(Debug)]
pub(super) struct RouteMoment {
    pub(super) row: u8,
    pub(super) classes: [u32; CLASSES],
    pub(super) bins: Box<[u32]>,
}

impl Ring {
    /// A ring for moments that are at least `shortest` apart.
    pub(super) fn new(shortest: Duration) -> Self {
        Self {
            most_moments: most_moments(shortest),
            moments: VecDeque::new(),
            first: 0,
            generation: 0,
            hashes: Hashes::default(),
            envoys: Vec::new(),
            services: Vec::new(),
            hidden_services: 0,
        }
    }

    pub(super) const fn hashes(&self) -> &Hashes {
        &self.hashes
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The moments with their numbers, from `number` on.
    pub(super) fn moments_from(&self, number: u64) -> impl Iterator<Item = (u64, &Moment)> {
        let skipped = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        (self.first..).zip(&self.moments).skip(skipped)
    }

    /// Takes in what all Envoys said, or did not say, at this time.
    pub(super) fn observe(&mut self, at: At, reads: Vec<Read>) {
        let envoys = reads.len();
        let mut good: Vec<(usize, Totals)> = Vec::new();
        let mut is_reset = false;
        for read in reads {
            let index = self.envoy(read.name, at);
            let envoy = &mut self.envoys[index];
            let state = read.totals.as_ref().map(|_| ()).map_err(Clone::clone);
            if envoy.state.as_ref().err().map(|unread| unread.reason)
                != state.as_ref().err().map(|unread| unread.reason)
            {
                envoy.since = at;
            }
            envoy.state = state;
            if let Ok(totals) = read.totals {
                if let Some(baseline) = &mut envoy.baseline
                    && baseline.began_again(&totals, read.about.uptime_seconds)
                {
                    *baseline = Baseline::default();
                    is_reset = true;
                }
                envoy.about = read.about;
                good.push((index, totals));
            }
        }
        let span = self.since_last_read(at).filter(|_| {
            good.iter()
                .any(|(index, _)| self.envoys[*index].baseline.is_some())
        });
        let services = if good.is_empty() {
            Box::default()
        } else {
            self.services(at, span, &good)
        };
        for (index, totals) in &good {
            let envoy = &mut self.envoys[*index];
            let baseline = envoy.baseline.get_or_insert_default();
            baseline.keep(totals, envoy.about.uptime_seconds, &self.services);
        }
        self.push(Moment {
            at,
            span,
            is_gap: good.is_empty(),
            is_partial: !good.is_empty() && good.len() < envoys,
            is_reset,
            services,
        });
    }

    fn envoy(&mut self, name: Option<Arc<str>>, at: At) -> usize {
        let known = self.envoys.iter().position(|envoy| envoy.name == name);
        known.unwrap_or_else(|| {
            self.envoys.push(Envoy {
                name,
                state: Ok(()),
                since: at,
                about: EnvoyState::default(),
                baseline: None,
            });
            self.envoys.len() - 1
        })
    }

    fn since_last_read(&self, at: At) -> Option<Duration> {
        let last = self.moments.iter().rev().find(|moment| !moment.is_gap)?;
        Some(at.elapsed.saturating_sub(last.at.elapsed)).filter(|span| !span.is_zero())
    }

    fn services(
        &mut self,
        at: At,
        span: Option<Duration>,
        good: &[(usize, Totals)],
    ) -> Box<[ServiceMoment]> {
        let mut names: Vec<&Arc<str>> = good.iter().flat_map(|(_, t)| t.services.keys()).collect();
        names.sort();
        names.dedup();
        self.hidden_services = 0;
        for name in names {
            if self.services.iter().any(|service| service.name == *name) {
                continue;
            }
            if self.services.len() < MAX_SERVICES {
                self.services.push(Service::new(Arc::clone(name)));
            } else {
                self.hidden_services += 1;
            }
        }
        let mut moments = Vec::new();
        for number in 0..self.services.len() {
            let name = Arc::clone(&self.services[number].name);
            let parts: Vec<Part<'_>> = good
                .iter()
                .filter_map(|(index, totals)| {
                    Some(Part {
                        now: totals.services.get(&name)?,
                        before: self.envoys[*index].baseline.as_ref(),
                        name: &name,
                    })
                })
                .collect();
            let bounds = common_bounds(&parts);
            let service = &mut self.services[number];
            let service_number = u8::try_from(number).unwrap_or(OTHER);
            if parts.is_empty() {
                service.latest = Latest::default();
                continue;
            }
            if service.bounds != bounds {
                service.bounds = bounds;
                clear_bins(&mut self.moments, service_number);
                self.generation += 1;
            }
            let given_up = service.give_rows(at, span, &parts);
            for row in &given_up {
                fold(&mut self.moments, service_number, *row);
            }
            self.generation += u64::from(!given_up.is_empty());
            let service = &mut self.services[number];
            service.latest = service.latest_of(&parts);
            moments.push(service.moment(service_number, &parts));
        }
        moments.into()
    }

    fn push(&mut self, moment: Moment) {
        let oldest = moment.at.elapsed.saturating_sub(WINDOW);
        self.moments.push_back(moment);
        while self.moments.len() > self.most_moments
            || self.moments.front().is_some_and(|m| m.at.elapsed < oldest)
        {
            self.moments.pop_front();
            self.first += 1;
        }
    }

    /// Bytes that it holds now.
    pub(super) fn bytes(&self) -> usize {
        let moments: usize = self.moments.iter().map(Moment::bytes).sum();
        let baselines: usize = self
            .envoys
            .iter()
            .filter_map(|envoy| envoy.baseline.as_ref())
            .flat_map(|baseline| baseline.services.values())
            .map(|service| service.bytes() + 128)
            .sum();
        let services: usize = self.services.iter().map(Service::bytes).sum();
        self.moments.capacity() * size_of::<Moment>() + moments + baselines + services
    }
}

/// Most moments of a window.
fn most_moments(shortest: Duration) -> usize {
    let most = WINDOW.as_millis() / shortest.as_millis().max(1);
    usize::try_from(most)
        .unwrap_or(usize::MAX)
        .saturating_add(1)
}

/// Most bytes of a ring: every service and route busy in every moment, with as
/// many bounds as there may be, read from so many Envoys.
pub(super) fn worst_bytes(shortest: Duration, envoys: usize) -> usize {
    let bins = MAX_BOUNDS + 1;
    let route = size_of::<RouteMoment>() + bins * size_of::<u32>();
    let caches = (MAX_CACHES + 1) * size_of::<[u32; 2]>();
    let service = size_of::<ServiceMoment>() + caches + (MAX_ROUTES + 1) * route;
    let moment = MAX_SERVICES * service;
    let moments = most_moments(shortest);
    let ring = moments * moment + (moments + 1).next_power_of_two() * size_of::<Moment>();
    let counts = bins * size_of::<u64>();
    let baseline = table_bytes::<(u64, Counts)>(2 * MAX_ROUTES)
        + (MAX_ROUTES + 1) * counts
        + table_bytes::<(u64, [u64; 2])>(MAX_WATCHED)
        + 16 * MAX_NAME_BYTES;
    let names = (MAX_ROUTES + MAX_CACHES) * (MAX_NAME_BYTES + 256);
    let scores = table_bytes::<(u64, f64)>(MAX_WATCHED) + 8 * 1024;
    ring + MAX_SERVICES * (names + scores + envoys * baseline)
}

impl Moment {
    fn bytes(&self) -> usize {
        let services = self.services.iter().map(|service| {
            let routes = service.routes.iter().map(|route| size_of_val(&*route.bins));
            routes.sum::<usize>() + size_of_val(&*service.routes) + size_of_val(&*service.caches)
        });
        services.sum::<usize>() + size_of_val(&*self.services)
    }
}

fn parts_of(
    moments: &mut VecDeque<Moment>,
    number: u8,
) -> impl Iterator<Item = &mut ServiceMoment> {
    let services = moments.iter_mut().flat_map(|moment| &mut moment.services);
    services.filter(move |service| service.service == number)
}

/// Adds the past of a row to `other`.
fn fold(moments: &mut VecDeque<Moment>, number: u8, row: u8) {
    for service in parts_of(moments, number) {
        let mut routes = std::mem::take(&mut service.routes).into_vec();
        let Some(at) = routes.iter().position(|route| route.row == row) else {
            service.routes = routes.into();
            continue;
        };
        let mut folded = routes.remove(at);
        match routes.iter_mut().find(|route| route.row == OTHER) {
            Some(other) => {
                let sums = other.classes.iter_mut().zip(folded.classes);
                sums.for_each(|(sum, class)| *sum = sum.saturating_add(class));
                let sums = other.bins.iter_mut().zip(&folded.bins);
                sums.for_each(|(sum, bin)| *sum = sum.saturating_add(*bin));
            }
            None => {
                folded.row = OTHER;
                routes.push(folded);
            }
        }
        service.routes = routes.into();
    }
}

/// Forgets bins that have other bounds than those to come.
fn clear_bins(moments: &mut VecDeque<Moment>, number: u8) {
    for route in parts_of(moments, number).flat_map(|service| &mut service.routes) {
        route.bins = Box::default();
    }
}

#[cfg(test)]
mod tests;
