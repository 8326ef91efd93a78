//! Client of Envoy's admin interface, and of services' own pages: one GET, over
//! TCP or a Unix socket.
//!
//! Decides what counts as a whole answer, and refuses everything else: another
//! status than 200, a compressed or non-text body, one that ends early
//! (RFC 9112 §8), whose end only the connection marks (Envoy always sends a
//! length or chunks, so that a cut answer shows), is too large, or comes after
//! the deadline. It sends its own Accept header, never a caller's: since 1.38
//! Envoy answers in protobuf if that is offered. Each read has its own
//! connection, so a restarted Envoy is met at the next read without a stale
//! connection in between. Redirects are not followed.

use std::{
    fmt, io,
    path::PathBuf,
    pin::{Pin, pin},
    str::FromStr,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Where Envoy's admin interface listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// `http://HOST:PORT`.
    Tcp {
        /// Name or address; an IPv6 address without brackets.
        host: String,
        /// Port, not 0.
        port: u16,
    },
    /// `unix:/PATH`.
    Unix(PathBuf),
}

/// The text names no address of an admin interface.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("expected http://HOST:PORT or unix:/PATH")]
pub struct BadAddress;

impl FromStr for AdminAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') || path.len() < 2 {
                return Err(BadAddress);
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let authority = text.strip_prefix("http://").ok_or(BadAddress)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let authority: http::uri::Authority = authority.parse().map_err(|_| BadAddress)?;
        if authority.as_str().contains('@') {
            return Err(BadAddress);
        }
        let port = authority.port_u16().ok_or(BadAddress)?;
        let host = authority.host().trim_matches(['[', ']']);
        if port == 0 || host.is_empty() {
            return Err(BadAddress);
        }
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a read failed. No message repeats what was sent; whose page it was says
/// the caller.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// An earlier read took the time that the caller had.
    #[error("waited for an earlier read until the deadline")]
    Busy,
    /// Nobody listens, or not in time.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// The address as configured.
        address: String,
        /// What the system says.
        cause: String,
    },
    /// Not HTTP, or not the kind of answer that was asked for.
    #[error("not the answer that was asked for: {0}")]
    Protocol(String),
    /// The bridge is ending.
    #[error("the bridge is shutting down")]
    ShuttingDown,
    /// Another status than 200.
    #[error("answered with status {0}; expected 200")]
    Status(u16),
    /// Connected, but not done at the deadline.
    #[error("no whole answer until the deadline")]
    Timeout,
    /// More bytes than the limit.
    #[error("answer of more than {0} bytes")]
    TooLarge(u64),
    /// The connection ended before the answer did.
    #[error("answer ended early")]
    Truncated,
}

impl ReadError {
    /// Every value of the label `reason`.
    pub const REASONS: [&'static str; 8] = [
        "busy",
        "connect",
        "protocol",
        "shutting_down",
        "status",
        "timeout",
        "too_large",
        "truncated",
    ];

    /// The value of the label `reason`.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Connect { .. } => "connect",
            Self::Protocol(_) => "protocol",
            Self::ShuttingDown => "shutting_down",
            Self::Status(_) => "status",
            Self::Timeout => "timeout",
            Self::TooLarge(_) => "too_large",
            Self::Truncated => "truncated",
        }
    }
}

/// The admin interface of one Envoy.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens.
    pub address: AdminAddress,
    /// Most time for connecting.
    pub connect_timeout: Duration,
    /// Most bytes of a body.
    pub max_answer_bytes: u64,
}

impl Admin {
    /// Asks for `path` and waits for the head of the answer. The caller sets
    /// the deadline; dropping the future or the answer closes the connection.
    ///
    /// # Errors
    /// Where nobody listens, or the answer is not a text with status 200.
    pub async fn open(&self, path: &str) -> Result<Answer, ReadError> {
        let answer = self.open_any(path, "text/plain").await?;
        refuse_other_content(&answer.headers)?;
        refuse_unmarked_end(&answer.headers)?;
        Ok(answer)
    }

    /// The same for any content; the caller says what it accepts, looks at the
    /// headers, and finds out how the body is to end.
    pub(crate) async fn open_any(
        &self,
        path: &str,
        accept: &'static str,
    ) -> Result<Answer, ReadError> {
        match &self.address {
            AdminAddress::Tcp { host, port } => {
                let stream = self
                    .connect(TcpStream::connect((host.as_str(), *port)))
                    .await?;
                let address = self.address.to_string();
                let host = address.strip_prefix("http://").unwrap_or(&address);
                self.ask(stream, host, path, accept).await
            }
            AdminAddress::Unix(socket) => {
                let stream = self.connect(UnixStream::connect(socket)).await?;
                self.ask(stream, "localhost", path, accept).await
            }
        }
    }

    async fn connect<S>(
        &self,
        connecting: impl Future<Output = io::Result<S>>,
    ) -> Result<S, ReadError> {
        let cause = match timeout(self.connect_timeout, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {:?}", self.connect_timeout),
        };
        Err(ReadError::Connect {
            address: self.address.to_string(),
            cause,
        })
    }

    async fn ask<S>(
        &self,
        stream: S,
        host: &str,
        path: &str,
        accept: &'static str,
    ) -> Result<Answer, ReadError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_READ)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| of_hyper(&error))?;
        let mut driver = Driver::new(connection);
        let request = Request::get(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, accept)
            .header(header::USER_AGENT, USER_AGENT)
            .body(Empty::<Bytes>::new())
            .map_err(|error| ReadError::Protocol(error.to_string()))?;
        let response = driver
            .alongside(sender.send_request(request))
            .await
            .map_err(|error| of_hyper(&error))?;
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(ReadError::Status(head.status.as_u16()));
        }
        let length = content_length(&head.headers);
        if length.is_some_and(|length| length > self.max_answer_bytes) {
            return Err(ReadError::TooLarge(self.max_answer_bytes));
        }
        Ok(Answer {
            headers: head.headers,
            body,
            received: 0,
            max_bytes: self.max_answer_bytes,
            driver,
        })
    }
}

/// An answer whose head has arrived.
pub struct Answer {
    headers: HeaderMap,
    body: Incoming,
    received: u64,
    max_bytes: u64,
    driver: Driver,
}

/// What drives a connection, in the task that waits for its answer: as a task
/// of its own it would cost a change of threads for each piece. Dropped, it
/// closes the connection.
enum Driver {
    Open(Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>),
    Ended(hyper::Result<()>),
}

impl Driver {
    fn new(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) -> Self {
        Self::Open(Box::pin(connection))
    }

    /// Waits for `work` and drives the connection as long as it lasts.
    async fn alongside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Self::Open(connection) = self {
            tokio::select! {
                biased;
                done = &mut work => return done,
                ended = connection => *self = Self::Ended(ended),
            }
        }
        work.await
    }

    /// Waits for the end of the connection, and says how it ended.
    async fn end(&mut self) -> &hyper::Result<()> {
        if let Self::Open(connection) = self {
            *self = Self::Ended(connection.await);
        }
        match self {
            Self::Ended(ended) => ended,
            Self::Open(_) => &Ok(()),
        }
    }
}

impl Answer {
    /// As they came.
    pub(crate) const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// All of the body that is left.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(crate) async fn body(mut self) -> Result<Bytes, ReadError> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.next().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    /// The next piece of the body, cut anywhere; `None` at its end, after which
    /// the answer is whole.
    ///
    /// # Errors
    /// Where the answer ends early, or gets too large.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        while let Some(frame) = self.driver.alongside(self.body.frame()).await {
            let frame = frame.map_err(|error| of_hyper(&error))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.received = self.received.saturating_add(length);
            if self.received > self.max_bytes {
                return Err(ReadError::TooLarge(self.max_bytes));
            }
            return Ok(Some(data));
        }
        // More bytes than the length said: then it is not the answer's length.
        if let Err(error) = self.driver.end().await
            && let error @ ReadError::Protocol(_) = of_hyper(error)
        {
            return Err(error);
        }
        Ok(None)
    }
}

/// Most that is read at once, and the largest head of an answer; Envoy's is about
/// 200 bytes.
const MAX_READ: usize = 256 << 10;

const USER_AGENT: &str = concat!("gatemeter-bridge/", env!("CARGO_PKG_VERSION"));

fn refuse_other_content(headers: &HeaderMap) -> Result<(), ReadError> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(ReadError::Protocol(
            "compressed content; expected text as it is".to_owned(),
        ));
    }
    let is_text = headers.get(header::CONTENT_TYPE).is_none_or(|value| {
        value
            .as_bytes()
            .to_ascii_lowercase()
            .starts_with(b"text/plain")
    });
    if !is_text {
        return Err(ReadError::Protocol(
            "another content type; expected text/plain".to_owned(),
        ));
    }
    Ok(())
}

/// Without a length and without chunks a cut body looks like a whole one.
pub(crate) fn refuse_unmarked_end(headers: &HeaderMap) -> Result<(), ReadError> {
    if content_length(headers).is_none() && !is_chunked(headers) {
        return Err(ReadError::Protocol(
            "a body whose end is not marked; expected a length or chunks".to_owned(),
        ));
    }
    Ok(())
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Any other transfer coding also ends only with the connection (RFC 9112 §6.3).
fn is_chunked(headers: &HeaderMap) -> bool {
    headers
        .get(header::TRANSFER_ENCODING)
        .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

fn of_hyper(error: &hyper::Error) -> ReadError {
    let mut source = std::error::Error::source(error);
    let mut of_system = None;
    while let Some(cause) = source {
        of_system = of_system.or(cause.downcast_ref::<io::Error>());
        source = cause.source();
    }
    match of_system.map(io::Error::kind) {
        // hyper's own, for what it reads between the chunks.
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
            ReadError::Protocol("malformed chunks".to_owned())
        }
        Some(_) if !error.is_parse() => ReadError::Truncated,
        _ if error.is_incomplete_message() || error.is_body_write_aborted() => ReadError::Truncated,
        _ => ReadError::Protocol(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_of_both_kinds() {
        for (text, expected) in [
            ("http://127.0.0.1:9901", "http://127.0.0.1:9901"),
            ("http://127.0.0.1:9901/", "http://127.0.0.1:9901"),
            ("http://envoy.local:80", "http://envoy.local:80"),
            ("http://[::1]:9901", "http://[::1]:9901"),
            ("unix:/run/envoy.sock", "unix:/run/envoy.sock"),
            ("unix:///run/envoy.sock", "unix:/run/envoy.sock"),
        ] {
            assert_eq!(text.parse::<AdminAddress>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn refuses_addresses_that_it_would_have_to_guess() {
        for text in [
            "",
            "127.0.0.1:9901",
            "https://127.0.0.1:9901",
            "http://127.0.0.1",
            "http://127.0.0.1:0",
            "http://127.0.0.1:9901/stats",
            "http://user:word@127.0.0.1:9901",
            "http://:9901",
            "unix:",
            "unix:/",
            "unix:run/envoy.sock",
        ] {
            assert_eq!(text.parse::<AdminAddress>(), Err(BadAddress), "{text}");
        }
    }

    #[test]
    fn every_error_has_a_listed_reason() {
        let errors = [
            ReadError::Busy,
            ReadError::Connect {
                address: String::new(),
                cause: String::new(),
            },
            ReadError::Protocol(String::new()),
            ReadError::ShuttingDown,
            ReadError::Status(500),
            ReadError::Timeout,
            ReadError::TooLarge(1),
            ReadError::Truncated,
        ];
        assert_eq!(errors.map(|error| error.reason()), ReadError::REASONS);
    }
}
