//! What players say of themselves, by CMCD: starts, changes of bitrate, stalls.
//!
//! One playback is many requests over many connections, and so over many
//! workers. What has to be remembered of its session is kept in shared data, in
//! a fixed number of buckets, so that all workers together see each playback
//! once and no client makes the memory grow. A session that nothing was heard
//! of for [`FORGOTTEN`] makes room first; where a bucket is full of livelier
//! ones, the quietest goes and is counted.
//!
//! A session is known by a hash of its id. Without an id only stalls count.

use super::derived::Histogram;
use super::scalars::Slot;
use crate::buckets::Buckets;
use crate::catalog::{self, SERVICE, StatKind};
use crate::host::{Failed, HostCall, Stats};
use crate::plugin_config::PluginConfig;
use crate::signal_rules::Family;
use crate::stat_name;

/// Buckets of the table of sessions; a session's is the low byte of its hash.
const BUCKETS: usize = 256;

/// Most sessions of a bucket: 16,384 playbacks at a time.
const PER_BUCKET: usize = 64;

/// Nanoseconds of silence after which a session is over.
const FORGOTTEN: u64 = 600_000_000_000;

/// Nanoseconds by which what is noted of a session may be behind, so that most
/// requests write nothing.
const LAG: u64 = 10_000_000_000;

/// The longest start that is believed, in nanoseconds: after that somebody
/// paused before the first picture.
const LONGEST_START: u64 = 300_000_000_000;

/// Races lost in a row after which it counts as a failed host call.
const TRIES: u32 = 64;

/// What a request says of its player.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Playback {
    /// Hash of the session's id.
    pub(crate) session: Option<u64>,
    /// kbit/s of the object, where it is one that has pictures.
    pub(crate) bitrate: Option<u32>,
    /// Whether the object is a piece of media, not a playlist or a key.
    pub(crate) is_media: bool,
    /// Whether it is needed at once: the player starts, seeks or has run empty.
    pub(crate) startup: bool,
    /// Whether the buffer has run empty since the request before.
    pub(crate) starved: bool,
    /// Nanoseconds that the start took, where the player says so itself.
    pub(crate) start_delay: Option<u64>,
}

/// What is remembered of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    id: u64,
    /// Monotonic nanoseconds.
    heard: u64,
    /// When it was first heard of; 0 once its start has been counted, or where
    /// it was not seen.
    began: u64,
    /// kbit/s; 0 before the first.
    bitrate: u64,
}

/// Words of 8 bytes that a session takes.
const WORDS: usize = 4;

#[derive(Clone, Debug)]
struct Counter {
    name: String,
    slot: Slot,
}

#[derive(Clone, Debug)]
pub(super) struct Players {
    keys: Vec<String>,
    start: Option<Histogram>,
    /// Up, down.
    changes: Option<[Counter; 2]>,
    stalls: Option<Counter>,
    dirty: bool,
}

/// What a request changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Change {
    start: Option<u64>,
    up: bool,
    down: bool,
    evicted: u64,
}

impl Players {
    pub(super) fn new(config: &PluginConfig) -> Self {
        let service = config.service.as_str();
        let rules = &config.signals.players;
        let counter = |metric: &str, label: Option<(&str, &str)>| Counter {
            name: stat_name::encode_labels(metric, [(SERVICE, service)].into_iter().chain(label))
                .unwrap_or_default(),
            slot: Slot::EMPTY,
        };
        let start = |buckets: &Buckets| {
            let family = catalog::metric("stream_init_duration_seconds").map(Family::listed)?;
            Some(Histogram::new(service, family, buckets.clone()))
        };
        let change = |direction| {
            counter(
                "stream_bitrate_changes_total",
                Some(("direction", direction)),
            )
        };
        let buckets = if rules.any() { BUCKETS } else { 0 };
        Self {
            keys: (0..buckets)
                .map(|bucket| format!("gatemeter.{service}.sessions.{bucket:02x}"))
                .collect(),
            start: rules.start.as_ref().and_then(start),
            changes: rules.bitrate.then(|| [change("up"), change("down")]),
            stalls: rules
                .buffer
                .then(|| counter("stream_buffer_events_total", None)),
            dirty: false,
        }
    }

    /// Whether players are listened to.
    #[inline]
    pub(super) fn listen(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(super) fn histogram(&self) -> Option<&Histogram> {
        self.start.as_ref()
    }

    /// One request of a player, at a moment in monotonic nanoseconds. Gives how
    /// many other sessions had to be forgotten for it.
    pub(super) fn heard(
        &mut self,
        host: &impl Stats,
        playback: Playback,
        now: u64,
    ) -> Result<u64, Failed> {
        if playback.starved
            && let Some(stalls) = &mut self.stalls
        {
            stalls.slot.add(1);
            self.dirty = true;
        }
        let Some(id) = playback.session else {
            return Ok(0);
        };
        let change = self.remember(host, id, playback, now)?;
        if let (Some(nanos), Some(start)) = (change.start, &mut self.start) {
            start.observe(nanos);
            self.dirty = true;
        }
        if let Some([up, down]) = &mut self.changes {
            up.slot.add(change.up.into());
            down.slot.add(change.down.into());
            self.dirty = true;
        }
        Ok(change.evicted)
    }

    fn remember(
        &self,
        host: &impl Stats,
        id: u64,
        playback: Playback,
        now: u64,
    ) -> Result<Change, Failed> {
        let bucket = usize::from(id.to_le_bytes()[0]);
        let key = self.keys.get(bucket).map_or("", String::as_str);
        for _ in 0..TRIES {
            let (bytes, token) = host.shared_data(key)?.ok_or(Failed(HostCall::SharedData))?;
            let mut sessions = decode(&bytes);
            let (change, is_news) = apply(&mut sessions, id, playback, now);
            if !is_news || host.set_shared_data(key, &encode(&sessions), token)? {
                return Ok(change);
            }
        }
        Err(Failed(HostCall::SetSharedData))
    }

    /// Creates what the workers share, where it is not there yet, and makes the
    /// metrics appear at 0.
    pub(super) fn define(&mut self, host: &impl Stats) -> Result<(), Failed> {
        for key in &self.keys {
            if host.shared_data(key)?.is_none() {
                host.set_shared_data(key, &[], 0)?;
            }
        }
        for Counter { name, slot } in self.counters() {
            slot.define(host, StatKind::Counter, || Some(name.clone()))?;
        }
        self.start
            .as_mut()
            .map_or(Ok(()), |start| start.define(host))
    }

    pub(super) fn push(&mut self, host: &impl Stats, failed: &mut impl FnMut(Failed)) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let mut refused = false;
        for Counter { name, slot } in self.counters() {
            if let Err(error) = slot.push(host, || Some(name.clone())) {
                refused = true;
                failed(error);
            }
        }
        if let Some(Err(error)) = self.start.as_mut().map(|start| start.push(host)) {
            refused = true;
            failed(error);
        }
        self.dirty = refused;
    }

    fn counters(&mut self) -> impl Iterator<Item = &mut Counter> {
        self.changes.iter_mut().flatten().chain(&mut self.stalls)
    }
}

/// What a request means to its session, and whether that has to be written
/// down.
fn apply(sessions: &mut Vec<Session>, id: u64, playback: Playback, now: u64) -> (Change, bool) {
    let mut change = Change::default();
    let known = sessions.iter().position(|session| session.id == id);
    let mut is_news = known.is_none();
    let at = known.unwrap_or_else(|| {
        change.evicted = make_room(sessions, now);
        sessions.push(Session {
            id,
            heard: now,
            // One that is first heard of in the middle of its media began
            // before we did.
            began: if playback.startup || !playback.is_media {
                now.max(1)
            } else {
                0
            },
            bitrate: 0,
        });
        sessions.len() - 1
    });
    let Some(session) = sessions.get_mut(at) else {
        return (change, false);
    };
    if now.saturating_sub(session.heard) > LAG {
        is_news = true;
    }
    session.heard = session.heard.max(now);
    if session.began != 0 {
        let elapsed = now.saturating_sub(session.began);
        let over = playback
            .start_delay
            .or_else(|| (playback.is_media && !playback.startup).then_some(elapsed));
        if let Some(nanos) = over {
            session.began = 0;
            is_news = true;
            change.start = Some(nanos).filter(|nanos| *nanos <= LONGEST_START);
        }
    }
    if let Some(bitrate) = playback.bitrate.map(u64::from)
        && bitrate != 0
        && bitrate != session.bitrate
    {
        change.up = session.bitrate != 0 && bitrate > session.bitrate;
        change.down = bitrate < session.bitrate;
        session.bitrate = bitrate;
        is_news = true;
    }
    (change, is_news)
}

/// Lets go of sessions that are over, and of the quietest where that is not
/// enough; gives how many were not over.
fn make_room(sessions: &mut Vec<Session>, now: u64) -> u64 {
    if sessions.len() < PER_BUCKET {
        return 0;
    }
    sessions.retain(|session| now.saturating_sub(session.heard) < FORGOTTEN);
    if sessions.len() < PER_BUCKET {
        return 0;
    }
    let quietest = (0..sessions.len()).min_by_key(|at| sessions.get(*at).map(|s| s.heard));
    if let Some(at) = quietest {
        sessions.swap_remove(at);
    }
    1
}

fn encode(sessions: &[Session]) -> Vec<u8> {
    sessions
        .iter()
        .flat_map(|session| [session.id, session.heard, session.began, session.bitrate])
        .flat_map(u64::to_le_bytes)
        .collect()
}

fn decode(bytes: &[u8]) -> Vec<Session> {
    let (words, _) = bytes.as_chunks::<8>();
    let (sessions, _) = words.as_chunks::<WORDS>();
    sessions
        .iter()
        .map(|words| {
            let [id, heard, began, bitrate] = words.map(u64::from_le_bytes);
            Session {
                id,
                heard,
                began,
                bitrate,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
