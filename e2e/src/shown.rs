//! What is shown and said of the metrics: the dashboards of `grafana/`, the
//! rules of `prometheus/`, the PromQL of the documents. Read from the files
//! that ship.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use gatemeter_core::catalog::CATALOG;
use serde_json::Value;
use serde_yaml_ng::Value as Yaml;

use crate::artefact::workspace;

/// A dashboard as Grafana reads it.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// Name of the file, without its folder.
    pub file: String,
    /// The whole of it.
    pub json: Value,
}

/// An expression and where it stands.
#[derive(Clone, Debug)]
pub struct Expression {
    /// File, and what in it.
    pub place: String,
    /// PromQL; in a dashboard with Grafana's variables in it.
    pub text: String,
}

impl Expression {
    /// What Grafana sends for it: with these values of variables, and with a
    /// minute for the interval that Grafana finds itself.
    #[must_use]
    pub fn filled(&self, variables: &[(&str, &str)]) -> Self {
        let mut text = self.text.replace("$__rate_interval", "1m");
        for (name, value) in variables {
            text = text.replace(&format!("${name}"), value);
        }
        Self {
            place: self.place.clone(),
            text,
        }
    }
}

impl Dashboard {
    /// All of `grafana/dashboards`, by name.
    ///
    /// # Errors
    ///
    /// A file is no JSON, or there is none.
    pub fn all() -> Result<Vec<Self>> {
        let files = files(&workspace().join("grafana/dashboards"), "json")?;
        ensure!(!files.is_empty(), "no dashboards");
        let read = |path: PathBuf| {
            let text = std::fs::read_to_string(&path)?;
            let name = path.file_name().context("no file name")?;
            Ok(Self {
                file: name.to_string_lossy().into_owned(),
                json: serde_json::from_str(&text)?,
            })
        };
        files.into_iter().map(read).collect()
    }

    /// Its panels, without the rows.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        list(&self.json["panels"])
            .iter()
            .filter(|panel| panel["type"] != "row")
    }

    /// The variables that Prometheus is asked for: name, `metric{...}` whose
    /// label it is, the label, and whether several values can be chosen.
    ///
    /// # Errors
    ///
    /// One asks for something else than `label_values`.
    pub fn variables(&self) -> Result<Vec<(String, String, String, bool)>> {
        list(&self.json["templating"]["list"])
            .iter()
            .filter(|variable| variable["type"] == "query")
            .map(|variable| {
                let query = text(&variable["query"]["query"])?;
                let (metric, label) = query
                    .strip_prefix("label_values(")
                    .and_then(|query| query.strip_suffix(')')?.rsplit_once(", "))
                    .with_context(|| format!("{}: {query}", self.file))?;
                let several = variable["multi"] == true;
                Ok((
                    text(&variable["name"])?,
                    metric.to_owned(),
                    label.to_owned(),
                    several,
                ))
            })
            .collect()
    }

    /// The expressions of a panel.
    ///
    /// # Errors
    ///
    /// A query has none.
    pub fn expressions(&self, panel: &Value) -> Result<Vec<Expression>> {
        let title = text(&panel["title"])?;
        list(&panel["targets"])
            .iter()
            .map(|target| {
                let place = format!("{}, {title:?}", self.file);
                let text = text(&target["expr"])?;
                Ok(Expression { place, text })
            })
            .collect()
    }
}

/// A rule of `prometheus/rules`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Name of the series that it records, or of the alert.
    pub name: String,
    /// Whether it is an alert.
    pub is_alert: bool,
    /// Its file and expression.
    pub expression: Expression,
    /// The whole of it.
    pub yaml: Yaml,
}

impl Rule {
    /// All of them, by file and in their order.
    ///
    /// # Errors
    ///
    /// A file is not one of rules.
    pub fn all() -> Result<Vec<Self>> {
        let mut rules = Vec::new();
        for path in rule_files()? {
            let file: Yaml = serde_yaml_ng::from_str(&std::fs::read_to_string(&path)?)?;
            let groups = file["groups"].as_sequence().context("no groups")?;
            for rule in groups
                .iter()
                .flat_map(|group| group["rules"].as_sequence())
                .flatten()
            {
                let alert = rule["alert"].as_str();
                let name = alert
                    .or(rule["record"].as_str())
                    .context("a rule without a name")?;
                let expression = rule["expr"]
                    .as_str()
                    .context("a rule without an expression")?;
                rules.push(Self {
                    name: name.to_owned(),
                    is_alert: alert.is_some(),
                    expression: Expression {
                        place: format!("{}, {name}", path.display()),
                        text: expression.to_owned(),
                    },
                    yaml: rule.clone(),
                });
            }
        }
        Ok(rules)
    }
}

/// The files of `prometheus/rules`.
///
/// # Errors
///
/// There are none.
pub fn rule_files() -> Result<Vec<PathBuf>> {
    let files = files(&workspace().join("prometheus/rules"), "yml")?;
    ensure!(!files.is_empty(), "no rules");
    Ok(files)
}

/// The files of `prometheus/tests`.
///
/// # Errors
///
/// There are none.
pub fn rule_tests() -> Result<Vec<PathBuf>> {
    let files = files(&workspace().join("prometheus/tests"), "yml")?;
    ensure!(!files.is_empty(), "no tests of rules");
    Ok(files)
}

/// The PromQL of the documents: blocks that are marked as such, with empty lines
/// between expressions, and of other code what reads as an expression.
///
/// # Errors
///
/// A document cannot be read.
pub fn documented() -> Result<Vec<Expression>> {
    let mut paths = vec![
        workspace().join("README.md"),
        workspace().join("grafana/README.md"),
    ];
    paths.extend(files(&workspace().join("docs"), "md")?);
    let mut expressions = Vec::new();
    for path in paths {
        let document = std::fs::read_to_string(&path)?;
        let expression = |text: &str| Expression {
            place: path.display().to_string(),
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        // Every second piece is a block.
        for (at, piece) in document.split("```").enumerate() {
            if let Some(block) = piece.strip_prefix("promql\n") {
                expressions.extend(block.split("\n\n").map(expression));
            } else if at % 2 == 0 {
                let code = piece.split('`').skip(1).step_by(2);
                let lines = piece.lines().filter(|line| line.starts_with("    "));
                let code = code.chain(lines).map(expression);
                expressions.extend(code.filter(|found| is_promql(&found.text)));
            }
        }
    }
    Ok(expressions)
}

/// Whether code in a document is an expression: it says more than the name of a
/// metric, and is no command, no rule and no line of a page.
fn is_promql(text: &str) -> bool {
    const CALLS: [&str; 7] = [
        "absent(",
        "count(",
        "histogram_quantile(",
        "increase(",
        "rate(",
        "sum(",
        " by (",
    ];
    let is_known = |word: &str| CATALOG.iter().any(|metric| word.starts_with(metric.name));
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let asks = CALLS.iter().any(|call| text.contains(call))
        || [" > ", " == ", " / "]
            .iter()
            .any(|sign| text.contains(sign));
    let other = ["curl ", "...", "query", "expr:", " | "];
    asks && words.any(is_known) && !other.iter().any(|sign| text.contains(sign))
}

/// The files with this ending in a folder and below it, sorted.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, ending)?);
        } else if path.extension().is_some_and(|found| found == ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> Result<String> {
    let text = value.as_str();
    Ok(text
        .with_context(|| format!("{value} is no text"))?
        .to_owned())
}
