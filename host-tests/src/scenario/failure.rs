//! What becomes of traffic when a virtual machine fails, that is, when the
//! module traps (`PluginConfig::createContext` and
//! `maybeReloadHandleIfNeeded` of Envoy, measured on Envoy 1.40).
//!
//! Under every policy but [`FailurePolicy::LegacyFailOpen`] an exchange that is
//! in flight in the failed machine, the one that made it trap or another, is
//! answered 503 with `wasm_fail_stream` at its next callback, or reset if its
//! response headers went to the client; whether the module exports that
//! callback does not matter. The policy is about new exchanges. An access
//! logger never harms traffic: it is silent while its machine is failed.

use std::time::Duration;

/// What Envoy does with traffic after a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    /// `FAIL_CLOSED`, Envoy's default: new exchanges get 503, until the plugin
    /// gets another configuration.
    FailClosed,
    /// `FAIL_OPEN`: new exchanges pass without the module, until the plugin gets
    /// another configuration.
    FailOpen,
    /// `FAIL_RELOAD`: a new exchange, or a line to log, first tries to start a
    /// new virtual machine, if `base_interval` has passed since the last start
    /// on that worker; before that it gets 503.
    ///
    /// Envoy waits for a random time from one to one and a half times the
    /// interval; this host always takes the lower bound.
    FailReload {
        /// The least time between two starts.
        base_interval: Duration,
    },
    /// The older `fail_open: true`: as [`FailurePolicy::FailOpen`], and
    /// exchanges in flight pass as well.
    LegacyFailOpen,
}

impl FailurePolicy {
    /// `FAIL_RELOAD` with Envoy's interval of one second.
    #[must_use]
    pub const fn reload() -> Self {
        Self::FailReload {
            base_interval: Duration::from_secs(1),
        }
    }

    /// Whether a new exchange passes a failed machine.
    pub(super) fn lets_new_pass(self) -> bool {
        matches!(self, Self::FailOpen | Self::LegacyFailOpen)
    }

    /// Whether an exchange in flight passes when the machine fails.
    pub(super) fn lets_old_pass(self) -> bool {
        self == Self::LegacyFailOpen
    }
}
