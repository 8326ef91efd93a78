//! Gauges that services say of themselves, such as the state of a pool of
//! connections, summed over the instances of the service.
//!
//! Several hosts stand behind one Envoy, and several workers hear of each. So
//! the last numbers of every host are kept in shared data, and the gauge is
//! their sum. A host that nothing was heard of for [`FORGOTTEN`], while others
//! were, has gone; the last one stays, however quiet. Past [`MOST_HOSTS`] the
//! one heard of longest ago makes room.

use super::scalars::Slot;
use super::watch::dictionaries;
use crate::catalog::{SERVICE, StatKind};
use crate::host::{Failed, HostCall, Stats};
use crate::plugin_config::PluginConfig;
use crate::stat_name;

/// Hosts whose numbers are kept.
const MOST_HOSTS: usize = 128;

/// Nanoseconds after which a host is gone: ten times the half minute in which
/// the guide's services renew their numbers.
const FORGOTTEN: u64 = 300_000_000_000;

/// Races lost in a row after which it counts as a failed host call.
const TRIES: u32 = 64;

/// A number that no host said.
const UNKNOWN: u64 = u64::MAX;

#[derive(Clone, Debug)]
struct Gauge {
    name: String,
    slot: Slot,
}

/// One header and the gauges that are read from it.
#[derive(Clone, Debug)]
pub(super) struct Dictionary {
    pub(super) keys: Vec<Box<str>>,
    gauges: Vec<usize>,
}

/// What one host said last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    /// Hash of its address.
    id: u64,
    /// Monotonic nanoseconds.
    heard: u64,
    /// By gauge.
    values: Vec<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Gauges {
    dictionaries: Vec<Dictionary>,
    gauges: Vec<Gauge>,
    /// Carries the names of the gauges: another configuration has its own.
    key: String,
    /// What this worker has heard since the last push.
    news: Vec<Host>,
}

impl Gauges {
    pub(super) fn new(config: &PluginConfig) -> Self {
        let service = config.service.as_str();
        let rules = &config.signals.gauges;
        let gauges = rules.iter().map(|rule| Gauge {
            name: stat_name::encode_labels(&rule.family.name, [(SERVICE, service)])
                .unwrap_or_default(),
            slot: Slot::EMPTY,
        });
        let dictionary = |header: &str| {
            let of_header = || {
                rules
                    .iter()
                    .enumerate()
                    .filter(|(_, rule)| rule.header == header)
            };
            Dictionary {
                keys: of_header()
                    .map(|(_, rule)| rule.key.as_str().into())
                    .collect(),
                gauges: of_header().map(|(at, _)| at).collect(),
            }
        };
        let names: Vec<&str> = rules.iter().map(|rule| rule.family.name.as_str()).collect();
        Self {
            dictionaries: dictionaries(config).into_iter().map(dictionary).collect(),
            gauges: gauges.collect(),
            key: format!("gatemeter.{service}.gauges.{}", names.join(",")),
            news: Vec::new(),
        }
    }

    /// A header by its place.
    pub(super) fn dictionary(&self, at: usize) -> Option<&Dictionary> {
        self.dictionaries.get(at)
    }

    /// A host said these numbers, by key of the dictionary.
    pub(super) fn heard(
        &mut self,
        dictionary: usize,
        host: u64,
        now: u64,
        numbers: impl Iterator<Item = (usize, u64)>,
    ) {
        let Self {
            dictionaries,
            gauges,
            news,
            ..
        } = self;
        let Some(dictionary) = dictionaries.get(dictionary) else {
            return;
        };
        let known = news.iter().position(|news| news.id == host);
        let at = match known {
            Some(at) => at,
            None if news.len() >= MOST_HOSTS => return,
            None => {
                news.push(Host {
                    id: host,
                    heard: now,
                    values: vec![UNKNOWN; gauges.len()],
                });
                news.len() - 1
            }
        };
        let Some(entry) = news.get_mut(at) else {
            return;
        };
        entry.heard = entry.heard.max(now);
        for (key, number) in numbers {
            let gauge = dictionary.gauges.get(key);
            if let Some(value) = gauge.and_then(|gauge| entry.values.get_mut(*gauge)) {
                *value = number;
            }
        }
    }

    /// Creates what the workers share, where it is not there yet, and makes the
    /// gauges appear.
    pub(super) fn define(&mut self, host: &impl Stats) -> Result<(), Failed> {
        if !self.gauges.is_empty() && host.shared_data(&self.key)?.is_none() {
            host.set_shared_data(&self.key, &[], 0)?;
        }
        for Gauge { name, slot } in &mut self.gauges {
            slot.define(host, StatKind::Gauge, || Some(name.clone()))?;
        }
        Ok(())
    }

    /// Tells the other workers what this one has heard, and sets the gauges to
    /// the sums over all hosts.
    pub(super) fn push(&mut self, host: &impl Stats) -> Result<(), Failed> {
        if self.news.is_empty() {
            return Ok(());
        }
        // Twice, so that what another worker has said meanwhile is in the sum
        // that stands last.
        let mut before = None;
        for _ in 0..TRIES {
            let (bytes, token) = host
                .shared_data(&self.key)?
                .ok_or(Failed(HostCall::SharedData))?;
            if before == Some(token) {
                self.news.clear();
                return Ok(());
            }
            let mut hosts = decode(&bytes, self.gauges.len());
            if self.merge(&mut hosts) && !host.set_shared_data(&self.key, &encode(&hosts), token)? {
                continue;
            }
            self.show(host, &hosts)?;
            before = Some(host.shared_data(&self.key)?.map_or(0, |(_, token)| token));
        }
        Err(Failed(HostCall::SetSharedData))
    }

    /// Whether anything is new.
    fn merge(&self, hosts: &mut Vec<Host>) -> bool {
        let before = hosts.clone();
        for news in &self.news {
            match hosts.iter_mut().find(|host| host.id == news.id) {
                Some(host) if host.heard > news.heard => {}
                Some(host) => {
                    host.heard = news.heard;
                    for (value, new) in host.values.iter_mut().zip(&news.values) {
                        if *new != UNKNOWN {
                            *value = *new;
                        }
                    }
                }
                None => hosts.push(news.clone()),
            }
        }
        hosts.sort_by_key(|host| std::cmp::Reverse(host.heard));
        let latest = hosts.first().map_or(0, |host| host.heard);
        hosts.retain(|host| latest.saturating_sub(host.heard) < FORGOTTEN);
        hosts.truncate(MOST_HOSTS);
        *hosts != before
    }

    fn show(&mut self, host: &impl Stats, hosts: &[Host]) -> Result<(), Failed> {
        for (at, gauge) in self.gauges.iter_mut().enumerate() {
            let values = hosts.iter().filter_map(|host| host.values.get(at));
            let said: Vec<u64> = values.copied().filter(|value| *value != UNKNOWN).collect();
            if said.is_empty() {
                continue;
            }
            let sum = said
                .iter()
                .fold(0_u64, |sum, value| sum.saturating_add(*value));
            // Also where it is the sum of before: another worker may have set it.
            let Gauge { name, slot } = gauge;
            let id = slot.define(host, StatKind::Gauge, || Some(name.clone()))?;
            host.record_metric(id, sum)?;
        }
        Ok(())
    }
}

fn encode(hosts: &[Host]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for host in hosts {
        for number in [host.id, host.heard].iter().chain(&host.values) {
            bytes.extend(number.to_le_bytes());
        }
    }
    bytes
}

fn decode(bytes: &[u8], gauges: usize) -> Vec<Host> {
    let (numbers, _) = bytes.as_chunks::<8>();
    let numbers: Vec<u64> = numbers
        .iter()
        .map(|bytes| u64::from_le_bytes(*bytes))
        .collect();
    numbers
        .chunks_exact(gauges + 2)
        .filter_map(|host| match host {
            [id, heard, values @ ..] => Some(Host {
                id: *id,
                heard: *heard,
                values: values.to_vec(),
            }),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
