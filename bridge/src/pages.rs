//! Which families stand on which page, and what a page is when something cannot
//! be read.
//!
//! A page reads all its Envoys and sources at once, and none of them past its
//! caller's deadline.
//!
//! - `/metrics` is always complete: of an Envoy that cannot be read it says
//!   `gatemeter_up 0`, of a source `gatemeter_source_up 0`, and shows no series of
//!   either, so nothing stale is taken for a number.
//! - `/metrics?target=<name>` is the same for one Envoy, without the sources and
//!   without what concerns the bridge's own process: whoever asks for one Envoy
//!   after the other gets those once, from `/metrics`. An Envoy that is read on
//!   demand is read only so.
//! - A service's page holds the guide's metrics of the service and what the
//!   service's own page says, and nothing else. It has no way to say that Envoy is
//!   away, so where no Envoy can be read there is no page. Where some can, the
//!   series of the others are missing, and Prometheus knows them by their label
//!   `envoy`.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::task::JoinSet;

use crate::{
    admin::{Admin, ReadError},
    config::{Config, EnvoyTarget},
    decode::DropReason,
    exposition::{self, Format, Part, Scope},
    families::{Family, LabelSet, Number, Reading},
    live::{Live, Seen},
    own_metrics::{self, OwnMetrics, envoy::EnvoyMetrics, source::SourceMetrics},
    own_scrapes::OwnScrapes,
    rendered::{Kind, Name, Page, Rendered},
    scrape::{self, Scraper, Unreadable},
    sources::{
        self, Source,
        join::{Join, Joined},
        page::SourcePage,
    },
};

/// Makes pages; clones share the readers.
#[derive(Clone, Debug)]
pub struct Pages(Arc<Readers>);

#[derive(Debug)]
struct Readers {
    envoys: Vec<Envoy>,
    sources: Vec<ServiceSource>,
    own_metrics: OwnMetrics,
    live: Option<Live>,
}

#[derive(Debug)]
struct Envoy {
    name: Option<Arc<str>>,
    /// As exposition has them: `envoy="edge-1",zone="a"`, or none.
    labels: Arc<str>,
    is_on_demand: bool,
    scraper: Scraper,
    metrics: EnvoyMetrics,
}

#[derive(Debug)]
struct ServiceSource {
    service: Arc<str>,
    source: Source,
    metrics: SourceMetrics,
}

/// Why there is no page. No message repeats what was asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoPage {
    /// No Envoy of that name is configured.
    #[error("no Envoy of this name; expected a name from the configuration")]
    UnknownTarget,
    /// Envoy has no filter of that service.
    #[error("no service of this name; /metrics shows those that the filter serves")]
    UnknownService,
    /// Envoy cannot be read.
    #[error("{}", Unreadable(.0))]
    Unreadable(#[from] ReadError),
}

impl Pages {
    /// Pages of what `config` names; the readers end with the last clone. What is
    /// read of all Envoys is shown to `live`.
    ///
    /// # Errors
    /// Never where the catalogue is right.
    pub fn new(
        config: &Config,
        own_scrapes: &OwnScrapes,
        own_metrics: OwnMetrics,
        live: Option<Live>,
    ) -> Result<Self, prometheus::Error> {
        let envoy = |target: &EnvoyTarget| {
            let labels: Arc<str> = labels(target).text().into();
            let metrics = own_metrics.envoy(&labels)?;
            let admin = Admin {
                address: target.admin.clone(),
                connect_timeout: config.connect_timeout,
                max_answer_bytes: config.max_answer_bytes,
            };
            Ok(Envoy {
                name: target.name.clone(),
                labels,
                is_on_demand: target.on_demand,
                scraper: Scraper::spawn(
                    target.name.clone(),
                    admin,
                    config.expire_after,
                    own_scrapes.clone(),
                    metrics.clone(),
                ),
                metrics,
            })
        };
        let source = |target| {
            let owner = sources::owner(target);
            let metrics = own_metrics.source(&owner)?;
            Ok(ServiceSource {
                service: owner.service,
                source: Source::spawn(target, config.connect_timeout, metrics.clone()),
                metrics,
            })
        };
        let envoys = config.envoys.iter().map(envoy);
        let envoys = envoys.collect::<Result<_, prometheus::Error>>()?;
        let sources = config.sources.iter().map(source);
        let sources = sources.collect::<Result<_, prometheus::Error>>()?;
        Ok(Self(Arc::new(Readers {
            envoys,
            sources,
            own_metrics,
            live,
        })))
    }

    /// What the Envoys say that are not read on demand, for the live page.
    pub async fn seen(&self, deadline: Instant) -> Vec<Seen> {
        let read = self.read(|envoy| !envoy.is_on_demand, |_| false, deadline);
        self.0.seen(&read.await)
    }

    /// All services, and what concerns the operator.
    pub async fn all(&self, deadline: Instant, format: Format) -> Page {
        let read = self.read_usual(|_| true, deadline).await;
        self.operators_page(read, Kind::All, format).await
    }

    /// The same of the Envoy of this name alone.
    ///
    /// # Errors
    /// Where no Envoy has this name.
    pub async fn target(
        &self,
        name: &str,
        deadline: Instant,
        format: Format,
    ) -> Result<Page, NoPage> {
        let is_meant = |envoy: &Envoy| envoy.name.as_deref() == Some(name);
        if !self.0.envoys.iter().any(is_meant) {
            return Err(NoPage::UnknownTarget);
        }
        let read = self.read(is_meant, |_| false, deadline).await;
        Ok(self.operators_page(read, Kind::Target, format).await)
    }

    /// What one service says, by way of Envoy and on its own page.
    ///
    /// # Errors
    /// Where neither knows the service, or no Envoy can be read.
    pub async fn service(
        &self,
        service: String,
        deadline: Instant,
        format: Format,
    ) -> Result<Page, NoPage> {
        let is_its_own = |source: &ServiceSource| *source.service == *service;
        let read = self.read_usual(is_its_own, deadline).await;
        let mut readings = read.envoys.iter().map(|(_, outcome)| &outcome.reading);
        let is_known = readings
            .clone()
            .flatten()
            .any(|reading| reading.services.contains(service.as_str()));
        let mut errors = readings
            .clone()
            .filter_map(|reading| reading.as_ref().err());
        let is_readable = readings.len() == 0 || readings.any(Result::is_ok);
        if !is_known && (!is_readable || read.sources.is_empty()) {
            // An Envoy that cannot be read may know it.
            return Err(match errors.next() {
                Some(error) => error.clone().into(),
                None => NoPage::UnknownService,
            });
        }
        let readers = Arc::clone(&self.0);
        let (first, others) = read.rendered();
        let kind = Kind::Service(service.clone());
        let make = move || {
            let page = Speakers::new(&readers, &read, format);
            exposition::pieces(&page.parts(&[]), Scope::Service(&service), format)
        };
        Ok(first.page(&others, Name { kind, format }, make).await)
    }

    /// Whether an Envoy can be read now.
    ///
    /// # Errors
    /// Why none can.
    pub async fn ready(&self, deadline: Instant) -> Result<(), NoPage> {
        let read = self.read(|envoy| !envoy.is_on_demand, |_| false, deadline);
        let read = read.await;
        let readings = read.envoys.into_iter().map(|(_, outcome)| outcome.reading);
        let readings = readings.map(|reading| reading.map(drop));
        // Where none can be read, the first one says why.
        let result = readings.reduce(|one, other| one.or_else(|first| other.map_err(|_| first)));
        Ok(result.unwrap_or(Ok(()))?)
    }

    /// What a page of all Envoys needs.
    async fn read_usual(
        &self,
        is_joined: impl Fn(&ServiceSource) -> bool,
        deadline: Instant,
    ) -> ReadAll {
        let read = self.read(|envoy| !envoy.is_on_demand, is_joined, deadline);
        let read = read.await;
        if let Some(live) = &self.0.live {
            live.observe(self.0.seen(&read));
        }
        read
    }

    /// Reads these Envoys and sources, all at once.
    async fn read(
        &self,
        is_asked: impl Fn(&Envoy) -> bool,
        is_joined: impl Fn(&ServiceSource) -> bool,
        deadline: Instant,
    ) -> ReadAll {
        let mut reads = JoinSet::new();
        for (index, envoy) in self.0.envoys.iter().enumerate() {
            if is_asked(envoy) {
                let scraper = envoy.scraper.clone();
                reads.spawn(async move { One::Envoy(index, scraper.read(deadline).await) });
            }
        }
        for (index, source) in self.0.sources.iter().enumerate() {
            if is_joined(source) {
                let source = source.source.clone();
                reads.spawn(async move { One::Source(index, source.read(deadline).await) });
            }
        }
        let mut read = ReadAll::default();
        for one in reads.join_all().await {
            match one {
                One::Envoy(index, outcome) => read.envoys.push((index, outcome)),
                One::Source(index, outcome) => read.sources.push((index, outcome)),
            }
        }
        read.envoys.sort_by_key(|(index, _)| *index);
        read.sources.sort_by_key(|(index, _)| *index);
        let sources = read.sources.iter().map(|(_, outcome)| outcome.took);
        read.sources_took = sources.max().unwrap_or_default();
        read
    }

    async fn operators_page(&self, read: ReadAll, kind: Kind, format: Format) -> Page {
        let readers = Arc::clone(&self.0);
        let (first, others) = read.rendered();
        let is_whole = kind == Kind::All;
        let make = move || {
            let start = Instant::now();
            let speakers = Speakers::new(&readers, &read, format);
            let mut own = speakers.own(&read);
            if is_whole {
                let of_bridge = readers.own_metrics.families(read.sources_took, format);
                own.push((Arc::default(), of_bridge));
            }
            speakers.count(&mut own, is_whole);
            let page = exposition::pieces(&speakers.parts(&own), Scope::All, format);
            if is_whole {
                readers.own_metrics.page_made(start.elapsed());
            }
            page
        };
        first.page(&others, Name { kind, format }, make).await
    }
}

impl Readers {
    fn seen(&self, read: &ReadAll) -> Vec<Seen> {
        let seen = |(index, outcome): &(usize, scrape::Outcome)| {
            Some(Seen {
                envoy: self.envoys.get(*index)?.name.clone(),
                reading: outcome.reading.clone(),
            })
        };
        read.envoys.iter().filter_map(seen).collect()
    }
}

enum One {
    Envoy(usize, scrape::Outcome),
    Source(usize, sources::Outcome),
}

/// What was read for one page, by the places of the readers.
#[derive(Debug, Default)]
struct ReadAll {
    envoys: Vec<(usize, scrape::Outcome)>,
    sources: Vec<(usize, sources::Outcome)>,
    sources_took: Duration,
}

impl ReadAll {
    /// Where a page of these reads is kept for all who wait for it: with the first
    /// of them, known by the others.
    fn rendered(&self) -> (Arc<Rendered>, Vec<Arc<Rendered>>) {
        let envoys = self.envoys.iter().map(|(_, outcome)| &outcome.rendered);
        let sources = self.sources.iter().map(|(_, outcome)| &outcome.rendered);
        let mut all = envoys.chain(sources).map(Arc::clone);
        (all.next().unwrap_or_default(), all.collect())
    }
}

/// Families of the bridge's own, with the labels of the Envoy that they are about.
type Own = Vec<(Arc<str>, Vec<Family>)>;

/// Who contributes to one page, and what.
struct Speakers<'a> {
    readers: &'a Readers,
    format: Format,
    labels: Vec<&'a str>,
    envoys: Joined<'a>,
    sources: Joined<'a>,
}

/// Announces the metrics that every page announces, where no Envoy can be read.
static NOTHING: LazyLock<Reading> = LazyLock::new(Reading::empty);

impl<'a> Speakers<'a> {
    /// Decides who may say what, and counts what is left out.
    fn new(readers: &'a Readers, read: &'a ReadAll, format: Format) -> Self {
        let mut labels = Vec::new();
        let mut readings: Vec<&[Family]> = Vec::new();
        let mut metrics = Vec::new();
        for (index, outcome) in &read.envoys {
            if let (Some(envoy), Ok(reading)) = (readers.envoys.get(*index), &outcome.reading) {
                labels.push(&*envoy.labels);
                readings.push(&reading.families);
                metrics.push(&envoy.metrics);
            }
        }
        let mut pages: Vec<&SourcePage> = Vec::new();
        let mut of_pages = Vec::new();
        for (index, outcome) in &read.sources {
            if let (Some(source), Ok(page)) = (readers.sources.get(*index), &outcome.page) {
                pages.push(page);
                of_pages.push(&source.metrics);
            }
        }
        let mut join = Join::new(format);
        let envoys = join.envoys(&readings);
        let sources = join.sources(&readings, &pages);
        for (metrics, dropped) in metrics.iter().zip(&envoys.dropped) {
            let count = dropped.values().sum();
            metrics.count_dropped(DropReason::Conflict, count);
        }
        for (metrics, dropped) in of_pages.iter().zip(&sources.dropped) {
            metrics.series_dropped(dropped);
        }
        Self {
            readers,
            format,
            labels,
            envoys,
            sources,
        }
    }

    /// What the bridge says of the Envoys and sources that were read.
    fn own(&self, read: &ReadAll) -> Own {
        let mut own = Own::new();
        for (index, outcome) in &read.envoys {
            if let Some(envoy) = self.readers.envoys.get(*index) {
                let families = envoy.metrics.families(outcome, self.format);
                own.push((Arc::clone(&envoy.labels), families));
            }
        }
        for (index, outcome) in &read.sources {
            if let Some(source) = self.readers.sources.get(*index) {
                let is_up = outcome.page.is_ok();
                let families = source.metrics.families(is_up, outcome.took, self.format);
                own.push((Arc::default(), families));
            }
        }
        own
    }

    /// Adds how many series the page has, itself too.
    fn count(&self, own: &mut Own, is_whole: bool) {
        let shown = self.envoys.families.iter().chain(&self.sources.families);
        let shown = shown.flat_map(|families| families.iter());
        let of_own = own.iter().flat_map(|(_, families)| families);
        let series = own_metrics::series(shown.chain(of_own)) + 1;
        let series = u64::try_from(series).unwrap_or(u64::MAX);
        let family =
            own_metrics::gauge("gatemeter_page_series", Some(Number::Whole(series.into())));
        // Of one Envoy's page it is that Envoy's.
        let labels = match own.first() {
            Some((labels, _)) if !is_whole => Arc::clone(labels),
            _ => Arc::default(),
        };
        own.push((labels, vec![family]));
    }

    fn parts<'p>(&'p self, own: &'p [(Arc<str>, Vec<Family>)]) -> Vec<Part<'p>> {
        let mut parts = Vec::new();
        for (labels, families) in self.labels.iter().zip(&self.envoys.families) {
            parts.push(Part { labels, families });
        }
        if parts.is_empty() {
            parts.push(Part::plain(&NOTHING.families));
        }
        let own = own
            .iter()
            .map(|(labels, families)| Part { labels, families });
        parts.extend(own);
        parts.extend(
            self.sources
                .families
                .iter()
                .map(|families| Part::plain(families)),
        );
        parts
    }
}

fn labels(target: &EnvoyTarget) -> LabelSet {
    let name = target
        .name
        .iter()
        .map(|name| (Cow::Borrowed("envoy"), &**name));
    let own = target.labels.iter();
    LabelSet::new(name.chain(own.map(|(name, value)| (Cow::Owned(name.clone()), value.as_str()))))
}
