//! Connections: how many, how long, and how they end.
//!
//! - At most `max_connections` at once. One more closes the connection that has
//!   been waiting longest without a request in hand, so idle and slow clients
//!   never keep a scraper out.
//! - A client has a limited time for the TLS handshake, to send a request's
//!   head (and to stay idle between two) and to take the next bytes of an
//!   answer: less of it while somebody waits for a connection, or for what slow
//!   clients hold. A handshake counts as a connection without a request in hand.
//! - A connection is answered by one configuration; when another takes over,
//!   its request in hand is answered and it ends.
//! - At the end no new connection is taken, requests in hand are answered, and
//!   what is left after the deadline is cut.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{held_body::HeldBody, patience::Patient, serving::Serving};
use crate::room::Crowd;

/// How many connections, and how slow they may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once, at least 1.
    pub max_connections: usize,
    /// Time for the head of a request, and for idling before it.
    pub head_timeout: Duration,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Time that a client may take no byte of an answer.
    pub write_timeout: Duration,
    /// Whether anybody waits for what slow clients hold.
    pub crowd: Crowd,
}

/// Largest head of a request.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Answers requests on `listener` until `shutdown`, by what is `current` when
/// their connection begins. Then it drains, and says how many connections had
/// to be cut.
pub async fn serve(
    listener: TcpListener,
    limits: Limits,
    current: Arc<ArcSwap<Serving>>,
    shutdown: impl Future<Output = ()>,
) -> usize {
    let slots = Slots::default();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                refused_by_the_system(&error).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        if connections.len() >= limits.max_connections {
            // Where every connection has a request in hand, the new one waits.
            slots.shed_longest_waiting();
            let _waiting = limits.crowd.wait();
            tokio::select! {
                _ = connections.join_next() => {}
                () = &mut shutdown => break,
            }
        }
        let serving = current.load_full();
        connections.spawn(connection(
            stream,
            peer,
            limits.clone(),
            serving,
            slots.take(),
        ));
    }
    drop(listener);
    let last = current.load_full();
    last.ending.cancel();
    let done = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(last.drain_timeout, done).await;
    let left = connections.len();
    connections.shutdown().await;
    left
}

/// Out of file descriptors, mostly: taking the next one at once would spin.
async fn refused_by_the_system(error: &io::Error) {
    let is_of_one_client = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    );
    if !is_of_one_client {
        warn!(%error, "cannot accept a connection");
        sleep(Duration::from_millis(200)).await;
    }
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    limits: Limits,
    serving: Arc<Serving>,
    slot: Arc<Slot>,
) {
    // A page is written in one piece; without this its end may wait for an ACK.
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, limits.write_timeout, limits.crowd.clone());
    let Some(acceptor) = serving.acceptor() else {
        return requests(stream, peer, &limits, serving, slot).await;
    };
    let handshake = timeout(limits.handshake_timeout, acceptor.accept(stream));
    let stream = tokio::select! {
        stream = handshake => stream,
        () = slot.shed.notified() => return,
        () = serving.ending.cancelled() => return,
    };
    match stream {
        Ok(Ok(stream)) => requests(stream, peer, &limits, serving, slot).await,
        Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => debug!(%peer, "TLS handshake took too long"),
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: IpAddr,
    limits: &Limits,
    serving: Arc<Serving>,
    slot: Arc<Slot>,
) {
    let service = service_fn(|request| {
        let in_hand = slot.request();
        let serving = Arc::clone(&serving);
        async move {
            let response = serving.answer(request, peer).await?;
            Ok::<_, Infallible>(response.map(|body| HeldBody::new(body, in_hand)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a connection ends concerns its client only.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = slot.shed.notified() => {}
        () = serving.ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// The connections that are open, to find the one to close when there is one
/// too many.
#[derive(Default)]
struct Slots {
    open: Mutex<Vec<std::sync::Weak<Slot>>>,
    clock: Arc<AtomicU64>,
}

struct Slot {
    requests: AtomicUsize,
    /// When the connection last began to wait for a request, by `clock`.
    waiting_since: AtomicU64,
    clock: Arc<AtomicU64>,
    shed: Notify,
}

struct RequestInHand(Arc<Slot>);

impl Slots {
    fn take(&self) -> Arc<Slot> {
        let slot = Arc::new(Slot {
            requests: AtomicUsize::new(0),
            waiting_since: AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed)),
            clock: Arc::clone(&self.clock),
            shed: Notify::new(),
        });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|slot| slot.strong_count() > 0);
        open.push(Arc::downgrade(&slot));
        slot
    }

    /// Closes the connection that has been waiting longest, if one has no
    /// request in hand.
    fn shed_longest_waiting(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = open
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| Some((at, slot.upgrade()?)))
            .filter(|(_, slot)| slot.requests.load(Ordering::Relaxed) == 0)
            .min_by_key(|(_, slot)| slot.waiting_since.load(Ordering::Relaxed));
        if let Some((at, slot)) = longest {
            slot.shed.notify_one();
            open.swap_remove(at);
        }
    }
}

impl Slot {
    fn request(self: &Arc<Self>) -> RequestInHand {
        self.requests.fetch_add(1, Ordering::Relaxed);
        RequestInHand(Arc::clone(self))
    }
}

impl Drop for RequestInHand {
    fn drop(&mut self) {
        let now = self.0.clock.fetch_add(1, Ordering::Relaxed);
        self.0.waiting_since.store(now, Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
