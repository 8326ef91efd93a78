//! One line of a page taken apart: a sample with its labels, or metadata.
//!
//! Text 0.0.4 is read as leniently as Prometheus reads it: blanks and tabs
//! between tokens, a comma behind the last label, any other comment. Of
//! OpenMetrics 1.0 only what its grammar has is a line: single spaces, `HELP`,
//! `TYPE`, `UNIT`, `EOF`. Refused in both are names that are no names, values
//! that are no numbers, and a label that a sample has twice. Names are those of
//! both formats (`[a-zA-Z_:][a-zA-Z0-9_:]*`); quoted ones are never asked for.
//!
//! A timestamp is read and left out, as with Prometheus's `honor_timestamps:
//! false`: a page says what is now, and a series with a time of its own would
//! not end when its service does. An exemplar is read and left out as well;
//! text 0.0.4 has none, and a page shows the same in both formats.

use std::borrow::Cow;

use crate::exposition::Format;

/// A line that is no comment without a meaning.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    Sample(Sample<'a>),
    Help {
        name: &'a str,
        text: Cow<'a, str>,
    },
    Type {
        name: &'a str,
        kind: &'a str,
    },
    Unit {
        name: &'a str,
        unit: &'a str,
    },
    /// `# EOF`.
    End,
    /// A comment or a blank line.
    Nothing,
}

/// A sample as it is spelled.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: Vec<(&'a str, Cow<'a, str>)>,
    /// Legal as a number of both formats; `NaN`, `+Inf` and `-Inf` are spelled so.
    pub(super) value: &'a str,
}

/// What is wrong with a line; never says what stands in it.
pub(super) type Problem = &'static str;

/// Most labels of a sample.
const MOST_LABELS: usize = 128;

/// Reads one line, without its line feed.
pub(super) fn line(text: &str, format: Format) -> Result<Line<'_>, Problem> {
    match format {
        Format::OpenMetrics => match text.strip_prefix('#') {
            Some(comment) => of_openmetrics(comment),
            None => sample(text, format).map(Line::Sample),
        },
        Format::Text => {
            let text = text.trim_start_matches(BLANKS);
            match text.strip_prefix('#') {
                _ if text.is_empty() => Ok(Line::Nothing),
                Some(comment) => of_text(comment),
                None => sample(text, format).map(Line::Sample),
            }
        }
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

fn of_text(comment: &str) -> Result<Line<'_>, Problem> {
    let mut cursor = Cursor(comment);
    let is_apart = cursor.blanks();
    let word = cursor.until_blank();
    if !is_apart || !matches!(word, "HELP" | "TYPE") {
        return Ok(Line::Nothing);
    }
    cursor.blanks();
    let name = cursor.metric_name().ok_or(NO_NAME)?;
    let is_apart = cursor.blanks();
    if !is_apart && !cursor.0.is_empty() {
        return Err(NO_NAME);
    }
    if word == "HELP" {
        let text = unescape(cursor.0, false);
        return Ok(Line::Help { name, text });
    }
    let kind = cursor.0.trim_end_matches(BLANKS);
    Ok(Line::Type { name, kind })
}

fn of_openmetrics(comment: &str) -> Result<Line<'_>, Problem> {
    if comment == " EOF" {
        return Ok(Line::End);
    }
    let mut words = comment.splitn(4, ' ');
    let (Some(""), Some(word), Some(name)) = (words.next(), words.next(), words.next()) else {
        return Err(NO_COMMENT);
    };
    let mut cursor = Cursor(name);
    if cursor.metric_name().is_none() || !cursor.0.is_empty() {
        return Err(NO_NAME);
    }
    // A text may be empty, and some leave out the space before it.
    let rest = words.next().unwrap_or_default();
    match word {
        "HELP" => Ok(Line::Help {
            name,
            text: unescape(rest, true),
        }),
        "TYPE" => Ok(Line::Type { name, kind: rest }),
        "UNIT" => Ok(Line::Unit { name, unit: rest }),
        _ => Err(NO_COMMENT),
    }
}

const NO_NAME: Problem = "no name of a metric where one is expected";
const NO_COMMENT: Problem = "a comment that is neither HELP, TYPE, UNIT nor EOF";

fn sample(text: &str, format: Format) -> Result<Sample<'_>, Problem> {
    let is_lenient = format == Format::Text;
    let mut cursor = Cursor(text);
    let name = cursor.metric_name().ok_or(NO_NAME)?;
    let mut is_apart = is_lenient && cursor.blanks();
    let mut labels = Vec::new();
    if cursor.takes('{') {
        labels = cursor.labels(is_lenient)?;
        is_apart = is_lenient;
    }
    if is_lenient {
        is_apart |= cursor.blanks();
    } else {
        is_apart = cursor.takes(' ');
    }
    if !is_apart {
        return Err("nothing between name and value");
    }
    let value = cursor.until_blank();
    let value = number(value).ok_or("a value that is no number")?;
    if is_lenient {
        cursor.blanks();
        let time = cursor.until_blank();
        cursor.blanks();
        if !(time.is_empty() || is_milliseconds(time)) {
            return Err("a timestamp that is no whole number of milliseconds");
        }
    } else if cursor.takes(' ') && !cursor.0.starts_with('#') {
        number(cursor.until_blank()).ok_or("a timestamp that is no number of seconds")?;
        if cursor.takes(' ') && !cursor.0.starts_with('#') {
            return Err(MORE);
        }
    }
    if !is_lenient && cursor.takes('#') {
        cursor.exemplar()?;
    }
    if !cursor.0.is_empty() {
        return Err(MORE);
    }
    Ok(Sample {
        name,
        labels,
        value,
    })
}

const MORE: Problem = "more behind the value than a timestamp";

/// What is left of a line.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn takes(&mut self, expected: char) -> bool {
        let rest = self.0.strip_prefix(expected);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Whether there were any.
    fn blanks(&mut self) -> bool {
        let before = self.0.len();
        self.0 = self.0.trim_start_matches(BLANKS);
        self.0.len() < before
    }

    fn until_blank(&mut self) -> &'a str {
        let end = self.0.find(BLANKS).unwrap_or(self.0.len());
        self.split(end)
    }

    fn metric_name(&mut self) -> Option<&'a str> {
        self.name(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
    }

    fn label_name(&mut self) -> Option<&'a str> {
        self.name(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    fn name(&mut self, is_part: fn(u8) -> bool) -> Option<&'a str> {
        let mut bytes = self.0.bytes();
        let end = bytes.position(|byte| !is_part(byte));
        let name = self.split(end.unwrap_or(self.0.len()));
        let is_name = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        is_name.then_some(name)
    }

    /// Behind the opening brace, to behind the closing one.
    fn labels(&mut self, is_lenient: bool) -> Result<Vec<(&'a str, Cow<'a, str>)>, Problem> {
        let mut labels: Vec<(&str, Cow<'_, str>)> = Vec::new();
        let blanks = |cursor: &mut Self| is_lenient && cursor.blanks();
        loop {
            blanks(self);
            if self.takes('}') {
                return Ok(labels);
            }
            let name = self.label_name().ok_or("no name of a label")?;
            blanks(self);
            if !self.takes('=') {
                return Err("a label without a value");
            }
            blanks(self);
            if !self.takes('"') {
                return Err("a label value without quotes");
            }
            let value = self.quoted().ok_or("a label value without an end")?;
            if labels.iter().any(|(known, _)| *known == name) {
                return Err("a label that stands twice");
            }
            if labels.len() >= MOST_LABELS {
                return Err("more than 128 labels");
            }
            labels.push((name, value));
            blanks(self);
            if !self.takes(',') && !self.0.starts_with('}') {
                return Err("no comma between labels");
            }
        }
    }

    /// Behind the opening quote, to behind the closing one.
    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let mut is_escaped = false;
        let end = self.0.bytes().position(|byte| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        })?;
        let text = self.split(end);
        self.takes('"');
        Some(unescape(text, true))
    }

    /// Behind the `#`.
    fn exemplar(&mut self) -> Result<(), Problem> {
        const WRONG: Problem = "an exemplar that is none";
        if !(self.takes(' ') && self.takes('{')) {
            return Err(WRONG);
        }
        self.labels(false)?;
        if !self.takes(' ') {
            return Err(WRONG);
        }
        number(self.until_blank()).ok_or(WRONG)?;
        if self.takes(' ') {
            number(self.until_blank()).ok_or(WRONG)?;
        }
        Ok(())
    }

    fn split(&mut self, end: usize) -> &'a str {
        let (part, rest) = self.0.split_at(end);
        self.0 = rest;
        part
    }
}

/// `\\`, `\n` and where quotes are escaped `\"`; any other backslash stays, as
/// Prometheus keeps it.
fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('\\') => plain.push('\\'),
            Some('n') => plain.push('\n'),
            Some('"') if quotes => plain.push('"'),
            other => {
                plain.push('\\');
                plain.extend(other);
            }
        }
    }
    Cow::Owned(plain)
}

/// The text where it is a number of both formats; only the names of what is no
/// finite number are spelled anew. `None` also for what no f64 can hold.
pub(super) fn number(text: &str) -> Option<&str> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_name = |name: &str| unsigned.eq_ignore_ascii_case(name);
    if is_name("inf") || is_name("infinity") {
        let is_negative = text.starts_with('-');
        return Some(if is_negative { "-Inf" } else { "+Inf" });
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some("NaN");
    }
    let is_decimal =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    if !text.bytes().all(is_decimal) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    value.is_finite().then_some(text)
}

fn is_milliseconds(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i64>().is_ok()
}

#[cfg(test)]
mod tests;
