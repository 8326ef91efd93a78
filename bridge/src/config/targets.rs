//! What the bridge reads: Envoys, and the services' own pages.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use gatemeter_core::catalog;
use http::uri::PathAndQuery;
use thiserror::Error;

use super::{
    error::{Problem, shortened},
    reader::{Given, Group, Reader},
    rules::{ADMIN, DURATION, ENVOY_NAME, LABEL_NAME, LABEL_VALUE, SERVICE, SOURCE_URL, SWITCH},
};
use crate::admin::AdminAddress;

/// One Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvoyTarget {
    /// Value of the label `envoy`; none where there is one Envoy without a name.
    pub name: Option<Arc<str>>,
    /// More labels of every series that comes from it.
    pub labels: Vec<(String, String)>,
    /// Its admin interface. Default `http://127.0.0.1:9901`.
    pub admin: AdminAddress,
    /// Read only where `?target=` names it. Default no.
    pub on_demand: bool,
}

/// A service's own page of metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTarget {
    /// Value of the label `service`.
    pub service: String,
    /// The page.
    pub url: SourceUrl,
    /// Most time for a read. Default 2 s.
    pub timeout: Duration,
    /// More labels of every series that comes from it.
    pub labels: Vec<(String, String)>,
}

/// A page on a host or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceUrl {
    /// Where the service listens.
    pub address: AdminAddress,
    /// The page's path, with its query if it has one.
    pub path: String,
}

/// The text names no page.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("expected http://HOST:PORT/PATH or unix:/SOCKET:/PATH")]
pub struct BadSourceUrl;

impl FromStr for SourceUrl {
    type Err = BadSourceUrl;

    fn from_str(text: &str) -> Result<Self, BadSourceUrl> {
        let of_page = if let Some(rest) = text.strip_prefix("unix:") {
            rest.find(":/").map(|at| (at + "unix:".len(), 1))
        } else if let Some(rest) = text.strip_prefix("http://") {
            rest.find('/').map(|at| (at + "http://".len(), 0))
        } else {
            None
        };
        let (at, separator) = of_page.ok_or(BadSourceUrl)?;
        let (address, path) = (&text[..at], &text[at + separator..]);
        // It would be cut off in silence.
        if path.contains('#') {
            return Err(BadSourceUrl);
        }
        path.parse::<PathAndQuery>().map_err(|_| BadSourceUrl)?;
        Ok(Self {
            address: address.parse().map_err(|_| BadSourceUrl)?,
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = match self.address {
            AdminAddress::Tcp { .. } => "",
            AdminAddress::Unix(_) => ":",
        };
        write!(f, "{}{separator}{}", self.address, self.path)
    }
}

pub(super) const ENVOY_KEYS: &[&str] = &["admin", "labels", "name", "on_demand"];

pub(super) const SOURCE_KEYS: &[&str] = &["labels", "service", "timeout", "url"];

/// The Envoys of `envoys`, or the one of `envoy.admin`.
pub(super) fn envoys(
    reader: &mut Reader,
    root: &Group<'_>,
    envoy: &Group<'_>,
) -> Option<Vec<EnvoyTarget>> {
    let admin = reader.value(envoy, "admin", &ADMIN);
    let (items, place) = match reader.list(root, "envoys") {
        Given::Absent => {
            let admin = admin.or(AdminAddress::Tcp {
                host: "127.0.0.1".to_owned(),
                port: 9901,
            })?;
            return Some(vec![EnvoyTarget {
                name: None,
                labels: Vec::new(),
                admin,
                on_demand: false,
            }]);
        }
        Given::Bad => return None,
        Given::Good(items, place) => (items, place),
    };
    if let Some(place) = admin.place() {
        let other = "envoys";
        reader.refuse(place, envoy.key("admin"), Problem::Beside { other });
    }
    if items.is_empty() {
        reader.refuse(&place, root.key("envoys"), Problem::Empty);
    }
    let mut envoys: Vec<Option<EnvoyTarget>> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let group = reader.group(format!("envoys[{index}]"), item, ENVOY_KEYS);
        let name = reader.required(&group, "name", &ENVOY_NAME);
        let labels = labels(reader, &group);
        let admin = reader.required(&group, "admin", &ADMIN);
        let on_demand = reader.value(&group, "on_demand", &SWITCH).or(false);
        if let Some(name) = &name {
            let mut others = envoys.iter().flatten();
            if others.any(|other| other.name.as_deref() == Some(name)) {
                let problem = Problem::NotUnique {
                    value: shortened(name),
                    accepted: "a name that no other Envoy has",
                };
                reader.refuse(&group.place, group.key("name"), problem);
            }
        }
        let envoy = || {
            Some(EnvoyTarget {
                name: Some(name?.into()),
                labels: labels?,
                admin: admin?,
                on_demand: on_demand?,
            })
        };
        envoys.push(envoy());
    }
    envoys.into_iter().collect()
}

/// The pages of `sources`.
pub(super) fn sources(reader: &mut Reader, root: &Group<'_>) -> Option<Vec<SourceTarget>> {
    let items = match reader.list(root, "sources") {
        Given::Absent => return Some(Vec::new()),
        Given::Bad => return None,
        Given::Good(items, _) => items,
    };
    let mut sources: Vec<Option<SourceTarget>> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let group = reader.group(format!("sources[{index}]"), item, SOURCE_KEYS);
        let service = reader.required(&group, "service", &SERVICE);
        let url = reader.required(&group, "url", &SOURCE_URL);
        let timeout = reader
            .value(&group, "timeout", &DURATION)
            .or(Duration::from_secs(2));
        let labels = labels(reader, &group);
        let source = || {
            Some(SourceTarget {
                service: service?,
                url: url?,
                timeout: timeout?,
                labels: labels?,
            })
        };
        let source = source();
        let is_twice = |source: &SourceTarget| {
            let mut others = sources.iter().flatten();
            others.any(|other| {
                other.service == source.service && sorted(&other.labels) == sorted(&source.labels)
            })
        };
        if let Some(source) = source.as_ref().filter(|source| is_twice(source)) {
            let problem = Problem::NotUnique {
                value: shortened(&source.service),
                accepted: "labels that tell the sources of a service apart",
            };
            reader.refuse(&group.place, group.key("service"), problem);
        }
        sources.push(source);
    }
    sources.into_iter().collect()
}

fn sorted(labels: &[(String, String)]) -> Vec<&(String, String)> {
    let mut labels: Vec<_> = labels.iter().collect();
    labels.sort();
    labels
}

fn labels(reader: &mut Reader, group: &Group<'_>) -> Option<Vec<(String, String)>> {
    let path = group.key("labels");
    let Some(node) = group.get("labels") else {
        return Some(Vec::new());
    };
    let group = reader.open_group(path, node);
    let mut labels = Vec::new();
    for (name, value) in group.entries() {
        let key = group.key(&name.text);
        if (LABEL_NAME.parse)(&name.text).is_none() {
            let problem = Problem::Value {
                value: shortened(&name.text),
                accepted: LABEL_NAME.accepted,
            };
            reader.refuse(&name.place, group.path.clone(), problem);
        } else if taken_labels().contains(&name.text.as_str()) {
            let problem = Problem::Reserved {
                name: name.text.clone(),
                taken: taken_labels().join(", "),
            };
            reader.refuse(&name.place, group.path.clone(), problem);
        }
        let value = reader.node(&key, value, &LABEL_VALUE).optional();
        labels.push(value.flatten().map(|value| (name.text.clone(), value)));
    }
    labels.into_iter().collect()
}

/// Names that the bridge gives labels itself: of the series' origin, of the
/// text formats, and of the catalogue.
fn taken_labels() -> Vec<&'static str> {
    let mut names = vec!["envoy", "service", "le", "quantile"];
    names.extend(catalog::CATALOG.iter().flat_map(|row| row.labels));
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pages_of_both_kinds() {
        for (text, address, path) in [
            (
                "http://127.0.0.1:8090/metrics",
                "http://127.0.0.1:8090",
                "/metrics",
            ),
            ("http://[::1]:80/", "http://[::1]:80", "/"),
            (
                "http://api:8090/a/b?c=d:/e",
                "http://api:8090",
                "/a/b?c=d:/e",
            ),
            (
                "unix:/run/api.sock:/metrics?x=1",
                "unix:/run/api.sock",
                "/metrics?x=1",
            ),
        ] {
            let url: SourceUrl = text.parse().unwrap();
            assert_eq!(url.address.to_string(), address);
            assert_eq!(url.path, path);
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn refuses_pages_that_it_would_have_to_guess() {
        for text in [
            "",
            "http://127.0.0.1:8090",
            "http://127.0.0.1/metrics",
            "https://127.0.0.1:8090/metrics",
            "http://user:word@127.0.0.1:8090/metrics",
            "http://127.0.0.1:8090/metrics#top",
            "http://127.0.0.1:8090/me trics",
            "unix:/run/api.sock",
            "unix:run/api.sock:/metrics",
            "unix::/metrics",
        ] {
            assert_eq!(text.parse::<SourceUrl>(), Err(BadSourceUrl), "{text}");
        }
    }
}
