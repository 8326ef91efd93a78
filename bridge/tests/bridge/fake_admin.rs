//! An admin interface that answers as it is told, byte for byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
    task::JoinHandle,
};

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Sends these bytes and closes.
    Send(Vec<u8>),
    /// Waits so long, then answers with these stats.
    Delay(Duration, &'static str),
    /// Sends a head and then the body byte by byte, slowly.
    Drip,
    /// Sends nothing and keeps the connection.
    Hang,
    /// Sends a head for a huge body, then zeros without an end.
    Flood,
    /// Sends these bytes, and then goes on without an end.
    Begin(&'static [u8], GoesOn),
}

/// How an answer goes on that never ends.
#[derive(Clone, Debug)]
pub(crate) enum GoesOn {
    /// With these bytes, over and over, one each 50 ms.
    Dripping(&'static [u8]),
    /// With these bytes, over and over, as fast as they are taken.
    Flooding(Vec<u8>),
    /// Not at all, and keeps the connection.
    Silent,
}

/// Head of an answer whose body comes in chunks.
pub(crate) const CHUNKED_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// Answers on a free port until it is dropped.
pub(crate) struct FakeAdmin {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    does: Mutex<Does>,
    requests: Mutex<Vec<String>>,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl State {
    fn doing(does: Does) -> Arc<Self> {
        Arc::new(Self {
            does: Mutex::new(does),
            requests: Mutex::default(),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
        })
    }
}

impl FakeAdmin {
    /// Answers every request as Envoy does, with these stats.
    pub(crate) async fn serving(stats: &str) -> Self {
        Self::doing(Does::Send(ok(stats.as_bytes()))).await
    }

    pub(crate) async fn doing(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State::doing(does);
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            address,
            state,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it does from now on.
    pub(crate) fn does(&self, does: Does) {
        *self.state.does.lock().unwrap() = does;
    }

    /// Heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Most requests that were in hand at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state.most_open.load(Ordering::SeqCst)
    }
}

impl Drop for FakeAdmin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers every connection to a Unix socket with these stats.
pub(crate) fn serve_on_socket(listener: UnixListener, stats: &str) -> JoinHandle<()> {
    let state = State::doing(Does::Send(ok(stats.as_bytes())));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, Arc::clone(&state)));
        }
    })
}

/// The answer that Envoy gives, in chunks.
pub(crate) fn ok(stats: &[u8]) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=UTF-8\r\n\
        cache-control: no-cache, max-age=0\r\nserver: envoy\r\ntransfer-encoding: chunked\r\n\r\n"
        .to_vec();
    for chunk in stats.chunks(1000) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    state.requests.lock().unwrap().push(head);
    let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
    state.most_open.fetch_max(open, Ordering::SeqCst);
    let does = state.does.lock().unwrap().clone();
    // The bridge may go away in the middle; that is its right.
    let _ = act(&mut stream, does).await;
    state.open.fetch_sub(1, Ordering::SeqCst);
}

async fn act(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    does: Does,
) -> std::io::Result<()> {
    let (begin, goes_on) = match does {
        Does::Send(bytes) => {
            stream.write_all(&bytes).await?;
            return stream.shutdown().await;
        }
        Does::Delay(time, stats) => {
            tokio::time::sleep(time).await;
            stream.write_all(&ok(stats.as_bytes())).await?;
            return stream.shutdown().await;
        }
        Does::Drip => (CHUNKED_HEAD, GoesOn::Dripping(b"1\r\na\r\n")),
        Does::Hang => (b"".as_slice(), GoesOn::Silent),
        Does::Flood => {
            let chunk = [b"10000\r\n".as_slice(), &[b'0'; 0x10000], b"\r\n"];
            (CHUNKED_HEAD, GoesOn::Flooding(chunk.concat()))
        }
        Does::Begin(begin, goes_on) => (begin, goes_on),
    };
    stream.write_all(begin).await?;
    match goes_on {
        GoesOn::Dripping(bytes) => {
            for byte in bytes.iter().cycle() {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        GoesOn::Flooding(bytes) => loop {
            stream.write_all(&bytes).await?;
        },
        GoesOn::Silent => {
            // Until the bridge has had enough.
            let _ = stream.read_u8().await;
        }
    }
    Ok(())
}
