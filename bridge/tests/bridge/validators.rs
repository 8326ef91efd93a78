//! The pages as others read them: `promtool`, the official Python client's
//! parsers, and Prometheus itself. Envoy is played by an answer that a real one
//! gave, under the traffic of the demo, with the four presets.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    Bridge, STATS,
    client::{get, get_with},
    fake_admin::{Does, FakeAdmin},
    until,
};

/// `/stats` of Envoy 1.40 behind the configuration that ships, 50 s after its
/// start, with all of `wasmcustom.`, `http.`, `wasm.` and `server.`.
pub(crate) const RECORDED: &str = include_str!("../data/envoy-1.40-stats.txt");

const SERVICES: [&str; 4] = ["api", "discovery", "ingestion", "playback"];

pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools")
}

/// A program of `.tools/bin`, else of the `PATH`.
fn tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(tools().join("bin"))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("{name} is missing; run `make tools`"))
}

/// What the program says to this input; it must be content.
fn said(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = input.as_bytes().to_vec();
    // A program that does not read on must not stop this one.
    let writing = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaints.is_empty(),
        "{command:?}: {complaints}\n{input}"
    );
    String::from_utf8(output.stdout).unwrap()
}

fn promtool_is_content_with(page: &str) {
    said(
        Command::new(tool("promtool")).args(["check", "metrics"]),
        page,
    );
}

/// A script beside this file, with the official client at hand.
fn python(script: &str, argument: &str) -> Command {
    let python = tools().join("openmetrics/bin/python");
    assert!(python.is_file(), "the parser is missing; run `make tools`");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bridge");
    let mut command = Command::new(python);
    command.arg(scripts.join(script)).arg(argument);
    command
}

/// A page of the official client, as the answer of a service.
pub(crate) fn client_page(format: &str) -> String {
    said(&mut python("client_page.py", format), "")
}

/// What a service answers with this page.
pub(crate) fn service_says(format: &str, page: &[u8]) -> Does {
    let kind = match format {
        "openmetrics" => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        _ => "text/plain; version=0.0.4; charset=utf-8",
    };
    let length = page.len();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    Does::Send([head.as_bytes(), page].concat())
}

/// Name, labels and value of each sample, as `samples.py` writes them.
pub(crate) fn samples(parser: &str, input: &str) -> BTreeSet<String> {
    let lines = said(&mut python("samples.py", parser), input);
    let samples: BTreeSet<_> = lines.lines().map(str::to_owned).collect();
    assert_eq!(
        samples.len(),
        lines.lines().count(),
        "a sample stands twice"
    );
    samples
}

/// Without what changes from one read to the next.
fn lasting(samples: BTreeSet<String>) -> BTreeSet<String> {
    const OF_READS: [&str; 8] = [
        "gatemeter_dropped",
        "gatemeter_filter_heartbeat",
        "gatemeter_page_series",
        "gatemeter_scrape",
        "gatemeter_source_dropped",
        "gatemeter_source_duration",
        "gatemeter_source_errors",
        "process_",
    ];
    let is_lasting = |sample: &String| !OF_READS.iter().any(|prefix| sample.starts_with(prefix));
    samples.into_iter().filter(is_lasting).collect()
}

fn are_same(one: &BTreeSet<String>, other: &BTreeSet<String>, what: &str) {
    let only: Vec<_> = one.symmetric_difference(other).collect();
    assert!(only.is_empty(), "{what}: on one side only: {only:#?}");
}

/// The page in both formats, plain and packed.
async fn both_formats(address: SocketAddr, path: &str) -> (String, String) {
    let mut pages = Vec::new();
    for accept in ["text/plain", OPENMETRICS] {
        let page = get_with(address, path, &[("accept", accept)]).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text());
        let parser = if accept == OPENMETRICS {
            "openmetrics"
        } else {
            "text"
        };
        for coding in ["gzip", "zstd"] {
            let headers = [("accept", accept), ("accept-encoding", coding)];
            let packed = get_with(address, path, &headers).await;
            assert_eq!(packed.header("content-encoding"), Some(coding));
            let packed = lasting(samples(parser, &packed.text()));
            are_same(
                &lasting(samples(parser, &page.text())),
                &packed,
                &format!("{path} in {coding}"),
            );
        }
        pages.push(page.text());
    }
    let openmetrics = pages.pop().unwrap();
    (pages.pop().unwrap(), openmetrics)
}

/// Both formats of a page pass, and hold the same samples.
async fn is_valid(address: SocketAddr, path: &str) -> BTreeSet<String> {
    let (text, openmetrics) = both_formats(address, path).await;
    promtool_is_content_with(&text);
    // When a series was created OpenMetrics says of those of the bridge as well.
    let is_number = |sample: &String| !sample.split('\t').next().unwrap().ends_with("_created");
    let of = |samples: BTreeSet<String>| lasting(samples.into_iter().filter(is_number).collect());
    let of_text = of(samples("text", &text));
    let of_openmetrics = of(samples("openmetrics", &openmetrics));
    are_same(&of_text, &of_openmetrics, path);
    of_text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_valid_in_both_formats_with_the_same_samples() {
    let admin = FakeAdmin::serving(RECORDED).await;
    let bridge = Bridge::start(&admin.url()).await;
    let all = is_valid(bridge.address, "/metrics").await;
    for service in SERVICES {
        let page = is_valid(bridge.address, &format!("/metrics/{service}")).await;
        assert!(page.len() > 50, "{service}: {} samples", page.len());
        // The same numbers as on the page of all services.
        let label = format!(", \"service\": \"{service}\"");
        let of_service: BTreeSet<_> = all
            .iter()
            .filter(|sample| sample.contains(&format!("\"service\": \"{service}\"")))
            .map(|sample| {
                sample
                    .replace(&label, "")
                    .replace(&format!("\"service\": \"{service}\", "), "")
                    .replace(&format!("\"service\": \"{service}\""), "")
            })
            .collect();
        let missing: Vec<_> = page.difference(&of_service).collect();
        assert!(
            missing.is_empty(),
            "{service}: not on /metrics: {missing:#?}"
        );
    }
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_without_envoy_is_valid_in_both_formats() {
    let bridge = Bridge::start("http://127.0.0.1:1").await;
    let page = is_valid(bridge.address, "/metrics").await;
    assert!(page.contains("gatemeter_up\t{}\t0.0"), "{page:?}");
    bridge.end().await;
}

/// Two Envoys, one that is away, and two services with a page of their own.
async fn several() -> (Vec<FakeAdmin>, Bridge) {
    let mut ends = vec![
        FakeAdmin::serving(RECORDED).await,
        FakeAdmin::serving(STATS).await,
    ];
    for format in ["text", "openmetrics"] {
        let does = service_says(format, client_page(format).as_bytes());
        ends.push(FakeAdmin::doing(does).await);
    }
    let urls: Vec<_> = ends.iter().map(FakeAdmin::url).collect();
    let yaml = format!(
        "envoys:\n\
         - {{name: edge-1, admin: '{}', labels: {{zone: 'a \"quoted\" one'}}}}\n\
         - {{name: edge-2, admin: '{}'}}\n\
         - {{name: away, admin: 'http://127.0.0.1:1'}}\n\
         sources:\n\
         - {{service: api, url: '{}/metrics'}}\n\
         - {{service: worker, url: '{}/metrics', labels: {{zone: b}}}}\n\
         - {{service: away, url: 'http://127.0.0.1:1/metrics'}}\n",
        urls[0], urls[1], urls[2], urls[3]
    );
    (ends, Bridge::start_from(&yaml).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_several_envoys_and_services_are_valid_in_both_formats() {
    let (_ends, bridge) = several().await;
    let all = is_valid(bridge.address, "/metrics").await;
    let has = |text: &str| all.iter().any(|sample| sample.contains(text));
    for text in [
        "gatemeter_up\t{\"envoy\": \"away\"}\t0.0",
        "\"zone\": \"a \\\"quoted\\\" one\"",
        "jobs_total\t{\"queue\": \"back\\\\slash\", \"service\": \"api\"}\t3.0",
        "value_small\t{\"service\": \"api\"}\t5e-324",
        "work_seconds_sum\t{\"service\": \"api\"}\t0.25",
        "built_info\t{\"commit\": \"abc\", \"service\": \"worker\", \"version\": \"1.0\", \"zone\": \"b\"}\t1.0",
    ] {
        assert!(has(text), "no {text} in {all:#?}");
    }
    for path in [
        "/metrics/api",
        "/metrics/worker",
        "/metrics?target=edge-1",
        "/metrics?target=away",
    ] {
        is_valid(bridge.address, path).await;
    }
    bridge.end().await;
}

/// A Prometheus process; killed when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Scrapes these targets every second, each a job of its name.
    async fn scraping(targets: &[(&str, SocketAddr)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = String::from("global: {scrape_interval: 1s}\nscrape_configs:\n");
        for (job, address) in targets {
            config +=
                &format!("- {{job_name: {job}, static_configs: [{{targets: ['{address}']}}]}}\n");
        }
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let log = folder.path().join("log");
        // Free a moment ago; it takes no listener that is already bound.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let output = File::create(&log).unwrap();
        let child = Command::new(tool("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let prometheus = Self {
            child,
            address,
            log,
            _folder: folder,
        };
        until("Prometheus listens", async || {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        prometheus
    }

    /// What it last scraped from a job.
    async fn has(&self, job: &str) -> BTreeSet<String> {
        let query = format!("/api/v1/query?query=%7Bjob%3D%22{job}%22%7D");
        let answer = get(self.address, &query).await.text();
        lasting(samples("prometheus", &answer))
    }
}

/// Hands out pages of the bridge as text, whatever the caller would prefer.
async fn as_text(bridge: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let page = get_with(bridge, "/metrics", &[("accept", "text/plain")]).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                page.header("content-type").unwrap(),
                page.body.len()
            );
            let _ = stream
                .write_all(&[head.as_bytes(), &page.body].concat())
                .await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_takes_every_sample_of_both_formats_and_does_not_complain() {
    let admin = FakeAdmin::serving(RECORDED).await;
    let bridge = Bridge::start(&admin.url()).await;
    let away = Bridge::start("http://127.0.0.1:1").await;
    let (_ends, several) = several().await;
    // It asks for OpenMetrics where it can be had.
    let targets = [
        ("openmetrics", bridge.address),
        ("text", as_text(bridge.address).await),
        ("away", away.address),
        ("several", several.address),
    ];
    let prometheus = Prometheus::scraping(&targets).await;
    for (job, address) in targets {
        let page = get_with(address, "/metrics", &[("accept", OPENMETRICS)]).await;
        let openmetrics = page
            .header("content-type")
            .unwrap()
            .starts_with("application/");
        assert_eq!(openmetrics, job != "text");
        let parser = if openmetrics { "openmetrics" } else { "text" };
        let expected = lasting(samples(parser, &page.text()));
        let mut has = BTreeSet::new();
        until("Prometheus has scraped", async || {
            has = prometheus.has(job).await;
            !has.is_empty()
        })
        .await;
        are_same(&has, &expected, job);
    }
    let log = std::fs::read_to_string(&prometheus.log).unwrap();
    let complaints: Vec<_> = log
        .lines()
        .filter(|line| line.contains("level=warn") || line.contains("level=error"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    for bridge in [bridge, away, several] {
        bridge.end().await;
    }
}
