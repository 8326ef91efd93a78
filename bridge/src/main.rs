//! `gatemeter-bridge`: arguments, log, signals, exit code.
//!
//! Exit codes: 0 ended as asked, 64 wrong usage or configuration (`EX_USAGE`),
//! 1 any other failure.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use gatemeter_bridge::{
    app::{self, Source, StartError},
    cli::{Cli, Command},
    config::{Config, ConfigErrors, LogFormat, Settings},
    explain::{self, Budget, Request},
};
use gatemeter_core::plugin_config::PluginConfig;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{level_filters::LevelFilter, warn};
use tracing_subscriber::{Layer as _, Registry, layer::SubscriberExt as _, reload};

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
    let source = Process {
        file: cli.config_file,
        settings,
        log_level: None,
    };
    let config = match source.read() {
        Ok(config) => config,
        Err(errors) => return wrong(&errors),
    };
    if cli.config_check {
        return match app::web_file(&config) {
            Ok(_) => {
                println!("ok");
                ExitCode::SUCCESS
            }
            Err(errors) => wrong(&errors),
        };
    }
    let source = source.logging_as(&config);
    match run(config, source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(StartError::WebFile(errors)) = error.downcast_ref() {
                return wrong(errors);
            }
            eprintln!("gatemeter-bridge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn wrong(errors: &ConfigErrors) -> ExitCode {
    eprintln!("{errors}");
    ExitCode::from(USAGE)
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

/// The configuration of this process: its file, its environment, its flags.
struct Process {
    file: Option<PathBuf>,
    settings: Settings,
    log_level: Option<reload::Handle<LevelFilter, Registry>>,
}

impl Source for Process {
    fn read(&self) -> Result<Config, ConfigErrors> {
        let file = match &self.file {
            None => Settings::default(),
            Some(path) => Settings::from_file(path),
        };
        file.overlaid_by(self.settings.clone()).try_into()
    }

    fn applied(&self, config: &Config) {
        let set = |handle: &reload::Handle<_, _>| handle.reload(config.log_level);
        if let Some(Err(error)) = self.log_level.as_ref().map(set) {
            warn!(%error, "the level of the log stays as it was");
        }
    }
}

impl Process {
    fn logging_as(mut self, config: &Config) -> Self {
        let (level, handle) = reload::Layer::new(config.log_level);
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_target(false);
        let lines = match config.log_format {
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
            LogFormat::Text => lines.boxed(),
        };
        let log = Registry::default().with(level).with(lines);
        // Only a second log of this process could stand in its way.
        if tracing::subscriber::set_global_default(log).is_ok() {
            self.log_level = Some(handle);
        }
        self
    }
}

fn run(config: Config, source: Process) -> anyhow::Result<()> {
    // One thread serves while another makes a page: each piece of Envoy's answer
    // would be handed from thread to thread, and each thread has its own memory.
    let runtime = tokio::runtime::Builder::new_current_thread()
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
        let mut hang_up = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
        let bound = app::build(config).await?.reloading_from(source);
        let reloader = bound.reloader();
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                reloader.reload().await;
            }
        });
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
