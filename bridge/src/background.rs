//! Work that takes milliseconds, off the thread that serves sockets.
//!
//! Readings and pages are large and live for a moment. One thread makes all of
//! them, one after the other: an allocator keeps for each thread the room of the
//! largest that it ever made, so on several threads a bridge would hold several
//! pages that nobody reads. What waits for something else (a file, a password
//! that is slow to check on purpose) goes to the runtime's threads and keeps no
//! page waiting.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{LazyLock, mpsc},
    thread,
};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The thread that makes readings and pages; none where the system has no thread
/// to give.
static MAKER: LazyLock<Option<mpsc::Sender<Job>>> = LazyLock::new(|| {
    let (jobs, asked) = mpsc::channel::<Job>();
    let run = move || asked.into_iter().for_each(|job| job());
    let maker = thread::Builder::new().name("maker".to_owned()).spawn(run);
    maker.is_ok().then_some(jobs)
});

/// Begins what makes or takes apart a reading or a page: at once if nothing else
/// of this kind is being done, also where nobody waits for the result. It is an
/// error where it panicked.
pub(crate) fn make<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = thread::Result<T>> {
    let (done, result) = oneshot::channel();
    let job: Job = Box::new(move || {
        // Nothing that `work` has taken is seen again after a panic.
        let result = catch_unwind(AssertUnwindSafe(work));
        // Whoever asked may have left.
        let _ = done.send(result);
    });
    let refused = match &*MAKER {
        Some(maker) => maker.send(job).err().map(|refused| refused.0),
        None => Some(job),
    };
    if let Some(job) = refused {
        tokio::task::spawn_blocking(job);
    }
    async {
        match result.await {
            Ok(result) => result,
            // The end of the runtime.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Does what waits or takes its time, on a thread of the runtime.
pub(crate) async fn wait<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Only a panic in `work` or the end of the runtime lead here.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn makes_one_after_the_other_in_the_order_in_which_they_begin() {
        let order = Arc::<Mutex<Vec<_>>>::default();
        let begin = |number| {
            let order = Arc::clone(&order);
            make(move || {
                order.lock().unwrap().push(number);
                thread::current().id()
            })
        };
        // Nobody waits for the first.
        drop(begin(1));
        let (second, third) = (begin(2), begin(3));
        let third = third.await.unwrap();
        assert_eq!(second.await.unwrap(), third);
        assert_ne!(third, thread::current().id());
        assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_panic_is_its_callers_and_the_next_work_is_done() {
        let panicked = make(|| -> u8 { panic!("on purpose") }).await;
        assert!(panicked.is_err());
        assert_eq!(make(|| 7).await.unwrap(), 7);
    }
}
