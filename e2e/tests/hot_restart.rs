//! A new Envoy takes over from an old one (`--restart-epoch`) under traffic. Envoy
//! hands on what it counted since it last flushed its stats, not what it counted
//! before: counters begin anew, as after any restart, and no count comes twice.

use std::process::Command;

use anyhow::{Result, ensure};
use gatemeter_e2e::artefact;
use gatemeter_e2e::bridge::Bridge;
use gatemeter_e2e::client::{Call, Client, get};
use gatemeter_e2e::example::Example;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::until::until;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_envoy_that_takes_over_counts_anew_and_nothing_twice() -> Result<()> {
    let mut room = Room::open()?;
    let mut example = Example::measured().await?;
    // Envoy flushes so often, also where there is no sink.
    example.config["stats_flush_interval"] = json!("1s");
    let config = room.write("envoy.json", &example.config.to_string())?;
    let base = room.path("base");
    let envoy = |more: &[&str]| -> Result<Command> {
        let mut command = Command::new(artefact::tool("envoy")?);
        command
            .arg("--config-path")
            .arg(&config)
            .args(["--concurrency", "2", "--log-level", "warning"])
            .args(["--drain-time-s", "1", "--parent-shutdown-time-s", "8"])
            .args(more);
        Ok(command)
    };
    let mut old = envoy(&["--use-dynamic-base-id"])?;
    room.start("old", old.arg("--base-id-path").arg(&base))?;
    until("Envoy is ready", async || {
        let ready = get(example.admin(), "/ready").await?;
        ensure!(ready.status == 200, "{}", ready.status);
        Ok(())
    })
    .await?;
    let bridge = Bridge::start(&mut room, example.admin(), example.bridge()).await?;
    let client = Client::new(example.listener());
    let call = Call::new("GET", "/items/42", "/items/:id");
    for _ in 0..20 {
        client.expect(&call, 200).await?;
    }
    until("the page equals the ledger", async || {
        client.ledger().compare(&bridge.page().await?, Some("api"))
    })
    .await?;

    let ticks = async || -> Result<f64> {
        Ok(bridge
            .page()
            .await?
            .sum("gatemeter_filter_ticks_total", &[]))
    };
    let counted_at = ticks().await?;
    until("Envoy has flushed what it counted", async || {
        // Three VMs tick ten times a second.
        let since = ticks().await? - counted_at;
        ensure!(since > 75.0, "{since} ticks since");
        Ok(())
    })
    .await?;

    let id = std::fs::read_to_string(&base)?;
    let mut new = envoy(&["--restart-epoch", "1", "--base-id", id.trim()])?;
    room.start("new", &mut new)?;
    let during = Client::new(example.listener());
    until("the old one has ended", async || {
        during.expect(&call, 200).await?;
        ensure!(room.process("old")?.check_running().is_err(), "it runs");
        Ok(())
    })
    .await?;
    drop(room.dismiss("old")?);
    let sent: u64 = during.ledger().counted().values().sum();
    // What the old one counted last may be lost with it; nothing counts twice.
    let mut before = 0;
    let counted = until("no more is handed on", async || {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let page = bridge.page().await?;
        let counted: u64 = page.requests(Some("api"))?.values().sum();
        let last = std::mem::replace(&mut before, counted);
        ensure!(counted == last, "{last}, then {counted}");
        Ok(counted)
    })
    .await?;
    ensure!(
        counted <= sent && counted > sent / 2,
        "{counted} counted, {sent} sent"
    );
    let after = Client::new(example.listener());
    after.ledger().count_many("GET", "/items/:id", 200, counted);
    for _ in 0..20 {
        after.expect(&call, 200).await?;
    }
    until("the page equals the ledger", async || {
        let page = bridge.page().await?;
        after.ledger().compare(&page, Some("api"))?;
        page.check_consistent(Some("api"))?;
        let active = page.value("active_connections", &[("service", "api")]);
        ensure!(active == Some(0.0), "{active:?} active");
        Ok(())
    })
    .await?;
    room.close()
}
