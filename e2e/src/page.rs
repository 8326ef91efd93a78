//! A metrics page, read with a parser that is not ours.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use prometheus_parse::{Scrape, Value};

use crate::ledger::Labels;

/// Labels of a sample, by name.
pub type LabelSet = BTreeMap<String, String>;

/// The samples of one page in the text format 0.0.4.
#[derive(Clone, Debug)]
pub struct Page {
    text: String,
    samples: BTreeMap<(String, LabelSet), f64>,
    buckets: BTreeMap<(String, LabelSet), Vec<(f64, u64)>>,
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    ///
    /// A line is no comment and no sample, or a sample stands twice.
    pub fn parse(text: &str) -> Result<Self> {
        let written = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .count();
        let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned())))?;
        let mut page = Self {
            text: text.to_owned(),
            samples: BTreeMap::new(),
            buckets: BTreeMap::new(),
        };
        let mut read = 0;
        for sample in scrape.samples {
            let labels: LabelSet = sample
                .labels
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            let key = (sample.metric, labels);
            match sample.value {
                Value::Histogram(bins) => {
                    read += bins.len();
                    let bins = bins
                        .into_iter()
                        .map(|bin| Ok((bin.less_than, whole(bin.count)?)))
                        .collect::<Result<_>>()?;
                    page.buckets.insert(key, bins);
                }
                Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => {
                    read += 1;
                    if page.samples.insert(key.clone(), value).is_some() {
                        bail!("{} {:?} stands twice", key.0, key.1);
                    }
                }
                Value::Summary(_) => bail!("{} is a summary", key.0),
            }
        }
        ensure!(
            read == written,
            "{written} lines look like samples, {read} could be read"
        );
        Ok(page)
    }

    /// The page as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of the sample with exactly these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.samples
            .get(&(name.to_owned(), label_set(labels)))
            .copied()
    }

    /// Like [`Self::value`], for a count.
    ///
    /// # Errors
    ///
    /// There is no such sample, or it is no whole number.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
        let value = self.value(name, labels).with_context(|| {
            format!("the page has no {name} with exactly the labels {labels:?}")
        })?;
        whole(value)
    }

    /// All samples of a name.
    pub fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a LabelSet, f64)> {
        self.samples
            .iter()
            .filter(move |((metric, _), _)| metric == name)
            .map(|((_, labels), value)| (labels, *value))
    }

    /// The sum over all samples of a name that carry these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name)
            .filter(|(set, _)| {
                labels
                    .iter()
                    .all(|(label, value)| set.get(*label).is_some_and(|v| v == value))
            })
            .map(|(_, value)| value)
            .sum()
    }

    /// By how much the cumulative buckets of a histogram rose since `before`,
    /// over all label sets that carry these labels; with their bounds.
    pub fn rise(&self, before: &Self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let of = |page: &Self| {
            let mut sums: Vec<(f64, f64)> = Vec::new();
            for ((metric, set), bins) in &page.buckets {
                let has =
                    |(label, value): &(&str, &str)| set.get(*label).is_some_and(|v| v == value);
                if metric != name || !labels.iter().all(has) {
                    continue;
                }
                sums.resize(bins.len(), (0.0, 0.0));
                for (sum, (bound, count)) in sums.iter_mut().zip(bins) {
                    *sum = (*bound, sum.1 + *count as f64);
                }
            }
            sums
        };
        let before = of(before);
        let now = of(self).into_iter().enumerate();
        now.map(|(at, (bound, count))| {
            let was = before.get(at).map_or(0.0, |(_, count)| *count);
            (bound, count - was)
        })
        .collect()
    }

    /// `http_requests_total` by method, path and status: of one service on a
    /// page of all, or of a page that shows no service.
    ///
    /// # Errors
    ///
    /// A sample lacks one of the labels or has another one.
    pub fn requests(&self, service: Option<&str>) -> Result<BTreeMap<Labels, u64>> {
        let mut requests = BTreeMap::new();
        for (labels, value) in self.samples("http_requests_total") {
            if !is_of(labels, service) {
                continue;
            }
            let label = |name: &str| {
                labels
                    .get(name)
                    .cloned()
                    .with_context(|| format!("http_requests_total has no {name} in {labels:?}"))
            };
            ensure!(
                labels.len() == 3 + usize::from(service.is_some()),
                "http_requests_total has the labels {labels:?}"
            );
            requests.insert(
                (label("method")?, label("path")?, label("status")?),
                whole(value)?,
            );
        }
        Ok(requests)
    }

    /// Checks that for each method and path the histogram's count, its last
    /// bucket and the sum of `http_requests_total` over status are the same,
    /// that its eleven bounds are those of the guide and that its buckets
    /// never fall. Gives the number of method and path pairs.
    ///
    /// # Errors
    ///
    /// One of these is not so.
    pub fn check_consistent(&self, service: Option<&str>) -> Result<usize> {
        let mut totals: BTreeMap<LabelSet, u64> = BTreeMap::new();
        for (labels, value) in self.samples("http_requests_total") {
            let mut labels = labels.clone();
            labels.remove("status");
            *totals.entry(labels).or_default() += whole(value)?;
        }
        totals.retain(|labels, _| is_of(labels, service));
        let name = "http_request_duration_seconds";
        let mut counts = BTreeMap::new();
        for (labels, value) in self.samples("http_request_duration_seconds_count") {
            if is_of(labels, service) {
                counts.insert(labels.clone(), whole(value)?);
            }
        }
        ensure!(
            totals == counts,
            "http_requests_total {totals:?} is not {name}_count {counts:?}"
        );
        for (labels, count) in &counts {
            let bins = self
                .buckets
                .get(&(name.to_owned(), labels.clone()))
                .with_context(|| format!("no buckets for {labels:?}"))?;
            let bounds: Vec<f64> = bins.iter().map(|(bound, _)| *bound).collect();
            ensure!(bounds == BOUNDS, "bounds {bounds:?} for {labels:?}");
            ensure!(
                bins.is_sorted_by_key(|(_, count)| *count),
                "buckets fall for {labels:?}: {bins:?}"
            );
            let last = bins.last().map(|(_, count)| *count);
            ensure!(
                last == Some(*count),
                "last bucket {last:?} for {labels:?}, count {count}"
            );
        }
        Ok(counts.len())
    }
}

/// The guide's bounds in seconds, and the last one.
pub const BOUNDS: [f64; 12] = [
    0.001,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    f64::INFINITY,
];

fn is_of(labels: &LabelSet, service: Option<&str>) -> bool {
    labels.get("service").map(String::as_str) == service
}

fn label_set(labels: &[(&str, &str)]) -> LabelSet {
    labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn whole(value: f64) -> Result<u64> {
    ensure!(
        value >= 0.0 && value.fract() == 0.0 && value < 9e15,
        "{value} is no count"
    );
    // Checked above: whole and exactly representable.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(value as u64)
}
