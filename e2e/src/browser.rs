//! Chromium without a window, with a profile of its own in the room, and with
//! loopback as all of its network.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::artefact;
use crate::devtools::DevTools;
use crate::room::Room;
use crate::until::until;

/// What Chromium is started with.
const ARGUMENTS: [&str; 11] = [
    // A free one; its log says which.
    "--remote-debugging-port=0",
    // Its sandbox does not start as root, nor where a container may make no
    // namespaces of its own, and it only sees pages of this project.
    "--no-sandbox",
    // A container's /dev/shm often has but 64 MB.
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-crash-reporter",
    "--disable-background-networking",
    "--no-first-run",
    "--no-default-browser-check",
    "--mute-audio",
    // Nobody is there to press play.
    "--autoplay-policy=no-user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/// A tab of a browser that runs in the room as `chromium`.
#[derive(Debug)]
pub struct Tab {
    devtools: DevTools,
}

impl Tab {
    /// Starts the browser with one tab, which shows nothing yet.
    ///
    /// # Errors
    ///
    /// Chromium is missing or does not answer.
    pub async fn open(room: &mut Room) -> Result<Self> {
        let profile = room.path("chromium-profile");
        std::fs::create_dir(&profile)?;
        let mut command = Command::new(artefact::tool("chromium-headless-shell")?);
        command
            .args(ARGUMENTS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            // What it writes outside of its profile goes there as well.
            .env("HOME", &profile)
            .env("TMPDIR", &profile);
        room.start("chromium", &mut command)?;
        let browser = until("Chromium can be driven", async || {
            let process = room.process("chromium")?;
            process.check_running()?;
            let log = process.log();
            let address = log
                .lines()
                .find_map(|line| line.strip_prefix("DevTools listening on "))
                .context("its log does not say where")?;
            Ok(address.trim().to_owned())
        })
        .await?;
        let mut devtools = DevTools::connect(&browser).await?;
        let tabs = devtools.call("Target.getTargets", json!({})).await?;
        let tab = tabs["targetInfos"]
            .as_array()
            .and_then(|targets| targets.iter().find(|target| target["type"] == "page"))
            .and_then(|target| target["targetId"].as_str())
            .with_context(|| format!("no tab: {tabs}"))?;
        let (origin, _) = browser
            .split_once("/devtools/")
            .with_context(|| format!("an unknown kind of address: {browser}"))?;
        let devtools = DevTools::connect(&format!("{origin}/devtools/page/{tab}")).await?;
        Ok(Self { devtools })
    }

    /// Loads a page.
    ///
    /// # Errors
    ///
    /// There is no answer from its server.
    pub async fn show(&mut self, url: &str) -> Result<()> {
        let loaded = self
            .devtools
            .call("Page.navigate", json!({ "url": url }))
            .await?;
        ensure!(loaded.get("errorText").is_none(), "{url}: {loaded}");
        Ok(())
    }

    /// Slows the tab's network down, requests under way too.
    ///
    /// # Errors
    ///
    /// The browser does not do so.
    pub async fn throttle(&mut self, bits_per_second: u32) -> Result<()> {
        let bytes_per_second = bits_per_second / 8;
        self.devtools.call("Network.enable", json!({})).await?;
        let conditions = json!({
            "offline": false,
            "latency": 0,
            "downloadThroughput": bytes_per_second,
            "uploadThroughput": -1,
        });
        self.devtools
            .call("Network.emulateNetworkConditions", conditions)
            .await?;
        Ok(())
    }

    /// The value of a JavaScript expression in the page, as JSON; null where it
    /// has none.
    ///
    /// # Errors
    ///
    /// It throws.
    pub async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let question = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.devtools.call("Runtime.evaluate", question).await?;
        ensure!(
            answer.get("exceptionDetails").is_none(),
            "{expression}: {}",
            answer["exceptionDetails"]
        );
        Ok(answer["result"]["value"].take())
    }
}
