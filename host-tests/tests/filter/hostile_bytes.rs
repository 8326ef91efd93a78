use gatemeter_core::signals::RESPONSE_HEADERS;
use serde_json::json;

use crate::form::{Form, Headers, headers};
use crate::{ACTIVE, all_that_is_read, assert_requests, counted, envoy, flushed};

fn request() -> Headers {
    headers(&[
        (":method", "GET"),
        (":path", "/a"),
        (":authority", "example.com"),
    ])
}

fn response() -> Headers {
    headers(&[(":status", "200"), ("content-type", "text/plain")])
}

/// Texts with this byte alone, at the start, in the middle and at the end.
fn texts_with(byte: u8, usual: &str) -> Vec<Vec<u8>> {
    let usual = usual.as_bytes();
    let (head, tail) = usual.split_at(usual.len() / 2);
    vec![
        vec![byte],
        [&[byte], usual].concat(),
        [head, &[byte], tail].concat(),
        [usual, &[byte]].concat(),
    ]
}

/// Puts each byte into `place`, which makes the headers of an exchange, and
/// asserts that each exchange counts once.
#[track_caller]
fn every_byte(usual: &str, place: impl Fn(&[u8]) -> (Headers, Headers)) {
    for form in Form::ALL {
        for keys in [
            json!({}),
            json!({"routes": ["/a", "/a/:id", "/*"]}),
            all_that_is_read(),
        ] {
            let envoy = envoy(keys);
            let mut exchanges = 0;
            for byte in 0..=255 {
                for text in texts_with(byte, usual) {
                    let (request, response) = place(&text);
                    form.exchange(&envoy.worker(0), request, response);
                    exchanges += 1;
                }
                envoy.tick();
                let counted = counted(&envoy.stats());
                assert_eq!(counted, exchanges, "{form:?}, byte {byte:#04x}");
            }
            flushed(&envoy).assert_gauge(ACTIVE, 0);
        }
    }
}

fn with(mut headers: Headers, name: &str, value: &[u8]) -> Headers {
    headers.retain(|(key, _)| key != name.as_bytes());
    headers.push((name.into(), value.into()));
    headers
}

#[test]
fn any_byte_in_the_path_counts_once() {
    every_byte("/a/42", |path| (with(request(), ":path", path), response()));
}

#[test]
fn any_byte_in_the_original_path_counts_once() {
    let name = "x-envoy-original-path";
    every_byte("/a/42", |path| (with(request(), name, path), response()));
}

#[test]
fn any_byte_in_the_method_counts_once() {
    every_byte("GET", |method| {
        (with(request(), ":method", method), response())
    });
}

#[test]
fn any_byte_in_the_status_counts_once() {
    every_byte("200", |status| {
        (request(), with(response(), ":status", status))
    });
}

#[test]
fn any_byte_in_the_content_type_counts_once() {
    let usual = "text/event-stream; charset=utf-8";
    every_byte(usual, |value| {
        (request(), with(response(), "content-type", value))
    });
}

#[test]
fn any_byte_in_a_signal_counts_once() {
    for signal in RESPONSE_HEADERS {
        let usual = match signal {
            "cache-status" => "redis; hit; detail=\"x\", edge; fwd=miss",
            "x-db-pool" => "active=15, idle=25",
            "server-timing" => "db;dur=12.3, render;dur=4;desc=\"x\"",
            _ => "MISS, TCP_HIT from x",
        };
        every_byte(usual, |value| (request(), with(response(), signal, value)));
    }
}

#[test]
fn any_byte_that_a_player_says_counts_once() {
    let usual = "br=(3200;v 64;a),bs,ot=v,sid=\"a-b\",su";
    for header in ["cmcd-object", "cmcd-session", "cmcd-status", "cmcd-request"] {
        every_byte(usual, |value| (with(request(), header, value), response()));
    }
    every_byte("/a?CMCD=br%3D3200%2Cbs", |path| {
        (with(request(), ":path", path), response())
    });
}

#[test]
fn any_byte_in_a_header_name_counts_once() {
    let both = |name: &[u8]| {
        let header = (name.to_vec(), b"1".to_vec());
        let [mut request, mut response] = [request(), response()];
        request.insert(0, header.clone());
        response.insert(0, header);
        (request, response)
    };
    every_byte("x-db-pool", both);
    every_byte(":path", both);
}

/// The ways in which a pseudo-header can stand in a request or response.
fn standings(name: &str, usual: &str, other: &str) -> Vec<Headers> {
    vec![
        vec![],
        headers(&[(name, "")]),
        headers(&[(name, usual)]),
        headers(&[(name, usual), (name, usual)]),
        headers(&[(name, usual), (name, other)]),
        headers(&[(name, other), (name, usual)]),
        headers(&[(name, ""), (name, usual)]),
        headers(&[(name, usual), (name, "")]),
    ]
}

#[test]
fn pseudo_headers_that_are_missing_empty_or_repeated_count_once_in_every_combination() {
    for form in Form::ALL {
        let envoy = envoy(json!({}));
        let mut exchanges = 0;
        for method in standings(":method", "GET", "POST") {
            for path in standings(":path", "/a", "/b") {
                for status in standings(":status", "200", "404") {
                    for ordinary_first in [false, true] {
                        let ordinary = headers(&[("x-ordinary", "1")]);
                        let pseudo = [method.clone(), path.clone()].concat();
                        let (request, response) = if ordinary_first {
                            (
                                [ordinary.clone(), pseudo].concat(),
                                [ordinary, status.clone()].concat(),
                            )
                        } else {
                            (pseudo, status.clone())
                        };
                        form.exchange(&envoy.worker(0), request.clone(), response.clone());
                        exchanges += 1;
                        let stats = flushed(&envoy);
                        let counted = counted(&stats);
                        assert_eq!(counted, exchanges, "{form:?}: {request:?} {response:?}");
                        stats.assert_gauge(ACTIVE, 0);
                    }
                }
            }
        }
    }
}

#[test]
fn of_a_repeated_pseudo_header_the_first_counts() {
    for form in Form::ALL {
        let envoy = envoy(json!({}));
        let request = headers(&[
            (":method", "PUT"),
            (":method", "GET"),
            (":path", "/1st"),
            (":path", "/b"),
        ]);
        let response = headers(&[(":status", "201"), (":status", "200")]);
        form.exchange(&envoy.worker(0), request, response);
        assert_requests(&flushed(&envoy), &[("PUT", "/1st", "201", 1)]);
    }
}

#[test]
fn no_headers_many_headers_and_huge_ones_count_once() {
    let many = |count: usize| -> Headers {
        let header = |number: usize| (format!("x-{number}").into_bytes(), b"1".to_vec());
        (0..count).map(header).collect()
    };
    let empty = |count: usize| -> Headers { vec![(Vec::new(), Vec::new()); count] };
    let huge = vec![b'a'; 1024 * 1024];
    let path = [b"/".as_slice(), &vec![b'a'; 64 * 1024]].concat();
    let cases = [
        ("no headers at all", vec![], vec![]),
        ("no request headers", vec![], response()),
        ("no response headers", request(), vec![]),
        (
            "10,000 headers",
            [request(), many(10_000)].concat(),
            [response(), many(10_000)].concat(),
        ),
        (
            "10,000 headers first",
            [many(10_000), request()].concat(),
            [many(10_000), response()].concat(),
        ),
        (
            "10,000 empty headers",
            [request(), empty(10_000)].concat(),
            [response(), empty(10_000)].concat(),
        ),
        (
            "a path of 64 KiB",
            with(request(), ":path", &path),
            response(),
        ),
        (
            "a method of 1 MiB",
            with(request(), ":method", &huge),
            response(),
        ),
        (
            "a path of 1 MiB",
            with(request(), ":path", &huge),
            response(),
        ),
        (
            "a status of 1 MiB",
            request(),
            with(response(), ":status", &huge),
        ),
        (
            "a content type of 1 MiB",
            request(),
            with(response(), "content-type", &huge),
        ),
        (
            "a pool of 1 MiB",
            request(),
            with(response(), "x-db-pool", &huge),
        ),
        (
            "a cache of 1 MiB",
            request(),
            with(response(), "cache-status", &huge),
        ),
        (
            "a value of 1 MiB",
            with(request(), "x", &huge),
            with(response(), "x", &huge),
        ),
        (
            "a name of 1 MiB",
            [request(), vec![(huge.clone(), vec![])]].concat(),
            response(),
        ),
    ];
    for form in Form::ALL {
        let envoy = envoy(json!({}));
        let mut exchanges = 0;
        // Twice: what is remembered of the first must do no harm to the second.
        for (name, request, response) in cases.iter().chain(&cases) {
            form.exchange(&envoy.worker(0), request.clone(), response.clone());
            exchanges += 1;
            let stats = flushed(&envoy);
            assert_eq!(counted(&stats), exchanges, "{form:?}: {name}");
            stats.assert_gauge(ACTIVE, 0);
        }
    }
}
