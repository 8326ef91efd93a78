//! What a plugin configuration comes to in Envoy, a right and a wrong one.

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::artefact;
use gatemeter_e2e::envoy::{self, Form, Service, Setup};
use gatemeter_e2e::room::Room;
use serde_json::{Value, json};

/// Has Envoy check a service with one more key in its plugin configuration;
/// gives whether it accepts that, and the log lines that name the key.
fn validate(form: Form, key: &str, value: Value) -> Result<(bool, Vec<String>)> {
    let room = Room::open()?;
    let service = Service::new("api")?.form(form).plugin(key, value);
    let output = Setup::new()?.service(service).validate(&room)?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let naming = log
        .lines()
        .filter(|line| {
            [":", "[", "."]
                .iter()
                .any(|end| line.contains(&format!("{key}{end}")))
        })
        .map(str::to_owned)
        .collect();
    room.close()?;
    Ok((output.status.success(), naming))
}

/// A service with every key of the plugin configuration.
fn with_every_key() -> Result<Service> {
    Ok(Service::new("api")?
        .plugin(
            "routes",
            json!(["/api/content/:id", "/api/content/{id}/stream", "/ws/*"]),
        )
        .plugin(
            "path_rules",
            json!([{ "match": "/\\d+", "replace": "/:id" }]),
        )
        .plugin("max_series", json!(5000))
        .plugin("buckets", json!([0.001, 0.01, 0.1, 1, 2.5]))
        .plugin(
            "cache",
            json!({ "types": { "redis": "redis", "edge-cache": "cdn" } }),
        )
        .plugin("strip", json!(["x-db-pool", "cache-status"]))
        .plugin("native_histogram", json!(true))
        .plugin("flush_interval_ms", json!(250)))
}

#[test]
fn envoy_accepts_the_files_that_ship() -> Result<()> {
    // They name it.
    artefact::filter()?;
    artefact::native()?;
    for file in [
        "envoy/envoy.yaml",
        "envoy/access-logger.yaml",
        "envoy/native-module.yaml",
    ] {
        let output = envoy::validate(&artefact::workspace().join(file))?;
        ensure!(
            output.status.success(),
            "{file}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[test]
fn envoy_accepts_a_configuration_with_every_key_as_text_and_as_struct() -> Result<()> {
    let room = Room::open()?;
    for service in [with_every_key()?, with_every_key()?.as_struct()] {
        let output = Setup::new()?.service(service).validate(&room)?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    room.close()
}

#[test]
fn a_wrong_struct_is_refused_like_wrong_text() -> Result<()> {
    let room = Room::open()?;
    let service = with_every_key()?.as_struct().plugin("max_series", json!(0));
    let output = Setup::new()?.service(service).validate(&room)?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "accepted: {log}");
    ensure!(
        log.contains("max_series: 0; expected a whole number from 1 to"),
        "{log}"
    );
    room.close()
}

#[test]
fn envoy_refuses_a_wrong_value_with_one_line_that_names_key_value_and_what_is_accepted()
-> Result<()> {
    for (key, value, shown) in [
        ("max_serie", json!(5), "5"),
        ("max_series", json!(0), "0"),
        ("max_series", json!("many"), "many"),
        ("routes", json!(["/a", "b"]), "\"b\""),
        (
            "path_rules",
            json!([{ "match": "(", "replace": "" }]),
            "\"(\"",
        ),
        ("buckets", json!([0.1, 0.05]), "0.05"),
        ("service", json!("a b"), "a b"),
    ] {
        let (accepted, lines) = validate(Form::HttpFilter, key, value.clone())?;
        ensure!(!accepted, "{key}: {value} was accepted");
        ensure!(
            lines.len() == 1,
            "{key}: {value} is told in {} lines: {lines:#?}",
            lines.len()
        );
        let line = lines.first().context("no line")?;
        ensure!(line.contains(shown), "{shown} is not in {line}");
        ensure!(
            line.contains("expected"),
            "nothing is said to be expected in {line}"
        );
    }
    Ok(())
}

#[test]
fn all_errors_come_in_one_line_in_every_form() -> Result<()> {
    for form in [Form::HttpFilter, Form::AccessLogger, Form::NativeModule] {
        let room = Room::open()?;
        let service = Service::new("api")?
            .form(form)
            .plugin("routs", json!([]))
            .plugin("max_series", json!(-1))
            .plugin("buckets", json!([2, 1]))
            .plugin("path_rules", json!([{ "match": "[", "replace": "" }]));
        let output = Setup::new()?.service(service).validate(&room)?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "accepted as {form:?}");
        let telling = log.lines().filter(|line| {
            ["routs", "max_series", "buckets", "path_rules"]
                .iter()
                .all(|key| line.contains(key))
        });
        ensure!(telling.count() == 1, "{form:?}: {log}");
        room.close()?;
    }
    Ok(())
}

/// Also without `--mode validate`: Envoy does not start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_does_not_start_with_a_wrong_configuration() -> Result<()> {
    let mut room = Room::open()?;
    let service = Service::new("api")?.plugin("max_series", json!(0));
    let started = Setup::new()?.service(service).start(&mut room).await;
    let error = format!("{:#}", started.err().context("Envoy started")?);
    ensure!(error.contains("max_series: 0"), "{error}");
    // It ended, as it should, so there is nothing left to stop.
    drop(room.dismiss("envoy")?);
    room.close()
}
