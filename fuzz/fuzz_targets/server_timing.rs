//! `Server-Timing`: what is timed is what a plain rewrite of the rules finds,
//! to the nanosecond as far as a binary fraction can tell.
#![no_main]

use gatemeter_core::signals::Room;
use gatemeter_core::signals::server_timing::{LONGEST, read};
use gatemeter_fuzz::has_room;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let mut found = Vec::new();
    let read = read(line, &mut Room::default(), |name, nanos| {
        found.push((name, nanos));
    });
    assert!(found.len() <= 32);
    if !has_room(line) {
        return;
    }

    let mut whole = true;
    let mut expected = Vec::new();
    for member in members(line) {
        let name = token(&member[0]);
        if name.is_empty() && member.len() == 1 && member[0].trim_ascii().is_empty() {
            continue;
        }
        let timed = member[1..].iter().find_map(|parameter| duration(parameter));
        match timed {
            _ if name.is_empty() => whole = false,
            None => {}
            Some(Some(millis)) => expected.push((name.to_vec(), millis)),
            Some(None) => whole = false,
        }
    }
    assert_eq!(read.is_ok(), whole);
    assert_eq!(found.len(), expected.len());
    for ((name, nanos), (expected, millis)) in found.iter().zip(&expected) {
        assert_eq!(name, expected);
        assert!(
            (*nanos as f64 / 1e6 - millis).abs() <= 1e-6,
            "{nanos} {millis}"
        );
    }
});

/// The members of the list, each as its parts between semicolons.
fn members(line: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut members = vec![vec![Vec::new()]];
    let (mut quoted, mut escaped) = (false, false);
    for byte in line {
        let member = members.last_mut().expect("a member");
        match byte {
            b',' if !quoted => members.push(vec![Vec::new()]),
            b';' if !quoted => member.push(Vec::new()),
            _ => member.last_mut().expect("a part").push(*byte),
        }
        if quoted && escaped {
            escaped = false;
        } else if quoted && *byte == b'\\' {
            escaped = true;
        } else if *byte == b'"' {
            quoted = !quoted;
        }
    }
    members
}

fn token(part: &[u8]) -> &[u8] {
    let part = part.trim_ascii_start();
    let delimiter = |byte: &u8| !byte.is_ascii_graphic() || b"\"(),/:;<=>?@[\\]{}".contains(byte);
    &part[..part.iter().position(delimiter).unwrap_or(part.len())]
}

/// Milliseconds of a `dur`, `Some(None)` where it is no duration.
fn duration(parameter: &[u8]) -> Option<Option<f64>> {
    let name = token(parameter);
    if !name.eq_ignore_ascii_case(b"dur") {
        return None;
    }
    let rest = &parameter.trim_ascii_start()[name.len()..];
    let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") else {
        return Some(None);
    };
    let mut value = value.trim_ascii_start().to_vec();
    if value.first() == Some(&b'"') {
        let mut content = Vec::new();
        let mut bytes = value[1..].iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => break,
                b'\\' => content.push(*bytes.next().unwrap_or(byte)),
                _ => content.push(*byte),
            }
        }
        value = content;
    }
    let text: String = value
        .trim_ascii_start()
        .iter()
        .map(|byte| char::from(*byte))
        .collect();
    let number = (0..=text.len()).rev().find_map(|end| {
        let number = text.get(..end)?;
        let decimal = number
            .bytes()
            .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        Some((number, decimal.then(|| number.parse::<f64>().ok())??))
    });
    let believed = |(number, millis): &(&str, f64)| {
        let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
        let nothing = mantissa.bytes().all(|byte| b"+-.0".contains(&byte));
        // Half a nanosecond beyond the limit is rounded to it.
        let limit = LONGEST as f64 / 1e6 + 0.000_000_499;
        *millis <= limit && (nothing || !number.starts_with('-'))
    };
    Some(number.filter(believed).map(|(_, millis)| millis))
}
