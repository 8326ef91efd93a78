//! The keys that decide what becomes of signals: `cache`, `strip`, `preset`,
//! `signals`.

mod case;
mod rule;

use serde_json::{Map, Value};

use super::fields::{Fields, is_name, shown};
use super::{CacheConfig, ConfigError};
use crate::buckets::Buckets;
use crate::path_label::RouteTable;
use crate::signal_rules::{
    Amount, Case, CounterRule, DEFAULTS, Family, GaugeRule, MAX_DICTIONARIES, MAX_HEADER_TESTS,
    MAX_RULES, PRESETS, SignalRules, TimingRule,
};
use crate::signals::RESPONSE_HEADERS;
use crate::signals::dictionary::MAX_KEYS;
use rule::RuleFields;

/// Longest value of a header that a condition compares, of a label and of a
/// name within a header.
const LONGEST_VALUE: usize = 64;

/// What a rule takes its numbers from.
enum Source {
    Count(Amount, Vec<Case>),
    Timing(String, Buckets),
    Gauge(String, String),
    Start(Buckets),
    Bitrate,
    Buffer,
}

struct Rule {
    family: Family,
    source: Source,
}

impl Fields<'_> {
    pub(super) fn cache(&mut self) -> CacheConfig {
        let accepted = r#"{"types": {"redis": "redis"}, "bytes": false}"#;
        let mut config = CacheConfig::default();
        let Some(value) = self.map.get("cache") else {
            return config;
        };
        let Some(cache) = value.as_object() else {
            self.refuse("cache", value, accepted);
            return config;
        };
        for (key, value) in cache {
            match (key.as_str(), value) {
                ("types", Value::Object(types)) => config.types = Some(self.cache_types(types)),
                ("types", _) => self.refuse(
                    "cache.types",
                    value,
                    r#"an object such as {"redis": "redis"}"#,
                ),
                ("bytes", Value::Bool(bytes)) => config.bytes = *bytes,
                ("bytes", _) => self.refuse("cache.bytes", value, "true or false"),
                _ => {
                    let place = format!("cache.{}", shown(key));
                    self.refuse(&place, value, "only the keys types and bytes");
                }
            }
        }
        config
    }

    fn cache_types(&mut self, types: &Map<String, Value>) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (name, value) in types {
            match value.as_str() {
                Some(cache_type) if is_name(cache_type) => {
                    found.push((name.clone(), cache_type.to_owned()));
                }
                _ => {
                    let place = format!("cache.types.{}", shown(name));
                    self.refuse(&place, value, "1 to 64 letters, digits, _ and -");
                }
            }
        }
        found
    }

    /// Names of headers in lower case. Without the key it is those that gauges
    /// are read from: what a pool has is nobody's business outside.
    pub(super) fn strip(&mut self, rules: &SignalRules) -> Vec<String> {
        let gauges = once(rules.gauges.iter().map(|rule| rule.header.as_str()));
        if !self.map.contains_key("strip") {
            return gauges;
        }
        let tested = rules.counters.iter().flat_map(|rule| {
            let tests = rule.cases.iter().map(|case| &case.when.response_header);
            tests.flatten().map(|test| test.name.as_str())
        });
        let gauges = gauges.iter().map(String::as_str);
        let read = once(RESPONSE_HEADERS.into_iter().chain(gauges).chain(tested));
        let accepted = format!(
            "a list of headers that are read, such as {}",
            read.join(", ")
        );
        let items = self.list("strip", &accepted).to_vec();
        let mut found = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.as_str().map(str::to_ascii_lowercase) {
                Some(name) if read.contains(&name) => found.push(name),
                _ => {
                    let accepted = format!("a header that is read: {}", read.join(", "));
                    self.refuse(&format!("strip[{index}]"), item, &accepted);
                }
            }
        }
        found
    }

    /// The rules of the preset and of the configuration itself, over those
    /// that are always there; of two for one metric the last is taken.
    pub(super) fn signal_rules(&mut self, routes: &RouteTable) -> SignalRules {
        let mut rules = self.built_in("signals", DEFAULTS, None);
        let own = self.own_rules(routes);
        if let Some(preset) = self.preset() {
            let replaced: Vec<&str> = own.iter().map(|rule| rule.family.name.as_str()).collect();
            let wanted = self.built_in("preset", preset, Some((routes, &replaced)));
            rules.extend(wanted);
        }
        rules.retain(|rule| {
            !own.iter()
                .any(|other| other.family.name == rule.family.name)
        });
        rules.extend(own);
        self.tests_fit(&rules);
        let mut found = SignalRules::default();
        for Rule { family, source } in rules {
            match source {
                Source::Count(_, cases) if cases.is_empty() => {}
                Source::Count(amount, cases) => found.counters.push(CounterRule {
                    family,
                    amount,
                    cases,
                }),
                Source::Timing(entry, buckets) => found.timings.push(TimingRule {
                    family,
                    entry,
                    buckets,
                }),
                Source::Gauge(header, key) => found.gauges.push(GaugeRule {
                    family,
                    header,
                    key,
                }),
                Source::Start(buckets) => found.players.start = Some(buckets),
                Source::Bitrate => found.players.bitrate = true,
                Source::Buffer => found.players.buffer = true,
            }
        }
        found
    }

    fn preset(&mut self) -> Option<&'static str> {
        let value = self.map.get("preset")?;
        let found = value
            .as_str()
            .and_then(|name| PRESETS.iter().find(|(preset, _)| *preset == name));
        if found.is_none() {
            let names = PRESETS.map(|(name, _)| name).join(", ");
            self.refuse("preset", value, &format!("one of {names}"));
        }
        found.map(|(_, rules)| *rules)
    }

    /// Rules that stand in this crate, without those that are replaced anyway.
    fn built_in(
        &mut self,
        place: &str,
        json: &str,
        over: Option<(&RouteTable, &[&str])>,
    ) -> Vec<Rule> {
        let items: Vec<Value> = serde_json::from_str(json).unwrap_or_default();
        let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
        let none = RouteTable::default();
        let (routes, replaced) = over.unwrap_or((&none, &[]));
        items
            .iter()
            .filter(|item| name(item).is_none_or(|name| !replaced.contains(&name.as_str())))
            .filter_map(|item| self.rule(place, item, routes))
            .collect()
    }

    fn own_rules(&mut self, routes: &RouteTable) -> Vec<Rule> {
        let accepted = "a list of rules such as {\"name\": \"logins_total\", \"type\": \"counter\", \"help\": \"Logins.\", \"count\": [{\"path\": \"/login\"}]}";
        let items = self.list("signals", accepted).to_vec();
        if items.len() > MAX_RULES {
            self.errors.push(ConfigError {
                key: "signals".to_owned(),
                problem: format!("has {} rules; expected at most {MAX_RULES}", items.len()),
            });
            return Vec::new();
        }
        let mut rules: Vec<Rule> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = format!("signals[{index}]");
            let Some(rule) = self.rule(&place, item, routes) else {
                continue;
            };
            let collides = rules
                .iter()
                .any(|other| other.family.collides(&rule.family));
            if collides {
                let name = Value::from(rule.family.name.as_str());
                self.problem(
                    format!("{place}.name"),
                    &name,
                    "collides with a rule before it; expected one rule a metric",
                );
                continue;
            }
            rules.push(rule);
        }
        rules
    }

    fn rule(&mut self, place: &str, item: &Value, routes: &RouteTable) -> Option<Rule> {
        let Some(map) = item.as_object() else {
            self.refuse(place, item, "an object with the key name");
            return None;
        };
        let before = self.errors.len();
        let mut rule = RuleFields {
            fields: self,
            place,
            map,
            routes,
        };
        let family = rule.family();
        let source = family.as_ref().and_then(|family| rule.source(family));
        let (family, source) = (family?, source?);
        (self.errors.len() == before).then_some(Rule { family, source })
    }

    /// Each header that a condition looks at takes a bit of a number, each key
    /// of a dictionary a place in a list.
    fn tests_fit(&mut self, rules: &[Rule]) {
        let cases = rules.iter().flat_map(|rule| match &rule.source {
            Source::Count(_, cases) => cases.as_slice(),
            _ => &[],
        });
        let (mut request, mut response) = (Vec::new(), Vec::new());
        for case in cases {
            let when = &case.when;
            let both = [
                (&mut request, &when.request_header),
                (&mut response, &when.response_header),
            ];
            for (seen, test) in both {
                if let Some(test) = test
                    && !seen.contains(test)
                {
                    seen.push(test.clone());
                }
            }
        }
        let mut dictionaries: Vec<(&str, usize)> = Vec::new();
        for rule in rules {
            let Source::Gauge(header, _) = &rule.source else {
                continue;
            };
            match dictionaries.iter_mut().find(|(known, _)| known == header) {
                Some((_, keys)) => *keys += 1,
                None => dictionaries.push((header, 1)),
            }
        }
        let mut problem = |problem: String| {
            self.errors.push(ConfigError {
                key: "signals".to_owned(),
                problem,
            });
        };
        if dictionaries.len() > MAX_DICTIONARIES {
            let count = dictionaries.len();
            problem(format!(
                "read {count} dictionaries; expected at most {MAX_DICTIONARIES}"
            ));
        }
        for (header, keys) in dictionaries.iter().filter(|(_, keys)| *keys > MAX_KEYS) {
            problem(format!(
                "read {keys} keys of {header}; expected at most {MAX_KEYS}"
            ));
        }
        for (what, seen) in [("request", request), ("response", response)] {
            if seen.len() > MAX_HEADER_TESTS {
                problem(format!(
                    "look at {} {what} headers; expected at most {MAX_HEADER_TESTS}",
                    seen.len()
                ));
            }
        }
    }
}

/// Each once, in the order of the first.
fn once<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=LONGEST_VALUE).contains(&text.len()) && text.bytes().all(is_tchar)
}

/// A field name that may be read or taken away without harm to HTTP itself.
fn is_header_name(name: &str) -> bool {
    const OF_HTTP: [&str; 7] = [
        "connection",
        "content-encoding",
        "content-length",
        "host",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    is_token(name) && !OF_HTTP.contains(&name)
}

#[cfg(test)]
mod tests;
