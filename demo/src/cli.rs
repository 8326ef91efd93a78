//! The command line of `gatemeter-demo`, and what the program needs of it: to
//! serve, or with the subcommand `traffic` to send requests.
//!
//! Flags win over environment variables. Addresses with port 0 are accepted;
//! the real ones are printed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::service::Service;
use crate::service::playback::film::Film;
use crate::traffic::Traffic;

/// The four demo services of a media gateway (api, discovery, playback, ingestion).
#[derive(Debug, Parser)]
#[command(
    name = "gatemeter-demo",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// Something else than to serve.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Serve only this one; may be repeated. All four without it.
    #[arg(long = "service", value_name = "NAME", value_enum)]
    pub services: Vec<Service>,

    /// Where the api service listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9080")]
    pub listen_api: SocketAddr,

    /// Where the discovery service listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9081")]
    pub listen_discovery: SocketAddr,

    /// Where the playback service listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9082")]
    pub listen_playback: SocketAddr,

    /// Where the ingestion service listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9083")]
    pub listen_ingestion: SocketAddr,

    /// postgres://... or sqlite:...; without it a SQLite file that goes with the process.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,

    /// redis://...; without it the cache is a map in this process.
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,

    /// The most connections each service's pool opens.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub db_connections: u32,

    /// How long the cache keeps an entry, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub cache_ttl_seconds: u64,

    /// A folder with an HLS stream: master.m3u8, and playlists and segments one folder down.
    #[arg(long, value_name = "FOLDER")]
    pub media: Option<PathBuf>,

    /// The file hls.min.js of hls.js, for the player page.
    #[arg(long, value_name = "FILE")]
    pub hls_js: Option<PathBuf>,
}

/// What the program does instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send requests to the services, as clients and players would, until stopped.
    Traffic(TrafficCli),
}

/// The command line of `gatemeter-demo traffic`.
#[derive(Debug, Args)]
pub struct TrafficCli {
    /// Where the api service is, or what stands before it; loopback only, as all four.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = loopback)]
    pub api: SocketAddr,

    /// Where the discovery service is.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081", value_parser = loopback)]
    pub discovery: SocketAddr,

    /// Where the playback service is.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8082", value_parser = loopback)]
    pub playback: SocketAddr,

    /// Where the ingestion service is.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8083", value_parser = loopback)]
    pub ingestion: SocketAddr,

    /// The most requests a second, over all services; bursts of logins come on top.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=400))]
    pub requests_per_second: u32,

    /// End after so many rounds, with status 1 where an answer was missing.
    #[arg(long, value_name = "N")]
    pub rounds: Option<u64>,
}

/// An address of this machine: the traffic is for trying things out, not for load.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "expected an address and a port, such as 127.0.0.1:8080".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("expected an address of the loopback interface".to_owned())
    }
}

impl From<TrafficCli> for Traffic {
    fn from(cli: TrafficCli) -> Self {
        let addresses = [cli.api, cli.discovery, cli.playback, cli.ingestion];
        Self {
            services: Service::ALL.into_iter().zip(addresses).collect(),
            requests_per_second: cli.requests_per_second,
            rounds: cli.rounds,
        }
    }
}

/// What [`crate::Demo::start`] needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which services to serve, and where; never empty from the command line.
    pub listen: Vec<(Service, SocketAddr)>,
    /// `None`: a SQLite file in the temporary folder.
    pub database_url: Option<String>,
    /// `None`: a map in this process.
    pub redis_url: Option<String>,
    /// The most connections each service's pool opens; at least 1.
    pub db_connections: u32,
    /// How long the cache keeps an entry.
    pub cache_ttl: Duration,
    /// What the playback service plays; without files, nothing.
    pub film: Film,
}

impl From<Cli> for Config {
    fn from(cli: Cli) -> Self {
        let listen = Service::ALL
            .into_iter()
            .filter(|service| cli.services.is_empty() || cli.services.contains(service))
            .map(|service| {
                let address = match service {
                    Service::Api => cli.listen_api,
                    Service::Discovery => cli.listen_discovery,
                    Service::Playback => cli.listen_playback,
                    Service::Ingestion => cli.listen_ingestion,
                };
                (service, address)
            })
            .collect();
        // An empty variable is how a shell says "not set".
        let given = |url: Option<String>| url.filter(|url| !url.is_empty());
        Self {
            listen,
            database_url: given(cli.database_url),
            redis_url: given(cli.redis_url),
            db_connections: cli.db_connections,
            cache_ttl: Duration::from_secs(cli.cache_ttl_seconds),
            film: Film {
                media: cli.media,
                hls_js: cli.hls_js,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Config {
        Cli::try_parse_from([&["gatemeter-demo"], arguments].concat())
            .unwrap()
            .into()
    }

    #[test]
    fn serves_all_four_on_the_shipped_ports_by_default() {
        let listen: Vec<String> = config(&[])
            .listen
            .iter()
            .map(|(service, address)| format!("{service} {address}"))
            .collect();
        assert_eq!(
            listen,
            [
                "api 127.0.0.1:9080",
                "discovery 127.0.0.1:9081",
                "playback 127.0.0.1:9082",
                "ingestion 127.0.0.1:9083",
            ]
        );
    }

    #[test]
    fn serves_only_the_named_services() {
        let config = config(&[
            "--service",
            "playback",
            "--service",
            "api",
            "--listen-api",
            "127.0.0.1:0",
        ]);
        let services: Vec<_> = config.listen.iter().map(|(service, _)| *service).collect();
        assert_eq!(services, [Service::Api, Service::Playback]);
        assert_eq!(config.listen[0].1.port(), 0);
    }

    #[test]
    fn refuses_an_unknown_service_and_names_the_known_ones() {
        let error = Cli::try_parse_from(["gatemeter-demo", "--service", "search"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("search"), "{error}");
        assert!(
            error.contains("api, discovery, playback, ingestion"),
            "{error}"
        );
    }

    #[test]
    fn sends_traffic_to_loopback_only() {
        let parse = |arguments: &[&str]| {
            Cli::try_parse_from([&["gatemeter-demo", "traffic"], arguments].concat())
        };
        let Some(Command::Traffic(traffic)) = parse(&[]).unwrap().command else {
            panic!("no traffic");
        };
        let services = Traffic::from(traffic).services;
        let shipped = [8080, 8081, 8082, 8083].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(
            services.iter().map(|(_, at)| *at).collect::<Vec<_>>(),
            shipped
        );
        for elsewhere in [
            "192.0.2.1:80",
            "0.0.0.0:80",
            "[2001:db8::1]:80",
            "example.org:80",
        ] {
            let error = parse(&["--playback", elsewhere]).unwrap_err().to_string();
            assert!(error.contains(elsewhere), "{error}");
        }
        assert!(parse(&["--requests-per-second", "401"]).is_err());
    }

    #[test]
    fn takes_an_empty_url_for_none() {
        let config = config(&["--database-url", "", "--redis-url", ""]);
        assert_eq!((config.database_url, config.redis_url), (None, None));
    }
}
