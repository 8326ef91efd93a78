//! What rules and documents ask Prometheus, by where it has an answer: where all is
//! well, or only where something is not.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::artefact::workspace;
use crate::prometheus::Prometheus;
use crate::promql::{Selector, names};
use crate::shown::{Expression, Rule, documented};
use crate::until::until;

/// Metrics that rules or documents ask for and that a setup in good health has none
/// of, each with the reason.
pub const ABSENT: [(&str, &str); 7] = [
    ("gatemeter_source_up", "no service has a page of its own"),
    (
        "gatemeter_source_errors_total",
        "no service has a page of its own",
    ),
    (
        "gatemeter_dropped_series_total",
        "no service has a page of its own",
    ),
    ("gatemeter_filter_errors_total", "no host call fails"),
    ("gatemeter_signal_errors_total", "every header can be read"),
    ("http_local_replies_total", "Envoy has no part in an error"),
    ("http_responses_incomplete_total", "no response is cut"),
];

/// Every expression of rules and documents that must return data.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Those that do where all is well.
    pub where_all_is_well: Vec<Expression>,
    /// Those that take some metric of [`ABSENT`].
    pub where_it_is_not: Vec<Expression>,
}

impl Asked {
    /// What these rules ask, and all documents. What picks may have no result: of
    /// that, each series must be there.
    ///
    /// # Errors
    ///
    /// A document or an expression cannot be read.
    pub fn of(rules: &[Rule]) -> Result<Self> {
        let mut all = Self::default();
        let migrated = migrated()?.into_iter().map(|text| Expression {
            place: "docs/migration.md".to_owned(),
            text,
        });
        let rules_with_a_past: BTreeSet<_> = rules
            .iter()
            .filter(|rule| rule.expression.text.contains(" offset "))
            .map(|rule| rule.name.as_str())
            .collect();
        let asked = rules.iter().map(|rule| rule.expression.clone());
        for expression in asked.chain(documented()?).chain(migrated) {
            let names = names(&expression.text)?;
            if !names.picks {
                // A run of seconds has no past.
                let text = expression.text.replace(" offset 10m", "");
                let is_absent = names.selectors.iter().any(is_absent);
                all.add(is_absent, Expression { text, ..expression });
                continue;
            }
            for selector in names.selectors {
                let metric = selector.metric.as_str();
                if !rules_with_a_past.contains(metric) && metric != "ALERTS" {
                    let is_absent = is_absent(&selector);
                    let place = expression.place.clone();
                    let text = selector.text;
                    all.add(is_absent, Expression { place, text });
                }
            }
        }
        Ok(all)
    }

    fn add(&mut self, is_absent: bool, expression: Expression) {
        let list = if is_absent {
            &mut self.where_it_is_not
        } else {
            &mut self.where_all_is_well
        };
        list.push(expression);
    }
}

fn is_absent(selector: &Selector) -> bool {
    ABSENT.iter().any(|(absent, _)| *absent == selector.metric)
}

/// Waits until each of them returns a number: nothing divided by nothing is none.
///
/// # Errors
///
/// Prometheus refuses one, or one never does.
pub async fn all_return_data(prometheus: &Prometheus, mut waiting: Vec<Expression>) -> Result<()> {
    let asked = waiting.len();
    until("every expression returns data", async || {
        let mut without = Vec::new();
        for expression in std::mem::take(&mut waiting) {
            let found = prometheus.query(&expression.text).await;
            let found = found.with_context(|| format!("{expression:?}"))?;
            if found.iter().all(|(_, value)| value.is_nan()) {
                without.push(expression);
            }
        }
        waiting = without;
        let list: Vec<_> = waiting
            .iter()
            .map(|one| format!("{}: {}", one.place, one.text))
            .collect();
        ensure!(
            list.is_empty(),
            "{} of {asked}:\n{}",
            list.len(),
            list.join("\n")
        );
        Ok(())
    })
    .await
}

/// The queries in the table of `docs/migration.md`, in its order.
///
/// # Errors
///
/// The document cannot be read, or has another number of them.
pub fn migrated() -> Result<Vec<String>> {
    let document = std::fs::read_to_string(workspace().join("docs/migration.md"))?;
    let (_, section) = document
        .split_once("## Grafana queries")
        .context("docs/migration.md has no section on queries")?;
    let section = section.split("\n## ").next().unwrap_or(section);
    let queries: Vec<String> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(query, _)| query.to_owned())
        .collect();
    ensure!(queries.len() == 6, "the guide has six queries: {queries:?}");
    Ok(queries)
}
