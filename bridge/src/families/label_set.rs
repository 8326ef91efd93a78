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
    pairs: Box<[(Cow<'static, str>, Box<str>)]>,
    text: Box<str>,
}

impl LabelSet {
    /// Labels with these names and values. The names must be names of labels,
    /// each at most once; the values may hold anything.
    pub fn new<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<Cow<'static, str>>,
        V: Into<Box<str>>,
    {
        let pairs: Box<[(Cow<'static, str>, Box<str>)]> = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let mut text = String::new();
        for (name, value) in &pairs {
            push_label(&mut text, name, value);
        }
        Self {
            pairs,
            text: text.into(),
        }
    }

    /// The same, to be shared.
    pub fn shared<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Arc<Self>
    where
        N: Into<Cow<'static, str>>,
        V: Into<Box<str>>,
    {
        Arc::new(Self::new(pairs))
    }

    /// Names and values, not escaped.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
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
        self.pairs.is_empty()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(_, value)| value.as_ref())
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
    }
}
