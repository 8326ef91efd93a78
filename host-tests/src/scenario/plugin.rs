//! A plugin of a proxy: its name, its root context's name and its failure
//! policy. Its configuration comes with
//! [`EnvoyBuilder::configure`](super::EnvoyBuilder::configure) or
//! [`Envoy::add_plugin`](super::Envoy::add_plugin).

use super::failure::FailurePolicy;

/// A plugin without its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    pub(super) name: String,
    pub(super) root_id: String,
    pub(super) policy: Option<FailurePolicy>,
}

impl Plugin {
    /// A plugin of this name. A trap of it fails the test.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            root_id: String::new(),
            policy: None,
        }
    }

    /// The id of its root context, which a module reads as `plugin_root_id`.
    #[must_use]
    pub fn root_id(mut self, root_id: &str) -> Self {
        root_id.clone_into(&mut self.root_id);
        self
    }

    /// Says that traps are expected, and what Envoy does then.
    /// [`Envoy::traps`](super::Envoy::traps) tells of them.
    #[must_use]
    pub fn failure_policy(mut self, policy: FailurePolicy) -> Self {
        self.policy = Some(policy);
        self
    }
}
