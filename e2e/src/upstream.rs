//! The service behind Envoy. It does what the request's header `x-upstream`
//! tells it to, so the path stays free for the test:
//!
//! | word | what it does |
//! |---|---|
//! | `status=404` | answers with this status instead of 200 |
//! | `delay=30` | waits so many milliseconds before it answers |
//! | `location=/b` | adds that header (for redirects, with `status=302`) |
//! | `silent` | never answers |
//! | `hang-up` | closes the connection without an answer |
//! | `cut` | sends the response's head and 2 of 200 bytes, then resets |
//! | `events` | sends one event of an event stream and keeps it open |
//!
//! A whole answer's body is the names of the headers that the request had.
//! It answers an upgrade to WebSocket with 101 and sends back what it gets.
//! Other response headers come from request headers that start with `x-send-`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, SEC_WEBSOCKET_ACCEPT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Channel, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Response header with the nanoseconds from the request's head to the answer.
pub const ELAPSED: &str = "x-upstream-nanoseconds";

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A running upstream. Dropping it ends it.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    requests: AtomicU64,
    held: AtomicUsize,
}

impl Upstream {
    /// Starts to listen on a free port.
    ///
    /// # Errors
    ///
    /// The machine has none left.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self {
            address,
            state,
            accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that it has received so far.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Requests that it is now silent about.
    pub fn held(&self) -> usize {
        self.state.held.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(serve(stream, state));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    // Else the second small write of an answer waits for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(|request| answer(request, Arc::clone(&state)));
    // Errors are what some requests ask for.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades()
        .await;
}

/// Counts a silent request for as long as its connection lives.
struct Held(Arc<State>);

impl Held {
    fn new(state: &Arc<State>) -> Self {
        state.held.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn answer(mut request: Request<Incoming>, state: Arc<State>) -> io::Result<Response<Body>> {
    let arrived = Instant::now();
    state.requests.fetch_add(1, Ordering::Relaxed);
    if let Some(key) = request.headers().get("sec-websocket-key") {
        let accepted = derive_accept_key(key.as_bytes());
        tokio::spawn(echo(hyper::upgrade::on(&mut request)));
        return Ok(switching(&accepted));
    }
    let order = Order::read(&request);
    if let Some(delay) = order.delay {
        tokio::time::sleep(delay).await;
    }
    // Read what was sent, as a real service would; the response waits for it.
    let (head, body) = request.into_parts();
    let _ = body.collect().await;
    let mut response = match order.manner {
        Manner::Whole => Response::new(whole(names_of(&head.headers))),
        Manner::Silent => {
            let _held = Held::new(&state);
            std::future::pending().await
        }
        Manner::HangUp => return Err(io::Error::other("hung up as ordered")),
        Manner::Cut => cut(),
        Manner::Events => events(),
    };
    *response.status_mut() = order.status;
    for (name, value) in &head.headers {
        if let Some(sent) = name.as_str().strip_prefix("x-send-")
            && let Ok(name) = HeaderName::try_from(sent)
        {
            response.headers_mut().append(name, value.clone());
        }
    }
    if let Some(location) = order.location {
        response.headers_mut().insert(LOCATION, location);
    }
    let elapsed = u64::try_from(arrived.elapsed().as_nanos()).unwrap_or(u64::MAX);
    response.headers_mut().insert(ELAPSED, elapsed.into());
    Ok(response)
}

/// What a request asks for.
struct Order {
    status: StatusCode,
    delay: Option<Duration>,
    location: Option<HeaderValue>,
    manner: Manner,
}

enum Manner {
    Whole,
    Silent,
    HangUp,
    Cut,
    Events,
}

impl Order {
    fn read<B>(request: &Request<B>) -> Self {
        let mut order = Self {
            status: StatusCode::OK,
            delay: None,
            location: None,
            manner: Manner::Whole,
        };
        let words = request
            .headers()
            .get("x-upstream")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        for word in words.split(',').map(str::trim) {
            match word.split_once('=').unwrap_or((word, "")) {
                ("status", code) => order.status = code.parse().unwrap_or_default(),
                ("delay", ms) => order.delay = ms.parse().ok().map(Duration::from_millis),
                ("location", path) => order.location = HeaderValue::try_from(path).ok(),
                ("silent", _) => order.manner = Manner::Silent,
                ("hang-up", _) => order.manner = Manner::HangUp,
                ("cut", _) => order.manner = Manner::Cut,
                ("events", _) => order.manner = Manner::Events,
                _ => {}
            }
        }
        order
    }
}

/// One name a line.
fn names_of(headers: &HeaderMap) -> String {
    headers
        .keys()
        .flat_map(|name| [name.as_str(), "\n"])
        .collect()
}

fn whole(text: String) -> Body {
    Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn cut() -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
    tokio::spawn(async move {
        let _ = sender.send_data(Bytes::from_static(b"ok")).await;
        // After the head has left, so that the client sees it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        sender.abort(io::Error::other("cut as ordered"));
    });
    let mut response = Response::new(body.boxed_unsync());
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from_static("200"));
    response
}

fn events() -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
    tokio::spawn(async move {
        let event = Bytes::from_static(b"data: first\n\n");
        if sender.send_data(event).await.is_ok() {
            // Comments keep the stream alive and tell when the client is gone.
            let beat = Bytes::from_static(b":\n\n");
            while sender.send_data(beat.clone()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let mut response = Response::new(body.boxed_unsync());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn switching(accepted: &str) -> Response<Body> {
    let mut response = Response::new(whole(String::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accepted) = HeaderValue::try_from(accepted) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    }
    response
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let (mut sink, mut stream) = socket.split();
    while let Some(Ok(message)) = stream.next().await {
        if message.is_close() || sink.send(message).await.is_err() {
            break;
        }
    }
    let _ = sink.close().await;
}
