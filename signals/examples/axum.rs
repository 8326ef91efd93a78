//! A service on axum that says what it knows: `cargo run -p gatemeter-signals --example axum`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Extension, Router};
use gatemeter_signals::{Pool, Signals, SignalsLayer};

/// Titles by number, as they were rendered once.
type Titles = Arc<Mutex<HashMap<u32, String>>>;

async fn title(
    Extension(signals): Extension<Signals>,
    State(titles): State<Titles>,
    Path(number): Path<u32>,
) -> String {
    let lookup = signals.cache("memory");
    let known = titles
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&number)
        .cloned();
    if let Some(title) = known {
        lookup.hit();
        return title;
    }
    lookup.miss();
    let title = signals
        .timed("render", async { format!("Title {number}\n") })
        .await;
    let mut titles = titles.lock().unwrap_or_else(PoisonError::into_inner);
    titles.insert(number, title.clone());
    title
}

fn app() -> Router {
    // What your pool says of itself: in use, and open and free.
    let pool = || Pool { active: 1, idle: 9 };
    Router::new()
        .route("/titles/{number}", get(title))
        .layer(SignalsLayer::new().pool(pool))
        .with_state(Titles::default())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    println!("try: curl -i http://{}/titles/7", listener.local_addr()?);
    axum::serve(listener, app()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    #[tokio::test]
    async fn says_a_miss_with_its_time_and_then_a_hit() {
        let app = app();
        let ask = || async {
            let request = Request::get("/titles/7").body(Body::empty()).unwrap();
            app.clone().oneshot(request).await.unwrap()
        };
        let (first, second) = (ask().await, ask().await);
        assert_eq!(first.headers()["cache-status"], "memory;fwd=miss");
        let timing = first.headers()["server-timing"].to_str().unwrap();
        assert!(timing.starts_with("render;dur="), "{timing}");
        assert_eq!(second.headers()["cache-status"], "memory;hit");
        assert_eq!(second.headers().get("server-timing"), None);
        assert_eq!(second.headers()["x-db-pool"], "active=1, idle=9");
    }
}
