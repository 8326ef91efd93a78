//! The playback service: HLS manifests (RFC 8216), segments, player events; and,
//! in [`film`], a stream that a player can really play.
//!
//! | route | answer |
//! |---|---|
//! | `GET /playback/:id/manifest` | the media playlist of a title, cached; 404 |
//! | `GET /playback/:id/segments/:n` | 64 KiB of it, from 0; the title is looked up in the cache; 404 |
//! | `POST /playback/:id/events` | 202; `{"viewer","kind","position_ms"}`, kind start, pause, stop or buffer |

pub(crate) mod film;

use std::fmt::Write;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use gatemeter_signals::Signals;
use serde::Deserialize;

use super::content::{self, Content};
use super::{ApiError, Resources};
use crate::reply::cached_json;

/// How much of a title a segment covers.
const SEGMENT_SECONDS: i64 = 6;
/// A playlist names at most this many segments; a longer title is cut.
const MAX_SEGMENTS: i64 = 2_000;
const SEGMENT_BYTES: usize = 64 * 1024;
const MAX_VIEWER_BYTES: usize = 100;

pub(super) fn routes() -> Router<Resources> {
    Router::new()
        .route("/playback/{id}/manifest", get(manifest))
        .route("/playback/{id}/segments/{n}", get(segment))
        .route("/playback/{id}/events", post(record_event))
        .merge(film::routes())
}

fn segments(title: &Content) -> i64 {
    (title.duration_seconds / SEGMENT_SECONDS).clamp(1, MAX_SEGMENTS)
}

async fn manifest(
    Extension(signals): Extension<Signals>,
    State(resources): State<Resources>,
    Path(id): Path<i64>,
) -> Result<Response, ApiError> {
    let cached = content::lookup(&resources, &signals, &content::playback_key(id), id).await?;
    let Some(value) = &cached else {
        return Ok(cached_json(cached, format!("content {id}")));
    };
    let title: Content = serde_json::from_str(value)?;
    let mut playlist = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-TARGETDURATION:{SEGMENT_SECONDS}\n"
    );
    for n in 0..segments(&title) {
        // Writing to a String cannot fail.
        let _ = write!(playlist, "#EXTINF:{SEGMENT_SECONDS},\nsegments/{n}\n");
    }
    playlist.push_str("#EXT-X-ENDLIST\n");
    Ok((
        [(header::CONTENT_TYPE, "application/vnd.apple.mpegurl")],
        playlist,
    )
        .into_response())
}

async fn segment(
    Extension(signals): Extension<Signals>,
    State(resources): State<Resources>,
    Path((id, n)): Path<(i64, i64)>,
) -> Result<Response, ApiError> {
    let cached = content::lookup(&resources, &signals, &content::playback_key(id), id).await?;
    let Some(value) = &cached else {
        return Ok(cached_json(cached, format!("content {id}")));
    };
    let title: Content = serde_json::from_str(value)?;
    if !(0..segments(&title)).contains(&n) {
        return Err(ApiError::NotFound(format!("segment {n}")));
    }
    // Null packets of an MPEG transport stream (ISO 13818-1): sync byte, PID 0x1FFF.
    let mut body = vec![0xff_u8; SEGMENT_BYTES];
    for packet in body.chunks_mut(188) {
        for (byte, value) in packet.iter_mut().zip([0x47, 0x1f, 0xff, 0x10]) {
            *byte = value;
        }
    }
    Ok(([(header::CONTENT_TYPE, "video/mp2t")], body).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlayerEvent {
    viewer: String,
    kind: EventKind,
    position_ms: i64,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum EventKind {
    Start,
    Pause,
    Stop,
    Buffer,
}

impl EventKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Stop => "stop",
            Self::Buffer => "buffer",
        }
    }
}

async fn record_event(
    Extension(signals): Extension<Signals>,
    State(resources): State<Resources>,
    Path(id): Path<i64>,
    Json(event): Json<PlayerEvent>,
) -> Result<Response, ApiError> {
    if event.viewer.is_empty() || event.viewer.len() > MAX_VIEWER_BYTES || event.position_ms < 0 {
        return Err(ApiError::BadRequest(format!(
            "expected a viewer of 1 to {MAX_VIEWER_BYTES} bytes and a position_ms from 0"
        )));
    }
    let cached = content::lookup(&resources, &signals, &content::playback_key(id), id).await?;
    if cached.is_none() {
        return Ok(cached_json(cached, format!("content {id}")));
    }
    let mut connection = resources.database.checkout().await?;
    sqlx::query(
        "INSERT INTO playback_event (viewer, content_id, kind, times, position_ms)
         VALUES ($1, $2, $3, 1, $4)
         ON CONFLICT (viewer, content_id, kind) DO UPDATE
         SET times = playback_event.times + 1, position_ms = excluded.position_ms",
    )
    .bind(&event.viewer)
    .bind(id)
    .bind(event.kind.as_str())
    .bind(event.position_ms)
    .execute(&mut *connection)
    .await?;
    Ok(StatusCode::ACCEPTED.into_response())
}
