//! A proxy in memory, for the tests of this crate.
//!
//! It keeps stats as Envoy does: an id for each definition, counters that
//! refuse what is not above zero, gauges that wrap below zero, shared data with
//! compare-and-swap. Any host call can be made to fail.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use crate::catalog::StatKind;
use crate::host::{Failed, Headers, HostCall, MetricId, Property, Stats, Stream};

/// What all workers of one proxy share.
#[derive(Default)]
struct Shared {
    metrics: RefCell<Vec<String>>,
    values: RefCell<BTreeMap<String, u64>>,
    data: RefCell<HashMap<String, (Vec<u8>, u32)>>,
    failing: RefCell<HashSet<&'static str>>,
    calls: RefCell<HashMap<&'static str, u64>>,
}

type BeforeWrite = Box<dyn FnMut(&FakeProxy)>;

/// One worker of the proxy and the exchange it works on.
#[derive(Clone, Default)]
pub(crate) struct FakeProxy {
    shared: Rc<Shared>,
    now: Rc<Cell<u64>>,
    maps: Rc<RefCell<HashMap<&'static str, Vec<u8>>>>,
    properties: Rc<RefCell<HashMap<&'static str, Vec<u8>>>>,
    removed: Rc<RefCell<Vec<String>>>,
    before_write: Rc<RefCell<Option<BeforeWrite>>>,
}

impl FakeProxy {
    /// Another worker of the same proxy.
    pub(crate) fn worker(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
            ..Self::default()
        }
    }

    pub(crate) fn advance(&self, nanos: u64) {
        self.now.set(self.now.get() + nanos);
    }

    pub(crate) fn set_headers(&self, which: Headers, pairs: &[(&str, &str)]) {
        let pairs: Vec<(&[u8], &[u8])> = pairs
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        let map = serialize(&pairs);
        self.maps.borrow_mut().insert(name_of(which), map);
    }

    pub(crate) fn set_property(&self, property: Property, bytes: &[u8]) {
        self.properties
            .borrow_mut()
            .insert(property.path(), bytes.to_vec());
    }

    /// A new exchange: no headers, no properties.
    pub(crate) fn clear(&self) {
        self.maps.borrow_mut().clear();
        self.properties.borrow_mut().clear();
        self.removed.borrow_mut().clear();
    }

    pub(crate) fn fail(&self, call: HostCall) {
        self.shared.failing.borrow_mut().insert(call.as_str());
    }

    /// Runs something before each write of shared data by this worker, as
    /// another worker may.
    pub(crate) fn before_each_write(&self, run: impl FnMut(&Self) + 'static) {
        *self.before_write.borrow_mut() = Some(Box::new(run));
    }

    pub(crate) fn heal(&self) {
        self.shared.failing.borrow_mut().clear();
    }

    /// The value of a stat; `None` where it was never defined.
    pub(crate) fn stat(&self, name: &str) -> Option<u64> {
        self.shared.values.borrow().get(name).copied()
    }

    /// All stats whose name starts so, without those at 0.
    pub(crate) fn stats(&self, prefix: &str) -> BTreeMap<String, u64> {
        let values = self.shared.values.borrow();
        values
            .iter()
            .filter(|(name, value)| name.starts_with(prefix) && **value != 0)
            .map(|(name, value)| (name[prefix.len()..].to_owned(), *value))
            .collect()
    }

    pub(crate) fn removed(&self) -> Vec<String> {
        self.removed.borrow().clone()
    }

    pub(crate) fn calls(&self, call: HostCall) -> u64 {
        let calls = self.shared.calls.borrow();
        calls.get(call.as_str()).copied().unwrap_or(0)
    }

    fn enter(&self, call: HostCall) -> Result<(), Failed> {
        *self
            .shared
            .calls
            .borrow_mut()
            .entry(call.as_str())
            .or_default() += 1;
        if self.shared.failing.borrow().contains(call.as_str()) {
            return Err(Failed(call));
        }
        Ok(())
    }

    fn change(&self, id: MetricId, change: impl FnOnce(u64) -> u64) {
        let metrics = self.shared.metrics.borrow();
        let mut values = self.shared.values.borrow_mut();
        let value = values.get_mut(&metrics[id.0 as usize]).unwrap();
        *value = change(*value);
    }
}

fn name_of(which: Headers) -> &'static str {
    match which {
        Headers::Request => "request",
        Headers::Response => "response",
        Headers::ResponseTrailers => "response trailers",
    }
}

impl Stats for FakeProxy {
    type Bytes = Vec<u8>;

    fn define_metric(&self, _kind: StatKind, name: &str) -> Result<MetricId, Failed> {
        self.enter(HostCall::DefineMetric)?;
        let mut metrics = self.shared.metrics.borrow_mut();
        metrics.push(name.to_owned());
        self.shared
            .values
            .borrow_mut()
            .entry(name.to_owned())
            .or_insert(0);
        Ok(MetricId(u32::try_from(metrics.len() - 1).unwrap()))
    }

    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Failed> {
        self.enter(HostCall::IncrementMetric)?;
        let is_counter = {
            let metrics = self.shared.metrics.borrow();
            !metrics[id.0 as usize].starts_with("active_connections")
        };
        if is_counter && by <= 0 {
            return Err(Failed(HostCall::IncrementMetric));
        }
        self.change(id, |value| value.wrapping_add_signed(by));
        Ok(())
    }

    fn record_metric(&self, id: MetricId, to: u64) -> Result<(), Failed> {
        self.enter(HostCall::RecordMetric)?;
        self.change(id, |_| to);
        Ok(())
    }

    fn shared_data(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, Failed> {
        self.enter(HostCall::SharedData)?;
        Ok(self.shared.data.borrow().get(key).cloned())
    }

    fn set_shared_data(&self, key: &str, value: &[u8], token: u32) -> Result<bool, Failed> {
        self.enter(HostCall::SetSharedData)?;
        if let Some(run) = self.before_write.borrow_mut().as_mut() {
            run(self);
        }
        let mut data = self.shared.data.borrow_mut();
        let stored = data.get(key).map_or(0, |(_, cas)| *cas);
        if token != 0 && token != stored {
            return Ok(false);
        }
        data.insert(key.to_owned(), (value.to_vec(), stored + 1));
        Ok(true)
    }
}

impl Stream for FakeProxy {
    type Map = Vec<u8>;

    fn now(&self) -> Result<u64, Failed> {
        self.enter(HostCall::Clock)?;
        Ok(self.now.get())
    }

    fn headers(&self, which: Headers) -> Result<Option<Vec<u8>>, Failed> {
        self.enter(HostCall::HeaderMap)?;
        let maps = self.maps.borrow();
        Ok(maps.get(name_of(which)).cloned())
    }

    fn remove_response_header(&self, name: &str) -> Result<(), Failed> {
        self.enter(HostCall::RemoveHeader)?;
        self.removed.borrow_mut().push(name.to_owned());
        Ok(())
    }

    fn property(&self, property: Property) -> Result<Option<Vec<u8>>, Failed> {
        self.enter(HostCall::Property)?;
        Ok(self.properties.borrow().get(property.path()).cloned())
    }
}

/// A header map as a host serializes it.
pub(crate) fn serialize(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let count = u32::try_from(pairs.len()).unwrap();
    let mut out = count.to_le_bytes().to_vec();
    for (name, value) in pairs {
        out.extend(length(name));
        out.extend(length(value));
    }
    for (name, value) in pairs {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    }
    out
}
