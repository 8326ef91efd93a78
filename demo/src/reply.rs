//! What every service answers in the same way: errors and cached values, as JSON.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request was not done; the client reads it as `{"error": "..."}`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error("unknown user or wrong password")]
    Unauthorized,
    #[error("there is no {0}")]
    NotFound(String),
    #[error("too many logins; try again in {seconds} s")]
    RateLimited { seconds: u64 },
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("uploads take {limit} bytes on disk already")]
    Full { limit: u64 },
    #[error("the database is busy")]
    Busy,
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Self::Busy,
            other => Self::Internal(Box::new(other)),
        }
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut retry_after = None;
        let status = match &self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::RateLimited { seconds } => {
                retry_after = Some([(header::RETRY_AFTER, seconds.to_string())]);
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            // The client is not told what went wrong inside; the log is.
            Self::Internal(source) => {
                tracing::error!(error = %source, "request failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let body = Json(json!({ "error": self.to_string() }));
        match retry_after {
            Some(header) => (status, header, body).into_response(),
            None => (status, body).into_response(),
        }
    }
}

/// A cached JSON text as an answer; `what` names the thing in the 404 where there is none.
pub(crate) fn cached_json(cached: Option<String>, what: impl Into<String>) -> Response {
    match cached {
        Some(value) => ([(header::CONTENT_TYPE, "application/json")], value).into_response(),
        None => ApiError::NotFound(what.into()).into_response(),
    }
}
