//! The host calls of the filter's logic where no module is: on the stat store
//! and the shared data of a process as modules have them, and on the exchange
//! whose callback runs.
//!
//! Maps are readable at any time: which callback may read which is for the
//! module to prove.

use std::cell::RefCell;
use std::rc::Rc;

use gatemeter_core::catalog::StatKind;
use gatemeter_core::host::{Failed, Headers, HostCall, MetricId, Property, Stats, Stream};
use gatemeter_host_tests::Status;
use gatemeter_host_tests::abi::{MapType, MetricType, pairs};
use gatemeter_host_tests::host::exchange::Exchange;
use gatemeter_host_tests::host::process::Process;
use gatemeter_host_tests::stats::MetricIds;

const VM_ID: &[u8] = b"native";

/// The host calls of one thread, and the exchange whose callback runs.
pub(super) struct Host {
    pub(super) process: Rc<RefCell<Process>>,
    pub(super) ids: Rc<RefCell<MetricIds>>,
    pub(super) exchange: RefCell<Exchange>,
}

impl Stats for Host {
    type Bytes = Vec<u8>;

    fn define_metric(&self, kind: StatKind, name: &str) -> Result<MetricId, Failed> {
        let kind = match kind {
            StatKind::Counter => MetricType::Counter,
            StatKind::Gauge => MetricType::Gauge,
            StatKind::Histogram => MetricType::Histogram,
        };
        let stats = &mut self.process.borrow_mut().stats;
        let id = stats.define(&mut self.ids.borrow_mut(), kind, name);
        Ok(MetricId(id))
    }

    fn increment_metric(&self, MetricId(id): MetricId, by: i64) -> Result<(), Failed> {
        let stats = &mut self.process.borrow_mut().stats;
        let incremented = stats.increment(&self.ids.borrow(), id, by);
        incremented.map_err(|_| Failed(HostCall::IncrementMetric))
    }

    fn record_metric(&self, MetricId(id): MetricId, value: u64) -> Result<(), Failed> {
        let stats = &mut self.process.borrow_mut().stats;
        let recorded = stats.record(&self.ids.borrow(), id, value);
        recorded.map_err(|_| Failed(HostCall::RecordMetric))
    }

    fn shared_data(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, Failed> {
        let process = self.process.borrow();
        Ok(process.shared_data(VM_ID, key.as_bytes()).ok())
    }

    fn set_shared_data(&self, key: &str, value: &[u8], token: u32) -> Result<bool, Failed> {
        let mut process = self.process.borrow_mut();
        match process.set_shared_data(VM_ID, key.as_bytes(), value, token) {
            Ok(()) => Ok(true),
            Err(Status::CAS_MISMATCH) => Ok(false),
            Err(_) => Err(Failed(HostCall::SetSharedData)),
        }
    }
}

impl Stream for Host {
    type Map = Vec<u8>;

    fn now(&self) -> Result<u64, Failed> {
        Ok(self.process.borrow().monotonic())
    }

    fn headers(&self, which: Headers) -> Result<Option<Vec<u8>>, Failed> {
        let map = match which {
            Headers::Request => MapType::RequestHeaders,
            Headers::Response => MapType::ResponseHeaders,
            Headers::ResponseTrailers => MapType::ResponseTrailers,
        };
        let exchange = self.exchange.borrow();
        let headers = exchange.maps.get(map);
        Ok(headers.map(|headers| pairs::serialize(headers.pairs())))
    }

    fn remove_response_header(&self, name: &str) -> Result<(), Failed> {
        let mut exchange = self.exchange.borrow_mut();
        if let Some(headers) = exchange.maps.get_mut(MapType::ResponseHeaders) {
            headers.remove(name.as_bytes());
        }
        Ok(())
    }

    fn property(&self, property: Property) -> Result<Option<Vec<u8>>, Failed> {
        let exchange = self.exchange.borrow();
        Ok(exchange.attribute(property.path().as_bytes()).ok())
    }
}
