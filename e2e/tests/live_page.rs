//! The live page in a real browser, beside the metrics page of the same bridge.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::bridge::Bridge;
use gatemeter_e2e::client::{Call, Client};
use gatemeter_e2e::demo::SERVICES;
use gatemeter_e2e::live_page::{Visit, none, visit};
use gatemeter_e2e::page::Page;
use gatemeter_e2e::port::Port;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::shipped::Shipped;
use gatemeter_e2e::until::until;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Requests of every kind that the page tells apart, on all services.
async fn traffic(shipped: &Shipped) -> Result<()> {
    let client = Client::new(shipped.listener("api")?);
    for id in 0..40 {
        let path = format!("/api/content/{}", id % 7);
        client
            .send(&Call::new("GET", &path, "/api/content/:id"))
            .await?;
    }
    for ms in [20, 60, 120, 300, 700] {
        let path = format!("/api/slow?ms={ms}");
        client
            .expect(&Call::new("GET", &path, "/api/slow"), 200)
            .await?;
    }
    for code in [500, 503, 503, 404, 302] {
        let path = format!("/api/status/{code}");
        let call = Call::new("GET", &path, "/api/status/:code");
        client.expect(&call, code).await?;
    }
    client
        .send(&Call::new("GET", "/no/such/page", "_OTHER"))
        .await?;
    for service in &SERVICES[1..] {
        let client = Client::new(shipped.listener(service)?);
        for _ in 0..3 {
            client
                .send(&Call::new("GET", "/healthz", "/healthz"))
                .await?;
        }
    }
    Ok(())
}

/// A percentile by the rule of `histogram_quantile`, from cumulative buckets;
/// written here once more, from Prometheus's documentation.
fn quantile(q: f64, buckets: &[(f64, f64)]) -> Option<f64> {
    let total = buckets
        .last()
        .map(|(_, count)| *count)
        .filter(|count| *count > 0.0)?;
    let rank = q * total;
    let at = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (end, upto) = buckets[at];
    if at == buckets.len() - 1 {
        return Some(buckets[at - 1].0);
    }
    let (start, below) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    Some(start + (end - start) * ((rank - below) / (upto - below)))
}

fn number(value: &Value) -> Option<f64> {
    value.as_str().and_then(|text| text.parse().ok())
}

/// Checks a figure of the page; both may be absent.
fn same(what: &str, shown: &Value, expected: Option<f64>) -> Result<()> {
    let shown = number(shown);
    let is_same = match (shown, expected) {
        (Some(shown), Some(expected)) => (shown - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        (None, None) => true,
        _ => false,
    };
    ensure!(
        is_same,
        "{what}: the page shows {shown:?}, the metrics say {expected:?}"
    );
    Ok(())
}

/// All requests, and those that the client or the server made fail.
fn totals<'p>(page: &'p Page, labels: &[(&str, &str)]) -> BTreeMap<&'p str, f64> {
    let mut totals = BTreeMap::from([("all", 0.0), ("client", 0.0), ("server", 0.0)]);
    for (set, value) in page.samples("http_requests_total") {
        if labels.iter().any(|(name, value)| set[*name] != *value) {
            continue;
        }
        let class = match &set["status"][..1] {
            "4" => Some("client"),
            "5" => Some("server"),
            _ => None,
        };
        for name in ["all"].into_iter().chain(class) {
            *totals.entry(name).or_default() += value;
        }
    }
    totals
}

fn ratio(part: f64, all: f64) -> Option<f64> {
    (all > 0.0).then_some(part / all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_numbers_are_those_of_the_metrics_page() -> Result<()> {
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    let go = room.path("go");
    let bridge = shipped.bridge();
    // It has been read before any traffic, so what it shows of the last 15
    // minutes is all there is.
    let visit = Visit::begin(&mut room, "numbers", bridge.address(), &go)?;
    visit.opened(&mut room).await?;
    let before = bridge.page().await?;
    traffic(&shipped).await?;
    // Envoy is pushed to every 100 ms.
    let metrics = until("the metrics are at rest", async || {
        let page = bridge.page().await?;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let later = bridge.page().await?;
        ensure!(page.sum("http_requests_total", &[]) == later.sum("http_requests_total", &[]));
        ensure!(later.sum("http_requests_total", &[("service", "api")]) >= 51.0);
        Ok(later)
    })
    .await?;
    room.write("go", "")?;
    let found = visit.found(&mut room).await?;
    none(&found, "complaints")?;
    for service in SERVICES {
        let shown = &found["services"][service];
        ensure!(shown.is_object(), "{service} is not on the page: {found}");
        compare(service, shown, &before, &metrics)?;
    }
    room.close()
}

fn compare(service: &str, shown: &Value, before: &Page, metrics: &Page) -> Result<()> {
    let of_service = [("service", service)];
    let all = totals(metrics, &of_service);
    for (name, expected) in &all {
        same(
            &format!("{service} {name}"),
            &shown[format!("total-{name}")],
            Some(*expected),
        )?;
    }
    let percentiles = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];
    let buckets = metrics.rise(before, "http_request_duration_seconds", &of_service);
    for (name, q) in percentiles {
        same(
            &format!("{service} {name}"),
            &shown[format!("now-{name}")],
            quantile(q, &buckets),
        )?;
    }
    same(
        &format!("{service} 5xx"),
        &shown["now-errors"],
        ratio(all["server"], all["all"]),
    )?;
    same(
        &format!("{service} 4xx"),
        &shown["now-client"],
        ratio(all["client"], all["all"]),
    )?;
    same(
        &format!("{service} open"),
        &shown["now-open"],
        metrics.value("active_connections", &of_service),
    )?;
    let hits = metrics.sum("cache_hits_total", &of_service);
    let misses = metrics.sum("cache_misses_total", &of_service);
    same(
        &format!("{service} cache"),
        &shown["now-cache"],
        ratio(hits, hits + misses),
    )?;
    let active = metrics.sum("db_connections_active", &of_service);
    let idle = metrics.sum("db_connections_idle", &of_service);
    same(
        &format!("{service} pool"),
        &shown["now-pool"],
        ratio(active, active + idle),
    )?;

    let routes = shown["routes"].as_array().context("no routes")?;
    let mut of_metrics: Vec<_> = metrics
        .samples("http_request_duration_seconds_count")
        .filter(|(set, _)| set["service"] == service)
        .map(|(set, _)| (set["method"].clone(), set["path"].clone()))
        .collect();
    of_metrics.sort();
    let mut on_page = Vec::new();
    for route in routes {
        let name = route["name"].as_str().context("no name")?;
        let (method, path) = name.split_once(' ').context("no path")?;
        on_page.push((method.to_owned(), path.to_owned()));
        let labels = [("service", service), ("method", method), ("path", path)];
        let of_route = totals(metrics, &labels);
        same(name, &route["r-total"], Some(of_route["all"]))?;
        same(
            name,
            &route["r-errors"],
            ratio(of_route["server"], of_route["all"]),
        )?;
        let buckets = metrics.rise(before, "http_request_duration_seconds", &labels);
        for (column, q) in percentiles {
            same(
                &format!("{name} {column}"),
                &route[format!("r-{column}")],
                quantile(q, &buckets),
            )?;
        }
    }
    on_page.sort();
    ensure!(
        on_page == of_metrics,
        "{service}: routes {on_page:?}, not {of_metrics:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_accessible_in_both_themes_and_on_a_phone_and_loads_nothing_from_elsewhere()
-> Result<()> {
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    let bridge = shipped.bridge().address();
    let quiet = visit(&mut room, "quiet", bridge).await?;
    ensure!(
        quiet["is_shown"] == true,
        "nothing says that there is no traffic"
    );
    ensure!(
        quiet["text"]
            .as_str()
            .is_some_and(|text| text.contains("gatemeter-demo traffic")),
        "{quiet}"
    );
    none(&quiet, "faults")?;
    none(&quiet, "complaints")?;
    traffic(&shipped).await?;
    let found = visit(&mut room, "looks", bridge).await?;
    none(&found, "faults")?;
    room.close()
}

/// Answers every request as Envoy's admin does, with these stats.
async fn admin(stats: String) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{stats}",
        stats.len()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            // The bridge may have gone away.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok(address)
}

/// A label's value as the filter spells it in the name of a stat.
fn escaped(value: &str) -> String {
    let spell = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'/' | b':' | b'-' | b'_' | b'~' | b'*' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(spell).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_from_traffic_are_text_and_nothing_else() -> Result<()> {
    const PATH: &str = "/<img src=x onerror=\"document.title='taken'\">";
    const SERVICE: &str = "<script>document.title='taken'</script>";
    let mut room = Room::open()?;
    let (service, path) = (escaped(SERVICE), escaped(PATH));
    let stats = format!(
        "wasmcustom.http_request_duration_seconds_bin.service={service}.method=GET\
         .path={path}.status=200.le=0.001: 7\n\
         wasmcustom.cache_hits_total.service={service}.cache_type={path}: 3\n\
         wasmcustom.gatemeter_signal_errors_total.service={service}.signal={path}: 3\n"
    );
    let port = Port::reserve()?;
    let bridge = Bridge::start(&mut room, admin(stats).await?, port.address()).await?;
    let found = visit(&mut room, "names", bridge.address()).await?;
    ensure!(
        found["service"] == SERVICE && found["path"] == PATH,
        "{found}"
    );
    ensure!(found["made"] == 0, "{found}");
    ensure!(
        found["title"] == format!("{SERVICE}: Gatemeter live"),
        "{found}"
    );
    none(&found, "faults")?;
    none(&found, "complaints")?;
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyboard_is_enough() -> Result<()> {
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    traffic(&shipped).await?;
    let found = visit(&mut room, "keyboard", shipped.bridge().address()).await?;
    let steps = found["steps"].as_object().context("no steps")?;
    let failed: Vec<_> = steps.iter().filter(|(_, went)| **went != true).collect();
    ensure!(
        failed.is_empty() && steps.len() > 10,
        "{failed:?} of {found:#}"
    );
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_within_seconds_that_envoy_is_gone() -> Result<()> {
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    traffic(&shipped).await?;
    let go = room.path("go");
    let visit = Visit::begin(&mut room, "outage", shipped.bridge().address(), &go)?;
    visit.opened(&mut room).await?;
    room.dismiss("envoy")?.kill()?;
    room.write("go", "")?;
    let found = visit.found(&mut room).await?;
    let text = |name: &str| found[name].as_str().unwrap_or_default();
    // Read every five seconds, and the machine may be busy.
    ensure!(
        found["after_ms"].as_u64().is_some_and(|ms| ms < 12_000),
        "{found}"
    );
    ensure!(
        text("title").starts_with("Envoy cannot be read since "),
        "{found}"
    );
    ensure!(text("text").contains("connect"), "no reason: {found}");
    ensure!(text("said") == text("title"), "not announced: {found}");
    ensure!(
        found["is_marked"] == true,
        "old numbers look like new ones: {found}"
    );
    none(&found, "faults")?;
    room.close()
}
