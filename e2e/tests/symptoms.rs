//! The symptoms of `docs/troubleshooting.md`, each brought about on purpose: what
//! the document says that one sees is what is to be seen.

use anyhow::{Result, ensure};
use gatemeter_e2e::artefact;
use gatemeter_e2e::bridge::{Bridge, page};
use gatemeter_e2e::client::{Call, Client, get};
use gatemeter_e2e::document;
use gatemeter_e2e::envoy::{Service, Setup, stat};
use gatemeter_e2e::example::Example;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::until::until;
use gatemeter_e2e::upstream::Upstream;
use serde_json::{Value, json};

/// Sends some requests on one path, each answered 200.
async fn send(example: &Example, requests: usize) -> Result<()> {
    let client = Client::new(example.listener());
    for _ in 0..requests {
        client
            .expect(&Call::new("GET", "/items/42", "/items/:id"), 200)
            .await?;
    }
    Ok(())
}

/// Lets Envoy make only stats that begin so.
fn only(prefixes: &[&str]) -> Value {
    let patterns: Vec<_> = prefixes
        .iter()
        .map(|prefix| json!({ "prefix": prefix }))
        .collect();
    json!({ "stats_matcher": { "inclusion_list": { "patterns": patterns } } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stats_matcher_without_the_modules_stats_leaves_no_series() -> Result<()> {
    let mut room = Room::open()?;
    let mut example = Example::measured().await?;
    example.config["stats_config"] = only(&["http.", "server.", "listener_manager."]);
    let bridge = example.start(&mut room).await?;
    send(&example, 3).await?;
    let requests = stat(example.admin(), "http.api.downstream_rq_total").await?;
    ensure!(requests == 3, "Envoy saw {requests}");
    let page = bridge.page().await?;
    ensure!(
        page.value("gatemeter_up", &[]) == Some(1.0),
        "{}",
        page.text()
    );
    for name in ["http_requests_total", "gatemeter_filter_info"] {
        ensure!(page.samples(name).count() == 0, "{}", page.text());
    }
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stats_matcher_without_the_connection_managers_stats_leaves_no_bytes_of_connections()
-> Result<()> {
    let mut room = Room::open()?;
    let mut example = Example::measured().await?;
    example.config["stats_config"] = only(&["wasm", "server.", "listener_manager."]);
    let bridge = example.start(&mut room).await?;
    send(&example, 3).await?;
    until("the requests are shown", async || {
        let page = bridge.page().await?;
        ensure!(
            page.sum("http_requests_total", &[]) == 3.0,
            "{}",
            page.text()
        );
        let bytes = page.samples("http_connection_received_bytes_total").count();
        ensure!(bytes == 0, "{}", page.text());
        Ok(())
    })
    .await?;
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stat_prefix_of_another_name_leaves_no_bytes_of_connections() -> Result<()> {
    let mut room = Room::open()?;
    let mut example = Example::measured().await?;
    example.manager()?["stat_prefix"] = json!("ingress_http");
    example.manager()?["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
    let bridge = example.start(&mut room).await?;
    send(&example, 3).await?;
    // Of what is open, the filter's own count is shown.
    let client = Client::new(example.listener());
    let open = client.websocket("/ws", "/ws").await?;
    until("the requests are shown", async || {
        let page = bridge.page().await?;
        let api = [("service", "api")];
        ensure!(
            page.sum("http_requests_total", &api) >= 3.0,
            "{}",
            page.text()
        );
        let bytes = page.samples("http_connection_received_bytes_total").count();
        ensure!(bytes == 0, "{}", page.text());
        let active = page.value("active_connections", &api);
        ensure!(active == Some(1.0), "{active:?} active");
        Ok(())
    })
    .await?;
    drop(open);
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_address_where_something_else_listens_is_not_up() -> Result<()> {
    let mut room = Room::open()?;
    let mut example = Example::measured().await?;
    let elsewhere = example.listener();
    example.manager()?["route_config"]["virtual_hosts"][0]["routes"] = json!([]);
    let bridge = example.start_reading(&mut room, elsewhere).await?;
    let page = bridge.page().await?;
    ensure!(
        page.value("gatemeter_up", &[]) == Some(0.0),
        "{}",
        page.text()
    );
    let status = [("reason", "status")];
    let errors = page.value("gatemeter_scrape_errors_total", &status);
    ensure!(errors >= Some(1.0), "{}", page.text());
    let ready = get(bridge.address(), "/-/ready").await?;
    ensure!(ready.status == 503, "{}", ready.status);
    let one = get(bridge.address(), "/metrics/api").await?;
    ensure!(one.status == 503, "{}", one.status);
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_that_name_no_path_of_the_service_leave_one_path() -> Result<()> {
    let mut room = Room::open()?;
    let mut example = Example::measured().await?;
    let configuration = json!({ "service": "api", "routes": ["/v1/items/:id"] });
    example.configure(&configuration)?;
    let bridge = example.start(&mut room).await?;
    send(&example, 3).await?;
    until("the requests are shown", async || {
        let page = bridge.page().await?;
        let all = page.sum("http_requests_total", &[]);
        let unmatched = page.sum("http_requests_total", &[("path", "_UNMATCHED")]);
        ensure!((all, unmatched) == (3.0, 3.0), "{}", page.text());
        Ok(())
    })
    .await?;
    let file = room.write("plugin.json", &configuration.to_string())?;
    let explained = std::process::Command::new(artefact::bridge()?)
        .args(["explain", "GET", "/items/42", "--plugin-config"])
        .arg(file)
        .output()?;
    let said = String::from_utf8_lossy(&explained.stdout);
    ensure!(said.contains("_UNMATCHED"), "{said}");
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrapes_that_are_not_excluded_count_as_requests() -> Result<()> {
    let mut room = Room::open()?;
    let upstream = Upstream::start().await?;
    let service = Service::new("api")?
        .plugin_configuration(json!({ "service": "api" }))
        .to_cluster("/", "upstream");
    let envoy = Setup::new()?
        .cluster("upstream", upstream.address())
        .service(service)
        .start(&mut room)
        .await?;
    let bridge = Bridge::start(&mut room, envoy.admin(), envoy.bridge()).await?;
    for _ in 0..2 {
        page(envoy.service("api")?, "/metrics").await?;
    }
    until("the scrapes are shown", async || {
        let page = bridge.page().await?;
        let scrapes = page.sum("http_requests_total", &[("path", "/metrics")]);
        ensure!(scrapes == 2.0, "{}", page.text());
        Ok(())
    })
    .await?;
    room.close()
}

/// What Envoy says of a configuration that it refuses.
fn refusal(example: &Example) -> Result<String> {
    let room = Room::open()?;
    let output = example.validate(&room)?;
    ensure!(!output.status.success(), "accepted");
    room.close()?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Checks that the document quotes a line, which stands in what was said.
fn is_quoted(said: &str, line: &str) -> Result<()> {
    ensure!(said.contains(line), "not said: {line}\n{said}");
    let document = document::text("docs/troubleshooting.md")?;
    ensure!(
        document.contains(line),
        "not in the document: {line}\n{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_refuses_a_module_that_is_missing_or_no_module() -> Result<()> {
    let room = Room::open()?;
    let mut example = Example::measured().await?;
    let mut with = |file: Value| -> Result<String> {
        example.plugin()?["vm_config"]["code"]["local"]["filename"] = file;
        refusal(&example)
    };
    is_quoted(
        &with(json!("no/such/module.wasm"))?,
        "Invalid path: no/such/module.wasm",
    )?;
    for content in ["", "not a module"] {
        let said = with(json!(room.write("bad.wasm", content)?))?;
        is_quoted(&said, "Unable to create Wasm plugin")?;
    }
    is_quoted(
        &with(json!(room.path("bad.wasm")))?,
        "Failed to load Wasm code",
    )?;
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_told_in_envoys_log() -> Result<()> {
    let mut example = Example::measured().await?;
    example.configure(&json!({ "service": "api", "max_serie": 10 }))?;
    is_quoted(
        &refusal(&example)?,
        "gatemeter: configuration refused: max_serie: 10; expected one of the keys service, preset, routes",
    )
}

/// As an update that a control plane sends: the old one stays in service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_with_a_wrong_configuration_is_rejected_and_the_old_one_counts_on() -> Result<()>
{
    let mut room = Room::open()?;
    let upstream = Upstream::start().await?;
    let mut envoy = Setup::new()?
        .cluster("upstream", upstream.address())
        .service(Service::new("api")?.to_cluster("/", "upstream"))
        .watching(room.path("listeners.json"))
        .start(&mut room)
        .await?;
    let bridge = Bridge::start(&mut room, envoy.admin(), envoy.bridge()).await?;
    envoy.update("max_series", &json!(0))?;
    until("Envoy has rejected it", async || {
        let rejected = stat(envoy.admin(), "listener_manager.lds.update_rejected").await?;
        ensure!(rejected == 1, "{rejected} rejected");
        Ok(())
    })
    .await?;
    let client = Client::new(envoy.service("api")?);
    client.expect(&Call::new("GET", "/a", "/a"), 200).await?;
    until("the page equals the ledger", async || {
        client.ledger().compare(&bridge.page().await?, Some("api"))
    })
    .await?;
    room.close_despite(|line| line.contains("[wasm]"))
}

/// Traps at the end of every exchange.
const TRAPPING: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_log") (param i32) unreachable))"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_traps_is_started_anew_and_counted() -> Result<()> {
    let mut room = Room::open()?;
    let mut example = Example::measured().await?;
    let module = room.path("trapping.wasm");
    std::fs::write(&module, wat::parse_str(TRAPPING)?)?;
    example.plugin()?["vm_config"]["code"]["local"]["filename"] = json!(module);
    let bridge = example.start(&mut room).await?;
    let client = Client::new(example.listener());
    until("a VM was started anew", async || {
        let _ = client.send(&Call::new("GET", "/a", "/a")).await?;
        let page = bridge.page().await?;
        let reloads = [("plugin", "gatemeter-api"), ("result", "success")];
        let reloads = page.value("gatemeter_vm_reloads_total", &reloads);
        ensure!(reloads >= Some(1.0), "{}", page.text());
        Ok(())
    })
    .await?;
    room.close_despite(|_| true)
}
