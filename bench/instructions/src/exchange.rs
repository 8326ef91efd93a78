//! What one exchange costs `core`, without a virtual machine and a proxy around it.

use std::cell::Cell;

use gatemeter_core::catalog::StatKind;
use gatemeter_core::exchange::{self, Exchange};
use gatemeter_core::host::{Failed, Headers, MetricId, Property, Stats, Stream};
use gatemeter_core::plugin_config::PluginConfig;
use gatemeter_core::recorder::Recorder;

/// Exchanges in a round.
const EXCHANGES: u32 = 1_000;

const REQUEST: [(&str, &str); 10] = [
    (":authority", "api.example"),
    (":path", "/api/content/42"),
    (":method", "GET"),
    (":scheme", "https"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"),
    ("accept", "application/json"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "8b2c1f0e-1111-4222-8333-abcdefabcdef"),
];

const RESPONSE: [(&str, &str); 10] = [
    (":status", "200"),
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

const SIGNALS: [(&str, &str); 3] = [
    (
        "cache-status",
        "redis; hit; ttl=42, edge; fwd=uri-miss; stored",
    ),
    ("x-db-pool", "active=15, idle=25"),
    ("server-timing", "db;dur=12.3, render;dur=4"),
];

/// A proxy that takes every count and hands over two maps.
struct Proxy {
    request: &'static [u8],
    response: &'static [u8],
    now: Cell<u64>,
}

impl Proxy {
    fn new(signals: &[(&str, &str)]) -> Self {
        Self {
            request: serialized(&REQUEST),
            response: serialized(&[&RESPONSE, signals].concat()),
            now: Cell::new(0),
        }
    }
}

/// A header map as a proxy-wasm host copies it into a module.
fn serialized(pairs: &[(&str, &str)]) -> &'static [u8] {
    let size = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut map = u32::try_from(pairs.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes()
        .to_vec();
    for (name, value) in pairs {
        map.extend(size(name));
        map.extend(size(value));
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        map.extend(text.bytes());
        map.push(0);
    }
    map.leak()
}

impl Stats for Proxy {
    type Bytes = &'static [u8];

    fn define_metric(&self, _kind: StatKind, _name: &str) -> Result<MetricId, Failed> {
        Ok(MetricId(1))
    }

    fn increment_metric(&self, _id: MetricId, _by: i64) -> Result<(), Failed> {
        Ok(())
    }

    fn record_metric(&self, _id: MetricId, _value: u64) -> Result<(), Failed> {
        Ok(())
    }

    fn shared_data(&self, _key: &str) -> Result<Option<(Self::Bytes, u32)>, Failed> {
        Ok(Some((&[], 1)))
    }

    fn set_shared_data(&self, _key: &str, _value: &[u8], _token: u32) -> Result<bool, Failed> {
        Ok(true)
    }
}

impl Stream for Proxy {
    type Map = &'static [u8];

    fn now(&self) -> Result<u64, Failed> {
        self.now.set(self.now.get() + 1_000_000);
        Ok(self.now.get())
    }

    fn headers(&self, which: Headers) -> Result<Option<Self::Map>, Failed> {
        Ok(Some(match which {
            Headers::Request => self.request,
            Headers::Response => self.response,
            Headers::ResponseTrailers => &[],
        }))
    }

    fn remove_response_header(&self, _name: &str) -> Result<(), Failed> {
        Ok(())
    }

    fn property(&self, _property: Property) -> Result<Option<Self::Bytes>, Failed> {
        Ok(Some(&[0; 8]))
    }
}

/// A recorder that knows the path and has counted once.
fn prepared(proxy: &Proxy) -> Recorder {
    let config = br#"{"service": "api", "routes": ["/api/content/:id"],
        "cache": {"types": {"redis": "redis", "edge": "cdn"}}}"#;
    let config = PluginConfig::parse(config).expect("it is valid");
    let mut recorder = Recorder::new(config, 7);
    recorder.configure(proxy).expect("the proxy takes all");
    through_filter(&mut recorder, proxy);
    recorder.tick(proxy);
    recorder
}

fn through_filter(recorder: &mut Recorder, proxy: &Proxy) {
    let mut exchange = Exchange::start(recorder, proxy);
    exchange.on_request_headers(recorder, proxy);
    exchange.on_response_headers(recorder, proxy);
    exchange.on_log(recorder, proxy);
    exchange.on_end(recorder, proxy);
}

fn many(rounds: u32, signals: &[(&str, &str)], act: fn(&mut Recorder, &Proxy)) -> usize {
    let proxy = Proxy::new(signals);
    let mut recorder = prepared(&proxy);
    for _ in 0..rounds * EXCHANGES {
        act(&mut recorder, &proxy);
    }
    EXCHANGES as usize
}

/// From the creation of its context to its end, ten headers each way.
pub(crate) fn of_filter(rounds: u32) -> usize {
    many(rounds, &[], through_filter)
}

/// The same with three signals in the response.
pub(crate) fn with_signals(rounds: u32) -> usize {
    many(rounds, &SIGNALS, through_filter)
}

/// An entry of the access logger form.
pub(crate) fn of_logger(rounds: u32) -> usize {
    many(rounds, &[], |recorder, proxy| {
        exchange::on_access_log(recorder, proxy);
    })
}
