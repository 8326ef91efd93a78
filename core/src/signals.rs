//! What a service says of itself in response headers.
//!
//! Only response headers are read: a client cannot make these numbers move.
//! A value that does not parse is counted under the signal's name and nothing
//! else is lost; no text of a header ever becomes a label.

mod cache_result;
pub mod cache_status;
pub mod cache_words;
pub mod cmcd;
pub mod dictionary;
mod room;
pub mod server_timing;

pub use cache_result::CacheResult;
pub use room::Room;

/// A response header that is read, by the name that
/// `gatemeter_signal_errors_total` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `Cache-Status` (RFC 9211).
    CacheStatus,
    /// `X-Db-Pool`, a dictionary of structured fields (RFC 9651).
    DbPool,
    /// `Server-Timing`; nothing is read from it, but it can be hidden.
    ServerTiming,
}

impl Signal {
    /// Every signal, in the order of the variants.
    pub const ALL: [Self; 3] = [Self::CacheStatus, Self::DbPool, Self::ServerTiming];

    /// Name of the header in lower case, as HTTP/2 and Envoy spell it.
    pub const fn header(self) -> &'static str {
        match self {
            Self::CacheStatus => "cache-status",
            Self::DbPool => "x-db-pool",
            Self::ServerTiming => "server-timing",
        }
    }

    /// The signal of a header name in lower case.
    pub fn of_header(name: &[u8]) -> Option<Self> {
        // The lengths differ, which spares most headers a comparison.
        match name.len() {
            12 if name == b"cache-status" => Some(Self::CacheStatus),
            9 if name == b"x-db-pool" => Some(Self::DbPool),
            13 if name == b"server-timing" => Some(Self::ServerTiming),
            _ => None,
        }
    }
}

/// A header value that is not what its standard says, or for which a response
/// has no [`Room`]. No text of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed header value")]
pub struct Malformed;

impl From<sfv::Error> for Malformed {
    fn from(_: sfv::Error) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_name_leads_to_its_signal_and_back() {
        for (index, signal) in Signal::ALL.iter().enumerate() {
            assert_eq!(*signal as usize, index);
            assert_eq!(Signal::of_header(signal.header().as_bytes()), Some(*signal));
        }
        assert_eq!(Signal::of_header(b"x-db-poo1"), None);
        assert_eq!(Signal::of_header(b""), None);
    }
}
