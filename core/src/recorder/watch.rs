//! Which headers of a response are looked at, and what for.
//!
//! Most headers are of no interest, and every response has many: a name is
//! looked at only where its length is that of one that is, and compared only
//! where its length, its first and its last byte together look like it.

use crate::header_map::Lengths;
use crate::plugin_config::PluginConfig;
use crate::signal_rules::HeaderTest;
use crate::signals::RESPONSE_HEADERS;
use crate::words::same;

/// What is read from a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Nothing: it is only tested or taken away.
    Nothing,
    /// `Cache-Status` (RFC 9211).
    CacheStatus,
    /// One word or more of a vendor, by its rank: the first of them counts, and
    /// only where there is no `Cache-Status`.
    CacheWords,
    /// `Server-Timing`.
    ServerTiming,
    /// `Trailer` (RFC 9110 §6.6.2), for a `Server-Timing` that comes later.
    Trailer,
    /// A dictionary of gauges, by its place in the list of those headers.
    Dictionary(usize),
}

/// One header of interest.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// In lower case.
    pub(crate) name: Box<str>,
    /// What is read from it.
    pub(crate) read: Read,
    /// Whether the client is not to see it.
    pub(crate) strip: bool,
    /// What it is compared with, and the bit that says so; `None` is any value.
    tests: Vec<(Option<Box<[u8]>>, u64)>,
}

impl Watched {
    /// The bits of the tests that this value passes.
    pub(crate) fn passed(&self, value: &[u8]) -> u64 {
        self.tests
            .iter()
            .filter(|(wanted, _)| wanted.as_deref().is_none_or(|wanted| wanted == value))
            .fold(0, |bits, (_, bit)| bits | bit)
    }
}

/// The headers of one direction that are of interest, at most 64.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// A bit for each [`look`] that one of the names has.
    looks: u64,
    /// Of those names and of the headers that are read in any case.
    lengths: Lengths,
    headers: Vec<Watched>,
    tests_content_type: bool,
}

impl Watch {
    /// Those of responses. `:status` and `content-type`, which are read in any
    /// case, look as if they were.
    pub(super) fn responses(config: &PluginConfig) -> Self {
        let mut watch = Self {
            looks: look(b":status") | look(b"content-type"),
            lengths: Lengths::default().with(":status").with("content-type"),
            ..Self::default()
        };
        for name in RESPONSE_HEADERS {
            let read = match name {
                "cache-status" => Read::CacheStatus,
                "server-timing" if config.signals.timings.is_empty() => Read::Nothing,
                "server-timing" => Read::ServerTiming,
                "x-cache" | "x-cache-status" | "cf-cache-status" => Read::CacheWords,
                _ => Read::Nothing,
            };
            if read != Read::Nothing {
                watch.entry(name).read = read;
            }
        }
        if !config.signals.timings.is_empty() {
            watch.entry("trailer").read = Read::Trailer;
        }
        for (index, name) in dictionaries(config).iter().enumerate() {
            watch.entry(name).read = Read::Dictionary(index);
        }
        for name in &config.strip {
            watch.entry(name).strip = true;
        }
        let tests = tests(config, |case| case.when.response_header.as_ref());
        watch.test(&tests);
        watch.tests_content_type = watch.find(b"content-type").is_some();
        watch
    }

    /// Those of requests; method and path are read in any case, and so is
    /// what players say, where they are listened to.
    pub(super) fn requests(config: &PluginConfig) -> Self {
        let mut lengths = Lengths::default().with(":method").with(":path");
        if config.signals.players.any() {
            lengths = CMCD.into_iter().fold(lengths, Lengths::with);
        }
        let mut watch = Self {
            lengths,
            ..Self::default()
        };
        let tests = tests(config, |case| case.when.request_header.as_ref());
        watch.test(&tests);
        watch
    }

    /// The lengths of names that may be of interest.
    #[inline]
    pub(crate) fn lengths(&self) -> Lengths {
        self.lengths
    }

    /// Whether a header may be of interest; most are not.
    #[inline]
    pub(crate) fn may_be(&self, name: &[u8]) -> bool {
        self.looks & look(name) != 0
    }

    /// Where a header of interest stands in the list.
    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.headers
            .iter()
            .position(|watched| same(watched.name.as_bytes(), name))
    }

    /// Whether a rule looks at the header `content-type`.
    #[inline]
    pub(crate) fn tests_content_type(&self) -> bool {
        self.tests_content_type
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&Watched> {
        self.headers.get(at)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|watched| &*watched.name)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// Those that the client is not to see, with their places.
    pub(crate) fn stripped(&self) -> impl Iterator<Item = (usize, &str)> {
        let headers = self.headers.iter().enumerate();
        headers
            .filter(|(_, watched)| watched.strip)
            .map(|(at, watched)| (at, &*watched.name))
    }

    fn test(&mut self, tests: &[HeaderTest]) {
        for (bit, test) in tests.iter().enumerate() {
            let wanted = test.value.as_ref().map(|value| value.as_bytes().into());
            self.entry(&test.name).tests.push((wanted, 1 << bit));
        }
    }

    fn entry(&mut self, name: &str) -> &mut Watched {
        let at = self
            .headers
            .iter()
            .position(|watched| &*watched.name == name);
        let at = at.unwrap_or_else(|| {
            self.looks |= look(name.as_bytes());
            self.lengths = self.lengths.with(name);
            self.headers.push(Watched {
                name: name.into(),
                read: Read::Nothing,
                strip: false,
                tests: Vec::new(),
            });
            self.headers.len() - 1
        });
        // It has just been found or added.
        #[allow(clippy::indexing_slicing)]
        &mut self.headers[at]
    }
}

/// Headers in which players say what they do (CTA-5004).
pub(super) const CMCD: [&str; 4] = ["cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status"];

/// One bit of 64 for what a name looks like at a glance. The factors are such
/// that of fifty usual headers of responses one looks like those that are read.
#[inline]
fn look(name: &[u8]) -> u64 {
    match name {
        [first, .., last] => {
            1 << ((name.len() + 15 * usize::from(*first) + 7 * usize::from(*last)) % 64)
        }
        _ => 0,
    }
}

/// The headers of a configuration's gauges, each once.
pub(super) fn dictionaries(config: &PluginConfig) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for rule in &config.signals.gauges {
        if !names.contains(&rule.header.as_str()) {
            names.push(&rule.header);
        }
    }
    names
}

/// Each different test of a direction, in the order of its bit.
pub(super) fn tests<'c>(
    config: &'c PluginConfig,
    of: impl Fn(&'c crate::signal_rules::Case) -> Option<&'c HeaderTest>,
) -> Vec<HeaderTest> {
    let mut tests: Vec<HeaderTest> = Vec::new();
    for rule in &config.signals.counters {
        for test in rule.cases.iter().filter_map(&of) {
            if !tests.contains(test) {
                tests.push(test.clone());
            }
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_every_header_of_interest_is_known() {
        let config = br#"{"service": "api", "preset": "playback", "signals": [
            {"name": "ops_total", "type": "counter", "help": "x", "count": [
                {"request_header": "x-plan", "response_header": "x-of-nineteen-bytes"}]}]}"#;
        let config = PluginConfig::parse(config).unwrap();
        let responses = Watch::responses(&config);
        for name in responses.names().chain([":status", "content-type"]) {
            assert_eq!(
                responses.lengths().with(name),
                responses.lengths(),
                "{name}"
            );
        }
        assert_ne!(responses.lengths().with("date"), responses.lengths());
        let requests = Watch::requests(&config);
        for name in CMCD.into_iter().chain(["x-plan", ":method", ":path"]) {
            assert_eq!(requests.lengths().with(name), requests.lengths(), "{name}");
        }
        assert_ne!(requests.lengths().with("user-agent"), requests.lengths());
    }

    #[test]
    fn every_header_of_interest_looks_like_one_and_the_usual_ones_do_not() {
        let config = br#"{"service": "api", "strip": ["server-timing"], "signals": [
            {"name": "ops_total", "type": "counter", "help": "x", "count": [
                {"request_header": "x-plan", "response_header": {"name": "X-Limit", "value": "0"}}]}]}"#;
        let config = PluginConfig::parse(config).unwrap();
        let watch = Watch::responses(&config);
        for name in watch.names() {
            assert!(watch.may_be(name.as_bytes()), "{name}");
        }
        for name in RESPONSE_HEADERS {
            assert!(watch.find(name.as_bytes()).is_some(), "{name}");
        }
        assert!(watch.may_be(b":status") && watch.may_be(b"content-type"));
        for name in [
            "content-length",
            "date",
            "etag",
            "cache-control",
            "vary",
            "server",
            "",
            "x",
        ] {
            assert!(!watch.may_be(name.as_bytes()), "{name}");
        }
        assert_eq!(watch.stripped().count(), 1);
        assert!(Watch::requests(&config).may_be(b"x-plan"));
    }

    #[test]
    fn a_test_is_passed_by_any_value_or_by_its_own() {
        let config = br#"{"service": "api", "signals": [
            {"name": "ops_total", "type": "counter", "help": "x", "count": [
                {"response_header": "x-a"}, {"response_header": {"name": "x-a", "value": "1"}}]}]}"#;
        let watch = Watch::responses(&PluginConfig::parse(config).unwrap());
        let watched = watch.get(watch.find(b"x-a").unwrap()).unwrap();
        assert_eq!([watched.passed(b"0"), watched.passed(b"1")], [0b01, 0b11]);
    }
}
