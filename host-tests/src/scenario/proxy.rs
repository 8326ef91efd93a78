//! The threads of a proxy and the configuration they run: what the handles of
//! the language share. A configuration is tried on a canary first and reaches
//! the threads only if that took it.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use thiserror::Error;

use crate::host::module::Module;
use crate::host::process::{LogLine, Process, Thread};
use crate::host::state::VmSettings;
use crate::host::vm::{Configured, Trap, Vm};

/// A plugin configuration as bytes: from text, or from a JSON value as Envoy
/// hands a Struct over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration(pub(super) Vec<u8>);

impl From<&str> for Configuration {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<Vec<u8>> for Configuration {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<serde_json::Value> for Configuration {
    fn from(value: serde_json::Value) -> Self {
        Self(value.to_string().into_bytes())
    }
}

/// The proxy does not take the configuration, and keeps the old one if it has
/// one.
#[derive(Debug, Clone, Error)]
pub struct Refused {
    /// Why, where the module did not just say no.
    pub trap: Option<Trap>,
    /// What the module logged while it looked at the configuration.
    pub log: Vec<LogLine>,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.trap {
            Some(trap) => write!(formatter, "{trap}")?,
            None => write!(formatter, "the module refuses its configuration")?,
        }
        for line in &self.log {
            write!(formatter, "\n  {line}")?;
        }
        Ok(())
    }
}

/// One thread of the proxy and the root context that gets its traffic.
#[derive(Debug)]
pub(super) struct ThreadLocal {
    pub(super) vm: Vm,
    pub(super) root: Option<u32>,
}

/// The proxy itself; `Envoy`, `Worker` and `Stream` are handles on it.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) module: Module,
    pub(super) process: Rc<RefCell<Process>>,
    pub(super) settings: VmSettings,
    pub(super) survive_traps: bool,
    pub(super) configuration: Option<Configuration>,
    /// The main thread, then the workers.
    pub(super) threads: Vec<ThreadLocal>,
    pub(super) traps: Vec<Trap>,
}

impl Proxy {
    fn start(&self, thread: Thread) -> Result<Vm, Trap> {
        let process = Rc::clone(&self.process);
        Vm::start(&self.module, process, thread, self.settings.clone())
    }

    /// Gives `configuration` to new virtual machines for `threads`, or to those
    /// that there are if none are named.
    pub(super) fn configure(
        &mut self,
        configuration: Configuration,
        threads: Vec<Thread>,
    ) -> Result<(), Refused> {
        if self.configuration.as_ref() == Some(&configuration) {
            return Ok(());
        }
        let first_line = self.process.borrow().log.len();
        let refused = |process: &RefCell<Process>, trap| Refused {
            trap,
            log: process
                .borrow()
                .log
                .get(first_line..)
                .unwrap_or_default()
                .to_vec(),
        };
        let tried = self
            .start(Thread::Canary)
            .and_then(|mut canary| canary.configure(&configuration.0));
        match tried {
            Ok(Configured::Accepted(_)) => {}
            Ok(Configured::Refused) => return Err(refused(&self.process, None)),
            Err(trap) => return Err(refused(&self.process, Some(trap))),
        }
        for thread in threads {
            let vm = self
                .start(thread)
                .map_err(|trap| refused(&self.process, Some(trap)))?;
            self.threads.push(ThreadLocal { vm, root: None });
        }
        for thread in &mut self.threads {
            match thread.vm.configure(&configuration.0) {
                Ok(Configured::Accepted(root)) => {
                    let old = thread.root.replace(root);
                    let released = old.map_or(Ok(()), |old| thread.vm.release_root(old));
                    released.map_err(|trap| refused(&self.process, Some(trap)))?;
                }
                Ok(Configured::Refused) => return Err(refused(&self.process, None)),
                Err(trap) => return Err(refused(&self.process, Some(trap))),
            }
        }
        self.configuration = Some(configuration);
        Ok(())
    }

    /// Takes the outcome of a callback: a trap fails the test, unless it is to
    /// be survived.
    #[track_caller]
    pub(super) fn settle(&mut self, outcome: Result<(), Trap>) {
        let Err(trap) = outcome else { return };
        if self.survive_traps {
            self.traps.push(trap);
            return;
        }
        let log = &self.process.borrow().log;
        let last: Vec<String> = log
            .iter()
            .skip(log.len().saturating_sub(5))
            .map(|line| format!("  {line}"))
            .collect();
        panic!("{trap}\n{}", last.join("\n"));
    }

    /// Moves the clocks to `time` on the monotonic one, never back.
    pub(super) fn move_to(&self, time: u64) {
        let mut process = self.process.borrow_mut();
        let step = time.saturating_sub(process.monotonic());
        process.advance(Duration::from_nanos(step));
    }
}
