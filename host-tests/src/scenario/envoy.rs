//! The proxy: it is built from a module and a configuration, then driven by
//! traffic, time and changes of the configuration, and looked at.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::calls::{GrpcCall, HttpCall};
use super::failure::FailurePolicy;
use super::notices::{deliver, open_door};
use super::plugin::Plugin;
use super::proxy::{Configuration, Proxy, Refused};
use super::worker::Worker;
use crate::abi::Status;
use crate::host::cost::Cost;
use crate::host::module::Module;
use crate::host::process::{Injected, LogLine, Process, Thread};
use crate::host::settings::VmSettings;
use crate::host::vm::Trap;
use crate::memory::Lie;
use crate::stats::Stats;

/// A proxy that has no configuration yet.
#[derive(Debug)]
pub struct EnvoyBuilder {
    module: Module,
    process: Rc<RefCell<Process>>,
    workers: usize,
    settings: VmSettings,
    plugin: Plugin,
}

impl EnvoyBuilder {
    /// How many workers there are; one if nothing is said.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// The id under which virtual machines share data.
    #[must_use]
    pub fn vm_id(mut self, vm_id: &str) -> Self {
        vm_id.clone_into(&mut self.settings.vm_id);
        self
    }

    /// Runs in the process of `other`, with virtual machines of its own, as the
    /// same module in another listener does: stats, clocks, log, faults and,
    /// with the same virtual machine id, data are shared.
    #[must_use]
    pub fn beside(mut self, other: &Envoy) -> Self {
        self.process = Rc::clone(&other.proxy.borrow().process);
        self
    }

    /// The configuration of the virtual machine, which is not the plugin's.
    #[must_use]
    pub fn vm_configuration(mut self, configuration: impl Into<Configuration>) -> Self {
        self.settings.vm_configuration = configuration.into().0;
        self
    }

    /// Sets an environment variable for the module.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        let variable = (name.to_owned(), value.to_owned());
        self.settings.environment.push(variable);
        self
    }

    /// Adds a cluster with this name, to which modules can make calls.
    #[must_use]
    pub fn cluster(self, name: &str) -> Self {
        self.add_cluster(name, true)
    }

    /// Adds a cluster that has no host: a call to it fails at once.
    #[must_use]
    pub fn cluster_without_hosts(self, name: &str) -> Self {
        self.add_cluster(name, false)
    }

    fn add_cluster(self, name: &str, hosts: bool) -> Self {
        let mut process = self.process.borrow_mut();
        process.clusters.insert(name.to_owned(), hosts);
        drop(process);
        self
    }

    /// Adds a function that modules call by name, in place of one with that
    /// name.
    #[must_use]
    pub fn foreign_function(
        self,
        name: &str,
        body: impl Fn(&[u8]) -> Result<Vec<u8>, Status> + 'static,
    ) -> Self {
        let mut process = self.process.borrow_mut();
        process.foreign_functions.register(name, body);
        drop(process);
        self
    }

    /// Allows these host calls and callbacks only, by their names in the ABI
    /// (`proxy_on_log`, `proxy_define_metric`, `clock_time_get`): Envoy's
    /// `capability_restriction_config`. Another callback is skipped, another
    /// host call answers `INTERNAL_FAILURE`, one of WASI 76.
    #[must_use]
    pub fn capabilities(mut self, names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned());
        self.settings.capabilities = names.collect();
        self
    }

    /// The plugin's name, root id and failure policy.
    #[must_use]
    pub fn plugin(mut self, plugin: Plugin) -> Self {
        self.plugin = plugin;
        self
    }

    /// Says that traps are expected, and what Envoy does with traffic then.
    /// Without this a trap fails the test. [`Envoy::traps`] tells of them.
    #[must_use]
    pub fn failure_policy(mut self, policy: FailurePolicy) -> Self {
        self.plugin = self.plugin.failure_policy(policy);
        self
    }

    /// As [`Envoy::fail_once`], from the first call on that the module makes.
    #[must_use]
    pub fn fail_once(self, name: &str, status: Status, skip: u64) -> Self {
        self.process.borrow_mut().fail(name, status, skip, Some(1));
        self
    }

    /// As [`Envoy::lie_once`], from the first call on that the module makes.
    #[must_use]
    pub fn lie_once(self, name: &str, lie: Lie, skip: u64) -> Self {
        self.process.borrow_mut().lie(name, lie, skip, Some(1));
        self
    }

    /// Tries the configuration on a copy of the virtual machine, as Envoy does,
    /// and then gives it to the main thread and to each worker.
    ///
    /// # Errors
    ///
    /// If the module refuses it or traps.
    pub fn configure(self, configuration: impl Into<Configuration>) -> Result<Envoy, Refused> {
        let mut proxy = Proxy::new(self.module, self.process, self.settings);
        let threads = (0..self.workers).map(Thread::Worker);
        let threads = std::iter::once(Thread::Main).chain(threads);
        let plugin = proxy.install(self.plugin, configuration.into(), threads)?;
        let proxy = Rc::new(RefCell::new(proxy));
        open_door(&proxy);
        deliver(&proxy);
        Ok(Envoy { proxy, plugin })
    }
}

/// A running proxy, seen from one of its plugins: traffic passes through that
/// one.
#[derive(Debug, Clone)]
pub struct Envoy {
    pub(super) proxy: Rc<RefCell<Proxy>>,
    pub(super) plugin: usize,
}

impl Envoy {
    /// A proxy with this module, to be configured.
    #[must_use]
    #[expect(
        clippy::new_ret_no_self,
        reason = "a proxy begins with its configuration"
    )]
    pub fn new(module: Module) -> EnvoyBuilder {
        EnvoyBuilder {
            module,
            process: Rc::default(),
            workers: 1,
            settings: VmSettings {
                vm_id: "vm".to_owned(),
                ..VmSettings::default()
            },
            plugin: Plugin::named("plugin"),
        }
    }

    /// The worker of this number, from 0.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[track_caller]
    #[must_use]
    pub fn worker(&self, number: usize) -> Worker {
        let workers = self.proxy.borrow().threads.len() - 1;
        assert!(number < workers, "worker {number} of {workers}");
        Worker::new(Rc::clone(&self.proxy), self.plugin, number + 1)
    }

    /// Adds a plugin to the same virtual machines, with a root context of its
    /// own, and gives the proxy as that plugin's traffic sees it. One that is
    /// equal to a plugin which is there, its configuration too, shares its root.
    ///
    /// # Errors
    ///
    /// If the module refuses the configuration or traps.
    pub fn add_plugin(
        &self,
        plugin: Plugin,
        configuration: impl Into<Configuration>,
    ) -> Result<Self, Refused> {
        let configuration = configuration.into();
        let installed = self
            .proxy
            .borrow_mut()
            .install(plugin, configuration, std::iter::empty());
        deliver(&self.proxy);
        Ok(Self {
            proxy: Rc::clone(&self.proxy),
            plugin: installed?,
        })
    }

    /// Moves the clocks on, with the ticks and the timeouts of calls that come
    /// due on the way.
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        let now = self.proxy.borrow().process.borrow().monotonic();
        let end = now + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        while self.step(end) {
            deliver(&self.proxy);
        }
        self.proxy.borrow().move_to(end);
    }

    /// Sets the wall clock forward by so many nanoseconds, or back where
    /// negative. The monotonic clock goes on, and nothing comes due.
    pub fn step_wall_clock(&self, nanoseconds: i64) {
        let proxy = self.proxy.borrow();
        proxy.process.borrow_mut().step_wall_clock(nanoseconds);
    }

    /// Does what is due first, until `end`: a tick, or the timeout of a call.
    #[track_caller]
    fn step(&self, end: u64) -> bool {
        let proxy = &mut *self.proxy.borrow_mut();
        let due = proxy
            .threads
            .iter()
            .enumerate()
            .filter_map(|(index, thread)| {
                let (due, root) = thread.vm.next_tick()?;
                (due <= end && thread.vm.dead().is_none()).then_some((due, index, root))
            });
        let tick = due.min();
        if proxy.expire_call(tick.map_or(end, |(due, ..)| due)) {
            return true;
        }
        let Some((due, index, root)) = tick else {
            return false;
        };
        proxy.move_to(due);
        let ticked = proxy.threads[index].vm.tick(root, due);
        proxy.settle(ticked);
        true
    }

    /// Ticks every virtual machine now, whatever its timer says, so that what
    /// it keeps back comes out. The clocks stand still.
    #[track_caller]
    pub fn tick(&self) {
        {
            let proxy = &mut *self.proxy.borrow_mut();
            let now = proxy.process.borrow().monotonic();
            for index in 0..proxy.threads.len() {
                let vm = &mut proxy.threads[index].vm;
                let ticked = vm
                    .ticking_roots()
                    .into_iter()
                    .try_for_each(|root| vm.tick(root, now));
                proxy.settle(ticked);
            }
        }
        deliver(&self.proxy);
    }

    /// The HTTP calls of all modules that are not answered yet, oldest first in
    /// each thread.
    #[must_use]
    pub fn http_calls(&self) -> Vec<HttpCall> {
        HttpCall::all(&self.proxy)
    }

    /// The one HTTP call that is not answered yet.
    ///
    /// # Panics
    ///
    /// If there is none, or more than one.
    #[track_caller]
    #[must_use]
    pub fn http_call(&self) -> HttpCall {
        only(self.http_calls())
    }

    /// The gRPC calls and streams of all modules that are not over, oldest
    /// first in each thread, calls before streams.
    #[must_use]
    pub fn grpc_calls(&self) -> Vec<GrpcCall> {
        GrpcCall::all(&self.proxy)
    }

    /// The one gRPC call or stream that is not over.
    ///
    /// # Panics
    ///
    /// If there is none, or more than one.
    #[track_caller]
    #[must_use]
    pub fn grpc_call(&self) -> GrpcCall {
        only(self.grpc_calls())
    }

    /// Gives the plugin another configuration, without stopping traffic: new
    /// streams come to a new root context, the old one ends with its last
    /// stream. The same configuration again changes nothing.
    ///
    /// # Errors
    ///
    /// If the module refuses it or traps; a refusal leaves the old one in use.
    /// What `proxy_on_configure` refused once is refused again without a call.
    pub fn reconfigure(&self, configuration: impl Into<Configuration>) -> Result<(), Refused> {
        let configuration = configuration.into();
        let configured = self
            .proxy
            .borrow_mut()
            .reconfigure(self.plugin, configuration);
        deliver(&self.proxy);
        configured
    }

    /// Removes the plugin from all threads: its root contexts end (done,
    /// delete) with their last streams, unless another plugin shares them.
    #[track_caller]
    pub fn drain(&self) {
        {
            let proxy = &mut *self.proxy.borrow_mut();
            let drained = proxy.drain(self.plugin);
            proxy.settle(drained);
        }
        deliver(&self.proxy);
    }

    /// From now on the host call `name` answers `status` and does nothing. The
    /// name is that of the import (`proxy_log`); a function of WASI
    /// (`clock_time_get`) answers the number of `status` as its error.
    pub fn fail(&self, name: &str, status: Status) {
        let proxy = self.proxy.borrow();
        proxy.process.borrow_mut().fail(name, status, 0, None);
    }

    /// The host call `name` works `skip` times more, and then answers `status`
    /// once: a fault at one call site.
    pub fn fail_once(&self, name: &str, status: Status, skip: u64) {
        let proxy = self.proxy.borrow();
        proxy.process.borrow_mut().fail(name, status, skip, Some(1));
    }

    /// From now on the host call `name` works, but says `lie`.
    pub fn lie(&self, name: &str, lie: Lie) {
        let proxy = self.proxy.borrow();
        proxy.process.borrow_mut().lie(name, lie, 0, None);
    }

    /// The host call `name` says the truth `skip` times more, and then `lie`
    /// once: a lie at one call site.
    pub fn lie_once(&self, name: &str, lie: Lie, skip: u64) {
        let proxy = self.proxy.borrow();
        proxy.process.borrow_mut().lie(name, lie, skip, Some(1));
    }

    /// The calls that failed or lied so far because the test said so, in order.
    #[must_use]
    pub fn injected(&self) -> Vec<Injected> {
        let proxy = self.proxy.borrow();
        proxy.process.borrow().injected().to_vec()
    }

    /// How often each host function was called so far, by all virtual machines
    /// that there ever were: the call sites that a fault can be at.
    #[must_use]
    pub fn all_calls(&self) -> BTreeMap<&'static str, u64> {
        let proxy = self.proxy.borrow();
        proxy.process.borrow().calls().clone()
    }

    /// Does `run` once in the middle of a callback: before the host call `name`
    /// works, after `skip` calls of it. This proxy is busy then; what `run`
    /// drives is one [`EnvoyBuilder::beside`] it, and so two workers race in
    /// an order that the test chose.
    pub fn interrupt(&self, name: &str, skip: u64, run: impl FnOnce() + 'static) {
        let proxy = self.proxy.borrow();
        let mut process = proxy.process.borrow_mut();
        process.interrupt(name, skip, Box::new(run));
    }

    /// All host calls work and say the truth again.
    pub fn heal(&self) {
        self.proxy.borrow().process.borrow_mut().heal();
    }

    /// The stats as they are now. What the module keeps back until its next
    /// tick is not in them.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.proxy.borrow().process.borrow().stats.clone()
    }

    /// The stats that Envoy keeps itself, of which the host has
    /// `wasm.<plugin>.vm_reload_success`, `_failure` and `_backoff`.
    #[must_use]
    pub fn proxy_stats(&self) -> Stats {
        self.proxy.borrow().process.borrow().proxy_stats.clone()
    }

    /// All lines that modules logged so far.
    #[must_use]
    pub fn logs(&self) -> Vec<LogLine> {
        self.proxy.borrow().process.borrow().log.clone()
    }

    /// The traps that were expected, see [`EnvoyBuilder::failure_policy`].
    #[must_use]
    pub fn traps(&self) -> Vec<Trap> {
        self.proxy.borrow().traps.clone()
    }

    /// How many metric ids the modules hold: a leak of definitions shows here.
    #[must_use]
    pub fn metric_ids(&self) -> usize {
        let proxy = self.proxy.borrow();
        let ids = proxy.threads.iter();
        ids.map(|thread| thread.vm.state().metric_ids.len()).sum()
    }

    /// How many contexts the host keeps open: one root a thread and the streams
    /// that did not end.
    #[must_use]
    pub fn contexts(&self) -> usize {
        let proxy = self.proxy.borrow();
        let contexts = proxy.threads.iter();
        contexts
            .map(|thread| thread.vm.state().contexts.len())
            .sum()
    }

    /// What the main thread and the workers spent so far, and the memory that
    /// they have together.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let mut sum = Cost::default();
        for thread in &self.proxy.borrow().threads {
            sum += &thread.cost();
        }
        sum
    }

    /// What `traffic` cost.
    pub fn measure<R>(&self, traffic: impl FnOnce() -> R) -> Cost {
        let before = self.cost();
        traffic();
        self.cost() - &before
    }
}

#[track_caller]
fn only<T>(mut calls: Vec<T>) -> T {
    assert_eq!(calls.len(), 1, "calls that are not over");
    calls.remove(0)
}
