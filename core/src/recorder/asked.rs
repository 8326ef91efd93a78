//! What a request says of itself beyond method and path: headers that rules
//! test, and what its player says (CMCD).
//!
//! Clients write both. Tests only pick among label values that the
//! configuration wrote; CMCD moves the metrics of players and nothing else, one
//! stall and one change a request. Where neither is configured no header is
//! looked at for it.

use super::watch::CMCD;
use super::{Playback, Recorder};
use crate::header_map::Lengths;
use crate::host::Stats;
use crate::signals::Room;
use crate::signals::cmcd::{self, Cmcd, ObjectType};
use crate::words::same;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// What has been read of one request.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The tests of headers that were passed.
    pub(crate) facts: u64,
    player: Option<Cmcd>,
    room: Room,
}

impl Recorder {
    /// Whether requests are looked at beyond method and path.
    #[inline]
    pub(crate) fn asks(&self) -> bool {
        self.asks
    }

    /// The lengths of names of headers of a request that may be of interest.
    #[inline]
    pub(crate) fn asked_lengths(&self) -> Lengths {
        self.requests.lengths()
    }

    /// Whether players are listened to, who need to be timed.
    #[inline]
    pub(crate) fn listens_to_players(&self) -> bool {
        self.players.listen()
    }

    /// One header of a request.
    pub(crate) fn ask(&mut self, name: &[u8], value: &[u8], asked: &mut Asked) {
        if let Some(watched) = self
            .requests
            .find(name)
            .and_then(|at| self.requests.get(at))
        {
            asked.facts |= watched.passed(value);
        }
        let is_players =
            name.starts_with(b"cmcd-") && CMCD.iter().any(|header| same(header.as_bytes(), name));
        if is_players && self.players.listen() {
            let player = asked.player.get_or_insert_default();
            if player.header(value, &mut asked.room).is_err() {
                self.malformed_cmcd();
            }
        }
    }

    /// All headers of the request have been looked at; `path` is its target,
    /// `began` when it came. Headers and argument are the same data, and a
    /// player that sends both says all of it twice: the headers are taken.
    pub(crate) fn asked_all(
        &mut self,
        host: &impl Stats,
        path: Option<&[u8]>,
        began: Option<u64>,
        asked: &mut Asked,
    ) {
        if !self.players.listen() {
            return;
        }
        if asked.player.is_none()
            && let Some(argument) = path.and_then(cmcd::argument)
        {
            let player = asked.player.get_or_insert_default();
            if player.argument(argument, &mut asked.room).is_err() {
                self.malformed_cmcd();
            }
        }
        if let (Some(player), Some(now)) = (asked.player, began) {
            match self.players.heard(host, playback(&player), now) {
                Ok(0) => {}
                Ok(_) => self.scalars.sessions_evicted.add(0),
                Err(error) => self.failed(error),
            }
        }
    }

    /// CMCD stands after the headers of responses in the list of signals.
    fn malformed_cmcd(&mut self) {
        self.scalars
            .signal_errors
            .add(self.responses.names().count());
    }
}

fn playback(player: &Cmcd) -> Playback {
    let media = [ObjectType::Audio, ObjectType::Video, ObjectType::Muxed];
    Playback {
        session: player
            .session
            .map(|session| super::heard::hash(session.as_bytes())),
        bitrate: player.bitrate_kbps.filter(|_| player.is_of_video()),
        is_media: player.object.is_none_or(|object| media.contains(&object)),
        startup: player.startup,
        starved: player.starved,
        start_delay: player
            .start_delay_ms
            .map(|millis| millis.saturating_mul(NANOS_PER_MILLI)),
    }
}
