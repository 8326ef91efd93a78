//! What the four services have in common, and the list of them.
//!
//! Every service has `GET /healthz`, says how its pool stands on every response,
//! and takes `?delay_ms=N` (at most 5000) on its own routes: the request then
//! holds a connection of the pool for that long before it is handled, like one
//! that runs a slow query. The routes themselves are in the service's own file;
//! what their handlers say in `Signals` the layer here puts into headers.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use clap::ValueEnum;
use gatemeter_signals::SignalsLayer;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::playback::film::Film;
use crate::cache::Cache;
use crate::database::Database;
use crate::reply::ApiError;

mod api;
mod content;
mod discovery;
mod ingestion;
pub(crate) mod playback;
mod rate_limit;
mod title_index;

pub(crate) use rate_limit::RateLimit;
pub(crate) use title_index::TitleIndex;

/// The longest `delay_ms`.
const MAX_DELAY_MS: u64 = 5_000;

/// One of the four services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Service {
    /// The catalogue, logins, WebSockets.
    Api,
    /// Search and recommendations.
    Discovery,
    /// Manifests, segments, player events.
    Playback,
    /// Uploads.
    Ingestion,
}

impl Service {
    /// All of them, in the order of their ports.
    pub const ALL: [Self; 4] = [Self::Api, Self::Discovery, Self::Playback, Self::Ingestion];
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
            Self::Discovery => "discovery",
            Self::Playback => "playback",
            Self::Ingestion => "ingestion",
        })
    }
}

/// What a service's handlers work with.
#[derive(Clone)]
pub(crate) struct Resources {
    /// This service's own pool.
    pub(crate) database: Database,
    /// The cache, shared by all services.
    pub(crate) cache: Arc<Cache>,
    /// The titles by what their text is like.
    pub(crate) titles: Arc<TitleIndex>,
    /// How often somebody may try to log in.
    pub(crate) logins: Arc<RateLimit>,
    /// The folder for uploads.
    pub(crate) uploads: Arc<Path>,
    /// What the playback service plays.
    pub(crate) film: Arc<Film>,
    /// Says when streams and sockets have to end.
    pub(crate) stop: CancellationToken,
}

/// The routes of `service`.
pub(crate) fn router(service: Service, resources: Resources) -> Router {
    let routes = match service {
        Service::Api => api::routes(),
        Service::Discovery => discovery::routes(),
        Service::Playback => playback::routes(),
        Service::Ingestion => ingestion::routes(),
    };
    let pool = resources.database.clone();
    routes
        .layer(from_fn_with_state(resources.clone(), delay))
        .route("/healthz", get(healthz))
        .layer(SignalsLayer::new().pool(move || pool.state()))
        .with_state(resources)
}

async fn healthz(State(resources): State<Resources>) -> Result<&'static str, ApiError> {
    let mut connection = resources.database.checkout().await?;
    sqlx::query("SELECT 1").execute(&mut *connection).await?;
    Ok("ok\n")
}

#[derive(Deserialize)]
struct Delay {
    delay_ms: Option<u64>,
}

async fn delay(
    State(resources): State<Resources>,
    query: Result<Query<Delay>, axum::extract::rejection::QueryRejection>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match query {
        Ok(Query(Delay { delay_ms: None })) => {}
        Ok(Query(Delay {
            delay_ms: Some(milliseconds @ 0..=MAX_DELAY_MS),
        })) => {
            let _connection = resources.database.checkout().await?;
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
        _ => {
            return Err(ApiError::BadRequest(format!(
                "bad query \"{}\"; delay_ms takes 0 to {MAX_DELAY_MS}",
                request.uri().query().unwrap_or_default()
            )));
        }
    }
    Ok(next.run(request).await)
}
