//! What is wrong with a configuration, and where.

use std::{fmt, sync::Arc};

use thiserror::Error;

/// Where a setting stands. Ordered as an operator reads: files from top to
/// bottom, then the command line and the environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file as a whole.
    File(Arc<str>),
    /// A place in a file.
    Position {
        /// As it was named.
        file: Arc<str>,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
    /// A flag or an environment variable, as it is spelled.
    Setting(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.write_str(file),
            Self::Position { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Setting(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong: `PLACE: KEY: PROBLEM; expected WHAT IS ACCEPTED`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// The key with its groups, as in `envoys[0].labels.zone`; empty where the
    /// file as a whole is meant.
    pub key: String,
    /// What.
    pub problem: Problem,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.problem)
    }
}

/// What can be wrong with a setting.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// Two settings that exclude each other.
    #[error("given beside {other}; expected one of the two")]
    Beside {
        /// The other setting.
        other: &'static str,
    },
    /// A file that cannot be used.
    #[error("{cause}; expected {accepted}")]
    File {
        /// What the system or a parser says of it.
        cause: String,
        /// What the file should be.
        accepted: &'static str,
    },
    /// YAML that a configuration does not need.
    #[error("{found}; expected {accepted}")]
    Construct {
        /// What stands there.
        found: &'static str,
        /// What should stand there.
        accepted: &'static str,
    },
    /// A list without items.
    #[error("an empty list; expected at least one item")]
    Empty,
    /// A change that a running process cannot follow.
    #[error("changed; expected as before, a change takes a restart")]
    Fixed,
    /// A required key is not there.
    #[error("missing; expected {accepted}")]
    Missing {
        /// What the key accepts.
        accepted: &'static str,
    },
    /// A setting that has no meaning without another.
    #[error("given without {other}; expected both or neither")]
    Needs {
        /// The other setting.
        other: &'static str,
    },
    /// Two items that cannot be told apart.
    #[error("{value:?} stands twice; expected {accepted}")]
    NotUnique {
        /// What they have in common, shortened.
        value: String,
        /// What tells them apart.
        accepted: &'static str,
    },
    /// A name of a label that would collide with one that exists.
    #[error("{name:?} is taken; expected another name than {taken}")]
    Reserved {
        /// The name as given, shortened.
        name: String,
        /// Names that are taken.
        taken: String,
    },
    /// A value that must not be shown.
    #[error("a value that is not shown; expected {accepted}")]
    Secret {
        /// What the key accepts.
        accepted: &'static str,
    },
    /// The file is no YAML; says what the parser met.
    #[error("not YAML: {0}")]
    Syntax(String),
    /// A key that stands twice in its group.
    #[error("stands twice, first at line {first}; expected once")]
    Twice {
        /// Line of the first, from 1.
        first: usize,
    },
    /// No such key.
    #[error("unknown key; expected one of {expected}")]
    UnknownKey {
        /// Keys of the group.
        expected: String,
    },
    /// A key of others that this program does not follow.
    #[error("not supported; expected {accepted}")]
    Unsupported {
        /// What to do instead.
        accepted: &'static str,
    },
    /// A value that its key does not accept.
    #[error("{value:?}; expected {accepted}")]
    Value {
        /// The value as given, shortened.
        value: String,
        /// What the key accepts.
        accepted: &'static str,
    },
    /// A list or group where one value is expected, or the other way round.
    #[error("{found}; expected {accepted}")]
    WrongKind {
        /// What stands there.
        found: &'static str,
        /// What should stand there.
        accepted: &'static str,
    },
}

/// All that is wrong with a configuration; never empty. Displayed one a line,
/// in the order of the files.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

/// A message stays a line of the log, whatever stands in the file.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// As [`shortened`], of a text that is shown without quotes.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::new();
    for c in shortened(text).chars() {
        // Separators of lines and paragraphs.
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            printable.extend(c.escape_debug());
        } else {
            printable.push(c);
        }
    }
    printable
}
