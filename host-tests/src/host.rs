//! The proxy around the modules, as far as they can see it: what Envoy 1.40
//! does where the specification is silent.
//!
//! [`process`] is what all virtual machines share, [`vm`] one of them with its
//! life cycle and callbacks, [`state`] its answers to host calls, [`exchange`]
//! what is known of one HTTP exchange, [`headers`] a header map, [`cost`] what
//! was spent, [`module`] the code to run.

pub mod cost;
pub mod exchange;
pub mod flow;
pub mod headers;
pub mod module;
pub mod process;
pub mod state;
pub mod vm;
