use super::*;
use proptest::prelude::*;

fn labeller(rules: &[(&str, &str)], routes: &[&str], exclude: &[&str]) -> PathLabeller {
    PathLabeller::new(
        rules
            .iter()
            .map(|(pattern, replacement)| PathRule::try_new(pattern, replacement, true).unwrap())
            .collect(),
        table(routes),
        table(exclude),
    )
}

fn table(templates: &[&str]) -> RouteTable {
    let templates = templates.iter().map(|t| t.parse().unwrap()).collect();
    RouteTable::try_new(templates).unwrap()
}

fn candidate(text: &str) -> PathLabel {
    PathLabel::Candidate(text.to_owned())
}

#[test]
fn the_rule_of_the_guide_normalises_numbers() {
    let labeller = labeller(&[(r"/\d+", "/:id")], &[], &[]);
    assert_eq!(
        labeller.label(b"/api/content/42/stream?x=/7#y"),
        candidate("/api/content/:id/stream")
    );
}

#[test]
fn rules_run_before_templates() {
    let labeller = labeller(&[("^/v[12]/", "/")], &["/api/:id"], &[]);
    assert_eq!(labeller.label(b"/v1/api/7"), PathLabel::Route(0));
    assert_eq!(labeller.label(b"/v3/api/7"), PathLabel::Unmatched);
}

#[test]
fn with_templates_what_matches_none_is_unmatched() {
    let labeller = labeller(&[], &["/api/content/:id", "/api/content/new", "/ws/*"], &[]);
    assert_eq!(labeller.label(b"/api/content/7"), PathLabel::Route(0));
    assert_eq!(labeller.label(b"/api/content/new"), PathLabel::Route(1));
    assert_eq!(labeller.label(b"/ws/a/b"), PathLabel::Route(2));
    assert_eq!(labeller.label(b"/ws/"), PathLabel::Route(2));
    assert_eq!(labeller.label(b"/ws"), PathLabel::Unmatched);
    assert_eq!(labeller.label(b"/api/content"), PathLabel::Unmatched);
    assert_eq!(labeller.label(b"/wp-login.php"), PathLabel::Unmatched);
}

#[test]
fn excluded_paths_are_compared_before_any_rule() {
    let labeller = labeller(&[("metrics", "x")], &[], &["/metrics", "/internal/*"]);
    assert_eq!(labeller.label(b"/metrics"), PathLabel::Excluded);
    assert_eq!(labeller.label(b"/metrics?name[]=x"), PathLabel::Excluded);
    assert_eq!(labeller.label(b"/internal/a/b"), PathLabel::Excluded);
    assert_eq!(labeller.label(b"/metrics/x"), candidate("/x/x"));
}

#[test]
fn a_path_without_anything_before_the_query_is_unmatched() {
    let labeller = labeller(&[], &[], &[]);
    for path in [b"".as_slice(), b"?x", b"#", b"*", b"example.org:443"] {
        assert_eq!(labeller.label(path), PathLabel::Unmatched);
    }
    assert_eq!(labeller.label(b"/"), candidate("/"));
}

#[test]
fn a_path_beyond_the_limit_matches_only_the_rest_of_a_template() {
    let mut long = b"/files/".to_vec();
    long.resize(MAX_LOOKED_AT + 1, b'x');
    assert_eq!(
        labeller(&[], &["/files/*"], &[]).label(&long),
        PathLabel::Route(0)
    );
    assert_eq!(
        labeller(&[], &["/files/:id"], &[]).label(&long),
        PathLabel::Unmatched
    );
    assert_eq!(labeller(&[], &[], &[]).label(&long), PathLabel::Unmatched);
    long.truncate(MAX_LOOKED_AT);
    assert_eq!(
        labeller(&[], &["/files/:id"], &[]).label(&long),
        PathLabel::Route(0)
    );
}

#[test]
fn bytes_outside_printable_ascii_are_spelled_as_in_a_url() {
    let labeller = labeller(&[], &[], &[]);
    assert_eq!(
        labeller.label("/caf\u{e9} x".as_bytes()),
        candidate("/caf%C3%A9%20x")
    );
    assert_eq!(labeller.label(b"/\xff\n"), candidate("/%FF%0A"));
    let routes = self::labeller(&[], &["/caf\u{e9}/:id"], &[]);
    assert_eq!(routes.label(b"/caf%C3%A9/1"), PathLabel::Route(0));
    assert_eq!(routes.label("/caf\u{e9}/1".as_bytes()), PathLabel::Route(0));
}

#[test]
fn a_path_that_rules_blow_up_has_no_label() {
    let feed = "a".repeat(38);
    let rules = [("a", feed.as_str()); 3];
    let path = format!("/{}", "a".repeat(40));
    assert_eq!(
        labeller(&rules, &[], &[]).label(path.as_bytes()),
        PathLabel::Unmatched
    );
}

#[test]
fn with_many_rules_less_of_a_path_is_looked_at() {
    let rules = [("x", "y"); MAX_RULES];
    let labeller = labeller(&rules, &[], &[]);
    let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
    assert_eq!(labeller.label(path(192).as_bytes()), candidate(&path(192)));
    assert_eq!(labeller.label(path(193).as_bytes()), PathLabel::Unmatched);
}

#[test]
fn says_which_rules_rewrite_a_path_and_to_what() {
    let rules = [(r"^/v\d", ""), ("x", "y"), (r"/\d+", "/:id")];
    let labeller = labeller(&rules, &[], &["/v1/no"]);
    let rewrites = |path: &str| labeller.rewrites(path.as_bytes());
    assert_eq!(
        rewrites("/v1/a/7?q"),
        [(0, "/a/7".to_owned()), (2, "/a/:id".to_owned())]
    );
    assert_eq!(rewrites("/v1/no"), []);
    assert_eq!(rewrites("/a"), []);
}

#[test]
fn a_bad_rule_is_refused_with_the_reason() {
    let error = PathRule::try_new("(", "", true).unwrap_err();
    assert_eq!(error.to_string(), "found open group without closing ')'");
    assert!(PathRule::try_new("x{1000000}", "", true).is_err());
}

proptest! {
    #[test]
    fn a_candidate_is_printable_ascii(path: Vec<u8>) {
        if let PathLabel::Candidate(label) = labeller(&[], &[], &[]).label(&path) {
            prop_assert!(label.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    #[test]
    fn any_path_gets_an_answer_with_templates_and_rules(path: Vec<u8>) {
        let labeller = labeller(&[(r"/\d+", "/:id")], &["/a/:id", "/b/*"], &["/x"]);
        let _ = labeller.label(&path);
    }
}
