//! Every function of Envoy that is called, declared here and called nowhere else.
//!
//! Names, order of parameters and numbers are those of the public header of
//! Envoy's dynamic modules (`source/extensions/dynamic_modules/abi/abi.h`). Envoy
//! itself exports the functions; the dynamic linker binds them when the module
//! is loaded.
//!
//! Envoy's memory is borrowed for the hook that runs; what outlives it is copied.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::ptr;

use gatemeter_core::catalog::StatKind;
use gatemeter_core::header_map::Pairs;
use gatemeter_core::host::Property;

/// Version of the ABI that these declarations are of, that of Envoy 1.40. Envoy
/// warns where its own is another, and loads the module all the same; it promises
/// that the next minor version still fits.
pub(crate) const VERSION: &CStr = c"v0.2.0";

/// Text or bytes that somebody else owns.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Buffer {
    data: *const u8,
    size: usize,
}

impl Buffer {
    const NONE: Self = Self {
        data: ptr::null(),
        size: 0,
    };

    const fn of(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr(),
            size: bytes.len(),
        }
    }

    /// The bytes, copied.
    ///
    /// # Safety
    /// Envoy handed the buffer over in the hook that runs.
    pub(crate) unsafe fn copied(self) -> Vec<u8> {
        // SAFETY: as the caller says; the bytes are there until the hook ends.
        unsafe { slice(self.data, self.size) }.to_vec()
    }
}

/// A header as Envoy has it; both parts are Envoy's memory.
#[repr(C)]
#[derive(Debug)]
struct Header {
    name: *const u8,
    name_size: usize,
    value: *const u8,
    value_size: usize,
}

/// Which map, as `envoy_dynamic_module_type_http_header_type` numbers them.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Map {
    Request = 0,
    Response = 2,
    ResponseTrailers = 3,
}

/// `envoy_dynamic_module_type_metrics_result_Success`.
const SUCCESS: u32 = 0;

const LOG_ERROR: u32 = 4;
const LOG_CRITICAL: u32 = 5;

unsafe extern "C" {
    #[link_name = "envoy_dynamic_module_callback_log"]
    fn envoy_log(level: u32, message: Buffer);
    #[link_name = "envoy_dynamic_module_callback_get_concurrency"]
    fn envoy_get_concurrency() -> u32;

    #[link_name = "envoy_dynamic_module_callback_http_get_headers_size"]
    fn envoy_get_headers_size(stream: *mut c_void, map: u32) -> usize;
    #[link_name = "envoy_dynamic_module_callback_http_get_headers"]
    fn envoy_get_headers(stream: *mut c_void, map: u32, headers: *mut Header) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_set_header"]
    fn envoy_set_header(stream: *mut c_void, map: u32, name: Buffer, value: Buffer) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_filter_get_attribute_int"]
    fn envoy_get_attribute_int(stream: *mut c_void, attribute: u32, result: *mut u64) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_filter_get_attribute_string"]
    fn envoy_get_attribute_string(stream: *mut c_void, attribute: u32, result: *mut Buffer)
    -> bool;

    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_counter"]
    fn envoy_define_counter(
        config: *mut c_void,
        name: Buffer,
        label_names: *const Buffer,
        labels: usize,
        id: *mut usize,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_gauge"]
    fn envoy_define_gauge(
        config: *mut c_void,
        name: Buffer,
        label_names: *const Buffer,
        labels: usize,
        id: *mut usize,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_histogram"]
    fn envoy_define_histogram(
        config: *mut c_void,
        name: Buffer,
        label_names: *const Buffer,
        labels: usize,
        id: *mut usize,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_increment_counter"]
    fn envoy_increment_counter(
        config: *mut c_void,
        id: usize,
        label_values: *const Buffer,
        labels: usize,
        by: u64,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_increment_gauge"]
    fn envoy_increment_gauge(
        config: *mut c_void,
        id: usize,
        label_values: *const Buffer,
        labels: usize,
        by: u64,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_decrement_gauge"]
    fn envoy_decrement_gauge(
        config: *mut c_void,
        id: usize,
        label_values: *const Buffer,
        labels: usize,
        by: u64,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_set_gauge"]
    fn envoy_set_gauge(
        config: *mut c_void,
        id: usize,
        label_values: *const Buffer,
        labels: usize,
        to: u64,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_record_histogram_value"]
    fn envoy_record_histogram_value(
        config: *mut c_void,
        id: usize,
        label_values: *const Buffer,
        labels: usize,
        value: u64,
    ) -> u32;

    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_new"]
    fn envoy_scheduler_new(config: *mut c_void) -> *mut c_void;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_commit"]
    fn envoy_scheduler_commit(scheduler: *mut c_void, event: u64);
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_delete"]
    fn envoy_scheduler_delete(scheduler: *mut c_void);
}

/// Writes one line to Envoy's log. Never text from a request.
pub(crate) fn log_error(message: &str) {
    // SAFETY: the buffer is that of a live string.
    unsafe { envoy_log(LOG_ERROR, Buffer::of(message.as_bytes())) };
}

/// Writes one line to Envoy's log: something is broken in here.
pub(crate) fn log_critical(message: &str) {
    // SAFETY: the buffer is that of a live string.
    unsafe { envoy_log(LOG_CRITICAL, Buffer::of(message.as_bytes())) };
}

/// How many workers Envoy has. On the main thread only.
pub(crate) fn concurrency() -> usize {
    // SAFETY: takes nothing and returns a number.
    unsafe { envoy_get_concurrency() as usize }
}

/// A filter configuration in Envoy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config(*mut c_void);

// SAFETY: Envoy's functions for it may be called from any of its threads, and
// no other thread calls them: hooks run on Envoy's threads.
unsafe impl Send for Config {}
// SAFETY: as above.
unsafe impl Sync for Config {}

/// What Envoy returned is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

const fn expect_success(result: u32) -> Result<(), Refused> {
    match result {
        SUCCESS => Ok(()),
        _ => Err(Refused),
    }
}

/// A stat, or stats with one label each, as a configuration defined it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defined(usize);

impl Config {
    /// # Safety
    /// `config` is the pointer that Envoy gave to the hook for a new
    /// configuration, and the value is not used after the destroy hook for it.
    pub(crate) const unsafe fn new(config: *mut c_void) -> Self {
        Self(config)
    }

    /// Defines a stat, or with a label all stats that its values make. Only
    /// inside the hook for a new configuration.
    pub(crate) fn define(
        self,
        kind: StatKind,
        name: &str,
        label: Option<&str>,
    ) -> Result<Defined, Refused> {
        let define = match kind {
            StatKind::Counter => envoy_define_counter,
            StatKind::Gauge => envoy_define_gauge,
            StatKind::Histogram => envoy_define_histogram,
        };
        let labels = label.map(|label| Buffer::of(label.as_bytes()));
        let labels = labels.as_slice();
        let name = Buffer::of(name.as_bytes());
        let mut id = 0;
        // SAFETY: the configuration lives, see `new`; name and labels are live
        // for the call, which copies them; the out-pointer is valid.
        let result = unsafe { define(self.0, name, labels.as_ptr(), labels.len(), &raw mut id) };
        expect_success(result).map(|()| Defined(id))
    }

    pub(crate) fn add(self, id: Defined, label: Option<&str>, by: u64) -> Result<(), Refused> {
        self.change(envoy_increment_counter, id, label, by)
    }

    pub(crate) fn raise(self, id: Defined, label: Option<&str>, by: u64) -> Result<(), Refused> {
        self.change(envoy_increment_gauge, id, label, by)
    }

    pub(crate) fn lower(self, id: Defined, label: Option<&str>, by: u64) -> Result<(), Refused> {
        self.change(envoy_decrement_gauge, id, label, by)
    }

    pub(crate) fn set(self, id: Defined, label: Option<&str>, to: u64) -> Result<(), Refused> {
        self.change(envoy_set_gauge, id, label, to)
    }

    pub(crate) fn record(
        self,
        id: Defined,
        label: Option<&str>,
        value: u64,
    ) -> Result<(), Refused> {
        self.change(envoy_record_histogram_value, id, label, value)
    }

    fn change(
        self,
        call: unsafe extern "C" fn(*mut c_void, usize, *const Buffer, usize, u64) -> u32,
        Defined(id): Defined,
        label: Option<&str>,
        value: u64,
    ) -> Result<(), Refused> {
        let labels = label.map(|label| Buffer::of(label.as_bytes()));
        let labels = labels.as_slice();
        // SAFETY: the configuration lives, see `new`; Envoy checks id and count
        // of labels; the label is live for the call, which copies it.
        let result = unsafe { call(self.0, id, labels.as_ptr(), labels.len(), value) };
        expect_success(result)
    }

    /// What wakes the main thread for this configuration.
    pub(crate) fn scheduler(self) -> Scheduler {
        // SAFETY: the configuration lives, see `new`.
        Scheduler(unsafe { envoy_scheduler_new(self.0) })
    }
}

/// Wakes the main thread for a configuration, from any thread; does nothing
/// once that is gone.
pub(crate) struct Scheduler(*mut c_void);

// SAFETY: Envoy says that it may be used from any thread; only its owner
// deletes it.
unsafe impl Send for Scheduler {}

impl Scheduler {
    pub(crate) fn wake(&self) {
        // SAFETY: the scheduler is deleted when this value is dropped.
        unsafe { envoy_scheduler_commit(self.0, 0) };
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: Envoy made it, and nobody has it any more.
        unsafe { envoy_scheduler_delete(self.0) };
    }
}

/// An exchange in Envoy, for the hook that runs.
#[derive(Debug)]
pub(crate) struct Stream {
    stream: *mut c_void,
    /// How many maps are out, which are Envoy's memory: it must not change.
    shown: Cell<u32>,
}

impl Stream {
    /// # Safety
    /// `stream` is the pointer that Envoy gave to the hook that runs, and the
    /// value does not outlive it.
    pub(crate) const unsafe fn new(stream: *mut c_void) -> Self {
        Self {
            stream,
            shown: Cell::new(0),
        }
    }

    /// A map; empty where there is none.
    pub(crate) fn headers(&self, map: Map) -> Headers<'_> {
        self.shown.set(self.shown.get() + 1);
        let mut shown = Headers {
            stream: self,
            headers: Vec::new(),
        };
        // SAFETY: the stream lives, see `new`.
        let size = unsafe { envoy_get_headers_size(self.stream, map as u32) };
        shown.headers.reserve_exact(size);
        let headers = shown.headers.as_mut_ptr();
        // SAFETY: the stream lives. There is room for `size` headers, and the
        // map has not changed since it said so: only this thread touches it.
        if unsafe { envoy_get_headers(self.stream, map as u32, headers) } {
            // SAFETY: Envoy wrote as many as it said it has.
            unsafe { shown.headers.set_len(size) };
        }
        shown
    }

    /// Takes a header out of a map; not while one is looked at.
    pub(crate) fn remove(&self, map: Map, name: &str) -> Result<(), Refused> {
        if self.shown.get() != 0 {
            return Err(Refused);
        }
        let name = Buffer::of(name.as_bytes());
        // SAFETY: the stream lives, the name is live for the call. No value
        // means that the header goes.
        let removed = unsafe { envoy_set_header(self.stream, map as u32, name, Buffer::NONE) };
        removed.then_some(()).ok_or(Refused)
    }

    pub(crate) fn property(&self, property: Property) -> Option<Vec<u8>> {
        match attribute(property)? {
            Attribute::Number(id) => self.number(id).map(|number| number.to_le_bytes().to_vec()),
            Attribute::Text(id) => self.text(id),
        }
    }

    fn number(&self, attribute: u32) -> Option<u64> {
        let mut number = 0;
        // SAFETY: the stream lives, the out-pointer is valid.
        unsafe { envoy_get_attribute_int(self.stream, attribute, &raw mut number) }
            .then_some(number)
    }

    fn text(&self, attribute: u32) -> Option<Vec<u8>> {
        let mut text = Buffer::NONE;
        // SAFETY: the stream lives, the out-pointer is valid; what Envoy says is
        // there is there until the hook ends.
        unsafe {
            envoy_get_attribute_string(self.stream, attribute, &raw mut text).then(|| text.copied())
        }
    }
}

/// How an attribute is read, and its number in
/// `envoy_dynamic_module_type_attribute_id`.
enum Attribute {
    Number(u32),
    Text(u32),
}

/// `None` for what Envoy does not offer in this form: `request.duration`. The
/// hook for a new exchange runs when its headers have come, also where a filter
/// before this one answers, so that the own clock tells the same.
const fn attribute(property: Property) -> Option<Attribute> {
    Some(match property {
        Property::RequestDuration => return None,
        Property::RequestSize => Attribute::Number(13),
        Property::RequestTotalSize => Attribute::Number(14),
        Property::ResponseCodeDetails => Attribute::Text(16),
        Property::ResponseFlags => Attribute::Number(17),
        Property::ResponseSize => Attribute::Number(21),
        Property::UpstreamAddress => Attribute::Text(41),
    })
}

/// A map as Envoy has it.
#[derive(Debug)]
pub(crate) struct Headers<'h> {
    stream: &'h Stream,
    headers: Vec<Header>,
}

impl Pairs for Headers<'_> {
    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        Shown(self.headers.iter())
    }

    fn count(&self) -> usize {
        self.headers.len()
    }
}

/// Headers that a hook shows.
struct Shown<'a>(std::slice::Iter<'a, Header>);

impl<'a> Iterator for Shown<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.next()?;
        // SAFETY: Envoy filled the headers in the hook that runs, and does not
        // change them as long as they are shown, see `Stream::remove`.
        Some(unsafe {
            (
                slice(header.name, header.name_size),
                slice(header.value, header.value_size),
            )
        })
    }
}

impl Drop for Headers<'_> {
    fn drop(&mut self) {
        let shown = &self.stream.shown;
        shown.set(shown.get().saturating_sub(1));
    }
}

/// # Safety
/// There are `size` bytes at `data`, which do not change while they are
/// borrowed; `data` may be null where there are none.
unsafe fn slice<'b>(data: *const u8, size: usize) -> &'b [u8] {
    if data.is_null() || size == 0 {
        return &[];
    }
    // SAFETY: as the caller says.
    unsafe { std::slice::from_raw_parts(data, size) }
}
