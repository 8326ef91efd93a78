use super::*;
use proptest::prelude::*;

/// What is timed, in nanoseconds, and whether the whole line is well-formed.
fn all(line: &str) -> (Vec<(&str, u64)>, bool) {
    let mut timed = Vec::new();
    let whole = read(line.as_bytes(), &mut Room::default(), |name, nanos| {
        timed.push((str::from_utf8(name).unwrap(), nanos));
    });
    (timed, whole.is_ok())
}

fn timed(line: &str) -> Vec<(&str, u64)> {
    let (timed, whole) = all(line);
    assert!(whole, "{line}");
    timed
}

fn duration(value: &str) -> Result<u64, Malformed> {
    let line = format!("a;dur={value}");
    match all(&line) {
        (timed, true) => Ok(timed[0].1),
        (timed, false) => {
            assert_eq!(timed, [], "{line}");
            Err(Malformed)
        }
    }
}

#[test]
fn reads_the_examples_of_the_specification() {
    assert_eq!(
        timed("miss, db;dur=53, app;dur=47.2"),
        [("db", 53_000_000), ("app", 47_200_000)]
    );
    assert_eq!(timed("customView, dc;desc=atl"), []);
    assert_eq!(
        timed(r#"cache;desc="Cache Read";dur=23.2"#),
        [("cache", 23_200_000)]
    );
    assert_eq!(timed("total;dur=123.4"), [("total", 123_400_000)]);
}

/// The lines that browsers are tested with.
#[test]
fn reads_what_browsers_read() {
    let one = [("metric", 123_400_000)];
    for line in [
        "metric;dur=123.4",
        "metric;dur=\"123.4\"",
        "metric;dur=123.4;desc=description",
        "metric;desc=description;dur=123.4",
        "metric;desc=\"descr;,=iption\";dur=123.4",
        "metric ; dur = 123.4 ; desc = description",
        "metric\t;\tdesc\t=\tdescription\t;\tdur\t=\t123.4",
        "metric;DuR=123.4;DeSc=description",
        "metric;foo=bar;desc=description;foo=bar;dur=123.4;foo=bar,metric2",
        "metric;dur=123.4;dur=567.8",
        "metric;dur=123.4;dur=foo",
        "metric;desc;desc=description;dur=123.4",
        "metric;desc=;desc=description;dur=123.4",
        "metric;desc=d1 d2;dur=123.4",
        "metric;desc=\"d1\" d2;dur=123.4",
        "metric;desc=\"a\\\"b;dur=1\";dur=123.4",
        "metric==   \"\"foo;dur=123.4",
        "metric;dur=123.4 567.8",
        "metric;dur=\"123.4",
        "metric;dur=\"12\\3.4\" ;",
    ] {
        assert_eq!(timed(line), one, "{line}");
    }
    for line in [
        "",
        " ",
        ",",
        "metric",
        "metric ; ",
        "metric , ",
        "metric1,metric2 ,metric3, metric4 , metric5",
        "metric;desc=\"dur=1;dur=2",
        "metric;desc=\\",
        "metric;desc=\"\\",
        "metric;foo dur=12",
    ] {
        assert_eq!(timed(line), [], "{line}");
    }
}

#[test]
fn a_name_may_be_any_token_and_stand_in_several_members() {
    assert_eq!(
        timed("metric;dur=12.3;desc=d1,metric;dur=45.6;desc=d2"),
        [("metric", 12_300_000), ("metric", 45_600_000)]
    );
    let name = "aB3!#$%&'*+-.^_`|~";
    assert_eq!(timed(&format!("{name};dur=1")), [(name, 1_000_000)]);
}

#[test]
fn a_duration_that_is_none_is_malformed_and_takes_no_other_member_along() {
    for value in [
        "", "foo", "\"foo\"", "-1", "-0.1", "NaN", "inf", "Infinity", ".", "-", "e3", "\"", ";",
    ] {
        assert_eq!(duration(value), Err(Malformed), "{value}");
    }
    for line in [
        "a;dur=1, metric;dur, b;dur=2",
        "a;dur=1, metric;dur;dur=123.4;desc=d, b;dur=2",
        "a;dur=1, metric;dur=;dur=123.4, b;dur=2",
        "a;dur=1, metric;dur=foo;dur=567.8, b;dur=2",
        "a;dur=1, metric;dur foo=12, b;dur=2",
        "a;dur=1, ;dur=3, b;dur=2",
        "a;dur=1, =, b;dur=2",
        "a;dur=1, {\"foo\":\"bar\"}, b;dur=2",
    ] {
        let both = vec![("a", 1_000_000), ("b", 2_000_000)];
        assert_eq!(all(line), (both, false), "{line}");
    }
}

#[test]
fn a_duration_is_exact_to_the_nanosecond() {
    for (value, nanos) in [
        ("0", 0),
        ("-0", 0),
        ("-0.0e9", 0),
        ("0.000001", 1),
        ("0.0000005", 1),
        ("0.00000049999999999999999999999999", 0),
        ("47.2", 47_200_000),
        // No binary fraction is as near to it.
        ("4503599.627370497", 4_503_599_627_370),
        ("86399999.999999", LONGEST - 1),
        ("86400000", LONGEST),
        ("0086400000.0000004", LONGEST),
        ("+7", 7_000_000),
        (".5", 500_000),
        ("5.", 5_000_000),
        ("1.2.3", 1_200_000),
        ("12ms", 12_000_000),
        ("1e3", 1_000_000_000),
        ("1E-3", 1_000),
        ("1e-6", 1),
        ("4e-7", 0),
        ("5e-7", 1),
        ("0.5e+1", 5_000_000),
        ("1e", 1_000_000),
        ("1e+", 1_000_000),
        ("0e99999999999", 0),
        ("1e-99999999999", 0),
    ] {
        assert_eq!(duration(value), Ok(nanos), "{value}");
    }
    let long = format!("0.{}1", "0".repeat(900));
    assert_eq!(duration(&long), Ok(0));
    let long = format!("1.{}", "9".repeat(900));
    assert_eq!(duration(&long), Ok(2_000_000));
}

#[test]
fn a_duration_beyond_a_day_is_malformed() {
    for value in [
        "86400000.0000005",
        "86400001",
        "1e8",
        "1e99999999999",
        "18446744073709551616",
    ] {
        assert_eq!(duration(value), Err(Malformed), "{value}");
    }
    assert_eq!(duration(&"9".repeat(900)), Err(Malformed));
}

#[test]
fn a_response_has_room_for_so_many_members_and_bytes() {
    let members = |members| vec!["a"; members].join(",");
    assert!(all(&members(64)).1);
    assert!(!all(&members(65)).1);
    assert!(!all(&format!("a{}", ";b".repeat(64))).1);
    assert_eq!(all(&"a".repeat(1024)), (Vec::new(), false));
    // What fits has been given.
    let line = format!("b;dur=1,{}", members(63));
    assert_eq!(all(&line), (vec![("b", 1_000_000)], false));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(line: Vec<u8>) {
        let mut count = 0;
        let _ = read(&line, &mut Room::default(), |name, nanos| {
            count += 1;
            assert!(nanos <= LONGEST && !name.is_empty());
        });
        prop_assert!(count <= 32);
    }

    #[test]
    fn pieces_of_members_never_do_more_than_there_is_room_for(
        pieces in prop::collection::vec(
            prop::sample::select(vec!["a", ";dur=", "1", ".", "e9", "\"", "\\", ",", ";", " ", "-"]),
            0..300,
        ),
    ) {
        prop_assert!(all(&pieces.concat()).0.len() <= 32);
    }

    #[test]
    fn whole_nanoseconds_are_read_as_they_are_written(nanos in 0..=LONGEST, zeros in 0..5_usize) {
        let (whole, part) = (nanos / 1_000_000, nanos % 1_000_000);
        let zeros = "0".repeat(zeros);
        let value = format!("{zeros}{whole}.{part:06}{zeros}");
        prop_assert_eq!(duration(&value), Ok(nanos));
        prop_assert_eq!(duration(&format!("{nanos}e-6")), Ok(nanos));
        prop_assert_eq!(duration(&format!("\"{value}\"")), Ok(nanos));
    }

    #[test]
    fn a_duration_is_that_of_a_binary_fraction_as_far_as_one_goes(millis in 0.0..86_400_000.0_f64) {
        let nanos = duration(&millis.to_string()).unwrap();
        let error = (nanos as f64 / 1e6 - millis).abs();
        prop_assert!(error <= 1e-6, "{millis}: {nanos}");
    }
}
