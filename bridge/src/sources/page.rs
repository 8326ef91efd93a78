//! A service's own page to metric families: text 0.0.4 or OpenMetrics 1.0.
//!
//! Nothing of a number is lost: a value stays as it is spelled. A page that
//! Prometheus could not read is refused whole, since who wrote one wrong line
//! may have written the others wrong as well: invalid UTF-8, a line that is
//! none, an unknown type, an end that is missing (the line feed of the last
//! line; `# EOF` in OpenMetrics), and more than the limits. What can be read
//! but contradicts itself costs that series or that family, and is counted:
//! another type for the same name, a series that stands twice, a histogram
//! whose buckets fall.
//!
//! What our pages have no type for becomes what Prometheus makes of it: an info
//! and a state set are gauges, a gauge histogram is a set of untyped series.
//! Bounds and quantiles are spelled as Prometheus 3 keeps them (`1.0`, not
//! `1`). A label without text is no label.
//!
//! Each series gets the labels that the configuration gives its source. A label
//! of its own with such a name, or with the name `service`, is renamed to
//! `exported_<name>`, as Prometheus does.

mod lines;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;
use gatemeter_core::catalog::{LE, Page, SERVICE, Unit};
use thiserror::Error;

use self::lines::{ByName, Metadata, Type, lines};
use super::{
    line::{Problem, Sample, number},
    series::{Draft, Part},
};
use crate::{
    exposition::Format,
    families::{Family, Kind, LabelSet, Series},
};

/// Who a page belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The service.
    pub service: Arc<str>,
    /// Labels for each of its series, beside `service`.
    pub labels: Vec<(String, String)>,
}

/// What a page says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourcePage {
    /// By name.
    pub families: Vec<Family>,
    /// How many series were left out, by reason.
    pub dropped: BTreeMap<SeriesDrop, u64>,
}

/// Why a series does not stand on our pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeriesDrop {
    /// A name with two types, or a suffix that its type does not have.
    Conflict,
    /// A label value with a control character.
    ControlCharacter,
    /// The series stood there before.
    Duplicate,
    /// A histogram or summary that contradicts itself.
    Inconsistent,
    /// A bucket without a bound, a quantile that is none, or a label that only
    /// Prometheus may set.
    Label,
    /// Envoy has this metric for this service.
    OfEnvoy,
    /// A name that is the bridge's own.
    Reserved,
    /// A counter that is below zero or no number.
    Value,
}

impl SeriesDrop {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Conflict,
        Self::ControlCharacter,
        Self::Duplicate,
        Self::Inconsistent,
        Self::Label,
        Self::OfEnvoy,
        Self::Reserved,
        Self::Value,
    ];

    /// The value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::ControlCharacter => "control_character",
            Self::Duplicate => "duplicate",
            Self::Inconsistent => "inconsistent",
            Self::Label => "label",
            Self::OfEnvoy => "of_envoy",
            Self::Reserved => "reserved",
            Self::Value => "value",
        }
    }
}

/// Why a page is refused. No message repeats what stands on it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PageError {
    /// A line that Prometheus could not read either.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: Problem,
    },
    /// Bytes that are no UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// More than one of the limits.
    #[error("more than {0}")]
    TooLarge(&'static str),
    /// The end is missing.
    #[error("it ends early; expected {0}")]
    Truncated(&'static str),
}

/// Most names of metrics on a page.
const MOST_FAMILIES: usize = 10_000;

/// Reads a whole page.
///
/// # Errors
/// Where Prometheus could not read it, or it is beyond the limits.
pub fn parse(body: &[u8], format: Format, owner: &Owner) -> Result<SourcePage, PageError> {
    let text = str::from_utf8(body).map_err(|_| PageError::NotUtf8)?;
    let (metadata, samples) = lines(text, format)?;
    let mut reader = Reader {
        metadata,
        format,
        owner,
        families: BTreeMap::new(),
        seen: HashSet::default(),
        dropped: BTreeMap::new(),
    };
    for sample in samples {
        if let Err(reason) = reader.sample(sample) {
            *reader.dropped.entry(reason).or_default() += 1;
        }
    }
    if reader.families.len() > MOST_FAMILIES {
        return Err(PageError::TooLarge("10000 metrics"));
    }
    Ok(reader.finish())
}

struct Reader<'a> {
    metadata: ByName<'a, Metadata<'a>>,
    format: Format,
    owner: &'a Owner,
    families: BTreeMap<String, DraftFamily>,
    /// Hashes would do; names keep it exact.
    seen: HashSet<(String, String, Part), RandomState>,
    dropped: BTreeMap<SeriesDrop, u64>,
}

struct DraftFamily {
    head: Family,
    /// In the order of the page, found by their labels.
    series: Vec<(Arc<LabelSet>, Draft)>,
    places: HashMap<String, usize, RandomState>,
}

impl<'a> Reader<'a> {
    fn sample(&mut self, sample: Sample<'a>) -> Result<(), SeriesDrop> {
        let (name, kind, suffix) = self.family_of(sample.name)?;
        let mut labels = sample.labels;
        labels.retain(|(_, value)| !value.is_empty());
        for (label, value) in &labels {
            if label.starts_with("__") {
                return Err(SeriesDrop::Label);
            }
            if value.contains(|c: char| c.is_control()) {
                return Err(SeriesDrop::ControlCharacter);
            }
        }
        let part = part(kind, suffix, &mut labels, sample.value)?;
        let labels = self.labels(labels);
        let (family_name, kind) = match kind {
            Type::Counter => (format!("{name}{}", self.total()), Kind::Counter),
            Type::Histogram => (name.to_owned(), Kind::Histogram),
            Type::Summary => (name.to_owned(), Kind::Summary),
            Type::Gauge | Type::StateSet => (name.to_owned(), Kind::Gauge),
            Type::Info => (sample.name.to_owned(), Kind::Gauge),
            Type::GaugeHistogram | Type::Untyped => (sample.name.to_owned(), Kind::Untyped),
        };
        let key = key(&labels);
        if !self
            .seen
            .insert((family_name.clone(), key.clone(), part.clone()))
        {
            return Err(SeriesDrop::Duplicate);
        }
        let about = self.metadata.get(name);
        let family = self
            .families
            .entry(family_name)
            .or_insert_with_key(|name| DraftFamily::new(name, kind, about));
        // A gauge that is told of and one that an info became, or the like.
        if family.head.kind != kind {
            return Err(SeriesDrop::Conflict);
        }
        let next = family.series.len();
        let place = *family.places.entry(key).or_insert(next);
        if place == next {
            let set = LabelSet::shared(
                labels
                    .into_iter()
                    .map(|(name, value)| (name.into_owned(), value.into_owned())),
            );
            family.series.push((set, Draft::default()));
        }
        if let Some((_, draft)) = family.series.get_mut(place) {
            draft.add(part, sample.value);
        }
        Ok(())
    }

    /// Which family a sample belongs to, by the name that its metadata has, and
    /// what follows that name.
    fn family_of(&self, sample: &'a str) -> Result<(&'a str, Type, &'a str), SeriesDrop> {
        let of = |name: &'a str, suffix: &'a str| {
            let about = self.metadata.get(name)?;
            let kind = about.kind?;
            let fits = kind.suffixes(self.format).contains(&suffix);
            (fits || suffix.is_empty()).then_some((about, kind, fits))
        };
        let ends = [
            "", "_total", "_created", "_bucket", "_count", "_sum", "_info", "_gcount", "_gsum",
        ];
        for end in ends {
            let Some(name) = sample.strip_suffix(end) else {
                continue;
            };
            let (name, suffix) = sample.split_at(name.len());
            match of(name, suffix) {
                Some((about, kind, fits)) if fits && !about.is_in_conflict => {
                    return Ok((name, kind, suffix));
                }
                Some(_) => return Err(SeriesDrop::Conflict),
                None => {}
            }
        }
        Ok((sample, Type::Untyped, ""))
    }

    /// What a counter's name lacks where its metadata name it.
    const fn total(&self) -> &'static str {
        match self.format {
            Format::OpenMetrics => "_total",
            Format::Text => "",
        }
    }

    /// The source's labels behind its own, those renamed that are in their way.
    fn labels(&self, own: Vec<(&'a str, Cow<'a, str>)>) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        let given = &self.owner.labels;
        let is_taken = |name: &str| name == SERVICE || given.iter().any(|(taken, _)| taken == name);
        let names: Vec<&str> = own.iter().map(|(name, _)| *name).collect();
        let mut labels: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::with_capacity(own.len());
        for (name, value) in own {
            let mut name = Cow::Borrowed(name);
            if is_taken(&name) {
                loop {
                    name = Cow::Owned(format!("exported_{name}"));
                    if !is_taken(&name) && !names.contains(&name.as_ref()) {
                        break;
                    }
                }
            }
            labels.push((name, value));
        }
        let given = given.iter().filter(|(_, value)| !value.is_empty());
        labels.extend(
            given.map(|(name, value)| (Cow::Owned(name.clone()), Cow::Owned(value.clone()))),
        );
        labels
    }

    fn finish(mut self) -> SourcePage {
        let mut families = Vec::with_capacity(self.families.len());
        for draft in self.families.into_values() {
            let mut family = draft.head;
            for (labels, series) in draft.series {
                match series.finish(family.kind) {
                    Ok(point) => family.series.push(Series {
                        service: Some(Arc::clone(&self.owner.service)),
                        labels,
                        point,
                    }),
                    Err(reason) => *self.dropped.entry(reason).or_default() += 1,
                }
            }
            if !family.series.is_empty() {
                families.push(family);
            }
        }
        SourcePage {
            families,
            dropped: self.dropped,
        }
    }
}

impl DraftFamily {
    fn new(name: &str, kind: Kind, about: Option<&Metadata<'_>>) -> Self {
        let help = about.map_or("", |about| &about.help);
        // Terminals may show pages.
        let help = help.replace(|c: char| c.is_control() && c != '\n', " ");
        Self {
            head: Family {
                name: Cow::Owned(name.to_owned()),
                help: Cow::Owned(help),
                kind,
                unit: about.and_then(|about| about.unit).unwrap_or(Unit::One),
                page: Page::Service,
                is_usual: false,
                series: Vec::new(),
            },
            series: Vec::new(),
            places: HashMap::default(),
        }
    }
}

/// What a sample is of its series; takes bound or quantile off the labels.
fn part(
    kind: Type,
    suffix: &str,
    labels: &mut Vec<(&str, Cow<'_, str>)>,
    value: &str,
) -> Result<Part, SeriesDrop> {
    let mut take = |name: &str| {
        let place = labels.iter().position(|(label, _)| *label == name);
        let text = place.map(|place| labels.remove(place).1);
        text.and_then(|text| number(&text)?.parse::<f64>().ok())
            .ok_or(SeriesDrop::Label)
    };
    let part = match (kind, suffix) {
        (Type::Histogram, "_bucket") => {
            let bound = take(LE)?;
            if bound.is_nan() {
                return Err(SeriesDrop::Label);
            }
            Part::bucket(bound)
        }
        (Type::Summary, "") => {
            let quantile = take(QUANTILE)?;
            if !(0.0..=1.0).contains(&quantile) {
                return Err(SeriesDrop::Label);
            }
            Part::quantile(quantile)
        }
        (Type::Histogram | Type::Summary, "_sum") => Part::Sum,
        (Type::Histogram | Type::Summary, "_count") => Part::Count,
        (_, "_created") => Part::Created,
        _ => Part::Value,
    };
    let counts = kind == Type::Counter || matches!(part, Part::Bucket(_) | Part::Count);
    let value: f64 = value.parse().map_err(|_| SeriesDrop::Value)?;
    if counts && part != Part::Created && (value.is_nan() || value < 0.0) {
        return Err(SeriesDrop::Value);
    }
    Ok(part)
}

/// Label of a summary's sample.
pub(super) const QUANTILE: &str = "quantile";

/// The same for the same labels in any order.
fn key(labels: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
    let mut sorted: Vec<_> = labels.iter().collect();
    sorted.sort_unstable();
    let mut key = String::new();
    for (name, value) in sorted {
        for part in [name, value] {
            key.push_str(part);
            // No control character is left in a label.
            key.push('\n');
        }
    }
    key
}

#[cfg(test)]
mod tests;
