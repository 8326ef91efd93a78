//! Where the programs under test are, and whether they are fit to be tested.
//!
//! A test must not pass, or fail, because of a file that was built before the
//! last change. So what we build is refused when it is missing or older than
//! the newest file it is built from, with the command that mends it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

/// The workspace's root folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// The filter as Envoy loads it.
///
/// # Errors
///
/// It is missing or stale.
pub fn filter() -> Result<PathBuf> {
    built(
        workspace().join("dist/gatemeter_filter.wasm"),
        &["core/src", "filter/src", "Cargo.toml", "Cargo.lock"],
    )
}

/// The filter as a native dynamic module of Envoy.
///
/// # Errors
///
/// It is missing or stale.
pub fn native() -> Result<PathBuf> {
    built(
        native_path(),
        &["core/src", "native/src", "Cargo.toml", "Cargo.lock"],
    )
}

pub(crate) fn native_path() -> PathBuf {
    workspace().join("dist/libgatemeter_native.so")
}

// Cargo leaves a program as old as it is where a new Cargo.toml or Cargo.lock
// does not touch it, so these files say nothing about these two. The modules
// above are copied anew by every build.

/// The bridge's program.
///
/// # Errors
///
/// It is missing or stale.
pub fn bridge() -> Result<PathBuf> {
    built(
        released("gatemeter-bridge"),
        &["core/src", "bridge/src", "bridge/assets"],
    )
}

/// The program of the four demo services.
///
/// # Errors
///
/// It is missing or stale.
pub fn demo() -> Result<PathBuf> {
    built(released("gatemeter-demo"), &["demo/src", "signals/src"])
}

fn released(program: &str) -> PathBuf {
    target().join("release").join(program)
}

/// A program that is not ours: in `.tools/bin`, else on the `PATH`.
///
/// # Errors
///
/// It is in neither.
pub fn tool(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(workspace().join(".tools/bin"))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .with_context(|| {
            format!("{name} is neither in .tools/bin nor on the PATH; run `make tools`")
        })
}

/// The library that plays HLS in a browser; `scripts/tools.sh` has its version.
///
/// # Errors
///
/// It is missing.
pub fn hls_js() -> Result<PathBuf> {
    let library = workspace().join(".tools/npm/hls.js/dist/hls.min.js");
    ensure!(
        library.is_file(),
        "{} is missing; run `make tools`",
        shown(&library)
    );
    Ok(library)
}

/// The folder that holds these packages from npm; `scripts/tools.sh` has their
/// versions.
///
/// # Errors
///
/// One is missing.
pub fn packages(names: &[&str]) -> Result<PathBuf> {
    let folder = workspace().join(".tools/npm");
    for name in names {
        let package = folder.join(name).join("package.json");
        ensure!(
            package.is_file(),
            "{} is missing; run `make tools`",
            shown(&package)
        );
    }
    Ok(folder)
}

/// Where what is made for tests, and is the same every time, can be kept.
pub fn target() -> PathBuf {
    workspace().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into()))
}

/// The built file, unless it is missing or older than one of the `sources`,
/// which are paths below the workspace.
fn built(artefact: PathBuf, sources: &[&str]) -> Result<PathBuf> {
    let Ok(built) = artefact.metadata().and_then(|file| file.modified()) else {
        bail!("{} is missing; run `make build`", shown(&artefact));
    };
    for source in sources {
        let (changed, file) = newest(&workspace().join(source))?;
        if changed > built {
            bail!(
                "{} is older than {}; run `make build`",
                shown(&artefact),
                shown(&file)
            );
        }
    }
    Ok(artefact)
}

fn shown(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(workspace()).unwrap_or(path).display()
}

/// The file changed last in a folder, or the file itself, and when that was.
/// `tests.rs` and `tests/` do not count: no artefact holds them.
fn newest(path: &Path) -> Result<(SystemTime, PathBuf)> {
    let metadata = path
        .metadata()
        .with_context(|| format!("cannot read {}", path.display()))?;
    if metadata.is_file() {
        return Ok((metadata.modified()?, path.to_owned()));
    }
    let mut newest_file = (SystemTime::UNIX_EPOCH, path.to_owned());
    for entry in path.read_dir()? {
        let entry = entry?.path();
        if entry.file_stem() == Some(OsStr::new("tests")) {
            continue;
        }
        newest_file = newest_file.max(newest(&entry)?);
    }
    Ok(newest_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_older_than_its_source_is_refused_with_the_command_to_run() {
        let folder = tempfile::tempdir().unwrap();
        let artefact = folder.path().join("artefact");
        let error = built(artefact.clone(), &[]).unwrap_err().to_string();
        assert!(
            error.ends_with("artefact is missing; run `make build`"),
            "{error}"
        );

        std::fs::write(&artefact, "").unwrap();
        let sources = folder.path().join("src");
        std::fs::create_dir(&sources).unwrap();
        let source = std::fs::File::create(sources.join("a.rs")).unwrap();
        std::fs::write(sources.join("tests.rs"), "").unwrap();
        let sources = [sources.to_str().unwrap()];
        let now = SystemTime::now();
        source
            .set_modified(now + std::time::Duration::from_secs(9))
            .unwrap();
        let error = built(artefact.clone(), &sources).unwrap_err().to_string();
        assert!(error.ends_with("a.rs; run `make build`"), "{error}");
        source.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        built(artefact, &sources).unwrap();
    }

    #[test]
    fn a_tool_that_is_nowhere_is_refused_with_the_command_to_run() {
        let error = tool("gatemeter-no-such-tool").unwrap_err().to_string();
        assert!(error.ends_with("run `make tools`"), "{error}");
    }
}
