//! The service of a scenario: it holds each request until the scenario says
//! what to answer, piece by piece. One port speaks HTTP/1, one HTTP/2.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Channel, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use super::arrived::{Arrived, read};
use crate::until::PATIENCE;

/// Request header that names the exchange.
pub(super) const EXCHANGE: &str = "x-exchange";

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The running service. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Service {
    http1: SocketAddr,
    http2: SocketAddr,
    hall: Arc<Hall>,
    accepting: Vec<JoinHandle<()>>,
}

/// Requests that arrived, by exchange; of an exchange with several hops the
/// first one that nobody took comes first.
#[derive(Debug, Default)]
struct Hall(Mutex<HashMap<String, Vec<Held>>>);

impl Hall {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the service does with a request that it holds.
#[derive(Debug)]
enum Order {
    Respond(StatusCode, HeaderMap),
    Send(Bytes),
    Trailers(HeaderMap),
    Finish,
    /// Closes the connection, in the middle of the response or before it.
    HangUp,
}

/// A request that the service holds; dropping it hangs up.
#[derive(Debug)]
pub(super) struct Held {
    orders: UnboundedSender<Order>,
    /// How much of the request's body came.
    came: Arrived,
}

impl Held {
    pub(super) fn respond(&self, status: StatusCode, headers: HeaderMap) {
        self.order(Order::Respond(status, headers));
    }

    pub(super) fn send(&self, chunk: &[u8]) {
        self.order(Order::Send(Bytes::copy_from_slice(chunk)));
    }

    pub(super) fn trailers(&self, trailers: HeaderMap) {
        self.order(Order::Trailers(trailers));
    }

    pub(super) fn finish(&self) {
        self.order(Order::Finish);
    }

    pub(super) fn hang_up(&self) {
        self.order(Order::HangUp);
    }

    /// Waits until so many bytes of the request's body came.
    pub(super) async fn received(&self, bytes: usize) -> Result<()> {
        self.came.at_least(bytes).await.context("at the service")
    }

    fn order(&self, order: Order) {
        // Fails where Envoy closed the connection; the client sees that.
        let _ = self.orders.send(order);
    }
}

impl Service {
    pub(super) async fn start() -> Result<Self> {
        let hall = Arc::<Hall>::default();
        let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let two = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self {
            http1: one.local_addr()?,
            http2: two.local_addr()?,
            accepting: vec![
                tokio::spawn(accept(one, false, Arc::clone(&hall))),
                tokio::spawn(accept(two, true, Arc::clone(&hall))),
            ],
            hall,
        })
    }

    pub(super) fn http1(&self) -> SocketAddr {
        self.http1
    }

    pub(super) fn http2(&self) -> SocketAddr {
        self.http2
    }

    /// The next request of an exchange, once it has arrived.
    pub(super) async fn held(&self, exchange: &str) -> Result<Held> {
        let arrived = async {
            loop {
                if let Some(arrived) = self.hall.lock().get_mut(exchange)
                    && !arrived.is_empty()
                {
                    return arrived.remove(0);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, arrived)
            .await
            .with_context(|| format!("the request of {exchange} did not reach the service"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for accepting in &self.accepting {
            accepting.abort();
        }
    }
}

async fn accept(listener: TcpListener, is_http2: bool, hall: Arc<Hall>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, is_http2, Arc::clone(&hall)));
    }
}

async fn serve(stream: TcpStream, is_http2: bool, hall: Arc<Hall>) {
    // Else the second small write of a response waits for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(stream);
    let hold = service_fn(move |request| hold(request, Arc::clone(&hall)));
    // Errors are what some scenarios ask for.
    if is_http2 {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(stream, hold).await;
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        let _ = server.serve_connection(stream, hold).with_upgrades().await;
    }
}

async fn hold(mut request: Request<Incoming>, hall: Arc<Hall>) -> io::Result<Response<Body>> {
    let exchange = request.headers().get(EXCHANGE);
    let exchange = exchange.and_then(|value| value.to_str().ok());
    let exchange = exchange.unwrap_or_default().to_owned();
    let (orders, mut ordered) = mpsc::unbounded_channel();
    let came = Arrived::default();
    let reading = came.clone();
    let held = Held { orders, came };
    hall.lock().entry(exchange).or_default().push(held);
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(read(request.into_body(), reading));
    let Some(Order::Respond(status, headers)) = ordered.recv().await else {
        return Err(io::Error::other("hung up as ordered"));
    };
    let body = if status == StatusCode::SWITCHING_PROTOCOLS {
        tokio::spawn(keep_open(upgrade, ordered));
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    } else {
        let (sender, body) = Channel::<Bytes, io::Error>::new(1);
        tokio::spawn(send(sender, ordered));
        body.boxed_unsync()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

async fn send(
    mut sender: http_body_util::channel::Sender<Bytes, io::Error>,
    mut ordered: UnboundedReceiver<Order>,
) {
    while let Some(order) = ordered.recv().await {
        let sent = match order {
            Order::Send(chunk) => sender.send_data(chunk).await,
            Order::Trailers(trailers) => sender.send_trailers(trailers).await,
            Order::Finish => return,
            Order::HangUp => break,
            Order::Respond(..) => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
    sender.abort(io::Error::other("cut as ordered"));
}

/// Holds the upgraded connection until the scenario lets it go.
async fn keep_open(upgrade: OnUpgrade, mut ordered: UnboundedReceiver<Order>) {
    let Ok(_connection) = upgrade.await else {
        return;
    };
    while let Some(Order::Send(_)) = ordered.recv().await {}
}
