//! The metrics that rules make: counters of exchanges and histograms of
//! timings.
//!
//! Which cases of which counters an exchange may meet depends on its method,
//! path and status only, so that is found out once for each label set and kept
//! with it; what is left for each exchange is one look at the headers that the
//! cases ask for, and nothing at all where no case fits.

use super::scalars::Slot;
use super::watch::tests;
use crate::buckets::Buckets;
use crate::catalog::{LE, SERVICE, StatKind};
use crate::host::{Failed, Stats};
use crate::labels::{Method, Status};
use crate::plugin_config::PluginConfig;
use crate::signal_rules::{Amount, Condition, Family, HeaderTest};
use crate::stat_name;

/// The tests of headers that an exchange has passed, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) request: u64,
    pub(crate) response: u64,
}

/// The cases that a label set may meet, in their order.
pub(super) type Cases = Box<[u16]>;

#[derive(Clone, Debug)]
struct Case {
    rule: usize,
    counter: usize,
    amount: Amount,
    when: Condition,
    request: u64,
    response: u64,
}

#[derive(Clone, Debug)]
struct Counter {
    name: String,
    slot: Slot,
}

/// A histogram without labels.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    service: Box<str>,
    family: Family,
    buckets: Buckets,
    bins: Vec<Slot>,
    sum: Slot,
    dirty: bool,
}

impl Histogram {
    pub(super) fn new(service: &str, family: Family, buckets: Buckets) -> Self {
        Self {
            service: service.into(),
            bins: vec![Slot::EMPTY; buckets.bins()],
            sum: Slot::EMPTY,
            dirty: false,
            family,
            buckets,
        }
    }

    pub(super) fn observe(&mut self, nanos: u64) {
        if let Some(bin) = self.bins.get_mut(self.buckets.bin(nanos)) {
            bin.add(1);
            self.sum.add(nanos);
            self.dirty = true;
        }
    }

    pub(super) fn family(&self) -> &Family {
        &self.family
    }

    pub(super) fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// Makes all bins appear at 0, so that a histogram is whole from the start.
    pub(super) fn define(&mut self, host: &impl Stats) -> Result<(), Failed> {
        let Self {
            service,
            family,
            buckets,
            bins,
            sum,
            ..
        } = self;
        for (bin, slot) in bins.iter_mut().enumerate() {
            let name = || bin_name(family, service, buckets, bin);
            slot.define(host, StatKind::Counter, name)?;
        }
        sum.define(host, StatKind::Counter, || sum_name(family, service))?;
        Ok(())
    }

    pub(super) fn push(&mut self, host: &impl Stats) -> Result<(), Failed> {
        if !self.dirty {
            return Ok(());
        }
        let Self {
            service,
            family,
            buckets,
            bins,
            sum,
            ..
        } = self;
        for (bin, slot) in bins.iter_mut().enumerate() {
            slot.push(host, || bin_name(family, service, buckets, bin))?;
        }
        sum.push(host, || sum_name(family, service))?;
        self.dirty = false;
        Ok(())
    }
}

fn bin_name(family: &Family, service: &str, buckets: &Buckets, bin: usize) -> Option<String> {
    let bound = buckets.spelled(bin);
    let labels = [(SERVICE, service), (LE, bound.as_str())];
    stat_name::encode_labels(&family.bin_stat(), labels).ok()
}

fn sum_name(family: &Family, service: &str) -> Option<String> {
    stat_name::encode_labels(&family.sum_stat(), [(SERVICE, service)]).ok()
}

/// All counters and histograms of rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Derived {
    cases: Vec<Case>,
    counters: Vec<Counter>,
    dirty: bool,
    timings: Vec<(Box<str>, Histogram)>,
}

impl Derived {
    pub(super) fn new(config: &PluginConfig) -> Self {
        let requests = tests(config, |case| case.when.request_header.as_ref());
        let responses = tests(config, |case| case.when.response_header.as_ref());
        let mut derived = Self::default();
        for (number, rule) in config.signals.counters.iter().enumerate() {
            for case in &rule.cases {
                let names = rule.family.labels.iter().map(String::as_str);
                let labels = names.zip(case.values.iter().map(String::as_str));
                let labels = std::iter::once((SERVICE, config.service.as_str())).chain(labels);
                // The configuration refused what would be too long.
                let Ok(name) = stat_name::encode_labels(&rule.family.name, labels) else {
                    continue;
                };
                let counter = derived.counter(name);
                derived.cases.push(Case {
                    rule: number,
                    counter,
                    amount: rule.amount,
                    request: bit(&requests, case.when.request_header.as_ref()),
                    response: bit(&responses, case.when.response_header.as_ref()),
                    when: case.when.clone(),
                });
            }
        }
        for rule in &config.signals.timings {
            let histogram =
                Histogram::new(&config.service, rule.family.clone(), rule.buckets.clone());
            derived
                .timings
                .push((rule.entry.as_str().into(), histogram));
        }
        derived
    }

    fn counter(&mut self, name: String) -> usize {
        let known = self.counters.iter().position(|known| known.name == name);
        known.unwrap_or_else(|| {
            let slot = Slot::EMPTY;
            self.counters.push(Counter { name, slot });
            self.counters.len() - 1
        })
    }

    /// Whether any exchange may move a counter.
    #[inline]
    pub(super) fn counts(&self) -> bool {
        !self.cases.is_empty()
    }

    /// What an exchange with this method, path and status may meet.
    pub(super) fn cases(&self, method: Method, path: &str, status: Status) -> Cases {
        (0..)
            .zip(&self.cases)
            .filter(|(_, case)| case.when.admits(method, path, status))
            .map(|(at, _)| at)
            .collect()
    }

    /// Counts an exchange for the first case of each rule that it meets.
    /// `bytes` is asked for the size of a body, only where a case wants it.
    pub(super) fn count(
        &mut self,
        cases: &[u16],
        facts: Facts,
        mut bytes: impl FnMut(Amount) -> u64,
    ) {
        let mut done = None;
        for at in cases {
            let Some(case) = self.cases.get(usize::from(*at)) else {
                continue;
            };
            let met = facts.request & case.request == case.request
                && facts.response & case.response == case.response;
            if !met || done == Some(case.rule) {
                continue;
            }
            done = Some(case.rule);
            let by = match case.amount {
                Amount::One => 1,
                amount => bytes(amount),
            };
            if let Some(counter) = self.counters.get_mut(case.counter) {
                counter.slot.add(by);
                self.dirty = true;
            }
        }
    }

    /// An entry of `Server-Timing`.
    pub(super) fn time(&mut self, entry: &[u8], nanos: u64) {
        for (wanted, histogram) in &mut self.timings {
            if wanted.as_bytes() == entry {
                histogram.observe(nanos);
            }
        }
    }

    pub(super) fn histograms(&self) -> impl Iterator<Item = &Histogram> {
        self.timings.iter().map(|(_, histogram)| histogram)
    }

    pub(super) fn define(&mut self, host: &impl Stats) -> Result<(), Failed> {
        for Counter { name, slot } in &mut self.counters {
            slot.define(host, StatKind::Counter, || Some(name.clone()))?;
        }
        for (_, histogram) in &mut self.timings {
            histogram.define(host)?;
        }
        Ok(())
    }

    pub(super) fn push(&mut self, host: &impl Stats, failed: &mut impl FnMut(Failed)) {
        if std::mem::take(&mut self.dirty) {
            for Counter { name, slot } in &mut self.counters {
                if let Err(error) = slot.push(host, || Some(name.clone())) {
                    self.dirty = true;
                    failed(error);
                }
            }
        }
        for (_, histogram) in &mut self.timings {
            if let Err(error) = histogram.push(host) {
                failed(error);
            }
        }
    }
}

fn bit(tests: &[HeaderTest], test: Option<&HeaderTest>) -> u64 {
    let at = test.and_then(|test| tests.iter().position(|known| known == test));
    at.map_or(0, |at| 1 << at)
}

#[cfg(test)]
mod tests;
