//! The configuration files that ship, used as they are but for the ports: each
//! service shows the guide's seven metrics and nothing else, and Prometheus
//! finds all of them.

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::artefact::workspace;
use gatemeter_e2e::client::{Call, Client, get};
use gatemeter_e2e::demo::SERVICES;
use gatemeter_e2e::envoy::stat;
use gatemeter_e2e::ledger::Apart;
use gatemeter_e2e::page::Page;
use gatemeter_e2e::prometheus::{Prometheus, check_config, check_metrics};
use gatemeter_e2e::raw;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::scene::{balance, unparsed};
use gatemeter_e2e::shipped::Shipped;
use gatemeter_e2e::until::until;
use serde_json::json;

/// The comment lines of the guide's example response, in its order.
const GUIDE: [&str; 14] = [
    "# HELP http_requests_total Total number of HTTP requests processed",
    "# TYPE http_requests_total counter",
    "# HELP http_request_duration_seconds HTTP request latency in seconds",
    "# TYPE http_request_duration_seconds histogram",
    "# HELP active_connections Number of active HTTP/WebSocket connections",
    "# TYPE active_connections gauge",
    "# HELP db_connections_active Number of active database connections in the pool",
    "# TYPE db_connections_active gauge",
    "# HELP db_connections_idle Number of idle database connections in the pool",
    "# TYPE db_connections_idle gauge",
    "# HELP cache_hits_total Total number of cache hits",
    "# TYPE cache_hits_total counter",
    "# HELP cache_misses_total Total number of cache misses",
    "# TYPE cache_misses_total counter",
];

/// What a service's page has beside the guide's seven, in its order.
fn metrics_of(service: &str) -> Vec<&'static str> {
    let preset: &[&str] = match service {
        "api" => &["auth_attempts_total", "rate_limit_hits_total"],
        "discovery" => &[
            "search_queries_total",
            "search_query_duration_seconds",
            "recommendation_duration_seconds",
            "vector_db_query_duration_seconds",
        ],
        "playback" => &[
            "stream_init_duration_seconds",
            "stream_bitrate_changes_total",
            "stream_buffer_events_total",
        ],
        _ => &[
            "content_processing_duration_seconds",
            "metadata_extraction_duration_seconds",
            "storage_uploads_total",
            "storage_upload_bytes_total",
        ],
    };
    [&["cache_responses_total"], preset].concat()
}

/// The bounds as the page spells them.
const BOUNDS: [&str; 12] = [
    "0.001", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "+Inf",
];

/// The page of a service as `curl` shows it.
async fn metrics(shipped: &Shipped, service: &str) -> Result<Page> {
    let answer = get(shipped.listener(service)?, "/metrics").await?;
    ensure!(answer.status == 200, "{service}: {}", answer.status);
    let kind = answer
        .headers
        .get("content-type")
        .context("no content type")?;
    ensure!(
        kind.to_str()?.starts_with("text/plain; version=0.0.4"),
        "{service}: {kind:?}"
    );
    Page::parse(answer.text()?)
}

/// The values of a label in the order of the page, on lines that start so.
fn values_of<'a>(page: &'a Page, start: &str, label: &str) -> Vec<&'a str> {
    let opening = format!("{label}=\"");
    page.text()
        .lines()
        .filter(|line| line.starts_with(start))
        .filter_map(|line| line.split_once(&opening)?.1.split_once('"'))
        .map(|(value, _)| value)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_service_shows_the_seven_metrics_of_the_guide_and_those_of_its_preset() -> Result<()> {
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    for service in SERVICES {
        let client = Client::new(shipped.listener(service)?);
        client
            .expect(&Call::new("GET", "/no/such/page", "_UNMATCHED"), 404)
            .await?;
        if service == "api" {
            for _ in 0..2 {
                let call = Call::new("GET", "/api/content/42", "/api/content/:id");
                client.expect(&call, 200).await?;
            }
        }
        let page = until("the page equals the ledger", async || {
            let page = metrics(&shipped, service).await?;
            client.ledger().compare(&page, None)?;
            Ok(page)
        })
        .await?;
        page.check_consistent(None)?;
        check_metrics(page.text())?;
        let comments: Vec<_> = page
            .text()
            .lines()
            .filter(|line| line.starts_with('#'))
            .collect();
        let (guide, own) = comments.split_at_checked(GUIDE.len()).unwrap_or_default();
        ensure!(guide == GUIDE, "{service}: {comments:#?}");
        let own: Vec<_> = own
            .iter()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        ensure!(own == metrics_of(service), "{service}: {own:?}");
        ensure!(!page.text().contains("service="), "{service} names itself");
        let active = page.value("active_connections", &[]);
        ensure!(
            active == Some(0.0),
            "{service}: active_connections {active:?}"
        );
        if service == "api" {
            let count =
                "http_requests_total{method=\"GET\",path=\"/api/content/:id\",status=\"200\"} 2";
            ensure!(
                page.text().lines().any(|line| line == count),
                "no line {count}"
            );
            let series =
                "http_request_duration_seconds_bucket{method=\"GET\",path=\"/api/content/:id\",";
            let bounds = values_of(&page, series, "le");
            ensure!(bounds == BOUNDS, "bounds {bounds:?}");
            // The first look was a miss of the demo's own cache, the second a hit.
            let hits = page.sum("cache_hits_total", &[]);
            let misses = page.sum("cache_misses_total", &[]);
            ensure!((hits, misses) == (1.0, 1.0), "{hits} hits, {misses} misses");
        }
    }
    room.close()
}

/// As in the ledger test, but with the shipped Envoy configuration in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_to_the_shipped_setup_is_accounted_for() -> Result<()> {
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    let mut clients = Vec::new();
    for service in SERVICES {
        let client = Client::new(shipped.listener(service)?);
        let health = Call::new("GET", "/healthz", "/healthz");
        client.expect(&health, 200).await?;
        client.expect(&health.http2(), 200).await?;
        client
            .expect(&Call::new("GET", "/x/../nowhere", "_UNMATCHED"), 404)
            .await?;
        let answered = raw::http1(client.service(), b"no request line\r\n\r\n").await?;
        client.ledger().count("_OTHER", "_UNMATCHED", answered);
        unparsed(&client).await?;
        metrics(&shipped, service).await?;
        client.ledger().count_apart(Apart::Excluded);
        clients.push((service, client));
    }
    let (_, api) = clients.first().context("no api")?;
    for (method, path, label, status) in [
        ("GET", "/api/content", "/api/content", 200),
        ("GET", "/api/content/42?lang=en", "/api/content/:id", 200),
        ("GET", "/api/content/4242", "/api/content/:id", 404),
        ("DELETE", "/api/content/7", "/api/content/:id", 204),
        ("PATCH", "/api/content/7", "/api/content/:id", 405),
        ("GET", "/api/status/503", "/api/status/:code", 503),
        (
            "GET",
            "/api/content/1/stream?events=2&interval_ms=1",
            "/api/content/:id/stream",
            200,
        ),
    ] {
        let call = Call::new(method, path, label).header("x-envoy-original-path", "/api/login");
        api.expect(&call, status).await?;
    }
    let slow = Call::new("GET", "/api/slow?ms=10000", "/api/slow");
    let under_way = until("the slow request is under way", async || {
        let active = stat(shipped.admin(), "http.api.downstream_rq_active").await?;
        ensure!(active == 1, "{active} active");
        Ok(())
    });
    api.abort(&slow, under_way).await?;
    let socket = api.websocket("/ws/room", "/ws/*").await?;
    for (service, client) in &clients {
        until("the page equals the ledger", async || {
            let page = shipped.bridge().page().await?;
            page.check_consistent(Some(service))?;
            client.ledger().compare(&page, Some(service))
        })
        .await?;
        let (bridge, admin) = (shipped.bridge(), shipped.admin());
        balance(bridge, admin, service, client.ledger(), 0).await?;
    }
    let page = metrics(&shipped, "api").await?;
    let active = page.value("active_connections", &[]);
    ensure!(
        active == Some(1.0),
        "active_connections {active:?} with one WebSocket"
    );
    drop(socket);
    until("the WebSocket is closed", async || {
        let active = metrics(&shipped, "api")
            .await?
            .value("active_connections", &[]);
        ensure!(active == Some(0.0), "active_connections {active:?}");
        Ok(())
    })
    .await?;
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_finds_all_targets_up_and_scrapes_what_was_sent() -> Result<()> {
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    check_config(&workspace().join("prometheus.yml"))?;
    let config = shipped.prometheus_config(&room)?;
    check_config(&config)?;
    let prometheus = Prometheus::start(&mut room, &config).await?;
    let client = Client::new(shipped.listener("api")?);
    for _ in 0..5 {
        let call = Call::new("GET", "/api/content/42", "/api/content/:id");
        client.expect(&call, 200).await?;
    }
    until("all targets are up", async || {
        let targets = prometheus.targets().await?;
        let mut up: Vec<_> = targets
            .iter()
            .filter(|target| target["health"] == "up")
            .filter_map(|target| target["labels"]["job"].as_str())
            .collect();
        up.sort_unstable();
        let all = [
            "gatemeter-bridge",
            "media-gateway-api",
            "media-gateway-discovery",
            "media-gateway-ingestion",
            "media-gateway-playback",
        ];
        ensure!(
            up == all && targets.len() == all.len(),
            "up: {up:?} of {targets:#?}"
        );
        Ok(())
    })
    .await?;
    until("Prometheus has the requests", async || {
        let found = prometheus
            .query("http_requests_total{status=\"200\"}")
            .await?;
        let [(labels, value)] = found.as_slice() else {
            anyhow::bail!("{} series: {found:?}", found.len());
        };
        ensure!(*value == 5.0, "{value} requests");
        ensure!(labels["job"] == "media-gateway-api", "{labels}");
        let (method, path) = (&labels["method"], &labels["path"]);
        ensure!(
            *method == json!("GET") && *path == json!("/api/content/:id"),
            "{labels}"
        );
        let at_rest = prometheus.query("sum(active_connections)").await?;
        ensure!(
            at_rest.len() == 1 && at_rest.iter().all(|(_, active)| *active == 0.0),
            "{at_rest:?}"
        );
        let bridge_up = prometheus.query("gatemeter_up").await?;
        ensure!(
            bridge_up.len() == 1 && bridge_up.iter().all(|(_, up)| *up == 1.0),
            "{bridge_up:?}"
        );
        Ok(())
    })
    .await?;
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bridges_own_page_names_every_service_and_itself() -> Result<()> {
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    let page = until("every service is on the page", async || {
        let page = shipped.bridge().page().await?;
        for service in SERVICES {
            let active = page.value("active_connections", &[("service", service)]);
            ensure!(active == Some(0.0), "{service}: {active:?}");
            let ticks = page.count("gatemeter_filter_ticks_total", &[("service", service)])?;
            ensure!(ticks > 0, "the filter of {service} does not tick");
        }
        Ok(page)
    })
    .await?;
    check_metrics(page.text())?;
    ensure!(page.value("gatemeter_up", &[]) == Some(1.0), "not up");
    room.close()
}

/// A route of Envoy cuts every response after 15 s unless it says otherwise;
/// streams of a media gateway are longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlives_envoys_default_timeout() -> Result<()> {
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    let client = Client::new(shipped.listener("api")?);
    let path = "/api/content/1/stream?events=9&interval_ms=2000";
    let stream = Call::new("GET", path, "/api/content/:id/stream");
    let answer = client.expect(&stream, 200).await?;
    ensure!(answer.elapsed.as_secs() >= 16, "only {:?}", answer.elapsed);
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_listed_sources_may_scrape_and_all_may_use_the_service() -> Result<()> {
    const LOOPBACK: &str = "{address_prefix: 127.0.0.0, prefix_len: 8}";
    const ELSEWHERE: &str = "{address_prefix: 192.0.2.0, prefix_len: 24}";
    ensure!(
        std::fs::read_to_string(workspace().join("envoy/envoy.yaml"))?.contains(LOOPBACK),
        "envoy/envoy.yaml does not say {LOOPBACK}"
    );
    let mut room = Room::open()?;
    let shipped = Shipped::start_with(&mut room, |text| text.replace(LOOPBACK, ELSEWHERE)).await?;
    for service in SERVICES {
        let listener = shipped.listener(service)?;
        for path in ["/metrics", "/metrics?x=1"] {
            let answer = get(listener, path).await?;
            ensure!(answer.status == 403, "{service}{path}: {}", answer.status);
        }
        let answer = get(listener, "/healthz").await?;
        ensure!(answer.status == 200, "{service}: {}", answer.status);
    }
    room.close()
}

/// Envoy's own Prometheus page shows the same labels by its `stats_tags`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoys_own_page_shows_the_labels_too() -> Result<()> {
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    let client = Client::new(shipped.listener("api")?);
    let call = Call::new("GET", "/api/content/42", "/api/content/:id");
    client.expect(&call, 200).await?;
    until("Envoy shows the request", async || {
        let answer = get(shipped.admin(), "/stats/prometheus").await?;
        let page = answer.text()?;
        let line = "http_requests_total{service=\"api\",method=\"GET\",path=\"/api/content/:id\",status=\"200\"} 1";
        ensure!(page.lines().any(|shown| shown == line), "no line {line}");
        Ok(())
    })
    .await?;
    room.close()
}
