//! Reads of Envoy: one at a time for all callers, each as fresh as its caller.
//!
//! Envoy prints its stats on its main thread, so the bridge never asks one Envoy
//! twice at once. A read is told apart from what Envoy says: how long its parts
//! took, how large the answer was, and what changed since the read before.
//!
//! Failures are counted once a read, however many callers it had, and logged
//! when they change.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use crate::{
    admin::{Admin, ReadError},
    background,
    decode::STATS_PATH,
    families::{Decoder, Family, Reading},
    own_metrics::envoy::{EnvoyMetrics, Health},
    own_scrapes::OwnScrapes,
    rendered::Rendered,
    single_flight::{Failure, Read, SingleFlight},
};

/// What a caller gets.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The reading, or why there is none.
    pub reading: Result<Arc<Reading>, ReadError>,
    /// How long the read took.
    pub took: Duration,
    /// What the bridge knows of the read, if it succeeded.
    pub facts: Option<Arc<Facts>>,
    /// What was made of it for its callers.
    pub rendered: Arc<Rendered>,
}

/// What the bridge knows of a read.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Bytes of Envoy's answer.
    pub answer_bytes: u64,
    /// Until the answer was there, without what it took to decode its pieces.
    pub waited: Duration,
    /// For decoding it, piece by piece and at the end.
    pub decoded: Duration,
    /// Health of Envoy and of the filter, which takes more than one read to tell.
    pub health: Vec<Family>,
}

/// Hands out reads of one Envoy; clones share them.
#[derive(Clone, Debug)]
pub struct Scraper {
    reads: SingleFlight<(Arc<Reading>, Arc<Facts>), ReadError>,
}

impl Scraper {
    /// Starts the task that reads; it ends when the last clone is dropped.
    /// `name` is what the log calls this Envoy; series that do not move are left
    /// out after `expire_after`.
    pub fn spawn(
        name: Option<Arc<str>>,
        admin: Admin,
        expire_after: Option<Duration>,
        own_scrapes: OwnScrapes,
        metrics: EnvoyMetrics,
    ) -> Self {
        let counter = metrics.clone();
        let reader = Reader {
            name,
            admin,
            own_scrapes,
            metrics,
            decoder: Arc::new(Mutex::new(Decoder::new(expire_after))),
            health: Health::default(),
            last: Log::default(),
        };
        Self {
            reads: SingleFlight::spawn(reader, move |error| counter.read_failed(error)),
        }
    }

    /// A read that begins after this call, done before `deadline`.
    pub async fn read(&self, deadline: Instant) -> Outcome {
        let outcome = self.reads.read(deadline).await;
        let (reading, facts) = match outcome.value {
            Ok((reading, facts)) => (Ok(reading), Some(facts)),
            Err(error) => (Err(error), None),
        };
        Outcome {
            reading,
            took: outcome.took,
            facts,
            rendered: outcome.rendered,
        }
    }
}

/// Says that Envoy cannot be read, why, and what can be done about it.
pub(crate) struct Unreadable<'a>(pub(crate) &'a ReadError);

impl fmt::Display for Unreadable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read Envoy: {}", self.0)?;
        match self.0 {
            ReadError::TooLarge(_) => {
                f.write_str("; raise envoy.max_answer_bytes if Envoy has that many stats")
            }
            _ => Ok(()),
        }
    }
}

impl Failure for ReadError {
    const BUSY: Self = Self::Busy;
    const SHUTTING_DOWN: Self = Self::ShuttingDown;
    const TIMEOUT: Self = Self::Timeout;
}

struct Reader {
    name: Option<Arc<str>>,
    admin: Admin,
    own_scrapes: OwnScrapes,
    metrics: EnvoyMetrics,
    decoder: Arc<Mutex<Decoder>>,
    health: Health,
    last: Log,
}

impl Reader {
    /// Reads come one after the other: nobody else holds it, but the end of a
    /// read whose callers have left.
    fn decoder(&self) -> MutexGuard<'_, Decoder> {
        self.decoder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was logged last, so that a state is logged when it begins.
#[derive(Default)]
struct Log {
    failure: Option<&'static str>,
    dropped: Vec<&'static str>,
}

impl Read for Reader {
    type Value = (Arc<Reading>, Arc<Facts>);
    type Error = ReadError;

    async fn read(&mut self) -> Result<Self::Value, ReadError> {
        let start = Instant::now();
        self.own_scrapes.read_begins();
        let mut answer = self.admin.open(STATS_PATH).await?;
        let id = self.decoder().begin();
        let mut answer_bytes = 0;
        let mut last_byte = None;
        let mut decoded = Duration::ZERO;
        while let Some(piece) = answer.next().await? {
            let fed = Instant::now();
            self.decoder().feed(&piece);
            decoded += fed.elapsed();
            answer_bytes += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            last_byte = piece.last().copied().or(last_byte);
        }
        drop(answer);
        let waited = start.elapsed().saturating_sub(decoded);
        let own_scrapes = self.own_scrapes.clone();
        let decoder = Arc::clone(&self.decoder);
        let decoding = background::make(move || {
            let mut decoder = decoder.lock().unwrap_or_else(PoisonError::into_inner);
            // Its callers have left, and another read has begun.
            if !decoder.is_at(id) {
                return Err(ReadError::Timeout);
            }
            if decoder.is_unreadable() {
                return Err(ReadError::Protocol(
                    "no line of it is `name: value`".to_owned(),
                ));
            }
            // Envoy ends every line; half a number looks like a number.
            if last_byte.is_some_and(|last| last != b'\n') {
                return Err(ReadError::Truncated);
            }
            Ok(decoder.finish(&own_scrapes.seen(), Instant::now()))
        });
        let reading: Reading = decoding
            .await
            .map_err(|_| ReadError::Protocol("it cannot be decoded".to_owned()))??;
        let decoded = start.elapsed().saturating_sub(waited);
        let dropped = &reading.dropped;
        self.metrics.stats_dropped(dropped);
        let reasons: Vec<_> = dropped.keys().map(|reason| reason.as_str()).collect();
        if reasons != self.last.dropped {
            if !reasons.is_empty() {
                let count: u64 = dropped.values().sum();
                let envoy = self.name.as_deref();
                warn!(
                    count,
                    envoy,
                    reasons = reasons.join(","),
                    "dropped stats of Envoy"
                );
            }
            self.last.dropped = reasons;
        }
        let seen = self.health.observe(&reading, start);
        if seen.has_restarted {
            self.metrics.restarted();
            info!(envoy = self.name.as_deref(), "Envoy's counters began again");
        }
        let facts = Facts {
            answer_bytes,
            waited,
            decoded,
            health: seen.families,
        };
        Ok((Arc::new(reading), Arc::new(facts)))
    }

    fn note(&mut self, result: Result<(), &ReadError>) {
        let failure = result.err().map(ReadError::reason);
        let envoy = self.name.as_deref();
        if let Err(error) = result {
            if self.last.failure != failure {
                let reason = error.reason();
                warn!(envoy, reason, "{}", Unreadable(error));
            }
        } else if self.last.failure.is_some() {
            info!(envoy, "Envoy can be read again");
        }
        self.last.failure = failure;
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        exposition::Format,
        families::{Number, Point},
        own_metrics::OwnMetrics,
    };

    /// A scraper of what listens on a free port.
    async fn scraper() -> (TcpListener, Scraper, EnvoyMetrics) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = Admin {
            address: format!("http://{}", listener.local_addr().unwrap())
                .parse()
                .unwrap(),
            connect_timeout: Duration::from_secs(20),
            max_answer_bytes: 1 << 20,
        };
        let own_metrics = OwnMetrics::register(Registry::new()).unwrap();
        let metrics = own_metrics.envoy("").unwrap();
        let scraper = Scraper::spawn(None, admin, None, OwnScrapes::default(), metrics.clone());
        (listener, scraper, metrics)
    }

    /// The reasons that have been counted, and how often.
    fn counted(metrics: &EnvoyMetrics) -> Vec<(String, f64)> {
        let outcome = Outcome {
            reading: Err(ReadError::Timeout),
            took: Duration::ZERO,
            facts: None,
            rendered: Arc::default(),
        };
        let families = metrics.families(&outcome, Format::Text);
        let errors = families
            .iter()
            .find(|family| family.name == "gatemeter_scrape_errors_total");
        let series = errors.unwrap().series.iter();
        series
            .filter_map(|series| match series.point {
                Point::Number(Number::Real(count)) if count > 0.0 => {
                    Some((series.labels.get("reason")?.to_owned(), count))
                }
                _ => None,
            })
            .collect()
    }

    // On one thread both callers have asked before the reader takes any.
    #[tokio::test]
    async fn callers_with_other_deadlines_of_a_read_that_hangs_count_as_one_timeout() {
        let (_hangs, scraper, metrics) = scraper().await;
        let now = Instant::now();
        let read = |time| scraper.read(now + Duration::from_millis(time));
        let (short, long) = tokio::join!(read(50), read(1000));
        assert_eq!(short.reading.unwrap_err(), ReadError::Timeout);
        assert_eq!(long.reading.unwrap_err(), ReadError::Timeout);
        assert!(short.took < Duration::from_millis(900), "{:?}", short.took);
        assert_eq!(counted(&metrics), [("timeout".to_owned(), 1.0)]);
    }

    #[tokio::test]
    async fn a_caller_whose_time_runs_out_leaves_the_read_to_those_who_have_more() {
        let (listener, scraper, metrics) = scraper().await;
        let now = Instant::now();
        let short = async {
            let outcome = scraper.read(now + Duration::from_millis(50)).await;
            let counted = counted(&metrics);
            let (mut envoy, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            envoy.write_all(answer).await.unwrap();
            // Closed with the request unread, the answer could be lost.
            let _ = envoy.read_to_end(&mut Vec::new()).await;
            (outcome, counted)
        };
        let long = scraper.read(now + Duration::from_secs(20));
        let ((short, told), long) = tokio::join!(short, long);
        assert_eq!(short.reading.unwrap_err(), ReadError::Timeout);
        assert_eq!(told, [("timeout".to_owned(), 1.0)]);
        assert!(long.reading.is_ok());
        assert_eq!(counted(&metrics), told);
    }
}
