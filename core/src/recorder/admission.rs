//! The cap on label sets, over all workers of one service.
//!
//! Each worker runs its own copy of the module, but the stats they write are
//! the same ones and never expire, so the cap must hold over all of them. The
//! workers share two things under keys that carry the service: how many sets
//! are in use, and, in 256 buckets, the hashes of those sets. Both change by
//! compare-and-swap. A worker asks only for a set that is new to it.
//!
//! The count is taken before the set is written, and given back where another
//! worker wrote the same set meanwhile: the count never exceeds the cap. Where
//! two workers race for the last place, one request may count as overflow that
//! would have had a place; a total is never wrong.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::host::{Failed, HostCall, Stats};

/// Label sets kept apart for what overflows, so that method and status of the
/// overflow stay visible. The last of them takes what finds no other; it is
/// never asked for.
pub const RESERVE: u32 = 500;

/// Races lost in a row after which it counts as a failed host call.
const TRIES: u32 = 64;

/// Which part of the cap a label set takes its place in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Ordinary,
    Reserve,
}

/// A set or a path as the workers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    /// Of a label set.
    pub(super) fn of_set(method: u8, path: &str, status: u16) -> Self {
        Self::of((b's', method, path, status))
    }

    /// Of a path that has been answered below 400.
    pub(super) fn of_path(path: &str) -> Self {
        Self::of((b'p', path))
    }

    /// SipHash with a fixed key: all workers agree, and a client cannot easily
    /// find two paths with the same 64 bits.
    fn of(what: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Self(hasher.finish())
    }

    const fn bucket(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    fn is_in(self, bucket: &[u8]) -> bool {
        let (hashes, _) = bucket.as_chunks::<8>();
        hashes.contains(&self.0.to_be_bytes())
    }
}

/// Decides which label sets may exist.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    count_key: String,
    bucket_keys: Vec<String>,
    max_series: u32,
}

impl Admission {
    pub(super) fn new(service: &str, max_series: u32) -> Self {
        Self {
            count_key: format!("gatemeter.{service}.series"),
            bucket_keys: (0..=u8::MAX)
                .map(|bucket| format!("gatemeter.{service}.series.{bucket:02x}"))
                .collect(),
            max_series,
        }
    }

    /// Creates what the workers share, where it is not there yet. Envoy
    /// configures a canary on its main thread before any worker, so no worker
    /// races for this.
    pub(super) fn prepare(&self, host: &impl Stats) -> Result<(), Failed> {
        if host.shared_data(&self.count_key)?.is_none() {
            host.set_shared_data(&self.count_key, &Counts::default().bytes(), 0)?;
        }
        for key in &self.bucket_keys {
            if host.shared_data(key)?.is_none() {
                host.set_shared_data(key, &[], 0)?;
            }
        }
        Ok(())
    }

    /// Label sets in use over all workers, without the reserve.
    pub(super) fn in_use(&self, host: &impl Stats) -> Result<u32, Failed> {
        let counts = host.shared_data(&self.count_key)?;
        Ok(counts.map_or(0, |(bytes, _)| Counts::from_bytes(&bytes).ordinary))
    }

    /// Whether a label set has a place, which it then keeps.
    pub(super) fn admit(
        &self,
        host: &impl Stats,
        set: Fingerprint,
        place: Place,
    ) -> Result<bool, Failed> {
        if self.knows(host, set)? {
            return Ok(true);
        }
        if !self.change(host, place, true)? {
            return Ok(false);
        }
        let noted = self.note(host, set);
        // Another worker was quicker with the same set, or it could not be
        // written: this place is not needed.
        if noted != Ok(true) {
            self.change(host, place, false)?;
        }
        noted.map(|_| true)
    }

    /// Whether any worker has noted this.
    pub(super) fn knows(&self, host: &impl Stats, what: Fingerprint) -> Result<bool, Failed> {
        Ok(what.is_in(&self.bucket(host, what)?.0))
    }

    /// Lets all workers know of this; `false` where they do already.
    pub(super) fn note(&self, host: &impl Stats, what: Fingerprint) -> Result<bool, Failed> {
        for _ in 0..TRIES {
            let (bucket, token) = self.bucket(host, what)?;
            if what.is_in(&bucket) {
                return Ok(false);
            }
            let more = [&*bucket, &what.0.to_be_bytes()].concat();
            if host.set_shared_data(self.bucket_key(what), &more, token)? {
                return Ok(true);
            }
        }
        Err(Failed(HostCall::SetSharedData))
    }

    fn bucket_key(&self, what: Fingerprint) -> &str {
        self.bucket_keys
            .get(usize::from(what.bucket()))
            .map_or("", String::as_str)
    }

    fn bucket<H: Stats>(&self, host: &H, what: Fingerprint) -> Result<(H::Bytes, u32), Failed> {
        host.shared_data(self.bucket_key(what))?
            .ok_or(Failed(HostCall::SharedData))
    }

    /// Takes a place (`false` where there is none left) or gives one back.
    fn change(&self, host: &impl Stats, place: Place, take: bool) -> Result<bool, Failed> {
        for _ in 0..TRIES {
            let (bytes, token) = host
                .shared_data(&self.count_key)?
                .ok_or(Failed(HostCall::SharedData))?;
            let mut counts = Counts::from_bytes(&bytes);
            let (count, most) = match place {
                Place::Ordinary => (&mut counts.ordinary, self.max_series),
                Place::Reserve => (&mut counts.reserve, RESERVE - 1),
            };
            if take && *count >= most {
                return Ok(false);
            }
            *count = if take {
                count.saturating_add(1)
            } else {
                count.saturating_sub(1)
            };
            if host.set_shared_data(&self.count_key, &counts.bytes(), token)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    ordinary: u32,
    reserve: u32,
}

impl Counts {
    fn from_bytes(bytes: &[u8]) -> Self {
        let (numbers, _) = bytes.as_chunks::<4>();
        let number = |at: usize| {
            numbers
                .get(at)
                .map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        Self {
            ordinary: number(0),
            reserve: number(1),
        }
    }

    fn bytes(self) -> Vec<u8> {
        [self.ordinary.to_le_bytes(), self.reserve.to_le_bytes()].concat()
    }
}
