//! What a player says in the request headers of CMCD version 1 (CTA-5004 §3):
//! four dictionaries, each with the keys that belong to it.
//!
//! A session starts at the lower of two bit rates, goes up, runs dry once and
//! goes down again.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderName;

const REQUEST: HeaderName = HeaderName::from_static("cmcd-request");
const OBJECT: HeaderName = HeaderName::from_static("cmcd-object");
const STATUS: HeaderName = HeaderName::from_static("cmcd-status");
const SESSION: HeaderName = HeaderName::from_static("cmcd-session");

/// The encoded bit rates, in kbit/s.
const LOW: u32 = 800;
const HIGH: u32 = 2_400;

/// Tells the sessions of this process from those of another one.
static PROCESS: LazyLock<u128> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
});
/// Tells the sessions of this process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

type Headers = Vec<(HeaderName, String)>;

/// One viewing of one title.
pub(super) struct Session {
    id: String,
    title: u64,
}

/// How a segment is asked for.
struct Segment {
    bitrate: u32,
    /// The player has not begun to play (`su`).
    startup: bool,
    /// The buffer ran dry since the last request (`bs`).
    starved: bool,
}

impl Session {
    pub(super) fn begin(title: u64) -> Self {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            id: format!("{:x}-{n:x}", *PROCESS),
            title,
        }
    }

    /// The headers of the request for the manifest.
    pub(super) fn manifest(&self) -> Headers {
        vec![
            (REQUEST, "su".to_owned()),
            (OBJECT, "ot=m".to_owned()),
            (SESSION, self.session()),
        ]
    }

    /// The headers of the requests for the segments, in their order.
    pub(super) fn segments(&self) -> Vec<Headers> {
        let segment = |bitrate, startup, starved| Segment {
            bitrate,
            startup,
            starved,
        };
        [
            segment(LOW, true, false),
            segment(LOW, false, false),
            segment(HIGH, false, false),
            segment(HIGH, false, true),
            segment(LOW, false, false),
        ]
        .iter()
        .map(|segment| self.segment(segment))
        .collect()
    }

    fn segment(&self, segment: &Segment) -> Headers {
        let mut headers = vec![
            // Sound and picture in one, six seconds of it.
            (
                OBJECT,
                format!("br={},d=6000,ot=av,tb={HIGH}", segment.bitrate),
            ),
            (SESSION, self.session()),
        ];
        if segment.startup {
            headers.push((REQUEST, "su".to_owned()));
        }
        if segment.starved {
            headers.push((STATUS, "bs".to_owned()));
        }
        headers
    }

    /// HLS, of a recorded title.
    fn session(&self) -> String {
        format!("cid=\"title-{}\",sf=h,sid=\"{}\",st=v", self.title, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(headers: &Headers, name: &HeaderName) -> Option<String> {
        let found = headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.clone())
    }

    #[test]
    fn a_session_starts_switches_up_stalls_and_switches_down() {
        let session = Session::begin(7);
        let manifest = session.manifest();
        assert_eq!(said(&manifest, &REQUEST).as_deref(), Some("su"));
        let segments = session.segments();
        let starting = segments
            .iter()
            .map(|headers| said(headers, &REQUEST).is_some());
        assert_eq!(
            starting.collect::<Vec<_>>(),
            [true, false, false, false, false]
        );
        let starved = segments
            .iter()
            .map(|headers| said(headers, &STATUS).is_some());
        assert_eq!(
            starved.collect::<Vec<_>>(),
            [false, false, false, true, false]
        );
        let objects = segments
            .iter()
            .map(|headers| said(headers, &OBJECT).unwrap());
        let rates = objects.map(|object| object.split(',').next().unwrap().to_owned());
        assert_eq!(
            rates.collect::<Vec<_>>(),
            ["br=800", "br=800", "br=2400", "br=2400", "br=800"]
        );
        for headers in segments.iter().chain([&manifest]) {
            assert_eq!(said(headers, &SESSION).unwrap(), session.session());
        }
    }

    #[test]
    fn each_session_has_an_id_of_its_own_that_is_short_enough() {
        let (first, second) = (Session::begin(1), Session::begin(1));
        assert_ne!(first.id, second.id);
        assert!(first.id.len() <= 64, "{}", first.id);
    }
}
