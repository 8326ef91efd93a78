//! What an expression may name: the metrics of the catalogue with their labels,
//! what the shipped rules record, and what Prometheus itself makes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use gatemeter_core::catalog::{CATALOG, Kind, LE, Page, SERVICE};

use crate::promql::names;
use crate::shown::{Expression, Rule};

/// Labels of a target, and those of the bridge's page.
const OF_EVERY_SERIES: [&str; 4] = ["envoy", "instance", "job", SERVICE];

/// Prometheus's own series, with the labels that an alert may have.
const OF_PROMETHEUS: [(&str, &[&str]); 4] = [
    ("ALERTS", &["alertname", "alertstate", "severity"]),
    ("scrape_duration_seconds", &[]),
    ("scrape_samples_scraped", &[]),
    ("up", &[]),
];

/// Every series name that is known, with its labels.
#[derive(Clone, Debug)]
pub struct Known {
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Known {
    /// The catalogue, and what these rules record.
    ///
    /// # Errors
    ///
    /// A rule's expression cannot be read.
    pub fn new(rules: &[Rule]) -> Result<Self> {
        let mut known = Self {
            labels: BTreeMap::new(),
        };
        for (name, labels) in OF_PROMETHEUS {
            known.add(name, labels.iter().copied());
        }
        for metric in CATALOG.iter().filter(|metric| metric.page != Page::None) {
            let labels = metric.labels.iter().copied();
            if metric.kind == Kind::Histogram {
                known.add(
                    &format!("{}_bucket", metric.name),
                    labels.clone().chain([LE]),
                );
                known.add(&format!("{}_sum", metric.name), labels.clone());
                known.add(&format!("{}_count", metric.name), labels);
            } else {
                known.add(metric.name, labels);
            }
        }
        for rule in rules.iter().filter(|rule| !rule.is_alert) {
            let summed = names(&rule.expression.text)?.labels;
            let given = rule.yaml["labels"].as_mapping().into_iter().flatten();
            let given = given.filter_map(|(label, _)| label.as_str());
            known.add(&rule.name, summed.iter().map(String::as_str).chain(given));
        }
        Ok(known)
    }

    fn add<'a>(&mut self, name: &str, labels: impl Iterator<Item = &'a str>) {
        let labels = labels.chain(OF_EVERY_SERIES).map(str::to_owned);
        self.labels
            .entry(name.to_owned())
            .or_default()
            .extend(labels);
    }

    /// Checks that an expression names only these metrics, asks them only for
    /// labels that they have, and groups only by such labels.
    ///
    /// # Errors
    ///
    /// It names another one, or cannot be read.
    pub fn check(&self, expression: &Expression) -> Result<()> {
        let Expression { place, text } = expression;
        let names = names(text).with_context(|| place.clone())?;
        let mut groupable = BTreeSet::new();
        for selector in &names.selectors {
            let metric = &selector.metric;
            let labels = self.labels.get(metric);
            let labels =
                labels.with_context(|| format!("{place}: no metric {metric} in {text}"))?;
            let unknown: Vec<_> = selector.labels.difference(labels).collect();
            ensure!(
                unknown.is_empty(),
                "{place}: {metric} has no {unknown:?}: {text}"
            );
            groupable.extend(labels);
        }
        let unknown = names.labels.iter().find(|label| !groupable.contains(label));
        ensure!(
            unknown.is_none(),
            "{place}: nothing has {unknown:?} in {text}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<()> {
        Known::new(&Rule::all().unwrap())
            .unwrap()
            .check(&Expression {
                place: "here".to_owned(),
                text: text.to_owned(),
            })
    }

    #[test]
    fn knows_the_catalogue_the_rules_and_prometheus() {
        for expression in [
            "sum by (path, le) (rate(http_request_duration_seconds_bucket{service=\"api\"}[5m]))",
            "http_request_duration_seconds_sum{path=\"/\"}",
            "service_cache_type:cache_hits:ratio_rate10m{cache_type=\"redis\"}",
            "up{job=\"a\"}",
            "vector(1)",
        ] {
            check(expression).unwrap();
        }
    }

    #[test]
    fn refuses_metrics_and_labels_that_there_are_not() {
        for expression in [
            "http_request_total",
            "http_request_duration_seconds",
            "http_requests_total{code=\"200\"}",
            "http_requests_total{le=\"1.0\"}",
            "sum by (cache_type) (http_requests_total)",
            "service:http_requests:rate5m{path=\"/\"}",
            "gatemeter_bucket_bound",
        ] {
            assert!(check(expression).is_err(), "{expression}");
        }
    }
}
