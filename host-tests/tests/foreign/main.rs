//! Filters that are not made for this host, each in the style of other people:
//! the Rust SDK, C without a library, WebAssembly by hand. They are in
//! `modules/` and are built here.

// On the Rust SDK: asks a cluster before a request may pass.
mod auth;
// How they are built.
mod build;
// What cargo builds of this workspace.
#[path = "../built/mod.rs"]
mod built;
// By hand: changes headers, bodies and trailers.
mod rewrite;
// In C: counts and numbers responses.
mod status_classes;
