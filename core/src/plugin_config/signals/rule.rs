//! One rule of `signals`: its metric and its source.

use serde_json::{Map, Value};

use super::case::CaseFields;
use super::{LONGEST_VALUE, Source, is_header_name, is_token};
use crate::buckets::Buckets;
use crate::catalog::{self, CATALOG, Kind, LE, Origin, SERVICE};
use crate::path_label::RouteTable;
use crate::plugin_config::fields::{Fields, LONGEST_NAME, shown};
use crate::signal_rules::{Amount, Case, Family, MAX_CASES, TIMING_BOUNDS};
use crate::signals::RESPONSE_HEADERS;
use crate::stat_name;

/// Longest HELP text, in bytes.
const LONGEST_HELP: usize = 200;

/// Most labels of a metric of the configuration's own.
const MAX_LABELS: usize = 4;

/// Labels that mean something to Prometheus or to the bridge.
const RESERVED_LABELS: [&str; 6] = [SERVICE, LE, "quantile", "job", "instance", "metric"];

/// Endings that Prometheus gives to the samples of histograms and summaries.
const RESERVED_ENDINGS: [&str; 5] = ["_bucket", "_count", "_sum", "_created", "_info"];

/// One rule.
pub(super) struct RuleFields<'f, 'a, 'r> {
    pub(super) fields: &'f mut Fields<'a>,
    pub(super) place: &'r str,
    pub(super) map: &'r Map<String, Value>,
    pub(super) routes: &'r RouteTable,
}

impl RuleFields<'_, '_, '_> {
    fn refuse(&mut self, key: &str, value: &Value, accepted: &str) {
        let place = format!("{}.{key}", self.place);
        self.fields.refuse(&place, value, accepted);
    }

    fn text(&mut self, key: &str, accepted: &str) -> Option<String> {
        let value = self.map.get(key).unwrap_or(&Value::Null);
        let text = value.as_str();
        if text.is_none() {
            self.refuse(key, value, accepted);
        }
        text.map(str::to_owned)
    }

    /// The metric: one of the catalogue that rules may move, or a new one.
    pub(super) fn family(&mut self) -> Option<Family> {
        let name = self.text("name", "the name of a metric such as logins_total")?;
        if let Some(metric) = catalog::metric(&name)
            && metric.origin == Origin::Rule
        {
            for key in ["type", "help"] {
                if let Some(value) = self.map.get(key) {
                    self.refuse(
                        key,
                        value,
                        "no such key: the metric is one of the catalogue",
                    );
                }
            }
            return Some(Family::listed(metric));
        }
        let kind = self.kind();
        let help = self.help();
        let labels = self.label_names();
        let family = Family {
            kind: kind?,
            help: Some(help?),
            labels: labels?,
            name,
        };
        (self.name_fits(&family) && self.help_fits(&family)).then_some(family)
    }

    /// The text stands in the name of a stat, where most signs take three bytes.
    fn help_fits(&mut self, family: &Family) -> bool {
        let help = family.help.as_deref().unwrap_or_default();
        let service = "x".repeat(LONGEST_NAME);
        let values = [&*service, &*family.name, family.kind.as_str(), help];
        let fits = stat_name::encode(&catalog::FAMILY, &values);
        if let Err(error) = &fits {
            self.refuse("help", &help.into(), &format!("a shorter text: {error}"));
        }
        fits.is_ok()
    }

    fn kind(&mut self) -> Option<Kind> {
        let kind = self.text("type", "counter, gauge or histogram")?;
        match kind.as_str() {
            "counter" => Some(Kind::Counter),
            "gauge" => Some(Kind::Gauge),
            "histogram" => Some(Kind::Histogram),
            _ => {
                self.refuse("type", &kind.into(), "counter, gauge or histogram");
                None
            }
        }
    }

    fn help(&mut self) -> Option<String> {
        let accepted = format!("a text of one line, of 1 to {LONGEST_HELP} bytes");
        let help = self.text("help", &accepted)?;
        let fits = (1..=LONGEST_HELP).contains(&help.len()) && !help.contains(char::is_control);
        if !fits {
            self.refuse("help", &help.as_str().into(), &accepted);
        }
        fits.then_some(help)
    }

    /// Those of the first case; the others must have the same.
    fn label_names(&mut self) -> Option<Vec<String>> {
        let first = self.map.get("count").and_then(|cases| cases.get(0));
        let Some(labels) = first.and_then(|case| case.get("labels")) else {
            return Some(Vec::new());
        };
        let Some(labels) = labels.as_object() else {
            let accepted = r#"an object such as {"result": "success"}"#;
            self.refuse("count[0].labels", labels, accepted);
            return None;
        };
        let mut names = Vec::new();
        for name in labels.keys() {
            if !is_metric_name(name) || RESERVED_LABELS.contains(&name.as_str()) {
                let accepted = format!(
                    "a name of lower-case letters, digits and _, none of {}",
                    RESERVED_LABELS.join(", ")
                );
                self.refuse("count[0].labels", &name.as_str().into(), &accepted);
                return None;
            }
            names.push(name.clone());
        }
        if names.len() > MAX_LABELS {
            let accepted = format!("at most {MAX_LABELS} labels");
            self.refuse("count[0].labels", &labels.clone().into(), &accepted);
            return None;
        }
        Some(names)
    }

    fn name_fits(&mut self, family: &Family) -> bool {
        let name = family.name.as_str();
        let value = Value::from(name);
        let accepted = match family.kind {
            _ if !is_metric_name(name) || name.len() > 64 => {
                "1 to 64 lower-case letters, digits and _, a letter first"
            }
            _ if name.starts_with("gatemeter_") || name.starts_with("envoy_") => {
                "a name that does not begin with gatemeter_ or envoy_"
            }
            _ if RESERVED_ENDINGS.iter().any(|end| name.ends_with(end)) => {
                "a name without the endings _bucket, _count, _sum, _created and _info"
            }
            Kind::Counter if !name.ends_with("_total") => "a counter's name to end in _total",
            Kind::Histogram if !name.ends_with("_seconds") => {
                "a histogram's name to end in _seconds, for it takes durations"
            }
            Kind::Gauge | Kind::Histogram if name.ends_with("_total") => {
                "a name without _total, which is for counters"
            }
            _ if CATALOG
                .iter()
                .any(|metric| family.collides(&Family::listed(metric)))
                || catalog::stat(name).is_some() =>
            {
                "a name that the catalogue does not have"
            }
            _ => return true,
        };
        self.refuse("name", &value, accepted);
        false
    }

    pub(super) fn source(&mut self, family: &Family) -> Option<Source> {
        let keys: &[&str] = match (family.kind, family.name.as_str()) {
            (_, "stream_init_duration_seconds") => &["cmcd", "buckets"],
            (_, "stream_bitrate_changes_total" | "stream_buffer_events_total") => &["cmcd"],
            (Kind::Counter, _) => &["count", "add"],
            (Kind::Gauge, _) => &["dictionary"],
            (Kind::Histogram, _) => &["server_timing", "buckets"],
        };
        for (key, value) in self.map {
            let known =
                ["name", "type", "help"].contains(&key.as_str()) || keys.contains(&key.as_str());
            if !known {
                let accepted = format!(
                    "only the keys name, type, help and for this metric {}",
                    keys.join(", ")
                );
                self.refuse(&shown(key), value, &accepted);
            }
        }
        match keys.first().copied() {
            Some("cmcd") => self.players(family),
            Some("count") => {
                let amount = self.amount();
                let cases = self.cases(family);
                Some(Source::Count(amount?, cases?))
            }
            Some("dictionary") => self.dictionary(),
            _ => {
                let accepted = "the name of an entry of Server-Timing, such as db";
                let entry = self.text("server_timing", accepted);
                let buckets = self.buckets();
                let entry = entry?;
                if !is_token(&entry) {
                    self.refuse("server_timing", &entry.as_str().into(), accepted);
                    return None;
                }
                Some(Source::Timing(entry, buckets?))
            }
        }
    }

    fn players(&mut self, family: &Family) -> Option<Source> {
        let accepted = match family.name.as_str() {
            "stream_init_duration_seconds" => "start",
            "stream_bitrate_changes_total" => "bitrate",
            _ => "buffer",
        };
        let word = self.text("cmcd", accepted)?;
        if word != accepted {
            self.refuse("cmcd", &word.into(), accepted);
            return None;
        }
        match accepted {
            "start" => Some(Source::Start(self.buckets()?)),
            "bitrate" => Some(Source::Bitrate),
            _ => Some(Source::Buffer),
        }
    }

    fn buckets(&mut self) -> Option<Buckets> {
        match self.map.get("buckets") {
            Some(value) => {
                let place = format!("{}.buckets", self.place);
                self.fields.buckets_of(&place, value)
            }
            None => Buckets::try_new(TIMING_BOUNDS.to_vec()).ok(),
        }
    }

    fn dictionary(&mut self) -> Option<Source> {
        let accepted = r#"{"header": "x-db-pool", "key": "active"}"#;
        let value = self.map.get("dictionary").unwrap_or(&Value::Null);
        let part = |key: &str| value.get(key).and_then(Value::as_str);
        let is_pair = value.as_object().is_some_and(|pair| pair.len() == 2);
        let (Some(header), Some(key), true) = (part("header"), part("key"), is_pair) else {
            self.refuse("dictionary", value, accepted);
            return None;
        };
        let header = header.to_ascii_lowercase();
        let is_key = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        };
        if !is_header_name(&header)
            || RESPONSE_HEADERS.contains(&header.as_str()) && header != "x-db-pool"
        {
            let accepted = "the name of a header that nothing else is read from";
            self.refuse("dictionary.header", &header.into(), accepted);
            return None;
        }
        if key.is_empty() || key.len() > LONGEST_VALUE || !key.bytes().all(is_key) {
            let accepted = "a key of lower-case letters, digits, _, -, . and *";
            self.refuse("dictionary.key", &key.into(), accepted);
            return None;
        }
        Some(Source::Gauge(header, key.to_owned()))
    }

    fn amount(&mut self) -> Option<Amount> {
        match self.map.get("add") {
            None => Some(Amount::One),
            Some(Value::String(text)) if text == "request_bytes" => Some(Amount::RequestBytes),
            Some(Value::String(text)) if text == "response_bytes" => Some(Amount::ResponseBytes),
            Some(value) => {
                self.refuse("add", value, "request_bytes or response_bytes");
                None
            }
        }
    }

    fn cases(&mut self, family: &Family) -> Option<Vec<Case>> {
        let accepted = r#"a list of cases such as {"path": "/login", "status": "2xx"}"#;
        let value = self.map.get("count").unwrap_or(&Value::Null);
        let Some(items) = value.as_array() else {
            self.refuse("count", value, accepted);
            return None;
        };
        if items.len() > MAX_CASES {
            let accepted = format!("at most {MAX_CASES} cases");
            self.refuse("count", &items.len().into(), &accepted);
            return None;
        }
        let cases: Vec<Option<Case>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let place = format!("{}.count[{index}]", self.place);
                let Some(map) = item.as_object() else {
                    self.fields.refuse(&place, item, accepted);
                    return None;
                };
                CaseFields {
                    fields: self.fields,
                    place,
                    map,
                    routes: self.routes,
                }
                .case(family)
            })
            .collect();
        cases.into_iter().collect()
    }
}

fn is_metric_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
