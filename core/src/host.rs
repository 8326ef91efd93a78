//! What `core` needs of the proxy it runs in: stats, data shared by the
//! workers, and one exchange's headers and properties.
//!
//! The filter implements it with proxy-wasm's host calls, tests with a fake.
//! Every call may fail; none may panic. A failure names the call only, so that
//! it can be counted under a bounded label.

use std::ops::Deref;

use crate::catalog::StatKind;
use crate::header_map::Pairs;

/// A call to the proxy failed; where nothing else is said, nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(pub HostCall);

/// Host calls by the name that `gatemeter_filter_errors_total` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostCall {
    /// `get_buffer_bytes`
    Buffer,
    /// `clock_time_get`
    Clock,
    /// `define_metric`
    DefineMetric,
    /// `get_header_map_pairs`
    HeaderMap,
    /// `increment_metric`
    IncrementMetric,
    /// `get_property`
    Property,
    /// `record_metric`
    RecordMetric,
    /// `remove_header_map_value`
    RemoveHeader,
    /// `get_shared_data`
    SharedData,
    /// `set_shared_data`
    SetSharedData,
    /// `set_tick_period_milliseconds`
    SetTickPeriod,
}

impl HostCall {
    /// Every call, in the order of the variants.
    pub const ALL: [Self; 11] = [
        Self::Buffer,
        Self::Clock,
        Self::DefineMetric,
        Self::HeaderMap,
        Self::IncrementMetric,
        Self::Property,
        Self::RecordMetric,
        Self::RemoveHeader,
        Self::SharedData,
        Self::SetSharedData,
        Self::SetTickPeriod,
    ];

    /// Value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buffer => "get_buffer_bytes",
            Self::Clock => "clock_time_get",
            Self::DefineMetric => "define_metric",
            Self::HeaderMap => "get_header_map_pairs",
            Self::IncrementMetric => "increment_metric",
            Self::Property => "get_property",
            Self::RecordMetric => "record_metric",
            Self::RemoveHeader => "remove_header_map_value",
            Self::SharedData => "get_shared_data",
            Self::SetSharedData => "set_shared_data",
            Self::SetTickPeriod => "set_tick_period_milliseconds",
        }
    }
}

/// A defined metric of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricId(pub u32);

/// One of the header maps of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// From the client.
    Request,
    /// To the client.
    Response,
    /// To the client, after the body; in the log callback only.
    ResponseTrailers,
}

/// Envoy attributes that are read, only where headers do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// `request.duration`: nanoseconds.
    RequestDuration,
    /// `request.size`: bytes of the body, or what `content-length` says of them.
    RequestSize,
    /// `request.total_size`: bytes of headers and body that have come.
    RequestTotalSize,
    /// `response.code_details`: why the proxy answered as it did.
    ResponseCodeDetails,
    /// `response.flags`: one bit a flag.
    ResponseFlags,
    /// `response.size`: bytes of the body that have gone out.
    ResponseSize,
    /// `upstream.address`: the host that answered.
    UpstreamAddress,
}

impl Property {
    /// Path of the attribute, its parts separated by NUL as the ABI wants it.
    pub const fn path(self) -> &'static str {
        match self {
            Self::RequestDuration => "request\0duration",
            Self::RequestSize => "request\0size",
            Self::RequestTotalSize => "request\0total_size",
            Self::ResponseCodeDetails => "response\0code_details",
            Self::ResponseFlags => "response\0flags",
            Self::ResponseSize => "response\0size",
            Self::UpstreamAddress => "upstream\0address",
        }
    }
}

/// Stats and shared data; reachable at any time after start.
pub trait Stats {
    /// What the proxy hands over, in memory of its kind.
    type Bytes: Deref<Target = [u8]>;

    /// A handle for the stat with this name; a new one each time.
    ///
    /// # Errors
    /// Where the proxy refuses.
    fn define_metric(&self, kind: StatKind, name: &str) -> Result<MetricId, Failed>;

    /// Adds to a counter (above zero only) or a gauge.
    ///
    /// # Errors
    /// Where the proxy refuses.
    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Failed>;

    /// Sets a gauge, or adds a sample to a histogram.
    ///
    /// # Errors
    /// Where the proxy refuses.
    fn record_metric(&self, id: MetricId, value: u64) -> Result<(), Failed>;

    /// A value that the workers share, and the token for changing it.
    ///
    /// # Errors
    /// Where the proxy refuses; that there is no value is no error.
    fn shared_data(&self, key: &str) -> Result<Option<(Self::Bytes, u32)>, Failed>;

    /// Sets a shared value if it is still the one the token was given for;
    /// `false` where another worker was quicker. Token 0 sets it in any case.
    ///
    /// # Errors
    /// Where the proxy refuses.
    fn set_shared_data(&self, key: &str, value: &[u8], token: u32) -> Result<bool, Failed>;
}

/// The exchange whose callback runs.
pub trait Stream: Stats {
    /// Headers as the proxy hands them over.
    type Map: Pairs;

    /// Monotonic nanoseconds.
    ///
    /// # Errors
    /// Where there is no clock.
    fn now(&self) -> Result<u64, Failed>;

    /// A header map; `None` where the exchange has none.
    ///
    /// # Errors
    /// Where the map cannot be read in this callback.
    fn headers(&self, which: Headers) -> Result<Option<Self::Map>, Failed>;

    /// Takes a header out of the response.
    ///
    /// # Errors
    /// Where the proxy refuses.
    fn remove_response_header(&self, name: &str) -> Result<(), Failed>;

    /// The bytes of an attribute; `None` where the exchange has no such one.
    ///
    /// # Errors
    /// Where the proxy refuses.
    fn property(&self, property: Property) -> Result<Option<Self::Bytes>, Failed>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_its_own_name_and_its_place_in_the_list() {
        for (index, call) in HostCall::ALL.iter().enumerate() {
            assert_eq!(*call as usize, index);
            let same = HostCall::ALL.iter().filter(|c| c.as_str() == call.as_str());
            assert_eq!(same.count(), 1);
        }
    }
}
