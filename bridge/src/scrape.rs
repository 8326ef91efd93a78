//! Reads of Envoy: one at a time for all callers, each as fresh as its caller.
//!
//! Envoy prints its stats on its main thread, so the bridge never asks twice
//! at once. A caller that arrives while a read runs joins the next one, not
//! this one: no page shows numbers from before the scrape began. So any number
//! of callers at once cost at most two reads. A read goes on until the last of
//! its callers has no time left, and is given up when all of them have left.
//!
//! Failures are counted once a read, however many callers it had, and logged
//! when they change.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep_until, timeout_at},
};
use tracing::{info, warn};

use crate::{
    admin::{Admin, ReadError},
    decode::{self, STATS_PATH},
    families::Reading,
    own_metrics::OwnMetrics,
    own_scrapes::OwnScrapes,
};

/// What a caller gets.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The reading, or why there is none.
    pub reading: Result<Arc<Reading>, ReadError>,
    /// How long the read took.
    pub took: Duration,
}

/// Hands out reads; clones share them.
#[derive(Clone, Debug)]
pub struct Scraper {
    asks: mpsc::Sender<Ask>,
    own_metrics: OwnMetrics,
}

#[derive(Debug)]
struct Ask {
    deadline: Instant,
    reply: oneshot::Sender<Outcome>,
}

impl Ask {
    fn answer(self, reading: Result<Arc<Reading>, ReadError>, took: Duration) {
        // A caller that has left needs no answer.
        let _ = self.reply.send(Outcome { reading, took });
    }
}

impl Scraper {
    /// Starts the task that reads; it ends when the last clone is dropped.
    pub fn spawn(admin: Admin, own_scrapes: OwnScrapes, own_metrics: OwnMetrics) -> Self {
        let (sender, asks) = mpsc::channel(MAX_WAITING);
        let reader = Reader {
            admin,
            own_scrapes,
            own_metrics: own_metrics.clone(),
            last: Log::default(),
        };
        tokio::spawn(reader.run(asks));
        Self {
            asks: sender,
            own_metrics,
        }
    }

    /// A read that begins after this call, done before `deadline`.
    pub async fn read(&self, deadline: Instant) -> Outcome {
        let start = Instant::now();
        let (reply, outcome) = oneshot::channel();
        let ask = async {
            self.asks
                .send(Ask { deadline, reply })
                .await
                .map_err(|_| ReadError::ShuttingDown)?;
            outcome.await.map_err(|_| ReadError::ShuttingDown)
        };
        // The reader keeps the deadline of every caller of a read; a little more
        // than that is left for it to say so. Then it is still at another read.
        let error = match timeout_at((deadline + GRACE).into(), ask).await {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(error)) => error,
            Err(_) => ReadError::Busy,
        };
        self.own_metrics.read_failed(&error);
        Outcome {
            reading: Err(error),
            took: start.elapsed(),
        }
    }
}

/// Callers that may wait for a read; more wait in line behind them.
const MAX_WAITING: usize = 1024;

const GRACE: Duration = Duration::from_millis(20);

struct Reader {
    admin: Admin,
    own_scrapes: OwnScrapes,
    own_metrics: OwnMetrics,
    last: Log,
}

/// What was logged last, so that a state is logged when it begins.
#[derive(Default)]
struct Log {
    failure: Option<&'static str>,
    dropped: Vec<&'static str>,
}

impl Reader {
    async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        while let Some(ask) = asks.recv().await {
            let mut callers = vec![ask];
            while let Ok(ask) = asks.try_recv() {
                callers.push(ask);
            }
            callers.retain(|caller| !caller.reply.is_closed());
            if !callers.is_empty() {
                self.answer(callers).await;
            }
        }
    }

    /// One read for all these callers.
    async fn answer(&mut self, mut callers: Vec<Ask>) {
        let own_metrics = self.own_metrics.clone();
        let start = Instant::now();
        let mut is_counted = false;
        let reading = {
            let mut read = pin!(self.read());
            loop {
                let Some(deadline) = callers.iter().map(|caller| caller.deadline).min() else {
                    break Err(ReadError::Timeout);
                };
                let all_have_left = async {
                    for caller in &mut callers {
                        caller.reply.closed().await;
                    }
                };
                tokio::select! {
                    reading = &mut read => break reading,
                    () = all_have_left => return,
                    () = sleep_until(deadline.into()) => {}
                }
                callers.retain(|caller| !caller.reply.is_closed());
                for caller in callers.extract_if(.., |caller| caller.deadline <= deadline) {
                    // Before the answer, whose page shows the count.
                    if !is_counted {
                        own_metrics.read_failed(&ReadError::Timeout);
                        is_counted = true;
                    }
                    caller.answer(Err(ReadError::Timeout), start.elapsed());
                }
            }
        };
        if let Err(error) = &reading
            && !is_counted
        {
            own_metrics.read_failed(error);
        }
        self.note(&reading);
        let took = start.elapsed();
        let reading = reading.map(Arc::new);
        for caller in callers {
            caller.answer(reading.clone(), took);
        }
    }

    async fn read(&mut self) -> Result<Reading, ReadError> {
        self.own_scrapes.read_begins();
        let body = self.admin.get(STATS_PATH).await?;
        let own_scrapes = self.own_scrapes.clone();
        let decoding = tokio::task::spawn_blocking(move || {
            let answer = decode::decode(&body);
            if answer.readable == 0 && !body.is_empty() {
                return Err(ReadError::Protocol(
                    "no line of it is `name: value`".to_owned(),
                ));
            }
            // Envoy ends every line; half a number looks like a number.
            if body.last().is_some_and(|&last| last != b'\n') {
                return Err(ReadError::Truncated);
            }
            Ok(Reading::new(answer, &own_scrapes.seen()))
        });
        let reading: Reading = decoding
            .await
            .map_err(|_| ReadError::Protocol("it cannot be decoded".to_owned()))??;
        let dropped = &reading.dropped;
        self.own_metrics.stats_dropped(dropped);
        let reasons: Vec<_> = dropped.keys().map(|reason| reason.as_str()).collect();
        if reasons != self.last.dropped {
            if !reasons.is_empty() {
                let count: u64 = dropped.values().sum();
                warn!(count, reasons = reasons.join(","), "dropped stats of Envoy");
            }
            self.last.dropped = reasons;
        }
        Ok(reading)
    }

    fn note(&mut self, reading: &Result<Reading, ReadError>) {
        let failure = reading.as_ref().err().map(ReadError::reason);
        if let Err(error) = reading {
            if self.last.failure != failure {
                warn!(reason = error.reason(), "cannot read Envoy: {error}");
            }
        } else if self.last.failure.is_some() {
            info!("Envoy can be read again");
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
    use crate::families::{Number, Point};

    /// A scraper of what listens on a free port.
    async fn scraper() -> (TcpListener, Scraper) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = Admin {
            address: format!("http://{}", listener.local_addr().unwrap())
                .parse()
                .unwrap(),
            connect_timeout: Duration::from_secs(20),
            max_answer_bytes: 1 << 20,
        };
        let own_metrics = OwnMetrics::register(Registry::new()).unwrap();
        let scraper = Scraper::spawn(admin, OwnScrapes::default(), own_metrics);
        (listener, scraper)
    }

    /// The reasons that have been counted, and how often.
    fn counted(scraper: &Scraper) -> Vec<(String, f64)> {
        let families = scraper.own_metrics.families(false, Duration::ZERO);
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
        let (_hangs, scraper) = scraper().await;
        let now = Instant::now();
        let read = |time| scraper.read(now + Duration::from_millis(time));
        let (short, long) = tokio::join!(read(50), read(1000));
        assert_eq!(short.reading.unwrap_err(), ReadError::Timeout);
        assert_eq!(long.reading.unwrap_err(), ReadError::Timeout);
        assert!(short.took < Duration::from_millis(900), "{:?}", short.took);
        assert_eq!(counted(&scraper), [("timeout".to_owned(), 1.0)]);
    }

    #[tokio::test]
    async fn a_caller_whose_time_runs_out_leaves_the_read_to_those_who_have_more() {
        let (listener, scraper) = scraper().await;
        let now = Instant::now();
        let short = async {
            let outcome = scraper.read(now + Duration::from_millis(50)).await;
            let counted = counted(&scraper);
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
        assert_eq!(counted(&scraper), told);
    }
}
