//! One exchange as Envoy shows it to the hook that runs: the port of `core`.

use std::sync::OnceLock;
use std::time::Instant;

use gatemeter_core::catalog::StatKind;
use gatemeter_core::host::{self, Failed, Headers, HostCall, MetricId, Property};

use crate::abi::{self, Map, Refused};
use crate::stats::Stats;

/// What a hook may ask of Envoy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host<'s> {
    pub(crate) stats: &'s Stats,
    /// `None` where the hook is of no exchange.
    pub(crate) stream: Option<&'s abi::Stream>,
    /// `None` for the clock.
    pub(crate) at: Option<u64>,
}

impl host::Stats for Host<'_> {
    type Bytes = Vec<u8>;

    fn define_metric(&self, kind: StatKind, name: &str) -> Result<MetricId, Failed> {
        self.stats.define(kind, name)
    }

    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Failed> {
        self.stats.add(id, by);
        Ok(())
    }

    fn record_metric(&self, id: MetricId, value: u64) -> Result<(), Failed> {
        self.stats.record(id, value);
        Ok(())
    }

    fn shared_data(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, Failed> {
        Ok(self.stats.common.data(key))
    }

    fn set_shared_data(&self, key: &str, value: &[u8], token: u32) -> Result<bool, Failed> {
        Ok(self.stats.common.set_data(key, value, token))
    }
}

impl<'s> host::Stream for Host<'s> {
    type Map = abi::Headers<'s>;

    fn now(&self) -> Result<u64, Failed> {
        Ok(self.at.unwrap_or_else(now))
    }

    fn headers(&self, which: Headers) -> Result<Option<abi::Headers<'s>>, Failed> {
        let map = match which {
            Headers::Request => Map::Request,
            Headers::Response => Map::Response,
            Headers::ResponseTrailers => Map::ResponseTrailers,
        };
        Ok(self.stream.map(|stream| stream.headers(map)))
    }

    fn remove_response_header(&self, name: &str) -> Result<(), Failed> {
        let removed = self
            .stream
            .map_or(Err(Refused), |stream| stream.remove(Map::Response, name));
        removed.map_err(|Refused| Failed(HostCall::RemoveHeader))
    }

    fn property(&self, property: Property) -> Result<Option<Vec<u8>>, Failed> {
        Ok(self.stream.and_then(|stream| stream.property(property)))
    }
}

/// Monotonic nanoseconds since the first call, the same on all threads.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let passed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
}
