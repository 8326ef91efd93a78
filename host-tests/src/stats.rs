//! The stat store of the proxy: counters, gauges and histograms by name, one
//! for all virtual machines, with the behaviour of Envoy 1.40.
//!
//! A name is taken as it is. Defining a known name gives a new id for the same
//! stat, each time. A counter refuses an offset of zero or less, and recording
//! on it adds. A gauge that falls below zero wraps. A histogram keeps its
//! samples in order, so a test can be exact where Envoy's sketch is not.

use std::collections::BTreeMap;

use crate::abi::{MetricType, Status};

/// The ids of one virtual machine: two low bits are the type, and each
/// definition takes the next number.
#[derive(Debug, Default)]
pub struct MetricIds {
    names: BTreeMap<u32, String>,
    defined: [u32; 3],
}

impl MetricIds {
    fn next(&mut self, kind: MetricType, name: &str) -> u32 {
        let kind = kind as u32;
        let index = usize::try_from(kind).unwrap_or_default();
        self.defined[index] += 1;
        let id = self.defined[index] * 4 + kind;
        self.names.insert(id, name.to_owned());
        id
    }

    /// How many ids were given out: what a leak of definitions shows in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no metric was defined.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn resolve(&self, id: u32) -> Result<(MetricType, &str), Status> {
        let kind = MetricType::try_from(id & 3)?;
        let name = self.names.get(&id).ok_or(Status::NOT_FOUND)?;
        Ok((kind, name))
    }
}

/// The stats, and a copy of them for a test to look at.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stats {
    counters: BTreeMap<String, u64>,
    gauges: BTreeMap<String, u64>,
    histograms: BTreeMap<String, Vec<u64>>,
}

impl Stats {
    /// Defines `name` for the virtual machine that owns `ids`. A stat that
    /// exists already keeps its value.
    pub fn define(&mut self, ids: &mut MetricIds, kind: MetricType, name: &str) -> u32 {
        match kind {
            MetricType::Counter => {
                self.counters.entry(name.to_owned()).or_default();
            }
            MetricType::Gauge => {
                self.gauges.entry(name.to_owned()).or_default();
            }
            MetricType::Histogram => {
                self.histograms.entry(name.to_owned()).or_default();
            }
        }
        ids.next(kind, name)
    }

    /// Adds `amount` to a counter of the proxy's own, which exists from now on.
    pub(crate) fn count(&mut self, name: String, amount: u64) {
        *self.counters.entry(name).or_default() += amount;
    }

    /// Adds `offset`.
    ///
    /// # Errors
    ///
    /// [`Status::BAD_ARGUMENT`] for a counter and an offset of zero or less,
    /// and for a histogram; [`Status::NOT_FOUND`] for an unknown id.
    pub fn increment(&mut self, ids: &MetricIds, id: u32, offset: i64) -> Result<(), Status> {
        if id & 3 == MetricType::Histogram as u32 {
            return Err(Status::BAD_ARGUMENT);
        }
        match ids.resolve(id)? {
            (MetricType::Counter, name) => {
                let offset = u64::try_from(offset).map_err(|_| Status::BAD_ARGUMENT)?;
                if offset == 0 {
                    return Err(Status::BAD_ARGUMENT);
                }
                let value = self.counters.get_mut(name).ok_or(Status::NOT_FOUND)?;
                *value = value.wrapping_add(offset);
            }
            (MetricType::Gauge, name) => {
                let value = self.gauges.get_mut(name).ok_or(Status::NOT_FOUND)?;
                *value = value.wrapping_add_signed(offset);
            }
            (MetricType::Histogram, _) => return Err(Status::BAD_ARGUMENT),
        }
        Ok(())
    }

    /// Records `value`: a counter adds it, a gauge is set to it, a histogram
    /// takes it as a sample.
    ///
    /// # Errors
    ///
    /// [`Status::NOT_FOUND`] for an unknown id.
    pub fn record(&mut self, ids: &MetricIds, id: u32, value: u64) -> Result<(), Status> {
        let (kind, name) = ids.resolve(id).map_err(|_| Status::NOT_FOUND)?;
        match kind {
            MetricType::Counter => {
                let counter = self.counters.get_mut(name).ok_or(Status::NOT_FOUND)?;
                *counter = counter.wrapping_add(value);
            }
            MetricType::Gauge => {
                *self.gauges.get_mut(name).ok_or(Status::NOT_FOUND)? = value;
            }
            MetricType::Histogram => self
                .histograms
                .get_mut(name)
                .ok_or(Status::NOT_FOUND)?
                .push(value),
        }
        Ok(())
    }

    /// The present value.
    ///
    /// # Errors
    ///
    /// [`Status::BAD_ARGUMENT`] for a histogram, [`Status::NOT_FOUND`] for an
    /// unknown id.
    pub fn value(&self, ids: &MetricIds, id: u32) -> Result<u64, Status> {
        if id & 3 == MetricType::Histogram as u32 {
            return Err(Status::BAD_ARGUMENT);
        }
        let stat = match ids.resolve(id)? {
            (MetricType::Counter, name) => self.counters.get(name),
            (MetricType::Gauge, name) => self.gauges.get(name),
            (MetricType::Histogram, _) => None,
        };
        stat.copied().ok_or(Status::NOT_FOUND)
    }

    /// The counter with this name, without Envoy's `wasmcustom.` before it.
    #[must_use]
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.get(name).copied()
    }

    /// The gauge with this name. Below zero it is what is left after wrapping,
    /// a number near 2^64.
    #[must_use]
    pub fn gauge(&self, name: &str) -> Option<u64> {
        self.gauges.get(name).copied()
    }

    /// The samples of the histogram with this name, in the order they came.
    #[must_use]
    pub fn histogram(&self, name: &str) -> Option<&[u64]> {
        self.histograms.get(name).map(Vec::as_slice)
    }

    /// All names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .counters
            .keys()
            .chain(self.gauges.keys())
            .chain(self.histograms.keys())
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        names
    }

    /// The counters of one metric, that is those whose name up to the first
    /// dot is `metric`, with their full names.
    pub fn series<'stats>(
        &'stats self,
        metric: &str,
    ) -> impl Iterator<Item = (&'stats str, u64)> + use<'stats> {
        let metric = metric.to_owned();
        self.counters
            .iter()
            .filter(move |(name, _)| metric_of(name) == metric)
            .map(|(name, value)| (name.as_str(), *value))
    }

    /// The sum of the counters of one metric.
    #[must_use]
    pub fn sum(&self, metric: &str) -> u64 {
        self.series(metric).map(|(_, value)| value).sum()
    }

    /// Asserts that the counter `name` has the value `expected`.
    ///
    /// # Panics
    ///
    /// If it does not; the message lists the stats that share the metric, since
    /// a wrong label is the usual reason.
    #[track_caller]
    pub fn assert_counter(&self, name: &str, expected: u64) {
        self.assert_value("counter", name, self.counter(name), expected);
    }

    /// Asserts that the gauge `name` has the value `expected`.
    ///
    /// # Panics
    ///
    /// As [`Stats::assert_counter`].
    #[track_caller]
    pub fn assert_gauge(&self, name: &str, expected: u64) {
        self.assert_value("gauge", name, self.gauge(name), expected);
    }

    #[track_caller]
    fn assert_value(&self, kind: &str, name: &str, found: Option<u64>, expected: u64) {
        assert!(
            found == Some(expected),
            "{kind} {name} is {}, expected {expected}\n{}",
            found.map_or_else(|| "not there".to_owned(), |value| value.to_string()),
            self.near(name),
        );
    }

    /// Asserts that no counter of that name exists, or that it is a zero.
    ///
    /// # Panics
    ///
    /// As [`Stats::assert_counter`].
    #[track_caller]
    pub fn assert_uncounted(&self, name: &str) {
        let found = self.counter(name).unwrap_or_default();
        assert!(
            found == 0,
            "counter {name} is {found}, expected none\n{}",
            self.near(name),
        );
    }

    /// Asserts that the counters of `metric` that are not zero are exactly
    /// `expected`, given as the rest of the name after the metric.
    ///
    /// # Panics
    ///
    /// If they are not; the message shows both lists.
    #[track_caller]
    pub fn assert_series(&self, metric: &str, expected: &[(&str, u64)]) {
        let mut wanted: Vec<(String, u64)> = expected
            .iter()
            .map(|(rest, value)| ((*rest).to_owned(), *value))
            .collect();
        wanted.sort();
        let found: Vec<(String, u64)> = self
            .series(metric)
            .filter(|(_, value)| *value > 0)
            .map(|(name, value)| {
                let rest = name[metric.len()..].trim_start_matches('.');
                (rest.to_owned(), value)
            })
            .collect();
        assert!(
            found == wanted,
            "series of {metric} are\n{}expected\n{}{}",
            list(&found),
            list(&wanted),
            if found.is_empty() {
                self.near(metric)
            } else {
                String::new()
            },
        );
    }

    fn near(&self, name: &str) -> String {
        let metric = metric_of(name);
        let all = self
            .counters
            .iter()
            .map(|(name, value)| (name, value.to_string()))
            .chain(
                self.gauges
                    .iter()
                    .map(|(name, value)| (name, format!("{value} (gauge)"))),
            )
            .chain(
                self.histograms
                    .iter()
                    .map(|(name, samples)| (name, format!("{samples:?} (histogram)"))),
            );
        let same: Vec<String> = all
            .filter(|(name, _)| metric_of(name) == metric)
            .map(|(name, value)| format!("  {name}: {value}\n"))
            .collect();
        if !same.is_empty() {
            return format!("stats of {metric}:\n{}", same.concat());
        }
        let mut metrics: Vec<&str> = self.names().into_iter().map(metric_of).collect();
        metrics.dedup();
        format!("no stat of {metric}; there are: {}", metrics.join(", "))
    }
}

fn metric_of(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn list(series: &[(String, u64)]) -> String {
    if series.is_empty() {
        return "  (none)\n".to_owned();
    }
    series
        .iter()
        .map(|(name, value)| format!("  {name}: {value}\n"))
        .collect()
}

#[cfg(test)]
#[path = "stats/tests.rs"]
mod tests;
