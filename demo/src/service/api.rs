//! The api service: the catalogue, logins, an event stream, a WebSocket echo.
//!
//! | route | answer |
//! |---|---|
//! | `GET /api/content` | all titles, cached |
//! | `GET /api/content/:id` | one title, cached; 404 |
//! | `PUT /api/content/:id` | 201 new, 200 changed; drops it from the cache |
//! | `DELETE /api/content/:id` | 204; 404 |
//! | `GET /api/content/:id/stream` | server-sent events; `?events=N&interval_ms=M` |
//! | `POST /api/login` | 200, 401; the account is demo with the password demo; 429 past twenty at once and five a second |
//! | `GET /api/slow` | 200 after `?ms=N`; holds no connection of the pool |
//! | `ANY /api/status/:code` | that status, 200 to 599; a 3xx has a `Location` (`?location=`) |
//! | `GET /ws/*` | WebSocket; echoes what it gets |

use std::convert::Infallible;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordVerifier, phc::PasswordHash};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Json, Router};
use futures_util::Stream;
use gatemeter_signals::Signals;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::content::{self, Content};
use super::{ApiError, Resources};
use crate::reply::cached_json;

/// The longest `/api/slow`.
const MAX_SLOW_MS: u64 = 10_000;
/// The most events of a stream, and the longest pause between two.
const MAX_EVENTS: u32 = 1_000;
const MAX_INTERVAL_MS: u64 = 5_000;
/// The largest WebSocket message; a larger one closes the socket.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Each check of a password takes 19 MiB while it runs.
static PASSWORD_CHECKS: Semaphore = Semaphore::const_new(2);

pub(super) fn routes() -> Router<Resources> {
    Router::new()
        .route("/api/content", get(list))
        .route("/api/content/{id}", get(show).put(replace).delete(remove))
        .route("/api/content/{id}/stream", get(stream))
        .route("/api/login", post(login))
        .route("/api/slow", get(slow))
        .route("/api/status/{code}", any(status))
        .route("/ws/{*channel}", get(socket))
}

async fn list(
    Extension(signals): Extension<Signals>,
    State(resources): State<Resources>,
) -> Result<Response, ApiError> {
    let load = || async {
        let mut connection = resources.database.checkout().await?;
        let rows: Vec<Content> = sqlx::query_as(
            "SELECT id, title, genre, duration_seconds FROM content ORDER BY id LIMIT 200",
        )
        .fetch_all(&mut *connection)
        .await?;
        Ok::<_, ApiError>(Some(serde_json::to_string(&rows)?))
    };
    let cached = resources
        .cache
        .lookup(&signals, content::LIST_KEY, load)
        .await?;
    Ok(cached_json(cached, "content"))
}

async fn show(
    Extension(signals): Extension<Signals>,
    State(resources): State<Resources>,
    Path(id): Path<i64>,
) -> Result<Response, ApiError> {
    let cached = content::lookup(&resources, &signals, &content::key(id), id).await?;
    Ok(cached_json(cached, format!("content {id}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewContent {
    title: String,
    genre: String,
    duration_seconds: i64,
}

async fn replace(
    State(resources): State<Resources>,
    Path(id): Path<i64>,
    Json(new): Json<NewContent>,
) -> Result<Response, ApiError> {
    if id < 1 || new.duration_seconds < 1 || new.title.is_empty() || new.title.len() > 200 {
        return Err(ApiError::BadRequest(
            "expected a positive id and duration_seconds, and a title of 1 to 200 bytes".into(),
        ));
    }
    let mut connection = resources.database.checkout().await?;
    let changed = sqlx::query(
        "UPDATE content SET title = $2, genre = $3, duration_seconds = $4 WHERE id = $1",
    )
    .bind(id)
    .bind(&new.title)
    .bind(&new.genre)
    .bind(new.duration_seconds)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if changed == 0 {
        // Another request may have put it there in between: the later one wins.
        sqlx::query(
            "INSERT INTO content (id, title, genre, duration_seconds) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO UPDATE SET title = excluded.title, genre = excluded.genre,
             duration_seconds = excluded.duration_seconds",
        )
        .bind(id)
        .bind(&new.title)
        .bind(&new.genre)
        .bind(new.duration_seconds)
        .execute(&mut *connection)
        .await?;
    }
    drop(connection);
    forget(&resources, id).await;
    let status = if changed == 0 {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let content = Content {
        id,
        title: new.title,
        genre: new.genre,
        duration_seconds: new.duration_seconds,
    };
    Ok((status, Json(content)).into_response())
}

async fn remove(
    State(resources): State<Resources>,
    Path(id): Path<i64>,
) -> Result<StatusCode, ApiError> {
    let mut connection = resources.database.checkout().await?;
    let removed = sqlx::query("DELETE FROM content WHERE id = $1")
        .bind(id)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    drop(connection);
    if removed == 0 {
        return Err(ApiError::NotFound(format!("content {id}")));
    }
    forget(&resources, id).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Drops everything that is derived from the title `id`. Searches and
/// recommendations may show it until their time is up.
async fn forget(resources: &Resources, id: i64) {
    let (own, playback) = (content::key(id), content::playback_key(id));
    resources
        .cache
        .forget(&[content::LIST_KEY, &own, &playback])
        .await;
}

#[derive(Deserialize)]
struct StreamQuery {
    events: Option<u32>,
    interval_ms: Option<u64>,
}

async fn stream(
    Extension(signals): Extension<Signals>,
    State(resources): State<Resources>,
    Path(id): Path<i64>,
    Query(query): Query<StreamQuery>,
) -> Result<Response, ApiError> {
    let events = query.events.unwrap_or(10);
    let interval = query.interval_ms.unwrap_or(200);
    if events > MAX_EVENTS || !(1..=MAX_INTERVAL_MS).contains(&interval) {
        return Err(ApiError::BadRequest(format!(
            "events={events} and interval_ms={interval}; expected events up to {MAX_EVENTS} and interval_ms from 1 to {MAX_INTERVAL_MS}"
        )));
    }
    let cached = content::lookup(&resources, &signals, &content::key(id), id).await?;
    let Some(value) = &cached else {
        return Ok(cached_json(cached, format!("content {id}")));
    };
    let title: Content = serde_json::from_str(value)?;
    let progress = progress(&resources, &title, events, Duration::from_millis(interval));
    Ok(Sse::new(progress).into_response())
}

/// How far a viewer of `title` would be, told `events` times; ends early when the service stops.
fn progress(
    resources: &Resources,
    title: &Content,
    events: u32,
    interval: Duration,
) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    let (id, stop, start) = (title.id, resources.stop.clone(), Instant::now());
    futures_util::stream::unfold(0, move |sent| {
        let stop = stop.clone();
        async move {
            if sent >= events {
                return None;
            }
            if sent > 0 {
                tokio::select! {
                    () = tokio::time::sleep(interval) => {}
                    () = stop.cancelled() => return None,
                }
            }
            let position = start.elapsed().as_millis();
            let data = json!({ "content": id, "position_ms": u64::try_from(position).unwrap_or(u64::MAX) });
            let event = Event::default().event("progress").id(sent.to_string());
            Some((Ok(event.data(data.to_string())), sent + 1))
        }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    user: String,
    password: String,
}

#[derive(Serialize)]
struct LoggedIn {
    user: String,
}

async fn login(
    State(resources): State<Resources>,
    Json(credentials): Json<Credentials>,
) -> Result<Json<LoggedIn>, ApiError> {
    resources.logins.take(Instant::now().into_std())?;
    let mut connection = resources.database.checkout().await?;
    let hash: Option<String> =
        sqlx::query_scalar("SELECT password_hash FROM account WHERE name = $1")
            .bind(&credentials.user)
            .fetch_optional(&mut *connection)
            .await?;
    drop(connection);
    let hash = hash.ok_or(ApiError::Unauthorized)?;
    let _permit = PASSWORD_CHECKS
        .acquire()
        .await
        .map_err(|_| ApiError::Busy)?;
    let password = credentials.password;
    let right = tokio::task::spawn_blocking(move || {
        PasswordHash::new(&hash).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok()
        })
    })
    .await
    .map_err(|error| ApiError::Internal(Box::new(error)))?;
    if right {
        let user = credentials.user;
        Ok(Json(LoggedIn { user }))
    } else {
        Err(ApiError::Unauthorized)
    }
}

#[derive(Deserialize)]
struct SlowQuery {
    ms: Option<u64>,
}

async fn slow(Query(query): Query<SlowQuery>) -> Result<Json<serde_json::Value>, ApiError> {
    let milliseconds = query.ms.unwrap_or(1_000);
    if milliseconds > MAX_SLOW_MS {
        return Err(ApiError::BadRequest(format!(
            "ms={milliseconds}; expected at most {MAX_SLOW_MS}"
        )));
    }
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    Ok(Json(json!({ "ms": milliseconds })))
}

#[derive(Deserialize)]
struct StatusQuery {
    location: Option<String>,
}

async fn status(
    Path(code): Path<u16>,
    Query(query): Query<StatusQuery>,
) -> Result<Response, ApiError> {
    // A final status only: below 200 the exchange would not be over.
    let status = match StatusCode::from_u16(code) {
        Ok(status) if (200..=599).contains(&code) => status,
        _ => {
            return Err(ApiError::BadRequest(format!(
                "status {code}; expected 200 to 599"
            )));
        }
    };
    let mut response = match status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
            status.into_response()
        }
        _ => (status, Json(json!({ "status": code }))).into_response(),
    };
    if status.is_redirection() {
        let location = query.location.as_deref().unwrap_or("/api/content");
        let location = HeaderValue::try_from(location)
            .map_err(|_| ApiError::BadRequest("location is no header value".into()))?;
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn socket(State(resources): State<Resources>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .on_upgrade(move |socket| echo(socket, resources))
}

async fn echo(mut socket: WebSocket, resources: Resources) {
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            () = resources.stop.cancelled() => {
                let frame = CloseFrame { code: close_code::AWAY, reason: "stopping".into() };
                // The other side may be gone already; then there is nobody to tell.
                let _ = socket.send(Message::Close(Some(frame))).await;
                return;
            }
        };
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            // Pings are answered by the library.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
        }
    }
}
