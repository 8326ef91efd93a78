//! What the bridge serves. GET and HEAD only, but for reloads; anything else is
//! 405 with Allow.
//!
//! - `/`, `/live/...`: the live page, or where it is off links and the version
//! - `/metrics`: all services and what concerns the operator; always 200, with
//!   `gatemeter_up 0` while Envoy cannot be read
//! - `/metrics?target=<name>`: the same of one Envoy of the configuration; 400
//!   where none has this name, or the query names several
//! - `/metrics/<service>`: the guide's metrics of one service; 404 where Envoy
//!   has no such service, 503 while Envoy cannot be read
//! - `/-/healthy`: 200 as long as the process serves
//! - `/-/ready`: 200 if Envoy can be read now, else 503
//! - `/-/reload`: POST only; reads the configuration anew and answers 200, or
//!   500 if it is refused; 403 unless `web.enable_lifecycle`
//!
//! Pages are text 0.0.4 or OpenMetrics 1.0 by `Accept`, gzip or zstd by
//! `Accept-Encoding`. The deadline of a read is
//! `X-Prometheus-Scrape-Timeout-Seconds` less a margin. Nothing else of a
//! request is looked at, its body is never read (the connection closes instead),
//! and nothing of it is repeated in an answer. An HTTP/1.1 request without
//! one Host is refused (RFC 9112 §3.2).

pub mod auth;
mod body_in_pieces;
pub mod connections;
mod held_body;
mod patience;
pub mod reload;
pub mod serving;

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    response::Response,
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use hyper::{
    body::{Body as _, Incoming},
    service::Service as _,
};
use hyper_util::service::TowerToHyperService;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use self::{body_in_pieces::BodyInPieces, held_body::HeldBody, reload::Reloader};
use crate::{
    exposition::Format,
    live::Live,
    negotiate,
    own_scrapes::{OwnScrapes, SCRAPE_HEADER},
    pages::{NoPage, Pages},
    rendered::Page,
    room::Room,
};

/// Prometheus says with this header how long it waits.
pub const TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

/// What the routes need beside the pages.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Deadline of a read whose caller names none.
    pub timeout: Duration,
    /// Where pages wait until they are taken.
    pub room: Room,
    /// Reloads the configuration, if that may be asked for over HTTP.
    pub reloader: Option<Reloader>,
    /// The live page, if there is one.
    pub live: Option<Live>,
    /// Ends answers that have no end of their own, at once.
    pub ending: CancellationToken,
}

/// The routes.
pub fn router(pages: Pages, around: Surroundings) -> Router {
    let front = match &around.live {
        Some(live) => live.router(around.ending.clone()),
        None => Router::new().route("/", get(landing)),
    };
    front.merge(metrics_router(pages, around))
}

fn metrics_router(pages: Pages, around: Surroundings) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/metrics/{service}", get(service_metrics))
        .route(
            "/-/healthy",
            get(async || text(StatusCode::OK, "healthy\n")),
        )
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload))
        .fallback(async || text(StatusCode::NOT_FOUND, "no such page; see /\n"))
        .with_state(App { pages, around })
}

/// Answers one request, and counts it as open until the answer is handed over.
pub async fn answer(
    router: Router,
    own_scrapes: OwnScrapes,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    // A proxy that adds the mark adds it behind what the client sent.
    let marks = request.headers().get_all(SCRAPE_HEADER);
    let guard = marks
        .iter()
        .next_back()
        .and_then(|service| service.to_str().ok())
        .and_then(|service| own_scrapes.open(service));
    // What follows a body that nobody reads must not be taken for a request.
    let is_last = !request.body().is_end_stream();
    let mut response = if names_one_host(&request) {
        TowerToHyperService::new(router).call(request).await?
    } else {
        text(StatusCode::BAD_REQUEST, "expected one Host header\n")
    };
    if is_last {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    Ok(response.map(|body| Body::new(HeldBody::new(body, guard))))
}

/// RFC 9112 §3.2. Which host does not matter.
fn names_one_host<B>(request: &Request<B>) -> bool {
    request.version() < Version::HTTP_11
        || request.headers().get_all(header::HOST).iter().count() == 1
}

#[derive(Clone)]
struct App {
    pages: Pages,
    around: Surroundings,
}

async fn landing() -> Response {
    const PAGE: &str = concat!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">",
        "<meta name=\"viewport\" content=\"width=device-width\"><title>Gatemeter bridge</title></head>",
        "<body><h1>Gatemeter bridge ",
        env!("CARGO_PKG_VERSION"),
        "</h1><p>Metrics of the services behind Envoy, for Prometheus.</p><ul>",
        "<li><a href=\"/metrics\">/metrics</a>: all services</li>",
        "<li>/metrics/&lt;service&gt;: one service, as the service itself would show it</li>",
        "<li><a href=\"/-/healthy\">/-/healthy</a>: whether this process serves</li>",
        "<li><a href=\"/-/ready\">/-/ready</a>: whether Envoy can be read</li>",
        "</ul></body></html>\n"
    );
    whole(StatusCode::OK, "text/html; charset=utf-8", PAGE)
}

async fn metrics(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let asked = match targets(query.as_deref().unwrap_or_default())[..] {
        [] => Asked::All,
        [name] => Asked::Target(name.to_owned()),
        _ => return no_page(&NoPage::UnknownTarget),
    };
    exposition(&app, &asked, &headers).await
}

/// Which page.
enum Asked {
    All,
    Service(String),
    Target(String),
}

/// Values of the parameter `target`. Names of Envoys hold nothing that a query
/// would have to escape, so what is escaped is no such name.
fn targets(query: &str) -> Vec<&str> {
    let parameters = query.split('&');
    parameters
        .filter_map(|parameter| match parameter.split_once('=') {
            Some(("target", name)) => Some(name),
            None if parameter == "target" => Some(""),
            _ => None,
        })
        .collect()
}

async fn service_metrics(
    State(app): State<App>,
    service: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Path(service)) = service else {
        return text(StatusCode::NOT_FOUND, &line(&NoPage::UnknownService));
    };
    exposition(&app, &Asked::Service(service), &headers).await
}

fn no_page(error: &NoPage) -> Response {
    let status = match error {
        NoPage::UnknownTarget => StatusCode::BAD_REQUEST,
        NoPage::UnknownService => StatusCode::NOT_FOUND,
        NoPage::Unreadable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(status, &line(error))
}

async fn ready(State(app): State<App>, headers: HeaderMap) -> Response {
    match app.pages.ready(app.deadline(&headers)).await {
        Ok(()) => text(StatusCode::OK, "ready\n"),
        Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, &line(&error)),
    }
}

async fn reload(State(app): State<App>) -> Response {
    reload::answer(app.around.reloader).await
}

impl App {
    async fn page(&self, asked: &Asked, deadline: Instant, format: Format) -> Result<Page, NoPage> {
        match asked {
            Asked::All => Ok(self.pages.all(deadline, format).await),
            Asked::Service(service) => {
                let service = service.clone();
                self.pages.service(service, deadline, format).await
            }
            Asked::Target(name) => self.pages.target(name, deadline, format).await,
        }
    }

    fn deadline(&self, headers: &HeaderMap) -> Instant {
        let asked = headers
            .get(TIMEOUT_HEADER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|asked| !asked.is_zero());
        let time = asked.map_or(self.around.timeout, |asked| {
            // Whoever asks for less than two margins gets half of what it asks.
            asked
                .saturating_sub(MARGIN)
                .max(asked / 2)
                .min(LONGEST_READ)
        });
        Instant::now() + time
    }
}

/// What is left of the scraper's time for the page and the way back.
const MARGIN: Duration = Duration::from_millis(500);

/// However long a scraper is ready to wait.
const LONGEST_READ: Duration = Duration::from_mins(2);

/// A page in the form that is asked for, made when there is room for it.
async fn exposition(app: &App, asked: &Asked, headers: &HeaderMap) -> Response {
    let format = negotiate::format(headers);
    let coding = negotiate::coding(headers);
    let space = app.around.room.of(coding);
    let now = Instant::now();
    let deadline = app.deadline(headers);
    // The other half is for the read.
    let patience = now + deadline.saturating_duration_since(now) / 2;
    let kept = loop {
        let Ok(reserved) = timeout_at(patience.into(), space.reserve()).await else {
            return text(StatusCode::SERVICE_UNAVAILABLE, CROWDED);
        };
        let page = match app.page(asked, deadline, format).await {
            Ok(page) => page.coded(coding, negotiate::encode).await,
            Err(error) => return no_page(&error),
        };
        if let Some(kept) = space.keep(page, reserved) {
            break kept;
        }
    };
    let body = Body::new(BodyInPieces::new(kept));
    let mut response = whole(StatusCode::OK, format.content_type(), body);
    let headers = response.headers_mut();
    headers.insert(
        header::VARY,
        HeaderValue::from_static("Accept, Accept-Encoding"),
    );
    if let Some(coding) = coding.name() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    response
}

const CROWDED: &str = "other clients take their pages slowly, and there is no room for another\n";

fn line(error: &impl std::fmt::Display) -> String {
    format!("{error}\n")
}

fn text(status: StatusCode, text: &str) -> Response {
    let body = Bytes::copy_from_slice(text.as_bytes());
    whole(status, "text/plain; charset=utf-8", body)
}

/// An answer with a body whose length is known.
fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let body = body.into();
    let length = body.size_hint().exact();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.extend(length.map(|length| (header::CONTENT_LENGTH, HeaderValue::from(length))));
    response
}
