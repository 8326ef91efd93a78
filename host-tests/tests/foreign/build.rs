//! The modules, built once in a process: a missing compiler is a failed test
//! that says how to get it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use gatemeter_host_tests::Module;

use crate::built::{package, root, run};

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("modules")
        .join(name)
}

/// The C filter: clang compiles it, and Rust's linker links it.
#[track_caller]
pub(crate) fn status_classes() -> Module {
    static BUILT: OnceLock<Module> = OnceLock::new();
    let build = || {
        let folder = tempfile::tempdir().expect("a folder");
        let object = folder.path().join("filter.o");
        let module = folder.path().join("filter.wasm");
        let own = root().join(".tools/bin/clang");
        let clang = if own.exists() {
            own.as_os_str()
        } else {
            OsStr::new("clang")
        };
        run(Command::new(clang)
            .args(["--target=wasm32", "-ffreestanding", "-nostdlib", "-Os"])
            .args(["-Wall", "-Wextra", "-Werror", "-c"])
            .arg(source("status_classes.c"))
            .arg("-o")
            .arg(&object));
        run(Command::new(linker())
            .args(["-flavor", "wasm", "--no-entry"])
            .arg(&object)
            .arg("-o")
            .arg(&module));
        let bytes = std::fs::read(&module).expect("the linker wrote it");
        Module::from_bytes(&bytes).expect("the module is valid")
    };
    BUILT.get_or_init(build).clone()
}

/// The linker that every Rust with a WebAssembly target has.
#[track_caller]
fn linker() -> PathBuf {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = run(Command::new(&rustc).args(["--print", "sysroot"]));
    let host = run(Command::new(&rustc).args(["--print", "host-tuple"]));
    let text =
        |output: std::process::Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Path::new(&text(sysroot))
        .join("lib/rustlib")
        .join(text(host))
        .join("bin/rust-lld")
}

/// The filter on the Rust SDK: cargo builds it.
#[track_caller]
pub(crate) fn auth() -> Module {
    static BUILT: OnceLock<Module> = OnceLock::new();
    BUILT
        .get_or_init(|| package("gatemeter-auth-module"))
        .clone()
}

/// The filter by hand.
#[track_caller]
pub(crate) fn rewrite() -> Module {
    let text = include_str!("../../modules/rewrite.wat");
    Module::from_wat(text).expect("the module is valid")
}

#[test]
#[should_panic(expected = "run `make tools`")]
fn a_missing_compiler_fails_the_test_with_the_command_that_brings_it() {
    run(&mut Command::new("no-such-compiler"));
}
