//! Every export of the module: the callbacks of Proxy-Wasm 0.2.1 that the
//! filter uses, and no other, since a host enters the module for each callback
//! that is exported, body chunks included.
//!
//! The SDK for Rust is not used: its dispatcher traps on a context id that it
//! does not know, boxes each context, and exports every callback of the ABI.
//!
//! In Envoy the callbacks of an exchange come as: create, request headers,
//! response headers, log, done, delete. Done comes for every exchange too, so
//! it is left out; delete tells the same.

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use crate::contexts::Contexts;
use crate::{handed, host};

/// `Action::Continue` of the ABI: the traffic goes on.
const CONTINUE: u32 = 0;

thread_local! {
    /// All contexts of this VM. A VM has one thread, which ends with it: that
    /// nothing is dropped then saves a look at each callback.
    static CONTEXTS: ManuallyDrop<RefCell<Contexts>> =
        const { ManuallyDrop::new(RefCell::new(Contexts::new())) };
}

/// Runs a callback. The host enters the module once at a time, and in the
/// middle of a callback only to allocate, so the contexts are free.
fn enter<R: Default>(act: impl FnOnce(&mut Contexts) -> R) -> R {
    CONTEXTS.with(|contexts| match contexts.try_borrow_mut() {
        Ok(mut contexts) => act(&mut contexts),
        Err(_) => R::default(),
    })
}

// SAFETY of `no_mangle` here and below: the names are those of the ABI, and
// nothing else in the module has them.

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// Called once, before anything else. Of all host calls only logging is allowed.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    unsafe extern "C" {
        /// Of the linker: initialises what libc needs.
        fn __wasm_call_ctors();
    }
    // SAFETY: the host calls `_initialize` once, which is what it asks for.
    unsafe { __wasm_call_ctors() };
    // Nothing here panics. Should the standard library do so, the log says
    // where, in place of a bare trap.
    std::panic::set_hook(Box::new(|panic| {
        host::log_critical(&format!("gatemeter: {panic}"));
    }));
}

/// The host asks for memory to copy something into; null where there is none.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    handed::allocate(size)
}

/// A root context where `root` is 0, else an exchange of that root.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(id: u32, root: u32) {
    enter(|contexts| match root {
        0 => contexts.create_root(id),
        root => contexts.create_exchange(id, root),
    });
}

/// 1 where the configuration is in use from now on, 0 where it is refused.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root: u32, _size: usize) -> u32 {
    enter(|contexts| match contexts.configure(root) {
        Ok(()) => 1,
        Err(problem) => {
            host::log_error(&format!("gatemeter: configuration refused: {problem}"));
            0
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root: u32) {
    enter(|contexts| contexts.tick(root));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(id: u32, _count: u32, _end_of_stream: u32) -> u32 {
    enter(|contexts| contexts.request_headers(id));
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(id: u32, _count: u32, _end_of_stream: u32) -> u32 {
    enter(|contexts| contexts.response_headers(id));
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(id: u32) {
    enter(|contexts| contexts.log(id));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(id: u32) {
    enter(|contexts| contexts.delete(id));
}
