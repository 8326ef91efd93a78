//! What all scenarios of a run share: one Envoy with a listener for each, one
//! bridge, one service. A scenario whose configuration is to be refused has no
//! listener; Envoy only checks it.

use std::collections::BTreeMap;

use anyhow::Result;
use gatemeter_scenarios::proxy::RunError;
use gatemeter_scenarios::scenario::Scenario;
use serde_json::json;
use tokio::runtime::Runtime;

use super::{EnvoyProxy, broken, listener, service};
use crate::bridge::Bridge;
use crate::envoy::{Envoy, Form, Setup};
use crate::port::Port;
use crate::room::Room;

/// Envoy, bridge and service for a list of scenarios.
#[derive(Debug)]
pub struct Stage {
    // Stopped first: what runs on it works with the rest.
    pub(super) runtime: Runtime,
    room: Room,
    pub(super) service: service::Service,
    pub(super) envoy: Envoy,
    pub(super) bridge: Bridge,
    filter: Form,
    /// Nobody listens there.
    _refusing: Port,
}

impl Stage {
    /// Starts everything, with a listener for each scenario whose configuration
    /// is to be taken. `filter` is how the filter is loaded, where a scenario is
    /// of that form.
    ///
    /// # Errors
    ///
    /// Something does not start.
    pub fn set<'s>(
        filter: Form,
        scenarios: impl IntoIterator<Item = (&'s str, &'s Scenario)>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let mut room = Room::open()?;
        let service = runtime.block_on(service::Service::start())?;
        let refusing = Port::reserve()?;
        let http2 = json!({ "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        }});
        let empty = json!({ "load_assignment": {
            "cluster_name": listener::EMPTY,
            "endpoints": [],
        }});
        let full = json!({ "circuit_breakers": { "thresholds": [{ "max_requests": 0 }] } });
        let mut setup = Setup::new()?
            .watching(room.path("listeners.json"))
            // The streams of a scenario that reconfigures are to go on.
            .drain_seconds(600)
            .cluster(listener::HTTP1, service.http1())
            .cluster_with(listener::HTTP2, service.http2(), http2)
            .cluster(listener::REFUSING, refusing.address())
            .cluster_with(listener::EMPTY, service.http1(), empty)
            .cluster_with(listener::FULL, service.http1(), full);
        for (name, scenario) in scenarios {
            if scenario.expect.refused.is_none() {
                setup = setup.service(listener::service(scenario, name, filter)?);
            }
        }
        let (envoy, bridge) = runtime.block_on(async {
            let envoy = setup.start(&mut room).await?;
            let bridge = Bridge::start(&mut room, envoy.admin(), envoy.bridge()).await?;
            anyhow::Ok((envoy, bridge))
        })?;
        Ok(Self {
            runtime,
            room,
            service,
            envoy,
            bridge,
            filter,
            _refusing: refusing,
        })
    }

    /// The proxy for the scenario of this name.
    ///
    /// # Errors
    ///
    /// Envoy refuses the configuration, or has no listener for it.
    pub fn proxy<'s>(
        &'s mut self,
        name: &'s str,
        scenario: &'s Scenario,
    ) -> Result<EnvoyProxy<'s>, RunError> {
        if scenario.expect.refused.is_some() {
            self.validate(name, scenario)?;
        }
        let address = self.envoy.service(name).map_err(broken)?;
        let logged = self.log().len();
        Ok(EnvoyProxy {
            stage: self,
            scenario,
            name,
            address,
            logged,
            open: BTreeMap::new(),
            left: Vec::new(),
            got: BTreeMap::new(),
        })
    }

    /// Stops everything.
    ///
    /// # Errors
    ///
    /// A process ended by itself, or a module failed otherwise than by refusing
    /// a configuration that it was to refuse.
    pub fn close(self) -> Result<()> {
        let told = |line: &str| NOT_LOADED.iter().any(|part| line.contains(part));
        self.room
            .close_despite(|line| line.contains(REFUSED) || told(line))
    }

    /// Has Envoy check the configuration only; it would not start with it.
    fn validate(&self, name: &str, scenario: &Scenario) -> Result<(), RunError> {
        let setup = || {
            Setup::new()?
                .service(listener::service(scenario, name, self.filter)?)
                .validate(&self.room)
        };
        let output = setup().map_err(broken)?;
        if output.status.success() {
            return Ok(());
        }
        Err(RunError::Refused(refusals(&String::from_utf8_lossy(
            &output.stderr,
        ))))
    }

    /// All that Envoy logged so far.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.room.path("envoy.log")).unwrap_or_default()
    }
}

/// What the filter logs when it refuses its configuration.
const REFUSED: &str = "configuration refused";

/// What Envoy then logs besides.
const NOT_LOADED: [&str; 3] = [
    "Failed to configure base Wasm plugin",
    "failed to load",
    "Failed to initialize dynamic module",
];

/// The lines in which the filter refuses its configuration.
pub(super) fn refusals(log: &str) -> String {
    let lines = log.lines().filter(|line| line.contains(REFUSED));
    lines.collect::<Vec<_>>().join("\n")
}
