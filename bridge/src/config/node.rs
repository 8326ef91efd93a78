//! A YAML file as a tree that knows where everything stands.
//!
//! Strict, so that nothing has a meaning that is not seen: a key that stands
//! twice, an alias, a tag, a second document, a key that is no plain name and
//! nesting without measure are errors. All of them are reported; only what is
//! no YAML at all ends the reading of a file (YAML 1.2.2).

use std::{fs, io::Read as _, path::Path, sync::Arc};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::error::{ConfigError, Place, Problem, printable};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Names and values in the order of the file.
    Group(Vec<(Name, Node)>),
    List(Vec<Node>),
    /// An empty value, `~` or `null`.
    Nothing,
    /// What is an error already.
    Refused,
    /// As it is spelled; `0x10` is the text `0x10`.
    Scalar(String),
}

/// A name in a group and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) place: Place,
    pub(crate) text: String,
}

/// A file that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// As it was named.
    pub(crate) file: Arc<str>,
    pub(crate) root: Node,
    /// What the text holds and should not.
    pub(crate) errors: Vec<ConfigError>,
}

impl Document {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Self {
        let file: Arc<str> = path.display().to_string().into();
        match text_of(path) {
            Ok(text) => Self::parse(file, &text),
            Err(cause) => {
                let place = Place::File(Arc::clone(&file));
                let error = ConfigError {
                    place: place.clone(),
                    key: String::new(),
                    problem: Problem::File {
                        cause,
                        accepted: "a readable YAML file of at most 1 MiB",
                    },
                };
                Self {
                    file,
                    root: Node {
                        place,
                        value: Value::Refused,
                    },
                    errors: vec![error],
                }
            }
        }
    }

    /// Understands `text`, which stands in `file`.
    pub(crate) fn parse(file: Arc<str>, text: &str) -> Self {
        let mut tree = Tree {
            file: Arc::clone(&file),
            open: Vec::new(),
            root: None,
            errors: Vec::new(),
        };
        let is_whole = tree.take_all(text.strip_prefix('\u{feff}').unwrap_or(text));
        let root = tree.root.filter(|_| is_whole).unwrap_or_else(|| Node {
            place: Place::File(Arc::clone(&file)),
            value: if is_whole {
                Value::Nothing
            } else {
                Value::Refused
            },
        });
        Self {
            file,
            root,
            errors: tree.errors,
        }
    }
}

const MOST_BYTES: u64 = 1 << 20;

/// A configuration nests four deep.
const MOST_NESTED: usize = 16;

fn text_of(path: &Path) -> Result<String, String> {
    let cannot = |error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(cannot)?;
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST_BYTES) {
        return Err("too large".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

struct Tree {
    file: Arc<str>,
    /// Lists and groups whose end has not come.
    open: Vec<Open>,
    root: Option<Node>,
    errors: Vec<ConfigError>,
}

struct Open {
    place: Place,
    items: Items,
}

enum Items {
    Group {
        entries: Vec<(Name, Node)>,
        /// The name whose value comes next.
        name: Option<Name>,
    },
    List(Vec<Node>),
}

impl Tree {
    /// Says whether the text is YAML to its end.
    fn take_all(&mut self, text: &str) -> bool {
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let place = self.place(*error.marker());
                    let problem = Problem::Syntax(printable(error.info()));
                    self.refuse(place, String::new(), problem);
                    return false;
                }
            };
            let place = self.place(span.start);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let found = "a second document";
                        self.refuse_construct(place, found, "one document in a file");
                        return true;
                    }
                }
                Event::Alias(_) => self.refuse_value(place, "an alias", "the value itself"),
                Event::Scalar(_, _, _, Some(_)) => {
                    self.refuse_value(place, "a tag", "the value without it");
                }
                Event::Scalar(text, style, _, None) => self.scalar(place, &text, style),
                Event::SequenceStart(_, tag) => {
                    let items = Items::List(Vec::new());
                    if !self.open(place, items, tag.is_some()) {
                        return false;
                    }
                }
                Event::MappingStart(_, tag) => {
                    let items = Items::Group {
                        entries: Vec::new(),
                        name: None,
                    };
                    if !self.open(place, items, tag.is_some()) {
                        return false;
                    }
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(),
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        true
    }

    fn open(&mut self, place: Place, items: Items, is_tagged: bool) -> bool {
        if is_tagged {
            self.refuse_construct(place.clone(), "a tag", "the value without it");
        }
        if self.open.len() >= MOST_NESTED {
            let accepted = "groups and lists nested at most 16 deep";
            self.refuse_construct(place, "nested too deep", accepted);
            return false;
        }
        self.open.push(Open { place, items });
        true
    }

    fn close(&mut self) {
        let Some(Open { place, items }) = self.open.pop() else {
            return;
        };
        let value = match items {
            Items::Group { entries, .. } => Value::Group(entries),
            Items::List(items) => Value::List(items),
        };
        self.add(Node { place, value });
    }

    fn scalar(&mut self, place: Place, text: &str, style: ScalarStyle) {
        let is_nothing =
            style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
        let value = if is_nothing {
            Value::Nothing
        } else {
            Value::Scalar(text.to_owned())
        };
        self.add(Node { place, value });
    }

    fn refuse_value(&mut self, place: Place, found: &'static str, accepted: &'static str) {
        self.refuse_construct(place.clone(), found, accepted);
        let value = Value::Refused;
        self.add(Node { place, value });
    }

    /// Puts a finished value where it belongs: it is the root, an item, a name
    /// or the value of the name before it.
    fn add(&mut self, node: Node) {
        let path = self.path();
        let mut error = None;
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Group { entries, name }) => match name.take() {
                None => {
                    let place = node.place;
                    let text = match node.value {
                        Value::Scalar(text) if !text.is_empty() => text,
                        Value::Refused => String::new(),
                        Value::Group(_) | Value::List(_) | Value::Nothing | Value::Scalar(_) => {
                            let problem = Problem::Construct {
                                found: "a key that is no name",
                                accepted: "a name",
                            };
                            error = Some((place.clone(), path, problem));
                            String::new()
                        }
                    };
                    *name = Some(Name { place, text });
                }
                // Refused where it stood.
                Some(name) if name.text.is_empty() => {}
                Some(name) => {
                    let first = entries.iter().find(|(first, _)| first.text == name.text);
                    match first.map(|(first, _)| &first.place) {
                        Some(Place::Position { line, .. }) => {
                            let problem = Problem::Twice { first: *line };
                            error = Some((name.place, path, problem));
                        }
                        _ => entries.push((name, node)),
                    }
                }
            },
        }
        if let Some((place, path, problem)) = error {
            self.refuse(place, path, problem);
        }
    }

    fn refuse_construct(&mut self, place: Place, found: &'static str, accepted: &'static str) {
        let path = self.path();
        self.refuse(place, path, Problem::Construct { found, accepted });
    }

    fn refuse(&mut self, place: Place, key: String, problem: Problem) {
        self.errors.push(ConfigError {
            place,
            key,
            problem,
        });
    }

    /// The key of what comes next.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match &open.items {
                Items::Group { name: None, .. } => {}
                Items::Group {
                    name: Some(name), ..
                } => path = joined(&path, &name.text),
                Items::List(items) => path = format!("{path}[{}]", items.len()),
            }
        }
        path
    }

    fn place(&self, marker: Marker) -> Place {
        Place::Position {
            file: Arc::clone(&self.file),
            line: marker.line(),
            column: marker.col() + 1,
        }
    }
}

/// The key `name` in the group `path`.
pub(crate) fn joined(path: &str, name: &str) -> String {
    let name = printable(name);
    if path.is_empty() {
        name
    } else {
        format!("{path}.{name}")
    }
}
