//! The floor that our module is held against: `bench/modules/floor`, the same
//! callbacks and the same reads, and nothing made of them.

use std::sync::OnceLock;

use gatemeter_host_tests::host::cost::Cost;
use gatemeter_host_tests::{Envoy, Module};
use serde_json::json;

use crate::built;
use crate::usual;

/// What the floor does with a map that it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floor {
    /// Nothing.
    Takes,
    /// It goes over the pairs that a filter must look at.
    Walks,
}

/// A proxy with the floor in it.
#[track_caller]
pub(crate) fn envoy(floor: Floor) -> Envoy {
    static BUILT: OnceLock<Module> = OnceLock::new();
    let module = BUILT.get_or_init(|| built::package("gatemeter-floor-module"));
    let configuration = match floor {
        Floor::Takes => json!({}),
        Floor::Walks => json!({"walks": true}),
    };
    match Envoy::new(module.clone()).configure(configuration) {
        Ok(envoy) => envoy,
        Err(refused) => panic!("{refused}"),
    }
}

/// What a usual exchange costs it.
#[track_caller]
pub(crate) fn exchange(floor: Floor) -> Cost {
    let envoy = envoy(floor);
    let act = || usual::exchange(&envoy.worker(0), "/api/content/42", &[]);
    act();
    envoy.measure(act)
}

/// What a usual entry of an access log costs it.
#[track_caller]
pub(crate) fn logged(floor: Floor) -> Cost {
    let envoy = envoy(floor);
    let act = || usual::logged(&envoy.worker(0), "/api/content/42");
    act();
    envoy.measure(act)
}
