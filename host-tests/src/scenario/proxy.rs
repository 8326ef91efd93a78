//! The threads of a proxy and the plugins they run: what the handles of the
//! language share. A configuration is tried on a canary first and reaches the
//! threads only if that took it. Where a machine failed, a plugin's policy says
//! whether and when it gets another one.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use thiserror::Error;

use super::failure::FailurePolicy;
use super::plugin::Plugin;
use crate::host::context::Plugin as RootPlugin;
use crate::host::cost::Cost;
use crate::host::module::Module;
use crate::host::process::{LogLine, Process, Thread};
use crate::host::settings::VmSettings;
use crate::host::vm::{Configured, Step, Trap, Vm};

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

/// One thread of the proxy.
#[derive(Debug)]
pub(super) struct ThreadLocal {
    pub(super) thread: Thread,
    /// The machine that plugins start in.
    pub(super) vm: Vm,
    /// Its number; each machine of a proxy has its own.
    number: u32,
    /// Failed machines that something still refers to, with their numbers.
    failed: Vec<(u32, Vm)>,
    /// What machines spent that are gone.
    spent: Cost,
}

impl ThreadLocal {
    /// The machine with this number, which there is as long as a stream or a
    /// plugin refers to it.
    pub(super) fn machine(&mut self, number: u32) -> &mut Vm {
        if number == self.number {
            return &mut self.vm;
        }
        let mut failed = self.failed.iter_mut();
        let found = failed.find(|(other, _)| *other == number);
        let (_, vm) = found.expect("a machine is kept while something refers to it");
        vm
    }

    /// What the thread spent so far, and the memory of its live machine.
    pub(super) fn cost(&self) -> Cost {
        let mut cost = self.vm.cost();
        cost += &self.spent;
        for (_, failed) in &self.failed {
            cost += &without_memory(failed);
        }
        cost
    }

    fn replace(&mut self, vm: Vm, number: u32) {
        let old = std::mem::replace(&mut self.vm, vm);
        let old_number = std::mem::replace(&mut self.number, number);
        self.failed.push((old_number, old));
    }

    /// Forgets the failed machines that `in_use` does not name.
    fn forget(&mut self, in_use: &[u32]) {
        let (used, unused) = std::mem::take(&mut self.failed)
            .into_iter()
            .partition(|(number, vm)| !vm.is_idle() || in_use.contains(number));
        self.failed = used;
        let unused: Vec<(u32, Vm)> = unused;
        for (_, vm) in unused {
            self.spent += &without_memory(&vm);
        }
    }
}

fn without_memory(vm: &Vm) -> Cost {
    let mut cost = vm.cost();
    cost.pages = 0;
    cost
}

/// Where one plugin is on one thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handle {
    /// The number of its machine.
    pub(super) machine: u32,
    /// Its root there; none when it was drained.
    pub(super) root: Option<u32>,
    /// When it was loaded or tried last, on the monotonic clock.
    loaded: u64,
}

/// A plugin in use.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) plugin: Plugin,
    pub(super) root: Rc<RootPlugin>,
    /// One a thread.
    pub(super) handles: Vec<Handle>,
}

/// The proxy itself; `Envoy`, `Worker` and `Stream` are handles on it.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) module: Module,
    pub(super) process: Rc<RefCell<Process>>,
    pub(super) settings: Rc<VmSettings>,
    /// The main thread, then the workers.
    pub(super) threads: Vec<ThreadLocal>,
    pub(super) plugins: Vec<Installed>,
    pub(super) traps: Vec<Trap>,
    /// What the canary said, by plugin: Envoy asks once.
    canaries: Vec<(Rc<RootPlugin>, bool)>,
    machines: u32,
}

impl Proxy {
    /// A proxy without threads and plugins.
    pub(super) fn new(module: Module, process: Rc<RefCell<Process>>, settings: VmSettings) -> Self {
        Self {
            module,
            process,
            settings: Rc::new(settings),
            threads: Vec::new(),
            plugins: Vec::new(),
            traps: Vec::new(),
            canaries: Vec::new(),
            machines: 0,
        }
    }

    fn start(&mut self, thread: Thread) -> Result<(Vm, u32), Trap> {
        let process = Rc::clone(&self.process);
        let vm = Vm::start(&self.module, process, thread, Rc::clone(&self.settings))?;
        self.machines += 1;
        Ok((vm, self.machines))
    }

    /// Runs `configure` and puts what it logged into its refusal.
    fn refusing<R>(
        &mut self,
        configure: impl FnOnce(&mut Self) -> Result<R, Option<Trap>>,
    ) -> Result<R, Refused> {
        let first_line = self.process.borrow().log.len();
        configure(self).map_err(|trap| {
            let log = &self.process.borrow().log;
            let log = log.get(first_line..).unwrap_or_default().to_vec();
            Refused { trap, log }
        })
    }

    /// Takes a plugin into use, on `threads` if there are none yet, and gives
    /// its number.
    pub(super) fn install(
        &mut self,
        plugin: Plugin,
        configuration: Configuration,
        threads: impl Iterator<Item = Thread>,
    ) -> Result<usize, Refused> {
        self.refusing(|proxy| {
            let root = Rc::new(RootPlugin {
                name: plugin.name.clone(),
                root_id: plugin.root_id.clone(),
                configuration: configuration.0,
            });
            proxy.try_on_canary(&root)?;
            if proxy.threads.is_empty() {
                for thread in threads {
                    let (vm, number) = proxy.start(thread)?;
                    proxy.threads.push(ThreadLocal {
                        thread,
                        vm,
                        number,
                        failed: Vec::new(),
                        spent: Cost::default(),
                    });
                }
            }
            let handles = proxy.load_everywhere(&root)?;
            for reload in ["", "_success", "_failure", "_backoff"] {
                proxy.count(&plugin.name, reload, 0);
            }
            proxy.plugins.push(Installed {
                plugin,
                root,
                handles,
            });
            Ok(proxy.plugins.len() - 1)
        })
    }

    /// Gives a plugin another configuration: a new root, which gets new
    /// streams, and in a new machine where the old one failed.
    pub(super) fn reconfigure(
        &mut self,
        number: usize,
        configuration: Configuration,
    ) -> Result<(), Refused> {
        let old = &self.plugins[number].root;
        let mut handles = self.plugins[number].handles.iter();
        let in_use = handles.any(|handle| handle.root.is_some());
        if in_use && old.configuration == configuration.0 {
            return Ok(());
        }
        let root = Rc::new(RootPlugin {
            configuration: configuration.0,
            ..RootPlugin::clone(old)
        });
        self.refusing(|proxy| {
            proxy.try_on_canary(&root)?;
            let handles = proxy.load_everywhere(&root)?;
            proxy.plugins[number].root = root;
            let old = std::mem::replace(&mut proxy.plugins[number].handles, handles);
            proxy.release(&old)?;
            Ok(())
        })
    }

    /// Takes a plugin out of use.
    pub(super) fn drain(&mut self, number: usize) -> Result<(), Trap> {
        let handles = &mut self.plugins[number].handles;
        let old = handles.clone();
        for handle in handles {
            handle.root = None;
        }
        self.release(&old)
    }

    fn release(&mut self, handles: &[Handle]) -> Result<(), Trap> {
        for (thread, handle) in self.threads.iter_mut().zip(handles) {
            if let Some(root) = handle.root {
                thread.machine(handle.machine).release_root(root)?;
            }
        }
        Ok(())
    }

    /// Has a machine that is thrown away try the plugin (`WasmHandleBase::canary`).
    /// Envoy remembers what it said as long as the code is in use, also that it
    /// refused its configuration.
    fn try_on_canary(&mut self, root: &Rc<RootPlugin>) -> Result<(), Option<Trap>> {
        let mut known = self.canaries.iter();
        match known.find(|(plugin, _)| plugin == root) {
            Some((_, true)) => return Ok(()),
            Some((_, false)) => return Err(None),
            None => {}
        }
        let (mut canary, _) = self.start(Thread::Canary)?;
        match canary.configure(root)? {
            Configured::Accepted(_) => {
                self.canaries.push((Rc::clone(root), true));
                Ok(())
            }
            Configured::Refused(Step::Configure) => {
                self.canaries.push((Rc::clone(root), false));
                Err(None)
            }
            Configured::Refused(Step::Start) => Err(None),
        }
    }

    fn load_everywhere(&mut self, root: &Rc<RootPlugin>) -> Result<Vec<Handle>, Option<Trap>> {
        let threads = 0..self.threads.len();
        threads.map(|thread| self.load(thread, root)).collect()
    }

    /// Starts a plugin on a thread, in a new machine if that one failed
    /// (`getOrCreateThreadLocalPlugin`).
    fn load(&mut self, thread: usize, root: &Rc<RootPlugin>) -> Result<Handle, Option<Trap>> {
        if self.threads[thread].vm.dead().is_some() {
            let (vm, number) = self.start(self.threads[thread].thread)?;
            self.threads[thread].replace(vm, number);
        }
        let loaded = self.process.borrow().monotonic();
        let local = &mut self.threads[thread];
        match local.vm.configure(root)? {
            Configured::Accepted(root) => Ok(Handle {
                machine: local.number,
                root: Some(root),
                loaded,
            }),
            Configured::Refused(_) => Err(None),
        }
    }

    /// Where traffic for a plugin goes now; starts a new machine first, where
    /// the policy says so (`maybeReloadHandleIfNeeded`).
    pub(super) fn handle(&mut self, thread: usize, number: usize) -> Handle {
        let handle = self.plugins[number].handles[thread];
        let failed = self.threads[thread]
            .machine(handle.machine)
            .dead()
            .is_some();
        let policy = self.plugins[number].plugin.policy;
        let (true, Some(FailurePolicy::FailReload { base_interval })) = (failed, policy) else {
            return handle;
        };
        if handle.root.is_none() {
            return handle;
        }
        let now = self.process.borrow().monotonic();
        let name = self.plugins[number].plugin.name.clone();
        // Both in whole milliseconds, as in Envoy.
        let waited = Duration::from_nanos(now.saturating_sub(handle.loaded)).as_millis();
        if waited < base_interval.as_millis() {
            self.count(&name, "_backoff", 1);
            return handle;
        }
        self.plugins[number].handles[thread].loaded = now;
        let root = Rc::clone(&self.plugins[number].root);
        match self.load(thread, &root) {
            Ok(handle) => {
                self.plugins[number].handles[thread] = handle;
                self.count(&name, "_success", 1);
            }
            Err(trap) => {
                self.traps.extend(trap);
                self.count(&name, "_failure", 1);
            }
        }
        let in_use: Vec<u32> = self
            .plugins
            .iter()
            .map(|plugin| plugin.handles[thread].machine)
            .collect();
        self.threads[thread].forget(&in_use);
        self.plugins[number].handles[thread]
    }

    fn count(&self, plugin: &str, reload: &str, times: u64) {
        let name = format!("wasm.{plugin}.vm_reload{reload}");
        self.process.borrow_mut().proxy_stats.count(name, times);
    }

    /// Takes the outcome of a callback: a trap fails the test, unless a plugin
    /// says that traps are expected.
    #[track_caller]
    pub(super) fn settle(&mut self, outcome: Result<(), Trap>) {
        let Err(trap) = outcome else { return };
        let mut plugins = self.plugins.iter();
        if plugins.any(|installed| installed.plugin.policy.is_some()) {
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
