//! What happens to a proxy, made of any bytes: how it is configured, then
//! exchanges whose callbacks come in any order, calls that fail, time, reloads.
//! Half of what it says is well known to the filter, so that a plan of random
//! bytes reaches more than refusals.

use arbitrary::{Arbitrary, Unstructured};
use gatemeter_core::host::Property;
use gatemeter_fuzz::proxy::serialize;

/// What happens, from the configuration on.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What it begins with.
    pub(crate) settings: Settings,
    /// At most [`MOST_STEPS`] of them.
    pub(crate) steps: Vec<Step>,
}

/// Most steps of a plan; more only cost time.
const MOST_STEPS: usize = 64;

/// Steps as long as there is input; the derived list would end at any one.
impl<'a> Arbitrary<'a> for Plan {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let settings = Settings::arbitrary(input)?;
        let mut steps = Vec::new();
        while !input.is_empty() && steps.len() < MOST_STEPS {
            steps.push(Step::arbitrary(input)?);
        }
        Ok(Self { settings, steps })
    }
}

/// What the configuration says, and how many workers there are.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Settings {
    /// Whether there are path templates.
    pub(crate) routes: bool,
    /// Whether `/metrics` is excluded.
    pub(crate) exclude: bool,
    /// Most series, modulo 8 and plus 1.
    pub(crate) max_series: u8,
    /// Whether the histogram has bounds of its own.
    pub(crate) bounds: bool,
    /// Which signals are removed from responses, in the order of `STRIPPED`.
    pub(crate) strip: [bool; 3],
    /// Whether Envoy's own histogram is fed too.
    pub(crate) native_histogram: bool,
    /// Whether there is a second worker.
    pub(crate) two_workers: bool,
}

/// One thing that happens. A number says which of the open exchanges it
/// happens to, counted from the start again; `worker` is the second one.
#[derive(Arbitrary, Debug)]
pub(crate) enum Step {
    /// A request arrives, with these headers.
    Open { worker: bool, request: Map },
    /// The request-headers callback.
    Request { which: u8 },
    /// The response-headers callback, with these headers.
    Response { which: u8, response: Map },
    /// The log callback.
    Log { which: u8, properties: Properties },
    /// The end of an exchange.
    End { which: u8 },
    /// A line for the access logger.
    AccessLog {
        worker: bool,
        request: Map,
        response: Map,
        properties: Properties,
    },
    /// A worker's tick.
    Tick { worker: bool },
    /// The clock goes on.
    Advance { micros: u32 },
    /// From now on host calls fail, see `Proxy::fail`.
    Fail { calls: u16, every: u8 },
    /// A worker gets another configuration.
    Reload { worker: bool, max_series: u8 },
}

/// A header map.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Map {
    /// Of a request, then anything.
    Ask(Known, Known, Vec<(Name, Text)>),
    /// Of a response, then anything.
    Answer(Known, Vec<(Name, Text)>),
    Pairs(Vec<(Name, Text)>),
    Raw(Vec<u8>),
}

/// A place in one of the lists below, counted from the start again.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Known(u8);

/// The name of a header.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Name {
    Known(Known),
    Any(Vec<u8>),
}

/// The value of a header.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Text {
    Known(Known),
    Any(Vec<u8>),
}

/// What Envoy tells of an exchange beside its headers.
#[derive(Arbitrary, Clone, Debug, Default)]
pub(crate) struct Properties {
    duration: Option<u32>,
    flags: Option<u32>,
    redirected: bool,
    odd: Option<Vec<u8>>,
}

const NAMES: &[&[u8]] = &[
    b":method",
    b":path",
    b":status",
    b"cache-status",
    b"x-db-pool",
    b"server-timing",
    b"content-type",
    b"x-envoy-original-path",
];

const METHODS: &[&[u8]] = &[b"GET", b"POST", b"CONNECT", b"BREW"];

const PATHS: &[&[u8]] = &[
    b"/a/7",
    b"/a/8?token=secret",
    b"/b",
    b"/c/d#e",
    b"/metrics",
    b"/\xff\n",
    b"*",
    b"/d/0190163d-8694-739b-aea5-966c26f8ad91",
];

const STATUSES: &[&[u8]] = &[b"200", b"101", b"404", b"302", b"503", b"999", b"2\xff0"];

const TEXTS: &[&[u8]] = &[
    b"redis; hit",
    b"CDN; fwd=miss, redis; hit",
    b"x; hit, y; =",
    b"active=15, idle=25",
    b"active=-1",
    b"text/event-stream; charset=utf-8",
    b"db;dur=53",
    b"200",
    b"/a/7?x",
];

impl Map {
    /// As the proxy hands it over.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut pairs: Vec<(&[u8], &[u8])> = Vec::new();
        let more = match self {
            Self::Raw(bytes) => return bytes.clone(),
            Self::Ask(method, path, more) => {
                pairs.push((b":method", method.of(METHODS)));
                pairs.push((b":path", path.of(PATHS)));
                more
            }
            Self::Answer(status, more) => {
                pairs.push((b":status", status.of(STATUSES)));
                more
            }
            Self::Pairs(more) => more,
        };
        pairs.extend(more.iter().map(|(name, text)| {
            let name = match name {
                Name::Known(at) => at.of(NAMES),
                Name::Any(bytes) => bytes,
            };
            let text = match text {
                Text::Known(at) => at.of(TEXTS),
                Text::Any(bytes) => bytes,
            };
            (name, text)
        }));
        serialize(pairs)
    }
}

impl Known {
    fn of(self, list: &'static [&'static [u8]]) -> &'static [u8] {
        list[usize::from(self.0) % list.len()]
    }
}

impl Properties {
    /// As the proxy gives them; the first of a kind counts.
    pub(crate) fn list(self) -> Vec<(Property, Vec<u8>)> {
        let number = |number: u32| u64::from(number).to_le_bytes().to_vec();
        let odd = self.odd.map(|bytes| (Property::RequestDuration, bytes));
        let duration = self
            .duration
            .map(|nanos| (Property::RequestDuration, number(nanos)));
        let flags = self
            .flags
            .map(|flags| (Property::ResponseFlags, number(flags)));
        let details = (Property::ResponseCodeDetails, b"internal_redirect".to_vec());
        let details = self.redirected.then_some(details);
        odd.into_iter()
            .chain(duration)
            .chain(flags)
            .chain(details)
            .collect()
    }
}
