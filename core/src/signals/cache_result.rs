//! What one cache did for one response: the six results that the standard
//! header and the vendors' words are reduced to.

/// What one cache did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheResult {
    /// It gave a response that was fresh.
    Hit,
    /// It went forward for the response.
    Miss,
    /// It gave a response that was stale.
    Stale,
    /// Its response was stale; whoever it asked said that it still holds, and
    /// it gave that one.
    Revalidated,
    /// It was not asked, or may not keep such a response.
    Bypass,
    /// It does not say, or says it in a word that is not known.
    Other,
}

impl CacheResult {
    /// Every result, in the order of the variants.
    pub const ALL: [Self; 6] = [
        Self::Hit,
        Self::Miss,
        Self::Stale,
        Self::Revalidated,
        Self::Bypass,
        Self::Other,
    ];

    /// What it is called as a label value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Bypass => "bypass",
            Self::Other => "other",
        }
    }

    /// Whether the content came from the cache.
    pub const fn is_hit(self) -> bool {
        matches!(self, Self::Hit | Self::Stale | Self::Revalidated)
    }

    /// Whether the cache was asked and had no content to give.
    pub const fn is_miss(self) -> bool {
        matches!(self, Self::Miss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_is_listed_in_order_under_a_name_of_its_own() {
        for (index, result) in CacheResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, index);
        }
        let labels = CacheResult::ALL.map(CacheResult::label);
        assert_eq!(
            labels,
            ["hit", "miss", "stale", "revalidated", "bypass", "other"]
        );
    }

    #[test]
    fn a_ratio_of_hits_is_taken_over_those_who_were_asked() {
        let hits = CacheResult::ALL.map(CacheResult::is_hit);
        assert_eq!(hits, [true, false, true, true, false, false]);
        let misses = CacheResult::ALL.map(CacheResult::is_miss);
        assert_eq!(misses, [false, true, false, false, false, false]);
    }
}
