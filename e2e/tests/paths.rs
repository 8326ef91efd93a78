//! Which label a path gets where no template names it, and what odd paths
//! come to.

use anyhow::{Result, ensure};
use gatemeter_e2e::client::{Call, Client, get};
use gatemeter_e2e::envoy::Service;
use gatemeter_e2e::prometheus::check_metrics;
use gatemeter_e2e::raw;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::scene::behind_envoy;
use gatemeter_e2e::until::until;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_without_templates_are_named_by_their_shape_once_they_succeed() -> Result<()> {
    let mut room = Room::open()?;
    let services = [
        Service::new("open")?.to_cluster("/", "upstream"),
        Service::new("ruled")?
            .plugin(
                "path_rules",
                json!([{ "match": "/\\d+", "replace": "/:id" }]),
            )
            .to_cluster("/", "upstream"),
    ];
    let (_upstream, envoy, bridge) = behind_envoy(&mut room, services).await?;

    let open = Client::new(envoy.service("open")?);
    for (path, label) in [
        ("/api/content", "/api/content"),
        ("/api/content/42?page=1", "/api/content/:id"),
        (
            "/api/content/018f3f5e-7e1a-7c3b-9d2e-0123456789ab",
            "/api/content/:id",
        ),
        (
            "/api/content/01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "/api/content/:id",
        ),
        (
            "/api/content/d41d8cd98f00b204e9800998ecf8427e/stream",
            "/api/content/:id/stream",
        ),
    ] {
        open.expect(&Call::new("GET", path, label), 200).await?;
    }
    // Not yet seen to succeed, then seen, then failing again.
    let show = |label| Call::new("GET", "/api/shows", label);
    open.expect(&show("_UNMATCHED").upstream("status=404"), 404)
        .await?;
    open.expect(&show("_UNMATCHED").upstream("status=500"), 500)
        .await?;
    open.expect(&show("/api/shows"), 200).await?;

    let ruled = Client::new(envoy.service("ruled")?);
    for (path, label) in [
        ("/api/content/42", "/api/content/:id"),
        ("/v2x/7up/3", "/v2x/:idup/:id"),
    ] {
        ruled.expect(&Call::new("GET", path, label), 200).await?;
    }
    until("the page equals the ledgers", async || {
        let page = bridge.page().await?;
        open.ledger().compare(&page, Some("open"))?;
        ruled.ledger().compare(&page, Some("ruled"))?;
        Ok(())
    })
    .await?;
    // Admission is one worker's knowledge at first; all know it soon.
    until("a known path keeps its label when it fails", async || {
        let before = bridge.page().await?;
        open.send(&show("/api/shows").upstream("status=404"))
            .await?;
        let labels = [
            ("service", "open"),
            ("method", "GET"),
            ("path", "/api/shows"),
            ("status", "404"),
        ];
        let (shown, all) = until("the request is counted", async || {
            let page = bridge.page().await?;
            let (now, then) = (page.requests(Some("open"))?, before.requests(Some("open"))?);
            let (now, then): (u64, u64) = (now.values().sum(), then.values().sum());
            ensure!(now == then + 1, "{then} and one more, but {now}");
            Ok((page.value("http_requests_total", &labels), now))
        })
        .await?;
        ensure!(shown.is_some(), "{all} requests, none of them {labels:?}");
        Ok(())
    })
    .await?;
    room.close()
}

/// Bytes that mean something to Envoy's stats, to the text format or to HTML.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_of_odd_bytes_is_one_label_and_forges_nothing() -> Result<()> {
    let mut room = Room::open()?;
    let service = Service::new("open")?.to_cluster("/", "upstream");
    let (_upstream, envoy, bridge) = behind_envoy(&mut room, [service]).await?;
    let odd = [
        (r#"/a.b=c,d"#, r#"/a.b=c,d"#),
        (r#"/x.status=500.le=1"#, r#"/x.status=500.le=1"#),
        (r#"/quo"te\back{s}"#, r#"/quo\"te\\back{s}"#),
        ("/%0Ahttp_requests_total 9", ""),
        (
            "/line%0Ahttp_requests_total%209",
            "/line%0Ahttp_requests_total%209",
        ),
        ("/per%25cent", "/per%25cent"),
    ];
    let service = envoy.service("open")?;
    for (path, label) in odd {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        let answered = raw::http1(service, request.as_bytes()).await?;
        // A space ends the path; what follows is no version.
        let expected = if label.is_empty() { 400 } else { 200 };
        ensure!(answered == expected, "{path} was answered {answered}");
    }
    until("every path is on the page", async || {
        let answer = get(bridge.address(), "/metrics").await?;
        let page = answer.text()?;
        let shown: Vec<_> = page
            .lines()
            .filter(|line| line.starts_with("http_requests_total"))
            .collect();
        for (_, label) in odd.iter().filter(|(_, label)| !label.is_empty()) {
            let labels = format!(r#"service="open",method="GET",path="{label}",status="200""#);
            let line = format!("http_requests_total{{{labels}}} 1");
            ensure!(
                shown.contains(&line.as_str()),
                "no line {line} in {shown:#?}"
            );
        }
        ensure!(shown.len() == odd.len(), "more or less lines: {shown:#?}");
        check_metrics(page)
    })
    .await?;
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_too_long_for_a_name_is_counted_as_overflow() -> Result<()> {
    let mut room = Room::open()?;
    let services = [
        Service::new("open")?.to_cluster("/", "upstream"),
        Service::new("named")?
            .plugin("routes", json!(["/files/*"]))
            .to_cluster("/", "upstream"),
    ];
    let (_upstream, envoy, bridge) = behind_envoy(&mut room, services).await?;
    let open = Client::new(envoy.service("open")?);
    let named = Client::new(envoy.service("named")?);
    for (length, label) in [
        (600, "_OVERFLOW"),
        (5_000, "_UNMATCHED"),
        (50_000, "_UNMATCHED"),
    ] {
        let long = "x".repeat(length);
        open.expect(&Call::new("GET", &format!("/{long}"), label), 200)
            .await?;
        let path = format!("/files/{long}");
        named
            .expect(&Call::new("GET", &path, "/files/*"), 200)
            .await?;
        let path = format!("/other/{long}");
        named
            .expect(&Call::new("GET", &path, "_UNMATCHED"), 200)
            .await?;
    }
    until("the page equals the ledgers", async || {
        let page = bridge.page().await?;
        open.ledger().compare(&page, Some("open"))?;
        named.ledger().compare(&page, Some("named"))?;
        let overflows = page.count("gatemeter_series_overflows_total", &[("service", "open")])?;
        ensure!(overflows == 1, "{overflows} overflows");
        Ok(())
    })
    .await?;
    room.close()
}
