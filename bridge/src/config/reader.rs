//! Strict reading of groups, lists and values, of which nothing fails at the
//! first mistake: what is wrong is noted, and reading goes on.
//!
//! A value that is wrong is `None` to its reader; the noted errors say why.

use super::{
    error::{ConfigError, ConfigErrors, Place, Problem, shortened},
    node::{Document, Node, Value, joined},
    settings::Overrides,
};

/// What a value accepts, and how it is understood.
pub(crate) struct Rule<T> {
    /// Said where it is not accepted.
    pub(crate) accepted: &'static str,
    pub(crate) parse: fn(&str) -> Option<T>,
    /// Whether a bad value must not be repeated.
    pub(crate) is_secret: bool,
}

impl<T> Rule<T> {
    pub(crate) const fn new(accepted: &'static str, parse: fn(&str) -> Option<T>) -> Self {
        Self {
            accepted,
            parse,
            is_secret: false,
        }
    }
}

/// A group of keys.
pub(crate) struct Group<'n> {
    pub(crate) path: String,
    pub(crate) place: Place,
    entries: &'n [(super::node::Name, Node)],
    /// It stands there, but as something else; an error already.
    is_wrong: bool,
}

impl<'n> Group<'n> {
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        let entry = self.entries.iter().find(|(key, _)| key.text == name);
        entry.map(|(_, node)| node)
    }

    /// Names and values as they stand.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'n super::node::Name, &'n Node)> {
        self.entries.iter().map(|(name, node)| (name, node))
    }

    pub(crate) fn key(&self, name: &str) -> String {
        joined(&self.path, name)
    }
}

/// A value that may be given.
pub(crate) enum Given<T> {
    /// It is not there.
    Absent,
    /// It is wrong, which is noted.
    Bad,
    /// As it was understood, and where it stands.
    Good(T, Place),
}

impl<T> Given<T> {
    pub(crate) fn or(self, default: T) -> Option<T> {
        match self {
            Self::Absent => Some(default),
            Self::Bad => None,
            Self::Good(value, _) => Some(value),
        }
    }

    pub(crate) fn optional(self) -> Option<Option<T>> {
        match self {
            Self::Absent => Some(None),
            Self::Bad => None,
            Self::Good(value, _) => Some(Some(value)),
        }
    }

    pub(crate) fn place(&self) -> Option<&Place> {
        match self {
            Self::Absent | Self::Bad => None,
            Self::Good(_, place) => Some(place),
        }
    }
}

/// Reads one file with what is laid over it, and notes errors.
pub(crate) struct Reader {
    overrides: Overrides,
    errors: Vec<ConfigError>,
}

impl Reader {
    pub(crate) fn new(document: &Document, overrides: Overrides) -> Self {
        Self {
            overrides,
            errors: document.errors.clone(),
        }
    }

    pub(crate) fn refuse(&mut self, place: &Place, key: String, problem: Problem) {
        self.errors.push(ConfigError {
            place: place.clone(),
            key,
            problem,
        });
    }

    /// `read`, or all errors in the order of their places.
    pub(crate) fn end<T>(mut self, read: Option<T>) -> Result<T, ConfigErrors> {
        match read {
            Some(read) if self.errors.is_empty() => Ok(read),
            _ => {
                self.errors.sort_by(|a, b| a.place.cmp(&b.place));
                Err(ConfigErrors(self.errors))
            }
        }
    }

    /// The group at `path`, where only `keys` may stand.
    pub(crate) fn group<'n>(&mut self, path: String, node: &'n Node, keys: &[&str]) -> Group<'n> {
        let group = self.open_group(path, node);
        for (name, _) in group.entries() {
            if !keys.contains(&name.text.as_str()) {
                let mut expected = keys.join(", ");
                if name.text.contains('.') {
                    expected += ", with the keys of a group below it";
                }
                let key = group.key(&name.text);
                self.refuse(&name.place, key, Problem::UnknownKey { expected });
            }
        }
        group
    }

    /// The group at `path`, whatever keys it has.
    pub(crate) fn open_group<'n>(&mut self, path: String, node: &'n Node) -> Group<'n> {
        let (entries, is_wrong) = match &node.value {
            Value::Group(entries) => (entries.as_slice(), false),
            // A group whose lines are all commented out.
            Value::Nothing => (Default::default(), false),
            Value::Refused => (Default::default(), true),
            Value::List(_) | Value::Scalar(_) => {
                self.wrong_kind(&path, node, "a group of keys");
                (Default::default(), true)
            }
        };
        Group {
            path,
            place: node.place.clone(),
            entries,
            is_wrong,
        }
    }

    /// The group `name` of `parent`; without any keys where it is not there.
    pub(crate) fn child<'n>(&mut self, parent: &Group<'n>, name: &str, keys: &[&str]) -> Group<'n> {
        let path = parent.key(name);
        match parent.get(name) {
            Some(node) => self.group(path, node, keys),
            None => Group {
                path,
                place: parent.place.clone(),
                entries: &[],
                is_wrong: parent.is_wrong,
            },
        }
    }

    /// The items of the list `name`; `None` where it is not there.
    pub(crate) fn list<'n>(&mut self, group: &Group<'n>, name: &str) -> Given<&'n [Node]> {
        let Some(node) = group.get(name) else {
            return Given::Absent;
        };
        match &node.value {
            Value::List(items) => Given::Good(items, node.place.clone()),
            Value::Refused => Given::Bad,
            Value::Group(_) | Value::Nothing | Value::Scalar(_) => {
                self.wrong_kind(&group.key(name), node, "a list");
                Given::Bad
            }
        }
    }

    /// The value `name` of `group`, or what is laid over it. A value of the
    /// file is looked at in any case.
    pub(crate) fn value<T>(&mut self, group: &Group<'_>, name: &str, rule: &Rule<T>) -> Given<T> {
        let key = group.key(name);
        let in_file = match group.get(name) {
            None => Given::Absent,
            Some(node) => self.node(&key, node, rule),
        };
        let Some((place, text)) = self.overrides.take(&key) else {
            return in_file;
        };
        self.text(&place, key, &text, rule)
    }

    /// As [`Self::value`], of a value that must be there.
    pub(crate) fn required<T>(
        &mut self,
        group: &Group<'_>,
        name: &str,
        rule: &Rule<T>,
    ) -> Option<T> {
        match self.value(group, name, rule) {
            Given::Good(value, _) => Some(value),
            Given::Absent if !group.is_wrong => {
                let accepted = rule.accepted;
                self.refuse(&group.place, group.key(name), Problem::Missing { accepted });
                None
            }
            Given::Absent | Given::Bad => None,
        }
    }

    /// The one value that stands at `node`.
    pub(crate) fn node<T>(&mut self, key: &str, node: &Node, rule: &Rule<T>) -> Given<T> {
        match &node.value {
            Value::Scalar(text) => self.text(&node.place, key.to_owned(), text, rule),
            Value::Refused => Given::Bad,
            Value::Group(_) | Value::List(_) | Value::Nothing => {
                self.wrong_kind(key, node, "one value");
                Given::Bad
            }
        }
    }

    fn text<T>(&mut self, place: &Place, key: String, text: &str, rule: &Rule<T>) -> Given<T> {
        if let Some(value) = (rule.parse)(text) {
            return Given::Good(value, place.clone());
        }
        let accepted = rule.accepted;
        let problem = if rule.is_secret {
            Problem::Secret { accepted }
        } else {
            let value = shortened(text);
            Problem::Value { value, accepted }
        };
        self.refuse(place, key, problem);
        Given::Bad
    }

    fn wrong_kind(&mut self, key: &str, node: &Node, accepted: &'static str) {
        let found = match &node.value {
            Value::Group(_) => "a group of keys",
            Value::List(_) => "a list",
            Value::Nothing | Value::Refused => "nothing",
            Value::Scalar(_) => "one value",
        };
        let problem = Problem::WrongKind { found, accepted };
        self.refuse(&node.place, key.to_owned(), problem);
    }
}
