//! The answers to the calls of a virtual machine's plugins: each runs its
//! callback in the root context that made the call, where alone it can be read
//! (Envoy 1.40, `source/extensions/common/wasm/context.cc`, from
//! `onHttpCallSuccess` on; `source/common/grpc/async_client_impl.cc` for the
//! order of gRPC's).

use super::{Trap, Vm, length};
use crate::abi::callback::Callback;
use crate::abi::pairs::Pair;
use crate::abi::{MapType, Status};
use crate::host::calls::{CallKind, GRPC_UNAVAILABLE, Received};
use crate::host::context::After;
use crate::host::headers::HeaderMap;

/// What Envoy answers, in a cluster's place, when a call's time is up.
const TIMED_OUT: &str = "upstream request timeout";

/// The response to an HTTP call.
#[derive(Debug, Clone, Default)]
pub struct HttpAnswer {
    /// The headers, `:status` among them.
    pub headers: Vec<Pair>,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers; none at all is not the same as an empty map to Envoy, but
    /// a plugin cannot tell.
    pub trailers: Vec<Pair>,
}

impl Vm {
    /// Answers the HTTP call `token`. A call that is over hears nothing.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn answer_http_call(&mut self, token: u32, answer: HttpAnswer) -> Result<(), Trap> {
        let Some(pending) = self.state_mut().calls.remove(token) else {
            return Ok(());
        };
        let headers = HeaderMap::new(answer.headers);
        let trailers = HeaderMap::new(answer.trailers);
        let sizes = [count(&headers), length(&answer.body), count(&trailers)];
        let received = Received {
            root: pending.root,
            maps: [
                (MapType::HttpCallResponseHeaders, headers),
                (MapType::HttpCallResponseTrailers, trailers),
            ]
            .into(),
            body: Some(answer.body),
            message: None,
        };
        self.http_call_response(pending.root, token, sizes, received)
    }

    /// Breaks the HTTP call `token` off: the plugin hears of an answer without
    /// headers, body and trailers.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn reset_http_call(&mut self, token: u32) -> Result<(), Trap> {
        let calls = &mut self.state_mut().calls;
        let Some(pending) = calls.remove(token) else {
            return Ok(());
        };
        let root = pending.root;
        calls.set_status(root, Status::BROKEN_CONNECTION.0, "reset");
        let received = Received {
            root,
            ..Received::default()
        };
        self.http_call_response(root, token, [0; 3], received)
    }

    fn http_call_response(
        &mut self,
        root: u32,
        token: u32,
        [headers, body, trailers]: [u32; 3],
        received: Received,
    ) -> Result<(), Trap> {
        let arguments = [root, token, headers, body, trailers];
        self.receive(received, Callback::HttpCallResponse, &arguments)
    }

    /// Answers the gRPC call `token` with a message.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn answer_grpc_call(&mut self, token: u32, message: Vec<u8>) -> Result<(), Trap> {
        let answered = self.grpc_message(token, message);
        self.state_mut().calls.remove(token);
        answered
    }

    /// Shows the initial metadata of the gRPC stream `token`.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn grpc_initial_metadata(&mut self, token: u32, metadata: Vec<Pair>) -> Result<(), Trap> {
        let map = MapType::GrpcReceiveInitialMetadata;
        self.grpc_metadata(token, map, Callback::GrpcReceiveInitialMetadata, metadata)
    }

    /// Shows a message of the gRPC call or stream `token`.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn grpc_message(&mut self, token: u32, message: Vec<u8>) -> Result<(), Trap> {
        let Some(root) = self.root_of_call(token) else {
            return Ok(());
        };
        let arguments = [root, token, length(&message)];
        let received = Received {
            root,
            message: Some(message),
            ..Received::default()
        };
        self.receive(received, Callback::GrpcReceive, &arguments)
    }

    /// Shows the trailing metadata of the gRPC stream `token`.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn grpc_trailing_metadata(&mut self, token: u32, metadata: Vec<Pair>) -> Result<(), Trap> {
        let map = MapType::GrpcReceiveTrailingMetadata;
        self.grpc_metadata(token, map, Callback::GrpcReceiveTrailingMetadata, metadata)
    }

    fn grpc_metadata(
        &mut self,
        token: u32,
        map: MapType,
        callback: Callback,
        metadata: Vec<Pair>,
    ) -> Result<(), Trap> {
        let Some(root) = self.root_of_call(token) else {
            return Ok(());
        };
        let metadata = HeaderMap::new(metadata);
        let arguments = [root, token, count(&metadata)];
        let received = Received {
            root,
            maps: [(map, metadata)].into(),
            ..Received::default()
        };
        self.receive(received, callback, &arguments)
    }

    /// Closes the gRPC call or stream `token` from the side of the service. A
    /// stream that the plugin did not close keeps its token until it does.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn close_grpc(&mut self, token: u32, status: u32, message: &str) -> Result<(), Trap> {
        let Some(pending) = self.state_mut().calls.get(token) else {
            return Ok(());
        };
        let root = pending.root;
        pending.remote_closed = true;
        pending.due = None;
        let closed = self.grpc_closed(root, token, status, message);
        let calls = &mut self.state_mut().calls;
        let over = calls
            .get(token)
            .is_some_and(|pending| pending.call.closed || pending.call.kind == CallKind::Grpc);
        if over {
            calls.remove(token);
        }
        closed
    }

    fn grpc_closed(
        &mut self,
        root: u32,
        token: u32,
        status: u32,
        message: &str,
    ) -> Result<(), Trap> {
        if self.exports.has(Callback::GrpcClose) {
            self.state_mut().calls.set_status(root, status, message);
        }
        let received = Received {
            root,
            ..Received::default()
        };
        self.receive(received, Callback::GrpcClose, &[root, token, status])
    }

    /// Tells of a gRPC call that failed while it was made.
    pub(super) fn grpc_failed(&mut self, root: u32, token: u32, why: &str) -> Result<(), Trap> {
        self.grpc_closed(root, token, GRPC_UNAVAILABLE, why)
    }

    /// The time of the call `token` is up: an HTTP call gets the response that
    /// Envoy makes up, a gRPC call is closed.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn expire_call(&mut self, token: u32) -> Result<(), Trap> {
        if CallKind::of(token) != Some(CallKind::Http) {
            return self.close_grpc(token, GRPC_UNAVAILABLE, TIMED_OUT);
        }
        let size = TIMED_OUT.len().to_string();
        let headers = [
            (":status", "504"),
            ("content-length", &size),
            ("content-type", "text/plain"),
        ];
        let headers = headers.map(|(name, value)| (name.into(), value.into()));
        let answer = HttpAnswer {
            headers: headers.into(),
            body: TIMED_OUT.into(),
            trailers: Vec::new(),
        };
        self.answer_http_call(token, answer)
    }

    /// Calls the function `function` of the module, in `context`, with `data`.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn call_foreign(&mut self, context: u32, function: u32, data: Vec<u8>) -> Result<(), Trap> {
        let arguments = [context, function, length(&data)];
        self.state_mut().call_data = data;
        let called = self.run(context, Callback::ForeignFunction, &arguments);
        self.state_mut().call_data.clear();
        called.map(drop)
    }

    fn root_of_call(&mut self, token: u32) -> Option<u32> {
        let pending = self.state_mut().calls.get(token)?;
        (!pending.remote_closed).then_some(pending.root)
    }

    fn receive(
        &mut self,
        received: Received,
        callback: Callback,
        arguments: &[u32],
    ) -> Result<(), Trap> {
        let root = received.root;
        let state = self.state_mut();
        state.calls.received = Some(received);
        state.after.push_back(After::ForgetAnswer(root));
        let answered = self.run(root, callback, arguments);
        if !matches!(answered, Ok(Some(_))) {
            // Nothing ran that would have done it.
            let state = self.state_mut();
            state.after.clear();
            state.calls.forget_answer(root);
        }
        answered.map(drop)
    }
}

fn count(map: &HeaderMap) -> u32 {
    u32::try_from(map.len()).unwrap_or(u32::MAX)
}
