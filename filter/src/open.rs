//! The exchanges that are open, by context id.
//!
//! A host counts ids up, so those of open exchanges lie close together: chains in
//! a table of a power of two are one exchange long, but for those that stay open
//! for hours. The places of exchanges that are over are used again, so that
//! nothing is allocated once there are as many as were ever open at a time.

use gatemeter_core::exchange::Exchange;

/// No place.
const NONE: u32 = u32::MAX;

/// Chains in the smallest table.
const SMALLEST: usize = 64;

/// The place of an exchange.
pub(crate) struct Place {
    id: u32,
    /// The next of its chain, or of those that are vacant.
    next: u32,
    /// The place of the service that it counts for.
    pub(crate) service: usize,
    /// `None` where it is vacant.
    pub(crate) exchange: Option<Exchange>,
}

/// Exchanges by id.
pub(crate) struct OpenExchanges {
    /// The first place of each chain: a power of two of them, or none.
    chains: Vec<u32>,
    places: Vec<Place>,
    /// The first of those that are vacant.
    vacant: u32,
}

impl OpenExchanges {
    pub(crate) const fn new() -> Self {
        Self {
            chains: Vec::new(),
            places: Vec::new(),
            vacant: NONE,
        }
    }

    #[inline]
    pub(crate) fn get(&mut self, id: u32) -> Option<&mut Place> {
        let mut at = *self.chains.get(self.chain(id))?;
        loop {
            let place = self.places.get(at as usize)?;
            if place.id == id {
                break;
            }
            at = place.next;
        }
        // Looked up twice, since a borrow that is given away would last for all of it.
        self.places.get_mut(at as usize)
    }

    /// A place for an exchange; `None` where the id has one already, or there are
    /// as many as places have numbers.
    #[inline]
    pub(crate) fn add(&mut self, id: u32) -> Option<&mut Place> {
        if self.vacant == NONE {
            self.grow();
        }
        let chain = self.chain(id);
        let first = self.chains.get_mut(chain)?;
        let mut at = *first;
        while let Some(place) = self.places.get(at as usize) {
            if place.id == id {
                return None;
            }
            at = place.next;
        }
        let place = self.places.get_mut(self.vacant as usize)?;
        place.id = id;
        let next = std::mem::replace(&mut place.next, *first);
        *first = std::mem::replace(&mut self.vacant, next);
        Some(place)
    }

    /// Makes the place of an exchange vacant, and gives what was there.
    #[inline]
    pub(crate) fn remove(&mut self, id: u32) -> Option<(usize, Exchange)> {
        let chain = self.chain(id);
        let first = self.chains.get_mut(chain)?;
        let mut before = NONE;
        let mut at = *first;
        loop {
            let place = self.places.get(at as usize)?;
            if place.id == id {
                break;
            }
            before = at;
            at = place.next;
        }
        let place = self.places.get_mut(at as usize)?;
        let next = std::mem::replace(&mut place.next, self.vacant);
        let (service, exchange) = (place.service, place.exchange.take());
        self.vacant = at;
        if before == NONE {
            *first = next;
        } else {
            self.places.get_mut(before as usize)?.next = next;
        }
        Some((service, exchange?))
    }

    #[inline]
    fn chain(&self, id: u32) -> usize {
        id as usize & self.chains.len().wrapping_sub(1)
    }

    /// Twice as many places and chains.
    #[cold]
    fn grow(&mut self) {
        let before = self.places.len();
        let size = (2 * before).max(SMALLEST);
        let Ok(last) = u32::try_from(size) else {
            return;
        };
        self.chains = vec![NONE; size];
        // None of the places of before is vacant.
        for at in 0..u32::try_from(before).unwrap_or(NONE) {
            let id = self.places.get(at as usize).map_or(0, |place| place.id);
            let chain = self.chain(id);
            if let (Some(place), Some(first)) =
                (self.places.get_mut(at as usize), self.chains.get_mut(chain))
            {
                place.next = std::mem::replace(first, at);
            }
        }
        self.places.reserve_exact(size - before);
        for next in u32::try_from(before + 1).unwrap_or(last)..=last {
            let next = if next == last { NONE } else { next };
            self.places.push(Place {
                id: 0,
                next,
                service: 0,
                exchange: None,
            });
        }
        self.vacant = u32::try_from(before).unwrap_or(NONE);
    }
}
