//! One HTTP exchange, from the creation of its context to its end: when it is
//! counted, with which status and which duration.
//!
//! Every exchange is counted once, by whichever comes first:
//! - at response headers, where it may stay open for hours: a WebSocket or
//!   another upgrade (101), a tunnel (2xx to CONNECT), an event stream;
//! - else in the log callback;
//! - else when its context goes away without one.
//!
//! The duration is monotonic time since the context was created. Where no
//! response headers passed the filter, somebody before it answered, and the
//! context may be younger than the request: then it is Envoy's
//! `request.duration`. Properties are read only there and on a status from 500
//! on; they cost more than both header maps.
//!
//! Nothing is paused, and nothing is changed but the signal headers that the
//! configuration lists under `strip`.

use crate::header_map::{Lengths, Pairs, Walk as _};
use crate::host::{Headers, Property, Stream};
use crate::labels::{Method, ResponseFlags, Status};
use crate::recorder::{Asked, Counted, Facts, Heard, PathId, Recorder, RequestPath};
use crate::words::same;

/// `response.code_details` of a hop that Envoy redirected internally.
const INTERNAL_REDIRECT: &[u8] = b"internal_redirect";

/// Media type of server-sent events (HTML Living Standard §9.2).
const EVENT_STREAM: &[u8] = b"text/event-stream";

/// Where a route that rewrites keeps the path of before.
const ORIGINAL_PATH: &str = "x-envoy-original-path";

/// Most headers of a map that are looked at; Envoy takes 100, unless it is
/// told otherwise.
const MAX_HEADERS: usize = 500;

/// What is known of one exchange so far.
#[derive(Debug)]
pub struct Exchange {
    /// Monotonic nanoseconds; `None` where the clock failed.
    started: Option<u64>,
    request: Option<Request>,
    response: Option<Status>,
    /// What its response said, if that was anything of interest.
    heard: Option<Box<Heard>>,
    counted: bool,
    open: bool,
}

#[derive(Debug)]
struct Request {
    method: Method,
    path: RequestPath,
    facts: u64,
}

impl Request {
    /// What is known of a request without headers.
    const UNKNOWN: Self = Self {
        method: Method::OTHER,
        path: RequestPath::Known(PathId::UNMATCHED),
        facts: 0,
    };

    /// `None` where the map has neither method nor path. Of a repeated header
    /// the first counts, as Envoy has it. `began` is when it came.
    #[inline]
    fn read(
        recorder: &mut Recorder,
        host: &impl Stream,
        map: &impl Pairs,
        path_from: PathFrom,
        began: Option<u64>,
    ) -> Option<Self> {
        if recorder.asks() {
            return Self::read_all(recorder, host, map, path_from, began);
        }
        let mut headers = map.first(MAX_HEADERS);
        let lengths = path_from.lengths(recorder);
        let (mut method, mut path, mut original) = (None, None, None);
        while let Some((name, value)) = headers.next_of(lengths) {
            if same(name, b":method") {
                method = method.or(Some(value));
            } else if same(name, b":path") {
                path = path.or(Some(value));
            } else if path_from == PathFrom::OriginalPath && same(name, ORIGINAL_PATH.as_bytes()) {
                original = original.or(Some(value));
            }
            // Envoy puts the pseudo-headers first: most headers need no look.
            let found = match path_from {
                PathFrom::Path => path,
                PathFrom::OriginalPath => original,
            };
            if found.is_some() && method.is_some() {
                break;
            }
        }
        Self::of(recorder, method, original.or(path), 0)
    }

    /// The same where more than method and path is read.
    #[inline(never)]
    fn read_all(
        recorder: &mut Recorder,
        host: &impl Stream,
        map: &impl Pairs,
        path_from: PathFrom,
        began: Option<u64>,
    ) -> Option<Self> {
        let mut headers = map.first(MAX_HEADERS);
        let lengths = path_from.lengths(recorder);
        let (mut method, mut path, mut original) = (None, None, None);
        let mut asked = Asked::default();
        while let Some((name, value)) = headers.next_of(lengths) {
            if same(name, b":method") {
                method = method.or(Some(value));
            } else if same(name, b":path") {
                path = path.or(Some(value));
            } else if same(name, ORIGINAL_PATH.as_bytes()) {
                original = original.or(Some(value));
            } else {
                recorder.ask(name, value, &mut asked);
            }
        }
        let path = match path_from {
            PathFrom::Path => path,
            PathFrom::OriginalPath => original.or(path),
        };
        if method.is_some() || path.is_some() {
            recorder.asked_all(host, path, began, &mut asked);
        }
        Self::of(recorder, method, path, asked.facts)
    }

    #[inline]
    fn of(
        recorder: &mut Recorder,
        method: Option<&[u8]>,
        path: Option<&[u8]>,
        facts: u64,
    ) -> Option<Self> {
        if method.is_none() && path.is_none() {
            return None;
        }
        Some(Self {
            facts,
            method: method.map_or(Method::OTHER, Method::new),
            path: path.map_or(RequestPath::Known(PathId::UNMATCHED), |path| {
                recorder.look_up(path)
            }),
        })
    }
}

/// Which header has the path as the client asked for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PathFrom {
    /// `:path`, as long as no route rewrote it.
    Path,
    /// `x-envoy-original-path`, and `:path` where there is none.
    OriginalPath,
}

impl PathFrom {
    /// The lengths of the names that are read of a request.
    #[inline]
    fn lengths(self, recorder: &Recorder) -> Lengths {
        match self {
            Self::Path => recorder.asked_lengths(),
            Self::OriginalPath => recorder.asked_lengths().with(ORIGINAL_PATH),
        }
    }
}

/// What the headers of a response say.
struct Response {
    status: Option<Status>,
    /// Of a repeated `content-type` the first counts.
    event_stream: Option<bool>,
    heard: Option<Box<Heard>>,
}

impl Response {
    /// Reads the map, and gives its signals to the recorder; `now` is any
    /// moment of the exchange.
    fn read(recorder: &mut Recorder, host: &impl Stream, map: &impl Pairs, now: u64) -> Self {
        let mut response = Self {
            status: None,
            event_stream: None,
            heard: None,
        };
        if map.count() > MAX_HEADERS {
            response.heard.get_or_insert_default().may_have_all();
        }
        let mut headers = map.first(MAX_HEADERS);
        let lengths = recorder.heard_lengths();
        while let Some((name, value)) = headers.next_of(lengths) {
            if same(name, b":status") {
                response.status = response.status.or(Some(Status::new(value)));
                continue;
            }
            if !recorder.is_heard(name) {
                continue;
            }
            if same(name, b"content-type") {
                if response.event_stream.is_none() {
                    response.event_stream = Some(is_event_stream(value));
                }
                if !recorder.hears_content_type() {
                    continue;
                }
            }
            let heard = response.heard.get_or_insert_default();
            recorder.hear(host, name, value, now, heard);
        }
        if let Some(heard) = &mut response.heard {
            recorder.heard_all(host, map, heard);
        }
        response
    }
}

impl Exchange {
    /// An exchange begins.
    pub fn start(recorder: &mut Recorder, host: &impl Stream) -> Self {
        recorder.begin();
        let started = host.now().map_err(|error| recorder.failed(error)).ok();
        Self {
            started,
            request: None,
            response: None,
            heard: None,
            counted: false,
            open: true,
        }
    }

    /// The request's headers, before any route rewrites them.
    pub fn on_request_headers(&mut self, recorder: &mut Recorder, host: &impl Stream) {
        self.request = read_request(recorder, host, PathFrom::Path, self.started);
    }

    /// The final response's headers.
    pub fn on_response_headers(&mut self, recorder: &mut Recorder, host: &impl Stream) {
        let Some(map) = headers(recorder, host, Headers::Response) else {
            return;
        };
        let now = self.started.unwrap_or(0);
        let response = Response::read(recorder, host, &map, now);
        // It may be the proxy's own memory, which stripping changes.
        drop(map);
        self.response = response.status;
        if let Some(heard) = &response.heard {
            recorder.strip(host, heard);
        }
        self.heard = response.heard;
        if self.counted {
            return;
        }
        let method = self.request.as_ref().map(|request| request.method);
        let stays_open = response.event_stream == Some(true)
            || response.status.is_some_and(|status| {
                status.code() == 101
                    || (method == Some(Method::CONNECT) && status.code() / 100 == 2)
            });
        if stays_open && let Some(status) = response.status {
            let nanos = self.elapsed(recorder, host);
            self.count(recorder, host, status, nanos);
        }
    }

    /// Everything is over; headers and properties can still be read.
    pub fn on_log(&mut self, recorder: &mut Recorder, host: &impl Stream) {
        if let Some(heard) = &self.heard {
            hear_the_end(recorder, host, heard);
        }
        if self.counted {
            return;
        }
        if let Some(status) = self.response {
            let nanos = self.elapsed(recorder, host);
            if status.is_server_error() && !self.is_excluded() {
                note_local_reply(recorder, host);
            }
            return self.count(recorder, host, status, nanos);
        }
        if is_internal_redirect(recorder, host) {
            self.counted = true;
            return recorder.internal_redirect(host);
        }
        if self.request.is_none() {
            self.request = read_request(recorder, host, PathFrom::Path, self.started);
        }
        if self.is_excluded() {
            return self.count(recorder, host, Status::OTHER, 0);
        }
        let sent = read_status(recorder, host);
        let status = status_of_unanswered(recorder, host, sent);
        let nanos = match request_duration(recorder, host) {
            Some(nanos) => nanos,
            None => self.elapsed(recorder, host),
        };
        self.count(recorder, host, status, nanos);
    }

    /// The context goes away. An exchange that was never logged is counted
    /// with what is known of it.
    pub fn on_end(&mut self, recorder: &mut Recorder, host: &impl Stream) {
        if !self.open {
            return;
        }
        self.open = false;
        if !self.counted {
            let nanos = self.elapsed(recorder, host);
            let status = self.response.unwrap_or(Status::OTHER);
            self.count(recorder, host, status, nanos);
        }
        recorder.end(host);
    }

    fn count(&mut self, recorder: &mut Recorder, host: &impl Stream, status: Status, nanos: u64) {
        self.counted = true;
        let unknown = Request::UNKNOWN;
        let request = self.request.as_ref().unwrap_or(&unknown);
        let facts = self.heard.as_ref().map_or(0, |heard| heard.facts);
        count(recorder, host, request, facts, status, nanos);
    }

    #[inline]
    fn is_excluded(&self) -> bool {
        let request = self.request.as_ref();
        request.is_some_and(|request| request.path == RequestPath::Excluded)
    }

    fn elapsed(&self, recorder: &mut Recorder, host: &impl Stream) -> u64 {
        match (self.started, host.now()) {
            (Some(started), Ok(now)) => now.saturating_sub(started),
            (None, Ok(_)) => 0,
            (_, Err(error)) => {
                recorder.failed(error);
                0
            }
        }
    }
}

/// One entry of the access logger form: the same module named as an
/// `envoy.access_loggers.wasm`, which has no context for an exchange.
///
/// It differs from the filter: streams are observed whole, no header is
/// stripped, the path is `x-envoy-original-path` or else `:path`, the duration
/// is `request.duration`. A request that Envoy's codec refused reaches it too,
/// without headers and status.
pub fn on_access_log(recorder: &mut Recorder, host: &impl Stream) {
    // The clock is read only where a player may have to be timed.
    let now = recorder
        .listens_to_players()
        .then(|| host.now().map_err(|error| recorder.failed(error)).ok())
        .flatten();
    let request = read_request(recorder, host, PathFrom::OriginalPath, now);
    let (mut response, mut facts) = (None, 0);
    if let Some(map) = headers(recorder, host, Headers::Response) {
        let read = Response::read(recorder, host, &map, now.unwrap_or(0));
        response = read.status;
        if let Some(heard) = read.heard {
            facts = heard.facts;
            hear_the_end(recorder, host, &heard);
        }
    }
    let Some(request) = request.or_else(|| response.map(|_| Request::UNKNOWN)) else {
        return recorder.unparsed(host);
    };
    let redirect = response.is_none_or(|status| status.code() / 100 == 3);
    if redirect && is_internal_redirect(recorder, host) {
        return recorder.internal_redirect(host);
    }
    if request.path == RequestPath::Excluded {
        return recorder.excluded(host);
    }
    let status = status_of_unanswered(recorder, host, response);
    let nanos = request_duration(recorder, host).unwrap_or(0);
    count(recorder, host, &request, facts, status, nanos);
}

/// What can be heard of a response only when it is over.
fn hear_the_end(recorder: &mut Recorder, host: &impl Stream, heard: &Heard) {
    if heard.timing_in_trailers
        && let Some(map) = headers(recorder, host, Headers::ResponseTrailers)
    {
        recorder.hear_trailers(&map);
    }
    if !heard.outcomes.is_empty() {
        let bytes = integer(recorder, host, Property::ResponseSize).unwrap_or(0);
        recorder.cache_bytes(&heard.outcomes, bytes);
    }
}

fn count(
    recorder: &mut Recorder,
    host: &impl Stream,
    request: &Request,
    response_facts: u64,
    status: Status,
    nanos: u64,
) {
    if request.path == RequestPath::Excluded {
        recorder.excluded(host);
    } else {
        let facts = Facts {
            request: request.facts,
            response: response_facts,
        };
        recorder.request(
            host,
            Counted {
                method: request.method,
                path: &request.path,
                status,
                nanos,
                facts,
            },
        );
    }
}

fn read_request(
    recorder: &mut Recorder,
    host: &impl Stream,
    path_from: PathFrom,
    began: Option<u64>,
) -> Option<Request> {
    let map = headers(recorder, host, Headers::Request)?;
    Request::read(recorder, host, &map, path_from, began)
}

fn read_status(recorder: &mut Recorder, host: &impl Stream) -> Option<Status> {
    let map = headers(recorder, host, Headers::Response)?;
    map.first(MAX_HEADERS)
        .find(|(name, _)| *name == b":status")
        .map(|(_, value)| Status::new(value))
}

/// The status where the filter saw no response headers: the one that was
/// sent, 499 where none was and the client went away, else `_OTHER`.
fn status_of_unanswered(
    recorder: &mut Recorder,
    host: &impl Stream,
    sent: Option<Status>,
) -> Status {
    if let Some(status) = sent
        && !status.is_server_error()
        && status != Status::OTHER
    {
        return status;
    }
    let flags = note_local_reply(recorder, host);
    match sent {
        Some(status) => status,
        None if flags.client_went_away() => Status::CLIENT_CLOSED,
        None => Status::OTHER,
    }
}

/// Counts why Envoy replied itself, if it did; gives the flags that say so.
fn note_local_reply(recorder: &mut Recorder, host: &impl Stream) -> ResponseFlags {
    let flags = integer(recorder, host, Property::ResponseFlags).unwrap_or(0);
    let flags = ResponseFlags(flags);
    if let Some(reason) = flags.reason() {
        recorder.local_reply(reason);
    }
    flags
}

fn request_duration(recorder: &mut Recorder, host: &impl Stream) -> Option<u64> {
    // Signed in Envoy; a negative one is no duration.
    let nanos = integer(recorder, host, Property::RequestDuration)?;
    (nanos <= i64::MAX.unsigned_abs()).then_some(nanos)
}

fn is_internal_redirect(recorder: &mut Recorder, host: &impl Stream) -> bool {
    property(recorder, host, Property::ResponseCodeDetails).as_deref() == Some(INTERNAL_REDIRECT)
}

fn integer(recorder: &mut Recorder, host: &impl Stream, which: Property) -> Option<u64> {
    let bytes = property(recorder, host, which)?;
    Some(u64::from_le_bytes((*bytes).try_into().ok()?))
}

/// `None`, and a counted failure, where the map cannot be read.
fn headers<H: Stream>(recorder: &mut Recorder, host: &H, which: Headers) -> Option<H::Map> {
    host.headers(which)
        .map_err(|error| recorder.failed(error))
        .ok()
}

fn property<H: Stream>(recorder: &mut Recorder, host: &H, which: Property) -> Option<H::Bytes> {
    host.property(which).unwrap_or_else(|error| {
        recorder.failed(error);
        None
    })
}

#[inline]
fn is_event_stream(content_type: &[u8]) -> bool {
    if content_type.len() < EVENT_STREAM.len() {
        return false;
    }
    let media_type = content_type.split(|&byte| byte == b';').next();
    media_type.is_some_and(|media_type| media_type.trim_ascii().eq_ignore_ascii_case(EVENT_STREAM))
}

#[cfg(test)]
mod tests;
