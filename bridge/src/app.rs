//! Wiring: a configuration to a bound server, and its life until shutdown.
//!
//! [`build`] binds and starts nothing else, so that a caller who asks for
//! port 0 learns the address before the first request. [`Bound::run`] serves
//! until `shutdown`, drains, and says how that went. There are no globals: the
//! registry is made here and handed down.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use prometheus::Registry;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::Config,
    live::Live,
    own_metrics::OwnMetrics,
    own_scrapes::OwnScrapes,
    pages::Pages,
    server::{
        self,
        connections::{self, Limits},
    },
};

/// A bridge that has its address and does not serve yet.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    address: SocketAddr,
    listener: TcpListener,
    own_scrapes: OwnScrapes,
    live: Option<Live>,
    pages: Pages,
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

/// Takes the configured address.
///
/// # Errors
/// Where the address cannot be listened on.
pub async fn build(config: Config) -> Result<Bound, StartError> {
    let of_bind = |cause| StartError::Bind {
        address: config.listen_address,
        cause,
    };
    let listener = TcpListener::bind(config.listen_address)
        .await
        .map_err(of_bind)?;
    let address = listener.local_addr().map_err(of_bind)?;
    let own_metrics = OwnMetrics::register(Registry::new())?;
    own_metrics.config_loaded(true);
    let own_scrapes = OwnScrapes::default();
    let live = config.live.map(|live| Live::new(live.interval));
    let pages = Pages::new(&config, &own_scrapes, own_metrics, live.clone())?;
    Ok(Bound {
        config,
        address,
        listener,
        own_scrapes,
        live,
        pages,
    })
}

/// Longer than the usual scrape interval, so that scrapers and Envoy keep their
/// connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

impl Bound {
    /// The address with the port that was taken.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then answers what is in hand.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Ended {
        let config = self.config;
        info!(
            address = %self.address,
            envoys = config.envoys.len(),
            sources = config.sources.len(),
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
        let (pages, live) = (self.pages, self.live);
        let ending = CancellationToken::new();
        let sampling = live.clone().map(|live| {
            let (pages, timeout) = (pages.clone(), config.read_timeout);
            tokio::spawn(live.sample(move || {
                let pages = pages.clone();
                async move { pages.seen(Instant::now() + timeout).await }
            }))
        });
        let live = live.map(|live| live.router(ending.clone()));
        let router = server::router(pages, config.read_timeout, live);
        let limits = Limits {
            max_connections: config.max_connections,
            head_timeout: HEAD_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            drain_timeout: config.drain_timeout,
        };
        let own_scrapes = self.own_scrapes;
        let answer = move |request| server::answer(router.clone(), own_scrapes.clone(), request);
        let shutdown = async {
            shutdown.await;
            // Streams of events would keep the drain waiting.
            ending.cancel();
        };
        let left = connections::serve(self.listener, limits, answer, shutdown).await;
        if let Some(sampling) = sampling {
            sampling.abort();
        }
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
