//! Queues that virtual machines share: a queue has a name under a virtual
//! machine id, values in their order, and one root context that is told when a
//! value comes in: the one that registered the queue last (proxy-wasm-cpp-host,
//! `src/shared_queue.cc`). So of the threads of a proxy one is told, and the
//! others are not.
//!
//! Envoy posts that notice to the thread of the context; here it waits in
//! [`Queues`] until the callback that enqueued has returned.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use super::state::VmState;
use crate::abi::Status;

/// A value came into a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// The serial number of the virtual machine that is told.
    pub vm: u64,
    /// The root context in it.
    pub root: u32,
    /// The queue.
    pub queue: u32,
}

/// What became of a notice at one proxy, in the order of what counts if there
/// are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// The virtual machine is not in this proxy.
    Elsewhere,
    /// The proxy runs a callback now.
    Busy,
    /// The virtual machine is there; whether the context still is, is all the
    /// same to the notice.
    Done,
}

/// The way to the virtual machines of one proxy.
#[derive(Clone)]
pub struct Door(pub Rc<dyn Fn(Notice) -> Delivery>);

impl fmt::Debug for Door {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Door").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Queue {
    vm_id: Vec<u8>,
    name: Vec<u8>,
    values: VecDeque<Vec<u8>>,
    /// The virtual machine and root that are told.
    listener: (u64, u32),
}

/// All queues of a process, and the notices that wait.
#[derive(Debug, Default)]
pub struct Queues {
    queues: Vec<Queue>,
    notices: Vec<Notice>,
    doors: Vec<Door>,
}

impl Queues {
    /// The id of the queue `name`, which exists from now on with what is in it,
    /// and tells `root` of the virtual machine `vm`.
    pub fn register(&mut self, vm_id: &[u8], name: &[u8], vm: u64, root: u32) -> u32 {
        let id = self.resolve(vm_id, name).unwrap_or_else(|_| {
            self.queues.push(Queue {
                vm_id: vm_id.to_vec(),
                name: name.to_vec(),
                values: VecDeque::new(),
                listener: (vm, root),
            });
            u32::try_from(self.queues.len()).unwrap_or(u32::MAX)
        });
        if let Ok(queue) = self.queue(id) {
            queue.listener = (vm, root);
        }
        id
    }

    /// The id of the queue `name`.
    ///
    /// # Errors
    ///
    /// [`Status::NOT_FOUND`] if nobody registered it.
    pub fn resolve(&self, vm_id: &[u8], name: &[u8]) -> Result<u32, Status> {
        let index = self
            .queues
            .iter()
            .position(|queue| queue.vm_id == vm_id && queue.name == name)
            .ok_or(Status::NOT_FOUND)?;
        u32::try_from(index + 1).map_err(|_| Status::NOT_FOUND)
    }

    /// Puts `value` behind the others, with a notice.
    ///
    /// # Errors
    ///
    /// [`Status::NOT_FOUND`] if there is no such queue.
    pub fn enqueue(&mut self, id: u32, value: &[u8]) -> Result<(), Status> {
        let queue = self.queue(id)?;
        queue.values.push_back(value.to_vec());
        let (vm, root) = queue.listener;
        let queue = id;
        self.notices.push(Notice { vm, root, queue });
        Ok(())
    }

    /// Takes the first value out.
    ///
    /// # Errors
    ///
    /// [`Status::NOT_FOUND`] if there is no such queue, [`Status::EMPTY`] if
    /// nothing is in it.
    pub fn dequeue(&mut self, id: u32) -> Result<Vec<u8>, Status> {
        self.queue(id)?.values.pop_front().ok_or(Status::EMPTY)
    }

    /// Adds the way to a proxy of this process.
    pub fn open(&mut self, door: Door) {
        self.doors.push(door);
    }

    /// The notices that wait, and the ways to where they may go.
    pub fn take_notices(&mut self) -> (Vec<Notice>, Vec<Door>) {
        if self.notices.is_empty() {
            return (Vec::new(), Vec::new());
        }
        (std::mem::take(&mut self.notices), self.doors.clone())
    }

    /// Puts a notice back for whoever is busy now.
    pub fn put_back(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    fn queue(&mut self, id: u32) -> Result<&mut Queue, Status> {
        let index = usize::try_from(id).unwrap_or_default().wrapping_sub(1);
        self.queues.get_mut(index).ok_or(Status::NOT_FOUND)
    }
}

impl VmState {
    /// Registers the queue `name` for the root of the present context.
    pub fn register_own_queue(&mut self, name: &[u8]) -> u32 {
        let root = self.root();
        let vm_id = self.settings.vm_id.as_bytes();
        let queues = &mut self.process.borrow_mut().queues;
        queues.register(vm_id, name, self.serial, root)
    }
}

#[cfg(test)]
mod tests {
    use super::{Notice, Queues};
    use crate::abi::Status;

    #[test]
    fn values_come_out_in_their_order_and_then_the_queue_is_empty() {
        let mut queues = Queues::default();
        let queue = queues.register(b"vm", b"name", 1, 1);
        assert_eq!(queues.enqueue(queue, b"one"), Ok(()));
        assert_eq!(queues.enqueue(queue, b"two"), Ok(()));
        assert_eq!(queues.dequeue(queue), Ok(b"one".to_vec()));
        assert_eq!(queues.dequeue(queue), Ok(b"two".to_vec()));
        assert_eq!(queues.dequeue(queue), Err(Status::EMPTY));
    }

    #[test]
    fn an_unknown_queue_is_not_found() {
        let mut queues = Queues::default();
        queues.register(b"vm", b"name", 1, 1);
        assert_eq!(queues.resolve(b"other", b"name"), Err(Status::NOT_FOUND));
        for id in [0, 2, u32::MAX] {
            assert_eq!(queues.enqueue(id, b""), Err(Status::NOT_FOUND));
            assert_eq!(queues.dequeue(id), Err(Status::NOT_FOUND));
        }
    }

    #[test]
    fn who_registers_last_is_told_and_what_is_inside_stays() {
        let mut queues = Queues::default();
        let queue = queues.register(b"vm", b"name", 1, 5);
        assert_eq!(queues.enqueue(queue, b"one"), Ok(()));
        assert_eq!(queues.register(b"vm", b"name", 2, 7), queue);
        assert_eq!(queues.enqueue(queue, b"two"), Ok(()));
        let notice = |vm, root| Notice { vm, root, queue };
        assert_eq!(queues.take_notices().0, [notice(1, 5), notice(2, 7)]);
        assert_eq!(queues.dequeue(queue), Ok(b"one".to_vec()));
    }
}
