//! The payload of CMCD, read in one pass over its bytes.
//!
//! Escapes of the query argument are undone byte by byte on the way, so neither
//! form is copied. `+` is a space there, as in forms: a `+` of the payload must
//! be escaped. An escape that is none reads as NUL, which may stand nowhere.

use super::{Cmcd, LONGEST_DELAY_MS, Malformed, ObjectType, PlayerState, Room, Session};

/// Adds what a payload says, if it is well-formed as a whole.
pub(super) fn read(
    said: &mut Cmcd,
    payload: &[u8],
    escaped: bool,
    room: &mut Room,
) -> Result<(), Malformed> {
    room.line(payload)?;
    let mut payload = Payload {
        next: None,
        rest: payload,
        escaped,
        room,
    };
    payload.advance();
    let mut all = *said;
    payload.members(&mut all)?;
    *said = all;
    Ok(())
}

struct Payload<'p> {
    /// The byte at hand; `None` at the end.
    next: Option<u8>,
    rest: &'p [u8],
    escaped: bool,
    room: &'p mut Room,
}

// What is read.
impl Payload<'_> {
    fn members(&mut self, said: &mut Cmcd) -> Result<(), Malformed> {
        self.spaces();
        while self.next.is_some() {
            self.room.part()?;
            self.member(said)?;
            self.spaces();
            if self.next.is_some() {
                self.expect(b',')?;
                self.spaces();
                self.next.ok_or(Malformed)?;
            }
        }
        Ok(())
    }

    fn member(&mut self, said: &mut Cmcd) -> Result<(), Malformed> {
        let key = self.key()?;
        let has_value = self.take(b'=');
        match (key.as_bytes(), has_value) {
            (b"br", true) => said.bitrate_kbps = self.bitrate()?,
            (b"msd", true) => said.start_delay_ms = Some(self.delay()?),
            (b"ot", true) => said.object = Some(object(self.token()?)),
            (b"sid", true) => said.session = Some(self.session()?),
            (b"sta", true) => said.state = Some(state(self.token()?)),
            (b"br" | b"msd" | b"ot" | b"sid" | b"sta", false) => return Err(Malformed),
            (b"bs", _) => said.starved = !has_value || self.boolean()?,
            (b"su", _) => said.startup = !has_value || self.boolean()?,
            (_, true) => self.value()?,
            (_, false) => {}
        }
        self.parameters()?;
        Ok(())
    }

    /// `br`: a number, or a list of numbers with the object types they are of.
    fn bitrate(&mut self) -> Result<Option<u32>, Malformed> {
        if !self.take(b'(') {
            return self.kbps().map(Some);
        }
        let (mut of_video, mut of_any) = (None, None);
        while self.is_in_list()? {
            let kbps = self.kbps()?;
            let place = match self.parameters()? {
                Some(ObjectType::Video | ObjectType::Muxed) => &mut of_video,
                Some(_) => continue,
                None => &mut of_any,
            };
            *place = place.or(Some(kbps));
        }
        Ok(of_video.or(of_any))
    }

    fn kbps(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| Malformed)
    }

    fn delay(&mut self) -> Result<u64, Malformed> {
        let delay = self.number()?;
        (delay <= LONGEST_DELAY_MS)
            .then_some(delay)
            .ok_or(Malformed)
    }

    fn session(&mut self) -> Result<Session, Malformed> {
        let mut session = Session::EMPTY;
        self.string(|byte| session.push(byte))?;
        match session.length {
            0 => Err(Malformed),
            _ => Ok(session),
        }
    }

    fn boolean(&mut self) -> Result<bool, Malformed> {
        if self.take(b'?') {
            let value = self.take(b'1');
            return match value || self.take(b'0') {
                true => Ok(value),
                false => Err(Malformed),
            };
        }
        match self.token()?.as_bytes() {
            b"true" => Ok(true),
            b"false" => Ok(false),
            _ => Err(Malformed),
        }
    }
}

fn object(token: Word) -> ObjectType {
    match token.as_bytes() {
        b"m" => ObjectType::Manifest,
        b"a" => ObjectType::Audio,
        b"v" => ObjectType::Video,
        b"av" => ObjectType::Muxed,
        b"i" => ObjectType::Init,
        b"c" => ObjectType::Caption,
        b"tt" => ObjectType::TimedText,
        b"k" => ObjectType::Key,
        _ => ObjectType::Other,
    }
}

fn state(token: Word) -> PlayerState {
    match token.as_bytes() {
        b"s" => PlayerState::Starting,
        b"p" => PlayerState::Playing,
        b"k" => PlayerState::Seeking,
        b"r" => PlayerState::Rebuffering,
        b"a" => PlayerState::Paused,
        b"e" => PlayerState::Ended,
        b"f" => PlayerState::Failed,
        b"q" => PlayerState::Quit,
        b"d" => PlayerState::Preloading,
        _ => PlayerState::Other,
    }
}

// The parts of a dictionary (RFC 9651 §4.2).
impl Payload<'_> {
    /// Passes by a value of any type.
    fn value(&mut self) -> Result<(), Malformed> {
        if !self.take(b'(') {
            self.item()?;
            return Ok(());
        }
        while self.is_in_list()? {
            self.item()?;
            self.parameters()?;
        }
        Ok(())
    }

    /// Passes by one that is no list; gives it if it is one word.
    fn item(&mut self) -> Result<Option<Word>, Malformed> {
        match self.next {
            Some(b'"') => self.string(|_| Ok(()))?,
            Some(b'%') => self.display_string()?,
            _ => return self.token().map(Some),
        }
        Ok(None)
    }

    /// Passes by parameters; gives the object type that is the first of them.
    fn parameters(&mut self) -> Result<Option<ObjectType>, Malformed> {
        let mut of = None;
        while self.take(b';') {
            self.room.part()?;
            self.spaces();
            let key = self.key()?;
            let set = !self.take(b'=') || self.item()?.is_some_and(|item| item.as_bytes() == b"?1");
            if set && key.is_object_type() {
                of = of.or(Some(object(key)));
            }
        }
        Ok(of)
    }

    /// Whether another item of an inner list follows; takes its end otherwise.
    fn is_in_list(&mut self) -> Result<bool, Malformed> {
        self.spaces();
        if self.take(b')') {
            return Ok(false);
        }
        self.room.part()?;
        Ok(true)
    }

    /// A number from zero on of at most fifteen digits, without its fraction.
    fn number(&mut self) -> Result<u64, Malformed> {
        let (mut number, mut digits) = (0, 0);
        while let Some(digit) = self.digit() {
            number = number * 10 + u64::from(digit);
            digits += 1;
            if digits > 15 {
                return Err(Malformed);
            }
        }
        if self.take(b'.') {
            self.digit().ok_or(Malformed)?;
            while self.digit().is_some() {}
        }
        match digits {
            0 => Err(Malformed),
            _ => Ok(number),
        }
    }

    fn digit(&mut self) -> Option<u8> {
        let digit = self.next?.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        self.advance();
        Some(digit)
    }

    /// Takes a string, and gives its bytes without quotes and escapes.
    fn string(
        &mut self,
        mut give: impl FnMut(u8) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.expect(b'"')?;
        while let Some(byte) = self.next {
            self.advance();
            match (byte, self.next) {
                (b'"', _) => return Ok(()),
                (b'\\', Some(escaped @ (b'"' | b'\\'))) => {
                    give(escaped)?;
                    self.advance();
                }
                (b'\\' | ..0x20 | 0x7f, _) => return Err(Malformed),
                (byte, _) => give(byte)?,
            }
        }
        Err(Malformed)
    }

    /// Passes by a string with escapes of its own, of which no quote is one.
    fn display_string(&mut self) -> Result<(), Malformed> {
        self.expect(b'%')?;
        self.expect(b'"')?;
        while !self.take(b'"') {
            match self.next {
                Some(0x20..=0x7e) => self.advance(),
                _ => return Err(Malformed),
            }
        }
        Ok(())
    }

    fn key(&mut self) -> Result<Word, Malformed> {
        match self.next {
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'*' => self.word(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'*')
            }),
            _ => Err(Malformed),
        }
    }

    /// A token, or any other value that is neither a string nor a list.
    fn token(&mut self) -> Result<Word, Malformed> {
        self.word(|byte| {
            byte.is_ascii_graphic() && !matches!(byte, b'"' | b'(' | b')' | b',' | b';')
        })
    }

    fn word(&mut self, is_of_word: impl Fn(u8) -> bool) -> Result<Word, Malformed> {
        let mut word = Word::EMPTY;
        while let Some(byte) = self.next
            && is_of_word(byte)
        {
            word.push(byte);
            self.advance();
        }
        match word.length {
            0 => Err(Malformed),
            _ => Ok(word),
        }
    }

    fn spaces(&mut self) {
        while let Some(b' ' | b'\t') = self.next {
            self.advance();
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        self.take(byte).then_some(()).ok_or(Malformed)
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.next == Some(byte);
        if is_next {
            self.advance();
        }
        is_next
    }

    // For each byte: a call costs more than this does.
    #[inline(always)]
    fn advance(&mut self) {
        if self.escaped {
            return self.advance_escaped();
        }
        (self.next, self.rest) = match *self.rest {
            [] => (None, self.rest),
            [byte, ref rest @ ..] => (Some(byte), rest),
        };
    }

    fn advance_escaped(&mut self) {
        (self.next, self.rest) = match *self.rest {
            [] => (None, self.rest),
            [b'%', ref rest @ ..] => match *rest {
                [high, low, ref rest @ ..] => (Some(unescaped(high, low)), rest),
                _ => (Some(0), [].as_slice()),
            },
            [b'+', ref rest @ ..] => (Some(b' '), rest),
            [byte, ref rest @ ..] => (Some(byte), rest),
        };
    }
}

/// The byte of an escape; NUL for one that is none.
fn unescaped(high: u8, low: u8) -> u8 {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = digit(high).zip(digit(low));
    byte.and_then(|(high, low)| u8::try_from(high << 4 | low).ok())
        .unwrap_or(0)
}

/// A key or a token. Of one longer than any that is read only that is known.
#[derive(Clone, Copy)]
struct Word {
    bytes: [u8; Self::KEPT],
    length: usize,
}

impl Word {
    const KEPT: usize = 5;

    const EMPTY: Self = Self {
        bytes: [0; Self::KEPT],
        length: 0,
    };

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
        }
        self.length += 1;
    }

    /// Empty for one that is too long.
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn is_object_type(&self) -> bool {
        self.as_bytes() == b"o" || object(*self) != ObjectType::Other
    }
}
