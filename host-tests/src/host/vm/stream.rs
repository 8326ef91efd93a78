//! The streams of a virtual machine: a context is opened by traffic, sees maps
//! and bodies, and ends as in Envoy: log, done, delete. An access logger sees
//! the log callback only, in its root context.

use super::{Trap, Vm, length};
use crate::abi::MapType;
use crate::host::exchange::Exchange;
use crate::host::headers::HeaderMap;
use crate::host::state::Context;

impl Vm {
    /// Opens a stream context under `root`. The module hears of it with its
    /// first callback.
    pub fn open_stream(&mut self, root: u32, exchange: Exchange) -> u32 {
        let state = self.state_mut();
        if let Some(root) = state.contexts.get_mut(&root) {
            root.streams += 1;
        }
        state.add_context(Context {
            root,
            exchange: Some(exchange),
            ..Context::default()
        })
    }

    /// The exchange of a stream context that still exists.
    pub fn exchange(&mut self, stream: u32) -> Option<&mut Exchange> {
        self.state_mut()
            .contexts
            .get_mut(&stream)?
            .exchange
            .as_mut()
    }

    /// Shows a map to the module in its callback; the map stays open if the
    /// module pauses. Without that map in the exchange nothing happens.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn show_map(&mut self, stream: u32, map: MapType, end_of_stream: bool) -> Result<(), Trap> {
        let Some(exchange) = self.exchange(stream) else {
            return Ok(());
        };
        let Some(count) = exchange.maps.get(&map).map(HeaderMap::len) else {
            return Ok(());
        };
        exchange.open.insert(map);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let end = u32::from(end_of_stream);
        let action = match map {
            MapType::RequestHeaders => {
                self.call(stream, "proxy_on_request_headers", &[stream, count, end])?
            }
            MapType::ResponseHeaders => {
                self.call(stream, "proxy_on_response_headers", &[stream, count, end])?
            }
            MapType::RequestTrailers => {
                self.call(stream, "proxy_on_request_trailers", &[stream, count])?
            }
            MapType::ResponseTrailers => {
                self.call(stream, "proxy_on_response_trailers", &[stream, count])?
            }
            _ => None,
        };
        let paused = action.is_some_and(|action| action != 0);
        if let Some(exchange) = self.exchange(stream) {
            exchange.paused |= paused;
            if !paused {
                exchange.open.remove(&map);
            }
        }
        Ok(())
    }

    /// Shows a chunk of request body (`true`) or response body to the module,
    /// and gives back what the module left of it.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn show_body(
        &mut self,
        stream: u32,
        request: bool,
        chunk: Vec<u8>,
        end_of_stream: bool,
    ) -> Result<Vec<u8>, Trap> {
        let size = length(&chunk);
        let Some(exchange) = self.exchange(stream) else {
            return Ok(chunk);
        };
        exchange.last_chunk = end_of_stream;
        let callback = if request {
            exchange.request_bytes += u64::from(size);
            exchange.request_body = Some(chunk);
            "proxy_on_request_body"
        } else {
            exchange.response_bytes += u64::from(size);
            exchange.response_body = Some(chunk);
            "proxy_on_response_body"
        };
        let end = u32::from(end_of_stream);
        let action = self.call(stream, callback, &[stream, size, end])?;
        let Some(exchange) = self.exchange(stream) else {
            return Ok(Vec::new());
        };
        exchange.paused |= action.is_some_and(|action| action != 0);
        let body = if request {
            exchange.request_body.take()
        } else {
            exchange.response_body.take()
        };
        Ok(body.unwrap_or_default())
    }

    /// Ends an HTTP stream: create it if nothing did, log, done, delete.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn end_stream(&mut self, stream: u32) -> Result<(), Trap> {
        let Some(context) = self.state().contexts.get(&stream) else {
            return Ok(());
        };
        let root = context.root;
        let ended = self.end_stream_callbacks(stream);
        let state = self.state_mut();
        state.contexts.remove(&stream);
        if let Some(root) = state.contexts.get_mut(&root) {
            root.streams = root.streams.saturating_sub(1);
        }
        ended?;
        self.end_root_if_idle(root)
    }

    fn end_stream_callbacks(&mut self, stream: u32) -> Result<(), Trap> {
        self.create(stream)?;
        self.log(stream)?;
        self.call(stream, "proxy_on_done", &[stream])?;
        self.call(stream, "proxy_on_delete", &[stream])?;
        Ok(())
    }

    /// Runs the log callback of a context that has an exchange, with all maps
    /// readable.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn log(&mut self, context: u32) -> Result<(), Trap> {
        if let Some(exchange) = self.exchange(context) {
            exchange.log_phase = true;
        }
        let logged = self.call(context, "proxy_on_log", &[context]);
        if let Some(exchange) = self.exchange(context) {
            exchange.log_phase = false;
        }
        logged.map(drop)
    }

    /// Logs `exchange` as an access logger does: in the root context, and with
    /// no other callback.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn access_log(&mut self, root: u32, exchange: Exchange) -> Result<(), Trap> {
        if let Some(context) = self.state_mut().contexts.get_mut(&root) {
            context.exchange = Some(exchange);
        }
        let logged = self.log(root);
        if let Some(context) = self.state_mut().contexts.get_mut(&root) {
            context.exchange = None;
        }
        logged
    }
}
