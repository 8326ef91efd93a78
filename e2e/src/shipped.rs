//! The setup that ships, on free ports: `envoy/envoy.yaml` and
//! `prometheus.yml` as they are, but for the port numbers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::artefact::{self, workspace};
use crate::bridge::Bridge;
use crate::demo::{Demo, SERVICES, Stores};
use crate::envoy;
use crate::port::Port;
use crate::room::Room;
use crate::shown;

/// First port of the four listeners.
const LISTENERS: u16 = 8080;
/// First port of the four services.
const UPSTREAMS: u16 = 9080;
const ADMIN: u16 = 9901;
const BRIDGE: u16 = 9464;

/// Demo services, Envoy and bridge, all running.
#[derive(Debug)]
pub struct Shipped {
    listeners: Vec<Port>,
    admin: Port,
    bridge: Bridge,
    bridge_port: Port,
    _demo: Demo,
}

impl Shipped {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// One does not start, or the configuration does not name a shipped port.
    pub async fn start(room: &mut Room) -> Result<Self> {
        Self::start_with(room, |envoy| envoy).await
    }

    /// Starts them with a change to the text of `envoy/envoy.yaml`.
    ///
    /// # Errors
    ///
    /// One does not start, or the configuration does not name a shipped port.
    pub async fn start_with(room: &mut Room, change: fn(String) -> String) -> Result<Self> {
        let demo = Demo::start(room, &Stores::default()).await?;
        let listeners = (0..SERVICES.len())
            .map(|_| Port::reserve())
            .collect::<Result<Vec<_>>>()?;
        let (admin, bridge_port) = (Port::reserve()?, Port::reserve()?);
        let mut ports = vec![(ADMIN, admin.number()), (BRIDGE, bridge_port.number())];
        for (index, (listener, upstream)) in (0..).zip(listeners.iter().zip(demo.addresses())) {
            ports.push((LISTENERS + index, listener.number()));
            ports.push((UPSTREAMS + index, upstream.port()));
        }
        let config = moved(room, "envoy/envoy.yaml", "port_value: ", &ports)?;
        std::fs::write(&config, change(std::fs::read_to_string(&config)?))?;
        envoy::run(room, &config, admin.address()).await?;
        let bridge = Bridge::start(room, admin.address(), bridge_port.address()).await?;
        Ok(Self {
            listeners,
            admin,
            bridge,
            bridge_port,
            _demo: demo,
        })
    }

    /// The listener of a service.
    ///
    /// # Errors
    ///
    /// There is no such service.
    pub fn listener(&self, service: &str) -> Result<SocketAddr> {
        let index = SERVICES.iter().position(|name| *name == service);
        let port = index.and_then(|index| self.listeners.get(index));
        Ok(port
            .with_context(|| format!("no service is named {service}"))?
            .address())
    }

    /// Envoy's admin interface.
    pub fn admin(&self) -> SocketAddr {
        self.admin.address()
    }

    /// The bridge.
    pub fn bridge(&self) -> Bridge {
        self.bridge
    }

    /// `prometheus.yml` for this setup with its rules, scraping and evaluating
    /// every second.
    ///
    /// # Errors
    ///
    /// The file does not name a shipped port, or a file of rules cannot be read.
    pub fn prometheus_config(&self, room: &Room) -> Result<PathBuf> {
        let mut ports = vec![(BRIDGE, self.bridge_port.number())];
        for (index, listener) in (0..).zip(&self.listeners) {
            ports.push((LISTENERS + index, listener.number()));
        }
        let config = moved(room, "prometheus.yml", "localhost:", &ports)?;
        let text = std::fs::read_to_string(&config)?;
        let text = text.replace("scrape_interval: 15s", "scrape_interval: 1s");
        std::fs::write(
            &config,
            format!("global: {{evaluation_interval: 1s}}\n{text}"),
        )?;
        let rules = room.path("prometheus/rules");
        std::fs::create_dir_all(&rules)?;
        for file in shown::rule_files()? {
            let text = std::fs::read_to_string(&file)?;
            let name = file.file_name().context("no file name")?;
            // A group that has an interval of its own waits no longer than the others.
            let lines = text
                .lines()
                .filter(|line| !line.starts_with("  interval: "));
            std::fs::write(rules.join(name), lines.collect::<Vec<_>>().join("\n"))?;
        }
        Ok(config)
    }

    /// The demo's clients and players, under the name `traffic`, until the room
    /// is closed.
    ///
    /// # Errors
    ///
    /// The program is missing or stale.
    pub fn traffic(&self, room: &mut Room, requests_per_second: u32) -> Result<()> {
        let mut command = Command::new(artefact::demo()?);
        command.arg("traffic");
        command.arg(format!("--requests-per-second={requests_per_second}"));
        for (service, listener) in SERVICES.iter().zip(&self.listeners) {
            command.arg(format!("--{service}={}", listener.address()));
        }
        room.start("traffic", &mut command)?;
        Ok(())
    }
}

/// A copy of a shipped file in which each old port after `prefix` is the new
/// one.
fn moved(room: &Room, file: &str, prefix: &str, ports: &[(u16, u16)]) -> Result<PathBuf> {
    let source = workspace().join(file);
    let mut text = std::fs::read_to_string(&source)
        .with_context(|| format!("cannot read {}", source.display()))?;
    // By way of names, so that no new port is taken for an old one.
    for (old, _) in ports {
        let named = text.replace(&format!("{prefix}{old}"), &format!("{prefix}<{old}>"));
        ensure!(named != text, "{file} does not say {prefix}{old}");
        text = named;
    }
    for (old, new) in ports {
        text = text.replace(&format!("{prefix}<{old}>"), &format!("{prefix}{new}"));
    }
    let name = Path::new(file).file_name().context("no file name")?;
    room.write(&name.to_string_lossy(), &text)
}
