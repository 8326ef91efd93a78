//! Which families and series stand on a page that several speakers contribute
//! to: the Envoys first, then the sources as they are configured.
//!
//! - Names of the catalogue have the catalogue's types. Any other name has the
//!   type that the first contributor gives it; families of other types are left
//!   out. So are families whose samples have the names of another family's
//!   (a gauge `a_count` beside a histogram `a`).
//! - `gatemeter_` is the bridge's and the filter's own.
//! - Where Envoy has series of a family for a service, the service's own page
//!   adds none to it: a request that both saw is counted once. Requests of a
//!   service that the filter serves are Envoy's to count also while there are no
//!   series, before the first request or because they stood still for too long.
//! - A series that two pages of a service have is the first one's.
//!
//! What is left out is left out in both formats, and counted. The formats
//! differ in spelling only: OpenMetrics has no counter without `_total` and no
//! counter `a_total` beside a gauge `a`, which every Go program has, so such a
//! counter has the type `unknown` there; nor a sum below zero, nor the count of a
//! histogram without its sum. Text 0.0.4 has no
//! time of creation, so that is a gauge of its own there, as the official
//! clients have it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, LazyLock},
};

use foldhash::fast::RandomState;
use gatemeter_core::catalog::{ACTIVE, CATALOG, FILTER_INFO, REQUEST_DURATION, REQUESTS, Unit};

use super::page::{SeriesDrop, SourcePage};
use crate::{
    exposition::Format,
    families::{Family, Kind, LabelSet, Line, Point, Series},
};

/// Contributions of one kind, joined.
#[derive(Debug, Default)]
pub struct Joined<'a> {
    /// What stands on the page, for each contributor in their order.
    pub families: Vec<Cow<'a, [Family]>>,
    /// How many series each contributor lost, by reason.
    pub dropped: Vec<BTreeMap<SeriesDrop, u64>>,
}

/// Decides for one page.
#[derive(Debug)]
pub struct Join {
    format: Format,
    kinds: HashMap<String, Kind, RandomState>,
    /// Names of samples and families, and the family that has them.
    claims: HashMap<String, String, RandomState>,
    /// Counters that OpenMetrics cannot show as such.
    unknown: HashSet<String, RandomState>,
    /// Families that Envoy has series of, by service.
    of_envoy: HashMap<String, BTreeSet<Arc<str>>, RandomState>,
}

impl Join {
    /// A page in this format.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            kinds: HashMap::default(),
            claims: HashMap::default(),
            unknown: HashSet::default(),
            of_envoy: HashMap::default(),
        }
    }

    /// What the Envoys say; their series differ by the labels of their Envoy.
    pub fn envoys<'a>(&mut self, readings: &[&'a [Family]]) -> Joined<'a> {
        let refused = self.settle(readings);
        let mut joined = Joined::default();
        for families in readings {
            let mut dropped = BTreeMap::new();
            let kept = self.kept(families, &refused, &mut dropped);
            let fitted = self.fitted(kept);
            joined.families.push(fitted);
            joined.dropped.push(dropped);
        }
        joined
    }

    /// What the sources say, after [`Self::envoys`]; `readings` are those again.
    pub fn sources<'a>(&mut self, readings: &[&[Family]], pages: &[&'a SourcePage]) -> Joined<'a> {
        let families: Vec<&[Family]> = pages.iter().map(|page| page.families.as_slice()).collect();
        let refused = self.settle(&families);
        self.note_envoys(readings, &families);
        let several = in_several(&families);
        let mut seen = HashSet::default();
        let mut joined = Joined::default();
        for page in pages {
            let mut dropped = page.dropped.clone();
            let kept = self.kept(&page.families, &refused, &mut dropped);
            let kept = self.without_what_others_have(kept, &several, &mut seen, &mut dropped);
            joined.families.push(self.fitted(kept));
            joined.dropped.push(dropped);
        }
        joined
    }

    /// Types and names of these contributors' families; gives back the names
    /// that none of them may use.
    fn settle(&mut self, contributors: &[&[Family]]) -> HashSet<String, RandomState> {
        let mut named: Vec<(u8, &str, Kind)> = Vec::new();
        for family in contributors.iter().copied().flatten() {
            let is_new = !family.series.is_empty()
                && !RESERVED_KINDS.contains_key(family.name.as_ref())
                && !self.kinds.contains_key(family.name.as_ref());
            if is_new {
                self.kinds.insert(family.name.to_string(), family.kind);
                // Only a counter can give way, so it comes last.
                let turn = match family.kind {
                    Kind::Histogram | Kind::Summary => 0,
                    Kind::Gauge | Kind::Untyped => 1,
                    Kind::Counter => 2,
                };
                named.push((turn, &family.name, family.kind));
            }
        }
        named.sort_by_key(|(turn, _, _)| *turn);
        let mut refused = HashSet::default();
        for (_, name, kind) in named {
            if self.claim(name, kind) {
                continue;
            }
            if kind == Kind::Counter && self.claim(name, Kind::Untyped) {
                self.unknown.insert(name.to_owned());
            } else {
                refused.insert(name.to_owned());
            }
        }
        refused
    }

    fn claim(&mut self, name: &str, kind: Kind) -> bool {
        let names = names_of(name, kind);
        let is_free = |claimed: &String| {
            !RESERVED_NAMES.contains(claimed)
                && self.claims.get(claimed).is_none_or(|owner| owner == name)
        };
        if !names.iter().all(is_free) {
            return false;
        }
        for claimed in names {
            self.claims.insert(claimed, name.to_owned());
        }
        true
    }

    /// The families of one contributor that have the type of their name.
    fn kept<'a>(
        &self,
        families: &'a [Family],
        refused: &HashSet<String, RandomState>,
        dropped: &mut BTreeMap<SeriesDrop, u64>,
    ) -> Cow<'a, [Family]> {
        let problem = |family: &Family| {
            let name = family.name.as_ref();
            let reserved = RESERVED_KINDS.get(name).copied();
            let kind = reserved.or_else(|| self.kinds.get(name).copied());
            let is_conflict =
                kind.is_some_and(|kind| kind != family.kind) || refused.contains(name);
            (is_conflict && !family.series.is_empty()).then_some(SeriesDrop::Conflict)
        };
        without(families, problem, dropped)
    }

    /// Remembers which of the sources' families Envoy has, and for whom.
    fn note_envoys(&mut self, readings: &[&[Family]], sources: &[&[Family]]) {
        let names: BTreeSet<&str> = sources
            .iter()
            .copied()
            .flatten()
            .map(|family| family.name.as_ref())
            .collect();
        for family in readings.iter().copied().flatten() {
            if family.name == FILTER_INFO.name {
                let served = family.series.iter().filter_map(|s| s.service.clone());
                let served: BTreeSet<Arc<str>> = served.collect();
                for name in ALWAYS_OF_ENVOY
                    .into_iter()
                    .filter(|name| names.contains(name))
                {
                    let services = self.of_envoy.entry(name.to_owned()).or_default();
                    services.extend(served.iter().cloned());
                }
            }
            if names.contains(family.name.as_ref()) {
                let services = self.of_envoy.entry(family.name.to_string()).or_default();
                services.extend(
                    family
                        .series
                        .iter()
                        .filter_map(|series| series.service.clone()),
                );
            }
        }
    }

    fn without_what_others_have<'a>(
        &self,
        families: Cow<'a, [Family]>,
        several: &BTreeSet<(String, Arc<str>)>,
        seen: &mut HashSet<(String, Arc<str>, String), RandomState>,
        dropped: &mut BTreeMap<SeriesDrop, u64>,
    ) -> Cow<'a, [Family]> {
        let mut problem = |family: &Family, series: &Series| {
            let service = series.service.as_ref()?;
            let name = family.name.as_ref();
            if name.starts_with(OWN) {
                return Some(SeriesDrop::Reserved);
            }
            if self
                .of_envoy
                .get(name)
                .is_some_and(|services| services.contains(service))
            {
                return Some(SeriesDrop::OfEnvoy);
            }
            let is_in_several =
                !several.is_empty() && several.contains(&(name.to_owned(), Arc::clone(service)));
            let is_first = !is_in_several
                || seen.insert((name.to_owned(), Arc::clone(service), sorted(&series.labels)));
            (!is_first).then_some(SeriesDrop::Duplicate)
        };
        let mut changed: BTreeMap<usize, Vec<Series>> = BTreeMap::new();
        for (index, family) in families.iter().enumerate() {
            let mut kept = Vec::new();
            for series in &family.series {
                match problem(family, series) {
                    None => kept.push(series),
                    Some(reason) => *dropped.entry(reason).or_default() += 1,
                }
            }
            if kept.len() < family.series.len() {
                changed.insert(index, kept.into_iter().cloned().collect());
            }
        }
        if changed.is_empty() {
            return families;
        }
        let mut families = families.into_owned();
        for (index, series) in changed {
            if let Some(family) = families.get_mut(index) {
                family.series = series;
            }
        }
        Cow::Owned(families)
    }

    /// As the format can show them.
    fn fitted<'a>(&self, families: Cow<'a, [Family]>) -> Cow<'a, [Family]> {
        let is_fit = |family: &Family| match self.format {
            Format::OpenMetrics => {
                !self.is_unknown(family)
                    && !family.series.iter().any(|series| {
                        has_line(series, is_below_zero) || has_lonely_count(family.kind, series)
                    })
            }
            Format::Text => !family.series.iter().any(|s| has_line(s, is_created)),
        };
        if families.iter().all(is_fit) {
            return families;
        }
        let mut fitted = Vec::with_capacity(families.len() + 1);
        for family in families.iter() {
            if is_fit(family) {
                fitted.push(family.clone());
                continue;
            }
            let mut family = family.clone();
            match self.format {
                Format::OpenMetrics => {
                    retain_lines(&mut family, |line| !is_below_zero(line));
                    // A summary whose quantiles were all below zero.
                    family
                        .series
                        .retain(|series| has_line(series, |line| !is_created(line)));
                    let kind = family.kind;
                    for series in &mut family.series {
                        if has_lonely_count(kind, series) {
                            retain(series, |line| line.suffix.as_ref() != COUNT);
                        }
                    }
                    if self.is_unknown(&family) {
                        retain_lines(&mut family, |line| !is_created(line));
                        family.kind = Kind::Untyped;
                        family.unit = Unit::One;
                    }
                    fitted.push(family);
                }
                Format::Text => {
                    let created =
                        (!self.unknown.contains(family.name.as_ref())).then(|| created(&family));
                    retain_lines(&mut family, |line| !is_created(line));
                    fitted.push(family);
                    fitted.extend(created);
                }
            }
        }
        Cow::Owned(fitted)
    }

    /// Whether it is a counter that OpenMetrics cannot show as one.
    fn is_unknown(&self, family: &Family) -> bool {
        family.kind == Kind::Counter
            && (base(&family.name).is_none() || self.unknown.contains(family.name.as_ref()))
    }
}

/// Begin of the names that are the bridge's and the filter's own.
const OWN: &str = "gatemeter_";

/// What the filter counts of every service that it serves.
const ALWAYS_OF_ENVOY: [&str; 3] = [REQUESTS.name, REQUEST_DURATION, ACTIVE.name];

const TOTAL: &str = "_total";
const CREATED: &str = "_created";
const COUNT: &str = "_count";
const SUM: &str = "_sum";

/// Types that the catalogue gives.
static RESERVED_KINDS: LazyLock<HashMap<&str, Kind, RandomState>> = LazyLock::new(|| {
    CATALOG
        .iter()
        .map(|row| (row.name, row.kind.into()))
        .collect()
});

/// Names that the catalogue's families have or may have.
static RESERVED_NAMES: LazyLock<HashSet<String, RandomState>> = LazyLock::new(|| {
    let names = CATALOG
        .iter()
        .flat_map(|row| names_of(row.name, row.kind.into()));
    names.collect()
});

/// What OpenMetrics calls the family of such a counter.
fn base(counter: &str) -> Option<&str> {
    counter.strip_suffix(TOTAL).filter(|base| !base.is_empty())
}

/// What a family and its samples are called in OpenMetrics, with what the
/// format keeps free for them.
fn names_of(name: &str, kind: Kind) -> Vec<String> {
    let with = |name: &str, ends: &[&str]| ends.iter().map(|end| format!("{name}{end}")).collect();
    match (kind, base(name)) {
        (Kind::Counter, Some(base)) => with(base, &["", TOTAL, CREATED]),
        (Kind::Counter | Kind::Gauge | Kind::Untyped, _) => with(name, &[""]),
        (Kind::Histogram, _) => with(name, &["", "_bucket", "_count", "_sum", CREATED]),
        (Kind::Summary, _) => with(name, &["", "_count", "_sum", CREATED]),
    }
}

/// The families without a problem; what the others have is counted.
fn without<'a>(
    families: &'a [Family],
    problem: impl Fn(&Family) -> Option<SeriesDrop>,
    dropped: &mut BTreeMap<SeriesDrop, u64>,
) -> Cow<'a, [Family]> {
    if families.iter().all(|family| problem(family).is_none()) {
        return Cow::Borrowed(families);
    }
    let mut kept = Vec::with_capacity(families.len());
    for family in families {
        match problem(family) {
            None => kept.push(family.clone()),
            Some(reason) => {
                let count = u64::try_from(family.series.len()).unwrap_or(u64::MAX);
                *dropped.entry(reason).or_default() += count;
            }
        }
    }
    Cow::Owned(kept)
}

/// Families that more than one page of the same service has.
fn in_several(pages: &[&[Family]]) -> BTreeSet<(String, Arc<str>)> {
    let mut once = BTreeSet::new();
    let mut several = BTreeSet::new();
    if pages.len() < 2 {
        return several;
    }
    for family in pages.iter().copied().flatten() {
        let services: BTreeSet<&Arc<str>> = family
            .series
            .iter()
            .filter_map(|series| series.service.as_ref())
            .collect();
        for service in services {
            let key = (family.name.to_string(), Arc::clone(service));
            if !once.insert(key.clone()) {
                several.insert(key);
            }
        }
    }
    several
}

fn sorted(labels: &LabelSet) -> String {
    let mut pairs: Vec<_> = labels.iter().collect();
    pairs.sort_unstable();
    let mut key = String::new();
    for (name, value) in pairs {
        for part in [name, value] {
            key.push_str(part);
            // The values of a source have no control character.
            key.push('\n');
        }
    }
    key
}

fn has_line(series: &Series, is_meant: fn(&Line) -> bool) -> bool {
    matches!(&series.point, Point::Lines(lines) if lines.iter().any(is_meant))
}

fn retain_lines(family: &mut Family, keep: fn(&Line) -> bool) {
    for series in &mut family.series {
        retain(series, keep);
    }
}

fn retain(series: &mut Series, keep: fn(&Line) -> bool) {
    if let Point::Lines(lines) = &mut series.point {
        lines.retain(keep);
    }
}

/// A histogram of OpenMetrics has count and sum, or neither.
fn has_lonely_count(kind: Kind, series: &Series) -> bool {
    kind == Kind::Histogram
        && has_line(series, |line| line.suffix.as_ref() == COUNT)
        && !has_line(series, |line| line.suffix.as_ref() == SUM)
}

fn is_created(line: &Line) -> bool {
    line.suffix.as_ref() == CREATED
}

/// A sum or a quantile that OpenMetrics does not have.
fn is_below_zero(line: &Line) -> bool {
    let is_sum = line.suffix.as_ref() == SUM;
    let is_quantile = line.suffix.is_empty() && !line.labels.is_empty();
    let value = || line.value.parse().unwrap_or(f64::NAN);
    if is_sum {
        // Nor one that is no number.
        let sum = value();
        return sum.is_nan() || sum < 0.0;
    }
    is_quantile && value() < 0.0
}

/// The times of creation as a gauge.
fn created(family: &Family) -> Family {
    let base = base(&family.name).filter(|_| family.kind == Kind::Counter);
    let series = family.series.iter().filter_map(|series| {
        let Point::Lines(lines) = &series.point else {
            return None;
        };
        let line = lines.iter().find(|line| is_created(line))?;
        Some(Series {
            service: series.service.clone(),
            labels: Arc::clone(&series.labels),
            point: Point::Lines(vec![Line {
                suffix: "".into(),
                labels: "".into(),
                value: line.value.clone(),
            }]),
        })
    });
    Family {
        name: Cow::Owned(format!("{}{CREATED}", base.unwrap_or(&family.name))),
        help: family.help.clone(),
        kind: Kind::Gauge,
        unit: Unit::One,
        page: family.page,
        is_usual: false,
        series: series.collect(),
    }
}

#[cfg(test)]
mod tests;
