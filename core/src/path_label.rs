//! Which label a request's path gets. Never the raw path.
//!
//! In this order, on the path without query and fragment:
//! 1. the configured regular expressions rewrite it;
//! 2. with route templates configured, the one that matches is the label, and
//!    what matches none is [`UNMATCHED`];
//! 3. without templates, whole segments that are identifiers become `:id`; the
//!    result is only a candidate: it becomes a label once a response below 400
//!    was given for it, so that a scanner cannot use up the room of the routes.
//!
//! At most [`MAX_LOOKED_AT`] bytes of a path are looked at. A longer one can
//! match a template only where that ends in `*`, and is no candidate.
//!
//! A label is printable ASCII: any other byte of the path is spelled `%XX`, as
//! a URL would spell it. Nothing is decoded: `/a%2Fb` is one segment.

mod identifier;
mod template;

use std::borrow::Cow;

use regex_lite::{Regex, RegexBuilder};

pub use template::{RouteTable, RouteTableError, Template, TemplateError};

/// Label of paths that no template matches, or that have not yet been answered
/// below 400.
pub const UNMATCHED: &str = "_UNMATCHED";

/// Label of paths that came when all label sets were in use.
pub const OVERFLOW: &str = "_OVERFLOW";

/// How many bytes of a path are looked at.
pub const MAX_LOOKED_AT: usize = 1024;

/// Largest compiled form of one rule, in bytes; a rule that needs more is refused.
const MAX_COMPILED_RULE: usize = 256 * 1024;

/// One regular expression and what stands in place of its matches.
#[derive(Clone, Debug)]
pub struct PathRule {
    pattern: Regex,
    replacement: String,
}

impl PathRule {
    /// A rule in the syntax of the crate `regex-lite`: that of `regex` without
    /// Unicode classes, matched in linear time. `$1` and `$name` in the
    /// replacement are captures.
    ///
    /// # Errors
    /// What the crate says of the pattern.
    pub fn try_new(pattern: &str, replacement: &str) -> Result<Self, String> {
        let pattern = RegexBuilder::new(pattern)
            .size_limit(MAX_COMPILED_RULE)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            pattern,
            replacement: printable(replacement.as_bytes()),
        })
    }
}

/// What a path is to the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathLabel {
    /// Not to be counted at all.
    Excluded,
    /// The route template with this index is the label.
    Route(usize),
    /// This becomes the label once a response below 400 was given.
    Candidate(String),
    /// No label of its own.
    Unmatched,
}

/// Gives paths their labels; pure, the same answer for the same path always.
#[derive(Clone, Debug, Default)]
pub struct PathLabeller {
    rules: Vec<PathRule>,
    routes: RouteTable,
    exclude: RouteTable,
}

impl PathLabeller {
    /// A labeller with these rules, route templates and excluded templates.
    pub fn new(rules: Vec<PathRule>, routes: RouteTable, exclude: RouteTable) -> Self {
        Self {
            rules,
            routes,
            exclude,
        }
    }

    /// The configured route templates, in the order of their indices.
    pub fn routes(&self) -> &[Template] {
        self.routes.templates()
    }

    /// What the value of a `:path` pseudo-header is to the metrics.
    pub fn label(&self, path: &[u8]) -> PathLabel {
        let path = without_query(path);
        if path.is_empty() {
            return PathLabel::Unmatched;
        }
        let (path, cut) = match path.split_at_checked(MAX_LOOKED_AT) {
            Some((head, rest)) if !rest.is_empty() => (head, true),
            _ => (path, false),
        };
        let mut text = printable(path);
        if !self.exclude.is_empty() && self.exclude.find(&text, cut).is_some() {
            return PathLabel::Excluded;
        }
        for rule in &self.rules {
            text = rewrite(rule, text);
        }
        if !self.routes.is_empty() {
            return match self.routes.find(&text, cut) {
                Some(index) => PathLabel::Route(index),
                None => PathLabel::Unmatched,
            };
        }
        if cut || !text.starts_with('/') {
            return PathLabel::Unmatched;
        }
        PathLabel::Candidate(identifier::replace_identifiers(&text))
    }
}

/// The path of a request target: what stands before `?` or `#` (RFC 3986 §3.3).
pub fn without_query(path: &[u8]) -> &[u8] {
    let end = path
        .iter()
        .position(|&byte| byte == b'?' || byte == b'#')
        .unwrap_or(path.len());
    path.split_at_checked(end).map_or(path, |(path, _)| path)
}

fn rewrite(rule: &PathRule, text: String) -> String {
    match rule.pattern.replace_all(&text, rule.replacement.as_str()) {
        Cow::Borrowed(_) => text,
        Cow::Owned(rewritten) => rewritten,
    }
}

/// Bytes as text, each that is no printable ASCII as `%XX`.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            text.push('%');
            for nibble in [byte >> 4, byte & 0x0f] {
                let digit = char::from_digit(nibble.into(), 16).unwrap_or('0');
                text.push(digit.to_ascii_uppercase());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labeller(rules: &[(&str, &str)], routes: &[&str], exclude: &[&str]) -> PathLabeller {
        PathLabeller::new(
            rules
                .iter()
                .map(|(pattern, replacement)| PathRule::try_new(pattern, replacement).unwrap())
                .collect(),
            table(routes),
            table(exclude),
        )
    }

    fn table(templates: &[&str]) -> RouteTable {
        let templates = templates.iter().map(|t| t.parse().unwrap()).collect();
        RouteTable::try_new(templates).unwrap()
    }

    fn candidate(text: &str) -> PathLabel {
        PathLabel::Candidate(text.to_owned())
    }

    #[test]
    fn the_rule_of_the_guide_normalises_numbers() {
        let labeller = labeller(&[(r"/\d+", "/:id")], &[], &[]);
        assert_eq!(
            labeller.label(b"/api/content/42/stream?x=/7#y"),
            candidate("/api/content/:id/stream")
        );
    }

    #[test]
    fn rules_run_before_templates() {
        let labeller = labeller(&[("^/v[12]/", "/")], &["/api/:id"], &[]);
        assert_eq!(labeller.label(b"/v1/api/7"), PathLabel::Route(0));
        assert_eq!(labeller.label(b"/v3/api/7"), PathLabel::Unmatched);
    }

    #[test]
    fn with_templates_what_matches_none_is_unmatched() {
        let labeller = labeller(&[], &["/api/content/:id", "/api/content/new", "/ws/*"], &[]);
        assert_eq!(labeller.label(b"/api/content/7"), PathLabel::Route(0));
        assert_eq!(labeller.label(b"/api/content/new"), PathLabel::Route(1));
        assert_eq!(labeller.label(b"/ws/a/b"), PathLabel::Route(2));
        assert_eq!(labeller.label(b"/ws/"), PathLabel::Route(2));
        assert_eq!(labeller.label(b"/ws"), PathLabel::Unmatched);
        assert_eq!(labeller.label(b"/api/content"), PathLabel::Unmatched);
        assert_eq!(labeller.label(b"/wp-login.php"), PathLabel::Unmatched);
    }

    #[test]
    fn excluded_paths_are_compared_before_any_rule() {
        let labeller = labeller(&[("metrics", "x")], &[], &["/metrics", "/internal/*"]);
        assert_eq!(labeller.label(b"/metrics"), PathLabel::Excluded);
        assert_eq!(labeller.label(b"/metrics?name[]=x"), PathLabel::Excluded);
        assert_eq!(labeller.label(b"/internal/a/b"), PathLabel::Excluded);
        assert_eq!(labeller.label(b"/metrics/x"), candidate("/x/x"));
    }

    #[test]
    fn a_path_without_anything_before_the_query_is_unmatched() {
        let labeller = labeller(&[], &[], &[]);
        for path in [b"".as_slice(), b"?x", b"#", b"*", b"example.org:443"] {
            assert_eq!(labeller.label(path), PathLabel::Unmatched);
        }
        assert_eq!(labeller.label(b"/"), candidate("/"));
    }

    #[test]
    fn a_path_beyond_the_limit_matches_only_the_rest_of_a_template() {
        let mut long = b"/files/".to_vec();
        long.resize(MAX_LOOKED_AT + 1, b'x');
        assert_eq!(
            labeller(&[], &["/files/*"], &[]).label(&long),
            PathLabel::Route(0)
        );
        assert_eq!(
            labeller(&[], &["/files/:id"], &[]).label(&long),
            PathLabel::Unmatched
        );
        assert_eq!(labeller(&[], &[], &[]).label(&long), PathLabel::Unmatched);
        long.truncate(MAX_LOOKED_AT);
        assert_eq!(
            labeller(&[], &["/files/:id"], &[]).label(&long),
            PathLabel::Route(0)
        );
    }

    #[test]
    fn bytes_outside_printable_ascii_are_spelled_as_in_a_url() {
        let labeller = labeller(&[], &[], &[]);
        assert_eq!(
            labeller.label("/caf\u{e9} x".as_bytes()),
            candidate("/caf%C3%A9%20x")
        );
        assert_eq!(labeller.label(b"/\xff\n"), candidate("/%FF%0A"));
        let routes = self::labeller(&[], &["/caf\u{e9}/:id"], &[]);
        assert_eq!(routes.label(b"/caf%C3%A9/1"), PathLabel::Route(0));
        assert_eq!(routes.label("/caf\u{e9}/1".as_bytes()), PathLabel::Route(0));
    }

    #[test]
    fn a_bad_rule_is_refused_with_the_reason() {
        let error = PathRule::try_new("(", "").unwrap_err();
        assert_eq!(error, "found open group without closing ')'");
        assert!(PathRule::try_new("x{1000000}", "").is_err());
    }

    proptest! {
        #[test]
        fn a_candidate_is_printable_ascii(path: Vec<u8>) {
            if let PathLabel::Candidate(label) = labeller(&[], &[], &[]).label(&path) {
                prop_assert!(label.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }

        #[test]
        fn any_path_gets_an_answer_with_templates_and_rules(path: Vec<u8>) {
            let labeller = labeller(&[(r"/\d+", "/:id")], &["/a/:id", "/b/*"], &["/x"]);
            let _ = labeller.label(&path);
        }
    }
}
