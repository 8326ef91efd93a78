//! Stats by name, and what the workers of a service know together.
//!
//! Envoy lets a dynamic module define stats only while it takes a
//! configuration; later only the values of their labels may be new. So a name of
//! the catalogue's codec that is new then is cut: `http_requests_total` was
//! defined with the label `service=api`, and the rest of the name is that label's
//! value. Envoy joins the parts with dots, and on `/stats` the name is the
//! codec's, as the bridge reads it.
//!
//! To Envoy a name that was cut and the same one as a whole are two stats. So
//! what a name became first it stays until the process ends, in the
//! configurations to come, too.
//!
//! A stat lives as long as a configuration that wrote it. So the newest one of a
//! service writes for all, and begins with writing all that there was by nothing;
//! what it does not know is written by the newest that does.
//!
//! Nothing is written to Envoy's stats while a worker's counts are locked: what
//! is pushed is added up here first, over all workers, and then written.

use std::collections::HashMap;
use std::mem;
use std::ptr;
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
    pending: Mutex<HashMap<u32, Change>>,
    /// The oldest first. A configuration is used by others only while this is
    /// locked, and not in it any more when it goes.
    living: Mutex<Vec<Arc<Stats>>>,
}

/// Stats that were ever written. A place in the list is a metric's id.
#[derive(Debug, Default)]
struct Names {
    ids: HashMap<Arc<str>, u32>,
    list: Vec<Name>,
}

#[derive(Clone, Debug)]
struct Name {
    kind: StatKind,
    text: Arc<str>,
    /// Whether it is defined as it is, or cut.
    whole: bool,
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

    fn name(&self, id: u32) -> Option<Name> {
        lock(&self.names).list.get(id as usize).cloned()
    }

    fn all(&self) -> Vec<(u32, Name)> {
        (0..).zip(lock(&self.names).list.iter().cloned()).collect()
    }

    /// The id of a name, and whether it is defined as a whole; `whole` is for
    /// one that is new.
    fn id(&self, kind: StatKind, name: &str, whole: bool) -> (u32, bool) {
        let mut names = lock(&self.names);
        let Names { ids, list } = &mut *names;
        if let Some(id) = ids.get(name)
            && let Some(known) = list.get(*id as usize)
        {
            return (*id, known.whole);
        }
        let id = u32::try_from(list.len()).unwrap_or(u32::MAX);
        let text: Arc<str> = name.into();
        ids.insert(Arc::clone(&text), id);
        list.push(Name { kind, text, whole });
        (id, whole)
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
    /// `service=api`, as a name has it behind its first part.
    service: String,
    defined: Mutex<Definitions>,
}

/// A stat of a configuration.
struct Found {
    kind: StatKind,
    defined: Defined,
    label: Option<String>,
}

#[derive(Debug, Default)]
struct Definitions {
    /// By the name, or by the first part of those that are cut.
    ids: HashMap<(StatKind, String), Defined>,
    /// No more can be defined.
    closed: bool,
}

impl Definitions {
    fn find(&self, kind: StatKind, name: &str) -> Option<Defined> {
        self.ids.get(&(kind, name.to_owned())).copied()
    }

    fn define(
        &mut self,
        config: Config,
        kind: StatKind,
        name: &str,
        label: Option<&str>,
    ) -> Result<Defined, Refused> {
        if let Some(defined) = self.find(kind, name) {
            return Ok(defined);
        }
        if self.closed {
            return Err(Refused);
        }
        let defined = config.define(kind, name, label)?;
        self.ids.insert((kind, name.to_owned()), defined);
        Ok(defined)
    }
}

impl Stats {
    /// Defines what names of the catalogue may be cut to.
    ///
    /// # Errors
    /// Envoy refuses a definition.
    pub(crate) fn new(config: Config, service: &str) -> Result<Self, Refused> {
        let service_label = format!("{SERVICE}={service}");
        let mut defined = Definitions::default();
        for stat in CATALOG.iter().flat_map(|metric| metric.stats) {
            if stat.labels.len() > 1 {
                defined.define(config, stat.kind, stat.name, Some(&service_label))?;
            }
        }
        Ok(Self {
            config,
            common: Common::of(service),
            service: service_label,
            defined: Mutex::new(defined),
        })
    }

    /// The end of the hook in which stats can be defined: from now on this one
    /// writes.
    ///
    /// # Errors
    /// Envoy refuses a definition.
    pub(crate) fn close(self: &Arc<Self>) -> Result<(), Refused> {
        let mut defined = lock(&self.defined);
        for (_, name) in self.common.all() {
            if name.whole {
                defined.define(self.config, name.kind, &name.text, None)?;
            }
        }
        defined.closed = true;
        drop(defined);
        let mut living = lock(&self.common.living);
        self.hold();
        living.push(Arc::clone(self));
        Ok(())
    }

    /// The configuration goes: another one writes from now on, or none.
    pub(crate) fn end(self: &Arc<Self>) {
        // Nobody is left to be told what is refused.
        let _ = self.write();
        let mut living = lock(&self.common.living);
        living.retain(|stats| !Arc::ptr_eq(stats, self));
        if let Some(newest) = living.last() {
            newest.hold();
        }
    }

    /// Writes all stats of the service by nothing, so that they live as long as
    /// this configuration.
    fn hold(&self) {
        for (id, _) in self.common.all() {
            if let Some(defined) = self.find(id) {
                // A gauge is left as it is: it goes up by nothing.
                let _ = self.change(&defined, &mut Change::default());
            }
        }
    }

    /// A handle for a stat, which appears.
    ///
    /// # Errors
    /// It cannot be defined any more.
    pub(crate) fn define(&self, kind: StatKind, name: &str) -> Result<MetricId, Failed> {
        let refused = Failed(HostCall::DefineMetric);
        let mut defined = lock(&self.defined);
        let (id, whole) = self.common.id(kind, name, !defined.closed);
        let known = if whole {
            defined.define(self.config, kind, name, None).is_ok()
        } else {
            let cut = self.cut(name);
            cut.is_some_and(|(first, _)| defined.find(kind, first).is_some())
        };
        drop(defined);
        if !known {
            return Err(refused);
        }
        lock(&self.common.pending).entry(id).or_default();
        Ok(MetricId(id))
    }

    /// The first part of a name, and what follows the service.
    fn cut<'n>(&self, name: &'n str) -> Option<(&'n str, &'n str)> {
        let (first, rest) = name.split_once('.')?;
        let rest = rest.strip_prefix(self.service.as_str())?;
        Some((first, rest.strip_prefix('.')?))
    }

    pub(crate) fn add(&self, MetricId(id): MetricId, by: i64) {
        let mut pending = lock(&self.common.pending);
        let change = pending.entry(id).or_default();
        change.by = change.by.saturating_add(by);
    }

    /// Sets a gauge, or adds a sample to a histogram.
    pub(crate) fn record(&self, MetricId(id): MetricId, value: u64) {
        let is_histogram = self
            .common
            .name(id)
            .is_some_and(|name| name.kind == StatKind::Histogram);
        let mut pending = lock(&self.common.pending);
        let change = pending.entry(id).or_default();
        if is_histogram {
            change.samples.push(value);
        } else {
            change.to = Some(value);
        }
    }

    /// Writes to Envoy's stats, if this is the configuration that does; what is
    /// refused stays for the next time.
    ///
    /// # Errors
    /// The calls that were refused.
    pub(crate) fn write(&self) -> Result<(), Vec<Failed>> {
        let living = lock(&self.common.living);
        if !living.last().is_some_and(|newest| ptr::eq(&**newest, self)) {
            return Ok(());
        }
        let changes = mem::take(&mut *lock(&self.common.pending));
        let mut failed = Vec::new();
        for (id, mut change) in changes {
            let call = match change.to {
                Some(_) => HostCall::RecordMetric,
                None => HostCall::IncrementMetric,
            };
            let mut newest_first = living.iter().rev();
            let written = newest_first
                .find_map(|stats| Some((stats, stats.find(id)?)))
                .ok_or(Refused)
                .and_then(|(stats, defined)| stats.change(&defined, &mut change));
            if written.is_err() {
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
        let mut pending = lock(&self.common.pending);
        let change = pending.entry(id).or_default();
        change.by = change.by.saturating_add(refused.by);
        change.to = change.to.or(refused.to);
    }

    /// A stat as this configuration has it.
    fn find(&self, id: u32) -> Option<Found> {
        let name = self.common.name(id)?;
        let (first, label) = match name.whole {
            true => (&*name.text, None),
            false => self
                .cut(&name.text)
                .map(|(first, rest)| (first, Some(rest)))?,
        };
        let defined = lock(&self.defined).find(name.kind, first)?;
        Some(Found {
            kind: name.kind,
            defined,
            label: label.map(str::to_owned),
        })
    }

    fn change(&self, found: &Found, change: &mut Change) -> Result<(), Refused> {
        let (kind, defined, label) = (found.kind, found.defined, found.label.as_deref());
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
