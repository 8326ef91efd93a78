//! The client's own books: every request that a test sent, by the labels that
//! it must get, counted when the client saw its status.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};

use crate::page::Page;

/// Method, path label and status of a request.
pub type Labels = (String, String, String);

/// Books of one service. Shared by all who send to it.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    counted: BTreeMap<Labels, u64>,
    other: BTreeMap<Apart, u64>,
}

/// Requests that raise Envoy's count of requests but not `http_requests_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Apart {
    /// Envoy's codec refused or lost it before its headers were complete.
    Unparsed,
    /// The first hop of an internal redirect.
    InternalRedirect,
    /// It went to an excluded path.
    Excluded,
}

impl Ledger {
    /// Counts one request.
    pub fn count(&self, method: &str, path: &str, status: impl ToString) {
        self.count_many(method, path, status, 1);
    }

    /// Counts `requests` requests with the same labels.
    pub fn count_many(&self, method: &str, path: &str, status: impl ToString, requests: u64) {
        let labels = (method.to_owned(), path.to_owned(), status.to_string());
        *self.lock().counted.entry(labels).or_default() += requests;
    }

    /// Counts one request that is no part of `http_requests_total`.
    pub fn count_apart(&self, apart: Apart) {
        *self.lock().other.entry(apart).or_default() += 1;
    }

    /// All counted requests by label.
    pub fn counted(&self) -> BTreeMap<Labels, u64> {
        self.lock().counted.clone()
    }

    /// The sum of all counted requests.
    pub fn total(&self) -> u64 {
        self.lock().counted.values().sum()
    }

    /// The number of requests set apart for this reason.
    pub fn apart(&self, apart: Apart) -> u64 {
        self.lock().other.get(&apart).copied().unwrap_or_default()
    }

    /// Compares the books with `http_requests_total` on a page, label by label.
    ///
    /// # Errors
    ///
    /// They differ; the message lists each label set that does.
    pub fn compare(&self, page: &Page, service: Option<&str>) -> Result<()> {
        let shown = page.requests(service)?;
        let expected = self.counted();
        let mut differences = String::new();
        for labels in shown
            .keys()
            .chain(expected.keys().filter(|l| !shown.contains_key(l)))
        {
            let (page, books) = (
                shown.get(labels).copied().unwrap_or_default(),
                expected.get(labels).copied().unwrap_or_default(),
            );
            if page != books {
                let (method, path, status) = labels;
                writeln!(
                    differences,
                    "  {method} {path} {status}: page {page}, ledger {books}"
                )?;
            }
        }
        ensure!(
            differences.is_empty(),
            "http_requests_total and the ledger differ:\n{differences}"
        );
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
