//! One TCP connection on its way through a network filter, between a client and
//! a service. Envoy's order of callbacks is kept by the verbs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::notices::run;
use super::proxy::Proxy;
use crate::host::network::{self, CloseType};
use crate::host::vm::{Trap, Vm};

/// A connection. It stays open until a verb or the module closes it; verbs
/// after that panic, since they would test nothing.
///
/// ```
/// use gatemeter_host_tests::{Envoy, Module};
///
/// # let module = Module::from_wat(
/// #     r#"(module
/// #         (memory (export "memory") 1)
/// #         (func (export "proxy_abi_version_0_2_1"))
/// #         (func (export "malloc") (param i32) (result i32) (i32.const 1024)))"#,
/// # )?;
/// let envoy = Envoy::new(module).configure("")?;
/// let connection = envoy.worker(0).connect();
/// assert_eq!(connection.downstream_data("PING", false), b"PING");
/// assert_eq!(connection.upstream_data("PONG", true), b"PONG");
/// connection.client_closes();
/// assert!(connection.ended());
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    proxy: Rc<RefCell<Proxy>>,
    thread: usize,
    /// The number of its machine.
    machine: u32,
    id: u32,
    ended: Rc<Cell<bool>>,
    to_service: Rc<RefCell<Vec<u8>>>,
    to_client: Rc<RefCell<Vec<u8>>>,
}

impl Connection {
    /// Opens a connection for the plugin of this number.
    #[track_caller]
    pub(super) fn open(proxy: &Rc<RefCell<Proxy>>, plugin: usize, thread: usize) -> Self {
        let connection = {
            let borrowed = &mut *proxy.borrow_mut();
            let handle = borrowed.handle(thread, plugin);
            let root = handle.root.expect("the plugin was drained");
            let policy = borrowed.plugins[plugin].plugin.policy;
            let vm = borrowed.threads[thread].machine(handle.machine);
            let failed = vm.dead().is_some();
            let state = network::Connection {
                passes_when_failed: policy.is_some_and(|policy| match failed {
                    true => policy.lets_new_pass(),
                    false => policy.lets_old_pass(),
                }),
                ..network::Connection::default()
            };
            Self {
                proxy: Rc::clone(proxy),
                thread,
                machine: handle.machine,
                ended: Rc::clone(&state.ended),
                to_service: Rc::clone(&state.downstream.passed),
                to_client: Rc::clone(&state.upstream.passed),
                id: vm.open_connection(root, state),
            }
        };
        connection.run(Vm::begin_connection);
        connection
    }

    /// The id of the connection's context in its virtual machine.
    #[must_use]
    pub fn context(&self) -> u32 {
        self.id
    }

    /// Bytes arrive from the client; gives what goes on to the service now,
    /// with what the module held back before.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn downstream_data(&self, bytes: impl AsRef<[u8]>, end_of_stream: bool) -> Vec<u8> {
        self.data(true, bytes.as_ref(), end_of_stream)
    }

    /// Bytes arrive from the service; gives what goes on to the client now. The
    /// end of them is that the service closes, of which the module hears.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn upstream_data(&self, bytes: impl AsRef<[u8]>, end_of_stream: bool) -> Vec<u8> {
        self.data(false, bytes.as_ref(), end_of_stream)
    }

    /// The client closes: the module hears of it, then done, log, delete.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn client_closes(&self) {
        self.run(|vm, id| vm.end_connection(id, CloseType::Remote));
    }

    /// The proxy closes the connection with the client, for instance because
    /// the service did.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn close(&self) {
        self.run(|vm, id| vm.end_connection(id, CloseType::Local));
    }

    /// Sets an attribute by its dotted path, as bytes.
    ///
    /// # Panics
    ///
    /// After the end.
    #[track_caller]
    pub fn set_attribute(&self, path: &str, value: impl AsRef<[u8]>) {
        let path = path.replace('.', "\0").into_bytes();
        let value = value.as_ref().to_vec();
        self.with(|connection| {
            connection.attributes.insert(path, value);
        });
    }

    /// Whether the module holds back what comes from the client.
    ///
    /// # Panics
    ///
    /// After the end.
    #[track_caller]
    #[must_use]
    pub fn paused(&self) -> bool {
        self.with(|connection| connection.downstream.paused)
    }

    /// All that went to the service so far.
    #[must_use]
    pub fn sent_to_service(&self) -> Vec<u8> {
        self.to_service.borrow().clone()
    }

    /// All that went to the client so far.
    #[must_use]
    pub fn sent_to_client(&self) -> Vec<u8> {
        self.to_client.borrow().clone()
    }

    /// Whether the connection is closed.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    #[track_caller]
    fn data(&self, from_client: bool, bytes: &[u8], end_of_stream: bool) -> Vec<u8> {
        let passed = if from_client {
            &self.to_service
        } else {
            &self.to_client
        };
        let before = passed.borrow().len();
        self.run(|vm, id| vm.show_data(id, from_client, bytes, end_of_stream));
        passed.borrow()[before..].to_vec()
    }

    #[track_caller]
    fn run(&self, callbacks: impl FnOnce(&mut Vm, u32) -> Result<(), Trap>) {
        assert!(!self.ended(), "the connection has ended");
        let callbacks = |vm: &mut Vm| callbacks(vm, self.id);
        run(&self.proxy, self.thread, self.machine, callbacks);
    }

    #[track_caller]
    fn with<R>(&self, run: impl FnOnce(&mut network::Connection) -> R) -> R {
        let mut proxy = self.proxy.borrow_mut();
        let vm = proxy.threads[self.thread].machine(self.machine);
        let connection = vm.connection(self.id);
        run(connection.expect("the connection has ended"))
    }
}
