//! Requests to all four services, as clients and players would send them, so that
//! every metric of theirs moves and a first graph shows something.
//!
//! It is no load generator: addresses are loopback only, the rate is bounded, and
//! each service gets one request at a time. What is sent over and over is a
//! round; the answers are counted and otherwise not looked at.
//!
//! A burst of logins is sent as fast as it is answered, so that some run into the
//! limit. The player says what it does in CMCD request headers (CTA-5004): it
//! starts, switches up, stalls and switches down.

mod player;
mod rounds;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Interval, MissedTickBehavior};

use crate::Service;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where requests go, how fast and how many.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// Whom to send requests, and where.
    pub services: Vec<(Service, SocketAddr)>,
    /// At most so many, over all services; at least 1.
    pub requests_per_second: u32,
    /// `None`: without end.
    pub rounds: Option<u64>,
}

/// How many answers of which status came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// By service and status.
    pub by_status: BTreeMap<(Service, u16), u64>,
    /// Requests that were not answered in ten seconds or at all.
    pub missing: u64,
}

impl Traffic {
    /// Sends the rounds, all services at the same time, until they are over or
    /// `stop_asked`.
    pub async fn send_until(self, stop_asked: impl Future<Output = ()>) -> Answers {
        let mut answers = Answers::default();
        let (counted, mut counts) = tokio::sync::mpsc::channel(64);
        let lanes: Vec<_> = self
            .services
            .iter()
            .map(|(service, address)| {
                let pause = Duration::from_secs(1)
                    * u32::try_from(self.services.len()).unwrap_or(1)
                    / self.requests_per_second.max(1);
                let lane = Lane::new(*service, *address, pause, counted.clone());
                lane.send(self.rounds)
            })
            .collect();
        drop(counted);
        let all = futures_util::future::join_all(lanes);
        let count = async {
            while let Some((service, status)) = counts.recv().await {
                match status {
                    Some(status) => *answers.by_status.entry((service, status)).or_default() += 1,
                    None => answers.missing += 1,
                }
            }
        };
        tokio::select! {
            () = stop_asked => {}
            _ = async { tokio::join!(all, count) } => {}
        }
        answers
    }
}

/// An answer's status, or that none came.
type Counted = (Service, Option<u16>);

/// The requests to one service, one after the other.
struct Lane {
    service: Service,
    address: SocketAddr,
    client: Client<HttpConnector, Full<axum::body::Bytes>>,
    pace: Interval,
    counted: tokio::sync::mpsc::Sender<Counted>,
    /// Whether the last request was answered; told once where that changes.
    answered: bool,
}

impl Lane {
    fn new(
        service: Service,
        address: SocketAddr,
        pause: Duration,
        counted: tokio::sync::mpsc::Sender<Counted>,
    ) -> Self {
        let mut pace = tokio::time::interval(pause.max(Duration::from_millis(1)));
        // A slow answer is not made up for by haste.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            service,
            address,
            client: Client::builder(TokioExecutor::new()).build_http(),
            pace,
            counted,
            answered: true,
        }
    }

    async fn send(mut self, rounds: Option<u64>) {
        let mut round = 0;
        while rounds.is_none_or(|rounds| round < rounds) {
            match self.service {
                Service::Api => rounds::api(&mut self, round).await,
                Service::Discovery => rounds::discovery(&mut self, round).await,
                Service::Playback => rounds::playback(&mut self, round).await,
                Service::Ingestion => rounds::ingestion(&mut self, round).await,
            }
            round += 1;
        }
    }

    async fn get(&mut self, path: &str) {
        self.request(Method::GET, path, [], Vec::new()).await;
    }

    async fn json(&mut self, method: Method, path: &str, body: &str) {
        let json = (header::CONTENT_TYPE, "application/json".to_owned());
        self.request(method, path, [json], body.into()).await;
    }

    /// Sends a request when its time has come; returns the `Location` of the answer.
    async fn request(
        &mut self,
        method: Method,
        path: &str,
        headers: impl IntoIterator<Item = (HeaderName, String)>,
        body: Vec<u8>,
    ) -> Option<String> {
        self.pace.tick().await;
        self.request_now(method, path, headers, body).await
    }

    async fn request_now(
        &mut self,
        method: Method,
        path: &str,
        headers: impl IntoIterator<Item = (HeaderName, String)>,
        body: Vec<u8>,
    ) -> Option<String> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        let url = format!("http://{}{path}", self.address);
        let answer = match Uri::try_from(url) {
            Ok(uri) => {
                *request.uri_mut() = uri;
                for (name, value) in headers {
                    if let Ok(value) = HeaderValue::try_from(value) {
                        request.headers_mut().insert(name, value);
                    }
                }
                let answer = tokio::time::timeout(PATIENCE, self.exchange(request));
                answer
                    .await
                    .unwrap_or_else(|_| Err("no answer in time".into()))
            }
            Err(error) => Err(error.into()),
        };
        let (status, headers) = match answer {
            Ok((status, headers)) => (Some(status), headers),
            Err(error) => {
                if self.answered {
                    tracing::warn!(service = %self.service, address = %self.address, %error, "no answer");
                }
                (None, HeaderMap::new())
            }
        };
        self.answered = status.is_some();
        // Nobody counts any more once the traffic has been stopped.
        let _ = self.counted.send((self.service, status)).await;
        let location = headers.get(header::LOCATION)?;
        location.to_str().ok().map(str::to_owned)
    }

    /// Sends and reads to the end.
    async fn exchange(
        &self,
        request: Request<Full<axum::body::Bytes>>,
    ) -> Result<(u16, HeaderMap), Box<dyn std::error::Error + Send + Sync>> {
        let (head, mut body) = self.client.request(request).await?.into_parts();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok((head.status.as_u16(), head.headers))
    }
}
