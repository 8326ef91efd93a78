//! The memory into which the host copies what a call returns.
//!
//! The host asks for it in the middle of a call and then says where it wrote
//! and how much. [`take`] believes it only if it was given that very memory,
//! and no less of it. The first value lies in one arena, which is lent as a
//! whole, since hardly ever is a second one wanted before the first was read.
//! What is wanted then, or is too large, lies in memory beside it, of which a
//! piece is kept for the next time: the steady state allocates nothing.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::num::NonZero;
use std::ops::Deref;
use std::{ptr, slice};

/// Bytes of the arena at first: the headers of most requests, and a little more.
const SMALLEST: usize = 8 * 1024;

/// Bytes of the largest arena: twice what Envoy lets the headers of one message
/// be, unless it is told otherwise.
const LARGEST: usize = 128 * 1024;

/// Bytes of the smallest piece beside it: most that is no map.
const SMALLEST_BESIDE: usize = 256;

thread_local! {
    static ARENA: ManuallyDrop<Arena> = const { ManuallyDrop::new(Arena::new()) };
}

/// All of it is used by one thread, and no borrow of the cells outlives a line.
struct Arena {
    memory: Cell<*mut u8>,
    capacity: Cell<usize>,
    /// Bytes that may be given: the capacity, and 0 while a value lies there.
    room: Cell<usize>,
    /// The bytes of it that the host asked for last. A call returns one value at
    /// most, so there is never a second one to wait for.
    asked: Cell<usize>,
    /// What the host was given beside it, and has not handed over yet.
    beside: Cell<Beside>,
    /// What was beside it before, to be given again.
    spare: Cell<Beside>,
}

/// Memory that is no part of the arena.
#[derive(Clone, Copy)]
struct Beside {
    memory: *mut u8,
    /// 0 where there is none.
    capacity: usize,
    /// The bytes of it that the host asked for.
    asked: usize,
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
        // them. The arena is not given again before this value is dropped; else
        // the memory is this value's own. Nobody writes to it.
        unsafe { slice::from_raw_parts(self.data, self.size) }
    }
}

impl Drop for Handed {
    #[inline]
    fn drop(&mut self) {
        if self.own != 0 {
            give_back(self.data, self.own);
        } else if self.size != 0 {
            ARENA.with(|arena| arena.room.set(arena.capacity.get()));
        }
    }
}

/// Memory for `size` bytes; null where there is none.
#[inline]
pub(crate) fn allocate(size: usize) -> *mut u8 {
    ARENA.with(|arena| {
        if size > arena.room.get() {
            return arena.make_room(size);
        }
        arena.asked.set(size);
        arena.memory.get()
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
        // Not 0 only as long as no value lies in it.
        let asked = arena.asked.replace(0);
        let own = if size <= asked && ptr::eq(arena.memory.get(), data) {
            arena.room.set(0);
            0
        } else {
            arena.take_beside(data, size)?.get()
        };
        Some(Handed { data, size, own })
    })
}

impl Arena {
    const fn new() -> Self {
        Self {
            memory: Cell::new(ptr::dangling_mut()),
            capacity: Cell::new(0),
            room: Cell::new(0),
            asked: Cell::new(0),
            beside: Cell::new(Beside::NONE),
            spare: Cell::new(Beside::NONE),
        }
    }

    /// A larger arena, where nothing lies in this one, else memory beside it.
    #[cold]
    fn make_room(&self, size: usize) -> *mut u8 {
        self.asked.set(0);
        // What nobody took.
        self.beside.replace(Beside::NONE).free();
        if self.room.get() == self.capacity.get() && size <= LARGEST {
            let capacity = size.next_power_of_two().max(SMALLEST);
            free(self.memory.get(), self.capacity.replace(0));
            self.room.set(0);
            self.memory.set(ptr::dangling_mut());
            let Some(memory) = memory(capacity) else {
                return ptr::null_mut();
            };
            self.memory.set(memory);
            self.capacity.set(capacity);
            self.room.set(capacity);
            self.asked.set(size);
            return memory;
        }
        let spare = self.spare.replace(Beside::NONE);
        let beside = if size <= spare.capacity {
            Beside {
                asked: size,
                ..spare
            }
        } else {
            spare.free();
            let capacity = size.max(SMALLEST_BESIDE);
            let Some(memory) = memory(capacity) else {
                return ptr::null_mut();
            };
            Beside {
                memory,
                capacity,
                asked: size,
            }
        };
        self.beside.set(beside);
        beside.memory
    }

    /// The capacity of memory beside the arena that the host wrote to.
    #[cold]
    fn take_beside(&self, data: *mut u8, size: usize) -> Option<NonZero<usize>> {
        let beside = self.beside.get();
        if !ptr::eq(beside.memory, data) || size > beside.asked {
            return None;
        }
        self.beside.set(Beside::NONE);
        NonZero::new(beside.capacity)
    }
}

impl Beside {
    const NONE: Self = Self {
        memory: ptr::null_mut(),
        capacity: 0,
        asked: 0,
    };

    fn free(self) {
        free(self.memory, self.capacity);
    }
}

/// Keeps memory that was beside the arena, if it is not much.
#[cold]
fn give_back(memory: *mut u8, capacity: usize) {
    let mut less = Beside {
        memory,
        capacity,
        asked: 0,
    };
    if capacity <= SMALLEST {
        ARENA.with(|arena| less = arena.spare.replace(less));
    }
    less.free();
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
