//! The four demo services.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::artefact;
use crate::client::get;
use crate::film::Film;
use crate::port::Port;
use crate::room::Room;
use crate::until::until;

/// The services' names, in the order of their shipped ports.
pub const SERVICES: [&str; 4] = ["api", "discovery", "playback", "ingestion"];

/// What the services keep their data in, and what they have.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    /// `REDIS_URL`; without it the cache is in the process.
    pub redis: Option<String>,
    /// `DATABASE_URL`; without it SQLite.
    pub database: Option<String>,
    /// What the playback service plays; without it, nothing.
    pub film: Option<Film>,
}

/// The running demo services.
#[derive(Debug)]
pub struct Demo {
    ports: [Port; 4],
}

impl Demo {
    /// Starts all four in one process under the name `demo`, and waits until
    /// each answers.
    ///
    /// # Errors
    ///
    /// The program is missing or stale, or a service does not answer.
    pub async fn start(room: &mut Room, stores: &Stores) -> Result<Self> {
        let demo = Self {
            ports: [
                Port::reserve()?,
                Port::reserve()?,
                Port::reserve()?,
                Port::reserve()?,
            ],
        };
        let mut command = Command::new(artefact::demo()?);
        command.env_remove("REDIS_URL").env_remove("DATABASE_URL");
        for (service, port) in SERVICES.iter().zip(&demo.ports) {
            command.arg(format!("--listen-{service}={}", port.address()));
        }
        if let Some(url) = &stores.redis {
            command.env("REDIS_URL", url);
        }
        if let Some(url) = &stores.database {
            command.env("DATABASE_URL", url);
        }
        if let Some(film) = &stores.film {
            command.arg("--media").arg(film.folder());
            command.arg("--hls-js").arg(artefact::hls_js()?);
        }
        room.start("demo", &mut command)?;
        for address in demo.addresses() {
            until("a demo service answers", async || {
                room.process("demo")?.check_running()?;
                let answer = get(address, "/").await?;
                ensure!(!answer.status.is_server_error(), "{}", answer.status);
                Ok(())
            })
            .await?;
        }
        Ok(demo)
    }

    /// Where the services listen, in the order of [`SERVICES`].
    pub fn addresses(&self) -> [SocketAddr; 4] {
        self.ports.each_ref().map(Port::address)
    }
}
