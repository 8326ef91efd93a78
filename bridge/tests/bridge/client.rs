//! An HTTP/1.1 client, one connection a request, and a raw one for what no
//! client library would send.

use std::{io::Read as _, net::SocketAddr};

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::within;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text, unpacked if it says that it is packed.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match self.header(header::CONTENT_ENCODING.as_str()) {
            None => return String::from_utf8(self.body.to_vec()).unwrap(),
            Some("gzip") => GzDecoder::new(&self.body[..]).read_to_string(&mut text),
            Some("zstd") => zstd::Decoder::new(&self.body[..])
                .unwrap()
                .read_to_string(&mut text),
            Some(other) => panic!("packed in {other}"),
        }
        .unwrap();
        text
    }

    /// The value of the one series that starts with this text and a space.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        let text = self.text();
        let mut lines = text
            .lines()
            .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = lines.next()?.parse().unwrap();
        assert_eq!(lines.next(), None, "{series} stands twice");
        Some(value)
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, Method::GET, path, &[]).await
}

pub(crate) async fn get_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    request(address, Method::GET, path, headers).await
}

pub(crate) async fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let stream = within(TcpStream::connect(address)).await.unwrap();
    request_over(stream, method, path, headers).await
}

/// One request over a connection that is open already.
pub(crate) async fn request_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    within(async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "bridge");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender
            .send_request(request.body(Empty::<Bytes>::new()).unwrap())
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        drop(sender);
        driver.await.unwrap().unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    })
    .await
}

/// Sends these bytes and gives back all that comes until the other side closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    within(async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The other side may close while this is still being sent.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
}
