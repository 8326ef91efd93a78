//! What is made of a configuration, and made anew when it is reloaded.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    live::Live,
    own_metrics::OwnMetrics,
    own_scrapes::OwnScrapes,
    pages::Pages,
    room::Room,
    server::{
        self, Surroundings,
        auth::{Auth, Checks},
        reload::Reloader,
        serving::Serving,
    },
    web_file::WebFile,
};

/// What outlives every reload.
pub(super) struct Parts {
    pub(super) own_scrapes: OwnScrapes,
    pub(super) own_metrics: OwnMetrics,
    pub(super) room: Room,
    pub(super) checks: Arc<Checks>,
    pub(super) reloader: Reloader,
}

/// What is read, and what is kept of it.
pub(super) struct Reads {
    pages: Pages,
    live: Option<Live>,
    /// Reads for the live page; ends when dropped.
    sampling: JoinSet<()>,
}

impl Reads {
    /// Reads for the live page from now on, each time for so long at most.
    pub(super) fn begin(&mut self, timeout: Duration) {
        let Some(live) = self.live.clone() else {
            return;
        };
        let pages = self.pages.clone();
        self.sampling.spawn(live.sample(move || {
            let pages = pages.clone();
            async move { pages.seen(Instant::now() + timeout).await }
        }));
    }
}

impl Parts {
    /// What `config` names. It ends when this is dropped and the last request
    /// that it answers is done.
    ///
    /// # Errors
    /// Never where the catalogue is right.
    pub(super) fn reads(&self, config: &Config) -> Result<Reads, prometheus::Error> {
        let live = config.live.map(|live| Live::new(live.interval));
        let own_metrics = self.own_metrics.clone();
        Ok(Reads {
            pages: Pages::new(config, &self.own_scrapes, own_metrics, live.clone())?,
            live,
            sampling: JoinSet::new(),
        })
    }

    /// The server's side of a configuration.
    pub(super) fn serving(&self, config: &Config, web: &WebFile, reads: &Reads) -> Serving {
        let ending = CancellationToken::new();
        let around = Surroundings {
            timeout: config.read_timeout,
            room: self.room.clone(),
            reloader: config.lifecycle.then(|| self.reloader.clone()),
            live: reads.live.clone(),
            ending: ending.clone(),
        };
        Serving {
            router: server::router(reads.pages.clone(), around),
            own_scrapes: self.own_scrapes.clone(),
            auth: Auth::new(web.users.clone(), Arc::clone(&self.checks)),
            headers: web.headers.clone(),
            tls: web.tls.clone(),
            ending,
            drain_timeout: config.drain_timeout,
        }
    }
}
