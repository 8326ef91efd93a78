//! What dashboards, rules and documents ask of what goes wrong: on a real Prometheus,
//! where something does.

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::artefact::workspace;
use gatemeter_e2e::asked::{ABSENT, Asked, all_return_data};
use gatemeter_e2e::client::{Call, Client};
use gatemeter_e2e::example::{Example, PLUGIN};
use gatemeter_e2e::prometheus::Prometheus;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::shown::{Expression, Rule};
use serde_json::{Value, json};

/// Takes a header out of a response.
const FORBIDDEN: &str = "proxy_remove_header_map_value";

/// Everything that the shipped configuration lets the module call, but for one.
fn all_calls_but(forbidden: &str) -> Result<Value> {
    let shipped = std::fs::read_to_string(workspace().join("envoy/envoy.yaml"))?;
    let shipped: Value = serde_yaml_ng::from_str(&shipped)?;
    let plugin = shipped.pointer(PLUGIN).context("no plugin is shipped")?;
    let mut restriction = plugin["vm_config"]["capability_restriction_config"].clone();
    let calls = restriction["allowed_capabilities"].as_object_mut();
    let calls = calls.context("envoy/envoy.yaml allows everything")?;
    let call = calls.remove(forbidden);
    ensure!(call.is_some(), "{forbidden} is not among {calls:?}");
    Ok(restriction)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expression_on_faults_returns_data_where_there_are_some() -> Result<()> {
    let mut room = Room::open()?;
    let mut example = Example::measured().await?;
    example.plugin()?["vm_config"]["capability_restriction_config"] = all_calls_but(FORBIDDEN)?;
    // What Envoy itself shows stands for the own page of a service.
    let page = format!("http://{}/stats/prometheus", example.admin());
    example.bridge_config = json!({ "sources": [{ "service": "api", "url": page }] });
    let bridge = example.start(&mut room).await?;

    let client = Client::new(example.listener());
    let call = || Call::new("GET", "/items/42", "/items/:id");
    client.expect(&call(), 200).await?;
    // The first is read and cannot be taken out, the second cannot be read.
    for pool in ["active=1, idle=2", "active=;;"] {
        let call = call().header("x-send-x-db-pool", pool);
        client.expect(&call, 200).await?;
    }
    client.expect(&call().upstream("hang-up"), 503).await?;
    client.expect_cut(&call().upstream("cut")).await?;

    let config = json!({
        "global": { "scrape_interval": "1s" },
        "scrape_configs": [{
            "job_name": "gatemeter-bridge",
            "static_configs": [{ "targets": [bridge.address().to_string()] }],
        }],
    });
    let config = room.write("prometheus.yml", &config.to_string())?;
    let prometheus = Prometheus::start(&mut room, &config).await?;
    let mut waiting = Asked::of(&Rule::all()?)?.where_it_is_not;
    ensure!(!waiting.is_empty(), "nothing is asked of what goes wrong");
    waiting.extend(ABSENT.map(|(metric, _)| Expression {
        place: "ABSENT".to_owned(),
        text: metric.to_owned(),
    }));
    all_return_data(&prometheus, waiting).await?;
    room.close_despite(|line| line.contains(FORBIDDEN))
}
