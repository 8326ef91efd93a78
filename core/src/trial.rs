//! One exchange on a proxy that is none: which stats a configuration would
//! move, without Envoy.
//!
//! The recorder does what it does in the filter; only the host calls end here.
//! Every stat starts at 0, and shared data is empty.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::catalog::StatKind;
use crate::exchange::Exchange;
use crate::host::{Failed, Headers, HostCall, MetricId, Property, Stats, Stream};
use crate::plugin_config::PluginConfig;
use crate::recorder::Recorder;

/// An exchange to try; names of headers in lower case.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Headers of the request, with `:method` and `:path`.
    pub request: Vec<(String, String)>,
    /// Headers of the response, with `:status`.
    pub response: Vec<(String, String)>,
}

impl Trial {
    /// The names of the stats that it moves, and by how much, or to what a
    /// gauge is set.
    ///
    /// # Errors
    /// Where there is no room for stats, which there is.
    pub fn moves(&self, config: PluginConfig) -> Result<BTreeMap<String, u64>, Failed> {
        let proxy = Proxy {
            request: serialize(&self.request),
            response: serialize(&self.response),
            stats: RefCell::default(),
            shared: RefCell::default(),
        };
        let mut recorder = Recorder::new(config, 0);
        recorder.configure(&proxy)?;
        let before = proxy.stats.borrow().clone();
        let mut exchange = Exchange::start(&mut recorder, &proxy);
        exchange.on_request_headers(&mut recorder, &proxy);
        exchange.on_response_headers(&mut recorder, &proxy);
        exchange.on_log(&mut recorder, &proxy);
        exchange.on_end(&mut recorder, &proxy);
        recorder.flush(&proxy);
        let after = proxy.stats.borrow();
        let moved = after.iter().filter(|stat| !before.contains(stat));
        Ok(moved.cloned().collect())
    }
}

struct Proxy {
    request: Vec<u8>,
    response: Vec<u8>,
    /// By id.
    stats: RefCell<Vec<(String, u64)>>,
    shared: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
}

impl Proxy {
    fn change(&self, id: MetricId, change: impl FnOnce(u64) -> u64) {
        if let Some((_, value)) = self.stats.borrow_mut().get_mut(id.0 as usize) {
            *value = change(*value);
        }
    }
}

impl Stats for Proxy {
    type Bytes = Vec<u8>;

    fn define_metric(&self, _kind: StatKind, name: &str) -> Result<MetricId, Failed> {
        let mut stats = self.stats.borrow_mut();
        let known = stats.iter().position(|(known, _)| known == name);
        let at = known.unwrap_or_else(|| {
            stats.push((name.to_owned(), 0));
            stats.len() - 1
        });
        u32::try_from(at)
            .map(MetricId)
            .map_err(|_| Failed(HostCall::DefineMetric))
    }

    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Failed> {
        self.change(id, |value| value.wrapping_add_signed(by));
        Ok(())
    }

    fn record_metric(&self, id: MetricId, to: u64) -> Result<(), Failed> {
        self.change(id, |_| to);
        Ok(())
    }

    fn shared_data(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, Failed> {
        Ok(self.shared.borrow().get(key).cloned())
    }

    fn set_shared_data(&self, key: &str, value: &[u8], _token: u32) -> Result<bool, Failed> {
        let mut shared = self.shared.borrow_mut();
        let (stored, version) = shared.entry(key.to_owned()).or_default();
        *stored = value.to_vec();
        *version = version.saturating_add(1);
        Ok(true)
    }
}

impl Stream for Proxy {
    type Map = Vec<u8>;

    fn now(&self) -> Result<u64, Failed> {
        Ok(1)
    }

    fn headers(&self, which: Headers) -> Result<Option<Vec<u8>>, Failed> {
        Ok(match which {
            Headers::Request => Some(self.request.clone()),
            Headers::Response => Some(self.response.clone()),
            Headers::ResponseTrailers => None,
        })
    }

    fn remove_response_header(&self, _name: &str) -> Result<(), Failed> {
        Ok(())
    }

    fn property(&self, _property: Property) -> Result<Option<Vec<u8>>, Failed> {
        Ok(None)
    }
}

/// A header map as a host serializes it; see `header_map`.
fn serialize(pairs: &[(String, String)]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let mut map = length(pairs.len()).to_vec();
    for (name, value) in pairs {
        map.extend(length(name.len()));
        map.extend(length(value.len()));
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        map.extend(text.bytes());
        map.push(0);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_moves_what_it_would_in_the_filter() {
        let config = br#"{"service": "api", "preset": "api"}"#;
        let pairs = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect()
        };
        let trial = Trial {
            request: pairs(&[(":method", "POST"), (":path", "/api/login")]),
            response: pairs(&[(":status", "401"), ("cache-status", "redis; hit")]),
        };
        let moves = trial.moves(PluginConfig::parse(config).unwrap()).unwrap();
        for name in [
            "auth_attempts_total.service=api.result=failure",
            "cache_hits_total.service=api.cache_type=redis",
            "http_requests_total.service=api.method=POST.path=_UNMATCHED.status=401",
        ] {
            assert_eq!(moves.get(name), Some(&1), "{name} of {moves:?}");
        }
        assert!(!moves.keys().any(|name| name.contains("success")));
    }
}
