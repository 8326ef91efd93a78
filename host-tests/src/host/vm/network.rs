//! The connections of a virtual machine: a context is opened by a client, sees
//! the bytes of both directions, and ends with its client: close, done, log,
//! delete. For HTTP the log comes first (Envoy 1.40,
//! `source/extensions/common/wasm/context.cc`, `onCloseTCP`).

use super::{Trap, Vm};
use crate::abi::callback::Callback;
use crate::host::context::Context;
use crate::host::network::{CloseType, Connection, Direction};

impl Vm {
    /// Opens a connection context under `root`. The module hears of it with its
    /// first callback.
    pub fn open_connection(&mut self, root: u32, connection: Connection) -> u32 {
        self.open(Context {
            root,
            connection: Some(connection),
            ..Context::default()
        })
    }

    /// The client is there, and the module hears of it.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn begin_connection(&mut self, id: u32) -> Result<(), Trap> {
        let created = self.create(id);
        let (pause, trapped) = self.ask_connection(id, Callback::NewConnection, &[id]);
        if let Some(connection) = self.connection(id) {
            connection.downstream.paused = pause;
        }
        created.and(trapped)
    }

    /// The connection of a context that still exists.
    pub fn connection(&mut self, id: u32) -> Option<&mut Connection> {
        self.state_mut().contexts.get_mut(&id)?.connection.as_mut()
    }

    /// Shows bytes to the module, from the client or else from the service. The
    /// end of the service's bytes is its close: a filter does not see more of
    /// it (`Context::onWrite`).
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn show_data(
        &mut self,
        id: u32,
        from_client: bool,
        bytes: &[u8],
        end_of_stream: bool,
    ) -> Result<(), Trap> {
        let callback = if from_client {
            Callback::DownstreamData
        } else {
            Callback::UpstreamData
        };
        let Some(direction) = self.direction(id, from_client) else {
            return Ok(());
        };
        let size = u32::try_from(direction.arrive(bytes)).unwrap_or(u32::MAX);
        let end = u32::from(end_of_stream);
        let (pause, trapped) = self.ask_connection(id, callback, &[id, size, end]);
        if let Some(direction) = self.direction(id, from_client) {
            direction.decide(pause);
        }
        if end_of_stream && !from_client {
            let close = CloseType::Unknown as u32;
            self.run(id, Callback::UpstreamConnectionClose, &[id, close])?;
        }
        trapped
    }

    /// Runs a callback of a connection and tells whether what it saw is held
    /// back; a trap comes beside it. In a failed machine the failure policy
    /// decides in the module's place, and may close the connection
    /// (`CHECK_FAIL_NET` of proxy-wasm-cpp-host).
    fn ask_connection(
        &mut self,
        id: u32,
        callback: Callback,
        arguments: &[u32],
    ) -> (bool, Result<(), Trap>) {
        let answer = self.run(id, callback, arguments);
        let trapped = answer.as_ref().map(|_| ()).map_err(Clone::clone);
        if self.dead().is_none() {
            let pause = answer.is_ok_and(|action| action.is_some_and(|action| action != 0));
            return (pause, trapped);
        }
        let passes = self.connection(id);
        if passes.is_some_and(|connection| connection.passes_when_failed) {
            return (false, trapped);
        }
        (true, trapped.and(self.end_connection(id, CloseType::Local)))
    }

    /// Lets what a client sent go on.
    pub(super) fn continue_reading(&mut self, id: u32) {
        if let Some(connection) = self.connection(id) {
            connection.downstream.pass();
        }
    }

    fn direction(&mut self, id: u32, from_client: bool) -> Option<&mut Direction> {
        let connection = self.connection(id)?;
        Some(if from_client {
            &mut connection.downstream
        } else {
            &mut connection.upstream
        })
    }

    /// Ends a connection.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn end_connection(&mut self, id: u32, close: CloseType) -> Result<(), Trap> {
        let Some(context) = self.state().contexts.get(&id) else {
            return Ok(());
        };
        let root = context.root;
        match &context.connection {
            // A callback of its end asks for it again.
            Some(connection) if !connection.ended.replace(true) => {}
            _ => return Ok(()),
        }
        let ended = self.end_connection_callbacks(id, close);
        self.state_mut().contexts.remove(&id);
        self.gone(root, ended)
    }

    fn end_connection_callbacks(&mut self, id: u32, close: CloseType) -> Result<(), Trap> {
        let closed = Callback::DownstreamConnectionClose;
        self.run(id, closed, &[id, close as u32])?;
        self.run(id, Callback::Done, &[id])?;
        self.run(id, Callback::Log, &[id])?;
        self.run(id, Callback::Delete, &[id])?;
        Ok(())
    }
}
