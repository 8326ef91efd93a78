//! The services' own pages of metrics: fetched, parsed and joined.
//!
//! A service that registers metrics of its own (the metrics guide's custom
//! metrics, or a pool that it watches in the background) serves them on a page
//! of its own. Here that page is read when one of ours is asked for, at the same
//! time as the Envoys, once for all callers, and for no longer than its timeout
//! and its caller's deadline. So a page that hangs or is broken costs its own
//! series and a `gatemeter_source_up` of 0, and nothing else.
//!
//! Refused are any other status than 200, any other content than the two text
//! formats, compressed content, and a body whose end nothing marks: neither
//! length nor chunks, nor the `# EOF` of OpenMetrics. Redirects are not
//! followed. No message repeats what a page holds.

pub mod join;
mod line;
pub mod page;
mod series;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, header};
use thiserror::Error;
use tracing::{info, warn};

use self::page::{Owner, PageError, SourcePage};
use crate::{
    admin::{Admin, Answer, ReadError, refuse_unmarked_end},
    background,
    config::SourceTarget,
    exposition::Format,
    negotiate,
    own_metrics::source::SourceMetrics,
    rendered::Rendered,
    single_flight::{Failure, Read, SingleFlight},
};

/// Hands out reads of one page; clones share them.
#[derive(Clone, Debug)]
pub struct Source {
    timeout: Duration,
    reads: SingleFlight<Arc<SourcePage>, SourceError>,
}

/// What a caller gets.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the page says, or why it says nothing.
    pub page: Result<Arc<SourcePage>, SourceError>,
    /// How long the read took.
    pub took: Duration,
    /// What was made of it for its callers.
    pub rendered: Arc<Rendered>,
}

/// Why a service's page says nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SourceError {
    /// What Prometheus could not read either, or more than a limit.
    #[error("the page cannot be read: {0}")]
    Page(#[from] PageError),
    /// There is no whole page.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl SourceError {
    /// Every value of the label `reason`: those of a read, and `page`.
    pub fn reasons() -> impl Iterator<Item = &'static str> {
        let mut reasons = vec![PAGE];
        reasons.extend(ReadError::REASONS);
        reasons.sort_unstable();
        reasons.into_iter()
    }

    /// The value of the label `reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Page(PageError::Line { .. } | PageError::NotUtf8) => PAGE,
            // Too much is too much, of bytes or of series; an end is missing
            // whoever finds it so.
            Self::Page(PageError::TooLarge(_)) => ReadError::TooLarge(0).reason(),
            Self::Page(PageError::Truncated(_)) => ReadError::Truncated.reason(),
            Self::Read(error) => error.reason(),
        }
    }
}

/// The reason that a read alone cannot have.
const PAGE: &str = "page";

impl Failure for SourceError {
    const BUSY: Self = Self::Read(ReadError::BUSY);
    const SHUTTING_DOWN: Self = Self::Read(ReadError::SHUTTING_DOWN);
    const TIMEOUT: Self = Self::Read(ReadError::TIMEOUT);
}

/// Most bytes of a page; a thousand times what a usual one has.
pub const MOST_BYTES: u64 = 16 << 20;

impl Source {
    /// Starts the task that reads; it ends when the last clone is dropped.
    pub fn spawn(target: &SourceTarget, connect_timeout: Duration, metrics: SourceMetrics) -> Self {
        let reader = Reader {
            client: Admin {
                address: target.url.address.clone(),
                connect_timeout,
                max_answer_bytes: MOST_BYTES,
            },
            path: target.url.path.clone(),
            owner: owner(target),
            failure: None,
        };
        Self {
            timeout: target.timeout,
            reads: SingleFlight::spawn(reader, move |error| metrics.read_failed(error)),
        }
    }

    /// A read that begins after this call, done before `deadline` and within the
    /// source's timeout.
    pub async fn read(&self, deadline: Instant) -> Outcome {
        let deadline = deadline.min(Instant::now() + self.timeout);
        let outcome = self.reads.read(deadline).await;
        Outcome {
            page: outcome.value,
            took: outcome.took,
            rendered: outcome.rendered,
        }
    }
}

/// Who the page of this target belongs to.
pub fn owner(target: &SourceTarget) -> Owner {
    Owner {
        service: target.service.as_str().into(),
        labels: target.labels.clone(),
    }
}

struct Reader {
    client: Admin,
    path: String,
    owner: Owner,
    /// What was logged last, so that a state is logged when it begins.
    failure: Option<&'static str>,
}

impl Read for Reader {
    type Value = Arc<SourcePage>;
    type Error = SourceError;

    async fn read(&mut self) -> Result<Arc<SourcePage>, SourceError> {
        let answer = self.client.open_any(&self.path, ACCEPT).await?;
        let format = content(&answer)?;
        let body = answer.body().await?;
        let owner = self.owner.clone();
        let parsing = background::make(move || page::parse(&body, format, &owner));
        let page = parsing
            .await
            .map_err(|_| ReadError::Protocol("it cannot be parsed".to_owned()))??;
        Ok(Arc::new(page))
    }

    fn note(&mut self, result: Result<(), &SourceError>) {
        let failure = result.err().map(SourceError::reason);
        let service = &*self.owner.service;
        if let Err(error) = result {
            if self.failure != failure {
                warn!(
                    service,
                    reason = error.reason(),
                    "cannot read a service's own page: {error}"
                );
            }
        } else if self.failure.is_some() {
            info!(service, "the service's own page can be read again");
        }
        self.failure = failure;
    }
}

/// As Prometheus 2 asks; OpenMetrics has types that text has not.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

/// Which format an answer is in, if it is one that can be read.
fn content(answer: &Answer) -> Result<Format, ReadError> {
    let headers = answer.headers();
    if headers.contains_key(header::CONTENT_ENCODING) {
        let problem = "compressed content; expected text as it is";
        return Err(ReadError::Protocol(problem.to_owned()));
    }
    let format = format(headers).ok_or_else(|| {
        let problem = "another content type; expected text/plain or application/openmetrics-text";
        ReadError::Protocol(problem.to_owned())
    })?;
    if format == Format::Text {
        refuse_unmarked_end(headers)?;
    }
    Ok(format)
}

/// Without a content type it is text, as Prometheus 2 has it.
fn format(headers: &HeaderMap) -> Option<Format> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Some(Format::Text);
    };
    negotiate::content_type(value.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn knows_both_formats_by_their_content_types() {
        for (value, expected) in [
            ("text/plain", Some(Format::Text)),
            (
                "text/plain; version=0.0.4; charset=utf-8",
                Some(Format::Text),
            ),
            ("Text/Plain;charset=utf-8", Some(Format::Text)),
            (
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                Some(Format::OpenMetrics),
            ),
            ("application/openmetrics-text", Some(Format::OpenMetrics)),
            ("application/openmetrics-text; version=2.0.0", None),
            ("text/html", None),
            ("application/json", None),
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily",
                None,
            ),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(format(&headers), expected, "{value}");
        }
        assert_eq!(format(&HeaderMap::new()), Some(Format::Text));
    }

    #[test]
    fn every_error_has_a_listed_reason() {
        let of_pages = [
            PageError::Line {
                line: 1,
                problem: "",
            },
            PageError::NotUtf8,
            PageError::TooLarge(""),
            PageError::Truncated(""),
        ];
        let reasons = of_pages.map(|error| SourceError::from(error).reason());
        assert_eq!(reasons, ["page", "page", "too_large", "truncated"]);
        let of_read = SourceError::from(ReadError::Status(500)).reason();
        let listed: Vec<_> = SourceError::reasons().collect();
        for reason in reasons
            .into_iter()
            .chain([of_read])
            .chain(ReadError::REASONS)
        {
            assert!(listed.contains(&reason), "{reason}");
        }
        assert_eq!(listed.len(), ReadError::REASONS.len() + 1);
        assert!(listed.is_sorted(), "{listed:?}");
    }
}
