//! Ports that belong to one test.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::net::TcpSocket;

/// A free loopback port. While this value lives the kernel gives the port to
/// nobody who asks for a free one, because a socket is bound to it; a program
/// that is told the number can listen on it nevertheless, because the socket
/// does not listen and allows the address to be reused, as all the programs
/// here do. Until one does, connections are refused.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _bound: TcpSocket,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Errors
    ///
    /// The machine has none left.
    pub fn reserve() -> Result<Self> {
        let bound = TcpSocket::new_v4()?;
        bound.set_reuseaddr(true)?;
        bound.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self {
            address: bound.local_addr()?,
            _bound: bound,
        })
    }

    /// `127.0.0.1` with this port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.address.port()
    }
}
