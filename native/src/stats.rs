//! Stats by name, and what the workers of a service know together.
//!
//! Envoy lets a dynamic module define stats only while it takes a
//! configuration; later only the values of their labels may be new. So the name
//! of the catalogue's codec is cut: `http_requests_total` is defined with the
//! label `service=api`, and the rest of the name is that label's value. Envoy
//! joins the parts with dots, and on `/stats` the name is the codec's, as the
//! bridge reads it. A name with no rest is defined as it is.
//!
//! Nothing is written to Envoy's stats while a worker's counts are locked: what
//! is pushed is added up here first, over all workers, and then written.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatemeter_core::catalog::{CATALOG, SERVICE, StatKind};
use gatemeter_core::host::{Failed, HostCall, MetricId};

use crate::abi::{Config, Defined, Refused};

/// What the configurations of a service have in common, old and new ones, until
/// the process ends.
#[derive(Debug, Default)]
pub(crate) struct Common {
    names: Mutex<Names>,
    data: Mutex<HashMap<String, (Vec<u8>, u32)>>,
}

/// Stats that were ever written. A place in the list is a metric's id.
#[derive(Debug, Default)]
struct Names {
    ids: HashMap<Arc<str>, u32>,
    list: Vec<(StatKind, Arc<str>)>,
}

/// By service.
static SERVICES: Mutex<Vec<(String, Arc<Common>)>> = Mutex::new(Vec::new());

/// A panic is caught, and what it left is still numbers: see `hooks`.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Common {
    pub(crate) fn of(service: &str) -> Arc<Self> {
        let mut services = lock(&SERVICES);
        if let Some((_, common)) = services.iter().find(|(name, _)| name == service) {
            return Arc::clone(common);
        }
        let common = Arc::<Self>::default();
        services.push((service.to_owned(), Arc::clone(&common)));
        common
    }

    /// A value that the workers share, and the token for changing it.
    pub(crate) fn data(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        lock(&self.data).get(key).cloned()
    }

    /// `false` where the token is an old one. Token 0 fits always.
    pub(crate) fn set_data(&self, key: &str, value: &[u8], token: u32) -> bool {
        let mut data = lock(&self.data);
        match data.get_mut(key) {
            Some((old, current)) if token == 0 || token == *current => {
                value.clone_into(old);
                // 0 is no token.
                *current = current.wrapping_add(1).max(1);
                true
            }
            None if token == 0 => {
                data.insert(key.to_owned(), (value.to_vec(), 1));
                true
            }
            _ => false,
        }
    }

    fn name(&self, id: u32) -> Option<(StatKind, Arc<str>)> {
        lock(&self.names).list.get(id as usize).cloned()
    }

    fn all(&self) -> Vec<u32> {
        (0..)
            .zip(&lock(&self.names).list)
            .map(|(id, _)| id)
            .collect()
    }

    fn id(&self, kind: StatKind, name: &str) -> u32 {
        let mut names = lock(&self.names);
        if let Some(id) = names.ids.get(name) {
            return *id;
        }
        let id = u32::try_from(names.list.len()).unwrap_or(u32::MAX);
        let name: Arc<str> = name.into();
        names.ids.insert(Arc::clone(&name), id);
        names.list.push((kind, name));
        id
    }
}

/// What is to be written of a stat.
#[derive(Clone, Debug, Default)]
struct Change {
    by: i64,
    to: Option<u64>,
    samples: Vec<u64>,
}

/// The stats of one configuration.
#[derive(Debug)]
pub(crate) struct Stats {
    config: Config,
    pub(crate) common: Arc<Common>,
    /// `.service=api`, as a name has it behind its first part.
    service: String,
    defined: Mutex<Definitions>,
    pending: Mutex<HashMap<u32, Change>>,
}

#[derive(Debug)]
struct Definitions {
    /// By the first part of a name, or by the whole where it has no label but
    /// the service.
    ids: HashMap<(StatKind, String), Defined>,
    /// No more can be defined.
    closed: bool,
}

impl Stats {
    /// Defines what the catalogue has.
    ///
    /// # Errors
    /// Envoy refuses a definition.
    pub(crate) fn new(config: Config, service: &str) -> Result<Self, Refused> {
        let stats = Self {
            config,
            common: Common::of(service),
            service: format!("{SERVICE}={service}"),
            defined: Mutex::new(Definitions {
                ids: HashMap::new(),
                closed: false,
            }),
            pending: Mutex::default(),
        };
        let mut defined = lock(&stats.defined);
        for stat in CATALOG.iter().flat_map(|metric| metric.stats) {
            if stat.labels.len() > 1 {
                let id = config.define(stat.kind, stat.name, Some(&stats.service))?;
                defined.ids.insert((stat.kind, stat.name.to_owned()), id);
            }
        }
        drop(defined);
        Ok(stats)
    }

    /// The end of the hook in which stats can be defined. Stats that an older
    /// configuration of the service wrote are written here, too, by nothing, so
    /// that they outlive it.
    pub(crate) fn close(&self) {
        lock(&self.defined).closed = true;
        let mut pending = lock(&self.pending);
        for id in self.common.all() {
            pending.entry(id).or_default();
        }
    }

    /// A handle for a stat, which appears.
    ///
    /// # Errors
    /// It cannot be defined any more.
    pub(crate) fn define(&self, kind: StatKind, name: &str) -> Result<MetricId, Failed> {
        let (first, rest) = self.cut(name).ok_or(Failed(HostCall::DefineMetric))?;
        let mut defined = lock(&self.defined);
        let key = (kind, rest.map_or(name, |_| first).to_owned());
        if !defined.ids.contains_key(&key) {
            if defined.closed {
                return Err(Failed(HostCall::DefineMetric));
            }
            let label = rest.map(|_| self.service.as_str());
            let id = self
                .config
                .define(kind, &key.1, label)
                .map_err(|Refused| Failed(HostCall::DefineMetric))?;
            defined.ids.insert(key, id);
        }
        drop(defined);
        let id = self.common.id(kind, name);
        lock(&self.pending).entry(id).or_default();
        Ok(MetricId(id))
    }

    /// The first part of a name, and what follows the service.
    fn cut<'n>(&self, name: &'n str) -> Option<(&'n str, Option<&'n str>)> {
        let (first, rest) = name.split_once('.')?;
        let rest = rest.strip_prefix(self.service.as_str())?;
        match rest.strip_prefix('.') {
            Some(rest) => Some((first, Some(rest))),
            None => rest.is_empty().then_some((first, None)),
        }
    }

    pub(crate) fn add(&self, MetricId(id): MetricId, by: i64) {
        let mut pending = lock(&self.pending);
        let change = pending.entry(id).or_default();
        change.by = change.by.saturating_add(by);
    }

    /// Sets a gauge, or adds a sample to a histogram.
    pub(crate) fn record(&self, MetricId(id): MetricId, value: u64) {
        let is_histogram = self
            .common
            .name(id)
            .is_some_and(|(kind, _)| kind == StatKind::Histogram);
        let mut pending = lock(&self.pending);
        let change = pending.entry(id).or_default();
        if is_histogram {
            change.samples.push(value);
        } else {
            change.to = Some(value);
        }
    }

    /// Writes to Envoy's stats; what is refused stays for the next time.
    ///
    /// # Errors
    /// The calls that were refused.
    pub(crate) fn write(&self) -> Result<(), Vec<Failed>> {
        let changes = mem::take(&mut *lock(&self.pending));
        let mut failed = Vec::new();
        for (id, mut change) in changes {
            let call = match change.to {
                Some(_) => HostCall::RecordMetric,
                None => HostCall::IncrementMetric,
            };
            if self.write_one(id, &mut change).is_err() {
                failed.push(Failed(call));
                self.keep(id, change);
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(failed)
    }

    fn keep(&self, id: u32, refused: Change) {
        let mut pending = lock(&self.pending);
        let change = pending.entry(id).or_default();
        change.by = change.by.saturating_add(refused.by);
        change.to = change.to.or(refused.to);
    }

    fn write_one(&self, id: u32, change: &mut Change) -> Result<(), Refused> {
        let (kind, name) = self.common.name(id).ok_or(Refused)?;
        let (first, label) = self.cut(&name).ok_or(Refused)?;
        let key = (kind, label.map_or(&*name, |_| first).to_owned());
        let Some(defined) = lock(&self.defined).ids.get(&key).copied() else {
            // Of an older configuration, which named a metric that this one
            // does not.
            return if change.is_nothing() {
                Ok(())
            } else {
                Err(Refused)
            };
        };
        let config = self.config;
        match kind {
            StatKind::Counter => config.add(defined, label, change.by.unsigned_abs()),
            StatKind::Gauge => match change.to {
                Some(to) => config.set(defined, label, to),
                None if change.by < 0 => config.lower(defined, label, change.by.unsigned_abs()),
                None => config.raise(defined, label, change.by.unsigned_abs()),
            },
            StatKind::Histogram => {
                for sample in change.samples.drain(..) {
                    config.record(defined, label, sample)?;
                }
                Ok(())
            }
        }
    }
}

impl Change {
    fn is_nothing(&self) -> bool {
        self.by == 0 && self.to.is_none() && self.samples.is_empty()
    }
}
