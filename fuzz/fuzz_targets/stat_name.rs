//! The codec of stat names: what it writes is bounded, in its alphabet and read
//! back as it was; what it reads is exactly what it writes.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use gatemeter_core::buckets::Buckets;
use gatemeter_core::catalog::{CATALOG, LE, Stat};
use gatemeter_core::stat_name::{EncodeError, MAX_LENGTH, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(name) = str::from_utf8(bytes) {
        read(name);
    }
    let _ = write(&mut Unstructured::new(bytes));
});

fn read(name: &str) {
    let Ok(decoded) = decode(name) else { return };
    let values: Vec<&str> = decoded.values.iter().map(AsRef::as_ref).collect();
    match encode(decoded.stat, &values) {
        Ok(again) => assert_eq!(again, name),
        Err(EncodeError::TooLong(length)) => assert_eq!(length, name.len()),
        Err(error) => panic!("{error}"),
    }
}

fn write(input: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let stats: Vec<&Stat> = CATALOG.iter().flat_map(|metric| metric.stats).collect();
    let stat = *input.choose(&stats)?;
    let mut values = Vec::new();
    for label in stat.labels {
        values.push(if *label == LE {
            let bound = u64::arbitrary(input)?.max(1);
            let bounds = Buckets::try_new(vec![bound]).expect("one bound above zero");
            bounds.spelled(usize::from(bool::arbitrary(input)?))
        } else {
            String::arbitrary(input)?
        });
    }
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    match encode(stat, &values) {
        Ok(name) => {
            assert!(name.len() <= MAX_LENGTH);
            let in_alphabet = |b: u8| b.is_ascii_alphanumeric() || b"/:-_~*%.=+".contains(&b);
            assert!(name.bytes().all(in_alphabet), "{name}");
            let decoded = decode(&name).expect("what was encoded");
            assert_eq!(decoded.stat, stat);
            assert_eq!(decoded.values, values);
        }
        Err(EncodeError::TooLong(length)) => assert!(length > MAX_LENGTH),
        Err(error) => panic!("{error}"),
    }
    Ok(())
}
