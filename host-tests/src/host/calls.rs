//! The calls that plugins make to clusters, and what of an answer they may read:
//! HTTP calls, gRPC calls and gRPC streams, kept until the test answers them,
//! their time is up, or their root context goes.
//!
//! A call belongs to the root context of whoever made it, and its callbacks run
//! there (Envoy 1.40, `source/extensions/common/wasm/context.cc`, `httpCall`,
//! `grpcCall`, `grpcStream`). Which cluster a gRPC call names is read in
//! [`service`].
//!
//! Not emulated: the headers that Envoy's router adds to a call on its way, and
//! the metadata callbacks that run inside of the host call itself when a gRPC
//! stream is opened to a cluster without hosts.

pub mod service;

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::After;
use super::headers::HeaderMap;
use super::state::VmState;
use crate::abi::pairs::Pair;
use crate::abi::{BufferType, MapType, Status};

/// What gRPC answers where there is nobody to call (`UNAVAILABLE`).
pub const GRPC_UNAVAILABLE: u32 = 14;

/// The number in the low bits of a token that says what it is for, and the step
/// between two tokens of a kind (proxy-wasm-cpp-host, `wasm.h`, `CalloutType`).
const KIND_MASK: u32 = 3;
const STEP: u32 = 4;

/// What a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallKind {
    /// An HTTP request with its response.
    Http = 0,
    /// A gRPC request with its response.
    Grpc = 1,
    /// A gRPC stream.
    GrpcStream = 2,
}

impl CallKind {
    /// The kind that `token` was made for, if any.
    #[must_use]
    pub fn of(token: u32) -> Option<Self> {
        match token & KIND_MASK {
            0 => Some(Self::Http),
            1 => Some(Self::Grpc),
            2 => Some(Self::GrpcStream),
            _ => None,
        }
    }
}

/// A call as the plugin made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What it is.
    pub kind: CallKind,
    /// The cluster it goes to.
    pub cluster: String,
    /// The headers of an HTTP call, with the `content-length` that Envoy adds
    /// to a body; the initial metadata of a gRPC call.
    pub headers: Vec<Pair>,
    /// The body of an HTTP call; empty for gRPC.
    pub body: Vec<u8>,
    /// The trailers of an HTTP call; empty for gRPC.
    pub trailers: Vec<Pair>,
    /// The service of a gRPC call; empty for HTTP.
    pub service: String,
    /// The method of a gRPC call; empty for HTTP.
    pub method: String,
    /// The messages of a gRPC call so far; none for HTTP.
    pub messages: Vec<Vec<u8>>,
    /// Whether nothing more comes from the plugin.
    pub closed: bool,
    /// How long the plugin wants to wait; `None` is for ever.
    pub timeout: Option<Duration>,
}

/// A call that is not over.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The root context that it belongs to.
    pub root: u32,
    /// What was sent.
    pub call: Call,
    /// When its time is up, on the monotonic clock.
    pub due: Option<u64>,
    /// Whether the service closed a stream that the plugin did not close.
    pub remote_closed: bool,
}

/// What a root context may read while the callback of a call runs.
#[derive(Debug, Default)]
pub struct Received {
    /// Whose callback it is.
    pub root: u32,
    /// The maps, by type.
    pub maps: BTreeMap<MapType, HeaderMap>,
    /// The body of an HTTP response.
    pub body: Option<Vec<u8>>,
    /// A gRPC message; the plugin may change its copy.
    pub message: Option<Vec<u8>>,
}

/// The calls of one virtual machine.
#[derive(Debug, Default)]
pub struct Calls {
    pending: BTreeMap<u32, Pending>,
    /// How many tokens of each kind were given out.
    tokens: BTreeMap<CallKind, u32>,
    /// What `proxy_get_status` answers in a root context.
    statuses: BTreeMap<u32, (u32, Vec<u8>)>,
    /// What the present callback may read.
    pub received: Option<Received>,
}

impl Calls {
    /// All calls that are not over, by token.
    pub fn pending(&self) -> impl Iterator<Item = (u32, &Pending)> {
        self.pending.iter().map(|(token, call)| (*token, call))
    }

    /// The call with this token, if it is not over.
    pub fn get(&mut self, token: u32) -> Option<&mut Pending> {
        self.pending.get_mut(&token)
    }

    /// Takes a call off the list.
    pub fn remove(&mut self, token: u32) -> Option<Pending> {
        self.pending.remove(&token)
    }

    /// Drops all that belongs to `root`, as its context is deleted. Nobody is
    /// told.
    pub fn cancel(&mut self, root: u32) {
        self.pending.retain(|_, call| call.root != root);
        self.statuses.remove(&root);
    }

    /// The call whose time is up first, and when.
    #[must_use]
    pub fn next_due(&self) -> Option<(u64, u32)> {
        let due = self.pending.iter();
        due.filter_map(|(token, call)| Some((call.due?, *token)))
            .min()
    }

    /// Sets what `proxy_get_status` answers in the context `root`.
    pub fn set_status(&mut self, root: u32, code: u32, message: &str) {
        self.statuses
            .insert(root, (code, message.as_bytes().to_vec()));
    }

    /// Forgets what could be read in the callback of an answer, and the text of
    /// the status; its number stays.
    pub fn forget_answer(&mut self, root: u32) {
        self.received = None;
        if let Some((_, message)) = self.statuses.get_mut(&root) {
            message.clear();
        }
    }

    fn next_token(&mut self, kind: CallKind) -> u32 {
        let given = self.tokens.entry(kind).or_default();
        *given += 1;
        *given * STEP + kind as u32
    }

    fn start(&mut self, root: u32, call: Call, now: u64) -> u32 {
        let token = self.next_token(call.kind);
        let timeout = call.timeout.map(|timeout| {
            let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
            now.saturating_add(nanoseconds)
        });
        let pending = Pending {
            root,
            call,
            due: timeout,
            remote_closed: false,
        };
        self.pending.insert(token, pending);
        token
    }
}

/// A timeout as the ABI has it: 0 is none, and what is negative as a signed
/// number is refused.
fn timeout(milliseconds: u32) -> Result<Option<Duration>, Status> {
    if milliseconds.cast_signed() < 0 {
        return Err(Status::BAD_ARGUMENT);
    }
    let timeout = Duration::from_millis(u64::from(milliseconds));
    Ok((!timeout.is_zero()).then_some(timeout))
}

impl VmState {
    /// Starts an HTTP call for the root of the present context.
    ///
    /// # Errors
    ///
    /// [`Status::BAD_ARGUMENT`] for a negative timeout, an unknown cluster, or
    /// without `:method`, `:path` and `:authority`;
    /// [`Status::INTERNAL_FAILURE`] if the cluster has no host.
    pub fn start_http_call(
        &mut self,
        cluster: &[u8],
        headers: Vec<Pair>,
        body: Vec<u8>,
        trailers: Vec<Pair>,
        milliseconds: u32,
    ) -> Result<u32, Status> {
        let timeout = timeout(milliseconds)?;
        let cluster = String::from_utf8_lossy(cluster).into_owned();
        let hosts = self.process.borrow().clusters.get(&cluster).copied();
        let hosts = hosts.ok_or(Status::BAD_ARGUMENT)?;
        let mut headers = HeaderMap::new(headers);
        for name in [&b":path"[..], b":method", b"host"] {
            headers.first(name).ok_or(Status::BAD_ARGUMENT)?;
        }
        if !body.is_empty() {
            headers.replace(b"content-length", body.len().to_string().as_bytes());
        }
        if !hosts {
            // A token is used up all the same.
            self.calls.next_token(CallKind::Http);
            return Err(Status::INTERNAL_FAILURE);
        }
        let call = Call {
            kind: CallKind::Http,
            cluster,
            headers: headers.pairs().to_vec(),
            body,
            trailers: HeaderMap::new(trailers).pairs().to_vec(),
            service: String::new(),
            method: String::new(),
            messages: Vec::new(),
            closed: true,
            timeout,
        };
        let (root, now) = (self.root(), self.process.borrow().monotonic());
        Ok(self.calls.start(root, call, now))
    }

    /// Starts a gRPC call or stream for the root of the present context. The
    /// message of a call is its only one.
    ///
    /// # Errors
    ///
    /// See [`service::cluster`]; [`Status::INTERNAL_FAILURE`] if the cluster
    /// does not exist or has no host. Then the plugin hears of the failure in
    /// `proxy_on_grpc_close` too, with a token that it never got.
    pub fn start_grpc(
        &mut self,
        service: &[u8],
        name: &[u8],
        method: &[u8],
        metadata: Vec<Pair>,
        message: Option<(Vec<u8>, u32)>,
    ) -> Result<u32, Status> {
        let known = |cluster: &str| self.process.borrow().clusters.get(cluster).copied();
        let cluster = service::cluster(service, |cluster| known(cluster).is_some())?;
        let failure = match known(&cluster) {
            Some(true) => None,
            Some(false) => Some("no healthy upstream"),
            None => Some("Cluster not available"),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let kind = match message {
            Some(_) => CallKind::Grpc,
            None => CallKind::GrpcStream,
        };
        let (messages, milliseconds) = message.map_or((Vec::new(), 0), |(message, time)| {
            (vec![message], u64::from(time))
        });
        let root = self.root();
        if let Some(why) = failure {
            let token = self.calls.next_token(kind);
            self.after.push_back(After::FailGrpc(root, token, why));
            return Err(Status::INTERNAL_FAILURE);
        }
        let call = Call {
            kind,
            cluster,
            headers: HeaderMap::new(metadata).pairs().to_vec(),
            body: Vec::new(),
            trailers: Vec::new(),
            service: text(name),
            method: text(method),
            messages,
            closed: kind == CallKind::Grpc,
            timeout: (milliseconds > 0).then(|| Duration::from_millis(milliseconds)),
        };
        let now = self.process.borrow().monotonic();
        Ok(self.calls.start(root, call, now))
    }

    /// Sends a message on a gRPC stream. After either side closed it, nothing
    /// is sent, and the answer is the same.
    ///
    /// # Errors
    ///
    /// [`Status::BAD_ARGUMENT`] for a token of another kind,
    /// [`Status::NOT_FOUND`] where the stream is over or another root's.
    pub fn send_on_grpc_stream(
        &mut self,
        token: u32,
        message: Vec<u8>,
        end_of_stream: bool,
    ) -> Result<(), Status> {
        if CallKind::of(token) != Some(CallKind::GrpcStream) {
            return Err(Status::BAD_ARGUMENT);
        }
        let pending = self.own_call(token)?;
        if !pending.remote_closed && !pending.call.closed {
            pending.call.messages.push(message);
            pending.call.closed = end_of_stream;
        }
        Ok(())
    }

    /// Closes a gRPC stream from this side: it lives on until the service
    /// closes it too. A gRPC call is cancelled.
    ///
    /// # Errors
    ///
    /// As [`VmState::cancel_grpc`].
    pub fn close_grpc(&mut self, token: u32) -> Result<(), Status> {
        if CallKind::of(token) == Some(CallKind::GrpcStream) {
            let pending = self.own_call(token)?;
            if !pending.remote_closed {
                pending.call.closed = true;
                return Ok(());
            }
        }
        self.cancel_grpc(token)
    }

    /// Cancels a gRPC call or stream. Nothing is heard of it any more.
    ///
    /// # Errors
    ///
    /// [`Status::BAD_ARGUMENT`] for a token of another kind,
    /// [`Status::NOT_FOUND`] where it is over or another root's.
    pub fn cancel_grpc(&mut self, token: u32) -> Result<(), Status> {
        match CallKind::of(token) {
            Some(CallKind::Grpc | CallKind::GrpcStream) => {
                self.own_call(token)?;
                self.calls.remove(token);
                Ok(())
            }
            _ => Err(Status::BAD_ARGUMENT),
        }
    }

    /// The number and the text of what became of the last call that failed or
    /// closed.
    #[must_use]
    pub fn call_status(&self) -> (u32, Vec<u8>) {
        let status = self.calls.statuses.get(&self.root());
        status.cloned().unwrap_or_default()
    }

    /// A map of a call's answer. It can be read in the callback of that answer,
    /// from the root and from a stream under it.
    #[must_use]
    pub fn received_map(&self, map: MapType) -> Option<&HeaderMap> {
        self.received()?.maps.get(&map)
    }

    /// The body of an HTTP call's answer, or a gRPC message, as
    /// [`VmState::received_map`].
    ///
    /// # Errors
    ///
    /// [`Status::NOT_FOUND`] where no body of an HTTP call can be read now. A
    /// gRPC message that is not there is empty.
    pub fn received_buffer(&self, buffer: BufferType) -> Result<Vec<u8>, Status> {
        let received = self.received();
        if buffer == BufferType::HttpCallResponseBody {
            let body = received.and_then(|received| received.body.clone());
            return body.ok_or(Status::NOT_FOUND);
        }
        let message = received.and_then(|received| received.message.clone());
        Ok(message.unwrap_or_default())
    }

    fn received(&self) -> Option<&Received> {
        let received = self.calls.received.as_ref()?;
        (received.root == self.root()).then_some(received)
    }

    fn own_call(&mut self, token: u32) -> Result<&mut Pending, Status> {
        let root = self.root();
        self.calls
            .get(token)
            .filter(|pending| pending.root == root)
            .ok_or(Status::NOT_FOUND)
    }
}
