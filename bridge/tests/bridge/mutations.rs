use std::{cell::Cell, collections::BTreeSet};

use http::StatusCode;
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

use crate::{
    Bridge,
    client::{Answer, get_with},
    fake_admin::{Does, FakeAdmin, ok},
    faults::serves,
    validators::{OPENMETRICS, RECORDED, client_page, samples, service_says},
};

/// One change to an answer.
#[derive(Clone, Debug)]
enum Mutation {
    Cut(Index, usize),
    Double(Index, usize),
    Flip(Index, u8),
    Insert(Index, &'static [u8]),
    SwapLines(Index, Index),
}

/// What has a meaning somewhere between Envoy and the page.
const MEANINGFUL: [&[u8]; 28] = [
    b"\n",
    b"\r\n",
    b"\n\n",
    b": ",
    b":",
    b" ",
    b"=",
    b".",
    b"%",
    b"%2E",
    b"%0A",
    b"%00",
    b"%FF",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"#",
    b"\0",
    b"\x7f",
    b"\xff",
    b"\xc3",
    b"\xe2\x80\xa8",
    b"-",
    b"18446744073709551616",
    b"NaN",
    b".le=",
    b".service=",
];

fn any_mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    prop_oneof![
        (place(), 1..200_usize).prop_map(|(at, length)| Mutation::Cut(at, length)),
        (place(), 1..200_usize).prop_map(|(at, length)| Mutation::Double(at, length)),
        (place(), any::<u8>()).prop_map(|(at, mask)| Mutation::Flip(at, mask)),
        (place(), prop::sample::select(MEANINGFUL.to_vec()))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (place(), place()).prop_map(|(one, other)| Mutation::SwapLines(one, other)),
    ]
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let range = |at: &Index, length: usize| {
            let at = at.index(bytes.len());
            at..(at + length).min(bytes.len())
        };
        match self {
            Self::Cut(at, length) => {
                bytes.drain(range(at, *length));
            }
            Self::Double(at, length) => {
                let range = range(at, *length);
                let twice = bytes[range.clone()].to_vec();
                bytes.splice(range.start..range.start, twice);
            }
            Self::Flip(at, mask) => {
                let at = at.index(bytes.len());
                bytes[at] ^= mask;
            }
            Self::Insert(at, insert) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, insert.iter().copied());
            }
            Self::SwapLines(one, other) => {
                let mut lines: Vec<_> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
                let (one, other) = (one.index(lines.len()), other.index(lines.len()));
                lines.swap(one, other);
                *bytes = lines.concat();
            }
        }
    }
}

/// A page with everything or with nothing, and what it says is one or the other.
fn is_page_or_error(all: &Answer, service: &Answer) {
    // What a panic while decoding comes to.
    assert!(
        !service.text().contains("cannot be decoded"),
        "{}",
        service.text()
    );
    assert_eq!(all.status, StatusCode::OK);
    match all.value("gatemeter_up") {
        Some(1.0) => {
            assert_ne!(service.status, StatusCode::SERVICE_UNAVAILABLE);
            let text = all.text();
            let series = text.lines().filter(|line| !line.starts_with('#'));
            let names: Vec<_> = series.filter_map(|line| line.rsplit_once(' ')).collect();
            let different: BTreeSet<_> = names.iter().map(|(series, _)| series).collect();
            assert_eq!(names.len(), different.len(), "a series stands twice");
        }
        up => {
            assert_eq!(up, Some(0.0));
            assert!(!all.text().contains("service="), "{}", all.text());
            assert_eq!(service.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(!service.text().contains("# TYPE"), "{}", service.text());
        }
    }
}

/// Runs the bridge against many mutations of what `of` makes of them, and gives
/// the last pages to the strict parser.
fn survives(cases: u32, of: fn(Vec<u8>, &[Mutation]) -> Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let admin = runtime.block_on(FakeAdmin::serving(RECORDED));
    let bridge = runtime.block_on(Bridge::start(&admin.url()));
    let accept = [("accept", OPENMETRICS)];
    let pages = Cell::new(0_u32);
    let mutations = prop::collection::vec(any_mutation(), 1..30);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases));
    let outcome = runner.run(&mutations, |mutations| {
        let answer = of(RECORDED.as_bytes().to_vec(), &mutations);
        admin.does(Does::Send(answer));
        let (all, service) = runtime.block_on(async {
            (
                get_with(bridge.address, "/metrics", &accept).await,
                get_with(bridge.address, "/metrics/api", &accept).await,
            )
        });
        is_page_or_error(&all, &service);
        if all.value("gatemeter_up") == Some(1.0) {
            pages.set(pages.get() + 1);
            if pages.get() % 16 == 1 {
                samples("openmetrics", &all.text());
            }
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(pages.get() > 0, "no mutation left a page");
    admin.does(Does::Send(ok(crate::STATS.as_bytes())));
    runtime.block_on(async {
        serves(&bridge, "mutations").await;
        bridge.end().await;
    });
}

#[test]
fn any_mutation_of_real_stats_gives_a_valid_page_or_an_error() {
    survives(200, |mut stats, mutations| {
        mutations
            .iter()
            .for_each(|mutation| mutation.apply(&mut stats));
        ok(&stats)
    });
}

#[test]
fn any_mutation_of_a_services_own_page_gives_a_valid_page() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let pages = ["text", "openmetrics"].map(|format| (format, client_page(format)));
    let admin = runtime.block_on(FakeAdmin::serving(RECORDED));
    let service = runtime.block_on(FakeAdmin::serving(""));
    let yaml = format!(
        "envoy: {{admin: '{}'}}\nsources: [{{service: api, url: '{}/metrics'}}]\n",
        admin.url(),
        service.url()
    );
    let bridge = runtime.block_on(Bridge::start_from(&yaml));
    let accept = [("accept", OPENMETRICS)];
    let (seen, cases_done) = (Cell::new(0_u32), Cell::new(0_u32));
    let cases = (
        prop::collection::vec(any_mutation(), 1..10),
        prop::sample::select(pages.to_vec()),
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(300));
    let outcome = runner.run(&cases, |(mutations, (format, page))| {
        let mut page = page.into_bytes();
        mutations
            .iter()
            .for_each(|mutation| mutation.apply(&mut page));
        service.does(service_says(format, &page));
        let (all, one) = runtime.block_on(async {
            (
                get_with(bridge.address, "/metrics", &accept).await,
                get_with(bridge.address, "/metrics/api", &accept).await,
            )
        });
        is_page_or_error(&all, &one);
        // Whatever a service says, what Envoy says of it stays.
        let reads = all.value("gatemeter_up");
        prop_assert_eq!(reads, Some(1.0));
        let logins = one.value("auth_attempts_total{result=\"success\"}");
        prop_assert_eq!(logins, Some(42.0));
        if all.text().contains("jobs_total{") {
            seen.set(seen.get() + 1);
        }
        cases_done.set(cases_done.get() + 1);
        if cases_done.get() % 6 == 0 {
            samples("openmetrics", &all.text());
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(seen.get() > 0, "no mutation left anything of the page");
    runtime.block_on(bridge.end());
}

#[test]
fn any_mutation_of_a_real_answer_gives_a_valid_page_or_an_error() {
    survives(200, |stats, mutations| {
        // In the head and around the first chunks, where HTTP is.
        let mut answer = ok(&stats);
        let rest = answer.split_off(3000);
        mutations
            .iter()
            .take(2)
            .for_each(|mutation| mutation.apply(&mut answer));
        answer.extend(rest);
        answer
    });
}
