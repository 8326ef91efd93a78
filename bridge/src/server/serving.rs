//! One configuration in service: how connections are opened, who is answered,
//! by what. A reload makes a new one; connections end with theirs.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::sync::CancellationToken;

use super::auth::{Auth, Verdict};
use crate::own_scrapes::OwnScrapes;

/// Answers requests by one configuration.
#[derive(Clone)]
pub struct Serving {
    /// What there is to see.
    pub router: Router,
    /// Scrapes of the bridge that go through Envoy.
    pub own_scrapes: OwnScrapes,
    /// Who may see it.
    pub auth: Auth,
    /// Headers that the operator wants on every answer.
    pub headers: HeaderMap,
    /// Plain HTTP without.
    pub tls: Option<Arc<ServerConfig>>,
    /// Fires when another configuration takes over or the process ends: no
    /// further request of a connection is taken, and answers without an end
    /// end at once.
    pub ending: CancellationToken,
    /// Time for requests in hand when the process ends.
    pub drain_timeout: Duration,
}

impl Serving {
    /// For the handshake of a new connection.
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        self.tls.clone().map(TlsAcceptor::from)
    }

    /// Answers a request that came from `peer`.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> Result<Response, Infallible> {
        let mut response = match self.auth.verdict(request.headers(), peer).await {
            Verdict::Allowed => {
                super::answer(self.router.clone(), self.own_scrapes.clone(), request).await?
            }
            verdict => refusal(verdict),
        };
        let headers = response.headers_mut();
        for (name, value) in DEFAULT_HEADERS {
            headers
                .entry(name)
                .or_insert(HeaderValue::from_static(value));
        }
        for (name, value) in &self.headers {
            if *name == header::CONTENT_SECURITY_POLICY {
                // Browsers obey every policy, so this can only be stricter.
                headers.append(name, value.clone());
            } else {
                headers.insert(name, value.clone());
            }
        }
        Ok(response)
    }
}

/// Of every answer that has none of its own.
const DEFAULT_HEADERS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "deny"),
];

fn refusal(verdict: Verdict) -> Response {
    let (status, text, (name, value)) = match verdict {
        Verdict::TooMany => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many passwords to check\n",
            (header::RETRY_AFTER, "1"),
        ),
        Verdict::Allowed | Verdict::Denied => (
            StatusCode::UNAUTHORIZED,
            "expected a user and its password\n",
            (
                header::WWW_AUTHENTICATE,
                "Basic realm=\"gatemeter\", charset=\"UTF-8\"",
            ),
        ),
    };
    let mut response = super::text(status, text);
    let headers = response.headers_mut();
    headers.insert(name, HeaderValue::from_static(value));
    // Whoever is not known keeps no connection.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
