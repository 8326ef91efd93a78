//! `explain`: which labels a request gets under a plugin configuration, and
//! why. `budget`: how many series and stats a configuration can make at most.
//!
//! Both ask the code that the filter runs, so they cannot say anything else
//! than it does. Neither reads Envoy.

mod budget;

use std::fmt::Write as _;

use gatemeter_core::{
    catalog::REQUESTS,
    labels::{Method, OTHER, Status},
    path_label::{OVERFLOW, PathLabel, UNMATCHED},
    plugin_config::PluginConfig,
    recorder::request_name_fits,
    stat_name::MAX_LENGTH,
};

pub use budget::Budget;

/// Says in a few lines which labels a request with this method and `:path`
/// gets.
pub fn explain(config: &PluginConfig, method: &str, path: &str) -> String {
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
            explain(&config(WITH_ROUTES), "GET", "/v1/api/content/42?x=1"),
            "service  api                              key service\n\
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
            let text = explain(&config(json), method, path);
            assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn a_path_overflows_where_the_stat_name_of_an_answer_gets_too_long() {
        let config = config(r#"{"service": "api", "buckets": [0.025]}"#);
        let values = ["api", "GET", "/", "200", "0.025"];
        let shortest = stat_name::encode(&REQUEST_DURATION_BIN, &values).unwrap();
        let longest = format!("/{}", "x".repeat(MAX_LENGTH - shortest.len()));
        let series = |path: &str| {
            let text = explain(&config, "GET", path);
            text.lines()
                .find(|l| l.starts_with("series"))
                .unwrap()
                .to_owned()
        };
        assert!(series(&longest).contains(&format!("path=\"{longest}\"")));
        assert!(series(&format!("{longest}x")).contains("path=\"_OVERFLOW\""));
    }
}
