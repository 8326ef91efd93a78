//! The memory into which the host copies what a call returns.
//!
//! The host asks for it in the middle of a call and then says where it wrote
//! and how much. [`take`] believes it only if it was given that very memory,
//! and no less of it. A buffer goes back when its bytes were read, so that the
//! steady state allocates nothing.

use std::cell::RefCell;
use std::ops::Deref;
use std::{ptr, slice};

/// Smallest buffer, in bytes: the headers of most requests.
const SMALLEST: usize = 2 * 1024;

/// Largest buffer that is kept for the next call, in bytes: twice what Envoy
/// lets the headers of one message be, unless it is told otherwise.
const LARGEST_KEPT: usize = 128 * 1024;

/// Buffers that are kept: no callback holds more values at a time.
const KEPT: usize = 2;

thread_local! {
    static BUFFERS: RefCell<Buffers> = const {
        RefCell::new(Buffers { out: None, spare: Vec::new() })
    };
}

struct Buffers {
    /// What the host asked for last. A call returns one value at most, so
    /// there is never a second one to wait for.
    out: Option<Handed>,
    /// Without bytes; their capacity is what counts.
    spare: Vec<Vec<u8>>,
}

/// Bytes that the host handed over.
pub(crate) struct Handed {
    /// Without bytes, as far as it knows.
    buffer: Vec<u8>,
    /// Bytes that the host wrote; at most the capacity of the buffer.
    size: usize,
}

impl Handed {
    /// No bytes.
    pub(crate) const EMPTY: Self = Self {
        buffer: Vec::new(),
        size: 0,
    };
}

impl Deref for Handed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the buffer has at least so many bytes. The host wrote them:
        // only `take` lets a value out, for the size that the host says it
        // wrote. Nothing else refers to the buffer.
        unsafe { slice::from_raw_parts(self.buffer.as_ptr(), self.size) }
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if (1..=LARGEST_KEPT).contains(&buffer.capacity()) {
            BUFFERS.with(|buffers| {
                if let Ok(mut buffers) = buffers.try_borrow_mut()
                    && buffers.spare.len() < KEPT
                {
                    buffers.spare.push(buffer);
                }
            });
        }
    }
}

/// Memory for `size` bytes; null where there is none.
pub(crate) fn allocate(size: usize) -> *mut u8 {
    let Some(mut buffer) = spare(size).or_else(|| new(size)) else {
        return ptr::null_mut();
    };
    let data = buffer.as_mut_ptr();
    let handed = Handed { buffer, size };
    // What nobody took before goes back after the loan of the buffers has ended.
    let untaken = BUFFERS.with(|buffers| match buffers.try_borrow_mut() {
        Ok(mut buffers) => buffers.out.replace(handed),
        Err(_) => Some(handed),
    });
    drop(untaken);
    data
}

/// The `size` bytes that the host says it wrote at `data`; `None` where that
/// is not the memory it was given, or more than that.
pub(crate) fn take(data: *const u8, size: usize) -> Option<Handed> {
    if size == 0 {
        return Some(Handed::EMPTY);
    }
    let out = BUFFERS.with(|buffers| buffers.try_borrow_mut().ok()?.out.take());
    let mut handed = out?;
    let is_true = ptr::eq(handed.buffer.as_ptr(), data) && size <= handed.size;
    handed.size = size;
    is_true.then_some(handed)
}

/// A buffer of before that is large enough. Where none is, one of them makes
/// room, so that traffic with larger headers finds buffers of its size.
fn spare(size: usize) -> Option<Vec<u8>> {
    BUFFERS.with(|buffers| {
        let spare = &mut buffers.try_borrow_mut().ok()?.spare;
        let fits = spare.iter().position(|buffer| buffer.capacity() >= size);
        match fits {
            Some(at) => Some(spare.swap_remove(at)),
            None => {
                if spare.len() == KEPT {
                    spare.pop();
                }
                None
            }
        }
    })
}

fn new(size: usize) -> Option<Vec<u8>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(size.max(SMALLEST)).ok()?;
    Some(buffer)
}
