//! What the worst input costs: no client and no service may make the filter work
//! hard. The bounds are units of fuel, so that they do not move with what a usual
//! exchange costs.

use std::fmt::Write;

use gatemeter_host_tests::{Envoy, Request};
use serde_json::{Value, json};

use crate::{all_that_is_read, envoy, usual};

/// Most fuel.
const MOST: u64 = 100_000;

/// The same where the configuration asked for two slow rules.
const MOST_SLOW: u64 = 1_010_000;

const PATH: usize = 64 * 1024;

/// As many rules as a configuration may have.
const RULES: usize = 8;

/// An exchange whose input somebody chose to be costly.
struct Exchange {
    request: Vec<(String, Vec<u8>)>,
    status: u16,
    response: Vec<(String, Vec<u8>)>,
}

impl Exchange {
    fn of_path(path: impl Into<Vec<u8>>) -> Self {
        let request = [(":method", b"GET".to_vec()), (":path", path.into())];
        Self {
            request: request
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
            status: 200,
            response: Vec::new(),
        }
    }

    fn answered(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    fn of_response(response: Vec<(String, Vec<u8>)>) -> Self {
        let mut exchange = Self::of_path("/usual");
        exchange.response = response;
        exchange
    }

    fn of_signal(name: &str, value: impl Into<Vec<u8>>) -> Self {
        Self::of_response(vec![(name.to_owned(), value.into())])
    }

    fn run(&self, envoy: &Envoy) -> u64 {
        let cost = envoy.measure(|| {
            let request = Request::from(self.request.clone());
            let stream = envoy.worker(0).request(request);
            stream.respond(self.status, self.response.clone());
            stream.finish();
        });
        cost.fuel()
    }
}

fn repeated(text: &str, bytes: usize) -> String {
    format!("/{}", text.repeat(bytes / text.len()))
}

fn headers(count: usize) -> Vec<(String, Vec<u8>)> {
    (0..count)
        .map(|number| (format!("x-header-{number}"), b"value".to_vec()))
        .collect()
}

/// Inputs that are as bad under any configuration.
fn responses() -> Vec<(&'static str, Exchange)> {
    let cache = |member: &str, bytes: usize| {
        Exchange::of_signal(
            "cache-status",
            vec![member; bytes / member.len()].join(", "),
        )
    };
    let parameters = |bytes: usize| {
        let mut line = "redis; hit".to_owned();
        for number in 0.. {
            if line.len() >= bytes {
                break;
            }
            let _ = write!(line, "; p{number}=\"a\\\\b\"");
        }
        line
    };
    let inner = format!("{}a{}", "(".repeat(32 * 1024), ")".repeat(32 * 1024));
    let many = |name: &str, value: &str| {
        Exchange::of_response(vec![(name.to_owned(), value.as_bytes().to_vec()); 100])
    };
    let request_headers = {
        let mut exchange = Exchange::of_path("/usual");
        exchange.request.extend(headers(10_000));
        exchange
    };
    let pseudo_headers = {
        let mut exchange = Exchange::of_path("/usual");
        exchange
            .request
            .extend(vec![(":path".to_owned(), repeated("a/", 600).into()); 100]);
        exchange
    };
    let event_stream = vec![("content-type".to_owned(), b" ;".repeat(32 * 1024))];
    vec![
        (
            "1,000 cache members in one header",
            cache("redis; hit", 12_000),
        ),
        ("64 KiB of cache members", cache("a", PATH)),
        (
            "64 KiB of cache members with hits",
            cache("redis;hit", PATH),
        ),
        (
            "64 KiB of cache members without a name",
            cache("(a b c)", PATH),
        ),
        (
            "64 KiB of parameters",
            Exchange::of_signal("cache-status", parameters(PATH)),
        ),
        (
            "64 KiB of one parameter again and again",
            Exchange::of_signal("cache-status", format!("a{}", ";hit".repeat(PATH / 4))),
        ),
        (
            "64 KiB of a string",
            Exchange::of_signal("cache-status", format!("\"{}\"", "\\\\".repeat(PATH / 2))),
        ),
        (
            "64 KiB of a token",
            Exchange::of_signal("cache-status", "a".repeat(PATH)),
        ),
        (
            "64 KiB of a byte sequence",
            Exchange::of_signal("cache-status", format!(":{}:", "YWFh".repeat(PATH / 4))),
        ),
        (
            "64 KiB of parentheses",
            Exchange::of_signal("cache-status", inner),
        ),
        (
            "64 KiB of spaces",
            Exchange::of_signal("cache-status", " ".repeat(PATH)),
        ),
        (
            "64 KiB that are wrong at the end",
            Exchange::of_signal("cache-status", format!("{}=", "a;hit,".repeat(PATH / 6))),
        ),
        (
            "1,000 keys of a pool",
            Exchange::of_signal(
                "x-db-pool",
                (0..1000)
                    .map(|n| format!("k{n}={n}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
        ),
        (
            "64 KiB of active",
            Exchange::of_signal("x-db-pool", vec!["active=1"; PATH / 10].join(", ")),
        ),
        (
            "64 KiB of different keys",
            Exchange::of_signal(
                "x-db-pool",
                (0..7000)
                    .map(|n| format!("k{n}=1"))
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
        ),
        (
            "64 KiB of server timing",
            Exchange::of_signal("server-timing", vec!["db;dur=1.5"; PATH / 12].join(", ")),
        ),
        (
            "100 cache headers",
            many(
                "cache-status",
                "redis; hit; ttl=42, edge; fwd=uri-miss; stored",
            ),
        ),
        ("100 pool headers", many("x-db-pool", "active=15, idle=25")),
        ("100 timing headers", many("server-timing", "db;dur=12.3")),
        (
            "100 malformed cache headers",
            many("cache-status", "redis; hit; ="),
        ),
        (
            "100 content types",
            many("content-type", "text/event-stream; charset=utf-8"),
        ),
        (
            "64 KiB of content type",
            Exchange::of_response(event_stream),
        ),
        ("10,000 request headers", request_headers),
        (
            "10,000 response headers",
            Exchange::of_response(headers(10_000)),
        ),
        ("100 paths", pseudo_headers),
        (
            "a value of 1 MiB",
            Exchange::of_signal("x-custom", vec![b'a'; 1024 * 1024]),
        ),
    ]
}

fn paths() -> Vec<(String, Exchange)> {
    let mut paths = Vec::new();
    let texts = [
        ("/", "/"),
        ("%", "%"),
        (";", ";"),
        ("a/", "a/"),
        ("1/", "1/"),
        ("control bytes", "\u{1}"),
        ("control bytes and /", "\u{1}/"),
        ("bytes above 0x7f", "\u{e9}"),
        ("%2f", "%2f"),
        ("a", "a"),
        ("1", "1"),
        ("identifiers", "8b2c1f0e-1111-4222-8333-abcdefabcdef/"),
        ("hex", "0123456789abcdef"),
        (".", "."),
        ("a.", "a."),
    ];
    for (name, text) in texts {
        for (size, bytes) in [
            ("64 KiB", PATH),
            ("1,000 bytes", 1000),
            ("250 bytes", 250),
            ("40 bytes", 40),
        ] {
            let path = repeated(text, bytes);
            paths.push((
                format!("{size} of {name}, 200"),
                Exchange::of_path(path.clone()),
            ));
            paths.push((
                format!("{size} of {name}, 404"),
                Exchange::of_path(path).answered(404),
            ));
        }
    }
    let query = format!("/usual?{}", "a=1&".repeat(PATH / 4));
    paths.push(("64 KiB of query".to_owned(), Exchange::of_path(query)));
    paths
}

/// Configurations, with what the costly path must avoid.
fn configurations() -> Vec<(&'static str, Value)> {
    let routes: Vec<String> = (0..200)
        .map(|number| format!("/api-{number}/:id/*"))
        .collect();
    let rules: Vec<Value> = (0..RULES)
        .map(|number| json!({"match": format!("/x{number}-\\d+"), "replace": "/:id"}))
        .collect();
    let near: Vec<String> = (1..25)
        .map(|depth| format!("{}/end", "/:a".repeat(depth)))
        .collect();
    vec![
        ("no routes", json!({})),
        ("200 routes", json!({"routes": routes})),
        ("routes that nearly match", json!({"routes": near})),
        ("8 rules", json!({"path_rules": rules})),
    ]
}

/// Rules that the configuration itself calls slow.
fn slow_configuration() -> Value {
    let rules: Vec<Value> = (0..2)
        .map(|number| {
            let pattern = format!("(/[a-z0-9]+)+/{number}$");
            json!({"match": pattern, "replace": "/:id", "slow": true})
        })
        .collect();
    json!({"path_rules": rules})
}

/// What an input costs, the first time or again, and as a line of a table.
struct Cost {
    fuel: u64,
    line: String,
}

fn measure(configuration: &str, keys: &Value, cases: Vec<(String, Exchange)>) -> Vec<Cost> {
    let cost_of = |(name, exchange): (String, Exchange)| {
        let envoy = envoy(keys.clone());
        for _ in 0..3 {
            usual::exchange(&envoy.worker(0), "/usual", &[]);
            envoy.tick();
        }
        let first = exchange.run(&envoy);
        exchange.run(&envoy);
        let again = exchange.run(&envoy);
        Cost {
            fuel: first.max(again),
            line: format!("{first:>8} {again:>8}  {configuration}: {name}"),
        }
    };
    cases.into_iter().map(cost_of).collect()
}

/// Fails with the whole table, worst first, where a line is over `most`.
fn assert_bounded(mut costs: Vec<Cost>, most: u64) {
    costs.sort_by_key(|cost| std::cmp::Reverse(cost.fuel));
    let too_much = costs.iter().filter(|cost| cost.fuel > most).count();
    let table: Vec<&str> = costs.iter().map(|cost| cost.line.as_str()).collect();
    let table = format!("   first    again  input\n{}", table.join("\n"));
    assert!(
        too_much == 0,
        "{too_much} of {} inputs cost more than {most} units of fuel\n{table}",
        costs.len(),
    );
    println!("{table}");
}

#[test]
fn the_worst_input_costs_a_bounded_number_of_instructions() {
    let responses = responses()
        .into_iter()
        .map(|(name, exchange)| (name.to_owned(), exchange));
    let mut costs = measure("any", &json!({}), responses.collect());
    for (configuration, keys) in configurations() {
        costs.extend(measure(configuration, &keys, paths()));
    }
    assert_bounded(costs, MOST);
}

/// What a client can say as a player, where that is listened to.
fn players() -> Vec<(String, Exchange)> {
    let payload = |bytes: usize| {
        let mut text = String::new();
        for number in 0.. {
            if text.len() + 16 >= bytes {
                return text;
            }
            let _ = write!(text, "k{number}=\"\\\\a\",");
        }
        text
    };
    let said = |name: &str, value: String, times: usize| {
        let mut exchange = Exchange::of_path("/usual");
        let header = (name.to_owned(), value.into_bytes());
        exchange.request.extend(vec![header; times]);
        exchange
    };
    let encoded = |text: String| {
        text.replace('"', "%22")
            .replace('=', "%3D")
            .replace(',', "%2C")
    };
    let asked = |text: String| Exchange::of_path(format!("/usual?CMCD={text}"));
    let whole = "br=3200,bs,d=4004,dl=25400,mtp=48100,nor=\"..%2F300kbps\",ot=v,rtp=15000,sid=\"6e2fb550\",su,tb=6000";
    [
        ("900 bytes of keys", said("cmcd-object", payload(900), 1)),
        ("64 KiB of keys", said("cmcd-object", payload(PATH), 1)),
        ("100 headers", said("cmcd-object", whole.to_owned(), 100)),
        (
            "900 bytes of a session",
            said("cmcd-session", format!("sid=\"{}\"", "a".repeat(900)), 1),
        ),
        (
            "900 bytes of bitrates",
            said("cmcd-object", format!("br=({})", "1 ".repeat(440)), 1),
        ),
        ("900 encoded bytes", asked(encoded(payload(600)))),
        ("64 KiB of an argument", asked(encoded(payload(PATH)))),
        (
            "64 KiB of other arguments",
            asked(format!("x&{}", "a=1&".repeat(PATH / 4))),
        ),
    ]
    .map(|(name, exchange)| (name.to_owned(), exchange))
    .into()
}

#[test]
fn where_all_is_read_that_can_be_the_worst_input_is_bounded_too() {
    let responses = responses()
        .into_iter()
        .map(|(name, exchange)| (name.to_owned(), exchange));
    let cases = responses.chain(players()).collect();
    assert_bounded(measure("all is read", &all_that_is_read(), cases), MOST);
}

#[test]
fn rules_that_are_called_slow_are_bounded_too() {
    assert_bounded(
        measure("2 slow rules", &slow_configuration(), paths()),
        MOST_SLOW,
    );
}
