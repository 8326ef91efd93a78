//! A configuration that changes under load loses no count, in any form.

use anyhow::{Result, ensure};
use gatemeter_e2e::bridge::Bridge;
use gatemeter_e2e::client::{Call, Client};
use gatemeter_e2e::envoy::{Envoy, Form, Service, Setup, stat};
use gatemeter_e2e::room::Room;
use gatemeter_e2e::until::until;
use gatemeter_e2e::upstream::Upstream;
use serde_json::json;
use tokio::task::JoinSet;

const SERVICES: [(&str, Form); 3] = [
    ("api", Form::HttpFilter),
    ("playback", Form::AccessLogger),
    ("discovery", Form::NativeModule),
];
const UPDATES: u32 = 8;

/// Of each service, between two updates.
const REQUESTS: u64 = 100;

/// Requests of a service, as Envoy itself counts them.
async fn seen(envoy: &Envoy, service: &str) -> Result<u64> {
    stat(
        envoy.admin(),
        &format!("http.{service}.downstream_rq_total"),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_updates_under_load_lose_no_count() -> Result<()> {
    let mut room = Room::open()?;
    let upstream = Upstream::start().await?;
    let mut setup = Setup::new()?
        .watching(room.path("listeners.json"))
        .cluster("upstream", upstream.address());
    for (name, form) in SERVICES {
        let service = Service::new(name)?.form(form).to_cluster("/", "upstream");
        setup = setup.service(service);
    }
    let mut envoy = setup.start(&mut room).await?;
    let bridge = Bridge::start(&mut room, envoy.admin(), envoy.bridge()).await?;

    let mut load = JoinSet::new();
    for (name, _) in SERVICES {
        for task in 0..4 {
            let client = Client::new(envoy.service(name)?);
            let call = Call::new("GET", "/a", "/a");
            let call = if task % 2 == 0 { call } else { call.http2() };
            // A connection may be closed while it is written to; Envoy's own
            // count, not the client's, is what the page must equal.
            load.spawn(async move {
                loop {
                    let _ = client.send(&call).await;
                }
            });
        }
    }
    for update in 1..=UPDATES {
        envoy.update("flush_interval_ms", &json!(100 + update))?;
        let updated = u64::from(update) + 1;
        until("Envoy has taken the update", async || {
            let taken = stat(envoy.admin(), "listener_manager.lds.update_success").await?;
            ensure!(taken == updated, "{taken} updates of {updated}");
            Ok(())
        })
        .await?;
        for (name, _) in SERVICES {
            let before = seen(&envoy, name).await?;
            until("there was traffic between two updates", async || {
                let more = seen(&envoy, name).await? - before;
                ensure!(more >= REQUESTS, "{more} requests of {name}");
                Ok(())
            })
            .await?;
        }
    }
    let changed = stat(envoy.admin(), "listener_manager.listener_in_place_updated").await?
        + stat(envoy.admin(), "listener_manager.listener_modified").await?;
    ensure!(
        changed >= u64::from(UPDATES),
        "{changed} listeners were changed"
    );
    load.shutdown().await;

    for (name, _) in SERVICES {
        until("every request is on the page", async || {
            let page = bridge.page().await?;
            page.check_consistent(Some(name))?;
            let counted: u64 = page.requests(Some(name))?.values().sum();
            let service = [("service", name)];
            let unparsed = page.count("gatemeter_unparsed_requests_total", &service)?;
            let seen = seen(&envoy, name).await?;
            ensure!(
                counted + unparsed == seen,
                "{name}: {counted} counted and {unparsed} unparsed, but Envoy saw {seen}"
            );
            Ok(())
        })
        .await?;
    }
    room.close()
}
