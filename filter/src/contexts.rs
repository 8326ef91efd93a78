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

use std::mem;
use std::time::Duration;

use gatemeter_core::exchange::{self, Exchange};
use gatemeter_core::host::{Failed, Stream};
use gatemeter_core::plugin_config::PluginConfig;
use gatemeter_core::recorder::Recorder;

use crate::host::{self, Proxy};
use crate::list::List;
use crate::open::OpenExchanges;
use crate::services::Services;

#[derive(Clone, Copy)]
struct Root {
    id: u32,
    /// The number of its service; 0 until it is configured.
    service: usize,
}

impl Root {
    /// None: 0 is the id of no context.
    const NONE: Self = Self { id: 0, service: 0 };
}

/// The contexts of one VM.
pub(crate) struct Contexts {
    /// As many as there are plugin configurations in use: a few.
    roots: List<Root>,
    /// The one that was asked for last, for it is the next one too, most often.
    recent: Root,
    /// The highest id that a root ever had: exchanges have higher ones, most often.
    highest: u32,
    services: Services,
    exchanges: OpenExchanges,
}

impl Contexts {
    pub(crate) const fn new() -> Self {
        Self {
            roots: List::new(),
            recent: Root::NONE,
            highest: 0,
            services: Services::new(),
            exchanges: OpenExchanges::new(),
        }
    }

    pub(crate) fn create_root(&mut self, id: u32) {
        if self.root(id).is_none() {
            self.highest = self.highest.max(id);
            self.roots
                .change(|roots| roots.push(Root { id, service: 0 }));
        }
    }

    #[inline]
    pub(crate) fn create_exchange(&mut self, id: u32, root: u32) {
        if id <= self.highest && self.root(id).is_some() {
            return;
        }
        let number = self.service_of(root);
        if let Some(service) = self.services.get(number)
            && let Some(place) = self.exchanges.add(id)
        {
            service.users += 1;
            place.service = number;
            // What a vacant place holds need not be dropped.
            let exchange = Exchange::start(&mut service.recorder, &Proxy);
            mem::forget(mem::replace(&mut place.exchange, exchange));
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
        let new = self.services.add(recorder);
        if let Some(root) = self.roots.iter_mut().find(|root| root.id == id) {
            // Were a root ever configured twice, nothing counted so far is lost.
            let old = mem::replace(&mut root.service, new);
            self.recent = Root::NONE;
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
        let Some(place) = self.exchanges.in_front(id) else {
            return self.delete_other(id);
        };
        let number = mem::take(&mut place.service);
        let Some(service) = self.services.get(number) else {
            return self.delete_other(id);
        };
        place.exchange.on_end(&mut service.recorder, &Proxy);
        service.users -= 1;
        if service.users == 0 {
            self.services.remove(number);
        }
    }

    /// The same of what is no exchange in front.
    #[cold]
    fn delete_other(&mut self, id: u32) {
        let Some(mut place) = self.exchanges.remove_behind(id) else {
            return self.delete_root(id);
        };
        if let Some(service) = self.services.get(place.service) {
            place.exchange.on_end(&mut service.recorder, &Proxy);
            self.leave(place.service);
        }
    }

    fn delete_root(&mut self, id: u32) {
        if let Some(at) = self.roots.iter().position(|root| root.id == id) {
            let root = self.roots.change(|roots| roots.swap_remove(at));
            self.recent = Root::NONE;
            self.close(root.service);
        }
    }

    fn root(&self, id: u32) -> Option<&Root> {
        self.roots.iter().find(|root| root.id == id)
    }

    /// The counts of a root.
    fn recorder(&mut self, root: u32) -> Option<&mut Recorder> {
        let number = self.service_of(root);
        let service = self.services.get(number)?;
        Some(&mut service.recorder)
    }

    #[inline]
    fn exchange(&mut self, id: u32) -> Option<(&mut Exchange, &mut Recorder)> {
        let place = self.exchanges.get(id)?;
        let service = self.services.get(place.service)?;
        Some((&mut place.exchange, &mut service.recorder))
    }

    /// No root counts there any more.
    fn close(&mut self, number: usize) {
        if let Some(service) = self.services.get(number) {
            service.recorder.close(&Proxy);
            self.leave(number);
        }
    }

    /// One less counts there.
    #[cold]
    fn leave(&mut self, number: usize) {
        if let Some(service) = self.services.get(number) {
            service.users -= 1;
            if service.users == 0 {
                self.services.remove(number);
            }
        }
    }

    /// The number of the service of a root; 0 where there is none.
    #[inline]
    fn service_of(&mut self, root: u32) -> usize {
        if self.recent.id != root {
            self.look_for(root);
        }
        self.recent.service
    }

    #[cold]
    fn look_for(&mut self, root: u32) {
        self.recent = self.root(root).copied().unwrap_or(Root::NONE);
    }
}

fn describe(Failed(call): Failed) -> String {
    format!(
        "host call {} failed; expected the proxy to allow it (capability_restriction_config)",
        call.as_str()
    )
}
