//! Every request is counted once, with the labels it must have: compared with
//! books that the client keeps, and with Envoy's own count of requests.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::client::Call;
use gatemeter_e2e::envoy::Form;
use gatemeter_e2e::flood::flood;
use gatemeter_e2e::scene::Scene;
use gatemeter_e2e::until::{until, until_true};
use http::{Request, Version};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_every_request_once_with_its_labels() -> Result<()> {
    every_request_once(Form::HttpFilter).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_native_module_counts_every_request_once_with_its_labels() -> Result<()> {
    every_request_once(Form::NativeModule).await
}

async fn every_request_once(form: Form) -> Result<()> {
    let scene = Scene::set(form).await?;
    scene.send_all_kinds().await?;

    // Why there was no answer of the upstream, and no whole one.
    let page = scene.bridge.page().await?;
    let reasons = |name| -> Vec<(String, f64)> {
        let of_api = page
            .samples(name)
            .map(|(labels, value)| (labels["reason"].clone(), value));
        of_api.filter(|(_, value)| *value > 0.0).collect()
    };
    let local = reasons("http_local_replies_total");
    let expected = [
        ("DC", 2.0),
        ("DR", 1.0),
        ("UC", 1.0),
        ("UF", 2.0),
        ("URX", 1.0),
        ("UT", 2.0),
    ];
    ensure!(
        local == expected.map(|(flag, n)| (flag.to_owned(), n)),
        "{local:?}"
    );
    let cut = reasons("http_responses_incomplete_total");
    ensure!(cut == [("upstream_reset".to_owned(), 2.0)], "{cut:?}");

    // A service's own page, through Envoy, shows the same without its name.
    let through_envoy = scene.scrape().await?;
    scene.client.ledger().compare(&through_envoy, None)?;
    through_envoy.check_consistent(None)?;
    scene.balance(0).await?;
    scene.room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_what_stays_open_at_its_response_headers() -> Result<()> {
    let scene = Scene::set(Form::HttpFilter).await?;
    let socket = scene.client.websocket("/ws/room", "/ws/*").await?;
    let stream = Call::new("GET", "/api/content/1/stream", "/api/content/:id/stream");
    let events = scene
        .client
        .open(&stream.clone().upstream("events"))
        .await?;
    let events2 = scene
        .client
        .open(&stream.http2().upstream("events"))
        .await?;
    let silent = Call::new("GET", "/api/content/9", "/api/content/:id").upstream("silent");
    let slow = tokio::spawn({
        let client = scene.client.clone();
        async move { client.send(&silent).await }
    });
    until_true("the upstream holds the slow request", || {
        scene.upstream.held() == 1
    })
    .await?;

    scene.settle().await?;
    scene.balance(1).await?;
    let page = scene.bridge.page().await?;
    let socket_time = page
        .value(
            "http_request_duration_seconds_sum",
            &[("service", "api"), ("method", "GET"), ("path", "/ws/*")],
        )
        .context("no duration of the WebSocket")?;
    ensure!(
        socket_time < 1.0,
        "the WebSocket took {socket_time} s to open"
    );
    for open in [scene.bridge.page().await?, scene.scrape().await?] {
        let active: f64 = open
            .samples("active_connections")
            .map(|(_, value)| value)
            .sum();
        ensure!(
            active == 4.0,
            "active_connections {active} with 4 open exchanges"
        );
    }

    // Their end counts only the slow one, which the client leaves unanswered.
    drop((socket, events, events2));
    slow.abort();
    scene.client.ledger().count("GET", "/api/content/:id", 499);
    scene.settle().await?;
    scene.balance(0).await?;
    let page = scene.bridge.page().await?;
    let cut = [("service", "api"), ("reason", "downstream_reset")];
    let cut = page.count("http_responses_incomplete_total", &cut)?;
    ensure!(
        cut == 2,
        "{cut} responses cut by the client, which left 2 event streams"
    );
    until("nothing is active", async || {
        let active = scene.scrape().await?.value("active_connections", &[]);
        ensure!(active == Some(0.0), "active_connections {active:?} at rest");
        Ok(())
    })
    .await?;
    scene.room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agrees_with_itself_in_a_hundred_scrapes_under_load() -> Result<()> {
    const REQUESTS: u64 = 20_000;
    let scene = Scene::set(Form::HttpFilter).await?;
    let service = scene.client.service();
    let load = tokio::spawn(flood(
        service,
        Version::HTTP_11,
        8,
        REQUESTS,
        Arc::new(move |turn| {
            let status = [200, 201, 404, 500][usize::try_from(turn % 4)?];
            Ok(Request::get(format!("http://{service}/api/content/{turn}"))
                .header("host", service.to_string())
                .header("x-upstream", format!("status={status}")))
        }),
    ));
    let mut totals = Vec::new();
    while totals.len() < 100 || !load.is_finished() {
        if totals.len() % 4 == 0 {
            scene.scrape().await?.check_consistent(None)?;
        }
        let page = scene.bridge.page().await?;
        page.check_consistent(Some("api"))?;
        totals.push(page.sum("http_requests_total", &[("service", "api")]));
    }
    let answers = load.await??;
    for (status, number) in answers {
        let ledger = scene.client.ledger();
        ledger.count_many("GET", "/api/content/:id", status, number);
    }
    ensure!(totals.is_sorted(), "totals fall: {totals:?}");
    totals.dedup();
    ensure!(
        totals.len() > 10,
        "the scrapes did not see the load: {totals:?}"
    );
    scene.settle().await?;
    scene.balance(0).await?;
    scene.room.close()
}

/// Each request by itself, so that one error cannot make up for another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observes_a_time_between_the_upstreams_and_the_clients() -> Result<()> {
    let scene = Scene::set(Form::HttpFilter).await?;
    for (path, label, delays) in [
        ("/api/content", "/api/content", [0, 1, 3]),
        ("/api/content/1", "/api/content/:id", [12, 40, 130]),
    ] {
        let mut before = 0.0;
        for (delay, http2) in delays
            .into_iter()
            .flat_map(|delay| [(delay, false), (delay, true)])
        {
            let call = Call::new("GET", path, label).upstream(&format!("delay={delay}"));
            let call = if http2 { call.http2() } else { call };
            let answer = scene.client.expect(&call, 200).await?;
            scene.settle().await?;
            let labels = [("service", "api"), ("method", "GET"), ("path", label)];
            let sum = scene
                .bridge
                .page()
                .await?
                .value("http_request_duration_seconds_sum", &labels)
                .with_context(|| format!("no sum for {path}"))?;
            let observed = sum - before;
            before = sum;
            let least = answer
                .upstream
                .context("no time of the upstream")?
                .as_secs_f64();
            let most = answer.elapsed.as_secs_f64();
            ensure!(
                (least..=most).contains(&observed),
                "{path} after {delay} ms: {observed} s is not between the upstream's {least} and the client's {most}"
            );
        }
    }
    scene.room.close()
}
