//! The calls that modules make to clusters: what was sent, and the test's
//! answer.

use std::cell::RefCell;
use std::rc::Rc;

use super::notices::deliver;
use super::proxy::Proxy;
use super::traffic::Headers;
use crate::abi::pairs::Pair;
use crate::host::calls::{Call, CallKind};
use crate::host::process::Thread;
use crate::host::vm::calls::HttpAnswer;
use crate::host::vm::{Trap, Vm};

/// The response to an HTTP call of a module.
///
/// ```
/// use gatemeter_host_tests::CallResponse;
///
/// let response = CallResponse::new(200)
///     .headers([("content-type", "text/plain")])
///     .body("yes")
///     .trailers([("checksum", "7")]);
/// # let _ = response;
/// ```
#[derive(Debug, Clone)]
pub struct CallResponse(HttpAnswer);

impl CallResponse {
    /// A response with this status, and nothing else.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self(HttpAnswer {
            headers: Headers::default().with_status(status).0,
            ..HttpAnswer::default()
        })
    }

    /// Adds headers.
    #[must_use]
    pub fn headers(mut self, headers: impl Into<Headers>) -> Self {
        self.0.headers.extend(headers.into().0);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.0.body = body.as_ref().to_vec();
        self
    }

    /// Adds trailers.
    #[must_use]
    pub fn trailers(mut self, trailers: impl Into<Headers>) -> Self {
        self.0.trailers.extend(trailers.into().0);
        self
    }
}

impl From<u16> for CallResponse {
    fn from(status: u16) -> Self {
        Self::new(status)
    }
}

/// A handle on a call: where it waits, and what was sent when the handle was
/// made.
#[derive(Debug, Clone)]
struct Handle {
    proxy: Rc<RefCell<Proxy>>,
    thread: usize,
    /// The virtual machine, which a later one on the thread is not.
    vm: u64,
    token: u32,
    root: u32,
    call: Call,
}

impl Handle {
    fn all(proxy: &Rc<RefCell<Proxy>>, wanted: impl Fn(CallKind) -> bool) -> Vec<Self> {
        let borrowed = proxy.borrow();
        let threads = borrowed.threads.iter().enumerate();
        let mut calls: Vec<Self> = threads
            .flat_map(|(thread, local)| {
                let state = local.vm.state();
                let vm = state.serial;
                let pending = state.calls.pending();
                pending.map(move |(token, pending)| (thread, vm, token, pending))
            })
            .filter(|(.., pending)| wanted(pending.call.kind))
            .map(|(thread, vm, token, pending)| Self {
                proxy: Rc::clone(proxy),
                thread,
                vm,
                token,
                root: pending.root,
                call: pending.call.clone(),
            })
            .collect();
        calls.sort_by_key(|call| (call.thread, call.call.kind, call.token));
        calls
    }

    fn pending(&self) -> bool {
        let proxy = self.proxy.borrow();
        let state = proxy.threads[self.thread].vm.state();
        let mut pending = state.calls.pending();
        state.serial == self.vm && pending.any(|(token, _)| token == self.token)
    }

    fn thread(&self) -> Thread {
        self.proxy.borrow().threads[self.thread].vm.state().thread
    }

    #[track_caller]
    fn run(&self, answer: impl FnOnce(&mut Vm, u32) -> Result<(), Trap>) {
        assert!(self.pending(), "the call is over");
        {
            let proxy = &mut *self.proxy.borrow_mut();
            let answered = answer(&mut proxy.threads[self.thread].vm, self.token);
            proxy.settle(answered);
        }
        deliver(&self.proxy);
    }
}

/// What both kinds of handles tell.
macro_rules! handle {
    ($name:ident) => {
        impl $name {
            /// The cluster that it goes to.
            #[must_use]
            pub fn cluster(&self) -> &str {
                &self.0.call.cluster
            }

            /// The token that the module has for it.
            #[must_use]
            pub fn token(&self) -> u32 {
                self.0.token
            }

            /// The root context that it belongs to.
            #[must_use]
            pub fn root(&self) -> u32 {
                self.0.root
            }

            /// The thread that it was made on.
            #[must_use]
            pub fn thread(&self) -> Thread {
                self.0.thread()
            }

            /// What was sent when this handle was made.
            #[must_use]
            pub fn sent(&self) -> &Call {
                &self.0.call
            }

            /// The first value of a header, or of initial metadata, that was
            /// sent.
            #[must_use]
            pub fn header(&self, name: &str) -> Option<String> {
                first(&self.0.call.headers, name)
            }

            /// Whether an answer is still awaited.
            #[must_use]
            pub fn pending(&self) -> bool {
                self.0.pending()
            }
        }
    };
}

/// An HTTP call of a module.
///
/// Its verbs panic on a trap, and if the call is over: answered, out of time,
/// or gone with its root context.
#[derive(Debug, Clone)]
pub struct HttpCall(Handle);

handle!(HttpCall);

impl HttpCall {
    pub(super) fn all(proxy: &Rc<RefCell<Proxy>>) -> Vec<Self> {
        let calls = Handle::all(proxy, |kind| kind == CallKind::Http);
        calls.into_iter().map(Self).collect()
    }

    /// The body that was sent.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.0.call.body
    }

    /// The cluster answers.
    #[track_caller]
    pub fn respond(&self, response: impl Into<CallResponse>) {
        let answer = response.into().0;
        self.0.run(|vm, token| vm.answer_http_call(token, answer));
    }

    /// The connection breaks before the answer is whole. A cluster that cannot
    /// be reached is something else: Envoy answers 503 in its place.
    #[track_caller]
    pub fn reset(&self) {
        self.0.run(Vm::reset_http_call);
    }
}

/// A gRPC call or stream of a module.
///
/// Its verbs panic on a trap, and if the call is over.
#[derive(Debug, Clone)]
pub struct GrpcCall(Handle);

handle!(GrpcCall);

impl GrpcCall {
    pub(super) fn all(proxy: &Rc<RefCell<Proxy>>) -> Vec<Self> {
        let calls = Handle::all(proxy, |kind| kind != CallKind::Http);
        calls.into_iter().map(Self).collect()
    }

    /// Whether it is a stream.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.0.call.kind == CallKind::GrpcStream
    }

    /// The messages that the module sent until now.
    ///
    /// # Panics
    ///
    /// If the call is over.
    #[track_caller]
    #[must_use]
    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.now(|call| call.messages.clone())
    }

    /// Whether the module closed its side, now.
    ///
    /// # Panics
    ///
    /// If the call is over.
    #[track_caller]
    #[must_use]
    pub fn closed(&self) -> bool {
        self.now(|call| call.closed)
    }

    /// The service sends its initial metadata; Envoy hands over the headers of
    /// the response with it. A call that is no stream does not hear of it.
    #[track_caller]
    pub fn initial_metadata(&self, metadata: impl Into<Headers>) {
        let headers = [(":status", "200"), ("content-type", "application/grpc")];
        let mut headers = Headers::from(headers).0;
        headers.extend(metadata.into().0);
        if self.is_stream() {
            self.0
                .run(|vm, token| vm.grpc_initial_metadata(token, headers));
        }
    }

    /// The service sends a message. It is the answer of a call, which is over
    /// then.
    #[track_caller]
    pub fn message(&self, message: impl AsRef<[u8]>) {
        let message = message.as_ref().to_vec();
        let stream = self.is_stream();
        self.0.run(|vm, token| {
            if stream {
                vm.grpc_message(token, message)
            } else {
                vm.answer_grpc_call(token, message)
            }
        });
    }

    /// The service closes with this status and text, which are in the trailing
    /// metadata of a stream too, after `metadata`.
    #[track_caller]
    pub fn close(&self, status: u32, text: &str, metadata: impl Into<Headers>) {
        let mut trailers = metadata.into().0;
        let code = status.to_string();
        let own = [("grpc-status", code.as_str()), ("grpc-message", text)];
        trailers.extend(Headers::from(own).0);
        self.end(trailers, status, text);
    }

    /// The connection breaks: the module hears of `INTERNAL` (13).
    #[track_caller]
    pub fn reset(&self) {
        self.end(Vec::new(), 13, "");
    }

    #[track_caller]
    fn end(&self, trailers: Vec<Pair>, status: u32, text: &str) {
        let stream = self.is_stream();
        self.0.run(|vm, token| {
            if stream {
                vm.grpc_trailing_metadata(token, trailers)?;
            }
            vm.close_grpc(token, status, text)
        });
    }

    #[track_caller]
    fn now<R>(&self, look: impl FnOnce(&Call) -> R) -> R {
        let mut calls = Handle::all(&self.0.proxy, |kind| kind == self.0.call.kind);
        calls.retain(|call| (call.vm, call.token) == (self.0.vm, self.0.token));
        let call = calls.first().expect("the call is over");
        look(&call.call)
    }
}

fn first(headers: &[Pair], name: &str) -> Option<String> {
    let mut headers = headers.iter();
    let (_, value) = headers.find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

impl Proxy {
    /// Ends the call whose time is up first, if that is not after `limit`.
    #[track_caller]
    pub(super) fn expire_call(&mut self, limit: u64) -> bool {
        let threads = self.threads.iter().enumerate();
        let due = threads.filter_map(|(thread, local)| {
            let (due, token) = local.vm.state().calls.next_due()?;
            (due <= limit && local.vm.dead().is_none()).then_some((due, thread, token))
        });
        let Some((due, thread, token)) = due.min() else {
            return false;
        };
        self.move_to(due);
        let expired = self.threads[thread].vm.expire_call(token);
        self.settle(expired);
        true
    }
}
