//! Histogram bounds: decimal seconds outside, whole nanoseconds inside.
//!
//! A bound is inclusive, as Prometheus defines `le`: an observation equal to
//! it belongs to it. Comparisons are made in integers, so a duration exactly
//! on a bound never falls on the wrong side by rounding. A bound that cannot
//! be said in whole nanoseconds is refused.

use std::fmt::Write as _;

use thiserror::Error;

/// The bounds of the metrics guide, in nanoseconds.
pub const GUIDE_BOUNDS: [u64; 11] = [
    1_000_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
];

/// Most bounds that one histogram may have: each costs a stat for each label set.
pub const MAX_BOUNDS: usize = 40;

/// How the last bin, which has no bound, is spelled.
pub const INFINITY: &str = "+Inf";

const NANOS: u64 = 1_000_000_000;

/// Bounds of a histogram, strictly increasing, at least one, at most [`MAX_BOUNDS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    bounds: Vec<u64>,
    longest: Box<str>,
}

/// Why a list of bounds is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BucketsError {
    /// No bound at all.
    #[error("is empty; expected 1 to {MAX_BOUNDS} bounds in seconds")]
    Empty,
    /// A bound is not greater than the one before it.
    #[error("is not sorted: {0} follows {1}; expected strictly increasing bounds in seconds")]
    NotIncreasing(String, String),
    /// More than [`MAX_BOUNDS`].
    #[error("has {0} bounds; expected 1 to {MAX_BOUNDS}")]
    TooMany(usize),
    /// Zero is no bound: no request takes no time.
    #[error("holds 0; expected bounds above zero, in seconds")]
    Zero,
}

impl Buckets {
    /// Buckets with these bounds in nanoseconds.
    ///
    /// # Errors
    /// Where the list is empty, too long, not strictly increasing, or holds 0.
    pub fn try_new(bounds: Vec<u64>) -> Result<Self, BucketsError> {
        if bounds.is_empty() {
            return Err(BucketsError::Empty);
        }
        if bounds.len() > MAX_BOUNDS {
            return Err(BucketsError::TooMany(bounds.len()));
        }
        if bounds.contains(&0) {
            return Err(BucketsError::Zero);
        }
        let mut previous = 0;
        for &bound in &bounds {
            if bound <= previous {
                return Err(BucketsError::NotIncreasing(
                    spell_seconds(bound.into()),
                    spell_seconds(previous.into()),
                ));
            }
            previous = bound;
        }
        Ok(Self::of(bounds))
    }

    fn of(bounds: Vec<u64>) -> Self {
        let spelled = bounds.iter().map(|&bound| spell_seconds(bound.into()));
        let longest = spelled
            .chain([INFINITY.to_owned()])
            .max_by_key(String::len)
            .unwrap_or_default();
        Self {
            bounds,
            longest: longest.into(),
        }
    }

    /// The bound that takes most bytes to spell: whether a stat name fits is
    /// asked for each route of a configuration and each new label set.
    pub(crate) fn longest(&self) -> &str {
        &self.longest
    }

    /// Bounds in nanoseconds, strictly increasing.
    pub fn bounds(&self) -> &[u64] {
        &self.bounds
    }

    /// Number of bins: one a bound, and the last without a bound.
    #[inline]
    pub fn bins(&self) -> usize {
        self.bounds.len() + 1
    }

    /// The bin that a duration of so many nanoseconds falls into.
    #[inline]
    pub fn bin(&self, nanos: u64) -> usize {
        // From the front: most requests fall into one of the first.
        let bin = self.bounds.iter().position(|&bound| nanos <= bound);
        bin.unwrap_or(self.bounds.len())
    }

    /// The bound of a bin as `le` spells it: `0.005`, `1.0`, `+Inf`.
    pub fn spelled(&self, bin: usize) -> String {
        self.bounds
            .get(bin)
            .map_or_else(|| INFINITY.to_owned(), |&bound| spell_seconds(bound.into()))
    }
}

impl Default for Buckets {
    fn default() -> Self {
        Self::of(GUIDE_BOUNDS.to_vec())
    }
}

/// Nanoseconds as exact decimal seconds with at least one digit after the
/// point: `1.0`, `0.005`, `23.450000001`.
pub fn spell_seconds(nanos: u128) -> String {
    let mut text = String::new();
    push_seconds(&mut text, nanos);
    text
}

/// The same at the end of a text.
pub fn push_seconds(text: &mut String, nanos: u128) {
    // Dividing 128 bits takes many times as long, and few numbers have them.
    let (whole, mut fraction) = match u64::try_from(nanos) {
        Ok(nanos) => (u128::from(nanos / NANOS), nanos % NANOS),
        Err(_) => (
            nanos / u128::from(NANOS),
            u64::try_from(nanos % u128::from(NANOS)).unwrap_or_default(),
        ),
    };
    let mut digits = 9;
    while digits > 1 && fraction.is_multiple_of(10) {
        fraction /= 10;
        digits -= 1;
    }
    // Writing to a String cannot fail.
    let _ = write!(text, "{whole}.{fraction:0digits$}");
}

/// Exact nanoseconds of decimal seconds such as `0.005`, `1`, `1.0` or `5e-3`;
/// `None` where the text is no such number, finer than a nanosecond, negative
/// or above the range of `u64`.
pub fn parse_seconds(text: &str) -> Option<u64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if !whole
        .bytes()
        .chain(fraction.bytes())
        .all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let value: u128 = if digits.len() > 30 {
        return None;
    } else {
        digits.parse().ok()?
    };
    let shift = 9_i32
        .checked_add(exponent)?
        .checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let scale = 10_u128.checked_pow(shift.unsigned_abs())?;
    let nanos = if shift >= 0 {
        value.checked_mul(scale)?
    } else if value.is_multiple_of(scale) {
        value / scale
    } else {
        return None;
    };
    u64::try_from(nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_duration_on_a_bound_is_in_that_bin_and_one_nanosecond_more_in_the_next() {
        let buckets = Buckets::default();
        for (bin, &bound) in GUIDE_BOUNDS.iter().enumerate() {
            assert_eq!(buckets.bin(bound), bin);
            assert_eq!(buckets.bin(bound + 1), bin + 1);
        }
        assert_eq!(buckets.bin(0), 0);
        assert_eq!(buckets.bin(u64::MAX), 11);
    }

    #[test]
    fn spells_the_bounds_of_the_guide_as_the_guide_does() {
        let buckets = Buckets::default();
        let spelled: Vec<_> = (0..buckets.bins())
            .map(|bin| buckets.spelled(bin))
            .collect();
        assert_eq!(
            spelled,
            [
                "0.001", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5",
                "5.0", "+Inf"
            ]
        );
    }

    #[test]
    fn refuses_bounds_that_make_no_histogram() {
        assert_eq!(Buckets::try_new(vec![]), Err(BucketsError::Empty));
        assert_eq!(Buckets::try_new(vec![0, 1]), Err(BucketsError::Zero));
        assert_eq!(
            Buckets::try_new((1..=41).collect()),
            Err(BucketsError::TooMany(41))
        );
        assert_eq!(
            Buckets::try_new(vec![5_000_000, 1_000_000])
                .unwrap_err()
                .to_string(),
            "is not sorted: 0.001 follows 0.005; expected strictly increasing bounds in seconds"
        );
        assert!(Buckets::try_new(vec![1, 1]).is_err());
        assert!(Buckets::try_new((1..=40).collect()).is_ok());
    }

    #[test]
    fn parses_decimal_seconds_exactly() {
        for (text, nanos) in [
            ("0.001", 1_000_000),
            ("1", 1_000_000_000),
            ("2.5", 2_500_000_000),
            ("5e-3", 5_000_000),
            ("1.5E2", 150_000_000_000),
            (".5", 500_000_000),
            ("0.000000001", 1),
            ("0.0010000000000", 1_000_000),
            ("000000000000000000001.000000000", 1_000_000_000),
        ] {
            assert_eq!(parse_seconds(text), Some(nanos), "{text}");
        }
        for text in [
            "",
            ".",
            "-1",
            "+1",
            "1e",
            "0.0000000001",
            "1e40",
            "inf",
            "0x1",
            "1 ",
            "1e2147483647",
            "1.0e-2147483648",
            "0000000000000000000001.000000000",
        ] {
            assert_eq!(parse_seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_what_was_spelled_gives_the_same_nanoseconds(nanos: u64) {
            prop_assert_eq!(parse_seconds(&spell_seconds(nanos.into())), Some(nanos));
        }

        #[test]
        fn any_text_parses_or_is_refused(text in ".*") {
            let _ = parse_seconds(&text);
        }
    }
}
