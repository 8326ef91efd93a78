use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use gatemeter_bridge::{
    app::{self, Source},
    config::{Config, ConfigErrors, Key, Settings},
    server::reload::Reloaded,
};
use http::{Method, StatusCode};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    Bridge, STATS,
    client::{get, get_with, request},
    fake_admin::{Does, FakeAdmin},
    until,
    web_file::{basic, replace, users},
    within,
};

/// A file, and an address that no file of a test could name.
struct File(PathBuf);

impl Source for File {
    fn read(&self) -> Result<Config, ConfigErrors> {
        let mut settings = Settings::from_file(&self.0);
        settings.set(Key::WebListenAddress, "127.0.0.1:0");
        settings.try_into()
    }
}

/// A bridge that reloads from a file of this text, and its folder.
async fn bridge(text: &str) -> (Bridge, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    replace(folder.path(), "bridge.yml", text);
    let source = File(folder.path().join("bridge.yml"));
    let bound = app::build(source.read().unwrap()).await.unwrap();
    (Bridge::run(bound.reloading_from(source)), folder)
}

fn reading(admin: &FakeAdmin) -> String {
    format!("envoy: {{admin: '{}', timeout: 1s}}\n", admin.url())
}

const OTHER_STATS: &str = "\
http.api.downstream_rq_active: 7
wasmcustom.gatemeter_filter_info.service=api.version=0%2E1%2E0: 1
";

#[tokio::test]
async fn another_envoy_is_read_after_a_reload() {
    let admin = FakeAdmin::serving(STATS).await;
    let other = FakeAdmin::serving(OTHER_STATS).await;
    let (bridge, folder) = bridge(&reading(&admin)).await;
    let before = get(bridge.address, "/metrics").await;
    let time = "gatemeter_config_last_reload_success_timestamp_seconds";
    assert_eq!(
        before.value("active_connections{service=\"api\"}"),
        Some(42.0)
    );
    replace(folder.path(), "bridge.yml", &reading(&other));
    assert_eq!(bridge.reloader.reload().await, Reloaded::Done);
    let after = get(bridge.address, "/metrics").await;
    assert_eq!(
        after.value("active_connections{service=\"api\"}"),
        Some(7.0)
    );
    assert!(before.value(time).unwrap() > 1.7e9);
    assert!(after.value(time) > before.value(time));
    bridge.end().await;
}

#[tokio::test]
async fn a_bad_configuration_is_refused_whole_and_the_old_one_goes_on() {
    let admin = FakeAdmin::serving(STATS).await;
    let other = FakeAdmin::serving(OTHER_STATS).await;
    let (bridge, folder) = bridge(&reading(&admin)).await;
    let success = "gatemeter_config_last_reload_successful";
    let metrics = get(bridge.address, "/metrics").await;
    assert_eq!(metrics.value(success), Some(1.0));
    for addition in [
        "log: {level: loud}\n",
        "speed: 1\n",
        "web: {config_file: nowhere.yml}\n",
        // Right, but a running process cannot follow.
        "web: {max_connections: 3}\n",
        "log: {format: json}\n",
    ] {
        let text = reading(&other) + addition;
        replace(folder.path(), "bridge.yml", &text);
        assert_eq!(bridge.reloader.reload().await, Reloaded::Refused, "{text}");
        let page = get(bridge.address, "/metrics").await;
        let active = page.value("active_connections{service=\"api\"}");
        assert_eq!(active, Some(42.0), "{text}");
        assert_eq!(page.value(success), Some(0.0), "{text}");
    }
    assert_eq!(other.requests(), Vec::<String>::new());
    replace(folder.path(), "bridge.yml", &reading(&other));
    assert_eq!(bridge.reloader.reload().await, Reloaded::Done);
    let page = get(bridge.address, "/metrics").await;
    assert_eq!(page.value(success), Some(1.0));
    bridge.end().await;
}

#[tokio::test]
async fn a_request_in_hand_is_answered_by_the_old_configuration_and_its_connection_ends() {
    let admin = FakeAdmin::doing(Does::Delay(Duration::from_millis(500), STATS)).await;
    let other = FakeAdmin::serving(OTHER_STATS).await;
    let off = "live: {enabled: false}\n";
    let (bridge, folder) = bridge(&(reading(&admin) + off)).await;
    let mut idle = TcpStream::connect(bridge.address).await.unwrap();
    let address = bridge.address;
    let scrape = tokio::spawn(async move { get(address, "/metrics/api").await });
    until("the read runs", async || admin.requests().len() == 1).await;
    replace(folder.path(), "bridge.yml", &(reading(&other) + off));
    assert_eq!(bridge.reloader.reload().await, Reloaded::Done);
    let page = scrape.await.unwrap();
    assert_eq!(page.value("active_connections"), Some(42.0));
    assert_eq!(within(idle.read(&mut [0])).await.unwrap(), 0);
    let page = get(address, "/metrics/api").await;
    assert_eq!(page.value("active_connections"), Some(7.0));
    bridge.end().await;
}

#[tokio::test]
async fn answers_without_an_end_end_with_the_configuration_and_with_the_process() {
    let admin = FakeAdmin::serving(STATS).await;
    let (bridge, _folder) = bridge(&reading(&admin)).await;
    for is_reload in [true, false] {
        let mut events = TcpStream::connect(bridge.address).await.unwrap();
        events
            .write_all(b"GET /live/events HTTP/1.1\r\nhost: b\r\n\r\n")
            .await
            .unwrap();
        let mut head = [0; 15];
        within(events.read_exact(&mut head)).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        if is_reload {
            assert_eq!(bridge.reloader.reload().await, Reloaded::Done);
            let mut rest = Vec::new();
            within(events.read_to_end(&mut rest)).await.unwrap();
            assert!(rest.ends_with(b"0\r\n\r\n"));
        } else {
            assert_eq!(bridge.end().await, app::Ended::Gracefully);
            return;
        }
    }
}

#[tokio::test]
async fn reload_over_http_is_off_unless_it_is_turned_on_and_takes_post_only() {
    let admin = FakeAdmin::serving(STATS).await;
    let (bridge, folder) = bridge(&reading(&admin)).await;
    let post = async || request(bridge.address, Method::POST, "/-/reload", &[]).await;
    let answer = post().await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(
        answer.text(),
        "reload is off; web.enable_lifecycle turns it on\n"
    );
    let on = reading(&admin) + "web: {enable_lifecycle: true}\n";
    replace(folder.path(), "bridge.yml", &on);
    assert_eq!(bridge.reloader.reload().await, Reloaded::Done);
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let answer = request(bridge.address, method, "/-/reload", &[]).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    let answer = post().await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (StatusCode::OK, "reloaded\n")
    );
    replace(folder.path(), "bridge.yml", "secret: word\n");
    let answer = post().await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        answer.text(),
        "refused, the old configuration goes on; the log says why\n"
    );
    bridge.end().await;
}

#[tokio::test]
async fn a_reload_asks_for_a_password_where_every_request_does() {
    let admin = FakeAdmin::serving(STATS).await;
    let text = reading(&admin) + "web: {enable_lifecycle: true, config_file: web.yml}\n";
    let folder = tempfile::tempdir().unwrap();
    replace(folder.path(), "web.yml", &users("old", 4));
    replace(folder.path(), "bridge.yml", &text);
    let source = File(folder.path().join("bridge.yml"));
    let bound = app::build(source.read().unwrap()).await.unwrap();
    let bridge = Bridge::run(bound.reloading_from(source));
    let (old, new) = (basic("prometheus", "old"), basic("prometheus", "new"));
    let reload = async |word: &str| {
        let headers = [("authorization", word)];
        let answer = request(bridge.address, Method::POST, "/-/reload", &headers).await;
        answer.status
    };
    replace(folder.path(), "web.yml", &users("new", 4));
    assert_eq!(reload("").await, StatusCode::UNAUTHORIZED);
    assert_eq!(bridge.reloader.reload().await, Reloaded::Done);
    assert_eq!(reload(&old).await, StatusCode::UNAUTHORIZED);
    assert_eq!(reload(&new).await, StatusCode::OK);
    let page = get_with(bridge.address, "/metrics", &[("authorization", &new)]).await;
    assert_eq!(page.status, StatusCode::OK);
    bridge.end().await;
}

/// Counts how often it is read, slowly.
struct Slow {
    config: Config,
    reads: &'static AtomicUsize,
}

impl Source for Slow {
    fn read(&self) -> Result<Config, ConfigErrors> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(200));
        Ok(self.config.clone())
    }
}

#[tokio::test]
async fn who_asks_while_a_reload_runs_shares_the_next_one() {
    static READS: AtomicUsize = AtomicUsize::new(0);
    let config = crate::config("http://127.0.0.1:1", &[(Key::LiveEnabled, "false")]);
    let bound = app::build(config.clone()).await.unwrap();
    let bridge = Bridge::run(bound.reloading_from(Slow {
        config,
        reads: &READS,
    }));
    let ask = || {
        let reloader = bridge.reloader.clone();
        tokio::spawn(async move { reloader.reload().await })
    };
    let first = ask();
    until("the first is read", async || {
        READS.load(Ordering::SeqCst) == 1
    })
    .await;
    let others: Vec<_> = (0..10).map(|_| ask()).collect();
    for reloaded in std::iter::once(first).chain(others) {
        assert_eq!(within(reloaded).await.unwrap(), Reloaded::Done);
    }
    assert_eq!(READS.load(Ordering::SeqCst), 2);
    bridge.end().await;
}

#[tokio::test]
async fn sighup_reloads_the_file_of_the_process_and_its_log_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bridge.yml");
    let log = folder.path().join("log");
    fs::write(&file, "web: {listen_address: '127.0.0.1:0'}\n").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_gatemeter-bridge"))
        .env_clear()
        .arg(format!("--config.file={}", file.display()))
        .stdin(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .map(Process)
        .unwrap();
    let has = async |text: &str| fs::read_to_string(&log).unwrap().contains(text);
    until("it listens", async || has("listening").await).await;

    let text = "web: {listen_address: '127.0.0.1:0'}\nlog: {level: loud}\n";
    replace(folder.path(), "bridge.yml", text);
    child.signal("HUP");
    let refused = format!(
        "configuration refused error={}:2:14: log.level: \"loud\"; expected error, warn, info, debug or trace",
        file.display()
    );
    until("it is refused", async || has(&refused).await).await;

    replace(
        folder.path(),
        "bridge.yml",
        "web: {listen_address: ':9999'}\n",
    );
    child.signal("HUP");
    let fixed = "configuration refused error=reload: web.listen_address: changed; expected as before, a change takes a restart";
    until("it cannot follow", async || has(fixed).await).await;

    replace(folder.path(), "bridge.yml", &text.replace("loud", "error"));
    child.signal("HUP");
    // The level changes after the reload is done; the next one is not told.
    until("it is taken", async || has("configuration reloaded").await).await;
    let before = fs::read_to_string(&log).unwrap();
    child.signal("TERM");
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_to_string(&log).unwrap(), before);
    assert!(Path::new(&file).exists());
}

/// A bridge process; killed when dropped.
struct Process(std::process::Child);

impl Process {
    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.0.id());
        let kill = Command::new("sh").args(["-c", &kill]).status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
