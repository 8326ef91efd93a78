//! What the host costs: CPU time of a virtual machine and of an exchange, with
//! the filter of this workspace. A test of millions of streams waits for it.
//!
//! `cargo run --release -p gatemeter-host-tests --example speed`

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use gatemeter_host_tests::{Envoy, Module, Request};

/// The CPU time of this thread, which a busy machine does not change. Linux.
fn cpu() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split(' ').next().context("no CPU time")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

fn main() -> Result<()> {
    let begin = cpu()?;
    let module = Module::gatemeter()?;
    let compiling = cpu()? - begin;
    let start = || Envoy::new(module.clone()).configure(r#"{"service":"api","routes":["/a/:id"]}"#);
    start()?;
    let proxies = 200;
    let begin = cpu()?;
    for _ in 0..proxies {
        start()?;
    }
    // A canary, the main thread and a worker each.
    let machine = (cpu()? - begin) / (proxies * 3);

    let envoy = start()?;
    let worker = envoy.worker(0);
    let exchanges = 100_000;
    let begin = cpu()?;
    for _ in 0..exchanges {
        let stream = worker.request(Request::get("/a/1").header("user-agent", "curl/8.5"));
        stream.respond(200, [("content-type", "text/plain"), ("server", "envoy")]);
        stream.finish();
    }
    let exchange = (cpu()? - begin) / exchanges;
    println!("the module {compiling:?}, a virtual machine {machine:?}, an exchange {exchange:?}");
    Ok(())
}
