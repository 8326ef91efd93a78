//! The bridge's live page in Chromium, driven by Playwright: a visit is a run of
//! `browser/live_page.mjs`, which says what it found.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::artefact::{self, workspace};
use crate::room::Room;
use crate::until::until;

/// A visit that goes on, under the name `visit` in the room.
#[derive(Debug)]
pub struct Visit;

impl Visit {
    /// Begins a visit; `file` is what it waits for or writes to.
    ///
    /// # Errors
    ///
    /// Node or one of the packages is missing.
    pub fn begin(room: &mut Room, what: &str, bridge: SocketAddr, file: &Path) -> Result<Self> {
        let mut command = Command::new(artefact::tool("node")?);
        command
            .arg(workspace().join("e2e/browser/live_page.mjs"))
            .arg(what)
            .arg(format!("http://{bridge}/"))
            .arg(artefact::packages(&["playwright-core", "axe-core"])?)
            .arg(artefact::tool("chromium-headless-shell")?)
            .arg(file)
            // What the browser writes goes with the room.
            .env("HOME", room.path(""))
            .env("TMPDIR", room.path(""));
        room.start("visit", &mut command)?;
        Ok(Self)
    }

    /// Waits until the page is open and shows that Envoy is read.
    ///
    /// # Errors
    ///
    /// It ended before that, or took too long.
    pub async fn opened(&self, room: &mut Room) -> Result<()> {
        let is_open = |log: &str| log.lines().any(|line| line == "open").then_some(());
        self.said(room, "the page is open", is_open).await
    }

    /// Waits for the end of the visit and gives what it found.
    ///
    /// # Errors
    ///
    /// It failed, or took too long.
    pub async fn found(self, room: &mut Room) -> Result<Value> {
        let result = |log: &str| {
            Some(
                log.lines()
                    .find_map(|l| l.strip_prefix("result "))?
                    .to_owned(),
            )
        };
        // Visits may be longer than what is usually waited for.
        let mut found = self.said(room, "the visit is over", result).await;
        for _ in 0..4 {
            if found.is_err() && room.process("visit")?.check_running().is_ok() {
                found = self.said(room, "the visit is over", result).await;
            }
        }
        let found = serde_json::from_str(&found?)?;
        room.dismiss("visit")?.stop()?;
        Ok(found)
    }

    async fn said<T>(
        &self,
        room: &mut Room,
        what: &str,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let mut failure = None;
        let found = until(what, async || {
            let process = room.process("visit")?;
            let has_ended = process.check_running();
            let log = process.log();
            if let Some(found) = find(&log) {
                return Ok(Some(found));
            }
            if has_ended.is_err() || log.lines().any(|line| line.starts_with("failed ")) {
                failure = Some(log);
                return Ok(None);
            }
            bail!("not so yet")
        })
        .await?;
        found.with_context(|| format!("the visit failed: {}", failure.unwrap_or_default()))
    }
}

/// Visits the page and gives what was found there.
///
/// # Errors
///
/// The visit failed.
pub async fn visit(room: &mut Room, what: &str, bridge: SocketAddr) -> Result<Value> {
    let unused = room.path("unused");
    Visit::begin(room, what, bridge, &unused)?.found(room).await
}

/// Checks that a list of what is wrong is there and empty.
///
/// # Errors
///
/// It is not.
pub fn none(found: &Value, list: &str) -> Result<()> {
    let faults = found[list].as_array().context("no such list")?;
    let lines: Vec<_> = faults.iter().filter_map(Value::as_str).collect();
    ensure!(faults.is_empty(), "{}", lines.join("\n"));
    Ok(())
}
