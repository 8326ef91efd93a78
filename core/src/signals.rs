//! What services say of themselves in response headers, and players of
//! themselves in requests: bytes in, typed values out.
//!
//! What a client says under the name of a response header moves nothing; CMCD
//! is what players claim, and moves the metrics of players only. The work on
//! one response or request is bounded by its [`Room`]. A value that does not
//! parse is counted under the signal's name and nothing else is lost. Of a
//! text only the name of a cache may become a label, where the configuration
//! leaves that open.

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
