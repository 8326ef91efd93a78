use serde_json::json;

use super::*;
use crate::plugin_config::PluginConfig;
use crate::signal_rules::StatusTest;

fn parsed(keys: Value) -> PluginConfig {
    let mut config = json!({"service": "api"});
    config
        .as_object_mut()
        .unwrap()
        .extend(keys.as_object().unwrap().clone());
    PluginConfig::parse(config.to_string().as_bytes()).unwrap()
}

fn refused(keys: Value) -> String {
    let mut config = json!({"service": "api"});
    config
        .as_object_mut()
        .unwrap()
        .extend(keys.as_object().unwrap().clone());
    PluginConfig::parse(config.to_string().as_bytes())
        .unwrap_err()
        .to_string()
}

/// What a list with this one rule is refused with.
fn rule(rule: Value) -> String {
    refused(json!({"signals": [rule]}))
}

fn names(config: &PluginConfig) -> Vec<&str> {
    config
        .signals
        .families()
        .map(|family| family.name.as_str())
        .collect()
}

#[test]
fn each_preset_has_the_metrics_of_its_service() {
    let pool = ["db_connections_active", "db_connections_idle"];
    for (preset, metrics) in [
        ("api", &["auth_attempts_total", "rate_limit_hits_total"][..]),
        (
            "discovery",
            &[
                "search_queries_total",
                "search_query_duration_seconds",
                "recommendation_duration_seconds",
                "vector_db_query_duration_seconds",
            ],
        ),
        ("playback", &[]),
        (
            "ingestion",
            &[
                "storage_uploads_total",
                "storage_upload_bytes_total",
                "content_processing_duration_seconds",
                "metadata_extraction_duration_seconds",
            ],
        ),
    ] {
        let config = parsed(json!({"preset": preset}));
        let wanted: Vec<_> = metrics.iter().chain(&pool).copied().collect();
        assert_eq!(names(&config), wanted, "{preset}");
        assert_eq!(config.signals.players.any(), preset == "playback");
    }
}

#[test]
fn a_rule_takes_the_place_of_that_of_the_preset_and_an_empty_one_turns_it_off() {
    let config = parsed(json!({
        "preset": "api",
        "routes": ["/session"],
        "signals": [
            {"name": "auth_attempts_total", "count": [
                {"labels": {"result": "success"}, "path": "/session", "status": 201}]},
            {"name": "rate_limit_hits_total", "count": []},
        ],
    }));
    let [logins] = config.signals.counters.as_slice() else {
        panic!("{:?}", config.signals.counters);
    };
    assert_eq!(logins.cases.len(), 1);
    assert_eq!(logins.cases[0].when.statuses, [StatusTest::Exact(201)]);
}

#[test]
fn a_preset_whose_route_is_not_configured_is_refused_with_the_way_out() {
    let error = refused(json!({"preset": "api", "routes": ["/a"]}));
    assert!(
        error.starts_with("preset.count[0].path: \"/api/login\"; expected a template of routes"),
        "{error}"
    );
    assert!(
        error.contains("with an empty count turns it off"),
        "{error}"
    );
}

#[test]
fn braces_and_colons_name_the_same_route() {
    let config = parsed(json!({
        "routes": ["/a/:id"],
        "signals": [{"name": "ops_total", "type": "counter", "help": "Ops.", "count": [{"path": "/a/{id}"}]}],
    }));
    assert_eq!(config.signals.counters[0].cases[0].when.paths, ["/a/:id"]);
}

#[test]
fn each_thing_that_is_wrong_with_a_rule_is_named_with_what_is_accepted() {
    let counter = |name: &str| json!({"name": name, "type": "counter", "help": "x", "count": [{}]});
    let case =
        |case: Value| json!({"name": "ops_total", "type": "counter", "help": "x", "count": [case]});
    for (bad, message) in [
        (
            json!(7),
            "signals[0]: 7; expected an object with the key name",
        ),
        (
            json!({}),
            "signals[0].name: null; expected the name of a metric such as logins_total",
        ),
        (
            counter("Ops_total"),
            "signals[0].name: \"Ops_total\"; expected 1 to 64 lower-case letters, digits and _, a letter first",
        ),
        (
            counter("gatemeter_x_total"),
            "signals[0].name: \"gatemeter_x_total\"; expected a name that does not begin with gatemeter_ or envoy_",
        ),
        (
            counter("ops"),
            "signals[0].name: \"ops\"; expected a counter's name to end in _total",
        ),
        (
            counter("ops_count"),
            "signals[0].name: \"ops_count\"; expected a name without the endings _bucket, _count, _sum, _created and _info",
        ),
        (
            counter("http_requests_total"),
            "signals[0].name: \"http_requests_total\"; expected a name that the catalogue does not have",
        ),
        (
            counter("cache_hits_total"),
            "signals[0].name: \"cache_hits_total\"; expected a name that the catalogue does not have",
        ),
        (
            json!({"name": "depth_total", "type": "gauge", "help": "x", "dictionary": {"header": "x-q", "key": "d"}}),
            "signals[0].name: \"depth_total\"; expected a name without _total, which is for counters",
        ),
        (
            json!({"name": "depth", "type": "histogram", "help": "x", "server_timing": "d"}),
            "signals[0].name: \"depth\"; expected a histogram's name to end in _seconds, for it takes durations",
        ),
        (
            json!({"name": "ops_total", "type": "summary", "help": "x"}),
            "signals[0].type: \"summary\"; expected counter, gauge or histogram",
        ),
        (
            json!({"name": "ops_total", "type": "counter", "help": "a\nb", "count": []}),
            "signals[0].help: \"a\\nb\"; expected a text of one line, of 1 to 200 bytes",
        ),
        (
            json!({"name": "auth_attempts_total", "help": "x", "count": []}),
            "signals[0].help: \"x\"; expected no such key: the metric is one of the catalogue",
        ),
        (
            json!({"name": "ops_total", "type": "counter", "help": "x", "server_timing": "x", "count": []}),
            "signals[0].server_timing: \"x\"; expected only the keys name, type, help and for this metric count, add",
        ),
        (
            json!({"name": "ops_total", "type": "counter", "help": "x", "add": 2, "count": []}),
            "signals[0].add: 2; expected request_bytes or response_bytes",
        ),
        (
            case(json!(1)),
            "signals[0].count[0]: 1; expected a list of cases such as {\"path\": \"/login\", \"status\": \"2xx\"}",
        ),
        (
            case(json!({"when": 1})),
            "signals[0].count[0].when: 1; expected only the keys labels, method, path, status, request_header, response_header",
        ),
        (
            case(json!({"status": "2x"})),
            "signals[0].count[0].status: \"2x\"; expected a status such as 429, a class such as \"2xx\", or a list",
        ),
        (
            case(json!({"status": 600})),
            "signals[0].count[0].status: 600; expected a status such as 429, a class such as \"2xx\", or a list",
        ),
        (
            case(json!({"status": []})),
            "signals[0].count[0].status: []; expected a status such as 429, a class such as \"2xx\", or a list",
        ),
        (
            case(json!({"method": "get"})),
            "signals[0].count[0].method: \"get\"; expected a method such as GET, or a list",
        ),
        (
            case(json!({"path": "a"})),
            "signals[0].count[0].path: \"a\"; expected a path such as /api/content/:id, or a list",
        ),
        (
            case(json!({"labels": {"service": "x"}})),
            "signals[0].count[0].labels: \"service\"; expected a name of lower-case letters, digits and _, none of service, le, quantile, job, instance, metric",
        ),
        (
            case(json!({"labels": {"result": ""}})),
            "signals[0].count[0].labels: {\"result\":\"\"}; expected a value of 1 to 64 characters for each of the labels result",
        ),
        (
            case(json!({"request_header": "Cache-Status"})),
            "signals[0].count[0].request_header: \"Cache-Status\"; expected another header: what a client says under this name is not believed",
        ),
        (
            case(json!({"response_header": {"name": "x"}})),
            "signals[0].count[0].response_header: {\"name\":\"x\"}; expected the name of a header, or {\"name\": \"x-plan\", \"value\": \"gold\"}",
        ),
        (
            json!({"name": "queue_depth", "type": "gauge", "help": "x", "dictionary": {"header": "server-timing", "key": "d"}}),
            "signals[0].dictionary.header: \"server-timing\"; expected the name of a header that nothing else is read from",
        ),
        (
            json!({"name": "queue_depth", "type": "gauge", "help": "x", "dictionary": {"header": "x-q", "key": "D"}}),
            "signals[0].dictionary.key: \"D\"; expected a key of lower-case letters, digits, _, -, . and *",
        ),
        (
            json!({"name": "db_seconds", "type": "histogram", "help": "x", "server_timing": "d", "buckets": [2, 1]}),
            "signals[0].buckets: [2,1] is not sorted: 1.0 follows 2.0; expected strictly increasing bounds in seconds",
        ),
        (
            json!({"name": "stream_buffer_events_total", "cmcd": "bs"}),
            "signals[0].cmcd: \"bs\"; expected buffer",
        ),
    ] {
        assert_eq!(rule(bad), message);
    }
}

#[test]
fn a_text_that_no_stat_name_has_room_for_is_refused() {
    let rule = |help: &str| json!({"signals": [{"name": "ops_total", "type": "counter", "help": help, "count": []}]});
    parsed(rule(&"Twenty bytes of text.".repeat(9)));
    let long = "\u{e9}".repeat(100);
    let error = refused(rule(&long));
    assert!(
        error.ends_with("expected a shorter text: stat name of 725 bytes; expected at most 512"),
        "{error}"
    );
}

#[test]
fn cases_of_one_counter_have_the_same_labels() {
    let error = rule(
        json!({"name": "ops_total", "type": "counter", "help": "x", "count": [
        {"labels": {"result": "ok"}}, {"labels": {"outcome": "bad"}}]}),
    );
    assert_eq!(
        error,
        "signals[0].count[1].labels: {\"outcome\":\"bad\"}; expected a value of 1 to 64 characters for each of the labels result"
    );
}

#[test]
fn two_rules_that_a_page_could_not_tell_apart_are_refused() {
    let histogram =
        |name: &str| json!({"name": name, "type": "histogram", "help": "x", "server_timing": "x"});
    let gauge = |name: &str| json!({"name": name, "type": "gauge", "help": "x", "dictionary": {"header": "x-q", "key": "d"}});
    for second in [
        histogram("db_seconds"),
        gauge("db_seconds_bin"),
        gauge("db_nanoseconds_sum2"),
    ] {
        let name = second["name"].as_str().unwrap().to_owned();
        let keys = json!({"signals": [histogram("db_seconds"), second]});
        if name == "db_nanoseconds_sum2" {
            parsed(keys);
        } else {
            assert_eq!(
                refused(keys),
                format!(
                    "signals[1].name: \"{name}\" collides with a rule before it; expected one rule a metric"
                )
            );
        }
    }
}

#[test]
fn a_header_that_is_read_can_be_hidden_and_another_cannot() {
    let signals = json!([
        {"name": "queue_depth", "type": "gauge", "help": "x", "dictionary": {"header": "X-Queue", "key": "d"}},
        {"name": "gold_total", "type": "counter", "help": "x", "count": [{"response_header": "X-Plan"}]},
    ]);
    let strip = |strip: Value| json!({"signals": signals, "strip": strip});
    assert_eq!(
        parsed(json!({"signals": signals})).strip,
        ["x-db-pool", "x-queue"]
    );
    let config = parsed(strip(json!(["X-Plan", "server-timing", "x-queue"])));
    assert_eq!(config.strip, ["x-plan", "server-timing", "x-queue"]);
    assert!(
        refused(strip(json!(["set-cookie"])))
            .starts_with("strip[0]: \"set-cookie\"; expected a header that is read")
    );
}

#[test]
fn the_rules_of_this_crate_are_accepted_as_they_stand() {
    for (preset, _) in PRESETS {
        let config = parsed(json!({"preset": preset}));
        assert!(!config.signals.gauges.is_empty(), "{preset}");
    }
    assert_eq!(
        refused(json!({"preset": "shop"})),
        "preset: \"shop\"; expected one of api, discovery, playback, ingestion"
    );
}

#[test]
fn so_many_keys_of_a_dictionary_can_be_read() {
    let gauges: Vec<Value> = (0..=MAX_KEYS)
        .map(|number| {
            let dictionary = json!({"header": "x-q", "key": format!("k{number}")});
            json!({"name": format!("depth_{number}"), "type": "gauge", "help": "x", "dictionary": dictionary})
        })
        .collect();
    let error = refused(json!({"signals": gauges}));
    assert_eq!(error, "signals: read 9 keys of x-q; expected at most 8");
}

#[test]
fn so_many_dictionaries_can_be_read() {
    let gauges: Vec<Value> = (0..MAX_DICTIONARIES)
        .map(|number| {
            let dictionary = json!({"header": format!("x-q{number}"), "key": "k"});
            json!({"name": format!("depth_{number}"), "type": "gauge", "help": "x", "dictionary": dictionary})
        })
        .collect();
    // That of the pool is one, too.
    let error = refused(json!({"signals": gauges}));
    assert_eq!(error, "signals: read 17 dictionaries; expected at most 16");
}

#[test]
fn so_many_headers_can_be_tested_at_a_time() {
    let cases: Vec<Value> = (0..=MAX_HEADER_TESTS)
        .map(|number| json!({"response_header": format!("x-{number}")}))
        .collect();
    let error = rule(json!({"name": "ops_total", "type": "counter", "help": "x", "count": cases}));
    assert_eq!(
        error,
        "signals: look at 33 response headers; expected at most 32"
    );
}
