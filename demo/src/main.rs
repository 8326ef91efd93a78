//! `gatemeter-demo`: serves the demo services until SIGTERM or Ctrl-C.
//!
//! On standard output there is one line per service, once all of them answer:
//! `listening service=api address=127.0.0.1:9080`. The log goes to standard error.
//!
//! `gatemeter-demo traffic`: sends them requests until SIGTERM or Ctrl-C, or for
//! some rounds. At the end there is one line on standard output for each service
//! and status: `answers service=api status=200 count=12`.
//!
//! Exit status: 0 stopped as asked, 1 failed, 64 wrong usage.

use std::io::{IsTerminal, Write};
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use gatemeter_demo::cli::{Cli, Command};
use gatemeter_demo::{Demo, Traffic};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing more can be done where even the usage cannot be printed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(cli: Cli) -> anyhow::Result<()> {
    // Before anything is created that a signal would have to clean up.
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let stop_asked = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(stop_asked);
    match cli.command {
        Some(Command::Traffic(traffic)) => send(traffic.into(), stop_asked).await,
        None => serve(cli, stop_asked).await,
    }
}

async fn send(traffic: Traffic, stop_asked: impl Future<Output = ()>) -> anyhow::Result<()> {
    let endless = traffic.rounds.is_none();
    let answers = traffic.send_until(stop_asked).await;
    let mut stdout = std::io::stdout().lock();
    for ((service, status), count) in &answers.by_status {
        writeln!(
            stdout,
            "answers service={service} status={status} count={count}"
        )
        .context("cannot write to standard output")?;
    }
    // Without end, a service may be restarted meanwhile.
    anyhow::ensure!(
        endless || answers.missing == 0,
        "{} requests were not answered",
        answers.missing
    );
    Ok(())
}

async fn serve(cli: Cli, mut stop_asked: Pin<&mut impl Future<Output = ()>>) -> anyhow::Result<()> {
    let demo = tokio::select! {
        started = Demo::start(cli.into()) => started?,
        () = &mut stop_asked => return Ok(()),
    };
    let mut stdout = std::io::stdout().lock();
    for (service, address) in demo.addresses() {
        writeln!(stdout, "listening service={service} address={address}")
            .context("cannot write to standard output")?;
    }
    stdout.flush().context("cannot write to standard output")?;
    drop(stdout);
    demo.serve_until(stop_asked).await
}
