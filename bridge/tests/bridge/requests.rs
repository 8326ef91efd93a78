use std::{net::SocketAddr, time::Duration};

use http::StatusCode;
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    Bridge, STATS,
    client::{get, raw},
    fake_admin::FakeAdmin,
    within,
};

async fn bridge() -> (FakeAdmin, Bridge) {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    (admin, bridge)
}

/// The status of every answer that came.
fn statuses(answers: &str) -> Vec<u16> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer[..3].parse().unwrap())
        .collect()
}

/// Sends a request of this first line on a connection of its own.
async fn first_line(address: SocketAddr, line: &str) -> String {
    let request = format!("{line}\r\nhost: b\r\nconnection: close\r\n\r\n");
    raw(address, request.as_bytes()).await
}

#[tokio::test]
async fn methods_that_are_not_get_or_head_get_nothing() {
    let (admin, bridge) = bridge().await;
    let long = "M".repeat(10_000);
    for (method, expected) in [
        ("get", 405),
        ("Get", 405),
        ("GETT", 405),
        ("EVIL", 405),
        ("TRACE", 405),
        ("PATCH", 405),
        ("!#$%&'*+-.^_`|~", 405),
        (long.as_str(), 405),
        ("G\u{7f}T", 400),
        ("G(T", 400),
        ("\u{e9}", 400),
        ("", 400),
    ] {
        let answer = first_line(bridge.address, &format!("{method} /metrics HTTP/1.1")).await;
        assert_eq!(statuses(&answer), [expected], "{method:.20}");
        assert!(
            !answer.contains("EVIL") && !answer.contains("MMM"),
            "{answer}"
        );
    }
    for target in ["bridge:443", "/metrics", "http://bridge/metrics"] {
        let answer = first_line(bridge.address, &format!("CONNECT {target} HTTP/1.1")).await;
        let refused = statuses(&answer).iter().all(|status| *status >= 400);
        assert!(refused, "{target}: {answer}");
    }
    assert_eq!(admin.requests(), Vec::<String>::new());
    assert_eq!(get(bridge.address, "/metrics").await.status, StatusCode::OK);
    bridge.end().await;
}

#[tokio::test]
async fn a_target_is_a_path_of_ours_or_not_found() {
    let (_admin, bridge) = bridge().await;
    let long = format!("/metrics/{}", "a".repeat(10_000));
    for (target, expected) in [
        ("/metrics?", 200),
        ("/metrics?a=%00&b=%ff&c=../../", 200),
        ("http://elsewhere.example/metrics", 200),
        ("/metrics/ap%69", 200),
        ("/%6detrics", 404),
        ("/metrics/", 404),
        ("/metrics//api", 404),
        ("//metrics", 404),
        ("//elsewhere.example/metrics", 404),
        ("/./metrics", 404),
        ("/metrics/..", 404),
        ("/metrics/../metrics", 404),
        ("/metrics/%2e%2e", 404),
        ("/metrics/%2e%2e%2fmetrics", 404),
        ("/metrics/%2E%2E/api", 404),
        ("/metrics/api%2f", 404),
        ("/metrics/api%00", 404),
        ("/metrics/%00", 404),
        ("/metrics/%ff", 404),
        ("/metrics/%0d%0aset-cookie:%20a=b", 404),
        ("/metrics/%", 404),
        ("/metrics/%zz", 404),
        ("/metrics;a=b", 404),
        ("/metrics%3f", 404),
        ("/METRICS", 404),
        ("/-/healthy/", 404),
        ("/-/reload/x", 404),
        ("/.git/config", 404),
        (long.as_str(), 404),
        ("*", 404),
        ("metrics", 404),
        ("/metrics/\u{7f}", 400),
        ("/a b", 400),
    ] {
        let answer = first_line(bridge.address, &format!("GET {target} HTTP/1.1")).await;
        assert_eq!(statuses(&answer), [expected], "{target:.40}: {answer:.300}");
        assert!(
            !answer.to_ascii_lowercase().contains("set-cookie"),
            "{answer}"
        );
        assert!(!answer.contains("elsewhere"), "{answer}");
    }
    bridge.end().await;
}

#[tokio::test]
async fn what_is_not_http_1_is_closed() {
    let (_admin, bridge) = bridge().await;
    // A TLS 1.2 hello, as a client sends it that was given https:// by mistake.
    let mut hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03".to_vec();
    hello.extend(0..194);
    let random: Vec<u8> = (0..50_000_u32)
        .map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .collect();
    for (what, bytes) in [
        ("HTTP/0.9", b"GET /metrics\r\n".to_vec()),
        (
            "HTTP/0.9 with a line more",
            b"GET /metrics\r\n\r\n".to_vec(),
        ),
        (
            "HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        ),
        (
            "HTTP/1.2",
            b"GET /metrics HTTP/1.2\r\nhost: b\r\n\r\n".to_vec(),
        ),
        ("TLS", hello),
        ("zeros", vec![0; 50_000]),
        ("empty lines", b"\r\n".repeat(50_000)),
        ("random bytes", random),
        ("an SSH client", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        ("a Redis client", b"*1\r\n$4\r\nPING\r\n".to_vec()),
    ] {
        let answer = raw(bridge.address, &bytes).await;
        let all_refused = statuses(&answer)
            .iter()
            .all(|status| (400..500).contains(status));
        assert!(all_refused, "{what}: {answer}");
        assert!(!answer.contains("gatemeter_up"), "{what}: {answer}");
    }
    assert_eq!(
        get(bridge.address, "/metrics").await.value("gatemeter_up"),
        Some(1.0)
    );
    bridge.end().await;
}

#[tokio::test]
async fn a_request_of_http_1_1_names_one_host_whichever() {
    let (_admin, bridge) = bridge().await;
    for (request, expected) in [
        ("GET /metrics HTTP/1.1\r\nconnection: close\r\n\r\n", 400),
        (
            "GET /metrics HTTP/1.1\r\nhost: a\r\nhost: a\r\nconnection: close\r\n\r\n",
            400,
        ),
        (
            "GET /metrics HTTP/1.1\r\nhost: elsewhere.example\r\nconnection: close\r\n\r\n",
            200,
        ),
        (
            "GET /metrics HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n",
            200,
        ),
        ("GET /metrics HTTP/1.0\r\n\r\n", 200),
    ] {
        let answer = raw(bridge.address, request.as_bytes()).await;
        let status: u16 = answer[9..12].parse().unwrap();
        assert_eq!(status, expected, "{request}");
        assert!(!answer.contains("elsewhere"), "{answer}");
    }
    bridge.end().await;
}

#[tokio::test]
async fn what_follows_a_body_is_never_taken_for_a_request() {
    let (_admin, bridge) = bridge().await;
    let inner = "GET /-/healthy HTTP/1.1\r\nhost: b\r\n\r\n";
    let length = inner.len();
    for (shape, framing, expected) in [
        (
            "a length",
            format!("content-length: {length}\r\n\r\n{inner}"),
            200,
        ),
        (
            "a body and a request behind",
            format!("content-length: 3\r\n\r\nabc{inner}"),
            200,
        ),
        (
            "chunks",
            format!("transfer-encoding: chunked\r\n\r\n0\r\n\r\n{inner}"),
            200,
        ),
        (
            "a length, then chunks",
            format!("content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{inner}"),
            200,
        ),
        (
            "chunks, then a length",
            format!("transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{inner}"),
            200,
        ),
        (
            "two lengths",
            format!("content-length: 0\r\ncontent-length: {length}\r\n\r\n{inner}"),
            400,
        ),
        (
            "a list of lengths",
            format!("content-length: 0, {length}\r\n\r\n{inner}"),
            400,
        ),
        (
            "a length with a sign",
            format!("content-length: +0\r\n\r\n{inner}"),
            400,
        ),
        (
            "an unknown coding",
            format!("transfer-encoding: xchunked\r\n\r\n{inner}"),
            400,
        ),
        (
            "chunks not last",
            format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{inner}"),
            400,
        ),
        (
            "a folded header",
            format!("x: a\r\n content-length: 0\r\n\r\n{inner}"),
            400,
        ),
        (
            "a space before the colon",
            format!("content-length : 0\r\n\r\n{inner}"),
            400,
        ),
        (
            "a bare CR",
            format!("x: a\rcontent-length: 0\r\n\r\n{inner}"),
            400,
        ),
        ("a NUL", format!("x: a\0\r\n\r\n{inner}"), 400),
    ] {
        let request = format!("GET /metrics/api HTTP/1.1\r\nhost: b\r\n{framing}");
        let answer = raw(bridge.address, request.as_bytes()).await;
        assert_eq!(statuses(&answer), [expected], "{shape}: {answer:.400}");
        assert!(!answer.contains("healthy\n"), "{shape}");
    }
    bridge.end().await;
}

#[tokio::test]
async fn a_body_that_waits_to_be_asked_for_is_not_asked_for() {
    let (_admin, bridge) = bridge().await;
    let request = "GET /metrics/api HTTP/1.1\r\nhost: b\r\nexpect: 100-continue\r\n\
        content-length: 1000000\r\n\r\n";
    let answer = raw(bridge.address, request.as_bytes()).await;
    assert_eq!(statuses(&answer), [200], "{answer}");
    assert!(answer.contains("active_connections 42\n"), "{answer}");
    bridge.end().await;
}

#[tokio::test]
async fn a_hundred_requests_in_one_write_are_answered_in_turn() {
    let (admin, bridge) = bridge().await;
    let mut requests = "GET /metrics/api HTTP/1.1\r\nhost: b\r\n\r\n\
        HEAD /metrics HTTP/1.1\r\nhost: b\r\n\r\n\
        GET /nothing HTTP/1.1\r\nhost: b\r\n\r\n\
        GET /-/healthy HTTP/1.1\r\nhost: b\r\n\r\n"
        .repeat(25);
    requests += "GET /-/ready HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n";
    let answers = raw(bridge.address, requests.as_bytes()).await;
    let mut expected = [200, 200, 404, 200].repeat(25);
    expected.push(200);
    assert_eq!(statuses(&answers), expected);
    assert_eq!(answers.matches("active_connections 42\n").count(), 25);
    assert!(answers.ends_with("ready\n"));
    // One after another: no request makes the bridge read Envoy ahead of its turn.
    assert_eq!(admin.most_at_once(), 1);
    bridge.end().await;
}

#[tokio::test]
async fn a_connection_goes_on_after_an_error_that_ended_well_and_only_then() {
    let (_admin, bridge) = bridge().await;
    let mut client = TcpStream::connect(bridge.address).await.unwrap();
    for (request, expected) in [
        ("GET /nothing HTTP/1.1\r\nhost: b\r\n\r\n", "HTTP/1.1 404 "),
        ("POST /metrics HTTP/1.1\r\nhost: b\r\n\r\n", "HTTP/1.1 405 "),
        (
            "GET /metrics/none HTTP/1.1\r\nhost: b\r\n\r\n",
            "HTTP/1.1 404 ",
        ),
        ("HEAD /metrics HTTP/1.1\r\nhost: b\r\n\r\n", "HTTP/1.1 200 "),
    ] {
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = within(client.read(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(answer.starts_with(expected), "{request}: {answer}");
    }
    let rest = "G(T / HTTP/1.1\r\n\r\nGET /-/healthy HTTP/1.1\r\nhost: b\r\n\r\n";
    client.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = within(client.read_to_string(&mut answer)).await;
    assert_eq!(statuses(&answer), [400], "{answer}");
    bridge.end().await;
}

#[tokio::test]
async fn clients_that_leave_at_any_moment_leave_nothing_behind() {
    let (admin, bridge) = bridge().await;
    let request = b"GET /metrics HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n";
    for cut in (0..request.len()).step_by(3).chain([request.len()]) {
        for reset in [false, true] {
            let mut client = TcpStream::connect(bridge.address).await.unwrap();
            client.write_all(&request[..cut]).await.unwrap();
            if reset {
                client.set_zero_linger().unwrap();
            } else if cut < request.len() {
                // Says that it sends no more: half a request is none.
                client.shutdown().await.unwrap();
                let mut answer = String::new();
                let _ = within(client.read_to_string(&mut answer)).await;
                let refused = statuses(&answer).iter().all(|status| *status == 400);
                assert!(refused, "{cut}: {answer}");
            }
        }
    }
    assert_eq!(
        get(bridge.address, "/metrics").await.value("gatemeter_up"),
        Some(1.0)
    );
    assert_eq!(admin.most_at_once(), 1);
    // No request is left in hand that a drain would have to wait for.
    assert_eq!(bridge.end().await, gatemeter_bridge::app::Ended::Gracefully);
}

/// Where in a request a text can stand.
const PLACES: [&str; 24] = [
    "GET /{} HTTP/1.1\r\nhost: b\r\n\r\n",
    "GET /metrics/{} HTTP/1.1\r\nhost: b\r\n\r\n",
    "GET /metrics/api/{} HTTP/1.1\r\nhost: b\r\n\r\n",
    "GET /metrics/api%2f{} HTTP/1.1\r\nhost: b\r\n\r\n",
    "GET /-/{} HTTP/1.1\r\nhost: b\r\n\r\n",
    "GET /metrics?{}=1 HTTP/1.1\r\nhost: b\r\n\r\n",
    "GET /metrics?target={} HTTP/1.1\r\nhost: b\r\n\r\n",
    "GET /?{} HTTP/1.1\r\nhost: b\r\n\r\n",
    "GET http://{}/metrics HTTP/1.1\r\nhost: b\r\n\r\n",
    "{} /metrics HTTP/1.1\r\nhost: b\r\n\r\n",
    "GET /metrics {}\r\nhost: b\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nhost: {}\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nhost: b\r\n{}: 1\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nhost: b\r\n{}\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nhost: b\r\naccept: {}\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nhost: b\r\naccept-encoding: {}\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nhost: b\r\nx-prometheus-scrape-timeout-seconds: {}\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nhost: b\r\nx-gatemeter-scrape: {}\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nhost: b\r\nauthorization: Basic {}\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: b\r\norigin: http://{}\r\nreferer: {}\r\ncookie: {}\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nhost: b\r\nuser-agent: {}\r\nx-forwarded-host: {}\r\nx-request-id: {}\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nhost: b\r\nrange: bytes={}\r\nif-none-match: {}\r\nupgrade: {}\r\n\r\n",
    "POST /metrics HTTP/1.1\r\nhost: b\r\ncontent-length: 99\r\ncontent-type: {}\r\n\r\n{}",
    "GET /metrics HTTP/1.1\r\nhost: b\r\ntransfer-encoding: {}\r\n\r\n{}",
];

/// A text that stands nowhere in the bridge, and how it is spelled in a request.
fn any_text() -> impl Strategy<Value = (String, String)> {
    let plain = "[A-Za-z0-9]{6}".prop_map(|text| format!("qZx{text}"));
    let around = prop::sample::select(vec![
        "{}",
        "<b>{}</b>",
        "\"{}\"",
        "%22{}%3E",
        "%0d%0a{}:%20x",
        "{}%00",
        "..%2f{}",
        "{}\u{e9}",
        "{};q=0.1",
        "/{}/",
        "a,{}",
        "{} ",
        "\t{}",
        "{}%ff",
    ]);
    (plain, around).prop_map(|(text, around)| {
        let spelled = around.replace("{}", &text);
        (text, spelled)
    })
}

#[test]
fn nothing_of_a_request_is_in_its_answer() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (admin, bridge) = runtime.block_on(bridge());
    let envoy_is_away = runtime.block_on(Bridge::start("http://127.0.0.1:1"));
    let addresses = [bridge.address, envoy_is_away.address];
    let cases = (any_text(), prop::sample::select(PLACES.to_vec()));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(600));
    let outcome = runner.run(&cases, |((text, spelled), place)| {
        let request = place.replace("{}", &spelled);
        for address in addresses {
            let answer = runtime.block_on(answer(address, request.as_bytes()));
            let found = answer
                .to_ascii_lowercase()
                .contains(&text.to_ascii_lowercase());
            prop_assert!(!found, "{request:?} was answered {answer}");
        }
        Ok(())
    });
    outcome.unwrap();
    runtime.block_on(async {
        bridge.end().await;
        envoy_is_away.end().await;
        drop(admin);
    });
}

/// All that comes until the bridge closes, or waits for the next request.
async fn answer(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let last = b"GET /-/healthy HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n";
    let _ = stream.write_all(&[request, last].concat()).await;
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    assert!(
        ended.is_ok(),
        "no end: {:?}",
        String::from_utf8_lossy(request)
    );
    String::from_utf8_lossy(&bytes).into_owned()
}
