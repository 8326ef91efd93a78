//! One worker: where traffic arrives.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::connection::Connection;
use super::flags;
use super::notices::run;
use super::proxy::Proxy;
use super::stream::Stream;
use super::traffic::{AccessLog, Headers, Request};
use crate::abi::MapType;
use crate::host::cost::Cost;
use crate::host::exchange::Exchange;
use crate::host::headers::HeaderMap;
use crate::host::vm::{Trap, Vm};

/// One worker of a proxy.
#[derive(Debug, Clone)]
pub struct Worker {
    proxy: Rc<RefCell<Proxy>>,
    plugin: usize,
    thread: usize,
}

impl Worker {
    pub(super) fn new(proxy: Rc<RefCell<Proxy>>, plugin: usize, thread: usize) -> Self {
        Self {
            proxy,
            plugin,
            thread,
        }
    }

    /// A request arrives, and the module sees its headers.
    ///
    /// # Panics
    ///
    /// If the plugin was drained, and on a trap.
    #[track_caller]
    #[must_use]
    pub fn request(&self, request: impl Into<Request>) -> Stream {
        let request = request.into();
        let end_of_stream = !request.body;
        let stream = self.open(request);
        stream.run(|vm, id| vm.begin_stream(id, end_of_stream));
        stream
    }

    /// The codec or an earlier filter answers, so that the module hears of the
    /// exchange only when it is logged.
    ///
    /// # Panics
    ///
    /// If the plugin was drained, and on a trap.
    #[track_caller]
    pub fn answer_before_filter(
        &self,
        request: impl Into<Request>,
        status: u16,
        headers: impl Into<Headers>,
    ) {
        let stream = self.open(request.into());
        stream.answered(status, headers.into(), "fault_filter_abort");
        stream.finish();
    }

    /// The proxy cannot make an exchange of what the client sent on a stream,
    /// and only access loggers hear of it: no maps, no code.
    ///
    /// # Panics
    ///
    /// If the plugin was drained, and on a trap.
    #[track_caller]
    pub fn access_log_unparsed(&self) {
        self.access_log(AccessLog::of(Request::without_headers()).flags(flags::DPE));
    }

    /// An exchange is over, and the module logs it as an access logger.
    ///
    /// # Panics
    ///
    /// If the plugin was drained, and on a trap.
    #[track_caller]
    pub fn access_log(&self, log: AccessLog) {
        let exchange = self.logged(log);
        let handle = self.proxy.borrow_mut().handle(self.thread, self.plugin);
        let root = handle.root.expect("the plugin was drained");
        self.run(handle.machine, |vm| vm.access_log(root, exchange));
    }

    /// The exchange that `log` tells of, which is over.
    fn logged(&self, log: AccessLog) -> Exchange {
        let mut exchange = self.exchange(log.request, log.duration);
        exchange.ended = Some(self.proxy.borrow().process.borrow().monotonic());
        exchange.response_flags = log.flags;
        exchange.response_code_details = log.details;
        if let Some((status, headers)) = log.response {
            exchange.response_code = status.map(i64::from);
            let headers = match status {
                Some(status) => headers.with_status(status),
                None => headers,
            };
            let headers = HeaderMap::new(headers.0);
            exchange.maps.insert(MapType::ResponseHeaders, headers);
        }
        exchange
    }

    /// Opens the context of an exchange that the module is told nothing of, with
    /// all of its headers readable at any time: for callbacks out of order, see
    /// [`Worker::callback`]. It stays in the host until [`Worker::forget`].
    ///
    /// # Panics
    ///
    /// If the plugin was drained.
    #[track_caller]
    #[must_use]
    pub fn untold(&self, log: AccessLog) -> u32 {
        let mut exchange = self.logged(log);
        for map in [MapType::RequestHeaders, MapType::ResponseHeaders] {
            if exchange.maps.get(map).is_some() {
                exchange.open.insert(map);
            }
        }
        exchange.log_phase = true;
        let handle = self.proxy.borrow_mut().handle(self.thread, self.plugin);
        let root = handle.root.expect("the plugin was drained");
        let mut id = 0;
        self.run(handle.machine, |vm| {
            id = vm.open_stream(root, exchange);
            Ok(())
        });
        id
    }

    /// The host forgets a context of [`Worker::untold`], without a callback.
    pub fn forget(&self, context: u32) {
        self.run(self.machine(), |vm| {
            let state = vm.state_mut();
            let root = state.contexts.remove(&context).map(|stream| stream.root);
            if let Some(root) = root.and_then(|root| state.contexts.get_mut(&root)) {
                root.streams = root.streams.saturating_sub(1);
            }
            Ok(())
        });
    }

    /// A client connects, and the module sees the connection as a network
    /// filter does.
    ///
    /// # Panics
    ///
    /// If the plugin was drained, and on a trap.
    #[track_caller]
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::open(&self.proxy, self.plugin, self.thread)
    }

    /// Calls the function `function` of the module
    /// (`proxy_on_foreign_function`), in `context`, with `data` as the buffer
    /// of its arguments.
    ///
    /// # Panics
    ///
    /// On a trap.
    #[track_caller]
    pub fn call_foreign(&self, context: u32, function: u32, data: impl AsRef<[u8]>) {
        let data = data.as_ref().to_vec();
        let machine = self.machine();
        self.run(machine, |vm| vm.call_foreign(context, function, data));
    }

    /// Calls an export of the module out of any order, with `context` as the
    /// present one; `None` if the module does not have it.
    ///
    /// # Panics
    ///
    /// On a trap.
    #[track_caller]
    pub fn callback(&self, context: u32, name: &str, arguments: &[u32]) -> Option<u32> {
        let mut answer = None;
        self.run(self.machine(), |vm| {
            answer = vm.call(context, name, arguments)?;
            Ok(())
        });
        answer
    }

    /// The root context that new streams come to.
    #[must_use]
    pub fn root(&self) -> Option<u32> {
        self.proxy.borrow().plugins[self.plugin].handles[self.thread].root
    }

    /// What this worker spent so far.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.proxy.borrow().threads[self.thread].cost()
    }

    fn machine(&self) -> u32 {
        self.proxy.borrow().plugins[self.plugin].handles[self.thread].machine
    }

    #[track_caller]
    fn run(&self, machine: u32, callbacks: impl FnOnce(&mut Vm) -> Result<(), Trap>) {
        run(&self.proxy, self.thread, machine, callbacks);
    }

    #[track_caller]
    fn open(&self, request: Request) -> Stream {
        let delayed = request.delayed;
        let mut exchange = self.exchange(request, delayed);
        let proxy = &mut *self.proxy.borrow_mut();
        let handle = proxy.handle(self.thread, self.plugin);
        let root = handle.root.expect("the plugin was drained");
        let policy = proxy.plugins[self.plugin].plugin.policy;
        let vm = proxy.threads[self.thread].machine(handle.machine);
        let failed = vm.dead().is_some();
        exchange.passes_when_failed = policy.is_some_and(|policy| match failed {
            true => policy.lets_new_pass(),
            false => policy.lets_old_pass(),
        });
        let id = vm.open_stream(root, exchange);
        Stream::new(Rc::clone(&self.proxy), self.thread, handle.machine, id)
    }

    /// An exchange with this request, which arrived `ago`.
    fn exchange(&self, request: Request, ago: Duration) -> Exchange {
        let headers = request.headers.map(|headers| HeaderMap::new(headers.0));
        let ago = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
        let proxy = self.proxy.borrow();
        let process = proxy.process.borrow();
        let arrived = process.monotonic().saturating_sub(ago);
        let arrived_at = process.wall_clock().saturating_sub(ago);
        Exchange::new(headers, arrived, arrived_at)
    }
}
