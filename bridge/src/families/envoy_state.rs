//! What Envoy says of itself and of the virtual machines that run the filter.

use std::{collections::BTreeMap, sync::Arc};

/// Envoy's own stats that tell of its health; what it did not say is `None` or
/// absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvoyState {
    /// `server.uptime`: seconds since its start.
    pub uptime_seconds: Option<u64>,
    /// `wasm.<plugin>.vm_reload_<result>`: how often a machine was started
    /// anew after the plugin had trapped, by plugin and result (`success`,
    /// `failure` or `backoff`, which is a start put off).
    pub vm_reloads: BTreeMap<(Arc<str>, &'static str), u64>,
    /// `wasm.wasm_vm_count`: machines there are now, of all plugins.
    pub vms_active: Option<u64>,
    /// `wasm.envoy.wasm.runtime.*.created`: machines made since the start, of
    /// all plugins and runtimes.
    pub vms_created: Option<u64>,
}
