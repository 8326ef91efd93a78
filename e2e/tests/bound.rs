//! No client can make more series than the configuration allows, and none is
//! lost from the sums by that.

use std::sync::Arc;

use anyhow::{Result, ensure};
use gatemeter_e2e::bridge::Bridge;
use gatemeter_e2e::client::{Call, Client};
use gatemeter_e2e::envoy::{Envoy, Service};
use gatemeter_e2e::flood::flood;
use gatemeter_e2e::page::Page;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::scene::behind_envoy;
use gatemeter_e2e::until::until;
use gatemeter_e2e::upstream::Upstream;
use http::{Method, Request, Version};
use serde_json::json;

/// Label sets that a service of this file may have.
const MAX_SERIES: u64 = 600;
/// Label sets beyond them that keep method and status of the overflow apart;
/// the last of them takes what the others do not.
const RESERVE: u64 = 500;

const PATHS: u64 = 100_000;
const METHODS: u64 = 1_000;

/// A path that is nothing but letters, other than every other turn's.
fn random_path(turn: u64) -> String {
    // splitmix64: a bijection, so no two turns give the same letters.
    let mut bits = turn.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    let letters: String = (0..16)
        .map(|digit| char::from(b'g' + ((bits >> (4 * digit)) & 15).to_le_bytes()[0]))
        .collect();
    format!("/{}/{}", &letters[..8], &letters[8..])
}

async fn start(room: &mut Room) -> Result<(Upstream, Envoy, Bridge)> {
    let services = [
        Service::new("open")?
            .plugin("max_series", json!(MAX_SERIES))
            .to_cluster("/", "upstream"),
        Service::new("named")?
            .plugin("max_series", json!(MAX_SERIES))
            .plugin("routes", json!(["/api/content/:id", "/api/late/:id"]))
            .to_cluster("/", "upstream"),
    ];
    behind_envoy(room, services).await
}

/// Half of the paths are answered 404, half 200; half go over HTTP/1, half
/// over HTTP/2. Then invented methods on one path.
async fn attack(envoy: &Envoy, service: &str) -> Result<()> {
    let address = envoy.service(service)?;
    for (version, offset) in [(Version::HTTP_11, 0), (Version::HTTP_2, PATHS / 2)] {
        let make = move |turn: u64| {
            let status = if turn.is_multiple_of(2) {
                "status=404"
            } else {
                "status=200"
            };
            let path = random_path(offset + turn);
            let request = Request::get(format!("http://{address}{path}")).version(version);
            Ok(request
                .header("host", address.to_string())
                .header("x-upstream", status))
        };
        let answers = flood(address, version, 4, PATHS / 2, Arc::new(make)).await?;
        ensure!(
            answers == [(200, PATHS / 4), (404, PATHS / 4)].into(),
            "{answers:?}"
        );
    }
    let make = move |turn: u64| {
        let method = Method::from_bytes(format!("BREW{turn}").as_bytes())?;
        let request = Request::builder().version(Version::HTTP_2).method(method);
        Ok(request.uri(format!("http://{address}/api/content/1")))
    };
    let answers = flood(address, Version::HTTP_2, 2, METHODS, Arc::new(make)).await?;
    ensure!(answers == [(200, METHODS)].into(), "{answers:?}");
    Ok(())
}

/// Waits until the page counts that many requests of the service.
async fn settled(bridge: &Bridge, service: &str, requests: u64) -> Result<Page> {
    until("all requests are on the page", async || {
        let page = bridge.page().await?;
        let counted: u64 = page.requests(Some(service))?.values().sum();
        ensure!(
            counted == requests,
            "{counted} of {requests} requests of {service}"
        );
        page.check_consistent(Some(service))?;
        Ok(page)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_paths_and_methods_make_no_more_series_than_allowed() -> Result<()> {
    let mut room = Room::open()?;
    let (_upstream, envoy, bridge) = start(&mut room).await?;
    attack(&envoy, "open").await?;
    let page = settled(&bridge, "open", PATHS + METHODS).await?;

    let requests = page.requests(Some("open"))?;
    let sets = u64::try_from(requests.len())?;
    ensure!(
        sets > MAX_SERIES / 2 && sets <= MAX_SERIES + RESERVE,
        "{sets} label sets with max_series {MAX_SERIES} and a reserve of {RESERVE}"
    );
    for (method, path, status) in requests.keys() {
        ensure!(method == "GET" || method == "_OTHER", "method {method}");
        ensure!(status == "200" || status == "404", "status {status}");
        ensure!(path.starts_with(['/', '_']), "path {path}");
    }
    // Answered 404, a path never gets a label, not even that of the overflow.
    let unmatched = ("GET".to_owned(), "_UNMATCHED".to_owned(), "404".to_owned());
    ensure!(
        requests.get(&unmatched) == Some(&(PATHS / 2)),
        "{:?} requests for {unmatched:?}",
        requests.get(&unmatched)
    );
    let overflowed: u64 = requests
        .iter()
        .filter(|((_, path, _), _)| path == "_OVERFLOW")
        .map(|(_, number)| number)
        .sum();
    let service = [("service", "open")];
    ensure!(
        overflowed >= PATHS / 2 - MAX_SERIES,
        "{overflowed} under _OVERFLOW"
    );
    let told = page.count("gatemeter_series_overflows_total", &service)?;
    ensure!(
        told == overflowed,
        "the page tells of {told} overflows, shows {overflowed}"
    );
    let limit = page.count("gatemeter_series_limit", &service)?;
    ensure!(limit == MAX_SERIES, "gatemeter_series_limit {limit}");
    // Those of the reserve are not among them.
    let real = requests
        .keys()
        .filter(|(_, path, _)| path != "_OVERFLOW")
        .count();
    let in_use = page.count("gatemeter_series", &service)?;
    ensure!(
        in_use == MAX_SERIES && in_use == u64::try_from(real)?,
        "gatemeter_series {in_use}, on the page {real}"
    );
    room.close()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_that_templates_name_get_their_labels_after_an_attack() -> Result<()> {
    let mut room = Room::open()?;
    let (_upstream, envoy, bridge) = start(&mut room).await?;
    attack(&envoy, "named").await?;
    let client = Client::new(envoy.service("named")?);
    let late = Call::new("GET", "/api/late/7", "/api/late/:id");
    client.expect(&late, 200).await?;
    client.expect(&late.upstream("status=404"), 404).await?;

    let page = settled(&bridge, "named", PATHS + METHODS + 2).await?;
    let ledger = client.ledger();
    ledger.count_many("GET", "_UNMATCHED", 200, PATHS / 2);
    ledger.count_many("GET", "_UNMATCHED", 404, PATHS / 2);
    ledger.count_many("_OTHER", "/api/content/:id", 200, METHODS);
    // With the two of the late route, under its template.
    ledger.compare(&page, Some("named"))?;
    let overflows = page.count("gatemeter_series_overflows_total", &[("service", "named")])?;
    ensure!(overflows == 0, "{overflows} overflows");
    room.close()
}
