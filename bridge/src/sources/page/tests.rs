use prometheus_parse::{Scrape, Value};
use proptest::prelude::*;

use super::{
    lines::{MOST_LINE_BYTES, MOST_SAMPLES},
    *,
};
use crate::families::Point;

fn owner() -> Owner {
    Owner {
        service: "api".into(),
        labels: vec![("zone".to_owned(), "a".to_owned())],
    }
}

fn plain() -> Owner {
    Owner {
        service: "api".into(),
        labels: Vec::new(),
    }
}

fn text(page: &str) -> SourcePage {
    parse(page.as_bytes(), Format::Text, &plain()).unwrap()
}

fn openmetrics(page: &str) -> SourcePage {
    parse(page.as_bytes(), Format::OpenMetrics, &plain()).unwrap()
}

/// Every sample as `name{labels} value`, in the order of the families.
fn samples(page: &SourcePage) -> Vec<String> {
    let mut samples = Vec::new();
    for family in &page.families {
        for series in &family.series {
            assert_eq!(series.service.as_deref(), Some("api"));
            let Point::Lines(lines) = &series.point else {
                panic!("not as it was spelled");
            };
            for line in lines {
                let comma = if series.labels.is_empty() || line.labels.is_empty() {
                    ""
                } else {
                    ","
                };
                samples.push(format!(
                    "{}{}{{{}{comma}{}}} {}",
                    family.name,
                    line.suffix,
                    series.labels.text(),
                    line.labels,
                    line.value
                ));
            }
        }
    }
    samples
}

fn head<'p>(page: &'p SourcePage, name: &str) -> (&'p str, Kind, Unit) {
    let family = page.families.iter().find(|family| family.name == name);
    let family = family.unwrap_or_else(|| panic!("no {name}"));
    (&family.help, family.kind, family.unit)
}

fn dropped(page: &SourcePage) -> Vec<(SeriesDrop, u64)> {
    page.dropped
        .iter()
        .map(|(reason, count)| (*reason, *count))
        .collect()
}

/// As the crate prometheus writes it, for a service on actix-web.
const OF_ACTIX: &str = "\
# HELP api_db_pool_wait_seconds Time until the pool had a connection
# TYPE api_db_pool_wait_seconds histogram
api_db_pool_wait_seconds_bucket{pool=\"main\",le=\"0.005\"} 12
api_db_pool_wait_seconds_bucket{pool=\"main\",le=\"1\"} 14
api_db_pool_wait_seconds_bucket{pool=\"main\",le=\"+Inf\"} 14
api_db_pool_wait_seconds_sum{pool=\"main\"} 0.12300000000000001
api_db_pool_wait_seconds_count{pool=\"main\"} 14
# HELP api_http_requests_total Total number of HTTP requests
# TYPE api_http_requests_total counter
api_http_requests_total{endpoint=\"/a\",method=\"GET\",status=\"200\"} 9007199254740993
# HELP db_connections_active Number of active database connections in the pool
# TYPE db_connections_active gauge
db_connections_active 3
";

#[test]
fn reads_the_page_of_a_service_on_actix_web_with_values_as_they_are_spelled() {
    let page = text(OF_ACTIX);
    assert_eq!(
        samples(&page),
        [
            "api_db_pool_wait_seconds_bucket{pool=\"main\",le=\"0.005\"} 12",
            "api_db_pool_wait_seconds_bucket{pool=\"main\",le=\"1.0\"} 14",
            "api_db_pool_wait_seconds_bucket{pool=\"main\",le=\"+Inf\"} 14",
            "api_db_pool_wait_seconds_sum{pool=\"main\"} 0.12300000000000001",
            "api_db_pool_wait_seconds_count{pool=\"main\"} 14",
            "api_http_requests_total{endpoint=\"/a\",method=\"GET\",status=\"200\"} 9007199254740993",
            "db_connections_active{} 3",
        ]
    );
    assert_eq!(dropped(&page), []);
    assert_eq!(
        head(&page, "api_db_pool_wait_seconds"),
        (
            "Time until the pool had a connection",
            Kind::Histogram,
            Unit::One
        )
    );
    assert_eq!(head(&page, "api_http_requests_total").1, Kind::Counter);
}

/// As node_exporter and other programs in Go write it.
const OF_GO: &str = "\
# HELP go_gc_duration_seconds A summary of the pause duration of garbage collection cycles.
# TYPE go_gc_duration_seconds summary
go_gc_duration_seconds{quantile=\"0\"} 2.1875e-05
go_gc_duration_seconds{quantile=\"0.5\"} NaN
go_gc_duration_seconds{quantile=\"1\"} 0.000169
go_gc_duration_seconds_sum 0.0019
go_gc_duration_seconds_count 17
# HELP go_memstats_alloc_bytes Number of bytes allocated and still in use.
# TYPE go_memstats_alloc_bytes gauge
go_memstats_alloc_bytes 2.42744e+06
# HELP go_memstats_alloc_bytes_total Total number of bytes allocated, even if freed.
# TYPE go_memstats_alloc_bytes_total counter
go_memstats_alloc_bytes_total 1.3456e+07
# HELP node_filesystem_size_bytes Filesystem size in bytes, under \\\\server\\nshare.
# TYPE node_filesystem_size_bytes gauge
node_filesystem_size_bytes{device=\"\\\\\\\\server\\\\c\",fstype=\"\",mountpoint=\"/a \\\"b\\\"\"} 2.1e+10 1700000000000

# a comment
metric_without_type{a=\"b\"} -3.5E2
";

#[test]
fn reads_the_page_of_a_program_in_go() {
    let page = text(OF_GO);
    assert_eq!(
        samples(&page),
        [
            "go_gc_duration_seconds{quantile=\"0.0\"} 2.1875e-05",
            "go_gc_duration_seconds{quantile=\"0.5\"} NaN",
            "go_gc_duration_seconds{quantile=\"1.0\"} 0.000169",
            "go_gc_duration_seconds_sum{} 0.0019",
            "go_gc_duration_seconds_count{} 17",
            "go_memstats_alloc_bytes{} 2.42744e+06",
            "go_memstats_alloc_bytes_total{} 1.3456e+07",
            "metric_without_type{a=\"b\"} -3.5E2",
            "node_filesystem_size_bytes{device=\"\\\\\\\\server\\\\c\",mountpoint=\"/a \\\"b\\\"\"} 2.1e+10",
        ]
    );
    assert_eq!(
        head(&page, "node_filesystem_size_bytes").0,
        "Filesystem size in bytes, under \\server\nshare."
    );
    assert_eq!(
        head(&page, "metric_without_type"),
        ("", Kind::Untyped, Unit::One)
    );
    assert_eq!(dropped(&page), []);
}

/// As the official client for Python writes it.
const OF_PYTHON: &str = "\
# HELP jobs_processed Jobs that were \\\"processed\\\"
# TYPE jobs_processed counter
jobs_processed_total{queue=\"mail\"} 3.0 # {trace_id=\"abc\"} 1.0 1.7e9
jobs_processed_created{queue=\"mail\"} 1.7e+09
# HELP request_latency_seconds Latency
# TYPE request_latency_seconds histogram
# UNIT request_latency_seconds seconds
request_latency_seconds_bucket{le=\"0.1\"} 1.0 # {} 0.05
request_latency_seconds_bucket{le=\"+Inf\"} 2.0
request_latency_seconds_count 2.0
request_latency_seconds_sum 7.5
request_latency_seconds_created 1.7e+09
# TYPE build info
build_info{version=\"1.2\"} 1.0
# TYPE state stateset
state{state=\"up\"} 1.0
state{state=\"down\"} 0.0
# TYPE depth gaugehistogram
depth_bucket{le=\"+Inf\"} 4.0
depth_gcount 4.0
depth_gsum 9.0
# TYPE room_ratio gauge
# UNIT room_ratio ratio
room_ratio 0.25 1700000000.5
# TYPE odd unknown
odd 7
# EOF
";

#[test]
fn reads_the_openmetrics_of_the_client_for_python() {
    let page = openmetrics(OF_PYTHON);
    assert_eq!(
        samples(&page),
        [
            "build_info{version=\"1.2\"} 1.0",
            "depth_bucket{le=\"+Inf\"} 4.0",
            "depth_gcount{} 4.0",
            "depth_gsum{} 9.0",
            "jobs_processed_total{queue=\"mail\"} 3.0",
            "jobs_processed_total_created{queue=\"mail\"} 1.7e+09",
            "odd{} 7",
            "request_latency_seconds_bucket{le=\"0.1\"} 1.0",
            "request_latency_seconds_bucket{le=\"+Inf\"} 2.0",
            "request_latency_seconds_sum{} 7.5",
            "request_latency_seconds_count{} 2.0",
            "request_latency_seconds_created{} 1.7e+09",
            "room_ratio{} 0.25",
            "state{state=\"up\"} 1.0",
            "state{state=\"down\"} 0.0",
        ]
    );
    assert_eq!(dropped(&page), []);
    for (name, kind) in [
        ("build_info", Kind::Gauge),
        ("depth_bucket", Kind::Untyped),
        ("jobs_processed_total", Kind::Counter),
        ("odd", Kind::Untyped),
        ("state", Kind::Gauge),
    ] {
        assert_eq!(head(&page, name).1, kind, "{name}");
    }
    assert_eq!(
        head(&page, "jobs_processed_total").0,
        "Jobs that were \"processed\""
    );
    assert_eq!(head(&page, "request_latency_seconds").2, Unit::Seconds);
    assert_eq!(head(&page, "room_ratio").2, Unit::One);
}

#[test]
fn gives_each_series_the_labels_of_its_source_and_renames_those_in_their_way() {
    let page = "a{zone=\"b\",service=\"x\",exported_service=\"y\",c=\"d\"} 1\n";
    let page = parse(page.as_bytes(), Format::Text, &owner()).unwrap();
    assert_eq!(
        samples(&page),
        [
            "a{exported_zone=\"b\",exported_exported_service=\"x\",exported_service=\"y\",c=\"d\",zone=\"a\"} 1"
        ]
    );
}

#[test]
fn what_contradicts_itself_costs_that_series_or_family_and_is_counted() {
    for (page, left, reasons) in [
        // Two types for one name.
        (
            "# TYPE a counter\n# TYPE a gauge\na 1\nb 1\n",
            &["b{} 1"][..],
            &[(SeriesDrop::Conflict, 1)][..],
        ),
        // A suffix that the type does not have.
        (
            "# TYPE a histogram\na 1\nb 1\n",
            &["b{} 1"],
            &[(SeriesDrop::Conflict, 1)],
        ),
        (
            "a{b=\"c\",d=\"e\"} 1\na{d=\"e\",b=\"c\"} 2\n",
            &["a{b=\"c\",d=\"e\"} 1"],
            &[(SeriesDrop::Duplicate, 1)],
        ),
        (
            "a{b=\"\"} 1\na 2\n",
            &["a{} 1"],
            &[(SeriesDrop::Duplicate, 1)],
        ),
        (
            "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"1.0\"} 1\na_bucket{le=\"+Inf\"} 1\n",
            &["a_bucket{le=\"1.0\"} 1", "a_bucket{le=\"+Inf\"} 1"],
            &[(SeriesDrop::Duplicate, 1)],
        ),
        (
            "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\nb 1\n",
            &["b{} 1"],
            &[(SeriesDrop::Inconsistent, 1)],
        ),
        (
            "# TYPE a histogram\na_bucket 2\nb 1\n",
            &["b{} 1"],
            &[(SeriesDrop::Label, 1)],
        ),
        (
            "# TYPE a histogram\na_bucket{le=\"x\"} 2\nb 1\n",
            &["b{} 1"],
            &[(SeriesDrop::Label, 1)],
        ),
        (
            "# TYPE a summary\na{quantile=\"1.5\"} 2\nb 1\n",
            &["b{} 1"],
            &[(SeriesDrop::Label, 1)],
        ),
        (
            "a{__name__=\"b\"} 2\nb 1\n",
            &["b{} 1"],
            &[(SeriesDrop::Label, 1)],
        ),
        (
            "a{b=\"\u{7f}\"} 2\na{b=\"c\\nd\"} 2\nb 1\n",
            &["b{} 1"],
            &[(SeriesDrop::ControlCharacter, 2)],
        ),
        (
            "# TYPE a counter\na -1\na{b=\"c\"} NaN\nb 1\n",
            &["b{} 1"],
            &[(SeriesDrop::Value, 2)],
        ),
    ] {
        let read = text(page);
        assert_eq!(samples(&read), left, "{page}");
        assert_eq!(dropped(&read), reasons, "{page}");
    }
}

#[test]
fn types_may_come_behind_their_samples_and_families_in_pieces() {
    let page = text(
        "b_total 1\na 1\nb_total{c=\"d\"} 2\n# TYPE b_total counter\n# HELP b_total B\n# HELP b_total C\n",
    );
    assert_eq!(
        samples(&page),
        ["a{} 1", "b_total{} 1", "b_total{c=\"d\"} 2"]
    );
    assert_eq!(head(&page, "b_total"), ("B", Kind::Counter, Unit::One));
}

#[test]
fn refuses_a_page_that_prometheus_could_not_read() {
    let line = |line, problem| Err(PageError::Line { line, problem });
    for (page, expected) in [
        (&b"a 1\nb \xff\n"[..], Err(PageError::NotUtf8)),
        (
            b"a 1\nb 2",
            Err(PageError::Truncated("a line feed behind the last line")),
        ),
        (b"a 1\nb x\n", line(2, "a value that is no number")),
        (b"# TYPE a info\na 1\n", line(1, "an unknown type")),
        (b"a 1\r\n", line(1, "a value that is no number")),
        (
            b"<html>\n",
            line(1, "no name of a metric where one is expected"),
        ),
    ] {
        assert_eq!(parse(page, Format::Text, &plain()), expected);
    }
    for (page, expected) in [
        (
            &b""[..],
            line(1, "no name of a metric where one is expected"),
        ),
        (b"a 1\n", Err(PageError::Truncated("# EOF"))),
        (
            b"a 1\n# EO",
            line(2, "a comment that is neither HELP, TYPE, UNIT nor EOF"),
        ),
        (b"# EOF\na 1\n", line(2, "a line behind # EOF")),
        (b"# EOF\n\n", line(2, "a line behind # EOF")),
        (b"# TYPE a untyped\n# EOF\n", line(1, "an unknown type")),
        (
            b"# UNIT a_seconds bytes\n# EOF\n",
            line(1, "a unit that the name does not end in"),
        ),
        (
            b"# UNIT aseconds seconds\n# EOF\n",
            line(1, "a unit that the name does not end in"),
        ),
    ] {
        assert_eq!(parse(page, Format::OpenMetrics, &plain()), expected);
    }
    assert_eq!(
        parse(b"# EOF", Format::OpenMetrics, &plain()),
        Ok(SourcePage::default())
    );
    assert_eq!(
        parse(b"", Format::Text, &plain()),
        Ok(SourcePage::default())
    );
}

#[test]
fn refuses_a_page_beyond_the_limits() {
    let page = |text: String| parse(text.as_bytes(), Format::Text, &plain());
    let too_large = |what| Err(PageError::TooLarge(what));
    let long = format!("a{{b=\"{}\"}} 1\n", "c".repeat(MOST_LINE_BYTES));
    assert_eq!(page(long), too_large("65536 bytes in a line"));
    let many = |of: &dyn Fn(usize) -> String, count| (0..count).map(of).collect::<String>();
    let samples = many(&|n| format!("a{{b=\"{n}\"}} 1\n"), MOST_SAMPLES + 1);
    assert_eq!(page(samples), too_large("200000 samples"));
    let names = many(&|n| format!("a{n} 1\n"), MOST_FAMILIES + 1);
    assert_eq!(page(names), too_large("10000 metrics"));
    let names = many(&|n| format!("# HELP a{n} b\n"), MOST_FAMILIES + 1);
    assert_eq!(page(names), too_large("10000 metrics"));
}

/// A family with one label, or none, in each series.
#[derive(Clone, Debug)]
struct AnyFamily {
    kind: &'static str,
    values: BTreeMap<String, f64>,
}

fn any_page() -> impl Strategy<Value = BTreeMap<String, AnyFamily>> {
    let kinds = prop::sample::select(vec!["counter", "gauge", "untyped"]);
    let values = prop::collection::btree_map("[a-z]{0,3}", prop::num::f64::NORMAL, 1..4);
    let family = (kinds, values).prop_map(|(kind, mut values)| {
        if kind == "counter" {
            // Below zero no counter is shown.
            values.values_mut().for_each(|value| *value = value.abs());
        }
        AnyFamily { kind, values }
    });
    prop::collection::btree_map("[a-z][a-z_]{0,8}x", family, 0..8)
}

proptest! {
    /// What a parser that is not ours finds on a page, ours finds as well.
    #[test]
    fn agrees_with_another_parser(families in any_page()) {
        let mut page = String::new();
        for (name, family) in &families {
            page.push_str(&format!("# TYPE {name} {}\n", family.kind));
            for (label, value) in &family.values {
                let labels = if label.is_empty() { String::new() } else { format!("{{l=\"{label}\"}}") };
                page.push_str(&format!("{name}{labels} {value:e}\n"));
            }
        }
        let lines = page.lines().map(|line| Ok(line.to_owned()));
        let mut expected = Vec::new();
        for sample in Scrape::parse(lines).unwrap().samples {
            let (Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value)) = sample.value else {
                panic!("no such family was written");
            };
            let label = sample.labels.get("l").unwrap_or_default().to_owned();
            expected.push((sample.metric, label, value));
        }
        let ours = text(&page);
        prop_assert_eq!(dropped(&ours), []);
        let mut found = Vec::new();
        for family in &ours.families {
            for series in &family.series {
                let Point::Lines(lines) = &series.point else {
                    panic!("not as it was spelled");
                };
                let label = series.labels.get("l").unwrap_or_default().to_owned();
                let value: f64 = lines[0].value.parse().unwrap();
                found.push((family.name.to_string(), label, value));
            }
        }
        for samples in [&mut expected, &mut found] {
            samples.sort_by(|a, b| a.partial_cmp(b).unwrap());
        }
        prop_assert_eq!(found, expected);
    }

    /// No bytes are too odd to be refused in peace.
    #[test]
    fn takes_any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Text, Format::OpenMetrics] {
            let _ = parse(&body, format, &owner());
        }
    }
}
