//! Reads of Envoy: one at a time for all callers, each as fresh as its caller.
//!
//! Envoy prints its stats on its main thread, so the bridge never asks twice
//! at once. A caller that arrives while a read runs joins the next one, not
//! this one: no page shows numbers from before the scrape began. So any number
//! of callers at once cost at most two reads. A read that all its callers have
//! left is given up.
//!
//! Failures are counted once a read, and logged when they change.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout_at,
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
        // The reader keeps the deadline of a read; a little more than that is
        // left for it to say so.
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
            let mut deadline = ask.deadline;
            let mut replies = vec![ask.reply];
            while let Ok(ask) = asks.try_recv() {
                deadline = deadline.max(ask.deadline);
                replies.push(ask.reply);
            }
            replies.retain(|reply| !reply.is_closed());
            let all_have_left = async {
                for reply in &mut replies {
                    reply.closed().await;
                }
            };
            let start = Instant::now();
            let reading = tokio::select! {
                reading = timeout_at(deadline.into(), self.read()) => {
                    reading.unwrap_or(Err(ReadError::Timeout))
                }
                () = all_have_left => continue,
            };
            let took = start.elapsed();
            self.note(&reading);
            let outcome = Outcome {
                reading: reading.map(Arc::new),
                took,
            };
            for reply in replies {
                // A caller that has left needs no answer.
                let _ = reply.send(outcome.clone());
            }
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
            let dropped = answer.dropped.clone();
            Ok((Reading::new(answer, &own_scrapes.seen()), dropped))
        });
        let (reading, dropped) = decoding
            .await
            .map_err(|_| ReadError::Protocol("it cannot be decoded".to_owned()))??;
        self.own_metrics.stats_dropped(&dropped);
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
            self.own_metrics.read_failed(error);
            if self.last.failure != failure {
                warn!(reason = error.reason(), "cannot read Envoy: {error}");
            }
        } else if self.last.failure.is_some() {
            info!("Envoy can be read again");
        }
        self.last.failure = failure;
    }
}
