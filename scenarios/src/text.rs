//! Text and bytes as a scenario writes them, and headers made of both.
//!
//! HTTP allows bytes that are not UTF-8, and YAML does not. So wherever a text
//! may stand, `{bytes: '...'}` may stand too: in it `\xNN` is one byte and `\\`
//! a backslash. Nothing else is escaped.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// A header: name in lower case, value; both as they go over the wire.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Bytes, written as text or as `{bytes: '...'}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

/// Headers in their order; a list of values repeats the header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<Pair>);

/// Shows bytes on one line, what is no printable ASCII as `\xNN`.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let byte = after
            .strip_prefix('x')
            .and_then(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok());
        if let Some(byte) = byte {
            bytes.push(byte);
            rest = &after[3..];
        } else if let Some(after) = after.strip_prefix('\\') {
            bytes.push(b'\\');
            rest = after;
        } else {
            return Err(format!(
                "bytes: `{text}` has a backslash before something else; expected \\xNN or \\\\"
            ));
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a whole number or {bytes: '...'}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.as_bytes().to_vec()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string().into_bytes()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
                let mut text = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "bytes" {
                        return Err(de::Error::unknown_field(&key, &["bytes"]));
                    }
                    text = Some(map.next_value::<String>()?);
                }
                let text = text.ok_or_else(|| de::Error::missing_field("bytes"))?;
                unescape(&text).map(Text).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// One value, or a list of them.
struct Values(Vec<Text>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValuesVisitor;
        impl<'de> Visitor<'de> for ValuesVisitor {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a header's value (text, a whole number or {bytes: '...'}) or a list of values",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Values, E> {
                Ok(Values(vec![Text(text.as_bytes().to_vec())]))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Values, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Values, A::Error> {
                let text = Text::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Values(vec![text]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_any(ValuesVisitor)
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named: Pairs<String, Values> = Pairs::deserialize(deserializer)?;
        let mut headers = Vec::new();
        for (name, Values(values)) in named.0 {
            let name = name.to_ascii_lowercase().into_bytes();
            headers.extend(values.into_iter().map(|value| (name.clone(), value.0)));
        }
        Ok(Self(headers))
    }
}

/// A mapping in its order; a key that stands twice is refused.
pub(crate) struct Pairs<K, V>(pub(crate) Vec<(K, V)>);

impl<K, V> Default for Pairs<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, K, V> Deserialize<'de> for Pairs<K, V>
where
    K: Deserialize<'de> + PartialEq + fmt::Display,
    V: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<K, V>(PhantomData<(K, V)>);
        impl<'de, K, V> Visitor<'de> for PairsVisitor<K, V>
        where
            K: Deserialize<'de> + PartialEq + fmt::Display,
            V: Deserialize<'de>,
        {
            type Value = Pairs<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs: Vec<(K, V)> = Vec::new();
                while let Some(key) = map.next_key::<K>()? {
                    if pairs.iter().any(|(known, _)| *known == key) {
                        return Err(de::Error::custom(format!("`{key}` stands twice")));
                    }
                    let value = map.next_value()?;
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

/// Reads a scalar by [`FromStr`], however YAML would type it.
pub(crate) fn parsed<'de, D, T>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    struct Parsed<T>(&'static str, PhantomData<T>);
    impl<T: FromStr> Visitor<'_> for Parsed<T>
    where
        T::Err: fmt::Display,
    {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(de::Error::custom)
        }
    }
    deserializer.deserialize_str(Parsed(expected, PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_numbers_and_escaped_bytes_are_bytes() {
        let read = |yaml| serde_yaml_ng::from_str::<Text>(yaml).map(|text| text.0);
        assert_eq!(read("plain").unwrap(), b"plain");
        assert_eq!(read("12").unwrap(), b"12");
        assert_eq!(read(r"{bytes: 'a\xff\x00\\x'}").unwrap(), b"a\xff\0\\x");
        let error = read(r"{bytes: 'a\n'}").unwrap_err().to_string();
        assert!(error.contains(r"expected \xNN or \\"), "{error}");
        let error = read("{byte: a}").unwrap_err().to_string();
        assert!(
            error.contains("unknown field `byte`, expected `bytes`"),
            "{error}"
        );
        assert_eq!(shown(b"a\xff\\"), r"a\xff\\");
    }

    #[test]
    fn headers_keep_their_order_and_a_list_repeats_one() {
        let headers: Headers =
            serde_yaml_ng::from_str("{X-B: 1, a: [x, {bytes: '\\xfe'}], c: ''}").unwrap();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"x-b", b"1"), (b"a", b"x"), (b"a", b"\xfe"), (b"c", b"")];
        let expected = expected.map(|(name, value)| (name.to_vec(), value.to_vec()));
        assert_eq!(headers.0, expected);
        let twice = serde_yaml_ng::from_str::<Headers>("a: 1\nb: 2\na: 3\n");
        let error = twice.unwrap_err().to_string();
        assert!(error.contains("`a` stands twice"), "{error}");
    }
}
