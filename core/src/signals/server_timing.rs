//! `Server-Timing` (W3C Server Timing, "The Server-Timing Header Field"): how
//! long the parts of a response took, as the service says.
//!
//! ```text
//! Server-Timing: miss, db;dur=53, cache;desc="Cache Read";dur=23.2
//! ```
//!
//! Read as browsers read it, whose mercy services rely on: the members of the
//! list, each a token with parameters; what stands between a token and the next
//! `;` or `,` is ignored; parameter names in upper or lower case; of a repeated
//! parameter the first counts, even if it is incomplete. The same name may
//! stand in several members, and each counts. `desc` and other parameters are
//! passed by.
//!
//! A duration is in milliseconds, by the rules of HTML for floating-point
//! numbers, as the specification asks: `12.3`, `.5`, `+7`, `1e-3`, and what
//! follows the number is ignored (`12ms`). It is taken from the digits, to
//! whole nanoseconds, the nearest; no binary fraction is between. Where those
//! rules give an error a browser shows 0, which would be counted as a fast
//! response: here that member has no duration and the line is malformed. So is
//! one that is negative or longer than [`LONGEST`]. A member without a name is
//! malformed too, an empty one is not (RFC 9110 §5.6.1).

use super::{Malformed, Room};

/// The longest duration that is believed, in nanoseconds: a day. A sum that a
/// service can throw out of scale with one response is of no use.
pub const LONGEST: u64 = 86_400 * 1_000_000_000;

/// Calls `found` with the name and the duration in nanoseconds of each member
/// that has both, in their order.
///
/// # Errors
/// Where some member is malformed, or the room is too small for the line. What
/// was well-formed has been given then.
pub fn read<'a>(
    line: &'a [u8],
    room: &mut Room,
    mut found: impl FnMut(&'a [u8], u64),
) -> Result<(), Malformed> {
    room.line(line)?;
    let mut text = Text(line);
    let mut whole = Ok(());
    while !text.0.is_empty() {
        match text.member(room)? {
            Member::Timed(name, nanos) => found(name, nanos),
            Member::Untimed => {}
            Member::Malformed => whole = Err(Malformed),
        }
    }
    whole
}

enum Member<'a> {
    Timed(&'a [u8], u64),
    /// An empty one, or one without a duration.
    Untimed,
    Malformed,
}

/// What is left of the line.
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// Takes a member and the comma after it.
    fn member(&mut self, room: &mut Room) -> Result<Member<'a>, Malformed> {
        self.spaces();
        let name = self.token();
        let empty = name.is_empty() && matches!(self.0, [] | [b',', ..]);
        if !empty {
            room.part()?;
        }
        let mut duration = None;
        while self.rest_of_part() {
            room.part()?;
            if let Some(value) = self.duration()
                && duration.is_none()
            {
                duration = Some(value);
            }
        }
        Ok(match duration {
            _ if empty => Member::Untimed,
            _ if name.is_empty() => Member::Malformed,
            None => Member::Untimed,
            Some(Ok(nanos)) => Member::Timed(name, nanos),
            Some(Err(Malformed)) => Member::Malformed,
        })
    }

    /// Takes a parameter up to where its value ends; gives what it says if it
    /// is `dur`.
    fn duration(&mut self) -> Option<Result<u64, Malformed>> {
        self.spaces();
        let name = self.token();
        self.spaces();
        let [b'=', rest @ ..] = self.0 else {
            return name.eq_ignore_ascii_case(b"dur").then_some(Err(Malformed));
        };
        self.0 = rest;
        self.spaces();
        if !name.eq_ignore_ascii_case(b"dur") {
            return None;
        }
        Some(match self.0 {
            [b'"', text @ ..] => milliseconds(Unquoted(text)),
            text => milliseconds(text.iter().copied()),
        })
    }

    /// Passes by what is left of a member's name or of a parameter, and the `;`
    /// or `,` after it; a quoted string hides both. Says whether a parameter
    /// follows.
    fn rest_of_part(&mut self) -> bool {
        while let [byte, rest @ ..] = self.0 {
            self.0 = rest;
            match byte {
                b';' => return true,
                b',' => return false,
                b'"' => self.quoted(),
                _ => {}
            }
        }
        false
    }

    /// Passes by a quoted string after its first quote. One without an end goes
    /// on to that of the line.
    fn quoted(&mut self) {
        while let [byte, rest @ ..] = self.0 {
            self.0 = rest;
            match byte {
                b'"' => return,
                b'\\' => self.0 = rest.get(1..).unwrap_or_default(),
                _ => {}
            }
        }
    }

    fn spaces(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn token(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !is_tchar(*byte));
        let (token, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        token
    }
}

/// Bytes of a token (RFC 9110 §5.6.2).
const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~'
        )
}

/// The content of a quoted string, to its end or to that of the line.
struct Unquoted<'a>(&'a [u8]);

impl Iterator for Unquoted<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = match self.0 {
            [] | [b'"', ..] => return None,
            [b'\\', byte, rest @ ..] => (byte, rest),
            [byte, rest @ ..] => (byte, rest),
        };
        self.0 = rest;
        Some(*byte)
    }
}

/// Decimal digits that a `u64` holds whatever they are.
const DIGITS: u32 = 19;

/// A number of milliseconds that the text begins with, in nanoseconds.
fn milliseconds(mut text: impl Iterator<Item = u8>) -> Result<u64, Malformed> {
    let mut next = text.find(|byte| !byte.is_ascii_whitespace());
    let negative = next == Some(b'-');
    if let Some(b'+' | b'-') = next {
        next = text.next();
    }

    // The number is `digits * 10^exponent` nanoseconds.
    let (mut digits, mut kept, mut exponent) = (0_u64, 0, 6_i32);
    let (mut any, mut point) = (false, false);
    while let Some(byte @ (b'0'..=b'9' | b'.')) = next
        && !(byte == b'.' && point)
    {
        next = text.next();
        if byte == b'.' {
            point = true;
            continue;
        }
        any = true;
        if kept < DIGITS {
            digits = digits * 10 + u64::from(byte - b'0');
            kept += u32::from(digits > 0);
            exponent -= i32::from(point);
        } else {
            exponent = exponent.saturating_add(i32::from(!point));
        }
    }
    if !any || (negative && digits > 0) {
        return Err(Malformed);
    }
    if let Some(b'e' | b'E') = next {
        next = text.next();
        let negative = next == Some(b'-');
        if let Some(b'+' | b'-') = next {
            next = text.next();
        }
        let mut power = 0_i32;
        while let Some(byte @ b'0'..=b'9') = next {
            next = text.next();
            let digit = i32::from(byte - b'0');
            power = power.saturating_mul(10).saturating_add(digit);
        }
        let power = if negative { -power } else { power };
        exponent = exponent.saturating_add(power);
    }

    let scale = 10_u64.checked_pow(exponent.unsigned_abs());
    let nanos = match (scale, exponent >= 0) {
        _ if digits == 0 => Some(0),
        (Some(scale), true) => digits.checked_mul(scale),
        (None, true) => None,
        (Some(scale), false) => {
            Some(digits / scale + u64::from(digits % scale >= scale.div_ceil(2)))
        }
        (None, false) => Some(0),
    };
    nanos.filter(|nanos| *nanos <= LONGEST).ok_or(Malformed)
}

#[cfg(test)]
mod tests;
