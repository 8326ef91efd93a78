use proptest::prelude::*;

use super::fields::MOST_ITEMS;
use super::*;
use crate::path_label::PathLabel;

fn errors(json: &str) -> Vec<String> {
    let errors = PluginConfig::parse(json.as_bytes()).unwrap_err();
    errors
        .errors()
        .iter()
        .map(|error| format!("{}: {}", error.key, error.problem))
        .collect()
}

fn error(json: &str) -> String {
    let mut errors = errors(json);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

#[test]
fn only_the_service_is_required_and_the_rest_has_the_documented_defaults() {
    let config = PluginConfig::parse(br#"{"service": "api"}"#).unwrap();
    assert_eq!(config.service, "api");
    assert_eq!(config.max_series, 5_000);
    assert_eq!(config.buckets, Buckets::default());
    assert_eq!(config.strip, ["x-db-pool"]);
    assert_eq!(config.flush_interval_ms, 100);
    assert!(!config.native_histogram);
    assert_eq!(config.cache, CacheConfig::default());
    assert_eq!(
        config.paths.label(b"/api/42"),
        PathLabel::Candidate("/api/:id".to_owned())
    );
}

#[test]
fn reads_every_key() {
    let config = PluginConfig::parse(
        br#"{
            "service": "api",
            "routes": ["/api/content/:id", "/api/content/{id}/stream", "/ws/*"],
            "path_rules": [{"match": "/\\d+", "replace": "/:id"}],
            "exclude": ["/metrics"],
            "max_series": 500.0,
            "buckets": [0.001, 0.1, 1, 2.5],
            "cache": {"types": {"redis": "redis", "edge-cache": "cdn"}},
            "strip": ["X-Db-Pool", "cache-status"],
            "native_histogram": true,
            "flush_interval_ms": 1000
        }"#,
    )
    .unwrap();
    assert_eq!(config.max_series, 500);
    assert_eq!(
        config.buckets.bounds(),
        [1_000_000, 100_000_000, 1_000_000_000, 2_500_000_000]
    );
    let types = [("edge-cache", "cdn"), ("redis", "redis")];
    let types = types.map(|(name, label)| (name.to_owned(), label.to_owned()));
    assert_eq!(config.cache.types, Some(types.to_vec()));
    assert_eq!(config.strip, ["x-db-pool", "cache-status"]);
    assert!(config.native_histogram);
    assert_eq!(config.flush_interval_ms, 1_000);
    assert_eq!(
        config.paths.label(b"/api/content/7/stream"),
        PathLabel::Route(1)
    );
    assert_eq!(config.paths.label(b"/metrics"), PathLabel::Excluded);
}

#[test]
fn a_bound_may_be_a_string_as_envoys_yaml_reader_makes_it() {
    let config = PluginConfig::parse(br#"{"service": "api", "buckets": ["0.005", 1]}"#).unwrap();
    assert_eq!(config.buckets.bounds(), [5_000_000, 1_000_000_000]);
}

/// `{service: api, max_series: 500}` as Envoy encodes a Struct.
#[test]
fn reads_a_struct_as_envoy_encodes_it() {
    let bytes = b"\x0a\x10\x0a\x07service\x12\x05\x1a\x03api\
        \x0a\x17\x0a\x0amax_series\x12\x09\x11\0\0\0\0\0\x40\x7f\x40";
    let config = PluginConfig::parse(bytes).unwrap();
    assert_eq!(config.service, "api");
    assert_eq!(config.max_series, 500);
}

#[test]
fn each_error_names_the_key_the_value_and_what_is_accepted() {
    for (json, message) in [
        (
            r#"{}"#,
            "service: is missing; expected 1 to 64 letters, digits, _ and -",
        ),
        (
            r#"{"service": "a.b"}"#,
            r#"service: "a.b"; expected 1 to 64 letters, digits, _ and -"#,
        ),
        (
            r#"{"service": 7}"#,
            "service: 7; expected 1 to 64 letters, digits, _ and -",
        ),
        (
            r#"{"service": "api", "max_serie": 5}"#,
            "max_serie: 5; expected one of the keys service, preset, routes, path_rules, exclude, max_series, buckets, cache, signals, strip, bytes_per_route, native_histogram, flush_interval_ms",
        ),
        (
            r#"{"service": "api", "max_series": 0}"#,
            "max_series: 0; expected a whole number from 1 to 100000",
        ),
        (
            r#"{"service": "api", "max_series": "many"}"#,
            r#"max_series: "many"; expected a whole number from 1 to 100000"#,
        ),
        (
            r#"{"service": "api", "max_series": 1.5}"#,
            "max_series: 1.5; expected a whole number from 1 to 100000",
        ),
        (
            r#"{"service": "api", "flush_interval_ms": 1}"#,
            "flush_interval_ms: 1; expected a whole number from 10 to 60000",
        ),
        (
            r#"{"service": "api", "routes": "/a"}"#,
            r#"routes: "/a"; expected a list of paths such as /api/content/:id"#,
        ),
        (
            r#"{"service": "api", "routes": ["/a", "b"]}"#,
            r#"routes[1]: "b" does not start with /; expected a path such as /api/content/:id"#,
        ),
        (
            r#"{"service": "api", "routes": ["/a/:x", "/a/{y}"]}"#,
            r#"routes[1]: "/a/{y}" matches the same paths as /a/:x; expected each route once"#,
        ),
        (
            r#"{"service": "api", "exclude": [1]}"#,
            "exclude[0]: 1; expected a path such as /api/content/:id",
        ),
        (
            r#"{"service": "api", "path_rules": [{"match": "(", "replace": ""}]}"#,
            r#"path_rules[0].match: "(" is refused: found open group without closing ')'; expected a regular expression as in the crate regex-lite"#,
        ),
        (
            r#"{"service": "api", "path_rules": [{"match": "a|b", "replace": ""}]}"#,
            r#"path_rules[0].match: "a|b" is refused: alternatives, groups, captures and flags are slow; expected characters, classes and repeats in a row, or "slow": true beside it"#,
        ),
        (
            r#"{"service": "api", "path_rules": [{"match": "a", "replace": "", "slow": 1}]}"#,
            "path_rules[0].slow: 1; expected true or false",
        ),
        (
            r#"{"service": "api", "path_rules": [{"match": "a"}]}"#,
            "path_rules[0].replace: null; expected a string",
        ),
        (
            r#"{"service": "api", "buckets": [0.1, 0.05]}"#,
            "buckets: [0.1,0.05] is not sorted: 0.05 follows 0.1; expected strictly increasing bounds in seconds",
        ),
        (
            r#"{"service": "api", "buckets": []}"#,
            "buckets: [] is empty; expected 1 to 40 bounds in seconds",
        ),
        (
            r#"{"service": "api", "buckets": [-1]}"#,
            "buckets: [-1]; expected a list of bounds in seconds, to the nanosecond, such as [0.005, 0.1, 1]",
        ),
        (
            r#"{"service": "api", "cache": {"types": {"redis": ""}}}"#,
            r#"cache.types.redis: ""; expected 1 to 64 letters, digits, _ and -"#,
        ),
        (
            r#"{"service": "api", "strip": ["server"]}"#,
            r#"strip[0]: "server"; expected a header that is read: cache-status, cf-cache-status, server-timing, x-cache, x-cache-status, x-db-pool"#,
        ),
        (
            r#"{"service": "api", "native_histogram": 1}"#,
            "native_histogram: 1; expected true or false",
        ),
        (
            r#"[]"#,
            "configuration: []; expected a JSON object with the key service",
        ),
    ] {
        assert_eq!(error(json), message);
    }
    assert!(error("").starts_with("configuration: is no JSON (EOF while parsing"));
}

#[test]
fn all_errors_come_at_once_and_on_one_line() {
    let json = r#"{"service": "a b", "x\ny": 1, "max_series": 0, "buckets": [2, 1], "routes": ["a", "/b c"]}"#;
    assert_eq!(errors(json).len(), 6);
    let line = PluginConfig::parse(json.as_bytes())
        .unwrap_err()
        .to_string();
    assert!(!line.contains('\n'), "{line}");
    for key in [
        "service",
        "x y",
        "max_series",
        "buckets",
        "routes[0]",
        "routes[1]",
    ] {
        assert!(line.contains(&format!("{key}: ")), "{key} is not in {line}");
    }
}

#[test]
fn a_line_shows_the_first_errors_and_how_many_more_there_are() {
    let json = format!(
        r#"{{"service": "api", "routes": [{}]}}"#,
        ["0"; 500].join(",")
    );
    assert_eq!(errors(&json).len(), 500);
    let refused = PluginConfig::parse(json.as_bytes()).unwrap_err();
    let line = refused.to_string();
    assert!(line.ends_with(" | and 490 more"), "{line}");
    assert!(
        line.contains("routes[9]: ") && !line.contains("routes[10]"),
        "{line}"
    );
}

#[test]
fn a_list_that_is_too_long_to_look_at_is_refused_as_a_whole() {
    let json = format!(
        r#"{{"service": "api", "routes": [{}]}}"#,
        vec!["0"; MOST_ITEMS + 1].join(",")
    );
    assert_eq!(
        errors(&json),
        ["routes: has 10001 items; expected at most 10000"]
    );
}

#[test]
fn a_template_that_makes_too_long_a_name_is_refused() {
    let json = format!(
        r#"{{"service": "api", "routes": ["/{}"]}}"#,
        "x".repeat(500)
    );
    let message = error(&json);
    assert!(message.starts_with("routes: \"/xxx"), "{message}");
    assert!(message.contains("more than 512 bytes"), "{message}");
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(json: Vec<u8>) {
        let _ = PluginConfig::parse(&json);
    }

    #[test]
    fn any_values_under_the_known_keys_are_parsed_or_refused(
        key in proptest::sample::select(KEYS.to_vec()),
        value in "[\\[\\]{}\":,0-9a-z./*\\-]{0,24}",
    ) {
        let _ = PluginConfig::parse(format!(r#"{{"service": "api", "{key}": {value}}}"#).as_bytes());
    }
}
