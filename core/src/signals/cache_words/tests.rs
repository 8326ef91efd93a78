use super::*;
use proptest::prelude::*;

fn results(line: &str) -> Vec<CacheResult> {
    let mut results = Vec::new();
    read(line.as_bytes(), &mut Room::default(), |result| {
        results.push(result);
    })
    .unwrap();
    results
}

fn all(said: &[(&str, CacheResult)]) {
    for (line, result) in said {
        assert_eq!(results(line), [*result], "{line}");
        assert_eq!(results(&line.to_lowercase()), [*result], "{line}");
        assert_eq!(results(&line.to_uppercase()), [*result], "{line}");
    }
}

#[test]
fn nginx() {
    all(&[
        ("MISS", Miss),
        ("BYPASS", Bypass),
        ("EXPIRED", Miss),
        ("STALE", Stale),
        ("UPDATING", Stale),
        ("REVALIDATED", Revalidated),
        ("HIT", Hit),
        // The variable of a request that no cache was configured for.
        ("-", Other),
    ]);
}

#[test]
fn cloudflare() {
    all(&[
        ("HIT", Hit),
        ("MISS", Miss),
        ("NONE/UNKNOWN", Bypass),
        ("EXPIRED", Miss),
        ("STALE", Stale),
        ("BYPASS", Bypass),
        ("REVALIDATED", Revalidated),
        ("UPDATING", Stale),
        ("DYNAMIC", Bypass),
    ]);
}

#[test]
fn akamai() {
    all(&[
        ("Hit from child", Hit),
        ("Miss from child", Miss),
        ("RefreshHit from child", Revalidated),
        ("HitStale from child", Stale),
        ("NotCacheable from child", Bypass),
        ("Constructed from child", Bypass),
        ("Redirect from child", Bypass),
        ("Error from child", Other),
        (
            "TCP_MEM_HIT from a69-174-50-208 (AkamaiGHost/5.7.2-5726413) (-)",
            Hit,
        ),
        ("TCP_HIT from a1.deploy (S)", Hit),
        ("TCP_MISS from a1.deploy (-)", Miss),
        ("TCP_REFRESH_HIT from a1.deploy (-)", Revalidated),
        ("TCP_REFRESH_MISS from a1.deploy (-)", Miss),
        ("TCP_REFRESH_FAIL_HIT from a1.deploy (-)", Stale),
        ("TCP_IMS_HIT from a1.deploy (-)", Hit),
        ("TCP_NEGATIVE_HIT from a1.deploy (-)", Hit),
        ("TCP_DENIED from a1.deploy (-)", Bypass),
        ("TCP_COOKIE_DENY from a1.deploy (-)", Bypass),
    ]);
    assert_eq!(results("Miss from child, Hit from parent"), [Miss, Hit]);
}

#[test]
fn cloudfront() {
    all(&[
        ("Hit from cloudfront", Hit),
        ("OriginShieldHit from cloudfront", Hit),
        ("RefreshHit from cloudfront", Revalidated),
        ("Miss from cloudfront", Miss),
        ("Error from cloudfront", Other),
        ("Redirect from cloudfront", Bypass),
        ("LambdaGeneratedResponse from cloudfront", Bypass),
        ("FunctionGeneratedResponse from cloudfront", Bypass),
        ("LimitExceeded from cloudfront", Other),
    ]);
}

#[test]
fn fastly_says_one_word_for_each_tier() {
    assert_eq!(results("MISS, HIT"), [Miss, Hit]);
    assert_eq!(results("HIT,HIT ,\tMISS"), [Hit, Hit, Miss]);
}

#[test]
fn squid_and_azure() {
    all(&[
        ("HIT from proxy.example:3128", Hit),
        ("MISS from proxy.example", Miss),
        ("TCP_HIT", Hit),
        ("TCP_MEM_HIT", Hit),
        ("TCP_INM_HIT", Hit),
        ("TCP_OFFLINE_HIT", Hit),
        ("TCP_REMOTE_HIT", Hit),
        ("TCP_PARTIAL_HIT", Hit),
        ("TCP_MISS/200", Miss),
        ("TCP_REFRESH_UNMODIFIED/304", Revalidated),
        ("TCP_REFRESH_MODIFIED/200", Miss),
        ("TCP_REFRESH_FAIL_OLD/200", Stale),
        ("TCP_REFRESH_FAIL_ERR/504", Other),
        ("TCP_REF_FAIL_HIT", Stale),
        ("TCP_CLIENT_REFRESH_MISS", Miss),
        ("TCP_SWAPFAIL_MISS", Miss),
        ("TCP_EXPIRED_HIT", Revalidated),
        ("TCP_EXPIRED_MISS", Miss),
        ("TCP_TUNNEL", Bypass),
        ("CONFIG_NOCACHE", Bypass),
        ("PRIVATE_NOSTORE", Bypass),
        ("UNCACHEABLE", Bypass),
        ("NONE", Bypass),
        ("N/A", Bypass),
    ]);
}

#[test]
fn varnish_and_google() {
    all(&[
        ("hit cached", Hit),
        ("miss uncacheable", Miss),
        ("pass uncacheable", Bypass),
        ("pipe uncacheable", Bypass),
        ("synth synth", Bypass),
        ("hitmiss", Miss),
        ("hitpass", Bypass),
        ("cached", Hit),
        ("revalidated", Revalidated),
        ("disabled", Bypass),
    ]);
}

#[test]
fn an_unknown_word_is_other_and_an_empty_member_is_none() {
    all(&[("TCP_", Other), ("HITS", Other), ("TCP_TCP_HIT", Other)]);
    assert_eq!(results(" , HIT,, "), [Hit]);
    assert_eq!(results(""), []);
    assert_eq!(results("ünbekannt, \"HIT\", /"), [Other, Other, Other]);
}

#[test]
fn no_word_stands_in_the_table_twice() {
    for (index, (word, _)) in WORDS.iter().enumerate() {
        let again = |(other, _): &&(&str, CacheResult)| other.eq_ignore_ascii_case(word);
        assert_eq!(WORDS.iter().filter(again).count(), 1, "{index}: {word}");
        assert!(!word.to_lowercase().starts_with("tcp_"), "{word}");
    }
}

#[test]
fn a_response_has_room_for_so_many_members() {
    let mut count = 0;
    let line = ["HIT"; 65].join(",");
    let read = read(line.as_bytes(), &mut Room::default(), |_| count += 1);
    assert_eq!((read, count), (Err(Malformed), 64));
    let long = "a".repeat(1024);
    assert_eq!(
        super::read(long.as_bytes(), &mut Room::default(), |_| ()),
        Err(Malformed)
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(line: Vec<u8>) {
        let mut count = 0;
        let _ = read(&line, &mut Room::default(), |_| count += 1);
        prop_assert!(count <= 64);
    }

    #[test]
    fn any_case_of_any_word_says_the_same(
        (word, result) in prop::sample::select(&WORDS[..]),
        upper: u32,
        tcp: bool,
    ) {
        let word = if tcp { format!("TCP_{word}") } else { word.to_owned() };
        let case = |(index, letter): (usize, char)| match upper >> (index % 32) & 1 {
            1 => letter.to_ascii_uppercase(),
            _ => letter.to_ascii_lowercase(),
        };
        let word: String = word.chars().enumerate().map(case).collect();
        prop_assert_eq!(results(&word), [result]);
        prop_assert_eq!(results(&format!("{word} from x, {word}/1")), [result; 2]);
    }
}
