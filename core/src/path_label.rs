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
//! match a template only where that ends in `*`, and is no candidate. What a
//! path costs that was not seen before is the client's choice, so it is bounded:
//! rules look at less of it the more of them there are, and a path that would
//! still cost much matches nothing.
//!
//! A label is printable ASCII: any other byte of the path is spelled `%XX`, as
//! a URL would spell it. Nothing is decoded: `/a%2Fb` is one segment.

mod identifier;
mod rule;
mod target;
mod template;

use std::borrow::Cow;

pub use rule::{PathRule, RuleError};
pub use template::{RouteTable, RouteTableError, Template, TemplateError};

use crate::stat_name::MAX_LENGTH;
use identifier::replace_identifiers;
use rule::{Effort, TooMuch};
use target::{Target, printable};

/// Label of paths that no template matches, or that have not yet been answered
/// below 400.
pub const UNMATCHED: &str = "_UNMATCHED";

/// Label of paths that came when all label sets were in use.
pub const OVERFLOW: &str = "_OVERFLOW";

/// How many bytes of a path are looked at.
pub const MAX_LOOKED_AT: usize = 1024;

/// Most rules of one service.
pub const MAX_RULES: usize = 8;

/// Most of them that are slow.
pub const MAX_SLOW_RULES: usize = 2;

/// Most bytes of a path that are looked at where there are rules, summed over
/// them.
const MAX_RULE_BYTES: usize = 1536;

/// What a path is to the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathLabel {
    /// Not to be counted at all.
    Excluded,
    /// The route template with this index is the label.
    Route(usize),
    /// This becomes the label once a response below 400 was given.
    Candidate(String),
    /// Would be such a candidate, but no stat name has room for it.
    TooLong,
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

    /// What each rule that matches makes of the value of a `:path`
    /// pseudo-header, with its place in the configuration; nothing for a path
    /// that is excluded or too long for the rules.
    pub fn rewrites(&self, path: &[u8]) -> Vec<(usize, String)> {
        let mut rewrites = Vec::new();
        if self.label(path) == PathLabel::Excluded {
            return rewrites;
        }
        let (mut text, _) = Target::new(path).text();
        if text.len() * self.rules.len() > MAX_RULE_BYTES {
            return rewrites;
        }
        let mut effort = Effort::default();
        for (place, rule) in self.rules.iter().enumerate() {
            if let Ok(Some(rewritten)) = rule.rewrite(&text, &mut effort) {
                rewrites.push((place, rewritten.clone()));
                text = Cow::Owned(rewritten);
            }
        }
        rewrites
    }

    /// What the value of a `:path` pseudo-header is to the metrics.
    pub fn label(&self, path: &[u8]) -> PathLabel {
        let target = Target::new(path);
        if target.bytes().is_empty() {
            return PathLabel::Unmatched;
        }
        let (mut text, cut) = target.text();
        if !self.exclude.is_empty() && self.exclude.find(&text, cut).is_some() {
            return PathLabel::Excluded;
        }
        if text.len() * self.rules.len() > MAX_RULE_BYTES {
            return PathLabel::Unmatched;
        }
        let mut effort = Effort::default();
        for rule in &self.rules {
            match rule.rewrite(&text, &mut effort) {
                Ok(None) => {}
                Ok(Some(rewritten)) => text = Cow::Owned(rewritten),
                Err(TooMuch) => return PathLabel::Unmatched,
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
        if text.len() > MAX_LENGTH {
            return PathLabel::TooLong;
        }
        match replace_identifiers(text) {
            Ok(label) => PathLabel::Candidate(label),
            Err(TooMuch) => PathLabel::Unmatched,
        }
    }
}

#[cfg(test)]
mod tests;
