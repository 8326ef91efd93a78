//! The real bridge.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::artefact;
use crate::client::get;
use crate::page::Page;
use crate::room::Room;
use crate::until::until;

/// A running bridge.
#[derive(Clone, Copy, Debug)]
pub struct Bridge {
    address: SocketAddr,
}

impl Bridge {
    /// Starts the bridge of the Envoy with this admin interface under the name
    /// `bridge`, and waits until it answers.
    ///
    /// # Errors
    ///
    /// It is missing or stale, or it does not answer.
    pub async fn start(room: &mut Room, admin: SocketAddr, address: SocketAddr) -> Result<Self> {
        Self::configured(room, admin, address, None).await
    }

    /// The same with a configuration file, of which the addresses are not read.
    ///
    /// # Errors
    ///
    /// As [`Self::start`], or it refuses the file.
    pub async fn configured(
        room: &mut Room,
        admin: SocketAddr,
        address: SocketAddr,
        config: Option<&Path>,
    ) -> Result<Self> {
        let mut command = Command::new(artefact::bridge()?);
        command
            .arg(format!("--envoy.admin=http://{admin}"))
            .arg(format!("--web.listen-address={address}"));
        if let Some(config) = config {
            command.arg(format!("--config.file={}", config.display()));
        }
        room.start("bridge", &mut command)?;
        until("the bridge is healthy", async || {
            room.process("bridge")?.check_running()?;
            let healthy = get(address, "/-/healthy").await?;
            ensure!(healthy.status.is_success(), "{}", healthy.status);
            Ok(())
        })
        .await?;
        Ok(Self { address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The page of all services.
    ///
    /// # Errors
    ///
    /// It is not answered 200 or cannot be parsed.
    pub async fn page(&self) -> Result<Page> {
        page(self.address, "/metrics").await
    }
}

/// A metrics page, from the bridge or through Envoy's route.
///
/// # Errors
///
/// It is not answered 200 or cannot be parsed.
pub async fn page(address: SocketAddr, path: &str) -> Result<Page> {
    let answer = get(address, path).await?;
    ensure!(
        answer.status == 200,
        "{path} was answered {}: {}",
        answer.status,
        answer.text()?
    );
    Page::parse(answer.text()?)
}
