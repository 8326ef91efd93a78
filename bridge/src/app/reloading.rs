//! Reloads: a new configuration takes over as a whole, or the old one goes on.
//!
//! - Whoever asks (SIGHUP, POST /-/reload) has everything read anew.
//! - The web file, and the certificates that it names, are looked at every two
//!   seconds and taken over when they change, so that a renewed certificate
//!   needs no signal. While they are wrong they are tried again each time, and
//!   the log says so once.
//! - What is read of Envoys and sources goes on undisturbed where the reload
//!   changes only what concerns the server.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use super::{
    Source,
    parts::{Parts, Reads},
    web_file,
};
use crate::{
    background,
    config::{Config, ConfigErrors},
    server::{
        reload::{Ask, Reloaded, all_waiting},
        serving::Serving,
    },
    web_file::WebFile,
};

/// What is in service, and what is needed to replace it.
pub(super) struct Reloading {
    pub(super) parts: Parts,
    pub(super) source: Arc<dyn Source>,
    pub(super) current: Arc<ArcSwap<Serving>>,
    pub(super) config: Config,
    pub(super) web: WebFile,
    /// Why the web file was refused when it was last read, if it was.
    pub(super) web_refused: Option<ConfigErrors>,
    pub(super) reads: Reads,
}

const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Reloading {
    /// Reloads until the task is aborted.
    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ask = asks.recv() => {
                    let Some(ask) = ask else { return };
                    let waiting = all_waiting(ask, &mut asks);
                    let reloaded = self.reload().await;
                    for ask in waiting {
                        ask.answer(reloaded);
                    }
                }
                _ = look.tick(), if self.config.web_config_file.is_some() => {
                    self.look_at_web_file().await;
                }
            }
        }
    }

    async fn reload(&mut self) -> Reloaded {
        let source = Arc::clone(&self.source);
        let running = self.config.clone();
        let read = background::wait(move || {
            let config = source.read()?;
            let web = web_file(&config)?;
            let fixed = config.fixed_but_changed(&running);
            if !fixed.is_empty() {
                return Err(ConfigErrors(fixed));
            }
            Ok((config, web))
        });
        match read.await {
            Ok((config, web)) => {
                if !config.reads_as(&self.config) {
                    match self.parts.reads(&config) {
                        Ok(reads) => self.reads = reads,
                        Err(error) => {
                            warn!(%error, "configuration refused");
                            self.parts.own_metrics.config_loaded(false);
                            return Reloaded::Refused;
                        }
                    }
                    self.reads.begin(config.read_timeout);
                }
                self.config = config;
                self.take_over(web);
                info!("configuration reloaded");
                self.source.applied(&self.config);
                Reloaded::Done
            }
            Err(errors) => {
                self.refused(&errors);
                Reloaded::Refused
            }
        }
    }

    async fn look_at_web_file(&mut self) {
        let web = self.web.clone();
        let config = self.config.clone();
        let is_due = self.web_refused.is_some();
        let read = move || (is_due || web.has_changed()).then(|| web_file(&config));
        match background::wait(read).await {
            None => {}
            Some(Ok(web)) => {
                self.take_over(web);
                info!("TLS and authentication reloaded");
            }
            // Said already.
            Some(Err(errors)) if self.web_refused.as_ref() == Some(&errors) => {}
            Some(Err(errors)) => {
                self.refused(&errors);
                self.web_refused = Some(errors);
            }
        }
    }

    /// New connections are answered by the new configuration; those of the old
    /// one answer what they have in hand and end.
    fn take_over(&mut self, web: WebFile) {
        let serving = self.parts.serving(&self.config, &web, &self.reads);
        let old = self.current.swap(Arc::new(serving));
        old.ending.cancel();
        self.web = web;
        self.web_refused = None;
        self.parts.own_metrics.config_loaded(true);
    }

    fn refused(&self, errors: &ConfigErrors) {
        for error in &errors.0 {
            warn!(%error, "configuration refused");
        }
        self.parts.own_metrics.config_loaded(false);
    }
}
