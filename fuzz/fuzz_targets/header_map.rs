//! The serialized header map: what is read stands in the bytes, and a map that
//! a host serialized is read back whole, cut or not.
#![no_main]

use gatemeter_core::header_map::HeaderMap;
use gatemeter_fuzz::proxy::serialize;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let pairs: Vec<_> = HeaderMap::new(bytes).collect();
    let read: usize = pairs
        .iter()
        .map(|(name, value)| name.len() + value.len() + 10)
        .sum();
    assert!(read <= bytes.len());
    assert_eq!(pairs, plainly(bytes));

    let again = serialize(pairs.iter().copied());
    assert_eq!(HeaderMap::new(&again).collect::<Vec<_>>(), pairs);
    if let Some(cut) = bytes.first().map(|cut| usize::from(*cut) % again.len()) {
        let whole: Vec<_> = HeaderMap::new(&again[..cut]).collect();
        assert!(pairs.starts_with(&whole));
        assert!(whole.len() < pairs.len() || pairs.is_empty());
    }
});

/// The same by index; what does not fit ends it.
fn plainly(bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let number = |at: usize| -> Option<usize> {
        let bytes = bytes.get(at..at.checked_add(4)?)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let Some(count) = number(0) else {
        return Vec::new();
    };
    let mut data = 4 + 8 * count;
    let mut pairs = Vec::new();
    if data > bytes.len() {
        return pairs;
    }
    for index in 0..count {
        let mut text = |size: Option<usize>| {
            let end = data.checked_add(size?)?;
            let text = bytes.get(data..end)?;
            bytes.get(end)?;
            data = end + 1;
            Some(text)
        };
        let name = text(number(4 + 8 * index));
        let (Some(name), Some(value)) = (name, text(number(8 + 8 * index))) else {
            break;
        };
        pairs.push((name, value));
    }
    pairs
}
