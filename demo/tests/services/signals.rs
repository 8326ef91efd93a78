use gatemeter_demo::Service;
use hyper::{Method, StatusCode};

use crate::running::{Answer, Running};

/// Name and milliseconds of each entry of `Server-Timing`.
fn timings(answer: &Answer) -> Vec<(&str, f64)> {
    let line = answer.header("server-timing").unwrap_or_default();
    let entries = line.split(", ").filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let (name, milliseconds) = entry.split_once(";dur=").unwrap();
            (name, milliseconds.parse().unwrap())
        })
        .collect()
}

fn names<'a>(timings: &[(&'a str, f64)]) -> Vec<&'a str> {
    timings.iter().map(|(name, _)| *name).collect()
}

#[tokio::test]
async fn a_search_says_how_long_it_took_and_how_much_it_found() {
    let demo = Running::start().await;
    let search = async |text| {
        let path = format!("/search?q={text}");
        demo.get(Service::Discovery, &path).await
    };
    let first = search("winter").await;
    let timings_of_first = timings(&first);
    assert_eq!(names(&timings_of_first), ["vectordb", "search"]);
    let (vectors, whole) = (timings_of_first[0].1, timings_of_first[1].1);
    assert!(0.0 < vectors && vectors <= whole, "{timings_of_first:?}");
    let titles: Vec<serde_json::Value> = serde_json::from_slice(&first.body).unwrap();
    assert_eq!(titles.len(), 15, "every eighth of 120");
    assert_eq!(first.header("x-search-results"), Some("15"));

    // From the cache there is nothing to look up, and it found as much.
    let second = search("winter").await;
    assert_eq!(second.header("cache-status"), Some("memory;hit"));
    assert_eq!(names(&timings(&second)), ["search"]);
    assert_eq!(second.header("x-search-results"), Some("15"));

    let many = search("drama").await;
    assert_eq!(many.header("x-search-results"), Some("20"));
    let none = search("nothing+like+it").await;
    assert_eq!((none.status, none.text()), (StatusCode::OK, "[]"));
    assert_eq!(none.header("x-search-results"), Some("0"));
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn a_title_that_is_new_is_found_once_the_index_is_built_again() {
    let demo = Running::start().await;
    let find = async |text: String| {
        let path = format!("/search?q={text}");
        let answer = demo.get(Service::Discovery, &path).await;
        answer.header("x-search-results").unwrap().to_owned()
    };
    assert_eq!(find("xylophone".to_owned()).await, "0");
    let title = r#"{"title":"Xylophone Nights","genre":"music","duration_seconds":60}"#;
    demo.send(Service::Api, Method::PUT, "/api/content/500", title)
        .await;
    let start = std::time::Instant::now();
    // Another text each time, so that no answer comes from the cache.
    let mut turn = 0;
    while find(format!("xylophone+{turn}")).await == "0" {
        assert!(start.elapsed() < crate::PATIENCE, "not found");
        turn += 1;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn recommendations_say_how_long_they_took() {
    let demo = Running::start().await;
    for path in [
        "/recommendations/7",
        "/recommendations/7",
        "/recommendations/nobody",
    ] {
        let answer = demo.get(Service::Discovery, path).await;
        assert_eq!(names(&timings(&answer)), ["recommend"], "{path}");
        assert_eq!(answer.header("x-search-results"), None, "{path}");
    }
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn an_upload_says_how_long_it_took_and_what_it_is() {
    let demo = Running::start().await;
    let upload = async |bytes: &[u8]| {
        demo.send(Service::Ingestion, Method::POST, "/ingest", bytes)
            .await
    };
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x02\x80\0\0\x01\x68\x08\x02\0\0\0";
    let picture = upload(png).await;
    assert_eq!(picture.status, StatusCode::CREATED);
    let timings_of_picture = timings(&picture);
    assert_eq!(names(&timings_of_picture), ["metadata", "process"]);
    let (metadata, whole) = (timings_of_picture[0].1, timings_of_picture[1].1);
    assert!(0.0 < metadata && metadata < whole, "{timings_of_picture:?}");
    let shown = r#""metadata":{"media_type":"image/png","width":640,"height":360}"#;
    assert!(picture.text().contains(shown), "{}", picture.text());

    let stored = demo
        .get(Service::Ingestion, picture.header("location").unwrap())
        .await;
    assert!(stored.text().contains(shown), "{}", stored.text());
    assert_eq!(timings(&stored), []);
    let text = upload(b"a film").await;
    assert!(text.text().contains(r#""metadata":{}"#), "{}", text.text());
    let refused = upload(&vec![0; 16 * 1024 * 1024 + 1]).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(names(&timings(&refused)), ["process"], "no metadata of it");
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn too_many_logins_are_told_when_to_come_back() {
    let demo = Running::start().await;
    let nobody = r#"{"user":"nobody","password":"guess"}"#;
    let mut unauthorized = 0;
    let refused = loop {
        let answer = demo
            .send(Service::Api, Method::POST, "/api/login", nobody)
            .await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        unauthorized += 1;
        assert!(unauthorized < 1_000, "nothing is refused");
    };
    assert!(unauthorized >= 20, "only {unauthorized} were let through");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Others are not refused, and this one is not for long.
    assert_eq!(demo.get(Service::Api, "/api/content").await.status, 200);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let right = r#"{"user":"demo","password":"demo"}"#;
    let answer = demo
        .send(Service::Api, Method::POST, "/api/login", right)
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    demo.stop().await.unwrap();
}
