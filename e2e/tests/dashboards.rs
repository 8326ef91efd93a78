//! The dashboards of `grafana/` as files: they are what their boards say, Grafana
//! can read them, and every query names what there is. That the queries return
//! data is tested in `queries.rs`.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use gatemeter_core::catalog::{CATALOG, Page};
use gatemeter_e2e::artefact::workspace;
use gatemeter_e2e::known::Known;
use gatemeter_e2e::promql::names;
use gatemeter_e2e::shown::{Dashboard, Expression, Rule};
use serde_yaml_ng::Value as Yaml;

/// The queries of the metrics guide, to the letter.
const GUIDE: [&str; 6] = [
    "rate(http_requests_total[5m])",
    "rate(http_request_duration_seconds_sum[5m]) /\nrate(http_request_duration_seconds_count[5m])",
    "histogram_quantile(0.95,\n  rate(http_request_duration_seconds_bucket[5m])\n)",
    "sum(rate(http_requests_total{status=~\"5..\"}[5m])) /\nsum(rate(http_requests_total[5m]))",
    "sum(rate(cache_hits_total[5m])) /\n(sum(rate(cache_hits_total[5m])) + sum(rate(cache_misses_total[5m])))",
    "db_connections_active /\n(db_connections_active + db_connections_idle)",
];

/// Metrics that no panel shows, each with the reason.
const SHOWN_NOWHERE: [(&str, &str); 9] = [
    (
        "cache_response_bytes_total",
        "only where the configuration asks for it",
    ),
    (
        "http_request_bytes_total",
        "only where the configuration asks for it",
    ),
    (
        "http_response_bytes_total",
        "only where the configuration asks for it",
    ),
    (
        "gatemeter_source_up",
        "only where a service has a page of its own",
    ),
    (
        "gatemeter_source_duration_seconds",
        "only where a service has a page of its own",
    ),
    (
        "gatemeter_config_last_reload_success_timestamp_seconds",
        "a time is no graph",
    ),
    ("process_start_time_seconds", "a time is no graph"),
    (
        "process_virtual_memory_bytes",
        "says nothing that the resident memory does not",
    ),
    ("process_max_fds", "a constant of the machine"),
];

#[test]
fn the_files_are_what_their_boards_say_and_hold_only_what_grafanas_schema_has() -> Result<()> {
    let python = workspace().join(".tools/grafana-sdk/bin/python");
    ensure!(
        python.is_file(),
        "{} is missing; run `make tools`",
        python.display()
    );
    let output = Command::new(python)
        .args(["-B", "grafana/build.py", "--check"])
        .current_dir(workspace())
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn every_panel_has_a_unit_a_text_and_a_place_of_its_own() -> Result<()> {
    for dashboard in Dashboard::all()? {
        let mut titles = BTreeSet::new();
        let mut places = BTreeSet::new();
        for panel in dashboard.panels() {
            let file = &dashboard.file;
            let title = panel["title"].as_str().context("a panel without a title")?;
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
            ensure!(
                unit.is_some_and(|unit| !unit.is_empty()),
                "{file}: {title} has no unit"
            );
            let how = panel["description"].as_str().unwrap_or_default();
            ensure!(how.ends_with('.'), "{file}: {title} says {how:?} of itself");
            ensure!(
                !dashboard.expressions(panel)?.is_empty(),
                "{file}: {title} asks nothing"
            );
            let source = &panel["datasource"]["uid"];
            ensure!(source == "$datasource", "{file}: {title} asks {source}");
            let place = panel["gridPos"].to_string();
            ensure!(places.insert(place), "{file}: {title} covers another panel");
            ensure!(titles.insert(title), "{file}: {title} twice");
            let right = panel["gridPos"]["x"].as_u64().unwrap_or_default()
                + panel["gridPos"]["w"].as_u64().unwrap_or(25);
            ensure!(right <= 24, "{file}: {title} ends at {right} of 24 columns");
        }
    }
    Ok(())
}

#[test]
fn every_dashboard_can_be_reached_and_no_link_leads_nowhere() -> Result<()> {
    let dashboards = Dashboard::all()?;
    let uids: BTreeSet<&str> = dashboards
        .iter()
        .filter_map(|dashboard| dashboard.json["uid"].as_str())
        .collect();
    ensure!(uids.len() == dashboards.len(), "a uid twice: {uids:?}");
    for dashboard in &dashboards {
        let file = &dashboard.file;
        let tags = dashboard.json["tags"].to_string();
        ensure!(tags == "[\"gatemeter\"]", "{file}: {tags}");
        let text = dashboard.json.to_string();
        let mut linked = text.split("\"/d/").skip(1);
        ensure!(text.contains("\"/d/"), "{file} links to none");
        let lost = linked.find(|rest| {
            let uid = rest.split(['?', '"']).next().unwrap_or_default();
            !uids.contains(uid)
        });
        ensure!(lost.is_none(), "{file} links to {lost:?}");
        // The list of all that have the tag.
        ensure!(
            text.contains("\"type\":\"dashboards\""),
            "{file} has no list of the others"
        );
    }
    Ok(())
}

#[test]
fn every_query_of_the_guide_stands_there_to_the_letter() -> Result<()> {
    let mut expressions = Vec::new();
    for dashboard in Dashboard::all()? {
        for panel in dashboard.panels() {
            expressions.extend(dashboard.expressions(panel)?);
        }
    }
    for query in GUIDE {
        ensure!(
            expressions.iter().any(|found| found.text == query),
            "no panel asks {query}"
        );
    }
    Ok(())
}

#[test]
fn every_query_names_only_metrics_and_labels_of_the_catalogue() -> Result<()> {
    let known = Known::new(&Rule::all()?)?;
    for dashboard in Dashboard::all()? {
        for (name, metric, label, _) in dashboard.variables()? {
            known.check(&Expression {
                place: format!("{}, ${name}", dashboard.file),
                text: format!("group by ({label}) ({metric})"),
            })?;
        }
        for panel in dashboard.panels() {
            for expression in dashboard.expressions(panel)? {
                known.check(&expression.filled(&[]))?;
                let variables = expression.text.matches("$service").count();
                let of_services = expression.text.contains("service=");
                ensure!(
                    (variables > 0) == of_services,
                    "{}: {}",
                    expression.place,
                    expression.text
                );
            }
        }
    }
    Ok(())
}

#[test]
fn every_metric_that_make_run_has_is_in_a_panel() -> Result<()> {
    let mut shown = BTreeSet::new();
    for dashboard in Dashboard::all()? {
        for panel in dashboard.panels() {
            for expression in dashboard.expressions(panel)? {
                let selectors = names(&expression.filled(&[]).text)?.selectors;
                shown.extend(selectors.into_iter().map(|selector| selector.metric));
            }
        }
    }
    for metric in CATALOG.iter().filter(|metric| metric.page != Page::None) {
        let name = metric.name;
        let excepted = SHOWN_NOWHERE.iter().any(|(excepted, _)| *excepted == name);
        let is_shown = ["", "_bucket", "_count", "_sum"]
            .iter()
            .any(|suffix| shown.contains(&format!("{name}{suffix}")));
        ensure!(
            is_shown != excepted,
            "{name}: shown {is_shown}, excepted {excepted}"
        );
    }
    Ok(())
}

#[test]
fn grafana_is_told_where_prometheus_and_the_dashboards_are() -> Result<()> {
    let read = |file: &str| -> Result<Yaml> {
        let path = workspace().join("grafana/provisioning").join(file);
        Ok(serde_yaml_ng::from_str(&std::fs::read_to_string(path)?)?)
    };
    let source = read("datasources/prometheus.yaml")?["datasources"][0].clone();
    ensure!(source["type"] == "prometheus", "{source:?}");
    // The least step of $__rate_interval follows from it.
    let prometheus = std::fs::read_to_string(workspace().join("prometheus.yml"))?;
    let interval = source["jsonData"]["timeInterval"]
        .as_str()
        .context("no interval")?;
    let scrapes = prometheus
        .matches(&format!("scrape_interval: {interval}\n"))
        .count();
    ensure!(
        scrapes == prometheus.matches("scrape_interval: ").count(),
        "{interval}"
    );
    let provider = read("dashboards/gatemeter.yaml")?["providers"][0].clone();
    ensure!(provider["type"] == "file", "{provider:?}");
    let path = provider["options"]["path"].as_str().context("no path")?;
    ensure!(path.ends_with("/dashboards"), "{path}");
    Ok(())
}
