//! Reads and writes in a module's linear memory. Every pointer is checked
//! against the memory's present size; memory for the module is asked from the
//! module itself, through `malloc` or else `proxy_on_memory_allocate`, as the
//! ABI says ("Memory management").
//!
//! Values are copied, so that no borrow of the memory lives across a call into
//! the module, which may grow it.

mod lie;

use std::borrow::Cow;

use wasmtime::{AsContext, AsContextMut, Caller, Memory, TypedFunc};

use crate::abi::Status;

pub use lie::Lie;

/// The exports that can allocate, in Envoy's order of preference.
pub const ALLOCATORS: [&str; 2] = ["malloc", "proxy_on_memory_allocate"];

/// Why a host call did not succeed.
#[derive(Debug)]
pub enum Fault {
    /// The module is told this status and goes on.
    Status(Status),
    /// The module stops here.
    Trap(wasmtime::Error),
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// Where the host reads, writes and allocates: looked up once an instance, since
/// a search by name in each host call takes longer than the call.
#[derive(Clone)]
pub struct Layout {
    /// The linear memory, if the module exports one.
    pub memory: Option<Memory>,
    /// The first of [`ALLOCATORS`] that the module exports.
    pub allocator: TypedFunc<u32, u32>,
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Layout")
            .field("memory", &self.memory.is_some())
            .finish_non_exhaustive()
    }
}

/// What the data of a store is told about memory, for measuring and because a
/// module may call only a few host functions while it allocates.
pub trait Observer {
    /// The layout of the instance, once it is instantiated. Before that (in a
    /// `start` section) the host reads, writes and allocates nothing.
    fn layout(&self) -> Option<&Layout>;
    /// The allocator is about to be called with `fuel` left.
    fn allocation_begins(&mut self, fuel: u64);
    /// The allocator returned (or trapped) with `fuel` left.
    fn allocation_ends(&mut self, fuel: u64);
    /// The host read `bytes` bytes.
    fn read(&mut self, bytes: usize);
    /// The host wrote `bytes` bytes.
    fn written(&mut self, bytes: usize);
    /// What the present call is to say in place of the truth.
    fn lie(&mut self) -> Option<Lie>;
    /// The place of what the host handed over last; gives the one before.
    fn handed_over(&mut self, address: u32, size: u32) -> (u32, u32);
}

/// The memory of the module that makes the present host call.
pub struct Guest<'call, 'store, T: 'static> {
    caller: &'call mut Caller<'store, T>,
}

impl<'call, 'store, T: Observer + 'static> Guest<'call, 'store, T> {
    /// The memory of `caller`.
    pub fn new(caller: &'call mut Caller<'store, T>) -> Self {
        Self { caller }
    }

    /// The state of the host.
    pub fn host(&mut self) -> &mut T {
        self.caller.data_mut()
    }

    /// Copies `size` bytes at `pointer` out.
    ///
    /// # Errors
    ///
    /// [`Status::INVALID_MEMORY_ACCESS`] if they are not all inside the memory.
    pub fn read(&mut self, pointer: u32, size: u32) -> Result<Vec<u8>, Fault> {
        let memory = self.memory()?;
        let bytes = range(pointer, size)
            .and_then(|range| memory.data(self.caller.as_context()).get(range))
            .ok_or(Status::INVALID_MEMORY_ACCESS)?
            .to_vec();
        self.caller.data_mut().read(bytes.len());
        Ok(bytes)
    }

    /// Writes `bytes` at `pointer`. The null pointer is an address like any
    /// other in linear memory, and Envoy treats it so.
    ///
    /// # Errors
    ///
    /// [`Status::INVALID_MEMORY_ACCESS`] if they do not all fit.
    pub fn write(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), Fault> {
        let memory = self.memory()?;
        let size = u32::try_from(bytes.len()).map_err(|_| Status::INVALID_MEMORY_ACCESS)?;
        range(pointer, size)
            .and_then(|range| memory.data_mut(self.caller.as_context_mut()).get_mut(range))
            .ok_or(Status::INVALID_MEMORY_ACCESS)?
            .copy_from_slice(bytes);
        self.caller.data_mut().written(bytes.len());
        Ok(())
    }

    /// Writes a 32-bit number at `pointer`.
    ///
    /// # Errors
    ///
    /// See [`Guest::write`].
    pub fn write_u32(&mut self, pointer: u32, value: u32) -> Result<(), Fault> {
        let value = self.number(value.into()).to_le_bytes();
        self.write(pointer, &value[..4])
    }

    /// Writes a 64-bit number at `pointer`.
    ///
    /// # Errors
    ///
    /// See [`Guest::write`].
    pub fn write_u64(&mut self, pointer: u32, value: u64) -> Result<(), Fault> {
        let value = self.number(value).to_le_bytes();
        self.write(pointer, &value)
    }

    fn number(&mut self, truth: u64) -> u64 {
        match self.host().lie() {
            Some(Lie::Number(number)) => number,
            _ => truth,
        }
    }

    /// Hands `bytes` to the module: asks it for memory, copies them there, and
    /// writes address and size to the two places the module named. Nothing to
    /// hand over is a null pointer and size 0, without an allocation.
    ///
    /// # Errors
    ///
    /// [`Status::INVALID_MEMORY_ACCESS`] if the module has no allocator, if it
    /// answers null or an address outside its memory, or if a named place is
    /// outside; a trap inside the allocator as it is.
    pub fn hand_over(&mut self, bytes: &[u8], pointer_at: u32, size_at: u32) -> Result<(), Fault> {
        let lie = self.host().lie();
        let mut bytes = Cow::Borrowed(bytes);
        match &lie {
            Some(Lie::Nothing) => return Ok(()),
            Some(Lie::Content(change)) => change(bytes.to_mut()),
            _ => {}
        }
        let size = u32::try_from(bytes.len()).map_err(|_| Status::INVALID_MEMORY_ACCESS)?;
        let asked = lie
            .as_ref()
            .map_or_else(|| (size > 0).then_some(size), |lie| lie.allocation(size));
        let mut address = 0;
        if let Some(asked) = asked {
            address = self.allocate(asked)?;
            if let Some(Lie::Offset(offset)) = &lie {
                address = address.saturating_add(*offset);
            }
            let fits = usize::try_from(asked).map_or(bytes.len(), |asked| asked.min(bytes.len()));
            self.write(address, &bytes[..fits])?;
        }
        let (mut address, mut size) = match &lie {
            Some(lie) => lie.told(address, size),
            None => (address, size),
        };
        let before = self.host().handed_over(address, size);
        if let Some(Lie::Again) = lie {
            (address, size) = before;
        }
        self.write_u32(pointer_at, address)?;
        self.write_u32(size_at, size)
    }

    /// Asks the module for memory and copies `bytes` there; gives the address.
    /// For no bytes it is null, without an allocation.
    ///
    /// # Errors
    ///
    /// See [`Guest::hand_over`].
    pub fn place(&mut self, bytes: &[u8]) -> Result<u32, Fault> {
        let size = u32::try_from(bytes.len()).map_err(|_| Status::INVALID_MEMORY_ACCESS)?;
        if size == 0 {
            return Ok(0);
        }
        let address = self.allocate(size)?;
        self.write(address, bytes)?;
        Ok(address)
    }

    fn allocate(&mut self, size: u32) -> Result<u32, Fault> {
        let layout = self.caller.data().layout();
        let allocator = layout
            .map(|layout| layout.allocator.clone())
            .ok_or(Status::INVALID_MEMORY_ACCESS)?;
        let before = self.caller.get_fuel().map_err(Fault::Trap)?;
        self.caller.data_mut().allocation_begins(before);
        let answer = allocator.call(self.caller.as_context_mut(), size);
        let after = self.caller.get_fuel().map_err(Fault::Trap)?;
        self.caller.data_mut().allocation_ends(after);
        match answer {
            Ok(0) => Err(Status::INVALID_MEMORY_ACCESS.into()),
            Ok(address) => Ok(address),
            Err(trap) => Err(Fault::Trap(trap)),
        }
    }

    fn memory(&self) -> Result<Memory, Fault> {
        self.caller
            .data()
            .layout()
            .and_then(|layout| layout.memory)
            .ok_or_else(|| Status::INVALID_MEMORY_ACCESS.into())
    }
}

fn range(pointer: u32, size: u32) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(pointer).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    Some(start..end)
}
