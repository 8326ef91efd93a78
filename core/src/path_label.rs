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

use crate::stat_name::push_percent;

pub use template::{RouteTable, RouteTableError, Template, TemplateError};

/// Label of paths that no template matches, or that have not yet been answered
/// below 400.
pub const UNMATCHED: &str = "_UNMATCHED";

/// Label of paths that came when all label sets were in use.
pub const OVERFLOW: &str = "_OVERFLOW";

/// How many bytes of a path are looked at.
pub const MAX_LOOKED_AT: usize = 1024;

/// Longest path that a rule may make, in bytes; one that grows beyond it has no
/// label, so that rules which feed each other cannot fill the memory.
const MAX_REWRITTEN: usize = 4 * MAX_LOOKED_AT;

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
            if text.len() > MAX_REWRITTEN {
                return PathLabel::Unmatched;
            }
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
            push_percent(&mut text, byte);
        }
    }
    text
}

#[cfg(test)]
mod tests;
