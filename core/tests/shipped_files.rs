//! The files that ship agree with the catalogue and with each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gatemeter_core::catalog::{self, CATALOG, Kind, Page};
use gatemeter_core::plugin_config::PluginConfig;
use serde_yaml_ng::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn yaml(file: &str) -> Value {
    serde_yaml_ng::from_str(&read(file)).unwrap()
}

/// Every value below `value` that stands under the key `key`.
fn found<'v>(value: &'v Value, key: &str, into: &mut Vec<&'v Value>) {
    match value {
        Value::Mapping(map) => {
            for (name, value) in map {
                if name.as_str() == Some(key) {
                    into.push(value);
                }
                found(value, key, into);
            }
        }
        Value::Sequence(items) => {
            for item in items {
                found(item, key, into);
            }
        }
        _ => {}
    }
}

fn all<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
    let mut values = Vec::new();
    found(value, key, &mut values);
    values
}

fn plugin_configurations(file: &Value) -> Vec<PluginConfig> {
    all(file, "configuration")
        .into_iter()
        .map(|configuration| {
            let json = configuration["value"].as_str().unwrap();
            PluginConfig::parse(json.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
        })
        .collect()
}

#[test]
fn the_stats_tags_of_the_envoy_configuration_are_those_of_the_catalogue() {
    let file = yaml("envoy/envoy.yaml");
    let shipped: Vec<(&str, &str)> = file["stats_config"]["stats_tags"]
        .as_sequence()
        .unwrap()
        .iter()
        .map(|tag| {
            let text = |key: &str| tag[key].as_str().unwrap();
            (text("tag_name"), text("regex"))
        })
        .collect();
    let generated = catalog::stats_tags();
    let generated: Vec<(&str, &str)> = generated
        .iter()
        .map(|(tag, regex)| (*tag, regex.as_str()))
        .collect();
    assert_eq!(shipped, generated);
}

#[test]
fn each_listener_names_its_service_as_stat_prefix_vm_and_label() {
    for file in ["envoy/envoy.yaml", "envoy/access-logger.yaml"] {
        let file = yaml(file);
        let listeners = file["static_resources"]["listeners"].as_sequence().unwrap();
        for listener in listeners {
            let service = listener["name"].as_str().unwrap();
            for (key, count) in [("stat_prefix", 1), ("vm_id", 1)] {
                let values = all(listener, key);
                assert_eq!(values.len(), count, "{service} {key}");
                assert_eq!(values[0].as_str(), Some(service), "{key}");
            }
            let configurations = plugin_configurations(listener);
            assert_eq!(configurations.len(), 1);
            assert_eq!(configurations[0].service, service);
        }
    }
}

#[test]
fn the_four_listeners_differ_only_in_service_port_and_routes() {
    let file = yaml("envoy/envoy.yaml");
    let listeners = file["static_resources"]["listeners"].as_sequence().unwrap();
    let shapes: BTreeSet<String> = listeners
        .iter()
        .map(|listener| {
            let service = listener["name"].as_str().unwrap();
            let port = all(listener, "port_value")[0].as_u64().unwrap();
            let mut text = serde_yaml_ng::to_string(listener)
                .unwrap()
                .replace("googleapis", "");
            let (start, end) = (
                text.find("\"routes\"").unwrap(),
                text.find("\"exclude\"").unwrap(),
            );
            text.replace_range(start..end, "");
            text.replace(service, "SERVICE")
                .replace(&port.to_string(), "PORT")
        })
        .collect();
    assert_eq!(listeners.len(), 4);
    assert_eq!(shapes.len(), 1);
}

#[test]
fn the_native_loggers_write_stats_of_the_catalogue() {
    let file = yaml("envoy/envoy.yaml");
    let mut names = 0;
    for counters in all(&file, "counters") {
        for counter in counters.as_sequence().unwrap() {
            let name = counter["stat"]["name"].as_str().unwrap();
            gatemeter_core::stat_name::decode(name)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            names += 1;
        }
    }
    assert_eq!(names, 8);
}

/// Words that look like one of our metrics or of a metric of the guide.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let prefixes = [
        "http_re",
        "http_local",
        "active_conn",
        "db_conn",
        "cache_hits",
        "cache_miss",
        "cache_resp",
        "stream_",
        "storage_upl",
        "auth_att",
        "rate_limit_h",
        "search_q",
        "gatemeter_",
    ];
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)))
        .collect()
}

fn is_known(word: &str) -> bool {
    let series = |metric: &catalog::Metric| match metric.kind {
        Kind::Histogram => {
            ["_bucket", "_sum", "_count"]
                .iter()
                .any(|suffix| word.strip_suffix(suffix) == Some(metric.name))
                || word.strip_suffix('_') == Some(metric.name)
        }
        Kind::Counter | Kind::Gauge => false,
    };
    // Crates, the module's file and prefixes of the shared data are no metrics.
    let file_or_crate = [
        "gatemeter_filter",
        "gatemeter_signals",
        "gatemeter_core",
        "gatemeter_bridge",
        "gatemeter_demo",
        "gatemeter_",
    ];
    // `db_connections_` stands for all that start so.
    let is_family = |metric: &catalog::Metric| word.ends_with('_') && metric.name.starts_with(word);
    CATALOG
        .iter()
        .any(|metric| metric.name == word || series(metric) || is_family(metric))
        || catalog::stat(word).is_some()
        || file_or_crate.contains(&word)
}

#[test]
fn documents_and_configuration_name_only_metrics_of_the_catalogue() {
    let mut files: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "prometheus.yml",
    ]
    .map(|file| root().join(file))
    .into();
    for folder in ["docs", "docs/reference", "envoy"] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        files.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.is_file()),
        );
    }
    for path in files {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let unknown: Vec<_> = metric_names(&text)
            .into_iter()
            .filter(|word| !is_known(word))
            .collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", path.display());
    }
}

/// What the services' own pages show would be counted twice.
#[test]
fn of_the_bridges_page_prometheus_keeps_what_no_other_page_shows() {
    let file = yaml("prometheus.yml");
    let rules = all(&file, "metric_relabel_configs");
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0][0]["action"].as_str(), Some("keep"));
    let kept = rules[0][0]["regex"].as_str().unwrap();
    let kept = regex::Regex::new(&format!("^(?:{kept})$")).unwrap();
    for metric in CATALOG.iter().filter(|metric| metric.page != Page::None) {
        let is_kept = kept.is_match(metric.name);
        assert_eq!(is_kept, metric.page == Page::Operator, "{}", metric.name);
    }
}

#[test]
fn the_readme_says_of_metrics_what_the_catalogue_says() {
    let readme = read("README.md");
    let row = |metric: &catalog::Metric| {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        format!(
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            labels.join(", "),
            metric.help.trim_end_matches('.')
        )
    };
    for metric in CATALOG {
        let start = format!("| `{}` |", metric.name);
        match readme.lines().find(|line| line.starts_with(&start)) {
            Some(line) => assert_eq!(line, row(metric)),
            None => assert!(!metric.is_of_the_guide(), "README.md lacks {}", metric.name),
        }
    }
}
