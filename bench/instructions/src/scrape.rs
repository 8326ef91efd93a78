//! What a scrape does in the bridge between two sockets: Envoy's answer to a
//! reading, a reading to a page.

use std::{collections::BTreeMap, hint::black_box, time::Instant};

use gatemeter_bridge::{
    exposition::{self, Format, Part, Scope},
    families::{Decoder, Reading},
};
use gatemeter_core::{
    buckets::{GUIDE_BOUNDS, INFINITY, spell_seconds},
    stat_name,
};

/// 41 stats each: 10,004.
const ROUTES: usize = 244;

/// As much as one read of a socket gives.
const PIECE: usize = 64 << 10;

pub(crate) fn decode_first(rounds: u32) -> usize {
    let answer = answer();
    for _ in 0..rounds {
        black_box(read(&mut Decoder::new(None), &answer));
    }
    stats(&answer)
}

pub(crate) fn decode_again(rounds: u32) -> usize {
    let answer = answer();
    let mut decoder = Decoder::new(None);
    read(&mut decoder, &answer);
    for _ in 0..rounds {
        black_box(read(&mut decoder, &answer));
    }
    stats(&answer)
}

pub(crate) fn encode_text(rounds: u32) -> usize {
    encode(Format::Text, rounds)
}

pub(crate) fn encode_openmetrics(rounds: u32) -> usize {
    encode(Format::OpenMetrics, rounds)
}

fn encode(format: Format, rounds: u32) -> usize {
    let reading = read(&mut Decoder::new(None), &answer());
    let parts = [Part::plain(&reading.families)];
    // The buffers are there from the page before, as they are in the bridge.
    let page = exposition::pieces(&parts, Scope::All, format);
    let lines = page.iter().map(|piece| piece.lines().count()).sum();
    drop(page);
    for _ in 0..rounds {
        black_box(exposition::pieces(&parts, Scope::All, format));
    }
    lines
}

fn read(decoder: &mut Decoder, answer: &str) -> Reading {
    decoder.begin();
    for piece in answer.as_bytes().chunks(PIECE) {
        decoder.feed(piece);
    }
    decoder.finish(&BTreeMap::new(), Instant::now())
}

fn stats(answer: &str) -> usize {
    answer.lines().count()
}

/// Sorted, as Envoy prints it; observations in every bin.
fn answer() -> String {
    let mut names = Vec::new();
    for route in 0..ROUTES {
        let path = format!("/api/route-{route}/:id");
        for method in ["GET", "POST"] {
            let base = [("service", "api"), ("method", method), ("path", &path)];
            names.push(name("http_request_duration_nanoseconds_sum", &base, &[]));
        }
        for (method, status) in [("GET", "200"), ("GET", "404"), ("POST", "200")] {
            let base = [("service", "api"), ("method", method), ("path", &path)];
            names.push(name("http_requests_total", &base, &[("status", status)]));
            let bounds = GUIDE_BOUNDS.map(|bound| spell_seconds(bound.into()));
            for le in bounds.iter().map(String::as_str).chain([INFINITY]) {
                let more = [("status", status), ("le", le)];
                names.push(name("http_request_duration_seconds_bin", &base, &more));
            }
        }
    }
    names.sort();
    let lines = names.iter().zip(0_u64..);
    lines
        .map(|(name, place)| format!("wasmcustom.{name}: {}\n", 1_000 + place * 7_919 % 100_000))
        .collect()
}

fn name(stat: &str, base: &[(&str, &str)], more: &[(&str, &str)]) -> String {
    let labels = base.iter().chain(more).copied();
    // No name here is too long.
    stat_name::encode_labels(stat, labels).unwrap_or_default()
}
