//! One read at a time for all callers, each as fresh as its caller.
//!
//! A caller that arrives while a read runs joins the next one, not this one: no
//! page shows numbers from before the scrape began. So any number of callers at
//! once cost at most two reads. A read goes on until the last of its callers has
//! no time left, and is given up when all of them have left.
//!
//! Failures are counted once a read, however many callers it had.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep_until, timeout_at},
};

use crate::rendered::Rendered;

/// What is read, and how.
pub(crate) trait Read: Send + 'static {
    /// What a read gives; cheap to clone.
    type Value: Clone + Send + 'static;
    /// Why there is none.
    type Error: Failure;

    /// One read; dropped where nobody waits for it any more.
    fn read(&mut self) -> impl Future<Output = Result<Self::Value, Self::Error>> + Send;

    /// Notes how a read ended that somebody waited for.
    fn note(&mut self, result: Result<(), &Self::Error>);
}

/// Failures that are not the read's own.
pub(crate) trait Failure: Clone + Send + 'static {
    /// An earlier read took the time that the caller had.
    const BUSY: Self;
    /// The bridge is ending.
    const SHUTTING_DOWN: Self;
    /// Not done at the deadline.
    const TIMEOUT: Self;
}

/// What a caller gets.
#[derive(Clone, Debug)]
pub(crate) struct Outcome<V, E> {
    pub(crate) value: Result<V, E>,
    /// How long the read took.
    pub(crate) took: Duration,
    /// What was made of it for its callers.
    pub(crate) rendered: Arc<Rendered>,
}

impl<V, E> Outcome<V, E> {
    fn new(value: Result<V, E>, took: Duration) -> Self {
        Self {
            value,
            took,
            rendered: Arc::default(),
        }
    }
}

/// Hands out reads; clones share them.
pub(crate) struct SingleFlight<V, E> {
    asks: mpsc::Sender<Ask<V, E>>,
    count: Count<E>,
}

/// Counts a failure.
type Count<E> = Arc<dyn Fn(&E) + Send + Sync>;

impl<V, E> Clone for SingleFlight<V, E> {
    fn clone(&self) -> Self {
        Self {
            asks: self.asks.clone(),
            count: Arc::clone(&self.count),
        }
    }
}

impl<V, E> fmt::Debug for SingleFlight<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").finish_non_exhaustive()
    }
}

struct Ask<V, E> {
    deadline: Instant,
    /// Whether a read for it has begun.
    is_taken: Arc<AtomicBool>,
    reply: oneshot::Sender<Outcome<V, E>>,
}

impl<V, E> Ask<V, E> {
    fn answer(self, outcome: Outcome<V, E>) {
        // A caller that has left needs no answer.
        let _ = self.reply.send(outcome);
    }
}

impl<V: Clone + Send + 'static, E: Failure> SingleFlight<V, E> {
    /// Starts the task that reads; it ends when the last clone is dropped.
    /// `count` is called once for each read that failed.
    pub(crate) fn spawn<R>(reader: R, count: impl Fn(&E) + Send + Sync + 'static) -> Self
    where
        R: Read<Value = V, Error = E>,
    {
        let (sender, asks) = mpsc::channel(MAX_WAITING);
        let count: Count<E> = Arc::new(count);
        tokio::spawn(run(reader, asks, Arc::clone(&count)));
        Self {
            asks: sender,
            count,
        }
    }

    /// A read that begins after this call, done before `deadline`.
    pub(crate) async fn read(&self, deadline: Instant) -> Outcome<V, E> {
        let start = Instant::now();
        let (reply, outcome) = oneshot::channel();
        let is_taken = Arc::<AtomicBool>::default();
        let ask = Ask {
            deadline,
            is_taken: Arc::clone(&is_taken),
            reply,
        };
        let mut answer = pin!(async {
            let sent = self.asks.send(ask).await;
            sent.map_err(|_| E::SHUTTING_DOWN)?;
            outcome.await.map_err(|_| E::SHUTTING_DOWN)
        });
        let in_time = match timeout_at((deadline + GRACE).into(), answer.as_mut()).await {
            Ok(answer) => answer,
            // The reader keeps the deadline of every caller of a read, and is
            // about to say so.
            Err(_) if is_taken.load(Ordering::Relaxed) => answer.await,
            Err(_) => Err(E::BUSY),
        };
        let error = match in_time {
            Ok(outcome) => return outcome,
            Err(error) => error,
        };
        (self.count)(&error);
        Outcome::new(Err(error), start.elapsed())
    }
}

/// Callers that may wait for a read; more wait in line behind them.
const MAX_WAITING: usize = 1024;

const GRACE: Duration = Duration::from_millis(20);

async fn run<R: Read>(
    mut reader: R,
    mut asks: mpsc::Receiver<Ask<R::Value, R::Error>>,
    count: Count<R::Error>,
) {
    while let Some(ask) = asks.recv().await {
        let mut callers = vec![ask];
        while let Ok(ask) = asks.try_recv() {
            callers.push(ask);
        }
        callers.retain(|caller| !caller.reply.is_closed());
        for caller in &callers {
            caller.is_taken.store(true, Ordering::Relaxed);
        }
        if !callers.is_empty() {
            answer(&mut reader, callers, &count).await;
        }
    }
}

/// One read for all these callers.
async fn answer<R: Read>(
    reader: &mut R,
    mut callers: Vec<Ask<R::Value, R::Error>>,
    count: &Count<R::Error>,
) {
    let start = Instant::now();
    let mut is_counted = false;
    let value = {
        let mut read = pin!(reader.read());
        loop {
            let Some(deadline) = callers.iter().map(|caller| caller.deadline).min() else {
                break Err(R::Error::TIMEOUT);
            };
            let all_have_left = async {
                for caller in &mut callers {
                    caller.reply.closed().await;
                }
            };
            tokio::select! {
                value = &mut read => break value,
                () = all_have_left => return,
                () = sleep_until(deadline.into()) => {}
            }
            callers.retain(|caller| !caller.reply.is_closed());
            for caller in callers.extract_if(.., |caller| caller.deadline <= deadline) {
                // Before the answer, whose page shows the count.
                if !is_counted {
                    count(&R::Error::TIMEOUT);
                    is_counted = true;
                }
                caller.answer(Outcome::new(Err(R::Error::TIMEOUT), start.elapsed()));
            }
        }
    };
    if let Err(error) = &value
        && !is_counted
    {
        count(error);
    }
    reader.note(value.as_ref().map(|_| ()));
    let outcome = Outcome::new(value, start.elapsed());
    for caller in callers {
        caller.answer(outcome.clone());
    }
}
