//! Route templates: `/api/content/:id`, `/api/content/{id}`, `/ws/*`.
//!
//! A segment `:name` or `{name}` stands for any one segment, `*` at the end for
//! the rest, which may be empty. Everything else is compared as it is. A static
//! segment wins over `:name`, any template without `*` over those with it, and
//! of those the longest, whatever their order. The label is the template as
//! written, with `{name}` spelled `:name`.

use std::str::FromStr;

use matchit::{InsertError, Router};
use thiserror::Error;

use super::printable;

/// Most parameters of one template; matchit panics where there are more.
const MOST_PARAMETERS: usize = 25;

/// One route template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    label: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter,
    Rest,
}

/// Why a text is no route template.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// `:` or `{}` without a name, or with characters beyond letters, digits and `_`.
    #[error(
        "has a parameter without a plain name; expected :name or {{name}} of letters, digits and _"
    )]
    BadParameter,
    /// A brace inside a segment.
    #[error("has a brace inside a segment; a parameter takes the whole segment")]
    Brace,
    /// `?`, `#`, white space or a control character.
    #[error("holds ?, #, white space or a control character; expected a path only")]
    NotAPath,
    /// No `/` at the start.
    #[error("does not start with /; expected a path such as /api/content/:id")]
    NotAbsolute,
    /// More parameters than [`MOST_PARAMETERS`].
    #[error("has more than {MOST_PARAMETERS} parameters; expected a shorter path")]
    TooManyParameters,
    /// `*` anywhere but as the last segment.
    #[error(
        "has * before its end; it stands for the rest of the path and must be the last segment"
    )]
    RestNotLast,
}

impl Template {
    /// The value of the label `path` for what matches.
    pub fn label(&self) -> &str {
        &self.label
    }

    fn ends_in_rest(&self) -> bool {
        self.segments.last() == Some(&Segment::Rest)
    }

    /// In matchit's syntax, without the rest. Parameters are named by position:
    /// matchit refuses two templates that name the same parameter differently.
    fn route(&self) -> String {
        let mut route = String::new();
        for (index, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Literal(text) => {
                    route.push('/');
                    route.push_str(&text.replace('{', "{{").replace('}', "}}"));
                }
                Segment::Parameter => route.push_str(&format!("/{{p{index}}}")),
                Segment::Rest => {}
            }
        }
        route
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let path = text.strip_prefix('/').ok_or(TemplateError::NotAbsolute)?;
        let outside = |c: char| c == '?' || c == '#' || c.is_whitespace() || c.is_control();
        if text.contains(outside) {
            return Err(TemplateError::NotAPath);
        }
        let mut label = String::with_capacity(text.len());
        let mut segments = Vec::new();
        for segment in path.split('/') {
            if segments.last() == Some(&Segment::Rest) {
                return Err(TemplateError::RestNotLast);
            }
            label.push('/');
            let parameter = segment.strip_prefix(':').or_else(|| {
                let name = segment.strip_prefix('{')?;
                name.strip_suffix('}')
            });
            if let Some(name) = parameter {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.is_empty() || !name.chars().all(plain) {
                    return Err(TemplateError::BadParameter);
                }
                label.push(':');
                label.push_str(name);
                segments.push(Segment::Parameter);
            } else if segment == "*" {
                label.push('*');
                segments.push(Segment::Rest);
            } else if segment.contains(['{', '}']) {
                return Err(TemplateError::Brace);
            } else if segment.contains('*') {
                return Err(TemplateError::RestNotLast);
            } else {
                let literal = printable(segment.as_bytes());
                label.push_str(&literal);
                segments.push(Segment::Literal(literal));
            }
        }
        let parameters = segments.iter().filter(|s| **s == Segment::Parameter);
        if parameters.count() > MOST_PARAMETERS {
            return Err(TemplateError::TooManyParameters);
        }
        Ok(Self { label, segments })
    }
}

/// Templates in radix trees.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    templates: Vec<Template>,
    /// Templates without `*`.
    whole: Router<usize>,
    /// What stands before the `/*` of the others. matchit has a catch-all of
    /// its own, but takes none beside a parameter, nor an empty rest.
    prefix: Router<usize>,
    /// The template `/*`, whose prefix is empty.
    any: Option<usize>,
    /// Most segments in a prefix; a path is not looked at beyond.
    deepest: usize,
}

/// Why a template does not go with the others.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RouteTableError {
    /// Another template matches exactly the same paths.
    #[error("matches the same paths as {0}; expected each route once")]
    Conflict(String),
    /// The radix tree refused it for another reason.
    #[error("cannot be told from the other routes; expected a path such as /api/content/:id")]
    Refused,
}

impl RouteTable {
    /// A table of these templates.
    ///
    /// # Errors
    /// All templates that conflict with an earlier one, by index.
    pub fn try_new(templates: Vec<Template>) -> Result<Self, Vec<(usize, RouteTableError)>> {
        let mut table = Self::default();
        let mut errors = Vec::new();
        for (index, template) in templates.iter().enumerate() {
            let route = template.route();
            let rest = template.ends_in_rest();
            if rest {
                table.deepest = table.deepest.max(template.segments.len());
            }
            let inserted = match (rest, route.is_empty()) {
                (false, _) => table.whole.insert(route, index),
                (true, false) => table.prefix.insert(route, index),
                (true, true) => match table.any.replace(index) {
                    None => Ok(()),
                    Some(_) => Err(InsertError::Conflict { with: route }),
                },
            };
            match inserted {
                Ok(()) => {}
                Err(InsertError::Conflict { .. }) => {
                    let same = |other: &&Template| {
                        other.ends_in_rest() == rest && other.route() == template.route()
                    };
                    let other = templates.iter().find(same).unwrap_or(template);
                    errors.push((index, RouteTableError::Conflict(other.label.clone())));
                }
                Err(_) => errors.push((index, RouteTableError::Refused)),
            }
        }
        if errors.is_empty() {
            Ok(Self { templates, ..table })
        } else {
            Err(errors)
        }
    }

    /// The templates in the order in which they were given.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.templates.is_empty()
    }

    /// Index of the template that matches; of a path that was cut, only one
    /// that ends in `*`.
    pub(super) fn find(&self, path: &str, cut: bool) -> Option<usize> {
        if !cut && let Ok(found) = self.whole.at(path) {
            return Some(*found.value);
        }
        let prefixes = path.match_indices('/').take(self.deepest);
        prefixes
            .filter_map(|(end, _)| match path.get(..end)? {
                "" => self.any,
                prefix => self.prefix.at(prefix).ok().map(|found| *found.value),
            })
            .last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, TemplateError> {
        text.parse::<Template>().map(|template| template.label)
    }

    fn table(templates: &[&str]) -> Result<RouteTable, Vec<(usize, RouteTableError)>> {
        RouteTable::try_new(templates.iter().map(|t| t.parse().unwrap()).collect())
    }

    #[test]
    fn braces_and_colons_are_the_same_template() {
        assert_eq!(
            parse("/api/content/{id}").as_deref(),
            Ok("/api/content/:id")
        );
        assert_eq!(parse("/api/content/:id").as_deref(), Ok("/api/content/:id"));
        assert_eq!(parse("/").as_deref(), Ok("/"));
        assert_eq!(parse("/ws/*").as_deref(), Ok("/ws/*"));
    }

    #[test]
    fn refuses_what_is_no_path() {
        for (text, error) in [
            ("", TemplateError::NotAbsolute),
            ("api", TemplateError::NotAbsolute),
            ("/a?x=1", TemplateError::NotAPath),
            ("/a b", TemplateError::NotAPath),
            ("/a\n", TemplateError::NotAPath),
            ("/:", TemplateError::BadParameter),
            ("/{}", TemplateError::BadParameter),
            ("/:a-b", TemplateError::BadParameter),
            ("/{a}b", TemplateError::Brace),
            ("/*/a", TemplateError::RestNotLast),
            ("/a*", TemplateError::RestNotLast),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_template_has_no_more_parameters_than_the_radix_tree_takes() {
        let template = |parameters: usize| format!("{}/end", "/:id".repeat(parameters));
        let most = template(MOST_PARAMETERS);
        let table = table(&[&most]).unwrap();
        assert_eq!(table.find(&most, false), Some(0));
        let error = parse(&template(MOST_PARAMETERS + 1)).unwrap_err();
        assert_eq!(error, TemplateError::TooManyParameters);
    }

    #[test]
    fn parameters_may_be_named_differently_at_the_same_place() {
        let table = table(&["/users/:id/posts", "/users/{name}/likes"]).unwrap();
        assert_eq!(table.find("/users/7/posts", false), Some(0));
        assert_eq!(table.find("/users/7/likes", false), Some(1));
    }

    #[test]
    fn the_more_specific_template_wins_whatever_the_order() {
        let table = table(&["/*", "/a/*", "/a/:id", "/a/new", "/a/", "/a/:id/*"]).unwrap();
        for (path, index) in [
            ("/a/new", 3),
            ("/a/7", 2),
            ("/a/", 4),
            ("/a/7/", 5),
            ("/a/7/8", 5),
            ("/a", 0),
            ("/", 0),
            ("/b/c", 0),
        ] {
            assert_eq!(table.find(path, false), Some(index), "{path}");
        }
        assert_eq!(table.find("/a/7", true), Some(1));
        assert_eq!(table.find("no path", false), None);
    }

    #[test]
    fn names_every_template_that_stands_twice() {
        let errors = table(&["/a/:id", "/b", "/a/{x}", "/b", "/*", "/b/*", "/*"]).unwrap_err();
        assert_eq!(
            errors,
            [
                (2, RouteTableError::Conflict("/a/:id".to_owned())),
                (3, RouteTableError::Conflict("/b".to_owned())),
                (6, RouteTableError::Conflict("/*".to_owned())),
            ]
        );
    }
}
