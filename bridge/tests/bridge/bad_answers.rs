use std::time::Duration;

use gatemeter_bridge::config::Key;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{
    Bridge, STATS,
    client::get,
    fake_admin::{CHUNKED_HEAD, Does, FakeAdmin, GoesOn, ok},
    faults::{says_that_envoy_is_away, serves, with_head},
    within,
};

/// Small, so that it can be cut everywhere: a number of several digits last.
const SMALL: &str = "\
http.api.downstream_rq_active: 42
wasmcustom.gatemeter_filter_info.service=api.version=1: 1
wasmcustom.db_connections_idle.service=api: 251
";

fn with_length(stats: &str) -> Vec<u8> {
    let length = stats.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n{stats}"
    )
    .into_bytes()
}

#[tokio::test]
async fn an_answer_cut_anywhere_is_no_answer() {
    let admin = FakeAdmin::serving(SMALL).await;
    let bridge = Bridge::start(&admin.url()).await;
    let truncated = "gatemeter_scrape_errors_total{reason=\"truncated\"}";
    let mut cuts = 0;
    for (form, whole) in [
        ("chunks", ok(SMALL.as_bytes())),
        ("a length", with_length(SMALL)),
    ] {
        for cut in 0..whole.len() {
            admin.does(Does::Send(whole[..cut].to_vec()));
            let page = get(bridge.address, "/metrics").await;
            cuts += 1;
            assert_eq!(page.value("gatemeter_up"), Some(0.0), "{form} at {cut}");
            assert_eq!(page.value(truncated), Some(cuts.into()), "{form} at {cut}");
            assert!(!page.text().contains("service="), "{form} at {cut}");
            admin.does(Does::Send(whole.clone()));
            let page = get(bridge.address, "/metrics/api").await;
            let idle = page.value("db_connections_idle");
            assert_eq!(idle, Some(251.0), "{form} after {cut}");
        }
    }
    bridge.end().await;
}

/// Chunks as they should not be, after a whole line.
fn chunks(end: &str) -> Does {
    let line = "http.api.downstream_rq_active: 42\n";
    let head = String::from_utf8(CHUNKED_HEAD.to_vec()).unwrap();
    Does::Send(format!("{head}{:x}\r\n{line}\r\n{end}", line.len()).into_bytes())
}

#[tokio::test]
async fn an_answer_that_breaks_its_own_rules_is_no_page_and_the_next_scrape_recovers() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start_with(&admin.url(), &[(Key::EnvoyMaxAnswerBytes, "100000")]).await;
    let head = |head: &str| Does::Send(with_head(&format!("HTTP/1.1 {head}")));
    let in_a_line = STATS.len() - 3;
    let at_a_line = STATS.find('\n').unwrap() + 1;
    let no_text = b"\xff\xfe\x00\xc3\x28\n".repeat(100);
    for (fault, does, reason) in [
        (
            "a length that ends in a number",
            head(&format!("200 OK\r\ncontent-length: {in_a_line}")),
            "protocol",
        ),
        (
            "a length that ends after a line",
            head(&format!("200 OK\r\ncontent-length: {at_a_line}")),
            "protocol",
        ),
        (
            "a whole answer that ends in a number",
            Does::Send(ok(&STATS.as_bytes()[..in_a_line])),
            "truncated",
        ),
        (
            "a length below zero",
            head("200 OK\r\ncontent-length: -1"),
            "protocol",
        ),
        (
            "a length with a sign",
            head("200 OK\r\ncontent-length: +9"),
            "protocol",
        ),
        (
            "a length of 2^64",
            head("200 OK\r\ncontent-length: 18446744073709551616"),
            "protocol",
        ),
        (
            "a length of 2^63",
            head("200 OK\r\ncontent-length: 9223372036854775808"),
            "too_large",
        ),
        (
            "a list of lengths",
            head("200 OK\r\ncontent-length: 5, 6"),
            "protocol",
        ),
        ("a chunk of no size", chunks("EVIL\r\n"), "protocol"),
        (
            "a chunk of 2^64 bytes",
            chunks("10000000000000000\r\nEVIL"),
            "protocol",
        ),
        (
            "a chunk of less than 2^64 bytes",
            chunks("fffffffffffffff0\r\nEVIL"),
            "truncated",
        ),
        (
            "a chunk that is longer than its size",
            chunks("1\r\nEVIL\r\n0\r\n\r\n"),
            "protocol",
        ),
        (
            "a second answer behind it",
            chunks("0\r\n\r\nHTTP/1.1 200 EVIL\r\n\r\n"),
            "protocol",
        ),
        (
            "a trailer that is none",
            chunks("0\r\nEVIL\r\n\r\n"),
            "protocol",
        ),
        (
            "status 404",
            head("404 EVIL\r\ncontent-length: 99999"),
            "status",
        ),
        (
            "a part of it",
            head("206 Partial Content\r\ncontent-length: 9"),
            "status",
        ),
        (
            "nothing new",
            Does::Send(b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()),
            "status",
        ),
        (
            "status 999",
            head("999 EVIL\r\ncontent-length: 9"),
            "status",
        ),
        (
            "compressed for the way",
            head("200 OK\r\ntransfer-encoding: gzip, chunked"),
            "protocol",
        ),
        ("no text", Does::Send(ok(&no_text)), "protocol"),
        ("zeros", Does::Send(ok(&[0; 9999])), "protocol"),
        (
            "HTTP/2",
            Does::Send(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64".to_vec()),
            "protocol",
        ),
        (
            "TLS",
            Does::Send(b"\x15\x03\x01\0\x02\x02\x46".to_vec()),
            "protocol",
        ),
    ] {
        admin.does(does);
        says_that_envoy_is_away(&bridge, reason, fault).await;
        admin.does(Does::Send(ok(STATS.as_bytes())));
        serves(&bridge, fault).await;
    }
    bridge.end().await;
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_left_at_the_deadline() {
    let admin = FakeAdmin::serving(STATS).await;
    let settings = [(Key::EnvoyTimeout, "500ms")];
    let bridge = Bridge::start_with(&admin.url(), &settings).await;
    for (fault, begin, goes_on) in [
        (
            "hangs in the head",
            b"HTTP/1.1 200 OK\r\ncontent-".as_slice(),
            GoesOn::Silent,
        ),
        (
            "hangs before the body",
            b"HTTP/1.1 200 OK\r\ncontent-length: 34\r\n\r\n",
            GoesOn::Silent,
        ),
        (
            "hangs in a body with a length",
            b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhttp.api.downstream_rq_active: 42\n",
            GoesOn::Silent,
        ),
        (
            "hangs before the last chunk",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n22\r\nhttp.api.downstream_rq_active: 42\n\r\n",
            GoesOn::Silent,
        ),
        (
            "a byte now and then from the start",
            b"",
            GoesOn::Dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 34\r\n\r\n"),
        ),
        (
            "asks to go on, over and over",
            b"",
            GoesOn::Flooding(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
        ),
    ] {
        admin.does(Does::Begin(begin, goes_on));
        says_that_envoy_is_away(&bridge, "timeout", fault).await;
        admin.does(Does::Send(ok(STATS.as_bytes())));
        serves(&bridge, fault).await;
    }
    bridge.end().await;
}

#[tokio::test]
async fn what_has_no_end_is_refused_long_before_the_deadline() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n";
    const CHUNK: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5";
    const TRAILER: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
    let admin = FakeAdmin::serving(STATS).await;
    let settings = [(Key::EnvoyTimeout, "1h")];
    let bridge = Bridge::start_with(&admin.url(), &settings).await;
    for (fault, begin, again) in [
        ("headers", HEAD, b"x: EVIL\r\n".as_slice()),
        ("a header", b"HTTP/1.1 200 OK\r\nx: ", b"EVIL"),
        ("a reason", b"HTTP/1.1 200 ", b"EVIL"),
        ("a first line", b"", b"EVIL"),
        ("extensions of a chunk", CHUNK, b";EVIL=1"),
        ("the size of a chunk", CHUNK, b"0"),
        ("trailers", TRAILER, b"x: EVIL\r\n"),
        ("a trailer", TRAILER, b"EVIL"),
    ] {
        admin.does(Does::Begin(begin, GoesOn::Flooding(again.repeat(1000))));
        within(says_that_envoy_is_away(&bridge, "protocol", fault)).await;
        admin.does(Does::Send(ok(STATS.as_bytes())));
        serves(&bridge, fault).await;
    }
    bridge.end().await;
}

#[tokio::test]
async fn values_at_the_edge_of_64_bits_are_exact_or_refused() {
    let line = |name: &str, value: &str| format!("wasmcustom.{name}.service=api: {value}\n");
    let mut stats = STATS.to_owned();
    for value in [
        "0",
        "9007199254740993",
        "18446744073709551614",
        "18446744073709551615",
    ] {
        stats += &format!("wasmcustom.cache_hits_total.service=api.cache_type=t{value}: {value}\n");
    }
    for (at, value) in [
        "-1",
        "-0",
        "+1",
        "18446744073709551616",
        "184467440737095516150",
        "1.0",
        "0x10",
        "1 ",
        " 1",
        "1e3",
        "NaN",
        "",
        "\u{661}",
        "1\r",
        "1\u{0}",
        "99999999999999999999999999999999999999",
    ]
    .iter()
    .enumerate()
    {
        stats += &format!("wasmcustom.cache_hits_total.service=api.cache_type=bad{at}: {value}\n");
    }
    stats += &line("active_connections", "9223372036854775808");
    let admin = FakeAdmin::doing(Does::Send(ok(stats.as_bytes()))).await;
    let bridge = Bridge::start(&admin.url()).await;
    let page = get(bridge.address, "/metrics").await.text();
    for value in [
        "0",
        "9007199254740993",
        "18446744073709551614",
        "18446744073709551615",
    ] {
        let series =
            format!("cache_hits_total{{service=\"api\",cache_type=\"t{value}\"}} {value}\n");
        assert!(page.contains(&series), "{series}");
    }
    assert!(!page.contains("cache_type=\"bad"), "{page}");
    let page = get(bridge.address, "/metrics").await;
    let dropped = |reason| format!("gatemeter_dropped_stats_total{{reason=\"{reason}\"}}");
    assert_eq!(page.value(&dropped("bad_value")), Some(2.0 * 16.0));
    assert_eq!(page.value(&dropped("negative_gauge")), Some(2.0));
    serves(&bridge, "values at the edge").await;
    bridge.end().await;
}

#[tokio::test]
async fn lines_that_look_like_ours_do_not_become_series() {
    let forged = [
        // Not how the codec spells a value, so not what the filter wrote.
        "cache_hits_total.service=api.cache_type=a%2fEVIL",
        "cache_hits_total.service=api.cache_type=a%2FEVIL",
        "cache_hits_total.service=api.cache_type=EVIL%",
        "cache_hits_total.service=api.cache_type=EVIL%4",
        "cache_hits_total.service=api.cache_type=EVIL%ZZ",
        "cache_hits_total.service=api.cache_type=EVIL%0A",
        "cache_hits_total.service=api.cache_type=EVIL%00",
        "cache_hits_total.service=api.cache_type=EVIL%7F",
        "cache_hits_total.service=api.cache_type=EVIL%FF",
        "cache_hits_total.service=api.cache_type=EVIL\"",
        "cache_hits_total.service=api.cache_type=EVIL\\",
        "cache_hits_total.service=api.cache_type=EVIL{}",
        "cache_hits_total.service=api.cache_type=EVIL\u{2028}",
        "cache_hits_total.service=api.cache_type=EVIL\r",
        "cache_hits_total.cache_type=EVIL.service=api",
        "cache_hits_total.service=api.cache_type=EVIL.more=1",
        "cache_hits_total.service=api.service=EVIL",
        "cache_hits_total.service=EVIL",
        "cache_hits_total..service=api.cache_type=EVIL",
        "cache_hits_total.service=api..cache_type=EVIL",
        "CACHE_HITS_TOTAL.service=api.cache_type=EVIL",
        "cache_hits_total.Service=api.cache_type=EVIL",
        "EVIL metric.service=api",
        "EVIL\"} 1 # .service=api",
        "1EVIL.service=api",
        "evil_total.service=api.a b=EVIL",
        "evil_total.service=api.le=EVIL",
        "evil_total.service=api.x=EVIL%0A",
        "evil_total.service=EVIL%0A",
    ];
    let mut stats = STATS.to_owned();
    for name in forged {
        stats += &format!("wasmcustom.{name}: 1\n");
    }
    stats += "http.EVIL.more.downstream_rq_active: 7\n";
    stats += "# EVIL: 1\nEVIL: 1\nwasmcustom.: 1\nwasmcustom: 1\n: 1\n: \n";
    let admin = FakeAdmin::doing(Does::Send(ok(stats.as_bytes()))).await;
    let bridge = Bridge::start(&admin.url()).await;
    serves(&bridge, "forged lines").await;
    for path in ["/metrics", "/metrics/api"] {
        let page = get(bridge.address, path).await.text();
        assert!(!page.contains("EVIL") && !page.contains("evil"), "{page}");
    }
    bridge.end().await;
}

#[tokio::test]
async fn an_envoy_that_does_not_take_the_connection_is_away_until_it_does() {
    // Nobody accepts, and the kernel's line is full: the next one waits.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut line = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        line.push(stream.unwrap());
        assert!(line.len() < 100, "the line has no end");
    }
    let settings = [
        (Key::EnvoyConnectTimeout, "200ms"),
        (Key::EnvoyTimeout, "1h"),
    ];
    let bridge = Bridge::start_with(&format!("http://{address}"), &settings).await;
    says_that_envoy_is_away(&bridge, "connect", "does not take connections").await;
    drop(line);
    let envoy = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream));
        }
    });
    // What stood in line, and the connections given up, go first.
    within(async {
        while get(bridge.address, "/metrics").await.value("gatemeter_up") != Some(1.0) {}
    })
    .await;
    serves(&bridge, "taking connections").await;
    envoy.abort();
    bridge.end().await;
}

async fn answer(mut stream: TcpStream) {
    use tokio::io::AsyncWriteExt as _;
    let _ = stream.write_all(&ok(STATS.as_bytes())).await;
    // Closed with the request unread, the answer could be lost.
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

#[tokio::test]
async fn an_envoy_that_restarts_in_an_answer_costs_that_scrape_only() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bridge = Bridge::start(&format!("http://{address}")).await;
    let truncated = "gatemeter_scrape_errors_total{reason=\"truncated\"}";
    let whole = ok(STATS.as_bytes());
    for (round, reset) in [(1, false), (2, true)] {
        let restart = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(&whole[..whole.len() / 2]).await.unwrap();
            if reset {
                stream.set_zero_linger().unwrap();
            }
        };
        let (page, ()) = tokio::join!(get(bridge.address, "/metrics"), restart);
        assert_eq!(page.value("gatemeter_up"), Some(0.0));
        assert_eq!(page.value(truncated), Some(round.into()), "{}", page.text());
        assert!(!page.text().contains("service="), "{}", page.text());
        // Back, with counters that begin again; the page shows them as they are.
        let again = STATS.replace(": 8934", ": 3");
        let back = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&ok(again.as_bytes())).await.unwrap();
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        };
        let (page, ()) = tokio::join!(get(bridge.address, "/metrics"), back);
        assert_eq!(page.value("gatemeter_up"), Some(1.0));
        let hits = "cache_hits_total{service=\"api\",cache_type=\"redis\"}";
        assert_eq!(page.value(hits), Some(3.0));
    }
    bridge.end().await;
}
