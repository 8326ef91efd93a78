//! The keys that decide which label a path gets: `routes`, `exclude`,
//! `path_rules`.

use serde_json::Value;

use super::ConfigError;
use super::fields::{Fields, shown};
use crate::buckets::Buckets;
use crate::labels::{Method, Status};
use crate::path_label::{MAX_RULES, MAX_SLOW_RULES, PathRule, RouteTable, RuleError, Template};
use crate::recorder::request_name_fits;
use crate::stat_name::MAX_LENGTH;

impl Fields<'_> {
    pub(super) fn templates(&mut self, key: &str) -> RouteTable {
        let accepted = "a list of paths such as /api/content/:id";
        let items = self.list(key, accepted).to_vec();
        let mut templates = Vec::new();
        let mut places = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = format!("{key}[{index}]");
            match item.as_str().map(str::parse::<Template>) {
                Some(Ok(template)) => {
                    templates.push(template);
                    places.push((place, item));
                }
                Some(Err(error)) => self.problem(place, item, &error.to_string()),
                None => self.refuse(&place, item, "a path such as /api/content/:id"),
            }
        }
        RouteTable::try_new(templates).unwrap_or_else(|conflicts| {
            for (index, error) in conflicts {
                if let Some((place, item)) = places.get(index) {
                    self.problem(place.clone(), item, &error.to_string());
                }
            }
            RouteTable::default()
        })
    }

    pub(super) fn path_rules(&mut self) -> Vec<PathRule> {
        let accepted = r#"a list of {"match": "/\\d+", "replace": "/:id"}"#;
        let items = self.list("path_rules", accepted).to_vec();
        if items.len() > MAX_RULES {
            self.errors.push(ConfigError {
                key: "path_rules".to_owned(),
                problem: format!("has {} rules; expected at most {MAX_RULES}", items.len()),
            });
        }
        let mut rules = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = format!("path_rules[{index}]");
            let Some(rule) = item.as_object() else {
                self.refuse(&place, item, r#"{"match": "/\\d+", "replace": "/:id"}"#);
                continue;
            };
            for (key, value) in rule {
                if !["match", "replace", "slow"].contains(&key.as_str()) {
                    let place = format!("{place}.{}", shown(key));
                    self.refuse(&place, value, "only the keys match, replace and slow");
                }
            }
            let mut text = |key: &str| {
                let value = rule.get(key).unwrap_or(&Value::Null);
                let text = value.as_str();
                if text.is_none() {
                    self.refuse(&format!("{place}.{key}"), value, "a string");
                }
                text
            };
            let (pattern, replacement) = (text("match"), text("replace"));
            let may_be_slow = match rule.get("slow") {
                None => Some(false),
                Some(Value::Bool(slow)) => Some(*slow),
                Some(value) => {
                    self.refuse(&format!("{place}.slow"), value, "true or false");
                    None
                }
            };
            if let (Some(pattern), Some(replacement), Some(may_be_slow)) =
                (pattern, replacement, may_be_slow)
            {
                match PathRule::try_new(pattern, replacement, may_be_slow) {
                    Ok(rule) => rules.push(rule),
                    Err(error) => {
                        let accepted = match error {
                            RuleError::Invalid(_) => {
                                "a regular expression as in the crate regex-lite"
                            }
                            RuleError::Slow => {
                                r#"characters, classes and repeats in a row, or "slow": true beside it"#
                            }
                        };
                        self.problem(
                            format!("{place}.match"),
                            &Value::from(pattern),
                            &format!("is refused: {error}; expected {accepted}"),
                        );
                    }
                }
            }
        }
        let slow = rules.iter().filter(|rule| rule.is_slow()).count();
        if slow > MAX_SLOW_RULES {
            self.errors.push(ConfigError {
                key: "path_rules".to_owned(),
                problem: format!("has {slow} slow rules; expected at most {MAX_SLOW_RULES}"),
            });
        }
        rules
    }

    /// A template whose longest stat name is beyond the limit would always
    /// overflow; better to say so at once.
    pub(super) fn labels_fit(&mut self, service: &str, routes: &RouteTable, buckets: &Buckets) {
        for template in routes.templates() {
            let label = template.label();
            if !request_name_fits(service, Method::CONNECT, label, Status::OTHER, buckets) {
                self.problem(
                    "routes".to_owned(),
                    &Value::from(label),
                    &format!(
                        "makes a stat name of more than {MAX_LENGTH} bytes; expected a shorter path"
                    ),
                );
            }
        }
    }
}
