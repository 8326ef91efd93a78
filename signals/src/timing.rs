//! An entry of `Server-Timing` (W3C Server Timing §3.1): a token and `dur`, in
//! milliseconds, here to the microsecond.
//!
//! Names are `'static`: each becomes a metric's rule in the proxy, so they are a
//! closed set. An entry says no `desc`, which the proxy does not read.

use std::time::{Duration, Instant};

use crate::Signals;
use crate::room::Part;

/// The longest name, in bytes.
const MAX_NAME: usize = 64;

/// The longest duration that is shown as it is, a day; what takes longer is
/// shown as that.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Times until it is dropped, made by [`Signals::time`]. A timer that still runs
/// when the headers are written is not told.
#[derive(Debug)]
#[must_use = "the time ends when the guard is dropped"]
pub struct Timer {
    signals: Signals,
    name: &'static str,
    start: Instant,
}

impl Timer {
    pub(crate) fn start(signals: Signals, name: &'static str) -> Self {
        Self {
            signals,
            name,
            start: Instant::now(),
        }
    }

    /// Ends the time here.
    pub fn stop(self) {}
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.signals.took(self.name, self.start.elapsed());
    }
}

/// The entry; `None` where the name is no token (RFC 9110 §5.6.2) or too long.
pub(crate) fn entry(name: &str, duration: Duration) -> Option<Part> {
    let valid = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_token_byte);
    valid.then(|| {
        let microseconds = duration.min(MAX_DURATION).as_micros();
        let (whole, rest) = (microseconds / 1000, microseconds % 1000);
        Part {
            text: format!("{name};dur={whole}.{rest:03}"),
            parts: 2,
        }
    })
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
