use gatemeter_core::catalog::{CATALOG, Origin};

use super::*;
use crate::{
    admin::ReadError,
    decode::DropReason,
    families::Reading,
    own_metrics::envoy::Health,
    scrape::{Facts, Outcome},
    sources::page::SeriesDrop,
};

fn owner() -> Owner {
    Owner {
        service: "api".into(),
        labels: vec![("zone".to_owned(), "a".to_owned())],
    }
}

fn read() -> Outcome {
    let health = Health::default().observe(&Reading::empty(), std::time::Instant::now());
    let facts = Facts {
        answer_bytes: 7,
        health: health.families,
        ..Facts::default()
    };
    Outcome {
        reading: Ok(Arc::new(Reading::empty())),
        took: Duration::from_millis(3),
        facts: Some(Arc::new(facts)),
        rendered: Arc::default(),
    }
}

/// The lines of a page with these families only.
fn lines(families: &[Family], format: Format) -> Vec<String> {
    let parts = [crate::exposition::Part::plain(families)];
    let page = crate::exposition::page(&parts, crate::exposition::Scope::All, format);
    let is_sample = |line: &&str| !line.is_empty() && !line.starts_with('#');
    page.lines().filter(is_sample).map(str::to_owned).collect()
}

#[test]
fn shows_every_row_of_the_catalogue_that_is_the_bridges_own_in_its_order() {
    let own = OwnMetrics::register(Registry::new()).unwrap();
    let mut families = own.envoy("").unwrap().families(&read(), Format::Text);
    let source = own.source(&owner()).unwrap();
    families.extend(source.families(true, Duration::ZERO, Format::Text));
    families.push(gauge("gatemeter_page_series", Some(Number::Whole(1))));
    families.extend(own.families(Duration::ZERO, Format::Text));
    // The phases of a scrape are told of by Envoys and bridge.
    let mut names: Vec<_> = families.iter().map(|family| family.name.as_ref()).collect();
    let twice = names
        .iter()
        .rposition(|name| *name == "gatemeter_scrape_duration_seconds");
    names.remove(twice.unwrap());
    let expected: Vec<_> = CATALOG
        .iter()
        .filter(|row| row.origin == Origin::Bridge)
        .map(|row| row.name)
        .collect();
    assert_eq!(names, expected);
    assert!(families.iter().all(|family| !family.help.is_empty()));
}

#[test]
fn counts_by_reason_and_says_since_when_where_the_format_can() {
    let own = OwnMetrics::register(Registry::new()).unwrap();
    let envoy = own.envoy("").unwrap();
    envoy.read_failed(&ReadError::Truncated);
    envoy.stats_dropped(&BTreeMap::from([(DropReason::Duplicate, 3)]));
    let text = lines(&envoy.families(&read(), Format::Text), Format::Text);
    for line in [
        "gatemeter_scrape_errors_total{reason=\"truncated\"} 1",
        "gatemeter_scrape_errors_total{reason=\"connect\"} 0",
        "gatemeter_dropped_stats_total{reason=\"duplicate\"} 3",
        "gatemeter_up 1",
        "gatemeter_envoy_answer_bytes 7",
        "gatemeter_scrape_duration_seconds{phase=\"decode\"} 0",
    ] {
        assert!(text.contains(&line.to_owned()), "{line} in {text:?}");
    }
    assert!(!text.iter().any(|line| line.contains("_created")));

    let openmetrics = lines(
        &envoy.families(&read(), Format::OpenMetrics),
        Format::OpenMetrics,
    );
    let created = "gatemeter_scrape_errors_created{reason=\"truncated\"} ";
    let since = openmetrics
        .iter()
        .find_map(|line| line.strip_prefix(created));
    let since: f64 = since.unwrap().parse().unwrap();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert!(
        (0.0..60.0).contains(&(now.as_secs_f64() - since)),
        "{since}"
    );
}

#[test]
fn counts_outlive_a_change_of_the_configuration() {
    let own = OwnMetrics::register(Registry::new()).unwrap();
    own.envoy("envoy=\"a\"").unwrap().restarted();
    own.source(&owner())
        .unwrap()
        .series_dropped(&BTreeMap::from([(SeriesDrop::Conflict, 2)]));
    let again = own
        .envoy("envoy=\"a\"")
        .unwrap()
        .families(&read(), Format::Text);
    assert!(lines(&again, Format::Text).contains(&"gatemeter_envoy_restarts_total 1".to_owned()));
    let other = own
        .envoy("envoy=\"b\"")
        .unwrap()
        .families(&read(), Format::Text);
    assert!(lines(&other, Format::Text).contains(&"gatemeter_envoy_restarts_total 0".to_owned()));
    let again = own
        .source(&owner())
        .unwrap()
        .families(false, Duration::ZERO, Format::Text);
    let lines = lines(&again, Format::Text);
    for line in [
        "gatemeter_dropped_series_total{service=\"api\",zone=\"a\",reason=\"conflict\"} 2",
        "gatemeter_source_up{service=\"api\",zone=\"a\"} 0",
    ] {
        assert!(lines.contains(&line.to_owned()), "{line} in {lines:?}");
    }
}

#[test]
fn a_configuration_that_is_refused_leaves_the_time_of_the_one_in_use() {
    let own = OwnMetrics::register(Registry::new()).unwrap();
    let config = || {
        let lines = lines(&own.families(Duration::ZERO, Format::Text), Format::Text);
        let of_config = lines
            .into_iter()
            .filter(|line| line.starts_with("gatemeter_config"));
        of_config.collect::<Vec<_>>()
    };
    assert_eq!(config(), [""; 0]);
    own.config_loaded(true);
    let [taken, when] = &config()[..] else {
        panic!("{:?}", config());
    };
    assert_eq!(taken, "gatemeter_config_last_reload_successful 1");
    own.config_loaded(false);
    assert_eq!(
        config(),
        ["gatemeter_config_last_reload_successful 0", when]
    );
}

#[cfg(target_os = "linux")]
#[test]
fn tells_of_this_process() {
    let own = OwnMetrics::register(Registry::new()).unwrap();
    let lines = lines(&own.families(Duration::ZERO, Format::Text), Format::Text);
    let value = |name: &str| -> f64 {
        let mut values = lines
            .iter()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values
            .next()
            .unwrap_or_else(|| panic!("no {name}"))
            .parse()
            .unwrap()
    };
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let age = now.as_secs_f64() - value("process_start_time_seconds");
    assert!((-2.0..3600.0).contains(&age), "{age}");
    assert!(value("process_resident_memory_bytes") > 100_000.0);
    assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
    assert!(value("process_open_fds") >= 3.0 && value("process_threads") >= 1.0);
    assert!(value("process_cpu_seconds_total") >= 0.0);
}
