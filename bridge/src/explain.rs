//! `explain`: which labels a request gets under a plugin configuration, and
//! why. `budget`: how many series and stats a configuration can make at most.
//!
//! Both ask the code that the filter runs, so they cannot say anything else
//! than it does. Neither reads Envoy.

mod budget;

use std::{collections::BTreeSet, fmt::Write as _};

use gatemeter_core::{
    catalog::{LE, Page, REQUESTS, SERVICE},
    host::Failed,
    labels::{Method, OTHER, Status},
    path_label::{OVERFLOW, PathLabel, UNMATCHED},
    plugin_config::PluginConfig,
    recorder::request_name_fits,
    stat_name::{self, MAX_LENGTH},
    trial::Trial,
};

pub use budget::Budget;

/// A request and what is answered to it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// Its method.
    pub method: &'r str,
    /// Its `:path`, as the client sends it.
    pub path: &'r str,
    /// 100 to 599.
    pub status: u16,
    /// Its headers, names in lower case.
    pub request_headers: &'r [(String, String)],
    /// Those of the response, names in lower case.
    pub response_headers: &'r [(String, String)],
}

/// Says in a few lines which labels a request gets, why, and which metrics it
/// moves.
pub fn explain(config: &PluginConfig, request: &Request<'_>) -> String {
    let mut text = labels(config, request.method, request.path);
    // Writing to a String cannot fail.
    match moves(config, request) {
        Ok(moves) => {
            for series in moves {
                let _ = writeln!(text, "moves    {series}");
            }
        }
        Err(Failed(call)) => {
            let _ = writeln!(text, "moves    nothing: {} failed", call.as_str());
        }
    }
    text
}

/// The series that one such exchange moves. Times and sizes of bodies are not
/// known, so histograms are shown without bucket, and bytes are missing.
fn moves(config: &PluginConfig, request: &Request<'_>) -> Result<BTreeSet<String>, Failed> {
    let status = request.status.to_string();
    let with = |first: &[(&'static str, &str)], headers: &[(String, String)]| {
        let first = first
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        first.chain(headers.iter().cloned()).collect()
    };
    let trial = Trial {
        request: with(
            &[(":method", request.method), (":path", request.path)],
            request.request_headers,
        ),
        response: with(&[(":status", &status)], request.response_headers),
    };
    let moved = trial.moves(config.clone())?;
    Ok(moved
        .keys()
        .filter_map(|name| series(config, name))
        .collect())
}

/// The series behind a stat; `None` for what no page shows by itself.
fn series(config: &PluginConfig, name: &str) -> Option<String> {
    let (metric, labels) = match stat_name::decode(name) {
        Ok(decoded) if decoded.metric.page == Page::None => return None,
        Ok(decoded) => {
            let shown = decoded.metric.labels.iter().map(|&label| {
                let value = decoded.value(label).unwrap_or_default();
                (label.to_owned(), value.to_owned())
            });
            (decoded.metric.name.to_owned(), shown.collect())
        }
        Err(_) => {
            let unlisted = stat_name::decode_unlisted(name).ok()?;
            let family = config.signals.families().find(|family| {
                let stats = [family.name.clone(), family.bin_stat()];
                stats.iter().any(|stat| stat == unlisted.stat)
            })?;
            let labels = unlisted.labels.into_iter();
            let shown = labels.filter(|(name, _)| ![SERVICE, LE].contains(name));
            let shown = shown.map(|(name, value)| (name.to_owned(), value.into_owned()));
            (family.name.clone(), shown.collect::<Vec<_>>())
        }
    };
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            format!("{name}=\"{value}\"")
        })
        .collect();
    Some(match labels.as_slice() {
        [] => metric,
        labels => format!("{metric}{{{}}}", labels.join(",")),
    })
}

fn labels(config: &PluginConfig, method: &str, path: &str) -> String {
    let service = &config.service;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut say = |what: &str, value: &str, why: &str| {
        let _ = writeln!(text, "{what:<8} {value:<32} {why}");
    };
    say("service", service, "key service");
    let (label, why) = match config.paths.label(path.as_bytes()) {
        PathLabel::Excluded => {
            let why =
                "a template of exclude matches: only gatemeter_excluded_requests_total counts it";
            say("path", "-", why);
            return text;
        }
        path => path_label(config, path),
    };
    for (place, rewritten) in config.paths.rewrites(path.as_bytes()) {
        say(
            "rewrite",
            &rewritten,
            &format!("path_rules[{place}] matches"),
        );
    }
    let known = Method::new(method.as_bytes());
    let method_why = if known == Method::OTHER {
        let others = Method::all().map(Method::as_str);
        let others: Vec<_> = others.filter(|method| *method != OTHER).collect();
        format!("none of {}", others.join(" "))
    } else {
        "a known method".to_owned()
    };
    let method = known.as_str();
    say("method", method, &method_why);
    // Every status that a client can see has three digits.
    let status = Status::new(b"200");
    let fits = request_name_fits(&config.service, known, &label, status, &config.buckets);
    let (label, why) = if fits { (label, why) } else { too_long() };
    say("path", &label, &why);
    say(
        "status",
        "100 to 599",
        "as the client sees it; 499 where it went away before, else _OTHER",
    );
    let _ = writeln!(
        text,
        "series   {}{{service=\"{service}\",method=\"{method}\",path=\"{}\",status=\"...\"}}",
        REQUESTS.name,
        label.replace('\\', "\\\\").replace('"', "\\\""),
    );
    let _ = writeln!(
        text,
        "Once {} label sets are in use, a new one gets the path {OVERFLOW}.",
        config.max_series
    );
    text
}

fn too_long() -> (String, String) {
    let why = format!("the names of its stats would be longer than {MAX_LENGTH} bytes");
    (OVERFLOW.to_owned(), why)
}

fn path_label(config: &PluginConfig, label: PathLabel) -> (String, String) {
    let unmatched = |why: &str| (UNMATCHED.to_owned(), why.to_owned());
    match label {
        PathLabel::Route(index) => {
            let template = config.paths.routes().get(index);
            (
                template
                    .map_or(UNMATCHED, |template| template.label())
                    .to_owned(),
                format!("routes[{index}] matches"),
            )
        }
        PathLabel::Candidate(label) => (
            label,
            format!(
                "no routes are configured: {UNMATCHED} until a response below 400 was given for it"
            ),
        ),
        PathLabel::TooLong => too_long(),
        PathLabel::Excluded | PathLabel::Unmatched if config.paths.routes().is_empty() => {
            unmatched("no path, or one that is too long to be looked at")
        }
        PathLabel::Excluded | PathLabel::Unmatched => unmatched("no template of routes matches"),
    }
}

#[cfg(test)]
mod tests {
    use gatemeter_core::{catalog::REQUEST_DURATION_BIN, stat_name};

    use super::*;

    fn config(json: &str) -> PluginConfig {
        PluginConfig::parse(json.as_bytes()).unwrap()
    }

    const WITH_ROUTES: &str = r#"{"service": "api", "routes": ["/api/content/:id"],
        "path_rules": [{"match": "^/v1", "replace": ""}], "exclude": ["/metrics"], "max_series": 7}"#;

    #[test]
    fn says_which_template_matches() {
        assert_eq!(
            labels(&config(WITH_ROUTES), "GET", "/v1/api/content/42?x=1"),
            "service  api                              key service\n\
             rewrite  /api/content/42                  path_rules[0] matches\n\
             method   GET                              a known method\n\
             path     /api/content/:id                 routes[0] matches\n\
             status   100 to 599                       as the client sees it; 499 where it went away before, else _OTHER\n\
             series   http_requests_total{service=\"api\",method=\"GET\",path=\"/api/content/:id\",status=\"...\"}\n\
             Once 7 label sets are in use, a new one gets the path _OVERFLOW.\n"
        );
    }

    #[test]
    fn says_why_a_path_or_a_method_has_no_label_of_its_own() {
        let long = format!("/{}", "x".repeat(600));
        for (json, method, path, line) in [
            (
                WITH_ROUTES,
                "GET",
                "/wp-login.php",
                "path     _UNMATCHED                       no template of routes matches",
            ),
            (
                WITH_ROUTES,
                "get",
                "/",
                "method   _OTHER                           none of GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH QUERY",
            ),
            (
                WITH_ROUTES,
                "GET",
                "/metrics",
                "path     -                                a template of exclude matches: only gatemeter_excluded_requests_total counts it",
            ),
            (
                r#"{"service": "api"}"#,
                "GET",
                "/users/42",
                "path     /users/:id                       no routes are configured: _UNMATCHED until a response below 400 was given for it",
            ),
            (
                r#"{"service": "api"}"#,
                "GET",
                "",
                "path     _UNMATCHED                       no path, or one that is too long to be looked at",
            ),
            (
                r#"{"service": "api"}"#,
                "GET",
                &long,
                "path     _OVERFLOW                        the names of its stats would be longer than 512 bytes",
            ),
        ] {
            let text = labels(&config(json), method, path);
            assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn says_which_series_an_exchange_moves() {
        let config = config(
            r#"{"service": "api", "preset": "discovery", "routes": ["/search", "/work"],
            "signals": [{"name": "work_total", "type": "counter", "help": "x",
                         "count": [{"labels": {"plan": "gold"}, "path": "/work", "request_header": {"name": "x-plan", "value": "gold"}}]},
                        {"name": "work_seconds", "type": "histogram", "help": "x", "server_timing": "work"}]}"#,
        );
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let moved = |path: &str, asked: &[(String, String)], said: &[(String, String)]| {
            let request = Request {
                method: "GET",
                path,
                status: 200,
                request_headers: asked,
                response_headers: said,
            };
            let text = explain(&config, &request);
            let lines = text
                .lines()
                .filter_map(|line| line.strip_prefix("moves    "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let said = [
            header("cache-status", "redis; fwd=miss"),
            header("x-search-results", "0"),
            header("server-timing", "search;dur=5"),
        ];
        assert_eq!(
            moved("/search?q=x", &[], &said),
            [
                "cache_misses_total{cache_type=\"redis\"}",
                "cache_responses_total{cache_type=\"redis\",result=\"miss\"}",
                "http_request_duration_seconds{method=\"GET\",path=\"/search\"}",
                "http_requests_total{method=\"GET\",path=\"/search\",status=\"200\"}",
                "search_queries_total{result=\"empty\"}",
                "search_query_duration_seconds",
            ]
        );
        let moved = moved(
            "/work",
            &[header("x-plan", "gold")],
            &[header("server-timing", "work;dur=1")],
        );
        assert!(
            moved.contains(&"work_total{plan=\"gold\"}".to_owned()),
            "{moved:?}"
        );
        assert!(moved.contains(&"work_seconds".to_owned()), "{moved:?}");
    }

    #[test]
    fn a_path_overflows_where_the_stat_name_of_an_answer_gets_too_long() {
        let config = config(r#"{"service": "api", "buckets": [0.025]}"#);
        let values = ["api", "GET", "/", "200", "0.025"];
        let shortest = stat_name::encode(&REQUEST_DURATION_BIN, &values).unwrap();
        let longest = format!("/{}", "x".repeat(MAX_LENGTH - shortest.len()));
        let series = |path: &str| {
            let text = labels(&config, "GET", path);
            text.lines()
                .find(|l| l.starts_with("series"))
                .unwrap()
                .to_owned()
        };
        assert!(series(&longest).contains(&format!("path=\"{longest}\"")));
        assert!(series(&format!("{longest}x")).contains("path=\"_OVERFLOW\""));
    }
}
