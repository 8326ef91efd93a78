//! Cache hits and pool use of a service that really has a cache and a pool.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::bridge::Bridge;
use gatemeter_e2e::client::{Call, Client, get};
use gatemeter_e2e::demo::{Demo, Stores};
use gatemeter_e2e::envoy::{Service, Setup};
use gatemeter_e2e::flood::flood;
use gatemeter_e2e::page::Page;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::store::{Postgres, Redis};
use gatemeter_e2e::until::until;
use http::{Request, Version};
use serde_json::json;

/// Hits and misses of a cache so far.
fn cache(page: &Page, cache_type: &str) -> Result<(u64, u64)> {
    let labels = [("service", "api"), ("cache_type", cache_type)];
    Ok((
        page.count("cache_hits_total", &labels)?,
        page.count("cache_misses_total", &labels)?,
    ))
}

/// The pool's connections in use and idle.
fn pool(page: &Page) -> Result<(u64, u64)> {
    let service = [("service", "api")];
    Ok((
        page.count("db_connections_active", &service)?,
        page.count("db_connections_idle", &service)?,
    ))
}

/// The demo's api service behind Envoy.
struct Scene {
    room: Room,
    bridge: Bridge,
    client: Client,
    demo: Demo,
}

impl Scene {
    async fn set(mut room: Room, stores: &Stores) -> Result<Self> {
        let demo = Demo::start(&mut room, stores).await?;
        let api = Service::new("api")?
            .plugin("routes", json!(["/api/content", "/api/content/:id"]))
            .plugin(
                "cache",
                json!({ "types": { "redis": "redis", "memory": "memory" } }),
            )
            .to_cluster("/", "api");
        let setup = Setup::new()?
            .service(api)
            .cluster("api", demo.addresses()[0]);
        let envoy = setup.start(&mut room).await?;
        let bridge = Bridge::start(&mut room, envoy.admin(), envoy.bridge()).await?;
        let client = Client::new(envoy.service("api")?);
        Ok(Self {
            room,
            bridge,
            client,
            demo,
        })
    }

    /// Reads one title, and checks that the client is not told of the pool.
    async fn read(&self, id: u64) -> Result<()> {
        let path = format!("/api/content/{id}");
        let call = Call::new("GET", &path, "/api/content/:id");
        let answer = self.client.expect(&call, 200).await?;
        ensure!(
            !answer.headers.contains_key("x-db-pool"),
            "x-db-pool reached the client"
        );
        Ok(())
    }

    async fn until_cache(&self, cache_type: &str, expected: (u64, u64)) -> Result<()> {
        until("hits and misses are on the page", async || {
            let shown = cache(&self.bridge.page().await?, cache_type)?;
            ensure!(shown == expected, "{shown:?} instead of {expected:?}");
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_misses_and_pool_use_of_redis_and_postgresql_are_shown() -> Result<()> {
    let mut room = Room::open()?;
    let redis = Redis::start(&mut room).await?;
    let postgres = Postgres::start(&mut room).await?;
    let stores = Stores {
        redis: Some(redis.url()),
        database: Some(postgres.url()),
        ..Stores::default()
    };
    let scene = Scene::set(room, &stores).await?;
    let page = scene.bridge.page().await?;
    ensure!(cache(&page, "redis")? == (0, 0), "not shown at 0");
    ensure!(pool(&page)? == (0, 0), "the pool is not shown at 0");

    // The first read is a miss, the others are hits; each title by itself.
    for id in [1, 1, 1, 2, 2] {
        scene.read(id).await?;
    }
    scene.until_cache("redis", (3, 2)).await?;
    let keys = redis.command("DBSIZE").await?;
    ensure!(keys != ":0", "Redis holds nothing: {keys}");
    // What Redis forgets is missed.
    redis.command("FLUSHALL").await?;
    scene.read(1).await?;
    scene.until_cache("redis", (3, 3)).await?;

    searches_and_uploads(&scene.demo).await?;
    let (active, idle) = pool(&scene.bridge.page().await?)?;
    ensure!(
        active == 0 && idle > 0,
        "at rest {active} active, {idle} idle"
    );
    // Many misses at a time keep connections in use.
    let service = scene.client.service();
    let load = tokio::spawn(flood(
        service,
        Version::HTTP_2,
        2,
        20_000,
        Arc::new(move |turn| {
            let path = format!("/api/content/{}", 1_000 + turn);
            Ok(Request::get(format!("http://{service}{path}")))
        }),
    ));
    until("the pool is seen in use", async || {
        let (active, idle) = pool(&scene.bridge.page().await?)?;
        ensure!(active > 0, "{active} active, {idle} idle");
        Ok(())
    })
    .await?;
    load.abort();
    let connections = rows_of(&postgres, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'gatemeter' AND backend_type = 'client backend'").await?;
    ensure!(connections > 1, "PostgreSQL sees {connections} connections");
    scene.room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_and_postgresql_the_service_uses_what_is_in_the_process() -> Result<()> {
    let scene = Scene::set(Room::open()?, &Stores::default()).await?;
    for id in [5, 5, 6] {
        scene.read(id).await?;
    }
    scene.until_cache("memory", (1, 2)).await?;
    let (active, idle) = pool(&scene.bridge.page().await?)?;
    ensure!(active == 0 && idle > 0, "{active} active, {idle} idle");
    scene.room.close()
}

/// The other services' statements run on this database, too.
async fn searches_and_uploads(demo: &Demo) -> Result<()> {
    let [_, discovery, _, ingestion] = demo.addresses();
    let found = get(discovery, "/search?q=winter").await?;
    let results = found.headers.get("x-search-results");
    ensure!(
        results.is_some_and(|results| results == "15"),
        "{}: {results:?}",
        found.status
    );
    let upload = Call::new("POST", "/ingest", "/ingest").body("a film");
    let answer = Client::new(ingestion).expect(&upload, 201).await?;
    let location = answer.headers.get("location").context("no location")?;
    let shown = get(ingestion, location.to_str()?).await?;
    ensure!(shown.status == 200, "{}", shown.status);
    ensure!(
        shown.text()?.contains("\"metadata\":{}"),
        "{}",
        shown.text()?
    );
    Ok(())
}

/// The number that a query gives.
async fn rows_of(postgres: &Postgres, query: &str) -> Result<u64> {
    let output = std::process::Command::new(gatemeter_e2e::artefact::tool("psql")?)
        .arg(postgres.url())
        .args(["--no-align", "--tuples-only", "--command", query])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("psql: {text}{}", String::from_utf8_lossy(&output.stderr)))
}
