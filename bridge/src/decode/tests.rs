use std::{collections::BTreeMap, fmt::Write as _};

use gatemeter_core::catalog;
use proptest::prelude::*;

use super::{
    line::{Bound, EnvoyStat, Line, Meaning},
    stats::{Role, Stats, Told},
    *,
};
use crate::families::LabelSet;

fn decode(body: &[u8]) -> (Stats, Told) {
    let mut stats = Stats::default();
    let told = next(&mut stats, &[body]);
    (stats, told)
}

/// The next answer, in these pieces.
fn next(stats: &mut Stats, pieces: &[&[u8]]) -> Told {
    stats.begin();
    for piece in pieces {
        stats.feed(piece);
    }
    stats.end()
}

/// How many stats are kept.
fn kept(stats: &Stats) -> usize {
    stats.entries().iter().map(|entry| entry.stats()).sum()
}

fn dropped(body: &[u8]) -> Vec<(DropReason, u64)> {
    decode(body).1.dropped.into_iter().collect()
}

/// All that is kept, in an order of its own.
fn all(stats: &Stats) -> Vec<String> {
    let mut all = Vec::new();
    for entry in stats.entries() {
        let name = format!("{:?} {} {:?}", entry.role, entry.service, entry.labels);
        if !entry.is_binned() {
            all.push(format!("{name}: {}", entry.value));
        }
        for &bin in &entry.bins {
            all.push(format!("{name} {:?}: {}", stats.bound(bin), bin.count));
        }
    }
    all.sort();
    all
}

#[test]
fn reads_stats_of_the_filter_and_of_envoy() {
    let body = b"http.api.downstream_rq_active: 3\n\
        wasmcustom.cache_hits_total.service=api.cache_type=redis: 8934\n";
    let (stats, told) = decode(body);
    let [of_envoy, of_filter] = stats.entries() else {
        panic!("{stats:?}")
    };
    assert_eq!(of_envoy.role, Role::Envoy(EnvoyStat::RequestsActive));
    assert_eq!((&*of_envoy.service, of_envoy.value), ("api", 3));
    let Role::Listed(stat, _) = of_filter.role else {
        panic!("{of_filter:?}")
    };
    assert_eq!(stat, &catalog::CACHE_HITS);
    assert_eq!(&*of_filter.service, "api");
    assert_eq!(of_filter.labels.text(), "cache_type=\"redis\"");
    assert_eq!(of_filter.value, 8934);
    assert!(told.dropped.is_empty());
}

#[test]
fn passes_over_what_is_not_ours() {
    let body = b"cluster.api.upstream_rq_total: 7\n\
        wasmcustom.other_module_total: 1\n\
        wasmcustom.other module: 1\n\
        http.api.downstream_rq_time: No recorded values\n\
        http.a.b.downstream_rq_active: 1\n\
        wasmcustom.http_request_duration_ms.service=api.method=GET.path=/: P0(nan,1) P100(nan,9)\n";
    let (stats, told) = decode(body);
    assert!(stats.entries().is_empty());
    assert!(told.dropped.is_empty());
    assert_eq!(told.readable, 6);
}

#[test]
fn drops_and_counts_each_kind_of_bad_line_and_keeps_its_neighbours() {
    let ticks = "wasmcustom.gatemeter_filter_ticks_total.service";
    for (line, reason) in [
        (format!("{ticks}=api"), DropReason::BadLine),
        (format!("{ticks}=api:5"), DropReason::BadLine),
        ("wasmcustom.some name".to_owned(), DropReason::BadLine),
        (format!("{ticks}=%41: 5"), DropReason::BadName),
        (format!("{ticks}=a.b=c: 5"), DropReason::BadName),
        (format!("{ticks}=api: "), DropReason::BadValue),
        (format!("{ticks}=api: 5.0"), DropReason::BadValue),
        (format!("{ticks}=api: +5"), DropReason::BadValue),
        (format!("{ticks}=api: -5"), DropReason::BadValue),
        (format!("{ticks}=api: 5 "), DropReason::BadValue),
        (format!("{ticks}=api: 5\r"), DropReason::BadValue),
        (
            format!("{ticks}=api: 18446744073709551616"),
            DropReason::BadValue,
        ),
        (format!("{ticks}=a%0Ab: 5"), DropReason::ControlCharacter),
        (format!("{ticks}=a%7Fb: 5"), DropReason::ControlCharacter),
        (
            "wasmcustom.db_connections_idle.service=api: 18446744073709551596".to_owned(),
            DropReason::NegativeGauge,
        ),
        (
            "http.api.downstream_rq_active: 9223372036854775808".to_owned(),
            DropReason::NegativeGauge,
        ),
        (
            "wasmcustom.gatemeter_bucket_bound.service=api.metric=x.le=1: 1".to_owned(),
            DropReason::BadBound,
        ),
        (
            "wasmcustom.gatemeter_bucket_bound.service=api.metric=x.le=NaN: 1".to_owned(),
            DropReason::BadBound,
        ),
        (
            "http.good.downstream_rq_active: 8".to_owned(),
            DropReason::Duplicate,
        ),
        (format!("{ticks}=good: 9"), DropReason::Duplicate),
    ] {
        let body = format!("http.good.downstream_rq_active: 7\n{line}\n{ticks}=good: 9\n");
        let mut stats = Stats::default();
        // As it is met first, and where its neighbours are known and expected.
        for _ in 0..2 {
            let told = next(&mut stats, &[body.as_bytes()]);
            let dropped: Vec<_> = told.dropped.iter().map(|(r, n)| (*r, *n)).collect();
            assert_eq!(dropped, [(reason, 1)], "{line:?}");
            let [of_envoy, of_filter] = stats.entries() else {
                panic!("{stats:?}")
            };
            assert_eq!((of_envoy.value, of_filter.value), (7, 9), "{line:?}");
        }
    }
    assert_eq!(
        dropped(b"wasmcustom.x\xff: 1\nhttp.api.downstream_rq_active: 1\n"),
        [(DropReason::NotUtf8, 1)]
    );
}

#[test]
fn reads_bounds_in_nanoseconds_and_one_without() {
    let body = b"wasmcustom.gatemeter_bucket_bound.service=api.metric=x.le=2.5: 1\n\
        wasmcustom.gatemeter_bucket_bound.service=b.metric=x.le=2.5: 1\n\
        wasmcustom.gatemeter_bucket_bound.service=api.metric=x.le=+Inf: 1\n\
        wasmcustom.gatemeter_filter_ticks_total.service=api: 1\n";
    let (stats, _) = decode(body);
    let bounds: Vec<Vec<_>> = stats
        .entries()
        .iter()
        .map(|entry| entry.bins.iter().map(|&bin| stats.bound(bin)).collect())
        .collect();
    let finite = Bound::Nanoseconds(2_500_000_000);
    assert_eq!(
        bounds,
        [vec![finite, Bound::Infinity], vec![finite], vec![]]
    );
    assert_eq!(stats.entries()[0].labels.text(), "metric=\"x\"");
}

#[test]
fn keeps_a_counter_that_is_nearly_worn_out() {
    let body = b"wasmcustom.gatemeter_filter_ticks_total.service=api: 18446744073709551615\n";
    assert_eq!(decode(body).0.entries()[0].value, u64::MAX);
}

#[test]
fn asks_envoy_for_exactly_the_stats_that_are_read() {
    let query = STATS_PATH.strip_prefix("/stats?filter=").unwrap();
    let mut regex = String::new();
    let mut rest = query.chars();
    while let Some(c) = rest.next() {
        if c == '%' {
            let hex: String = rest.by_ref().take(2).collect();
            regex.push(char::from(u8::from_str_radix(&hex, 16).unwrap()));
        } else {
            assert!(c.is_ascii_alphanumeric() || "._".contains(c), "{c}");
            regex.push(c);
        }
    }
    assert_eq!(
        regex,
        r"^(wasmcustom\.|http\.[^.]+\.downstream_(rq_active|rq_tx_reset|cx_[rt]x_bytes_total)$|wasm\.(wasm_vm_count|.+\.(created|vm_reload_(success|failure|backoff)))$|server\.uptime$)"
    );
}

proptest! {
    #[test]
    fn any_bytes_decode_to_stats_and_counted_drops(body: Vec<u8>) {
        let _ = decode(&body);
    }

    #[test]
    fn every_line_of_ours_is_kept_or_counted(
        lines in proptest::collection::vec(
            "(wasmcustom\\.gatemeter_filter_ticks_total\\.service=[a-c%0A.=]{1,4}\
              |http\\.[a-c%0A=]{1,4}\\.downstream_rq_(active|tx_reset))(: |:)?[0-9-]{0,21}",
            0..20,
        ),
    ) {
        let body = lines.join("\n");
        let (stats, told) = decode(body.as_bytes());
        let dropped: u64 = told.dropped.values().sum();
        prop_assert_eq!(kept(&stats) + usize::try_from(dropped).unwrap(), lines.len());
    }

    #[test]
    fn what_is_known_from_other_answers_and_where_pieces_are_cut_change_nothing(
        answers in proptest::collection::vec(any_answer(), 1..5),
        length in 1_usize..80,
        unfinished in any_answer(),
    ) {
        let mut known = Stats::default();
        for answer in &answers {
            known.begin();
            known.feed(unfinished.as_bytes());
            let pieces: Vec<&[u8]> = answer.as_bytes().chunks(length).collect();
            let told = next(&mut known, &pieces);
            let (expected, told_first) = reference(answer);
            prop_assert_eq!(all(&known), expected);
            prop_assert_eq!(told.dropped, told_first.dropped);
            prop_assert_eq!(told.readable, told_first.readable);
        }
    }
}

/// The plainest way to read an answer: every line by itself, and each name's
/// first number.
fn reference(answer: &str) -> (Vec<String>, Told) {
    let mut told = Told::default();
    let mut numbers: BTreeMap<&str, String> = BTreeMap::new();
    for text in answer.split('\n').filter(|text| !text.is_empty()) {
        let parsed = line::parse(text);
        told.readable += u64::from(!matches!(parsed, Err(DropReason::BadLine)));
        let refused = match parsed {
            Ok(line) if numbers.contains_key(line.name) => match line.meaning {
                Meaning::Unlisted(_) | Meaning::Passed => None,
                _ => Some(DropReason::Duplicate),
            },
            Ok(line) => {
                numbers.extend(shown(&line).map(|shown| (line.name, shown)));
                None
            }
            Err(reason) => Some(reason),
        };
        if let Some(reason) = refused {
            *told.dropped.entry(reason).or_default() += 1;
        }
    }
    let mut all: Vec<String> = numbers.into_values().collect();
    all.sort();
    (all, told)
}

/// A line as `all` shows what is kept of it.
fn shown(line: &Line<'_>) -> Option<String> {
    let value = line.value;
    Some(match &line.meaning {
        Meaning::Passed => return None,
        Meaning::Envoy(service, stat) => {
            format!("{:?} {service} {{}}: {value}", Role::Envoy(*stat))
        }
        Meaning::State(_) => format!("{:?}  {{}}: {value}", Role::Uptime),
        Meaning::Listed(listed) => {
            let role = Role::Listed(listed.stat, listed.metric);
            let values = listed.values.iter().skip(1).map(AsRef::<str>::as_ref);
            let labels = LabelSet::new(listed.stat.labels.iter().copied().skip(1).zip(values));
            let bound = listed
                .bound
                .map_or(String::new(), |(b, _)| format!(" {b:?}"));
            let service = &listed.values[0];
            format!("{role:?} {service} {labels:?}{bound}: {value}")
        }
        Meaning::Unlisted(unlisted) => {
            let role = Role::Unlisted(unlisted.stat.into());
            let labels = unlisted.labels.iter();
            let labels = LabelSet::new(labels.map(|(n, v)| ((*n).to_owned(), v.as_ref())));
            let bound = unlisted
                .bound
                .map_or(String::new(), |(b, _)| format!(" {b:?}"));
            let service = &unlisted.service;
            format!("{role:?} {service} {labels:?}{bound}: {value}")
        }
    })
}

/// Lines of all kinds, right and wrong, few enough to come again.
fn any_answer() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        8 => "wasmcustom\\.http_request_duration_seconds_bin\\.service=[ab]\\.method=GET\
              \\.path=/[ab]\\.status=[25]00\\.le=(0\\.001|0\\.005|1\\.0|1|\\+Inf)",
        4 => "wasmcustom\\.(cache_hits_total|no_such)\\.service=[ab]\\.cache_type=(r|%2E|%41|%0A)",
        2 => "wasmcustom\\.(db_connections_idle|gatemeter_filter_ticks_total|no_such)\\.service=[ab]",
        2 => "wasmcustom\\.no_such\\.service=[ab]\\.x=y\\.le=(0\\.5|0\\.50|\\+Inf)",
        1 => "http\\.[ab]\\.downstream_(rq_active|rq_tx_reset)",
        1 => "server\\.uptime|cluster\\.x|é|",
    ];
    let value = prop_oneof![
        6 => "(: )[0-9]{1,3}",
        1 => "(: |:| )(0005|18446744073709551615|18446744073709551616|-1|1 |\r|)",
    ];
    let line = (name, value).prop_map(|(name, value)| format!("{name}{value}"));
    (prop::collection::vec(line, 0..25), any::<bool>()).prop_map(|(lines, is_sorted)| {
        let mut lines = lines;
        if is_sorted {
            lines.sort();
        }
        let mut answer = String::new();
        for line in lines {
            let _ = writeln!(answer, "{line}");
        }
        answer
    })
}

#[test]
fn a_line_longer_than_any_is_dropped_wherever_it_is_cut() {
    let long = format!("wasmcustom.x.service=a: {}", "1".repeat(70_000));
    let body =
        format!("http.a.downstream_rq_active: 1\n{long}\nhttp.b.downstream_rq_active: 2\n{long}");
    for length in [body.len(), 1000, 65_536] {
        let mut stats = Stats::default();
        let pieces: Vec<&[u8]> = body.as_bytes().chunks(length).collect();
        let told = next(&mut stats, &pieces);
        assert_eq!(kept(&stats), 2);
        assert_eq!(told.dropped, BTreeMap::from([(DropReason::BadLine, 2)]));
        assert_eq!(told.readable, 2);
    }
}

#[test]
fn keeps_nothing_of_what_envoy_no_longer_has() {
    let mut stats = Stats::default();
    let answer = |generation: usize| {
        let mut answer = "wasmcustom.gatemeter_filter_ticks_total.service=a: 1\n".to_owned();
        for bin in 0..50 {
            let _ = writeln!(
                answer,
                "wasmcustom.http_request_duration_seconds_bin.service=s{generation}.method=GET.path=/{generation}.status=200.le={bin}.{}1: 1",
                generation + 1
            );
        }
        answer
    };
    for generation in 0..40 {
        next(&mut stats, &[answer(generation).as_bytes()]);
        assert_eq!(stats.entries().len(), 2);
        assert_eq!(kept(&stats), 51);
    }
    let sizes = stats.sizes();
    assert!(sizes.iter().all(|size| *size <= 51), "{sizes:?}");
}

#[test]
fn an_answer_that_says_nothing_readable_is_told_from_an_empty_one() {
    let mut stats = Stats::default();
    for (pieces, is_unreadable) in [
        (&[][..], false),
        (&["", ""][..], false),
        (&["\n"][..], true),
        (&["<html>", "\n</html>"][..], true),
        (&["<html>\n", "a", ": 1"][..], false),
        (&["a: 1\n<html>"][..], false),
    ] {
        stats.begin();
        pieces.iter().for_each(|piece| stats.feed(piece.as_bytes()));
        assert_eq!(stats.is_unreadable(), is_unreadable, "{pieces:?}");
    }
}
