//! Which series stand on the pages, and which of Envoy's numbers each shows.
//!
//! Made anew only when Envoy has other names than before, or says of its
//! filters' configurations something else; in between a reading is only
//! arithmetic (`reading`).

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use gatemeter_core::catalog::{
    self, ACTIVE, BUCKET_BOUND, CATALOG, FAMILY, Metric, Origin, Page, REQUEST_DURATION, REQUESTS,
    RESPONSES_INCOMPLETE,
};

use super::{
    Family, LabelSet,
    histogram::{Bins, Bounds, InUse},
    own,
};
use crate::decode::{
    line::{Bound, EnvoyStat},
    stats::{Entry, Role, Stats},
};

/// The series of all families, without their numbers.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Names of the services that the filter serves.
    pub(super) services: BTreeSet<Arc<str>>,
    pub(super) families: Vec<FamilyLayout>,
    /// The entries that series consist of, in runs.
    members: Vec<u32>,
    /// Those that histograms share.
    pub(super) bounds: Vec<Bounds>,
    /// Stats that no series can show because two services disagree.
    pub(super) conflicts: u64,
    /// What Envoy says of itself.
    pub(super) state: Vec<u32>,
    /// What the gauges said that decide on the layout.
    decisions: Vec<bool>,
    deciding: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct FamilyLayout {
    /// Without series.
    pub(super) family: Family,
    /// In the order of the page.
    pub(super) rows: Vec<Row>,
}

/// One series.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) service: Arc<str>,
    pub(super) labels: Arc<LabelSet>,
    pub(super) source: Source,
    /// Members that must all stand still for the series to be idle; none for
    /// what is never idle.
    pub(super) moves_with: Members,
}

/// Places in [`Layout::members`]. Small, as there is one for each series.
pub(super) type Members = Range<u32>;

/// Where the number of a series comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Envoy's gauge of open exchanges, less the bridge's own.
    Active(u32),
    /// An entry's value; above 2^63 it was below zero.
    Gauge(u32),
    /// The bins and the sums of members, with the bounds of this place.
    Histogram {
        bins: Members,
        sums: Members,
        bounds: u32,
    },
    /// An entry's value.
    Number(u32),
    /// The sum of an entry's bins.
    Total(u32),
}

impl Layout {
    /// The layout for what `stats` hold now.
    pub(super) fn new(stats: &mut Stats) -> Self {
        let mut layout = Self::default();
        let mut by_metric: HashMap<&'static str, Vec<u32>> = HashMap::new();
        let mut unlisted: BTreeMap<Arc<str>, Vec<u32>> = BTreeMap::new();
        let mut envoy = OfEnvoy::default();
        for (entry, at) in stats.entries().iter().zip(0..) {
            match &entry.role {
                Role::Envoy(stat) => {
                    envoy.insert((*stat, Arc::clone(&entry.service)), at);
                }
                Role::Listed(_, metric) => {
                    if !layout.services.contains(&entry.service) {
                        layout.services.insert(Arc::clone(&entry.service));
                    }
                    by_metric.entry(metric.name).or_default().push(at);
                    if [BUCKET_BOUND.name, FAMILY.name].contains(&metric.name) {
                        layout.deciding.push(at);
                    }
                }
                Role::Unlisted(stat) => {
                    unlisted.entry(Arc::clone(stat)).or_default().push(at);
                }
                Role::Uptime | Role::VmReload(_) | Role::VmsActive | Role::VmsCreated => {
                    layout.state.push(at);
                }
            }
        }
        layout.decisions = layout.decide(stats);
        let mut take = |name: &str| by_metric.remove(name).unwrap_or_default();
        let in_use = bounds_in_use(stats, &take(BUCKET_BOUND.name));
        let named = take(FAMILY.name);
        for metric in CATALOG {
            if metric.page == Page::None || metric.origin == Origin::Bridge {
                continue;
            }
            layout.listed(stats, metric, &mut take, &envoy, &in_use);
        }
        own::add_families(&mut layout, stats, &named, unlisted, &in_use);
        layout
    }

    /// Whether the gauges that decide on a layout say what they said.
    pub(super) fn is_as_decided(&self, stats: &Stats) -> bool {
        self.decide(stats) == self.decisions
    }

    fn decide(&self, stats: &Stats) -> Vec<bool> {
        let entries = self.deciding.iter();
        let entries = entries.filter_map(|&at| stats.entries().get(at as usize));
        entries
            .flat_map(|entry| {
                let bins = entry.bins.iter().map(|bin| bin.count > 0);
                bins.chain([entry.value > 0])
            })
            .collect()
    }

    fn listed(
        &mut self,
        stats: &mut Stats,
        metric: &'static Metric,
        take: &mut impl FnMut(&str) -> Vec<u32>,
        envoy: &OfEnvoy,
        in_use: &InUse,
    ) {
        if metric.name == REQUESTS.name {
            // With the histogram, which has the same bins.
            return;
        }
        let entries = take(metric.name);
        let mut rows = Vec::new();
        match metric.name {
            REQUEST_DURATION => {
                let bins = Bins::new(stats, entries);
                rows = bins.histograms(self, stats, metric.name, metric.labels, in_use);
                let requests = self.request_totals(stats, &bins, &rows, &take(REQUESTS.name));
                if let Some(row) = catalog::metric(REQUESTS.name) {
                    self.push(Family::of(row), requests);
                }
            }
            name if metric.kind == catalog::Kind::Histogram => {
                let bins = Bins::new(stats, entries);
                rows = bins.histograms(self, stats, name, metric.labels, in_use);
            }
            RECEIVED => self.of_envoy(EnvoyStat::BytesReceived, envoy, &mut rows),
            SENT => self.of_envoy(EnvoyStat::BytesSent, envoy, &mut rows),
            name => {
                for at in entries {
                    let is_counter =
                        metric.kind == catalog::Kind::Counter && metric.page == Page::Service;
                    rows.extend(self.row(stats, at, Source::Number(at), is_counter));
                }
                if name == ACTIVE.name {
                    self.active_connections(&mut rows, envoy);
                } else if name == RESPONSES_INCOMPLETE.name {
                    self.cut_upstream(stats, &mut rows, envoy);
                }
            }
        }
        self.push(Family::of(metric), rows);
    }

    /// The series of one entry. It may become idle where it is a counter.
    pub(super) fn row(
        &mut self,
        stats: &Stats,
        at: u32,
        source: Source,
        is_counter: bool,
    ) -> Option<Row> {
        let entry = stats.entries().get(at as usize)?;
        let moves_with = self.add_members(is_counter.then_some(at).as_slice());
        Some(Row {
            service: Arc::clone(&entry.service),
            labels: Arc::clone(&entry.labels),
            source,
            moves_with,
        })
    }

    pub(super) fn members(&self, members: &Members) -> &[u32] {
        let range = members.start as usize..members.end as usize;
        self.members.get(range).unwrap_or_default()
    }

    pub(super) fn add_members(&mut self, entries: &[u32]) -> Members {
        // There are no more of them than bytes in an answer.
        let end = |members: &[u32]| u32::try_from(members.len()).unwrap_or(u32::MAX);
        let start = end(&self.members);
        self.members.extend_from_slice(entries);
        start..end(&self.members)
    }

    pub(super) fn push(&mut self, family: Family, mut rows: Vec<Row>) {
        rows.sort_by(|a, b| {
            let services = a.service.cmp(&b.service);
            services.then_with(|| a.labels.values().cmp(b.labels.values()))
        });
        // They stay as they are for a long time.
        rows.shrink_to_fit();
        self.families.push(FamilyLayout { family, rows });
    }

    /// `http_requests_total` from the bins; from the plain stat only for a
    /// service that has none.
    fn request_totals(
        &mut self,
        stats: &Stats,
        bins: &Bins,
        histograms: &[Row],
        plain: &[u32],
    ) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut with_bins = BTreeSet::new();
        for histogram in histograms {
            with_bins.insert(Arc::clone(&histogram.service));
            let Source::Histogram { bins, .. } = &histogram.source else {
                continue;
            };
            for &at in self.members(bins) {
                let Some(entry) = stats.entries().get(at as usize) else {
                    continue;
                };
                rows.push(Row {
                    service: Arc::clone(&entry.service),
                    labels: Arc::clone(&entry.labels),
                    source: Source::Total(at),
                    moves_with: histogram.moves_with.clone(),
                });
            }
        }
        debug_assert_eq!(rows.len(), bins.len());
        for &at in plain {
            let entry = stats.entries().get(at as usize);
            if entry.is_some_and(|entry| !with_bins.contains(&entry.service)) {
                rows.extend(self.row(stats, at, Source::Number(at), true));
            }
        }
        rows
    }

    /// Envoy's gauge less the bridge's own scrapes; the filter's gauge where
    /// Envoy has none below the service's name.
    fn active_connections(&self, rows: &mut Vec<Row>, envoy: &OfEnvoy) {
        for service in &self.services {
            let key = (EnvoyStat::RequestsActive, Arc::clone(service));
            if let Some(&at) = envoy.get(&key) {
                rows.retain(|row| row.service != *service);
                rows.push(of_envoy(service, Source::Active(at), Arc::default()));
            }
        }
    }

    /// Beside the stats that say who cut a response, where none says it of the
    /// upstream's side, Envoy's count of the exchanges that it reset after it
    /// had begun to answer.
    ///
    /// Envoy's `downstream_rq_rx_reset` is not used: it also rises for answers
    /// 400, 426 and 431 and for requests that were never complete.
    fn cut_upstream(&self, stats: &mut Stats, rows: &mut Vec<Row>, envoy: &OfEnvoy) {
        let labels = stats.label_set(LabelSet::new([("reason", UPSTREAM_RESET)]));
        for service in &self.services {
            let is_said = rows.iter().any(|row| {
                row.service == *service && row.labels.values().next() == Some(UPSTREAM_RESET)
            });
            let key = (EnvoyStat::ResetsSent, Arc::clone(service));
            if let Some(&at) = envoy.get(&key).filter(|_| !is_said) {
                let source = Source::Number(at);
                rows.push(of_envoy(service, source, Arc::clone(&labels)));
            }
        }
    }

    fn of_envoy(&self, stat: EnvoyStat, envoy: &OfEnvoy, rows: &mut Vec<Row>) {
        for service in &self.services {
            if let Some(&at) = envoy.get(&(stat, Arc::clone(service))) {
                rows.push(of_envoy(service, Source::Number(at), Arc::default()));
            }
        }
    }
}

const RECEIVED: &str = "http_connection_received_bytes_total";
const SENT: &str = "http_connection_sent_bytes_total";

/// Reason of a response that Envoy reset towards the client because the
/// upstream broke off, or because a timeout ran out after the headers.
const UPSTREAM_RESET: &str = "upstream_reset";

/// Entries of Envoy's own stats by the `stat_prefix` of the connection manager,
/// which the shipped configurations name after the service.
type OfEnvoy = BTreeMap<(EnvoyStat, Arc<str>), u32>;

/// A series that Envoy has one of for each service; it never is idle.
fn of_envoy(service: &Arc<str>, source: Source, labels: Arc<LabelSet>) -> Row {
    Row {
        service: Arc::clone(service),
        labels,
        source,
        moves_with: 0..0,
    }
}

/// The bounds that each service's filter was configured with last, from the
/// gauges that say so; a metric whose gauges are all 0 is left out.
fn bounds_in_use(stats: &Stats, gauges: &[u32]) -> InUse {
    let mut bounds = InUse::new();
    let entries = gauges.iter();
    for entry in entries.filter_map(|&at| stats.entries().get(at as usize)) {
        let Some(metric) = entry.labels.values().next() else {
            continue;
        };
        for &bin in entry.bins.iter().filter(|bin| bin.count > 0) {
            if let Bound::Nanoseconds(nanos) = stats.bound(bin) {
                let place = (entry.service.to_string(), metric.to_owned());
                bounds.entry(place).or_default().insert(nanos);
            }
        }
    }
    bounds
}

/// By service and the first `labels` values of labels.
pub(super) fn compare(a: &Entry, b: &Entry, labels: usize) -> Ordering {
    a.service.cmp(&b.service).then_with(|| {
        let (a, b) = (a.labels.values(), b.labels.values());
        a.take(labels).cmp(b.take(labels))
    })
}
