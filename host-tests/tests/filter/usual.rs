//! The exchange that costs are compared with: what a browser asks of a media
//! gateway and gets, ten headers each way.

use gatemeter_host_tests::{AccessLog, Request, Worker};

/// Beside the four pseudo-headers.
const REQUEST_HEADERS: [(&str, &str); 6] = [
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ),
    ("accept", "application/json"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "8b2c1f0e-1111-4222-8333-abcdefabcdef"),
];

/// Beside `:status`.
const RESPONSE_HEADERS: [(&str, &str); 9] = [
    ("content-type", "application/json"),
    ("content-length", "1532"),
    ("date", "Mon, 23 Nov 2026 05:00:00 GMT"),
    ("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
    ("cache-control", "private, max-age=60"),
    ("vary", "accept-encoding"),
    ("x-content-type-options", "nosniff"),
    ("x-envoy-upstream-service-time", "12"),
    ("server", "envoy"),
];

/// What a service says to the filter, beside the usual headers.
pub(crate) const SIGNALS: [(&str, &str); 3] = [
    (
        "cache-status",
        "redis; hit; ttl=42, edge; fwd=uri-miss; stored",
    ),
    ("x-db-pool", "active=15, idle=25"),
    ("server-timing", "db;dur=12.3, render;dur=4"),
];

/// A `GET` of `path` with ten headers.
pub(crate) fn request(path: &str) -> Request {
    REQUEST_HEADERS
        .into_iter()
        .fold(Request::get(path), |request, (name, value)| {
            request.header(name, value)
        })
}

/// Nine headers of a response, and `more`.
pub(crate) fn response<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    RESPONSE_HEADERS
        .into_iter()
        .chain(more.iter().copied())
        .collect()
}

/// One exchange in the filter form, with `signals` in its response.
#[track_caller]
pub(crate) fn exchange(worker: &Worker, path: &str, signals: &[(&str, &str)]) {
    let stream = worker.request(request(path));
    stream.respond(200, response(signals));
    stream.finish();
}

/// One exchange in the access logger form.
#[track_caller]
pub(crate) fn logged(worker: &Worker, path: &str) {
    worker.access_log(AccessLog::of(request(path)).response(200, response(&[])));
}
