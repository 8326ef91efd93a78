//! Path labels of one worker: a number for each label, and which label a path got.
//!
//! In the steady state a path costs one hash and one comparison: no regular
//! expression, no allocation.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::growth::make_room;
use super::index::Index;
use super::memory::{Key, Memory};
use crate::path_label::{OVERFLOW, PathLabel, PathLabeller, UNMATCHED};

/// Number of a path label within one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PathId(pub(super) u32);

impl PathId {
    pub(crate) const UNMATCHED: Self = Self(0);
    pub(crate) const OVERFLOW: Self = Self(1);

    /// No label: paths that are not counted are remembered so.
    const EXCLUDED: Self = Self(u32::MAX);
}

/// What a request's path is, as far as it is known when the request comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestPath {
    /// Nothing is known of it.
    Unread,
    /// Not counted.
    Excluded,
    /// Has a label already.
    Known(PathId),
    /// Becomes a label if the response is below 400.
    Candidate(Box<str>),
    /// Would be such a candidate, but no stat name has room for it.
    TooLong,
}

impl RequestPath {
    /// Whether it is one that may become a label.
    #[inline]
    pub(crate) const fn is_candidate(&self) -> bool {
        matches!(self, Self::Candidate(_))
    }

    #[inline]
    fn of(remembered: PathId) -> Self {
        if remembered == PathId::EXCLUDED {
            return Self::Excluded;
        }
        Self::Known(remembered)
    }
}

#[derive(Debug)]
pub(super) struct Paths {
    labeller: PathLabeller,
    labels: Vec<Box<str>>,
    by_label: Index,
    hasher: FixedState,
    /// Paths with a label, and those that are not counted.
    memory: Memory<PathId>,
}

impl Paths {
    /// `seed` keeps clients from choosing paths that collide in the tables.
    pub(super) fn new(labeller: PathLabeller, seed: u64) -> Self {
        let mut paths = Self {
            labels: Vec::new(),
            by_label: Index::default(),
            hasher: FixedState::with_seed(seed),
            memory: Memory::new(seed),
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
    #[inline]
    pub(super) fn label(&self, id: PathId) -> &str {
        self.labels
            .get(id.0 as usize)
            .map_or(UNMATCHED, AsRef::as_ref)
    }

    /// Number of a label that exists.
    pub(super) fn known(&self, label: &str) -> Option<PathId> {
        let is = |at: usize| self.labels.get(at).map(|known| **known == *label);
        let at = self.by_label.get(self.hasher.hash_one(label), is)?;
        u32::try_from(at).ok().map(PathId)
    }

    /// Number of a label, which from now on exists.
    pub(super) fn intern(&mut self, label: &str) -> PathId {
        match self.known(label) {
            Some(id) => id,
            None => self.push(label),
        }
    }

    /// What the value of a `:path` pseudo-header is. It is written to a place of
    /// the caller's, since most often it is two words, and may be more.
    #[inline]
    pub(super) fn look_up(&mut self, target: &[u8], path: &mut RequestPath) {
        let Some(key) = self.memory.key(target) else {
            return self.unmemorable(target, path);
        };
        match self.memory.at_home(key) {
            Some(remembered) => *path = RequestPath::of(remembered),
            None => self.search(key.path(), key.hash(), path),
        }
    }

    /// The same of a path that is remembered elsewhere, or not at all, by the parts
    /// of its key: a key would be handed over in memory.
    #[cold]
    fn search(&mut self, target: &[u8], hash: u64, path: &mut RequestPath) {
        let key = Key::of_parts(target, hash);
        *path = match self.memory.recall(key) {
            Some(remembered) => RequestPath::of(remembered),
            None => self.label_it(target, Some(key)),
        };
    }

    #[cold]
    fn unmemorable(&mut self, target: &[u8], path: &mut RequestPath) {
        *path = self.label_it(target, None);
    }

    /// Labels a path that was not remembered.
    fn label_it(&mut self, path: &[u8], key: Option<Key<'_>>) -> RequestPath {
        let label = match self.labeller.label(path) {
            PathLabel::Excluded => PathId::EXCLUDED,
            PathLabel::Unmatched => PathId::UNMATCHED,
            PathLabel::Route(index) => route_id(index),
            PathLabel::TooLong => return RequestPath::TooLong,
            PathLabel::Candidate(label) => match self.known(&label) {
                Some(id) => id,
                None => return RequestPath::Candidate(label.into_boxed_str()),
            },
        };
        if let Some(key) = key {
            self.memory.remember(key, label);
        }
        RequestPath::of(label)
    }

    fn push(&mut self, label: &str) -> PathId {
        // Of two equal labels the first is found; both show the same text.
        let is_new = self.known(label).is_none();
        let at = self.labels.len();
        make_room(&mut self.labels, 1);
        self.labels.push(label.into());
        if is_new {
            let hash_of = |at: usize| {
                self.labels
                    .get(at)
                    .map(|label| self.hasher.hash_one(&**label))
            };
            let hash = self.hasher.hash_one(label);
            self.by_label
                .insert(hash, at, |at| hash_of(at).unwrap_or_default());
        }
        PathId(u32::try_from(at).unwrap_or(0))
    }
}

/// Routes follow the two labels that always exist.
fn route_id(index: usize) -> PathId {
    PathId(u32::try_from(index + 2).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::memory::LONGEST;
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

    fn looked_up(paths: &mut Paths, target: &[u8]) -> RequestPath {
        let mut path = RequestPath::Unread;
        paths.look_up(target, &mut path);
        path
    }

    #[test]
    fn a_route_has_its_template_as_label_at_once() {
        let mut paths = paths(&["/a/:id", "/b"]);
        let RequestPath::Known(id) = looked_up(&mut paths, b"/a/7?x=1") else {
            panic!("no label");
        };
        assert_eq!(paths.label(id), "/a/:id");
        assert_eq!(
            looked_up(&mut paths, b"/c"),
            RequestPath::Known(PathId::UNMATCHED)
        );
    }

    #[test]
    fn a_candidate_is_known_as_soon_as_its_label_exists() {
        let mut paths = paths(&[]);
        assert_eq!(
            looked_up(&mut paths, b"/a/7"),
            RequestPath::Candidate("/a/:id".into())
        );
        let id = paths.intern("/a/:id");
        assert_eq!(looked_up(&mut paths, b"/a/7"), RequestPath::Known(id));
        assert_eq!(looked_up(&mut paths, b"/a/8"), RequestPath::Known(id));
    }

    #[test]
    fn an_excluded_path_is_excluded_again() {
        let exclude = RouteTable::try_new(vec!["/health".parse().unwrap()]).unwrap();
        let labeller = PathLabeller::new(Vec::new(), RouteTable::default(), exclude);
        let mut paths = Paths::new(labeller, 7);
        for path in ["/health", "/health?x"] {
            assert_eq!(
                looked_up(&mut paths, path.as_bytes()),
                RequestPath::Excluded
            );
        }
    }

    #[test]
    fn a_long_path_is_labelled_each_time() {
        let mut paths = paths(&["/a/:id"]);
        let long = format!("/a/{}", "x".repeat(LONGEST));
        for _ in 0..2 {
            let found = looked_up(&mut paths, long.as_bytes());
            assert_eq!(found, RequestPath::Known(PathId(2)));
        }
    }
}
