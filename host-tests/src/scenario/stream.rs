//! One HTTP exchange on its way through the filter. Envoy's order of callbacks
//! is kept by the verbs; a test that wants another order uses
//! [`super::Worker::callback`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::flags;
use super::proxy::Proxy;
use super::traffic::Headers;
use crate::abi::MapType;
use crate::abi::host::LocalResponse;
use crate::abi::pairs::Pair;
use crate::host::exchange::Exchange;
use crate::host::headers::HeaderMap;
use crate::host::vm::{Trap, Vm};

/// An exchange. It stays open until a verb ends it; verbs after that panic,
/// since they would test nothing.
#[derive(Debug)]
pub struct Stream {
    proxy: Rc<RefCell<Proxy>>,
    thread: usize,
    id: u32,
    ended: Cell<bool>,
    /// The headers that went to the client, kept when the context is gone.
    sent: RefCell<Option<HeaderMap>>,
    /// What the module answered in Envoy's place.
    local_response: RefCell<Option<LocalResponse>>,
}

impl Stream {
    pub(super) fn new(proxy: Rc<RefCell<Proxy>>, thread: usize, id: u32) -> Self {
        Self {
            proxy,
            thread,
            id,
            ended: Cell::new(false),
            sent: RefCell::new(None),
            local_response: RefCell::new(None),
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
        self.show_response();
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
        self.show_response();
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

    /// A chunk of the request body passes; gives what the module left of it.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn request_body(&self, chunk: impl AsRef<[u8]>, end_of_stream: bool) -> Vec<u8> {
        self.body(true, chunk.as_ref(), end_of_stream)
    }

    /// A chunk of the response body passes; gives what the module left of it.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn response_body(&self, chunk: impl AsRef<[u8]>, end_of_stream: bool) -> Vec<u8> {
        self.body(false, chunk.as_ref(), end_of_stream)
    }

    /// Trailers of the request arrive.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn request_trailers(&self, trailers: impl Into<Headers>) {
        self.trailers(MapType::RequestTrailers, trailers.into());
    }

    /// Trailers of the response arrive.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn response_trailers(&self, trailers: impl Into<Headers>) {
        self.trailers(MapType::ResponseTrailers, trailers.into());
    }

    /// A route rewrites the path: every later callback sees the new one.
    ///
    /// # Panics
    ///
    /// After the end.
    #[track_caller]
    pub fn rewrite_path(&self, path: &str) {
        self.with_exchange(|exchange| {
            if let Some(headers) = exchange.maps.get_mut(&MapType::RequestHeaders) {
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
    /// On a trap, and after the end.
    #[track_caller]
    pub fn finish(&self) {
        self.end(0, None);
    }

    /// Envoy answers in place of the service, and the exchange ends. The module
    /// sees the response headers, since it sees what the client gets.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn local_reply(&self, status: u16, flags: i64, details: &str) {
        self.with_exchange(|exchange| {
            exchange.response_flags |= flags;
            exchange.response_code_details = Some(details.to_owned());
        });
        self.respond(
            status,
            [("content-type", "text/plain"), ("server", "envoy")],
        );
        self.end(flags, Some(details));
    }

    /// The client goes away. Whether it had a response by then is what the test
    /// said before.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn client_leaves(&self) {
        self.end(flags::DC, Some("downstream_remote_disconnect"));
    }

    /// The exchange is cut, for the reason in `flags`.
    ///
    /// # Panics
    ///
    /// On a trap, and after the end.
    #[track_caller]
    pub fn reset(&self, flags: i64) {
        self.end(
            flags,
            Some("upstream_reset_after_response_started{remote_reset}"),
        );
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
        let exchange = self.with_exchange(|exchange| {
            let headers = exchange.maps.get_mut(&MapType::RequestHeaders);
            let headers = headers.map(|headers| {
                headers.replace(b":path", next.as_bytes());
                headers.clone()
            });
            Exchange::new(headers, exchange.arrived, exchange.arrived_at)
        });
        let root = self.with_vm(|vm, id| vm.state().contexts.get(&id).map(|stream| stream.root));
        let root = root.expect("an open stream has a root");
        let next = self.with_vm(|vm, _| vm.open_stream(root, exchange));
        self.end(0, None);
        let next = Self::new(Rc::clone(&self.proxy), self.thread, next);
        next.run(|vm, id| {
            vm.create(id)?;
            vm.show_map(id, MapType::RequestHeaders, true)
        });
        next.send_local_response();
        next
    }

    /// The response headers that the client got, with what the module changed.
    #[must_use]
    pub fn response_headers_sent(&self) -> Vec<Pair> {
        let sent = self.sent.borrow();
        sent.as_ref()
            .map_or_else(Vec::new, |sent| sent.pairs().to_vec())
    }

    /// The first value of a response header that the client got, as text.
    #[must_use]
    pub fn response_header_sent(&self, name: &str) -> Option<String> {
        let sent = self.sent.borrow();
        let value = sent.as_ref()?.first(name.as_bytes())?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// The first value of a request header as it goes on to the service.
    ///
    /// # Panics
    ///
    /// After the end.
    #[track_caller]
    #[must_use]
    pub fn request_header(&self, name: &str) -> Option<String> {
        self.with_exchange(|exchange| {
            let headers = exchange.maps.get(&MapType::RequestHeaders)?;
            let value = headers.first(name.as_bytes())?;
            Some(String::from_utf8_lossy(value).into_owned())
        })
    }

    /// Whether the module holds the stream back.
    ///
    /// # Panics
    ///
    /// After the end.
    #[track_caller]
    #[must_use]
    pub fn paused(&self) -> bool {
        self.with_exchange(|exchange| exchange.paused)
    }

    /// What the module answered in place of the service.
    #[must_use]
    pub fn local_response(&self) -> Option<LocalResponse> {
        self.local_response.borrow().clone()
    }

    /// Whether the exchange is over.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    #[track_caller]
    pub(super) fn set_response(&self, status: u16, headers: Headers, details: &str) {
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
    fn show_response(&self) {
        self.run(|vm, id| vm.show_map(id, MapType::ResponseHeaders, false));
        let sent =
            self.with_exchange(|exchange| exchange.maps.get(&MapType::ResponseHeaders).cloned());
        *self.sent.borrow_mut() = sent;
    }

    /// Sends what the module answered in its last callback, as Envoy does when
    /// that callback has returned, and ends the exchange.
    #[track_caller]
    pub(super) fn send_local_response(&self) {
        let Some(response) = self.with_exchange(|exchange| exchange.local_response.take()) else {
            return;
        };
        let status = u16::try_from(response.status).unwrap_or_default();
        let details = String::from_utf8_lossy(&response.details).into_owned();
        *self.local_response.borrow_mut() = Some(response.clone());
        self.respond(status, response.headers);
        self.end(0, Some(&details));
    }

    #[track_caller]
    fn trailers(&self, map: MapType, trailers: Headers) {
        self.with_exchange(|exchange| {
            exchange.maps.insert(map, HeaderMap::new(trailers.0));
        });
        self.run(|vm, id| vm.show_map(id, map, true));
    }

    #[track_caller]
    fn body(&self, request: bool, chunk: &[u8], end_of_stream: bool) -> Vec<u8> {
        let mut rest = Vec::new();
        self.run(|vm, id| {
            rest = vm.show_body(id, request, chunk.to_vec(), end_of_stream)?;
            Ok(())
        });
        rest
    }

    #[track_caller]
    pub(super) fn end(&self, flags: i64, details: Option<&str>) {
        let now = self.proxy.borrow().process.borrow().monotonic();
        self.with_exchange(|exchange| {
            exchange.ended = Some(now);
            exchange.response_flags |= flags;
            if exchange.response_code_details.is_none() {
                exchange.response_code_details = details.map(str::to_owned);
            }
        });
        self.run(Vm::end_stream);
        self.ended.set(true);
    }

    #[track_caller]
    pub(super) fn run(&self, callbacks: impl FnOnce(&mut Vm, u32) -> Result<(), Trap>) {
        let outcome = self.with_vm(callbacks);
        self.proxy.borrow_mut().settle(outcome);
    }

    #[track_caller]
    fn with_vm<R>(&self, run: impl FnOnce(&mut Vm, u32) -> R) -> R {
        assert!(!self.ended.get(), "the exchange has ended");
        let mut proxy = self.proxy.borrow_mut();
        run(&mut proxy.threads[self.thread].vm, self.id)
    }

    #[track_caller]
    fn with_exchange<R>(&self, run: impl FnOnce(&mut Exchange) -> R) -> R {
        self.with_vm(|vm, id| {
            let exchange = vm.exchange(id);
            run(exchange.expect("an open stream has an exchange"))
        })
    }
}
