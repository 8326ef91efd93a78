//! The streams of a virtual machine: a context is opened by traffic, sees maps
//! and bodies, and ends as in Envoy: log, done, delete. An access logger sees
//! the log callback only, in its root context.

use super::{Trap, Vm, length};
use crate::abi::callback::Callback;
use crate::host::context::Context;
use crate::host::exchange::Exchange;
use crate::host::flow::{Action, Half, Stop};
use crate::host::headers::HeaderMap;

impl Vm {
    /// Opens a stream context under `root`. The module hears of it with its
    /// first callback.
    pub fn open_stream(&mut self, root: u32, exchange: Exchange) -> u32 {
        self.open(Context {
            root,
            exchange: Some(Box::new(exchange)),
            ..Context::default()
        })
    }

    /// Adds a context to those that keep their root alive.
    pub(super) fn open(&mut self, context: Context) -> u32 {
        let state = self.state_mut();
        if let Some(root) = state.contexts.get_mut(&context.root) {
            root.streams += 1;
        }
        state.add_context(context)
    }

    /// A context under `root` is gone, with this outcome of its callbacks: ends
    /// the root, if it waited for that.
    pub(super) fn gone(&mut self, root: u32, ended: Result<(), Trap>) -> Result<(), Trap> {
        if let Some(root) = self.state_mut().contexts.get_mut(&root) {
            root.streams = root.streams.saturating_sub(1);
        }
        ended?;
        self.end_root_if_idle(root)
    }

    /// The exchange of a stream context that still exists.
    pub fn exchange(&mut self, stream: u32) -> Option<&mut Exchange> {
        let context = self.state_mut().contexts.get_mut(&stream)?;
        context.exchange.as_deref_mut()
    }

    /// The request's headers arrive, so the module hears of the stream.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn begin_stream(&mut self, stream: u32, end_of_stream: bool) -> Result<(), Trap> {
        let created = self.create(stream);
        let shown = self.show_headers(stream, Half::Request, end_of_stream);
        created.and(shown)
    }

    /// Shows the headers of one half to the module; the map stays open if the
    /// module pauses. Without that map in the exchange nothing happens.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn show_headers(
        &mut self,
        stream: u32,
        half: Half,
        end_of_stream: bool,
    ) -> Result<(), Trap> {
        let (map, callback) = half.headers();
        let Some(exchange) = self.exchange(stream) else {
            return Ok(());
        };
        let Some(headers) = exchange.maps.get(map) else {
            return Ok(());
        };
        let count = u32::try_from(headers.len()).unwrap_or(u32::MAX);
        exchange.open.insert(map);
        exchange.flow(half).begun = true;
        let end = u32::from(end_of_stream);
        let (action, trapped) = self.ask(stream, callback, &[stream, count, end]);
        if let Some(exchange) = self.exchange(stream) {
            if action == Action::Continue {
                exchange.open.remove(map);
            }
            exchange.flow(half).after_headers(action, end_of_stream);
        }
        trapped
    }

    /// Shows a piece of body to the module, unless its headers are held back.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn show_body(
        &mut self,
        stream: u32,
        half: Half,
        piece: Vec<u8>,
        end_of_stream: bool,
    ) -> Result<(), Trap> {
        let Some(exchange) = self.exchange(stream) else {
            return Ok(());
        };
        match half {
            Half::Request => exchange.request_bytes += u64::from(length(&piece)),
            Half::Response => exchange.response_bytes += u64::from(length(&piece)),
        }
        let flow = exchange.flow(half);
        if flow.stop == Stop::AtHeaders {
            flow.held.extend(piece);
            flow.held_end |= end_of_stream;
            return Ok(());
        }
        let piece = flow.to_show(piece);
        self.pass_body(stream, half, piece, end_of_stream)
    }

    fn pass_body(
        &mut self,
        stream: u32,
        half: Half,
        piece: Vec<u8>,
        end_of_stream: bool,
    ) -> Result<(), Trap> {
        let size = length(&piece);
        let Some(exchange) = self.exchange(stream) else {
            return Ok(());
        };
        exchange.last_chunk = end_of_stream;
        *exchange.piece(half) = Some(piece);
        let end = u32::from(end_of_stream);
        let (action, trapped) = self.ask(stream, half.body(), &[stream, size, end]);
        if let Some(exchange) = self.exchange(stream) {
            let left = exchange.piece(half).take().unwrap_or_default();
            let flow = exchange.flow(half);
            flow.after_body(action, left, end_of_stream);
        }
        trapped
    }

    /// Shows trailers to the module, unless the headers are held back.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn show_trailers(
        &mut self,
        stream: u32,
        half: Half,
        trailers: HeaderMap,
    ) -> Result<(), Trap> {
        let (map, _) = half.trailers();
        let Some(exchange) = self.exchange(stream) else {
            return Ok(());
        };
        exchange.maps.insert(map, trailers);
        let flow = exchange.flow(half);
        if flow.stop == Stop::AtHeaders {
            flow.held_trailers = true;
            return Ok(());
        }
        self.pass_trailers(stream, half)
    }

    fn pass_trailers(&mut self, stream: u32, half: Half) -> Result<(), Trap> {
        let (map, callback) = half.trailers();
        let Some(exchange) = self.exchange(stream) else {
            return Ok(());
        };
        let count = exchange.maps.get(map).map_or(0, HeaderMap::len);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        exchange.open.insert(map);
        let (action, trapped) = self.ask(stream, callback, &[stream, count]);
        if let Some(exchange) = self.exchange(stream) {
            if action == Action::Continue {
                exchange.open.remove(map);
            }
            exchange.flow(half).after_trailers(action);
        }
        trapped
    }

    /// Lets a half go on that the module stopped. What waited behind its
    /// headers is shown then, the body in one piece (`commonContinue` of
    /// Envoy's `ActiveStreamFilterBase`).
    pub(super) fn resume(&mut self, stream: u32, half: Half) -> Result<(), Trap> {
        let Some(exchange) = self.exchange(stream) else {
            return Ok(());
        };
        exchange.open.remove(half.headers().0);
        exchange.open.remove(half.trailers().0);
        let flow = exchange.flow(half);
        match flow.stop {
            Stop::No => return Ok(()),
            Stop::Behind => flow.release_held(),
            Stop::AtHeaders => {
                flow.stop = Stop::No;
                flow.passed = true;
                let held = std::mem::take(&mut flow.held);
                let end = std::mem::take(&mut flow.held_end);
                let trailers = std::mem::take(&mut flow.held_trailers);
                if held.is_empty() && !trailers {
                    flow.complete |= end;
                }
                if !held.is_empty() {
                    self.pass_body(stream, half, held, end && !trailers)?;
                }
                if trailers {
                    self.pass_trailers(stream, half)?;
                }
            }
        }
        self.finish_local_reply(stream)
    }

    /// Runs a callback of a stream and gives what becomes of what it saw; a
    /// trap comes beside it. In a failed machine the failure policy decides in
    /// the module's place (`CHECK_FAIL_HTTP` of proxy-wasm-cpp-host).
    fn ask(
        &mut self,
        stream: u32,
        callback: Callback,
        arguments: &[u32],
    ) -> (Action, Result<(), Trap>) {
        let exchange = self.exchange(stream);
        let replied = exchange.is_some_and(|exchange| exchange.local_reply);
        let answer = self.run(stream, callback, arguments);
        if self.dead().is_some() {
            return (self.decide_for_the_dead(stream), answer.map(drop));
        }
        let Some(exchange) = self.exchange(stream) else {
            return (Action::Over, answer.map(drop));
        };
        let action = match answer {
            // It answered itself: what it says of this half does not matter.
            _ if exchange.local_reply != replied => Action::Over,
            Ok(None | Some(0)) | Err(_) => Action::Continue,
            Ok(Some(number)) => Action::Stop(number),
        };
        (action, answer.map(drop))
    }

    fn decide_for_the_dead(&mut self, stream: u32) -> Action {
        let Some(exchange) = self.exchange(stream) else {
            return Action::Over;
        };
        if exchange.passes_when_failed {
            return Action::Continue;
        }
        if !std::mem::replace(&mut exchange.failed, true) {
            self.fail_stream(stream);
            return Action::Over;
        }
        // The proxy's own answer passes.
        Action::Continue
    }

    /// Ends an HTTP stream: create it if nothing did, log, done, delete. Its
    /// exchange can be had from [`Vm::ended`].
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn end_stream(&mut self, stream: u32) -> Result<(), Trap> {
        let Some(context) = self.state().contexts.get(&stream) else {
            return Ok(());
        };
        let root = context.root;
        let now = self.state().process.borrow().monotonic();
        if let Some(exchange) = self.exchange(stream) {
            exchange.ended = Some(now);
        }
        let ended = self.end_stream_callbacks(stream);
        let state = self.state_mut();
        let context = state.contexts.remove(&stream);
        if let Some(exchange) = context.and_then(|context| context.exchange) {
            state.ended.insert(stream, exchange);
        }
        self.gone(root, ended)
    }

    fn end_stream_callbacks(&mut self, stream: u32) -> Result<(), Trap> {
        self.create(stream)?;
        self.log(stream)?;
        self.run(stream, Callback::Done, &[stream])?;
        self.run(stream, Callback::Delete, &[stream])?;
        Ok(())
    }

    /// The exchange of a stream that ended; it is given once.
    pub fn ended(&mut self, stream: u32) -> Option<Box<Exchange>> {
        self.state_mut().ended.remove(&stream)
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
        let logged = self.run(context, Callback::Log, &[context]);
        if let Some(exchange) = self.exchange(context) {
            exchange.log_phase = false;
        }
        logged.map(drop)
    }

    /// Logs `exchange` as an access logger does: in the root context, and with
    /// no other callback. A failed machine logs nothing.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn access_log(&mut self, root: u32, exchange: Exchange) -> Result<(), Trap> {
        if let Some(context) = self.state_mut().contexts.get_mut(&root) {
            context.exchange = Some(Box::new(exchange));
        }
        let logged = self.log(root);
        if let Some(context) = self.state_mut().contexts.get_mut(&root) {
            context.exchange = None;
        }
        logged
    }
}
