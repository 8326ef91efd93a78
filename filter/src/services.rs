//! The counts of roots and their exchanges, by numbers that stay small.

use gatemeter_core::recorder::Recorder;

use crate::list::List;

/// How many are found without a look at how many there are, and 0: more than a VM
/// has plugin configurations, most often.
const FEW: usize = 8;

/// The counts of a root and its exchanges.
pub(crate) struct Service {
    pub(crate) recorder: Recorder,
    /// How many count here: exchanges, and a root.
    pub(crate) users: usize,
}

/// Services by number.
pub(crate) struct Services {
    /// `None` where the last one that counted there has gone, and at 0, so that no
    /// number is 0.
    few: [Option<Box<Service>>; FEW],
    /// Those with the numbers behind.
    more: List<Option<Box<Service>>>,
}

impl Services {
    pub(crate) const fn new() -> Self {
        Self {
            few: [const { None }; FEW],
            more: List::new(),
        }
    }

    /// The service with this number.
    #[inline]
    pub(crate) fn get(&mut self, number: usize) -> Option<&mut Service> {
        match self.few.get_mut(number) {
            Some(service) => service.as_deref_mut(),
            None => behind(&mut self.more, number - FEW),
        }
    }

    /// A service that a root counts for, by its number.
    pub(crate) fn add(&mut self, recorder: Recorder) -> usize {
        let service = Some(Box::new(Service { recorder, users: 1 }));
        let all = self.few.iter_mut().chain(&mut *self.more);
        let mut vacant = all.enumerate().skip(1).filter(|(_, place)| place.is_none());
        if let Some((number, place)) = vacant.next() {
            *place = service;
            return number;
        }
        self.more.change(|more| {
            more.push(service);
            FEW + more.len() - 1
        })
    }

    /// Nobody counts there any more.
    #[cold]
    pub(crate) fn remove(&mut self, number: usize) {
        let mut all = self.few.iter_mut().chain(&mut *self.more);
        if let Some(service) = all.nth(number) {
            *service = None;
        }
    }
}

#[cold]
fn behind(more: &mut List<Option<Box<Service>>>, at: usize) -> Option<&mut Service> {
    more.get_mut(at)?.as_deref_mut()
}
