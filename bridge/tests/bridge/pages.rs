use http::{Method, StatusCode};
use tokio::net::UnixListener;

use crate::{
    Bridge, STATS,
    client::{get, get_with, request},
    fake_admin::{self, FakeAdmin},
};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[tokio::test]
async fn shows_one_service_as_the_guide_does_and_all_services_with_their_names() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;

    let one = get(bridge.address, "/metrics/api").await;
    assert_eq!(one.status, StatusCode::OK);
    assert_eq!(one.header("content-type"), Some(TEXT));
    assert_eq!(one.header("cache-control"), Some("no-store"));
    let requests = "http_requests_total{method=\"GET\",path=\"/api/content\",status=\"200\"}";
    assert_eq!(one.value(requests), Some(1523.0));
    assert_eq!(one.value("active_connections"), Some(42.0));
    assert!(!one.text().contains("service="));
    assert!(!one.text().contains("gatemeter_"));

    let all = get(bridge.address, "/metrics").await;
    assert_eq!(all.header("content-type"), Some(TEXT));
    assert_eq!(all.value("active_connections{service=\"api\"}"), Some(42.0));
    assert_eq!(all.value("gatemeter_up"), Some(1.0));
    assert_eq!(
        all.value("http_responses_incomplete_total{service=\"api\",reason=\"upstream_reset\"}"),
        Some(2.0)
    );
    assert_eq!(
        all.value("gatemeter_filter_info{service=\"api\",version=\"0.1.0\"}"),
        Some(1.0)
    );
    assert!(
        all.value("gatemeter_scrape_duration_seconds{phase=\"envoy\"}")
            .unwrap()
            < 1.0
    );
    bridge.end().await;
}

#[tokio::test]
async fn reads_envoy_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let serving = fake_admin::serve_on_socket(UnixListener::bind(&socket).unwrap(), STATS);
    let bridge = Bridge::start(&format!("unix:{}", socket.display())).await;
    let page = get(bridge.address, "/metrics/api").await;
    assert_eq!(page.value("db_connections_idle"), Some(25.0));
    bridge.end().await;
    serving.abort();
}

#[tokio::test]
async fn asks_envoy_for_text_whatever_the_caller_accepts() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    let accept = "application/vnd.google.protobuf;encoding=delimited, */*;q=0.1";
    let page = get_with(
        bridge.address,
        "/metrics",
        &[
            ("accept", accept),
            ("accept-encoding", "gzip"),
            ("x-other", "1"),
        ],
    )
    .await;
    assert_eq!(page.header("content-type"), Some(TEXT));
    let [request] = &admin.requests()[..] else {
        panic!("{:?}", admin.requests())
    };
    assert!(
        request.starts_with("GET /stats?filter=%5E%28wasmcustom"),
        "{request}"
    );
    assert!(!request.contains("usedonly"), "{request}");
    assert!(request.contains("accept: text/plain\r\n"), "{request}");
    assert!(!request.contains("accept-encoding"), "{request}");
    assert!(!request.contains("x-other"), "{request}");
    bridge.end().await;
}

#[tokio::test]
async fn negotiates_format_and_coding() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    let page = get_with(
        bridge.address,
        "/metrics/api",
        &[
            (
                "accept",
                "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.3",
            ),
            ("accept-encoding", "gzip"),
        ],
    )
    .await;
    assert_eq!(page.header("content-type"), Some(OPENMETRICS));
    assert_eq!(page.header("content-encoding"), Some("gzip"));
    assert_eq!(page.header("vary"), Some("Accept, Accept-Encoding"));
    assert!(page.text().ends_with("# EOF\n"));
    assert!(page.body.len() < page.text().len() / 2);

    let plain = get(bridge.address, "/metrics/api").await;
    assert_eq!(plain.header("content-encoding"), None);
    // As curl --compressed asks.
    let asked = [("accept-encoding", "deflate, gzip, br, zstd")];
    let packed = get_with(bridge.address, "/metrics/api", &asked).await;
    assert_eq!(packed.header("content-encoding"), Some("zstd"));
    assert_eq!(packed.header("cache-control"), Some("no-store"));
    assert_eq!(packed.text(), plain.text());
    let head = request(bridge.address, Method::HEAD, "/metrics/api", &asked).await;
    assert_eq!(head.header("content-encoding"), Some("zstd"));
    let length = packed.body.len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()));
    assert!(head.body.is_empty());
    bridge.end().await;
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    for path in ["/", "/metrics/api", "/-/healthy", "/-/ready", "/nothing"] {
        let get = get(bridge.address, path).await;
        let head = request(bridge.address, Method::HEAD, path, &[]).await;
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(
            head.header("content-type"),
            get.header("content-type"),
            "{path}"
        );
        assert_eq!(
            head.header("content-length"),
            Some(get.body.len().to_string().as_str()),
            "{path}"
        );
        assert!(head.body.is_empty(), "{path}");
    }
    bridge.end().await;
}

#[tokio::test]
async fn any_other_method_is_refused_with_those_that_are_allowed() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    for path in ["/", "/metrics", "/metrics/api", "/-/healthy", "/-/ready"] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = request(bridge.address, method, path, &[]).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{path}");
        }
    }
    assert_eq!(admin.requests(), Vec::<String>::new());
    bridge.end().await;
}

#[tokio::test]
async fn a_service_that_envoy_does_not_have_is_not_found_and_not_repeated() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    for path in [
        "/metrics/admin",
        "/metrics/API",
        "/metrics/zzz%3Cscript%3E",
        "/metrics/%FF",
        "/metrics/api/",
        "/metrics/..%2Fapi",
        "/metricszzz",
        "/zzz?zzz=zzz",
    ] {
        let answer = get_with(bridge.address, path, &[("user-agent", "zzz")]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        let text = answer.text();
        assert!(!text.contains("zzz") && !text.contains("script"), "{text}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    bridge.end().await;
}

#[tokio::test]
async fn takes_its_own_scrapes_off_the_open_connections_of_their_listener() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    let mark = |service| [("x-gatemeter-scrape", service)];
    let active = async |service| {
        get_with(bridge.address, "/metrics/api", &mark(service))
            .await
            .value("active_connections")
    };
    assert_eq!(active("api").await, Some(41.0));
    assert_eq!(active("playback").await, Some(42.0));
    // No mark outlives its scrape.
    let page = get(bridge.address, "/metrics/api").await;
    assert_eq!(page.value("active_connections"), Some(42.0));
    bridge.end().await;
}

#[tokio::test]
async fn the_landing_page_leads_to_the_others_and_loads_nothing() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    let page = get(bridge.address, "/").await;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(
        page.header("content-security-policy"),
        Some("default-src 'none'; frame-ancestors 'none'")
    );
    let text = page.text();
    for path in ["/metrics", "/-/healthy", "/-/ready"] {
        assert!(text.contains(&format!("href=\"{path}\"")), "{path}");
        assert_eq!(
            get(bridge.address, path).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
    bridge.end().await;
}
