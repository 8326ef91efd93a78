use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use gatemeter_bridge::{
    config::Key,
    room::Crowd,
    server::{
        auth::{Auth, Checks},
        connections::{self, Limits},
        serving::Serving,
    },
    web_file::WebFile,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_rustls::rustls::ServerConfig;

use crate::{
    Bridge, STATS,
    certificates::Authority,
    client::{get, raw},
    fake_admin::FakeAdmin,
    web_file::{self, replace},
    within,
};

#[tokio::test]
async fn slow_clients_over_the_limit_do_not_keep_a_scraper_out() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start_with(&admin.url(), &[(Key::WebMaxConnections, "20")]).await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut client = TcpStream::connect(bridge.address).await.unwrap();
        client
            .write_all(b"GET /metrics HTTP/1.1\r\nx: ")
            .await
            .unwrap();
        slow.push(client);
    }
    let start = Instant::now();
    let page = get(bridge.address, "/metrics").await;
    assert_eq!(page.value("gatemeter_up"), Some(1.0));
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    bridge.end().await;
}

#[tokio::test]
async fn requests_that_are_no_good_are_refused_and_not_repeated() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    let long = format!(
        "GET / HTTP/1.1\r\nhost: b\r\nevil: {}\r\n\r\n",
        "evil".repeat(10_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nhost: b\r\n{}\r\n",
        "evil: 1\r\n".repeat(1000)
    );
    let target = format!("GET /{} HTTP/1.1\r\nhost: b\r\n\r\n", "evil".repeat(10_000));
    for (request, status) in [
        ("evil\r\n\r\n", " 400 "),
        ("GET / HTTP/3.0\r\n\r\n", " 400 "),
        ("GET / evil HTTP/1.1\r\n\r\n", " 400 "),
        ("GET / HTTP/1.1\r\nevil evil\r\n\r\n", " 400 "),
        (
            "GET / HTTP/1.1\r\nhost: b\r\ncontent-length: evil\r\n\r\n",
            " 400 ",
        ),
        (long.as_str(), " 431 "),
        (many.as_str(), " 431 "),
        (target.as_str(), " 431 "),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
        ("\x16\x03\x01\x02\x00", " 400 "),
    ] {
        let answer = raw(bridge.address, request.as_bytes()).await;
        let first = answer.lines().next().unwrap_or_default();
        assert!(first.contains(status), "{:.60}: {first}", request);
        assert!(!answer.contains("evil"), "{answer}");
    }
    assert_eq!(
        get(bridge.address, "/metrics").await.value("gatemeter_up"),
        Some(1.0)
    );
    bridge.end().await;
}

#[tokio::test]
async fn the_body_of_a_request_is_not_read() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    // The answer comes although most of the body never does.
    for body in [
        "content-length: 1000000000\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n5\r\nab",
    ] {
        let request = format!("GET /metrics/api HTTP/1.1\r\nhost: b\r\n{body}");
        let answer = raw(bridge.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("active_connections 42\n"), "{answer}");
    }
    bridge.end().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_turn() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    let requests = "GET /-/healthy HTTP/1.1\r\nhost: b\r\n\r\n\
        GET /metrics/api HTTP/1.1\r\nhost: b\r\n\r\n\
        GET /-/ready HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n";
    let answers = raw(bridge.address, requests.as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    let place = |text: &str| answers.find(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(place("healthy\n") < place("active_connections 42"));
    assert!(place("active_connections 42") < place("ready\n"));
    bridge.end().await;
}

/// A server whose every answer has this body, and the way to end it.
async fn serving(limits: Limits, body: &'static [u8]) -> (SocketAddr, oneshot::Sender<()>) {
    serving_over(None, limits, body).await
}

async fn serving_over(
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
    body: &'static [u8],
) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ending) = oneshot::channel();
    let serving = Serving {
        router: Router::new().fallback(async move || body),
        own_scrapes: Default::default(),
        auth: Auth::new(Default::default(), Arc::new(Checks::new().unwrap())),
        headers: Default::default(),
        tls,
        ending: Default::default(),
        drain_timeout: Duration::from_secs(1),
    };
    let current = Arc::new(Arc::new(serving).into());
    tokio::spawn(connections::serve(listener, limits, current, async {
        let _ = ending.await;
    }));
    (address, end)
}

fn limits() -> Limits {
    Limits {
        max_connections: 4,
        head_timeout: Duration::from_millis(200),
        handshake_timeout: Duration::from_millis(200),
        write_timeout: Duration::from_millis(200),
        crowd: Crowd::default(),
    }
}

#[tokio::test]
async fn a_head_that_takes_too_long_ends_the_connection() {
    let (address, _end) = serving(limits(), b"x").await;
    let mut client = TcpStream::connect(address).await.unwrap();
    // A byte now and then does not make the time longer.
    let dripping = async {
        while client.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(dripping).await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_ends_the_connection() {
    let limits = Limits {
        head_timeout: Duration::from_secs(60),
        ..limits()
    };
    let (address, _end) = serving_over(Some(tls()), limits, b"x").await;
    let mut client = TcpStream::connect(address).await.unwrap();
    // A record of 512 bytes, the beginning of a ClientHello, of which a byte comes
    // now and then.
    client
        .write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc])
        .await
        .unwrap();
    let dripping = async {
        while client.write_all(&[3]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(dripping).await;
}

/// What a web file with a certificate leads to.
fn tls() -> Arc<ServerConfig> {
    let folder = tempfile::tempdir().unwrap();
    let pair = Authority::new().signed(&["localhost"]);
    replace(folder.path(), "server.crt", &pair.certificate);
    replace(folder.path(), "server.key", &pair.key);
    replace(folder.path(), "web.yml", web_file::TLS);
    let file = WebFile::read(&folder.path().join("web.yml")).unwrap();
    file.tls.unwrap()
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    static PAGE: [u8; 64 << 20] = [b'x'; 64 << 20];
    let (address, _end) = serving(limits(), &PAGE).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: b\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(limits().write_timeout * 3).await;
    let mut taken = Vec::new();
    let _ = within(client.read_to_end(&mut taken)).await;
    assert!(taken.starts_with(b"HTTP/1.1 200 OK"));
    assert!(taken.len() < PAGE.len(), "{} bytes", taken.len());
}

#[tokio::test]
async fn a_connection_over_the_limit_closes_the_one_that_waited_longest() {
    let limits = Limits {
        max_connections: 2,
        head_timeout: Duration::from_secs(60),
        ..limits()
    };
    let (address, _end) = serving(limits, b"x").await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(address).await.unwrap();
        ask(&mut client).await;
        open.push(client);
    }
    // The first one asks again, so the second has waited longest.
    ask(&mut open[0]).await;
    let mut third = TcpStream::connect(address).await.unwrap();
    ask(&mut third).await;
    let mut byte = [0];
    assert_eq!(within(open[1].read(&mut byte)).await.unwrap(), 0);
    ask(&mut open[0]).await;
}

#[tokio::test]
async fn clients_that_do_not_take_their_answers_are_cut_early_for_the_next() {
    static PAGE: [u8; 16 << 20] = [b'x'; 16 << 20];
    let limits = Limits {
        max_connections: 2,
        write_timeout: Duration::from_secs(3600),
        ..limits()
    };
    let crowd = limits.crowd.clone();
    let (address, _end) = serving(limits, &PAGE).await;
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: b\r\n\r\n")
            .await
            .unwrap();
        within(client.read_u8()).await.unwrap();
        stalled.push(client);
    }
    // As long as nobody waits they may take their time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!crowd.is_waiting());
    let request = b"GET / HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n";
    let answer = raw(address, request).await;
    assert_eq!(answer.len() - answer.find("xx").unwrap(), PAGE.len());
    let mut taken = 0;
    for mut client in stalled {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(2), client.read_to_end(&mut rest)).await;
        taken += rest.len();
    }
    assert!(taken < 2 * PAGE.len(), "{taken} bytes");
    assert!(!crowd.is_waiting());
}

async fn ask(client: &mut TcpStream) {
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: b\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nx") {
        answer.push(within(client.read_u8()).await.unwrap());
    }
}
