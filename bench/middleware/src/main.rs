//! `gatemeter-bench-middleware axum` or `actix`: a service with one route, as the
//! demo's `GET /api/content/{id}` out of its memory, on one thread.
//!
//! With `--metrics` it has the middleware that one would put into such a service
//! in place of a filter in front of it (axum-prometheus, actix-web-prom), as their
//! documentation adds it. What a request costs more with it than without is the
//! price of the middleware. It serves until it is killed; one line on standard
//! output says where: `listening address=127.0.0.1:40001`.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use actix_web::{App, HttpServer, web};
use actix_web_prom::PrometheusMetricsBuilder;
use anyhow::Context;
use axum::Router;
use axum::routing::get;
use axum_prometheus::PrometheusMetricLayer;
use clap::{Parser, ValueEnum};

#[derive(Parser)]
struct Cli {
    framework: Framework,
    /// Count requests and their durations.
    #[arg(long)]
    metrics: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Framework {
    Axum,
    Actix,
}

const CONTENT_TYPE: (&str, &str) = ("content-type", "application/json");

/// What both frameworks answer.
fn title(id: u64) -> String {
    format!(r#"{{"id":{id},"title":"A title","genre":"drama","duration_seconds":5400}}"#)
}

fn axum_routes(metrics: bool) -> Router {
    let content = |axum::extract::Path(id)| async move { ([CONTENT_TYPE], title(id)) };
    let routes = Router::new().route("/api/content/{id}", get(content));
    if !metrics {
        return routes;
    }
    let (layer, page) = PrometheusMetricLayer::pair();
    let page = move || async move { page.render() };
    routes.route("/metrics", get(page)).layer(layer)
}

async fn serve_axum(listener: TcpListener, metrics: bool) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, axum_routes(metrics)).await?;
    Ok(())
}

fn actix_routes(config: &mut web::ServiceConfig) {
    let content = |id: web::Path<u64>| async move {
        let mut answer = actix_web::HttpResponse::Ok();
        answer.insert_header(CONTENT_TYPE).body(title(*id))
    };
    config.route("/api/content/{id}", web::get().to(content));
}

async fn serve_actix(listener: TcpListener, metrics: bool) -> anyhow::Result<()> {
    let server = if metrics {
        let middleware = PrometheusMetricsBuilder::new("api")
            .endpoint("/metrics")
            .build();
        let middleware = middleware.map_err(|error| anyhow::anyhow!("{error}"))?;
        HttpServer::new(move || App::new().wrap(middleware.clone()).configure(actix_routes))
            .workers(1)
            .listen(listener)?
            .run()
    } else {
        HttpServer::new(|| App::new().configure(actix_routes))
            .workers(1)
            .listen(listener)?
            .run()
    };
    Ok(server.await?)
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .context("cannot listen on 127.0.0.1")?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listening address={}", listener.local_addr()?)?;
    stdout.flush()?;
    drop(stdout);
    match cli.framework {
        Framework::Axum => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(serve_axum(listener, cli.metrics)),
        Framework::Actix => {
            actix_web::rt::System::new().block_on(serve_actix(listener, cli.metrics))
        }
    }
}
