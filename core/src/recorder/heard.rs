//! What a response says of itself, from its headers to the stats.
//!
//! One look at each header; what is of interest is read there and then. Two
//! things wait: a vendor's word on caching counts only where no `Cache-Status`
//! came, so it is looked for again at the end; and bytes are known only when
//! the exchange is over.
//!
//! A header that does not parse is counted under its name, once a response, and
//! the rest of the exchange is not touched by it.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Recorder;
use super::caches::{Outcome, Outcomes};
use super::watch::Read;
use crate::header_map::{Lengths, Pairs};
use crate::host::{Property, Stats, Stream};
use crate::signals::{
    CacheResult, Malformed, Room, cache_status, cache_words, dictionary, server_timing,
};

/// How players' values are called among the signals.
pub(super) const CMCD: &str = "cmcd";

/// Vendors' headers, the first of which counts.
const WORDS: [&str; 3] = ["x-cache", "x-cache-status", "cf-cache-status"];

/// What has been read of one response.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    room: Room,
    /// A bit for each header of interest that is there.
    present: u64,
    /// A bit for each that could not be read. What stands on further lines of
    /// it belongs to it (RFC 9110 §5.3), and is not read either.
    malformed: u64,
    /// Whether a vendor's word on caching came, and whether the standard one.
    words: bool,
    cache_status: bool,
    /// Which host answered, once that has been asked.
    host: Option<u64>,
    /// The tests of headers that were passed.
    pub(crate) facts: u64,
    /// Whether a `Server-Timing` is to come in the trailers.
    pub(crate) timing_in_trailers: bool,
    /// What caches did, so that the bytes can follow.
    pub(crate) outcomes: Outcomes,
}

impl Heard {
    /// Whether the header of this place may be there.
    #[inline]
    pub(crate) fn may_have(&self, at: usize) -> bool {
        self.present >> (at % 64) & 1 == 1
    }

    /// Beyond what was looked at there may be any header.
    #[inline]
    pub(crate) fn may_have_all(&mut self) {
        self.present = u64::MAX;
    }
}

impl Recorder {
    /// The lengths of names of headers of a response that may be of interest.
    #[inline]
    pub(crate) fn heard_lengths(&self) -> Lengths {
        self.responses.lengths()
    }

    /// Whether a header of a response needs to be looked at.
    #[inline]
    pub(crate) fn is_heard(&self, name: &[u8]) -> bool {
        self.responses.may_be(name)
    }

    /// Whether that is so of `content-type`, which is read in any case.
    #[inline]
    pub(crate) fn hears_content_type(&self) -> bool {
        self.responses.tests_content_type()
    }

    /// One header of a response; `now` is any moment of the exchange.
    pub(crate) fn hear(
        &mut self,
        host: &impl Stream,
        name: &[u8],
        value: &[u8],
        now: u64,
        heard: &mut Heard,
    ) {
        let Some(at) = self.responses.find(name) else {
            return;
        };
        let bit = 1 << (at % 64);
        heard.present |= bit;
        if heard.malformed & bit != 0 {
            return;
        }
        let Some(watched) = self.responses.get(at) else {
            return;
        };
        heard.facts |= watched.passed(value);
        let read = match watched.read {
            Read::Nothing => Ok(()),
            Read::CacheStatus => {
                heard.cache_status = true;
                self.cache_status(host, value, heard)
            }
            Read::CacheWords => {
                heard.words = true;
                Ok(())
            }
            Read::ServerTiming => self.timings(value, &mut heard.room),
            Read::Trailer => {
                heard.timing_in_trailers |= announces_timing(value);
                Ok(())
            }
            Read::Dictionary(place) => self.numbers(host, place, value, now, heard),
        };
        if read.is_err() {
            heard.malformed |= bit;
            self.scalars.signal_errors.add(at);
        }
    }

    /// All headers of the response have been heard.
    pub(crate) fn heard_all(&mut self, host: &impl Stats, map: &impl Pairs, heard: &mut Heard) {
        if !heard.words || heard.cache_status {
            return;
        }
        for name in WORDS {
            let mut found = false;
            for (_, value) in map.pairs().filter(|(other, _)| *other == name.as_bytes()) {
                found = true;
                if self.cache_words(host, name, value, heard).is_err() {
                    self.malformed(name);
                    break;
                }
            }
            if found {
                return;
            }
        }
    }

    /// Takes out what the client is not to see.
    pub(crate) fn strip(&mut self, host: &impl Stream, heard: &Heard) {
        if heard.present == 0 {
            return;
        }
        let mut failed = None;
        for (at, name) in self.responses.stripped() {
            if heard.may_have(at)
                && let Err(error) = host.remove_response_header(name)
            {
                failed = Some(error);
            }
        }
        if let Some(error) = failed {
            self.failed(error);
        }
    }

    /// The trailers of a response that announced them.
    pub(crate) fn hear_trailers(&mut self, map: &impl Pairs) {
        let mut room = Room::default();
        for (_, value) in map.pairs().filter(|(name, _)| *name == b"server-timing") {
            if self.timings(value, &mut room).is_err() {
                return self.malformed("server-timing");
            }
        }
    }

    /// The bytes of a body that went out, for what caches did.
    pub(crate) fn cache_bytes(&mut self, outcomes: &[Outcome], bytes: u64) {
        self.caches.bytes(outcomes, bytes);
    }

    fn cache_status(
        &mut self,
        host: &impl Stats,
        line: &[u8],
        heard: &mut Heard,
    ) -> Result<(), Malformed> {
        for member in cache_status::read(line, &mut heard.room)? {
            self.cache(host, &member.name, member.result, &mut heard.outcomes);
        }
        Ok(())
    }

    fn cache_words(
        &mut self,
        host: &impl Stats,
        name: &str,
        line: &[u8],
        heard: &mut Heard,
    ) -> Result<(), Malformed> {
        let Heard { room, outcomes, .. } = heard;
        cache_words::read(line, room, |result| {
            self.cache(host, name, result, outcomes);
        })
    }

    fn malformed(&mut self, name: &str) {
        if let Some(at) = self.responses.find(name.as_bytes()) {
            self.scalars.signal_errors.add(at);
        }
    }

    fn cache(
        &mut self,
        host: &impl Stats,
        name: &str,
        result: CacheResult,
        outcomes: &mut Outcomes,
    ) {
        if let Err(error) = self.caches.count(host, name, result, outcomes) {
            self.failed(error);
        }
    }

    fn timings(&mut self, line: &[u8], room: &mut Room) -> Result<(), Malformed> {
        let derived = &mut self.derived;
        server_timing::read(line, room, |entry, nanos| derived.time(entry, nanos))
    }

    fn numbers(
        &mut self,
        host: &impl Stream,
        place: usize,
        line: &[u8],
        now: u64,
        heard: &mut Heard,
    ) -> Result<(), Malformed> {
        let Some(dictionary) = self.gauges.dictionary(place) else {
            return Ok(());
        };
        let numbers = dictionary::read(line, &dictionary.keys, &mut heard.room)?;
        let id = match heard.host {
            Some(id) => id,
            None => self.upstream(host),
        };
        heard.host = Some(id);
        self.gauges.heard(place, id, now, numbers.iter());
        Ok(())
    }

    /// Which host answered; 0 where Envoy does not say.
    fn upstream(&mut self, host: &impl Stream) -> u64 {
        let address = host.property(Property::UpstreamAddress);
        let address = address.unwrap_or_else(|error| {
            self.failed(error);
            None
        });
        address.map_or(0, |address| hash(&address))
    }
}

fn announces_timing(trailer: &[u8]) -> bool {
    let mut names = trailer.split(|byte| *byte == b',');
    names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"server-timing"))
}

/// SipHash with a fixed key: all workers agree.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
