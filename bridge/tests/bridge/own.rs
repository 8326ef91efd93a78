use crate::{
    Bridge, STATS,
    client::{Answer, get, get_with},
    fake_admin::{self, Does, FakeAdmin},
    until,
};

/// Answers with these stats from now on.
fn says(admin: &FakeAdmin, stats: &str) {
    admin.does(Does::Send(fake_admin::ok(stats.as_bytes())));
}

fn ticks(count: u64) -> String {
    format!(
        "wasmcustom.gatemeter_filter_info.service=api.version=0%2E1%2E0: 1\n\
         wasmcustom.gatemeter_filter_ticks_total.service=api: {count}\n\
         wasmcustom.cache_hits_total.service=api.cache_type=redis: {count}\n"
    )
}

const AGE: &str = "gatemeter_filter_heartbeat_age_seconds{service=\"api\"}";

#[tokio::test]
async fn a_restart_of_envoy_shows_and_its_counters_stand_as_it_has_them() {
    let admin = FakeAdmin::serving(&ticks(50)).await;
    let bridge = Bridge::start(&admin.url()).await;
    let read = async || {
        let page = get(bridge.address, "/metrics").await;
        let hits = page.value("cache_hits_total{service=\"api\",cache_type=\"redis\"}");
        (page.value("gatemeter_envoy_restarts_total").unwrap(), hits)
    };
    assert_eq!(read().await, (0.0, Some(50.0)));
    says(&admin, &ticks(70));
    assert_eq!(read().await, (0.0, Some(70.0)));
    // Away in between, which is no restart yet.
    admin.does(Does::Send(
        b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
    ));
    assert_eq!(read().await, (0.0, None));
    says(&admin, &ticks(3));
    assert_eq!(read().await, (1.0, Some(3.0)));
    says(&admin, &ticks(4));
    assert_eq!(read().await, (1.0, Some(4.0)));
    bridge.end().await;
}

#[tokio::test]
async fn the_heartbeat_of_a_filter_that_stops_ticking_grows_old() {
    let admin = FakeAdmin::serving(&ticks(50)).await;
    let bridge = Bridge::start(&admin.url()).await;
    let first = get(bridge.address, "/metrics").await;
    assert_eq!(first.value(AGE), Some(0.0));
    until("the heartbeat is a tenth of a second old", async || {
        get(bridge.address, "/metrics").await.value(AGE).unwrap() > 0.1
    })
    .await;
    says(&admin, &ticks(51));
    let again = get(bridge.address, "/metrics").await;
    assert_eq!(again.value(AGE), Some(0.0));
    // Of an Envoy that cannot be read nothing is known.
    admin.does(Does::Send(
        b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
    ));
    assert_eq!(get(bridge.address, "/metrics").await.value(AGE), None);
    bridge.end().await;
}

fn samples(page: &Answer) -> usize {
    let text = page.text();
    let is_sample = |line: &&str| !line.is_empty() && !line.starts_with('#');
    text.lines().filter(is_sample).count()
}

#[tokio::test]
async fn the_page_says_how_much_it_holds_and_how_long_it_took() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    for accept in ["text/plain", "application/openmetrics-text"] {
        let page = get_with(bridge.address, "/metrics", &[("accept", accept)]).await;
        let series = page.value("gatemeter_page_series");
        assert_eq!(series, Some(samples(&page) as f64), "{accept}");
    }
    let page = get(bridge.address, "/metrics").await;
    assert_eq!(
        page.value("gatemeter_envoy_answer_bytes"),
        Some(STATS.len() as f64)
    );
    for phase in ["envoy", "decode", "sources", "render"] {
        let took = page.value(&format!(
            "gatemeter_scrape_duration_seconds{{phase=\"{phase}\"}}"
        ));
        assert!((0.0..1.0).contains(&took.unwrap()), "{phase} {took:?}");
    }
    assert_eq!(
        page.value("gatemeter_config_last_reload_successful"),
        Some(1.0)
    );
    assert!(page.value("process_resident_memory_bytes").unwrap() > 1e6);
    bridge.end().await;
}

#[tokio::test]
async fn openmetrics_says_since_when_the_bridge_counts() {
    let admin = FakeAdmin::serving(STATS).await;
    let bridge = Bridge::start(&admin.url()).await;
    let accept = [("accept", "application/openmetrics-text")];
    let created = "gatemeter_scrape_errors_created{reason=\"timeout\"}";
    let first = get_with(bridge.address, "/metrics", &accept).await;
    assert!(first.value(created).unwrap() > 1.7e9);
    let again = get_with(bridge.address, "/metrics", &accept).await;
    assert_eq!(again.value(created), first.value(created));
    assert!(
        !get(bridge.address, "/metrics")
            .await
            .text()
            .contains("errors_created")
    );
    bridge.end().await;
}
