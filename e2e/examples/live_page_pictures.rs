//! Takes the pictures that are in `docs/images`, of the live page and of
//! Prometheus' graphs, from a real run of five minutes with an incident in it:
//! `make screenshots`.
//!
//! Demo, Envoy, bridge and Prometheus are the shipped ones; the usual traffic is
//! the demo's own. For a minute and a half more answers are slow and some fail.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::artefact::{self, workspace};
use gatemeter_e2e::client::{Call, Client};
use gatemeter_e2e::demo::SERVICES;
use gatemeter_e2e::live_page::Visit;
use gatemeter_e2e::prometheus::Prometheus;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::shipped::Shipped;

/// As much as the page shows at first, and a little.
const RUN: Duration = Duration::from_secs(310);
/// When the incident begins and ends.
const INCIDENT: std::ops::Range<u64> = 180..265;

const PICTURES: [&str; 4] = ["live-light", "live-dark", "live-phone", "prometheus"];

/// What the graphs of Prometheus show: who fails, and who is slow.
const GRAPHS: [&str; 2] = [
    "sum by (job) (rate(http_requests_total{status=~\"5..\"}[30s])) / sum by (job) (rate(http_requests_total[30s]))",
    "histogram_quantile(0.95, sum by (job, le) (rate(http_request_duration_seconds_bucket[30s])))",
];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    let mut traffic = Command::new(artefact::demo()?);
    traffic.args(["traffic", "--requests-per-second", "60"]);
    for service in SERVICES {
        traffic.arg(format!("--{service}={}", shipped.listener(service)?));
    }
    room.start("traffic", &mut traffic)?;
    let config = shipped.prometheus_config(&room)?;
    let prometheus = Prometheus::start(&mut room, &config).await?;
    println!("a run of {} s", RUN.as_secs());
    let client = Client::new(shipped.listener("api")?);
    let start = Instant::now();
    for second in 0.. {
        if start.elapsed() >= RUN {
            break;
        }
        for call in calls(second) {
            let client = client.clone();
            tokio::spawn(async move { client.send(&call).await.map(|_| ()) });
        }
        let next = start + Duration::from_secs(second + 1);
        tokio::time::sleep_until(next.into()).await;
    }
    let raw = room.path("");
    let visit = Visit::begin(&mut room, "pictures", shipped.bridge().address(), &raw)?;
    visit.found(&mut room).await?;
    graphs(&room, &prometheus)?;
    for name in PICTURES {
        shrink(&room, name)?;
    }
    room.close()
}

/// Takes the picture of Prometheus' page.
fn graphs(room: &Room, prometheus: &Prometheus) -> Result<()> {
    let encoded =
        |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let graphs = (0..).zip(GRAPHS).map(|(number, expression)| {
        let expression = encoded(expression);
        format!("g{number}.expr={expression}&g{number}.tab=0&g{number}.range_input=5m")
    });
    let query = graphs.collect::<Vec<_>>().join("&");
    let done = Command::new(artefact::tool("node")?)
        .arg(workspace().join("e2e/browser/prometheus.mjs"))
        .arg(format!("http://{}/graph?{query}", prometheus.address()))
        .arg(artefact::packages(&["playwright-core"])?)
        .arg(artefact::tool("chromium-headless-shell")?)
        .arg(room.path("prometheus.png"))
        .env("HOME", room.path(""))
        .env("TMPDIR", room.path(""))
        .status()
        .context("cannot run node")?;
    ensure!(done.success(), "no picture of Prometheus");
    Ok(())
}

/// What is sent in a second beside the demo's traffic.
fn calls(second: u64) -> Vec<Call> {
    let get = |path: String, label: &str| Call::new("GET", &path, label);
    let mut calls: Vec<_> = (0..8 + second % 5)
        .map(|n| {
            get(
                format!("/api/content/{}", (second + n) % 23),
                "/api/content/:id",
            )
        })
        .collect();
    if INCIDENT.contains(&second) {
        let ms = 300 + 137 * (second % 11);
        calls.push(get(format!("/api/slow?ms={ms}"), "/api/slow"));
        calls.push(get(format!("/api/slow?ms={}", 2 * ms), "/api/slow"));
        calls.extend((0..second % 4).map(|_| get("/api/status/503".into(), "/api/status/:code")));
    }
    calls
}

/// Writes the picture with a palette of its own, which is a third of the bytes.
fn shrink(room: &Room, name: &str) -> Result<()> {
    let to = workspace().join(format!("docs/images/{name}.png"));
    let done = Command::new(artefact::tool("ffmpeg")?)
        .args(["-loglevel", "error", "-y", "-i"])
        .arg(room.path(&format!("{name}.png")))
        .args(["-vf", "split[a][b];[a]palettegen=max_colors=192:reserve_transparent=0[p];[b][p]paletteuse=dither=none"])
        .args(["-compression_level", "100", "-pred", "mixed"])
        .arg(&to)
        .status()
        .context("cannot run ffmpeg")?;
    ensure!(done.success(), "ffmpeg could not make {name} smaller");
    let bytes = to.metadata()?.len();
    println!("{} ({bytes} bytes)", to.display());
    ensure!(bytes < 150_000, "{name} is too large for a README");
    Ok(())
}
