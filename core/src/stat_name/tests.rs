use super::*;
use crate::catalog::{
    BUCKET_BOUND, CATALOG, REQUEST_DURATION, REQUEST_DURATION_BIN, REQUESTS, TICKS,
};
use proptest::prelude::*;

#[test]
fn spells_a_bin_with_le_last_and_unescaped() {
    assert_eq!(
        encode(
            &REQUEST_DURATION_BIN,
            &["api", "GET", "/api/content/:id", "200", "0.005"]
        )
        .unwrap(),
        "http_request_duration_seconds_bin.service=api.method=GET.path=/api/content/:id.status=200.le=0.005"
    );
    assert_eq!(
        encode(&BUCKET_BOUND, &["api", REQUEST_DURATION, "+Inf"]).unwrap(),
        "gatemeter_bucket_bound.service=api.metric=http_request_duration_seconds.le=+Inf"
    );
}

#[test]
fn escapes_what_would_forge_a_label_or_a_line() {
    let name = encode(&REQUESTS, &["api", "GET", "/a.b=c\n%é\"\\", "200"]).unwrap();
    assert_eq!(
        name,
        "http_requests_total.service=api.method=GET.path=/a%2Eb%3Dc%0A%25%C3%A9%22%5C.status=200"
    );
    assert_eq!(decode(&name).unwrap().value("path"), Some("/a.b=c\n%é\"\\"));
}

#[test]
fn refuses_names_that_encode_never_writes() {
    for (name, error) in [
        ("", DecodeError::UnknownStat),
        ("cluster.x.upstream_rq_total", DecodeError::UnknownStat),
        ("gatemeter_filter_ticks_total", DecodeError::BadLabels),
        ("gatemeter_filter_ticks_total.", DecodeError::BadLabels),
        (
            "gatemeter_filter_ticks_total.service",
            DecodeError::BadLabels,
        ),
        ("gatemeter_filter_ticks_total.x=api", DecodeError::BadLabels),
        (
            "gatemeter_filter_ticks_total.service=api.",
            DecodeError::BadLabels,
        ),
        (
            "gatemeter_filter_ticks_total.service=api.a=b",
            DecodeError::BadLabels,
        ),
        (
            "gatemeter_filter_ticks_total.service=a b",
            DecodeError::BadEscape,
        ),
        (
            "gatemeter_filter_ticks_total.service=a%2",
            DecodeError::BadEscape,
        ),
        (
            "gatemeter_filter_ticks_total.service=a%2e",
            DecodeError::BadEscape,
        ),
        (
            "gatemeter_filter_ticks_total.service=%41",
            DecodeError::BadEscape,
        ),
        (
            "gatemeter_filter_ticks_total.service=%FF",
            DecodeError::NotUtf8,
        ),
        (
            "http_requests_total.method=GET.service=api.path=/.status=200",
            DecodeError::BadLabels,
        ),
    ] {
        assert_eq!(decode(name), Err(error), "{name}");
    }
}

#[test]
fn refuses_a_name_beyond_the_limit_and_a_wrong_number_of_values() {
    let long = "x".repeat(MAX_LENGTH);
    assert!(matches!(
        encode(&TICKS, &[&long]),
        Err(EncodeError::TooLong(_))
    ));
    assert!(matches!(
        encode(&TICKS, &[]),
        Err(EncodeError::ValueCount(0, 1, _))
    ));
}

fn any_stat() -> impl Strategy<Value = &'static Stat> {
    let stats: Vec<&'static Stat> = CATALOG.iter().flat_map(|metric| metric.stats).collect();
    proptest::sample::select(stats)
}

proptest! {
    #[test]
    fn decoding_what_was_encoded_gives_the_same_values(
        stat in any_stat(),
        texts in proptest::collection::vec("(?s).{0,12}", 5),
        bound in "[0-9]{1,3}\\.[0-9]{1,9}",
    ) {
        let values: Vec<&str> = stat
            .labels
            .iter()
            .zip(&texts)
            .map(|(label, text)| if *label == LE { bound.as_str() } else { text.as_str() })
            .collect();
        let name = encode(stat, &values).unwrap();
        prop_assert_eq!(length(stat, &values), name.len());
        let decoded = decode(&name).unwrap();
        prop_assert_eq!(decoded.stat, stat);
        prop_assert_eq!(decoded.values, values);
    }

    #[test]
    fn what_decodes_encodes_to_the_same_name(
        name in "gatemeter_filter_ticks_total\\.service=([a-z%0-9A-F.=]{0,8})",
    ) {
        if let Ok(decoded) = decode(&name) {
            let values: Vec<&str> = decoded.values.iter().map(AsRef::as_ref).collect();
            prop_assert_eq!(encode(decoded.stat, &values).unwrap(), name);
        }
    }

    #[test]
    fn any_text_decodes_or_is_refused(name in "(?s).*") {
        let _ = decode(&name);
    }
}
