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

use std::time::Duration;

use gatemeter_core::exchange::{self, Exchange};
use gatemeter_core::host::{Failed, Stream};
use gatemeter_core::plugin_config::PluginConfig;
use gatemeter_core::recorder::Recorder;

use crate::host::{self, Proxy};
use crate::open::OpenExchanges;

struct Root {
    id: u32,
    /// The place of its counts; `None` until it is configured.
    service: Option<usize>,
}

/// The counts of a root and its exchanges.
struct Service {
    recorder: Recorder,
    /// Exchanges that count here.
    open: usize,
    /// Whether a root does.
    rooted: bool,
}

/// The contexts of one VM.
pub(crate) struct Contexts {
    /// As many as there are plugin configurations in use: a few.
    roots: Vec<Root>,
    /// `None` where the last one that counted there has gone.
    services: Vec<Option<Box<Service>>>,
    exchanges: OpenExchanges,
}

impl Contexts {
    pub(crate) const fn new() -> Self {
        Self {
            roots: Vec::new(),
            services: Vec::new(),
            exchanges: OpenExchanges::new(),
        }
    }

    pub(crate) fn create_root(&mut self, id: u32) {
        if self.root(id).is_none() {
            self.roots.push(Root { id, service: None });
        }
    }

    #[inline]
    pub(crate) fn create_exchange(&mut self, id: u32, root: u32) {
        let mut service = None;
        for known in &self.roots {
            if known.id == id {
                return;
            }
            if known.id == root {
                service = known.service;
            }
        }
        if let Some(place) = service
            && let Some(Some(service)) = self.services.get_mut(place)
            && let Some(open) = self.exchanges.add(id)
        {
            service.open += 1;
            open.service = place;
            open.exchange = Some(Exchange::start(&mut service.recorder, &Proxy));
        }
    }

    /// Reads the configuration of a root and begins to count by it.
    ///
    /// # Errors
    /// What is wrong with the configuration, or which host call failed.
    pub(crate) fn configure(&mut self, id: u32) -> Result<(), String> {
        if self.root(id).is_none() {
            return Err("no such context".to_owned());
        }
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
        let new = Some(self.add(recorder));
        let root = self.roots.iter_mut().find(|root| root.id == id);
        if let Some(old) = root.and_then(|root| std::mem::replace(&mut root.service, new)) {
            // Were a root ever configured twice, nothing counted so far is lost.
            self.close(old);
        }
        Ok(())
    }

    pub(crate) fn tick(&mut self, root: u32) {
        if let Some(recorder) = self.recorder(root) {
            recorder.tick(&Proxy);
        }
    }

    #[inline]
    pub(crate) fn request_headers(&mut self, id: u32) {
        if let Some((exchange, recorder)) = self.exchange(id) {
            exchange.on_request_headers(recorder, &Proxy);
        }
    }

    #[inline]
    pub(crate) fn response_headers(&mut self, id: u32) {
        if let Some((exchange, recorder)) = self.exchange(id) {
            exchange.on_response_headers(recorder, &Proxy);
        }
    }

    /// The end of an exchange, or an entry of the access logger form, for which
    /// the host names the root.
    #[inline]
    pub(crate) fn log(&mut self, id: u32) {
        if let Some((exchange, recorder)) = self.exchange(id) {
            exchange.on_log(recorder, &Proxy);
        } else if let Some(recorder) = self.recorder(id) {
            exchange::on_access_log(recorder, &Proxy);
        }
    }

    /// The context is gone: an exchange is over, a root pushes what it counted.
    #[inline]
    pub(crate) fn delete(&mut self, id: u32) {
        let Some((place, mut exchange)) = self.exchanges.remove(id) else {
            return self.delete_root(id);
        };
        if let Some(Some(service)) = self.services.get_mut(place) {
            exchange.on_end(&mut service.recorder, &Proxy);
            service.open = service.open.saturating_sub(1);
            if service.open == 0 && !service.rooted {
                self.drop_service(place);
            }
        }
    }

    #[cold]
    fn delete_root(&mut self, id: u32) {
        if let Some(at) = self.roots.iter().position(|root| root.id == id)
            && let Some(service) = self.roots.swap_remove(at).service
        {
            self.close(service);
        }
    }

    fn root(&self, id: u32) -> Option<&Root> {
        self.roots.iter().find(|root| root.id == id)
    }

    /// The counts of a root.
    fn recorder(&mut self, root: u32) -> Option<&mut Recorder> {
        let place = self.root(root)?.service?;
        let service = self.services.get_mut(place)?.as_mut()?;
        Some(&mut service.recorder)
    }

    #[inline]
    fn exchange(&mut self, id: u32) -> Option<(&mut Exchange, &mut Recorder)> {
        let open = self.exchanges.get(id)?;
        let service = self.services.get_mut(open.service)?.as_mut()?;
        Some((open.exchange.as_mut()?, &mut service.recorder))
    }

    fn add(&mut self, recorder: Recorder) -> usize {
        let service = Some(Box::new(Service {
            recorder,
            open: 0,
            rooted: true,
        }));
        match self.services.iter().position(Option::is_none) {
            Some(vacant) => {
                if let Some(place) = self.services.get_mut(vacant) {
                    *place = service;
                }
                vacant
            }
            None => {
                self.services.push(service);
                self.services.len() - 1
            }
        }
    }

    /// No root counts there any more.
    fn close(&mut self, place: usize) {
        if let Some(Some(service)) = self.services.get_mut(place) {
            service.rooted = false;
            service.recorder.close(&Proxy);
            if service.open == 0 {
                self.drop_service(place);
            }
        }
    }

    #[cold]
    fn drop_service(&mut self, place: usize) {
        if let Some(service) = self.services.get_mut(place) {
            *service = None;
        }
    }
}

fn describe(Failed(call): Failed) -> String {
    format!(
        "host call {} failed; expected the proxy to allow it (capability_restriction_config)",
        call.as_str()
    )
}
