//! What the documents tell people to write does what they say: the lines for an
//! Envoy of one's own, what Istio and Envoy Gateway make of theirs, and the
//! tests that the symptoms name.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::artefact::{self, workspace};
use gatemeter_e2e::client::{Call, Client};
use gatemeter_e2e::document::{self, section, sections, yaml};
use gatemeter_e2e::example::Example;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::until::until;
use serde_json::{Value, json};

fn accepted(example: &Example) -> Result<()> {
    let room = Room::open()?;
    let output = example.validate(&room)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    room.close()
}

/// The object of this kind in a document.
fn object(document: &str, kind: &str) -> Result<Value> {
    let objects = yaml(&document::text(document)?)?;
    let mut objects = objects.into_iter();
    let object = objects.find(|object| object["kind"] == kind);
    object.with_context(|| format!("{document} has no {kind}"))
}

/// Lays one configuration over another: maps are merged, lists are joined.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) => into.extend(from.iter().cloned()),
        (into, from) => *into = from.clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_lines_measure_an_envoy_that_somebody_has() -> Result<()> {
    let text = section("docs/getting-started.md", "An Envoy that you have")?;
    let (_, block) = text.split_once("```yaml\n").context("no block")?;
    let (block, _) = block.split_once("```").context("no end")?;
    let lines = block.lines().filter(|line| !line.trim().is_empty()).count();
    ensure!(lines == 10, "{lines} lines");

    accepted(&Example::without_us().await?)?;
    let example = Example::measured().await?;
    accepted(&example)?;
    let mut room = Room::open()?;
    let bridge = example.start(&mut room).await?;
    let client = Client::new(example.listener());
    for _ in 0..3 {
        client
            .expect(&Call::new("GET", "/items/42", "/items/:id"), 200)
            .await?;
    }
    until("the page equals the ledger", async || {
        let page = bridge.page().await?;
        client.ledger().compare(&page, Some("api"))?;
        let bytes = [("service", "api")];
        ensure!(page.value("http_connection_received_bytes_total", &bytes) > Some(0.0));
        Ok(())
    })
    .await?;
    room.close()
}

/// As `pilot/pkg/model/extensions.go` of Istio turns a WasmPlugin into a filter.
fn filter_of_istio(plugin: &Value) -> Result<Value> {
    let spec = &plugin["spec"];
    let text = |value: &Value| Some(value.as_str()?.to_owned());
    let url = text(&spec["url"]).context("no url")?;
    ensure!(url.starts_with("file:///"), "{url}");
    let meta = &plugin["metadata"];
    let namespace = text(&meta["namespace"]).context("no namespace")?;
    let name = text(&meta["name"]).context("no name")?;
    Ok(json!({
        "name": format!("{namespace}.{name}"),
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": format!("{namespace}.{name}"),
                "failure_policy": spec["failStrategy"],
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": spec["pluginConfig"].to_string(),
                },
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": { "local": { "filename": artefact::filter()? } },
                    "environment_variables": {
                        "key_values": { "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": "1" },
                    },
                },
            },
        },
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_istio_makes_of_its_page_is_measured_by_the_name_of_the_service() -> Result<()> {
    let page = "docs/istio.md";
    let mut example = Example::without_us().await?;
    example.manager()?["stat_prefix"] = json!("inbound_0.0.0.0_8080;");
    example.add_filter(0, filter_of_istio(&object(page, "WasmPlugin")?)?)?;
    let patches = object(page, "EnvoyFilter")?;
    let patches = patches["spec"]["configPatches"]
        .as_array()
        .context("none")?
        .clone();
    for patch in &patches {
        ensure!(patch["patch"]["operation"] == "MERGE", "{patch}");
        let value = &patch["patch"]["value"];
        match patch["applyTo"].as_str() {
            Some("NETWORK_FILTER") => merge(example.manager()?, &value["typed_config"]),
            Some("VIRTUAL_HOST") => {
                let host = example
                    .manager()?
                    .pointer_mut("/route_config/virtual_hosts/0");
                merge(host.context("no host")?, value);
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
    // Istio's own inclusion list, and what the annotation adds to it.
    let pod = object(page, "Deployment")?;
    let annotations = &pod["spec"]["template"]["metadata"]["annotations"];
    let added = annotations["sidecar.istio.io/statsInclusionPrefixes"].as_str();
    let prefixes = [
        "cluster_manager",
        "listener_manager",
        "server",
        "cluster.xds-grpc",
        "wasm",
    ];
    let prefixes = prefixes
        .into_iter()
        .chain(added.context("no prefixes")?.split(','));
    let patterns: Vec<_> = prefixes.map(|prefix| json!({ "prefix": prefix })).collect();
    example.config["stats_config"] = json!({ "use_all_default_tags": false, "stats_matcher": { "inclusion_list": { "patterns": patterns } } });
    for json in [
        "sidecar.istio.io/userVolume",
        "sidecar.istio.io/userVolumeMount",
    ] {
        let value = annotations[json].as_str().context(json)?;
        let volumes: Value = serde_json::from_str(value)?;
        ensure!(volumes["gatemeter"].is_object(), "{value}");
    }
    measured_as(&example, "api", "/api/content/42", "/api/content/:id").await
}

/// Starts it, and finds a request, and the bytes that Envoy counts itself,
/// under the name of the service.
async fn measured_as(example: &Example, service: &str, path: &str, label: &str) -> Result<()> {
    accepted(example)?;
    let mut room = Room::open()?;
    let bridge = example.start(&mut room).await?;
    let client = Client::new(example.listener());
    client.expect(&Call::new("GET", path, label), 200).await?;
    until("the page equals the ledger", async || {
        let page = bridge.page().await?;
        client.ledger().compare(&page, Some(service))?;
        let bytes = page.value(
            "http_connection_received_bytes_total",
            &[("service", service)],
        );
        ensure!(bytes > Some(0.0), "{}", page.text());
        Ok(())
    })
    .await?;
    room.close()
}

/// RFC 6902, as far as the page uses it.
fn patch(listener: &mut Value, operation: &Value) -> Result<()> {
    let path = operation["path"].as_str().context("no path")?;
    let (parent, key) = path.rsplit_once('/').context("no parent")?;
    let parent = listener.pointer_mut(parent).context("no such parent")?;
    match operation["op"].as_str() {
        Some("add") => {
            let list = parent.as_array_mut().context("no list")?;
            list.insert(key.parse()?, operation["value"].clone());
        }
        Some("replace") => {
            let value = parent.get_mut(key).context("nothing to replace")?;
            *value = operation["value"].clone();
        }
        other => anyhow::bail!("{other:?}"),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_patch_policy_makes_of_a_listener_is_measured() -> Result<()> {
    let mut example = Example::without_us().await?;
    let listener = &mut example.config["static_resources"]["listeners"][0];
    // As Envoy Gateway has it.
    listener["default_filter_chain"] = listener["filter_chains"][0].take();
    listener
        .as_object_mut()
        .context("no listener")?
        .remove("filter_chains");
    let policy = object("docs/envoy-gateway.md", "EnvoyPatchPolicy")?;
    for one in policy["spec"]["jsonPatches"].as_array().context("none")? {
        patch(listener, &one["operation"])?;
    }
    let chain = "/default_filter_chain/filters/0/typed_config";
    let code = "/http_filters/0/typed_config/config/vm_config/code/local/filename";
    let file = listener
        .pointer_mut(&format!("{chain}{code}"))
        .context("no file")?;
    *file = json!(artefact::filter()?);
    measured_as(&example, "edge", "/items/42", "/items/:id").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_extension_policy_makes_of_a_route_counts_that_route_only() -> Result<()> {
    let policy = object("docs/envoy-gateway.md", "EnvoyExtensionPolicy")?;
    let wasm = &policy["spec"]["wasm"][0];
    let mut example = Example::without_us().await?;
    // As `internal/xds/translator/wasm.go` of Envoy Gateway does it.
    let name = "envoy.filters.http.wasm/envoyextensionpolicy/media/gatemeter-api/wasm/0";
    example.add_filter(
        0,
        json!({
            "name": name,
            "disabled": true,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {
                    "name": wasm["name"],
                    "fail_open": wasm["failOpen"],
                    "configuration": {
                        "@type": "type.googleapis.com/google.protobuf.StringValue",
                        "value": wasm["config"].to_string(),
                    },
                    "vm_config": {
                        "vm_id": "envoyextensionpolicy/media/gatemeter-api/wasm/0",
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": { "local": { "filename": artefact::filter()? } },
                    },
                },
            },
        }),
    )?;
    example.manager()?["route_config"]["virtual_hosts"][0]["routes"] = json!([{
        "match": { "prefix": "/api/" },
        "route": { "cluster": "upstream" },
        "typed_per_filter_config": { name: {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {},
        }},
    }]);
    accepted(&example)?;
    let mut room = Room::open()?;
    let bridge = example.start(&mut room).await?;
    let client = Client::new(example.listener());
    client
        .expect(
            &Call::new("GET", "/api/content/42", "/api/content/:id"),
            200,
        )
        .await?;
    // Without a route: not in the books.
    let elsewhere = Client::new(example.listener());
    elsewhere
        .expect(&Call::new("GET", "/nowhere", "_UNMATCHED"), 404)
        .await?;
    client
        .expect(&Call::new("GET", "/api/content", "/api/content"), 200)
        .await?;
    until("the page equals the ledger", async || {
        client.ledger().compare(&bridge.page().await?, Some("api"))
    })
    .await?;
    room.close()
}

#[test]
fn every_other_block_of_the_pages_is_an_object_of_kubernetes() -> Result<()> {
    for page in ["docs/istio.md", "docs/envoy-gateway.md"] {
        for object in yaml(&document::text(page)?)? {
            for key in [
                "/apiVersion",
                "/kind",
                "/metadata/name",
                "/metadata/namespace",
            ] {
                ensure!(
                    object.pointer(key).is_some_and(Value::is_string),
                    "{page} {key}: {object}"
                );
            }
        }
    }
    Ok(())
}

/// The tests that the comments below the headings name.
fn named_tests(section: &str) -> Vec<(&str, &str)> {
    let comments = section
        .lines()
        .filter_map(|line| line.strip_prefix("<!-- ")?.strip_suffix(" -->"));
    comments
        .filter_map(|comment| comment.split_once(": "))
        .collect()
}

#[test]
fn every_symptom_names_tests_that_bring_it_about() -> Result<()> {
    let mut named = BTreeSet::new();
    for (heading, text) in sections("docs/troubleshooting.md")? {
        let tests = named_tests(&text);
        ensure!(!tests.is_empty(), "no test makes: {heading}");
        for (file, test) in tests {
            let source =
                std::fs::read_to_string(workspace().join(file)).context(file.to_owned())?;
            ensure!(
                source.contains(&format!("fn {test}(")),
                "{heading}: no {test} in {file}"
            );
            named.insert(test.to_owned());
        }
    }
    // And none of those that were written for this page is left out.
    let symptoms = std::fs::read_to_string(workspace().join("e2e/tests/symptoms.rs"))?;
    for (_, rest) in symptoms
        .match_indices("#[t")
        .map(|(at, _)| symptoms.split_at(at))
    {
        let (_, name) = rest.split_once("fn ").context("no function")?;
        let (name, _) = name.split_once('(').context("no name")?;
        ensure!(named.contains(name), "no symptom names {name}");
    }
    Ok(())
}
