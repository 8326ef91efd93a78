//! The memory into which the host copies what a call returns.
//!
//! The host asks for it in the middle of a call and then says where it wrote
//! and how much. [`take`] believes it only if it was given that very memory,
//! and no less of it. Values lie one behind the other in one arena, which is
//! empty again when the last of them was read, so that the steady state
//! allocates nothing. What the arena has no room for gets memory of its own.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::{ptr, slice};

/// Bytes of the arena at first: the headers of most requests, and a little more.
const SMALLEST: usize = 8 * 1024;

/// Bytes of the largest arena: twice what Envoy lets the headers of one message
/// be, unless it is told otherwise.
const LARGEST: usize = 128 * 1024;

thread_local! {
    static ARENA: ManuallyDrop<Arena> = const { ManuallyDrop::new(Arena::new()) };
}

/// All of it is used by one thread, and no borrow of the cells outlives a line.
struct Arena {
    memory: Cell<*mut u8>,
    capacity: Cell<usize>,
    /// Bytes that values lie in; those behind them are free.
    used: Cell<usize>,
    /// Values that were taken from it and not given back.
    taken: Cell<usize>,
    /// What the host asked for last, and the bytes that it asked for. A call
    /// returns one value at most, so there is never a second one to wait for.
    out: Cell<*mut u8>,
    asked: Cell<usize>,
    /// The capacity of that, where it is no part of the arena.
    own: Cell<usize>,
}

/// Bytes that the host handed over.
pub(crate) struct Handed {
    data: *mut u8,
    size: usize,
    /// The capacity of memory that is no part of the arena, else 0.
    own: usize,
}

impl Handed {
    /// No bytes.
    pub(crate) const EMPTY: Self = Self {
        data: ptr::dangling_mut(),
        size: 0,
        own: 0,
    };
}

impl Deref for Handed {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: only `take` makes a value with a size, of memory that
        // `allocate` gave and that has at least so many bytes; the host wrote
        // them. In the arena they are not given again while `taken` counts this
        // value; else the memory is this value's own. Nobody writes to it.
        unsafe { slice::from_raw_parts(self.data, self.size) }
    }
}

impl Drop for Handed {
    #[inline]
    fn drop(&mut self) {
        if self.own != 0 {
            free(self.data, self.own);
        } else if self.size != 0 {
            ARENA.with(|arena| {
                let taken = arena.taken.get().wrapping_sub(1);
                arena.taken.set(taken);
                if taken == 0 {
                    arena.used.set(0);
                }
            });
        }
    }
}

/// Memory for `size` bytes; null where there is none.
#[inline]
pub(crate) fn allocate(size: usize) -> *mut u8 {
    ARENA.with(|arena| {
        let used = arena.used.get();
        if size > arena.capacity.get().wrapping_sub(used) || arena.own.get() != 0 {
            return arena.make_room(size);
        }
        // SAFETY: `used` is never above the capacity.
        let data = unsafe { arena.memory.get().add(used) };
        arena.out.set(data);
        arena.asked.set(size);
        data
    })
}

/// The `size` bytes that the host says it wrote at `data`; `None` where that
/// is not the memory it was given, or more than that.
#[inline]
pub(crate) fn take(data: *mut u8, size: usize) -> Option<Handed> {
    if size == 0 {
        return Some(Handed::EMPTY);
    }
    ARENA.with(|arena| {
        let asked = arena.asked.replace(0);
        if !ptr::eq(arena.out.get(), data) || size > asked {
            return None;
        }
        let own = arena.own.replace(0);
        if own == 0 {
            arena.taken.set(arena.taken.get() + 1);
            // Behind what was asked for, not behind what lies in the arena now:
            // a host may speak of memory that it was given calls ago.
            let begin = data.addr().wrapping_sub(arena.memory.get().addr());
            arena.used.set(begin.wrapping_add(size));
        }
        Some(Handed { data, size, own })
    })
}

impl Arena {
    const fn new() -> Self {
        Self {
            memory: Cell::new(ptr::dangling_mut()),
            capacity: Cell::new(0),
            used: Cell::new(0),
            taken: Cell::new(0),
            out: Cell::new(ptr::null_mut()),
            asked: Cell::new(0),
            own: Cell::new(0),
        }
    }

    /// A larger arena, where nothing lies in this one, else memory of its own.
    #[cold]
    fn make_room(&self, size: usize) -> *mut u8 {
        self.asked.set(0);
        // What nobody took.
        free(self.out.get(), self.own.replace(0));
        if self.taken.get() == 0 && size <= LARGEST && size > self.capacity.get() {
            let capacity = size.next_power_of_two().max(SMALLEST);
            free(self.memory.get(), self.capacity.replace(0));
            self.memory.set(ptr::dangling_mut());
            if let Some(memory) = memory(capacity) {
                self.memory.set(memory);
                self.capacity.set(capacity);
            }
        }
        let room = self.capacity.get().wrapping_sub(self.used.get());
        let data = if size <= room {
            // SAFETY: `used` is never above the capacity.
            unsafe { self.memory.get().add(self.used.get()) }
        } else if let Some(own) = memory(size) {
            self.own.set(size);
            own
        } else {
            return ptr::null_mut();
        };
        self.out.set(data);
        self.asked.set(size);
        data
    }
}

/// `capacity` bytes, at least one, that nobody wrote to; `None` where the memory
/// is at its end.
fn memory(capacity: usize) -> Option<*mut u8> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(capacity).ok()?;
    Some(ManuallyDrop::new(buffer).as_mut_ptr())
}

/// Gives back what [`memory`] gave; does nothing where that is nothing.
#[cold]
fn free(memory: *mut u8, capacity: usize) {
    if capacity != 0 {
        // SAFETY: `memory` made a vector with this capacity of it, and whoever
        // calls this forgets where it was.
        drop(unsafe { Vec::from_raw_parts(memory, 0, capacity) });
    }
}
