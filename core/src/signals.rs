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

/// Response headers that are read under any configuration, or can be with a
/// rule, in lower case. What a client says under these names is not believed.
pub const RESPONSE_HEADERS: [&str; 6] = [
    "cache-status",
    "cf-cache-status",
    "server-timing",
    "x-cache",
    "x-cache-status",
    "x-db-pool",
];

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
