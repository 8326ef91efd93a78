//! The proxy around the modules, as far as they can see it: what Envoy 1.40
//! does where the specification is silent.
//!
//! [`process`] is what all virtual machines share, [`vm`] one of them with its
//! life cycle and callbacks, [`settings`] what it is given and may call,
//! [`state`] its answers to host calls, [`context`] what is inside it, [`exchange`]
//! what is known of one HTTP exchange, [`flow`] how far its halves are,
//! [`network`] what is known of one TCP connection, [`headers`] a header map,
//! [`calls`] what plugins ask of clusters, [`queues`] what they hand to each
//! other, [`foreign`] what the proxy does for them by name, [`cost`] what was
//! spent, [`module`] the code to run.

pub mod calls;
pub mod context;
pub mod cost;
pub mod exchange;
pub mod flow;
pub mod foreign;
pub mod headers;
pub mod module;
pub mod network;
pub mod process;
pub mod queues;
pub mod settings;
pub mod state;
pub mod vm;
