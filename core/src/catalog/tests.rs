use super::*;

fn stats() -> impl Iterator<Item = &'static Stat> {
    CATALOG.iter().flat_map(|metric| metric.stats)
}

fn is_snake_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[test]
fn metric_names_are_unique_and_legal() {
    for (index, metric) in CATALOG.iter().enumerate() {
        assert!(is_snake_case(metric.name), "{}", metric.name);
        let first = CATALOG.iter().position(|m| m.name == metric.name);
        assert_eq!(first, Some(index), "{} stands twice", metric.name);
    }
}

#[test]
fn stat_names_are_unique() {
    for (index, row) in stats().enumerate() {
        let first = stats().position(|s| s.name == row.name);
        assert_eq!(first, Some(index), "{} stands twice", row.name);
    }
}

#[test]
fn exactly_the_counters_end_in_total() {
    for metric in CATALOG {
        assert_eq!(
            metric.name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{}",
            metric.name
        );
    }
}

#[test]
fn reserved_suffixes_are_not_used_as_metric_names() {
    for metric in CATALOG {
        for suffix in ["_count", "_sum", "_bucket", "_created"] {
            assert!(!metric.name.ends_with(suffix), "{}", metric.name);
        }
    }
}

#[test]
fn a_name_with_a_unit_has_that_unit() {
    for metric in CATALOG {
        let unit = match metric.name.trim_end_matches("_total") {
            name if name.ends_with("_seconds") => Unit::Seconds,
            name if name.ends_with("_bytes") => Unit::Bytes,
            _ => Unit::One,
        };
        assert_eq!(metric.unit, unit, "{}", metric.name);
    }
}

#[test]
fn every_metric_has_a_help_of_one_line() {
    for metric in CATALOG {
        assert!(!metric.help.is_empty(), "{}", metric.name);
        assert!(!metric.help.contains('\n'), "{}", metric.name);
        assert!(
            metric.help.starts_with(|c: char| c.is_ascii_uppercase()),
            "{}",
            metric.name
        );
    }
}

#[test]
fn labels_of_a_stat_start_with_the_service_and_only_the_last_is_le() {
    for stat in stats() {
        assert_eq!(stat.labels.first(), Some(&SERVICE), "{}", stat.name);
        let le = stat.labels.iter().position(|label| *label == LE);
        assert!(
            le.is_none_or(|le| le + 1 == stat.labels.len()),
            "{}",
            stat.name
        );
        for label in stat.labels {
            assert!(is_snake_case(label), "{} {label}", stat.name);
        }
    }
}

#[test]
fn a_direct_stat_has_the_labels_of_its_metric() {
    for metric in CATALOG {
        for stat in metric.stats.iter().filter(|stat| stat.name == metric.name) {
            let shown: Vec<_> = stat.labels[1..]
                .iter()
                .filter(|label| **label != LE)
                .collect();
            assert_eq!(
                shown,
                metric.labels.iter().collect::<Vec<_>>(),
                "{}",
                metric.name
            );
        }
    }
}

/// Envoy takes `_rq_200` and `_rq_2xx` at the end of a name for its own tags.
#[test]
fn no_stat_name_looks_like_a_response_code_stat_of_envoy() {
    for stat in stats() {
        assert!(!stat.name.contains("_rq_"), "{}", stat.name);
    }
}

#[test]
fn the_guide_finds_its_seven_metrics_first() {
    let names: Vec<_> = CATALOG
        .iter()
        .filter(|metric| metric.page == Page::Service)
        .filter(|metric| metric.is_of_the_guide())
        .map(|metric| metric.name)
        .collect();
    assert_eq!(
        names,
        [
            "http_requests_total",
            "http_request_duration_seconds",
            "active_connections",
            "db_connections_active",
            "db_connections_idle",
            "cache_hits_total",
            "cache_misses_total",
        ]
    );
}

#[test]
fn stats_tags_split_a_name_as_envoy_does() {
    let name = "wasmcustom.http_request_duration_seconds_bin.service=api.method=GET.path=/a.status=200.le=0.005";
    let found: Vec<_> = stats_tags()
        .into_iter()
        .filter_map(|(tag, regex)| {
            let captures = regex::Regex::new(&regex).unwrap().captures(name)?;
            Some((tag, captures[1].to_owned(), captures[2].to_owned()))
        })
        .collect();
    let expected = [
        ("service", ".service=api", "api"),
        ("method", ".method=GET", "GET"),
        ("path", ".path=/a", "/a"),
        ("status", ".status=200", "200"),
        ("le", ".le=0.005", "0.005"),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(tag, cut, value)| (tag, cut.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(found, expected);
}
