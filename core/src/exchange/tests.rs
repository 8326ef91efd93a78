use super::*;
use crate::fake::FakeProxy;
use crate::host::HostCall;
use crate::plugin_config::PluginConfig;

const MILLI: u64 = 1_000_000;

struct Service {
    proxy: FakeProxy,
    recorder: Recorder,
}

impl Service {
    fn new(json: &str) -> Self {
        let proxy = FakeProxy::default();
        let config = PluginConfig::parse(json.as_bytes()).unwrap();
        let mut recorder = Recorder::new(config, 1);
        recorder.configure(&proxy).unwrap();
        Self { proxy, recorder }
    }

    fn api() -> Self {
        Self::new(r#"{"service": "api", "exclude": ["/metrics"], "routes": ["/a/:id", "/ws"]}"#)
    }

    fn start(&mut self) -> Exchange {
        self.proxy.clear();
        Exchange::start(&mut self.recorder, &self.proxy)
    }

    fn request(&mut self, exchange: &mut Exchange, method: &str, path: &str) {
        let headers = [(":method", method), (":path", path), (":authority", "x")];
        self.proxy.set_headers(Headers::Request, &headers);
        exchange.on_request_headers(&mut self.recorder, &self.proxy);
    }

    fn respond(&mut self, exchange: &mut Exchange, headers: &[(&str, &str)]) {
        self.proxy.set_headers(Headers::Response, headers);
        exchange.on_response_headers(&mut self.recorder, &self.proxy);
    }

    fn end(&mut self, mut exchange: Exchange) {
        exchange.on_log(&mut self.recorder, &self.proxy);
        exchange.on_end(&mut self.recorder, &self.proxy);
    }

    fn access_log(&mut self) {
        on_access_log(&mut self.recorder, &self.proxy);
    }

    /// Label sets and counts after a tick.
    fn counts(&mut self) -> Vec<(String, u64)> {
        self.recorder.tick(&self.proxy);
        let stats = self.proxy.stats("http_requests_total.service=api.");
        stats.into_iter().collect()
    }

    fn stat(&mut self, name: &str) -> u64 {
        self.recorder.tick(&self.proxy);
        self.proxy.stat(name).unwrap_or(0)
    }

    fn nanos(&mut self, set: &str) -> u64 {
        self.stat(&format!(
            "http_request_duration_nanoseconds_sum.service=api.{set}"
        ))
    }
}

fn one(set: &str) -> Vec<(String, u64)> {
    vec![(set.to_owned(), 1)]
}

#[test]
fn an_ordinary_exchange_is_counted_once_with_the_time_of_its_context() {
    let mut service = Service::api();
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/a/7?x=1");
    service.proxy.advance(3 * MILLI);
    service.respond(&mut exchange, &[(":status", "200")]);
    service.proxy.advance(4 * MILLI);
    assert_eq!(service.stat("active_connections.service=api"), 1);
    service.end(exchange);
    assert_eq!(service.counts(), one("method=GET.path=/a/:id.status=200"));
    assert_eq!(service.nanos("method=GET.path=/a/:id"), 7 * MILLI);
    assert_eq!(service.stat("active_connections.service=api"), 0);
}

#[test]
fn an_ordinary_exchange_reads_two_maps_and_two_clocks_and_nothing_else() {
    let mut service = Service::api();
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/a/7");
    service.respond(&mut exchange, &[(":status", "200")]);
    let before = HostCall::ALL.map(|call| service.proxy.calls(call));
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/a/7");
    service.respond(&mut exchange, &[(":status", "200")]);
    exchange.on_log(&mut service.recorder, &service.proxy);
    for (call, before) in HostCall::ALL.into_iter().zip(before) {
        let expected = match call {
            HostCall::HeaderMap | HostCall::Clock => 2,
            // The first observation of a label set asks for its place.
            HostCall::SharedData | HostCall::SetSharedData => continue,
            _ => 0,
        };
        assert_eq!(service.proxy.calls(call) - before, expected, "{call:?}");
    }
}

#[test]
fn a_local_reply_before_the_filter_takes_what_the_log_callback_can_read() {
    let mut service = Service::api();
    let exchange = service.start();
    let headers = [(":method", "POST"), (":path", "/a/7")];
    service.proxy.set_headers(Headers::Request, &headers);
    service
        .proxy
        .set_headers(Headers::Response, &[(":status", "403")]);
    let nanos = 400 * MILLI;
    service
        .proxy
        .set_property(Property::RequestDuration, &nanos.to_le_bytes());
    service.proxy.advance(MILLI);
    service.end(exchange);
    assert_eq!(service.counts(), one("method=POST.path=/a/:id.status=403"));
    assert_eq!(service.nanos("method=POST.path=/a/:id"), 400 * MILLI);
}

#[test]
fn a_request_without_any_header_is_other_and_unmatched() {
    let mut service = Service::api();
    let exchange = service.start();
    service
        .proxy
        .set_headers(Headers::Response, &[(":status", "400")]);
    service.end(exchange);
    assert_eq!(
        service.counts(),
        one("method=_OTHER.path=_UNMATCHED.status=400")
    );
}

#[test]
fn a_client_that_goes_away_before_the_response_is_499() {
    for flags in [1_u64 << 14, 1 << 28] {
        let mut service = Service::api();
        let mut exchange = service.start();
        service.request(&mut exchange, "GET", "/a/7");
        service
            .proxy
            .set_property(Property::ResponseFlags, &flags.to_le_bytes());
        service.end(exchange);
        assert_eq!(service.counts(), one("method=GET.path=/a/:id.status=499"));
    }
}

#[test]
fn no_response_and_no_reason_is_other() {
    let mut service = Service::api();
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/a/7");
    service.end(exchange);
    assert_eq!(
        service.counts(),
        one("method=GET.path=/a/:id.status=_OTHER")
    );
}

#[test]
fn who_made_an_error_is_counted_by_response_flag() {
    let mut service = Service::api();
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/a/7");
    service
        .proxy
        .set_property(Property::ResponseFlags, &(1_u64 << 5).to_le_bytes());
    service.respond(&mut exchange, &[(":status", "503")]);
    service.end(exchange);
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/a/7");
    service.respond(&mut exchange, &[(":status", "500")]);
    service.end(exchange);
    assert_eq!(
        service.stat("http_local_replies_total.service=api.reason=UF"),
        1
    );
    let replies = service.proxy.stats("http_local_replies_total.");
    assert_eq!(replies.len(), 1, "a 500 of the service itself has no flag");
}

#[test]
fn an_internal_redirect_is_no_request_of_the_client() {
    let mut service = Service::api();
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/a/7");
    service
        .proxy
        .set_headers(Headers::Response, &[(":status", "302")]);
    service
        .proxy
        .set_property(Property::ResponseCodeDetails, INTERNAL_REDIRECT);
    service.end(exchange);
    assert_eq!(service.counts(), []);
    assert_eq!(
        service.stat("gatemeter_internal_redirects_total.service=api"),
        1
    );
}

#[test]
fn an_upgrade_is_counted_while_it_is_open_and_only_once() {
    let mut service = Service::api();
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/ws");
    service.proxy.advance(2 * MILLI);
    service.respond(&mut exchange, &[(":status", "101")]);
    assert_eq!(service.counts(), one("method=GET.path=/ws.status=101"));
    assert_eq!(service.stat("active_connections.service=api"), 1);
    service.proxy.advance(3_600_000 * MILLI);
    service.end(exchange);
    assert_eq!(service.counts(), one("method=GET.path=/ws.status=101"));
    assert_eq!(service.nanos("method=GET.path=/ws"), 2 * MILLI);
    assert_eq!(service.stat("active_connections.service=api"), 0);
}

#[test]
fn a_tunnel_and_an_event_stream_are_counted_at_response_headers() {
    for (method, headers) in [
        ("CONNECT", vec![(":status", "200")]),
        (
            "GET",
            vec![
                (":status", "200"),
                ("content-type", "Text/Event-Stream; charset=utf-8"),
            ],
        ),
    ] {
        let mut service = Service::api();
        let mut exchange = service.start();
        service.request(&mut exchange, method, "/a/7");
        service.respond(&mut exchange, &headers);
        let set = format!("method={method}.path=/a/:id.status=200");
        assert_eq!(service.counts(), one(&set));
        service.end(exchange);
        assert_eq!(service.counts(), one(&set));
    }
}

#[test]
fn a_response_that_stays_open_is_counted_once_however_often_it_comes() {
    let mut service = Service::api();
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/ws");
    for _ in 0..2 {
        service.respond(&mut exchange, &[(":status", "101")]);
    }
    exchange.on_log(&mut service.recorder, &service.proxy);
    service.respond(&mut exchange, &[(":status", "101")]);
    service.end(exchange);
    assert_eq!(service.counts(), one("method=GET.path=/ws.status=101"));
}

#[test]
fn a_response_of_another_media_type_is_counted_at_its_end() {
    for content_type in [
        "text/html",
        "text/event-streams",
        "application/text/event-stream",
    ] {
        let mut service = Service::api();
        let mut exchange = service.start();
        service.request(&mut exchange, "GET", "/a/7");
        let headers = [(":status", "200"), ("content-type", content_type)];
        service.respond(&mut exchange, &headers);
        assert_eq!(service.counts(), [], "{content_type}");
        service.end(exchange);
        assert_eq!(service.counts(), one("method=GET.path=/a/:id.status=200"));
    }
}

#[test]
fn a_request_with_a_method_or_a_path_only_keeps_what_it_has() {
    for (header, set) in [
        ((":method", "GET"), "method=GET.path=_UNMATCHED.status=200"),
        ((":path", "/a/7"), "method=_OTHER.path=/a/:id.status=200"),
    ] {
        let mut service = Service::api();
        let mut exchange = service.start();
        service.proxy.set_headers(Headers::Request, &[header]);
        exchange.on_request_headers(&mut service.recorder, &service.proxy);
        service.respond(&mut exchange, &[(":status", "200")]);
        service.end(exchange);
        assert_eq!(service.counts(), one(set));
    }
}

#[test]
fn an_answer_that_the_filter_did_not_see_is_a_local_reply_from_500_on_only() {
    for (status, set, replies) in [("403", "403", 0), ("503", "503", 1), ("999", "_OTHER", 1)] {
        let mut service = Service::api();
        let mut exchange = service.start();
        service.request(&mut exchange, "GET", "/a/7");
        service
            .proxy
            .set_headers(Headers::Response, &[(":status", status)]);
        let flags = 1_u64 << 5;
        service
            .proxy
            .set_property(Property::ResponseFlags, &flags.to_le_bytes());
        service.end(exchange);
        let set = format!("method=GET.path=/a/:id.status={set}");
        assert_eq!(service.counts(), one(&set));
        let name = "http_local_replies_total.service=api.reason=UF";
        assert_eq!(service.stat(name), replies, "{status}");
    }
}

#[test]
fn an_excluded_path_moves_one_counter_only() {
    let mut service = Service::api();
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/metrics?x");
    service
        .proxy
        .set_property(Property::ResponseFlags, &(1_u64 << 5).to_le_bytes());
    service.respond(&mut exchange, &[(":status", "503")]);
    service.end(exchange);
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/metrics");
    service.end(exchange);
    assert_eq!(service.counts(), []);
    assert_eq!(
        service.stat("gatemeter_excluded_requests_total.service=api"),
        2
    );
    assert_eq!(service.proxy.stats("http_local_replies_total.").len(), 0);
}

#[test]
fn signal_headers_are_read_and_the_listed_ones_removed() {
    let mut service = Service::new(
        r#"{"service": "api", "cache": {"types": {"redis": "redis"}}, "strip": ["x-db-pool"]}"#,
    );
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/a");
    let headers = [
        (":status", "200"),
        ("cache-status", "redis; hit"),
        ("cache-status", "redis; fwd=miss"),
        ("x-db-pool", "active=15, idle=25"),
    ];
    service.respond(&mut exchange, &headers);
    assert_eq!(service.proxy.removed(), ["x-db-pool"]);
    service.end(exchange);
    for (name, value) in [
        ("cache_hits_total.service=api.cache_type=redis", 1),
        ("cache_misses_total.service=api.cache_type=redis", 1),
        ("db_connections_active.service=api", 15),
        ("db_connections_idle.service=api", 25),
    ] {
        assert_eq!(service.stat(name), value, "{name}");
    }
}

#[test]
fn signal_headers_of_a_request_count_nothing() {
    let mut service = Service::api();
    let mut exchange = service.start();
    let headers = [
        ("cache-status", "redis; hit"),
        (":method", "GET"),
        ("cache-status", "redis; fwd=miss, x; ="),
        (":path", "/a/7"),
        ("x-db-pool", "active=15, idle=25"),
    ];
    service.proxy.set_headers(Headers::Request, &headers);
    exchange.on_request_headers(&mut service.recorder, &service.proxy);
    service.respond(&mut exchange, &[(":status", "200")]);
    service.end(exchange);
    assert_eq!(service.counts(), one("method=GET.path=/a/:id.status=200"));
    for prefix in ["cache_", "db_", "gatemeter_signal_errors_total"] {
        assert_eq!(service.proxy.stats(prefix).len(), 0, "{prefix}");
    }
}

#[test]
fn a_header_that_is_not_read_can_be_hidden_too() {
    let mut service = Service::new(r#"{"service": "api", "strip": ["Server-Timing"]}"#);
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/a");
    let headers = [
        (":status", "200"),
        ("server-timing", "db;dur=1, ="),
        ("x-db-pool", "active=1"),
    ];
    service.respond(&mut exchange, &headers);
    assert_eq!(service.proxy.removed(), ["server-timing"]);
    service.end(exchange);
    assert_eq!(
        service.stat("gatemeter_signal_errors_total.service=api.signal=server-timing"),
        0
    );
}

#[test]
fn every_host_call_that_fails_is_counted_by_its_name() {
    for call in [
        HostCall::Clock,
        HostCall::HeaderMap,
        HostCall::Property,
        HostCall::RemoveHeader,
    ] {
        let mut service = Service::new(r#"{"service": "api"}"#);
        let mut exchange = service.start();
        service.proxy.fail(call);
        let headers = [(":status", "503"), ("x-db-pool", "active=1")];
        service.respond(&mut exchange, &headers);
        exchange.on_log(&mut service.recorder, &service.proxy);
        service.proxy.heal();
        service.end(exchange);
        let name = format!(
            "gatemeter_filter_errors_total.service=api.reason={}",
            call.as_str()
        );
        assert!(service.stat(&name) > 0, "{name}");
    }
}

#[test]
fn an_exchange_that_outlives_its_root_is_still_counted_and_closed() {
    let mut service = Service::api();
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/ws");
    service.respond(&mut exchange, &[(":status", "101")]);
    service.recorder.close(&service.proxy);
    assert_eq!(
        service.proxy.stat("active_connections.service=api"),
        Some(1)
    );
    exchange.on_log(&mut service.recorder, &service.proxy);
    exchange.on_end(&mut service.recorder, &service.proxy);
    assert_eq!(
        service.proxy.stat("active_connections.service=api"),
        Some(0)
    );
}

#[test]
fn signal_headers_of_a_request_move_nothing() {
    let mut service = Service::api();
    let mut exchange = service.start();
    let headers = [
        (":method", "GET"),
        (":path", "/a/7"),
        ("x-db-pool", "active=99"),
    ];
    service.proxy.set_headers(Headers::Request, &headers);
    exchange.on_request_headers(&mut service.recorder, &service.proxy);
    service.respond(&mut exchange, &[(":status", "200")]);
    service.end(exchange);
    assert_eq!(service.stat("db_connections_active.service=api"), 0);
    assert_eq!(service.proxy.removed(), [""; 0]);
}

#[test]
fn a_context_that_goes_without_a_log_callback_is_counted_with_what_is_known() {
    let mut service = Service::api();
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/a/7");
    service.respond(&mut exchange, &[(":status", "200")]);
    exchange.on_end(&mut service.recorder, &service.proxy);
    exchange.on_end(&mut service.recorder, &service.proxy);
    assert_eq!(service.counts(), one("method=GET.path=/a/:id.status=200"));
    assert_eq!(service.stat("active_connections.service=api"), 0);
}

#[test]
fn logging_twice_counts_once() {
    let mut service = Service::api();
    let mut exchange = service.start();
    service.request(&mut exchange, "GET", "/a/7");
    service.respond(&mut exchange, &[(":status", "200")]);
    exchange.on_log(&mut service.recorder, &service.proxy);
    exchange.on_log(&mut service.recorder, &service.proxy);
    service.end(exchange);
    assert_eq!(service.counts(), one("method=GET.path=/a/:id.status=200"));
}

#[test]
fn every_exchange_is_counted_once_whatever_host_call_fails() {
    for call in HostCall::ALL {
        let mut service = Service::api();
        service.proxy.fail(call);
        let mut exchange = service.start();
        service.request(&mut exchange, "GET", "/a/7");
        service.respond(
            &mut exchange,
            &[(":status", "503"), ("x-db-pool", "active=1")],
        );
        service.end(exchange);
        let mut aborted = service.start();
        service.request(&mut aborted, "GET", "/a/8");
        service.end(aborted);
        service.recorder.tick(&service.proxy);
        service.proxy.heal();
        let total: u64 = service.counts().iter().map(|(_, count)| count).sum();
        assert_eq!(total, 2, "{call:?}");
        assert_eq!(
            service.stat("active_connections.service=api"),
            0,
            "{call:?}"
        );
    }
}

#[test]
fn the_access_logger_takes_the_original_path_and_envoys_duration() {
    let mut service = Service::api();
    let headers = [
        (":method", "GET"),
        (":path", "/rewritten"),
        ("x-envoy-original-path", "/a/7"),
    ];
    service.proxy.set_headers(Headers::Request, &headers);
    service.proxy.set_headers(
        Headers::Response,
        &[(":status", "200"), ("x-db-pool", "active=3")],
    );
    service
        .proxy
        .set_property(Property::RequestDuration, &(9 * MILLI).to_le_bytes());
    service.access_log();
    assert_eq!(service.counts(), one("method=GET.path=/a/:id.status=200"));
    assert_eq!(service.nanos("method=GET.path=/a/:id"), 9 * MILLI);
    assert_eq!(service.stat("db_connections_active.service=api"), 3);
    assert_eq!(service.proxy.removed(), [""; 0]);
    assert_eq!(service.stat("active_connections.service=api"), 0);
}

#[test]
fn the_access_logger_tells_redirects_aborts_and_unparsed_requests_apart() {
    let mut service = Service::api();
    service.access_log();
    assert_eq!(
        service.stat("gatemeter_unparsed_requests_total.service=api"),
        1
    );
    assert_eq!(service.counts(), []);

    let headers = [(":method", "GET"), (":path", "/a/7")];
    service.proxy.set_headers(Headers::Request, &headers);
    service
        .proxy
        .set_property(Property::ResponseFlags, &(1_u64 << 14).to_le_bytes());
    service.access_log();
    assert_eq!(service.counts(), one("method=GET.path=/a/:id.status=499"));

    service
        .proxy
        .set_headers(Headers::Response, &[(":status", "302")]);
    service
        .proxy
        .set_property(Property::ResponseCodeDetails, INTERNAL_REDIRECT);
    service.access_log();
    assert_eq!(
        service.stat("gatemeter_internal_redirects_total.service=api"),
        1
    );
    assert_eq!(service.counts(), one("method=GET.path=/a/:id.status=499"));
}

#[test]
fn the_access_logger_leaves_excluded_paths_out() {
    let mut service = Service::api();
    let headers = [(":method", "GET"), (":path", "/metrics")];
    service.proxy.set_headers(Headers::Request, &headers);
    service
        .proxy
        .set_headers(Headers::Response, &[(":status", "503")]);
    service.access_log();
    assert_eq!(service.counts(), []);
    assert_eq!(
        service.stat("gatemeter_excluded_requests_total.service=api"),
        1
    );
}
