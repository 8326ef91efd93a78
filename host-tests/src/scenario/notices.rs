//! Callbacks, and the notices of queues that they lead to: Envoy posts such a
//! notice to a thread, so it comes when the callback has returned, also to the
//! virtual machines of another proxy of the process.

use std::cell::RefCell;
use std::rc::Rc;

use super::proxy::Proxy;
use crate::host::queues::{Delivery, Door, Notice};
use crate::host::vm::{Trap, Vm};

/// So many rounds of notices that lead to notices are no accident.
const ROUNDS: u32 = 10_000;

/// Runs callbacks in a machine, and delivers the notices that they led to.
#[track_caller]
pub(super) fn run(
    proxy: &Rc<RefCell<Proxy>>,
    thread: usize,
    machine: u32,
    callbacks: impl FnOnce(&mut Vm) -> Result<(), Trap>,
) {
    {
        let proxy = &mut *proxy.borrow_mut();
        let outcome = callbacks(proxy.threads[thread].machine(machine));
        proxy.settle(outcome);
    }
    deliver(proxy);
}

/// Delivers the notices of all queues of the process, until none is left. One
/// for a proxy that is in the middle of a callback waits for its end.
///
/// # Panics
///
/// If the modules keep each other busy for ever, and on a trap.
#[track_caller]
pub(super) fn deliver(proxy: &Rc<RefCell<Proxy>>) {
    let process = Rc::clone(&proxy.borrow().process);
    for _ in 0..ROUNDS {
        let (notices, doors) = process.borrow_mut().queues.take_notices();
        let mut any = false;
        for notice in notices {
            let deliveries = doors.iter().map(|Door(door)| door(notice));
            match deliveries.max() {
                Some(Delivery::Done) => any = true,
                Some(Delivery::Busy) => process.borrow_mut().queues.put_back(notice),
                // Whom it is for is gone.
                Some(Delivery::Elsewhere) | None => {}
            }
        }
        if !any {
            return;
        }
    }
    panic!("the modules keep each other busy: {ROUNDS} rounds of notices and no end");
}

/// Lets the notices of the process come in.
pub(super) fn open_door(proxy: &Rc<RefCell<Proxy>>) {
    let weak = Rc::downgrade(proxy);
    let door = Door(Rc::new(move |notice| {
        let proxy = weak.upgrade();
        proxy.map_or(Delivery::Elsewhere, |proxy| notify(&proxy, notice))
    }));
    let proxy = proxy.borrow();
    proxy.process.borrow_mut().queues.open(door);
}

fn notify(proxy: &RefCell<Proxy>, notice: Notice) -> Delivery {
    let Ok(mut proxy) = proxy.try_borrow_mut() else {
        return Delivery::Busy;
    };
    let mut threads = proxy.threads.iter_mut();
    let thread = threads.find(|thread| thread.vm.state().serial == notice.vm);
    let Some(thread) = thread else {
        return Delivery::Elsewhere;
    };
    let told = thread.vm.queue_ready(notice.root, notice.queue);
    proxy.settle(told);
    Delivery::Done
}
