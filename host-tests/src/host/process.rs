//! What all virtual machines of one proxy share: stats, shared data and queues
//! by virtual machine id, clusters, foreign functions, the clocks, the log, the
//! seed of randomness, and the host calls that a test wants to fail, to lie or
//! to interrupt.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::foreign::ForeignFunctions;
use super::queues::Queues;
use crate::abi::{LogLevel, Status};
use crate::memory::Lie;
use crate::stats::Stats;

/// Monotonic time starts here, so that a module which takes 0 for "no time"
/// does not pass by luck: a machine that runs for an hour.
const MONOTONIC_START: u64 = 3_600_000_000_000;

/// Wall-clock time starts here: 2026-01-01T00:00:00Z.
const WALL_CLOCK_START: u64 = 1_767_225_600_000_000_000;

/// The thread of the proxy that a virtual machine belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Thread {
    /// The copy that tries a configuration out and is thrown away.
    Canary,
    /// The main thread: it has ticks, but no traffic.
    Main,
    /// The worker of this number.
    Worker(usize),
}

impl fmt::Display for Thread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Canary => write!(formatter, "canary"),
            Self::Main => write!(formatter, "main thread"),
            Self::Worker(number) => write!(formatter, "worker {number}"),
        }
    }
}

/// One line that a module logged, or wrote to its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Who logged it.
    pub thread: Thread,
    /// How bad it is.
    pub level: LogLevel,
    /// The text; bytes that are not UTF-8 are replaced.
    pub message: String,
}

impl fmt::Display for LogLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "[{:?}] {}: {}",
            self.level, self.thread, self.message
        )
    }
}

/// What befalls some calls of one host function.
#[derive(Debug, Clone)]
struct Injection<T> {
    what: T,
    /// Calls that still work before it begins.
    skip: u64,
    /// Calls that it befalls; `None` is all.
    left: Option<u64>,
}

impl<T: Clone> Injection<T> {
    /// What befalls the present call.
    fn due(&mut self) -> Option<T> {
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        match &mut self.left {
            None => {}
            Some(0) => return None,
            Some(left) => *left -= 1,
        }
        Some(self.what.clone())
    }
}

/// A call that failed or lied because a test wanted it to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// Whose call it was.
    pub thread: Thread,
    /// The host function, by its import.
    pub call: &'static str,
}

/// What a test does in the middle of a callback, before a host call.
struct Interruption {
    /// Calls that come before the one to interrupt.
    skip: u64,
    run: Box<dyn FnOnce()>,
}

impl fmt::Debug for Interruption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Interruption")
            .field("skip", &self.skip)
            .finish_non_exhaustive()
    }
}

/// The values under one virtual machine id, each with its version.
type SharedData = BTreeMap<Vec<u8>, (Vec<u8>, u32)>;

/// The shared part of a proxy.
#[derive(Debug)]
pub struct Process {
    /// The stats of all virtual machines.
    pub stats: Stats,
    /// The stats that the proxy itself keeps, as far as they are emulated:
    /// `wasm.<plugin>.vm_reload_*`.
    pub proxy_stats: Stats,
    /// The log, oldest line first.
    pub log: Vec<LogLine>,
    /// The lowest severity that modules are told to log.
    pub log_level: LogLevel,
    /// The queues of all virtual machines.
    pub queues: Queues,
    /// The clusters that calls can name, and whether they have a host.
    pub clusters: BTreeMap<String, bool>,
    /// The functions that plugins call by name.
    pub foreign_functions: ForeignFunctions,
    shared_data: BTreeMap<Vec<u8>, SharedData>,
    last_cas: u32,
    last_vm: u64,
    elapsed: u64,
    /// Nanoseconds by which the wall clock was set forward.
    wall_clock_step: i64,
    random: u64,
    calls: BTreeMap<&'static str, u64>,
    faults: BTreeMap<String, Injection<Status>>,
    lies: BTreeMap<String, Injection<Lie>>,
    injected: Vec<Injected>,
    interruptions: BTreeMap<String, Interruption>,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            stats: Stats::default(),
            proxy_stats: Stats::default(),
            log: Vec::new(),
            log_level: LogLevel::Info,
            shared_data: BTreeMap::new(),
            queues: Queues::default(),
            clusters: BTreeMap::new(),
            foreign_functions: ForeignFunctions::default(),
            last_cas: 0,
            last_vm: 0,
            elapsed: 0,
            wall_clock_step: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            calls: BTreeMap::new(),
            faults: BTreeMap::new(),
            lies: BTreeMap::new(),
            injected: Vec::new(),
            interruptions: BTreeMap::new(),
        }
    }
}

impl Process {
    /// Nanoseconds of the monotonic clock.
    #[must_use]
    pub fn monotonic(&self) -> u64 {
        MONOTONIC_START + self.elapsed
    }

    /// Nanoseconds of the wall clock, since 1970.
    #[must_use]
    pub fn wall_clock(&self) -> u64 {
        (WALL_CLOCK_START + self.elapsed).saturating_add_signed(self.wall_clock_step)
    }

    /// Sets the wall clock forward by so many nanoseconds, or back where
    /// negative, as its owner may. The monotonic clock goes on.
    pub fn step_wall_clock(&mut self, nanoseconds: i64) {
        self.wall_clock_step += nanoseconds;
    }

    /// Moves both clocks on.
    pub fn advance(&mut self, time: Duration) {
        self.elapsed += u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    }

    /// Lets the host call `name` answer `status` for `times` calls (`None` for
    /// ever), after `skip` calls that still work.
    pub fn fail(&mut self, name: &str, status: Status, skip: u64, times: Option<u64>) {
        let fault = Injection {
            what: status,
            skip,
            left: times,
        };
        self.faults.insert(name.to_owned(), fault);
    }

    /// Lets the host call `name` work and say `lie` for `times` calls (`None`
    /// for ever), after `skip` calls that say the truth.
    pub fn lie(&mut self, name: &str, lie: Lie, skip: u64, times: Option<u64>) {
        let lie = Injection {
            what: lie,
            skip,
            left: times,
        };
        self.lies.insert(name.to_owned(), lie);
    }

    /// Lets all host calls work and say the truth again.
    pub fn heal(&mut self) {
        self.faults.clear();
        self.lies.clear();
    }

    /// How often each host function was called, by all virtual machines that
    /// there ever were.
    #[must_use]
    pub fn calls(&self) -> &BTreeMap<&'static str, u64> {
        &self.calls
    }

    /// The calls that failed or lied so far because a test wanted it, in order.
    #[must_use]
    pub fn injected(&self) -> &[Injected] {
        &self.injected
    }

    /// Counts a call, whoever makes it.
    pub(super) fn count_call(&mut self, call: &'static str) {
        *self.calls.entry(call).or_default() += 1;
    }

    /// Whether no test wants a host call to fail, to lie or to be interrupted.
    pub(super) fn is_undisturbed(&self) -> bool {
        self.faults.is_empty() && self.lies.is_empty() && self.interruptions.is_empty()
    }

    /// What befalls a call by `thread`: the status that it is to answer in place
    /// of working, or the lie that it is to tell.
    pub(super) fn befalls(
        &mut self,
        thread: Thread,
        call: &'static str,
    ) -> (Option<Status>, Option<Lie>) {
        let fault = self.faults.get_mut(call).and_then(Injection::due);
        let lie = self.lies.get_mut(call).and_then(Injection::due);
        if fault.is_some() || lie.is_some() {
            self.injected.push(Injected { thread, call });
        }
        (fault, lie)
    }

    /// Runs `run` once, before the host call `name` and after `skip` calls of
    /// it that come undisturbed.
    pub fn interrupt(&mut self, name: &str, skip: u64, run: Box<dyn FnOnce()>) {
        let interruption = Interruption { skip, run };
        self.interruptions.insert(name.to_owned(), interruption);
    }

    /// What is to run before this host call `name`, while nobody borrows the
    /// process.
    pub(super) fn interruption(&mut self, name: &str) -> Option<Box<dyn FnOnce()>> {
        let interruption = self.interruptions.get_mut(name)?;
        if interruption.skip > 0 {
            interruption.skip -= 1;
            return None;
        }
        let due = self.interruptions.remove(name);
        due.map(|interruption| interruption.run)
    }

    /// The value under `key`, and its version.
    ///
    /// # Errors
    ///
    /// [`Status::NOT_FOUND`] if nothing was ever written there.
    pub fn shared_data(&self, vm_id: &[u8], key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
        let values = self.shared_data.get(vm_id).ok_or(Status::NOT_FOUND)?;
        values.get(key).cloned().ok_or(Status::NOT_FOUND)
    }

    /// Writes `value` under `key`, if `cas` is 0 or still the version there, or
    /// if nothing is there.
    ///
    /// # Errors
    ///
    /// [`Status::CAS_MISMATCH`] if somebody wrote in between.
    pub fn set_shared_data(
        &mut self,
        vm_id: &[u8],
        key: &[u8],
        value: &[u8],
        cas: u32,
    ) -> Result<(), Status> {
        let values = self.shared_data.entry(vm_id.to_vec()).or_default();
        if let Some((_, version)) = values.get(key)
            && cas != 0
            && cas != *version
        {
            return Err(Status::CAS_MISMATCH);
        }
        self.last_cas += 1;
        values.insert(key.to_vec(), (value.to_vec(), self.last_cas));
        Ok(())
    }

    /// A number for a virtual machine, which no other one of the process gets.
    pub fn next_vm(&mut self) -> u64 {
        self.last_vm += 1;
        self.last_vm
    }

    /// The next bytes of the sequence that each proxy starts anew (splitmix64).
    pub fn fill_random(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.random;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Process, Thread};
    use crate::abi::Status;

    #[test]
    fn a_write_with_an_old_version_is_refused_and_version_0_always_writes() {
        let mut process = Process::default();
        assert_eq!(process.shared_data(b"vm", b"k"), Err(Status::NOT_FOUND));
        assert_eq!(process.set_shared_data(b"vm", b"k", b"1", 77), Ok(()));
        let (_, cas) = process.shared_data(b"vm", b"k").expect("just written");
        assert_eq!(process.set_shared_data(b"vm", b"k", b"2", cas), Ok(()));
        let late = process.set_shared_data(b"vm", b"k", b"3", cas);
        assert_eq!(late, Err(Status::CAS_MISMATCH));
        assert_eq!(process.set_shared_data(b"vm", b"k", b"4", 0), Ok(()));
        let (value, _) = process.shared_data(b"vm", b"k").expect("written");
        assert_eq!(value, b"4");
    }

    #[test]
    fn shared_data_belongs_to_a_vm_id() {
        let mut process = Process::default();
        assert_eq!(process.set_shared_data(b"api", b"k", b"1", 0), Ok(()));
        assert_eq!(process.shared_data(b"other", b"k"), Err(Status::NOT_FOUND));
    }

    #[test]
    fn a_fault_begins_and_ends_where_the_test_said() {
        let mut process = Process::default();
        process.fail("proxy_log", Status::EMPTY, 1, Some(2));
        let mut answer = |call| {
            process.count_call(call);
            process.befalls(Thread::Main, call).0
        };
        let answers = [(); 4].map(|()| answer("proxy_log"));
        let empty = Some(Status::EMPTY);
        assert_eq!(answers, [None, empty, empty, None]);
        assert_eq!(answer("proxy_done"), None);
        assert_eq!(process.injected().len(), 2);
        assert_eq!(process.calls()["proxy_log"], 4);
    }

    #[test]
    fn randomness_is_the_same_in_every_run() {
        let mut one = [0; 11];
        let mut other = [0; 11];
        Process::default().fill_random(&mut one);
        Process::default().fill_random(&mut other);
        assert_eq!(one, other);
        assert_ne!(one, [0; 11]);
    }
}
