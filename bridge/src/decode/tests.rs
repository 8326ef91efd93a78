use super::*;
use proptest::prelude::*;

fn dropped(body: &[u8]) -> Vec<(DropReason, u64)> {
    decode(body).dropped.into_iter().collect()
}

#[test]
fn reads_stats_of_the_filter_and_of_envoy() {
    let body = b"http.api.downstream_rq_active: 3\n\
        wasmcustom.cache_hits_total.service=api.cache_type=redis: 8934\n";
    let answer = decode(body);
    assert_eq!(
        answer.envoy,
        [EnvoySample {
            stat_prefix: "api",
            stat: EnvoyStat::RequestsActive,
            value: 3
        }]
    );
    let [sample] = answer.samples.as_slice() else {
        panic!("{answer:?}")
    };
    assert_eq!(sample.stat, &catalog::CACHE_HITS);
    assert_eq!(sample.values, ["api", "redis"]);
    assert_eq!(sample.value, 8934);
    assert!(answer.dropped.is_empty());
}

#[test]
fn passes_over_what_is_not_ours() {
    let body = b"cluster.api.upstream_rq_total: 7\n\
        wasmcustom.other_module_total: 1\n\
        wasmcustom.other module: 1\n\
        http.api.downstream_rq_time: No recorded values\n\
        http.a.b.downstream_rq_active: 1\n\
        wasmcustom.http_request_duration_ms.service=api.method=GET.path=/: P0(nan,1) P100(nan,9)\n";
    let answer = decode(body);
    assert!(answer.samples.is_empty() && answer.envoy.is_empty());
    assert!(answer.dropped.is_empty());
    assert_eq!(answer.readable, 6);
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
        let answer = decode(body.as_bytes());
        let dropped: Vec<_> = answer.dropped.iter().map(|(r, n)| (*r, *n)).collect();
        assert_eq!(dropped, [(reason, 1)], "{line:?}");
        assert_eq!(answer.envoy.len(), 1, "{line:?}");
        assert_eq!(answer.envoy[0].value, 7, "{line:?}");
        assert_eq!(answer.samples.len(), 1, "{line:?}");
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
    let answer = decode(body);
    let bounds: Vec<_> = answer.samples.iter().map(|sample| sample.bound).collect();
    let finite = Some(Bound::Nanoseconds(2_500_000_000));
    assert_eq!(bounds, [finite, finite, Some(Bound::Infinity), None]);
    assert_eq!(answer.samples[0].values, ["api", "x"]);
}

#[test]
fn keeps_a_counter_that_is_nearly_worn_out() {
    let body = b"wasmcustom.gatemeter_filter_ticks_total.service=api: 18446744073709551615\n";
    assert_eq!(decode(body).samples[0].value, u64::MAX);
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
        r"^wasmcustom\.|^http\.[^.]+\.downstream_(rq_active|rq_tx_reset|cx_[rt]x_bytes_total)$"
    );
}

proptest! {
    #[test]
    fn any_bytes_decode_to_samples_and_counted_drops(body: Vec<u8>) {
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
        let answer = decode(body.as_bytes());
        let kept = answer.samples.len() + answer.envoy.len();
        let dropped: u64 = answer.dropped.values().sum();
        prop_assert_eq!(kept + usize::try_from(dropped).unwrap(), lines.len());
    }
}
