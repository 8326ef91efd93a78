//! The discovery service: search and recommendations, both cached.
//!
//! | route | answer |
//! |---|---|
//! | `GET /search?q=` | titles whose name and genre are written like `q`, the most alike first, at most 20; may be none |
//! | `GET /recommendations/:user` | titles of the genres that the viewer watched; 404 for an unknown viewer |

use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use gatemeter_signals::Signals;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::content::Content;
use super::{ApiError, Resources};
use crate::reply::cached_json;

/// The longest search text and viewer name, in bytes: they become cache keys.
const MAX_TEXT_BYTES: usize = 100;
/// The most titles that a search finds.
const MAX_FOUND: usize = 20;

pub(super) fn routes() -> Router<Resources> {
    Router::new()
        .route("/search", get(search))
        .route("/recommendations/{user}", get(recommend))
}

#[derive(Deserialize)]
struct SearchQuery {
    q: String,
}

async fn search(
    Extension(signals): Extension<Signals>,
    State(resources): State<Resources>,
    Query(query): Query<SearchQuery>,
) -> Result<Response, ApiError> {
    let text = bounded("q", query.q.trim().to_lowercase())?;
    let load = || async {
        let titles = resources.titles.current(&resources.database).await?;
        let timer = signals.time("vectordb");
        let found = titles.nearest(&text, MAX_FOUND);
        timer.stop();
        Ok::<_, ApiError>(Some(serde_json::to_string(&found)?))
    };
    let key = format!("search:{text}");
    let lookup = resources.cache.lookup(&signals, &key, load);
    let cached = signals.timed("search", lookup).await?;
    if let Some(value) = &cached {
        let found: Vec<IgnoredAny> = serde_json::from_str(value)?;
        signals.results(found.len());
    }
    Ok(cached_json(cached, "result"))
}

async fn recommend(
    Extension(signals): Extension<Signals>,
    State(resources): State<Resources>,
    Path(user): Path<String>,
) -> Result<Response, ApiError> {
    let user = bounded("user", user)?;
    let load = || async {
        let mut connection = resources.database.checkout().await?;
        let known: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM playback_event WHERE viewer = $1")
                .bind(&user)
                .fetch_one(&mut *connection)
                .await?;
        if known == 0 {
            return Ok::<_, ApiError>(None);
        }
        // What others watch most among the viewer's genres, without what the viewer knows.
        let titles: Vec<Content> = sqlx::query_as(
            "SELECT c.id, c.title, c.genre, c.duration_seconds FROM content c
             LEFT JOIN playback_event e ON e.content_id = c.id AND e.kind = 'start'
             WHERE c.genre IN (SELECT w.genre FROM content w
                               JOIN playback_event p ON p.content_id = w.id WHERE p.viewer = $1)
               AND c.id NOT IN (SELECT content_id FROM playback_event WHERE viewer = $1)
             GROUP BY c.id, c.title, c.genre, c.duration_seconds
             ORDER BY COUNT(e.viewer) DESC, c.id LIMIT 10",
        )
        .bind(&user)
        .fetch_all(&mut *connection)
        .await?;
        Ok(Some(serde_json::to_string(&titles)?))
    };
    let key = format!("recommendations:{user}");
    let lookup = resources.cache.lookup(&signals, &key, load);
    let cached = signals.timed("recommend", lookup).await?;
    Ok(cached_json(cached, format!("viewer {user}")))
}

fn bounded(name: &str, text: String) -> Result<String, ApiError> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        return Err(ApiError::BadRequest(format!(
            "{name} has {} bytes; expected 1 to {MAX_TEXT_BYTES}",
            text.len()
        )));
    }
    Ok(text)
}
