//! A real film: an HLS stream in several bitrates (RFC 8216) from a folder of
//! files, and a page that plays it and keeps its own record.
//!
//! Every title plays the same film. The folder has `master.m3u8`, and a folder
//! for each bitrate with a playlist and its segments. Only names of one plain
//! alphabet are looked for, and only playlists and segments are given out; a
//! larger file than [`MAX_FILE_BYTES`] is refused, because files are answered
//! whole.
//!
//! | route | answer |
//! |---|---|
//! | `GET /playback/:id/hls/master.m3u8` | the bitrates; the title is looked up in the cache; 404 without `--media` |
//! | `GET /playback/:id/hls/:bitrate/:file` | a bitrate's playlist (`.m3u8`) or segment (`.ts`), likewise |
//! | `GET /player` | the page; its arguments are in `film/player.js` |
//! | `GET /player/player.js` | what the page does |
//! | `GET /player/hls.min.js` | the library that plays; 404 without `--hls-js` |

use std::io::ErrorKind;
use std::path::{Path as FilePath, PathBuf};

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use gatemeter_signals::Signals;

use crate::reply::{ApiError, cached_json};
use crate::service::Resources;
use crate::service::content;

/// The largest file that is answered: some seconds of video are far smaller.
const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;
const MAX_NAME_BYTES: usize = 64;
const MASTER: &str = "master.m3u8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Where the film and the library that plays it are.
#[derive(Debug, Clone, Default)]
pub struct Film {
    /// The folder with `master.m3u8`; `None`: there is no film.
    pub media: Option<PathBuf>,
    /// The file `hls.min.js`; `None`: the page cannot play.
    pub hls_js: Option<PathBuf>,
}

pub(super) fn routes() -> Router<Resources> {
    Router::new()
        .route("/playback/{id}/hls/master.m3u8", get(master))
        .route("/playback/{id}/hls/{bitrate}/{file}", get(of_bitrate))
        .route("/player", get(Html(include_str!("film/player.html"))))
        .route("/player/player.js", get(player))
        .route("/player/hls.min.js", get(library))
}

async fn master(
    Extension(signals): Extension<Signals>,
    State(resources): State<Resources>,
    Path(id): Path<i64>,
) -> Result<Response, ApiError> {
    of_title(&resources, &signals, id, &[MASTER]).await
}

async fn of_bitrate(
    Extension(signals): Extension<Signals>,
    State(resources): State<Resources>,
    Path((id, bitrate, file)): Path<(i64, String, String)>,
) -> Result<Response, ApiError> {
    of_title(&resources, &signals, id, &[&bitrate, &file]).await
}

/// The film's file of these names, if there is such a title.
async fn of_title(
    resources: &Resources,
    signals: &Signals,
    id: i64,
    names: &[&str],
) -> Result<Response, ApiError> {
    let cached = content::lookup(resources, signals, &content::playback_key(id), id).await?;
    if cached.is_none() {
        return Ok(cached_json(cached, format!("content {id}")));
    }
    match (&resources.film.media, kind(names)) {
        (Some(media), Some(kind)) => answer(&names.iter().fold(media.clone(), join), kind).await,
        _ => Err(ApiError::NotFound(names.join("/"))),
    }
}

fn join(folder: PathBuf, name: &&str) -> PathBuf {
    folder.join(name)
}

/// The media type of what these names lead to, if they may be looked for.
fn kind(names: &[&str]) -> Option<&'static str> {
    let plain = |name: &&str| {
        name.len() <= MAX_NAME_BYTES
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let (_, extension) = names.last()?.rsplit_once('.')?;
    let kind = match extension {
        "m3u8" => "application/vnd.apple.mpegurl",
        "ts" => "video/mp2t",
        _ => return None,
    };
    names.iter().all(plain).then_some(kind)
}

async fn player() -> Response {
    let script = include_str!("film/player.js");
    ([(header::CONTENT_TYPE, JAVASCRIPT)], script).into_response()
}

async fn library(State(resources): State<Resources>) -> Result<Response, ApiError> {
    match &resources.film.hls_js {
        Some(file) => answer(file, JAVASCRIPT).await,
        None => Err(ApiError::NotFound("hls.min.js; see --hls-js".to_owned())),
    }
}

async fn answer(file: &FilePath, kind: &'static str) -> Result<Response, ApiError> {
    let missing = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => {
            let name = file.file_name().unwrap_or_default();
            ApiError::NotFound(name.to_string_lossy().into_owned())
        }
        _ => error.into(),
    };
    let bytes = tokio::fs::metadata(file).await.map_err(missing)?.len();
    if bytes > MAX_FILE_BYTES {
        let error = format!("{} has {bytes} bytes", file.display());
        return Err(ApiError::Internal(error.into()));
    }
    let body = tokio::fs::read(file).await.map_err(missing)?;
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_only_for_playlists_and_segments_of_plain_names() {
        assert_eq!(kind(&["low", "0.ts"]), Some("video/mp2t"));
        assert_eq!(kind(&[MASTER]), Some("application/vnd.apple.mpegurl"));
        for names in [
            &["..", "0.ts"],
            &["low", "../0.ts"],
            &["low", ".ts"],
            &["low", "0.key"],
            &["low", "ts"],
            &["a/b", "0.ts"],
            &["a\\b", "0.ts"],
            &["a\0", "0.ts"],
        ] {
            assert_eq!(kind(names), None, "{names:?}");
        }
        assert_eq!(kind(&[&format!("{}.ts", "a".repeat(MAX_NAME_BYTES))]), None);
    }
}
