//! The most that a plugin configuration can cost: series in Prometheus, stats
//! in Envoy. Counted from the closed sets of label values and from the cap on
//! label sets, whatever clients do.

use std::{collections::BTreeSet, fmt};

use gatemeter_core::{
    catalog::{
        CACHE_HITS, CACHE_MISSES, CATALOG, FILTER_ERRORS, Kind, LOCAL_REPLIES, Metric, Origin,
        Page, REQUESTS, RESPONSES_INCOMPLETE, SIGNAL_ERRORS,
    },
    host::HostCall,
    labels::{Method, RESPONSE_FLAGS},
    plugin_config::PluginConfig,
    recorder::RESERVE,
    signals::Signal,
};

/// The most that one configuration can cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Label sets of method, path and status, those for the overflow included.
    pub label_sets: u64,
    /// Series of `http_requests_total`.
    pub requests: u64,
    /// Series of the duration histogram: buckets, sums and counts.
    pub durations: u64,
    /// Series of all other metrics of the service.
    pub others: u64,
    /// Stats in Envoy.
    pub stats: u64,
}

impl Budget {
    /// The budget of a configuration.
    pub fn new(config: &PluginConfig) -> Self {
        let methods = len(Method::all().count());
        let max_series = u64::from(config.max_series);
        let routes = len(config.paths.routes().len());
        // With templates the paths are a closed set: these, and _UNMATCHED.
        let (possible, pairs) = if routes > 0 {
            let pairs = (routes + 1) * methods;
            (pairs * STATUSES, pairs)
        } else {
            (u64::MAX, u64::MAX)
        };
        let ordinary = possible.min(max_series);
        // Past the cap: the reserve, whose last set takes what finds no other.
        let overflow = if possible > max_series {
            u64::from(RESERVE)
        } else {
            0
        };
        // A pair of method and path exists where a set of it does.
        let pairs = pairs.min(ordinary) + overflow.min(methods);
        let label_sets = ordinary + overflow;

        let bins = len(config.buckets.bins());
        let others: u64 = CATALOG
            .iter()
            .filter(|metric| metric.page != Page::None && metric.origin != Origin::Bridge)
            .filter(|metric| metric.name != REQUESTS.name && metric.kind != Kind::Histogram)
            .map(|metric| series(metric, config))
            .sum();
        Self {
            label_sets,
            requests: label_sets,
            // Every bin is a bucket; the sum and the count come on top.
            durations: pairs * (bins + 2),
            others,
            stats: label_sets * (bins + 1)
                + pairs * (1 + u64::from(config.native_histogram))
                + others
                + bins,
        }
    }

    /// All series of the service in Prometheus.
    pub const fn series(&self) -> u64 {
        self.requests + self.durations + self.others
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in [
            ("label sets of method, path and status", self.label_sets),
            ("series in Prometheus", self.series()),
            ("  http_requests_total", self.requests),
            ("  http_request_duration_seconds", self.durations),
            ("  all others", self.others),
            ("stats in Envoy", self.stats),
        ] {
            writeln!(f, "{what:<40} {count:>9} at most")?;
        }
        Ok(())
    }
}

/// 100 to 599 and `_OTHER`.
const STATUSES: u64 = 501;

/// Series of a metric whose labels are all closed sets.
fn series(metric: &Metric, config: &PluginConfig) -> u64 {
    match metric.name {
        name if name == CACHE_HITS.name || name == CACHE_MISSES.name => {
            let types: BTreeSet<&str> = config
                .cache_types
                .iter()
                .map(|(_, cache_type)| cache_type.as_str())
                .chain([gatemeter_core::plugin_config::OTHER_CACHE])
                .collect();
            len(types.len())
        }
        // And `_OTHER`, for a flag that is not known yet.
        name if name == LOCAL_REPLIES.name => len(RESPONSE_FLAGS.len() + 1),
        // Cut by the client, cut by the upstream.
        name if name == RESPONSES_INCOMPLETE.name => 2,
        name if name == SIGNAL_ERRORS.name => len(Signal::ALL.len()),
        name if name == FILTER_ERRORS.name => len(HostCall::ALL.len()),
        _ => 1,
    }
}

fn len(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(json: &str) -> Budget {
        Budget::new(&PluginConfig::parse(json.as_bytes()).unwrap())
    }

    #[test]
    fn without_templates_the_cap_and_its_reserve_are_the_bound() {
        let budget = budget(r#"{"service": "api", "max_series": 1000}"#);
        assert_eq!(budget.label_sets, 1500);
        assert_eq!(budget.requests, 1500);
        // 1000 pairs, and one for each of the 11 methods of the overflow.
        assert_eq!(budget.durations, 1011 * 14);
        assert_eq!(budget.stats, 1500 * 13 + 1011 + budget.others + 12);
    }

    #[test]
    fn few_templates_bound_the_histograms_below_the_cap() {
        let budget = budget(r#"{"service": "api", "routes": ["/a", "/b"], "buckets": [1]}"#);
        assert_eq!(budget.label_sets, 5500);
        assert_eq!(budget.durations, (3 * 11 + 11) * 4);
    }

    #[test]
    fn a_cap_that_cannot_be_reached_needs_no_reserve() {
        let budget = budget(r#"{"service": "api", "routes": ["/a"], "max_series": 100000}"#);
        assert_eq!(budget.label_sets, 2 * 11 * 501);
        assert_eq!(budget.durations, 22 * 14);
    }

    #[test]
    fn native_histograms_and_cache_types_are_counted() {
        let plain = budget(r#"{"service": "api"}"#);
        let native = budget(r#"{"service": "api", "native_histogram": true}"#);
        assert_eq!(native.stats - plain.stats, 5011);
        let types = budget(
            r#"{"service": "api", "cache": {"types": {"a": "x", "b": "x", "c": "y", "d": "other"}}}"#,
        );
        assert_eq!(types.others - plain.others, 4);
    }

    /// A new label needs its number of values above.
    #[test]
    fn every_label_of_the_catalogue_has_its_number_of_values() {
        let counted = [
            REQUESTS,
            CACHE_HITS,
            CACHE_MISSES,
            LOCAL_REPLIES,
            RESPONSES_INCOMPLETE,
            SIGNAL_ERRORS,
            FILTER_ERRORS,
        ];
        for metric in CATALOG {
            let is_counted = counted.iter().any(|stat| stat.name == metric.name);
            let is_one_number = metric.labels.is_empty() || metric.labels == ["version"];
            assert!(
                is_counted
                    || is_one_number
                    || metric.kind == Kind::Histogram
                    || metric.origin == Origin::Bridge,
                "{} has labels {:?} whose values are not counted",
                metric.name,
                metric.labels
            );
        }
    }

    #[test]
    fn prints_one_line_a_number() {
        let text = budget(r#"{"service": "api"}"#).to_string();
        assert!(
            text.starts_with("label sets of method, path and status         5500 at most\n"),
            "{text}"
        );
    }
}
