//! Every metric of the catalogue, and what its labels can say.

use std::collections::BTreeMap;

use gatemeter_bridge::{
    admin::ReadError,
    decode::DropReason,
    sources::{SourceError, page::SeriesDrop},
};
use gatemeter_core::{
    catalog::{CATALOG, Metric, Origin, Page, Stability},
    host::HostCall,
    labels::{Method, RESPONSE_FLAGS},
    plugin_config::PluginConfig,
    signal_rules::PRESETS,
};

use super::{code, columns, compare, head, row};

fn codes<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let values: Vec<_> = values.into_iter().map(code).collect();
    values.join(", ")
}

/// The values of a label, for the metric that has it.
fn values(metric: &Metric, label: &str) -> String {
    match (metric.name, label) {
        (_, "method") => codes(Method::all().map(Method::as_str)),
        (_, "path") => "a template of `routes`, or a path whose identifiers are `:id`; `_UNMATCHED`, `_OVERFLOW`".to_owned(),
        (_, "status") => "`100` to `599`, `_OTHER`; `499` where the client went away before a response".to_owned(),
        (_, "cache_type") => "a value of `cache.types`, or the first 16 names of caches; `other`".to_owned(),
        ("cache_responses_total" | "cache_response_bytes_total", "result") => {
            codes(["hit", "miss", "stale", "revalidated", "bypass", "other"])
        }
        ("auth_attempts_total" | "storage_uploads_total", "result") => codes(["success", "failure"]),
        ("search_queries_total", "result") => codes(["found", "empty", "error"]),
        (_, "direction") => codes(["up", "down"]),
        ("http_local_replies_total", _) => {
            format!("Envoy's response flags: {}, `_OTHER`", codes(RESPONSE_FLAGS))
        }
        ("http_responses_incomplete_total", _) => codes(["downstream_reset", "upstream_reset"]),
        ("gatemeter_filter_errors_total", _) => codes(HostCall::ALL.map(HostCall::as_str)),
        ("gatemeter_scrape_errors_total", _) => codes(ReadError::REASONS),
        ("gatemeter_dropped_stats_total", _) => codes(DropReason::ALL.map(DropReason::as_str)),
        ("gatemeter_source_errors_total", _) => codes(SourceError::reasons()),
        ("gatemeter_dropped_series_total", _) => codes(SeriesDrop::ALL.map(SeriesDrop::as_str)),
        (_, "signal") => "the header, such as `cache-status` or `x-db-pool`; `cmcd` for players".to_owned(),
        (_, "version") => "the version of the program".to_owned(),
        (_, "plugin") => "the `name` of the plugin in Envoy's configuration".to_owned(),
        ("gatemeter_vm_reloads_total", "result") => codes(["success", "failure", "backoff"]),
        (_, "phase") => codes(["envoy", "decode", "sources", "render"]),
        (_, "metric" | "type" | "help") => "as of the metric that it tells of".to_owned(),
        (name, label) => panic!("nothing is said of the values of {label} of {name}"),
    }
}

/// Names of the metrics that rules of a configuration write.
fn of_rules(keys: &str) -> Vec<String> {
    let json = format!(r#"{{"service": "api"{keys}}}"#);
    let config = PluginConfig::parse(json.as_bytes()).unwrap();
    let mut names: Vec<_> = config
        .signals
        .families()
        .map(|family| family.name.clone())
        .collect();
    let players = config.signals.players;
    for (is_there, name) in [
        (players.start.is_some(), "stream_init_duration_seconds"),
        (players.bitrate, "stream_bitrate_changes_total"),
        (players.buffer, "stream_buffer_events_total"),
    ] {
        if is_there {
            names.push(name.to_owned());
        }
    }
    names
}

/// What of the configuration makes a metric appear.
fn appears(metric: &Metric, presets: &BTreeMap<&str, Vec<String>>) -> String {
    let has = |names: &Vec<String>| names.iter().any(|name| name == metric.name);
    match metric.name {
        "cache_hits_total" | "cache_misses_total" | "cache_responses_total" => {
            "a response says what a cache did".to_owned()
        }
        "cache_response_bytes_total" => "`cache.bytes`".to_owned(),
        "http_request_bytes_total" | "http_response_bytes_total" => "`bytes_per_route`".to_owned(),
        "http_request_duration_ms" => "`native_histogram`".to_owned(),
        "gatemeter_family" => "`signals`".to_owned(),
        "gatemeter_sessions_evicted_total" => "preset `playback`, or a rule with `cmcd`".to_owned(),
        "http_local_replies_total" => "always; 499, 5xx and `_OTHER` move it".to_owned(),
        "gatemeter_unparsed_requests_total" => {
            "the native access logger of `envoy/envoy.yaml`, or the module as access logger"
                .to_owned()
        }
        "http_responses_incomplete_total" => {
            "always; `downstream_reset` by the native access logger of `envoy/envoy.yaml`"
                .to_owned()
        }
        "gatemeter_vm_reloads_total" => "a plugin was loaded with `FAIL_RELOAD`".to_owned(),
        name if name.starts_with("gatemeter_source_")
            || name == "gatemeter_dropped_series_total" =>
        {
            "`sources` of the bridge".to_owned()
        }
        _ if metric.origin == Origin::Rule => {
            let preset = presets.iter().find(|(_, names)| has(names));
            match preset {
                _ if has(&of_rules("")) => "a response has the header `X-Db-Pool`".to_owned(),
                Some((preset, _)) => format!("preset `{preset}`, or a rule in `signals`"),
                None => panic!("no rule writes {}", metric.name),
            }
        }
        _ => "always".to_owned(),
    }
}

fn origin(metric: &Metric) -> &'static str {
    match metric.origin {
        Origin::Bridge => "the bridge itself",
        Origin::Envoy => "Envoy's own counters",
        Origin::Filter => "the filter",
        Origin::Rule => "the filter, by a rule",
    }
}

fn unit(metric: &Metric) -> &'static str {
    metric.unit.as_str().unwrap_or("")
}

fn table(page: Page) -> String {
    let presets: BTreeMap<_, _> = PRESETS
        .iter()
        .map(|(preset, _)| (*preset, of_rules(&format!(r#", "preset": "{preset}""#))))
        .collect();
    let mut table = columns(&[
        "metric",
        "type",
        "labels",
        "unit",
        "meaning",
        "from",
        "there with",
        "stable",
    ]);
    for metric in CATALOG.iter().filter(|metric| metric.page == page) {
        let labels = codes(metric.labels.iter().copied());
        let stable = match metric.stability {
            Stability::Stable => "yes",
            Stability::Unstable => "",
        };
        table += &row(&[
            &code(metric.name),
            metric.kind.as_str(),
            &labels,
            unit(metric),
            metric.help.trim_end_matches('.'),
            origin(metric),
            &appears(metric, &presets),
            stable,
        ]);
    }
    table
}

/// Values of each label, and the metrics that have it with these.
fn label_table() -> String {
    let mut rows: Vec<(&str, String, Vec<String>)> = Vec::new();
    for metric in CATALOG {
        for label in metric.labels {
            let said = values(metric, label);
            match rows
                .iter_mut()
                .find(|(name, values, _)| name == label && *values == said)
            {
                Some((.., metrics)) => metrics.push(code(metric.name)),
                None => rows.push((label, said, vec![code(metric.name)])),
            }
        }
    }
    rows.sort_by_key(|(label, ..)| *label);
    let mut table = columns(&["label", "values", "of"]);
    for (label, values, metrics) in rows {
        table += &row(&[&code(label), &values, &metrics.join(", ")]);
    }
    table
}

fn page() -> String {
    let mut page = head("Metrics");
    page += "Every metric that there is, from the catalogue (`core/src/catalog/rows.rs`). What is
\"stable\" changes its name, labels or meaning only with a new major version.

Seconds and bytes are base units; a metric without a unit is a count of things. A histogram
has `_bucket` with the label `le`, `_sum` and `_count`. With several Envoys every series has
the label `envoy` and the labels of the configuration.

## Of a service

On `/metrics/<service>`, and with the label `service` on `/metrics`.\n\n";
    page += &table(Page::Service);
    page += "\n## Of Gatemeter and Envoy

On `/metrics` only. What the filter or Envoy counts has the label `service`.\n\n";
    page += &table(Page::Operator);
    page += "\n## On Envoy's own page only

What the bridge needs for other metrics, and what is for a stats sink.\n\n";
    page += &table(Page::None);
    page += "\n## Labels\n\n";
    page += &label_table();
    page
}

#[test]
fn the_page_of_the_metrics_is_the_catalogue() {
    compare("metrics.md", &page());
}
