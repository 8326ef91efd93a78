//! On the real process, because its memory is judged. Times are printed with
//! the bounds that a busy machine still keeps; see `docs/benchmarks.md`.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    STATS,
    client::{get, get_with},
    fake_admin::{CHUNKED_HEAD, Does, FakeAdmin, GoesOn, ok},
    life_cycle::{self, bridge},
    until,
};

/// A bridge in a process of its own that reads a fake Envoy.
struct Process {
    process: life_cycle::Process,
    address: SocketAddr,
}

impl Process {
    fn start(admin: &FakeAdmin) -> Self {
        // Read at the start; nothing but scrapes reads Envoy.
        let config = tempfile::NamedTempFile::new().unwrap();
        let yaml = format!(
            "envoy: {{admin: '{}'}}\nlive: {{enabled: false}}\n",
            admin.url()
        );
        std::fs::write(config.path(), yaml).unwrap();
        let file = format!("--config.file={}", config.path().display());
        let mut command = bridge(&[&file, "--web.listen-address=127.0.0.1:0"]);
        let (process, line, mut log) = life_cycle::start(&mut command);
        let (_, address) = line.split_once("listening address=").unwrap();
        let address = address.split(' ').next().unwrap().parse().unwrap();
        // Read on, so that it never waits for a place to write to.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Self { process, address }
    }

    /// `VmHWM`: the most memory that it has had, in MiB.
    fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.0.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() / 1024
    }

    fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.process.0.id());
        std::fs::read_dir(path).unwrap().count()
    }

    /// Waits until hardly more than these are open.
    async fn closes_down_to(&self, files: usize) {
        until("the connections are gone", async || {
            self.open_files() <= files + 5
        })
        .await;
    }

    /// The slowest of so many scrapes, one after another, all of them good.
    /// As Prometheus scrapes.
    async fn worst_scrape(&self, scrapes: u32) -> Duration {
        let mut worst = Duration::ZERO;
        for _ in 0..scrapes {
            let start = Instant::now();
            let gzip = [("accept-encoding", "gzip")];
            let page = get_with(self.address, "/metrics", &gzip).await;
            worst = worst.max(start.elapsed());
            let mut text = String::new();
            let mut page = GzDecoder::new(page.body.as_ref());
            page.read_to_string(&mut text).unwrap();
            assert!(text.contains("\ngatemeter_up 1\n"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        worst
    }
}

/// As many stats of one service as asked for, rounded to five a path.
fn many_stats(count: usize) -> String {
    let mut text = String::with_capacity(count * 130);
    text += "wasmcustom.gatemeter_filter_info.service=api.version=1: 1\n";
    for path in 0..count / 5 {
        for le in ["0.001", "0.005", "0.01", "0.1", "1.0"] {
            writeln!(
                text,
                "wasmcustom.http_request_duration_seconds_bin.service=api.method=GET\
                 .path=/api/content/part-{path}/detail.status=200.le={le}: {path}"
            )
            .unwrap();
        }
    }
    text
}

/// Opens connections that do this, over and over where the bridge cuts them.
fn clients<F>(
    address: SocketAddr,
    count: usize,
    does: impl Fn(TcpStream, usize) -> F + Clone + Send + Sync + 'static,
) -> JoinSet<()>
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let mut clients = JoinSet::new();
    for client in 0..count {
        let does = does.clone();
        clients.spawn(async move {
            loop {
                let stream = TcpStream::connect(address).await;
                if let Ok(stream) = stream {
                    let _ = does(stream, client).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_sockets_do_not_keep_a_scraper_waiting() {
    let admin = FakeAdmin::serving(STATS).await;
    let process = Process::start(&admin);
    process.worst_scrape(1).await;
    let files = process.open_files();
    let before = process.peak_memory();
    let slow = clients(
        process.address,
        1000,
        |mut stream: TcpStream, client: usize| async move {
            let request = match client % 4 {
                // Only the head is ever on its way, or nothing at all.
                0 => b"GET /metrics HTTP/1.1\r\nhost: b\r\nx: ".repeat(1000),
                1 => b"\r\n".repeat(1000),
                2 => b"POST /metrics HTTP/1.1\r\nhost: b\r\ncontent-length: 9999\r\n\r\n".to_vec(),
                _ => Vec::new(),
            };
            for byte in request {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            stream.read_u8().await.map(|_| ())
        },
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let worst = process.worst_scrape(50).await;
    let memory = process.peak_memory();
    println!("1,000 slow sockets: worst scrape {worst:?}, {memory} MiB at most, {before} before");
    assert!(worst < Duration::from_secs(5), "{worst:?}");
    assert!(memory < before + 50, "{memory} MiB");
    drop(slow);
    process.closes_down_to(files).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_a_large_page_do_not_fill_the_memory() {
    let stats = many_stats(100_000);
    let admin = FakeAdmin::doing(Does::Send(ok(stats.as_bytes()))).await;
    let process = Process::start(&admin);
    let alone = process.worst_scrape(2).await;
    let page = get(process.address, "/metrics").await.body.len() >> 20;
    let before = process.peak_memory();
    let slow = clients(
        process.address,
        200,
        |mut stream: TcpStream, client: usize| async move {
            // Not all at once, so that they get pages of many reads.
            let millis = 50 * u64::try_from(client).unwrap();
            tokio::time::sleep(Duration::from_millis(millis)).await;
            let accept = ["text/plain", "application/openmetrics-text"][client % 2];
            let request = format!("GET /metrics HTTP/1.1\r\nhost: b\r\naccept: {accept}\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut piece = [0; 1000];
            loop {
                stream.read_exact(&mut piece).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        },
    );
    tokio::time::sleep(Duration::from_secs(8)).await;
    let worst = process.worst_scrape(10).await;
    let memory = process.peak_memory();
    println!(
        "200 slow readers of {page} MiB: worst scrape {worst:?}, {alone:?} alone; \
         {memory} MiB at most, {before} before"
    );
    assert!(worst < alone * 10 + Duration::from_secs(5), "{worst:?}");
    assert!(memory < 500, "{memory} MiB");
    drop(slow);
}

/// A gzip body of 10 GB of zeros, in members, as gzip allows.
fn gzip_bomb() -> Vec<u8> {
    let zeros = vec![0; 100_000_000];
    let mut member = GzEncoder::new(Vec::new(), Compression::best());
    member.write_all(&zeros).unwrap();
    member.finish().unwrap().repeat(100)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_envoy_sends_is_held_to_the_limit() {
    let bomb = gzip_bomb();
    let with_head = |head: &str| {
        let length = bomb.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{head}\r\n");
        Does::Send([head.as_bytes(), &bomb].concat())
    };
    let line = [b"wasmcustom.".as_slice(), &[b'x'; 10_000], b": 1\n"].concat();
    let chunk = [b"100000\r\n", &line.repeat(105)[..1 << 20], b"\r\n"].concat();
    let gibibyte = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
    let lines = GoesOn::Flooding(b"wasmcustom.x: 1\n".repeat(1 << 16));
    let admin = FakeAdmin::serving(STATS).await;
    let process = Process::start(&admin);
    let before = process.peak_memory();
    for (fault, does, reason, reads) in [
        (
            "a gzip bomb",
            with_head("content-encoding: gzip\r\n"),
            "protocol",
            1.0,
        ),
        (
            "a gzip bomb that says nothing",
            with_head(""),
            "protocol",
            2.0,
        ),
        (
            "a GiB of known length",
            Does::Begin(gibibyte, lines),
            "too_large",
            1.0,
        ),
        ("a line without an end", Does::Flood, "too_large", 2.0),
        (
            "lines without an end",
            Does::Begin(CHUNKED_HEAD, GoesOn::Flooding(chunk)),
            "too_large",
            3.0,
        ),
    ] {
        admin.does(does);
        let start = Instant::now();
        let page = get(process.address, "/metrics").await;
        let took = start.elapsed();
        let errors = format!("gatemeter_scrape_errors_total{{reason=\"{reason}\"}}");
        assert_eq!(page.value("gatemeter_up"), Some(0.0), "{fault}");
        assert_eq!(page.value(&errors), Some(reads), "{fault}: {}", page.text());
        let memory = process.peak_memory();
        println!("{fault}: {took:?}, {memory} MiB at most, {before} before");
        assert!(memory < before + 50, "{fault}: {memory} MiB");
        admin.does(Does::Send(ok(STATS.as_bytes())));
        process.worst_scrape(1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_reset_or_send_garbage_leave_no_file_open_and_no_memory() {
    let admin = FakeAdmin::serving(STATS).await;
    let process = Process::start(&admin);
    process.worst_scrape(1).await;
    let files = process.open_files();
    let before = process.peak_memory();
    for round in 0..2000_u32 {
        let mut stream = TcpStream::connect(process.address).await.unwrap();
        let garbage: Vec<u8> = (0..400_u32)
            .map(|at| (at + round).wrapping_mul(2_654_435_761).to_le_bytes()[2])
            .collect();
        let bytes = match round % 4 {
            0 => garbage.as_slice(),
            1 => b"GET /metrics HTTP/1.1\r\nhost: b\r\n\r\n".as_slice(),
            2 => b"GET /metrics HTTP/1.1\r\nhost",
            _ => b"",
        };
        let _ = stream.write_all(bytes).await;
        if round % 8 < 4 {
            stream.set_zero_linger().unwrap();
        }
    }
    process.worst_scrape(1).await;
    process.closes_down_to(files).await;
    let memory = process.peak_memory();
    println!("2,000 clients that left: {memory} MiB at most, {before} before");
    assert!(memory < before + 30, "{memory} MiB");
}
