//! A client that writes every request it sends into a [`Ledger`].
//!
//! The test names the path label that a request must get; method and status
//! are what the client itself sent and saw.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::ledger::Ledger;
use crate::until::PATIENCE;
use crate::upstream::ELAPSED;

/// Methods that get a label of their own; all others are `_OTHER`.
const KNOWN_METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
];

/// The label that a method must get.
pub fn method_label(method: &str) -> &str {
    if KNOWN_METHODS.contains(&method) {
        method
    } else {
        "_OTHER"
    }
}

/// The label that a status must get.
pub fn status_label(status: u16) -> String {
    if (100..600).contains(&status) {
        status.to_string()
    } else {
        "_OTHER".to_owned()
    }
}

/// A request before it is sent.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    label: String,
    version: Version,
    headers: Vec<(&'static str, String)>,
    body: &'static str,
}

impl Call {
    /// A request over HTTP/1.1 to `path`, which must be labelled `label`.
    pub fn new(method: &str, path: &str, label: &str) -> Self {
        Self {
            method: Method::from_bytes(method.as_bytes()).unwrap_or_default(),
            path: path.to_owned(),
            label: label.to_owned(),
            version: Version::HTTP_11,
            headers: Vec::new(),
            body: "",
        }
    }

    /// Goes over HTTP/2 with prior knowledge.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.version = Version::HTTP_2;
        self
    }

    /// Orders the upstream to do something; see [`crate::upstream`].
    #[must_use]
    pub fn upstream(self, order: &str) -> Self {
        self.header("x-upstream", order)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sends a body.
    #[must_use]
    pub fn body(mut self, body: &'static str) -> Self {
        self.body = body;
        self
    }

    fn request(&self, authority: SocketAddr) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .version(self.version)
            .uri(format!("http://{authority}{}", self.path));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        Ok(request.body(Full::new(Bytes::from_static(self.body.as_bytes())))?)
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The response's status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
    /// Time from sending the request to the body's last byte.
    pub elapsed: Duration,
    /// Time from the request's head to the answer, as our upstream measured it.
    pub upstream: Option<Duration>,
}

impl Answer {
    /// The body as text.
    ///
    /// # Errors
    ///
    /// It is not UTF-8.
    pub fn text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(&self.body)?)
    }
}

/// A client of one service.
#[derive(Clone, Debug)]
pub struct Client {
    service: SocketAddr,
    ledger: Arc<Ledger>,
    http1: Pool,
    http2: Pool,
}

type Pool = legacy::Client<HttpConnector, Full<Bytes>>;

/// A WebSocket that is open.
pub type WebSocket = WebSocketStream<TcpStream>;

impl Client {
    /// A client of the service at this address, with an empty ledger.
    pub fn new(service: SocketAddr) -> Self {
        Self {
            service,
            ledger: Arc::default(),
            http1: pool(false),
            http2: pool(true),
        }
    }

    /// Where it sends to.
    pub fn service(&self) -> SocketAddr {
        self.service
    }

    /// Its books.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Sends a request, reads the whole response and counts it.
    ///
    /// # Errors
    ///
    /// There was no whole response.
    pub async fn send(&self, call: &Call) -> Result<Answer> {
        let start = Instant::now();
        let response = self.respond(call).await?;
        let (head, body) = response.into_parts();
        let body = within("the body", body.collect()).await??.to_bytes();
        let elapsed = start.elapsed();
        self.count(call, head.status.as_u16());
        let upstream = match head.headers.get(ELAPSED) {
            Some(upstream) => Some(Duration::from_nanos(upstream.to_str()?.parse()?)),
            None => None,
        };
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            elapsed,
            upstream,
        })
    }

    /// Sends a request, checks the status and counts it.
    ///
    /// # Errors
    ///
    /// Another status came, or no whole response.
    pub async fn expect(&self, call: &Call, status: u16) -> Result<Answer> {
        let answer = self.send(call).await?;
        ensure!(
            answer.status.as_u16() == status,
            "{} {} was answered {}, not {status}",
            call.method,
            call.path,
            answer.status
        );
        Ok(answer)
    }

    /// Sends a request whose response is cut after its headers, and counts it
    /// with the status that it saw.
    ///
    /// # Errors
    ///
    /// The response was whole, or there was none.
    pub async fn expect_cut(&self, call: &Call) -> Result<()> {
        let response = self.respond(call).await?;
        let status = response.status().as_u16();
        if within("the cut", response.into_body().collect())
            .await?
            .is_ok()
        {
            bail!("{} {} was answered whole", call.method, call.path);
        }
        self.count(call, status);
        Ok(())
    }

    /// Sends a request, goes away once `moment` has come, and counts it with
    /// the status 499.
    ///
    /// # Errors
    ///
    /// There was a response before that, or the moment did not come.
    pub async fn abort(&self, call: &Call, moment: impl Future<Output = Result<()>>) -> Result<()> {
        tokio::select! {
            response = self.respond(call) => {
                bail!("{} {} was answered {}", call.method, call.path, response?.status());
            }
            came = moment => came?,
        }
        self.count(call, 499);
        Ok(())
    }

    /// Opens a response that goes on, such as an event stream, waits for its
    /// first bytes and counts it. Dropping it goes away.
    ///
    /// # Errors
    ///
    /// There was no response or it has no body.
    pub async fn open(&self, call: &Call) -> Result<Incoming> {
        let response = self.respond(call).await?;
        self.count(call, response.status().as_u16());
        let mut body = response.into_body();
        let frame = within("the first bytes", body.frame()).await?;
        frame.context("the response has no body")??;
        Ok(body)
    }

    /// Opens a WebSocket and counts it with the status 101.
    ///
    /// # Errors
    ///
    /// The upgrade was refused.
    pub async fn websocket(&self, path: &str, label: &str) -> Result<WebSocket> {
        let request = format!("ws://{}{path}", self.service).into_client_request()?;
        let stream = TcpStream::connect(self.service).await?;
        let opening = tokio_tungstenite::client_async(request, stream);
        let (socket, response) = within("the upgrade", opening).await??;
        self.ledger.count("GET", label, response.status().as_u16());
        Ok(socket)
    }

    async fn respond(&self, call: &Call) -> Result<http::Response<Incoming>> {
        let pool = match call.version {
            Version::HTTP_2 => &self.http2,
            _ => &self.http1,
        };
        let request = call.request(self.service)?;
        within("a response", pool.request(request))
            .await?
            .with_context(|| format!("{} {}", call.method, call.path))
    }

    fn count(&self, call: &Call, status: u16) {
        let method = method_label(call.method.as_str());
        self.ledger.count(method, &call.label, status_label(status));
    }
}

/// Gets a page without counting it: Envoy's admin pages, the bridge's pages.
///
/// # Errors
///
/// There was no whole response.
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    Client::new(address).send(&Call::new("GET", path, "")).await
}

fn pool(http2: bool) -> Pool {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .http2_only(http2)
        // What is sent twice would be counted twice.
        .retry_canceled_requests(false);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    builder.build(connector)
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, future)
        .await
        .with_context(|| format!("{what} did not come within {} s", PATIENCE.as_secs()))
}
