//! A header map as Envoy keeps it: ordered, names compared without case, one
//! name any number of times. Reading a name gives its first value.

use crate::abi::pairs::Pair;

/// The headers or trailers of one direction.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct HeaderMap(Vec<Pair>);

impl HeaderMap {
    /// A map of these pairs; names become lower case.
    #[must_use]
    pub fn new(pairs: Vec<Pair>) -> Self {
        let mut pairs = pairs;
        for (name, _) in &mut pairs {
            name.make_ascii_lowercase();
        }
        Self(pairs)
    }

    /// All pairs, in order.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first value of `name`. `host` is another name of `:authority`.
    #[must_use]
    pub fn first(&self, name: &[u8]) -> Option<&[u8]> {
        let find = |name: &[u8]| {
            let pair = self
                .0
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            Some(pair.1.as_slice())
        };
        find(name).or_else(|| {
            let alias = name.eq_ignore_ascii_case(b"host");
            alias.then(|| find(b":authority")).flatten()
        })
    }

    /// Adds a value beside those that `name` has.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.0.push((name.to_ascii_lowercase(), value.to_vec()));
    }

    /// Sets `name` to one value, where its first one stood.
    pub fn replace(&mut self, name: &[u8], value: &[u8]) {
        let place = self
            .0
            .iter()
            .position(|(key, _)| key.eq_ignore_ascii_case(name));
        match place {
            Some(index) => {
                self.remove(name);
                let index = index.min(self.0.len());
                self.0
                    .insert(index, (name.to_ascii_lowercase(), value.to_vec()));
            }
            None => self.add(name, value),
        }
    }

    /// Removes all values of `name`.
    pub fn remove(&mut self, name: &[u8]) {
        self.0.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }

    /// The bytes of all names and values, which is what Envoy calls the size.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        self.0
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::HeaderMap;

    #[test]
    fn the_first_value_answers_and_removing_takes_all() {
        let mut map = HeaderMap::default();
        map.add(b"X-Cache", b"HIT");
        map.add(b"x-cache", b"MISS");
        assert_eq!(map.first(b"x-CACHE"), Some(b"HIT".as_slice()));
        map.remove(b"X-CACHE");
        assert!(map.is_empty());
    }

    #[test]
    fn replacing_keeps_the_place_and_leaves_one_value() {
        let mut map = HeaderMap::default();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            map.add(name.as_bytes(), value.as_bytes());
        }
        map.replace(b"A", b"4");
        let names: Vec<&[u8]> = map
            .pairs()
            .iter()
            .map(|(name, _)| name.as_slice())
            .collect();
        assert_eq!(names, [b"a", b"b"]);
        assert_eq!(map.first(b"a"), Some(b"4".as_slice()));
    }
}
