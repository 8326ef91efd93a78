//! The data of one virtual machine, and what it answers to host calls
//! ([`answers`]): the behaviour of Envoy 1.40, phase by phase.

mod answers;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::calls::Calls;
use super::context::{After, Context, Plugin};
use super::cost::Cost;
use super::exchange::Exchange;
use super::headers::HeaderMap;
use super::network::Connection;
use super::process::{Process, Thread};
use super::settings::{Restriction, VmSettings};
use crate::abi::{BufferType, MapType, Status};
use crate::memory::{Layout, Lie, Observer};
use crate::stats::MetricIds;

/// The data of one virtual machine.
#[derive(Debug)]
pub struct VmState {
    /// What it shares with the others.
    pub process: Rc<RefCell<Process>>,
    /// The thread it belongs to.
    pub thread: Thread,
    /// Its names and environment.
    pub settings: Rc<VmSettings>,
    /// Its contexts by id.
    pub contexts: BTreeMap<u32, Context>,
    /// The roots among them, oldest first.
    pub roots: Vec<u32>,
    /// What waits for the end of the present callback.
    pub after: VecDeque<After>,
    /// The exchanges of streams that ended, until somebody asks for them.
    pub ended: BTreeMap<u32, Box<Exchange>>,
    /// The context whose callback runs; 0 for none.
    pub current: u32,
    /// The context that the module chose to speak for; 0 for none.
    pub effective: u32,
    /// The plugin whose configuration can be read now.
    pub configuring: Option<Rc<Plugin>>,
    /// Set while only few host calls are allowed.
    pub restriction: Option<Restriction>,
    /// What was spent so far.
    pub cost: Cost,
    /// The metric ids given out.
    pub metric_ids: MetricIds,
    /// Where the module's memory is.
    pub layout: Option<Layout>,
    /// The calls to clusters that are not over.
    pub calls: Calls,
    /// The arguments of the function that the proxy calls in the module now.
    pub call_data: Vec<u8>,
    /// A number that no other machine of the process has.
    pub serial: u64,
    allocating: Option<(Option<Restriction>, u64)>,
    lie: Option<Lie>,
    handed_over: (u32, u32),
    next_context: u32,
}

impl VmState {
    /// A virtual machine without contexts.
    #[must_use]
    pub fn new(process: Rc<RefCell<Process>>, thread: Thread, settings: Rc<VmSettings>) -> Self {
        let serial = process.borrow_mut().next_vm();
        Self {
            process,
            thread,
            settings,
            contexts: BTreeMap::new(),
            roots: Vec::new(),
            after: VecDeque::new(),
            ended: BTreeMap::new(),
            current: 0,
            effective: 0,
            configuring: None,
            restriction: None,
            cost: Cost::default(),
            metric_ids: MetricIds::default(),
            layout: None,
            calls: Calls::default(),
            call_data: Vec::new(),
            serial,
            allocating: None,
            lie: None,
            handed_over: (0, 0),
            next_context: 1,
        }
    }

    /// Adds a context and gives its id. Ids are never used twice.
    pub fn add_context(&mut self, context: Context) -> u32 {
        let id = self.next_context;
        self.next_context += 1;
        self.contexts.insert(id, context);
        id
    }

    /// The id of the context that a host call means.
    fn meant(&self) -> u32 {
        match self.effective {
            0 => self.current,
            id if self.contexts.contains_key(&id) => id,
            _ => self.current,
        }
    }

    /// The context that a host call means.
    fn context(&mut self) -> Option<&mut Context> {
        let id = self.meant();
        self.contexts.get_mut(&id)
    }

    /// The id of the root of the context that a host call means.
    pub(super) fn root(&self) -> u32 {
        let id = self.meant();
        match self.contexts.get(&id) {
            Some(context) if context.root != 0 => context.root,
            _ => id,
        }
    }

    /// The plugin of the context that a host call means.
    fn plugin(&self) -> Option<&Plugin> {
        self.contexts.get(&self.root())?.plugin.as_deref()
    }

    fn connection(&mut self) -> Option<&mut Connection> {
        self.context()?.connection.as_mut()
    }

    fn exchange(&mut self) -> Option<&mut Exchange> {
        self.context()?.exchange.as_deref_mut()
    }

    fn writable(&mut self, map: MapType) -> Result<&mut HeaderMap, Status> {
        self.exchange().ok_or(Status::BAD_ARGUMENT)?.writable(map)
    }

    /// A buffer that the module may change.
    fn body(&mut self, kind: BufferType) -> Option<&mut Option<Vec<u8>>> {
        match kind {
            BufferType::RequestBody => Some(&mut self.exchange()?.request_body),
            BufferType::ResponseBody => Some(&mut self.exchange()?.response_body),
            BufferType::DownstreamData => Some(&mut self.connection()?.downstream.buffer),
            BufferType::UpstreamData => Some(&mut self.connection()?.upstream.buffer),
            _ => None,
        }
    }
}

impl Observer for VmState {
    fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    fn allocation_begins(&mut self, fuel: u64) {
        self.allocating = Some((self.restriction, fuel));
        self.restriction = Some(Restriction::Allocating);
    }

    fn allocation_ends(&mut self, fuel: u64) {
        if let Some((restriction, before)) = self.allocating.take() {
            self.restriction = restriction;
            self.cost.allocations.calls += 1;
            self.cost.allocations.fuel += before.saturating_sub(fuel);
        }
    }

    fn read(&mut self, bytes: usize) {
        self.cost.bytes_read += bytes as u64;
    }

    fn written(&mut self, bytes: usize) {
        self.cost.bytes_written += bytes as u64;
    }

    fn lie(&mut self) -> Option<Lie> {
        self.lie.clone()
    }

    fn handed_over(&mut self, address: u32, size: u32) -> (u32, u32) {
        std::mem::replace(&mut self.handed_over, (address, size))
    }
}
