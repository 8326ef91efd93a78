//! One case of a counter: the values of its labels, and what must hold of an
//! exchange.

use serde_json::{Map, Value};

use super::{LONGEST_VALUE, is_header_name};
use crate::catalog::SERVICE;
use crate::labels::{Method, OTHER};
use crate::path_label::{RouteTable, Template};
use crate::plugin_config::fields::{Fields, LONGEST_NAME, shown, whole_number};
use crate::signal_rules::{Case, Condition, Family, HeaderTest, MAX_CASES, StatusTest};
use crate::signals::RESPONSE_HEADERS;
use crate::stat_name;

/// One case of a counter.
pub(super) struct CaseFields<'f, 'a, 'r> {
    pub(super) fields: &'f mut Fields<'a>,
    pub(super) place: String,
    pub(super) map: &'r Map<String, Value>,
    pub(super) routes: &'r RouteTable,
}

impl CaseFields<'_, '_, '_> {
    fn refuse(&mut self, key: &str, value: &Value, accepted: &str) {
        let place = format!("{}.{key}", self.place);
        self.fields.refuse(&place, value, accepted);
    }

    pub(super) fn case(mut self, family: &Family) -> Option<Case> {
        const KEYS: [&str; 6] = [
            "labels",
            "method",
            "path",
            "status",
            "request_header",
            "response_header",
        ];
        for (key, value) in self.map {
            if !KEYS.contains(&key.as_str()) {
                let accepted = format!("only the keys {}", KEYS.join(", "));
                self.refuse(&shown(key), value, &accepted);
            }
        }
        let values = self.labels(family);
        let methods = self.one_or_more("method", "a method such as GET, or a list", method);
        let statuses = self.one_or_more(
            "status",
            "a status such as 429, a class such as \"2xx\", or a list",
            status,
        );
        let paths = self.paths();
        let request_header = self.header("request_header");
        let response_header = self.header("response_header");
        let case = Case {
            values: values?,
            when: Condition {
                methods: methods?,
                paths: paths?,
                statuses: statuses?,
                request_header: request_header?,
                response_header: response_header?,
            },
        };
        let name = stat_name::encode_labels(
            &family.name,
            std::iter::once((SERVICE, "x".repeat(LONGEST_NAME).as_str())).chain(
                family
                    .labels
                    .iter()
                    .zip(&case.values)
                    .map(|(label, value)| (label.as_str(), value.as_str())),
            ),
        );
        if let Err(error) = name {
            let labels = self.map.get("labels").cloned().unwrap_or(Value::Null);
            self.refuse("labels", &labels, &format!("shorter ones: {error}"));
            return None;
        }
        Some(case)
    }

    fn labels(&mut self, family: &Family) -> Option<Vec<String>> {
        let empty = Map::new();
        let value = self.map.get("labels");
        let given = value.and_then(Value::as_object).unwrap_or(&empty);
        let mut values = Vec::new();
        for label in &family.labels {
            match given.get(label).and_then(Value::as_str) {
                Some(text)
                    if (1..=LONGEST_VALUE).contains(&text.len())
                        && !text.contains(char::is_control) =>
                {
                    values.push(text.to_owned());
                }
                _ => {}
            }
        }
        if values.len() != family.labels.len() || given.len() != values.len() {
            let accepted = match family.labels.as_slice() {
                [] => "no labels".to_owned(),
                labels => format!(
                    "a value of 1 to {LONGEST_VALUE} characters for each of the labels {}",
                    labels.join(", ")
                ),
            };
            let value = value.cloned().unwrap_or(Value::Null);
            self.refuse("labels", &value, &accepted);
            return None;
        }
        Some(values)
    }

    fn one_or_more<T>(
        &mut self,
        key: &str,
        accepted: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(value) = self.map.get(key) else {
            return Some(Vec::new());
        };
        let items = match value {
            Value::Array(items) if items.len() <= MAX_CASES => items.as_slice(),
            other => std::slice::from_ref(other),
        };
        let found: Option<Vec<T>> = items.iter().map(read).collect();
        if found.as_ref().is_none_or(Vec::is_empty) {
            self.refuse(key, value, accepted);
            return None;
        }
        found
    }

    /// Labels of paths. With templates configured no other path ever is one.
    fn paths(&mut self) -> Option<Vec<String>> {
        let accepted = "a path such as /api/content/:id, or a list";
        let label = |value: &Value| -> Option<String> {
            let template: Template = value.as_str()?.parse().ok()?;
            Some(template.label().to_owned())
        };
        let paths = self.one_or_more("path", accepted, label)?;
        let known = |path: &&String| {
            let templates = self.routes.templates();
            self.routes.is_empty()
                || templates
                    .iter()
                    .any(|template| template.label() == path.as_str())
        };
        if let Some(unknown) = paths.iter().find(|path| !known(path)) {
            let value = Value::from(unknown.as_str());
            let accepted = "a template of routes: no other path is ever counted as itself. A rule in signals for the same metric takes the place of a preset's, and one with an empty count turns it off";
            self.refuse("path", &value, accepted);
            return None;
        }
        Some(paths)
    }

    fn header(&mut self, key: &str) -> Option<Option<HeaderTest>> {
        let Some(value) = self.map.get(key) else {
            return Some(None);
        };
        let accepted = r#"the name of a header, or {"name": "x-plan", "value": "gold"}"#;
        let (name, wanted) = match value {
            Value::String(name) => (Some(name.as_str()), None),
            Value::Object(map) if map.len() == 2 => (
                map.get("name").and_then(Value::as_str),
                map.get("value").and_then(Value::as_str),
            ),
            _ => (None, None),
        };
        let name = name.map(str::to_ascii_lowercase);
        let is_complete =
            value.is_string() || wanted.is_some_and(|wanted| wanted.len() <= LONGEST_VALUE);
        let Some(name) = name.filter(|name| is_complete && is_header_name(name)) else {
            self.refuse(key, value, accepted);
            return None;
        };
        if key == "request_header" && RESPONSE_HEADERS.contains(&name.as_str()) {
            let accepted = "another header: what a client says under this name is not believed";
            self.refuse(key, value, accepted);
            return None;
        }
        Some(Some(HeaderTest {
            name,
            value: wanted.map(str::to_owned),
        }))
    }
}

fn method(value: &Value) -> Option<Method> {
    let method = Method::new(value.as_str()?.as_bytes());
    (method.as_str() != OTHER).then_some(method)
}

fn status(value: &Value) -> Option<StatusTest> {
    if let Some(text) = value.as_str() {
        return match text.as_bytes() {
            [class @ b'1'..=b'5', b'x', b'x'] => Some(StatusTest::Class(u16::from(class - b'0'))),
            _ => None,
        };
    }
    let code = value.as_f64().and_then(whole_number)?;
    let code = u16::try_from(code).ok()?;
    (100..=599)
        .contains(&code)
        .then_some(StatusTest::Exact(code))
}
