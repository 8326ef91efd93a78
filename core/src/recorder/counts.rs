//! Counters by the ten thousand: eight bytes for each, and no count is lost.
//!
//! Every label set has a bin for each bound, and a worker holds all of them, so
//! what is to be pushed of one is 32 bits wide. They are enough for four
//! billion requests between two pushes. Where the proxy refuses for so long,
//! what is pending moves to a list beside them, and is pushed from there.

use crate::catalog::StatKind;
use crate::host::{Failed, HostCall, MetricId, Stats};

/// No metric: ids of Envoy never look like it. A host that gives it is asked for
/// an id again each time.
const UNDEFINED: MetricId = MetricId(u32::MAX);

/// A counter of the host, defined on first use, and what is still to be pushed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    id: MetricId,
    pending: u32,
}

/// Which counter of the list it is: the place of its label set, and its bin.
pub(super) type Which = (usize, usize);

impl Count {
    pub(super) const EMPTY: Self = Self {
        id: UNDEFINED,
        pending: 0,
    };

    /// Counts one. What was pending is returned where there is no room for more,
    /// to be [`Spilled`].
    #[inline]
    pub(super) fn add(&mut self) -> Option<u32> {
        match self.pending.checked_add(1) {
            Some(pending) => {
                self.pending = pending;
                None
            }
            None => Some(std::mem::replace(&mut self.pending, 1)),
        }
    }

    /// Pushes what is pending, here and in the list, and returns how much it was.
    pub(super) fn push(
        &mut self,
        host: &impl Stats,
        spilled: &mut Spilled,
        which: Which,
        name: impl FnOnce() -> Option<String>,
    ) -> Result<u64, Failed> {
        // What spilled leaves one behind that is pending.
        if self.pending == 0 {
            return Ok(0);
        }
        if self.id == UNDEFINED {
            let name = name().ok_or(Failed(HostCall::DefineMetric))?;
            self.id = host.define_metric(StatKind::Counter, &name)?;
        }
        let by = spilled.of(which).saturating_add(self.pending.into());
        // A proxy would have to refuse for thousands of years.
        host.increment_metric(self.id, i64::try_from(by).unwrap_or(i64::MAX))?;
        spilled.forget(which);
        self.pending = 0;
        Ok(by)
    }
}

/// What counters had no room for, which hardly ever happens.
#[derive(Clone, Debug, Default)]
pub(super) struct Spilled {
    counts: Vec<(Which, u64)>,
}

impl Spilled {
    #[cold]
    pub(super) fn add(&mut self, which: Which, by: u32) {
        let known = self.counts.iter_mut().find(|(known, _)| *known == which);
        match known {
            Some((_, count)) => *count = count.saturating_add(by.into()),
            None => self.counts.push((which, by.into())),
        }
    }

    fn of(&self, which: Which) -> u64 {
        let known = self.counts.iter().find(|(known, _)| *known == which);
        known.map_or(0, |(_, count)| *count)
    }

    fn forget(&mut self, which: Which) {
        if !self.counts.is_empty() {
            self.counts.retain(|(known, _)| *known != which);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeProxy;

    const NAME: &str = "http_requests_total.service=api";

    #[test]
    fn more_than_32_bits_of_counts_are_kept_until_they_can_be_pushed() {
        let proxy = FakeProxy::default();
        let mut spilled = Spilled::default();
        let mut full = Count {
            pending: u32::MAX,
            ..Count::EMPTY
        };
        let mut other = Count::EMPTY;
        assert_eq!(other.add(), None);
        // Three times as many requests as there is room for, and two.
        for _ in 0..2 {
            let more = full.add().expect("there is no room");
            spilled.add((3, 7), more);
            full.pending = u32::MAX;
        }
        let more = full.add().expect("there is no room");
        spilled.add((3, 7), more);
        assert_eq!(full.add(), None);
        let all = 3 * u64::from(u32::MAX) + 2;

        let name = || Some(NAME.to_owned());
        for call in [HostCall::DefineMetric, HostCall::IncrementMetric] {
            proxy.fail(call);
            let refused = full.push(&proxy, &mut spilled, (3, 7), name);
            assert_eq!(refused, Err(Failed(call)));
            proxy.heal();
        }
        let pushed = full.push(&proxy, &mut spilled, (3, 7), name);
        assert_eq!(pushed, Ok(all));
        assert_eq!(proxy.stat(NAME), Some(all));
        // Nothing is pushed twice, and nothing of another.
        assert_eq!(full.push(&proxy, &mut spilled, (3, 7), name), Ok(0));
        assert_eq!(other.push(&proxy, &mut spilled, (3, 8), name), Ok(1));
        assert_eq!(proxy.stat(NAME), Some(all + 1));
    }

    #[test]
    fn a_counter_of_a_label_set_takes_eight_bytes() {
        assert_eq!(size_of::<Count>(), 8);
    }
}
