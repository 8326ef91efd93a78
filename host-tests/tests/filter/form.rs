//! An exchange in each of the two forms of the module, so that what is said of
//! one is tried on the other too.

use gatemeter_host_tests::{AccessLog, Request, Worker};

/// Names and values, as bytes.
pub(crate) type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// How the module hears of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Filter,
    AccessLogger,
}

impl Form {
    pub(crate) const ALL: [Self; 2] = [Self::Filter, Self::AccessLogger];

    /// One exchange with exactly these headers, from its beginning to its end.
    #[track_caller]
    pub(crate) fn exchange(self, worker: &Worker, request: Headers, response: Headers) {
        match self {
            Self::Filter => {
                let stream = worker.request(Request::from(request));
                stream.respond_raw(response);
                stream.finish();
            }
            Self::AccessLogger => {
                let request = Request::from(request);
                worker.access_log(AccessLog::of(request).response_raw(response));
            }
        }
    }
}

/// Headers from text.
pub(crate) fn headers(headers: &[(&str, &str)]) -> Headers {
    headers
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}
