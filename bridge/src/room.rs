//! Room for pages in memory: who takes a page slowly does not make the bridge
//! keep ever more of them.
//!
//! A page takes room, once for all of its readers, until the last of them has
//! it. One that finds none is let go of: its caller waits for room without a page,
//! and gets one that is made anew. Meanwhile the bridge is crowded: connections
//! that do not take their answers are cut early. Packed pages, which Prometheus
//! asks for, have room of their own: readers of plain ones do not keep it waiting.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{negotiate::Coding, rendered::Pieces};

/// Whether somebody waits for what slow clients hold; clones are one.
#[derive(Clone, Debug, Default)]
pub struct Crowd(Arc<AtomicUsize>);

/// One who waits.
#[derive(Debug)]
pub struct Waiting(Crowd);

impl Crowd {
    /// Somebody waits until this is dropped.
    pub fn wait(&self) -> Waiting {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// Whether anybody waits.
    pub fn is_waiting(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The pages in memory; clones are one.
#[derive(Clone, Debug)]
pub struct Room(Arc<Spaces>);

#[derive(Debug)]
struct Spaces {
    plain: Space,
    packed: Space,
    crowd: Crowd,
}

/// The pages in memory that are packed, or those that are not.
#[derive(Debug)]
pub struct Space {
    free: Arc<Semaphore>,
    capacity: u32,
    crowd: Crowd,
    /// How much the last page without room would have taken.
    wanted: AtomicU32,
    pages: Mutex<Vec<Weak<Page>>>,
}

/// A page and the room that it takes.
#[derive(Debug)]
struct Page {
    pieces: Pieces,
    _taken: OwnedSemaphorePermit,
}

/// Room for a page that is not made yet.
#[derive(Debug)]
pub struct Reserved(Option<OwnedSemaphorePermit>);

/// Bytes of plain pages that readers may have in memory at once. A page that is
/// larger is alone there.
pub const PLAIN: usize = 96 << 20;

/// Bytes of packed pages that readers may have in memory at once.
pub const PACKED: usize = 32 << 20;

/// What permits count.
const UNIT: usize = 1024;

impl Default for Room {
    fn default() -> Self {
        let crowd = Crowd::default();
        Self(Arc::new(Spaces {
            plain: Space::new(PLAIN, crowd.clone()),
            packed: Space::new(PACKED, crowd.clone()),
            crowd,
        }))
    }
}

impl Room {
    /// Whether anybody waits for room.
    pub fn crowd(&self) -> Crowd {
        self.0.crowd.clone()
    }

    /// Where pages in this coding are.
    pub fn of(&self, coding: Coding) -> &Space {
        match coding {
            Coding::Identity => &self.0.plain,
            Coding::Gzip | Coding::Zstd => &self.0.packed,
        }
    }
}

impl Space {
    fn new(capacity: usize, crowd: Crowd) -> Self {
        let capacity = u32::try_from(capacity / UNIT).unwrap_or(u32::MAX).max(1);
        Self {
            free: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            crowd,
            wanted: AtomicU32::new(1),
            pages: Mutex::default(),
        }
    }

    /// Where there is no room at all, waits for that of a page.
    pub async fn reserve(&self) -> Reserved {
        // Whoever waits has all that is free.
        if self.free.available_permits() > 0 {
            return Reserved(None);
        }
        let _waiting = self.crowd.wait();
        let units = self.wanted.load(Ordering::Relaxed);
        // The semaphore is never closed.
        let taken = Arc::clone(&self.free).acquire_many_owned(units).await;
        Reserved(taken.ok())
    }

    /// The page, if there is room for it. Clones of one page, given here by
    /// several callers, take room once.
    pub fn keep(&self, pieces: Pieces, reserved: Reserved) -> Option<Kept> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|page| page.strong_count() > 0);
        let mut known = pages.iter().filter_map(Weak::upgrade);
        if let Some(page) = known.find(|page| Arc::ptr_eq(&page.pieces, &pieces)) {
            return Some(Kept(page));
        }
        let length: usize = pieces.iter().map(Bytes::len).sum();
        let units = u32::try_from(length.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let units = units.min(self.capacity);
        let Some(taken) = self.take(units, reserved) else {
            self.wanted.store(units.max(1), Ordering::Relaxed);
            return None;
        };
        let page = Arc::new(Page {
            pieces,
            _taken: taken,
        });
        pages.push(Arc::downgrade(&page));
        Some(Kept(page))
    }

    /// As much as `units`, of what is reserved and of what is free.
    fn take(&self, units: u32, reserved: Reserved) -> Option<OwnedSemaphorePermit> {
        let more = |units| {
            let free = Arc::clone(&self.free);
            free.try_acquire_many_owned(units).ok()
        };
        let Some(mut taken) = reserved.0 else {
            return more(units);
        };
        let have = u32::try_from(taken.num_permits()).unwrap_or(u32::MAX);
        match units.checked_sub(have) {
            Some(0) => {}
            Some(missing) => taken.merge(more(missing)?),
            None => drop(taken.split(usize::try_from(have - units).ok()?)),
        }
        Some(taken)
    }
}

/// A page that has its room until this is dropped.
#[derive(Clone, Debug)]
pub struct Kept(Arc<Page>);

impl Kept {
    /// The page.
    pub fn pieces(&self) -> &[Bytes] {
        &self.0.pieces
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn page(units: usize) -> Pieces {
        (0..units).map(|_| vec![b'x'; UNIT].into()).collect()
    }

    fn space(capacity: usize) -> Space {
        Space::new(capacity, Crowd::default())
    }

    const NOTHING: Reserved = Reserved(None);
    const MOMENT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_page_without_room_is_made_anew_when_the_last_reader_of_another_has_gone() {
        let room = space(3 * UNIT);
        let crowd = room.crowd.clone();
        let first = room.keep(page(2), room.reserve().await).unwrap();
        let other = first.clone();
        drop(first);
        assert!(room.keep(page(2), NOTHING).is_none());
        assert!(!crowd.is_waiting());
        // The room for a small one is there.
        let small = room.keep(page(1), room.reserve().await).unwrap();
        {
            let mut second = std::pin::pin!(room.reserve());
            assert!(timeout(MOMENT, second.as_mut()).await.is_err());
            assert!(crowd.is_waiting());
            drop(other);
            let reserved = second.await;
            assert!(room.keep(page(1), NOTHING).is_none(), "it is reserved");
            let second = room.keep(page(2), reserved).unwrap();
            assert_eq!(second.pieces(), &*page(2));
        }
        drop(small);
        assert!(!crowd.is_waiting());
        assert!(room.keep(page(100), NOTHING).is_some(), "alone there");
    }

    #[tokio::test]
    async fn readers_of_one_page_take_its_room_once() {
        let room = space(3 * UNIT);
        let shared = page(2);
        let keep = |pieces: &Pieces| room.keep(Arc::clone(pieces), NOTHING);
        let mut readers: Vec<_> = (0..10).map(|_| keep(&shared).unwrap()).collect();
        assert!(keep(&page(1)).is_some());
        assert!(keep(&page(2)).is_none());
        readers.truncate(1);
        assert!(keep(&page(2)).is_none());
        readers.clear();
        assert!(keep(&page(2)).is_some());
    }

    #[tokio::test]
    async fn what_is_reserved_and_not_needed_is_free_again() {
        let room = space(4 * UNIT);
        let all = room.keep(page(4), NOTHING).unwrap();
        assert!(room.keep(page(3), NOTHING).is_none());
        let reserved = room.reserve();
        let (reserved, ()) = tokio::join!(reserved, async { drop(all) });
        let shared = page(1);
        let first = room.keep(Arc::clone(&shared), reserved).unwrap();
        assert!(room.keep(page(3), NOTHING).is_some());
        // A page that has its room already needs none of the reserved.
        let reserved = room.reserve().await;
        assert!(room.keep(shared, reserved).is_some());
        assert!(room.keep(page(3), NOTHING).is_some());
        drop(first);
    }

    #[tokio::test]
    async fn who_leaves_while_waiting_leaves_the_place_to_the_next() {
        let room = space(2 * UNIT);
        let first = room.keep(page(2), NOTHING).unwrap();
        assert!(room.keep(page(2), NOTHING).is_none());
        assert!(timeout(MOMENT, room.reserve()).await.is_err());
        let next = room.reserve();
        let (next, ()) = tokio::join!(next, async { drop(first) });
        assert!(room.keep(page(2), next).is_some());
    }
}
