//! One service behind Envoy, all the traffic that a client can make on it, and
//! the comparison of what the page shows with what the client sent.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::bridge::{Bridge, page};
use crate::client::{Call, Client};
use crate::envoy::{Envoy, Form, Service, Setup, stat};
use crate::ledger::{Apart, Ledger};
use crate::page::Page;
use crate::port::Port;
use crate::raw;
use crate::room::Room;
use crate::until::{until, until_true};
use crate::upstream::Upstream;

/// A service named `api` behind Envoy, measured in one of the two forms.
#[derive(Debug)]
pub struct Scene {
    /// The processes.
    pub room: Room,
    /// The service itself.
    pub upstream: Upstream,
    /// The Envoy in front of it.
    pub envoy: Envoy,
    /// Its bridge.
    pub bridge: Bridge,
    /// A client of the service; its ledger must equal the page.
    pub client: Client,
    /// Nobody listens there.
    _refusing: Port,
}

impl Scene {
    /// Starts everything.
    ///
    /// # Errors
    ///
    /// Something does not start.
    pub async fn set(form: Form) -> Result<Self> {
        let mut room = Room::open()?;
        let upstream = Upstream::start().await?;
        let refusing = Port::reserve()?;
        let api = Service::new("api")?
            .form(form)
            .plugin(
                "routes",
                json!([
                    "/api/content",
                    "/api/content/:id",
                    "/api/content/{id}/stream",
                    "/old/content/:id",
                    "/refused",
                    "/late",
                    "/moved/:id",
                    "/retried",
                    "/ws/*",
                ]),
            )
            .route(json!({
                "match": { "path": "/late" },
                "route": { "cluster": "upstream", "timeout": "0.2s" },
            }))
            .route(json!({
                "match": { "prefix": "/old/" },
                "route": { "cluster": "upstream", "prefix_rewrite": "/api/" },
            }))
            .route(json!({
                "match": { "prefix": "/moved/" },
                "route": {
                    "cluster": "upstream",
                    "internal_redirect_policy": { "redirect_response_codes": [302] },
                },
            }))
            .route(json!({
                "match": { "path": "/retried" },
                "route": {
                    "cluster": "upstream",
                    "retry_policy": { "retry_on": "5xx", "num_retries": 2 },
                },
            }))
            .to_cluster("/refused", "refusing")
            .to_cluster("/api/", "upstream")
            .to_cluster("/ws/", "upstream");
        let setup = Setup::new()?
            .service(api)
            .cluster("upstream", upstream.address())
            .cluster("refusing", refusing.address());
        let envoy = setup.start(&mut room).await?;
        let bridge = Bridge::start(&mut room, envoy.admin(), envoy.bridge()).await?;
        let client = Client::new(envoy.service("api")?);
        Ok(Self {
            room,
            upstream,
            envoy,
            bridge,
            client,
            _refusing: refusing,
        })
    }

    /// Waits until the bridge's page equals the ledger label by label.
    ///
    /// # Errors
    ///
    /// It does not come to that.
    pub async fn settle(&self) -> Result<()> {
        until("the page equals the ledger", async || {
            let page = self.bridge.page().await?;
            self.client.ledger().compare(&page, Some("api"))?;
            page.check_consistent(Some("api"))?;
            Ok(())
        })
        .await
    }

    /// [`balance`] of this service.
    ///
    /// # Errors
    ///
    /// It does not come to that.
    pub async fn balance(&self, open: u64) -> Result<()> {
        let ledger = self.client.ledger();
        balance(self.bridge, self.envoy.admin(), "api", ledger, open).await
    }

    /// Scrapes through Envoy, as Prometheus does.
    ///
    /// # Errors
    ///
    /// There is no whole page.
    pub async fn scrape(&self) -> Result<Page> {
        let page = page(self.client.service(), "/metrics").await?;
        self.client.ledger().count_apart(Apart::Excluded);
        Ok(page)
    }

    /// Sends one request of every kind that ends, and waits until the page
    /// equals the ledger and all that Envoy counted is accounted for.
    ///
    /// # Errors
    ///
    /// Envoy answers something otherwise than this file says, or the page does
    /// not come to equal the ledger.
    pub async fn send_all_kinds(&self) -> Result<()> {
        routed(&self.client).await?;
        answered_by_envoy(&self.client).await?;
        aborted(&self.client, &self.upstream).await?;
        rerouted(&self.client, &self.upstream).await?;
        unparsed(&self.client).await?;
        self.settle().await?;
        self.balance(0).await
    }
}

/// Services behind an Envoy of their own, with a bridge. Each service names
/// the cluster `upstream` for what it does not answer itself.
///
/// # Errors
///
/// Something does not start.
pub async fn behind_envoy(
    room: &mut Room,
    services: impl IntoIterator<Item = Service>,
) -> Result<(Upstream, Envoy, Bridge)> {
    let upstream = Upstream::start().await?;
    let mut setup = Setup::new()?.cluster("upstream", upstream.address());
    for service in services {
        setup = setup.service(service);
    }
    let envoy = setup.start(room).await?;
    let bridge = Bridge::start(room, envoy.admin(), envoy.bridge()).await?;
    Ok((upstream, envoy, bridge))
}

/// Waits until all that Envoy counted for a service is accounted for, with
/// `open` requests in flight that are not counted yet.
///
/// # Errors
///
/// It does not come to that.
pub async fn balance(
    bridge: Bridge,
    admin: SocketAddr,
    service: &str,
    ledger: &Ledger,
    open: u64,
) -> Result<()> {
    until("every request is accounted for", async || {
        let page = bridge.page().await?;
        for (apart, name) in [
            (Apart::Excluded, "gatemeter_excluded_requests_total"),
            (
                Apart::InternalRedirect,
                "gatemeter_internal_redirects_total",
            ),
            (Apart::Unparsed, "gatemeter_unparsed_requests_total"),
        ] {
            let (shown, sent) = (
                page.count(name, &[("service", service)])?,
                ledger.apart(apart),
            );
            ensure!(shown == sent, "{name} {shown}, sent {sent}");
        }
        let counted: u64 = page.requests(Some(service))?.values().sum();
        let apart = ledger.apart(Apart::Excluded)
            + ledger.apart(Apart::InternalRedirect)
            + ledger.apart(Apart::Unparsed);
        let envoy = stat(admin, &format!("http.{service}.downstream_rq_total")).await?;
        ensure!(
            counted + apart + open == envoy,
            "{counted} counted, {apart} apart and {open} open, but Envoy saw {envoy}"
        );
        Ok(())
    })
    .await
}

/// Requests that the upstream answers.
async fn routed(client: &Client) -> Result<()> {
    let one = ("/api/content/42", "/api/content/:id");
    for method in [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE",
    ] {
        let call = Call::new(method, one.0, one.1);
        client.expect(&call, 200).await?;
        client.expect(&call.http2(), 200).await?;
    }
    let query = Call::new("QUERY", one.0, one.1).http2().body("title=a");
    let typed = query
        .clone()
        .header("content-type", "application/x-www-form-urlencoded");
    client.expect(&typed, 200).await?;
    // Envoy wants the type of what is in the body.
    client.expect(&query, 400).await?;
    for status in [200, 201, 204, 304, 400, 401, 403, 404, 429, 500, 503, 599] {
        let order = format!("status={status}");
        let call =
            Call::new("GET", "/api/content?page=2&sort=%2Ftitle", "/api/content").upstream(&order);
        client.expect(&call, status).await?;
        client.expect(&call.http2(), status).await?;
    }
    let body = Call::new("POST", "/api/content", "/api/content").body("{\"title\":\"a\"}");
    client.expect(&body.upstream("status=201"), 201).await?;
    // No status of HTTP, but three digits.
    let odd = Call::new("GET", "/api/content", "/api/content").upstream("status=777");
    client.expect(&odd, 777).await?;
    let waiting = "PUT /api/content/1 HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\
        content-length: 2\r\n\r\nok";
    let answered = raw::http1(client.service(), waiting.as_bytes()).await?;
    ensure!(answered == 200, "{answered} after 100");
    client.ledger().count("PUT", "/api/content/:id", answered);
    let two = "GET /api/content HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2);
    raw::pipeline(client.service(), two.as_bytes(), 2).await?;
    client.ledger().count_many("GET", "/api/content", 200, 2);
    // A path that no template names, and one whose text looks like a label.
    client
        .expect(&Call::new("GET", "/api/unknown", "_UNMATCHED"), 200)
        .await?;
    client
        .expect(
            &Call::new("GET", "/api/content/:id", "/api/content/:id"),
            200,
        )
        .await?;
    // HTTP/2 takes any token for a method.
    for method in ["BREW", "get", "PROPFIND", "_OTHER"] {
        client
            .expect(&Call::new(method, one.0, one.1).http2(), 200)
            .await?;
    }
    Ok(())
}

/// Requests that Envoy answers itself.
async fn answered_by_envoy(client: &Client) -> Result<()> {
    for call in [
        Call::new("GET", "/nowhere", "_UNMATCHED"),
        Call::new("DELETE", "/nowhere/else/7", "_UNMATCHED").http2(),
    ] {
        client.expect(&call, 404).await?;
    }
    client
        .expect(&Call::new("GET", "/refused", "/refused"), 503)
        .await?;
    client
        .expect(&Call::new("POST", "/refused", "/refused").http2(), 503)
        .await?;
    let hang_up = Call::new("GET", "/api/content/4", "/api/content/:id").upstream("hang-up");
    client.expect(&hang_up, 503).await?;
    let late = Call::new("GET", "/late", "/late").upstream("silent");
    client.expect(&late, 504).await?;
    client.expect(&late.http2(), 504).await?;

    let many_headers = (0..120)
        .map(|n| format!("x-{n}: 1\r\n"))
        .collect::<String>();
    let large_header = "a".repeat(70_000);
    for (bytes, status) in [
        ("no request line\r\n\r\n".to_owned(), 400),
        ("G@T / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        (
            "BREW /api/content HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET /api/content HTTP/1.1\r\nhost: a\r\nx y: 1\r\n\r\n".to_owned(),
            400,
        ),
        ("GET api HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        (
            format!("GET /api/content HTTP/1.1\r\nhost: a\r\n{many_headers}\r\n"),
            431,
        ),
        (
            format!("GET /api/content HTTP/1.1\r\nhost: a\r\nx: {large_header}\r\n\r\n"),
            431,
        ),
        ("GET /api/content HTTP/1.0\r\n\r\n".to_owned(), 426),
        // The rest does not come in time.
        ("GET /api/con".to_owned(), 408),
    ] {
        let answered = raw::http1(client.service(), bytes.as_bytes()).await?;
        ensure!(
            answered == status,
            "{answered} instead of {status}: {bytes:.60}"
        );
        // No filter gets the headers of such a request.
        client.ledger().count("_OTHER", "_UNMATCHED", status);
    }
    let connect = b"CONNECT gatemeter.test:443 HTTP/1.1\r\nhost: gatemeter.test:443\r\n\r\n";
    let answered = raw::http1(client.service(), connect).await?;
    ensure!(answered == 404, "{answered} for CONNECT");
    client.ledger().count("CONNECT", "_UNMATCHED", 404);
    let no_host = b"GET /api/content HTTP/1.1\r\n\r\n";
    let answered = raw::http1(client.service(), no_host).await?;
    ensure!(answered == 400, "{answered} without a Host");
    client.ledger().count("GET", "/api/content", 400);
    Ok(())
}

/// Requests whose client does not wait for the answer, and cut answers.
async fn aborted(client: &Client, upstream: &Upstream) -> Result<()> {
    let silent = Call::new("GET", "/api/content/7", "/api/content/:id").upstream("silent");
    let held = || until_true("the upstream holds the request", || upstream.held() == 1);
    for call in [silent.clone(), silent.http2()] {
        client.abort(&call, held()).await?;
        until_true("the upstream lost it", || upstream.held() == 0).await?;
    }
    // Gone in the middle of its own body.
    let half = b"POST /api/content HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf";
    raw::cut(client.service(), half).await?;
    client.ledger().count("POST", "/api/content", 499);
    let cut = Call::new("GET", "/api/content/8", "/api/content/:id").upstream("cut");
    client.expect_cut(&cut).await?;
    client.expect_cut(&cut.http2()).await
}

/// Requests that reach the upstream on another path, or more than once.
async fn rerouted(client: &Client, upstream: &Upstream) -> Result<()> {
    client
        .expect(&Call::new("GET", "/old/content/1", "/old/content/:id"), 200)
        .await?;
    let forged = Call::new("GET", "/api/content/2", "/api/content/:id")
        .header("x-envoy-original-path", "/api/content");
    client.expect(&forged, 200).await?;
    let forged = Call::new("GET", "/old/content/3", "/old/content/:id")
        .header("x-envoy-original-path", "/api/content");
    client.expect(&forged, 200).await?;

    // Three attempts at the upstream, one request of the client.
    let retried = Call::new("GET", "/retried", "/retried").upstream("status=500");
    let before = upstream.requests();
    client.expect(&retried, 500).await?;
    let attempts = upstream.requests() - before;
    ensure!(attempts == 3, "{attempts} attempts");

    // The first hop, to /moved/1, is no request of the client; the second is.
    let host = client.service();
    let moved = Call::new("GET", "/moved/1", "/api/content")
        .upstream(&format!("status=302, location=http://{host}/api/content"));
    let answer = client.send(&moved).await?;
    client.ledger().count_apart(Apart::InternalRedirect);
    ensure!(
        answer.status == 302,
        "the second hop was answered {}",
        answer.status
    );
    Ok(())
}

/// Requests that Envoy's codec refuses before their headers are complete.
///
/// # Errors
///
/// Envoy does not refuse one of them.
pub async fn unparsed(client: &Client) -> Result<()> {
    for bytes in [
        "\r\n",
        "GE",
        "GET /api/con",
        "GET /api/content HTTP/1.1\r\n",
        "GET /api/content HTTP/1.1\r\nhost: a\r\nx-",
    ] {
        raw::cut(client.service(), bytes.as_bytes()).await?;
        client.ledger().count_apart(Apart::Unparsed);
    }
    let names: Vec<_> = (0..120).map(|n| format!("x-{n}")).collect();
    let too_many = names.iter().map(|name| (name.as_str(), "1")).collect();
    for wrong in [
        vec![("X-Upper", "1")],
        vec![("x y", "1")],
        vec![(":x", "1")],
        too_many,
    ] {
        let fields = [raw::ORDINARY.to_vec(), wrong].concat();
        raw::http2_refused(client.service(), &fields).await?;
        client.ledger().count_apart(Apart::Unparsed);
    }
    // No :path.
    raw::http2_refused(client.service(), &raw::ORDINARY[..3]).await?;
    client.ledger().count_apart(Apart::Unparsed);
    Ok(())
}
