//! Plugin configurations that somebody got nearly right, and bytes that are
//! none: each is taken, or refused with one line in the log, and a refused one
//! leaves the one before in use.

use std::collections::HashSet;

use gatemeter_host_tests::{Envoy, Request};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Number, Value, json};

use crate::{counted, flushed, gatemeter, get};

/// Longest line that a refusal may log, in bytes.
const LONGEST_LINE: usize = 16 * 1024;

/// A proxy that takes whatever it is given, or goes on with what it had.
struct Subject {
    envoy: Envoy,
    requests: u64,
    /// What was refused, which a proxy does not try out again.
    refused: HashSet<Vec<u8>>,
}

impl Subject {
    #[track_caller]
    fn new() -> Self {
        let envoy = gatemeter()
            .configure(json!({"service": "api", "routes": ["/a/:id"]}))
            .unwrap_or_else(|refused| panic!("{refused}"));
        Self {
            envoy,
            requests: 0,
            refused: HashSet::new(),
        }
    }

    /// Gives it `configuration`, and asserts what is to hold in any case; says
    /// whether it was taken.
    fn try_out(&mut self, configuration: &[u8]) -> Result<bool, TestCaseError> {
        if self.refused.contains(configuration) {
            return Ok(false);
        }
        let before = self.envoy.logs().len();
        // A request that is open meanwhile counts by what it came under.
        let open = self.envoy.worker(0).request(Request::get("/a/1"));
        let outcome = self.envoy.reconfigure(configuration.to_vec());
        let lines = self.envoy.logs().split_off(before);
        match &outcome {
            Ok(()) => prop_assert_eq!(lines, []),
            Err(refused) => {
                self.refused.insert(configuration.to_vec());
                let trap = refused.trap.as_ref().map(ToString::to_string);
                prop_assert_eq!(trap, None);
                prop_assert_eq!(lines.len(), 1, "{:?}", lines);
                let line = &lines[0].message;
                prop_assert!(line.len() <= LONGEST_LINE, "a line of {} bytes", line.len());
                prop_assert!(!line.contains(char::is_control), "{:?}", line);
            }
        }
        open.respond(200, [("cache-status", "redis; hit")]);
        open.finish();
        get(&self.envoy.worker(0), "/a/2", 404);
        self.requests += 2;
        self.envoy.tick();
        prop_assert_eq!(counted(&self.envoy.stats()), self.requests);
        prop_assert_eq!(self.envoy.contexts(), 2, "one root a thread");
        Ok(outcome.is_ok())
    }

    #[track_caller]
    fn expect(&mut self, configuration: &[u8]) -> bool {
        self.try_out(configuration)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Values that stand where another kind is wanted.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| Number::from_f64(number).map_or(Value::Null, Value::Number)),
        any::<String>().prop_map(Value::from),
        "[a-z/:{}*?$()+\\\\]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{0,8}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn mostly(valid: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![40 => valid, 1 => anything()].boxed()
}

fn list(item: impl Strategy<Value = Value> + 'static, most: usize) -> BoxedStrategy<Value> {
    mostly(prop::collection::vec(mostly(item), 0..most).prop_map(Value::from))
}

fn template() -> impl Strategy<Value = Value> {
    let segment = prop_oneof![
        60 => "[a-z0-9.~-]{1,8}",
        20 => ":[a-z_]{1,6}",
        8 => "\\{[a-z]{1,6}\\}",
        1 => "\\*|:|\\{\\}",
        1 => "\\PC{0,3}",
    ];
    let length = prop_oneof![20 => 0..6_usize, 1 => 20..40_usize];
    length
        .prop_flat_map(move |length| prop::collection::vec(segment.clone(), length))
        .prop_map(|segments| Value::from(format!("/{}", segments.join("/"))))
}

fn rule() -> impl Strategy<Value = Value> {
    let pattern = prop_oneof![
        8 => Just("/\\d+".to_owned()),
        1 => "(\\(\\?:)?[a-z.\\\\(\\[\\])|*+?{}0-9^$]{0,16}",
        2 => "[a-z]{1,3}\\{[0-9]{1,6}\\}",
        1 => "\\PC{0,10}",
    ];
    let replacement = prop_oneof![Just("/:id".to_owned()), "[$a-z{}0-9/]{0,10}", "\\PC{0,5}"];
    (pattern, replacement)
        .prop_map(|(pattern, replacement)| json!({"match": pattern, "replace": replacement}))
}

fn bounds() -> impl Strategy<Value = Value> {
    let bound = prop_oneof![
        60 => (1_u64..10_000_000).prop_map(|micros| json!(micros as f64 / 1e6)),
        1 => (0.0..100_f64).prop_map(Value::from),
        1 => any::<f64>().prop_map(|number| Number::from_f64(number).map_or(Value::Null, Value::Number)),
        1 => "[0-9.e+-]{0,8}".prop_map(Value::from),
    ];
    prop::collection::vec(bound, 1..25).prop_map(|mut bounds| {
        bounds.sort_by(|one, other| {
            let number = |value: &Value| value.as_f64().unwrap_or_default();
            number(one).total_cmp(&number(other))
        });
        Value::from(bounds)
    })
}

/// Configurations with the keys that there are, mostly with values as they
/// should be.
fn configuration() -> impl Strategy<Value = Value> {
    let service = prop_oneof![
        8 => Just("api".to_owned()),
        8 => "[a-zA-Z0-9_-]{1,64}",
        1 => "\\PC{0,70}",
    ];
    let names = prop::collection::hash_map(
        "\\PC{0,8}",
        mostly("[a-zA-Z0-9_-]{1,64}".prop_map(Value::from)),
        0..6,
    );
    let cache =
        names.prop_map(|types| json!({"types": types.into_iter().collect::<Map<String, Value>>()}));
    let strip = prop_oneof![
        Just("x-db-pool"),
        Just("Cache-Status"),
        Just("server-timing"),
        Just("server")
    ];
    let keys: Vec<(&str, BoxedStrategy<Value>)> = vec![
        ("service", mostly(service.prop_map(Value::from))),
        ("routes", list(template(), 12)),
        ("exclude", list(template(), 4)),
        ("path_rules", list(rule(), 5)),
        ("max_series", mostly((0_u32..110_000).prop_map(Value::from))),
        ("buckets", mostly(bounds())),
        ("cache", mostly(cache)),
        ("strip", list(strip.prop_map(Value::from), 5)),
        (
            "native_histogram",
            mostly(any::<bool>().prop_map(Value::from)),
        ),
        (
            "flush_interval_ms",
            mostly((0_u32..61_000).prop_map(Value::from)),
        ),
    ];
    let chosen = keys.into_iter().map(|(key, value)| {
        prop::option::weighted(if key == "service" { 0.95 } else { 0.4 }, value)
            .prop_map(move |value| value.map(|value| (key.to_owned(), value)))
    });
    let unknown = prop::option::weighted(0.05, ("[a-z_]{0,12}", anything()));
    (chosen.collect::<Vec<_>>(), unknown).prop_map(|(keys, unknown)| {
        Value::Object(keys.into_iter().flatten().chain(unknown).collect())
    })
}

/// `google.protobuf.Struct` of an object, in its wire format.
fn encode_struct(object: &Map<String, Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in object {
        let entry = [field(1, key.as_bytes()), field(2, &encode_value(value))].concat();
        bytes.extend(field(1, &entry));
    }
    bytes
}

fn encode_value(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => vec![1 << 3, 0],
        Value::Number(number) => {
            let bits = number.as_f64().unwrap_or_default().to_le_bytes();
            [&[2 << 3 | 1], bits.as_slice()].concat()
        }
        Value::String(text) => field(3, text.as_bytes()),
        Value::Bool(flag) => vec![4 << 3, u8::from(*flag)],
        Value::Object(object) => field(5, &encode_struct(object)),
        Value::Array(items) => {
            let items: Vec<u8> = items
                .iter()
                .flat_map(|item| field(1, &encode_value(item)))
                .collect();
            field(6, &items)
        }
    }
}

/// A field of wire type 2.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2];
    let mut length = bytes.len();
    loop {
        let byte = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        if length == 0 {
            encoded.push(byte);
            break;
        }
        encoded.push(byte | 0x80);
    }
    encoded.extend_from_slice(bytes);
    encoded
}

fn wire_forms(configuration: &Value) -> Vec<Vec<u8>> {
    let mut forms = vec![configuration.to_string().into_bytes()];
    forms.extend(configuration.as_object().map(encode_struct));
    forms
}

/// A change of some bytes.
#[derive(Debug, Clone)]
enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |index: &Index| index.index(bytes.len() + 1);
        match self {
            Self::Set(index, byte) => {
                let at = at(index);
                bytes
                    .get_mut(at)
                    .into_iter()
                    .for_each(|place| *place = *byte);
            }
            Self::Flip(index, bit) => {
                let at = at(index);
                bytes
                    .get_mut(at)
                    .into_iter()
                    .for_each(|place| *place ^= 1 << (bit % 8));
            }
            Self::Insert(index, text) => {
                let at = at(index);
                bytes.splice(at..at, text.iter().copied());
            }
            Self::Remove(index, count) => {
                let at = at(index);
                bytes.drain(at..(at + count).min(bytes.len()));
            }
            Self::Repeat(index, count) => {
                let at = at(index);
                let part = bytes[at..(at + count).min(bytes.len())].repeat(3);
                bytes.splice(at..at, part);
            }
            Self::Cut(index) => bytes.truncate(at(index)),
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<Index>;
    let token = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..4),
        prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\u0000", "\\ud800", "1e999", "-0", "null", "\0",
        ])
        .prop_map(|token| token.as_bytes().to_vec()),
    ];
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(index, byte)| Mutation::Set(index, byte)),
        (index(), any::<u8>()).prop_map(|(index, bit)| Mutation::Flip(index, bit)),
        (index(), token).prop_map(|(index, token)| Mutation::Insert(index, token)),
        (index(), 1_usize..20).prop_map(|(index, count)| Mutation::Remove(index, count)),
        (index(), 1_usize..20).prop_map(|(index, count)| Mutation::Repeat(index, count)),
        index().prop_map(Mutation::Cut),
    ]
}

/// Runs `test` on many values of `strategy` with one proxy, and says how many
/// configurations were taken and refused.
#[track_caller]
fn fuzz<S: Strategy>(
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> Vec<Vec<u8>>,
) -> (usize, usize) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let subject = std::cell::RefCell::new(Subject::new());
    let outcomes = std::cell::Cell::new((0, 0));
    let result = runner.run(strategy, |value| {
        for bytes in test(value) {
            let (taken, refused) = outcomes.get();
            let outcome = subject.borrow_mut().try_out(&bytes);
            if outcome.is_err() {
                // What goes before must not spoil the search for a smaller one.
                *subject.borrow_mut() = Subject::new();
            }
            outcomes.set(match outcome? {
                true => (taken + 1, refused),
                false => (taken, refused + 1),
            });
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    flushed(&subject.borrow().envoy);
    outcomes.get()
}

#[test]
fn a_configuration_of_the_schema_or_near_it_is_taken_or_refused() {
    let (taken, refused) = fuzz(256, &configuration(), |value| wire_forms(&value));
    assert!(
        taken > 20 && refused > 20,
        "{taken} taken, {refused} refused"
    );
}

#[test]
fn a_configuration_with_some_bytes_changed_is_taken_or_refused() {
    let mutated = (configuration(), prop::collection::vec(mutation(), 1..5));
    let (_, refused) = fuzz(192, &mutated, |(value, mutations)| {
        let mut forms = wire_forms(&value);
        for bytes in &mut forms {
            for mutation in &mutations {
                mutation.apply(bytes);
            }
        }
        forms
    });
    assert!(refused > 20, "{refused} refused");
}

#[test]
fn any_bytes_are_taken_or_refused() {
    let bytes = prop::collection::vec(any::<u8>(), 0..400);
    fuzz(128, &bytes, |bytes| vec![bytes]);
}

#[test]
fn each_prefix_of_a_configuration_is_refused() {
    let whole = json!({
        "service": "api",
        "routes": ["/a/:id", "/b/*"],
        "path_rules": [{"match": "/\\d+", "replace": "/:id"}],
        "buckets": [0.5, 1, 2.5],
        "cache": {"types": {"redis": "redis"}},
        "strip": ["x-db-pool"],
    });
    let mut subject = Subject::new();
    let text = whole.to_string();
    for end in 0..text.len() {
        let prefix = &text.as_bytes()[..end];
        assert!(!subject.expect(prefix), "{}", &text[..end]);
    }
    // A Struct has no end of its own: cut between two entries it is one.
    let encoded = whole.as_object().map(encode_struct).unwrap_or_default();
    for end in 0..encoded.len() {
        subject.expect(&encoded[..end]);
    }
    assert!(subject.expect(&encoded));
}

#[test]
fn deep_nesting_is_refused() {
    let mut subject = Subject::new();
    for depth in [100, 127, 128, 129, 10_000, 200_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let unclosed = open.repeat(depth);
            let inside = format!("{{\"service\":\"api\",\"routes\":{nested}}}");
            for text in [nested, unclosed, inside] {
                assert!(!subject.expect(text.as_bytes()), "{depth} times {open}");
            }
        }
        let mut list = encode_value(&json!(1));
        let mut object = encode_struct(&Map::new());
        for _ in 0..depth.min(10_000) {
            list = field(6, &field(1, &list));
            object = field(1, &[field(1, b"a"), field(2, &field(5, &object))].concat());
        }
        let lists = field(1, &[field(1, b"routes"), field(2, &list)].concat());
        for bytes in [lists, object] {
            assert!(!subject.expect(&bytes), "a Struct of depth {depth}");
        }
    }
}

#[test]
fn a_mebibyte_of_configuration_is_taken_or_refused() {
    const MEBIBYTE: usize = 1024 * 1024;
    let mut subject = Subject::new();
    let routes = |count: usize| -> Vec<String> {
        (0..count)
            .map(|number| format!("/route-{number}/:id"))
            .collect()
    };
    let large = json!({"service": "api", "routes": routes(10_000)}).to_string();
    let large = large + &" ".repeat(MEBIBYTE);
    assert!(subject.expect(large.as_bytes()));
    let refused = [
        json!({"service": "api", "routes": routes(MEBIBYTE / 24)}).to_string(),
        json!({"service": "api", "strip": vec!["x"; MEBIBYTE / 4]}).to_string(),
        " ".repeat(MEBIBYTE),
        format!("\"{}\"", "a".repeat(MEBIBYTE)),
        json!({"service": "a".repeat(MEBIBYTE)}).to_string(),
        json!({"service": "api", "a".repeat(MEBIBYTE): 1}).to_string(),
        json!({"service": "api", "routes": vec!["no path"; MEBIBYTE / 10]}).to_string(),
        json!({"service": "api", "routes": vec!["/same"; MEBIBYTE / 10]}).to_string(),
        json!({"service": "api", "buckets": vec![1; MEBIBYTE / 2]}).to_string(),
        json!({"service": "api", "path_rules": [{"match": "(".repeat(MEBIBYTE), "replace": ""}]})
            .to_string(),
        json!({"service": "api", "path_rules": vec![0; MEBIBYTE / 2]}).to_string(),
    ];
    for text in refused {
        let shown: String = text.chars().take(60).collect();
        assert!(!subject.expect(text.as_bytes()), "{shown}");
    }
    let unknown: Map<String, Value> = (0..MEBIBYTE / 12)
        .map(|number| (format!("k{number}"), Value::Null))
        .collect();
    assert!(!subject.expect(Value::Object(unknown).to_string().as_bytes()));
    // Zero bytes are no fields of a Struct, and so is a field of no end.
    assert!(!subject.expect(&vec![0; MEBIBYTE]));
    assert!(!subject.expect(&vec![0xff; MEBIBYTE]));
    assert!(
        !subject.expect(
            &[
                &[0x0a, 0xff, 0xff, 0xff, 0x7f],
                vec![b'a'; MEBIBYTE].as_slice()
            ]
            .concat()
        )
    );
}
