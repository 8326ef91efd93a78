//! The floor under the cost of Gatemeter's module: a filter on the raw ABI with
//! the same callbacks, the same two map reads and the same two clock reads, that
//! counts nothing, remembers nothing and says nothing.
//!
//! As a filter it reads the clock at create and log, and a map at the headers of
//! request and response. As an access logger it reads both maps and
//! `request.duration` in the log callback.
//!
//! The plugin configuration says what becomes of a map:
//! - "takes the map": the host copies it into an arena, and that is all;
//! - with the word `walks` anywhere in it, "also walks over its pairs": the request's
//!   until `:method` and `:path` were met, as a filter must that wants those two; the
//!   response's to its end, as one must that listens for headers which may stand
//!   anywhere. Names are told apart by length and second byte, values are not looked
//!   at.
//!
//! Built with the feature `steps` (`bench/modules/steps`) it reads, of `clock`,
//! `request`, `response` and `duration`, what stands there as well, and nothing
//! else: what each of these costs. Without it no request pays for the choice.
//!
//! It believes what the host says of the memory that it filled, as far as
//! bounds go, and asks for no tick.

// The ABI is made of exported and imported functions with C names.
#![allow(unsafe_code, missing_docs)]

use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::Relaxed};

const CONTINUE: u32 = 0;
const ACCEPTED: u32 = 1;

const REQUEST_HEADERS: u32 = 0;
const RESPONSE_HEADERS: u32 = 2;
const PLUGIN_CONFIGURATION: u32 = 7;
const CLOCK_MONOTONIC: u32 = 1;

/// The memory into which the host copies, again and again: no callback holds
/// two values at a time.
static ARENA: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static CAPACITY: AtomicUsize = AtomicUsize::new(0);
const SMALLEST: usize = 16 * 1024;

/// The root context, for which the host logs where this is an access logger.
static ROOT: AtomicU32 = AtomicU32::new(0);
static WALKS: AtomicBool = AtomicBool::new(false);

/// What is read where that is a choice: these bits.
static READS: AtomicUsize = AtomicUsize::new(0);
const CLOCK: usize = 1;
const REQUEST: usize = 2;
const RESPONSE: usize = 4;
const DURATION: usize = 8;

/// Something of what was read last.
static SEEN: AtomicUsize = AtomicUsize::new(0);

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
}

// SAFETY of `no_mangle` here and below: the names are those of the ABI, and
// nothing else in the module has them.

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    unsafe extern "C" {
        /// Of the linker: initialises what libc needs.
        fn __wasm_call_ctors();
    }
    // SAFETY: the host calls `_initialize` once, which is what it asks for.
    unsafe { __wasm_call_ctors() };
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    if size > CAPACITY.load(Relaxed) {
        let capacity = size.max(SMALLEST);
        // The one before is given up: a larger one is wanted a few times at most.
        ARENA.store(Vec::leak(vec![0; capacity]).as_mut_ptr(), Relaxed);
        CAPACITY.store(capacity, Relaxed);
    }
    ARENA.load(Relaxed)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(id: u32, root: u32) {
    match root {
        0 => ROOT.store(id, Relaxed),
        _ => read_clock(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root: u32, size: usize) -> u32 {
    // SAFETY: the out-pointers are valid.
    let configuration =
        read(|data, at| unsafe { proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, data, at) });
    let says = |word: &str| {
        let mut words = configuration.windows(word.len());
        words.any(|other| other == word.as_bytes())
    };
    WALKS.store(says("walks"), Relaxed);
    let reads = [
        ("clock", CLOCK),
        ("request", REQUEST),
        ("response", RESPONSE),
        ("duration", DURATION),
    ];
    let reads = reads.into_iter().filter(|(word, _)| says(word));
    READS.store(reads.map(|(_, bit)| bit).sum(), Relaxed);
    ACCEPTED
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(_root: u32) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_id: u32, _count: u32, _end_of_stream: u32) -> u32 {
    read_request();
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(_id: u32, _count: u32, _end_of_stream: u32) -> u32 {
    read_response();
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(id: u32) {
    if id != ROOT.load(Relaxed) {
        return read_clock();
    }
    read_request();
    read_response();
    read_duration();
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(_id: u32) {}

fn reads(what: usize) -> bool {
    !cfg!(feature = "steps") || READS.load(Relaxed) & what != 0
}

fn read_clock() {
    if !reads(CLOCK) {
        return;
    }
    let mut time = 0;
    // SAFETY: the out-pointer is valid.
    unsafe { clock_time_get(CLOCK_MONOTONIC, 1, &raw mut time) };
    // The low half of the nanoseconds is as good as any.
    #[expect(clippy::cast_possible_truncation, reason = "nothing is made of it")]
    see(time as usize);
}

/// What a host call hands over; nothing where it fails.
fn read(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> &'static [u8] {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    if call(&raw mut data, &raw mut size) != 0 || size == 0 {
        return &[];
    }
    // SAFETY: the host wrote so many bytes there, into the arena, and the value
    // is done with before the next call.
    unsafe { slice::from_raw_parts(data, size) }
}

fn read_map(map: u32) -> &'static [u8] {
    // SAFETY: the out-pointers are valid.
    read(|data, size| unsafe { proxy_get_header_map_pairs(map, data, size) })
}

fn read_request() {
    if !reads(REQUEST) {
        return;
    }
    let map = read_map(REQUEST_HEADERS);
    see(map.len());
    if WALKS.load(Relaxed) {
        let (mut method, mut path) = (0, 0);
        walk(map, |name, value| {
            match name {
                [_, b'm', ..] if name.len() == ":method".len() => method = value,
                [_, b'p', ..] if name.len() == ":path".len() => path = value,
                _ => {}
            }
            method > 0 && path > 0
        });
        see(method + path);
    }
}

fn read_response() {
    if !reads(RESPONSE) {
        return;
    }
    let map = read_map(RESPONSE_HEADERS);
    see(map.len());
    if WALKS.load(Relaxed) {
        let mut status = 0;
        walk(map, |name, value| {
            if let [_, b's', ..] = name
                && name.len() == ":status".len()
            {
                status = value;
            }
            false
        });
        see(status);
    }
}

fn read_duration() {
    if !reads(DURATION) {
        return;
    }
    let path = "request\0duration";
    // SAFETY: the path is a live string, the out-pointers are valid.
    let duration =
        read(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) });
    see(duration.len());
}

/// Keeps a compiler from leaving out what led to this number.
fn see(number: usize) {
    // SAFETY: the memory of a static, which one thread uses.
    unsafe { SEEN.as_ptr().write_volatile(number) };
}

/// Calls `met` with the name of each pair and the size of its value, until it
/// says that it has enough.
fn walk(map: &[u8], mut met: impl FnMut(&[u8], usize) -> bool) {
    let Some((count, rest)) = map.split_first_chunk::<4>() else {
        return;
    };
    let count = u32::from_le_bytes(*count) as usize;
    let Some((sizes, data)) = rest.split_at_checked(count.saturating_mul(8)) else {
        return;
    };
    let mut begin = 0_usize;
    for size in sizes.as_chunks().0 {
        let [name, value] = [0, 32].map(|shift| u64::from_le_bytes(*size) >> shift);
        #[expect(clippy::cast_possible_truncation, reason = "halves of 32 bits")]
        let [name, value] = [name as u32, value as u32].map(|size| size as usize);
        let name_ends = begin.wrapping_add(name);
        if let Some(name) = data.get(begin..name_ends)
            && met(name, value)
        {
            return;
        }
        begin = name_ends.wrapping_add(value).wrapping_add(2);
    }
}
