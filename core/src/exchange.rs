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

use crate::header_map::{Lengths, Pairs};
use crate::host::{Headers, Property, Stream};
use crate::labels::{Method, ResponseFlags, Status};
use crate::recorder::{Asked, Counted, Facts, Heard, PathId, Recorder, RequestPath};
use crate::words::is;

/// `response.code_details` of a hop that Envoy redirected internally.
const INTERNAL_REDIRECT: &[u8] = b"internal_redirect";

/// Media type of server-sent events (HTML Living Standard §9.2).
const EVENT_STREAM: &[u8] = b"text/event-stream";

/// Where a route that rewrites keeps the path of before.
const ORIGINAL_PATH: &[u8; 21] = b"x-envoy-original-path";

/// Most headers of a map that are looked at; Envoy takes 100, unless it is
/// told otherwise.
const MAX_HEADERS: usize = 500;

/// The moment at which an exchange started whose clock failed: what is subtracted
/// from it is nothing.
const NEVER: u64 = u64::MAX;

/// What is known of one exchange so far.
#[derive(Debug)]
pub struct Exchange {
    /// Monotonic nanoseconds, or [`NEVER`].
    started: u64,
    request: Request,
    response: Option<Status>,
    /// What its response said, if that was anything of interest.
    heard: Option<Box<Heard>>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It ended, or never began.
    Over,
    Open,
    /// It has been counted, and is open still.
    Counted,
}

#[derive(Debug)]
struct Request {
    facts: u64,
    /// [`RequestPath::Unread`] where nothing of the request is known.
    path: RequestPath,
    method: Method,
}

impl Request {
    /// A request that was not read.
    const UNREAD: Self = Self {
        facts: 0,
        path: RequestPath::Unread,
        method: Method::OTHER,
    };

    /// What is known of a request without headers.
    const UNKNOWN: Self = Self {
        path: RequestPath::Known(PathId::UNMATCHED),
        ..Self::UNREAD
    };

    /// Reads the map; nothing is known where it has neither method nor path. Of a
    /// repeated header the first counts, as Envoy has it. `began` is when it came.
    #[inline(always)]
    fn read(
        &mut self,
        recorder: &mut Recorder,
        host: &impl Stream,
        map: &impl Pairs,
        path_from: PathFrom,
        began: u64,
    ) {
        if recorder.asks() {
            return self.read_all(recorder, host, map, path_from, began);
        }
        let (mut method, mut path, mut original) = (None, None, None);
        let (pairs, _more) = map.of(path_from.lengths(recorder), MAX_HEADERS);
        for (name, value) in pairs {
            if is(name, b":path") {
                path = path.or(Some(value));
            } else if is(name, b":method") {
                method = method.or_else(|| Some(Method::new(value)));
            } else if path_from == PathFrom::OriginalPath && is(name, ORIGINAL_PATH) {
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
        self.set(recorder, method, original.or(path));
    }

    /// The same where more than method and path is read.
    #[inline(never)]
    fn read_all(
        &mut self,
        recorder: &mut Recorder,
        host: &impl Stream,
        map: &impl Pairs,
        path_from: PathFrom,
        began: u64,
    ) {
        let (mut method, mut path, mut original) = (None, None, None);
        let mut asked = Asked::default();
        let (pairs, _more) = map.of(path_from.lengths(recorder), MAX_HEADERS);
        for (name, value) in pairs {
            if is(name, b":path") {
                path = path.or(Some(value));
            } else if is(name, b":method") {
                method = method.or_else(|| Some(Method::new(value)));
            } else if is(name, ORIGINAL_PATH) {
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
            let began = (began != NEVER).then_some(began);
            recorder.asked_all(host, path, began, &mut asked);
        }
        self.facts = asked.facts;
        self.set(recorder, method, path);
    }

    #[inline(always)]
    fn set(&mut self, recorder: &mut Recorder, method: Option<Method>, path: Option<&[u8]>) {
        self.method = method.unwrap_or(Method::OTHER);
        match path {
            Some(path) => recorder.look_up(path, &mut self.path),
            None if method.is_none() => self.path = RequestPath::Unread,
            None => self.path = RequestPath::Known(PathId::UNMATCHED),
        }
    }

    #[inline]
    fn is_unread(&self) -> bool {
        matches!(self.path, RequestPath::Unread)
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
            Self::OriginalPath => recorder.asked_lengths().with_length(ORIGINAL_PATH.len()),
        }
    }
}

/// What the headers of a response say.
struct Response {
    status: Option<Status>,
    /// Of a repeated `content-type` the first counts.
    event_stream: bool,
    heard: Option<Box<Heard>>,
}

impl Response {
    /// Reads the map, and gives its signals to the recorder; `now` is any
    /// moment of the exchange.
    #[inline(always)]
    fn read(recorder: &mut Recorder, host: &impl Stream, map: &impl Pairs, now: u64) -> Self {
        let (mut status, mut heard) = (None, None);
        let (mut has_type, mut event_stream) = (false, false);
        let (pairs, more) = map.of(recorder.heard_lengths(), MAX_HEADERS);
        for (name, value) in pairs {
            if is(name, b":status") {
                status = status.or_else(|| Some(Status::new(value)));
                continue;
            }
            if is(name, b"content-type") {
                if !has_type {
                    has_type = true;
                    event_stream = is_event_stream(value);
                }
                if !recorder.hears_content_type() {
                    continue;
                }
            } else if !recorder.is_heard(name) {
                continue;
            }
            heard = Some(hear(recorder, host, name, value, now, heard.take()));
        }
        if more || heard.is_some() {
            heard = Some(hear_all(recorder, host, map, more, heard));
        }
        Self {
            status,
            event_stream,
            heard,
        }
    }
}

/// One header that may be of interest.
#[inline(never)]
fn hear(
    recorder: &mut Recorder,
    host: &impl Stream,
    name: &[u8],
    value: &[u8],
    now: u64,
    heard: Option<Box<Heard>>,
) -> Box<Heard> {
    let mut heard = heard.unwrap_or_default();
    let now = if now == NEVER { 0 } else { now };
    recorder.hear(host, name, value, now, &mut heard);
    heard
}

/// Those of interest have been heard; `more` where there are headers that were
/// not looked at.
#[inline(never)]
fn hear_all(
    recorder: &mut Recorder,
    host: &impl Stream,
    map: &impl Pairs,
    more: bool,
    heard: Option<Box<Heard>>,
) -> Box<Heard> {
    let mut heard = heard.unwrap_or_default();
    if more {
        heard.may_have_all();
    }
    recorder.heard_all(host, map, &mut heard);
    heard
}

impl Exchange {
    /// None, where one may begin.
    pub const NONE: Self = Self {
        started: 0,
        request: Request::UNREAD,
        response: None,
        heard: None,
        stage: Stage::Over,
    };

    /// An exchange begins.
    #[inline]
    pub fn start(recorder: &mut Recorder, host: &impl Stream) -> Self {
        recorder.begin();
        let started = host.now().unwrap_or_else(|error| {
            recorder.failed(error);
            NEVER
        });
        Self {
            started,
            stage: Stage::Open,
            ..Self::NONE
        }
    }

    /// The request's headers, before any route rewrites them.
    #[inline]
    pub fn on_request_headers(&mut self, recorder: &mut Recorder, host: &impl Stream) {
        if let Some(map) = headers(recorder, host, Headers::Request) {
            let request = &mut self.request;
            request.read(recorder, host, &map, PathFrom::Path, self.started);
        }
    }

    /// The final response's headers.
    #[inline]
    pub fn on_response_headers(&mut self, recorder: &mut Recorder, host: &impl Stream) {
        let Some(map) = headers(recorder, host, Headers::Response) else {
            return;
        };
        let response = Response::read(recorder, host, &map, self.started);
        // It may be the proxy's own memory, which stripping changes.
        drop(map);
        self.response = response.status;
        if let Some(heard) = &response.heard {
            recorder.strip(host, heard);
        }
        self.heard = response.heard;
        let Some(status) = response.status else {
            return;
        };
        let method = self.request.method;
        if response.event_stream
            || status.code() == 101
            || (method == Method::CONNECT && status.code() / 100 == 2)
        {
            self.stays_open(recorder, host, status);
        }
    }

    /// Its end may be hours away.
    #[cold]
    fn stays_open(&mut self, recorder: &mut Recorder, host: &impl Stream, status: Status) {
        if self.stage == Stage::Open {
            let nanos = self.elapsed(recorder, host);
            self.count(recorder, host, status, nanos);
        }
    }

    /// Everything is over; headers and properties can still be read.
    #[inline]
    pub fn on_log(&mut self, recorder: &mut Recorder, host: &impl Stream) {
        if let Some(heard) = &self.heard {
            hear_the_end(recorder, host, heard);
        }
        if self.stage != Stage::Open {
            return;
        }
        let Some(status) = self.response else {
            return self.unanswered(recorder, host);
        };
        let nanos = self.elapsed(recorder, host);
        if status.is_server_error() {
            self.failed(recorder, host);
        }
        self.count(recorder, host, status, nanos);
    }

    /// The end of an exchange of which no response headers passed the filter.
    #[cold]
    fn unanswered(&mut self, recorder: &mut Recorder, host: &impl Stream) {
        if is_internal_redirect(recorder, host) {
            self.stage = Stage::Counted;
            return recorder.internal_redirect(host);
        }
        if self.request.is_unread() {
            self.read_late(recorder, host);
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

    #[inline(never)]
    fn read_late(&mut self, recorder: &mut Recorder, host: &impl Stream) {
        self.on_request_headers(recorder, host);
    }

    /// The service failed, or Envoy in its place.
    #[cold]
    fn failed(&self, recorder: &mut Recorder, host: &impl Stream) {
        if !self.is_excluded() {
            note_local_reply(recorder, host);
        }
    }

    /// The context goes away. An exchange that was never logged is counted
    /// with what is known of it.
    #[inline]
    pub fn on_end(&mut self, recorder: &mut Recorder, host: &impl Stream) {
        match self.stage {
            Stage::Over => return,
            Stage::Counted => {}
            Stage::Open => self.unlogged(recorder, host),
        }
        self.stage = Stage::Over;
        // It holds no memory any more, whoever drops it, or does not.
        if self.heard.is_some() || self.request.path.is_candidate() {
            self.free();
        }
        recorder.end(host);
    }

    #[cold]
    fn free(&mut self) {
        self.heard = None;
        self.request.path = RequestPath::Unread;
    }

    #[cold]
    fn unlogged(&mut self, recorder: &mut Recorder, host: &impl Stream) {
        let nanos = self.elapsed(recorder, host);
        let status = self.response.unwrap_or(Status::OTHER);
        self.count(recorder, host, status, nanos);
    }

    #[inline]
    fn count(&mut self, recorder: &mut Recorder, host: &impl Stream, status: Status, nanos: u64) {
        self.stage = Stage::Counted;
        let request = &self.request;
        if !recorder.request_like_another(request.method, &request.path, status, nanos) {
            let facts = self.heard.as_ref().map_or(0, |heard| heard.facts);
            count(recorder, host, request, facts, status, nanos);
        }
    }

    #[inline]
    fn is_excluded(&self) -> bool {
        self.request.path == RequestPath::Excluded
    }

    #[inline]
    fn elapsed(&self, recorder: &mut Recorder, host: &impl Stream) -> u64 {
        match host.now() {
            Ok(now) => now.saturating_sub(self.started),
            Err(error) => {
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
#[inline]
pub fn on_access_log(recorder: &mut Recorder, host: &impl Stream) {
    // The clock is read only where a player may have to be timed.
    let now = if recorder.listens_to_players() {
        moment(recorder, host)
    } else {
        NEVER
    };
    let mut request = Request::UNREAD;
    if let Some(map) = headers(recorder, host, Headers::Request) {
        request.read(recorder, host, &map, PathFrom::OriginalPath, now);
    }
    let (mut response, mut facts) = (None, 0);
    if let Some(map) = headers(recorder, host, Headers::Response) {
        let read = Response::read(recorder, host, &map, now);
        response = read.status;
        if let Some(heard) = read.heard {
            facts = heard.facts;
            hear_the_end(recorder, host, &heard);
        }
    }
    if request.is_unread() {
        if response.is_none() {
            return recorder.unparsed(host);
        }
        request = Request::UNKNOWN;
    }
    let redirect = response.is_none_or(|status| status.code() / 100 == 3);
    if redirect && is_internal_redirect(recorder, host) {
        return recorder.internal_redirect(host);
    }
    if request.path == RequestPath::Excluded {
        return recorder.excluded(host);
    }
    let status = match response {
        Some(status) if status.is_ordinary() => status,
        _ => status_of_unanswered(recorder, host, response),
    };
    let nanos = request_duration(recorder, host).unwrap_or(0);
    if !recorder.request_like_another(request.method, &request.path, status, nanos) {
        count(recorder, host, &request, facts, status, nanos);
    }
}

/// Now, or [`NEVER`].
#[cold]
fn moment(recorder: &mut Recorder, host: &impl Stream) -> u64 {
    host.now().unwrap_or_else(|error| {
        recorder.failed(error);
        NEVER
    })
}

/// What can be heard of a response only when it is over.
#[inline(never)]
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

/// Counts an exchange in whatever way is right.
#[inline(never)]
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

fn read_status(recorder: &mut Recorder, host: &impl Stream) -> Option<Status> {
    let map = headers(recorder, host, Headers::Response)?;
    map.pairs()
        .take(MAX_HEADERS)
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
        && status.is_ordinary()
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

#[inline(always)]
fn request_duration(recorder: &mut Recorder, host: &impl Stream) -> Option<u64> {
    // Signed in Envoy; a negative one is no duration.
    let bytes = property(recorder, host, Property::RequestDuration)?;
    let nanos = u64::from_le_bytes((*bytes).try_into().ok()?);
    (nanos <= i64::MAX.unsigned_abs()).then_some(nanos)
}

fn is_internal_redirect(recorder: &mut Recorder, host: &impl Stream) -> bool {
    property(recorder, host, Property::ResponseCodeDetails).as_deref() == Some(INTERNAL_REDIRECT)
}

fn integer(recorder: &mut Recorder, host: &impl Stream, which: Property) -> Option<u64> {
    let bytes = property(recorder, host, which)?;
    Some(u64::from_le_bytes((*bytes).try_into().ok()?))
}

/// `None` where there is no map, and a counted failure where it cannot be read.
#[inline]
fn headers<H: Stream>(recorder: &mut Recorder, host: &H, which: Headers) -> Option<H::Map> {
    host.headers(which).unwrap_or_else(|error| {
        recorder.failed(error);
        None
    })
}

#[inline]
fn property<H: Stream>(recorder: &mut Recorder, host: &H, which: Property) -> Option<H::Bytes> {
    host.property(which).unwrap_or_else(|error| {
        recorder.failed(error);
        None
    })
}

/// Most media types are shorter.
#[inline(always)]
fn is_event_stream(content_type: &[u8]) -> bool {
    content_type.len() >= EVENT_STREAM.len() && has_type_of_events(content_type)
}

fn has_type_of_events(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|&byte| byte == b';').next();
    media_type.is_some_and(|media_type| media_type.trim_ascii().eq_ignore_ascii_case(EVENT_STREAM))
}

#[cfg(test)]
mod tests;
