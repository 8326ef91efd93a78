//! The client of one exchange: sends a request in pieces, takes the response in
//! pieces, and goes away when the scenario says so.
//!
//! Each exchange has a connection of its own, so that its end harms no other.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use gatemeter_scenarios::expect::Got;
use gatemeter_scenarios::scenario::{AUTHORITY, Request};
use gatemeter_scenarios::text::{Pair, shown};
use http::header::{CONNECTION, HOST, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri};
use http_body_util::channel::Sender;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Channel, Empty};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::arrived::{Arrived, read};
use crate::until::PATIENCE;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A request that was sent, and what came back so far. Dropping it goes away.
#[derive(Debug)]
pub(super) struct Caller {
    connection: JoinHandle<()>,
    http2: bool,
    request_body: Option<Sender<Bytes, io::Error>>,
    response: Option<JoinHandle<hyper::Result<Response<Incoming>>>>,
    /// Reads the response's body to its end.
    reading: Option<JoinHandle<hyper::Result<()>>>,
    /// How much of the response's body came.
    came: Arrived,
    upgraded: Option<Upgraded>,
}

impl Caller {
    /// Sends the headers of a request, with `marks` beside its own.
    pub(super) async fn send(
        address: SocketAddr,
        request: &Request,
        marks: &[(&'static str, String)],
        upgrades: bool,
    ) -> Result<Self> {
        let (body, request_body) = if request.has_body {
            let (sender, body) = Channel::new(1);
            (body.boxed_unsync(), Some(sender))
        } else {
            let body: Body = Empty::new().map_err(|never| match never {}).boxed_unsync();
            (body, None)
        };
        let mut message = http::Request::new(body);
        *message.method_mut() = Method::from_bytes(&request.method)?;
        *message.uri_mut() = uri(request)?;
        *message.headers_mut() = headers(&request.headers)?;
        for (name, value) in marks {
            message.headers_mut().insert(*name, value.parse()?);
        }
        if upgrades {
            let headers = message.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
            headers.insert(
                "sec-websocket-key",
                HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
            );
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        let (connection, response) = if request.http2 {
            let executor = TokioExecutor::new();
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(executor, stream).await?;
            let connection = tokio::spawn(async {
                let _ = connection.await;
            });
            let response = tokio::spawn(async move { sender.send_request(message).await });
            (connection, response)
        } else {
            let authority = HeaderValue::from_static(AUTHORITY);
            message.headers_mut().insert(HOST, authority);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
            let connection = tokio::spawn(async {
                let _ = connection.with_upgrades().await;
            });
            let response = tokio::spawn(async move { sender.send_request(message).await });
            (connection, response)
        };
        Ok(Self {
            connection,
            http2: request.http2,
            request_body,
            response: Some(response),
            reading: None,
            came: Arrived::default(),
            upgraded: None,
        })
    }

    /// Sends a chunk of the request's body.
    pub(super) async fn send_body(&mut self, chunk: &[u8], end: bool) -> Result<()> {
        let sender = self.request_body.as_mut().context("the body has ended")?;
        sender.send_data(Bytes::copy_from_slice(chunk)).await?;
        if end {
            self.request_body = None;
        }
        Ok(())
    }

    /// Sends trailers, which end the request.
    pub(super) async fn send_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        let mut sender = self.request_body.take().context("the body has ended")?;
        sender.send_trailers(trailers).await?;
        Ok(())
    }

    /// Waits for the response headers.
    pub(super) async fn answered(&mut self) -> Result<Got> {
        let response = self.response.take().context("there was a response")?;
        let response = tokio::time::timeout(PATIENCE, response)
            .await
            .context("no response came")???;
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| {
            let name = name.as_str().as_bytes().to_vec();
            (name, value.as_bytes().to_vec())
        });
        let got = Got {
            status: response.status().as_u16(),
            headers: headers.collect(),
        };
        if got.status == 101 {
            let upgrade = hyper::upgrade::on(response);
            self.upgraded = Some(tokio::time::timeout(PATIENCE, upgrade).await??);
        } else {
            let body = response.into_body();
            self.reading = Some(tokio::spawn(read(body, self.came.clone())));
        }
        Ok(got)
    }

    /// Waits until so many bytes of the response's body came, where it has one.
    pub(super) async fn received(&self, bytes: usize) -> Result<()> {
        if self.reading.is_none() {
            return Ok(());
        }
        let came = self.came.at_least(bytes).await;
        came.context("at the client")
    }

    /// Waits for the end of the response, whole or cut.
    pub(super) async fn ended(mut self, whole: bool) -> Result<()> {
        // A socket has no other end than that one side leaves.
        let Some(reading) = self.reading.take() else {
            return Ok(());
        };
        let read = tokio::time::timeout(PATIENCE, reading)
            .await
            .context("the response did not end")??;
        ensure!(read.is_ok() == whole, "the response ended with {read:?}");
        Ok(())
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(response) = &self.response {
            response.abort();
        }
        if let Some(reading) = &self.reading {
            reading.abort();
        }
        // HTTP/2 resets the stream, and then ends by itself.
        if !self.http2 {
            self.connection.abort();
        }
    }
}

fn uri(request: &Request) -> Result<Uri> {
    let path = request.path.as_ref().context("the request has no path")?;
    let path = PathAndQuery::from_maybe_shared(Bytes::from(path.clone()))
        .with_context(|| format!("no client sends the path {}", shown(path)))?;
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path);
    if request.http2 {
        parts.scheme = Some(http::uri::Scheme::HTTP);
        parts.authority = Some(AUTHORITY.parse()?);
    }
    Ok(Uri::from_parts(parts)?)
}

/// Headers as a message has them.
pub(super) fn headers(pairs: &[Pair]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(
            HeaderName::from_bytes(name)?,
            HeaderValue::from_bytes(value)
                .with_context(|| format!("no message has a header {}", shown(value)))?,
        );
    }
    Ok(headers)
}
