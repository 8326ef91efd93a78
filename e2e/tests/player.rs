//! A real player: hls.js in Chromium plays the demo's film through Envoy, over a
//! line that narrows and widens again. What its CMCD says must agree with what
//! the player itself reports.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::bridge::Bridge;
use gatemeter_e2e::browser::Tab;
use gatemeter_e2e::demo::{Demo, Stores};
use gatemeter_e2e::envoy::{Service, Setup};
use gatemeter_e2e::film::Film;
use gatemeter_e2e::player::{Cmcd, Expected, Record};
use gatemeter_e2e::room::Room;
use gatemeter_e2e::until::until;
use serde_json::json;

/// Bits a second: enough for both bitrates of the film.
const WIDE: u32 = 8_000_000;
/// Enough for the worse one.
const NARROW: u32 = 300_000;
/// Enough for none.
const BLOCKED: u32 = 50_000;

const MASTER: &str = "/playback/:id/hls/master.m3u8";
const REST: &str = "/playback/:id/hls/:bitrate/:file";

/// The demo's playback service behind Envoy, and a browser in front of it.
struct Scene {
    room: Room,
    bridge: Bridge,
    playback: SocketAddr,
    tab: Tab,
    _demo: Demo,
}

impl Scene {
    async fn set() -> Result<Self> {
        let mut room = Room::open()?;
        let stores = Stores {
            film: Some(Film::make()?),
            ..Stores::default()
        };
        let demo = Demo::start(&mut room, &stores).await?;
        let [_, _, playback, _] = demo.addresses();
        let service = Service::new("playback")?
            .plugin("routes", json!([MASTER, REST, "/player", "/player/:file"]))
            .plugin("preset", json!("playback"))
            .to_cluster("/", "playback");
        let setup = Setup::new()?.service(service).cluster("playback", playback);
        let envoy = setup.start(&mut room).await?;
        let bridge = Bridge::start(&mut room, envoy.admin(), envoy.bridge()).await?;
        let tab = Tab::open(&mut room).await?;
        Ok(Self {
            room,
            bridge,
            playback: envoy.service("playback")?,
            tab,
            _demo: demo,
        })
    }

    /// Has the player start, switch down, stall and switch up again, and gives
    /// its record when all that it sent is counted.
    async fn watch(&mut self, cmcd: &str) -> Result<Record> {
        self.tab.throttle(WIDE).await?;
        // A small buffer and a short memory, so that it does not take minutes.
        let page = format!(
            "http://{}/player?buffer=6&half_life=0.3&{cmcd}",
            self.playback
        );
        self.tab.show(&page).await?;
        self.until("the film starts", |record| record.startup_ms.is_some())
            .await?;
        self.tab.throttle(NARROW).await?;
        self.until("the player switches down", |record| {
            record.switches().down > 0
        })
        .await?;
        // By then it has stalled, unless it had the worse bitrate soon enough.
        if Record::read(&mut self.tab).await?.stalls.is_empty() {
            self.tab.throttle(BLOCKED).await?;
        }
        self.until("the player stalls", |record| !record.stalls.is_empty())
            .await?;
        self.tab.throttle(WIDE).await?;
        self.until("the player switches up", |record| record.switches().up > 0)
            .await?;
        // It loads what its buffer holds, and no more.
        self.tab
            .evaluate("document.getElementById('video').pause()")
            .await?;
        self.counted().await
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Record) -> bool) -> Result<()> {
        until(what, async || {
            let record = Record::read(&mut self.tab).await?;
            ensure!(holds(&record), "not so yet: {record:?}");
            Ok(())
        })
        .await
    }

    /// Waits until the page shows as many requests as the player sent.
    async fn counted(&mut self) -> Result<Record> {
        until("every request of the player is counted", async || {
            let page = self.bridge.page().await?;
            let record = Record::read(&mut self.tab).await?;
            let (masters, others): (Vec<_>, Vec<_>) = record
                .requests
                .iter()
                .partition(|sent| sent.path.ends_with("/master.m3u8"));
            for (path, sent) in [(MASTER, masters.len()), (REST, others.len())] {
                let counted = page.sum("http_requests_total", &[("path", path)]);
                ensure!(
                    counted == f64::from(u32::try_from(sent)?),
                    "{path}: {counted} counted, {sent} sent"
                );
            }
            Ok(record)
        })
        .await
    }
}

/// Checks that the CMCD tells what the player reports, and gives what metrics
/// must show of it.
fn expected(record: &Record) -> Result<Expected> {
    let expected = Expected::of(&record.requests)?;
    let mut sessions = Vec::new();
    for sent in &record.requests {
        let text = sent.cmcd.as_deref().unwrap_or_default();
        let cmcd = Cmcd::parse(text).with_context(|| format!("{sent:?}"))?;
        sessions.push(cmcd.value("sid").map(str::to_owned));
        let ot = if sent.path.ends_with(".m3u8") {
            "m"
        } else {
            "av"
        };
        ensure!(
            cmcd.value("ot") == Some(ot),
            "not of the type {ot}: {sent:?}"
        );
        // Rounded to whole kilobits, as the standard wants it.
        let of_a_level = |br: &str| {
            let mut levels = record.levels.iter();
            levels.any(|level| (level.bitrate / 1_000).to_string() == br)
        };
        if ot == "av" {
            ensure!(cmcd.value("br").is_some_and(of_a_level), "{sent:?}");
        }
    }
    sessions.dedup();
    ensure!(
        sessions.len() == 1 && sessions.iter().all(Option::is_some),
        "one page is one session: {sessions:?}"
    );

    // A bitrate that was asked for may not come to be shown, and of two stalls
    // between two requests the player tells of one.
    let shown = record.switches();
    ensure!(
        expected.switches_up >= shown.up && shown.up > 0,
        "{shown:?} shown, {expected:?}"
    );
    ensure!(
        expected.switches_down >= shown.down && shown.down > 0,
        "{shown:?} shown, {expected:?}"
    );
    let stalls = u64::try_from(record.stalls.len())?;
    ensure!(
        (1..=stalls).contains(&expected.stalls),
        "{:?}, {expected:?}",
        record.stalls
    );
    ensure!(expected.starts == 1, "{expected:?}");
    // The first request after the start can tell of it, none before.
    let (first, started) = (record.requests.first(), record.startup_ms);
    let (first, started) = first.zip(started).context("no start")?;
    let init = expected.init.first().context("no start")?.as_secs_f64() * 1_000.0;
    ensure!(
        init >= started - first.at_ms,
        "{init} ms, but the player took {started} ms from {first:?}"
    );
    Ok(expected)
}

/// Watches the film with CMCD sent in that way.
async fn tells_what_the_player_reports(cmcd: &str) -> Result<()> {
    let mut scene = Scene::set().await?;
    let record = scene.watch(cmcd).await?;
    let expected = expected(&record)?;
    until("the metrics tell what the player reports", async || {
        let page = scene.bridge.page().await?;
        let changes =
            |direction| page.sum("stream_bitrate_changes_total", &[("direction", direction)]);
        let shown = [
            changes("up"),
            changes("down"),
            page.sum("stream_buffer_events_total", &[]),
            page.sum("stream_init_duration_seconds_count", &[]),
        ];
        let told = [
            expected.switches_up,
            expected.switches_down,
            expected.stalls,
            expected.starts,
        ];
        ensure!(
            shown == told.map(|n| n as f64),
            "{shown:?}, but {expected:?}"
        );
        let start = page.sum("stream_init_duration_seconds_sum", &[]);
        let said: f64 = expected.init.iter().map(|init| init.as_secs_f64()).sum();
        // The same moments, seen from both ends of the line.
        ensure!(
            (start - said).abs() < 1.0,
            "{start} s, but the player says {said}"
        );
        Ok(())
    })
    .await?;
    scene.room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cmcd_in_the_query_tells_of_start_switches_and_stalls() -> Result<()> {
    tells_what_the_player_reports("cmcd=query&version=1").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cmcd_of_version_2_in_headers_tells_of_start_switches_and_stalls() -> Result<()> {
    tells_what_the_player_reports("cmcd=headers&version=2").await
}
