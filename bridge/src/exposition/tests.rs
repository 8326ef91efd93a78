use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use gatemeter_core::catalog::{Page, Unit};

use super::*;
use crate::{
    families::{LabelSet, Reading},
    piece::LENGTH,
};

/// The guide's example of a `/metrics` endpoint, to the byte.
const GUIDE: &str = r#"# HELP http_requests_total Total number of HTTP requests processed
# TYPE http_requests_total counter
http_requests_total{method="GET",path="/api/content",status="200"} 1523

# HELP http_request_duration_seconds HTTP request latency in seconds
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{method="GET",path="/api/content",le="0.001"} 45
http_request_duration_seconds_bucket{method="GET",path="/api/content",le="0.005"} 234
http_request_duration_seconds_bucket{method="GET",path="/api/content",le="0.01"} 456
http_request_duration_seconds_sum{method="GET",path="/api/content"} 23.45
http_request_duration_seconds_count{method="GET",path="/api/content"} 1523

# HELP active_connections Number of active HTTP/WebSocket connections
# TYPE active_connections gauge
active_connections 42

# HELP db_connections_active Number of active database connections in the pool
# TYPE db_connections_active gauge
db_connections_active 15

# HELP db_connections_idle Number of idle database connections in the pool
# TYPE db_connections_idle gauge
db_connections_idle 25

# HELP cache_hits_total Total number of cache hits
# TYPE cache_hits_total counter
cache_hits_total{cache_type="redis"} 8934

# HELP cache_misses_total Total number of cache misses
# TYPE cache_misses_total counter
cache_misses_total{cache_type="redis"} 234
"#;

/// The stats of a service with the numbers of the guide's example.
const STATS: &str = "\
wasmcustom.http_request_duration_seconds_bin.service=api.method=GET.path=/api/content.status=200.le=0.001: 45
wasmcustom.http_request_duration_seconds_bin.service=api.method=GET.path=/api/content.status=200.le=0.005: 189
wasmcustom.http_request_duration_seconds_bin.service=api.method=GET.path=/api/content.status=200.le=0.01: 222
wasmcustom.http_request_duration_seconds_bin.service=api.method=GET.path=/api/content.status=200.le=1.0: 1067
wasmcustom.http_request_duration_nanoseconds_sum.service=api.method=GET.path=/api/content: 23450000000
wasmcustom.db_connections_active.service=api: 15
wasmcustom.db_connections_idle.service=api: 25
wasmcustom.cache_hits_total.service=api.cache_type=redis: 8934
wasmcustom.cache_misses_total.service=api.cache_type=redis: 234
wasmcustom.cache_hits_total.service=playback.cache_type=cdn: 1
http.api.downstream_rq_active: 42
";

fn reading() -> Reading {
    Reading::of(STATS.as_bytes(), &BTreeMap::new())
}

fn service_page(format: Format) -> String {
    let reading = reading();
    page(
        &[Part::plain(&reading.families)],
        Scope::Service("api"),
        format,
    )
}

#[test]
fn the_page_of_a_service_is_the_guides_example_to_the_byte() {
    // The example leaves buckets out after the third; the page has them all.
    let left_out = [
        "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "+Inf",
    ];
    let mut left_out_lines = Vec::new();
    let shown: String = service_page(Format::Text)
        .split_inclusive('\n')
        .filter(|line| {
            let is_left_out = left_out
                .iter()
                .any(|le| line.contains(&format!("le=\"{le}\"")));
            if is_left_out {
                left_out_lines.push((*line).to_owned());
            }
            !is_left_out
        })
        .collect();
    assert_eq!(shown, GUIDE);
    let counts: Vec<_> = left_out_lines
        .iter()
        .filter_map(|line| line.trim_end().rsplit_once(' '))
        .map(|(_, count)| count)
        .collect();
    assert_eq!(
        counts,
        [
            "456", "456", "456", "456", "456", "1523", "1523", "1523", "1523"
        ]
    );
}

#[test]
fn openmetrics_names_counters_without_total_adds_units_and_ends_in_eof() {
    let page = service_page(Format::OpenMetrics);
    assert!(page.ends_with("\n# EOF\n"));
    assert!(!page.contains("\n\n"));
    for line in [
        "# TYPE http_requests counter",
        "# HELP http_requests Total number of HTTP requests processed",
        "http_requests_total{method=\"GET\",path=\"/api/content\",status=\"200\"} 1523",
        "# TYPE http_request_duration_seconds histogram",
        "# UNIT http_request_duration_seconds seconds",
        "http_request_duration_seconds_bucket{method=\"GET\",path=\"/api/content\",le=\"1.0\"} 1523",
        "# TYPE cache_hits counter",
        "# TYPE active_connections gauge",
        "active_connections 42",
    ] {
        assert!(page.lines().any(|l| l == line), "no line {line}");
    }
}

#[test]
fn the_page_of_all_services_has_the_label_service_first() {
    let page = page(
        &[Part::plain(&reading().families)],
        Scope::All,
        Format::Text,
    );
    for line in [
        "http_requests_total{service=\"api\",method=\"GET\",path=\"/api/content\",status=\"200\"} 1523",
        "http_request_duration_seconds_bucket{service=\"api\",method=\"GET\",path=\"/api/content\",le=\"+Inf\"} 1523",
        "http_request_duration_seconds_count{service=\"api\",method=\"GET\",path=\"/api/content\"} 1523",
        "active_connections{service=\"api\"} 42",
        "cache_hits_total{service=\"api\",cache_type=\"redis\"} 8934",
        "cache_hits_total{service=\"playback\",cache_type=\"cdn\"} 1",
    ] {
        assert!(page.lines().any(|l| l == line), "no line {line}");
    }
}

#[test]
fn a_histogram_without_labels_has_only_the_bound() {
    let family = Family {
        name: Cow::Borrowed("x_seconds"),
        help: Cow::Borrowed("X."),
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        page: Page::Service,
        is_usual: true,
        series: vec![Series {
            service: None,
            labels: Default::default(),
            point: Point::Histogram(Histogram::new(
                [500_000_000].into(),
                [(0, 2), (1, 1)],
                u128::from(u64::MAX),
            )),
        }],
    };
    assert_eq!(
        page(&[Part::plain(&[family])], Scope::All, Format::Text),
        "# HELP x_seconds X.\n# TYPE x_seconds histogram\n\
         x_seconds_bucket{le=\"0.5\"} 2\nx_seconds_bucket{le=\"+Inf\"} 3\n\
         x_seconds_sum 18446744073.709551615\nx_seconds_count 3\n"
    );
}

fn gauge(help: &'static str, value: &str, number: Number) -> Family {
    Family {
        name: Cow::Borrowed("x"),
        help: Cow::Borrowed(help),
        kind: Kind::Gauge,
        unit: Unit::One,
        page: Page::Operator,
        is_usual: true,
        series: vec![Series {
            service: None,
            labels: LabelSet::shared([("a", value)]),
            point: Point::Number(number),
        }],
    }
}

#[test]
fn escapes_what_would_end_a_value_or_a_line() {
    let family = [gauge("A \"b\"\\\nc", "\\ \" \n }é", Number::Whole(1))];
    assert_eq!(
        page(&[Part::plain(&family)], Scope::All, Format::Text),
        "# HELP x A \"b\"\\\\\\nc\n# TYPE x gauge\nx{a=\"\\\\ \\\" \\n }é\"} 1\n"
    );
    assert_eq!(
        page(&[Part::plain(&family)], Scope::All, Format::OpenMetrics),
        "# HELP x A \\\"b\\\"\\\\\\nc\n# TYPE x gauge\nx{a=\"\\\\ \\\" \\n }é\"} 1\n# EOF\n"
    );
}

#[test]
fn spells_numbers_as_prometheus_reads_them() {
    for (number, text) in [
        (Number::Whole(0), "0"),
        (Number::Whole(u128::from(u64::MAX)), "18446744073709551615"),
        (Number::Real(1.0), "1"),
        (Number::Real(0.000_832_789), "0.000832789"),
        (Number::Real(f64::NAN), "NaN"),
        (Number::Real(f64::INFINITY), "+Inf"),
        (Number::Real(f64::NEG_INFINITY), "-Inf"),
    ] {
        let families = [gauge("X.", "b", number)];
        let page = page(&[Part::plain(&families)], Scope::All, Format::Text);
        assert_eq!(
            page.lines().last(),
            Some(format!("x{{a=\"b\"}} {text}").as_str())
        );
    }
}

#[test]
fn families_of_one_name_are_announced_once_and_have_the_labels_of_their_part_first() {
    let of = |value: &str| {
        let mut hits = gauge("X.", value, Number::Whole(1));
        hits.series[0].service = Some("api".into());
        hits
    };
    let (first, second) = ([of("b")], [of("b"), of("never twice")]);
    let parts = [
        Part {
            labels: "envoy=\"edge-1\",zone=\"a\"",
            families: &first,
        },
        Part {
            labels: "envoy=\"edge-2\"",
            families: &second[..1],
        },
    ];
    assert_eq!(
        page(&parts, Scope::All, Format::Text),
        "# HELP x X.\n# TYPE x gauge\n\
         x{envoy=\"edge-1\",zone=\"a\",service=\"api\",a=\"b\"} 1\n\
         x{envoy=\"edge-2\",service=\"api\",a=\"b\"} 1\n"
    );
}

#[test]
fn lines_of_a_services_own_page_stay_as_they_are_spelled() {
    let line = |suffix: &str, labels: &str, value: &str| Line {
        suffix: suffix.into(),
        labels: labels.into(),
        value: value.into(),
    };
    let mut family = gauge("X.", "b", Number::Whole(0));
    family.kind = Kind::Summary;
    family.series[0].point = Point::Lines(vec![
        line("", "quantile=\"0.9\"", "1.50e-3"),
        line("_sum", "", "2.0"),
        line("_count", "", "7"),
        line("_created", "", "1.7e9"),
    ]);
    let mut bare = gauge("Y.", "", Number::Whole(0));
    bare.name = Cow::Borrowed("y");
    bare.kind = Kind::Untyped;
    bare.series[0].labels = Arc::default();
    bare.series[0].point = Point::Lines(vec![line("", "", "NaN"), line("", "l=\"1\"", "1")]);
    let families = [family, bare];
    let samples = "x{a=\"b\",quantile=\"0.9\"} 1.50e-3\nx_sum{a=\"b\"} 2.0\nx_count{a=\"b\"} 7\n";
    assert_eq!(
        page(&[Part::plain(&families)], Scope::All, Format::Text),
        format!(
            "# HELP x X.\n# TYPE x summary\n{samples}\n\
             # HELP y Y.\n# TYPE y untyped\ny NaN\ny{{l=\"1\"}} 1\n"
        )
    );
    assert_eq!(
        page(&[Part::plain(&families)], Scope::All, Format::OpenMetrics),
        format!(
            "# HELP x X.\n# TYPE x summary\n{samples}x_created{{a=\"b\"}} 1.7e9\n\
             # HELP y Y.\n# TYPE y unknown\ny NaN\ny{{l=\"1\"}} 1\n# EOF\n"
        )
    );
}

#[test]
fn a_counter_that_does_not_end_in_total_has_no_type_in_openmetrics() {
    let mut family = gauge("X.", "b", Number::Whole(1));
    family.kind = Kind::Counter;
    assert_eq!(
        page(&[Part::plain(&[family])], Scope::All, Format::OpenMetrics),
        "# HELP x X.\n# TYPE x unknown\nx{a=\"b\"} 1\n# EOF\n"
    );
}

#[test]
fn pieces_of_a_long_page_end_with_lines_and_together_are_the_page() {
    let mut family = gauge("X.", "b", Number::Whole(1));
    let labels = (0..40_000).map(|value| LabelSet::shared([("a", value.to_string())]));
    family.series = labels
        .map(|labels| Series {
            labels,
            ..family.series[0].clone()
        })
        .collect();
    let families = [family];
    let families = [Part::plain(&families)];
    let pieces = pieces(&families, Scope::All, Format::OpenMetrics);
    assert!(pieces.len() > 1);
    assert!(
        pieces
            .iter()
            .all(|piece| piece.ends_with('\n') && piece.len() <= LENGTH)
    );
    let page = page(&families, Scope::All, Format::OpenMetrics);
    let joined: String = pieces.iter().map(|piece| &**piece).collect();
    assert_eq!(joined, page);
    assert_eq!(page.lines().count(), 40_003);
}
