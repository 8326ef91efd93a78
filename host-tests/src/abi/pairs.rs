//! How a map of headers crosses the boundary: the number of pairs, all sizes,
//! then names and values, each followed by a zero byte; numbers are 32 bits,
//! little-endian (Proxy-Wasm 0.2.1, "Serialized maps").
//!
//! A map without pairs is not serialised at all: the host answers a null
//! pointer and size 0, as Envoy does.

use super::Status;

/// One header: name and value as bytes, since HTTP allows every byte above
/// 0x7f in a value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Writes `pairs` as the ABI wants them.
///
/// # Panics
///
/// If a name or a value is longer than 4 GiB, which no linear memory holds.
#[must_use]
pub fn serialize(pairs: &[Pair]) -> Vec<u8> {
    let length = |bytes: &[u8]| {
        u32::try_from(bytes.len())
            .expect("a header is shorter than 4 GiB")
            .to_le_bytes()
    };
    let size = pairs
        .iter()
        .map(|(name, value)| name.len() + value.len() + 10)
        .sum::<usize>();
    let mut out = Vec::with_capacity(4 + size);
    let count = u32::try_from(pairs.len()).expect("fewer than 2^32 headers");
    out.extend_from_slice(&count.to_le_bytes());
    for (name, value) in pairs {
        out.extend_from_slice(&length(name));
        out.extend_from_slice(&length(value));
    }
    for (name, value) in pairs {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    }
    out
}

/// Reads a map that a module wrote. Nothing at all is an empty map.
///
/// # Errors
///
/// [`Status::PARSE_FAILURE`] where a size points past the end.
pub fn deserialize(bytes: &[u8]) -> Result<Vec<Pair>, Status> {
    fn number(bytes: &[u8], at: usize) -> Result<usize, Status> {
        let end = at.checked_add(4).ok_or(Status::PARSE_FAILURE)?;
        let slice = bytes.get(at..end).ok_or(Status::PARSE_FAILURE)?;
        let array = <[u8; 4]>::try_from(slice).map_err(|_| Status::PARSE_FAILURE)?;
        usize::try_from(u32::from_le_bytes(array)).map_err(|_| Status::PARSE_FAILURE)
    }
    fn text(bytes: &[u8], at: &mut usize, size: usize) -> Result<Vec<u8>, Status> {
        let end = at.checked_add(size).ok_or(Status::PARSE_FAILURE)?;
        let slice = bytes.get(*at..end).ok_or(Status::PARSE_FAILURE)?;
        *at = end + 1;
        Ok(slice.to_vec())
    }
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let count = number(bytes, 0)?;
    let sizes = count.checked_mul(8).ok_or(Status::PARSE_FAILURE)?;
    let mut at = 4 + sizes;
    if bytes.len() < at {
        return Err(Status::PARSE_FAILURE);
    }
    let mut pairs = Vec::with_capacity(count);
    for index in 0..count {
        let name = number(bytes, 4 + index * 8)?;
        let value = number(bytes, 8 + index * 8)?;
        let name = text(bytes, &mut at, name)?;
        let value = text(bytes, &mut at, value)?;
        pairs.push((name, value));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::{Pair, deserialize, serialize};
    use crate::abi::Status;

    fn pair(name: &[u8], value: &[u8]) -> Pair {
        (name.to_vec(), value.to_vec())
    }

    #[test]
    fn what_is_written_is_read_back_byte_for_byte() {
        let all_bytes: Vec<u8> = (0..=255).collect();
        let pairs = vec![pair(b":path", b"/"), pair(b"", b""), pair(b"x", &all_bytes)];
        assert_eq!(deserialize(&serialize(&pairs)), Ok(pairs));
    }

    #[test]
    fn the_layout_is_the_one_of_the_specification() {
        assert_eq!(
            serialize(&[pair(b"a", b"bc")]),
            b"\x01\0\0\0\x01\0\0\0\x02\0\0\0a\0bc\0"
        );
    }

    #[test]
    fn a_size_past_the_end_is_refused() {
        let mut bytes = serialize(&[pair(b"a", b"b")]);
        bytes[4] = 200;
        assert_eq!(deserialize(&bytes), Err(Status::PARSE_FAILURE));
        assert_eq!(deserialize(&[255; 4]), Err(Status::PARSE_FAILURE));
        assert_eq!(deserialize(&[1, 0]), Err(Status::PARSE_FAILURE));
    }
}
