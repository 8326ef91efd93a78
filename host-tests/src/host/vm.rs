//! One virtual machine: it is started, gets root contexts by configuration, ticks
//! them and ends them as Envoy does. Its streams are in `stream`. A callback that the module does not export is skipped. After a trap
//! the machine is dead and every further callback is skipped.

mod stream;

use std::cell::RefCell;
use std::rc::Rc;

use thiserror::Error;
use wasmtime::{Extern, Linker, Store, Val};

use super::cost::Cost;
use super::module::Module;
use super::process::{Process, Thread};
use super::state::{Context, Restriction, VmSettings, VmState};
use crate::abi::{imports, wasi};

/// More fuel than a callback needs in any test, and a second of work or so: what
/// takes more is an endless loop.
const FUEL_OF_A_CALL: u64 = 1_000_000_000;

/// The module stopped in a way it cannot go on from.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("the module trapped in {callback} on the {thread}: {cause}")]
pub struct Trap {
    /// The thread.
    pub thread: Thread,
    /// The export that was called.
    pub callback: String,
    /// What the virtual machine says.
    pub cause: String,
}

/// What became of a configuration that a virtual machine was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Configured {
    /// It is in use, by the root context of this id.
    Accepted(u32),
    /// `proxy_on_vm_start` or `proxy_on_configure` answered false.
    Refused,
}

/// A virtual machine.
pub struct Vm {
    store: Store<VmState>,
    instance: wasmtime::Instance,
    dead: Option<Trap>,
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Vm")
            .field("state", self.store.data())
            .field("dead", &self.dead)
            .finish_non_exhaustive()
    }
}

impl Vm {
    /// Loads `module` and lets it initialise: `_initialize` and then `main`, or
    /// else `_start`.
    ///
    /// # Errors
    ///
    /// If the module imports what the host does not have, or traps.
    pub fn start(
        module: &Module,
        process: Rc<RefCell<Process>>,
        thread: Thread,
        settings: VmSettings,
    ) -> Result<Self, Trap> {
        let failed = |error: wasmtime::Error| Trap {
            thread,
            callback: "instantiation".to_owned(),
            cause: format!("{error:#}"),
        };
        let engine = module.code().engine();
        let mut linker = Linker::new(engine);
        imports::link(&mut linker).map_err(failed)?;
        wasi::link(&mut linker).map_err(failed)?;
        let mut state = VmState::new(process, thread, settings);
        state.restriction = Some(Restriction::Initializing);
        let mut store = Store::new(engine, state);
        store.set_fuel(FUEL_OF_A_CALL).map_err(failed)?;
        let instance = linker
            .instantiate(&mut store, module.code())
            .map_err(failed)?;
        let mut vm = Self {
            store,
            instance,
            dead: None,
        };
        if vm.exports("_initialize") {
            vm.call(0, "_initialize", &[])?;
            if vm.exports("main") {
                vm.call(0, "main", &[0, 0])?;
            } else {
                vm.call(0, "__main_void", &[])?;
            }
        } else {
            vm.call(0, "_start", &[])?;
        }
        vm.store.data_mut().restriction = None;
        Ok(vm)
    }

    /// The data of the machine.
    #[must_use]
    pub fn state(&self) -> &VmState {
        self.store.data()
    }

    /// The data of the machine, to change.
    pub fn state_mut(&mut self) -> &mut VmState {
        self.store.data_mut()
    }

    /// The trap that killed the machine.
    #[must_use]
    pub fn dead(&self) -> Option<&Trap> {
        self.dead.as_ref()
    }

    /// What the machine spent so far, and the memory it has now.
    pub fn cost(&mut self) -> Cost {
        let mut cost = self.store.data().cost.clone();
        cost.pages = self
            .instance
            .get_memory(&mut self.store, "memory")
            .map_or(0, |memory| memory.size(&self.store));
        cost
    }

    /// Whether the module exports the function `name`.
    pub fn exports(&mut self, name: &str) -> bool {
        self.instance.get_func(&mut self.store, name).is_some()
    }

    /// Calls the export `callback` with `context` as the present one. `None` is
    /// that nothing ran: the module lacks the export, or is dead.
    ///
    /// # Errors
    ///
    /// The trap, which kills the machine.
    pub fn call(
        &mut self,
        context: u32,
        callback: &str,
        arguments: &[u32],
    ) -> Result<Option<u32>, Trap> {
        if self.dead.is_some() {
            return Ok(None);
        }
        let export = self.instance.get_export(&mut self.store, callback);
        let Some(function) = export.and_then(Extern::into_func) else {
            return Ok(None);
        };
        let state = self.store.data_mut();
        let before = (state.current, state.effective);
        state.current = context;
        state.effective = 0;
        let answer = self.run(&function, arguments);
        let spent = FUEL_OF_A_CALL.saturating_sub(self.store.get_fuel().unwrap_or_default());
        let state = self.store.data_mut();
        (state.current, state.effective) = before;
        state.cost.count_crossing(callback, spent);
        match answer {
            Ok(answer) => {
                self.delete_done_roots()?;
                Ok(Some(answer))
            }
            Err(error) => {
                let trap = Trap {
                    thread: self.store.data().thread,
                    callback: callback.to_owned(),
                    cause: format!("{error:#}"),
                };
                self.dead = Some(trap.clone());
                Err(trap)
            }
        }
    }

    /// Deletes the roots that said in this callback that they are done.
    fn delete_done_roots(&mut self) -> Result<(), Trap> {
        let contexts = self.state().contexts.iter();
        let done: Vec<u32> = contexts
            .filter(|(_, context)| context.delete_pending)
            .map(|(root, _)| *root)
            .collect();
        for root in done {
            self.delete_root(root)?;
        }
        Ok(())
    }

    fn run(&mut self, function: &wasmtime::Func, arguments: &[u32]) -> wasmtime::Result<u32> {
        self.store.set_fuel(FUEL_OF_A_CALL)?;
        let arguments: Vec<Val> = arguments
            .iter()
            .map(|number| Val::I32(number.cast_signed()))
            .collect();
        let results = function.ty(&self.store).results().len();
        let mut results = vec![Val::I32(0); results];
        function.call(&mut self.store, &arguments, &mut results)?;
        let answer = results.first().and_then(Val::i32).unwrap_or_default();
        Ok(answer.cast_unsigned())
    }

    /// Gives the machine a plugin configuration: a new root context, created,
    /// started and configured. The configuration can be read in the first and
    /// the last of these callbacks.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn configure(&mut self, configuration: &[u8]) -> Result<Configured, Trap> {
        let root = self.state_mut().add_context(Context::default());
        self.with_configuration(configuration, |vm| vm.create(root))?;
        let size = length(&self.state().settings.vm_configuration);
        let started = self.call(root, "proxy_on_vm_start", &[root, size])?;
        if started == Some(0) {
            return Ok(Configured::Refused);
        }
        let size = length(configuration);
        let configured = self.with_configuration(configuration, |vm| {
            vm.call(root, "proxy_on_configure", &[root, size])
        })?;
        if configured == Some(0) {
            return Ok(Configured::Refused);
        }
        Ok(Configured::Accepted(root))
    }

    fn with_configuration<R>(
        &mut self,
        configuration: &[u8],
        run: impl FnOnce(&mut Self) -> R,
    ) -> R {
        self.state_mut().plugin_configuration = Some(configuration.to_vec());
        let answer = run(self);
        self.state_mut().plugin_configuration = None;
        answer
    }

    /// Tells the module of a context, once.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn create(&mut self, id: u32) -> Result<(), Trap> {
        let Some(context) = self.state_mut().contexts.get_mut(&id) else {
            return Ok(());
        };
        if std::mem::replace(&mut context.created, true) {
            return Ok(());
        }
        let root = context.root;
        self.call(id, "proxy_on_context_create", &[id, root])?;
        Ok(())
    }

    /// Takes a root out of use. It ends (done, delete) with its last stream.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn release_root(&mut self, root: u32) -> Result<(), Trap> {
        if let Some(context) = self.state_mut().contexts.get_mut(&root) {
            context.released = true;
        }
        self.end_root_if_idle(root)
    }

    fn end_root_if_idle(&mut self, root: u32) -> Result<(), Trap> {
        match self.state().contexts.get(&root) {
            Some(context) if context.released && context.streams == 0 && !context.done_pending => {}
            _ => return Ok(()),
        }
        let done = self.call(root, "proxy_on_done", &[root])?;
        if done == Some(0) {
            if let Some(context) = self.state_mut().contexts.get_mut(&root) {
                context.done_pending = true;
            }
            return Ok(());
        }
        self.delete_root(root)
    }

    fn delete_root(&mut self, root: u32) -> Result<(), Trap> {
        if let Some(context) = self.state_mut().contexts.get_mut(&root) {
            context.delete_pending = false;
        }
        self.call(root, "proxy_on_delete", &[root])?;
        self.state_mut().contexts.remove(&root);
        Ok(())
    }

    /// When the next timer of this machine is due, and whose.
    #[must_use]
    pub fn next_tick(&self) -> Option<(u64, u32)> {
        self.state()
            .contexts
            .iter()
            .filter_map(|(root, context)| Some((context.tick?.due, *root)))
            .min()
    }

    /// The roots that have a timer.
    #[must_use]
    pub fn ticking_roots(&self) -> Vec<u32> {
        let contexts = self.state().contexts.iter();
        contexts
            .filter(|(_, context)| context.tick.is_some())
            .map(|(root, _)| *root)
            .collect()
    }

    /// Ticks `root` and sets its timer anew, from `now`.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn tick(&mut self, root: u32, now: u64) -> Result<(), Trap> {
        let ticked = self.call(root, "proxy_on_tick", &[root]);
        if let Some(context) = self.state_mut().contexts.get_mut(&root)
            && let Some(tick) = &mut context.tick
        {
            tick.due = now.saturating_add(tick.period);
        }
        ticked.map(drop)
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
