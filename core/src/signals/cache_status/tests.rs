use super::*;
use proptest::prelude::*;

fn members(line: &str) -> Result<Vec<(String, CacheResult)>, Malformed> {
    let members = read(line.as_bytes(), &mut Room::default())?;
    let members = members.into_iter();
    Ok(members.map(|m| (m.name.into_owned(), m.result)).collect())
}

fn one(line: &str) -> CacheResult {
    let members = members(line).unwrap();
    assert_eq!(members.len(), 1, "{line}");
    members[0].1
}

#[test]
fn reads_the_examples_of_the_standard() {
    assert_eq!(one("ExampleCache; hit"), CacheResult::Hit);
    assert_eq!(one("ExampleCache; hit; ttl=-412"), CacheResult::Stale);
    assert_eq!(one("ExampleCache; fwd=uri-miss"), CacheResult::Miss);
    assert_eq!(one("ExampleCache; fwd=uri-miss; stored"), CacheResult::Miss);
    assert_eq!(
        one("ExampleCache; fwd=uri-miss; stored; collapsed"),
        CacheResult::Miss
    );
    assert_eq!(
        one("ExampleCache; fwd=stale; fwd-status=304"),
        CacheResult::Revalidated
    );
    assert_eq!(one("ExampleCache; fwd=bypass"), CacheResult::Bypass);
    assert_eq!(one("ExampleCache; fwd=method"), CacheResult::Bypass);
    assert_eq!(
        one("ExampleCache; fwd=miss; fwd-status=502"),
        CacheResult::Miss
    );
    assert_eq!(one("ExampleCache; hit; detail=MEMORY"), CacheResult::Hit);
    assert_eq!(
        one(r#"ExampleCache; hit; detail="disk, slow""#),
        CacheResult::Hit
    );
    assert_eq!(one("ExampleCache"), CacheResult::Other);
    assert_eq!(
        members(r#"OriginCache; hit; ttl=1100, "CDN Company Here"; hit; ttl=545"#).unwrap(),
        [
            ("OriginCache".to_owned(), CacheResult::Hit),
            ("CDN Company Here".to_owned(), CacheResult::Hit),
        ]
    );
}

#[test]
fn every_reason_to_go_forward_has_a_result() {
    for (reason, result) in [
        ("bypass", CacheResult::Bypass),
        ("method", CacheResult::Bypass),
        ("uri-miss", CacheResult::Miss),
        ("vary-miss", CacheResult::Miss),
        ("miss", CacheResult::Miss),
        ("request", CacheResult::Miss),
        ("stale", CacheResult::Miss),
        ("partial", CacheResult::Miss),
        ("of-tomorrow", CacheResult::Miss),
        (r#""bypass""#, CacheResult::Other),
    ] {
        assert_eq!(one(&format!("c; fwd={reason}")), result, "{reason}");
    }
}

#[test]
fn a_stale_response_counts_by_who_gave_the_content() {
    assert_eq!(one("c; hit; fwd=stale"), CacheResult::Stale);
    assert_eq!(one("c; fwd=stale; hit; ttl=-5"), CacheResult::Stale);
    assert_eq!(one("c; hit; fwd=uri-miss"), CacheResult::Hit);
    assert_eq!(
        one("c; fwd-status=304; fwd=stale"),
        CacheResult::Revalidated
    );
    assert_eq!(one("c; fwd=stale; fwd-status=200"), CacheResult::Miss);
    assert_eq!(one("c; fwd=stale; fwd-status=304.0"), CacheResult::Miss);
    assert_eq!(one("c; fwd=request; fwd-status=304"), CacheResult::Miss);
}

#[test]
fn several_caches_count_one_by_one_in_their_order() {
    assert_eq!(
        members(r#"OriginCache; hit; ttl=1100, "CDN, Paris"; fwd=uri-miss;"#),
        Err(Malformed)
    );
    assert_eq!(
        members(r#"OriginCache; hit; ttl=1100, "CDN, Paris"; fwd=uri-miss"#).unwrap(),
        [
            ("OriginCache".to_owned(), CacheResult::Hit),
            ("CDN, Paris".to_owned(), CacheResult::Miss),
        ]
    );
}

#[test]
fn hit_false_is_no_hit_and_the_last_of_a_repeated_parameter_counts() {
    assert_eq!(one("c; hit=?0; fwd=miss"), CacheResult::Miss);
    assert_eq!(one("c; hit; hit=?0"), CacheResult::Other);
    assert_eq!(one("c; hit=yes"), CacheResult::Other);
    assert_eq!(one("c; fwd=bypass; fwd=miss"), CacheResult::Miss);
}

#[test]
fn members_that_are_no_name_are_ignored() {
    assert_eq!(members("(a b); hit, 1; hit, c; hit").unwrap().len(), 1);
    assert_eq!(members("").unwrap(), []);
}

#[test]
fn a_list_may_stand_on_several_lines() {
    let mut room = Room::default();
    let lines = ["a; hit, b", r#""c;d"; fwd=miss"#];
    let lines = lines.map(|line| read(line.as_bytes(), &mut room).unwrap());
    let members: Vec<_> = lines
        .iter()
        .flatten()
        .map(|m| (&*m.name, m.result))
        .collect();
    assert_eq!(
        members,
        [
            ("a", CacheResult::Hit),
            ("b", CacheResult::Other),
            ("c;d", CacheResult::Miss),
        ]
    );
}

#[test]
fn a_line_that_is_malformed_anywhere_gives_nothing() {
    for line in ["a; hit, b; =", "a; hit\u{ff}", "a; hit,"] {
        assert_eq!(members(line), Err(Malformed), "{line}");
    }
}

#[test]
fn a_name_with_escapes_is_unescaped() {
    assert_eq!(members(r#""a\"b"; hit"#).unwrap()[0].0, "a\"b");
}

#[test]
fn a_response_has_room_for_so_many_members_and_bytes() {
    let line = |members| vec!["a"; members].join(",");
    assert_eq!(members(&line(64)).unwrap().len(), 64);
    for line in [
        line(65),
        format!("a{}", ";b".repeat(64)),
        format!("({})", "a ".repeat(64)),
        format!("(){}", ";b".repeat(64)),
        "a".repeat(1024),
    ] {
        assert_eq!(members(&line), Err(Malformed), "{line}");
    }
    let mut room = Room::default();
    let lines = (0..).take_while(|_| read(b"a", &mut room).is_ok());
    assert_eq!(lines.count(), 15);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(line: Vec<u8>) {
        let _ = read(&line, &mut Room::default());
    }

    #[test]
    fn pieces_of_members_give_a_bounded_number_of_them(
        pieces in prop::collection::vec(
            prop::sample::select(vec!["a", "\"b\"", "; hit", "; fwd=stale", ",", "(", ")"]),
            0..200,
        ),
    ) {
        let line = pieces.concat();
        let members = read(line.as_bytes(), &mut Room::default()).unwrap_or_default();
        prop_assert!(members.len() <= 64);
    }
}
