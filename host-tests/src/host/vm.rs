//! One virtual machine: it is started, gets root contexts by configuration,
//! ticks them and ends them as Envoy does. Its streams are in `stream`, what a
//! response of the proxy itself is in `reply`, its connections in `network`, the
//! answers to its calls in [`calls`].
//!
//! A callback that the module does not export is skipped. After a trap the
//! machine is dead and every further callback is skipped, `proxy_on_delete` too
//! (`isFailed()` in `ContextBase`); what becomes of its streams is the failure
//! policy's matter.

pub mod calls;
mod network;
mod reply;
mod stream;

pub use reply::LocalReply;

use std::cell::RefCell;
use std::rc::Rc;

use thiserror::Error;
use wasmtime::{Instance, Store, Val};

use super::context::{After, Context, Plugin};
use super::cost::Cost;
use super::module::Module;
use super::network::CloseType;
use super::process::{Process, Thread};
use super::settings::{Restriction, VmSettings};
use super::state::VmState;
use crate::abi::callback::Callback;
use crate::abi::exports::{Exports, layout};

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
    /// A callback answered false.
    Refused(Step),
}

/// The callbacks that can refuse a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `proxy_on_vm_start`
    Start,
    /// `proxy_on_configure`
    Configure,
}

/// A virtual machine.
pub struct Vm {
    store: Store<VmState>,
    instance: Instance,
    exports: Exports,
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
    /// If the module imports what the host does not have, exports a callback
    /// with another signature or no allocator, or traps.
    pub fn start(
        module: &Module,
        process: Rc<RefCell<Process>>,
        thread: Thread,
        settings: Rc<VmSettings>,
    ) -> Result<Self, Trap> {
        let refused = |cause: String| Trap {
            thread,
            callback: "instantiation".to_owned(),
            cause,
        };
        let failed = |error: wasmtime::Error| refused(format!("{error:#}"));
        let linked = module
            .linked()
            .map_err(|error| refused(error.to_string()))?;
        let mut state = VmState::new(process, thread, settings);
        state.restriction = Some(Restriction::Initializing);
        let mut store = Store::new(linked.module().engine(), state);
        store.set_fuel(FUEL_OF_A_CALL).map_err(failed)?;
        let instance = linked.instantiate(&mut store).map_err(failed)?;
        let exports = Exports::find(&mut store, &instance)
            .and_then(|exports| Ok((exports, layout(&mut store, &instance)?)));
        let (exports, layout) = exports.map_err(|error| refused(error.to_string()))?;
        store.data_mut().layout = Some(layout);
        let mut vm = Self {
            store,
            instance,
            exports,
            dead: None,
        };
        if vm.exports.has(Callback::Initialize) {
            vm.run(0, Callback::Initialize, &[])?;
            if vm.exports.has(Callback::Main) {
                vm.run(0, Callback::Main, &[0, 0])?;
            } else {
                vm.run(0, Callback::MainVoid, &[])?;
            }
        } else {
            vm.run(0, Callback::Start, &[])?;
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
    #[must_use]
    pub fn cost(&self) -> Cost {
        let mut cost = self.store.data().cost.clone();
        let layout = self.store.data().layout.as_ref();
        cost.pages = layout
            .and_then(|layout| layout.memory)
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
        match Callback::named(callback) {
            Some(callback) => self.run(context, callback, arguments),
            None => self.run_other(context, callback, arguments),
        }
    }

    /// As [`Vm::call`], with what the ABI knows.
    ///
    /// # Errors
    ///
    /// The trap, which kills the machine.
    pub fn run(
        &mut self,
        context: u32,
        callback: Callback,
        arguments: &[u32],
    ) -> Result<Option<u32>, Trap> {
        if self.dead.is_some() || !self.exports.has(callback) || !self.allows(callback) {
            return Ok(None);
        }
        let before = self.enter(context);
        let answer = match self.store.set_fuel(FUEL_OF_A_CALL) {
            Ok(()) => self.exports.call(&mut self.store, callback, arguments),
            Err(error) => Some(Err(error)),
        };
        let spent = self.leave(before);
        let cost = &mut self.store.data_mut().cost;
        cost.count_crossing(callback, spent);
        let answer = answer.unwrap_or(Ok(0));
        self.returned(callback.name(), answer).map(Some)
    }

    /// Whether the machine's settings let the host call it. What starts the
    /// module is no capability.
    fn allows(&self, callback: Callback) -> bool {
        let name = callback.name();
        !name.starts_with("proxy_") || self.state().settings.allows(name)
    }

    /// An export that is no callback of the ABI, for tests that call by hand.
    fn run_other(
        &mut self,
        context: u32,
        name: &str,
        arguments: &[u32],
    ) -> Result<Option<u32>, Trap> {
        let function = self.instance.get_func(&mut self.store, name);
        let (None, Some(function)) = (&self.dead, function) else {
            return Ok(None);
        };
        let before = self.enter(context);
        let answer = self.store.set_fuel(FUEL_OF_A_CALL).and_then(|()| {
            let numbers = arguments.iter();
            let arguments: Vec<Val> = numbers
                .map(|number| Val::I32(number.cast_signed()))
                .collect();
            let results = function.ty(&self.store).results().len();
            let mut results = vec![Val::I32(0); results];
            function.call(&mut self.store, &arguments, &mut results)?;
            let answer = results.first().and_then(Val::i32).unwrap_or_default();
            Ok(answer.cast_unsigned())
        });
        let spent = self.leave(before);
        self.store.data_mut().cost.count_other(name, spent);
        self.returned(name, answer).map(Some)
    }

    fn enter(&mut self, context: u32) -> (u32, u32) {
        let state = self.store.data_mut();
        let before = (state.current, state.effective);
        state.current = context;
        state.effective = 0;
        before
    }

    /// Gives the fuel that the call took.
    fn leave(&mut self, before: (u32, u32)) -> u64 {
        let spent = FUEL_OF_A_CALL.saturating_sub(self.store.get_fuel().unwrap_or_default());
        let state = self.store.data_mut();
        (state.current, state.effective) = before;
        spent
    }

    fn returned(&mut self, callback: &str, answer: wasmtime::Result<u32>) -> Result<u32, Trap> {
        match answer {
            Ok(answer) => {
                self.do_deferred()?;
                Ok(answer)
            }
            Err(error) => Err(self.die(callback, &format!("{error:#}"))),
        }
    }

    fn die(&mut self, callback: &str, cause: &str) -> Trap {
        let trap = Trap {
            thread: self.store.data().thread,
            callback: callback.to_owned(),
            cause: cause.to_owned(),
        };
        self.dead = Some(trap.clone());
        trap
    }

    /// Does what host calls put off until the callback that made them is over
    /// (`DeferAfterCallActions` of proxy-wasm-cpp-host).
    fn do_deferred(&mut self) -> Result<(), Trap> {
        while let Some(after) = self.state_mut().after.pop_front() {
            match after {
                After::DeleteRoot(root) => self.delete_root(root)?,
                After::Continue(stream, half) => self.resume(stream, half)?,
                After::Reply(stream, response) => self.reply_of_the_module(stream, response)?,
                After::Close(stream) => self.close(stream)?,
                After::ContinueReading(connection) => self.continue_reading(connection),
                After::CloseConnection(id) => self.end_connection(id, CloseType::Local)?,
                After::ForgetAnswer(root) => self.state_mut().calls.forget_answer(root),
                After::FailGrpc(root, token, why) => self.grpc_failed(root, token, why)?,
            }
        }
        Ok(())
    }

    /// Gives the machine a plugin: a new root context, created, started and
    /// configured. The configuration can be read in the first and the last of
    /// these callbacks. If the machine has a root for the same plugin, that one
    /// is used, and no callback runs (`getOrCreateThreadLocalPlugin`).
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn configure(&mut self, plugin: &Rc<Plugin>) -> Result<Configured, Trap> {
        if let Some(root) = self.root_of(plugin) {
            self.hold_root(root);
            return Ok(Configured::Accepted(root));
        }
        let root = self.state_mut().add_context(Context {
            plugin: Some(Rc::clone(plugin)),
            holders: 1,
            ..Context::default()
        });
        self.state_mut().roots.push(root);
        self.with_configuration(plugin, |vm| vm.create(root))?;
        let size = length(&self.state().settings.vm_configuration);
        let started = self.run(root, Callback::VmStart, &[root, size])?;
        if started == Some(0) {
            return Ok(Configured::Refused(Step::Start));
        }
        let size = length(&plugin.configuration);
        let configured = self.with_configuration(plugin, |vm| {
            vm.run(root, Callback::Configure, &[root, size])
        })?;
        if configured == Some(0) {
            return Ok(Configured::Refused(Step::Configure));
        }
        Ok(Configured::Accepted(root))
    }

    /// The root that this plugin has already, and that has not begun to end.
    fn root_of(&self, plugin: &Plugin) -> Option<u32> {
        let state = self.state();
        let mut roots = state.roots.iter().copied();
        roots.find(|root| {
            state.contexts.get(root).is_some_and(|context| {
                !context.done_pending && context.plugin.as_deref() == Some(plugin)
            })
        })
    }

    fn hold_root(&mut self, root: u32) {
        if let Some(context) = self.state_mut().contexts.get_mut(&root) {
            context.holders += 1;
        }
    }

    fn with_configuration<R>(
        &mut self,
        plugin: &Rc<Plugin>,
        run: impl FnOnce(&mut Self) -> R,
    ) -> R {
        self.state_mut().configuring = Some(Rc::clone(plugin));
        let answer = run(self);
        self.state_mut().configuring = None;
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
        self.run(id, Callback::ContextCreate, &[id, root])?;
        Ok(())
    }

    /// Takes a root out of use in one place. When nothing uses it, it ends
    /// (done, delete) with its last stream.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn release_root(&mut self, root: u32) -> Result<(), Trap> {
        if let Some(context) = self.state_mut().contexts.get_mut(&root) {
            context.holders = context.holders.saturating_sub(1);
        }
        self.end_root_if_idle(root)
    }

    fn end_root_if_idle(&mut self, root: u32) -> Result<(), Trap> {
        match self.state().contexts.get(&root) {
            Some(context)
                if context.holders == 0 && context.streams == 0 && !context.done_pending => {}
            _ => return Ok(()),
        }
        let done = self.run(root, Callback::Done, &[root])?;
        if done == Some(0) {
            if let Some(context) = self.state_mut().contexts.get_mut(&root) {
                context.done_pending = true;
            }
            return Ok(());
        }
        self.delete_root(root)
    }

    fn delete_root(&mut self, root: u32) -> Result<(), Trap> {
        self.run(root, Callback::Delete, &[root])?;
        let state = self.state_mut();
        state.contexts.remove(&root);
        state.roots.retain(|id| *id != root);
        state.calls.cancel(root);
        Ok(())
    }

    /// Tells a root that a queue got a value, if it still is there.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn queue_ready(&mut self, root: u32, queue: u32) -> Result<(), Trap> {
        if self.state().contexts.contains_key(&root) {
            self.run(root, Callback::QueueReady, &[root, queue])?;
        }
        Ok(())
    }

    /// Whether no stream is open in the machine, and none ended that nobody
    /// asked for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.state();
        state.contexts.len() == state.roots.len() && state.ended.is_empty()
    }

    /// When the next timer of this machine is due, and whose.
    #[must_use]
    pub fn next_tick(&self) -> Option<(u64, u32)> {
        let state = self.state();
        let ticks = state.roots.iter().filter_map(|root| {
            let tick = state.contexts.get(root)?.tick?;
            Some((tick.due, *root))
        });
        ticks.min()
    }

    /// The roots that have a timer.
    #[must_use]
    pub fn ticking_roots(&self) -> Vec<u32> {
        let state = self.state();
        let ticks = |root: &&u32| {
            let context = state.contexts.get(root);
            context.is_some_and(|context| context.tick.is_some())
        };
        state.roots.iter().filter(ticks).copied().collect()
    }

    /// Ticks `root` and sets its timer anew, from `now`.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn tick(&mut self, root: u32, now: u64) -> Result<(), Trap> {
        let ticked = self.run(root, Callback::Tick, &[root]);
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
