//! Envoy's `/stats` text taken apart: `name: value` lines to numbers.
//!
//! Decides which lines are ours (the stats of the filter, and Envoy's own that
//! we ask for), and refuses line by line what cannot be right: a line that is
//! not `name: value`, a name of ours that the codec would not have written, a
//! value that is no `u64`, a gauge below zero (Envoy wraps it to 2^64-x), a
//! name that stands twice. What is refused is counted by a bounded reason and
//! never repeated in a log: a name may hold what somebody else's module wrote.
//! Stats of other modules and Envoy's approximate histograms are passed over.
//!
//! [`mod@line`] is the meaning of one line by itself; [`stats`] keeps
//! the numbers of a whole answer, and from read to read what the names mean.

pub(crate) mod line;
pub(crate) mod stats;

/// Path and query of the request for the stats that are read.
///
/// The filter is the RE2 expression
/// `^(wasmcustom\.|http\.[^.]+\.downstream_(rq_active|rq_tx_reset|cx_[rt]x_bytes_total)$|wasm\.(wasm_vm_count|.+\.(created|vm_reload_(success|failure|backoff)))$|server\.uptime$)`,
/// so that Envoy's main thread does not print what we do not read. `usedonly` is never
/// asked for: it hides metrics that are defined and still 0.
pub const STATS_PATH: &str = "/stats?filter=%5E%28wasmcustom%5C.%7Chttp%5C.%5B%5E.%5D%2B%5C.downstream_%28rq_active%7Crq_tx_reset%7Ccx_%5Brt%5Dx_bytes_total%29%24%7Cwasm%5C.%28wasm_vm_count%7C.%2B%5C.%28created%7Cvm_reload_%28success%7Cfailure%7Cbackoff%29%29%29%24%7Cserver%5C.uptime%24%29";

/// Why a line was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Not `name: value`, or longer than any that Envoy writes.
    BadLine,
    /// A stat of ours whose name the codec would not have written.
    BadName,
    /// Not a `u64` in decimal.
    BadValue,
    /// A bound that is no canonical number of seconds.
    BadBound,
    /// Two services give one metric different types or labels.
    Conflict,
    /// A label value with a control character.
    ControlCharacter,
    /// The name stood in the answer before.
    Duplicate,
    /// A gauge that Envoy wrapped below zero.
    NegativeGauge,
    /// Not UTF-8.
    NotUtf8,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::BadLine,
        Self::BadName,
        Self::BadValue,
        Self::BadBound,
        Self::Conflict,
        Self::ControlCharacter,
        Self::Duplicate,
        Self::NegativeGauge,
        Self::NotUtf8,
    ];

    /// The value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadLine => "bad_line",
            Self::BadName => "bad_name",
            Self::BadValue => "bad_value",
            Self::BadBound => "bad_bound",
            Self::Conflict => "conflict",
            Self::ControlCharacter => "control_character",
            Self::Duplicate => "duplicate",
            Self::NegativeGauge => "negative_gauge",
            Self::NotUtf8 => "not_utf8",
        }
    }
}

#[cfg(test)]
mod tests;
