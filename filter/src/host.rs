//! Every host call, declared here and used nowhere else.
//!
//! The SDK's own wrappers panic on a status they do not expect and on a header
//! that is not UTF-8; a panic takes the VM of a worker down. So the calls are
//! declared as the ABI has them (Proxy-Wasm 0.2.1, WASI preview 1), every
//! status is looked at, and a failure is a value.
//!
//! What the host hands over lies in memory that [`handed`] gave it and takes back.

use std::cell::Cell;
use std::ptr;
use std::time::Duration;

use gatemeter_core::catalog::StatKind;
use gatemeter_core::host::{Failed, Headers, HostCall, MetricId, Property, Stats, Stream};

use crate::handed::{self, Handed};

/// The proxy that the module runs in.
pub(crate) struct Proxy;

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const CAS_MISMATCH: u32 = 8;

const LOG_ERROR: u32 = 4;
const LOG_CRITICAL: u32 = 5;

const COUNTER: u32 = 0;
const GAUGE: u32 = 1;
const HISTOGRAM: u32 = 2;

const REQUEST_HEADERS: u32 = 0;
const RESPONSE_HEADERS: u32 = 2;
const RESPONSE_TRAILERS: u32 = 3;

const PLUGIN_CONFIGURATION: u32 = 7;

const CLOCK_MONOTONIC: u32 = 1;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        cas: u32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
}

thread_local! {
    /// Where the host writes the time, and where a map or property is: what every
    /// request needs costs more on the stack.
    static TIME: Cell<u64> = const { Cell::new(0) };
    static RETURNED: (Cell<*mut u8>, Cell<usize>) =
        const { (Cell::new(ptr::null_mut()), Cell::new(0)) };
}

/// Writes one line to the proxy's log. Never text from a request.
pub(crate) fn log_error(message: &str) {
    log(LOG_ERROR, message);
}

/// Writes one line to the proxy's log: the module cannot go on.
pub(crate) fn log_critical(message: &str) {
    log(LOG_CRITICAL, message);
}

fn log(level: u32, message: &str) {
    // SAFETY: pointer and size are those of a live string. A log that fails
    // has nowhere to be reported.
    let _ = unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}

/// Asks for a tick every so often.
pub(crate) fn set_tick_period(period: Duration) -> Result<(), Failed> {
    let millis = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: takes and returns numbers.
    let status = unsafe { proxy_set_tick_period_milliseconds(millis) };
    expect_ok(status, HostCall::SetTickPeriod)
}

/// The bytes of the plugin configuration; none where the plugin has none.
pub(crate) fn plugin_configuration() -> Result<Handed, Failed> {
    let mut returned = Returned::nowhere();
    // SAFETY: both out-pointers are valid for the duration of the call.
    let status = unsafe {
        proxy_get_buffer_bytes(
            PLUGIN_CONFIGURATION,
            0,
            usize::MAX,
            &raw mut returned.data,
            &raw mut returned.size,
        )
    };
    match status {
        OK => returned.take(HostCall::Buffer),
        NOT_FOUND => Ok(Handed::EMPTY),
        _ => Err(Failed(HostCall::Buffer)),
    }
}

impl Stats for Proxy {
    type Bytes = Handed;

    fn define_metric(&self, kind: StatKind, name: &str) -> Result<MetricId, Failed> {
        let kind = match kind {
            StatKind::Counter => COUNTER,
            StatKind::Gauge => GAUGE,
            StatKind::Histogram => HISTOGRAM,
        };
        let mut id = 0;
        // SAFETY: the name is a live string, the out-pointer is valid.
        let status = unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) };
        expect_ok(status, HostCall::DefineMetric).map(|()| MetricId(id))
    }

    fn increment_metric(&self, MetricId(id): MetricId, by: i64) -> Result<(), Failed> {
        // SAFETY: takes and returns numbers.
        let status = unsafe { proxy_increment_metric(id, by) };
        expect_ok(status, HostCall::IncrementMetric)
    }

    fn record_metric(&self, MetricId(id): MetricId, value: u64) -> Result<(), Failed> {
        // SAFETY: takes and returns numbers.
        let status = unsafe { proxy_record_metric(id, value) };
        expect_ok(status, HostCall::RecordMetric)
    }

    fn shared_data(&self, key: &str) -> Result<Option<(Handed, u32)>, Failed> {
        let mut returned = Returned::nowhere();
        let mut cas = 0;
        // SAFETY: the key is a live string, the out-pointers are valid.
        let status = unsafe {
            proxy_get_shared_data(
                key.as_ptr(),
                key.len(),
                &raw mut returned.data,
                &raw mut returned.size,
                &raw mut cas,
            )
        };
        match status {
            OK => Ok(Some((returned.take(HostCall::SharedData)?, cas))),
            NOT_FOUND => Ok(None),
            _ => Err(Failed(HostCall::SharedData)),
        }
    }

    fn set_shared_data(&self, key: &str, value: &[u8], token: u32) -> Result<bool, Failed> {
        // SAFETY: key and value are live slices.
        let status = unsafe {
            proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), token)
        };
        match status {
            OK => Ok(true),
            CAS_MISMATCH => Ok(false),
            _ => Err(Failed(HostCall::SetSharedData)),
        }
    }
}

impl Stream for Proxy {
    type Map = Handed;

    fn now(&self) -> Result<u64, Failed> {
        TIME.with(|time| {
            time.set(0);
            // SAFETY: the out-pointer is valid. The ABI's own clock is wall time;
            // WASI's is monotonic and costs the same.
            let errno = unsafe { clock_time_get(CLOCK_MONOTONIC, 1, time.as_ptr()) };
            expect_ok(errno, HostCall::Clock).map(|()| time.get())
        })
    }

    fn headers(&self, which: Headers) -> Result<Option<Handed>, Failed> {
        let map = match which {
            Headers::Request => REQUEST_HEADERS,
            Headers::Response => RESPONSE_HEADERS,
            Headers::ResponseTrailers => RESPONSE_TRAILERS,
        };
        RETURNED.with(|(data, size)| {
            data.set(ptr::null_mut());
            size.set(0);
            // SAFETY: both out-pointers are valid.
            let status = unsafe { proxy_get_header_map_pairs(map, data.as_ptr(), size.as_ptr()) };
            match status {
                OK if size.get() == 0 => Ok(None),
                OK => match handed::take(data.get(), size.get()) {
                    Some(map) => Ok(Some(map)),
                    None => Err(Failed(HostCall::HeaderMap)),
                },
                NOT_FOUND => Ok(None),
                _ => Err(Failed(HostCall::HeaderMap)),
            }
        })
    }

    fn remove_response_header(&self, name: &str) -> Result<(), Failed> {
        // SAFETY: the name is a live string.
        let status =
            unsafe { proxy_remove_header_map_value(RESPONSE_HEADERS, name.as_ptr(), name.len()) };
        expect_ok(status, HostCall::RemoveHeader)
    }

    fn property(&self, property: Property) -> Result<Option<Handed>, Failed> {
        let path = property.path();
        RETURNED.with(|(data, size)| {
            data.set(ptr::null_mut());
            size.set(0);
            // SAFETY: the path is a live string, the out-pointers are valid.
            let status = unsafe {
                proxy_get_property(path.as_ptr(), path.len(), data.as_ptr(), size.as_ptr())
            };
            match status {
                OK => match handed::take(data.get(), size.get()) {
                    Some(value) => Ok(Some(value)),
                    None => Err(Failed(HostCall::Property)),
                },
                NOT_FOUND => Ok(None),
                _ => Err(Failed(HostCall::Property)),
            }
        })
    }
}

fn expect_ok(status: u32, call: HostCall) -> Result<(), Failed> {
    if status == OK {
        Ok(())
    } else {
        Err(Failed(call))
    }
}

/// Where the host says it wrote what a call returns.
struct Returned {
    data: *mut u8,
    size: usize,
}

impl Returned {
    const fn nowhere() -> Self {
        Self {
            data: ptr::null_mut(),
            size: 0,
        }
    }

    fn take(&self, call: HostCall) -> Result<Handed, Failed> {
        handed::take(self.data, self.size).ok_or(Failed(call))
    }
}
