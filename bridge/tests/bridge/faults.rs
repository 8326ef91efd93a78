use std::time::{Duration, Instant};

use gatemeter_bridge::config::Key;
use http::StatusCode;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    Bridge, STATS,
    client::{get, get_with},
    fake_admin::{Does, FakeAdmin, ok},
    until,
};

/// The bridge says that Envoy is away, why, and nothing of any service.
pub(crate) async fn says_that_envoy_is_away(bridge: &Bridge, reason: &str, fault: &str) {
    let errors = format!("gatemeter_scrape_errors_total{{reason=\"{reason}\"}}");
    let before = get(bridge.address, "/metrics").await;
    assert_eq!(before.status, StatusCode::OK, "{fault}");
    assert_eq!(before.value("gatemeter_up"), Some(0.0), "{fault}");
    assert!(
        before.value(&errors) >= Some(1.0),
        "{fault}: {}",
        before.text()
    );
    assert!(
        !before.text().contains("service="),
        "{fault}: {}",
        before.text()
    );
    assert!(before.text().contains("# TYPE http_requests_total counter"));
    assert!(before.text().contains("gatemeter_build_info{"));

    for path in ["/metrics/api", "/-/ready"] {
        let answer = get(bridge.address, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{fault}");
        assert!(!answer.text().contains("http_requests_total"), "{fault}");
        // What a panic while decoding comes to.
        assert!(!answer.text().contains("cannot be decoded"), "{fault}");
        assert!(
            !answer.text().contains("EVIL"),
            "{fault}: {}",
            answer.text()
        );
    }
    assert_eq!(
        get(bridge.address, "/-/healthy").await.status,
        StatusCode::OK
    );
    let after = get(bridge.address, "/metrics").await;
    assert_eq!(
        after.value(&errors),
        before.value(&errors).map(|errors| errors + 3.0),
        "{fault}: one error a read"
    );
}

pub(crate) async fn serves(bridge: &Bridge, fault: &str) {
    let page = get(bridge.address, "/metrics").await;
    assert_eq!(page.value("gatemeter_up"), Some(1.0), "after {fault}");
    let page = get(bridge.address, "/metrics/api").await;
    assert_eq!(
        page.value("active_connections"),
        Some(42.0),
        "after {fault}"
    );
    let ready = get(bridge.address, "/-/ready").await;
    assert_eq!(ready.status, StatusCode::OK, "after {fault}");
}

/// The stats behind this head.
pub(crate) fn with_head(head: &str) -> Vec<u8> {
    format!("{head}\r\n\r\n{STATS}").into_bytes()
}

/// The stats with their length and another header.
pub(crate) fn whole_with(header: &str) -> Vec<u8> {
    let length = STATS.len();
    with_head(&format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{header}"
    ))
}

/// A connection with a scrape that waits for its answer.
async fn waiting_scrape(bridge: &Bridge) -> TcpStream {
    let mut stream = TcpStream::connect(bridge.address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: b\r\n\r\n")
        .await
        .unwrap();
    stream
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_no_page_and_the_next_scrape_recovers() {
    let whole = ok(STATS.as_bytes());
    let cut_after = |marker: &str| {
        let at = whole
            .windows(marker.len())
            .position(|w| w == marker.as_bytes());
        whole[..at.unwrap() + marker.len()].to_vec()
    };
    let first_line = STATS.split_inclusive('\n').next().unwrap().as_bytes();
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start_with(
        &admin.url(),
        &[
            (Key::EnvoyMaxAnswerBytes, "100000"),
            (Key::EnvoyTimeout, "300ms"),
        ],
    )
    .await;
    for (fault, does, reason) in [
        ("closes at once", Does::Send(Vec::new()), "truncated"),
        ("cut in the head", Does::Send(cut_after("server: ")), "truncated"),
        ("cut before the body", Does::Send(cut_after("\r\n\r\n")), "truncated"),
        ("cut in a chunk", Does::Send(cut_after("cache_hits_total")), "truncated"),
        ("cut before the last chunk", Does::Send(whole[..whole.len() - 5].to_vec()), "truncated"),
        (
            "shorter than its length",
            Does::Send(with_head("HTTP/1.1 200 OK\r\ncontent-length: 99999")),
            "truncated",
        ),
        (
            "cut in a line where only the connection ends it",
            Does::Send(with_head("HTTP/1.1 200 OK")[..200].to_vec()),
            "protocol",
        ),
        (
            "cut after a line where only the connection ends it",
            Does::Send([b"HTTP/1.1 200 OK\r\n\r\n", first_line].concat()),
            "protocol",
        ),
        (
            "nothing where only the connection ends it",
            Does::Send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
            "protocol",
        ),
        (
            "of an older HTTP, where only the connection ends it",
            Does::Send(with_head("HTTP/1.0 200 OK\r\ncontent-type: text/plain")),
            "protocol",
        ),
        (
            "another transfer coding, which only the connection ends",
            Does::Send(with_head("HTTP/1.1 200 OK\r\ntransfer-encoding: identity")),
            "protocol",
        ),
        (
            "longer than the limit by its length",
            Does::Send(with_head("HTTP/1.1 200 OK\r\ncontent-length: 1073741824")),
            "too_large",
        ),
        ("longer than the limit", Does::Flood, "too_large"),
        ("hangs", Does::Hang, "timeout"),
        ("a byte a second", Does::Drip, "timeout"),
        (
            "late",
            Does::Delay(Duration::from_secs(5), STATS),
            "timeout",
        ),
        (
            "status 500",
            Does::Send(with_head("HTTP/1.1 500 EVIL\r\ncontent-length: 99999")),
            "status",
        ),
        (
            "a redirect",
            Does::Send(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/EVIL\r\ncontent-length: 0\r\n\r\n".to_vec()),
            "status",
        ),
        ("no HTTP", Does::Send(b"SSH-2.0-EVIL\r\n\r\n".to_vec()), "protocol"),
        (
            "two lengths",
            Does::Send(with_head("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6")),
            "protocol",
        ),
        (
            "compressed",
            Does::Send(whole_with("content-encoding: gzip")),
            "protocol",
        ),
        (
            "a web page",
            Does::Send(whole_with("content-type: text/html")),
            "protocol",
        ),
        (
            "another program",
            Does::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nEVIL\n".to_vec()),
            "protocol",
        ),
    ] {
        admin.does(does);
        says_that_envoy_is_away(&bridge, reason, fault).await;
        admin.does(Does::Send(whole.clone()));
        serves(&bridge, fault).await;
    }
    bridge.end().await;
}

#[tokio::test]
pub(crate) async fn says_that_envoy_is_away_when_nobody_listens_and_recovers_when_it_is_back() {
    let admin = FakeAdmin::serving(STATS).await;
    let address = admin.address;
    drop(admin);
    until("the port is closed", async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
    let bridge = Bridge::start(&format!("http://{address}")).await;
    says_that_envoy_is_away(&bridge, "connect", "nobody listens").await;

    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let envoy = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&ok(STATS.as_bytes())).await.unwrap();
            // Closed with the request unread, the answer could be lost.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    });
    serves(&bridge, "nobody listens").await;
    envoy.abort();
    bridge.end().await;
}

#[tokio::test]
async fn an_answer_with_a_length_is_whole() {
    let answer = whole_with("content-type: text/plain");
    let admin = FakeAdmin::doing(Does::Send(answer)).await;
    let bridge = Bridge::start(&admin.url()).await;
    serves(&bridge, "an answer with a length").await;
    bridge.end().await;
}

#[tokio::test]
async fn an_envoy_without_any_stat_of_ours_is_up() {
    let admin = FakeAdmin::serving("").await;
    let bridge = Bridge::start(&admin.url()).await;
    let page = get(bridge.address, "/metrics").await;
    assert_eq!(page.value("gatemeter_up"), Some(1.0));
    assert!(!page.text().contains("service="));
    bridge.end().await;
}

#[tokio::test]
async fn bad_lines_are_dropped_and_counted_and_their_neighbours_stay() {
    let forged = [
        STATS.as_bytes(),
        b"wasmcustom.other\xff: 1\n",
        b"wasmcustom.some name\n",
        b"wasmcustom.cache_hits_total.service=api.cache_type=redis: 1\n",
        b"wasmcustom.cache_hits_total.service=api.cache_type=a\"} 1 # {x=\"y: 1\n",
        b"wasmcustom.cache_hits_total.service=api: 1\n",
        b"wasmcustom.cache_hits_total.service=api.cache_type=cdn: 1e3\n",
        b"wasmcustom.active_connections.service=api: 18446744073709551615\n",
        b"wasmcustom.http_request_duration_seconds_bin.service=api.method=GET.path=/x.status=200.le=5: 1\n",
        b"wasmcustom.http_request_duration_ms.service=api.method=GET.path=/x: P0(nan,1.0) P100(nan,2.0)\n",
        b"wasmcustom.http_requests_total.service=worn.method=GET.path=/.status=200: 18446744073709551615\n",
    ]
    .concat();
    let admin = FakeAdmin::doing(Does::Send(ok(&forged))).await;
    let bridge = Bridge::start(&admin.url()).await;
    let page = get(bridge.address, "/metrics").await;
    assert_eq!(page.value("gatemeter_up"), Some(1.0));
    for (reason, count) in [
        ("not_utf8", 1.0),
        ("bad_line", 1.0),
        ("duplicate", 1.0),
        ("bad_name", 2.0),
        ("bad_value", 1.0),
        ("negative_gauge", 1.0),
        ("bad_bound", 1.0),
        ("control_character", 0.0),
    ] {
        let series = format!("gatemeter_dropped_stats_total{{reason=\"{reason}\"}}");
        assert_eq!(page.value(&series), Some(count), "{reason}");
    }
    let hits = "cache_hits_total{service=\"api\",cache_type=\"redis\"}";
    assert_eq!(page.value(hits), Some(8934.0));
    let worn = "http_requests_total{service=\"worn\",method=\"GET\",path=\"/\",status=\"200\"} 18446744073709551615\n";
    assert!(page.text().contains(worn));
    assert!(!page.text().contains("path=\"/x\""));
    bridge.end().await;
}

#[tokio::test]
async fn callers_at_once_cost_two_reads_and_never_two_at_a_time() {
    let admin = FakeAdmin::doing(Does::Delay(Duration::from_secs(2), STATS)).await;
    let bridge = Bridge::start_with(&admin.url(), &[(Key::EnvoyTimeout, "15s")]).await;
    let address = bridge.address;
    let first = tokio::spawn(async move { get(address, "/metrics").await });
    until("the first read runs", async || admin.requests().len() == 1).await;
    let others: Vec<_> = (0..100)
        .map(|_| tokio::spawn(async move { get(address, "/metrics").await }))
        .collect();
    for scrape in others.into_iter().chain([first]) {
        assert_eq!(scrape.await.unwrap().value("gatemeter_up"), Some(1.0));
    }
    assert_eq!(admin.requests().len(), 2);
    assert_eq!(admin.most_at_once(), 1);
    bridge.end().await;
}

#[tokio::test]
async fn a_scrape_never_shows_numbers_from_before_it_began() {
    let old = "http.api.downstream_rq_active: 1\nwasmcustom.gatemeter_filter_info.service=api.version=1: 1\n";
    let new = "http.api.downstream_rq_active: 2\nwasmcustom.gatemeter_filter_info.service=api.version=1: 1\n";
    let admin = FakeAdmin::doing(Does::Delay(Duration::from_millis(500), old)).await;
    let bridge = Bridge::start_with(&admin.url(), &[(Key::EnvoyTimeout, "15s")]).await;
    let address = bridge.address;
    let first = tokio::spawn(async move { get(address, "/metrics/api").await });
    until("the first read runs", async || admin.requests().len() == 1).await;
    admin.does(Does::Send(ok(new.as_bytes())));
    let second = get(address, "/metrics/api").await;
    assert_eq!(second.value("active_connections"), Some(2.0));
    assert_eq!(first.await.unwrap().value("active_connections"), Some(1.0));
    bridge.end().await;
}

#[tokio::test]
async fn the_scrapers_own_timeout_is_the_deadline() {
    let admin = FakeAdmin::doing(Does::Hang).await;
    let bridge = Bridge::start_with(&admin.url(), &[(Key::EnvoyTimeout, "1h")]).await;
    for (asked, least, most) in [("0.9", 450, 900), ("2", 1500, 2000)] {
        let start = Instant::now();
        let headers = [("x-prometheus-scrape-timeout-seconds", asked)];
        let page = get_with(bridge.address, "/metrics", &headers).await;
        let took = start.elapsed();
        assert_eq!(page.value("gatemeter_up"), Some(0.0));
        assert!(took >= Duration::from_millis(least), "{asked}: {took:?}");
        assert!(took < Duration::from_millis(most), "{asked}: {took:?}");
    }
    bridge.end().await;
}

#[tokio::test]
async fn a_timeout_that_is_no_time_is_not_taken() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    for asked in [
        "", "0", "-1", "NaN", "inf", "1e400", "1e300", "ten", "1e-300",
    ] {
        let headers = [("x-prometheus-scrape-timeout-seconds", asked)];
        let page = get_with(bridge.address, "/metrics", &headers).await;
        assert_eq!(page.status, StatusCode::OK, "{asked}");
        assert_eq!(page.value("gatemeter_up"), Some(1.0), "{asked}");
    }
    bridge.end().await;
}

#[tokio::test]
async fn a_read_that_its_callers_have_left_is_given_up() {
    let admin = FakeAdmin::doing(Does::Hang).await;
    let bridge = Bridge::start_with(&admin.url(), &[(Key::EnvoyTimeout, "1h")]).await;
    let left = waiting_scrape(&bridge).await;
    until("the read hangs", async || admin.requests().len() == 1).await;
    admin.does(Does::Send(ok(STATS.as_bytes())));
    drop(left);
    serves(&bridge, "a caller that left").await;
    bridge.end().await;
}

#[tokio::test]
async fn a_caller_whose_time_runs_out_behind_another_read_is_told_so() {
    let admin = FakeAdmin::doing(Does::Hang).await;
    let bridge = Bridge::start_with(&admin.url(), &[(Key::EnvoyTimeout, "1h")]).await;
    let patient = waiting_scrape(&bridge).await;
    until("the read hangs", async || admin.requests().len() == 1).await;
    let headers = [("x-prometheus-scrape-timeout-seconds", "0.2")];
    let page = get_with(bridge.address, "/metrics", &headers).await;
    assert_eq!(page.value("gatemeter_up"), Some(0.0));
    assert_eq!(
        page.value("gatemeter_scrape_errors_total{reason=\"busy\"}"),
        Some(1.0)
    );
    drop(patient);
    bridge.end().await;
}
