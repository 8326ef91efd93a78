//! `google.protobuf.Struct` in its wire format (Protocol Buffers, "Encoding";
//! `google/protobuf/struct.proto`) as the JSON value it stands for.
//!
//! Envoy hands a plugin configuration that is a Struct over as it was encoded,
//! not as JSON. Three message types do not pay for a protobuf library in the
//! module. What is not exactly a Struct is refused as a whole.

use serde_json::{Map, Number, Value};

use super::fields::whole_number;

/// Nesting beyond this is refused, as serde_json does for text.
const DEEPEST: usize = 64;

/// The object that these bytes encode; `None` where they are no Struct.
pub(super) fn decode(bytes: &[u8]) -> Option<Value> {
    object(bytes, DEEPEST)
}

/// Struct: field 1, repeated, is an entry of a map: field 1 the key, 2 the value.
fn object(bytes: &[u8], depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let mut map = Map::new();
    for field in Fields(bytes) {
        let (1, Payload::Bytes(entry)) = field? else {
            return None;
        };
        let (mut key, mut entry_value) = (String::new(), Value::Null);
        for field in Fields(entry) {
            match field? {
                (1, Payload::Bytes(text)) => key = str::from_utf8(text).ok()?.to_owned(),
                (2, Payload::Bytes(encoded)) => entry_value = value(encoded, depth)?,
                _ => return None,
            }
        }
        map.insert(key, entry_value);
    }
    Some(Value::Object(map))
}

/// Value: one field, which says the type; the last one counts.
fn value(bytes: &[u8], depth: usize) -> Option<Value> {
    let mut found = Value::Null;
    for field in Fields(bytes) {
        found = match field? {
            (1, Payload::Number(0)) => Value::Null,
            (2, Payload::Bits(bits)) => number(f64::from_bits(bits))?,
            (3, Payload::Bytes(text)) => Value::from(str::from_utf8(text).ok()?),
            (4, Payload::Number(flag)) => Value::from(flag != 0),
            (5, Payload::Bytes(encoded)) => object(encoded, depth)?,
            (6, Payload::Bytes(encoded)) => list(encoded, depth)?,
            _ => return None,
        };
    }
    Some(found)
}

/// A Struct knows only floating-point numbers; a whole one is shown as such.
fn number(number: f64) -> Option<Value> {
    whole_number(number)
        .map(Number::from)
        .or_else(|| Number::from_f64(number))
        .map(Value::Number)
}

/// ListValue: field 1, repeated, is an item.
fn list(bytes: &[u8], depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let items = Fields(bytes).map(|field| match field? {
        (1, Payload::Bytes(item)) => value(item, depth),
        _ => None,
    });
    items.collect::<Option<Vec<Value>>>().map(Value::Array)
}

/// The fields of one message; `None` for one that is malformed, which ends them.
struct Fields<'a>(&'a [u8]);

/// What a field holds, by its wire type.
enum Payload<'a> {
    /// Wire type 0.
    Number(u64),
    /// Wire type 1.
    Bits(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Payload<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u64, Payload<'a>)> {
        let tag = self.varint()?;
        let payload = match tag & 7 {
            0 => Payload::Number(self.varint()?),
            1 => {
                let (bits, rest) = self.0.split_first_chunk::<8>()?;
                self.0 = rest;
                Payload::Bits(u64::from_le_bytes(*bits))
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Payload::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, payload))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
