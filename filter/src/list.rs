//! A list of a few items, whose bits are 0 where it is empty, as those of a `Vec`
//! are not: a static that has nothing else needs no room in the module's file,
//! however large it is.

use std::ops::{Deref, DerefMut};

/// A few items.
pub(crate) struct List<T>(Option<Box<[T]>>);

impl<T> List<T> {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Takes all of its items with it, so it is for what is rare.
    #[cold]
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        let mut items = self.0.take().map_or_else(Vec::new, <[T]>::into_vec);
        let result = change(&mut items);
        self.0 = Some(items.into_boxed_slice());
        result
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<T> DerefMut for List<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}
