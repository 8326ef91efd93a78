//! The scenarios of `scenarios/cases/` through real Envoy: what each expects is
//! so, and the whole pages are those that the filter's logic gives natively.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::envoy::Form;
use gatemeter_e2e::scenario::Stage;
use gatemeter_scenarios::native::NativeProxy;
use gatemeter_scenarios::run::run;
use gatemeter_scenarios::scenario::{self, Way};
use gatemeter_scenarios::{Format, cases};

#[test]
fn every_case_is_as_expected_with_the_page_that_it_has_without_envoy() -> Result<()> {
    all_run(Form::HttpFilter)
}

#[test]
fn every_case_of_the_filter_is_the_same_with_the_native_module() -> Result<()> {
    all_run(Form::NativeModule)
}

fn all_run(filter: Form) -> Result<()> {
    let mut cases = cases()?;
    if filter == Form::NativeModule {
        // It has that one form.
        cases.retain(|_, scenario| scenario.form == scenario::Form::Filter);
    }
    let mut here = Vec::new();
    for (name, scenario) in &cases {
        match &scenario.only {
            Some(only) if !scenario.runs(Way::Envoy) => {
                println!("{name} does not run on Envoy: {}", only.because);
            }
            _ => here.push((name.as_str(), scenario)),
        }
    }
    let start = Instant::now();
    let mut stage = Stage::set(filter, here.iter().copied())?;
    println!("{} ms to start", start.elapsed().as_millis());
    let mut wrong = Vec::new();
    for (name, scenario) in here {
        let started = NativeProxy::start(scenario, Format::Text);
        let native = run(scenario, started, None).with_context(|| format!("{name}, native"))?;
        let start = Instant::now();
        match run(scenario, stage.proxy(name, scenario), Some(&native)) {
            Ok(outcome) => {
                ensure!(outcome.pages.len() == native.pages.len(), "{name} stopped");
                let unmet = outcome.unmet.iter();
                wrong.extend(unmet.map(|unmet| format!("{name}: {unmet}")));
            }
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
        println!("{} ms: {name}", start.elapsed().as_millis());
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    stage.close()
}
