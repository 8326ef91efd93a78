//! The same module as HTTP filter and as access logger: the same counts, with
//! the differences that the documentation states.

use anyhow::{Result, ensure};
use gatemeter_core::signals::RESPONSE_HEADERS;
use gatemeter_e2e::client::{Call, Client};
use gatemeter_e2e::envoy::{Form, Service};
use gatemeter_e2e::room::Room;
use gatemeter_e2e::scene::{Scene, behind_envoy};
use gatemeter_e2e::until::until;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_logger_counts_every_request_once_with_its_labels() -> Result<()> {
    let scene = Scene::set(Form::AccessLogger).await?;
    scene.send_all_kinds().await?;
    scene.room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_logger_counts_a_stream_when_it_ends() -> Result<()> {
    let scene = Scene::set(Form::AccessLogger).await?;
    // Ledgers of their own: the streams count once they end.
    let streams = Client::new(scene.client.service());
    let socket = streams.websocket("/ws/room", "/ws/*").await?;
    let stream = Call::new("GET", "/api/content/1/stream", "/api/content/:id/stream");
    let events = streams.open(&stream.upstream("events")).await?;
    let ordinary = Call::new("GET", "/api/content/1", "/api/content/:id");
    scene.client.expect(&ordinary, 200).await?;
    scene.settle().await?;
    scene.balance(2).await?;
    let active: f64 = scene
        .scrape()
        .await?
        .value("active_connections", &[])
        .unwrap_or(-1.0);
    ensure!(
        active == 2.0,
        "active_connections {active} with 2 open streams"
    );

    drop((socket, events));
    for ((method, path, status), number) in streams.ledger().counted() {
        scene
            .client
            .ledger()
            .count_many(&method, &path, status, number);
    }
    scene.settle().await?;
    scene.balance(0).await?;
    until("the cut stream is counted", async || {
        let page = scene.bridge.page().await?;
        let cut = [("service", "api"), ("reason", "downstream_reset")];
        let cut = page.count("http_responses_incomplete_total", &cut)?;
        ensure!(
            cut == 1,
            "{cut} responses cut by the client, which left one"
        );
        Ok(())
    })
    .await?;
    scene.room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_forms_work_in_one_envoy_for_different_services() -> Result<()> {
    let mut room = Room::open()?;
    let mut services = Vec::new();
    let forms = [("api", Form::HttpFilter), ("playback", Form::AccessLogger)];
    for (name, form) in forms {
        let service = Service::new(name)?
            .form(form)
            .plugin("routes", json!(["/titles/:id", "/old/:id"]))
            .plugin(
                "cache",
                json!({ "types": { "redis": "redis", "edge": "cdn" } }),
            )
            .route(json!({
                "match": { "prefix": "/old/" },
                "route": { "cluster": "upstream", "prefix_rewrite": "/titles/" },
            }))
            .to_cluster("/titles/", "upstream");
        services.push(service);
    }
    let (_upstream, envoy, bridge) = behind_envoy(&mut room, services).await?;

    let mut clients = Vec::new();
    for (index, (name, form)) in forms.into_iter().enumerate() {
        let client = Client::new(envoy.service(name)?);
        let titles = Call::new("GET", "/titles/1", "/titles/:id");
        for _ in 0..=index {
            client.expect(&titles, 200).await?;
            client
                .expect(&titles.clone().http2().upstream("status=404"), 404)
                .await?;
            client
                .expect(&Call::new("POST", "/old/2", "/old/:id"), 200)
                .await?;
            client
                .expect(&Call::new("GET", "/nowhere", "_UNMATCHED"), 404)
                .await?;
        }
        let told = titles
            .header(
                "x-send-cache-status",
                "redis; hit, edge; fwd=miss, secret; hit",
            )
            .header("x-send-x-db-pool", "active=3, idle=7");
        let answer = client.expect(&told, 200).await?;
        // Only the filter can take a header away.
        let pool = answer.headers.contains_key("x-db-pool");
        ensure!(
            pool == (form == Form::AccessLogger),
            "{name} shows x-db-pool: {pool}"
        );
        ensure!(
            answer.headers.contains_key("cache-status"),
            "cache-status is gone"
        );
        clients.push((name, client));
    }
    until("the page equals both ledgers", async || {
        let page = bridge.page().await?;
        for (name, client) in &clients {
            client.ledger().compare(&page, Some(name))?;
            page.check_consistent(Some(name))?;
            for (metric, cache_type, expected) in [
                ("cache_hits_total", "redis", 1),
                ("cache_misses_total", "cdn", 1),
                ("cache_hits_total", "other", 1),
            ] {
                let count = page.count(metric, &[("service", name), ("cache_type", cache_type)])?;
                ensure!(
                    count == expected,
                    "{metric} of {name}, {cache_type}: {count}"
                );
            }
            let service = [("service", *name)];
            let active = page.value("db_connections_active", &service);
            let idle = page.value("db_connections_idle", &service);
            ensure!(
                (active, idle) == (Some(3.0), Some(7.0)),
                "{active:?}, {idle:?}"
            );
        }
        Ok(())
    })
    .await?;
    room.close()
}

/// What a client claims about caches and pools is not believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_in_a_request_are_neither_counted_nor_passed_on() -> Result<()> {
    let mut room = Room::open()?;
    let service = Service::new("api")?.to_cluster("/", "upstream");
    let (_upstream, envoy, bridge) = behind_envoy(&mut room, [service]).await?;
    let client = Client::new(envoy.service("api")?);
    let forged = Call::new("GET", "/a", "/a")
        .header("cache-status", "redis; hit")
        .header("cf-cache-status", "HIT")
        .header("server-timing", "db;dur=1")
        .header("x-cache", "HIT")
        .header("x-cache-status", "HIT")
        .header("x-db-pool", "active=3, idle=7");
    let answer = client.expect(&forged, 200).await?;
    for name in RESPONSE_HEADERS {
        let passed_on = answer.text()?.lines().any(|header| header == name);
        ensure!(!passed_on, "{name} reached the upstream");
    }
    until("the page equals the ledger", async || {
        let page = bridge.page().await?;
        client.ledger().compare(&page, Some("api"))?;
        let hits = page.sum("cache_hits_total", &[("service", "api")]);
        ensure!(hits == 0.0, "{hits} hits");
        let idle = page.value("db_connections_idle", &[("service", "api")]);
        ensure!(idle == Some(0.0), "idle {idle:?}");
        Ok(())
    })
    .await?;
    room.close()
}
