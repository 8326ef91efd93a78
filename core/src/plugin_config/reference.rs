//! What people need to know of each key: the source of
//! `docs/reference/plugin-configuration.md`.
//!
//! It says nothing of its own about what is accepted: the reference quotes the
//! parser's answer to [`Key::refused`], and a test holds names, examples and
//! defaults to the parser. The filter uses nothing of it.

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its place: `routes`, `cache.types`, `signals[].name`.
    pub name: &'static str,
    /// Kind of its value in JSON.
    pub kind: &'static str,
    /// What holds without it, as JSON; `required`, or `none` where it then is
    /// as if there were no such key.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// Keys of the whole configuration, with this one, that are accepted.
    pub example: &'static str,
    /// The same with a value that is refused.
    pub refused: &'static str,
}

/// Every key, those inside of others behind them.
pub const KEYS: &[Key] = &[
    Key {
        name: "service",
        kind: "string",
        default: "required",
        meaning: "Value of the label `service`. Also the `stat_prefix` of the connection manager, below which the bridge finds Envoy's own counters.",
        example: r#""service": "api""#,
        refused: r#""service": "my api""#,
    },
    Key {
        name: "preset",
        kind: "string",
        default: "none",
        meaning: "The metrics of such a service, see [signals](../signals.md#presets).",
        example: r#""preset": "playback""#,
        refused: r#""preset": "video""#,
    },
    Key {
        name: "routes",
        kind: "list of strings",
        default: "[]",
        meaning: "Templates of paths. A path that matches one has it for its label, any other is `_UNMATCHED`. A segment `:name` or `{name}` takes any one segment, `*` at the end takes the rest, which may be empty. Without templates a path is its own label, with identifiers as `:id`, once a response below 400 was given for it.",
        example: r#""routes": ["/api/content", "/api/content/:id", "/ws/*"]"#,
        refused: r#""routes": ["api/content"]"#,
    },
    Key {
        name: "path_rules",
        kind: "list of objects",
        default: "[]",
        meaning: "Replacements in the path, in this order, before the templates; at most 8.",
        example: r#""path_rules": [{"match": "/\\d+", "replace": "/:id"}]"#,
        refused: r#""path_rules": ["/\\d+"]"#,
    },
    Key {
        name: "path_rules[].match",
        kind: "string",
        default: "required",
        meaning: "What is replaced, wherever it occurs: a row of characters, classes and repeats in the syntax of regular expressions.",
        example: r#""path_rules": [{"match": "/v[0-9]+", "replace": ""}]"#,
        refused: r#""path_rules": [{"match": "(a|b)+", "replace": ""}]"#,
    },
    Key {
        name: "path_rules[].replace",
        kind: "string",
        default: "required",
        meaning: "What stands there then.",
        example: r#""path_rules": [{"match": "/[0-9a-f]{8}", "replace": "/:hash"}]"#,
        refused: r#""path_rules": [{"match": "/v1"}]"#,
    },
    Key {
        name: "path_rules[].slow",
        kind: "boolean",
        default: "false",
        meaning: "Lets `match` be any regular expression of the crate regex-lite, on paths of up to 256 bytes; for at most two rules. It costs about 2,000 units of fuel a byte, see [benchmarks](../benchmarks.md#the-worst-input).",
        example: r#""path_rules": [{"match": "/(de|en)/", "replace": "/:lang/", "slow": true}]"#,
        refused: r#""path_rules": [{"match": "/v1", "replace": "", "slow": 1}]"#,
    },
    Key {
        name: "exclude",
        kind: "list of strings",
        default: "[]",
        meaning: "Templates of paths that are no requests of a client, such as scrapes and probes. They count in `gatemeter_excluded_requests_total` only; what their responses say of caches and pools still counts.",
        example: r#""exclude": ["/metrics", "/healthz"]"#,
        refused: r#""exclude": "/metrics""#,
    },
    Key {
        name: "max_series",
        kind: "number",
        default: "5000",
        meaning: "Most label sets of method, path and status, over all workers. What comes beyond has the path `_OVERFLOW`, in a reserve of 500.",
        example: r#""max_series": 20000"#,
        refused: r#""max_series": 0"#,
    },
    Key {
        name: "buckets",
        kind: "list of numbers",
        default: "[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]",
        meaning: "Bounds of `http_request_duration_seconds`, inclusive, in seconds, strictly increasing; at most 40. `+Inf` is always there.",
        example: r#""buckets": [0.01, 0.1, 1, 10]"#,
        refused: r#""buckets": [0.1, 0.05]"#,
    },
    Key {
        name: "cache",
        kind: "object",
        default: "{}",
        meaning: "What becomes of what caches say, see [signals](../signals.md#caches).",
        example: r#""cache": {"types": {"redis": "redis"}, "bytes": true}"#,
        refused: r#""cache": "redis""#,
    },
    Key {
        name: "cache.types",
        kind: "object of strings",
        default: "none",
        meaning: "Names of caches, each with its `cache_type`; a cache that is not listed is `other`. Without it the first 16 names that come are taken as they are.",
        example: r#""cache": {"types": {"redis": "redis", "x-cache": "cdn"}}"#,
        refused: r#""cache": {"types": {"redis": "my redis"}}"#,
    },
    Key {
        name: "cache.bytes",
        kind: "boolean",
        default: "false",
        meaning: "Also count `cache_response_bytes_total`.",
        example: r#""cache": {"bytes": true}"#,
        refused: r#""cache": {"bytes": "yes"}"#,
    },
    Key {
        name: "signals",
        kind: "list of objects",
        default: "[]",
        meaning: "Rules for metrics of your own, see [signals](../signals.md#rules); at most 64.",
        example: r#""signals": [{"name": "logins_total", "type": "counter", "help": "Logins.", "count": [{"path": "/login"}]}]"#,
        refused: r#""signals": "logins_total""#,
    },
    Key {
        name: "signals[].name",
        kind: "string",
        default: "required",
        meaning: "Name of the metric: a new one, or one of the catalogue that a preset has, whose rule this one then replaces.",
        example: r#""signals": [{"name": "orders_total", "type": "counter", "help": "Orders.", "count": [{"path": "/orders"}]}]"#,
        refused: r#""signals": [{"name": "orders", "type": "counter", "help": "Orders.", "count": [{"path": "/orders"}]}]"#,
    },
    Key {
        name: "signals[].type",
        kind: "string",
        default: "required",
        meaning: "Type of a new metric; one of the catalogue has its own.",
        example: r#""signals": [{"name": "queue_depth", "type": "gauge", "help": "Jobs that wait.", "dictionary": {"header": "x-queue", "key": "depth"}}]"#,
        refused: r#""signals": [{"name": "queue_depth", "type": "summary", "help": "Jobs that wait.", "dictionary": {"header": "x-queue", "key": "depth"}}]"#,
    },
    Key {
        name: "signals[].help",
        kind: "string",
        default: "required",
        meaning: "Text of the `# HELP` line of a new metric.",
        example: r#""signals": [{"name": "visits_total", "type": "counter", "help": "Visits of the front page.", "count": [{"path": "/"}]}]"#,
        refused: r#""signals": [{"name": "visits_total", "type": "counter", "help": "", "count": [{"path": "/"}]}]"#,
    },
    Key {
        name: "signals[].count",
        kind: "list of objects",
        default: "required for a counter",
        meaning: "Cases; an exchange counts for the first that it meets. None turns the metric off.",
        example: r#""preset": "api", "signals": [{"name": "rate_limit_hits_total", "count": [{"status": [429, 503]}]}]"#,
        refused: r#""preset": "api", "signals": [{"name": "rate_limit_hits_total", "count": 429}]"#,
    },
    Key {
        name: "signals[].add",
        kind: "string",
        default: "none",
        meaning: "Take the bytes of a body in place of one.",
        example: r#""signals": [{"name": "report_bytes_total", "type": "counter", "help": "Bytes of reports.", "add": "response_bytes", "count": [{"path": "/reports/:id"}]}]"#,
        refused: r#""signals": [{"name": "report_bytes_total", "type": "counter", "help": "Bytes of reports.", "add": "bytes", "count": [{"path": "/reports/:id"}]}]"#,
    },
    Key {
        name: "signals[].dictionary",
        kind: "object",
        default: "required for a gauge",
        meaning: "Response header and key (RFC 9651) that the gauge is read from.",
        example: r#""signals": [{"name": "jobs_waiting", "type": "gauge", "help": "Jobs that wait.", "dictionary": {"header": "x-queue", "key": "depth"}}]"#,
        refused: r#""signals": [{"name": "jobs_waiting", "type": "gauge", "help": "Jobs that wait.", "dictionary": "x-queue"}]"#,
    },
    Key {
        name: "signals[].server_timing",
        kind: "string",
        default: "required for a histogram",
        meaning: "Entry of `Server-Timing` whose `dur` is observed.",
        example: r#""signals": [{"name": "render_duration_seconds", "type": "histogram", "help": "Renderings.", "server_timing": "render"}]"#,
        refused: r#""signals": [{"name": "render_duration_seconds", "type": "histogram", "help": "Renderings.", "server_timing": "a b"}]"#,
    },
    Key {
        name: "signals[].buckets",
        kind: "list of numbers",
        default: "[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]",
        meaning: "Bounds of a histogram, as of the whole configuration.",
        example: r#""signals": [{"name": "parse_duration_seconds", "type": "histogram", "help": "Parsing.", "server_timing": "parse", "buckets": [0.1, 1]}]"#,
        refused: r#""signals": [{"name": "parse_duration_seconds", "type": "histogram", "help": "Parsing.", "server_timing": "parse", "buckets": [1, 1]}]"#,
    },
    Key {
        name: "signals[].cmcd",
        kind: "string",
        default: "required for the metrics of players",
        meaning: "What of the players' CMCD is counted, where the metric is one of the three that the preset `playback` has.",
        example: r#""signals": [{"name": "stream_buffer_events_total", "cmcd": "buffer"}]"#,
        refused: r#""signals": [{"name": "stream_buffer_events_total", "cmcd": "stalls"}]"#,
    },
    Key {
        name: "signals[].count[].labels",
        kind: "object of strings",
        default: "{}",
        meaning: "Labels with their values; all cases of a metric have the same labels, at most 4.",
        example: r#""signals": [{"name": "checkouts_total", "type": "counter", "help": "Checkouts.", "count": [{"labels": {"result": "done"}, "status": "2xx"}, {"labels": {"result": "failed"}}]}]"#,
        refused: r#""signals": [{"name": "checkouts_total", "type": "counter", "help": "Checkouts.", "count": [{"labels": {"le": "1"}}]}]"#,
    },
    Key {
        name: "signals[].count[].method",
        kind: "string or list",
        default: "any",
        meaning: "Methods for which the case holds.",
        example: r#""signals": [{"name": "writes_total", "type": "counter", "help": "Writes.", "count": [{"method": ["POST", "PUT"]}]}]"#,
        refused: r#""signals": [{"name": "writes_total", "type": "counter", "help": "Writes.", "count": [{"method": "post"}]}]"#,
    },
    Key {
        name: "signals[].count[].path",
        kind: "string or list",
        default: "any",
        meaning: "Values of the label `path` for which it holds; with `routes` one of those.",
        example: r#""routes": ["/items/:id"], "signals": [{"name": "views_total", "type": "counter", "help": "Views.", "count": [{"path": "/items/:id"}]}]"#,
        refused: r#""routes": ["/items/:id"], "signals": [{"name": "views_total", "type": "counter", "help": "Views.", "count": [{"path": "/items"}]}]"#,
    },
    Key {
        name: "signals[].count[].status",
        kind: "number, string or list",
        default: "any",
        meaning: "Statuses or classes for which it holds.",
        example: r#""signals": [{"name": "refusals_total", "type": "counter", "help": "Refusals.", "count": [{"status": [401, 403, "5xx"]}]}]"#,
        refused: r#""signals": [{"name": "refusals_total", "type": "counter", "help": "Refusals.", "count": [{"status": "4**"}]}]"#,
    },
    Key {
        name: "signals[].count[].request_header",
        kind: "string or object",
        default: "any",
        meaning: "A request header that has to be there, with this value if one is given. No header of a signal: clients are not believed.",
        example: r#""signals": [{"name": "gold_total", "type": "counter", "help": "Gold.", "count": [{"request_header": {"name": "x-plan", "value": "gold"}}]}]"#,
        refused: r#""signals": [{"name": "gold_total", "type": "counter", "help": "Gold.", "count": [{"request_header": "cache-status"}]}]"#,
    },
    Key {
        name: "signals[].count[].response_header",
        kind: "string or object",
        default: "any",
        meaning: "The same of a response header.",
        example: r#""signals": [{"name": "empty_total", "type": "counter", "help": "Empty.", "count": [{"response_header": {"name": "x-search-results", "value": "0"}}]}]"#,
        refused: r#""signals": [{"name": "empty_total", "type": "counter", "help": "Empty.", "count": [{"response_header": 0}]}]"#,
    },
    Key {
        name: "strip",
        kind: "list of strings",
        default: "the headers of gauges",
        meaning: "Response headers that are read and that the client does not see.",
        example: r#""strip": ["x-db-pool", "cache-status", "server-timing"]"#,
        refused: r#""strip": ["set-cookie"]"#,
    },
    Key {
        name: "bytes_per_route",
        kind: "boolean",
        default: "false",
        meaning: "Also count `http_request_bytes_total` and `http_response_bytes_total`, at three property reads a request.",
        example: r#""bytes_per_route": true"#,
        refused: r#""bytes_per_route": 1"#,
    },
    Key {
        name: "native_histogram",
        kind: "boolean",
        default: "false",
        meaning: "Also record `http_request_duration_ms`, an Envoy histogram, for people who push through a stats sink.",
        example: r#""native_histogram": true"#,
        refused: r#""native_histogram": "on""#,
    },
    Key {
        name: "flush_interval_ms",
        kind: "number",
        default: "100",
        meaning: "Milliseconds between two flushes of counts to Envoy's stats.",
        example: r#""flush_interval_ms": 1000"#,
        refused: r#""flush_interval_ms": 1"#,
    },
];

/// The whole configuration for keys of it: with a service, if they have none.
pub fn configuration(keys: &str) -> String {
    match keys.starts_with(r#""service""#) {
        true => format!("{{{keys}}}"),
        false => format!(r#"{{"service": "api", {keys}}}"#),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin_config::{ConfigError, PluginConfig};

    /// The place of an error as the table spells it.
    fn place(error: &ConfigError) -> String {
        let digits = regex::Regex::new(r"\[\d+\]").unwrap();
        digits.replace_all(&error.key, "[]").into_owned()
    }

    #[test]
    fn every_example_is_accepted_and_names_its_key() {
        for key in KEYS {
            let json = configuration(key.example);
            PluginConfig::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
            let name = key.name.rsplit(['.', ']']).find(|part| !part.is_empty());
            let name = name.unwrap().trim_end_matches('[');
            assert!(key.example.contains(&format!("\"{name}\":")), "{json}");
        }
    }

    #[test]
    fn every_refused_value_is_refused_at_its_key_with_what_is_accepted() {
        for key in KEYS {
            let json = configuration(key.refused);
            let errors = PluginConfig::parse(json.as_bytes()).expect_err(&json);
            let [error] = errors.errors() else {
                panic!("{json}: {errors}");
            };
            // Of a list or an object, the item that is wrong.
            assert!(place(error).starts_with(key.name), "{json}: {error:?}");
            assert!(error.problem.contains("expected"), "{json}: {error:?}");
        }
    }

    /// Names that an unknown key's error lists, for the place of that key.
    fn listed(json: &str) -> Vec<String> {
        let errors = PluginConfig::parse(json.as_bytes()).unwrap_err();
        let problem = &errors.errors()[0].problem;
        let (_, names) = problem.split_once("keys ").unwrap();
        let names = names
            .replace(" and for this metric ", ", ")
            .replace(" and ", ", ");
        let mut names: Vec<_> = names.split(", ").map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Names that the table has directly below a place.
    fn below(place: &str) -> Vec<String> {
        let names = KEYS.iter().filter_map(|key| key.name.strip_prefix(place));
        let mut names: Vec<_> = names
            .filter(|name| !name.contains(['.', '[']))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_table_has_exactly_the_keys_that_the_parser_accepts() {
        let rule = |rest: &str| format!(r#"{{"service": "a", "signals": [{{"x": 1, {rest}}}]}}"#);
        let metric = |kind: &str, name: &str| {
            rule(&format!(
                r#""name": "{name}", "type": "{kind}", "help": "A.""#
            ))
        };
        assert_eq!(below(""), listed(r#"{"service": "a", "x": 1}"#));
        assert_eq!(
            below("cache."),
            listed(r#"{"service": "a", "cache": {"x": 1}}"#)
        );
        let rules = r#"{"service": "a", "path_rules": [{"match": "/a", "replace": "", "x": 1}]}"#;
        assert_eq!(below("path_rules[]."), listed(rules));
        let mut of_rules = [
            metric("counter", "a_total"),
            metric("gauge", "a"),
            metric("histogram", "a_seconds"),
            rule(r#""name": "stream_init_duration_seconds", "cmcd": "start""#),
        ]
        .map(|json| listed(&json))
        .concat();
        of_rules.sort();
        of_rules.dedup();
        assert_eq!(below("signals[]."), of_rules);
        let case = r#"{"service": "a", "signals": [{"name": "rate_limit_hits_total", "count": [{"x": 1}]}]}"#;
        assert_eq!(below("signals[].count[]."), listed(case));
    }

    /// Where a default can be written down, writing it down changes nothing.
    #[test]
    fn the_defaults_are_those_that_apply() {
        let parsed = |keys: &str| {
            let json = configuration(keys);
            format!("{:?}", PluginConfig::parse(json.as_bytes()).unwrap())
        };
        let without = parsed(r#""routes": []"#);
        let mut checked = 0;
        for key in KEYS {
            let is_json = serde_json::from_str::<serde_json::Value>(key.default).is_ok();
            let keys = match key.name.split_once('.') {
                _ if !is_json => continue,
                None => format!("\"{}\": {}", key.name, key.default),
                Some(("cache", name)) => format!("\"cache\": {{\"{name}\": {}}}", key.default),
                Some(_) => continue,
            };
            assert_eq!(parsed(&keys), without, "{keys}");
            checked += 1;
        }
        assert_eq!(checked, 11);
        let histogram = |more: &str| {
            parsed(&format!(
                r#""signals": [{{"name": "a_seconds", "type": "histogram", "help": "A.", "server_timing": "a"{more}}}]"#
            ))
        };
        let bounds = KEYS
            .iter()
            .find(|key| key.name == "signals[].buckets")
            .unwrap();
        let bounds = format!(", \"buckets\": {}", bounds.default);
        assert_eq!(histogram(&bounds), histogram(""));
    }
}
