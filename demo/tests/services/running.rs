//! The services in this process, on free ports, and a client of them.

use std::net::SocketAddr;
use std::time::Duration;

use gatemeter_demo::{Config, Demo, Film, Service};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything in these tests may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// All four services, serving in a task until `stop`.
pub(crate) struct Running {
    addresses: Vec<(Service, SocketAddr)>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(Film::default()).await
    }

    pub(crate) async fn start_with(film: Film) -> Self {
        let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let demo = Demo::start(Config {
            listen: Service::ALL.map(|service| (service, any_port)).to_vec(),
            database_url: None,
            redis_url: None,
            db_connections: 4,
            cache_ttl: Duration::from_secs(60),
            film,
        })
        .await
        .unwrap();
        let addresses = demo.addresses().to_vec();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(demo.serve_until(async {
            let _ = stopped.await;
        }));
        Self {
            addresses,
            stop,
            serving,
        }
    }

    pub(crate) fn addresses(&self) -> &[(Service, SocketAddr)] {
        &self.addresses
    }

    pub(crate) fn address(&self, service: Service) -> SocketAddr {
        let found = self.addresses.iter().find(|(known, _)| *known == service);
        found.unwrap().1
    }

    pub(crate) async fn send(
        &self,
        service: Service,
        method: Method,
        path: &str,
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let body = body.as_ref().to_vec();
        let json = if body.starts_with(b"{") {
            "application/json"
        } else {
            "application/octet-stream"
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "demo")
            .header("content-type", json)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = open(self.address(service), request).await;
        Answer::read(response).await
    }

    pub(crate) async fn get(&self, service: Service, path: &str) -> Answer {
        self.send(service, Method::GET, path, "").await
    }

    /// Stops the services; fails where that takes longer than the grace they give.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.serving)
            .await
            .expect("the services did not stop")
            .unwrap()
    }
}

pub(crate) async fn open(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Response<hyper::body::Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let response = tokio::time::timeout(PATIENCE, sender.send_request(request));
    response.await.expect("no answer").unwrap()
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn read(response: Response<hyper::body::Incoming>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
