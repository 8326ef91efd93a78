//! The stats that are one number a service: counters whose one further label
//! comes from a list known at configuration, and gauges.
//!
//! Counts are kept here and pushed by a flush. What the host refuses is kept
//! and pushed by the next one.

use crate::catalog::{self, Stat, StatKind};
use crate::host::{Failed, HostCall, MetricId, Stats};
use crate::labels::{RESPONSE_FLAGS, reason_label};
use crate::plugin_config::PluginConfig;
use crate::stat_name;

/// The one reason of `http_responses_incomplete_total` that Envoy's own access
/// logger writes; see `catalog::RESPONSES_INCOMPLETE`.
const DOWNSTREAM_RESET: &str = "downstream_reset";

/// A stat of the host, defined on first use, and what is still to be pushed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    id: Option<MetricId>,
    pending: u64,
}

impl Slot {
    pub(super) const EMPTY: Self = Self {
        id: None,
        pending: 0,
    };

    #[inline]
    pub(super) fn add(&mut self, by: u64) {
        self.pending = self.pending.saturating_add(by);
    }

    pub(super) const fn is_dirty(&self) -> bool {
        self.pending != 0
    }

    pub(super) fn push(
        &mut self,
        host: &impl Stats,
        name: impl FnOnce() -> Option<String>,
    ) -> Result<(), Failed> {
        if !self.is_dirty() {
            return Ok(());
        }
        let id = self.define(host, StatKind::Counter, name)?;
        let by = i64::try_from(self.pending).unwrap_or(i64::MAX);
        host.increment_metric(id, by)?;
        self.pending = self.pending.saturating_sub(by.unsigned_abs());
        Ok(())
    }

    pub(super) fn define(
        &mut self,
        host: &impl Stats,
        kind: StatKind,
        name: impl FnOnce() -> Option<String>,
    ) -> Result<MetricId, Failed> {
        if let Some(id) = self.id {
            return Ok(id);
        }
        let name = name().ok_or(Failed(HostCall::DefineMetric))?;
        let id = host.define_metric(kind, &name)?;
        self.id = Some(id);
        Ok(id)
    }
}

/// Counters of one stat, one for each value of its label; a stat without a
/// label besides `service` has one.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    stat: Stat,
    service: Box<str>,
    values: Vec<Box<str>>,
    slots: Vec<Slot>,
    /// How many of them appear at 0 before they are needed; the first ones.
    shown: usize,
}

impl Counters {
    /// A counter without a label besides `service`; it appears at 0.
    fn plain(stat: Stat, service: &str) -> Self {
        Self::new(stat, service, [""; 0], 1)
    }

    fn new(
        stat: Stat,
        service: &str,
        values: impl IntoIterator<Item = impl AsRef<str>>,
        shown: usize,
    ) -> Self {
        let values: Vec<Box<str>> = values
            .into_iter()
            .map(|value| value.as_ref().into())
            .collect();
        let slots = vec![Slot::EMPTY; values.len().max(1)];
        Self {
            stat,
            service: service.into(),
            values,
            slots,
            shown,
        }
    }

    #[inline]
    pub(super) fn add(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.add(1);
        }
    }

    fn define(&mut self, host: &impl Stats) -> Result<(), Failed> {
        for (index, slot) in self.slots.iter_mut().enumerate().take(self.shown) {
            let value = self.values.get(index).map(AsRef::as_ref);
            slot.define(host, self.stat.kind, || {
                name(&self.stat, &self.service, value)
            })?;
        }
        Ok(())
    }

    fn push(&mut self, host: &impl Stats, failed: &mut impl FnMut(Failed)) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let value = self.values.get(index).map(AsRef::as_ref);
            if let Err(error) = slot.push(host, || name(&self.stat, &self.service, value)) {
                failed(error);
            }
        }
    }
}

fn name(stat: &Stat, service: &str, value: Option<&str>) -> Option<String> {
    let mut values = vec![service];
    values.extend(value);
    stat_name::encode(stat, &values).ok()
}

/// A gauge that is set to the last value seen.
#[derive(Clone, Debug)]
pub(super) struct Gauge {
    stat: Stat,
    name: Option<String>,
    slot: Slot,
    pending: Option<u64>,
}

impl Gauge {
    fn new(stat: Stat, values: &[&str]) -> Self {
        Self {
            stat,
            name: stat_name::encode(&stat, values).ok(),
            slot: Slot::EMPTY,
            pending: None,
        }
    }

    pub(super) fn set(&mut self, value: u64) {
        self.pending = Some(value);
    }

    fn define(&mut self, host: &impl Stats) -> Result<MetricId, Failed> {
        let name = &self.name;
        self.slot.define(host, self.stat.kind, || name.clone())
    }

    fn push(&mut self, host: &impl Stats) -> Result<(), Failed> {
        let Some(value) = self.pending else {
            return Ok(());
        };
        let id = self.define(host)?;
        host.record_metric(id, value)?;
        self.pending = None;
        Ok(())
    }
}

/// Sets a gauge once, as a constant of the configuration.
pub(super) fn set_constant(
    host: &impl Stats,
    stat: Stat,
    values: &[&str],
    value: u64,
) -> Result<(), Failed> {
    let mut gauge = Gauge::new(stat, values);
    gauge.set(value);
    gauge.push(host)
}

/// All stats of one number.
#[derive(Clone, Debug)]
pub(super) struct Scalars {
    pub(super) excluded: Counters,
    pub(super) internal_redirects: Counters,
    pub(super) unparsed: Counters,
    incomplete: Counters,
    pub(super) overflows: Counters,
    pub(super) ticks: Counters,
    /// By index of `RESPONSE_FLAGS`; the last is for flags not known here.
    pub(super) local_replies: Counters,
    /// By place in the list of watched headers; the last is for CMCD.
    pub(super) signal_errors: Counters,
    /// By index of `HostCall::ALL`.
    pub(super) errors: Counters,
    pub(super) sessions_evicted: Counters,
    pub(super) series: Gauge,
    active: Slot,
    active_name: Option<String>,
    active_change: i64,
}

impl Scalars {
    /// `signals` are the values of the label of `gatemeter_signal_errors_total`.
    pub(super) fn new<'s>(
        config: &PluginConfig,
        signals: impl IntoIterator<Item = &'s str>,
    ) -> Self {
        let service = config.service.as_str();
        let plain = |stat: Stat| Counters::plain(stat, service);
        let players = usize::from(config.signals.players.any());
        Self {
            excluded: plain(catalog::EXCLUDED),
            internal_redirects: plain(catalog::INTERNAL_REDIRECTS),
            unparsed: plain(catalog::UNPARSED),
            incomplete: Counters::new(
                catalog::RESPONSES_INCOMPLETE,
                service,
                [DOWNSTREAM_RESET],
                1,
            ),
            overflows: plain(catalog::SERIES_OVERFLOWS),
            ticks: plain(catalog::TICKS),
            local_replies: Counters::new(
                catalog::LOCAL_REPLIES,
                service,
                (0..=RESPONSE_FLAGS.len()).map(reason_label),
                0,
            ),
            signal_errors: Counters::new(catalog::SIGNAL_ERRORS, service, signals, 0),
            sessions_evicted: Counters::new(catalog::SESSIONS_EVICTED, service, [""; 0], players),
            errors: Counters::new(
                catalog::FILTER_ERRORS,
                service,
                HostCall::ALL.map(HostCall::as_str),
                0,
            ),
            series: Gauge::new(catalog::SERIES, &[service]),
            active: Slot::EMPTY,
            active_name: stat_name::encode(&catalog::ACTIVE, &[service]).ok(),
            active_change: 0,
        }
    }

    /// Every list of counters; one that is missing here reaches no page.
    fn counters(&mut self) -> [&mut Counters; 10] {
        [
            &mut self.excluded,
            &mut self.internal_redirects,
            &mut self.unparsed,
            &mut self.incomplete,
            &mut self.overflows,
            &mut self.ticks,
            &mut self.local_replies,
            &mut self.signal_errors,
            &mut self.sessions_evicted,
            &mut self.errors,
        ]
    }

    /// Makes families without labels appear at 0. Adds to nothing: Envoy configures a canary and every worker.
    pub(super) fn define(&mut self, host: &impl Stats) -> Result<(), Failed> {
        for counters in self.counters() {
            counters.define(host)?;
        }
        self.series.define(host)?;
        let name = &self.active_name;
        self.active
            .define(host, StatKind::Gauge, || name.clone())
            .map(|_| ())
    }

    #[inline]
    pub(super) fn active(&mut self, change: i64) {
        self.active_change = self.active_change.wrapping_add(change);
    }

    pub(super) fn push(&mut self, host: &impl Stats) {
        let mut failures: Vec<Failed> = Vec::new();
        let mut failed = |error| failures.push(error);
        for counters in self.counters() {
            counters.push(host, &mut failed);
        }
        if let Err(error) = self.series.push(host) {
            failed(error);
        }
        if let Err(error) = self.push_active(host) {
            failed(error);
        }
        for Failed(call) in failures {
            self.errors.add(call as usize);
        }
    }

    fn push_active(&mut self, host: &impl Stats) -> Result<(), Failed> {
        if self.active_change == 0 {
            return Ok(());
        }
        let name = &self.active_name;
        let id = self.active.define(host, StatKind::Gauge, || name.clone())?;
        host.increment_metric(id, self.active_change)?;
        self.active_change = 0;
        Ok(())
    }
}
