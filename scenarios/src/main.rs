//! `gatemeter-host`: tries a plugin configuration out without Envoy.
//!
//! Exit codes: 0 everything is as expected, 1 an expectation is not met or the
//! module trapped, 2 wrong usage, a file that is no scenario, no module, or a
//! configuration that the module refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use gatemeter_bridge::exposition::Format;
use gatemeter_host_tests::Module;
use gatemeter_scenarios::native::NativeProxy;
use gatemeter_scenarios::proxy::RunError;
use gatemeter_scenarios::run::{Outcome, run};
use gatemeter_scenarios::scenario::{Config, Scenario, Way};
use gatemeter_scenarios::wasm::WasmProxy;

/// Runs a proxy-wasm module on scenarios, without Envoy.
///
/// Exit codes: 0 everything is as expected; 1 an expectation is not met, or the
/// module trapped; 2 wrong usage, a file that is no scenario, no module, or a
/// configuration that the module refuses.
#[derive(Debug, Parser)]
#[command(name = "gatemeter-host", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the metrics page that each scenario leads to, and check what it expects
    Run(Run),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Scenarios in YAML
    #[arg(required = true, value_name = "FILE")]
    scenarios: Vec<PathBuf>,

    /// The module to run
    #[arg(
        long,
        value_name = "FILE",
        default_value = "dist/gatemeter_filter.wasm"
    )]
    wasm: PathBuf,

    /// Run the filter's logic that is compiled into this program, not a module
    #[arg(long, conflicts_with = "wasm")]
    native: bool,

    /// Take the plugin configuration from this file, not from the scenario
    #[arg(long, value_name = "FILE")]
    plugin_config: Option<PathBuf>,

    /// Print no page, only what is not as expected
    #[arg(long)]
    check: bool,

    /// Format of the page
    #[arg(long, value_enum, default_value_t = PageFormat::Text)]
    format: PageFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PageFormat {
    /// Prometheus text format 0.0.4
    Text,
    /// OpenMetrics 1.0
    Openmetrics,
}

/// How far a scenario came; the worst of several is the exit code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    AsExpected,
    Unmet,
    Unusable,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(match verdict {
            Verdict::AsExpected => 0,
            Verdict::Unmet => 1,
            Verdict::Unusable => 2,
        })
    }
}

fn main() -> ExitCode {
    let Cli {
        command: Command::Run(options),
    } = Cli::parse();
    let module = if options.native {
        None
    } else {
        match read_module(&options.wasm) {
            Ok(module) => Some(module),
            Err(error) => {
                eprintln!("gatemeter-host: {error}");
                return Verdict::Unusable.into();
            }
        }
    };
    let verdicts = options
        .scenarios
        .iter()
        .map(|file| try_out(file, module.as_ref(), &options));
    verdicts.max().unwrap_or(Verdict::AsExpected).into()
}

fn read_module(path: &Path) -> Result<Module, String> {
    let bytes = fs::read(path)
        .map_err(|error| format!("cannot read {}: {error}; run `make wasm`", path.display()))?;
    Module::from_bytes(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// Runs one file, and tells of it.
fn try_out(file: &Path, module: Option<&Module>, options: &Run) -> Verdict {
    let shown = file.display();
    let scenario = match read_scenario(file, options.plugin_config.as_deref()) {
        Ok(scenario) => scenario,
        Err(problems) => {
            for problem in problems.lines() {
                eprintln!("{problem}");
            }
            return Verdict::Unusable;
        }
    };
    let way = module.map_or(Way::Native, |_| Way::Wasm);
    if let Some(only) = scenario.only.as_ref().filter(|_| !scenario.runs(way)) {
        eprintln!("{shown}: does not run as {way}: {}", only.because);
        return Verdict::Unusable;
    }
    let format = match options.format {
        PageFormat::Text => Format::Text,
        PageFormat::Openmetrics => Format::OpenMetrics,
    };
    let outcome = match module {
        None => run(&scenario, NativeProxy::start(&scenario, format), None),
        Some(module) => {
            let started = WasmProxy::start(module.clone(), &scenario, format);
            run(&scenario, started, None)
        }
    };
    match outcome {
        Ok(outcome) => {
            if options.scenarios.len() > 1 && !options.check {
                println!("# Scenario {shown}");
            }
            report(&shown.to_string(), &outcome, options.check)
        }
        Err(error) => {
            eprintln!("{shown}: {error}");
            match error {
                RunError::Refused(_) => Verdict::Unusable,
                RunError::Broken(_) => Verdict::Unmet,
            }
        }
    }
}

fn report(file: &str, outcome: &Outcome, is_check: bool) -> Verdict {
    if let Some(page) = outcome.page().filter(|_| !is_check) {
        print!("{}", page.text());
    }
    for unmet in &outcome.unmet {
        eprintln!("{file}: {unmet}");
    }
    if outcome.unmet.is_empty() {
        Verdict::AsExpected
    } else {
        Verdict::Unmet
    }
}

fn read_scenario(file: &Path, plugin_config: Option<&Path>) -> Result<Scenario, String> {
    let read = |file: &Path| {
        fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
    };
    let mut scenario = Scenario::parse(&read(file)?).map_err(|error| {
        let lines = error.to_string();
        let lines = lines
            .lines()
            .map(|line| format!("{}: {line}", file.display()));
        lines.collect::<Vec<_>>().join("\n")
    })?;
    if let Some(plugin_config) = plugin_config {
        scenario.config = Config::Text(read(plugin_config)?);
    }
    Ok(scenario)
}
