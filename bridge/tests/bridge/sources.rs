use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::net::UnixListener;

use crate::{
    Bridge, STATS,
    client::{Answer, get, get_with},
    fake_admin::{self, Does, FakeAdmin},
};

const TEXT: &str = "text/plain; version=0.0.4";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const OPENMETRICS_ASKED: [(&str, &str); 1] = [("accept", "application/openmetrics-text")];

/// A whole answer with this page.
fn page(content_type: &str, text: &str) -> Vec<u8> {
    let length = text.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{text}"
    )
    .into_bytes()
}

async fn source(content_type: &str, text: &str) -> FakeAdmin {
    FakeAdmin::doing(Does::Send(page(content_type, text))).await
}

/// A bridge that reads this Envoy and these pages of services, each in a second.
async fn bridge(admin: &FakeAdmin, sources: &[(&str, String)]) -> Bridge {
    let mut yaml = format!(
        "envoy: {{admin: \"{}\", timeout: 5s}}\nsources:\n",
        admin.url()
    );
    for (index, (service, url)) in sources.iter().enumerate() {
        yaml.push_str(&format!(
            "  - {{service: {service}, url: \"{url}\", timeout: 1s, labels: {{instance_of: \"{index}\"}}}}\n"
        ));
    }
    Bridge::start_from(&yaml).await
}

fn url(source: &FakeAdmin) -> String {
    format!("{}/metrics", source.url())
}

/// Samples of the page whose names begin so.
fn samples(page: &Answer, begin: &str) -> Vec<String> {
    assert_eq!(page.status, StatusCode::OK);
    let text = page.text();
    let lines = text.lines().filter(|line| line.starts_with(begin));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn joins_a_services_own_page_with_what_envoy_says_of_it() {
    let admin = FakeAdmin::serving(STATS).await;
    let own = source(
        TEXT,
        "# HELP jobs_total Jobs done\n# TYPE jobs_total counter\njobs_total{queue=\"mail\"} 3\n\
         # TYPE http_requests_total counter\nhttp_requests_total{path=\"/\"} 99\n\
         # TYPE db_connections_active gauge\ndb_connections_active 7\n\
         # TYPE cache_hits_total counter\ncache_hits_total{cache_type=\"disk\"} 1\n",
    )
    .await;
    // What no filter serves has a page as well.
    let other = source(
        TEXT,
        "# TYPE db_connections_idle gauge\ndb_connections_idle 4\n",
    )
    .await;
    let bridge = bridge(&admin, &[("api", url(&own)), ("worker", url(&other))]).await;

    let one = get(bridge.address, "/metrics/api").await;
    assert_eq!(
        samples(&one, "jobs_total"),
        ["jobs_total{queue=\"mail\",instance_of=\"0\"} 3"]
    );
    assert!(
        one.text()
            .contains("# HELP jobs_total Jobs done\n# TYPE jobs_total counter\n")
    );
    assert!(!one.text().contains("service="));
    // Counted once, by Envoy.
    let requests = "http_requests_total{method=\"GET\",path=\"/api/content\",status=\"200\"} 1523";
    assert_eq!(samples(&one, "http_requests_total{"), [requests]);
    assert_eq!(
        samples(&one, "db_connections_active"),
        ["db_connections_active 15"]
    );
    assert_eq!(
        samples(&one, "cache_hits_total{"),
        ["cache_hits_total{cache_type=\"redis\"} 8934"]
    );

    let worker = get(bridge.address, "/metrics/worker").await;
    assert_eq!(
        samples(&worker, "db_connections_idle"),
        ["db_connections_idle{instance_of=\"1\"} 4"]
    );
    let unknown = get(bridge.address, "/metrics/nobody").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);

    let all = get(bridge.address, "/metrics").await;
    assert_eq!(
        samples(&all, "jobs_total"),
        ["jobs_total{service=\"api\",queue=\"mail\",instance_of=\"0\"} 3"]
    );
    assert_eq!(
        samples(&all, "db_connections_idle"),
        [
            "db_connections_idle{service=\"api\"} 25",
            "db_connections_idle{service=\"worker\",instance_of=\"1\"} 4",
        ]
    );
    let lost =
        "gatemeter_dropped_series_total{service=\"api\",instance_of=\"0\",reason=\"of_envoy\"}";
    // On the page of the service and on this one.
    assert_eq!(all.value(lost), Some(6.0));
    assert_eq!(
        all.value("gatemeter_source_up{service=\"worker\",instance_of=\"1\"}"),
        Some(1.0)
    );
    bridge.end().await;
}

/// The metrics guide, "Custom Service Integration" and the background task for
/// the pool, with the library that it uses.
#[tokio::test]
async fn the_guides_own_counter_and_pool_stand_beside_what_envoy_says() {
    let registry = prometheus::Registry::new();
    let custom = prometheus::Counter::with_opts(prometheus::Opts::new(
        "custom_operations_total",
        "Total custom operations",
    ));
    let custom = custom.unwrap();
    registry.register(Box::new(custom.clone())).unwrap();
    custom.inc_by(3.0);
    for (state, connections) in [("active", 15), ("idle", 25)] {
        let help = format!("Number of {state} database connections in the pool");
        let gauge = prometheus::IntGauge::new(format!("db_connections_{state}"), help).unwrap();
        gauge.set(connections);
        registry.register(Box::new(gauge)).unwrap();
    }
    let text = prometheus::TextEncoder::new();
    let text = text.encode_to_string(&registry.gather()).unwrap();
    // A service that does not send the header of its pool.
    let lines = STATS.split_inclusive('\n');
    let stats: String = lines
        .filter(|line| !line.contains("db_connections"))
        .collect();
    let admin = FakeAdmin::serving(&stats).await;
    let own = source(prometheus::TEXT_FORMAT, &text).await;
    let yaml = format!(
        "envoy: {{admin: \"{}\"}}\nsources: [{{service: api, url: \"{}\"}}]\n",
        admin.url(),
        url(&own)
    );
    let bridge = Bridge::start_from(&yaml).await;
    let page = get(bridge.address, "/metrics/api").await;
    for (series, value) in [
        ("custom_operations_total", 3.0),
        ("db_connections_active", 15.0),
        ("db_connections_idle", 25.0),
        (
            "http_requests_total{method=\"GET\",path=\"/api/content\",status=\"200\"}",
            1523.0,
        ),
    ] {
        assert_eq!(page.value(series), Some(value), "{series}");
    }
    bridge.end().await;
}

#[tokio::test]
async fn asks_for_openmetrics_and_gives_it_on() {
    let admin = FakeAdmin::serving(STATS).await;
    let own = source(
        OPENMETRICS,
        "# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n\
         wait_seconds_bucket{le=\"+Inf\"} 2 # {trace_id=\"a\"} 0.5\nwait_seconds_count 2\n\
         wait_seconds_sum 0.75\nwait_seconds_created 1.7e+09\n# EOF\n",
    )
    .await;
    let bridge = bridge(&admin, &[("api", url(&own))]).await;
    let openmetrics = get_with(bridge.address, "/metrics/api", &OPENMETRICS_ASKED).await;
    assert!(openmetrics.text().contains("# UNIT wait_seconds seconds\n"));
    assert_eq!(
        samples(&openmetrics, "wait_seconds"),
        [
            "wait_seconds_bucket{instance_of=\"0\",le=\"+Inf\"} 2",
            "wait_seconds_sum{instance_of=\"0\"} 0.75",
            "wait_seconds_count{instance_of=\"0\"} 2",
            "wait_seconds_created{instance_of=\"0\"} 1.7e+09",
        ]
    );
    let text = get(bridge.address, "/metrics/api").await;
    assert!(text.text().contains("# TYPE wait_seconds_created gauge\n"));
    let requests = own.requests();
    assert!(
        requests[0].starts_with("GET /metrics HTTP/1.1\r\n"),
        "{requests:?}"
    );
    assert!(
        requests[0].contains(
            "accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n"
        ),
        "{requests:?}"
    );
    assert!(!requests[0].contains("accept-encoding"), "{requests:?}");
    bridge.end().await;
}

#[tokio::test]
async fn a_page_that_is_broken_costs_its_own_series_and_nothing_else() {
    let whole = "a 1\n";
    let broken = |bytes: &[u8]| Does::Send(bytes.to_vec());
    let cases = [
        ("connect", None),
        (
            "status",
            Some(broken(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")),
        ),
        (
            "status",
            Some(broken(
                b"HTTP/1.1 302 Found\r\nlocation: /a\r\ncontent-length: 0\r\n\r\n",
            )),
        ),
        ("protocol", Some(broken(b"what?\r\n\r\n"))),
        ("protocol", Some(broken(&page("text/html", whole)))),
        (
            "protocol",
            Some(broken(
                b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\na 1\n",
            )),
        ),
        // Its end is the connection's, so a cut page would look like this.
        (
            "protocol",
            Some(broken(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\na 1\n",
            )),
        ),
        (
            "truncated",
            Some(broken(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\na 1\n")),
        ),
        ("truncated", Some(broken(&page(TEXT, "a 1\na{b=\"c\"} 12")))),
        ("truncated", Some(broken(&page(OPENMETRICS, whole)))),
        ("page", Some(broken(&page(TEXT, "a 1\nb{ 1\n")))),
        ("page", Some(broken(&page(TEXT, "a 1\n\u{0}\n")))),
        (
            "too_large",
            Some(broken(
                b"HTTP/1.1 200 OK\r\ncontent-length: 17000000\r\n\r\n",
            )),
        ),
        ("too_large", Some(Does::Flood)),
        ("timeout", Some(Does::Hang)),
        ("timeout", Some(Does::Drip)),
    ];
    let admin = FakeAdmin::serving(STATS).await;
    let good = source(TEXT, "good 1\n").await;
    let bad = source(TEXT, whole).await;
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/metrics", listener.local_addr().unwrap())
    };
    for (reason, does) in cases {
        let bad_url = if does.is_some() {
            url(&bad)
        } else {
            nobody.clone()
        };
        if let Some(does) = does.clone() {
            bad.does(does);
        }
        let bridge = bridge(&admin, &[("api", bad_url), ("api", url(&good))]).await;
        let start = Instant::now();
        let all = get(bridge.address, "/metrics").await;
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{reason} {does:?}"
        );
        let of_bad = |name: &str| format!("{name}{{service=\"api\",instance_of=\"0\"");
        assert_eq!(
            all.value(&(of_bad("gatemeter_source_up") + "}")),
            Some(0.0),
            "{does:?}"
        );
        let errors = of_bad("gatemeter_source_errors_total");
        assert_eq!(
            all.value(&format!("{errors},reason=\"{reason}\"}}")),
            Some(1.0),
            "{does:?}"
        );
        assert_eq!(samples(&all, "a{"), [""; 0], "{does:?}");
        assert_eq!(samples(&all, "good{").len(), 1, "{does:?}");
        assert_eq!(all.value("gatemeter_up"), Some(1.0));
        assert_eq!(all.value("active_connections{service=\"api\"}"), Some(42.0));
        let one = get(bridge.address, "/metrics/api").await;
        assert_eq!(one.value("active_connections"), Some(42.0), "{does:?}");

        // And the next read of it can be a good one.
        if does.is_some() {
            bad.does(Does::Send(page(TEXT, whole)));
            let all = get(bridge.address, "/metrics").await;
            assert_eq!(all.value(&(of_bad("a") + "}")), Some(1.0));
            assert_eq!(all.value(&(of_bad("gatemeter_source_up") + "}")), Some(1.0));
        }
        bridge.end().await;
    }
}

#[tokio::test]
async fn a_page_that_hangs_takes_no_more_than_the_scrapes_own_time() {
    let admin = FakeAdmin::serving(STATS).await;
    let own = FakeAdmin::doing(Does::Hang).await;
    let bridge = bridge(&admin, &[("api", url(&own))]).await;
    let start = Instant::now();
    let headers = [("x-prometheus-scrape-timeout-seconds", "0.4")];
    let all = get_with(bridge.address, "/metrics", &headers).await;
    assert!(
        start.elapsed() < Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(all.value("gatemeter_up"), Some(1.0));
    assert_eq!(
        all.value("gatemeter_source_up{service=\"api\",instance_of=\"0\"}"),
        Some(0.0)
    );
    let waited = all.value("gatemeter_scrape_duration_seconds{phase=\"sources\"}");
    assert!((0.15..0.5).contains(&waited.unwrap()), "{waited:?}");
    bridge.end().await;
}

#[tokio::test]
async fn many_callers_at_once_cost_a_page_two_reads() {
    let admin = FakeAdmin::serving(STATS).await;
    let own = FakeAdmin::doing(Does::Delay(Duration::from_millis(100), "a 1\n")).await;
    let bridge = bridge(&admin, &[("api", url(&own))]).await;
    let address = bridge.address;
    let callers = (0..50).map(|_| tokio::spawn(async move { get(address, "/metrics").await }));
    let callers: Vec<_> = callers.collect();
    for caller in callers {
        let page = caller.await.unwrap();
        assert_eq!(
            page.value("a{service=\"api\",instance_of=\"0\"}"),
            Some(1.0)
        );
    }
    assert!(own.requests().len() <= 3, "{}", own.requests().len());
    assert_eq!(own.most_at_once(), 1);
    bridge.end().await;
}

#[tokio::test]
async fn reads_a_page_on_a_unix_socket_and_one_that_only_eof_ends() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let serving = fake_admin::serve_on_socket(UnixListener::bind(&socket).unwrap(), "a 1\n");
    let head = format!("HTTP/1.0 200 OK\r\ncontent-type: {OPENMETRICS}\r\n\r\n");
    let old = FakeAdmin::doing(Does::Send((head + "b 2\n# EOF\n").into_bytes())).await;
    let admin = FakeAdmin::serving(STATS).await;
    let on_socket = format!("unix:{}:/metrics", socket.display());
    let bridge = bridge(&admin, &[("api", on_socket), ("api", url(&old))]).await;
    let page = get(bridge.address, "/metrics/api").await;
    assert_eq!(page.value("a{instance_of=\"0\"}"), Some(1.0));
    assert_eq!(page.value("b{instance_of=\"1\"}"), Some(2.0));
    bridge.end().await;
    serving.abort();
}

#[tokio::test]
async fn a_services_own_page_is_none_of_the_services_while_envoy_is_away() {
    let admin = FakeAdmin::doing(Does::Send(
        b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
    ))
    .await;
    let own = source(TEXT, "a 1\n").await;
    let bridge = bridge(&admin, &[("api", url(&own))]).await;
    // Half of the guide's metrics would pass for all of them.
    let one = get(bridge.address, "/metrics/api").await;
    assert_eq!(one.status, StatusCode::SERVICE_UNAVAILABLE);
    let all = get(bridge.address, "/metrics").await;
    assert_eq!(all.value("gatemeter_up"), Some(0.0));
    assert_eq!(all.value("a{service=\"api\",instance_of=\"0\"}"), Some(1.0));
    bridge.end().await;
}

/// What makes pages that are joined carelessly invalid.
const CLASHES: &str = "\
# TYPE go_memstats_alloc_bytes gauge
go_memstats_alloc_bytes 1
# TYPE go_memstats_alloc_bytes_total counter
go_memstats_alloc_bytes_total 2
# TYPE requests counter
requests 3
# TYPE http_requests gauge
http_requests 4
# TYPE a_total counter
a_total 5
# TYPE a_created gauge
a_created 6
# TYPE b histogram
b_bucket{le=\"1\"} 7
b_bucket{le=\"1000000\"} 7
b_bucket{le=\"+Inf\"} 8
b_sum -9
b_count 8
# TYPE c summary
c{quantile=\"0.5\"} -1
c{quantile=\"1\"} NaN
c_sum NaN
c_count 2
# TYPE process_open_fds gauge
process_open_fds 10
# HELP d A \\\\ text \\n of \"two\" lines
# TYPE d gauge
d{e=\"\\\\ \\\" \\n\",f=\"é }\"} +Inf
d_info{g=\"h\"} 1
";

#[tokio::test]
async fn joined_pages_are_valid_for_the_official_parsers() {
    let admin = FakeAdmin::serving(STATS).await;
    let text = source(TEXT, CLASHES).await;
    let openmetrics = source(
        OPENMETRICS,
        "# TYPE a counter\n# UNIT a \na_total 1\na_created 1.5\n# TYPE i info\ni_info{v=\"1\"} 1\n\
         # TYPE s stateset\ns{s=\"on\"} 1\n# TYPE g gaugehistogram\ng_bucket{le=\"+Inf\"} 1\n\
         g_gcount 1\ng_gsum 1\n# TYPE w_seconds summary\n# UNIT w_seconds seconds\n\
         w_seconds{quantile=\"0.99\"} 1\nw_seconds_count 1\nw_seconds_sum 1\n# EOF\n",
    )
    .await;
    let bridge = bridge(&admin, &[("api", url(&text)), ("api", url(&openmetrics))]).await;
    for path in ["/metrics", "/metrics/api"] {
        let page = get(bridge.address, path).await;
        let of_text = crate::validators::samples("text", &page.text());
        let page = get_with(bridge.address, path, &OPENMETRICS_ASKED).await;
        let of_openmetrics = crate::validators::samples("openmetrics", &page.text());
        for shown in [&of_text, &of_openmetrics] {
            for name in ["go_memstats_alloc_bytes_total", "a_total", "d_info", "s"] {
                let begin = format!("{name}\t");
                assert!(
                    shown.iter().any(|sample| sample.starts_with(&begin)),
                    "{name} {path}"
                );
            }
        }
    }
    let all = get(bridge.address, "/metrics").await;
    let up = "gatemeter_source_up{service=\"api\",instance_of=";
    assert_eq!(all.value(&format!("{up}\"0\"}}")), Some(1.0));
    assert_eq!(all.value(&format!("{up}\"1\"}}")), Some(1.0));
    bridge.end().await;
}
