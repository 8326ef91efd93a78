//! Quantiles of a histogram by the rule of Prometheus's `histogram_quantile`,
//! computed here and nowhere else.
//!
//! Within a bucket observations are taken to lie evenly, the first bucket begins
//! at 0, and a quantile in the last bucket, which has no bound, is the highest
//! bound that there is. So a number here is the one that a query on the scraped
//! buckets gives for the same increase.

const NANOS: f64 = 1e9;

/// The percentiles that the page shows.
pub(super) const SHOWN: [f64; 3] = [0.5, 0.95, 0.99];

/// The shown percentiles in seconds; `None` where nothing was observed.
pub(super) fn shown(bounds: &[u64], bins: &[u64]) -> Option<[f64; 3]> {
    let mut quantiles = [0.0; 3];
    for (quantile, q) in quantiles.iter_mut().zip(SHOWN) {
        *quantile = of(q, bounds, bins)?;
    }
    Some(quantiles)
}

/// The `q` quantile, from 0 to 1, in seconds.
///
/// `bounds` are nanoseconds, strictly increasing; `bins` are how many
/// observations fell between two of them, one more than there are bounds.
/// `None` where nothing was observed or there is no bound.
pub(super) fn of(q: f64, bounds: &[u64], bins: &[u64]) -> Option<f64> {
    let total: u64 = bins.iter().fold(0, |sum, bin| sum.saturating_add(*bin));
    let last = bounds.last()?;
    if total == 0 {
        return None;
    }
    let rank = q * as_f64(total);
    let (mut below, mut start) = (0_u64, 0);
    for (&bound, &bin) in bounds.iter().zip(bins) {
        let upto = below.saturating_add(bin);
        if as_f64(upto) >= rank && bin > 0 {
            let share = (rank - as_f64(below)) / as_f64(bin);
            let start = as_f64(start) / NANOS;
            let end = as_f64(bound) / NANOS;
            return Some(start + (end - start) * share);
        }
        below = upto;
        start = bound;
    }
    Some(as_f64(*last) / NANOS)
}

/// Counts and nanoseconds are far below 2^53 or need no last digit.
#[allow(clippy::cast_precision_loss)]
pub(super) const fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: [u64; 3] = [100_000_000, 200_000_000, 400_000_000];

    /// Each expected value is what `histogram_quantile` gives for these buckets.
    #[test]
    fn agrees_with_histogram_quantile() {
        for (bins, q, expected) in [
            // rank 5 of 10, all in the first bucket: half of it
            ([10, 0, 0, 0], 0.5, Some(0.05)),
            // rank 9.5: the last twentieth of the first bucket
            ([10, 0, 0, 0], 0.95, Some(0.095)),
            // rank 5 is the end of the first bucket
            ([5, 5, 0, 0], 0.5, Some(0.1)),
            ([5, 5, 0, 0], 0.75, Some(0.15)),
            // an empty bucket between is stepped over
            ([5, 0, 5, 0], 0.75, Some(0.3)),
            ([0, 0, 4, 0], 0.25, Some(0.25)),
            // without a bound: the highest there is
            ([1, 0, 0, 9], 0.5, Some(0.4)),
            ([0, 0, 0, 9], 0.01, Some(0.4)),
            ([0, 0, 0, 0], 0.5, None),
            ([0, 1, 0, 0], 1.0, Some(0.2)),
        ] {
            let actual = of(q, &BOUNDS, &bins);
            let is_near = match (actual, expected) {
                (Some(actual), Some(expected)) => (actual - expected).abs() < 1e-12,
                (actual, expected) => actual == expected,
            };
            assert!(is_near, "{bins:?} {q}: {actual:?}, not {expected:?}");
        }
        assert_eq!(of(0.5, &[], &[3]), None);
    }

    proptest! {
        #[test]
        fn percentiles_rise_and_stay_within_the_bounds(bins in proptest::array::uniform4(0_u64..1_000_000)) {
            match shown(&BOUNDS, &bins) {
                None => prop_assert_eq!(bins.iter().sum::<u64>(), 0),
                Some([p50, p95, p99]) => {
                    prop_assert!(0.0 < p50 && p50 <= p95 && p95 <= p99 && p99 <= 0.4);
                }
            }
        }

        #[test]
        fn no_counts_make_it_panic(bins: [u64; 4], q in 0.0..=1.0) {
            let _ = of(q, &BOUNDS, &bins);
        }
    }
}
