//! One HTTP exchange on its way through the filter. Envoy's order of callbacks
//! is kept by the verbs; a test that wants another order uses
//! [`super::Worker::callback`].

use std::cell::RefCell;
use std::rc::Rc;

use super::flags;
use super::notices::deliver;
use super::outcome::Outcome;
use super::proxy::Proxy;
use super::traffic::Headers;
use crate::abi::MapType;
use crate::abi::host::LocalResponse;
use crate::abi::pairs::Pair;
use crate::host::exchange::Exchange;
use crate::host::flow::Half;
use crate::host::headers::HeaderMap;
use crate::host::vm::{LocalReply, Trap, Vm};

/// An exchange. It stays open until something ends it: a verb, an answer of the
/// module or the proxy, a failed virtual machine. Verbs after that panic, since
/// they would test nothing; what the client got can still be asked.
#[derive(Debug)]
pub struct Stream {
    proxy: Rc<RefCell<Proxy>>,
    thread: usize,
    machine: u32,
    id: u32,
    /// The exchange, when its context is gone.
    over: RefCell<Option<Box<Exchange>>>,
}

impl Stream {
    pub(super) fn new(proxy: Rc<RefCell<Proxy>>, thread: usize, machine: u32, id: u32) -> Self {
        Self {
            proxy,
            thread,
            machine,
            id,
            over: RefCell::new(None),
        }
    }

    /// The id of the stream's context in its virtual machine.
    #[must_use]
    pub fn context(&self) -> u32 {
        self.id
    }

    /// The response headers arrive from the service, and the module sees them.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn respond(&self, status: u16, headers: impl Into<Headers>) {
        self.set_response(status, headers.into(), "via_upstream");
        self.run(|vm, id| vm.show_headers(id, Half::Response, false));
    }

    /// As [`Stream::respond`], and nothing follows: a 204, an answer to `HEAD`,
    /// or a gRPC response that has its trailers in its headers.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn respond_without_body(&self, status: u16, headers: impl Into<Headers>) {
        self.set_response(status, headers.into(), "via_upstream");
        self.run(|vm, id| vm.show_headers(id, Half::Response, true));
    }

    /// A 1xx response passes. The module does not hear of it
    /// (`Context::encode1xxHeaders` of Envoy).
    ///
    /// # Panics
    ///
    /// After the end.
    #[track_caller]
    pub fn inform(&self, status: u16) {
        self.with_exchange(|exchange| exchange.informational.push(status));
    }

    /// As [`Stream::respond`], with exactly these headers, which may lack a
    /// `:status` or have a strange one.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn respond_raw(&self, headers: impl Into<Headers>) {
        let headers = HeaderMap::new(headers.into().0);
        self.with_exchange(|exchange| {
            exchange.maps.insert(MapType::ResponseHeaders, headers);
        });
        self.run(|vm, id| vm.show_headers(id, Half::Response, false));
    }

    /// The connection becomes a WebSocket: a 101 passes, and the exchange stays
    /// open.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn upgrade(&self) {
        self.respond(101, [("upgrade", "websocket"), ("connection", "upgrade")]);
    }

    /// The response is an event stream, which stays open.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn stream_events(&self) {
        self.respond(200, [("content-type", "text/event-stream")]);
    }

    /// A piece of the request body arrives; gives what goes on to the service
    /// now, which is nothing while the module holds it back.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn request_body(&self, chunk: impl AsRef<[u8]>, end_of_stream: bool) -> Vec<u8> {
        self.body(Half::Request, chunk.as_ref(), end_of_stream)
    }

    /// A piece of the response body arrives; gives what goes on to the client
    /// now, which is nothing while the module holds it back.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn response_body(&self, chunk: impl AsRef<[u8]>, end_of_stream: bool) -> Vec<u8> {
        self.body(Half::Response, chunk.as_ref(), end_of_stream)
    }

    /// Trailers of the request arrive.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn request_trailers(&self, trailers: impl Into<Headers>) {
        self.trailers(Half::Request, trailers.into());
    }

    /// Trailers of the response arrive.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn response_trailers(&self, trailers: impl Into<Headers>) {
        self.trailers(Half::Response, trailers.into());
    }

    /// A route rewrites the path: every later callback sees the new one.
    ///
    /// # Panics
    ///
    /// After the end.
    #[track_caller]
    pub fn rewrite_path(&self, path: &str) {
        self.with_exchange(|exchange| {
            if let Some(headers) = exchange.maps.get_mut(MapType::RequestHeaders) {
                if let Some(original) = headers.first(b":path").map(<[u8]>::to_vec) {
                    headers.replace(b"x-envoy-original-path", &original);
                }
                headers.replace(b":path", path.as_bytes());
            }
        });
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
        self.with_exchange(|exchange| {
            exchange.attributes.insert(path, value);
        });
    }

    /// The exchange ends as it should: log, done, delete.
    ///
    /// # Panics
    ///
    /// On a trap, after the end, and while the module holds the response back.
    #[track_caller]
    pub fn finish(&self) {
        let stopped = self.with_exchange(|exchange| exchange.response.is_stopped());
        assert!(!stopped, "the module holds the response back");
        self.run(Vm::end_stream);
    }

    /// Envoy answers in place of the service, and the exchange ends. The module
    /// sees the response if it has seen none yet, since it sees what the client
    /// gets. The details are the body too.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn local_reply(&self, status: u16, flags: i64, details: &str) {
        let reply = LocalReply {
            status,
            flags,
            details: details.to_owned(),
            body: details.into(),
            ..LocalReply::default()
        };
        self.run(|vm, id| vm.local_reply(id, reply));
    }

    /// The client goes away. Whether it had a response by then is what the test
    /// said before.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn client_leaves(&self) {
        self.run(|vm, id| vm.cut(id, flags::DC, "downstream_remote_disconnect"));
    }

    /// The exchange is cut, for the reason in `flags`.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn reset(&self, flags: i64) {
        let details = "upstream_reset_after_response_started{remote_reset}";
        self.run(|vm, id| vm.cut(id, flags, details));
    }

    /// Envoy follows a redirect of the service itself: this hop ends with a
    /// response that no client and no response callback sees, and the next hop
    /// begins with the path `next`.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    #[must_use]
    pub fn redirect_internally(&self, status: u16, next: &str) -> Self {
        self.set_response(status, [("location", next)].into(), "internal_redirect");
        let mut exchange = self.with_exchange(|exchange| {
            let headers = exchange.maps.get_mut(MapType::RequestHeaders);
            let headers = headers.map(|headers| {
                headers.replace(b":path", next.as_bytes());
                headers.clone()
            });
            let mut next = Exchange::new(headers, exchange.arrived, exchange.arrived_at);
            next.passes_when_failed = exchange.passes_when_failed;
            next
        });
        if let Some(headers) = exchange.maps.get_mut(MapType::RequestHeaders) {
            let host = headers.first(b":authority").unwrap_or_default();
            let url = [b"http://", host, b"/"].concat();
            headers.replace(b"x-envoy-original-url", &url);
        }
        let root = self.with_vm(|vm, id| vm.state().contexts.get(&id).map(|stream| stream.root));
        let root = root.expect("an open stream has a root");
        let next = self.with_vm(|vm, _| vm.open_stream(root, exchange));
        self.run(Vm::end_stream);
        let next = Self::new(Rc::clone(&self.proxy), self.thread, self.machine, next);
        next.run(|vm, id| vm.begin_stream(id, true));
        next
    }

    /// What the client has of the response so far.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.look(Outcome::of)
    }

    /// The response headers that the client got, with what the module changed.
    #[must_use]
    pub fn response_headers_sent(&self) -> Vec<Pair> {
        self.outcome().headers
    }

    /// The first value of a response header that the client got, as text.
    #[must_use]
    pub fn response_header_sent(&self, name: &str) -> Option<String> {
        self.look(|exchange| match exchange.response.passed {
            true => text(exchange, MapType::ResponseHeaders, name),
            false => None,
        })
    }

    /// The first value of a request header as it goes on to the service.
    #[must_use]
    pub fn request_header(&self, name: &str) -> Option<String> {
        self.look(|exchange| text(exchange, MapType::RequestHeaders, name))
    }

    /// The request body that went on to the service.
    #[must_use]
    pub fn request_body_sent(&self) -> Vec<u8> {
        self.look(|exchange| exchange.request.body.clone())
    }

    /// Whether the module holds the stream back.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.look(|exchange| exchange.ended.is_none() && exchange.paused())
    }

    /// What the module answered in place of the service.
    #[must_use]
    pub fn local_response(&self) -> Option<LocalResponse> {
        self.look(|exchange| exchange.local_response.clone())
    }

    /// Whether the exchange is over.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.look(|exchange| exchange.ended.is_some())
    }

    /// An answer that the client got, and the module does not hear of.
    #[track_caller]
    pub(super) fn answered(&self, status: u16, headers: Headers, details: &str) {
        self.set_response(status, headers, details);
        self.with_exchange(|exchange| exchange.response.passed = true);
    }

    #[track_caller]
    fn set_response(&self, status: u16, headers: Headers, details: &str) {
        let headers = HeaderMap::new(headers.with_status(status).0);
        self.with_exchange(|exchange| {
            exchange.response_code = Some(i64::from(status));
            exchange
                .response_code_details
                .get_or_insert_with(|| details.to_owned());
            exchange.maps.insert(MapType::ResponseHeaders, headers);
        });
    }

    #[track_caller]
    fn trailers(&self, half: Half, trailers: Headers) {
        let trailers = HeaderMap::new(trailers.0);
        self.run(|vm, id| vm.show_trailers(id, half, trailers));
    }

    #[track_caller]
    fn body(&self, half: Half, piece: &[u8], end_of_stream: bool) -> Vec<u8> {
        let before = self.with_exchange(|exchange| exchange.flow(half).body.len());
        self.run(|vm, id| vm.show_body(id, half, piece.to_vec(), end_of_stream));
        self.look(|exchange| {
            let body = match half {
                Half::Request => &exchange.request.body,
                Half::Response => &exchange.response.body,
            };
            body.get(before..).unwrap_or_default().to_vec()
        })
    }

    /// Runs callbacks of the stream, and takes its exchange if they ended it.
    #[track_caller]
    pub(super) fn run(&self, callbacks: impl FnOnce(&mut Vm, u32) -> Result<(), Trap>) {
        let outcome = self.with_vm(callbacks);
        self.collect();
        self.proxy.borrow_mut().settle(outcome);
        deliver(&self.proxy);
    }

    #[track_caller]
    fn with_vm<R>(&self, run: impl FnOnce(&mut Vm, u32) -> R) -> R {
        self.collect();
        assert!(self.over.borrow().is_none(), "the exchange has ended");
        let mut proxy = self.proxy.borrow_mut();
        run(proxy.threads[self.thread].machine(self.machine), self.id)
    }

    #[track_caller]
    fn with_exchange<R>(&self, run: impl FnOnce(&mut Exchange) -> R) -> R {
        self.with_vm(|vm, id| {
            let exchange = vm.exchange(id);
            run(exchange.expect("an open stream has an exchange"))
        })
    }

    /// Looks at the exchange, also when it is over.
    fn look<R>(&self, look: impl FnOnce(&Exchange) -> R) -> R {
        self.collect();
        if let Some(exchange) = self.over.borrow().as_ref() {
            return look(exchange);
        }
        let mut proxy = self.proxy.borrow_mut();
        let vm = proxy.threads[self.thread].machine(self.machine);
        let exchange = vm.exchange(self.id);
        look(exchange.expect("an open stream has an exchange"))
    }

    /// Takes the exchange out of its machine, where it ended since.
    fn collect(&self) {
        if self.over.borrow().is_some() {
            return;
        }
        let mut proxy = self.proxy.borrow_mut();
        let vm = proxy.threads[self.thread].machine(self.machine);
        if let Some(exchange) = vm.ended(self.id) {
            *self.over.borrow_mut() = Some(exchange);
        }
    }
}

fn text(exchange: &Exchange, map: MapType, name: &str) -> Option<String> {
    let value = exchange.maps.get(map)?.first(name.as_bytes())?;
    Some(String::from_utf8_lossy(value).into_owned())
}
