//! The code that a proxy loads: ready to run, checked for an ABI version that
//! this host speaks, and for the filter of this workspace also checked to be
//! newer than its sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use thiserror::Error;
use wasmtime::{Config, Engine, InstancePre, Linker, OptLevel, UnknownImportError};

use super::state::VmState;
use crate::abi::{Version, imports, wasi};

/// Why there is no module to run.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// The file is not there, or not readable.
    #[error("cannot read {path}: {source}; run `make wasm`")]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A source is newer than the file.
    #[error("{path} is older than {newer}; run `make wasm`")]
    Stale {
        /// The file.
        path: PathBuf,
        /// The newest source.
        newer: PathBuf,
    },
    /// The bytes are no WebAssembly, or use what this host does not have.
    #[error("cannot compile the module: {0:#}")]
    Invalid(wasmtime::Error),
    /// The module names no ABI version, or one that this host does not speak.
    #[error(
        "the module exports no proxy_abi_version_0_2_1 or proxy_abi_version_0_2_0, \
         but {found:?}"
    )]
    UnknownAbi {
        /// The version exports that are there.
        found: Vec<String>,
    },
}

/// The code cannot be linked to the host.
#[derive(Debug, Clone, Error)]
pub enum LinkError {
    /// It imports what the ABI version that it declares does not have.
    #[error(
        "missing import {module}.{name}: the module declares ABI {version}, \
         which does not have it"
    )]
    Missing {
        /// The module that it imports from.
        module: String,
        /// The function.
        name: String,
        /// The version that it declares.
        version: Version,
    },
    /// It imports a function with other parameters or results.
    #[error("{0}")]
    Mismatch(String),
}

/// Compiled code. Cloning is cheap, and so is running it in many virtual
/// machines.
#[derive(Clone)]
pub struct Module {
    code: wasmtime::Module,
    version: Version,
    /// The code with its imports resolved, once for all virtual machines.
    linked: Arc<OnceLock<Result<InstancePre<VmState>, LinkError>>>,
}

impl std::fmt::Debug for Module {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Module").finish_non_exhaustive()
    }
}

impl Module {
    /// The filter of this workspace, `dist/gatemeter_filter.wasm`. It
    /// is compiled once in a process.
    ///
    /// # Errors
    ///
    /// [`ModuleError::Missing`] or [`ModuleError::Stale`], both with the command
    /// that builds it.
    pub fn gatemeter() -> Result<Self, ModuleError> {
        static COMPILED: OnceLock<Module> = OnceLock::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = root.canonicalize().unwrap_or(root);
        let path = root.join("dist").join("gatemeter_filter.wasm");
        let bytes = read_fresh(
            &path,
            &[
                root.join("core/src"),
                root.join("filter/src"),
                root.join("Cargo.toml"),
                root.join("Cargo.lock"),
            ],
        )?;
        if let Some(module) = COMPILED.get() {
            return Ok(module.clone());
        }
        let module = Self::from_bytes(&bytes)?;
        Ok(COMPILED.get_or_init(|| module).clone())
    }

    /// A module in the text format, for tests of the host itself.
    ///
    /// # Errors
    ///
    /// As [`Module::from_bytes`].
    pub fn from_wat(text: &str) -> Result<Self, ModuleError> {
        Self::from_bytes(text.as_bytes())
    }

    /// A module as binary or text.
    ///
    /// # Errors
    ///
    /// [`ModuleError::Invalid`] or [`ModuleError::UnknownAbi`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModuleError> {
        let mut config = Config::new();
        // Fuel counts instructions of the module, whatever the compiler makes
        // of them, so the quickest compiler will do.
        config
            .consume_fuel(true)
            .cranelift_opt_level(OptLevel::None);
        let engine = Engine::new(&config).map_err(ModuleError::Invalid)?;
        let code = wasmtime::Module::new(&engine, bytes).map_err(ModuleError::Invalid)?;
        // Envoy takes the first that it finds (`BytecodeUtil::getAbiVersion`).
        let names = || code.exports().map(|export| export.name());
        let Some(version) = names().find_map(Version::declared_by) else {
            let found = names().filter(|name| name.starts_with("proxy_abi_version_"));
            let found = found.map(str::to_owned).collect();
            return Err(ModuleError::UnknownAbi { found });
        };
        Ok(Self {
            code,
            version,
            linked: Arc::default(),
        })
    }

    /// The ABI version that the module declares.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The names of all exports, sorted.
    #[must_use]
    pub fn exports(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .code
            .exports()
            .map(|export| export.name().to_owned())
            .collect();
        names.sort();
        names
    }

    /// The imports as `module.name`, sorted.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .code
            .imports()
            .map(|import| format!("{}.{}", import.module(), import.name()))
            .collect();
        names.sort();
        names
    }

    /// The code with its imports resolved, ready to be instantiated.
    pub(super) fn linked(&self) -> Result<&InstancePre<VmState>, LinkError> {
        let linked = self.linked.get_or_init(|| self.link());
        linked.as_ref().map_err(Clone::clone)
    }

    fn link(&self) -> Result<InstancePre<VmState>, LinkError> {
        let mut linker = Linker::new(self.code.engine());
        imports::link(&mut linker, self.version)
            .and_then(|()| wasi::link(&mut linker))
            .and_then(|()| linker.instantiate_pre(&self.code))
            .map_err(|error| match error.downcast_ref::<UnknownImportError>() {
                Some(unknown) => LinkError::Missing {
                    module: unknown.module().to_owned(),
                    name: unknown.name().to_owned(),
                    version: self.version,
                },
                None => LinkError::Mismatch(format!("{error:#}")),
            })
    }
}

/// Reads `path`, unless a file of `sources` (files, or folders with all in
/// them) is newer.
fn read_fresh(path: &Path, sources: &[PathBuf]) -> Result<Vec<u8>, ModuleError> {
    let missing = |source| ModuleError::Missing {
        path: path.to_owned(),
        source,
    };
    let built = fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .map_err(missing)?;
    let newest = sources.iter().filter_map(|source| newest(source)).max();
    if let Some((changed, newer)) = newest
        && changed > built
    {
        let path = path.to_owned();
        return Err(ModuleError::Stale { path, newer });
    }
    fs::read(path).map_err(missing)
}

fn newest(path: &Path) -> Option<(SystemTime, PathBuf)> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_dir() {
        return Some((metadata.modified().ok()?, path.to_owned()));
    }
    fs::read_dir(path)
        .ok()?
        .filter_map(|entry| newest(&entry.ok()?.path()))
        .max()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::{Module, ModuleError, read_fresh};

    #[test]
    fn a_missing_file_names_the_command_that_builds_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = read_fresh(&folder.path().join("x.wasm"), &[]).expect_err("missing");
        assert!(matches!(error, ModuleError::Missing { .. }));
        assert!(error.to_string().ends_with("run `make wasm`"), "{error}");
    }

    #[test]
    fn a_file_older_than_a_source_names_source_and_command() {
        let folder = tempfile::tempdir().expect("a folder");
        let wasm = folder.path().join("x.wasm");
        let sources = folder.path().join("src/deep");
        fs::create_dir_all(&sources).expect("folders");
        let source = sources.join("lib.rs");
        fs::write(&source, "").expect("a source");
        fs::write(&wasm, "code").expect("a module");
        let sources = [folder.path().join("src")];
        let age = |path, seconds| {
            let time = SystemTime::now() - Duration::from_secs(seconds);
            let file = fs::File::options().write(true).open(path).expect("a file");
            file.set_modified(time).expect("a time");
        };

        age(&source, 60);
        age(&wasm, 30);
        assert_eq!(read_fresh(&wasm, &sources).expect("fresh"), b"code");

        age(&wasm, 90);
        let error = read_fresh(&wasm, &sources).expect_err("stale");
        let message = error.to_string();
        assert!(message.contains("lib.rs; run `make wasm`"), "{message}");
    }

    #[test]
    fn a_module_without_a_known_abi_version_is_refused() {
        let text = r#"(module (func (export "proxy_abi_version_0_1_0")))"#;
        let error = Module::from_wat(text).expect_err("an old module");
        assert!(error.to_string().contains("0_1_0"), "{error}");
    }
}
