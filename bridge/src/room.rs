//! Room for pages in memory: who takes a page slowly does not make the bridge
//! keep ever more of them.
//!
//! A page takes room, once for all of its readers, until the last of them has
//! it. Where there is none left, the next page waits, and meanwhile the bridge is
//! crowded: connections that do not take their answers are cut early.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::rendered::Pieces;

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
pub struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Arc<Semaphore>,
    capacity: u32,
    crowd: Crowd,
    pages: Mutex<Vec<Weak<Page>>>,
}

/// A page and the room that it takes.
#[derive(Debug)]
struct Page {
    pieces: Pieces,
    taken: OnceCell<Option<OwnedSemaphorePermit>>,
}

/// Bytes of pages that readers may have in memory at once. A page that is larger
/// is alone there.
pub const CAPACITY: usize = 128 << 20;

/// What permits count.
const UNIT: usize = 1024;

impl Room {
    /// Room for so many bytes of pages.
    pub fn new(capacity: usize) -> Self {
        let capacity = u32::try_from(capacity / UNIT).unwrap_or(u32::MAX).max(1);
        Self(Arc::new(Inner {
            free: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            crowd: Crowd::default(),
            pages: Mutex::default(),
        }))
    }

    /// Whether anybody waits for room.
    pub fn crowd(&self) -> Crowd {
        self.0.crowd.clone()
    }

    /// The page, as soon as there is room for it. Clones of one page, given here
    /// by several callers, take room once.
    pub async fn keep(&self, page: Pieces) -> Kept {
        let page = self.page(page);
        let length = page.pieces.iter().map(Bytes::len).sum();
        page.taken.get_or_init(|| self.take(length)).await;
        Kept(page)
    }

    fn page(&self, pieces: Pieces) -> Arc<Page> {
        let mut pages = self.0.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|page| page.strong_count() > 0);
        let mut known = pages.iter().filter_map(Weak::upgrade);
        let known = known.find(|page| Arc::ptr_eq(&page.pieces, &pieces));
        known.unwrap_or_else(|| {
            let page = Arc::new(Page {
                pieces,
                taken: OnceCell::new(),
            });
            pages.push(Arc::downgrade(&page));
            page
        })
    }

    async fn take(&self, length: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(length.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let units = units.min(self.0.capacity);
        let free = || Arc::clone(&self.0.free);
        if let Ok(taken) = free().try_acquire_many_owned(units) {
            return Some(taken);
        }
        let _waiting = self.0.crowd.wait();
        // The semaphore is never closed.
        free().acquire_many_owned(units).await.ok()
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

    #[tokio::test]
    async fn a_page_waits_for_room_until_the_last_reader_of_another_has_gone() {
        let room = Room::new(3 * UNIT);
        let crowd = room.crowd();
        let first = room.keep(page(2)).await;
        let other = first.clone();
        drop(first);
        assert!(!crowd.is_waiting());
        {
            let mut second = std::pin::pin!(room.keep(page(2)));
            let moment = Duration::from_millis(200);
            assert!(timeout(moment, second.as_mut()).await.is_err());
            assert!(crowd.is_waiting());
            drop(other);
            assert_eq!(second.await.pieces(), &*page(2));
        }
        assert!(!crowd.is_waiting());
        assert_eq!(
            room.keep(page(100)).await.pieces(),
            &*page(100),
            "larger than the room"
        );
    }

    #[tokio::test]
    async fn readers_of_one_page_take_its_room_once() {
        let room = Room::new(3 * UNIT);
        let crowd = room.crowd();
        let shared = page(2);
        let mut readers = Vec::new();
        for _ in 0..10 {
            readers.push(room.keep(shared.clone()).await);
        }
        drop(shared);
        assert_eq!(room.keep(page(1)).await.pieces(), &*page(1));
        let waits = room.keep(page(2));
        assert!(timeout(Duration::from_millis(100), waits).await.is_err());
        readers.truncate(1);
        let waits = room.keep(page(2));
        assert!(timeout(Duration::from_millis(100), waits).await.is_err());
        readers.clear();
        assert_eq!(room.keep(page(2)).await.pieces(), &*page(2));
        assert!(!crowd.is_waiting());
    }

    #[tokio::test]
    async fn a_reader_that_leaves_while_it_waits_leaves_its_place_to_the_next() {
        let room = Room::new(2 * UNIT);
        let first = room.keep(page(2)).await;
        let shared = page(2);
        {
            let left = room.keep(shared.clone());
            assert!(timeout(Duration::from_millis(50), left).await.is_err());
        }
        let next = room.keep(shared);
        drop(first);
        assert_eq!(next.await.pieces(), &*page(2));
    }
}
