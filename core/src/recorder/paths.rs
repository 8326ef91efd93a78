//! Path labels of one worker: a number for each label, and a bounded memory of
//! which label a path got.
//!
//! In the steady state a path costs one hash and one comparison: no regular
//! expression, no allocation. The memory holds two generations; a path that is
//! asked for again moves to the young one, and when that is full the old one is
//! dropped. So a flood of new paths costs the work of labelling, and never the
//! place of a path in use for long.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::path_label::{OVERFLOW, PathLabel, PathLabeller, Target, UNMATCHED};

/// Paths in one generation of the memory.
const GENERATION: usize = 1024;

/// Longest path that is remembered, in bytes.
const LONGEST_REMEMBERED: usize = 256;

/// Number of a path label within one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PathId(pub(super) u32);

impl PathId {
    pub(crate) const UNMATCHED: Self = Self(0);
    pub(crate) const OVERFLOW: Self = Self(1);
}

/// What a request's path is, as far as it is known when the request comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestPath {
    /// Not counted.
    Excluded,
    /// Has a label already.
    Known(PathId),
    /// Becomes a label if the response is below 400.
    Candidate(Box<str>),
    /// Would be such a candidate, but no stat name has room for it.
    TooLong,
}

#[derive(Clone, Copy, Debug)]
enum Remembered {
    Excluded,
    Known(PathId),
}

#[derive(Debug)]
pub(super) struct Paths {
    labeller: PathLabeller,
    labels: Vec<Box<str>>,
    by_label: HashMap<Box<str>, PathId, FixedState>,
    young: HashMap<Box<[u8]>, Remembered, FixedState>,
    old: HashMap<Box<[u8]>, Remembered, FixedState>,
}

impl Paths {
    /// `seed` keeps clients from choosing paths that collide in the tables.
    pub(super) fn new(labeller: PathLabeller, seed: u64) -> Self {
        let state = FixedState::with_seed(seed);
        let mut paths = Self {
            labels: Vec::new(),
            by_label: HashMap::with_hasher(state.clone()),
            young: HashMap::with_hasher(state.clone()),
            old: HashMap::with_hasher(state),
            labeller,
        };
        paths.intern(UNMATCHED);
        paths.intern(OVERFLOW);
        let routes: Vec<String> = paths
            .labeller
            .routes()
            .iter()
            .map(|template| template.label().to_owned())
            .collect();
        for label in routes {
            paths.push(&label);
        }
        paths
    }

    /// Text of a label.
    pub(super) fn label(&self, id: PathId) -> &str {
        self.labels
            .get(id.0 as usize)
            .map_or(UNMATCHED, AsRef::as_ref)
    }

    /// Number of a label that exists.
    pub(super) fn known(&self, label: &str) -> Option<PathId> {
        self.by_label.get(label).copied()
    }

    /// Number of a label, which from now on exists.
    pub(super) fn intern(&mut self, label: &str) -> PathId {
        match self.known(label) {
            Some(id) => id,
            None => self.push(label),
        }
    }

    /// What the value of a `:path` pseudo-header is.
    pub(super) fn look_up(&mut self, path: &[u8]) -> RequestPath {
        let target = Target::new(path);
        if let Some(remembered) = self.recall(target.bytes()) {
            return match remembered {
                Remembered::Excluded => RequestPath::Excluded,
                Remembered::Known(id) => RequestPath::Known(id),
            };
        }
        let (found, remembered) = match self.labeller.label_of(target) {
            PathLabel::Excluded => (RequestPath::Excluded, Remembered::Excluded),
            PathLabel::Unmatched => known(PathId::UNMATCHED),
            PathLabel::Route(index) => known(route_id(index)),
            PathLabel::TooLong => return RequestPath::TooLong,
            PathLabel::Candidate(label) => match self.known(&label) {
                Some(id) => known(id),
                None => return RequestPath::Candidate(label.into_boxed_str()),
            },
        };
        self.remember(target.bytes(), remembered);
        found
    }

    fn push(&mut self, label: &str) -> PathId {
        let id = PathId(u32::try_from(self.labels.len()).unwrap_or(u32::MAX));
        self.labels.push(label.into());
        // Of two equal labels the first is found; both show the same text.
        self.by_label.entry(label.into()).or_insert(id);
        id
    }

    fn recall(&mut self, path: &[u8]) -> Option<Remembered> {
        if path.len() > LONGEST_REMEMBERED {
            return None;
        }
        if let Some(remembered) = self.young.get(path) {
            return Some(*remembered);
        }
        let remembered = *self.old.get(path)?;
        self.remember(path, remembered);
        Some(remembered)
    }

    fn remember(&mut self, path: &[u8], remembered: Remembered) {
        if path.len() > LONGEST_REMEMBERED {
            return;
        }
        if self.young.len() >= GENERATION {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(path.into(), remembered);
    }
}

fn known(id: PathId) -> (RequestPath, Remembered) {
    (RequestPath::Known(id), Remembered::Known(id))
}

/// Routes follow the two labels that always exist.
fn route_id(index: usize) -> PathId {
    PathId(u32::try_from(index + 2).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path_label::RouteTable;

    fn paths(routes: &[&str]) -> Paths {
        let routes = routes.iter().map(|route| route.parse().unwrap()).collect();
        let routes = RouteTable::try_new(routes).unwrap();
        Paths::new(
            PathLabeller::new(Vec::new(), routes, RouteTable::default()),
            7,
        )
    }

    #[test]
    fn a_route_has_its_template_as_label_at_once() {
        let mut paths = paths(&["/a/:id", "/b"]);
        let RequestPath::Known(id) = paths.look_up(b"/a/7?x=1") else {
            panic!("no label");
        };
        assert_eq!(paths.label(id), "/a/:id");
        assert_eq!(paths.look_up(b"/c"), RequestPath::Known(PathId::UNMATCHED));
    }

    #[test]
    fn a_candidate_is_known_as_soon_as_its_label_exists() {
        let mut paths = paths(&[]);
        assert_eq!(
            paths.look_up(b"/a/7"),
            RequestPath::Candidate("/a/:id".into())
        );
        let id = paths.intern("/a/:id");
        assert_eq!(paths.look_up(b"/a/7"), RequestPath::Known(id));
        assert_eq!(paths.look_up(b"/a/8"), RequestPath::Known(id));
    }

    #[test]
    fn the_memory_stays_bounded_and_a_path_in_use_stays_in_it() {
        let mut paths = paths(&["/a/:id"]);
        for number in 0..20 * GENERATION {
            paths.look_up(format!("/a/{number}").as_bytes());
            paths.look_up(b"/a/used");
        }
        assert!(paths.young.len() + paths.old.len() <= 2 * GENERATION);
        assert!(paths.young.contains_key(b"/a/used".as_slice()));
    }

    #[test]
    fn a_long_path_is_labelled_but_not_remembered() {
        let mut paths = paths(&["/a/:id"]);
        let long = format!("/a/{}", "x".repeat(LONGEST_REMEMBERED));
        assert_eq!(
            paths.look_up(long.as_bytes()),
            RequestPath::Known(PathId(2))
        );
        assert!(paths.young.is_empty());
    }
}
