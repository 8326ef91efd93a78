//! What the bridge says while Envoy is away, goes away, or comes back.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::bridge::{Bridge, page};
use gatemeter_e2e::client::{Call, Client, get};
use gatemeter_e2e::envoy::{Service, Setup};
use gatemeter_e2e::page::Page;
use gatemeter_e2e::port::Port;
use gatemeter_e2e::prometheus::check_metrics;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::scene::behind_envoy;
use gatemeter_e2e::until::until;
use gatemeter_e2e::upstream::Upstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Checks that a page says that Envoy is away, and shows nothing stale.
fn check_down(page: &Page) -> Result<()> {
    let up = page.value("gatemeter_up", &[]);
    ensure!(up == Some(0.0), "gatemeter_up {up:?}");
    for name in [
        "http_requests_total",
        "active_connections",
        "cache_hits_total",
    ] {
        let stale = page.samples(name).count();
        ensure!(stale == 0, "{stale} samples of {name} while Envoy is away");
    }
    let errors = page.sum("gatemeter_scrape_errors_total", &[]);
    ensure!(errors > 0.0, "no error is counted");
    for (labels, _) in page.samples("gatemeter_scrape_errors_total") {
        let reason = labels.get("reason").context("an error without a reason")?;
        ensure!(
            reason
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "reason {reason}"
        );
    }
    check_metrics(page.text())
}

/// Checks what the bridge says of an Envoy that is well.
fn check_health(page: &Page) -> Result<()> {
    let vms = page.value("gatemeter_vms", &[]);
    ensure!(vms.is_some_and(|vms| vms >= 1.0), "VMs: {vms:?}");
    let bytes = page.value("gatemeter_envoy_answer_bytes", &[]);
    ensure!(bytes.is_some_and(|bytes| bytes > 1000.0), "{bytes:?} bytes");
    let labels = [("service", "api")];
    let age = page.value("gatemeter_filter_heartbeat_age_seconds", &labels);
    ensure!(age.is_some_and(|age| age < 5.0), "heartbeat age {age:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bridge_starts_before_envoy_and_outlives_it() -> Result<()> {
    let mut room = Room::open()?;
    let upstream = Upstream::start().await?;
    let setup = Setup::new()?
        .cluster("upstream", upstream.address())
        .service(Service::new("api")?.to_cluster("/", "upstream"));
    let nobody = Port::reserve()?;
    let alone = Port::reserve()?;
    let bridge = Bridge::start(&mut room, nobody.address(), alone.address()).await?;
    check_down(&bridge.page().await?)?;
    let ready = get(bridge.address(), "/-/ready").await?;
    ensure!(
        !ready.status.is_success(),
        "ready without Envoy: {}",
        ready.status
    );
    drop(room.dismiss("bridge")?);

    let envoy = setup.start(&mut room).await?;
    let bridge = Bridge::start(&mut room, envoy.admin(), envoy.bridge()).await?;
    let client = Client::new(envoy.service("api")?);
    for round in 0..2 {
        if round > 0 {
            envoy.run(&mut room).await?;
        }
        // A new Envoy starts to count at nothing.
        let client = Client::new(client.service());
        client.expect(&Call::new("GET", "/a", "/a"), 200).await?;
        until("the bridge shows the request", async || {
            let page = bridge.page().await?;
            ensure!(page.value("gatemeter_up", &[]) == Some(1.0), "not up");
            client.ledger().compare(&page, Some("api"))
        })
        .await?;
        let ready = get(bridge.address(), "/-/ready").await?;
        ensure!(ready.status.is_success(), "not ready: {}", ready.status);
        // Long enough that the next one is younger when it is first read.
        let page = until("Envoy has run for some seconds", async || {
            let page = bridge.page().await?;
            let ticks = page.sum("gatemeter_filter_ticks_total", &[]);
            ensure!(ticks >= 60.0, "{ticks} ticks");
            Ok(page)
        })
        .await?;
        let restarts = page.value("gatemeter_envoy_restarts_total", &[]);
        ensure!(
            restarts == Some(f64::from(round)),
            "{restarts:?} restarts in round {round}"
        );
        check_health(&page)?;
        // Gone without a word.
        room.dismiss("envoy")?.kill()?;
        let before = bridge.page().await?;
        check_down(&before)?;
        let after = bridge.page().await?;
        let name = "gatemeter_scrape_errors_total";
        ensure!(
            after.sum(name, &[]) > before.sum(name, &[]),
            "the second failed read is not counted"
        );
        // The page of one service has no other word for it than an error.
        let one = get(bridge.address(), "/metrics/api").await?;
        ensure!(
            !one.status.is_success()
                || Page::parse(one.text()?)?
                    .samples("http_requests_total")
                    .count()
                    == 0,
            "a page of the service while Envoy is away"
        );
    }
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_whole_or_says_that_it_is_not_while_envoy_is_killed() -> Result<()> {
    let mut room = Room::open()?;
    let service = Service::new("api")?.to_cluster("/", "upstream");
    let (_upstream, envoy, bridge) = behind_envoy(&mut room, [service]).await?;
    let client = Client::new(envoy.service("api")?);
    for route in 0..150 {
        let path = format!("/route-{}", "x".repeat(route + 1));
        client.expect(&Call::new("GET", &path, &path), 200).await?;
    }
    until("the page equals the ledger", async || {
        client.ledger().compare(&bridge.page().await?, Some("api"))
    })
    .await?;

    let mut pages = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let address = bridge.address();
        pages.spawn(async move {
            let mut seen = Vec::new();
            loop {
                let page = page(address, "/metrics").await?;
                let down = page.value("gatemeter_up", &[]) == Some(0.0);
                seen.push(page);
                if down {
                    return Ok::<_, anyhow::Error>(seen);
                }
            }
        });
    }
    until("reads are under way", async || {
        let page = bridge.page().await?;
        ensure!(page.value("gatemeter_up", &[]) == Some(1.0), "not up");
        Ok(())
    })
    .await?;
    room.dismiss("envoy")?.kill()?;
    while let Some(seen) = pages.join_next().await {
        for page in seen?? {
            if page.value("gatemeter_up", &[]) == Some(1.0) {
                client.ledger().compare(&page, Some("api"))?;
            } else {
                check_down(&page)?;
            }
        }
    }
    room.close()
}

/// An admin interface that breaks off in the middle of its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_an_answer_of_envoy_is_an_error() -> Result<()> {
    let mut room = Room::open()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let admin = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let half = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5000\r\n\r\n\
                wasmcustom.http_requests_total.service=api.method=GET.path=/a.status=200: 7\n";
            let _ = stream.write_all(half.as_bytes()).await;
        }
    });
    let own = Port::reserve()?;
    let bridge = Bridge::start(&mut room, admin, own.address()).await?;
    check_down(&bridge.page().await?)?;
    room.close()
}
