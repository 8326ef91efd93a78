//! What a test says about one exchange before it begins.

use std::time::Duration;

use crate::abi::pairs::Pair;

/// For a response or request without headers of its own.
pub const NO_HEADERS: [(&str, &str); 0] = [];

/// Headers, from any list of pairs of text or bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Headers(pub(super) Vec<Pair>);

fn pairs<K: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: impl IntoIterator<Item = (K, V)>) -> Vec<Pair> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.as_ref().to_vec(), value.as_ref().to_vec()))
        .collect()
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>, const N: usize> From<[(K, V); N]> for Headers {
    fn from(headers: [(K, V); N]) -> Self {
        Self(pairs(headers))
    }
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>> From<Vec<(K, V)>> for Headers {
    fn from(headers: Vec<(K, V)>) -> Self {
        Self(pairs(headers))
    }
}

impl Headers {
    /// These headers after a `:status` of `status`.
    pub(super) fn with_status(self, status: u16) -> Self {
        let mut headers = vec![(b":status".to_vec(), status.to_string().into_bytes())];
        headers.extend(self.0);
        Self(headers)
    }
}

/// A request, as it reaches the filter.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) headers: Option<Headers>,
    pub(super) delayed: Duration,
    pub(super) body: bool,
}

impl Request {
    /// A request for `path` on `example.com`.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self::from([
            (":method", method),
            (":path", path),
            (":authority", "example.com"),
            (":scheme", "http"),
        ])
    }

    /// A `GET` request for `path`.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A request of which the proxy understood no headers at all.
    #[must_use]
    pub fn without_headers() -> Self {
        Self {
            headers: None,
            delayed: Duration::ZERO,
            body: false,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let headers = self.headers.get_or_insert_default();
        headers
            .0
            .push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Says that the proxy has had the request for `time` already when it
    /// reaches the filter, for instance in an earlier filter.
    #[must_use]
    pub fn delayed_by(mut self, time: Duration) -> Self {
        self.delayed = time;
        self
    }

    /// Says that a body follows the headers.
    #[must_use]
    pub fn with_body(mut self) -> Self {
        self.body = true;
        self
    }
}

impl<H: Into<Headers>> From<H> for Request {
    fn from(headers: H) -> Self {
        Self {
            headers: Some(headers.into()),
            delayed: Duration::ZERO,
            body: false,
        }
    }
}

/// An exchange as an access logger sees it: all at once, when it is over.
#[derive(Debug, Clone)]
pub struct AccessLog {
    pub(super) request: Request,
    pub(super) response: Option<(Option<u16>, Headers)>,
    pub(super) duration: Duration,
    pub(super) flags: i64,
    pub(super) details: Option<String>,
}

impl AccessLog {
    /// An exchange with this request and no response.
    #[must_use]
    pub fn of(request: impl Into<Request>) -> Self {
        Self {
            request: request.into(),
            response: None,
            duration: Duration::ZERO,
            flags: 0,
            details: None,
        }
    }

    /// The response that the client got.
    #[must_use]
    pub fn response(mut self, status: u16, headers: impl Into<Headers>) -> Self {
        self.response = Some((Some(status), headers.into()));
        self
    }

    /// The response that the client got, with exactly these headers, which may
    /// lack a `:status` or have a strange one.
    #[must_use]
    pub fn response_raw(mut self, headers: impl Into<Headers>) -> Self {
        self.response = Some((None, headers.into()));
        self
    }

    /// From the arrival of the request to the end of the exchange.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// Envoy's response flags, see [`super::flags`].
    #[must_use]
    pub fn flags(mut self, flags: i64) -> Self {
        self.flags = flags;
        self
    }

    /// Envoy's `response.code_details`.
    #[must_use]
    pub fn details(mut self, details: &str) -> Self {
        self.details = Some(details.to_owned());
        self
    }
}
