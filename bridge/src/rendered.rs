//! Pages and their codings, made once for all callers of the same reads.
//!
//! Whatever a read gives carries a [`Rendered`]. The first caller who asks it
//! for a page makes that page, the others wait for it. It holds what it made as
//! long as a caller of that read has not been answered, and no longer.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::{background, exposition::Format, negotiate::Coding};

/// What was made of one read.
#[derive(Debug, Default)]
pub struct Rendered {
    bodies: Mutex<Vec<Body>>,
}

/// Which page of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// What it shows of the reads.
    pub kind: Kind,
    /// How it is spelled.
    pub format: Format,
}

/// What a page shows of the reads that it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All, with what concerns the operator.
    All,
    /// What concerns one service.
    Service(String),
    /// One Envoy, with what concerns its operator.
    Target,
}

#[derive(Debug)]
struct Body {
    name: Name,
    coding: Coding,
    /// The other reads that it is made of, in their order.
    others: Vec<Weak<Rendered>>,
    pieces: Arc<OnceCell<Pieces>>,
}

/// A body, in pieces that are shared.
pub type Pieces = Arc<[Bytes]>;

/// A page that is there.
#[derive(Debug)]
pub struct Page {
    text: Pieces,
    name: Name,
    read: Arc<Rendered>,
    others: Vec<Weak<Rendered>>,
}

impl Rendered {
    /// The page of this name, made of this read and of `others`, by `make` if
    /// nobody else has or does.
    pub async fn page<P: AsRef<[u8]> + Send + 'static>(
        self: &Arc<Self>,
        others: &[Arc<Self>],
        name: Name,
        make: impl FnOnce() -> Vec<P> + Send + 'static,
    ) -> Page {
        let others: Vec<Weak<Self>> = others.iter().map(Arc::downgrade).collect();
        let pieces = self.body(&name, Coding::Identity, &others);
        let make = move || make().into_iter().map(Bytes::from_owner).collect();
        let text = pieces.get_or_init(async || made(make).await).await.clone();
        Page {
            text,
            name,
            read: Arc::clone(self),
            others,
        }
    }

    /// Where the body is or will be.
    fn body(&self, name: &Name, coding: Coding, others: &[Weak<Self>]) -> Arc<OnceCell<Pieces>> {
        // No code between lock and unlock can leave the list half changed.
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let known = bodies.iter().find(|body| {
            let mut pairs = body.others.iter().zip(others);
            body.name == *name
                && body.coding == coding
                && body.others.len() == others.len()
                && pairs.all(|(a, b)| a.ptr_eq(b))
        });
        if let Some(body) = known {
            return Arc::clone(&body.pieces);
        }
        let pieces = Arc::default();
        bodies.push(Body {
            name: name.clone(),
            coding,
            others: others.to_vec(),
            pieces: Arc::clone(&pieces),
        });
        pieces
    }
}

impl Page {
    /// The page in a coding, by `code` if nobody else has made it or does.
    pub async fn coded(self, coding: Coding, code: fn(Coding, &[Bytes]) -> Bytes) -> Pieces {
        if coding == Coding::Identity {
            return self.text;
        }
        let pieces = self.read.body(&self.name, coding, &self.others);
        let text = self.text;
        pieces
            .get_or_init(async || made(move || Pieces::from([code(coding, &text)])).await)
            .await
            .clone()
    }
}

/// A panic ends the requests that asked for the page, and no others.
async fn made(work: impl FnOnce() -> Pieces + Send + 'static) -> Pieces {
    let made = background::make(work).await;
    made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const NAME: Name = Name {
        kind: Kind::All,
        format: Format::Text,
    };

    static CODED: AtomicUsize = AtomicUsize::new(0);

    fn reversed(_: Coding, text: &[Bytes]) -> Bytes {
        CODED.fetch_add(1, Ordering::SeqCst);
        text.concat().into_iter().rev().collect()
    }

    #[tokio::test]
    async fn many_callers_of_a_read_cost_one_page_and_one_coding_of_it() {
        let read: Arc<Rendered> = Arc::default();
        let made = Arc::new(AtomicUsize::new(0));
        let callers = (0..100).map(|_| {
            let (read, made) = (Arc::clone(&read), Arc::clone(&made));
            tokio::spawn(async move {
                let make = move || {
                    made.fetch_add(1, Ordering::SeqCst);
                    vec!["a".to_owned(), "b".to_owned()]
                };
                let page = read.page(&[], NAME, make).await;
                assert_eq!(page.text.concat(), b"ab");
                page.coded(Coding::Gzip, reversed).await
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            assert_eq!(caller.await.unwrap().concat(), b"ba");
        }
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert_eq!(CODED.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn another_name_or_another_read_is_another_page() {
        let [first, second]: [Arc<Rendered>; 2] = Default::default();
        let others = [Arc::default(), Arc::default()];
        let make = |text: &str| {
            let text = text.to_owned();
            move || vec![text]
        };
        let openmetrics = Name {
            format: Format::OpenMetrics,
            ..NAME
        };
        let of_service = Name {
            kind: Kind::Service("api".to_owned()),
            ..NAME
        };
        let page = async |read: &Arc<Rendered>, others: &[Arc<Rendered>], name: &Name, text| {
            let page = read.page(others, name.clone(), make(text)).await;
            let pieces = page.coded(Coding::Identity, reversed).await;
            String::from_utf8(pieces.concat()).unwrap()
        };
        assert_eq!(page(&first, &[], &NAME, "1").await, "1");
        assert_eq!(page(&first, &[], &openmetrics, "2").await, "2");
        assert_eq!(page(&first, &[], &of_service, "3").await, "3");
        assert_eq!(page(&first, &others[..1], &NAME, "4").await, "4");
        assert_eq!(page(&first, &others[1..], &NAME, "5").await, "5");
        assert_eq!(page(&first, &others, &NAME, "6").await, "6");
        assert_eq!(page(&second, &[], &NAME, "7").await, "7");
        assert_eq!(page(&first, &others, &NAME, "8").await, "6");
        assert_eq!(page(&first, &[], &of_service, "9").await, "3");
    }
}
