//! One series of a source, put together from its samples.
//!
//! A histogram must have a bucket for infinity, buckets that do not fall as the
//! bound rises, and a count that is the last of them; one with a sum must have a
//! count; a summary with quantiles only is one. Anything else contradicts
//! itself and is refused: no query could make sense of it, and OpenMetrics
//! forbids it.

use gatemeter_core::catalog::LE;

use super::page::{QUANTILE, SeriesDrop};
use crate::families::{Kind, Line, Point};

/// What a sample is of its series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// The one value of a counter, a gauge or what has no type.
    Value,
    Quantile(Bits),
    Bucket(Bits),
    Sum,
    Count,
    Created,
}

/// A number that is not `NaN`, so that it has an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits(f64);

impl Ord for Bits {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Bits {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bits {}

impl std::hash::Hash for Bits {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl Part {
    /// A bucket of this bound, which is not `NaN`.
    pub(super) const fn bucket(bound: f64) -> Self {
        // Minus zero is zero.
        Self::Bucket(Bits(bound + 0.0))
    }

    /// A quantile from 0 to 1.
    pub(super) const fn quantile(quantile: f64) -> Self {
        Self::Quantile(Bits(quantile + 0.0))
    }
}

/// The samples of a series so far, each part once.
#[derive(Default)]
pub(super) struct Draft(Vec<(Part, Box<str>)>);

impl Draft {
    pub(super) fn add(&mut self, part: Part, value: &str) {
        self.0.push((part, value.into()));
    }

    /// The whole series, its samples in the order in which they are shown.
    pub(super) fn finish(mut self, kind: Kind) -> Result<Point, SeriesDrop> {
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        if !self.agrees(kind) {
            return Err(SeriesDrop::Inconsistent);
        }
        let lines = self.0.into_iter().map(|(part, value)| {
            let (suffix, labels) = match part {
                Part::Value => ("", String::new()),
                Part::Quantile(Bits(quantile)) => {
                    ("", format!("{QUANTILE}=\"{}\"", spelled(quantile)))
                }
                Part::Bucket(Bits(bound)) => ("_bucket", format!("{LE}=\"{}\"", spelled(bound))),
                Part::Sum => ("_sum", String::new()),
                Part::Count => ("_count", String::new()),
                Part::Created => ("_created", String::new()),
            };
            Line {
                suffix: suffix.into(),
                labels: labels.into(),
                value,
            }
        });
        Ok(Point::Lines(lines.collect()))
    }

    fn agrees(&self, kind: Kind) -> bool {
        let has = |part| self.0.iter().any(|(p, _)| *p == part);
        match kind {
            Kind::Histogram => {
                let mut last = None;
                let mut falls = false;
                for (part, value) in &self.0 {
                    if let Part::Bucket(bound) = part {
                        let value = numeric(value);
                        falls |= last.is_some_and(|(_, before)| value < before);
                        last = Some((*bound, value));
                    }
                }
                let Some((Bits(f64::INFINITY), all)) = last else {
                    return false;
                };
                let mut counts = self.0.iter().filter(|(part, _)| *part == Part::Count);
                let count = counts.next().map(|(_, value)| numeric(value));
                !falls
                    && count.is_none_or(|count| count == all)
                    && (count.is_some() || !has(Part::Sum))
            }
            Kind::Summary => {
                let is_quantile = |(part, _): &(Part, _)| matches!(part, Part::Quantile(_));
                has(Part::Count) || (!has(Part::Sum) && self.0.iter().any(is_quantile))
            }
            Kind::Counter | Kind::Gauge | Kind::Untyped => has(Part::Value),
        }
    }
}

fn numeric(value: &str) -> f64 {
    value.parse().unwrap_or(f64::NAN)
}

/// As Prometheus and the official clients spell a bound: the shortest digits
/// that read back as the same number, a point or an exponent in any case.
fn spelled(number: f64) -> String {
    if number.is_infinite() {
        let sign = if number > 0.0 { '+' } else { '-' };
        return format!("{sign}Inf");
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_bounds_as_prometheus_does() {
        for (number, expected) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (0.005, "0.005"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (100_000.0, "100000.0"),
            (1_000_000.0, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(spelled(number), expected);
        }
    }

    fn point(kind: Kind, parts: &[(Part, &str)]) -> Result<Vec<String>, SeriesDrop> {
        let mut draft = Draft::default();
        for (part, value) in parts {
            draft.add(part.clone(), value);
        }
        let Point::Lines(lines) = draft.finish(kind)? else {
            panic!("not as it was spelled");
        };
        let line = |line: Line| format!("{}{{{}}} {}", line.suffix, line.labels, line.value);
        Ok(lines.into_iter().map(line).collect())
    }

    #[test]
    fn puts_a_histogram_in_the_order_of_its_bounds() {
        let found = point(
            Kind::Histogram,
            &[
                (Part::Created, "1.5e9"),
                (Part::Count, "3"),
                (Part::bucket(f64::INFINITY), "3.0"),
                (Part::bucket(10.0), "3"),
                (Part::bucket(2.5), "1"),
                (Part::Sum, "1e1"),
            ],
        );
        let expected = [
            "_bucket{le=\"2.5\"} 1",
            "_bucket{le=\"10.0\"} 3",
            "_bucket{le=\"+Inf\"} 3.0",
            "_sum{} 1e1",
            "_count{} 3",
            "_created{} 1.5e9",
        ];
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn refuses_what_contradicts_itself() {
        let infinity = || Part::bucket(f64::INFINITY);
        for (kind, parts) in [
            (Kind::Histogram, &[(Part::bucket(1.0), "1")][..]),
            (Kind::Histogram, &[(Part::Count, "1"), (Part::Sum, "1")]),
            (Kind::Histogram, &[(infinity(), "1"), (Part::Sum, "1")]),
            (Kind::Histogram, &[(infinity(), "1"), (Part::Count, "2")]),
            (
                Kind::Histogram,
                &[(infinity(), "1"), (Part::bucket(1.0), "2")],
            ),
            (Kind::Summary, &[(Part::Sum, "1")]),
            (Kind::Summary, &[(Part::Created, "1")]),
            (Kind::Counter, &[(Part::Created, "1")]),
        ] {
            assert_eq!(
                point(kind, parts),
                Err(SeriesDrop::Inconsistent),
                "{parts:?}"
            );
        }
        for (kind, parts) in [
            (Kind::Histogram, &[(infinity(), "1")][..]),
            (Kind::Summary, &[(Part::Count, "1")]),
            (Kind::Summary, &[(Part::quantile(0.5), "NaN")]),
        ] {
            assert!(point(kind, parts).is_ok(), "{parts:?}");
        }
    }
}
