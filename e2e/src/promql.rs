//! Which metrics and labels an expression of PromQL names.
//!
//! It reads the words of the language (Prometheus, "Querying basics" and
//! "Operators") and does not judge the grammar: the real Prometheus does that
//! wherever an expression is run.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};

/// What an expression names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Each selector in the order of the expression.
    pub selectors: Vec<Selector>,
    /// Labels after `by`, `on` and their like, and those that `label_replace`
    /// writes.
    pub labels: BTreeSet<String>,
    /// Whether it picks (it compares, or has `unless` or `absent`), so that no
    /// result may be the right one.
    pub picks: bool,
}

/// A metric and what is asked of its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Name of the metric.
    pub metric: String,
    /// Names of the labels in its braces.
    pub labels: BTreeSet<String>,
    /// The selector as it stands in the expression.
    pub text: String,
}

/// Words that are followed by labels in parentheses.
const LABELLING: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];
/// Words that are no metric where no parenthesis follows: operators, modifiers,
/// and aggregations before their `by`.
const WORDS: [&str; 20] = [
    "and",
    "or",
    "unless",
    "offset",
    "bool",
    "atan2",
    "inf",
    "nan",
    "sum",
    "min",
    "max",
    "avg",
    "count",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "quantile",
    "count_values",
];

/// A piece of an expression, with its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name, a keyword or a function.
    Word(&'a str, usize),
    /// A string, without its quotes.
    Text(&'a str),
    /// A number or a duration.
    Number,
    /// One character of punctuation, and where it ends.
    Sign(char, usize),
}

/// Reads an expression.
///
/// # Errors
///
/// A string or a parenthesis is not closed, or a selector has no name.
pub fn names(expression: &str) -> Result<Names> {
    let tokens = tokens(expression)?;
    let mut names = Names::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let next = tokens.get(at + 1);
        let called = matches!(next, Some(Token::Sign('(', _)));
        at += 1;
        match *token {
            Token::Word(word, _) if LABELLING.contains(&word) && called => {
                at += 1;
                loop {
                    match tokens.get(at).context("labels without an end")? {
                        Token::Word(label, _) => _ = names.labels.insert((*label).to_owned()),
                        Token::Sign(')', _) => break,
                        _ => {}
                    }
                    at += 1;
                }
            }
            Token::Word("label_replace", _) => {
                let written = tokens.get(at..).unwrap_or_default().iter();
                let label = written.copied().find_map(|token| match token {
                    Token::Text(text) => Some(text),
                    _ => None,
                });
                let label = label.context("label_replace without a label")?;
                names.labels.insert(label.to_owned());
            }
            Token::Word("unless" | "absent", _) => names.picks = true,
            Token::Word(word, _) if called || WORDS.contains(&word) => {}
            Token::Word(metric, start) => {
                let mut selector = Selector {
                    metric: metric.to_owned(),
                    labels: BTreeSet::new(),
                    text: metric.to_owned(),
                };
                if matches!(next, Some(Token::Sign('{', _))) {
                    at += 1;
                    loop {
                        match *tokens.get(at).context("a selector without an end")? {
                            Token::Word(label, _) => _ = selector.labels.insert(label.to_owned()),
                            Token::Sign('}', end) => {
                                let text = expression.get(start..end).unwrap_or_default();
                                text.clone_into(&mut selector.text);
                                break;
                            }
                            _ => {}
                        }
                        at += 1;
                    }
                }
                names.selectors.push(selector);
            }
            Token::Sign('{', _) => bail!("a selector without a metric in {expression}"),
            Token::Sign('<' | '>', _) => names.picks = true,
            Token::Sign('=', _) if matches!(next, Some(Token::Sign('=', _))) => {
                names.picks = true;
            }
            Token::Sign('!', _) => names.picks = true,
            Token::Text(_) | Token::Number | Token::Sign(..) => {}
        }
    }
    Ok(names)
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let start = text.len() - rest.len();
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' | '`' => {
                let inside = rest.get(1..).unwrap_or_default();
                let mut escaped = false;
                let end = inside.find(|character| {
                    let ends = character == first && !escaped;
                    escaped = character == '\\' && !escaped;
                    ends
                });
                let end = end.with_context(|| format!("a string without an end in {text}"))?;
                tokens.push(Token::Text(inside.get(..end).unwrap_or_default()));
                end + 2
            }
            _ if first.is_ascii_digit() => {
                tokens.push(Token::Number);
                length_of(rest, |c| c.is_ascii_alphanumeric() || c == '.')
            }
            _ if first.is_ascii_alphabetic() || first == '_' => {
                let length = length_of(rest, |c| c.is_ascii_alphanumeric() || "_:".contains(c));
                tokens.push(Token::Word(rest.get(..length).unwrap_or_default(), start));
                length
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(Token::Sign(first, start + first.len_utf8()));
                }
                first.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    let count = |sign| {
        let is_sign = |token: &&Token<'_>| matches!(token, Token::Sign(found, _) if *found == sign);
        tokens.iter().filter(is_sign).count()
    };
    for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
        ensure!(
            count(open) == count(close),
            "{open} without {close} in {text}"
        );
    }
    Ok(tokens)
}

fn length_of(text: &str, belongs: fn(char) -> bool) -> usize {
    text.find(|character| !belongs(character))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(expression: &str) -> Vec<String> {
        let selectors = names(expression).unwrap().selectors;
        selectors.into_iter().map(|one| one.metric).collect()
    }

    #[test]
    fn reads_metrics_and_labels_and_nothing_else() {
        let read = names(
            "histogram_quantile(0.95, sum by (path, le) (rate(a_bucket{service=\"x{y}\",path=~\"b(c)\"}[5m] offset 1h)))\n\
             / on (zone) group_left () c:d:e10m # of f\n\
             or label_replace(vector(0), \"reason\", \"none\", \"\", \"\") or inf",
        )
        .unwrap();
        let found: Vec<_> = read
            .selectors
            .iter()
            .map(|selector| (selector.metric.as_str(), selector.text.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("a_bucket", "a_bucket{service=\"x{y}\",path=~\"b(c)\"}"),
                ("c:d:e10m", "c:d:e10m")
            ]
        );
        let labels: Vec<_> = read.selectors[0].labels.iter().collect();
        assert_eq!(labels, ["path", "service"]);
        let labels: Vec<_> = read.labels.iter().collect();
        assert_eq!(labels, ["le", "path", "reason", "zone"]);
        assert!(!read.picks);
    }

    #[test]
    fn a_word_is_a_metric_unless_it_is_called_or_a_keyword() {
        assert_eq!(
            metrics("sum(a) by (b) > bool 1 and rate(up[5m])"),
            ["a", "up"]
        );
        assert_eq!(metrics("count (up == 0) or vector(0)"), ["up"]);
        assert_eq!(metrics("on{on=\"by\"}"), ["on"]);
    }

    #[test]
    fn sees_whether_an_expression_picks() {
        for (expression, picks) in [
            ("a > 1", true),
            ("a == 1", true),
            ("a != 1", true),
            ("a{b!=\"c\",d!~\"e\",f=~\"g\"}", false),
            ("a - b", false),
            ("a unless b", true),
            ("absent(a)", true),
        ] {
            assert_eq!(names(expression).unwrap().picks, picks, "{expression}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        for expression in ["a{b=\"c}", "sum(a", "{b=\"c\"}", "sum by (a"] {
            assert!(names(expression).is_err(), "{expression}");
        }
    }
}
