//! A test's own room: a temporary folder, its processes, their logs.
//!
//! A test ends with [`Room::close`]. A room that is dropped without it belongs
//! to a test that failed: it then shows the logs and keeps the folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::{Process, tail};

/// Lines of each log that a failed test shows.
const SHOWN: usize = 40;

/// A folder and the processes that work in it.
#[derive(Debug)]
pub struct Room {
    folder: Option<TempDir>,
    processes: Vec<Process>,
}

impl Room {
    /// An empty room.
    ///
    /// # Errors
    ///
    /// No temporary folder can be made.
    pub fn open() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gatemeter-").tempdir()?;
        Ok(Self {
            folder: Some(folder),
            processes: Vec::new(),
        })
    }

    /// A path in the room's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder
            .as_ref()
            .map_or_else(|| PathBuf::from(name), |folder| folder.path().join(name))
    }

    /// Writes a file and gives its path.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, content)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a program under a name that is not in use; its log is
    /// `<name>.log` in the room.
    ///
    /// # Errors
    ///
    /// The program cannot be run.
    pub fn start(&mut self, name: &str, command: &mut Command) -> Result<&mut Process> {
        let log = self.path(&format!("{name}.log"));
        let process = Process::start(name, command, &log)?;
        self.admit(process)
    }

    /// Takes in a process that was started elsewhere.
    ///
    /// # Errors
    ///
    /// The name is in use.
    pub fn admit(&mut self, process: Process) -> Result<&mut Process> {
        if self.processes.iter().any(|p| p.name() == process.name()) {
            bail!("a process named {} runs already", process.name());
        }
        self.processes.push(process);
        self.processes.last_mut().context("just pushed")
    }

    /// The process of that name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn process(&mut self, name: &str) -> Result<&mut Process> {
        self.processes
            .iter_mut()
            .find(|process| process.name() == name)
            .with_context(|| format!("no process is named {name}"))
    }

    /// Takes a process out of the room; dropping it ends it.
    ///
    /// # Errors
    ///
    /// There is none of that name.
    pub fn dismiss(&mut self, name: &str) -> Result<Process> {
        let index = self
            .processes
            .iter()
            .position(|process| process.name() == name)
            .with_context(|| format!("no process is named {name}"))?;
        Ok(self.processes.remove(index))
    }

    /// Ends a test that went well: all processes still ran, and Envoy
    /// reported no failure of a wasm module. Stops them, the last one first.
    ///
    /// # Errors
    ///
    /// One of these is not so.
    pub fn close(self) -> Result<()> {
        self.close_despite(|_| false)
    }

    /// As [`Self::close`], where the test brought some alarming lines about.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn close_despite(mut self, is_expected: impl Fn(&str) -> bool) -> Result<()> {
        for process in &mut self.processes {
            process.check_running()?;
            let log = process.log();
            let mut alarming = log.lines().filter(|line| is_alarming(line));
            if let Some(line) = alarming.find(|line| !is_expected(line)) {
                bail!("{} logged: {line}", process.name());
            }
        }
        while let Some(mut process) = self.processes.pop() {
            process.stop()?;
        }
        if let Some(folder) = self.folder.take() {
            folder.close()?;
        }
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else {
            return;
        };
        for process in &self.processes {
            eprintln!(
                "--- {} ---\n{}",
                process.name(),
                tail(&process.log(), SHOWN)
            );
        }
        while self.processes.pop().is_some() {}
        let kept: &Path = &folder.keep();
        eprintln!("--- files and whole logs: {} ---", kept.display());
    }
}

/// Whether a line of Envoy's log tells of a trap, a failed host call or a
/// failed start; or one of ours of a panic.
fn is_alarming(line: &str) -> bool {
    line.contains("panicked at")
        || line.contains("[critical]")
        || line.contains("Proxy-Wasm")
        || line.contains("[error][wasm]")
}
