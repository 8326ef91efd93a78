//! Many requests in a short time, over kept-alive HTTP/1 connections or over
//! streams of HTTP/2 connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// HTTP/2 streams in flight on one connection.
const STREAMS: u64 = 32;

/// Number of answers by status.
pub type Answers = BTreeMap<u16, u64>;

/// Makes the n-th request; it gets no body.
pub type Make = dyn Fn(u64) -> Result<http::request::Builder> + Send + Sync;

/// Sends the requests `0..requests` over `connections` connections and gives
/// the number of answers by status.
///
/// # Errors
///
/// A request got no whole answer.
pub async fn flood(
    service: SocketAddr,
    version: Version,
    connections: u64,
    requests: u64,
    make: Arc<Make>,
) -> Result<Answers> {
    let next = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(service).await?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        let turns = Turns {
            next: Arc::clone(&next),
            end: requests,
            make: Arc::clone(&make),
        };
        if version == Version::HTTP_2 {
            let (sender, connection) = conn::http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            for _ in 0..STREAMS {
                senders.spawn(send(sender.clone(), turns.clone()));
            }
        } else {
            let (sender, connection) = conn::http1::handshake(stream).await?;
            tokio::spawn(connection);
            senders.spawn(send(sender, turns));
        }
    }
    let mut answers = Answers::new();
    while let Some(sender) = senders.join_next().await {
        for (status, number) in sender?? {
            *answers.entry(status).or_default() += number;
        }
    }
    Ok(answers)
}

/// The requests that are still to be sent; shared by all who send.
#[derive(Clone)]
struct Turns {
    next: Arc<AtomicU64>,
    end: u64,
    make: Arc<Make>,
}

impl Turns {
    fn take(&self) -> Option<Result<Request<Empty<Bytes>>>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        (turn < self.end).then(|| Ok((self.make)(turn)?.body(Empty::new())?))
    }
}

/// The sending side of a connection, of either version.
trait Sender: Send {
    /// Sends a request as soon as the connection takes one.
    fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + Send;
}

impl Sender for conn::http1::SendRequest<Empty<Bytes>> {
    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.ready().await?;
        self.send_request(request).await
    }
}

impl Sender for conn::http2::SendRequest<Empty<Bytes>> {
    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.ready().await?;
        self.send_request(request).await
    }
}

async fn send(mut sender: impl Sender, turns: Turns) -> Result<Answers> {
    let mut answers = Answers::new();
    while let Some(request) = turns.take() {
        let response = sender.send(request?).await.context("no answer")?;
        *answers.entry(response.status().as_u16()).or_default() += 1;
        response.into_body().collect().await?;
    }
    Ok(answers)
}
