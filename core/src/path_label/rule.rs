//! Regular expressions that rewrite a path.
//!
//! What a first-seen path costs is the client's choice, so most patterns do
//! not run in a general engine. One that is a plain row of characters, classes
//! and repeats, as in `/\d+` or `/[0-9a-f]{8}-[0-9a-f]{4}`, becomes a
//! [`Sequence`], which needs a few instructions for each byte. Alternatives,
//! groups, captures and flags take the crate `regex-lite`: linear too, at a
//! hundred times that, so such a rule is taken only where the configuration
//! says that it may be slow, and looks at less of a path.
//!
//! Both give the same text, where both give one; a property test compares them.

mod sequence;

use std::borrow::Cow;

use regex_lite::{Regex, RegexBuilder};
use thiserror::Error;

use super::printable;
use sequence::Sequence;

/// Longest path that a rule may make, in bytes, so that rules which feed each
/// other cannot fill the memory.
const MAX_REWRITTEN: usize = 2 * super::MAX_LOOKED_AT;

/// Longest path for a pattern that is no sequence, in bytes.
const MAX_GENERAL: usize = 256;

/// Largest compiled form of such a pattern, in bytes.
const MAX_COMPILED: usize = 256 * 1024;

/// What all sequences may spend on one path, in bytes that are looked at: some
/// fifty matches, or twice as many attempts that fail. A path that needs more, such
/// as one of a thousand ids, is not one that a service has.
const EFFORT: usize = 2 * 1024;

/// What a match costs beside its bytes: the text is put together anew.
const MATCH: usize = 32;

/// What an attempt costs beside its bytes.
const ATTEMPT: usize = 16;

/// One regular expression and what stands in place of its matches.
#[derive(Clone, Debug)]
pub struct PathRule {
    pattern: Pattern,
    replacement: String,
}

#[derive(Clone, Debug)]
enum Pattern {
    Sequence(Sequence),
    General(Regex),
}

/// Why a pattern is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RuleError {
    /// It is no regular expression, or too large a one; what the crate says.
    #[error("{0}")]
    Invalid(String),
    /// It needs the general engine, which was not asked for.
    #[error("alternatives, groups, captures and flags are slow")]
    Slow,
}

/// The path has more bytes, or more matches, than a rule looks at: it has no
/// label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// What is left to spend on a path.
#[derive(Debug)]
pub(super) struct Effort(usize);

impl Default for Effort {
    fn default() -> Self {
        Self(EFFORT)
    }
}

impl Effort {
    fn matched(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.spend(MATCH + bytes)
    }

    fn failed(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.spend(ATTEMPT + bytes)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.0 = self.0.checked_sub(bytes).ok_or(TooMuch)?;
        Ok(())
    }
}

impl PathRule {
    /// A rule in the syntax of the crate `regex-lite`: that of `regex` without
    /// Unicode classes. `$1` and `$name` in the replacement are captures.
    ///
    /// # Errors
    /// Where the pattern is wrong, or slow and `may_be_slow` is not said.
    pub fn try_new(pattern: &str, replacement: &str, may_be_slow: bool) -> Result<Self, RuleError> {
        let general = RegexBuilder::new(pattern)
            .size_limit(MAX_COMPILED)
            .build()
            .map_err(|error| RuleError::Invalid(error.to_string()))?;
        let pattern = match Sequence::parse(pattern) {
            Some(sequence) if !replacement.contains('$') => Pattern::Sequence(sequence),
            _ if may_be_slow => Pattern::General(general),
            _ => return Err(RuleError::Slow),
        };
        Ok(Self {
            pattern,
            replacement: printable(replacement.as_bytes()),
        })
    }

    pub(crate) fn is_slow(&self) -> bool {
        matches!(self.pattern, Pattern::General(_))
    }

    /// The path with every match replaced; `None` where there is none.
    ///
    /// # Errors
    /// Where the path is none that a service has, but one made to cost much.
    pub(super) fn rewrite(
        &self,
        path: &str,
        effort: &mut Effort,
    ) -> Result<Option<String>, TooMuch> {
        let rewritten = match &self.pattern {
            Pattern::Sequence(sequence) => self.replace(sequence, path, effort)?,
            Pattern::General(_) if path.len() > MAX_GENERAL => return Err(TooMuch),
            Pattern::General(regex) => match regex.replace_all(path, &*self.replacement) {
                Cow::Borrowed(_) => None,
                Cow::Owned(rewritten) => Some(rewritten),
            },
        };
        match rewritten {
            Some(path) if path.len() > MAX_REWRITTEN => Err(TooMuch),
            rewritten => Ok(rewritten),
        }
    }

    fn replace(
        &self,
        sequence: &Sequence,
        path: &str,
        effort: &mut Effort,
    ) -> Result<Option<String>, TooMuch> {
        let mut rewritten = String::new();
        let mut kept = 0;
        for found in sequence.matches(path.as_bytes(), effort) {
            let found = found?;
            rewritten.push_str(path.get(kept..found.start).unwrap_or_default());
            rewritten.push_str(&self.replacement);
            kept = found.end;
        }
        if kept == 0 {
            return Ok(None);
        }
        rewritten.push_str(path.get(kept..).unwrap_or_default());
        Ok(Some(rewritten))
    }
}

#[cfg(test)]
mod tests;
