use std::{net::SocketAddr, time::Duration};

use gatemeter_bridge::{app::Ended, config::Key, live::MOST_LISTENERS};
use gatemeter_core::{catalog::REQUEST_DURATION_BIN, stat_name};
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    Bridge, STATS,
    client::{get, get_with, request},
    fake_admin::{Does, FakeAdmin, ok},
    until, within,
};

/// A bridge with a live page that reads every second.
async fn start(admin: &FakeAdmin) -> Bridge {
    let live = [(Key::LiveEnabled, "true"), (Key::LiveInterval, "1s")];
    Bridge::start_with(&admin.url(), &live).await
}

/// One reader of `/live/events`.
struct Listener {
    stream: TcpStream,
    read: String,
}

impl Listener {
    async fn listen(bridge: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(bridge).await.unwrap();
        let head = b"GET /live/events HTTP/1.1\r\nhost: bridge\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let read = String::new();
        let mut listener = Self { stream, read };
        listener.read_until(|read| read.contains("\r\n\r\n")).await;
        listener
    }

    fn status(&self) -> &str {
        self.read.lines().next().unwrap()
    }

    /// Reads on until so; says whether it came to that before the end.
    async fn read_until(&mut self, is_enough: impl Fn(&str) -> bool) -> bool {
        within(async {
            let mut buffer = [0; 4096];
            while !is_enough(&self.read) {
                match self.stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return false,
                    Ok(count) => {
                        let text = String::from_utf8_lossy(&buffer[..count]);
                        self.read.push_str(&text);
                    }
                }
            }
            true
        })
        .await
    }

    /// The data of all whole events of this kind so far.
    fn events(&self, kind: &str) -> Vec<Value> {
        let start = format!("event: {kind}\n");
        let whole = self
            .read
            .split("\n\n")
            .filter(|event| event.contains(&start));
        let data = whole.filter_map(|event| event.lines().find_map(|l| l.strip_prefix("data: ")));
        data.filter_map(|data| serde_json::from_str(data).ok())
            .collect()
    }

    /// The first state from now on that this holds for.
    async fn state(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        within(async {
            loop {
                let states = self.events("state");
                if let Some(state) = states.into_iter().find(&holds) {
                    return state;
                }
                let length = self.read.len();
                assert!(
                    self.read_until(|read| read.len() > length).await,
                    "{}",
                    self.read
                );
            }
        })
        .await
    }
}

fn is_up(state: &Value) -> bool {
    state["envoys"][0]["up"] == true
}

#[tokio::test]
async fn tells_the_past_then_each_moment_and_the_totals_of_the_metrics_page() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = start(&admin).await;
    let mut listener = Listener::listen(bridge.address).await;
    assert!(listener.status().ends_with("200 OK"), "{}", listener.read);
    assert!(listener.read.contains("content-type: text/event-stream"));
    let state = listener.state(is_up).await;
    let api = &state["services"][0];
    assert_eq!(api["name"], "api");
    assert_eq!(
        api["totals"],
        serde_json::json!(["0", "1523", "0", "0", "0", "0"])
    );
    assert_eq!(api["active"], 42);
    assert_eq!(api["pool"], serde_json::json!([15, 25]));
    assert_eq!(api["caches"][0]["name"], "redis");
    assert_eq!(
        api["caches"][0]["totals"],
        serde_json::json!(["8934", "234"])
    );
    assert_eq!(
        api["routes"][0]["name"],
        serde_json::json!(["GET", "/api/content"])
    );

    // 100 more, all of them between 1 and 5 ms.
    admin.does(Does::Send(ok(STATS
        .replace("le=0.005: 189", "le=0.005: 289")
        .as_bytes())));
    let state = listener
        .state(|state| state["services"][0]["totals"][1] == "1623")
        .await;
    let minute = &state["services"][0]["ranges"][0];
    assert_eq!(minute["classes"][1], 100);
    let median = minute["q"][0].as_f64().unwrap();
    assert!((median - 0.003).abs() < 1e-9, "{median}");
    let points = listener.events("points").concat_arrays();
    let came: u64 = points
        .iter()
        .flat_map(|point| {
            point["services"][0]["routes"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        })
        .map(|route| route["n"][1].as_u64().unwrap())
        .sum();
    assert_eq!(came, 100);

    // Who comes later is told the same.
    let mut later = Listener::listen(bridge.address).await;
    later.state(is_up).await;
    let told = later.events("points").concat_arrays();
    assert_eq!(told[..points.len()], points);
    bridge.end().await;
}

trait ConcatArrays {
    fn concat_arrays(&self) -> Vec<Value>;
}

impl ConcatArrays for Vec<Value> {
    fn concat_arrays(&self) -> Vec<Value> {
        let lists = self.iter().map(|list| list.as_array().unwrap());
        lists.flatten().cloned().collect()
    }
}

#[tokio::test]
async fn says_why_and_since_when_envoy_is_away_and_that_it_is_back() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = start(&admin).await;
    let mut listener = Listener::listen(bridge.address).await;
    listener.state(is_up).await;
    admin.does(Does::Send(
        b"HTTP/1.1 500 Internal Server Error\r\n\r\n".to_vec(),
    ));
    let away = listener
        .state(|state| state["envoys"][0]["up"] == false)
        .await;
    let envoy = &away["envoys"][0];
    assert_eq!(envoy["reason"], "status");
    assert!(envoy["error"].as_str().unwrap().contains("500"), "{envoy}");
    let points = listener.events("points").concat_arrays();
    let gap = points.iter().find(|point| point["gap"] == true).unwrap();
    assert_eq!(gap["services"], serde_json::json!([]));
    assert_eq!(gap["at"], envoy["since"]);
    admin.does(Does::Send(ok(STATS.as_bytes())));
    let since = envoy["since"].as_u64().unwrap();
    listener
        .state(|state| is_up(state) && state["envoys"][0]["since"].as_u64() > Some(since))
        .await;
    bridge.end().await;
}

/// One with no patience says nothing of Envoy, however often it comes.
#[tokio::test]
async fn a_hasty_scrape_does_not_say_that_envoy_is_away() {
    let admin = FakeAdmin::doing(Does::Delay(Duration::from_millis(100), STATS)).await;
    let bridge = start(&admin).await;
    let mut listener = Listener::listen(bridge.address).await;
    listener.state(is_up).await;
    let enough = async {
        listener
            .read_until(|read| read.matches("event: state\n").count() >= 6)
            .await
    };
    let hasty = async {
        loop {
            let patience = [("x-prometheus-scrape-timeout-seconds", "0.01")];
            let page = get_with(bridge.address, "/metrics", &patience).await;
            assert_eq!(page.value("gatemeter_up"), Some(0.0));
        }
    };
    tokio::select! {
        is_enough = enough => assert!(is_enough),
        () = hasty => {}
    }
    let points = listener.events("points").concat_arrays();
    assert!(points.len() >= 4, "{points:?}");
    assert!(
        points.iter().all(|point| point["gap"] == false),
        "{points:?}"
    );
    bridge.end().await;
}

#[tokio::test]
async fn names_of_traffic_stay_text_within_their_event() {
    let hostile = "/<img src=x onerror=\"x\">\u{2028}event: state\\ndata: {}";
    let values = ["api", "GET", hostile, "200", "0.001"];
    let name = stat_name::encode(&REQUEST_DURATION_BIN, &values).unwrap();
    let stats = format!("{STATS}wasmcustom.{name}: 7\n");
    let admin = FakeAdmin::serving(&stats).await;
    let bridge = start(&admin).await;
    let mut listener = Listener::listen(bridge.address).await;
    let state = listener.state(is_up).await;
    let routes = state["services"][0]["routes"].as_array().unwrap();
    let names: Vec<_> = routes
        .iter()
        .map(|route| route["name"][1].clone())
        .collect();
    assert!(names.contains(&Value::from(hostile)), "{names:?}");
    for event in listener.events("state") {
        assert!(event["services"].is_array(), "forged: {event}");
    }
    bridge.end().await;
}

#[tokio::test]
async fn one_listener_too_many_is_told_to_come_again_and_gets_the_place_of_one_that_left() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = start(&admin).await;
    let mut listeners = Vec::new();
    for _ in 0..MOST_LISTENERS {
        let listener = Listener::listen(bridge.address).await;
        assert!(listener.status().ends_with("200 OK"));
        listeners.push(listener);
    }
    let refused = get(bridge.address, "/live/events").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.header("retry-after"), Some("10"));
    // Those that listen do not keep a scraper out.
    assert_eq!(get(bridge.address, "/metrics").await.status, StatusCode::OK);
    listeners.pop();
    until("there is a place", async || {
        let listener = Listener::listen(bridge.address).await;
        listener.status().ends_with("200 OK")
    })
    .await;
    drop(listeners);
    bridge.end().await;
}

#[tokio::test]
async fn a_listener_does_not_keep_the_bridge_from_ending() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = start(&admin).await;
    let mut listener = Listener::listen(bridge.address).await;
    listener.state(is_up).await;
    let start = std::time::Instant::now();
    assert_eq!(bridge.end().await, Ended::Gracefully);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert!(!listener.read_until(|_| false).await);
}

#[tokio::test]
async fn serves_the_page_with_a_strict_policy_and_its_files_with_tags() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = start(&admin).await;
    let page = get(bridge.address, "/").await;
    assert_eq!(page.status, StatusCode::OK);
    let policy = page.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
    ] {
        assert!(policy.split("; ").any(|part| part == rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let text = page.text();
    assert!(text.contains("<noscript>") && text.contains("href=\"/metrics\""));
    let files: Vec<_> = text
        .split(['"', ' '])
        .filter(|part| part.starts_with("/live/"))
        .collect();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let answer = get(bridge.address, file).await;
        assert_eq!(answer.status, StatusCode::OK, "{file}");
        let tag = answer.header("etag").unwrap();
        let again = get_with(bridge.address, file, &[("if-none-match", tag)]).await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{file}");
        assert!(again.body.is_empty());
        let other = get_with(bridge.address, file, &[("if-none-match", "\"other\"")]).await;
        assert_eq!(other.body, answer.body, "{file}");
    }
    let post = request(bridge.address, Method::POST, "/live/events", &[]).await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
    bridge.end().await;
}

#[tokio::test]
async fn where_it_is_off_nothing_is_read_and_the_front_page_has_links() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    let page = get(bridge.address, "/").await;
    assert!(page.text().contains("href=\"/metrics\""));
    let events = get(bridge.address, "/live/events").await;
    assert_eq!(events.status, StatusCode::NOT_FOUND);
    assert_eq!(admin.requests(), Vec::<String>::new());
    bridge.end().await;
}
