//! What dashboards, rules and documents ask, on a real Prometheus that scraped
//! real traffic: every expression returns data, and the guide's ratios, means and
//! percentiles are what the client knows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use gatemeter_core::buckets::GUIDE_BOUNDS;
use gatemeter_e2e::artefact::workspace;
use gatemeter_e2e::asked::{Asked, all_return_data, migrated};
use gatemeter_e2e::client::{Call, Client, get};
use gatemeter_e2e::page::Page;
use gatemeter_e2e::prometheus::Prometheus;
use gatemeter_e2e::room::Room;
use gatemeter_e2e::shipped::Shipped;
use gatemeter_e2e::shown::{Dashboard, Expression, Rule, documented};
use gatemeter_e2e::until::until;

/// Alerts that the demo's traffic is made to raise: in each round a request is
/// answered with 500 and the logins run into their limit.
const RAISED: [&str; 3] = [
    "ErrorBudgetBurnFast",
    "ErrorBudgetBurnSlow",
    "RateLimitSurge",
];

/// How much longer than the client Envoy may find a request to take.
const LATE: f64 = 1.1;

/// What a client did and saw.
#[derive(Debug, Default)]
struct Seen {
    requests: f64,
    errors: f64,
    hits: f64,
    misses: f64,
    /// Of each slow request: how long it was told to take, how long it took.
    slow: Vec<(Duration, Duration)>,
}

impl Seen {
    /// What is at this place in the order of size: at least `q` of all are no
    /// larger. Of what was asked for, and of what the client saw.
    fn quantile(&self, q: f64) -> (f64, f64) {
        let at = |mut durations: Vec<Duration>| {
            durations.sort();
            let mut ranked = (1_u32..).zip(durations);
            let count = f64::from(u32::try_from(self.slow.len()).unwrap_or(u32::MAX));
            let found = ranked.find(|(rank, _)| f64::from(*rank) >= q * count);
            found.map_or(f64::NAN, |(_, duration)| duration.as_secs_f64())
        };
        let asked = at(self.slow.iter().map(|(asked, _)| *asked).collect());
        (asked, at(self.slow.iter().map(|(_, took)| *took).collect()))
    }

    fn mean(&self) -> (f64, f64) {
        let count = f64::from(u32::try_from(self.slow.len()).unwrap_or(u32::MAX));
        let mean = |durations: Duration| durations.as_secs_f64() / count;
        (
            mean(self.slow.iter().map(|(asked, _)| *asked).sum()),
            mean(self.slow.iter().map(|(_, took)| *took).sum()),
        )
    }
}

/// Sends a hundred requests or so. Content is asked for from this number on, so
/// that the cache has some of it and lacks some.
async fn traffic(client: &Client, first: u32) -> Result<Seen> {
    let mut seen = Seen::default();
    let failing = Call::new("GET", "/api/status/503", "/api/status/:code");
    for turn in 0..30 {
        let path = format!("/api/content/{}", first + turn / 3);
        let content = Call::new("GET", &path, "/api/content/:id");
        let answer = client.expect(&content, 200).await?;
        let said = answer
            .headers
            .get("cache-status")
            .context("no Cache-Status")?;
        if said.to_str()?.contains("hit") {
            seen.hits += 1.0;
        } else {
            seen.misses += 1.0;
        }
        if turn % 4 == 0 {
            client.expect(&failing, 503).await?;
            seen.errors += 1.0;
            seen.requests += 1.0;
        }
        seen.requests += 1.0;
    }
    let lanes = (0..8).map(|lane| async move {
        let mut slow = Vec::new();
        for ms in [3, 8, 35, 30, 70, 65, 150, 8 + lane * 50] {
            let call = Call::new("GET", &format!("/api/slow?ms={ms}"), "/api/slow");
            let answer = client.expect(&call, 200).await?;
            slow.push((Duration::from_millis(ms), answer.elapsed));
        }
        anyhow::Ok(slow)
    });
    seen.slow = try_join_all(lanes).await?.concat();
    seen.requests += f64::from(u32::try_from(seen.slow.len())?);
    Ok(seen)
}

/// The bounds of the histogram between which a duration is, in seconds.
fn bucket(seconds: f64) -> (f64, f64) {
    let bounds = GUIDE_BOUNDS.map(|nanos| Duration::from_nanos(nanos).as_secs_f64());
    let above = bounds.iter().position(|bound| seconds <= *bound);
    let above = above.unwrap_or(bounds.len());
    let lower = above.checked_sub(1).and_then(|at| bounds.get(at));
    (
        lower.copied().unwrap_or_default(),
        bounds.get(above).copied().unwrap_or(f64::INFINITY),
    )
}

/// `rate` extrapolates each series by itself, towards its own zero. Where every
/// series has as much before the first scrape as after it, it does so for all of
/// them alike, and a ratio of rates is the ratio of counts. So the client does
/// everything twice, first before Prometheus looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guides_ratios_means_and_percentiles_are_what_the_client_knows() -> Result<()> {
    let queries = migrated()?;
    let [_, average, p95, errors, hit_ratio, pool] = queries.as_slice() else {
        anyhow::bail!("{} queries", queries.len());
    };
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    let client = Client::new(shipped.listener("api")?);
    traffic(&client, 1).await?;
    until("the page has all of the first time", async || {
        let page = get(shipped.listener("api")?, "/metrics").await?;
        client.ledger().compare(&Page::parse(page.text()?)?, None)
    })
    .await?;
    let config = shipped.prometheus_config(&room)?;
    let prometheus = Prometheus::start(&mut room, &config).await?;
    let one = async |query: &str| -> Result<f64> {
        let found = prometheus.query(query).await?;
        let [(_, value)] = found.as_slice() else {
            anyhow::bail!("{query} returns {found:?}");
        };
        Ok(*value)
    };
    let all_of = async |what: &str| {
        let total = client.ledger().total();
        until(what, async || {
            let counted = one("sum(http_requests_total)").await?;
            ensure!(
                counted.to_string() == total.to_string(),
                "{counted} of {total}"
            );
            Ok(())
        })
        .await
    };
    all_of("Prometheus has all of the first time").await?;
    let seen = traffic(&client, 11).await?;
    all_of("Prometheus has all of the second time").await?;

    for (query, expected) in [
        (errors, seen.errors / seen.requests),
        (hit_ratio, seen.hits / (seen.hits + seen.misses)),
    ] {
        let value = one(query).await?;
        ensure!(
            (value - expected).abs() < 1e-9,
            "{query} returns {value}, expected {expected}"
        );
    }
    let of_slow = async |query: &str| -> Result<f64> {
        let found = prometheus.query(query).await?;
        let slow = found
            .iter()
            .find(|(labels, _)| labels["path"] == "/api/slow");
        Ok(slow
            .with_context(|| format!("{query} returns {found:?}"))?
            .1)
    };
    // Envoy sees a request for no less than it was told to take, and for little more
    // than the client waits: it may note the end of an exchange that the client has.
    let mean = of_slow(average).await?;
    let (asked, took) = seen.mean();
    let took = took * LATE;
    ensure!(asked < mean && mean < took, "{asked} {mean} {took}");
    for q in [0.5, 0.75, 0.9, 0.95, 0.99] {
        let query = p95.replace("0.95", &q.to_string());
        let estimate = of_slow(&query).await?;
        let (asked, took) = seen.quantile(q);
        let (lower, upper) = (bucket(asked).0, bucket(took * LATE).1);
        ensure!(
            lower < estimate && estimate <= upper,
            "{query} returns {estimate}; asked {asked}, took {took}"
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

/// What `docs/queries.md` says of the error of a percentile, bucket by bucket.
#[test]
fn the_document_has_the_largest_error_of_every_bucket() -> Result<()> {
    let document = std::fs::read_to_string(workspace().join("docs/queries.md"))?;
    let mut lower = Duration::ZERO;
    for nanos in GUIDE_BOUNDS {
        let upper = Duration::from_nanos(nanos);
        let width = (upper - lower).as_secs_f64();
        let factor = if lower.is_zero() {
            "any".to_owned()
        } else {
            let factor = upper.as_secs_f64() / lower.as_secs_f64();
            format!("{factor:.1}")
        };
        let row = format!(
            "| {} to {} | {width:.3} | {factor} |",
            lower.as_secs_f64(),
            upper.as_secs_f64()
        );
        ensure!(
            document.contains(&row),
            "docs/queries.md lacks the row\n{row}"
        );
        lower = upper;
    }
    Ok(())
}

/// What each dashboard asks, for every service that it can be asked of.
async fn of_dashboards(prometheus: &Prometheus) -> Result<Vec<Expression>> {
    let mut expressions = Vec::new();
    for dashboard in Dashboard::all()? {
        let variables = dashboard.variables()?;
        let (_, metric, label, several) = variables.first().context("no $service")?.clone();
        let values = if several {
            vec![".*".to_owned()]
        } else {
            let query = format!("group by ({label}) ({metric})");
            let found = prometheus.query(&query).await?;
            let values = found
                .iter()
                .filter_map(|(labels, _)| labels[&label].as_str());
            values.map(str::to_owned).collect()
        };
        ensure!(!values.is_empty(), "{}: nothing to choose", dashboard.file);
        for service in &values {
            for panel in dashboard.panels() {
                for expression in dashboard.expressions(panel)? {
                    let filled = expression.filled(&[("service", service), ("route", ".*")]);
                    let place = format!("{}, {service}", filled.place);
                    expressions.push(Expression { place, ..filled });
                }
            }
        }
    }
    Ok(expressions)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expression_returns_data_on_the_demos_traffic() -> Result<()> {
    let rules = Rule::all()?;
    let mut room = Room::open()?;
    let shipped = Shipped::start(&mut room).await?;
    let config = shipped.prometheus_config(&room)?;
    let prometheus = Prometheus::start(&mut room, &config).await?;
    until("each target was scraped", async || {
        let up = prometheus.query("up == 1").await?;
        ensure!(up.len() == 5, "{up:?}");
        Ok(())
    })
    .await?;
    // Slow enough for a scrape while the caches are still cold: the vector database
    // is asked only then, and half a minute later.
    shipped.traffic(&mut room, 60)?;
    until("the traffic has come round", async || {
        room.process("traffic")?.check_running()?;
        for metric in [
            "rate_limit_hits_total",
            "stream_buffer_events_total",
            "storage_uploads_total",
        ] {
            let query = format!("rate({metric}[1m])");
            ensure!(!prometheus.query(&query).await?.is_empty(), "no {query}");
        }
        Ok(())
    })
    .await?;
    let mut waiting = of_dashboards(&prometheus).await?;
    waiting.extend(Asked::of(&rules)?.where_all_is_well);
    for rule in rules.iter().filter(|rule| !rule.is_alert) {
        if !rule.expression.text.contains(" offset ") {
            waiting.push(Expression {
                place: rule.expression.place.clone(),
                text: rule.name.clone(),
            });
        }
    }
    let asked = waiting.len();
    ensure!(asked > 200, "{asked} expressions");
    all_return_data(&prometheus, waiting).await?;

    // Prometheus can read those too of which no data is asked.
    for expression in documented()? {
        let found = prometheus.query(&expression.text).await;
        found.with_context(|| format!("{expression:?}"))?;
    }
    for rule in prometheus.rules().await? {
        ensure!(rule["health"] == "ok", "{rule}");
    }
    let raised = prometheus.query("group by (alertname) (ALERTS)").await?;
    for (labels, _) in raised {
        let name = labels["alertname"].as_str().unwrap_or_default();
        ensure!(
            RAISED.contains(&name),
            "{name} is raised by ordinary traffic"
        );
    }
    room.close()
}
