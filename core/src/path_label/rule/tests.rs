use super::*;
use proptest::prelude::*;

fn rewrite(pattern: &str, path: &str) -> Result<Option<String>, TooMuch> {
    let rule = PathRule::try_new(pattern, "<>", true).unwrap();
    rule.rewrite(path, &mut Effort::default())
}

fn is_sequence(pattern: &str) -> bool {
    Sequence::parse(pattern).is_some()
}

#[test]
fn usual_rules_are_sequences() {
    for pattern in [
        r"/\d+",
        r"/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        r"/[0-9a-fA-F-]{36}",
        r"^/v[12]/",
        r"^/static/.*",
        r"\.html$",
        r"/[^/]+/avatar",
        r"/\w{2,5}-\d*x?",
    ] {
        assert!(is_sequence(pattern), "{pattern}");
    }
}

#[test]
fn what_needs_a_general_engine_gets_one() {
    for pattern in [
        r"/(users|accounts)/\d+",
        r"a|b",
        r"(?i)/Abc",
        r"/\d+?x",
        r".*/end",
        r"\d+\w",
        r"x*",
        r"\bword",
        r"/caf\x{e9}",
        r"/é+",
        r"[[:alpha:]]",
        r"a^b",
        r"\D",
    ] {
        assert!(!is_sequence(pattern), "{pattern}");
        let quick = PathRule::try_new(pattern, "", false).err();
        assert_eq!(quick, Some(RuleError::Slow), "{pattern}");
        assert!(PathRule::try_new(pattern, "", true).is_ok(), "{pattern}");
    }
}

#[test]
fn captures_are_replaced() {
    let rule = PathRule::try_new(r"^/tenants/[^/]+/(\w+)", "/tenants/:t/$1", true).unwrap();
    assert_eq!(
        rule.rewrite("/tenants/acme/users/7", &mut Effort::default()),
        Ok(Some("/tenants/:t/users/7".to_owned()))
    );
}

#[test]
fn a_path_made_to_cost_much_is_refused() {
    let digits = "1".repeat(1000);
    assert_eq!(rewrite(r"\d{200}x", &digits), Err(TooMuch));
    assert_eq!(rewrite(r"(\d|x)+", &digits), Err(TooMuch));
    let grows = PathRule::try_new("1", &"y".repeat(50), false).unwrap();
    assert_eq!(grows.rewrite(&digits, &mut Effort::default()), Err(TooMuch));
}

#[test]
fn a_path_with_more_matches_than_any_service_has_is_refused() {
    let ids = |count| rewrite(r"/\d+", &"/1".repeat(count));
    assert_eq!(ids(60), Ok(Some("<>".repeat(60))));
    assert_eq!(ids(61), Err(TooMuch));
}

#[test]
fn what_a_rule_spends_is_missing_for_the_next() {
    let rule = PathRule::try_new(r"/\d+", "/1", false).unwrap();
    let mut effort = Effort::default();
    let path = "/1".repeat(40);
    assert_eq!(rule.rewrite(&path, &mut effort), Ok(Some(path.clone())));
    assert_eq!(rule.rewrite(&path, &mut effort), Err(TooMuch));
}

/// Patterns of few characters, so that they meet in the text.
fn pattern() -> impl Strategy<Value = String> {
    let one = prop::sample::select(vec![
        "a", "b", "/", r"\d", r"\w", ".", "[ab]", "[^a]", "[a-c1]", r"[\d-]", "[^/]", r"\.", "[-a]",
    ]);
    let times = prop::sample::select(vec![
        "", "", "", "+", "*", "?", "{2}", "{1,2}", "{2,}", "+?",
    ]);
    let rows = prop::collection::vec((one, times), 1..5);
    (any::<bool>(), rows, any::<bool>()).prop_map(|(start, row, end)| {
        let row: String = row
            .into_iter()
            .flat_map(|(one, times)| [one, times])
            .collect();
        let (start, end) = (if start { "^" } else { "" }, if end { "$" } else { "" });
        format!("{start}{row}{end}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_sequence_replaces_what_regex_lite_replaces(
        pattern in pattern(),
        path in "[ab1/.-]{0,24}",
    ) {
        if is_sequence(&pattern) {
            let regex = Regex::new(&pattern).unwrap();
            let expected = regex.replace_all(&path, "<>");
            let rewritten = rewrite(&pattern, &path).unwrap().unwrap_or(path.clone());
            prop_assert_eq!(rewritten, expected);
        }
    }

    #[test]
    fn any_pattern_is_taken_or_refused(pattern in r"[\[\]{}()^$|*+?.\\a-z0-9,&~-]{0,12}") {
        if let Ok(rule) = PathRule::try_new(&pattern, "", true) {
            let _ = rule.rewrite("/a-1/~", &mut Effort::default());
        }
    }
}
