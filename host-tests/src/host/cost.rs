//! What a virtual machine spent: host calls by name, crossings into the module
//! by callback, fuel (one unit an instruction, about; the same on every
//! machine), bytes copied and pages of linear memory.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Sub};

/// The calls into a module of one kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Crossings {
    /// How many.
    pub calls: u64,
    /// The fuel they took, with the allocations that the host made meanwhile.
    pub fuel: u64,
}

/// The costs since a virtual machine began, or between two moments.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cost {
    host_calls: BTreeMap<&'static str, u64>,
    crossings: BTreeMap<String, Crossings>,
    /// How often the host asked the module for memory, and the fuel of that.
    pub allocations: Crossings,
    /// Bytes that the host read from linear memory.
    pub bytes_read: u64,
    /// Bytes that the host wrote to linear memory.
    pub bytes_written: u64,
    /// Linear memory in pages of 64 KiB; a difference, where this is one.
    pub pages: u64,
}

impl Cost {
    /// How often the import `name` was called, by its name in the ABI
    /// (`proxy_log`, `clock_time_get`).
    #[must_use]
    pub fn host_calls(&self, name: &str) -> u64 {
        self.host_calls.get(name).copied().unwrap_or_default()
    }

    /// All imports that were called, with how often.
    #[must_use]
    pub fn all_host_calls(&self) -> Vec<(&'static str, u64)> {
        self.host_calls
            .iter()
            .map(|(name, count)| (*name, *count))
            .collect()
    }

    /// The calls of the export `name` (`proxy_on_log`).
    #[must_use]
    pub fn crossings(&self, name: &str) -> Crossings {
        self.crossings.get(name).copied().unwrap_or_default()
    }

    /// All exports that were called, with how often.
    #[must_use]
    pub fn all_crossings(&self) -> Vec<(&str, u64)> {
        self.crossings
            .iter()
            .map(|(name, crossings)| (name.as_str(), crossings.calls))
            .collect()
    }

    /// The fuel of all callbacks together.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        self.crossings
            .values()
            .map(|crossings| crossings.fuel)
            .sum()
    }

    pub(super) fn count_host_call(&mut self, name: &'static str) {
        *self.host_calls.entry(name).or_default() += 1;
    }

    pub(super) fn count_crossing(&mut self, name: &str, fuel: u64) {
        if let Some(crossings) = self.crossings.get_mut(name) {
            crossings.calls += 1;
            crossings.fuel += fuel;
        } else {
            self.crossings
                .insert(name.to_owned(), Crossings { calls: 1, fuel });
        }
    }
}

impl AddAssign<&Self> for Cost {
    fn add_assign(&mut self, other: &Self) {
        for (name, count) in &other.host_calls {
            *self.host_calls.entry(name).or_default() += count;
        }
        for (name, crossings) in &other.crossings {
            let sum = self.crossings.entry(name.clone()).or_default();
            sum.calls += crossings.calls;
            sum.fuel += crossings.fuel;
        }
        self.allocations.calls += other.allocations.calls;
        self.allocations.fuel += other.allocations.fuel;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.pages += other.pages;
    }
}

impl Sub<&Self> for Cost {
    type Output = Self;

    /// What was spent since `earlier`. What did not happen is not listed.
    fn sub(mut self, earlier: &Self) -> Self {
        for (name, count) in &mut self.host_calls {
            *count -= earlier.host_calls(name);
        }
        self.host_calls.retain(|_, count| *count > 0);
        for (name, crossings) in &mut self.crossings {
            let before = earlier.crossings(name);
            crossings.calls -= before.calls;
            crossings.fuel -= before.fuel;
        }
        self.crossings.retain(|_, crossings| crossings.calls > 0);
        self.allocations.calls -= earlier.allocations.calls;
        self.allocations.fuel -= earlier.allocations.fuel;
        self.bytes_read -= earlier.bytes_read;
        self.bytes_written -= earlier.bytes_written;
        self.pages -= earlier.pages;
        self
    }
}
