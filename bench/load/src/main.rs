//! `gatemeter-bench-load`: HTTP/1.1 requests at a constant rate, and what each of
//! them waited.
//!
//! The n-th request is due n intervals after the start, whatever the answers do.
//! Its latency counts from then on: a request that has to wait for a connection,
//! because earlier ones are slow, has waited (no coordinated omission). So at a
//! rate above what the server can do the latencies grow without bound, as they do
//! for users. The first half second is not recorded.
//!
//! One thread that never sleeps, so give it a core of its own. It refuses answers
//! without `content-length` and any status but 200; a server that falls more than
//! ten seconds behind ends the run with an error. On standard output there is one line of
//! JSON: the requests recorded, and latencies in microseconds.

mod connection;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use connection::Connection;

const WARM_UP: Duration = Duration::from_millis(500);
/// How long a request may wait.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Cli {
    /// The server, like 127.0.0.1:8080.
    server: SocketAddr,
    /// What to ask for.
    #[arg(long, default_value = "/")]
    path: String,
    /// A header of every request, like `accept: text/plain`; may be given again.
    #[arg(long)]
    header: Vec<String>,
    /// Requests a second.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long to record.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// How many requests can be under way.
    #[arg(long, default_value_t = 32)]
    connections: usize,
}

/// When which request is due.
#[derive(Clone, Copy)]
struct Schedule {
    start: Instant,
    rate: u32,
}

impl Schedule {
    fn due(self, request: u64) -> Instant {
        self.start + Duration::from_nanos(request * 1_000_000_000 / u64::from(self.rate))
    }
}

fn request(cli: &Cli) -> Vec<u8> {
    let mut head = format!("GET {} HTTP/1.1\r\nhost: {}\r\n", cli.path, cli.server);
    for header in &cli.header {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn run(cli: &Cli) -> anyhow::Result<Histogram<u64>> {
    let request = request(cli);
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(cli.connections);
    for number in 0..cli.connections {
        let connection = Connection::open(cli.server, poll.registry(), Token(number))
            .with_context(|| format!("cannot connect to {}", cli.server))?;
        connections.push(connection);
    }
    let mut idle: Vec<usize> = (0..connections.len()).collect();
    let mut events = Events::with_capacity(cli.connections);
    // Nanoseconds, three digits.
    let mut latencies = Histogram::<u64>::new(3)?;

    let schedule = Schedule {
        start: Instant::now(),
        rate: cli.rate,
    };
    let total = WARM_UP + Duration::from_secs(cli.seconds.into());
    let recorded_from = schedule.start + WARM_UP;
    let end = schedule.start + total;
    let mut next = 0;
    loop {
        let now = Instant::now();
        while schedule.due(next) <= now && schedule.due(next) < end {
            let late = now - schedule.due(next);
            ensure!(
                late < PATIENCE,
                "the server cannot do {} requests a second",
                cli.rate
            );
            let Some(number) = idle.pop() else { break };
            connections[number].send(&request, schedule.due(next))?;
            next += 1;
        }
        if schedule.due(next) >= end && idle.len() == connections.len() {
            return Ok(latencies);
        }
        ensure!(now < end + PATIENCE, "answers are missing");
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            let Token(number) = event.token();
            if let Some(due) = connections[number].receive()? {
                idle.push(number);
                if due >= recorded_from {
                    let waited = due.elapsed().as_nanos();
                    latencies.record(u64::try_from(waited).unwrap_or(u64::MAX))?;
                }
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let latencies = run(&cli)?;
    let microseconds = |nanoseconds: u64| Duration::from_nanos(nanoseconds).as_secs_f64() * 1e6;
    println!(
        r#"{{"requests": {}, "p50": {:.1}, "p99": {:.1}, "p999": {:.1}, "max": {:.1}}}"#,
        latencies.len(),
        microseconds(latencies.value_at_quantile(0.5)),
        microseconds(latencies.value_at_quantile(0.99)),
        microseconds(latencies.value_at_quantile(0.999)),
        microseconds(latencies.max()),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one connection, each request after this pause.
    fn slow_server(pause: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            while stream.read(&mut request).is_ok_and(|read| read > 0) {
                thread::sleep(pause);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).unwrap();
            }
        });
        address
    }

    #[test]
    fn a_request_that_waits_for_a_connection_has_waited() {
        let server = slow_server(Duration::from_millis(10));
        // Twice what the server can do: the last one waits for half of the run.
        let cli = Cli {
            server,
            path: "/".to_owned(),
            header: Vec::new(),
            rate: 200,
            seconds: 1,
            connections: 1,
        };
        let latencies = run(&cli).unwrap();
        assert_eq!(latencies.len(), 200);
        let shortest = Duration::from_nanos(latencies.min());
        let longest = Duration::from_nanos(latencies.max());
        assert!(shortest > Duration::from_millis(400), "{shortest:?}");
        assert!(longest > Duration::from_millis(1400), "{longest:?}");
    }
}
