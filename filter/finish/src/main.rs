//! Finishes the compiled filter: `gatemeter-finish INPUT.wasm OUTPUT.wasm`.
//!
//! The SDK exports every callback of the ABI, and a host enters the module for
//! each one that is exported, body chunks included. Only the exports listed
//! here stay; the code behind the others goes with them. A callback that is
//! listed and missing is an error: the list and the filter would disagree.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use walrus::ModuleConfig;

/// What a host needs to load the module.
const LOADING: [&str; 4] = [
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
];

/// The callbacks that the filter uses.
const CALLBACKS: [&str; 7] = [
    "proxy_on_context_create",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_request_headers",
    "proxy_on_response_headers",
    "proxy_on_log",
    "proxy_on_delete",
];

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [input, output] = arguments.as_slice() else {
        bail!("usage: gatemeter-finish INPUT.wasm OUTPUT.wasm");
    };
    let module = fs::read(input).with_context(|| format!("cannot read {}", input.display()))?;
    let finished = finish(&module)?;
    write_whole(output, &finished)?;
    println!("{}: {} bytes", output.display(), finished.len());
    Ok(())
}

fn finish(module: &[u8]) -> Result<Vec<u8>> {
    let mut config = ModuleConfig::new();
    config.generate_name_section(false);
    config.generate_producers_section(false);
    let mut module = config.parse(module).context("no wasm module")?;
    let exported: Vec<_> = module
        .exports
        .iter()
        .map(|export| (export.id(), export.name.clone()))
        .collect();
    for wanted in LOADING.iter().chain(&CALLBACKS) {
        if !exported.iter().any(|(_, name)| name == wanted) {
            bail!("the module does not export {wanted}");
        }
    }
    for (id, name) in exported {
        let wanted = name.as_str();
        if !LOADING.contains(&wanted) && !CALLBACKS.contains(&wanted) {
            module.exports.delete(id);
        }
    }
    walrus::passes::gc::run(&mut module);
    Ok(module.emit_wasm())
}

/// Envoy may be watching the file: it must never see half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let partial = path.with_extension("wasm.partial");
    fs::write(&partial, bytes).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
}
