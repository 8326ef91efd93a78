//! The vendors' cache words: a line says what its members say one by one, in
//! upper and lower case, whatever follows the first word.
#![no_main]

use gatemeter_core::signals::cache_words::read;
use gatemeter_core::signals::{CacheResult, Room};
use gatemeter_fuzz::has_room;
use libfuzzer_sys::fuzz_target;

fn results(line: &[u8]) -> (Vec<CacheResult>, bool) {
    let mut results = Vec::new();
    let read = read(line, &mut Room::default(), |result| results.push(result));
    (results, read.is_ok())
}

fuzz_target!(|line: &[u8]| {
    let (found, whole) = results(line);
    assert!(found.len() <= 64);
    if !whole {
        assert!(!has_room(line));
        return;
    }
    let mut one_by_one = Vec::new();
    for member in line.split(|byte| *byte == b',') {
        let (mut result, whole) = results(member);
        assert!(whole && result.len() <= 1);
        if let [result] = result[..] {
            let text = String::from_utf8_lossy(member);
            let word = text
                .split([' ', '\t', '/', ';', '('])
                .find(|word| !word.is_empty());
            let word = word.unwrap_or_default().to_uppercase();
            // Nobody says hit of a miss, nor miss of a hit.
            assert!(!result.is_hit() || !word.contains("MISS"), "{word}");
            assert!(!result.is_miss() || !word.ends_with("_HIT"), "{word}");
        }
        one_by_one.append(&mut result);
    }
    assert_eq!(found, one_by_one);
    assert_eq!(results(&line.to_ascii_uppercase()).0, found);
    assert_eq!(results(&line.to_ascii_lowercase()).0, found);
});
