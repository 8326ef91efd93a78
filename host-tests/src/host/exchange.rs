//! What Envoy knows of one HTTP exchange, and which part of it a plugin may see
//! in the present phase.
//!
//! A header map can be read while its callback runs, and in the log callback.
//! The attributes follow Envoy's page "Attributes", as far as a filter of one
//! proxy needs them: a duration exists only once the exchange is over, a
//! response code only where there was one. A test can set any other, such as
//! `response.grpc_status`.

use std::collections::BTreeMap;

use super::flow::{Flow, Half};
use super::headers::HeaderMap;
use super::network::connection_attribute;
use crate::abi::host::LocalResponse;
use crate::abi::pairs;
use crate::abi::{MapType, Status};

/// One HTTP exchange between client, proxy and service.
#[derive(Debug, Default, Clone)]
pub struct Exchange {
    /// The maps that exist, by type.
    pub maps: Maps,
    /// The maps whose callback runs now, or paused.
    pub open: OpenMaps,
    /// Whether the log callback runs.
    pub log_phase: bool,
    /// The piece of request body that its callback sees.
    pub request_body: Option<Vec<u8>>,
    /// The piece of response body that its callback sees.
    pub response_body: Option<Vec<u8>>,
    /// Whether the piece that a callback sees is the last, so that the plugin
    /// may begin trailers.
    pub last_chunk: bool,
    /// Bytes of request body so far.
    pub request_bytes: u64,
    /// Bytes of response body so far.
    pub response_bytes: u64,
    /// Wall-clock nanoseconds at which the request's headers were complete.
    pub arrived_at: u64,
    /// Monotonic nanoseconds at which the request's headers were complete.
    pub arrived: u64,
    /// Monotonic nanoseconds at which the exchange was over.
    pub ended: Option<u64>,
    /// The status code, once there is a response.
    pub response_code: Option<i64>,
    /// Why, in Envoy's words.
    pub response_code_details: Option<String>,
    /// Envoy's response flags as bits.
    pub response_flags: i64,
    /// Attributes that a test set, by path with zero bytes between its parts.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Properties that the plugin set.
    pub filter_state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the plugin answered in Envoy's place.
    pub local_response: Option<LocalResponse>,
    /// How far the request is on its way to the service.
    pub request: Flow,
    /// How far the response is on its way to the client.
    pub response: Flow,
    /// The codes of the 1xx responses that passed.
    pub informational: Vec<u16>,
    /// Whether the response is the proxy's own, which ends the exchange.
    pub local_reply: bool,
    /// Whether the exchange was cut before the response was complete.
    pub reset: bool,
    /// Whether the exchange goes on without the module when its virtual
    /// machine failed.
    pub passes_when_failed: bool,
    /// Whether the failure of the virtual machine was answered.
    pub failed: bool,
}

/// The maps of an exchange, by type.
#[derive(Debug, Default, Clone)]
pub struct Maps([Option<HeaderMap>; 8]);

impl Maps {
    /// The map of this type.
    #[must_use]
    pub fn get(&self, map: MapType) -> Option<&HeaderMap> {
        self.0[map as usize].as_ref()
    }

    /// The map of this type, to change.
    pub fn get_mut(&mut self, map: MapType) -> Option<&mut HeaderMap> {
        self.0[map as usize].as_mut()
    }

    /// The map of this type, which exists from now on.
    pub fn begin(&mut self, map: MapType) -> &mut HeaderMap {
        self.0[map as usize].get_or_insert_default()
    }

    /// Puts a map in its place.
    pub fn insert(&mut self, map: MapType, headers: HeaderMap) {
        self.0[map as usize] = Some(headers);
    }

    /// Takes a map away.
    pub fn remove(&mut self, map: MapType) {
        self.0[map as usize] = None;
    }
}

/// A set of map types.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct OpenMaps(u8);

impl OpenMaps {
    /// Opens a map.
    pub fn insert(&mut self, map: MapType) {
        self.0 |= 1 << map as u8;
    }

    /// Closes a map.
    pub fn remove(&mut self, map: MapType) {
        self.0 &= !(1 << map as u8);
    }

    /// Whether a map is open.
    #[must_use]
    pub fn contains(self, map: MapType) -> bool {
        self.0 & 1 << map as u8 != 0
    }
}

impl Exchange {
    /// An exchange whose request was complete at `arrived`, on the monotonic
    /// clock, and `arrived_at`, on the wall clock.
    #[must_use]
    pub fn new(request: Option<HeaderMap>, arrived: u64, arrived_at: u64) -> Self {
        let mut exchange = Self {
            arrived,
            arrived_at,
            ..Self::default()
        };
        if let Some(headers) = request {
            exchange.maps.insert(MapType::RequestHeaders, headers);
        }
        exchange
    }

    /// One half of the exchange.
    pub fn flow(&mut self, half: Half) -> &mut Flow {
        match half {
            Half::Request => &mut self.request,
            Half::Response => &mut self.response,
        }
    }

    /// The piece of body that the callback of this half sees.
    pub fn piece(&mut self, half: Half) -> &mut Option<Vec<u8>> {
        match half {
            Half::Request => &mut self.request_body,
            Half::Response => &mut self.response_body,
        }
    }

    /// Whether the module holds the exchange back.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.request.is_stopped() || self.response.is_stopped()
    }

    /// Whether the request is one of gRPC, by its content type.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        let headers = self.maps.get(MapType::RequestHeaders);
        let kind = headers.and_then(|headers| headers.first(b"content-type"));
        kind.and_then(|kind| kind.strip_prefix(b"application/grpc"))
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
    }

    /// The map, as a plugin may read it now.
    #[must_use]
    pub fn readable(&self, map: MapType) -> Option<&HeaderMap> {
        let visible = if self.log_phase {
            map != MapType::RequestTrailers
        } else {
            self.open.contains(map)
        };
        self.maps.get(map).filter(|_| visible)
    }

    /// The map, as a plugin may change it now. With the last chunk of a body a
    /// plugin may begin trailers.
    ///
    /// # Errors
    ///
    /// [`Status::BAD_ARGUMENT`] outside the callback of that map, the log
    /// callback too.
    pub fn writable(&mut self, map: MapType) -> Result<&mut HeaderMap, Status> {
        let begins = match map {
            MapType::RequestTrailers => self.request_body.is_some(),
            MapType::ResponseTrailers => self.response_body.is_some(),
            _ => false,
        };
        if begins && self.last_chunk {
            self.open.insert(map);
            self.maps.begin(map);
        }
        if !self.open.contains(map) {
            return Err(Status::BAD_ARGUMENT);
        }
        self.maps.get_mut(map).ok_or(Status::BAD_ARGUMENT)
    }

    /// The attribute at `path`, as the ABI serialises it: text as it is, whole
    /// numbers and nanoseconds as 64 bits, little-endian, a map as pairs.
    ///
    /// # Errors
    ///
    /// [`Status::NOT_FOUND`] if there is none, or none yet;
    /// [`Status::SERIALIZATION_FAILURE`] for a whole group of attributes.
    pub fn attribute(&self, path: &[u8]) -> Result<Vec<u8>, Status> {
        if let Some(value) = self.attributes.get(path).or(self.filter_state.get(path)) {
            return Ok(value.clone());
        }
        let path = path.strip_suffix(b"\0").unwrap_or(path);
        let mut parts = path.split(|byte| *byte == 0);
        let value = match (parts.next(), parts.next(), parts.next()) {
            (Some(b"request" | b"response" | b"connection" | b"source"), None, None) => {
                return Err(Status::SERIALIZATION_FAILURE);
            }
            (Some(b"request"), Some(name), None) => self.request_attribute(name),
            (Some(b"response"), Some(name), None) => self.response_attribute(name),
            (Some(b"request"), Some(b"headers"), Some(name)) => {
                self.text(MapType::RequestHeaders, name)
            }
            (Some(b"response"), Some(b"headers"), Some(name)) => {
                self.text(MapType::ResponseHeaders, name)
            }
            _ => connection_attribute(path),
        };
        value.ok_or(Status::NOT_FOUND)
    }

    fn request_attribute(&self, name: &[u8]) -> Option<Vec<u8>> {
        let header = |name: &[u8]| self.text(MapType::RequestHeaders, name);
        match name {
            b"path" => header(b":path"),
            b"method" => header(b":method"),
            b"host" => header(b":authority"),
            b"scheme" => header(b":scheme"),
            b"useragent" => header(b"user-agent"),
            b"referer" => header(b"referer"),
            b"id" => header(b"x-request-id"),
            b"url_path" | b"query" => {
                let path = header(b":path")?;
                let mut halves = path.splitn(2, |byte| *byte == b'?');
                let (path, query) = (halves.next(), halves.next());
                let half = if name == b"query" { query } else { path };
                Some(half.unwrap_or_default().to_vec())
            }
            b"protocol" => Some(b"HTTP/1.1".to_vec()),
            b"headers" => self.all(MapType::RequestHeaders),
            b"time" => number(self.arrived_at),
            b"duration" => number(self.ended?.saturating_sub(self.arrived)),
            // Envoy believes the client, where it says how much is to come.
            b"size" => {
                let said = header(b"content-length");
                let said = said.and_then(|text| str::from_utf8(&text).ok()?.parse().ok());
                number(said.unwrap_or(self.request_bytes))
            }
            b"total_size" => number(self.request_bytes + self.size(MapType::RequestHeaders)),
            _ => None,
        }
    }

    fn response_attribute(&self, name: &[u8]) -> Option<Vec<u8>> {
        match name {
            b"code" => Some(self.response_code?.to_le_bytes().to_vec()),
            b"code_details" => Some(self.response_code_details.clone()?.into_bytes()),
            b"flags" => Some(self.response_flags.to_le_bytes().to_vec()),
            b"headers" => self.all(MapType::ResponseHeaders),
            b"size" => number(self.response_bytes),
            b"total_size" => number(self.response_bytes + self.size(MapType::ResponseHeaders)),
            _ => None,
        }
    }

    fn all(&self, map: MapType) -> Option<Vec<u8>> {
        let headers = self.readable(map).map(HeaderMap::pairs);
        Some(pairs::serialize(headers.unwrap_or_default()))
    }

    fn size(&self, map: MapType) -> u64 {
        let headers = self.maps.get(map);
        headers.map_or(0, HeaderMap::byte_size) as u64
    }

    fn text(&self, map: MapType, name: &[u8]) -> Option<Vec<u8>> {
        Some(self.readable(map)?.first(name)?.to_vec())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one arm of a match of options")]
fn number(value: u64) -> Option<Vec<u8>> {
    Some(value.to_le_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::{Exchange, HeaderMap};
    use crate::abi::{MapType, Status};

    fn exchange() -> Exchange {
        let headers = [(":method", "GET"), (":path", "/a?b=c")];
        let headers = headers.map(|(name, value)| (name.into(), value.into()));
        Exchange::new(Some(HeaderMap::new(headers.into())), 100, 0)
    }

    #[test]
    fn a_map_is_readable_in_its_phase_and_when_it_is_logged() {
        let mut exchange = exchange();
        assert!(exchange.readable(MapType::RequestHeaders).is_none());
        exchange.open.insert(MapType::RequestHeaders);
        assert!(exchange.readable(MapType::RequestHeaders).is_some());
        exchange.open.remove(MapType::RequestHeaders);
        exchange.log_phase = true;
        assert!(exchange.readable(MapType::RequestHeaders).is_some());
        let written = exchange.writable(MapType::RequestHeaders).map(|_| ());
        assert_eq!(written, Err(Status::BAD_ARGUMENT));
    }

    #[test]
    fn the_duration_exists_once_the_exchange_is_over() {
        let mut exchange = exchange();
        let path = b"request\0duration";
        assert_eq!(exchange.attribute(path), Err(Status::NOT_FOUND));
        exchange.ended = Some(350);
        assert_eq!(exchange.attribute(path), Ok(250_u64.to_le_bytes().to_vec()));
    }

    #[test]
    fn path_and_query_come_from_the_pseudo_header() {
        let mut exchange = exchange();
        exchange.log_phase = true;
        for (path, value) in [
            ("request\0path", "/a?b=c"),
            ("request\0url_path", "/a"),
            ("request\0query", "b=c"),
            ("request\0headers\0:method", "GET"),
        ] {
            assert_eq!(
                exchange.attribute(path.as_bytes()),
                Ok(value.into()),
                "{path}"
            );
        }
    }
}
