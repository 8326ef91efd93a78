use std::{fs, net::SocketAddr, path::Path, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gatemeter_bridge::config::Key;
use http::{Method, StatusCode};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::{
    Bridge, STATS,
    certificates::{Authority, Client, Pair},
    client::{Answer, get, get_with, request, request_over},
    fake_admin::FakeAdmin,
    until, within,
};

/// A bridge with a web file of this text, and the folder of the file.
async fn bridge(text: &str, files: &[(&str, &str)]) -> (Bridge, FakeAdmin, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        replace(folder.path(), name, text);
    }
    replace(folder.path(), "web.yml", text);
    let path = folder.path().join("web.yml");
    let admin = FakeAdmin::serving(STATS).await;
    let settings = [(Key::WebConfigFile, path.to_str().unwrap())];
    let bridge = Bridge::start_with(&admin.url(), &settings).await;
    (bridge, admin, folder)
}

/// As tools that renew certificates do it, so that nobody reads half a file.
pub(crate) fn replace(folder: &Path, name: &str, text: &str) {
    let new = folder.join("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, folder.join(name)).unwrap();
}

pub(crate) const TLS: &str = "\
tls_server_config:
  cert_file: server.crt
  key_file: server.key
";

fn of_server(pair: &Pair) -> [(&str, &str); 2] {
    [("server.crt", &pair.certificate), ("server.key", &pair.key)]
}

async fn get_tls(client: &Client<'_>, address: SocketAddr, path: &str) -> Answer {
    let stream = client.connect(address).await.unwrap();
    request_over(stream, Method::GET, path, &[]).await
}

/// Whether the server answers anything to a request of this client.
async fn is_answered(client: &Client<'_>, address: SocketAddr) -> bool {
    let Ok(mut stream) = client.connect(address).await else {
        return false;
    };
    let request = b"GET /-/healthy HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n";
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    answer.starts_with(b"HTTP/1.1 200 OK")
}

#[tokio::test]
async fn serves_over_tls_1_2_and_1_3_and_no_plain_text() {
    let authority = Authority::new();
    let pair = authority.signed(&["localhost"]);
    let (bridge, _admin, _folder) = bridge(TLS, &of_server(&pair)).await;
    for version in [&TLS12, &TLS13] {
        let client = Client {
            versions: vec![version],
            ..Client::trusting(&authority)
        };
        let stream = client.connect(bridge.address).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let page = request_over(stream, Method::GET, "/metrics/api", &[]).await;
        assert_eq!(page.status, StatusCode::OK);
        assert_eq!(page.value("active_connections"), Some(42.0));
    }
    let other = Authority::new();
    assert!(
        Client::trusting(&other)
            .connect(bridge.address)
            .await
            .is_err()
    );
    let only_h2 = Client {
        protocols: &["h2"],
        ..Client::trusting(&authority)
    };
    assert!(only_h2.connect(bridge.address).await.is_err());
    let plain = crate::client::raw(bridge.address, b"GET / HTTP/1.1\r\nhost: b\r\n\r\n").await;
    assert!(!plain.contains("HTTP"), "{plain}");
    bridge.end().await;
}

#[tokio::test]
async fn a_version_that_is_not_wanted_is_refused() {
    let authority = Authority::new();
    let pair = authority.signed(&["localhost"]);
    let text = format!("{TLS}  min_version: TLS13\n");
    let (bridge, _admin, _folder) = bridge(&text, &of_server(&pair)).await;
    let old = Client {
        versions: vec![&TLS12],
        ..Client::trusting(&authority)
    };
    assert!(old.connect(bridge.address).await.is_err());
    assert!(is_answered(&Client::trusting(&authority), bridge.address).await);
    bridge.end().await;
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_authority_and_a_listed_name_are_answered() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pair = authority.signed(&["localhost"]);
    let text = format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  \
         client_allowed_sans: [prometheus.example.com, 10.0.0.7]\n"
    );
    let pem = authority.pem();
    let files = [of_server(&pair).as_slice(), &[("ca.crt", pem.as_str())]].concat();
    let (bridge, _admin, _folder) = bridge(&text, &files).await;
    for (names, signer, is_allowed) in [
        (&["prometheus.example.com"][..], &authority, true),
        (&["other.example.com", "10.0.0.7"], &authority, true),
        (&["other.example.com"], &authority, false),
        (&["sub.prometheus.example.com"], &authority, false),
        (&["prometheus.example.com"], &stranger, false),
    ] {
        let shown = signer.signed(names);
        let client = Client::showing(&authority, &shown);
        assert_eq!(
            is_answered(&client, bridge.address).await,
            is_allowed,
            "{names:?}"
        );
    }
    assert!(!is_answered(&Client::trusting(&authority), bridge.address).await);
    bridge.end().await;
}

#[tokio::test]
async fn a_certificate_may_be_shown_or_not_where_it_is_only_verified_if_given() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pair = authority.signed(&["localhost"]);
    let text =
        format!("{TLS}  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n");
    let pem = authority.pem();
    let files = [of_server(&pair).as_slice(), &[("ca.crt", pem.as_str())]].concat();
    let (bridge, _admin, _folder) = bridge(&text, &files).await;
    let shown = authority.signed(&["a"]);
    let strange = stranger.signed(&["a"]);
    assert!(is_answered(&Client::trusting(&authority), bridge.address).await);
    assert!(is_answered(&Client::showing(&authority, &shown), bridge.address).await);
    assert!(!is_answered(&Client::showing(&authority, &strange), bridge.address).await);
    bridge.end().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_keeps_no_scraper_out() {
    let authority = Authority::new();
    let pair = authority.signed(&["localhost"]);
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in of_server(&pair) {
        replace(folder.path(), name, text);
    }
    replace(folder.path(), "web.yml", TLS);
    let path = folder.path().join("web.yml");
    let admin = FakeAdmin::serving(STATS).await;
    let settings = [
        (Key::WebConfigFile, path.to_str().unwrap()),
        (Key::WebMaxConnections, "10"),
    ];
    let bridge = Bridge::start_with(&admin.url(), &settings).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        let mut client = TcpStream::connect(bridge.address).await.unwrap();
        // The head of a record whose rest never comes.
        client.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
        silent.push(client);
    }
    let start = Instant::now();
    let page = get_tls(
        &Client::trusting(&authority),
        bridge.address,
        "/metrics/api",
    )
    .await;
    assert_eq!(page.status, StatusCode::OK);
    let took = start.elapsed();
    assert!(took.as_secs_f64() < 1.0, "{took:?}");
    // One whose handshake is not done does not hold up the end either.
    bridge.end().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_signal_and_a_broken_one_is_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let pair = old.signed(&["localhost"]);
    let (bridge, _admin, folder) = bridge(TLS, &of_server(&pair)).await;
    assert!(is_answered(&Client::trusting(&old), bridge.address).await);

    let renewed = new.signed(&["localhost"]);
    replace(folder.path(), "server.crt", &renewed.certificate);
    // The key does not fit yet.
    let is_refused = async || {
        let page = get_tls(&Client::trusting(&old), bridge.address, "/metrics").await;
        page.value("gatemeter_config_last_reload_successful") == Some(0.0)
    };
    until("the half of a pair is refused", is_refused).await;

    replace(folder.path(), "server.key", &renewed.key);
    let address = bridge.address;
    let is_used = async || is_answered(&Client::trusting(&new), address).await;
    until("the new pair is used", is_used).await;
    let page = get_tls(&Client::trusting(&new), bridge.address, "/metrics").await;
    assert_eq!(
        page.value("gatemeter_config_last_reload_successful"),
        Some(1.0)
    );
    bridge.end().await;
}

/// A web file with one user, `prometheus`, whose password is this.
pub(crate) fn users(password: &str, cost: u32) -> String {
    let hash = bcrypt::hash(password, cost).unwrap();
    format!("basic_auth_users:\n  prometheus: {hash}\n")
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

#[tokio::test]
async fn every_path_asks_for_a_user_and_its_password() {
    let (bridge, admin, _folder) = bridge(&users("pass word", 4), &[]).await;
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/nothing"] {
        for authorization in [
            None,
            Some(basic("prometheus", "wrong")),
            Some(basic("nobody", "pass word")),
            Some("Basic".to_owned()),
            Some("Bearer abc".to_owned()),
        ] {
            let headers = authorization
                .as_deref()
                .map(|value| ("authorization", value));
            let headers: Vec<_> = headers.into_iter().collect();
            let answer = request(bridge.address, Method::GET, path, &headers).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Basic realm=\"gatemeter\", charset=\"UTF-8\"")
            );
            assert_eq!(answer.text(), "expected a user and its password\n");
            let head = request(bridge.address, Method::HEAD, path, &headers).await;
            assert_eq!(head.status, StatusCode::UNAUTHORIZED, "{path}");
            assert!(head.body.is_empty());
        }
    }
    assert_eq!(admin.requests(), Vec::<String>::new());
    let known = basic("prometheus", "pass word");
    let known = [("authorization", known.as_str())];
    let page = get_with(bridge.address, "/metrics/api", &known).await;
    assert_eq!(page.value("active_connections"), Some(42.0));
    bridge.end().await;
}

#[tokio::test]
async fn a_password_is_checked_once_and_a_flood_of_wrong_ones_does_not_slow_scrapes() {
    // About 50 ms a check.
    let (bridge, _admin, _folder) = bridge(&users("word", 10), &[]).await;
    let known = basic("prometheus", "word");
    let known = [("authorization", known.as_str())];
    let address = bridge.address;
    assert_eq!(
        get_with(address, "/metrics/api", &known).await.status,
        StatusCode::OK
    );
    let flood: Vec<_> = (0..200)
        .map(|number| {
            tokio::spawn(async move {
                let wrong = basic("prometheus", &format!("wrong {number}"));
                get_with(address, "/metrics", &[("authorization", &wrong)])
                    .await
                    .status
            })
        })
        .collect();
    let start = Instant::now();
    for _ in 0..20 {
        let page = get_with(address, "/metrics/api", &known).await;
        assert_eq!(page.status, StatusCode::OK);
    }
    let took = start.elapsed();
    assert!(took.as_secs_f64() < 2.0, "20 scrapes took {took:?}");
    let mut statuses = Vec::new();
    for one in flood {
        statuses.push(within(one).await.unwrap());
    }
    let count = |status| statuses.iter().filter(|one| **one == status).count();
    let too_many = count(StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(count(StatusCode::UNAUTHORIZED) + too_many, 200);
    assert!(too_many > 0);
    bridge.end().await;
}

#[tokio::test]
async fn every_answer_has_the_headers_that_protect_and_those_that_are_configured() {
    let text = format!(
        "{}http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n    \
         Strict-Transport-Security: max-age=60\n    \
         Content-Security-Policy: sandbox\n",
        users("word", 4)
    );
    let (bridge, _admin, _folder) = bridge(&text, &[]).await;
    let known = basic("prometheus", "word");
    for headers in [vec![], vec![("authorization", known.as_str())]] {
        for path in ["/", "/metrics", "/metrics/api", "/-/ready", "/nothing"] {
            let answer = get_with(bridge.address, path, &headers).await;
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "sameorigin"),
                ("referrer-policy", "no-referrer"),
                ("strict-transport-security", "max-age=60"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{path}");
            }
            let policies: Vec<_> = answer
                .headers
                .get_all("content-security-policy")
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect();
            assert_eq!(policies.len(), 2, "{path}: {policies:?}");
            assert!(policies[0].starts_with("default-src 'none'"), "{path}");
            assert_eq!(policies[1], "sandbox", "{path}");
        }
    }
    bridge.end().await;
}

#[tokio::test]
async fn without_a_web_file_every_answer_has_the_headers_that_protect() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    for path in ["/", "/metrics", "/nothing", "/-/reload"] {
        let answer = get(bridge.address, path).await;
        for name in [
            "cache-control",
            "content-security-policy",
            "referrer-policy",
            "x-content-type-options",
            "x-frame-options",
        ] {
            assert!(answer.header(name).is_some(), "{path}: {name}");
        }
    }
    bridge.end().await;
}
