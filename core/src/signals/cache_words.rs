//! `X-Cache`, `X-Cache-Status`, `CF-Cache-Status`: what caches say that do not
//! send `Cache-Status`, each in the words of its vendor.
//!
//! ```text
//! X-Cache: MISS, HIT
//! X-Cache: TCP_MEM_HIT from a69-174-50-208 (AkamaiGHost/5.7.2-5726413) (-)
//! X-Cache: RefreshHit from cloudfront
//! CF-Cache-Status: DYNAMIC
//! ```
//!
//! No standard describes these headers, so nothing in them is malformed. The
//! members of a comma-separated list count one by one: Fastly and Akamai write
//! one for each tier. Of a member the first word counts, in upper or lower
//! case; what follows names a machine or says more of the same. One table
//! serves all vendors, because none of them means by a word what is a different
//! result with another. A word that is not in it is
//! [`CacheResult::Other`].

use super::CacheResult::{self, Bypass, Hit, Miss, Other, Revalidated, Stale};
use super::{Malformed, Room};

/// The words, without the `TCP_` that Squid, Akamai and Azure put before most
/// of theirs. Those that most responses carry stand first.
const WORDS: [(&str, CacheResult); 51] = [
    // Said by all.
    ("HIT", Hit),
    ("MISS", Miss),
    // nginx `$upstream_cache_status`, Cloudflare. An expired response was
    // fetched again; while it is being updated, the old one is given.
    ("BYPASS", Bypass),
    ("EXPIRED", Miss),
    ("REVALIDATED", Revalidated),
    ("STALE", Stale),
    ("UPDATING", Stale),
    // Cloudflare: nothing that it would cache; `NONE/UNKNOWN`, answered before
    // its cache was asked.
    ("DYNAMIC", Bypass),
    ("NONE", Bypass),
    ("UNKNOWN", Bypass),
    // CloudFront, Akamai.
    ("RefreshHit", Revalidated),
    ("HitStale", Stale),
    ("OriginShieldHit", Hit),
    ("NotCacheable", Bypass),
    ("Constructed", Bypass),
    ("Redirect", Bypass),
    ("LambdaGeneratedResponse", Bypass),
    ("FunctionGeneratedResponse", Bypass),
    // Either may have come from the cache or not.
    ("Error", Other),
    // Squid, Akamai with `Pragma: akamai-x-cache-on`, Azure, Edgio.
    ("MEM_HIT", Hit),
    ("IMS_HIT", Hit),
    ("INM_HIT", Hit),
    ("NEGATIVE_HIT", Hit),
    ("OFFLINE_HIT", Hit),
    ("PARTIAL_HIT", Hit),
    ("REMOTE_HIT", Hit),
    // Stale, and the origin answered 304.
    ("REFRESH_HIT", Revalidated),
    ("REFRESH_UNMODIFIED", Revalidated),
    ("EXPIRED_HIT", Revalidated),
    // Stale, and the origin did not answer.
    ("REFRESH_FAIL_HIT", Stale),
    ("REFRESH_FAIL_OLD", Stale),
    ("REF_FAIL_HIT", Stale),
    // Stale, and the origin had a newer one; or the client wanted that.
    ("REFRESH_MISS", Miss),
    ("REFRESH_MODIFIED", Miss),
    ("EXPIRED_MISS", Miss),
    ("CLIENT_REFRESH_MISS", Miss),
    // On the disk, but could not be read from it.
    ("SWAPFAIL_MISS", Miss),
    ("CONFIG_NOCACHE", Bypass),
    ("PRIVATE_NOSTORE", Bypass),
    ("UNCACHEABLE", Bypass),
    ("TUNNEL", Bypass),
    ("DENIED", Bypass),
    ("COOKIE_DENY", Bypass),
    // `N/A` of Azure: refused before the cache was asked.
    ("N", Bypass),
    // Varnish, by its usual VCL. A decision not to cache is remembered as a
    // hit-for-miss or a hit-for-pass; neither has content.
    ("PASS", Bypass),
    ("PIPE", Bypass),
    ("SYNTH", Bypass),
    ("HITPASS", Bypass),
    ("HITMISS", Miss),
    ("CACHED", Hit),
    // Google Cloud CDN, `{cdn_cache_status}`.
    ("DISABLED", Bypass),
];

/// Calls `found` for each member of one header line, in its order.
///
/// # Errors
/// Where the room is too small for the line; what was found before has been
/// given.
pub fn read(
    line: &[u8],
    room: &mut Room,
    mut found: impl FnMut(CacheResult),
) -> Result<(), Malformed> {
    room.line(line)?;
    for member in line.split(|byte| *byte == b',') {
        let member = member.trim_ascii_start();
        if !member.is_empty() {
            room.part()?;
            found(result(member));
        }
    }
    Ok(())
}

/// What the first word of a member says.
fn result(member: &[u8]) -> CacheResult {
    let end = |byte: &u8| matches!(byte, b' ' | b'\t' | b'/' | b';' | b'(');
    let word = member.split(end).next().unwrap_or_default();
    let word = match word.split_at_checked(4) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(b"TCP_") => rest,
        _ => word,
    };
    let known = WORDS
        .iter()
        .find(|(known, _)| word.eq_ignore_ascii_case(known.as_bytes()));
    known.map_or(Other, |(_, result)| *result)
}

#[cfg(test)]
mod tests;
