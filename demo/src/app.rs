//! From a [`Config`] to services that answer, and back to nothing.
//!
//! Ports are bound first, so that a taken one is told before a database is
//! touched. When told to stop, listeners close, streams and sockets are ended,
//! requests under way have five seconds, and the temporary folder is removed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::cli::Config;
use crate::database::{Database, Location, UnsupportedScheme};
use crate::service::{RateLimit, Resources, Service, TitleIndex, router};

/// How long requests under way may take once the services have been told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Why the services could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port is taken, or the address is not this machine's.
    #[error("the {service} service cannot listen on {address}")]
    Listen {
        /// Whose address it is.
        service: Service,
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The URL's scheme is not one of ours.
    #[error(transparent)]
    DatabaseUrl(#[from] UnsupportedScheme),
    /// The database cannot be reached or refuses the tables.
    #[error("the database cannot be used")]
    Database(#[source] sqlx::Error),
    /// Redis cannot be reached.
    #[error("Redis cannot be used")]
    Redis(#[source] redis::RedisError),
    /// The temporary folder cannot be created.
    #[error("cannot create a temporary folder")]
    TemporaryFolder(#[source] std::io::Error),
}

/// Services that answer.
pub struct Demo {
    addresses: Vec<(Service, SocketAddr)>,
    servers: JoinSet<std::io::Result<()>>,
    pools: Vec<Database>,
    stop: CancellationToken,
    folder: TempDir,
}

impl Demo {
    /// Binds, prepares the database, and starts to serve.
    ///
    /// # Errors
    ///
    /// Where a port is taken, or the database or Redis cannot be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let mut listeners = Vec::new();
        for (service, address) in config.listen {
            let listen = |source| StartError::Listen {
                service,
                address,
                source,
            };
            let listener = TcpListener::bind(address).await.map_err(listen)?;
            let bound = listener.local_addr().map_err(listen)?;
            listeners.push((service, bound, listener));
        }

        let folder = tempfile::Builder::new()
            .prefix("gatemeter-demo-")
            .tempdir()
            .map_err(StartError::TemporaryFolder)?;
        let uploads = folder.path().join("uploads");
        std::fs::create_dir(&uploads).map_err(StartError::TemporaryFolder)?;
        let location = match &config.database_url {
            Some(url) => Location::parse(url)?,
            None => Location::sqlite_file(&folder.path().join("demo.sqlite")),
        };

        let mut pools = Vec::new();
        let mut instance = String::new();
        for _ in &listeners {
            let pool = Database::open(&location, config.db_connections)
                .await
                .map_err(StartError::Database)?;
            if pools.is_empty() {
                instance = pool
                    .prepare(&location)
                    .await
                    .map_err(StartError::Database)?;
            }
            pools.push(pool);
        }
        let cache = Cache::connect(config.redis_url.as_deref(), config.cache_ttl, &instance)
            .await
            .map_err(StartError::Redis)?;
        let cache = Arc::new(cache);
        tracing::info!(
            database = location.system(),
            cache = cache.name(),
            folder = %folder.path().display(),
            "ready"
        );

        let film = Arc::new(config.film);
        let stop = CancellationToken::new();
        let mut addresses = Vec::new();
        let mut servers = JoinSet::new();
        for ((service, address, listener), pool) in listeners.into_iter().zip(&pools) {
            let resources = Resources {
                database: pool.clone(),
                cache: Arc::clone(&cache),
                titles: Arc::new(TitleIndex::default()),
                logins: Arc::new(RateLimit::of_logins()),
                uploads: Arc::from(uploads.as_path()),
                film: Arc::clone(&film),
                stop: stop.clone(),
            };
            let server = axum::serve(listener, router(service, resources))
                .with_graceful_shutdown(stop.clone().cancelled_owned());
            servers.spawn(server.into_future());
            addresses.push((service, address));
        }
        Ok(Self {
            addresses,
            servers,
            pools,
            stop,
            folder,
        })
    }

    /// Where each service really listens.
    pub fn addresses(&self) -> &[(Service, SocketAddr)] {
        &self.addresses
    }

    /// Serves until `stop_asked`, then ends as the module says.
    ///
    /// # Errors
    ///
    /// Where a server ended by itself, or the temporary folder could not be removed.
    pub async fn serve_until(mut self, stop_asked: impl Future<Output = ()>) -> anyhow::Result<()> {
        let early = tokio::select! {
            () = stop_asked => None,
            ended = self.servers.join_next() => ended,
        };
        self.stop.cancel();
        let drained = tokio::time::timeout(GRACE, async {
            while self.servers.join_next().await.is_some() {}
            for pool in &self.pools {
                pool.close().await;
            }
        });
        if drained.await.is_err() {
            tracing::warn!("requests under way were cut after {GRACE:?}");
            self.servers.shutdown().await;
        }
        self.folder
            .close()
            .context("cannot remove the temporary folder")?;
        match early {
            None => Ok(()),
            Some(ended) => {
                ended.context("a server died")?.context("a server failed")?;
                anyhow::bail!("a server ended without being asked to")
            }
        }
    }
}
