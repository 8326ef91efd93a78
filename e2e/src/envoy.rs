//! Envoy with the filter in it, in front of services of a test.
//!
//! A test says what is to be there and does not see the configuration that
//! comes of it. The ports are free ones, and only loopback.

mod config;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::config::{cluster, listener, socket_address};
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
    /// As HTTP filter, built as a native dynamic module.
    NativeModule,
    /// As access logger.
    AccessLogger,
}

/// One service: a listener of its own and a plugin configuration.
#[derive(Debug)]
pub struct Service {
    name: String,
    form: Form,
    vm_id: String,
    plugin: Value,
    as_struct: bool,
    scraped: bool,
    filters_before: Vec<Value>,
    filters_after: Vec<Value>,
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
            vm_id: name.to_owned(),
            plugin: json!({ "service": name, "exclude": ["/metrics"] }),
            as_struct: false,
            scraped: true,
            filters_before: Vec::new(),
            filters_after: Vec::new(),
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

    /// Sets the whole plugin configuration; text is handed over as it is.
    #[must_use]
    pub fn plugin_configuration(mut self, configuration: Value) -> Self {
        self.plugin = configuration;
        self
    }

    /// Runs in the virtual machines of this id, which services may share.
    #[must_use]
    pub fn vm_id(mut self, vm_id: &str) -> Self {
        vm_id.clone_into(&mut self.vm_id);
        self
    }

    /// Leaves out the route to the bridge, so that `/metrics` is as any path.
    #[must_use]
    pub fn not_scraped(mut self) -> Self {
        self.scraped = false;
        self
    }

    /// Adds an HTTP filter in front of ours.
    #[must_use]
    pub fn filter_before(mut self, filter: Value) -> Self {
        self.filters_before.push(filter);
        self
    }

    /// Adds an HTTP filter between ours and the router.
    #[must_use]
    pub fn filter_after(mut self, filter: Value) -> Self {
        self.filters_after.push(filter);
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
    clusters: Vec<Value>,
    watched: Option<PathBuf>,
    drain_seconds: u32,
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
            drain_seconds: 1,
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
        self.clusters.push(cluster(name, endpoint));
        self
    }

    /// Adds a cluster with one endpoint and more keys of Envoy's API, which
    /// replace those that it has.
    #[must_use]
    pub fn cluster_with(mut self, name: &str, endpoint: SocketAddr, keys: Value) -> Self {
        let mut cluster = cluster(name, endpoint);
        if let (Some(cluster), Value::Object(keys)) = (cluster.as_object_mut(), keys) {
            cluster.extend(keys);
        }
        self.clusters.push(cluster);
        self
    }

    /// How long the streams of a listener that was replaced may go on; 1 s if
    /// nothing is said.
    #[must_use]
    pub fn drain_seconds(mut self, seconds: u32) -> Self {
        self.drain_seconds = seconds;
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
        let filter = self.filter()?;
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
        let filter = self.filter()?;
        let text = serde_json::to_string_pretty(&self.bootstrap(&filter))?;
        validate(&room.write("validate.json", &text)?)
    }

    /// The proxy-wasm module; the native one must be there where it is used.
    fn filter(&self) -> Result<PathBuf> {
        let mut services = self.services.iter();
        if services.any(|service| service.form == Form::NativeModule) {
            artefact::native()?;
        }
        artefact::filter()
    }

    fn bootstrap(&self, filter: &Path) -> Value {
        let bridge = cluster("bridge", self.bridge.address());
        let clusters: Vec<_> = self.clusters.iter().chain([&bridge]).collect();
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
        let drain_seconds = self.setup.drain_seconds;
        run_draining(room, &self.config, self.admin(), drain_seconds).await
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
        self.write()
    }

    /// Sets the whole plugin configuration of one service while Envoy runs,
    /// which must be [`Setup::watching`]; gives the one before.
    ///
    /// # Errors
    ///
    /// It watches no file, or there is no such service.
    pub fn replace(&mut self, name: &str, configuration: Value) -> Result<Value> {
        let mut services = self.setup.services.iter_mut();
        let service = services.find(|service| service.name == name);
        let service = service.with_context(|| format!("no service is named {name}"))?;
        let before = std::mem::replace(&mut service.plugin, configuration);
        self.write()?;
        Ok(before)
    }

    fn write(&self) -> Result<()> {
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
    run_draining(room, config, admin, 1).await
}

async fn run_draining(
    room: &mut Room,
    config: &Path,
    admin: SocketAddr,
    drain_seconds: u32,
) -> Result<()> {
    let mut command = Command::new(artefact::tool("envoy")?);
    command
        .arg("--config-path")
        .arg(config)
        .args(["--concurrency", "2", "--disable-hot-restart"])
        .args(["--log-level", "warning"])
        // Old listeners are gone so long after their replacement.
        .args(["--drain-time-s", &drain_seconds.to_string()])
        // Relative file names in a shipped configuration start there.
        .current_dir(artefact::workspace());
    room.start("envoy", &mut command)?;
    until("Envoy is ready", async || {
        // One that ended is not going to be ready.
        if let Err(ended) = room.process("envoy")?.check_running() {
            return Ok(Err(ended));
        }
        let ready = get(admin, "/ready").await?;
        ensure!(ready.status.is_success(), "{}", ready.text()?);
        // Each worker has all listeners.
        let started = stat(admin, "listener_manager.workers_started").await?;
        ensure!(started == 1, "the workers have not started");
        Ok(Ok(()))
    })
    .await?
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
