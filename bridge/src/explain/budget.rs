//! The most that a plugin configuration can cost: series in Prometheus, stats
//! in Envoy. Counted from the closed sets of label values and from the cap on
//! label sets, whatever clients do.

use std::{collections::BTreeSet, fmt};

use gatemeter_core::{
    buckets::Buckets,
    catalog::{
        CACHE_HITS, CACHE_MISSES, CACHE_RESPONSE_BYTES, CACHE_RESPONSES, CATALOG, FILTER_ERRORS,
        LOCAL_REPLIES, Metric, Origin, Page, REQUEST_BYTES, REQUEST_DURATION, REQUESTS,
        RESPONSE_BYTES, RESPONSES_INCOMPLETE, SIGNAL_ERRORS,
    },
    host::HostCall,
    labels::{Method, RESPONSE_FLAGS},
    plugin_config::{OTHER_CACHE, PluginConfig},
    recorder::{MOST_TYPES, RESERVE},
    signals::{CacheResult, RESPONSE_HEADERS},
};

/// The most that one configuration can cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Label sets of method, path and status, those for the overflow included.
    pub label_sets: u64,
    /// Series in Prometheus by metric, in the order of the pages; a histogram's
    /// are its buckets, sums and counts.
    pub metrics: Vec<(String, u64)>,
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
        let mut metrics = vec![
            (REQUESTS.name.to_owned(), label_sets),
            // Every bin is a bucket; the sum and the count come on top.
            (REQUEST_DURATION.to_owned(), pairs * (bins + 2)),
        ];
        let mut stats = label_sets * (bins + 1)
            + pairs * (1 + u64::from(config.native_histogram))
            // The bounds.
            + bins;
        if config.bytes_per_route {
            for stat in [REQUEST_BYTES, RESPONSE_BYTES] {
                metrics.push((stat.name.to_owned(), pairs));
                stats += pairs;
            }
        }
        for metric in CATALOG {
            let others = closed(metric, config);
            if others > 0 {
                metrics.push((metric.name.to_owned(), others));
                stats += others;
            }
        }
        for (name, rule) in rules(config) {
            metrics.push((name, rule.series));
            stats += rule.stats;
        }
        Self {
            label_sets,
            metrics,
            stats,
        }
    }

    /// All series of the service in Prometheus.
    pub fn series(&self) -> u64 {
        self.metrics.iter().map(|(_, series)| series).sum()
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |what: &str, count: u64| writeln!(f, "{what:<44} {count:>9} at most");
        line("label sets of method, path and status", self.label_sets)?;
        line("series in Prometheus", self.series())?;
        for (metric, series) in &self.metrics {
            line(&format!("  {metric}"), *series)?;
        }
        line("stats in Envoy", self.stats)
    }
}

/// 100 to 599 and `_OTHER`.
const STATUSES: u64 = 501;

/// Series of a metric whose labels are closed sets; 0 for one that depends on
/// label sets or on rules, or that no page shows.
fn closed(metric: &Metric, config: &PluginConfig) -> u64 {
    if metric.page == Page::None || matches!(metric.origin, Origin::Bridge | Origin::Rule) {
        return 0;
    }
    let is = |name: &str| metric.name == name;
    let results = len(CacheResult::ALL.len());
    match metric.name {
        _ if is(REQUESTS.name) || is(REQUEST_DURATION) => 0,
        _ if is(REQUEST_BYTES.name) || is(RESPONSE_BYTES.name) => 0,
        _ if is(CACHE_HITS.name) || is(CACHE_MISSES.name) => cache_types(config),
        _ if is(CACHE_RESPONSES.name) => cache_types(config) * results,
        _ if is(CACHE_RESPONSE_BYTES.name) => {
            cache_types(config) * results * u64::from(config.cache.bytes)
        }
        // And `_OTHER`, for a flag that is not known yet.
        _ if is(LOCAL_REPLIES.name) => len(RESPONSE_FLAGS.len() + 1),
        // Cut by the client, cut by the upstream.
        _ if is(RESPONSES_INCOMPLETE.name) => 2,
        _ if is(SIGNAL_ERRORS.name) => {
            let gauges = config
                .signals
                .gauges
                .iter()
                .map(|rule| rule.header.as_str());
            let headers: BTreeSet<&str> = RESPONSE_HEADERS.into_iter().chain(gauges).collect();
            len(headers.len()) + u64::from(config.signals.players.any())
        }
        _ if is(FILTER_ERRORS.name) => len(HostCall::ALL.len()),
        _ => 1,
    }
}

fn cache_types(config: &PluginConfig) -> u64 {
    match &config.cache.types {
        None => len(MOST_TYPES + 1),
        Some(types) => {
            let labels = types.iter().map(|(_, label)| label.as_str());
            let labels: BTreeSet<&str> = labels.chain([OTHER_CACHE]).collect();
            len(labels.len())
        }
    }
}

/// What a metric of a rule costs.
struct Rule {
    series: u64,
    stats: u64,
}

impl Rule {
    fn numbers(count: usize) -> Self {
        let count = len(count);
        Self {
            series: count,
            stats: count,
        }
    }

    fn histogram(buckets: &Buckets) -> Self {
        let bins = len(buckets.bins());
        Self {
            series: bins + 2,
            // The bins, their bounds, the sum.
            stats: 2 * bins + 1,
        }
    }
}

fn rules(config: &PluginConfig) -> Vec<(String, Rule)> {
    let signals = &config.signals;
    let mut rules = Vec::new();
    for rule in &signals.counters {
        let values: BTreeSet<_> = rule.cases.iter().map(|case| &case.values).collect();
        rules.push((rule.family.name.clone(), Rule::numbers(values.len())));
    }
    for rule in &signals.timings {
        rules.push((rule.family.name.clone(), Rule::histogram(&rule.buckets)));
    }
    for rule in &signals.gauges {
        rules.push((rule.family.name.clone(), Rule::numbers(1)));
    }
    let players = &signals.players;
    if let Some(buckets) = &players.start {
        let name = "stream_init_duration_seconds".to_owned();
        rules.push((name, Rule::histogram(buckets)));
    }
    if players.bitrate {
        let name = "stream_bitrate_changes_total".to_owned();
        rules.push((name, Rule::numbers(2)));
    }
    if players.buffer {
        let name = "stream_buffer_events_total".to_owned();
        rules.push((name, Rule::numbers(1)));
    }
    rules
}

fn len(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use gatemeter_core::catalog::Kind;

    use super::*;

    fn of(budget: &Budget, metric: &str) -> u64 {
        let found = budget.metrics.iter().find(|(name, _)| name == metric);
        found.unwrap_or_else(|| panic!("no {metric}")).1
    }

    fn budget(json: &str) -> Budget {
        Budget::new(&PluginConfig::parse(json.as_bytes()).unwrap())
    }

    #[test]
    fn without_templates_the_cap_and_its_reserve_are_the_bound() {
        let budget = budget(r#"{"service": "api", "max_series": 1000}"#);
        assert_eq!(budget.label_sets, 1500);
        assert_eq!(of(&budget, "http_requests_total"), 1500);
        // 1000 pairs, and one for each of the 11 methods of the overflow.
        assert_eq!(of(&budget, "http_request_duration_seconds"), 1011 * 14);
        let others = budget.series() - 1500 - 1011 * 14;
        assert_eq!(budget.stats, 1500 * 13 + 1011 + others + 12);
    }

    #[test]
    fn few_templates_bound_the_histograms_below_the_cap() {
        let budget = budget(r#"{"service": "api", "routes": ["/a", "/b"], "buckets": [1]}"#);
        assert_eq!(budget.label_sets, 5500);
        let durations = (3 * 11 + 11) * 4;
        assert_eq!(of(&budget, "http_request_duration_seconds"), durations);
    }

    #[test]
    fn a_cap_that_cannot_be_reached_needs_no_reserve() {
        let budget = budget(r#"{"service": "api", "routes": ["/a"], "max_series": 100000}"#);
        assert_eq!(budget.label_sets, 2 * 11 * 501);
        assert_eq!(of(&budget, "http_request_duration_seconds"), 22 * 14);
    }

    #[test]
    fn native_histograms_and_cache_types_are_counted() {
        let plain = budget(r#"{"service": "api"}"#);
        let native = budget(r#"{"service": "api", "native_histogram": true}"#);
        assert_eq!(native.stats - plain.stats, 5011);
        assert_eq!(of(&plain, "cache_hits_total"), 17);
        let types = r#"{"a": "x", "b": "x", "c": "y", "d": "other"}"#;
        let types = budget(&format!(
            r#"{{"service": "api", "cache": {{"types": {types}, "bytes": true}}}}"#
        ));
        assert_eq!(of(&types, "cache_hits_total"), 3);
        assert_eq!(of(&types, "cache_response_bytes_total"), 18);
    }

    #[test]
    fn metrics_of_rules_are_counted_by_their_cases_and_bounds() {
        let budget = budget(
            r#"{"service": "api", "preset": "discovery", "bytes_per_route": true, "routes": ["/search"],
            "signals": [{"name": "db_seconds", "type": "histogram", "help": "x", "server_timing": "db", "buckets": [1]}]}"#,
        );
        assert_eq!(of(&budget, "search_queries_total"), 3);
        assert_eq!(of(&budget, "vector_db_query_duration_seconds"), 17);
        assert_eq!(of(&budget, "db_seconds"), 4);
        assert_eq!(of(&budget, "db_connections_idle"), 1);
        assert_eq!(of(&budget, "http_request_bytes_total"), 2 * 11 + 11);
        assert!(
            !budget
                .metrics
                .iter()
                .any(|(name, _)| name.starts_with("stream_"))
        );
    }

    /// A new label needs its number of values above.
    #[test]
    fn every_label_of_the_catalogue_has_its_number_of_values() {
        let counted = [
            REQUESTS,
            CACHE_HITS,
            CACHE_MISSES,
            CACHE_RESPONSES,
            CACHE_RESPONSE_BYTES,
            REQUEST_BYTES,
            RESPONSE_BYTES,
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
                    || metric.page == Page::None
                    || matches!(metric.origin, Origin::Bridge | Origin::Rule),
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
            text.starts_with("label sets of method, path and status             5500 at most\n"),
            "{text}"
        );
    }
}
