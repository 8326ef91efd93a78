//! The labels of one series, and how a page spells them.
//!
//! Made once for a series and shared by every reading that shows it, so that a
//! steady scrape spells no label anew. Order is the caller's; nothing is
//! sorted, joined or refused here. Values are escaped as text format 0.0.4 and
//! OpenMetrics 1.0 both say: `\`, `"` and line feed.

use std::{borrow::Cow, fmt, sync::Arc};

/// Labels without `service` and `le`, in the order in which they are shown.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct LabelSet {
    /// As a page shows them.
    text: Box<str>,
    spans: Box<[Span]>,
    /// All values, where one of them is not shown as it is.
    unescaped: Box<[Box<str>]>,
}

/// Where a label stands in the text: its value is in quotes behind its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Span {
    name: u32,
    name_end: u32,
    value_end: u32,
}

impl LabelSet {
    /// Labels with these names and values. The names must be names of labels,
    /// each at most once; the values may hold anything.
    pub fn new<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut text = String::new();
        let mut spans = Vec::new();
        let mut values = Vec::new();
        let mut is_escaped = false;
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            push_label(&mut text, name, value);
            let shown = escape(value, true);
            // A line of `/stats` or of a page has fewer bytes.
            let back = |bytes: usize| u32::try_from(text.len() - bytes).unwrap_or(u32::MAX);
            is_escaped |= shown != value;
            spans.push(Span {
                name: back(name.len() + shown.len() + 3),
                name_end: back(shown.len() + 3),
                value_end: back(1),
            });
            values.push(value.into());
        }
        if !is_escaped {
            values.clear();
        }
        Self {
            text: text.into(),
            spans: spans.into(),
            unescaped: values.into(),
        }
    }

    /// The same, to be shared.
    pub fn shared<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Arc<Self>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        Arc::new(Self::new(pairs))
    }

    /// Names and values, not escaped.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = self
            .spans
            .iter()
            .map(|span| self.part(span.name, span.name_end));
        names.zip(self.values())
    }

    /// The value of a label; `None` where there is no such label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.iter();
        pairs.find_map(|(n, value)| (n == name).then_some(value))
    }

    /// `a="b",c="d"`, escaped; empty where there is no label.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.spans.iter().enumerate().map(|(at, span)| {
            let shown = || self.part(span.name_end + 2, span.value_end);
            self.unescaped.get(at).map_or_else(shown, AsRef::as_ref)
        })
    }

    fn part(&self, start: u32, end: u32) -> &str {
        self.text
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.text)
    }
}

/// Adds `name="value"` to what is there, after a comma where it is needed.
pub(crate) fn push_label(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(name);
    text.push_str("=\"");
    text.push_str(&escape(value, true));
    text.push('"');
}

/// `\` and line feeds escaped, and where asked for quotes.
pub(crate) fn escape(text: &str, quotes: bool) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '\\' | '\n') || (quotes && c == '"');
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if quotes => escaped.push_str("\\\""),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_its_labels_in_their_order_and_escapes_the_values_only_there() {
        let labels = LabelSet::new([("b", "x"), ("a", "\\ \" \n }é")]);
        assert_eq!(labels.text(), "b=\"x\",a=\"\\\\ \\\" \\n }é\"");
        assert_eq!(
            labels.iter().collect::<Vec<_>>(),
            [("b", "x"), ("a", "\\ \" \n }é")]
        );
        assert_eq!(labels.get("a"), Some("\\ \" \n }é"));
        assert_eq!(labels.get("c"), None);
    }

    #[test]
    fn no_labels_are_no_text() {
        let labels = LabelSet::default();
        assert!(labels.is_empty());
        assert_eq!(labels.text(), "");
        assert_eq!(labels, LabelSet::new([("", ""); 0]));
        let empty = LabelSet::new([("a", "")]);
        assert!(!empty.is_empty());
        assert_eq!(empty.iter().collect::<Vec<_>>(), [("a", "")]);
    }
}
