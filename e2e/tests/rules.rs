//! The rules of `prometheus/`, by Prometheus's own tool: they are valid, and each
//! alert fires where it should and stays silent where it should.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::artefact::workspace;
use gatemeter_e2e::known::Known;
use gatemeter_e2e::prometheus::{check_config, check_rules, test_rules};
use gatemeter_e2e::shown::{Rule, documented, rule_files, rule_tests};
use serde_yaml_ng::Value as Yaml;

#[test]
fn promtool_has_nothing_to_say_against_them() -> Result<()> {
    check_config(&workspace().join("prometheus.yml"))?;
    check_rules(&rule_files()?)
}

#[test]
fn every_case_has_the_outcome_that_it_names() -> Result<()> {
    // Each of them runs for seconds, in a process of its own.
    let cases: Vec<_> = rule_tests()?
        .into_iter()
        .map(|file| std::thread::spawn(move || test_rules(&file)))
        .collect();
    for case in cases {
        let outcome = case.join();
        outcome.map_err(|_| anyhow::anyhow!("a case panicked"))??;
    }
    Ok(())
}

#[test]
fn each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent() -> Result<()> {
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for path in rule_tests()? {
        let file: Yaml = serde_yaml_ng::from_str(&std::fs::read_to_string(&path)?)?;
        let groups = file["tests"].as_sequence().context("no tests")?;
        let cases = groups
            .iter()
            .filter_map(|group| group["alert_rule_test"].as_sequence());
        for case in cases.flatten() {
            let name = case["alertname"]
                .as_str()
                .context("a case without a name")?;
            let expected = case["exp_alerts"]
                .as_sequence()
                .context("a case without alerts")?;
            let side = if expected.is_empty() {
                &mut silent
            } else {
                &mut fires
            };
            side.insert(name.to_owned());
        }
    }
    let alerts = Rule::all()?.into_iter().filter(|rule| rule.is_alert);
    let alerts: BTreeSet<_> = alerts.map(|alert| alert.name).collect();
    ensure!(
        fires == alerts,
        "fire: {:?}",
        alerts.symmetric_difference(&fires)
    );
    ensure!(
        silent == alerts,
        "silent: {:?}",
        alerts.symmetric_difference(&silent)
    );
    Ok(())
}

#[test]
fn each_alert_says_what_is_wrong_how_urgent_it_is_and_what_to_do() -> Result<()> {
    let runbook = std::fs::read_to_string(workspace().join("docs/runbook.md"))?;
    for alert in Rule::all()?.into_iter().filter(|rule| rule.is_alert) {
        let name = &alert.name;
        let severity = alert.yaml["labels"]["severity"].as_str();
        ensure!(
            matches!(severity, Some("page" | "ticket")),
            "{name}: {severity:?}"
        );
        for annotation in ["summary", "description"] {
            let text = alert.yaml["annotations"][annotation]
                .as_str()
                .unwrap_or_default();
            ensure!(
                text.contains("{{ $labels."),
                "{name}: {annotation} names nothing: {text:?}"
            );
        }
        let link = alert.yaml["annotations"]["runbook_url"].as_str();
        let expected = format!("docs/runbook.md#{}", name.to_lowercase());
        ensure!(link == Some(expected.as_str()), "{name}: {link:?}");
        ensure!(
            runbook
                .lines()
                .any(|line| line.strip_prefix("## ") == Some(name)),
            "docs/runbook.md has no section {name}"
        );
    }
    Ok(())
}

#[test]
fn recorded_series_are_named_by_level_metric_and_operations() -> Result<()> {
    for rule in Rule::all()?.into_iter().filter(|rule| !rule.is_alert) {
        let parts: Vec<_> = rule.name.split(':').collect();
        let [level, metric, operations] = parts.as_slice() else {
            anyhow::bail!("{} has {} parts", rule.name, parts.len());
        };
        ensure!(level.starts_with("service"), "{}", rule.name);
        ensure!(
            !metric.is_empty() && !operations.is_empty(),
            "{}",
            rule.name
        );
        // What a window is said to be, it is.
        let digits = operations.find(|character: char| character.is_ascii_digit());
        let rates = ["rate", "increase", "per_start"]
            .iter()
            .any(|word| operations.contains(word));
        if let (Some(at), true) = (digits, rates) {
            let window = operations.get(at..).unwrap_or_default();
            let window = window.rsplit("rate").next().unwrap_or(window);
            ensure!(
                rule.expression.text.contains(&format!("[{window}]")),
                "{}: no [{window}] in {}",
                rule.name,
                rule.expression.text
            );
        }
    }
    Ok(())
}

#[test]
fn rules_and_documents_name_only_metrics_and_labels_of_the_catalogue() -> Result<()> {
    let rules = Rule::all()?;
    let known = Known::new(&rules)?;
    for rule in &rules {
        known.check(&rule.expression)?;
    }
    for expression in documented()? {
        known.check(&expression)?;
    }
    Ok(())
}
