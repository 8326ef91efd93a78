//! Which families stand on which page, and what a page is when Envoy cannot
//! be read.
//!
//! - `/metrics` is always complete: without Envoy it says `gatemeter_up 0` and
//!   shows no series of any service, so nothing stale is taken for a number.
//! - A service's page holds the guide's metrics and nothing else. It has no
//!   way to say that Envoy is away, so then there is no page.

use std::{sync::Arc, time::Instant};

use thiserror::Error;

use crate::{
    admin::ReadError,
    decode::Answer,
    exposition::{self, Format, Part, Scope},
    families::Reading,
    live::{Live, Seen},
    own_metrics::OwnMetrics,
    scrape::{Outcome, Scraper},
};

/// Makes pages; clones share one reader of Envoy.
#[derive(Clone, Debug)]
pub struct Pages {
    scraper: Scraper,
    own_metrics: OwnMetrics,
    live: Option<Live>,
}

/// Why there is no page of a service. No message repeats the name asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoPage {
    /// Envoy has no filter of that service.
    #[error("no service of this name; /metrics shows those that the filter serves")]
    UnknownService,
    /// Envoy cannot be read.
    #[error("{0}")]
    Unreadable(#[from] ReadError),
}

impl Pages {
    /// Pages of what `scraper` reads and `own_metrics` count.
    /// All that is read is shown to `live`.
    pub fn new(scraper: Scraper, own_metrics: OwnMetrics, live: Option<Live>) -> Self {
        Self {
            scraper,
            own_metrics,
            live,
        }
    }

    /// What every Envoy says, for the live page.
    pub async fn seen(&self, deadline: Instant) -> Vec<Seen> {
        seen(&self.scraper.read(deadline).await)
    }

    async fn read(&self, deadline: Instant) -> Outcome {
        let outcome = self.scraper.read(deadline).await;
        if let Some(live) = &self.live {
            live.observe(seen(&outcome));
        }
        outcome
    }

    /// All services, and what concerns the operator.
    pub async fn all(&self, deadline: Instant, format: Format) -> String {
        let outcome = self.read(deadline).await;
        let own = self
            .own_metrics
            .families(outcome.reading.is_ok(), outcome.took);
        let reading = outcome
            .reading
            .unwrap_or_else(|_| Arc::new(Reading::new(Answer::default(), &Default::default())));
        in_background(move || {
            let parts = [Part::plain(&reading.families), Part::plain(&own)];
            exposition::page(&parts, Scope::All, format)
        })
        .await
    }

    /// The guide's metrics of one service.
    ///
    /// # Errors
    /// Where Envoy has no such service or cannot be read.
    pub async fn service(
        &self,
        service: String,
        deadline: Instant,
        format: Format,
    ) -> Result<String, NoPage> {
        let reading = self.read(deadline).await.reading?;
        if !reading.services.contains(service.as_str()) {
            return Err(NoPage::UnknownService);
        }
        Ok(in_background(move || {
            let parts = [Part::plain(&reading.families)];
            exposition::page(&parts, Scope::Service(&service), format)
        })
        .await)
    }

    /// Whether Envoy can be read now.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn ready(&self, deadline: Instant) -> Result<(), ReadError> {
        self.read(deadline).await.reading.map(|_| ())
    }
}

fn seen(outcome: &Outcome) -> Vec<Seen> {
    vec![Seen {
        envoy: None,
        reading: outcome.reading.clone(),
    }]
}

/// Large pages take milliseconds; the threads that serve sockets are few.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Only a panic in `work` or the end of the runtime lead here.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}
