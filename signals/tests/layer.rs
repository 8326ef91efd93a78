//! The layer around a real axum router.

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use gatemeter_signals::{CACHE_STATUS, Pool, Signals, SignalsLayer, X_DB_POOL};
use tower::{Layer, ServiceExt, service_fn};

async fn answer(app: &Router, path: &str) -> (StatusCode, HeaderMap) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    (response.status(), response.headers().clone())
}

async fn both_caches(Extension(signals): Extension<Signals>) -> impl IntoResponse {
    let memory = signals.cache("memory");
    // A clone goes wherever the work goes.
    let origin = signals.clone();
    tokio::spawn(async move { origin.cache("redis").hit() })
        .await
        .unwrap();
    memory.miss();
    let _timer = signals.time("handler");
    StatusCode::ACCEPTED
}

#[tokio::test]
async fn each_request_has_its_own_recorder() {
    let app = Router::new()
        .route("/both", get(both_caches))
        .route("/nothing", get(|| async { "nothing to say" }))
        .layer(SignalsLayer::new());
    let (status, headers) = answer(&app, "/both").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(headers["cache-status"], "redis;hit, memory;fwd=miss");
    let timing = headers["server-timing"].to_str().unwrap();
    assert!(timing.starts_with("handler;dur="), "{timing}");
    let (_, headers) = answer(&app, "/nothing").await;
    for name in ["cache-status", "server-timing", "x-db-pool"] {
        assert_eq!(headers.get(name), None, "{name}");
    }
}

#[tokio::test]
async fn the_pool_is_asked_after_the_handler_and_on_errors_too() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    let active = Arc::new(AtomicU64::new(0));
    let state = Arc::clone(&active);
    let work = move || async move {
        active.fetch_add(1, Ordering::Relaxed);
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let layer = SignalsLayer::new().pool(move || Pool {
        active: state.load(Ordering::Relaxed),
        idle: 3,
    });
    let app = Router::new().route("/", get(work)).layer(layer);
    let (status, headers) = answer(&app, "/").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(headers["x-db-pool"], "active=1, idle=3");
    let (status, headers) = answer(&app, "/no/such/route").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(headers["x-db-pool"], "active=1, idle=3");
}

#[tokio::test]
async fn a_layer_within_a_layer_says_each_thing_once() {
    let inner = Router::new()
        .route("/both", get(both_caches))
        .layer(SignalsLayer::new().pool(|| Pool { active: 1, idle: 1 }));
    let app = Router::new().merge(inner).layer(SignalsLayer::new());
    let (_, headers) = answer(&app, "/both").await;
    assert_eq!(headers.get_all(CACHE_STATUS).iter().count(), 1);
    assert_eq!(headers[X_DB_POOL], "active=1, idle=1");
}

#[tokio::test]
async fn an_error_of_the_service_is_passed_on() {
    let failing = service_fn(|_: Request<()>| async { Err::<Response<()>, _>("gone") });
    let service = SignalsLayer::new().layer(failing);
    let answer = service.oneshot(Request::new(())).await;
    assert_eq!(answer.unwrap_err(), "gone");
}

#[tokio::test]
async fn a_handler_without_the_layer_is_an_error_that_is_seen() {
    let app = Router::new().route("/both", get(both_caches));
    let (status, _) = answer(&app, "/both").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
}
