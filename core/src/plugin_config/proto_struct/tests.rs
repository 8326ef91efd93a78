use super::*;
use proptest::prelude::*;
use serde_json::json;

/// The other direction, for the tests.
fn encode(value: &Value) -> Vec<u8> {
    let Value::Object(map) = value else {
        panic!("no object");
    };
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
            out.extend(number.as_f64().unwrap().to_le_bytes());
        }
        Value::String(text) => push(&mut out, 3, text.as_bytes()),
        Value::Object(_) => push(&mut out, 5, &encode(value)),
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
        out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out.extend_from_slice(bytes);
}

#[test]
fn reads_every_type_of_value() {
    let value = json!({
        "text": "x".repeat(300),
        "number": 0.005,
        "whole": 5000,
        "negative": -7,
        "flag": true,
        "nothing": null,
        "list": [1, "a", [], {}],
        "object": {"redis": "redis"},
    });
    assert_eq!(decode(&encode(&value)), Some(value));
}

#[test]
fn shows_a_number_as_whole_only_where_it_is() {
    for (given, shown) in [
        (-0.0, "0"),
        (0.5, "0.5"),
        (-1e18, "-1000000000000000000"),
        (9_223_372_036_854_774_784.0, "9223372036854774784"),
        (9_223_372_036_854_775_808.0, "9.223372036854776e+18"),
    ] {
        assert_eq!(number(given).unwrap().to_string(), shown);
    }
    assert_eq!(number(f64::NAN), None);
    assert_eq!(number(f64::INFINITY), None);
}

#[test]
fn refuses_what_is_no_struct() {
    for bytes in [
        b"{}".as_slice(),
        b"\n{",
        b"\x0a",
        b"\x0a\x05\x0a",
        b"\x0a\x01\xff",
        b"\x12\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert_eq!(decode(bytes), None, "{bytes:?}");
    }
}

#[test]
fn refuses_nesting_without_end() {
    let nested = |depth: usize| {
        let mut bytes = Vec::new();
        for _ in 0..depth {
            let (mut value, mut entry, mut object) = (Vec::new(), Vec::new(), Vec::new());
            push(&mut value, 5, &bytes);
            push(&mut entry, 1, b"a");
            push(&mut entry, 2, &value);
            push(&mut object, 1, &entry);
            bytes = object;
        }
        bytes
    };
    assert!(decode(&nested(DEEPEST - 1)).is_some());
    assert_eq!(decode(&nested(DEEPEST)), None);
    assert_eq!(decode(&nested(10_000)), None);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
        let _ = decode(&bytes);
    }
}
