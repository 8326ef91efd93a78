//! What the proxy answers itself, and what it cuts: in place of the service,
//! because the module wants it, or because the virtual machine failed
//! (`FilterManager::sendLocalReply` of Envoy).
//!
//! Where no response has begun, the answer passes the response callbacks as
//! any other. Where the module has seen response headers that the client has
//! not, the answer goes to the client directly. Where the client has response
//! headers already, the stream is reset.

use super::{Trap, Vm};
use crate::abi::MapType;
use crate::abi::callback::Callback;
use crate::abi::host::LocalResponse;
use crate::abi::pairs::Pair;
use crate::host::exchange::Exchange;
use crate::host::flow::Half;
use crate::host::headers::HeaderMap;

/// Why the stream of a failed virtual machine was answered.
const FAIL_STREAM: &str = "wasm_fail_stream";

/// Why a stream was cut that the module wanted closed.
const CLOSE_STREAM: &str = "wasm_close_stream";

/// An answer of the proxy itself.
#[derive(Debug, Clone, Default)]
pub struct LocalReply {
    /// The status code.
    pub status: u16,
    /// Headers beside those that Envoy adds.
    pub headers: Vec<Pair>,
    /// The body.
    pub body: Vec<u8>,
    /// Envoy's `response.code_details`.
    pub details: String,
    /// Envoy's response flags.
    pub flags: i64,
    /// The gRPC status for a gRPC client, if it does not follow from `status`.
    pub grpc_status: Option<u8>,
}

impl Vm {
    /// Answers in place of the service, which ends the exchange.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn local_reply(&mut self, stream: u32, reply: LocalReply) -> Result<(), Trap> {
        let Some(exchange) = self.exchange(stream) else {
            return Ok(());
        };
        exchange.response_flags |= reply.flags;
        if exchange.response.passed {
            return self.cut(stream, 0, &reply.details);
        }
        let direct = exchange.response.begun;
        let (headers, body) = written(
            exchange,
            reply.status,
            reply.headers,
            reply.body,
            reply.grpc_status,
        );
        exchange.response_code = status_of(&headers);
        exchange.response_code_details = Some(reply.details);
        exchange.maps.insert(MapType::ResponseHeaders, headers);
        exchange.maps.remove(MapType::ResponseTrailers);
        exchange.local_reply = true;
        if direct {
            exchange.response_bytes = body.len() as u64;
            let flow = &mut exchange.response;
            flow.held.clear();
            flow.held_trailers = false;
            flow.release_held();
            flow.passed = true;
            flow.body = body;
            flow.complete = true;
            return self.finish_local_reply(stream);
        }
        let end = body.is_empty();
        let shown = if self.is_created(stream) {
            let headers = self.show_headers(stream, Half::Response, end);
            if end {
                headers
            } else {
                let body = self.show_body(stream, Half::Response, body, true);
                headers.and(body)
            }
        } else {
            Ok(())
        };
        shown.and(self.finish_local_reply(stream))
    }

    fn is_created(&self, stream: u32) -> bool {
        let context = self.state().contexts.get(&stream);
        context.is_some_and(|context| context.created)
    }

    /// Ends the exchange if the proxy's own answer is all on its way.
    pub(super) fn finish_local_reply(&mut self, stream: u32) -> Result<(), Trap> {
        match self.exchange(stream) {
            Some(exchange) if exchange.local_reply && exchange.response.complete => {
                self.end_stream(stream)
            }
            _ => Ok(()),
        }
    }

    /// Cuts the exchange: what the client has of the response is all it gets.
    ///
    /// # Errors
    ///
    /// If the module traps.
    pub fn cut(&mut self, stream: u32, flags: i64, details: &str) -> Result<(), Trap> {
        let Some(exchange) = self.exchange(stream) else {
            return Ok(());
        };
        exchange.reset = true;
        exchange.response_flags |= flags;
        exchange
            .response_code_details
            .get_or_insert_with(|| details.to_owned());
        self.end_stream(stream)
    }

    /// The module wants the stream closed.
    pub(super) fn close(&mut self, stream: u32) -> Result<(), Trap> {
        self.cut(stream, 0, CLOSE_STREAM)
    }

    /// The module answers in place of the service.
    pub(super) fn reply_of_the_module(
        &mut self,
        stream: u32,
        response: LocalResponse,
    ) -> Result<(), Trap> {
        let Some(exchange) = self.exchange(stream) else {
            return Ok(());
        };
        if exchange.log_phase {
            // Measured on Envoy 1.40: the reply ends the stream, which logs it,
            // which replies, until the process is dead.
            let cause = "a local response in the log callback: Envoy recurses until it crashes";
            return Err(self.die(Callback::Log.name(), cause));
        }
        if exchange.ended.is_some() {
            return Ok(());
        }
        let details = String::from_utf8_lossy(&response.details);
        // Envoy replaces white space, since its access log separates by it.
        let details = details.replace(char::is_whitespace, "_");
        let reply = LocalReply {
            status: u16::try_from(response.status).unwrap_or_default(),
            headers: response.headers.clone(),
            body: response.body.clone(),
            details,
            flags: 0,
            grpc_status: u8::try_from(response.grpc_status)
                .ok()
                .filter(|status| *status <= 16),
        };
        exchange.local_response = Some(response);
        self.local_reply(stream, reply)
    }

    /// The virtual machine failed, and the exchange with it (`failStream`). No
    /// callback runs.
    pub(super) fn fail_stream(&mut self, stream: u32) {
        let reply = LocalReply {
            status: 503,
            details: FAIL_STREAM.to_owned(),
            grpc_status: Some(14),
            ..LocalReply::default()
        };
        if let Some(exchange) = self.exchange(stream) {
            // What was held back for the module is not the answer.
            exchange.response.stop = crate::host::flow::Stop::No;
        }
        // Nothing runs in a dead machine, so nothing traps.
        let _answered = self.local_reply(stream, reply);
    }
}

fn status_of(headers: &HeaderMap) -> Option<i64> {
    let status = std::str::from_utf8(headers.first(b":status")?).ok()?;
    status.parse().ok()
}

/// The headers and the body of a local reply; to a gRPC client it is headers
/// only, with the status in them (Envoy's `Utility::prepareLocalReply`).
fn written(
    exchange: &Exchange,
    status: u16,
    more: Vec<Pair>,
    body: Vec<u8>,
    grpc_status: Option<u8>,
) -> (HeaderMap, Vec<u8>) {
    let mut headers = HeaderMap::default();
    if exchange.is_grpc() {
        headers.add(b":status", b"200");
        headers.add(b"content-type", b"application/grpc");
        let grpc_status = grpc_status.unwrap_or_else(|| grpc_status_of(status));
        headers.add(b"grpc-status", grpc_status.to_string().as_bytes());
        if !body.is_empty() {
            headers.add(b"grpc-message", &body);
        }
        for (name, value) in more {
            headers.add(&name, &value);
        }
        return (headers, Vec::new());
    }
    headers.add(b":status", status.to_string().as_bytes());
    for (name, value) in more {
        headers.add(&name, &value);
    }
    if !body.is_empty() {
        headers.replace(b"content-length", body.len().to_string().as_bytes());
        if headers.first(b"content-type").is_none() {
            headers.add(b"content-type", b"text/plain");
        }
    }
    (headers, body)
}

/// Envoy's `Grpc::Utility::httpToGrpcStatus`.
fn grpc_status_of(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}
