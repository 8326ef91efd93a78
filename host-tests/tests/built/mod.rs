//! Modules that cargo builds from a package of this workspace. What does not
//! compile is a failed test that says how to get what is missing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gatemeter_host_tests::Module;
use serde_json::Value;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a compiler, or fails the test with what it said and the command that
/// brings it.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("cannot run {command:?}: {error}; run `make tools`"),
    };
    assert!(
        output.status.success(),
        "{command:?} failed; if a compiler or a target is missing, run `make tools`\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The module of `package`, which is a `cdylib`.
#[track_caller]
pub(crate) fn package(package: &str) -> Module {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = run(Command::new(cargo)
        .current_dir(root())
        .args(["build", "--release", "--locked"])
        .args(["--target", "wasm32-wasip1"])
        .args(["-p", package])
        .args(["--message-format", "json-render-diagnostics"]));
    let target = package.replace('-', "_");
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut files = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == target.as_str())
        .filter_map(|message| Some(message["filenames"][0].as_str()?.to_owned()));
    let file = files.next_back().expect("cargo names what it built");
    let bytes = std::fs::read(&file).expect("cargo built it");
    Module::from_bytes(&bytes).expect("the module is valid")
}
