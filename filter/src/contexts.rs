//! What a context id stands for: a root context, one for each plugin
//! configuration and worker, or an exchange of one.
//!
//! A root owns the counts of its service, pushes them by a tick and at its
//! end, and is where Envoy calls the module when it is used as an access
//! logger. `core` decides what the callbacks of an exchange mean.
//!
//! An id that is unknown is refused by doing nothing. An exchange is counted
//! and closed when its context goes away, whatever came before; one whose root
//! goes first keeps that root's counts alive until then.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use gatemeter_core::exchange::{self, Exchange};
use gatemeter_core::host::{Failed, Stream};
use gatemeter_core::plugin_config::PluginConfig;
use gatemeter_core::recorder::Recorder;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::host::{self, Proxy};

/// Counts shared by a root context and its exchanges; all on one thread.
type SharedRecorder = Rc<RefCell<Recorder>>;

struct Root {
    id: u32,
    /// `None` until it is configured.
    recorder: Option<SharedRecorder>,
}

struct Open {
    recorder: SharedRecorder,
    exchange: Exchange,
}

/// The contexts of one VM.
pub(crate) struct Contexts {
    /// As many as there are plugin configurations in use: a few.
    roots: Vec<Root>,
    /// The ids are the host's, counted up: no client chooses them.
    exchanges: HashMap<u32, Open, FxBuildHasher>,
}

impl Contexts {
    pub(crate) const fn new() -> Self {
        Self {
            roots: Vec::new(),
            exchanges: HashMap::with_hasher(FxBuildHasher),
        }
    }

    pub(crate) fn create_root(&mut self, id: u32) {
        if self.root(id).is_none() {
            let recorder = None;
            self.roots.push(Root { id, recorder });
        }
    }

    pub(crate) fn create_exchange(&mut self, id: u32, root: u32) {
        if self.root(id).is_some() || self.exchanges.contains_key(&id) {
            return;
        }
        let Some(recorder) = self.root(root).and_then(|root| root.recorder.clone()) else {
            return;
        };
        // Out of the lock's scope, which ends with the statement.
        let started = recorder
            .try_borrow_mut()
            .map(|mut recorder| Exchange::start(&mut recorder, &Proxy));
        if let Ok(exchange) = started {
            self.exchanges.insert(id, Open { recorder, exchange });
        }
    }

    /// Reads the configuration of a root and begins to count by it.
    ///
    /// # Errors
    /// What is wrong with the configuration, or which host call failed.
    pub(crate) fn configure(&mut self, id: u32) -> Result<(), String> {
        let Some(root) = self.roots.iter_mut().find(|root| root.id == id) else {
            return Err("no such context".to_owned());
        };
        let json = host::plugin_configuration().map_err(describe)?;
        let config = PluginConfig::parse(&json).map_err(|errors| errors.to_string())?;
        let interval = Duration::from_millis(config.flush_interval_ms.into());
        // Time and addresses differ from start to start; clients see neither.
        let now = Proxy.now();
        let seed = now.unwrap_or(0) ^ json.as_ptr().addr() as u64;
        let mut recorder = Recorder::new(config, seed);
        if let Err(error) = now {
            recorder.failed(error);
        }
        recorder.configure(&Proxy).map_err(describe)?;
        host::set_tick_period(interval).map_err(describe)?;
        let new = Rc::new(RefCell::new(recorder));
        if let Some(old) = root.recorder.replace(new) {
            // Were a root ever configured twice, nothing counted so far is lost.
            close(&old);
        }
        Ok(())
    }

    pub(crate) fn tick(&mut self, root: u32) {
        self.with_root(root, |recorder| recorder.tick(&Proxy));
    }

    pub(crate) fn request_headers(&mut self, id: u32) {
        self.with_exchange(id, |exchange, recorder| {
            exchange.on_request_headers(recorder, &Proxy);
        });
    }

    pub(crate) fn response_headers(&mut self, id: u32) {
        self.with_exchange(id, |exchange, recorder| {
            exchange.on_response_headers(recorder, &Proxy);
        });
    }

    /// The end of an exchange, or an entry of the access logger form, for which
    /// the host names the root.
    pub(crate) fn log(&mut self, id: u32) {
        let found = self.with_exchange(id, |exchange, recorder| exchange.on_log(recorder, &Proxy));
        if !found {
            self.with_root(id, |recorder| exchange::on_access_log(recorder, &Proxy));
        }
    }

    /// The context is gone: an exchange is over, a root pushes what it counted.
    pub(crate) fn delete(&mut self, id: u32) {
        if let Some(mut open) = self.exchanges.remove(&id) {
            if let Ok(mut recorder) = open.recorder.try_borrow_mut() {
                open.exchange.on_end(&mut recorder, &Proxy);
            }
        } else if let Some(at) = self.roots.iter().position(|root| root.id == id)
            && let Some(recorder) = self.roots.swap_remove(at).recorder
        {
            close(&recorder);
        }
    }

    fn root(&self, id: u32) -> Option<&Root> {
        self.roots.iter().find(|root| root.id == id)
    }

    fn with_root(&self, id: u32, act: impl FnOnce(&mut Recorder)) {
        if let Some(recorder) = self.root(id).and_then(|root| root.recorder.as_ref())
            && let Ok(mut recorder) = recorder.try_borrow_mut()
        {
            act(&mut recorder);
        }
    }

    /// Whether there is such an exchange.
    fn with_exchange(&mut self, id: u32, act: impl FnOnce(&mut Exchange, &mut Recorder)) -> bool {
        let Some(Open { recorder, exchange }) = self.exchanges.get_mut(&id) else {
            return false;
        };
        if let Ok(mut recorder) = recorder.try_borrow_mut() {
            act(exchange, &mut recorder);
        }
        true
    }
}

fn close(recorder: &SharedRecorder) {
    if let Ok(mut recorder) = recorder.try_borrow_mut() {
        recorder.close(&Proxy);
    }
}

fn describe(Failed(call): Failed) -> String {
    format!(
        "host call {} failed; expected the proxy to allow it (capability_restriction_config)",
        call.as_str()
    )
}
