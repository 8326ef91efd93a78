//! A proxy in memory that is hostile in what it fails at and strict in what it
//! takes.
//!
//! Any host call can be made to fail. A call that Envoy would refuse, or that
//! would leave a stat wrong, is a bug of the caller and panics: an id that was
//! never given, a counter moved by nothing, a gauge below zero, a header
//! removed that the response does not have.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use gatemeter_core::catalog::{SERVICE, StatKind};
use gatemeter_core::header_map::HeaderMap;
use gatemeter_core::host::{Failed, Headers, HostCall, MetricId, Property, Stats, Stream};
use gatemeter_core::stat_name::{self, DecodeError};

/// The proxy, all its workers, and the exchange that one of them works on.
#[derive(Debug, Default)]
pub struct Proxy {
    names: RefCell<Vec<(StatKind, String)>>,
    values: RefCell<BTreeMap<String, u64>>,
    shared: RefCell<HashMap<String, (Vec<u8>, u32)>>,
    calls: Cell<u32>,
    failing: Cell<u16>,
    every: Cell<u32>,
    failed: Cell<bool>,
    now: Cell<u64>,
    request: RefCell<Vec<u8>>,
    response: RefCell<Vec<u8>>,
    properties: RefCell<Vec<(Property, Vec<u8>)>>,
    removed: RefCell<Vec<String>>,
}

impl Proxy {
    /// Lets the calls fail whose bit is set, by their place in
    /// [`HostCall::ALL`]: each `every`-th of all calls, or all for 0 and 1.
    pub fn fail(&self, calls: u16, every: u32) {
        self.failing.set(calls);
        self.every.set(every.max(1));
    }

    /// Whether any call has failed so far.
    pub fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Time passes.
    pub fn advance(&self, nanos: u64) {
        self.now.set(self.now.get().saturating_add(nanos));
    }

    /// The exchange that the next calls are about: its serialized header maps
    /// and its properties.
    pub fn turn_to(
        &self,
        request: Vec<u8>,
        response: Vec<u8>,
        properties: Vec<(Property, Vec<u8>)>,
    ) {
        self.request.replace(request);
        self.response.replace(response);
        self.properties.replace(properties);
        self.removed.borrow_mut().clear();
    }

    /// Headers taken out of the response since the last [`Self::turn_to`].
    pub fn removed(&self) -> Vec<String> {
        self.removed.borrow().clone()
    }

    /// Every stat by name.
    pub fn values(&self) -> BTreeMap<String, u64> {
        self.values.borrow().clone()
    }

    fn enter(&self, call: HostCall) -> Result<(), Failed> {
        let calls = self.calls.get().wrapping_add(1);
        self.calls.set(calls);
        let chosen = self.failing.get() >> (call as u16) & 1 == 1;
        if chosen && calls.is_multiple_of(self.every.get()) {
            self.failed.set(true);
            return Err(Failed(call));
        }
        Ok(())
    }

    fn change(&self, id: MetricId, change: impl FnOnce(StatKind, u64) -> u64) {
        let names = self.names.borrow();
        let (kind, name) = &names[id.0 as usize];
        let mut values = self.values.borrow_mut();
        let value = values.entry(name.clone()).or_default();
        *value = change(*kind, *value);
    }
}

impl Stats for Proxy {
    type Bytes = Vec<u8>;

    fn define_metric(&self, kind: StatKind, name: &str) -> Result<MetricId, Failed> {
        self.enter(HostCall::DefineMetric)?;
        match stat_name::decode(name) {
            Ok(decoded) => assert_eq!(decoded.stat.kind, kind, "{name}"),
            Err(DecodeError::UnknownStat) => {
                // Of a metric that the configuration names.
                let unlisted = stat_name::decode_unlisted(name).expect("a name of the codec");
                assert_eq!(unlisted.labels.first().map(|label| label.0), Some(SERVICE));
            }
            Err(error) => panic!("{name}: {error}"),
        }
        let mut names = self.names.borrow_mut();
        names.push((kind, name.to_owned()));
        self.values.borrow_mut().entry(name.to_owned()).or_default();
        Ok(MetricId(u32::try_from(names.len() - 1).expect("few names")))
    }

    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Failed> {
        self.enter(HostCall::IncrementMetric)?;
        self.change(id, |kind, value| match kind {
            StatKind::Counter if by > 0 => value.wrapping_add_signed(by),
            StatKind::Gauge => value
                .checked_add_signed(by)
                .expect("a gauge that stays at or above zero"),
            _ => panic!("{kind:?} incremented by {by}"),
        });
        Ok(())
    }

    fn record_metric(&self, id: MetricId, to: u64) -> Result<(), Failed> {
        self.enter(HostCall::RecordMetric)?;
        self.change(id, |kind, value| match kind {
            StatKind::Gauge => to,
            StatKind::Histogram => value + 1,
            StatKind::Counter => panic!("a counter was recorded"),
        });
        Ok(())
    }

    fn shared_data(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, Failed> {
        self.enter(HostCall::SharedData)?;
        Ok(self.shared.borrow().get(key).cloned())
    }

    fn set_shared_data(&self, key: &str, value: &[u8], token: u32) -> Result<bool, Failed> {
        self.enter(HostCall::SetSharedData)?;
        let mut shared = self.shared.borrow_mut();
        let stored = shared.get(key).map_or(0, |(_, token)| *token);
        if token != 0 && token != stored {
            return Ok(false);
        }
        shared.insert(key.to_owned(), (value.to_vec(), stored + 1));
        Ok(true)
    }
}

impl Stream for Proxy {
    type Map = Vec<u8>;

    fn now(&self) -> Result<u64, Failed> {
        self.enter(HostCall::Clock)?;
        Ok(self.now.get())
    }

    fn headers(&self, which: Headers) -> Result<Option<Vec<u8>>, Failed> {
        self.enter(HostCall::HeaderMap)?;
        Ok(match which {
            Headers::Request => Some(self.request.borrow().clone()),
            Headers::Response => Some(self.response.borrow().clone()),
            Headers::ResponseTrailers => None,
        })
    }

    fn remove_response_header(&self, name: &str) -> Result<(), Failed> {
        self.enter(HostCall::RemoveHeader)?;
        let response = self.response.borrow();
        assert!(
            HeaderMap::new(&response).any(|(present, _)| present == name.as_bytes()),
            "{name} removed, which the response does not have"
        );
        self.removed.borrow_mut().push(name.to_owned());
        Ok(())
    }

    fn property(&self, property: Property) -> Result<Option<Vec<u8>>, Failed> {
        self.enter(HostCall::Property)?;
        let properties = self.properties.borrow();
        let found = properties.iter().find(|(which, _)| *which == property);
        Ok(found.map(|(_, bytes)| bytes.clone()))
    }
}

/// A header map as a host serializes it.
pub fn serialize<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short").to_le_bytes();
    let (mut count, mut sizes, mut data) = (0_u32, Vec::new(), Vec::new());
    for (name, value) in pairs {
        count += 1;
        sizes.extend([length(name), length(value)].concat());
        for text in [name, value] {
            data.extend_from_slice(text);
            data.push(0);
        }
    }
    [count.to_le_bytes().to_vec(), sizes, data].concat()
}
