//! One connection with at most one request under way.
//!
//! An answer is read whole before the next request goes out; one that says no
//! length, or is not 200, is refused. A request is small enough to be written at once.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// The largest answer.
const ROOM: usize = 64 * 1024;
const MOST_HEADERS: usize = 100;

pub(crate) struct Connection {
    stream: TcpStream,
    /// When the request under way was due.
    due: Option<Instant>,
    answer: Vec<u8>,
    read: usize,
}

impl Connection {
    pub(crate) fn open(
        server: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> anyhow::Result<Self> {
        let stream = std::net::TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Self {
            stream,
            due: None,
            answer: vec![0; ROOM],
            read: 0,
        })
    }

    /// Sends a request that was due then.
    pub(crate) fn send(&mut self, request: &[u8], due: Instant) -> anyhow::Result<()> {
        let written = self.stream.write(request).context("cannot send")?;
        ensure!(written == request.len(), "the request is too large");
        self.due = Some(due);
        self.read = 0;
        Ok(())
    }

    /// Reads what is there; once the answer is whole, when its request was due.
    pub(crate) fn receive(&mut self) -> anyhow::Result<Option<Instant>> {
        loop {
            match self.stream.read(&mut self.answer[self.read..]) {
                Ok(0) => {
                    bail!("the server closed a connection, or its answer is above {ROOM} bytes")
                }
                Ok(read) => self.read += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("cannot receive"),
            }
        }
        let Some(due) = self.due else {
            ensure!(self.read == 0, "an answer without a request");
            return Ok(None);
        };
        if is_whole(&self.answer[..self.read])? {
            self.due = None;
            return Ok(Some(due));
        }
        Ok(None)
    }
}

fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(answer)? else {
        return Ok(false);
    };
    let status = response.code.unwrap_or_default();
    ensure!(status == 200, "status {status}; expected 200");
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .context("an answer without content-length")?;
    let length: usize = std::str::from_utf8(length.value)?.trim().parse()?;
    Ok(answer.len() >= head + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_the_last_byte_of_its_body() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        for length in 0..answer.len() {
            assert!(!is_whole(&answer[..length]).unwrap(), "{length} bytes");
        }
        assert!(is_whole(answer).unwrap());
    }

    #[test]
    fn refuses_an_answer_that_is_not_what_was_asked_for() {
        let refused = is_whole(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").unwrap_err();
        assert_eq!(refused.to_string(), "status 503; expected 200");
        let refused = is_whole(b"HTTP/1.1 200 OK\r\n\r\n").unwrap_err();
        assert_eq!(refused.to_string(), "an answer without content-length");
    }
}
