use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use gatemeter_bridge::{
    app::{self, Ended},
    config::Key,
};
use http::StatusCode;

use crate::{
    Bridge, STATS,
    client::get,
    config,
    fake_admin::{Does, FakeAdmin},
    until,
};

#[tokio::test]
async fn an_address_that_is_taken_is_one_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = config(
        "http://127.0.0.1:1",
        &[(Key::WebListenAddress, &address.to_string())],
    );
    assert_eq!(
        app::build(config).await.unwrap_err().to_string(),
        format!(
            "cannot listen on {address}: Address already in use (os error 98); \
             free it or choose another with --web.listen-address"
        )
    );
}

#[tokio::test]
async fn requests_in_hand_are_answered_before_the_end() {
    let admin = FakeAdmin::doing(Does::Delay(Duration::from_millis(300), STATS)).await;
    let bridge = Bridge::start(&admin.url()).await;
    let address = bridge.address;
    let scrape = tokio::spawn(async move { get(address, "/metrics/api").await });
    until("the read runs", async || admin.requests().len() == 1).await;
    assert_eq!(bridge.end().await, Ended::Gracefully);
    let page = scrape.await.unwrap();
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.value("active_connections"), Some(42.0));
}

#[tokio::test]
async fn what_is_left_at_the_deadline_is_cut() {
    let admin = FakeAdmin::doing(Does::Hang).await;
    let settings = [(Key::EnvoyTimeout, "1h"), (Key::WebDrainTimeout, "100ms")];
    let bridge = Bridge::start_with(&admin.url(), &settings).await;
    let address = bridge.address;
    let scrape = tokio::spawn(crate::client::raw(
        address,
        b"GET /metrics HTTP/1.1\r\nhost: b\r\n\r\n",
    ));
    until("the read hangs", async || admin.requests().len() == 1).await;
    assert_eq!(bridge.end().await, Ended::Forced { connections: 1 });
    assert_eq!(scrape.await.unwrap(), "");
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    let idle = tokio::net::TcpStream::connect(bridge.address)
        .await
        .unwrap();
    get(bridge.address, "/-/healthy").await;
    assert_eq!(bridge.end().await, Ended::Gracefully);
    drop(idle);
}

pub(crate) fn bridge(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatemeter-bridge"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEMETER_")) {
        command.env_remove(name);
    }
    command
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn says_its_version_and_its_flags() {
    let (code, out, _) = said(&bridge(&["--version"]).output().unwrap());
    assert_eq!(code, Some(0));
    assert_eq!(
        out,
        concat!("gatemeter-bridge ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let (code, out, _) = said(&bridge(&["--help"]).output().unwrap());
    assert_eq!(code, Some(0));
    // It is broken into lines as wide as the terminal.
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    for flag in [
        "--envoy.admin",
        "--web.listen-address",
        "--web.config.file",
        "--web.enable-lifecycle",
        "Exit codes: 0 ended as asked, 64 wrong usage or configuration, 1 any other failure",
        "--config.file",
        "--config.check",
        "--log.level",
        "--log.format",
        "GATEMETER_ENVOY_ADMIN",
    ] {
        assert!(out.contains(flag), "{flag}: {out}");
    }
}

#[test]
fn wrong_usage_and_wrong_configuration_exit_with_64() {
    let (code, _, err) = said(&bridge(&["--envoy.admn=x"]).output().unwrap());
    assert_eq!(code, Some(64));
    assert!(err.contains("--envoy.admn"), "{err}");

    let (code, _, err) = said(&bridge(&["--config.file=/nowhere/at.all"]).output().unwrap());
    assert_eq!(code, Some(64));
    assert!(
        err.starts_with("/nowhere/at.all: cannot be read: "),
        "{err}"
    );

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "web: {max_connections: 0}\nx: 1\n").unwrap();
    let argument = format!("--config.file={}", file.path().display());
    for check in [vec![], vec!["--config.check"]] {
        let arguments = [vec![argument.as_str(), "--log.level=loud"], check].concat();
        let (code, out, err) = said(&bridge(&arguments).output().unwrap());
        assert_eq!((code, out.as_str()), (Some(64), ""), "{err}");
        let places: Vec<_> = err
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(place, _)| place.to_owned())
            .collect();
        let file = file.path().display();
        let expected = [
            format!("{file}:1:24"),
            format!("{file}:2:1"),
            "--log.level".to_owned(),
        ];
        assert_eq!(places, expected, "{err}");
    }
}

#[test]
fn a_web_file_is_checked_with_the_configuration_and_before_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "basic_auth_users: {a: b}\nhttp2: true\n").unwrap();
    let argument = format!("--web.config.file={}", file.path().display());
    for check in [vec![], vec!["--config.check"]] {
        let arguments = [vec![argument.as_str()], check].concat();
        let (code, out, err) = said(&bridge(&arguments).output().unwrap());
        assert_eq!((code, out.as_str()), (Some(64), ""), "{err}");
        let lines: Vec<_> = err.lines().collect();
        let file = file.path().display();
        assert_eq!(lines.len(), 2, "{err}");
        assert!(lines[0].starts_with(&format!("{file}:1:23: basic_auth_users.a: ")));
        assert!(lines[1].starts_with(&format!("{file}:2:1: http2: unknown key; ")));
    }
}

#[test]
fn an_environment_variable_is_named_where_it_is_wrong() {
    let output = bridge(&["--web.enable-lifecycle", "--config.check"])
        .env("GATEMETER_LOG_FORMAT", "xml")
        .env("GATEMETER_WEB_ENABLE_LIFECYCLE", "no")
        .output()
        .unwrap();
    let (code, _, err) = said(&output);
    assert_eq!(code, Some(64));
    // The flag is stronger than the variable beside it.
    assert_eq!(
        err,
        "GATEMETER_LOG_FORMAT: log.format: \"xml\"; expected text or json\n"
    );
}

#[test]
fn a_checked_configuration_is_ok_and_nothing_is_started() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "envoy: {admin: 'unix:/run/envoy.sock'}\n").unwrap();
    let argument = format!("--config.file={}", file.path().display());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = bridge(&[&argument, "--config.check"])
        .env(
            "GATEMETER_WEB_LISTEN_ADDRESS",
            taken.local_addr().unwrap().to_string(),
        )
        .output()
        .unwrap();
    assert_eq!(said(&output), (Some(0), "ok\n".to_owned(), String::new()));
}

#[test]
fn an_address_that_is_taken_ends_the_process_with_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = bridge(&[&format!("--web.listen-address={address}")])
        .output()
        .unwrap();
    let (code, out, err) = said(&output);
    assert_eq!(
        (code, out.as_str(), err.lines().count()),
        (Some(1), "", 1),
        "{err}"
    );
    assert!(
        err.contains(&format!("cannot listen on {address}")),
        "{err}"
    );
}

#[test]
fn explains_a_request_and_refuses_a_wrong_plugin_configuration() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let argument = format!("--plugin-config={}", file.path().display());
    std::fs::write(file.path(), r#"{"service": "api", "routes": ["/a/{id}"]}"#).unwrap();
    let output = bridge(&["explain", "GET", "/a/42", &argument])
        .output()
        .unwrap();
    let (code, out, err) = said(&output);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("/a/:id"), "{out}");

    std::fs::write(file.path(), r#"{"service": "", "speed": 1}"#).unwrap();
    let output = bridge(&["explain", "GET", "/a/42", &argument])
        .output()
        .unwrap();
    let (code, out, err) = said(&output);
    assert_eq!((code, out.as_str()), (Some(64), ""));
    assert_eq!(err.lines().count(), 2, "{err}");
    assert!(
        err.contains("service: ") && err.contains("speed: "),
        "{err}"
    );

    let output = bridge(&["explain", "GET", "/a", "--plugin-config=/nowhere/at.all"]).output();
    let (code, _, err) = said(&output.unwrap());
    assert_eq!(code, Some(64));
    assert!(
        err.starts_with("/nowhere/at.all: cannot be read: "),
        "{err}"
    );
}

#[test]
fn a_budget_that_is_exceeded_ends_with_1() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let argument = format!("--plugin-config={}", file.path().display());
    std::fs::write(file.path(), r#"{"service": "api", "routes": ["/a"]}"#).unwrap();
    let budget = |max: &str| {
        said(
            &bridge(&["budget", &argument, "--max", max])
                .output()
                .unwrap(),
        )
    };
    let (code, out, err) = budget("1000000");
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("series in Prometheus"), "{out}");
    let (code, _, err) = budget("10");
    assert_eq!(code, Some(1));
    assert!(err.ends_with("series; expected at most 10\n"), "{err}");
}

/// A bridge process; killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn start(command: &mut Command) -> (Process, String, impl std::io::Read + use<>) {
    let mut child = Process(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    (child, line, log)
}

#[test]
fn logs_the_address_it_took_and_ends_with_0_when_asked_to() {
    for signal in ["-TERM", "-INT"] {
        // The flag is stronger than the environment.
        let mut command = bridge(&["--web.listen-address=127.0.0.1:0"]);
        command.env("GATEMETER_WEB_LISTEN_ADDRESS", "127.0.0.1:1");
        let (mut child, line, mut log) = start(&mut command);
        let (_, address) = line
            .split_once("listening address=127.0.0.1:")
            .unwrap_or_else(|| panic!("{line}"));
        let port: u16 = address.split(' ').next().unwrap().trim().parse().unwrap();
        assert_ne!(port, 0);
        let kill = format!("kill {signal} {}", child.0.id());
        let kill = Command::new("sh").args(["-c", &kill]).status();
        assert!(kill.unwrap().success());
        assert_eq!(child.0.wait().unwrap().code(), Some(0));
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        assert!(
            rest.contains("ended, every request in hand was answered"),
            "{rest}"
        );
    }
}

#[test]
fn logs_json_if_asked() {
    let mut command = bridge(&["--web.listen-address=127.0.0.1:0", "--log.format=json"]);
    let (_child, line, _log) = start(&mut command);
    assert!(line.starts_with('{') && line.ends_with("}\n"), "{line}");
    assert!(line.contains("\"message\":\"listening\""), "{line}");
    assert!(line.contains("\"address\":\"127.0.0.1:"), "{line}");
}
