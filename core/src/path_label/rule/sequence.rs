//! A pattern that is a row of characters, classes and repeats: matched from
//! left to right without ever going back.
//!
//! Going back is never needed because [`Sequence::parse`] takes a repeat only
//! if no byte that it may take can begin what follows it: then taking fewer
//! bytes than there are cannot help. It refuses (`None`) what has alternatives,
//! groups, flags, lazy repeats, look-around or Unicode, what matches nothing at
//! all, and what it merely does not know.

use std::ops::Range;

use super::{Effort, TooMuch};

#[derive(Clone, Debug)]
pub(super) struct Sequence {
    at_start: bool,
    at_end: bool,
    /// Whether a match may begin with a byte, and whether it may go on with it.
    begin: Box<[u8; 256]>,
    elements: Vec<Element>,
}

const FIRST: u8 = 1;
const SECOND: u8 = 2;

/// Which bytes of ASCII: one bit each, those from 64 on in `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set {
    low: u64,
    high: u64,
}

#[derive(Clone, Debug)]
struct Element {
    set: Set,
    /// The same set, quicker to ask.
    table: Box<[bool; 256]>,
    least: usize,
    most: usize,
}

impl Set {
    const NONE: Self = Self { low: 0, high: 0 };
    const ALL: Self = Self::NONE.inverted();
    const DIGITS: Self = Self::range(b'0', b'9');
    const WORD: Self = Self::DIGITS
        .with(Self::range(b'a', b'z'))
        .with(Self::range(b'A', b'Z'))
        .with(Self::range(b'_', b'_'));

    /// Both ends are in it, and are ASCII.
    const fn range(from: u8, to: u8) -> Self {
        let mut set = Self::NONE;
        let mut byte = from & 0x7f;
        while byte <= to & 0x7f {
            if byte < 64 {
                set.low |= 1 << byte;
            } else {
                set.high |= 1 << (byte - 64);
            }
            byte += 1;
        }
        set
    }

    const fn with(self, other: Self) -> Self {
        Self {
            low: self.low | other.low,
            high: self.high | other.high,
        }
    }

    const fn inverted(self) -> Self {
        Self {
            low: !self.low,
            high: !self.high,
        }
    }

    const fn meets(self, other: Self) -> bool {
        self.low & other.low != 0 || self.high & other.high != 0
    }

    const fn contains(self, byte: u8) -> bool {
        let bits = if byte < 64 { self.low } else { self.high };
        byte < 0x80 && bits >> (byte & 63) & 1 != 0
    }
}

impl Sequence {
    /// `pattern` must be one that `regex-lite` accepts.
    pub(super) fn parse(pattern: &str) -> Option<Self> {
        let (at_start, rest) = match pattern.strip_prefix('^') {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let mut rest = rest.as_bytes();
        let mut elements = Vec::new();
        let mut at_end = false;
        while !rest.is_empty() {
            if rest == b"$" {
                at_end = true;
                break;
            }
            let (set, after) = set(rest)?;
            let (least, most, after) = repeat(after)?;
            let table = Box::new(byte_table(|byte| set.contains(byte)));
            elements.push(Element {
                set,
                table,
                least,
                most,
            });
            rest = after;
        }
        let goes_back = |(at, element): (usize, &Element)| {
            let follow = elements.get(at + 1..).unwrap_or_default();
            element.least != element.most && first(follow).meets(element.set)
        };
        let takes_nothing = elements.iter().all(|element| element.least == 0);
        if takes_nothing || elements.iter().enumerate().any(goes_back) {
            return None;
        }
        let first_byte = first(&elements);
        let second_byte = match elements.as_slice() {
            [
                Element {
                    least: 1, most: 1, ..
                },
                rest @ ..,
            ] if rest.iter().any(|e| e.least > 0) => first(rest),
            _ => Set::ALL,
        };
        Some(Self {
            at_start,
            at_end,
            begin: Box::new(byte_table(|byte| {
                let first = if first_byte.contains(byte) { FIRST } else { 0 };
                let second = if second_byte.contains(byte) {
                    SECOND
                } else {
                    0
                };
                first | second
            })),
            elements,
        })
    }

    /// The matches in a text, leftmost first, none within another.
    pub(super) fn matches<'a>(
        &'a self,
        text: &'a [u8],
        effort: &'a mut Effort,
    ) -> impl Iterator<Item = Result<Range<usize>, TooMuch>> + 'a {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let found = self.next(text, from?, effort).transpose();
            from = match &found {
                Some(Ok(range)) if !self.at_start => Some(range.end),
                _ => None,
            };
            found
        })
    }

    fn next(
        &self,
        text: &[u8],
        mut from: usize,
        effort: &mut Effort,
    ) -> Result<Option<Range<usize>>, TooMuch> {
        while let Some(begin) = self.begin(text, from) {
            match self.end(text, begin) {
                Ok(end) => {
                    effort.matched(end - begin)?;
                    return Ok(Some(begin..end));
                }
                Err(stopped) => effort.failed(stopped - begin)?,
            }
            if self.at_start {
                break;
            }
            from = begin + 1;
        }
        Ok(None)
    }

    /// Where the next match may begin, by its first two bytes.
    fn begin(&self, text: &[u8], from: usize) -> Option<usize> {
        if self.at_start {
            return Some(from);
        }
        let rest = text.get(from..)?;
        let is = |byte: u8, class: u8| match self.begin.get(usize::from(byte)) {
            Some(classes) => classes & class != 0,
            None => false,
        };
        let mut before = false;
        let second = rest.iter().position(|byte| {
            let begins = before && is(*byte, SECOND);
            before = is(*byte, FIRST);
            begins
        });
        match second {
            Some(second) => Some(from + second - 1),
            // At the end no second byte is asked for: `end` decides.
            None => before.then(|| text.len() - 1),
        }
    }

    /// Where a match that begins here ends, or where it fails.
    fn end(&self, text: &[u8], from: usize) -> Result<usize, usize> {
        let mut at = from;
        for element in &self.elements {
            let rest = text.get(at..).unwrap_or_default();
            let rest = rest.get(..element.most).unwrap_or(rest);
            let taken = rest
                .iter()
                .position(|byte| element.table.get(usize::from(*byte)) != Some(&true))
                .unwrap_or(rest.len());
            at += taken;
            if taken < element.least {
                return Err(at);
            }
        }
        if self.at_end && at != text.len() {
            return Err(at);
        }
        Ok(at)
    }
}

/// What `of` says of each byte.
fn byte_table<T>(of: impl Fn(u8) -> T) -> [T; 256] {
    std::array::from_fn(|byte| of(u8::try_from(byte).unwrap_or(u8::MAX)))
}

/// What a match of these elements may begin with. The end of all elements
/// begins with nothing.
fn first(elements: &[Element]) -> Set {
    let mut set = Set::NONE;
    for element in elements {
        set = set.with(element.set);
        if element.least > 0 {
            break;
        }
    }
    set
}

/// The bytes that stand for one character, and what follows in the pattern.
fn set(pattern: &[u8]) -> Option<(Set, &[u8])> {
    let (byte, rest) = pattern.split_first()?;
    match byte {
        b'\\' => escape(rest),
        b'[' => class(rest),
        b'.' => Some((Set::ALL, rest)),
        b'(' | b')' | b'|' | b'^' | b'$' | b'*' | b'+' | b'?' | b'{' | b'}' | b']' => None,
        byte => literal(*byte, rest),
    }
}

fn literal(byte: u8, rest: &[u8]) -> Option<(Set, &[u8])> {
    byte.is_ascii_graphic()
        .then_some((Set::range(byte, byte), rest))
}

fn escape(pattern: &[u8]) -> Option<(Set, &[u8])> {
    let (byte, rest) = pattern.split_first()?;
    match byte {
        b'd' => Some((Set::DIGITS, rest)),
        b'w' => Some((Set::WORD, rest)),
        byte if byte.is_ascii_punctuation() => literal(*byte, rest),
        _ => None,
    }
}

/// What follows `[`.
fn class(pattern: &[u8]) -> Option<(Set, &[u8])> {
    let (negated, mut rest) = match pattern.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let mut all = Set::NONE;
    loop {
        let (byte, after) = rest.split_first()?;
        let (set, after) = match byte {
            b']' if all != Set::NONE => {
                let set = if negated { all.inverted() } else { all };
                return Some((set, after));
            }
            b'\\' => escape(after)?,
            // A hyphen of its own stands first or last.
            b'-' if all == Set::NONE || after.first() == Some(&b']') => literal(b'-', after)?,
            b']' | b'[' | b'-' | b'&' | b'~' | b'^' => return None,
            byte => match after {
                [b'-', b']', ..] => literal(*byte, after)?,
                [b'-', to, after @ ..] if to.is_ascii_alphanumeric() && byte <= to => {
                    (Set::range(*byte, *to), after)
                }
                [b'-', ..] => return None,
                _ => literal(*byte, after)?,
            },
        };
        all = all.with(set);
        rest = after;
    }
}

/// How often the element before may come, and what follows in the pattern.
fn repeat(pattern: &[u8]) -> Option<(usize, usize, &[u8])> {
    let (least, most, rest) = match pattern {
        [b'?', rest @ ..] => (0, 1, rest),
        [b'*', rest @ ..] => (0, usize::MAX, rest),
        [b'+', rest @ ..] => (1, usize::MAX, rest),
        [b'{', rest @ ..] => {
            let (least, rest) = number(rest)?;
            match rest {
                [b'}', rest @ ..] => (least, least, rest),
                [b',', b'}', rest @ ..] => (least, usize::MAX, rest),
                [b',', rest @ ..] => match number(rest)? {
                    (most, [b'}', rest @ ..]) => (least, most, rest),
                    _ => return None,
                },
                _ => return None,
            }
        }
        rest => return Some((1, 1, rest)),
    };
    // Lazy, or a repeat of a repeat.
    if matches!(rest.first(), Some(b'?' | b'*' | b'+' | b'{')) {
        return None;
    }
    Some((least, most, rest))
}

fn number(pattern: &[u8]) -> Option<(usize, &[u8])> {
    let digits = pattern.iter().take_while(|byte| byte.is_ascii_digit());
    let (digits, rest) = pattern.split_at_checked(digits.count())?;
    Some((str::from_utf8(digits).ok()?.parse().ok()?, rest))
}
