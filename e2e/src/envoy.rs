//! Envoy with the filter in it, in front of services of a test.
//!
//! The configuration has the shape of the one that ships: the filter first in
//! the chain, the stat prefix named after the service, `/metrics` routed to
//! the bridge with the header that marks a scrape, a client's own
//! `x-envoy-original-path` and signal headers removed, and loggers for what no
//! filter sees. What else the shipped one does to paths and client addresses is
//! left out here, so that nothing hides a mistake. It is written as JSON, which
//! Envoy reads as well as YAML.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::artefact;
use crate::client::get;
use crate::port::Port;
use crate::room::Room;
use crate::until::until;

/// How the module is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As HTTP filter.
    HttpFilter,
    /// As access logger.
    AccessLogger,
}

/// One service: a listener of its own and a plugin configuration.
#[derive(Debug)]
pub struct Service {
    name: String,
    form: Form,
    plugin: Value,
    as_struct: bool,
    routes: Vec<Value>,
    port: Port,
}

impl Service {
    /// A service measured by the HTTP filter, with nothing configured but its
    /// name and that scrapes are not counted.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub fn new(name: &str) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            form: Form::HttpFilter,
            plugin: json!({ "service": name, "exclude": ["/metrics"] }),
            as_struct: false,
            routes: Vec::new(),
            port: Port::reserve()?,
        })
    }

    /// Loads the module in another form.
    #[must_use]
    pub fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    /// Adds a key to the plugin configuration.
    #[must_use]
    pub fn plugin(mut self, key: &str, value: Value) -> Self {
        self.plugin[key] = value;
        self
    }

    /// Hands the plugin configuration over as a Struct, not as JSON text.
    #[must_use]
    pub fn as_struct(mut self) -> Self {
        self.as_struct = true;
        self
    }

    /// Adds a route of Envoy's API.
    #[must_use]
    pub fn route(mut self, route: Value) -> Self {
        self.routes.push(route);
        self
    }

    /// Sends what starts with `prefix` to a cluster.
    #[must_use]
    pub fn to_cluster(self, prefix: &str, cluster: &str) -> Self {
        self.route(json!({
            "match": { "prefix": prefix },
            "route": { "cluster": cluster, "timeout": "0s" },
        }))
    }
}

/// What is to be started.
#[derive(Debug)]
pub struct Setup {
    admin: Port,
    bridge: Port,
    services: Vec<Service>,
    clusters: Vec<(String, SocketAddr)>,
    watched: Option<PathBuf>,
}

impl Setup {
    /// Envoy without services.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub fn new() -> Result<Self> {
        Ok(Self {
            admin: Port::reserve()?,
            bridge: Port::reserve()?,
            services: Vec::new(),
            clusters: Vec::new(),
            watched: None,
        })
    }

    /// Adds a service.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// Adds a cluster with one endpoint.
    #[must_use]
    pub fn cluster(mut self, name: &str, endpoint: SocketAddr) -> Self {
        self.clusters.push((name.to_owned(), endpoint));
        self
    }

    /// Has Envoy read its listeners from a file that it watches, so that
    /// [`Envoy::update`] can change them while it runs.
    #[must_use]
    pub fn watching(mut self, file: PathBuf) -> Self {
        self.watched = Some(file);
        self
    }

    /// Starts Envoy under the name `envoy` and waits until it is ready.
    ///
    /// # Errors
    ///
    /// Envoy or the filter is missing, or Envoy refuses the configuration.
    pub async fn start(self, room: &mut Room) -> Result<Envoy> {
        let filter = artefact::filter()?;
        let text = serde_json::to_string_pretty(&self.bootstrap(&filter))?;
        let config = room.write("envoy.json", &text)?;
        if let Some(file) = &self.watched {
            self.write_listeners(file, &filter)?;
        }
        let envoy = Envoy {
            setup: self,
            config,
        };
        envoy.run(room).await?;
        Ok(envoy)
    }

    /// Has Envoy check the configuration only, as an operator would before a
    /// change. Gives its exit status and what it wrote.
    ///
    /// # Errors
    ///
    /// Envoy or the filter is missing.
    pub fn validate(&self, room: &Room) -> Result<Output> {
        let filter = artefact::filter()?;
        let text = serde_json::to_string_pretty(&self.bootstrap(&filter))?;
        validate(&room.write("validate.json", &text)?)
    }

    fn bootstrap(&self, filter: &Path) -> Value {
        let bridge = ("bridge".to_owned(), self.bridge.address());
        let clusters: Vec<_> = self
            .clusters
            .iter()
            .chain([&bridge])
            .map(|(name, endpoint)| cluster(name, *endpoint))
            .collect();
        let mut bootstrap = json!({
            "node": { "id": "gatemeter", "cluster": "gatemeter" },
            "admin": { "address": socket_address(self.admin.address()) },
            "static_resources": { "clusters": clusters },
        });
        if let Some(file) = &self.watched {
            bootstrap["dynamic_resources"] = json!({
                "lds_config": { "path_config_source": { "path": file } },
            });
        } else {
            bootstrap["static_resources"]["listeners"] = json!(self.listeners(filter));
        }
        bootstrap
    }

    fn listeners(&self, filter: &Path) -> Vec<Value> {
        let services = self.services.iter();
        services.map(|service| listener(service, filter)).collect()
    }

    /// Puts the listeners in place at once, as Envoy's watch wants it.
    fn write_listeners(&self, file: &Path, filter: &Path) -> Result<()> {
        let mut resources = self.listeners(filter);
        for listener in &mut resources {
            listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
        }
        let new = file.with_extension("new");
        std::fs::write(&new, json!({ "resources": resources }).to_string())?;
        std::fs::rename(&new, file)?;
        Ok(())
    }
}

/// An Envoy that was started in a room.
#[derive(Debug)]
pub struct Envoy {
    setup: Setup,
    config: PathBuf,
}

impl Envoy {
    /// Starts it again after it was stopped, at the same addresses.
    ///
    /// # Errors
    ///
    /// It does not become ready.
    pub async fn run(&self, room: &mut Room) -> Result<()> {
        run(room, &self.config, self.admin()).await
    }

    /// Sets a key of all plugin configurations while Envoy runs, which must
    /// be [`Setup::watching`].
    ///
    /// # Errors
    ///
    /// It watches no file.
    pub fn update(&mut self, key: &str, value: &Value) -> Result<()> {
        for service in &mut self.setup.services {
            service.plugin[key] = value.clone();
        }
        let file = self.setup.watched.as_ref().context("no file is watched")?;
        self.setup.write_listeners(file, &artefact::filter()?)
    }

    /// Its admin interface.
    pub fn admin(&self) -> SocketAddr {
        self.setup.admin.address()
    }

    /// Where its `/metrics` routes expect the bridge.
    pub fn bridge(&self) -> SocketAddr {
        self.setup.bridge.address()
    }

    /// The listener of a service.
    ///
    /// # Errors
    ///
    /// There is no such service.
    pub fn service(&self, name: &str) -> Result<SocketAddr> {
        self.setup
            .services
            .iter()
            .find(|service| service.name == name)
            .map(|service| service.port.address())
            .with_context(|| format!("no service is named {name}"))
    }
}

/// Envoy's own counter or gauge of this name.
///
/// # Errors
///
/// The admin interface does not answer or has no such stat.
pub async fn stat(admin: SocketAddr, name: &str) -> Result<u64> {
    let page = get(admin, "/stats").await?;
    let stat = format!("{name}: ");
    let value = page
        .text()?
        .lines()
        .find_map(|line| line.strip_prefix(&stat))
        .with_context(|| format!("Envoy has no {stat}"))?;
    Ok(value.parse()?)
}

/// Starts Envoy with a configuration file and waits until it is ready.
///
/// # Errors
///
/// It does not become ready.
pub async fn run(room: &mut Room, config: &Path, admin: SocketAddr) -> Result<()> {
    let mut command = Command::new(artefact::tool("envoy")?);
    command
        .arg("--config-path")
        .arg(config)
        .args(["--concurrency", "2", "--disable-hot-restart"])
        .args(["--log-level", "warning"])
        // Old listeners are gone a second after their replacement.
        .args(["--drain-time-s", "1"])
        // Relative file names in a shipped configuration start there.
        .current_dir(artefact::workspace());
    room.start("envoy", &mut command)?;
    until("Envoy is ready", async || {
        room.process("envoy")?.check_running()?;
        let ready = get(admin, "/ready").await?;
        ensure!(ready.status.is_success(), "{}", ready.text()?);
        Ok(())
    })
    .await
}

/// Has Envoy check a configuration file only.
///
/// # Errors
///
/// Envoy is missing.
pub fn validate(config: &Path) -> Result<Output> {
    let output = Command::new(artefact::tool("envoy")?)
        .arg("--config-path")
        .arg(config)
        .args(["--mode", "validate", "--disable-hot-restart"])
        .args(["--log-level", "warning"])
        .current_dir(artefact::workspace())
        .output()?;
    Ok(output)
}

fn listener(service: &Service, filter: &Path) -> Value {
    let connection_manager = connection_manager(service, filter);
    json!({
        "name": service.name,
        "address": socket_address(service.port.address()),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": connection_manager,
        }]}],
    })
}

fn connection_manager(service: &Service, filter: &Path) -> Value {
    let mut http_filters = Vec::new();
    let mut access_log = Vec::new();
    match service.form {
        Form::HttpFilter => {
            http_filters.push(json!({
                "name": "gatemeter",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                    "config": plugin(service, filter),
                },
            }));
            access_log.push(unparsed_logger(&service.name));
            access_log.push(cut_by_client_logger(&service.name));
        }
        Form::AccessLogger => access_log.push(json!({
            "name": "envoy.access_loggers.wasm",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.wasm.v3.WasmAccessLog",
                "config": plugin(service, filter),
            },
        })),
    }
    http_filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        },
    }));
    let mut routes = vec![metrics_route(&service.name)];
    for route in &service.routes {
        let mut route = route.clone();
        route["request_headers_to_remove"] = json!(SIGNALS);
        routes.push(route);
    }
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": service.name,
        "codec_type": "AUTO",
        // From the first byte of a request to the end of its headers.
        "request_headers_timeout": "1s",
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "early_header_mutation_extensions": [{
            "name": "envoy.http.early_header_mutation.header_mutation",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                "mutations": [{ "remove": "x-envoy-original-path" }],
            },
        }],
        "route_config": {
            "virtual_hosts": [{
                "name": service.name,
                "domains": ["*"],
                "routes": routes,
            }],
        },
        "http_filters": http_filters,
        "access_log": access_log,
    })
}

/// Headers that only a service, or the route to the bridge, may set.
const SIGNALS: [&str; 4] = [
    "cache-status",
    "server-timing",
    "x-db-pool",
    "x-gatemeter-scrape",
];

fn plugin(service: &Service, filter: &Path) -> Value {
    let (kind, value) = if service.as_struct {
        ("Struct", service.plugin.clone())
    } else {
        ("StringValue", Value::from(service.plugin.to_string()))
    };
    json!({
        "name": format!("gatemeter-{}", service.name),
        "root_id": "",
        "vm_config": {
            "vm_id": service.name,
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": filter } },
        },
        "configuration": {
            "@type": format!("type.googleapis.com/google.protobuf.{kind}"),
            "value": value,
        },
        "failure_policy": "FAIL_RELOAD",
    })
}

/// Counts the requests that reach no filter: those that ended with neither a
/// status nor a method. The module as access logger counts them itself.
fn unparsed_logger(service: &str) -> Value {
    let no_status = json!({ "status_code_filter": { "comparison": {
        "op": "EQ",
        "value": { "default_value": 0, "runtime_key": "gatemeter.no_status" },
    }}});
    let no_method = json!({ "header_filter": {
        "header": { "name": ":method", "present_match": false },
    }});
    stats_logger(
        &format!("gatemeter_unparsed_requests_total.service={service}"),
        &[no_status, no_method],
    )
}

/// Counts the responses that the client cut after their headers.
fn cut_by_client_logger(service: &str) -> Value {
    let status = json!({ "status_code_filter": { "comparison": {
        "op": "GE",
        "value": { "default_value": 200, "runtime_key": "gatemeter.least_status" },
    }}});
    let client_gone = json!({ "response_flag_filter": { "flags": ["DC", "DR"] } });
    stats_logger(
        &format!("http_responses_incomplete_total.service={service}.reason=downstream_reset"),
        &[status, client_gone],
    )
}

fn stats_logger(stat: &str, filters: &[Value]) -> Value {
    json!({
        "name": "envoy.access_loggers.stats",
        "filter": { "and_filter": { "filters": filters } },
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config",
            "stats_scope": { "prefix": "wasmcustom" },
            "counters": [{ "stat": { "name": stat }, "value_fixed": 1 }],
        },
    })
}

fn metrics_route(service: &str) -> Value {
    json!({
        "match": { "path": "/metrics" },
        "route": { "cluster": "bridge", "prefix_rewrite": format!("/metrics/{service}") },
        "request_headers_to_add": [{
            "header": { "key": "x-gatemeter-scrape", "value": service },
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }],
    })
}

fn cluster(name: &str, endpoint: SocketAddr) -> Value {
    json!({
        "name": name,
        "connect_timeout": "1s",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{
                "endpoint": { "address": socket_address(endpoint) },
            }]}],
        },
    })
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": {
        "address": address.ip().to_string(),
        "port_value": address.port(),
    }})
}
