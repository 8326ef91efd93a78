//! The exchanges that are open, by context id.
//!
//! A host counts ids up, so those of open exchanges lie close together: each has
//! a place in front, by the lowest bits of its id, that takes no search. One that
//! is open for so long that its place is wanted for another exchange moves behind,
//! to a table with chains. The places there are used again, so that nothing is
//! allocated once there are as many as were ever behind at a time.

use std::mem;

use gatemeter_core::exchange::Exchange;

/// Places in front, a power of two: more exchanges than a worker has open, most
/// often.
const FRONT: usize = 512;

/// No place.
const NONE: u32 = u32::MAX;

/// Chains in the smallest table.
const SMALLEST: usize = 64;

/// The place of an exchange.
pub(crate) struct Place {
    id: u32,
    /// The number of the service that it counts for; 0 where it is vacant.
    pub(crate) service: usize,
    pub(crate) exchange: Exchange,
}

impl Place {
    const VACANT: Self = Self {
        id: 0,
        service: 0,
        exchange: Exchange::NONE,
    };
}

/// Exchanges by id.
pub(crate) struct OpenExchanges {
    front: [Place; FRONT],
    /// `None` as long as none was ever there.
    behind: Option<Box<Behind>>,
}

impl OpenExchanges {
    pub(crate) const fn new() -> Self {
        Self {
            // Its bits are 0, so that the module's file need not have them.
            front: [const { Place::VACANT }; FRONT],
            behind: None,
        }
    }

    /// The place of an exchange; a vacant one may have the id of the last.
    #[inline]
    pub(crate) fn get(&mut self, id: u32) -> Option<&mut Place> {
        let place = self.front.get_mut(id as usize % FRONT)?;
        if place.id == id {
            Some(place)
        } else {
            self.behind.as_deref_mut()?.get(id)
        }
    }

    /// The same where it is in front.
    #[inline]
    pub(crate) fn in_front(&mut self, id: u32) -> Option<&mut Place> {
        let place = self.front.get_mut(id as usize % FRONT)?;
        (place.id == id).then_some(place)
    }

    /// A vacant place for an exchange; `None` where the id has one already, or
    /// there are as many as places have numbers.
    #[inline]
    pub(crate) fn add(&mut self, id: u32) -> Option<&mut Place> {
        let place = self.front.get_mut(id as usize % FRONT)?;
        if place.service != 0 || self.behind.as_ref().is_some_and(|behind| behind.used != 0) {
            make_room(place, &mut self.behind, id)?;
        }
        place.id = id;
        Some(place)
    }

    /// Makes a place behind vacant, and gives what was there.
    #[cold]
    pub(crate) fn remove_behind(&mut self, id: u32) -> Option<Place> {
        self.behind.as_deref_mut()?.remove(id)
    }
}

/// Lets an exchange that stays open for long make room for another one.
#[cold]
fn make_room(place: &mut Place, behind: &mut Option<Box<Behind>>, id: u32) -> Option<()> {
    let behind = behind.get_or_insert_with(|| Box::new(Behind::new()));
    if behind.get(id).is_some() {
        return None;
    }
    if place.service != 0 {
        if place.id == id {
            return None;
        }
        behind.add(place.id)?.place = mem::replace(place, Place::VACANT);
    }
    Some(())
}

/// A place behind.
struct Chained {
    place: Place,
    /// The next of its chain, or of those that are vacant.
    next: u32,
}

/// Exchanges by id, whatever those are.
struct Behind {
    /// The first place of each chain: a power of two of them, or none.
    chains: Vec<u32>,
    places: Vec<Chained>,
    /// The first of those that are vacant.
    vacant: u32,
    /// How many are not.
    used: usize,
}

impl Behind {
    const fn new() -> Self {
        Self {
            chains: Vec::new(),
            places: Vec::new(),
            vacant: NONE,
            used: 0,
        }
    }

    #[cold]
    fn get(&mut self, id: u32) -> Option<&mut Place> {
        let mut at = *self.chains.get(self.chain(id))?;
        loop {
            let chained = self.places.get(at as usize)?;
            if chained.place.id == id {
                break;
            }
            at = chained.next;
        }
        // Looked up twice, since a borrow that is given away would last for all of it.
        self.places
            .get_mut(at as usize)
            .map(|chained| &mut chained.place)
    }

    /// A place for an exchange that has none; `None` where there are as many as
    /// places have numbers.
    fn add(&mut self, id: u32) -> Option<&mut Chained> {
        if self.vacant == NONE {
            self.grow();
        }
        let chain = self.chain(id);
        let first = self.chains.get_mut(chain)?;
        let chained = self.places.get_mut(self.vacant as usize)?;
        self.used += 1;
        let next = mem::replace(&mut chained.next, *first);
        *first = mem::replace(&mut self.vacant, next);
        Some(chained)
    }

    fn remove(&mut self, id: u32) -> Option<Place> {
        let chain = self.chain(id);
        let first = self.chains.get_mut(chain)?;
        let mut before = NONE;
        let mut at = *first;
        loop {
            let chained = self.places.get(at as usize)?;
            if chained.place.id == id {
                break;
            }
            before = at;
            at = chained.next;
        }
        let chained = self.places.get_mut(at as usize)?;
        let next = mem::replace(&mut chained.next, self.vacant);
        let place = mem::replace(&mut chained.place, Place::VACANT);
        self.vacant = at;
        self.used -= 1;
        if before == NONE {
            *first = next;
        } else {
            self.places.get_mut(before as usize)?.next = next;
        }
        Some(place)
    }

    fn chain(&self, id: u32) -> usize {
        id as usize & self.chains.len().wrapping_sub(1)
    }

    /// Twice as many places and chains.
    fn grow(&mut self) {
        let before = self.places.len();
        let size = (2 * before).max(SMALLEST);
        let Ok(last) = u32::try_from(size) else {
            return;
        };
        self.chains = vec![NONE; size];
        // None of the places of before is vacant.
        for at in 0..u32::try_from(before).unwrap_or(NONE) {
            let id = self
                .places
                .get(at as usize)
                .map_or(0, |chained| chained.place.id);
            let chain = self.chain(id);
            if let (Some(chained), Some(first)) =
                (self.places.get_mut(at as usize), self.chains.get_mut(chain))
            {
                chained.next = mem::replace(first, at);
            }
        }
        self.places.reserve_exact(size - before);
        for next in u32::try_from(before + 1).unwrap_or(last)..=last {
            let next = if next == last { NONE } else { next };
            self.places.push(Chained {
                place: Place::VACANT,
                next,
            });
        }
        self.vacant = u32::try_from(before).unwrap_or(NONE);
    }
}
