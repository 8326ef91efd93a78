use gatemeter_host_tests::scenario::flags;
use gatemeter_host_tests::{NO_HEADERS, Request};
use serde_json::json;

use crate::{assert_requests, envoy, envoy_with_routes, flushed, get};

#[test]
fn a_request_is_counted_under_method_template_and_status() {
    let envoy = envoy_with_routes(&["/api/content/:id", "/api/content/:id/stream", "/ws/*"]);
    let worker = envoy.worker(0);
    get(&worker, "/api/content/42", 200);
    get(&worker, "/api/content/43?page=2", 200);
    get(&worker, "/api/content/43#top", 404);
    get(&worker, "/api/content/43/stream", 206);
    get(&worker, "/ws/a/b/c", 200);
    let stream = worker.request(Request::new("POST", "/api/content/1").with_body());
    stream.request_body("{}", true);
    stream.respond(201, NO_HEADERS);
    stream.response_body("{}", true);
    stream.finish();
    assert_requests(
        &flushed(&envoy),
        &[
            ("GET", "/api/content/:id", "200", 2),
            ("GET", "/api/content/:id", "404", 1),
            ("GET", "/api/content/:id/stream", "206", 1),
            ("GET", "/ws/*", "200", 1),
            ("POST", "/api/content/:id", "201", 1),
        ],
    );
}

#[test]
fn braces_are_as_good_as_a_colon() {
    let envoy = envoy_with_routes(&["/api/content/{id}"]);
    get(&envoy.worker(0), "/api/content/42", 200);
    assert_requests(&flushed(&envoy), &[("GET", "/api/content/:id", "200", 1)]);
}

#[test]
fn known_methods_keep_their_names_and_all_others_share_one() {
    let envoy = envoy_with_routes(&["/a"]);
    let known = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "QUERY",
    ];
    for method in known.iter().chain(&["BREW", "get", "", "_OTHER", "\u{e9}"]) {
        let stream = envoy.worker(0).request(Request::new(method, "/a"));
        stream.respond(404, NO_HEADERS);
        stream.finish();
    }
    let mut expected: Vec<_> = known
        .iter()
        .map(|method| (*method, "/a", "404", 1))
        .collect();
    expected.push(("_OTHER", "/a", "404", 5));
    assert_requests(&flushed(&envoy), &expected);
}

#[test]
fn a_status_outside_100_to_599_is_other() {
    let envoy = envoy_with_routes(&["/a"]);
    for status in ["200", "999", "099", "20", "2000", "abc", ""] {
        let stream = envoy.worker(0).request(Request::get("/a"));
        stream.respond_raw([(":status", status)]);
        stream.finish();
    }
    let lines = [("GET", "/a", "200", 1), ("GET", "/a", "_OTHER", 6)];
    assert_requests(&flushed(&envoy), &lines);
}

#[test]
fn missing_pseudo_headers_give_a_method_and_path_of_their_own() {
    let envoy = envoy_with_routes(&["/a"]);
    let worker = envoy.worker(0);
    for request in [
        Request::from(NO_HEADERS),
        Request::from([("user-agent", "x")]),
        Request::from([(":path", "/a")]),
        Request::from([(":method", "GET")]),
        Request::from([(":method", "GET"), (":path", "")]),
    ] {
        let stream = worker.request(request);
        stream.respond(400, NO_HEADERS);
        stream.finish();
    }
    worker.answer_before_filter(Request::without_headers(), 400, NO_HEADERS);
    assert_requests(
        &flushed(&envoy),
        &[
            ("_OTHER", "_UNMATCHED", "400", 3),
            ("_OTHER", "/a", "400", 1),
            ("GET", "_UNMATCHED", "400", 2),
        ],
    );
}

#[test]
fn no_byte_in_a_header_does_harm() {
    let envoy = envoy(json!({}));
    let worker = envoy.worker(0);
    for byte in 0..=255_u8 {
        for name in [":method", ":path", ":authority", "user-agent", "x-db-pool"] {
            let mut headers = vec![
                (":method".to_owned(), b"GET".to_vec()),
                (":path".to_owned(), b"/a".to_vec()),
            ];
            headers.retain(|(other, _)| other != name);
            headers.push((name.to_owned(), vec![b'/', byte, b'x']));
            let stream = worker.request(headers);
            let signals = ["cache-status", "x-db-pool", "content-type", "server"];
            let mut headers = vec![(":status", b"200".to_vec())];
            headers.extend(signals.map(|name| (name, vec![b'a', byte, b'b'])));
            stream.respond_raw(headers);
            stream.finish();
        }
    }
    let stats = flushed(&envoy);
    assert_eq!(stats.sum("http_requests_total"), 256 * 5);
    for name in stats.names() {
        assert!(
            name.bytes().all(|byte| byte.is_ascii_graphic()),
            "{name:?} needs no escaping on any page"
        );
    }
}

#[test]
fn without_templates_identifiers_in_the_path_become_ids() {
    let envoy = envoy(json!({}));
    let worker = envoy.worker(0);
    get(&worker, "/users/42/posts/7", 200);
    get(&worker, "/users/8b2c1f0e-1111-4222-8333-abcdefabcdef", 200);
    get(&worker, "/users/01ARZ3NDEKTSV4RRFFQ69G5FAV", 200);
    get(&worker, "/blobs/d41d8cd98f00b204e9800998ecf8427e", 200);
    get(&worker, "/users/me", 200);
    assert_requests(
        &flushed(&envoy),
        &[
            ("GET", "/users/:id/posts/:id", "200", 1),
            ("GET", "/users/:id", "200", 2),
            ("GET", "/blobs/:id", "200", 1),
            ("GET", "/users/me", "200", 1),
        ],
    );
}

#[test]
fn the_regex_rule_of_the_guide_rewrites_before_anything_else() {
    let rules = json!([{"match": "/\\d+", "replace": "/:id"}]);
    let envoy = envoy(json!({"path_rules": rules, "routes": ["/api/content/:id"]}));
    get(&envoy.worker(0), "/api/content/42", 200);
    assert_requests(&flushed(&envoy), &[("GET", "/api/content/:id", "200", 1)]);
}

#[test]
fn the_path_is_the_one_before_the_route_rewrites_it() {
    let envoy = envoy_with_routes(&["/api/content/:id", "/content/:id"]);
    let stream = envoy.worker(0).request(Request::get("/api/content/42"));
    stream.rewrite_path("/content/42");
    stream.respond(200, NO_HEADERS);
    stream.finish();
    assert_requests(&flushed(&envoy), &[("GET", "/api/content/:id", "200", 1)]);
}

#[test]
fn a_clients_own_original_path_is_not_believed() {
    let envoy = envoy_with_routes(&["/a", "/b"]);
    let forged = Request::get("/a").header("x-envoy-original-path", "/b");
    let stream = envoy.worker(0).request(forged);
    stream.respond(200, NO_HEADERS);
    stream.finish();
    assert_requests(&flushed(&envoy), &[("GET", "/a", "200", 1)]);
}

#[test]
fn excluded_paths_are_counted_apart() {
    let envoy = envoy(json!({"exclude": ["/metrics"]}));
    let worker = envoy.worker(0);
    get(&worker, "/metrics", 200);
    get(&worker, "/metrics?name=x", 200);
    get(&worker, "/metrics/api", 200);
    let failed = worker.request(Request::get("/metrics"));
    failed.local_reply(503, flags::UH, "no_healthy_upstream");
    worker.answer_before_filter(Request::get("/metrics"), 503, NO_HEADERS);
    worker.request(Request::get("/metrics")).client_leaves();
    let stats = flushed(&envoy);
    assert_requests(&stats, &[("GET", "/metrics/api", "200", 1)]);
    stats.assert_series("http_local_replies_total", &[]);
    stats.assert_counter("gatemeter_excluded_requests_total.service=api", 5);
    stats.assert_gauge("active_connections.service=api", 0);
}
