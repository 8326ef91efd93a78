use super::*;

fn text(line_text: &str) -> Result<Line<'_>, Problem> {
    line(line_text, Format::Text)
}

fn openmetrics(line_text: &str) -> Result<Line<'_>, Problem> {
    line(line_text, Format::OpenMetrics)
}

fn is_sample(read: Result<Line<'_>, Problem>, labels: &[(&str, &str)], value: &str) {
    let Ok(Line::Sample(sample)) = read else {
        panic!("{read:?}");
    };
    assert_eq!(sample.name, "a:b_1");
    let found: Vec<_> = sample
        .labels
        .iter()
        .map(|(n, v)| (*n, v.as_ref()))
        .collect();
    assert_eq!(found, labels);
    assert_eq!(sample.value, value);
}

#[test]
fn reads_samples_of_text_with_any_blanks() {
    for (line, labels, value) in [
        ("a:b_1 1", &[][..], "1"),
        ("\t a:b_1\t 1.50e-3 \t", &[], "1.50e-3"),
        ("a:b_1{} 007", &[], "007"),
        ("a:b_1 {x=\"y\"} .5", &[("x", "y")], ".5"),
        (
            "a:b_1{ x = \"y\" , z=\"\", }5. -17",
            &[("x", "y"), ("z", "")],
            "5.",
        ),
        (
            r#"a:b_1{x="\\ \" \n \d }, é"} nan"#,
            &[("x", "\\ \" \n \\d }, é")],
            "NaN",
        ),
        ("a:b_1 Infinity 1700000000000", &[], "+Inf"),
        ("a:b_1 -inf", &[], "-Inf"),
        ("a:b_1 +1", &[], "+1"),
    ] {
        is_sample(text(line), labels, value);
    }
}

#[test]
fn reads_samples_of_openmetrics_without_time_and_exemplar() {
    for (line, labels, value) in [
        ("a:b_1 1", &[][..], "1"),
        (
            "a:b_1{x=\"y\",z=\"w\"} 1e9",
            &[("x", "y"), ("z", "w")],
            "1e9",
        ),
        ("a:b_1 1 1520879607.789", &[], "1"),
        ("a:b_1 1 # {id=\"a b\"} 0.5", &[], "1"),
        ("a:b_1{x=\"y\"} 1 1.5e9 # {} 0.5 1.5e9", &[("x", "y")], "1"),
    ] {
        is_sample(openmetrics(line), labels, value);
    }
}

#[test]
fn refuses_lines_that_prometheus_cannot_read() {
    for line in [
        "1a 1",
        "a",
        "a ",
        "a b",
        "a-b 1",
        "\"a\" 1",
        "{\"a\"} 1",
        "a 1 2 3",
        "a 1 2.5",
        "a 1 # {} 1",
        "a 0x1p3",
        "a 0x10",
        "a 1_000",
        "a 1e999",
        "a +nan",
        "a --1",
        "a .",
        "a 1\r",
        "a{x} 1",
        "a{x=y} 1",
        "a{x=\"y} 1",
        "a{x=\"y\\\"} 1",
        "a{x=\"y\" 1",
        "a{x=\"y\" z=\"w\"} 1",
        "a{,x=\"y\"} 1",
        "a{x:y=\"z\"} 1",
        "a{x=\"y\",x=\"z\"} 1",
        "# TYPE 1a counter",
        "# HELP",
        "# TYPE a-b counter",
    ] {
        assert!(text(line).is_err(), "{line}");
    }
    for line in [
        "",
        " a 1",
        "a  1",
        "a\t1",
        "a 1 ",
        "a 1 2 3",
        "a 1 # {}",
        "a 1 #{} 1",
        "a 1 # {} 1 2 3",
        "a{x=\"y\"}1",
        "a{x=\"y\"}  1",
        "a{ x=\"y\"} 1",
        "#",
        "# a comment",
        "#TYPE a counter",
        "# TYPE  a counter",
        "# EOF ",
        "# HELP a-b text",
    ] {
        assert!(openmetrics(line).is_err(), "{line}");
    }
}

#[test]
fn reads_metadata_and_passes_over_other_comments_of_text() {
    let help = |name, text: &'static str| {
        let text = Cow::Borrowed(text);
        Ok(Line::Help { name, text })
    };
    for (line, expected) in [
        ("# HELP a A \\\\ \\n \\\" b ", help("a", "A \\ \n \\\" b ")),
        ("#\tHELP a\tb", help("a", "b")),
        ("# HELP a", help("a", "")),
        (
            "# TYPE a  counter ",
            Ok(Line::Type {
                name: "a",
                kind: "counter",
            }),
        ),
        ("", Ok(Line::Nothing)),
        ("#", Ok(Line::Nothing)),
        ("#HELP a b", Ok(Line::Nothing)),
        ("# HELPING a b", Ok(Line::Nothing)),
        ("# EOF", Ok(Line::Nothing)),
        ("# UNIT a_seconds seconds", Ok(Line::Nothing)),
    ] {
        assert_eq!(text(line), expected, "{line}");
    }
    for (line, expected) in [
        ("# HELP a b \\\" c", help("a", "b \" c")),
        ("# HELP a ", help("a", "")),
        (
            "# TYPE a counter",
            Ok(Line::Type {
                name: "a",
                kind: "counter",
            }),
        ),
        (
            "# UNIT a_seconds seconds",
            Ok(Line::Unit {
                name: "a_seconds",
                unit: "seconds",
            }),
        ),
        ("# EOF", Ok(Line::End)),
    ] {
        assert_eq!(openmetrics(line), expected, "{line}");
    }
}
