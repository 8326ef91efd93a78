//! The plugin configuration: bytes are refused with a reason for each thing
//! that is wrong, on one bounded line, or make a filter that a proxy accepts;
//! and a Struct means what the same JSON means.
#![no_main]

use gatemeter_core::buckets::MAX_BOUNDS;
use gatemeter_core::host::Stats as _;
use gatemeter_core::plugin_config::PluginConfig;
use gatemeter_core::recorder::Recorder;
use gatemeter_fuzz::proxy::Proxy;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|bytes: &[u8]| {
    let parsed = PluginConfig::parse(bytes);
    match &parsed {
        Ok(config) => accepted(config),
        Err(errors) => {
            assert!(!errors.errors().is_empty());
            for error in errors.errors() {
                assert!(!error.problem.is_empty());
                assert!(error.key.len() + error.problem.len() < 4096, "{error:?}");
            }
            assert!(!errors.to_string().contains(char::is_control), "{errors}");
        }
    }
    // A Struct with a flag in it is no JSON and the other way round, but for a
    // few bytes that are both; JSON is asked first.
    if let Ok(Value::Object(map)) = serde_json::from_slice(bytes) {
        let wire = encode(&map);
        if serde_json::from_slice::<Value>(&wire).is_err() && !wire.is_empty() {
            let from_struct = PluginConfig::parse(&wire).map(|config| format!("{config:?}"));
            let from_json = parsed.map(|config| format!("{config:?}"));
            assert_eq!(from_struct.ok(), from_json.ok());
        }
    }
});

fn accepted(config: &PluginConfig) {
    let plain = |text: &str| {
        (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    assert!(plain(&config.service));
    let mut types = config.cache.types.iter().flatten();
    assert!(types.all(|(_, label)| plain(label)));
    for family in config.signals.families() {
        assert!(
            family
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        );
    }
    assert!((1..=100_000).contains(&config.max_series));
    assert!((10..=60_000).contains(&config.flush_interval_ms));
    let bounds = config.buckets.bounds();
    assert!((1..=MAX_BOUNDS).contains(&bounds.len()));
    assert!(bounds.is_sorted_by(|a, b| a < b));

    // Configured twice, as on a canary and a worker, it shows the same.
    let proxy = Proxy::default();
    for _ in 0..2 {
        let mut recorder = Recorder::new(config.clone(), 1);
        recorder.configure(&proxy).expect("nothing fails");
        recorder.tick(&proxy);
    }
    let limit = format!("gatemeter_series_limit.service={}", config.service);
    assert_eq!(proxy.values().get(&limit), Some(&config.max_series.into()));
    let counts = proxy.shared_data(&format!("gatemeter.{}.series", config.service));
    assert!(counts.is_ok_and(|counts| counts.is_some()));
}

/// `google.protobuf.Struct` in its wire format.
fn encode(map: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in map {
        let mut entry = Vec::new();
        push(&mut entry, 1, key.as_bytes());
        push(&mut entry, 2, &encode_value(value));
        push(&mut out, 1, &entry);
    }
    out
}

fn encode_value(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Null => out.extend([8, 0]),
        Value::Bool(flag) => out.extend([32, u8::from(*flag)]),
        Value::Number(number) => {
            out.push(17);
            out.extend(number.as_f64().unwrap_or(0.0).to_le_bytes());
        }
        Value::String(text) => push(&mut out, 3, text.as_bytes()),
        Value::Object(map) => push(&mut out, 5, &encode(map)),
        Value::Array(items) => {
            let mut list = Vec::new();
            for item in items {
                push(&mut list, 1, &encode_value(item));
            }
            push(&mut out, 6, &list);
        }
    }
    out
}

fn push(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("seven bits"));
    out.extend_from_slice(bytes);
}
