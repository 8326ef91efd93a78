use std::collections::BTreeMap;

use gatemeter_bridge::{
    exposition::{self, Format, Part, Scope},
    families::Reading,
};
use gatemeter_core::{
    buckets::{GUIDE_BOUNDS, INFINITY, spell_seconds},
    catalog::{
        BUCKET_BOUND, ENVOY_NAMESPACE, REQUEST_DURATION, REQUEST_DURATION_BIN,
        REQUEST_DURATION_SUM, Stat,
    },
    stat_name,
};
use prometheus_parse::{Scrape, Value};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Bin {
    service: String,
    method: String,
    path: String,
    status: u16,
    /// Index into the bounds; beyond the last is the bin without a bound.
    bound: usize,
    count: u64,
}

fn any_bin() -> impl Strategy<Value = Bin> {
    (
        prop::sample::select(vec!["api", "playback", "a-b"]),
        prop::sample::select(vec!["GET", "POST", "_OTHER"]),
        // The parser splits at an equals sign in a value and knows no escapes.
        prop::sample::select(vec!["/", "/api/content/:id", "/v1.2/x y", "/%41/é"]),
        prop::sample::select(vec![200_u16, 404, 499, 503]),
        0..=BOUNDS.len(),
        // Counts whose sums are still exact as the parser's f64.
        0_u64..1 << 40,
    )
        .prop_map(|(service, method, path, status, bound, count)| Bin {
            service: service.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            status,
            bound,
            count,
        })
}

/// The guide's, and some that are in use only in part of the cases.
const BOUNDS: [u64; 14] = {
    let mut bounds = [0; 14];
    let mut at = 0;
    while at < GUIDE_BOUNDS.len() {
        bounds[at] = GUIDE_BOUNDS[at];
        at += 1;
    }
    bounds[11] = 3_000_001;
    bounds[12] = 700_000_000;
    bounds[13] = 60_000_000_000;
    bounds
};

fn line(stat: &Stat, values: &[&str], value: u64) -> String {
    let name = stat_name::encode(stat, values).unwrap();
    format!("{ENVOY_NAMESPACE}{name}: {value}\n")
}

fn stats(bins: &[Bin], in_use: &[bool], sums: bool) -> String {
    let mut by_name: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    for bin in bins {
        let le = BOUNDS
            .get(bin.bound)
            .map_or(INFINITY.to_owned(), |&bound| spell_seconds(bound.into()));
        let key = vec![
            bin.service.clone(),
            bin.method.clone(),
            bin.path.clone(),
            bin.status.to_string(),
            le,
        ];
        *by_name.entry(key).or_default() += bin.count;
    }
    let mut text = String::new();
    for (key, count) in &by_name {
        let values: Vec<&str> = key.iter().map(String::as_str).collect();
        text += &line(&REQUEST_DURATION_BIN, &values, *count);
        if sums && !text.contains(&format!("sum.service={}.method={}", key[0], key[1])) {
            text += &line(&REQUEST_DURATION_SUM, &values[..3], 1_500_000_001);
        }
    }
    for (&bound, &used) in BOUNDS.iter().zip(in_use) {
        let le = spell_seconds(bound.into());
        text += &line(&BUCKET_BOUND, &["api", REQUEST_DURATION, &le], used.into());
    }
    text
}

fn parse(page: &str) -> Scrape {
    Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).unwrap()
}

fn key(labels: &prometheus_parse::Labels) -> [String; 3] {
    ["service", "method", "path"].map(|name| labels.get(name).unwrap_or_default().to_owned())
}

proptest! {
    #[test]
    fn every_count_equals_the_sum_of_the_requests_over_status(
        bins in prop::collection::vec(any_bin(), 0..60),
        in_use in prop::collection::vec(any::<bool>(), BOUNDS.len()),
        sums: bool,
    ) {
        let text = stats(&bins, &in_use, sums);
        let reading = Reading::of(text.as_bytes(), &BTreeMap::new());
        prop_assert!(reading.dropped.is_empty());
        let page = exposition::page(&[Part::plain(&reading.families)], Scope::All, Format::Text);

        let mut expected: BTreeMap<[String; 3], u64> = BTreeMap::new();
        for bin in &bins {
            let key = [bin.service.clone(), bin.method.clone(), bin.path.clone()];
            *expected.entry(key).or_default() += bin.count;
        }
        let mut requests: BTreeMap<[String; 3], f64> = BTreeMap::new();
        let mut counts: BTreeMap<[String; 3], f64> = BTreeMap::new();
        for sample in &parse(&page).samples {
            match (&sample.metric[..], &sample.value) {
                ("http_requests_total", Value::Counter(value)) => {
                    *requests.entry(key(&sample.labels)).or_default() += value;
                }
                ("http_request_duration_seconds_count", Value::Untyped(value)) => {
                    counts.insert(key(&sample.labels), *value);
                }
                ("http_request_duration_seconds", Value::Histogram(buckets)) => {
                    let bounds: Vec<_> = buckets.iter().map(|bucket| bucket.less_than).collect();
                    prop_assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
                    let counts: Vec<_> = buckets.iter().map(|bucket| bucket.count).collect();
                    prop_assert!(counts.is_sorted(), "{counts:?}");
                    let last = buckets.last().map(|bucket| (bucket.less_than, bucket.count));
                    let total = expected[&key(&sample.labels)] as f64;
                    prop_assert_eq!(last, Some((f64::INFINITY, total)));
                }
                _ => {}
            }
        }
        prop_assert_eq!(&requests, &counts);
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(key, count)| (key, count as f64)).collect();
        prop_assert_eq!(requests, expected);
    }
}
