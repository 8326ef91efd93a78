use std::time::{Duration, Instant};

use http::StatusCode;

use crate::{
    Bridge, STATS,
    client::{get, get_with},
    fake_admin::{Does, FakeAdmin},
};

const REFUSES: &[u8] = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";

const OTHER: &str = "http.api.downstream_rq_active: 1
wasmcustom.gatemeter_filter_info.service=api.version=0%2E1%2E0: 1
wasmcustom.gatemeter_filter_info.service=playback.version=0%2E1%2E0: 1
wasmcustom.db_connections_active.service=api: 5
wasmcustom.db_connections_active.service=playback: 6
";

struct Envoys {
    one: FakeAdmin,
    two: FakeAdmin,
    rare: FakeAdmin,
    /// The own page of the service api.
    _source: FakeAdmin,
    bridge: Bridge,
}

async fn envoys() -> Envoys {
    let one = FakeAdmin::serving(STATS).await;
    let two = FakeAdmin::serving(OTHER).await;
    let rare = FakeAdmin::serving(OTHER).await;
    let source = FakeAdmin::serving("own 1\n").await;
    let yaml = format!(
        "envoy: {{timeout: 1s}}\nenvoys:\n\
         \x20 - {{name: edge-1, admin: \"{}\", labels: {{zone: a}}}}\n\
         \x20 - {{name: edge-2, admin: \"{}\"}}\n\
         \x20 - {{name: rare, admin: \"{}\", on_demand: true}}\n\
         sources: [{{service: api, url: \"{}/metrics\"}}]\n",
        one.url(),
        two.url(),
        rare.url(),
        source.url(),
    );
    let bridge = Bridge::start_from(&yaml).await;
    Envoys {
        one,
        two,
        rare,
        _source: source,
        bridge,
    }
}

#[tokio::test]
async fn every_series_says_which_envoy_it_comes_from() {
    let envoys = envoys().await;
    let address = envoys.bridge.address;
    let all = get(address, "/metrics").await;
    for (series, value) in [
        ("gatemeter_up{envoy=\"edge-1\",zone=\"a\"}", 1.0),
        ("gatemeter_up{envoy=\"edge-2\"}", 1.0),
        (
            "active_connections{envoy=\"edge-1\",zone=\"a\",service=\"api\"}",
            42.0,
        ),
        ("active_connections{envoy=\"edge-2\",service=\"api\"}", 1.0),
        (
            "db_connections_active{envoy=\"edge-2\",service=\"playback\"}",
            6.0,
        ),
        (
            "gatemeter_scrape_errors_total{envoy=\"edge-2\",reason=\"connect\"}",
            0.0,
        ),
        ("own{service=\"api\"}", 1.0),
    ] {
        assert_eq!(all.value(series), Some(value), "{series}");
    }
    assert!(!all.text().contains("rare"));
    assert_eq!(
        all.text()
            .matches("# TYPE active_connections gauge")
            .count(),
        1
    );
    // What the bridge says of itself belongs to no Envoy.
    assert_eq!(
        all.text().matches("gatemeter_build_info{version=").count(),
        1
    );

    let one = get(address, "/metrics/api").await;
    assert_eq!(
        one.value("active_connections{envoy=\"edge-1\",zone=\"a\"}"),
        Some(42.0)
    );
    assert_eq!(one.value("active_connections{envoy=\"edge-2\"}"), Some(1.0));
    assert_eq!(one.value("own"), Some(1.0));
    assert_eq!(envoys.rare.requests().len(), 0);
    envoys.bridge.end().await;
}

#[tokio::test]
async fn an_envoy_that_is_away_leaves_the_others() {
    let envoys = envoys().await;
    let address = envoys.bridge.address;
    envoys.one.does(Does::Send(REFUSES.to_vec()));
    let all = get(address, "/metrics").await;
    assert_eq!(
        all.value("gatemeter_up{envoy=\"edge-1\",zone=\"a\"}"),
        Some(0.0)
    );
    assert_eq!(all.value("gatemeter_up{envoy=\"edge-2\"}"), Some(1.0));
    assert_eq!(
        all.value("gatemeter_scrape_errors_total{envoy=\"edge-1\",zone=\"a\",reason=\"status\"}"),
        Some(1.0)
    );
    assert!(!all.text().contains("active_connections{envoy=\"edge-1\""));
    let one = get(address, "/metrics/api").await;
    assert_eq!(one.value("active_connections{envoy=\"edge-2\"}"), Some(1.0));
    assert_eq!(get(address, "/-/ready").await.status, StatusCode::OK);
    // The one that is away may serve it.
    let unknown = get(address, "/metrics/nobody").await;
    assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE);

    envoys.two.does(Does::Hang);
    let start = Instant::now();
    let all = get(address, "/metrics").await;
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(all.value("gatemeter_up{envoy=\"edge-2\"}"), Some(0.0));
    for path in ["/metrics/api", "/-/ready"] {
        let answer = get(address, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    envoys.bridge.end().await;
}

#[tokio::test]
async fn one_envoy_is_read_by_its_name_also_on_demand() {
    let envoys = envoys().await;
    let address = envoys.bridge.address;
    let page = get(address, "/metrics?target=rare").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.value("gatemeter_up{envoy=\"rare\"}"), Some(1.0));
    assert_eq!(
        page.value("active_connections{envoy=\"rare\",service=\"api\"}"),
        Some(1.0)
    );
    // Neither sources nor what concerns the process.
    for absent in [
        "own{",
        "gatemeter_source_up",
        "gatemeter_build_info",
        "process_",
        "edge-",
    ] {
        assert!(!page.text().contains(absent), "{absent}");
    }
    let samples = page
        .text()
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .count();
    assert_eq!(
        page.value("gatemeter_page_series{envoy=\"rare\"}"),
        Some(samples as f64)
    );
    assert_eq!(envoys.one.requests().len(), 0);
    assert_eq!(envoys.rare.requests().len(), 1);
    envoys.rare.does(Does::Send(REFUSES.to_vec()));
    let page = get(address, "/metrics?a=b&target=rare").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.value("gatemeter_up{envoy=\"rare\"}"), Some(0.0));
    envoys.bridge.end().await;
}

#[tokio::test]
async fn a_name_that_no_envoy_has_is_refused_and_not_repeated() {
    let envoys = envoys().await;
    let address = envoys.bridge.address;
    for query in [
        "target=zzz",
        "target=",
        "target",
        "target=edge-1&target=edge-2",
        "target=EDGE-1",
        "target=edge%2D1",
        "target=http://127.0.0.1:1/zzz",
    ] {
        let answer = get_with(address, &format!("/metrics?{query}"), &[]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(!answer.text().contains("zzz"), "{}", answer.text());
    }
    // Any other parameter means nothing.
    let answer = get(address, "/metrics?targets=a&x").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(envoys.rare.requests().len(), 0);
    envoys.bridge.end().await;
}
