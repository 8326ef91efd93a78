//! What Envoy knows of one TCP connection that passes through a network filter,
//! and what its plugin may see: the bytes of either direction, in their
//! callback and as long as the plugin holds them back.
//!
//! Bytes that are held back stay in their buffer, and the next ones come behind
//! them, so that the plugin sees both (`Network::FilterManagerImpl` keeps one
//! read buffer a connection; `TcpProxy` writes again what was not taken).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::abi::Status;

/// Who closed a connection (proxy-wasm-cpp-host, `CloseType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseType {
    /// It cannot be told; so for the service, whose end of stream is all that a
    /// filter sees.
    Unknown = 0,
    /// The proxy.
    Local = 1,
    /// The peer.
    Remote = 2,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Direction {
    /// The bytes that the plugin sees now; none are there outside of a callback
    /// unless they are held back.
    pub buffer: Option<Vec<u8>>,
    /// What went on to the other side so far; the test's handle keeps it.
    pub passed: Rc<RefCell<Vec<u8>>>,
    /// Whether the plugin holds the bytes back.
    pub paused: bool,
}

impl Direction {
    /// Adds bytes that arrive; gives how many the plugin sees.
    pub fn arrive(&mut self, bytes: &[u8]) -> usize {
        let buffer = self.buffer.get_or_insert_default();
        buffer.extend_from_slice(bytes);
        buffer.len()
    }

    /// Takes the answer of the callback: lets the bytes pass, or keeps them.
    pub fn decide(&mut self, pause: bool) {
        self.paused = pause;
        if !pause {
            self.pass();
        }
    }

    /// Lets what is there pass.
    pub fn pass(&mut self) {
        self.paused = false;
        let bytes = self.buffer.take().unwrap_or_default();
        self.passed.borrow_mut().extend(bytes);
    }
}

/// A connection, as its context sees it.
#[derive(Debug, Default)]
pub struct Connection {
    /// From the client to the service.
    pub downstream: Direction,
    /// From the service to the client.
    pub upstream: Direction,
    /// Whether the bytes go on without the module when its virtual machine
    /// failed.
    pub passes_when_failed: bool,
    /// Attributes that a test or the plugin set, by path with zero bytes between
    /// its parts.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether it is over; the test's handle keeps it.
    pub ended: Rc<Cell<bool>>,
}

impl Connection {
    /// The attribute at `path`.
    ///
    /// # Errors
    ///
    /// [`Status::NOT_FOUND`] if there is none.
    pub fn attribute(&self, path: &[u8]) -> Result<Vec<u8>, Status> {
        let set = self.attributes.get(path).cloned();
        let path = path.strip_suffix(b"\0").unwrap_or(path);
        let value = set.or_else(|| connection_attribute(path));
        value.ok_or(Status::NOT_FOUND)
    }
}

/// What holds for every connection of a test, HTTP or not: it is the first, it
/// comes from the same client, and it is not encrypted.
#[must_use]
pub fn connection_attribute(path: &[u8]) -> Option<Vec<u8>> {
    match path {
        b"connection\0id" | b"connection_id" => Some(1_u64.to_le_bytes().to_vec()),
        b"connection\0mtls" => Some(vec![0]),
        b"source\0address" => Some(b"127.0.0.1:50000".to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Direction;

    #[test]
    fn what_is_held_back_is_seen_again_with_what_follows() {
        let mut direction = Direction::default();
        assert_eq!(direction.arrive(b"one"), 3);
        direction.decide(true);
        assert_eq!(direction.arrive(b"two"), 6);
        assert_eq!(*direction.passed.borrow(), b"");
        direction.decide(false);
        assert_eq!(*direction.passed.borrow(), b"onetwo");
        assert_eq!(direction.arrive(b"three"), 5);
    }
}
