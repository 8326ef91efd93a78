//! An Envoy as somebody may have it, with what `docs/getting-started.md` tells
//! them to add. Tests change one thing and see what comes of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::artefact;
use crate::bridge::Bridge;
use crate::document;
use crate::envoy;
use crate::port::Port;
use crate::room::Room;
use crate::upstream::Upstream;

/// The connection manager in the configuration.
const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

/// What the first filter of the first listener is configured with, here and in the
/// configuration that ships.
pub const PLUGIN: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config\
                          /http_filters/0/typed_config/config";

/// The configuration, what answers behind it, and the ports it names.
#[derive(Debug)]
pub struct Example {
    /// Envoy's configuration, for a test to change before the start.
    pub config: Value,
    /// The bridge's configuration, none where it is null.
    pub bridge_config: Value,
    listener: Port,
    admin: Port,
    bridge: Port,
    _upstream: Upstream,
}

impl Example {
    /// An Envoy in front of one service, without anything of ours.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub async fn without_us() -> Result<Self> {
        let (listener, admin) = (Port::reserve()?, Port::reserve()?);
        let upstream = Upstream::start().await?;
        let socket = |address: SocketAddr| {
            json!({ "socket_address": {
                "address": address.ip().to_string(), "port_value": address.port(),
            }})
        };
        let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "ingress_http",
            "route_config": { "virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } }],
            }]},
            "http_filters": [{
                "name": "envoy.filters.http.router", "typed_config": { "@type": router },
            }],
        });
        let config = json!({
            "admin": { "address": socket(admin.address()) },
            "static_resources": {
                "listeners": [{
                    "name": "web",
                    "address": socket(listener.address()),
                    "filter_chains": [{ "filters": [{
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }]}],
                }],
                "clusters": [{
                    "name": "upstream", "type": "STATIC", "connect_timeout": "1s",
                    "load_assignment": { "cluster_name": "upstream", "endpoints": [{
                        "lb_endpoints": [{ "endpoint": { "address": socket(upstream.address()) } }],
                    }]},
                }],
            },
        });
        Ok(Self {
            config,
            bridge_config: Value::Null,
            listener,
            admin,
            bridge: Port::reserve()?,
            _upstream: upstream,
        })
    }

    /// The same with the lines of the document.
    ///
    /// # Errors
    ///
    /// No port is free, or the document is not as it is read here.
    pub async fn measured() -> Result<Self> {
        let mut example = Self::without_us().await?;
        let section = document::section("docs/getting-started.md", "An Envoy that you have")?;
        let lines = document::yaml(&section)?.swap_remove(0);
        example.manager()?["stat_prefix"] = lines["stat_prefix"].clone();
        let filters = lines["http_filters"].as_array().context("no filters")?;
        for (place, filter) in filters.iter().enumerate() {
            example.add_filter(place, filter.clone())?;
        }
        example.plugin()?["vm_config"]["code"]["local"]["filename"] = json!(artefact::filter()?);
        Ok(example)
    }

    /// The connection manager, for a test to change.
    ///
    /// # Errors
    ///
    /// A test took it away.
    pub fn manager(&mut self) -> Result<&mut Value> {
        self.config.pointer_mut(MANAGER).context("no manager")
    }

    /// Puts a filter at a place of the chain.
    ///
    /// # Errors
    ///
    /// There is no chain.
    pub fn add_filter(&mut self, place: usize, filter: Value) -> Result<()> {
        let filters = self.manager()?["http_filters"].as_array_mut();
        filters.context("no filters")?.insert(place, filter);
        Ok(())
    }

    /// The first filter's `config`: name, configuration and virtual machine.
    ///
    /// # Errors
    ///
    /// The first filter is none of ours.
    pub fn plugin(&mut self) -> Result<&mut Value> {
        self.config.pointer_mut(PLUGIN).context("no plugin")
    }

    /// Sets the text of the plugin configuration.
    ///
    /// # Errors
    ///
    /// As [`Self::plugin`].
    pub fn configure(&mut self, configuration: &Value) -> Result<()> {
        self.plugin()?["configuration"]["value"] = json!(configuration.to_string());
        Ok(())
    }

    fn write(&self, room: &Room) -> Result<PathBuf> {
        room.write("envoy.json", &serde_json::to_string_pretty(&self.config)?)
    }

    /// Has Envoy check the configuration only.
    ///
    /// # Errors
    ///
    /// Envoy is missing.
    pub fn validate(&self, room: &Room) -> Result<Output> {
        envoy::validate(&self.write(room)?)
    }

    /// Starts Envoy and a bridge that reads it.
    ///
    /// # Errors
    ///
    /// One does not become ready.
    pub async fn start(&self, room: &mut Room) -> Result<Bridge> {
        self.start_reading(room, self.admin()).await
    }

    /// Starts Envoy and a bridge that reads what is at another address.
    ///
    /// # Errors
    ///
    /// One does not become ready.
    pub async fn start_reading(&self, room: &mut Room, admin: SocketAddr) -> Result<Bridge> {
        envoy::run(room, &self.write(room)?, self.admin()).await?;
        let config = match &self.bridge_config {
            Value::Null => None,
            // What is JSON is YAML.
            config => Some(room.write("bridge.yml", &config.to_string())?),
        };
        Bridge::configured(room, admin, self.bridge(), config.as_deref()).await
    }

    /// Envoy's admin interface.
    pub fn admin(&self) -> SocketAddr {
        self.admin.address()
    }

    /// What clients use.
    pub fn listener(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Where the bridge is going to be.
    pub fn bridge(&self) -> SocketAddr {
        self.bridge.address()
    }
}
