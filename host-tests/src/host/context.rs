//! A root or stream context inside a virtual machine, the plugin of a root, and
//! what a host call of a context puts off until its callback is over.

use std::rc::Rc;

use super::exchange::Exchange;
use super::flow::Half;
use super::network::Connection;
use crate::abi::host::LocalResponse;

/// A plugin as its root context knows it. Two that are equal share one root
/// context in a virtual machine (Envoy's `makePluginKey`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plugin {
    /// Its name, which is that of its stats too.
    pub name: String,
    /// The id of its root context, for modules with several plugins.
    pub root_id: String,
    /// Its configuration.
    pub configuration: Vec<u8>,
}

/// A root or stream context inside a virtual machine.
#[derive(Debug, Default)]
pub struct Context {
    /// The root of a stream context; 0 for a root.
    pub root: u32,
    /// Whether the module has been told of it.
    pub created: bool,
    /// The exchange that the context sees: a stream always has one, a root
    /// while it logs one.
    pub exchange: Option<Box<Exchange>>,
    /// The connection that the context of a network filter sees.
    pub connection: Option<Connection>,
    /// For a root: its plugin.
    pub plugin: Option<Rc<Plugin>>,
    /// For a root: its timer.
    pub tick: Option<Tick>,
    /// For a root: the open streams under it.
    pub streams: u32,
    /// For a root: how many places of the proxy send something to it. With
    /// none it ends with its last stream.
    pub holders: u32,
    /// For a root: its done callback wants to be asked again.
    pub done_pending: bool,
}

/// What a host call wants done when the callback that made it is over.
#[derive(Debug)]
pub enum After {
    /// Delete a root that said that it is done.
    DeleteRoot(u32),
    /// Let a stream that was stopped go on.
    Continue(u32, Half),
    /// Answer in place of the service.
    Reply(u32, LocalResponse),
    /// Reset a stream.
    Close(u32),
    /// Let what a connection's client sent go on.
    ContinueReading(u32),
    /// Close a connection.
    CloseConnection(u32),
    /// Forget the answer to a call, as Envoy does before all else that the
    /// callback of that answer asked for.
    ForgetAnswer(u32),
    /// Tell a root of a gRPC call that could not be made: its token, and why.
    FailGrpc(u32, u32, &'static str),
}

/// A timer, in nanoseconds of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Time between two ticks.
    pub period: u64,
    /// When the next one is due.
    pub due: u64,
}
