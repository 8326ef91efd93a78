//! The catalogue's titles, as several services read them, and the cache keys that hold them.

use gatemeter_signals::Signals;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row};

use super::Resources;
use crate::reply::ApiError;

/// The key of the whole list.
pub(super) const LIST_KEY: &str = "content-list";

/// One title of the catalogue.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) id: i64,
    pub(super) title: String,
    pub(super) genre: String,
    pub(super) duration_seconds: i64,
}

impl FromRow<'_, AnyRow> for Content {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            title: row.try_get("title")?,
            genre: row.try_get("genre")?,
            duration_seconds: row.try_get("duration_seconds")?,
        })
    }
}

/// The key of one title.
pub(super) fn key(id: i64) -> String {
    format!("content:{id}")
}

/// The key of one title as the playback service keeps it.
pub(super) fn playback_key(id: i64) -> String {
    format!("playback:{id}")
}

/// Looks up the title `id` under `key`, then in the database.
pub(super) async fn lookup(
    resources: &Resources,
    signals: &Signals,
    key: &str,
    id: i64,
) -> Result<Option<String>, ApiError> {
    let load = || async {
        let mut connection = resources.database.checkout().await?;
        let row: Option<Content> =
            sqlx::query_as("SELECT id, title, genre, duration_seconds FROM content WHERE id = $1")
                .bind(id)
                .fetch_optional(&mut *connection)
                .await?;
        Ok(row.map(|row| serde_json::to_string(&row)).transpose()?)
    };
    resources.cache.lookup(signals, key, load).await
}
