//! What a virtual machine is called and given, and what it may call: the
//! capabilities of its settings at any time (`WasmBase::capabilityAllowed` of
//! proxy-wasm-cpp-host), and the little that Envoy lets a module call while it
//! initialises or allocates.

use std::collections::BTreeSet;

/// What a virtual machine is called and given. Two plugins with the same
/// settings and the same code share one in each thread (Envoy's `makeVmKey`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VmSettings {
    /// The id under which virtual machines share data.
    pub vm_id: String,
    /// The configuration of the virtual machine.
    pub vm_configuration: Vec<u8>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// The only host calls and callbacks that work, by their names in the ABI;
    /// empty for all.
    pub capabilities: BTreeSet<String>,
}

impl VmSettings {
    /// Whether a capability may be used (`WasmBase::capabilityAllowed`).
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.capabilities.is_empty() || self.capabilities.contains(name)
    }
}

/// The time in which a module may call few host functions only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// While it initialises.
    Initializing,
    /// While it allocates memory for the host.
    Allocating,
}

impl Restriction {
    /// Whether the host call `call` may be made meanwhile.
    #[must_use]
    pub fn allows(self, call: &str) -> bool {
        match self {
            // Envoy lists what is allowed, nearly all of WASI
            // (proxy-wasm-cpp-host, `WasmBase::startVm`).
            Self::Initializing => {
                let refused = [
                    "fd_close",
                    "fd_read",
                    "fd_seek",
                    "path_open",
                    "proc_exit",
                    "sched_yield",
                ];
                call == "proxy_log" || !(call.starts_with("proxy_") || refused.contains(&call))
            }
            Self::Allocating => {
                ["proxy_log", "fd_write", "clock_time_get", "poll_oneoff"].contains(&call)
            }
        }
    }
}
