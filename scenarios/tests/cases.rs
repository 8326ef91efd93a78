//! Every scenario of `cases/`, natively and on the module: what each expects is
//! so, and the whole pages are the same. `e2e` runs the same list on Envoy.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use gatemeter_bridge::exposition::Format;
use gatemeter_host_tests::Module;
use gatemeter_scenarios::native::NativeProxy;
use gatemeter_scenarios::run::run;
use gatemeter_scenarios::scenario::{Scenario, Way};
use gatemeter_scenarios::wasm::WasmProxy;

fn cases() -> Result<BTreeMap<String, Scenario>> {
    gatemeter_scenarios::cases().map_err(Into::into)
}

#[test]
fn every_case_is_as_expected_natively_and_on_the_module_with_the_same_pages() -> Result<()> {
    let module = Module::gatemeter()?;
    let mut wrong = Vec::new();
    for (name, scenario) in &cases()? {
        let started = NativeProxy::start(scenario, Format::Text);
        let native = run(scenario, started, None).with_context(|| format!("{name}, native"))?;
        let started = WasmProxy::start(module.clone(), scenario, Format::Text);
        let wasm =
            run(scenario, started, Some(&native)).with_context(|| format!("{name}, wasm"))?;
        for (way, outcome) in [(Way::Native, &native), (Way::Wasm, &wasm)] {
            let unmet = outcome.unmet.iter();
            wrong.extend(unmet.map(|unmet| format!("{name}, {way}: {unmet}")));
        }
        ensure!(
            native.pages.len() == wasm.pages.len(),
            "{name} shows {} pages natively, {} on the module",
            native.pages.len(),
            wasm.pages.len()
        );
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn the_list_covers_what_it_must_and_most_of_it_runs_in_all_three_ways() -> Result<()> {
    let cases = cases()?;
    let everywhere = cases.values().filter(|scenario| scenario.only.is_none());
    let (everywhere, all) = (everywhere.count(), cases.len());
    ensure!(all >= 25, "{all} scenarios");
    ensure!(
        everywhere * 10 >= all * 8,
        "{everywhere} of {all} run everywhere"
    );
    for scenario in cases.values() {
        for way in [Way::Native, Way::Wasm] {
            ensure!(
                scenario.runs(way),
                "{} does not run as {way}",
                scenario.description
            );
        }
    }
    Ok(())
}

/// A scenario that expects nothing proves nothing.
#[test]
fn every_case_expects_something_and_fails_where_that_is_not_so() -> Result<()> {
    for (name, mut scenario) in cases()? {
        ensure!(!scenario.expect.is_empty(), "{name} expects nothing");
        let Some(metric) = scenario.expect.metrics.first_mut() else {
            continue;
        };
        metric.1 = gatemeter_scenarios::expect::Number::Is(4711.0);
        let started = NativeProxy::start(&scenario, Format::Text);
        let outcome = run(&scenario, started, None)?;
        ensure!(outcome.unmet.len() == 1, "{name}: {:?}", outcome.unmet);
    }
    Ok(())
}

#[test]
fn a_page_that_differs_between_two_ways_is_told() -> Result<()> {
    let one =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/templates.yaml"))?;
    let other = one.replace("GET /api/content: 200", "GET /api/content: 201");
    let (one, mut other) = (Scenario::parse(&one)?, Scenario::parse(&other)?);
    other.expect.metrics.clear();
    let native = run(&one, NativeProxy::start(&one, Format::Text), None)?;
    let differing = run(
        &other,
        NativeProxy::start(&other, Format::Text),
        Some(&native),
    )?;
    let sample = r#"http_requests_total{method="GET",path="/api/content",status="#;
    for line in [
        format!("expect.{sample}\"200\"}}: expected 1, found absent"),
        format!("expect.{sample}\"201\"}}: expected absent, found 1"),
    ] {
        ensure!(
            differing.unmet.contains(&line),
            "no {line} in {:#?}",
            differing.unmet
        );
    }
    ensure!(differing.unmet.len() == 2, "{:#?}", differing.unmet);
    Ok(())
}

#[test]
fn the_example_of_the_documentation_is_as_it_says() -> Result<()> {
    let readme = include_str!("../README.md");
    let example = readme.split_once("```yaml\n").context("no example")?.1;
    let example = example.split_once("```").context("no end of it")?.0;
    let scenario = Scenario::parse(example)?;
    let started = WasmProxy::start(Module::gatemeter()?, &scenario, Format::Text);
    let outcome = run(&scenario, started, None)?;
    ensure!(outcome.unmet.is_empty(), "{:#?}", outcome.unmet);
    Ok(())
}
