//! What a virtual machine spent: host calls by name, crossings into the module
//! by callback, fuel (one unit an instruction, about; the same on every
//! machine), bytes copied and pages of linear memory.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Sub};

use crate::abi::callback::Callback;

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
    /// By name, sorted; a handful, since a module imports no more.
    host_calls: Vec<(&'static str, u64)>,
    callbacks: ByCallback,
    /// Exports that are no callback of the ABI: only a test calls those.
    others: BTreeMap<String, Crossings>,
    /// How often the host asked the module for memory, and the fuel of that.
    pub allocations: Crossings,
    /// Bytes that the host read from linear memory.
    pub bytes_read: u64,
    /// Bytes that the host wrote to linear memory.
    pub bytes_written: u64,
    /// Linear memory in pages of 64 KiB; a difference, where this is one.
    pub pages: u64,
}

/// The crossings of each [`Callback`], at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ByCallback([Crossings; Callback::ALL.len()]);

impl Default for ByCallback {
    fn default() -> Self {
        Self([Crossings::default(); Callback::ALL.len()])
    }
}

impl Cost {
    /// How often the import `name` was called, by its name in the ABI
    /// (`proxy_log`, `clock_time_get`).
    #[must_use]
    pub fn host_calls(&self, name: &str) -> u64 {
        let mut calls = self.host_calls.iter();
        calls
            .find(|(call, _)| *call == name)
            .map_or(0, |(_, count)| *count)
    }

    /// All imports that were called, with how often.
    #[must_use]
    pub fn all_host_calls(&self) -> Vec<(&'static str, u64)> {
        self.host_calls.clone()
    }

    /// The calls of the export `name` (`proxy_on_log`).
    #[must_use]
    pub fn crossings(&self, name: &str) -> Crossings {
        match Callback::named(name) {
            Some(callback) => self.callbacks.0[callback as usize],
            None => self.others.get(name).copied().unwrap_or_default(),
        }
    }

    /// All exports that were called, with how often.
    #[must_use]
    pub fn all_crossings(&self) -> Vec<(&str, u64)> {
        let others = self.others.iter().map(|(name, spent)| (&**name, spent));
        let mut all: Vec<(&str, u64)> = Callback::ALL
            .iter()
            .zip(&self.callbacks.0)
            .map(|(callback, spent)| (callback.name(), spent))
            .chain(others)
            .filter(|(_, spent)| spent.calls > 0)
            .map(|(name, spent)| (name, spent.calls))
            .collect();
        all.sort_unstable();
        all
    }

    /// The fuel of all callbacks together.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        let all = self.callbacks.0.iter().chain(self.others.values());
        all.map(|spent| spent.fuel).sum()
    }

    pub(super) fn count_host_call(&mut self, name: &'static str) {
        // Nearly always the same literal, so that its address tells.
        let known = self
            .host_calls
            .iter_mut()
            .find(|(call, _)| std::ptr::eq(*call, name));
        match known {
            Some((_, count)) => *count += 1,
            None => self.add_host_calls(name, 1),
        }
    }

    fn add_host_calls(&mut self, name: &'static str, calls: u64) {
        match self
            .host_calls
            .binary_search_by_key(&name, |(call, _)| call)
        {
            Ok(index) => self.host_calls[index].1 += calls,
            Err(index) => self.host_calls.insert(index, (name, calls)),
        }
    }

    pub(super) fn count_crossing(&mut self, callback: Callback, fuel: u64) {
        let spent = &mut self.callbacks.0[callback as usize];
        spent.calls += 1;
        spent.fuel += fuel;
    }

    pub(super) fn count_other(&mut self, name: &str, fuel: u64) {
        let spent = self.others.entry(name.to_owned()).or_default();
        spent.calls += 1;
        spent.fuel += fuel;
    }
}

impl AddAssign<&Self> for Cost {
    fn add_assign(&mut self, other: &Self) {
        for (name, count) in &other.host_calls {
            self.add_host_calls(name, *count);
        }
        for (sum, spent) in self.callbacks.0.iter_mut().zip(&other.callbacks.0) {
            sum.calls += spent.calls;
            sum.fuel += spent.fuel;
        }
        for (name, spent) in &other.others {
            let sum = self.others.entry(name.clone()).or_default();
            sum.calls += spent.calls;
            sum.fuel += spent.fuel;
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
        self.host_calls.retain(|(_, count)| *count > 0);
        for (spent, before) in self.callbacks.0.iter_mut().zip(&earlier.callbacks.0) {
            spent.calls -= before.calls;
            spent.fuel -= before.fuel;
        }
        for (name, spent) in &mut self.others {
            let before = earlier.crossings(name);
            spent.calls -= before.calls;
            spent.fuel -= before.fuel;
        }
        self.others.retain(|_, spent| spent.calls > 0);
        self.allocations.calls -= earlier.allocations.calls;
        self.allocations.fuel -= earlier.allocations.fuel;
        self.bytes_read -= earlier.bytes_read;
        self.bytes_written -= earlier.bytes_written;
        self.pages -= earlier.pages;
        self
    }
}
