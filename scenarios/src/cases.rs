//! The list of scenarios that ships: the files of `cases/`, by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

use crate::scenario::{BadScenario, Scenario};

/// Why there is no list.
#[derive(Debug, Error)]
pub enum NoCases {
    /// The folder or a file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file is no scenario.
    #[error("{path}: {cause}")]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: BadScenario,
    },
}

/// Every scenario of `cases/`, by the name of its file.
///
/// # Errors
/// Where a file cannot be read or is no scenario.
pub fn cases() -> Result<BTreeMap<String, Scenario>, NoCases> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |cause| NoCases::Unreadable { path, cause }
    };
    let mut cases = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(unreadable(&folder))? {
        let path = entry.map_err(unreadable(&folder))?.path();
        let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
        let name = path.file_stem().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let scenario = Scenario::parse(&text).map_err(|cause| NoCases::Bad { path, cause })?;
        cases.insert(name, scenario);
    }
    Ok(cases)
}
