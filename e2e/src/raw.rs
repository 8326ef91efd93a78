//! Requests on plain sockets that no HTTP library sends: cut ones, garbage,
//! HTTP/1.0, HTTP/2 with headers that the standard forbids.
//!
//! HTTP/2 is RFC 9113 with header blocks of RFC 7541's literal fields without
//! indexing and without Huffman code, the only form that can spell anything.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long to listen for an answer that may never come.
const LISTEN: Duration = Duration::from_secs(5);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Sends `bytes` over HTTP/1 and gives the status of the answer; 100 is none.
///
/// # Errors
///
/// There is no answer with a status line.
pub async fn http1(service: SocketAddr, bytes: &[u8]) -> Result<u16> {
    let statuses = pipeline(service, bytes, 1).await?;
    statuses.first().copied().context("no status")
}

/// Sends several requests in one go over HTTP/1 and gives the statuses of the
/// answers.
///
/// # Errors
///
/// There are not so many answers.
pub async fn pipeline(service: SocketAddr, bytes: &[u8], answers: usize) -> Result<Vec<u16>> {
    let mut stream = TcpStream::connect(service).await?;
    // Envoy may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut received = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let statuses = statuses(&received);
        if statuses.len() == answers {
            return Ok(statuses);
        }
        let read = tokio::time::timeout(LISTEN, stream.read(&mut chunk)).await??;
        let text = String::from_utf8_lossy(&received);
        ensure!(
            read > 0,
            "{} of {answers} answers in {text:?}",
            statuses.len()
        );
        received.extend_from_slice(&chunk[..read]);
    }
}

/// The status of each final response that has begun to arrive.
fn statuses(received: &[u8]) -> Vec<u16> {
    String::from_utf8_lossy(received)
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|response| response.get(..3)?.parse().ok())
        .filter(|status| *status >= 200)
        .collect()
}

/// Sends `bytes`, which are no whole request, and closes the connection.
///
/// # Errors
///
/// Envoy does not take the connection.
pub async fn cut(service: SocketAddr, bytes: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(service).await?;
    stream.write_all(bytes).await?;
    // Half closed, so that Envoy has read everything before it sees the end.
    stream.shutdown().await?;
    listen_to_the_end(&mut stream).await
}

/// Sends one HTTP/2 request with exactly these fields, which Envoy refuses,
/// and waits until Envoy has closed or reset it.
///
/// # Errors
///
/// Envoy does not take the connection, or never refuses.
pub async fn http2_refused(service: SocketAddr, fields: &[(&str, &str)]) -> Result<()> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // Literal Header Field without Indexing, new name (RFC 7541, 6.2.2).
        block.push(0);
        literal(&mut block, name);
        literal(&mut block, value);
    }
    let mut stream = TcpStream::connect(service).await?;
    let mut bytes = PREFACE.to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[])?;
    frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, 1, &block)?;
    stream.write_all(&bytes).await?;
    stream.shutdown().await?;
    listen_to_the_end(&mut stream).await
}

/// The pseudo-header fields of an ordinary request.
pub const ORDINARY: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "gatemeter.test"),
    (":path", "/"),
];

async fn listen_to_the_end(stream: &mut TcpStream) -> Result<()> {
    let mut rest = Vec::new();
    match tokio::time::timeout(LISTEN, stream.read_to_end(&mut rest)).await? {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error.into()),
        _ => Ok(()),
    }
}

/// String Literal (RFC 7541, 5.2) with an integer of a 7-bit prefix (5.1).
fn literal(block: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        block.push(length.to_le_bytes()[0]);
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push((length % 128).to_le_bytes()[0] | 128);
            length /= 128;
        }
        block.push(length.to_le_bytes()[0]);
    }
    block.extend_from_slice(text.as_bytes());
}

/// Frame (RFC 9113, 4.1).
fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
    let length = u32::try_from(payload.len())?.to_be_bytes();
    ensure!(length[0] == 0 && payload.len() <= 16_384, "frame too large");
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    Ok(())
}
