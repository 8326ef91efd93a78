//! `gatemeter-bridge`: arguments, log, signals, exit code.
//!
//! Exit codes: 0 ended as asked, 64 wrong usage or configuration (`EX_USAGE`),
//! 1 any other failure.

use std::{fs, process::ExitCode};

use anyhow::Context as _;
use gatemeter_bridge::{
    app,
    cli::{Cli, Command},
    config::{Config, ConfigErrors, LogFormat, Settings},
    explain::{self, Budget, Request},
};
use gatemeter_core::plugin_config::PluginConfig;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: u8 = 64;

fn main() -> ExitCode {
    let (cli, settings) = match Cli::of_process() {
        Ok(read) => read,
        Err(error) => {
            let is_wrong = error.use_stderr();
            // Nobody reads it where this fails.
            let _ = error.print();
            return ExitCode::from(if is_wrong { USAGE } else { 0 });
        }
    };
    if let Some(command) = &cli.command {
        return without_serving(command);
    }
    let config = match configuration(&cli, settings) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(USAGE);
        }
    };
    if cli.config_check {
        println!("ok");
        return ExitCode::SUCCESS;
    }
    start_log(&config);
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gatemeter-bridge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn without_serving(command: &Command) -> ExitCode {
    let (Command::Explain { plugin_config, .. } | Command::Budget { plugin_config, .. }) = command;
    let parsed = fs::read(plugin_config)
        .map_err(|error| vec![format!("cannot be read: {error}")])
        .and_then(|json| {
            PluginConfig::parse(&json).map_err(|errors| {
                let errors = errors.errors().iter();
                errors
                    .map(|e| format!("{}: {}", e.key, e.problem))
                    .collect()
            })
        });
    let config = match parsed {
        Ok(config) => config,
        Err(errors) => {
            for error in errors {
                eprintln!("{}: {error}", plugin_config.display());
            }
            return ExitCode::from(USAGE);
        }
    };
    match command {
        Command::Explain {
            method,
            path,
            status,
            request_header,
            response_header,
            ..
        } => {
            let request = Request {
                method,
                path,
                status: *status,
                request_headers: request_header,
                response_headers: response_header,
            };
            print!("{}", explain::explain(&config, &request));
        }
        Command::Budget { max, .. } => {
            let budget = Budget::new(&config);
            print!("{budget}");
            if let Some(max) = max.filter(|max| budget.series() > *max) {
                eprintln!("{} series; expected at most {max}", budget.series());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn configuration(cli: &Cli, settings: Settings) -> Result<Config, ConfigErrors> {
    let file = match &cli.config_file {
        None => Settings::default(),
        Some(path) => Settings::from_file(path),
    };
    file.overlaid_by(settings).try_into()
}

fn start_log(config: &Config) {
    let log = tracing_subscriber::fmt()
        .with_max_level(config.log_level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    match config.log_format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => log.init(),
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    // One thread serves while another makes a page; Envoy is the one to load.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut asked_to_end = async move || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let bound = app::build(config).await?;
        let (end, ending) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            asked_to_end().await;
            let _ = end.send(());
            asked_to_end().await;
            // Whoever asks twice does not want to wait for the drain.
            std::process::exit(1);
        });
        bound
            .run(async {
                let _ = ending.await;
            })
            .await;
        Ok(())
    })
}
