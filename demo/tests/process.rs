//! The program as a process: what it prints, how it ends, what it leaves.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything in these tests may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program, killed where a test fails.
struct Program(Child);

impl Program {
    fn start(temporary: &Path, arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_gatemeter-demo"))
            .args(arguments)
            .env("TMPDIR", temporary)
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.0.id())])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    fn wait(&mut self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().expect("ended by a signal");
            }
            assert!(start.elapsed() < PATIENCE, "the program did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        self.0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn files_in(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn prints_its_addresses_serves_and_leaves_nothing(signal: &str) {
    let temporary = tempfile::tempdir().unwrap();
    let mut program = Program::start(
        temporary.path(),
        &[
            "--service",
            "ingestion",
            "--service",
            "api",
            "--listen-api=127.0.0.1:0",
            "--listen-ingestion=127.0.0.1:0",
        ],
    );
    let mut lines = BufReader::new(program.0.stdout.take().unwrap()).lines();
    let mut address = |service: &str| -> SocketAddr {
        let line = lines.next().unwrap().unwrap();
        let prefix = format!("listening service={service} address=");
        line.strip_prefix(&prefix).expect(&line).parse().unwrap()
    };
    let (api, ingestion) = (address("api"), address("ingestion"));
    assert_ne!(api, ingestion);

    let mut stream = TcpStream::connect(ingestion).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"POST /ingest HTTP/1.1\r\nhost: demo\r\ncontent-length: 4\r\n\r\nfilm")
        .unwrap();
    let mut status_line = String::new();
    BufReader::new(&stream).read_line(&mut status_line).unwrap();
    assert_eq!(status_line, "HTTP/1.1 201 Created\r\n");
    assert_eq!(files_in(temporary.path()).len(), 1, "one folder of its own");

    // The connection stays open, as a proxy's would.
    program.signal(signal);
    assert_eq!(program.wait(), 0);
    assert_eq!(files_in(temporary.path()), Vec::<std::path::PathBuf>::new());
    assert!(TcpStream::connect(api).is_err(), "the port is free again");
}

#[test]
fn ends_cleanly_on_sigterm() {
    prints_its_addresses_serves_and_leaves_nothing("TERM");
}

#[test]
fn ends_cleanly_on_ctrl_c() {
    prints_its_addresses_serves_and_leaves_nothing("INT");
}

#[test]
fn fails_with_the_reason_and_leaves_nothing_when_redis_is_not_there() {
    let temporary = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", free.local_addr().unwrap());
    drop(free);
    let mut program = Program::start(
        temporary.path(),
        &[
            "--service=api",
            "--listen-api=127.0.0.1:0",
            "--redis-url",
            &url,
        ],
    );
    assert_eq!(program.wait(), 1);
    let errors = program.errors();
    assert!(errors.contains("Redis cannot be used"), "{errors}");
    assert_eq!(files_in(temporary.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn traffic_fails_where_nobody_answers() {
    let temporary = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut arguments = vec!["traffic", "--rounds=1", "--requests-per-second=400"];
    for service in ["--api", "--discovery", "--playback", "--ingestion"] {
        arguments.extend([service, &address]);
    }
    let mut program = Program::start(temporary.path(), &arguments);
    assert_eq!(program.wait(), 1);
    let errors = program.errors();
    assert!(errors.contains("were not answered"), "{errors}");
    assert_eq!(
        errors.matches("no answer").count(),
        4,
        "once a service: {errors}"
    );
}

#[test]
fn wrong_usage_is_64() {
    let temporary = tempfile::tempdir().unwrap();
    let mut program = Program::start(temporary.path(), &["--listen-api", "nowhere"]);
    assert_eq!(program.wait(), 64);
    let errors = program.errors();
    assert!(errors.contains("nowhere"), "{errors}");
}
