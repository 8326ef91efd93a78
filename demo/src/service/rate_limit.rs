//! How often something may be done: a token bucket, in one instant of state.
//!
//! The bucket holds `burst` tokens and gets one more each `interval`. Kept is the
//! moment at which it will be full again (the virtual scheduling of ITU-T I.371),
//! so nothing has to be refilled in the background and no time adds up to more
//! than the burst.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ApiError;

/// A bucket for the whole service.
pub(crate) struct RateLimit {
    burst: u32,
    interval: Duration,
    full_at: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// Twenty logins at once, five a second in the long run. It is one bucket for
    /// all clients, so what it holds does not grow with them.
    pub(crate) const fn of_logins() -> Self {
        Self {
            burst: 20,
            interval: Duration::from_millis(200),
            full_at: Mutex::new(None),
        }
    }

    /// Takes a token.
    ///
    /// # Errors
    ///
    /// [`ApiError::RateLimited`] where there is none, with the time until there is.
    pub(crate) fn take(&self, now: Instant) -> Result<(), ApiError> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let until_full = full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let after = until_full + self.interval;
        let missing = after.saturating_sub(self.interval * self.burst);
        if missing > Duration::ZERO {
            // Retry-After has whole seconds (RFC 9110 §10.2.3); the client must not come early.
            let seconds = missing.as_secs() + u64::from(missing.subsec_nanos() > 0);
            return Err(ApiError::RateLimited { seconds });
        }
        *full_at = Some(now + after);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> RateLimit {
        RateLimit {
            burst: 3,
            interval: Duration::from_millis(800),
            full_at: Mutex::new(None),
        }
    }

    /// How many of ten are let through.
    fn through(limit: &RateLimit, now: Instant) -> usize {
        (0..10).filter(|_| limit.take(now).is_ok()).count()
    }

    #[test]
    fn lets_a_burst_through_and_then_one_an_interval() {
        let (limit, start) = (bucket(), Instant::now());
        assert_eq!(through(&limit, start), 3);
        assert_eq!(through(&limit, start + Duration::from_millis(799)), 0);
        assert_eq!(through(&limit, start + Duration::from_millis(800)), 1);
        assert_eq!(through(&limit, start + Duration::from_millis(2_400)), 2);
    }

    #[test]
    fn a_long_silence_gives_no_more_than_a_burst() {
        let (limit, start) = (bucket(), Instant::now());
        assert_eq!(through(&limit, start), 3);
        assert_eq!(through(&limit, start + Duration::from_secs(3_600)), 3);
    }

    #[test]
    fn says_in_whole_seconds_when_to_come_back() {
        let (limit, start) = (bucket(), Instant::now());
        through(&limit, start);
        let wait = |after| match limit.take(start + Duration::from_millis(after)) {
            Err(ApiError::RateLimited { seconds }) => seconds,
            other => panic!("{other:?}"),
        };
        assert_eq!((wait(0), wait(799)), (1, 1));
    }
}
