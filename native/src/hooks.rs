//! Every function that Envoy calls.
//!
//! A panic must not unwind into Envoy, so every hook that does anything catches
//! it. What it left is used further: counts are numbers, and `core` forbids
//! panics by lint, so this is the last line and not a way of working.
//!
//! Pointers to a configuration and to an exchange of the module go to Envoy and
//! come back with the next hook for them; Envoy gives each back once, by its
//! destroy hook, a configuration after the last of its exchanges.

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use crate::abi::{self, Buffer, Config, Stream};
use crate::service::{Filter, Service};

/// `Continue` of every status of the ABI: the traffic goes on.
const CONTINUE: u32 = 0;

/// Runs a hook; `None` where it panicked.
fn caught<R>(act: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(act)).ok()
}

/// Runs a hook of an exchange; a panic is counted.
///
/// # Safety
/// `filter` is one that [`envoy_dynamic_module_on_http_filter_new`] returned,
/// and its destroy hook has not run.
unsafe fn with(filter: *const c_void, act: impl FnOnce(&mut Filter<'static>)) {
    // SAFETY: as the caller says; Envoy runs the hooks of an exchange one after
    // the other on one thread, so there is no second reference. Null is where
    // the hook for a new one panicked.
    if let Some(filter) = unsafe { filter.cast_mut().cast::<Filter<'static>>().as_mut() } {
        let service = filter.service;
        if caught(|| act(filter)).is_none() {
            service.panicked();
        }
    }
}

// SAFETY of `no_mangle` here and below: the names are those of the ABI, and
// nothing else in the process has them.

/// Called once, when the module is loaded.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    caught(|| {
        std::panic::set_hook(Box::new(|panic| {
            abi::log_critical(&format!("gatemeter: {panic}"));
        }));
    });
    abi::VERSION.as_ptr()
}

/// Null where the configuration is refused.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    config: *mut c_void,
    _name: Buffer,
    json: Buffer,
) -> *const c_void {
    // SAFETY: Envoy gave both to this hook; the service that keeps the pointer
    // is dropped in the destroy hook.
    let (config, json) = unsafe { (Config::new(config), json.copied()) };
    match caught(|| Service::new(config, &json)) {
        Some(Ok(service)) => Box::into_raw(service).cast_const().cast(),
        Some(Err(problem)) => {
            abi::log_error(&format!("gatemeter: configuration refused: {problem}"));
            ptr::null()
        }
        None => ptr::null(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(service: *const c_void) {
    // SAFETY: the hook above made it, and Envoy gives it back once, after all
    // exchanges that refer to it.
    let mut service = unsafe { Box::from_raw(service.cast_mut().cast::<Service>()) };
    caught(|| service.close());
}

/// The tick, on the main thread.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    _config: *mut c_void,
    service: *const c_void,
    _event: u64,
) {
    // SAFETY: Envoy calls this only as long as the configuration lives.
    if let Some(service) = unsafe { service.cast::<Service>().as_ref() }
        && caught(|| service.tick()).is_none()
    {
        service.panicked();
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_new(
    service: *const c_void,
    _stream: *mut c_void,
) -> *const c_void {
    // SAFETY: a configuration outlives its exchanges in Envoy.
    let Some(service) = (unsafe { service.cast::<Service>().as_ref() }) else {
        return ptr::null();
    };
    match caught(|| Box::new(Filter::new(service))) {
        Some(filter) => Box::into_raw(filter).cast_const().cast(),
        None => {
            service.panicked();
            ptr::null()
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    stream: *mut c_void,
    filter: *const c_void,
    _end_of_stream: bool,
) -> u32 {
    // SAFETY: Envoy gave both to this hook.
    unsafe {
        let stream = Stream::new(stream);
        with(filter, |filter| filter.request_headers(&stream));
    }
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    stream: *mut c_void,
    filter: *const c_void,
    _end_of_stream: bool,
) -> u32 {
    // SAFETY: Envoy gave both to this hook.
    unsafe {
        let stream = Stream::new(stream);
        with(filter, |filter| filter.response_headers(&stream));
    }
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(
    stream: *mut c_void,
    filter: *const c_void,
) {
    // SAFETY: Envoy gave both to this hook.
    unsafe {
        let stream = Stream::new(stream);
        with(filter, |filter| filter.complete(&stream));
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_destroy(filter: *const c_void) {
    // SAFETY: Envoy gives back what the hook for a new one returned, once.
    unsafe {
        with(filter, Filter::end);
        if !filter.is_null() {
            drop(Box::from_raw(filter.cast_mut().cast::<Filter<'static>>()));
        }
    }
}

/// Hooks that let everything pass; Envoy loads no module without them.
macro_rules! pass {
    ($($hook:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $hook() -> u32 {
            CONTINUE
        }
    )*};
}

// Their parameters are left out: they are in registers or above the stack
// frame, where the caller cleans up.
pass! {
    envoy_dynamic_module_on_http_filter_request_body
    envoy_dynamic_module_on_http_filter_request_trailers
    envoy_dynamic_module_on_http_filter_response_body
    envoy_dynamic_module_on_http_filter_response_trailers
    envoy_dynamic_module_on_http_filter_scheduled
    envoy_dynamic_module_on_http_filter_http_callout_done
    envoy_dynamic_module_on_http_filter_http_stream_headers
    envoy_dynamic_module_on_http_filter_http_stream_data
    envoy_dynamic_module_on_http_filter_http_stream_trailers
    envoy_dynamic_module_on_http_filter_http_stream_complete
    envoy_dynamic_module_on_http_filter_http_stream_reset
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark
}
