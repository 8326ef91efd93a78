//! A strict reader of the text format 0.0.4 and of OpenMetrics, as far as the
//! bridge writes them: what it cannot read back is an error of the page.

use std::collections::{BTreeMap, BTreeSet};

/// One sample: its name, and its labels in the order of the page.
pub type Key = (String, Vec<(String, String)>);

/// Samples by name and labels, the value as it is spelled.
///
/// # Panics
/// Where a line is malformed, a family or a series stands twice, or a sample
/// stands outside its family.
pub fn read(page: &str, is_openmetrics: bool) -> BTreeMap<Key, String> {
    assert!(
        page.is_empty() || page.ends_with('\n'),
        "the last line is cut"
    );
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let mut family = String::new();
    let mut ended = false;
    for line in page.lines() {
        assert!(!ended, "a line after the end");
        if let Some(comment) = line.strip_prefix("# ") {
            if comment == "EOF" && is_openmetrics {
                ended = true;
                continue;
            }
            let (word, rest) = comment.split_once(' ').expect("a comment with a name");
            let (name, _) = rest.split_once(' ').expect("a comment with a text");
            match word {
                "HELP" => {
                    assert!(families.insert(name.to_owned()), "{name} stands twice");
                    name.clone_into(&mut family);
                }
                "TYPE" | "UNIT" => assert_eq!(name, family),
                _ => panic!("a comment that is none: {line}"),
            }
        } else if line.is_empty() {
            assert!(!is_openmetrics, "an empty line");
        } else {
            let (key, value) = sample(line);
            assert!(
                key.0.starts_with(&family),
                "{} stands below {family}",
                key.0
            );
            let before = samples.insert(key, value.to_owned());
            assert!(before.is_none(), "a series stands twice: {line}");
        }
    }
    assert!(ended || !is_openmetrics, "no end");
    samples
}

fn sample(line: &str) -> (Key, &str) {
    let end = line
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .expect("a name and more");
    let (name, mut rest) = line.split_at(end);
    assert!(
        name.starts_with(|c: char| c.is_ascii_alphabetic()),
        "{line}"
    );
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label with a value");
            assert!(
                label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !label.is_empty(),
                "{line}"
            );
            let (value, after) = quoted(after);
            assert!(
                !labels.iter().any(|(known, _)| known == label),
                "a label stands twice: {line}"
            );
            labels.push((label.to_owned(), value));
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = after.strip_prefix(',').expect("a comma or a brace");
        }
    }
    let value = rest.strip_prefix(' ').expect("a space before the value");
    assert!(value.parse::<f64>().is_ok(), "no number: {line}");
    ((name.to_owned(), labels), value)
}

/// Text up to its closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                other => panic!("{other:?} is escaped"),
            }),
            c => value.push(c),
        }
    }
    panic!("a quote that does not end");
}
