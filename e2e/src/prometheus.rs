//! The real Prometheus and its `promtool`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::artefact;
use crate::client::get;
use crate::port::Port;
use crate::room::Room;
use crate::until::until;

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    port: Port,
}

impl Prometheus {
    /// Starts Prometheus with a configuration file under the name
    /// `prometheus`, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// It is missing, or refuses the configuration.
    pub async fn start(room: &mut Room, config: &Path) -> Result<Self> {
        let port = Port::reserve()?;
        let mut command = Command::new(artefact::tool("prometheus")?);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--web.listen-address={}", port.address()))
            .arg(format!(
                "--storage.tsdb.path={}",
                room.path("prometheus").display()
            ));
        room.start("prometheus", &mut command)?;
        let address = port.address();
        until("Prometheus is ready", async || {
            room.process("prometheus")?.check_running()?;
            let ready = get(address, "/-/ready").await?;
            ensure!(ready.status.is_success(), "{}", ready.status);
            Ok(())
        })
        .await?;
        Ok(Self { port })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The active targets, as its API describes them.
    ///
    /// # Errors
    ///
    /// The API does not answer.
    pub async fn targets(&self) -> Result<Vec<Value>> {
        let answer = self.api("/api/v1/targets?state=active").await?;
        let targets = answer["data"]["activeTargets"].as_array();
        Ok(targets.context("no activeTargets in the answer")?.clone())
    }

    /// All rules, as its API describes them, with how they are.
    ///
    /// # Errors
    ///
    /// The API does not answer.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let answer = self.api("/api/v1/rules").await?;
        let groups = answer["data"]["groups"].as_array();
        let groups = groups.context("no groups in the answer")?;
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        Ok(rules.flatten().cloned().collect())
    }

    /// The result of an instant query: labels and value of each series.
    ///
    /// # Errors
    ///
    /// The API does not answer, or refuses the query.
    pub async fn query(&self, query: &str) -> Result<Vec<(Value, f64)>> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.api(&format!("/api/v1/query?query={encoded}")).await?;
        let series = answer["data"]["result"].as_array();
        series
            .with_context(|| format!("no result: {answer}"))?
            .iter()
            .map(|series| {
                let value = series["value"][1].as_str().context("no value")?;
                Ok((series["metric"].clone(), value.parse()?))
            })
            .collect()
    }

    async fn api(&self, path: &str) -> Result<Value> {
        let answer = get(self.address(), path).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }
}

/// `promtool check metrics` on a page.
///
/// # Errors
///
/// It has something to say against the page, or is missing.
pub fn check_metrics(page: &str) -> Result<()> {
    let mut promtool = Command::new(artefact::tool("promtool")?)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    promtool
        .stdin
        .take()
        .context("no standard input")?
        .write_all(page.as_bytes())?;
    let output = promtool.wait_with_output()?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "promtool check metrics: {}{}\n{page}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(())
}

/// `promtool check config` on a file.
///
/// # Errors
///
/// It has something to say against the file, or is missing.
pub fn check_config(config: &Path) -> Result<()> {
    promtool("check config", &[config.to_owned()])
}

/// `promtool check rules` on files.
///
/// # Errors
///
/// It has something to say against one, or is missing.
pub fn check_rules(rules: &[PathBuf]) -> Result<()> {
    promtool("check rules", rules)
}

/// `promtool test rules` on a file of cases.
///
/// # Errors
///
/// A case has another outcome, or promtool is missing.
pub fn test_rules(cases: &Path) -> Result<()> {
    promtool("test rules", &[cases.to_owned()])
}

fn promtool(command: &str, files: &[PathBuf]) -> Result<()> {
    let output = Command::new(artefact::tool("promtool")?)
        .args(command.split(' '))
        .args(files)
        .output()?;
    ensure!(
        output.status.success(),
        "promtool {command}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(())
}
