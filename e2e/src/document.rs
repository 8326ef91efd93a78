//! The documents of the project, as far as tests run what stands in them.

use anyhow::{Context, Result, ensure};
use serde::Deserialize as _;
use serde_json::Value;

use crate::artefact::workspace;

/// The text of a document, named from the project's root.
///
/// # Errors
///
/// It cannot be read.
pub fn text(document: &str) -> Result<String> {
    let path = workspace().join(document);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The section below a heading of the second level, without the heading.
///
/// # Errors
///
/// There is no such heading.
pub fn section(document: &str, heading: &str) -> Result<String> {
    let text = text(document)?;
    let (_, section) = text
        .split_once(&format!("\n## {heading}\n"))
        .with_context(|| format!("{document} has no section {heading}"))?;
    Ok(section.split("\n## ").next().unwrap_or_default().to_owned())
}

/// Headings of the second level, each with its section.
///
/// # Errors
///
/// The document cannot be read.
pub fn sections(document: &str) -> Result<Vec<(String, String)>> {
    let text = text(document)?;
    let sections = text.split("\n## ").skip(1);
    Ok(sections
        .filter_map(|section| section.split_once('\n'))
        .map(|(heading, text)| (heading.trim().to_owned(), text.to_owned()))
        .collect())
}

/// What is fenced as YAML, in order; a block may hold several documents of it.
///
/// # Errors
///
/// A fence has no end, or what it holds is no YAML.
pub fn yaml(text: &str) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for rest in text.split("```yaml\n").skip(1) {
        let (block, _) = rest.split_once("```").context("a fence without an end")?;
        for document in serde_yaml_ng::Deserializer::from_str(block) {
            let value =
                Value::deserialize(document).with_context(|| format!("no YAML:\n{block}"))?;
            found.push(value);
        }
    }
    ensure!(!found.is_empty(), "nothing is fenced as YAML");
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_document_of_every_block() {
        let found = yaml("a\n```yaml\na: 1\n---\nb: 2\n```\n```\nno: 1\n```\n```yaml\n[3]\n```\n");
        let found: Vec<_> = found.unwrap().iter().map(Value::to_string).collect();
        assert_eq!(found, [r#"{"a":1}"#, r#"{"b":2}"#, "[3]"]);
    }

    #[test]
    fn refuses_a_block_that_is_no_yaml_and_a_text_without_any() {
        assert!(yaml("```yaml\na: [\n```\n").is_err());
        assert!(yaml("nothing").is_err());
    }
}
