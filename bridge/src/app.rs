//! Wiring: a configuration to a bound server, and its life until shutdown.
//!
//! [`build`] binds and reads nothing yet, so that a caller who asks for
//! port 0 learns the address before the first request. [`Bound::run`] serves
//! until `shutdown`, drains, and says how that went. There are no globals: the
//! registry is made here and handed down. What depends on the configuration is
//! made in [`parts`], anew for each reload.

mod parts;
mod reloading;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use prometheus::Registry;
use thiserror::Error;
use tokio::{net::TcpListener, sync::mpsc};
use tracing::{info, warn};

use self::{
    parts::{Parts, Reads},
    reloading::Reloading,
};
use crate::{
    config::{Config, ConfigErrors},
    own_metrics::OwnMetrics,
    own_scrapes::OwnScrapes,
    room::Room,
    server::{
        auth::Checks,
        connections::{self, Limits},
        reload::{Ask, Reloader},
    },
    web_file::WebFile,
};

/// Where a reload finds the configuration.
pub trait Source: Send + Sync + 'static {
    /// Reads it anew.
    ///
    /// # Errors
    /// All that is wrong with it.
    fn read(&self) -> Result<Config, ConfigErrors>;

    /// Learns that `config` is in service now.
    fn applied(&self, config: &Config) {
        let _ = config;
    }
}

/// A bridge that has its address and does not serve yet.
pub struct Bound {
    config: Config,
    web: WebFile,
    address: SocketAddr,
    listener: TcpListener,
    parts: Parts,
    reads: Reads,
    source: Arc<dyn Source>,
    asks: mpsc::Receiver<Ask>,
}

/// Why the bridge cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {cause}; free it or choose another with --web.listen-address"
    )]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// What the system says; part of the text, so no source.
        cause: io::Error,
    },
    /// Two metrics of the same name.
    #[error("cannot register the bridge's own metrics")]
    OwnMetrics(#[from] prometheus::Error),
    /// The system has no random numbers, which authentication needs.
    #[error("the system gives no random numbers")]
    Random,
    /// The file for TLS and authentication is wrong.
    #[error(transparent)]
    WebFile(#[from] ConfigErrors),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Connections that were still open at the deadline were cut.
    Forced {
        /// How many.
        connections: usize,
    },
    /// Every request in hand was answered.
    Gracefully,
}

/// Reads the web file, and takes the configured address.
///
/// # Errors
/// Where the file is wrong or the address cannot be listened on.
pub async fn build(config: Config) -> Result<Bound, StartError> {
    let web = web_file(&config)?;
    let of_bind = |cause| StartError::Bind {
        address: config.listen_address,
        cause,
    };
    let listener = TcpListener::bind(config.listen_address)
        .await
        .map_err(of_bind)?;
    let address = listener.local_addr().map_err(of_bind)?;
    let (reloader, asks) = Reloader::new();
    let parts = Parts {
        own_scrapes: OwnScrapes::default(),
        own_metrics: OwnMetrics::register(Registry::new())?,
        room: Room::default(),
        checks: Arc::new(Checks::new().map_err(|_| StartError::Random)?),
        reloader,
    };
    parts.own_metrics.config_loaded(true);
    Ok(Bound {
        reads: parts.reads(&config)?,
        source: Arc::new(config.clone()),
        config,
        web,
        address,
        listener,
        parts,
        asks,
    })
}

/// The file for TLS and authentication, if one is configured.
///
/// # Errors
/// All that is wrong with it.
pub fn web_file(config: &Config) -> Result<WebFile, ConfigErrors> {
    let path = config.web_config_file.as_deref();
    path.map_or_else(|| Ok(WebFile::default()), WebFile::read)
}

/// Always the same; what the configuration names is still read anew.
impl Source for Config {
    fn read(&self) -> Result<Config, ConfigErrors> {
        Ok(self.clone())
    }
}

/// Longer than the usual scrape interval, so that scrapers and Envoy keep their
/// connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("address", &self.address)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Bound {
    /// The address with the port that was taken.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reloads from `source` from now on.
    #[must_use]
    pub fn reloading_from(mut self, source: impl Source) -> Self {
        self.source = Arc::new(source);
        self
    }

    /// Asks the bridge for a reload while it runs.
    pub fn reloader(&self) -> Reloader {
        self.parts.reloader.clone()
    }

    /// Serves until `shutdown`, then answers what is in hand.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Ended {
        say_what_is_served(self.address, &self.config, &self.web);
        let limits = Limits {
            max_connections: self.config.max_connections,
            head_timeout: HEAD_TIMEOUT,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            crowd: self.parts.room.crowd(),
        };
        self.reads.begin(self.config.read_timeout);
        let serving = self.parts.serving(&self.config, &self.web, &self.reads);
        let current = Arc::new(ArcSwap::from_pointee(serving));
        let reloading = Reloading {
            parts: self.parts,
            source: self.source,
            current: Arc::clone(&current),
            config: self.config,
            web: self.web,
            web_refused: None,
            reads: self.reads,
        };
        let reloading = tokio::spawn(reloading.run(self.asks));
        let left = connections::serve(self.listener, limits, current, shutdown).await;
        reloading.abort();
        if left == 0 {
            info!("ended, every request in hand was answered");
            return Ended::Gracefully;
        }
        warn!(
            connections = left,
            "ended, connections were cut at the deadline"
        );
        Ended::Forced { connections: left }
    }
}

fn say_what_is_served(address: SocketAddr, config: &Config, web: &WebFile) {
    let envoys: Vec<_> = config
        .envoys
        .iter()
        .map(|envoy| envoy.admin.to_string())
        .collect();
    info!(
        %address,
        envoy = envoys.join(","),
        sources = config.sources.len(),
        tls = web.tls.is_some(),
        users = web.users.len(),
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    if !address.ip().is_loopback() && web.users.is_empty() && !web.verifies_clients {
        info!(
            "whoever reaches this address may read the metrics; web.config_file can ask for more"
        );
    }
}
