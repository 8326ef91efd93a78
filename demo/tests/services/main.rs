//! The services in this process, on free ports, as a client sees them.

mod running;
/// What they say of their work in response headers.
mod signals;
/// What the traffic makes of them.
mod traffic;

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use gatemeter_demo::{Config, Demo, Film, Service};
use http_body_util::Full;
use hyper::{Method, Request, StatusCode};
use tokio_tungstenite::tungstenite::Message;

use running::{Answer, PATIENCE, Running, open};

#[tokio::test]
async fn each_service_says_what_its_cache_and_its_pool_did() {
    let demo = Running::start().await;
    let uploaded = demo
        .send(Service::Ingestion, Method::POST, "/ingest", "a film")
        .await;
    assert_eq!(uploaded.status, StatusCode::CREATED);
    let upload = uploaded.header("location").unwrap().to_owned();
    for (service, path) in [
        (Service::Api, "/api/content/42"),
        (Service::Api, "/api/content"),
        (Service::Discovery, "/search?q=winter"),
        (Service::Discovery, "/recommendations/7"),
        (Service::Playback, "/playback/42/manifest"),
        (Service::Ingestion, upload.as_str()),
    ] {
        let first = demo.get(service, path).await;
        let second = demo.get(service, path).await;
        assert_eq!(first.status, StatusCode::OK, "{path}: {}", first.text());
        assert_eq!(
            first.header("cache-status"),
            Some("memory;fwd=miss"),
            "{path}"
        );
        assert_eq!(second.header("cache-status"), Some("memory;hit"), "{path}");
        assert_eq!(first.body, second.body, "{path}");
        // The pool may have opened a second one while the first was on its way back.
        let pool = second.header("x-db-pool").unwrap();
        let idle: u32 = pool
            .strip_prefix("active=0, idle=")
            .expect(pool)
            .parse()
            .unwrap();
        assert!((1..=4).contains(&idle), "{path}: {pool}");
    }
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_with_a_delay_holds_a_connection_for_that_long() {
    let demo = Running::start().await;
    let slow = demo.get(Service::Api, "/api/content/1?delay_ms=1500");
    let watch = async {
        let start = Instant::now();
        loop {
            let answer = demo.get(Service::Api, "/api/status/204").await;
            let pool = answer.header("x-db-pool").unwrap().to_owned();
            if pool.starts_with("active=1,") {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "still {pool}");
        }
    };
    let start = Instant::now();
    let (answer, ()) = tokio::join!(slow, watch);
    assert_eq!(answer.status, StatusCode::OK);
    assert!(start.elapsed() >= Duration::from_millis(1500));
    let after = demo.get(Service::Api, "/healthz").await;
    assert!(after.header("x-db-pool").unwrap().starts_with("active=0,"));
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn a_changed_title_is_not_served_from_the_cache() {
    let demo = Running::start().await;
    let path = "/api/content/500";
    let missing = demo.get(Service::Api, path).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.header("cache-status"), Some("memory;fwd=miss"));

    let title = r#"{"title":"Late News","genre":"news","duration_seconds":60}"#;
    let put = demo.send(Service::Api, Method::PUT, path, title).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    assert!(demo.get(Service::Api, path).await.text().contains("Late"));
    let manifest = demo.get(Service::Playback, "/playback/500/manifest").await;
    assert_eq!(manifest.text().matches("#EXTINF").count(), 10);

    let longer = title.replace("Late", "Early").replace("60", "120");
    let put = demo.send(Service::Api, Method::PUT, path, &longer).await;
    assert_eq!(put.status, StatusCode::OK);
    assert!(demo.get(Service::Api, path).await.text().contains("Early"));
    let manifest = demo.get(Service::Playback, "/playback/500/manifest").await;
    assert_eq!(manifest.text().matches("#EXTINF").count(), 20);

    let deleted = demo.send(Service::Api, Method::DELETE, path, "").await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let again = demo.send(Service::Api, Method::DELETE, path, "").await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    let manifest = demo.get(Service::Playback, "/playback/500/manifest").await;
    assert_eq!(manifest.status, StatusCode::NOT_FOUND);
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn only_the_right_password_logs_in() {
    let demo = Running::start().await;
    for (user, password, expected) in [
        ("demo", "demo", StatusCode::OK),
        ("demo", "wrong", StatusCode::UNAUTHORIZED),
        ("nobody", "demo", StatusCode::UNAUTHORIZED),
    ] {
        let body = format!(r#"{{"user":"{user}","password":"{password}"}}"#);
        let answer = demo
            .send(Service::Api, Method::POST, "/api/login", &body)
            .await;
        assert_eq!(answer.status, expected, "{user} {password}");
    }
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn answers_the_status_that_was_asked_for() {
    let demo = Running::start().await;
    for code in [200_u16, 204, 304, 404, 429, 499, 503, 599] {
        let path = format!("/api/status/{code}");
        assert_eq!(demo.get(Service::Api, &path).await.status, code);
    }
    for code in ["99", "100", "600", "abc"] {
        let path = format!("/api/status/{code}");
        assert_eq!(demo.get(Service::Api, &path).await.status, 400, "{code}");
    }
    let redirect = demo
        .get(Service::Api, "/api/status/302?location=/api/content/9")
        .await;
    assert_eq!(redirect.header("location"), Some("/api/content/9"));
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn refuses_delays_and_streams_without_bound() {
    let demo = Running::start().await;
    for path in [
        "/api/slow?ms=10001",
        "/api/slow?ms=-1",
        "/api/content?delay_ms=5001",
        "/api/content?delay_ms=x",
        "/api/content/1/stream?events=1001",
        "/api/content/1/stream?interval_ms=0",
    ] {
        let answer = demo.get(Service::Api, path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
    }
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_stream_tells_each_event_and_ends() {
    let demo = Running::start().await;
    let answer = demo
        .get(Service::Api, "/api/content/3/stream?events=4&interval_ms=5")
        .await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("cache-status"), Some("memory;fwd=miss"));
    assert_eq!(answer.text().matches("event: progress").count(), 4);
    assert!(answer.text().contains("id: 3"), "{}", answer.text());
    let missing = demo.get(Service::Api, "/api/content/9999/stream").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn searches_for_text_not_for_patterns() {
    let demo = Running::start().await;
    let found = demo.get(Service::Discovery, "/search?q=WINTER").await;
    assert!(found.text().contains("Winter"), "{}", found.text());
    for pattern in ["%25", "_", "!"] {
        let path = format!("/search?q={pattern}");
        assert_eq!(demo.get(Service::Discovery, &path).await.text(), "[]");
    }
    let long = format!("/search?q={}", "x".repeat(101));
    assert_eq!(demo.get(Service::Discovery, &long).await.status, 400);
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn recommends_what_the_viewer_has_not_seen() {
    let demo = Running::start().await;
    let event = r#"{"viewer":"ann","kind":"start","position_ms":0}"#;
    let unknown = demo.get(Service::Discovery, "/recommendations/ann").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let accepted = demo
        .send(Service::Playback, Method::POST, "/playback/6/events", event)
        .await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    let known = demo.get(Service::Discovery, "/recommendations/ann").await;
    let titles: serde_json::Value = serde_json::from_slice(&known.body).unwrap();
    let titles = titles.as_array().unwrap();
    assert!(!titles.is_empty());
    for title in titles {
        assert_ne!(title["id"], 6);
        assert_eq!(title["genre"], "drama", "viewer watched only a drama");
    }
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn counts_a_player_event_only_of_a_known_kind_and_title() {
    let demo = Running::start().await;
    for (path, kind, expected) in [
        ("/playback/6/events", "buffer", 202),
        ("/playback/6/events", "buffer", 202),
        ("/playback/6/events", "rewind", 422),
        ("/playback/9999/events", "stop", 404),
    ] {
        let event = format!(r#"{{"viewer":"bob","kind":"{kind}","position_ms":5}}"#);
        let answer = demo
            .send(Service::Playback, Method::POST, path, &event)
            .await;
        assert_eq!(answer.status, expected, "{path} {kind}: {}", answer.text());
    }
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn serves_the_segments_that_the_manifest_names_and_no_other() {
    let demo = Running::start().await;
    let manifest = demo.get(Service::Playback, "/playback/1/manifest").await;
    let last = manifest.text().matches("#EXTINF").count() - 1;
    let path = format!("/playback/1/segments/{last}");
    let segment = demo.get(Service::Playback, &path).await;
    assert_eq!(segment.status, StatusCode::OK);
    assert_eq!(segment.header("cache-status"), Some("memory;hit"));
    assert_eq!(segment.body.len(), 65_536);
    let path = format!("/playback/1/segments/{}", last + 1);
    assert_eq!(demo.get(Service::Playback, &path).await.status, 404);
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn plays_the_film_of_its_folder_and_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let low = folder.path().join("media/low");
    std::fs::create_dir_all(&low).unwrap();
    for (name, content) in [
        ("media/master.m3u8", "#EXTM3U"),
        ("media/low/media.m3u8", "#EXTM3U low"),
        ("media/low/0.ts", "video"),
        ("media/low/secret.key", "key"),
        ("beside.ts", "beside"),
        ("hls.min.js", "script"),
    ] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let demo = Running::start_with(Film {
        media: Some(folder.path().join("media")),
        hls_js: Some(folder.path().join("hls.min.js")),
    })
    .await;
    for (path, kind, body) in [
        (
            "/playback/1/hls/master.m3u8",
            "application/vnd.apple.mpegurl",
            "#EXTM3U",
        ),
        (
            "/playback/1/hls/low/media.m3u8",
            "application/vnd.apple.mpegurl",
            "#EXTM3U low",
        ),
        (
            "/playback/1/hls/low/0.ts?CMCD=br%3D145",
            "video/mp2t",
            "video",
        ),
        (
            "/player/hls.min.js",
            "text/javascript; charset=utf-8",
            "script",
        ),
    ] {
        let answer = demo.get(Service::Playback, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(answer.text(), body, "{path}");
        let cached = answer.header("cache-status").is_some();
        assert_eq!(cached, path.starts_with("/playback/"), "{path}");
    }
    for path in [
        "/playback/1/hls/low/1.ts",
        "/playback/1/hls/low/secret.key",
        "/playback/1/hls/../beside.ts",
        "/playback/1/hls/%2e%2e/beside.ts",
        "/playback/1/hls/low/%2e%2e%2f%2e%2e%2fbeside.ts",
        "/playback/1/hls/low",
        "/playback/9999/hls/master.m3u8",
    ] {
        let answer = demo.get(Service::Playback, path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn has_a_player_page_but_no_film_where_none_was_given() {
    let demo = Running::start().await;
    for path in ["/player", "/player/player.js"] {
        let answer = demo.get(Service::Playback, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    for path in ["/player/hls.min.js", "/playback/1/hls/master.m3u8"] {
        let answer = demo.get(Service::Playback, path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn an_upload_is_kept_once_and_a_too_large_one_not_at_all() {
    let demo = Running::start().await;
    let first = demo
        .send(Service::Ingestion, Method::POST, "/ingest", "the same")
        .await;
    let second = demo
        .send(Service::Ingestion, Method::POST, "/ingest", "the same")
        .await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 200));
    assert_eq!(first.header("location"), second.header("location"));
    let shown = demo
        .get(Service::Ingestion, first.header("location").unwrap())
        .await;
    // printf 'the same' | sha256sum
    assert!(
        shown
            .text()
            .contains(r#""bytes":8,"sha256":"fa0487f2dc91544ab4b9f5b1d59b7eb2bf68807a6e42cdf22fce4e0bc4b84cb2""#),
        "{}",
        shown.text()
    );
    let large = "x".repeat(16 * 1024 * 1024 + 1);
    let refused = demo
        .send(Service::Ingestion, Method::POST, "/ingest", &large)
        .await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    let unknown = "/ingest/000000000000000000000000";
    assert_eq!(demo.get(Service::Ingestion, unknown).await.status, 404);
    assert_eq!(demo.get(Service::Ingestion, "/ingest/x").await.status, 400);
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn echoes_a_websocket_and_closes_it_when_it_stops() {
    let demo = Running::start().await;
    let url = format!("ws://{}/ws/lobby/1", demo.address(Service::Api));
    let (mut socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert!(response.headers().contains_key("x-db-pool"));
    for message in [Message::text("hello"), Message::binary(vec![0, 255])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    let start = Instant::now();
    demo.stop().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(4), "waited for it");
    let last = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(
        matches!(last, Some(Ok(Message::Close(Some(_))))),
        "{last:?}"
    );
}

#[tokio::test]
async fn ends_an_open_event_stream_when_it_stops() {
    let demo = Running::start().await;
    let request = Request::get("/api/content/3/stream?events=1000&interval_ms=5000")
        .header("host", "demo")
        .body(Full::default())
        .unwrap();
    let stream = open(demo.address(Service::Api), request).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let start = Instant::now();
    demo.stop().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(4), "waited for it");
    let answer = Answer::read(stream).await;
    assert_eq!(answer.text().matches("event: progress").count(), 1);
}

#[tokio::test]
async fn names_the_address_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let started = Demo::start(Config {
        listen: vec![(Service::Playback, address)],
        database_url: None,
        redis_url: None,
        db_connections: 1,
        cache_ttl: Duration::from_secs(1),
        film: Film::default(),
    })
    .await;
    let message = started.err().unwrap().to_string();
    assert_eq!(
        message,
        format!("the playback service cannot listen on {address}")
    );
}
