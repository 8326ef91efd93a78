//! Many requests in a short time, over kept-alive HTTP/1 connections or over
//! streams of HTTP/2 connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
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
                senders.spawn(send_http2(sender.clone(), turns.clone()));
            }
        } else {
            let (sender, connection) = conn::http1::handshake(stream).await?;
            tokio::spawn(connection);
            senders.spawn(send_http1(sender, turns));
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

async fn send_http1(
    mut sender: conn::http1::SendRequest<Empty<Bytes>>,
    turns: Turns,
) -> Result<Answers> {
    let mut answers = Answers::new();
    while let Some(request) = turns.take() {
        sender.ready().await?;
        let response = sender.send_request(request?).await.context("no answer")?;
        *answers.entry(response.status().as_u16()).or_default() += 1;
        response.into_body().collect().await?;
    }
    Ok(answers)
}

async fn send_http2(
    mut sender: conn::http2::SendRequest<Empty<Bytes>>,
    turns: Turns,
) -> Result<Answers> {
    let mut answers = Answers::new();
    while let Some(request) = turns.take() {
        sender.ready().await?;
        let response = sender.send_request(request?).await.context("no answer")?;
        *answers.entry(response.status().as_u16()).or_default() += 1;
        response.into_body().collect().await?;
    }
    Ok(answers)
}
