//! The ingestion service: uploads to disk, named by what is in them, and looked into.
//!
//! | route | answer |
//! |---|---|
//! | `POST /ingest` | the body to disk; 201 with its id, 200 where it was there already; 413 over 16 MiB, 507 when the disk's share is used up |
//! | `GET /ingest/:id` | size, SHA-256 and metadata of an upload, cached; 404 |

use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::StreamExt;
use gatemeter_signals::Signals;
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row};
use tokio::io::AsyncWriteExt;

use super::{ApiError, Resources};
use crate::reply::cached_json;

mod metadata;
mod movie;

use metadata::Metadata;

/// The largest upload.
const MAX_UPLOAD_BYTES: u64 = 16 * 1024 * 1024;
/// What all uploads of the process together may take.
const MAX_DISK_BYTES: u64 = 256 * 1024 * 1024;
/// An upload's id: this many hex digits of its SHA-256.
const ID_DIGITS: usize = 24;

/// Bytes on disk, of finished uploads and of those under way.
static ON_DISK: AtomicU64 = AtomicU64::new(0);
/// Tells uploads under way apart.
static NEXT_PART: AtomicU64 = AtomicU64::new(0);

pub(super) fn routes() -> Router<Resources> {
    Router::new()
        .route("/ingest", post(upload))
        .route("/ingest/{id}", get(show))
}

#[derive(Serialize)]
struct Upload {
    id: String,
    bytes: i64,
    sha256: String,
    metadata: Metadata,
}

impl FromRow<'_, AnyRow> for Upload {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            bytes: row.try_get("bytes")?,
            sha256: row.try_get("sha256")?,
            metadata: serde_json::from_str(row.try_get("metadata")?)
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        })
    }
}

async fn upload(
    Extension(signals): Extension<Signals>,
    State(resources): State<Resources>,
    body: Body,
) -> Result<Response, ApiError> {
    // From the body's first byte until the upload is in its place, or refused.
    let _timer = signals.time("process");
    let part = Part::new(&resources.uploads);
    let (part, bytes, digest) = write(part, body).await?;
    let path = part.path.clone();
    let timer = signals.time("metadata");
    let metadata = tokio::task::spawn_blocking(move || metadata::extract(&path))
        .await
        .map_err(|error| ApiError::Internal(Box::new(error)))??;
    timer.stop();
    let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let upload = Upload {
        id: sha256.chars().take(ID_DIGITS).collect(),
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        sha256,
        metadata,
    };
    let mut connection = resources.database.checkout().await?;
    let new = sqlx::query(
        "INSERT INTO upload (id, bytes, sha256) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
    )
    .bind(&upload.id)
    .bind(upload.bytes)
    .bind(&upload.sha256)
    .execute(&mut *connection)
    .await?
    .rows_affected()
        == 1;
    if new {
        sqlx::query(
            "INSERT INTO upload_metadata (id, metadata) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
        )
        .bind(&upload.id)
        .bind(serde_json::to_string(&upload.metadata)?)
        .execute(&mut *connection)
        .await?;
    }
    drop(connection);
    if new {
        part.keep_as(&resources.uploads.join(&upload.id)).await?;
    }
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let location = format!("/ingest/{}", upload.id);
    Ok((status, [(header::LOCATION, location)], Json(upload)).into_response())
}

async fn show(
    Extension(signals): Extension<Signals>,
    State(resources): State<Resources>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    if id.len() != ID_DIGITS || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ApiError::BadRequest(format!(
            "expected an id of {ID_DIGITS} hex digits"
        )));
    }
    let load = || async {
        let mut connection = resources.database.checkout().await?;
        let row: Option<Upload> = sqlx::query_as(
            "SELECT u.id, u.bytes, u.sha256, COALESCE(m.metadata, '{}') AS metadata
             FROM upload u LEFT JOIN upload_metadata m ON m.id = u.id WHERE u.id = $1",
        )
        .bind(&id)
        .fetch_optional(&mut *connection)
        .await?;
        Ok::<_, ApiError>(row.map(|row| serde_json::to_string(&row)).transpose()?)
    };
    let cached = resources
        .cache
        .lookup(&signals, &format!("upload:{id}"), load)
        .await?;
    Ok(cached_json(cached, format!("upload {id}")))
}

/// An upload under way; its file and its share of the disk go when it is dropped before `keep_as`.
struct Part {
    path: PathBuf,
    bytes: u64,
    kept: bool,
}

impl Part {
    fn new(folder: &FilePath) -> Self {
        let n = NEXT_PART.fetch_add(1, Ordering::Relaxed);
        Self {
            path: folder.join(format!("{n}.part")),
            bytes: 0,
            kept: false,
        }
    }

    /// Takes `bytes` more of the disk's share.
    fn reserve(&mut self, bytes: u64) -> Result<(), ApiError> {
        if self.bytes + bytes > MAX_UPLOAD_BYTES {
            return Err(ApiError::TooLarge {
                limit: MAX_UPLOAD_BYTES,
            });
        }
        // Counted before it is compared, so that two uploads cannot both take the last bytes.
        let before = ON_DISK.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > MAX_DISK_BYTES {
            return Err(ApiError::Full {
                limit: MAX_DISK_BYTES,
            });
        }
        Ok(())
    }

    async fn keep_as(mut self, path: &FilePath) -> std::io::Result<()> {
        tokio::fs::rename(&self.path, path).await?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            ON_DISK.fetch_sub(self.bytes, Ordering::Relaxed);
            // It may not have been created yet.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes `body` to the part's file; returns its size and its SHA-256.
async fn write(mut part: Part, body: Body) -> Result<(Part, u64, Vec<u8>), ApiError> {
    let mut file = tokio::fs::File::create(&part.path).await?;
    let mut digest = Sha256::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|error| ApiError::BadRequest(format!("the body broke off: {error}")))?;
        part.reserve(chunk.len() as u64)?;
        digest.update(&chunk);
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    let bytes = part.bytes;
    Ok((part, bytes, digest.finalize().to_vec()))
}
