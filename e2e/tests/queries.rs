//! The guide's Grafana queries, as `docs/migration.md` lists them, on a real
//! Prometheus that scraped real traffic: each must return data, and the ratios
//! must be what the client knows.

use anyhow::{Context, Result, ensure};
use gatemeter_e2e::artefact::workspace;
use gatemeter_e2e::client::{Call, Client};
use gatemeter_e2e::prometheus::Prometheus;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::shipped::Shipped;
use gatemeter_e2e::until::until;

/// The queries in the document's table, in its order.
fn documented_queries() -> Result<Vec<String>> {
    let document = std::fs::read_to_string(workspace().join("docs/migration.md"))?;
    let (_, section) = document
        .split_once("## Grafana queries")
        .context("docs/migration.md has no section on queries")?;
    let section = section.split("\n## ").next().unwrap_or(section);
    let queries: Vec<String> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(query, _)| query.to_owned())
        .collect();
    ensure!(queries.len() == 6, "the guide has six queries: {queries:?}");
    Ok(queries)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_the_guide_returns_what_the_client_knows() -> Result<()> {
    let queries = documented_queries()?;
    let [rate, average, quantile, errors, hit_ratio, pool] = queries.as_slice() else {
        anyhow::bail!("{} queries", queries.len());
    };
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    let config = shipped.prometheus_config(&room)?;
    let prometheus = Prometheus::start(&mut room, &config).await?;
    let client = Client::new(shipped.listener("api")?);
    let content = Call::new("GET", "/api/content/42", "/api/content/:id");
    let failing = Call::new("GET", "/api/status/503", "/api/status/:code");
    // A rate sees no series before its first scrape, so each must exist first.
    client.expect(&content, 200).await?;
    client.expect(&failing, 503).await?;
    let sum = async |metric: &str| -> Result<f64> {
        let series = prometheus.query(&format!("sum({metric})")).await?;
        Ok(series.first().map_or(0.0, |(_, value)| *value))
    };
    until("Prometheus has the first requests", async || {
        ensure!(sum("http_requests_total").await? == 2.0);
        Ok(())
    })
    .await?;
    let before = sum("cache_hits_total").await?;
    for turn in 0..40 {
        client.expect(&content, 200).await?;
        if turn % 4 == 0 {
            client.expect(&failing, 503).await?;
        }
    }
    until("Prometheus has all requests", async || {
        ensure!(sum("http_requests_total").await? == 52.0);
        Ok(())
    })
    .await?;
    ensure!(
        sum("cache_hits_total").await? - before == 40.0,
        "each was a hit"
    );

    for query in [rate, average, quantile] {
        let found = prometheus.query(query).await?;
        let of_content = found
            .iter()
            .find(|(labels, _)| labels["path"] == "/api/content/:id")
            .with_context(|| format!("{query} returns {found:?}"))?;
        ensure!(of_content.1 > 0.0, "{query} returns {found:?}");
    }
    for (query, expected) in [(errors, 10.0 / 50.0), (hit_ratio, 1.0)] {
        let found = prometheus.query(query).await?;
        let [(_, value)] = found.as_slice() else {
            anyhow::bail!("{query} returns {found:?}");
        };
        // `rate` extrapolates each series by itself, towards its own zero, so
        // a ratio of rates is near the ratio of counts, and not equal to it.
        ensure!(
            (value - expected).abs() < 0.05,
            "{query} returns {value}, expected {expected}"
        );
    }
    // A service that has not said yet how its pool is divides nothing by nothing.
    let found = prometheus.query(pool).await?;
    let utilization = found
        .iter()
        .find(|(labels, _)| labels["job"] == "media-gateway-api")
        .with_context(|| format!("{pool} returns {found:?}"))?;
    ensure!(
        (0.0..=1.0).contains(&utilization.1),
        "{pool} returns {found:?}"
    );
    room.close()
}
