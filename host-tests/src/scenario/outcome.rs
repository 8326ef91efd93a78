//! What the client of an exchange got.

use crate::abi::MapType;
use crate::abi::pairs::Pair;
use crate::host::exchange::Exchange;

/// How far the response came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The exchange is open.
    Open,
    /// All of it came.
    Complete,
    /// The exchange was cut: the client has what came before, or nothing.
    Reset,
}

/// What the client of an exchange has so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The codes of the 1xx responses before it.
    pub informational: Vec<u16>,
    /// The status code, as a number; 0 is one that is none.
    pub status: Option<u16>,
    /// The response headers with `:status`, as the module left them.
    pub headers: Vec<Pair>,
    /// The body, as the module left it.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Vec<Pair>,
    /// How far it came.
    pub ending: Ending,
    /// Envoy's `response.code_details`.
    pub details: Option<String>,
}

impl Outcome {
    pub(super) fn of(exchange: &Exchange) -> Self {
        let pairs = |map, there: bool| {
            let headers = exchange.maps.get(map).filter(|_| there);
            headers.map_or_else(Vec::new, |headers| headers.pairs().to_vec())
        };
        let response = &exchange.response;
        let headers = pairs(MapType::ResponseHeaders, response.passed);
        let status = headers.iter().find(|(name, _)| name == b":status");
        let status = status.map(|(_, status)| {
            let digits = std::str::from_utf8(status).ok();
            digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
        });
        Self {
            informational: exchange.informational.clone(),
            status,
            headers,
            body: response.body.clone(),
            trailers: pairs(MapType::ResponseTrailers, response.complete),
            ending: match exchange.ended {
                None => Ending::Open,
                Some(_) if exchange.reset => Ending::Reset,
                Some(_) => Ending::Complete,
            },
            details: exchange.response_code_details.clone(),
        }
    }
}
