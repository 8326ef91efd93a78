//! The bridge's way from Envoy's `/stats` to the pages: any bytes make pages
//! that can be read back, on which no series stands twice and the histograms
//! agree with the request counters; what is not shown is counted.
#![no_main]

use std::collections::BTreeMap;
use std::time::Instant;

use gatemeter_bridge::decode::DropReason;
use gatemeter_bridge::exposition::{Format, Part, Scope, page};
use gatemeter_bridge::families::{Decoder, Family, Number, Point, Reading, Series};
use gatemeter_core::buckets::{INFINITY, spell_seconds};
use gatemeter_core::catalog;
use gatemeter_fuzz::page;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let own_scrapes = BTreeMap::from([("api".to_owned(), 1)]);
    let reading = Reading::of(body, &own_scrapes);
    let dropped = |reason| reading.dropped.get(&reason).copied().unwrap_or(0);
    let unreadable = dropped(DropReason::BadLine) + dropped(DropReason::NotUtf8);
    let lines = body
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty());
    assert_eq!(reading.readable + unreadable, lines.count() as u64);
    let refused: u64 = reading.dropped.values().sum();
    assert!(refused - unreadable <= reading.readable);
    let twice = dropped(DropReason::Duplicate) > 0;
    assert!(reading.families.len() >= shown_families());
    known_or_new(body, &reading, &own_scrapes);
    totals_agree(&reading);
    let parts = [Part::plain(&reading.families)];
    for format in [Format::Text, Format::OpenMetrics] {
        let is_openmetrics = format == Format::OpenMetrics;
        let all = page(&parts, Scope::All, format);
        assert_eq!(page::read(&all, is_openmetrics), expected(&reading, None));
        for service in reading.services.iter().take(4) {
            let one = page(&parts, Scope::Service(service), format);
            let read = page::read(&one, is_openmetrics);
            assert_eq!(read, expected(&reading, Some(service)));
        }
    }
    if !twice {
        let mut backwards: Vec<_> = body.split(|&byte| byte == b'\n').collect();
        backwards.reverse();
        let backwards = backwards.join(&b'\n');
        let other = Reading::of(&backwards, &own_scrapes);
        assert_eq!(
            other.families, reading.families,
            "the order of the lines matters"
        );
    }
});

/// A decoder that knows half of the answer, an answer that was cut, or all of
/// it, reads it as one that knows nothing, however it is cut.
fn known_or_new(body: &[u8], first: &Reading, own_scrapes: &BTreeMap<String, u64>) {
    let mut decoder = Decoder::new(None);
    let length = body.len() % 61 + 1;
    for (part, is_whole) in [
        (&body[..body.len() / 2], true),
        (&body[body.len() / 3..], false),
        (body, true),
        (body, true),
    ] {
        decoder.begin();
        part.chunks(length).for_each(|piece| decoder.feed(piece));
        if is_whole {
            let reading = decoder.finish(own_scrapes, Instant::now());
            if part.len() == body.len() {
                assert_eq!(reading.families, first.families);
                assert_eq!(reading.dropped, first.dropped);
                assert_eq!(reading.readable, first.readable);
                assert_eq!(reading.envoy, first.envoy);
            }
        }
    }
}

fn shown_families() -> usize {
    let is_shown = |metric: &&catalog::Metric| {
        metric.page != catalog::Page::None && metric.origin != catalog::Origin::Bridge
    };
    catalog::CATALOG.iter().filter(is_shown).count()
}

fn family<'r>(reading: &'r Reading, name: &str) -> &'r Family {
    let found = reading.families.iter().find(|family| family.name == name);
    found.expect("every family stands on the page")
}

/// Requests by service, method and path are the count of the histogram, the
/// buckets rise, and no bucket is above the count.
fn totals_agree(reading: &Reading) {
    type Sums<'r> = BTreeMap<(&'r str, Vec<&'r str>), u128>;
    fn key(series: &Series) -> (&str, Vec<&str>) {
        let service = series.service.as_deref().unwrap_or_default();
        let values = series.labels.iter().take(2);
        (service, values.map(|(_, value)| value).collect())
    }
    let (mut requests, mut counts) = (Sums::new(), Sums::new());
    for series in &family(reading, "http_requests_total").series {
        match series.point {
            Point::Number(Number::Whole(value)) => {
                *requests.entry(key(series)).or_default() += value;
            }
            _ => panic!("a counter that is no whole number"),
        }
    }
    for series in &family(reading, "http_request_duration_seconds").series {
        let Point::Histogram(histogram) = &series.point else {
            panic!("a histogram that is none");
        };
        let buckets: Vec<_> = histogram.buckets().collect();
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        assert!(
            buckets
                .last()
                .is_none_or(|(_, count)| *count <= histogram.count())
        );
        assert!(counts.insert(key(series), histogram.count()).is_none());
    }
    for (key, count) in &counts {
        assert_eq!(requests.get(key), Some(count), "{key:?}");
    }
}

/// Every sample that the page must show, and no other.
fn expected(reading: &Reading, only: Option<&str>) -> BTreeMap<page::Key, String> {
    let mut samples = BTreeMap::new();
    for family in &reading.families {
        for series in &family.series {
            let is_shown =
                series.service.as_deref() == only && family.page == catalog::Page::Service;
            if only.is_some() && !is_shown {
                continue;
            }
            let mut labels: Vec<(String, String)> = Vec::new();
            if only.is_none()
                && let Some(service) = &series.service
            {
                labels.push((catalog::SERVICE.to_owned(), service.to_string()));
            }
            let own = series.labels.iter();
            labels.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
            let mut add = |suffix: &str, le: Option<String>, value: String| {
                let mut labels = labels.clone();
                labels.extend(le.map(|le| (catalog::LE.to_owned(), le)));
                let before = samples.insert((format!("{}{suffix}", family.name), labels), value);
                assert!(before.is_none(), "a series stands twice in {}", family.name);
            };
            match &series.point {
                Point::Number(Number::Whole(value)) => add("", None, value.to_string()),
                Point::Number(Number::Real(_)) => panic!("Envoy has whole numbers only"),
                Point::Lines(_) => panic!("Envoy has no page of a service"),
                Point::Histogram(histogram) => {
                    for (bound, count) in histogram.buckets() {
                        let le = spell_seconds(bound.into());
                        add("_bucket", Some(le), count.to_string());
                    }
                    add(
                        "_bucket",
                        Some(INFINITY.to_owned()),
                        histogram.count().to_string(),
                    );
                    add("_sum", None, spell_seconds(histogram.sum_nanoseconds()));
                    add("_count", None, histogram.count().to_string());
                }
            }
        }
    }
    samples
}
