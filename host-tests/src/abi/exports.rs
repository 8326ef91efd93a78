//! The exports of one instance, looked up and checked once: a callback then
//! costs no search by name.
//!
//! Envoy refuses a module whose export has another signature than it calls it
//! with, and one that has no allocator (`WasmBase::getFunctions`).

use thiserror::Error;
use wasmtime::{AsContextMut, Extern, Func, Instance, Store, TypedFunc, WasmParams, WasmResults};

use super::callback::Callback;
use crate::memory::{ALLOCATORS, Layout};

/// Why the exports of a module will not do.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ExportError {
    /// The host would call it with other parameters or results.
    #[error("bad function signature for {name}: want {wanted}, the module has {found}")]
    Signature {
        /// The export.
        name: &'static str,
        /// What the ABI says.
        wanted: String,
        /// What it is.
        found: String,
    },
    /// Without an allocator the host can hand nothing over.
    #[error("the module exports neither malloc nor proxy_on_memory_allocate")]
    NoAllocator,
}

/// A callback that the module exports, by its signature: with how many
/// parameters, and whether it answers.
#[derive(Clone)]
enum Export {
    Call0(TypedFunc<(), ()>),
    Call1(TypedFunc<u32, ()>),
    Call2(TypedFunc<(u32, u32), ()>),
    Call3(TypedFunc<(u32, u32, u32), ()>),
    Call5(TypedFunc<(u32, u32, u32, u32, u32), ()>),
    Ask0(TypedFunc<(), u32>),
    Ask1(TypedFunc<u32, u32>),
    Ask2(TypedFunc<(u32, u32), u32>),
    Ask3(TypedFunc<(u32, u32, u32), u32>),
}

/// The callbacks of an instance.
pub struct Exports {
    by_callback: Vec<Option<Export>>,
}

impl Exports {
    /// Looks all callbacks of `instance` up.
    ///
    /// # Errors
    ///
    /// [`ExportError::Signature`].
    pub fn find<T>(store: &mut Store<T>, instance: &Instance) -> Result<Self, ExportError> {
        let reactor = instance
            .get_func(&mut *store, Callback::Initialize.name())
            .is_some();
        let mut by_callback = Vec::with_capacity(Callback::ALL.len());
        for &callback in Callback::ALL {
            // Envoy looks at one of the two ways to begin only.
            let other_way = match callback {
                Callback::Start => reactor,
                Callback::Main | Callback::MainVoid => !reactor,
                _ => false,
            };
            let function = instance.get_func(&mut *store, callback.name());
            by_callback.push(match function {
                Some(function) if !other_way => Some(export(store, callback, &function)?),
                _ => None,
            });
        }
        Ok(Self { by_callback })
    }

    /// Whether the module has this callback.
    #[must_use]
    pub fn has(&self, callback: Callback) -> bool {
        matches!(self.by_callback.get(callback as usize), Some(Some(_)))
    }

    /// Calls `callback`, if the module has it and takes as many arguments.
    ///
    /// # Errors
    ///
    /// The trap.
    pub fn call<T>(
        &self,
        store: &mut Store<T>,
        callback: Callback,
        arguments: &[u32],
    ) -> Option<wasmtime::Result<u32>> {
        let export = self.by_callback.get(callback as usize)?.as_ref()?;
        let mut store = store.as_context_mut();
        let answer = match (export, arguments) {
            (Export::Call0(call), &[]) => call.call(&mut store, ()).map(|()| 0),
            (Export::Call1(call), &[a]) => call.call(&mut store, a).map(|()| 0),
            (Export::Call2(call), &[a, b]) => call.call(&mut store, (a, b)).map(|()| 0),
            (Export::Call3(call), &[a, b, c]) => call.call(&mut store, (a, b, c)).map(|()| 0),
            (Export::Call5(call), &[a, b, c, d, e]) => {
                call.call(&mut store, (a, b, c, d, e)).map(|()| 0)
            }
            (Export::Ask0(call), &[]) => call.call(&mut store, ()),
            (Export::Ask1(call), &[a]) => call.call(&mut store, a),
            (Export::Ask2(call), &[a, b]) => call.call(&mut store, (a, b)),
            (Export::Ask3(call), &[a, b, c]) => call.call(&mut store, (a, b, c)),
            _ => Err(wasmtime::Error::msg(format!(
                "{} takes {} arguments, not {}",
                callback.name(),
                callback.parameters(),
                arguments.len()
            ))),
        };
        Some(answer)
    }
}

/// Where the host reads, writes and allocates in `instance`.
///
/// # Errors
///
/// If there is no allocator, or one of another signature.
pub fn layout<T>(store: &mut Store<T>, instance: &Instance) -> Result<Layout, ExportError> {
    let (name, function) = ALLOCATORS
        .into_iter()
        .find_map(|name| Some((name, instance.get_func(&mut *store, name)?)))
        .ok_or(ExportError::NoAllocator)?;
    Ok(Layout {
        memory: instance
            .get_export(&mut *store, "memory")
            .and_then(Extern::into_memory),
        allocator: typed(store, name, &function, "i32", "i32")?,
    })
}

fn export<T>(store: &Store<T>, callback: Callback, function: &Func) -> Result<Export, ExportError> {
    fn checked<T, P: WasmParams, R: WasmResults>(
        store: &Store<T>,
        callback: Callback,
        function: &Func,
    ) -> Result<TypedFunc<P, R>, ExportError> {
        let parameters = ["i32"; 5][..callback.parameters()].join(" ");
        let results = if callback.answers() { "i32" } else { "" };
        typed(store, callback.name(), function, &parameters, results)
    }
    Ok(match (callback.parameters(), callback.answers()) {
        (0, false) => Export::Call0(checked(store, callback, function)?),
        (1, false) => Export::Call1(checked(store, callback, function)?),
        (2, false) => Export::Call2(checked(store, callback, function)?),
        (3, false) => Export::Call3(checked(store, callback, function)?),
        (_, false) => Export::Call5(checked(store, callback, function)?),
        (0, true) => Export::Ask0(checked(store, callback, function)?),
        (1, true) => Export::Ask1(checked(store, callback, function)?),
        (2, true) => Export::Ask2(checked(store, callback, function)?),
        (_, true) => Export::Ask3(checked(store, callback, function)?),
    })
}

fn typed<T, P: WasmParams, R: WasmResults>(
    store: &Store<T>,
    name: &'static str,
    function: &Func,
    parameters: &str,
    results: &str,
) -> Result<TypedFunc<P, R>, ExportError> {
    function.typed(store).map_err(|_| {
        let signature = function.ty(store);
        let list = |types: &mut dyn Iterator<Item = wasmtime::ValType>| {
            let names: Vec<String> = types.map(|kind| kind.to_string()).collect();
            names.join(" ")
        };
        ExportError::Signature {
            name,
            wanted: format!("({parameters}) -> ({results})"),
            found: format!(
                "({}) -> ({})",
                list(&mut signature.params()),
                list(&mut signature.results())
            ),
        }
    })
}
