//! Common Media Client Data (CTA-5004; version 2: CTA-5004-B): what a player
//! says of itself with each request.
//!
//! ```text
//! CMCD-Object: br=3200,d=4004,ot=v,tb=6000
//! CMCD-Status: bs,rtp=15000
//! GET /seg7.m4s?CMCD=br%3D3200%2Cbs%2Cot%3Dv%2Csid%3D%226e2fb550%22
//! ```
//!
//! The payload is the same in the four headers and, percent-encoded, in the
//! query argument: `key` or `key=value`, between commas. These keys are read,
//! in whichever header they stand; all others are passed by:
//!
//! | Key   | Type                               | Says                               |
//! | ----- | ---------------------------------- | ---------------------------------- |
//! | `sid` | string of at most 64 characters    | which playback session             |
//! | `ot`  | token                              | what kind of object is asked for   |
//! | `br`  | kbit/s; in version 2 an inner list | how it is encoded                  |
//! | `su`  | boolean                            | wanted at once: the player starts, seeks or recovers |
//! | `bs`  | boolean                            | the buffer ran empty since the last request |
//! | `msd` | ms, version 2                      | from the wish to play to the first picture, said once in a session |
//! | `sta` | token, version 2                   | the player's state                 |
//!
//! Version 2 is a dictionary of structured fields (RFC 9651 §3.2) and is read
//! as one, version 1 nearly so: its keys may hold capital letters, and its
//! players write `su=false`. Whether `v=2` is there does not matter, since no
//! key that is read means something else in version 1. A decimal number loses
//! its fraction, and a delay of more than an hour is malformed. Events (`e`) are
//! posted to collectors as bodies and are not read here.
//!
//! Clients send this. It may say anything, and counts as what it is: what
//! players claim. A payload that is malformed anywhere says nothing. Of a
//! repeated key the last counts.

mod payload;

use super::{Malformed, Room};

/// Bytes of a session's name at most, as the standard limits it.
const LONGEST_SESSION: usize = 64;

/// The longest `msd` that is believed: an hour. Anybody can send one, and the sum
/// of the metric is to stay of use.
const LONGEST_DELAY_MS: u64 = 3_600_000;

/// Bytes of a path in which the argument is looked for.
const SEARCHED: usize = 4 * 1024;

/// Bytes of an argument that are given; no [`Room`] has place for as many.
const LONGEST_ARGUMENT: usize = 4 * 1024;

/// Name of the query argument with what follows it.
const ARGUMENT: &[u8] = b"CMCD=";

/// What a player says with one request. Several header lines add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cmcd {
    /// `sid`.
    pub session: Option<Session>,
    /// `ot`.
    pub object: Option<ObjectType>,
    /// `br`, in kbit/s. Of an inner list that of the video (`v`, `av`), or the
    /// first that is not said to be of something else.
    pub bitrate_kbps: Option<u32>,
    /// `su`.
    pub startup: bool,
    /// `bs`.
    pub starved: bool,
    /// `msd`, in milliseconds; at most an hour.
    pub start_delay_ms: Option<u64>,
    /// `sta`.
    pub state: Option<PlayerState>,
}

impl Cmcd {
    /// Adds what one line of a `CMCD-` header says.
    ///
    /// # Errors
    /// Where the payload is malformed or the room is too small for it. Then
    /// nothing is added.
    pub fn header(&mut self, line: &[u8], room: &mut Room) -> Result<(), Malformed> {
        payload::read(self, line, false, room)
    }

    /// Adds what a query argument says, as [`argument`] found it.
    ///
    /// # Errors
    /// As for [`header`](Self::header), and where an escape is none.
    pub fn argument(&mut self, value: &[u8], room: &mut Room) -> Result<(), Malformed> {
        payload::read(self, value, true, room)
    }

    /// Whether the bitrate is one of a picture: what is asked for is a segment
    /// with video, or may be.
    pub fn is_of_video(&self) -> bool {
        matches!(
            self.object,
            None | Some(ObjectType::Video | ObjectType::Muxed)
        )
    }
}

/// The value of the query argument `CMCD` of a `:path`, still encoded. Of
/// several the first, which must begin in the first 4 KiB of the path.
pub fn argument(path: &[u8]) -> Option<&[u8]> {
    let searched = path.get(..SEARCHED).unwrap_or(path);
    let mut at = searched.iter().position(|byte| *byte == b'?')? + 1;
    loop {
        let rest = path.get(at..)?;
        if let Some(value) = rest.strip_prefix(ARGUMENT) {
            let value = value.get(..LONGEST_ARGUMENT).unwrap_or(value);
            let end = value.iter().position(|byte| matches!(byte, b'&' | b'#'));
            return value.get(..end.unwrap_or(value.len()));
        }
        let next = searched.get(at..)?.iter();
        let mut next = next
            .enumerate()
            .filter(|(_, byte)| matches!(byte, b'&' | b'#'));
        match next.next()? {
            (length, b'&') => at += length + 1,
            _ => return None,
        }
    }
}

/// `sid`: the name that a player gives to a playback session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Session {
    bytes: [u8; LONGEST_SESSION],
    length: usize,
}

impl Session {
    const EMPTY: Self = Self {
        bytes: [0; LONGEST_SESSION],
        length: 0,
    };

    /// The name, without quotes and escapes. Never empty.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) -> Result<(), Malformed> {
        *self.bytes.get_mut(self.length).ok_or(Malformed)? = byte;
        self.length += 1;
        Ok(())
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.as_bytes().escape_ascii())
    }
}

/// `ot`: what kind of object is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectType {
    /// `m`: a manifest or playlist.
    Manifest,
    /// `a`.
    Audio,
    /// `v`.
    Video,
    /// `av`: audio and video in one.
    Muxed,
    /// `i`: an initialisation segment.
    Init,
    /// `c`: captions or subtitles.
    Caption,
    /// `tt`: a timed text track.
    TimedText,
    /// `k`: a key, licence or certificate.
    Key,
    /// `o`, and any type that is not known.
    Other,
}

/// `sta`: what the viewer sees the player do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlayerState {
    /// `s`.
    Starting,
    /// `p`.
    Playing,
    /// `k`.
    Seeking,
    /// `r`: stopped for want of data, neither at the start nor by a seek.
    Rebuffering,
    /// `a`.
    Paused,
    /// `e`: played to its end.
    Ended,
    /// `f`: ended by an error.
    Failed,
    /// `q`: ended by the viewer.
    Quit,
    /// `d`: loading ahead of a start.
    Preloading,
    /// Any state that is not known.
    Other,
}

#[cfg(test)]
mod tests;
