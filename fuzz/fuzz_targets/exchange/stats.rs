//! The proxy's stats, taken apart by the codec, and what must hold of them
//! whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use gatemeter_core::buckets::{INFINITY, parse_seconds};
use gatemeter_core::catalog::{LE, REQUEST_DURATION};
use gatemeter_core::host::HostCall;
use gatemeter_core::path_label::OVERFLOW;
use gatemeter_core::plugin_config::OTHER_CACHE;
use gatemeter_core::signals::RESPONSE_HEADERS;
use gatemeter_core::stat_name;
use gatemeter_fuzz::proxy::Proxy;

/// The proxy's stats, taken apart.
pub(crate) struct StatPage(Vec<(&'static str, BTreeMap<&'static str, String>, u64)>);

impl StatPage {
    /// All stats of `proxy`, which must have names of the codec.
    pub(crate) fn new(proxy: &Proxy) -> Self {
        let values = proxy.values();
        let lines = values.iter().map(|(name, value)| {
            let decoded = stat_name::decode(name).expect("a name of the codec");
            let labels = decoded.stat.labels.iter().copied();
            let values = decoded.values.iter().map(|value| value.to_string());
            (decoded.stat.name, labels.zip(values).collect(), *value)
        });
        Self(lines.collect())
    }

    /// The sum of a stat over all labels.
    pub(crate) fn sum(&self, stat: &str) -> u64 {
        self.0
            .iter()
            .filter(|line| line.0 == stat)
            .map(|line| line.2)
            .sum()
    }

    /// The sum of a stat where `label` has this value.
    pub(crate) fn with(&self, stat: &str, label: &str, value: &str) -> u64 {
        let is_it = |labels: &BTreeMap<_, String>| labels.get(label).is_some_and(|v| v == value);
        let lines = self
            .0
            .iter()
            .filter(|line| line.0 == stat && is_it(&line.1));
        lines.map(|line| line.2).sum()
    }

    /// Label sets with a place of their own, and those of the overflow.
    pub(crate) fn sets(&self) -> (usize, usize) {
        let sets = self.0.iter().filter(|line| line.0 == "http_requests_total");
        let (overflow, ordinary): (BTreeSet<_>, BTreeSet<_>) = sets
            .map(|line| &line.1)
            .partition(|labels| labels["path"] == OVERFLOW);
        (ordinary.len(), overflow.len())
    }

    /// No label has a value that a client or service could make up.
    pub(crate) fn labels_are_closed(&self) {
        let calls = HostCall::ALL.map(HostCall::as_str);
        for (stat, labels, _) in &self.0 {
            for (label, value) in labels {
                let is_known = match *label {
                    "path" => !value.contains(['?', '#']) && value.is_ascii(),
                    "cache_type" => value == "redis" || value == OTHER_CACHE,
                    "signal" => RESPONSE_HEADERS.contains(&value.as_str()) || value == "cmcd",
                    "metric" => value == REQUEST_DURATION || value.ends_with("_duration_seconds"),
                    "reason" if *stat == "gatemeter_filter_errors_total" => {
                        calls.contains(&value.as_str())
                    }
                    _ => value.len() <= 16,
                };
                assert!(is_known, "{stat} {label}={value}");
            }
        }
    }

    /// The sum of a method and path lies between what its bins allow.
    pub(crate) fn sums_fit_their_bins(&self) {
        let mut ranges: BTreeMap<(&str, &str), (u128, Option<u128>)> = BTreeMap::new();
        let bins = || {
            self.0
                .iter()
                .filter(|l| l.0 == "http_request_duration_seconds_bin")
        };
        let bounds: BTreeSet<u64> = self
            .0
            .iter()
            .filter(|line| {
                line.0 == "gatemeter_bucket_bound" && line.1["metric"] == REQUEST_DURATION
            })
            .filter_map(|line| parse_seconds(&line.1[LE]))
            .collect();
        for (_, labels, count) in bins() {
            let count = u128::from(*count);
            let le = parse_seconds(&labels[LE]);
            assert!(le.is_some() || labels[LE] == INFINITY);
            let below = bounds.range(..le.unwrap_or(u64::MAX)).next_back();
            let range = ranges
                .entry((&labels["method"], &labels["path"]))
                .or_insert((0, Some(0)));
            range.0 += count * below.map_or(0, |bound| u128::from(*bound) + 1);
            range.1 = range
                .1
                .zip(le)
                .map(|(sum, le)| sum + count * u128::from(le));
        }
        for (_, labels, sum) in self
            .0
            .iter()
            .filter(|l| l.0 == "http_request_duration_nanoseconds_sum")
        {
            let (least, most) = ranges[&(labels["method"].as_str(), labels["path"].as_str())];
            let sum = u128::from(*sum);
            assert!(
                sum >= least && most.is_none_or(|most| sum <= most),
                "{labels:?} {sum}"
            );
        }
    }
}
