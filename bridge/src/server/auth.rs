//! Basic authentication (RFC 7617) against bcrypt hashes.
//!
//! A check costs tens of milliseconds by design, so:
//! - What was found is remembered, for a bounded number of credentials: a
//!   scrape pays once. Good and bad ones are kept apart, so that no flood of
//!   bad ones pushes a good one out.
//! - Checks run one after the other on a thread of their own kind, never on
//!   those that serve sockets: a flood takes at most one core.
//! - One address has at most four checks waiting, all together at most 64; the
//!   next is answered 429 at once. So who floods waits for itself, and a
//!   scraper at another address is not kept out.
//! - An unknown user costs the check of a known one, and comparing takes as
//!   long whatever differs.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use ring::{hmac, rand::SystemRandom};
use tokio::sync::Semaphore;

use crate::{background, web_file::PasswordHash};

/// Whether a request may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allowed,
    /// It names no user, or the password is another.
    Denied,
    /// Too many checks are waiting.
    TooMany,
}

/// Who may ask. Clones share what was found.
#[derive(Clone, Debug)]
pub struct Auth {
    users: Arc<BTreeMap<String, PasswordHash>>,
    checks: Arc<Checks>,
}

/// Checks that are running and what earlier ones found; outlives a change of
/// the users, whose hashes are part of what it remembers.
pub struct Checks {
    /// Of this process, so that the digests below are of use to nobody.
    key: hmac::Key,
    users_seed: RandomState,
    turn: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    good: Remembered,
    bad: Remembered,
    waiting: HashMap<IpAddr, usize>,
}

impl Auth {
    /// Lets `users` in; everybody where there are none.
    pub fn new(users: BTreeMap<String, PasswordHash>, checks: Arc<Checks>) -> Self {
        Self {
            users: Arc::new(users),
            checks,
        }
    }

    /// Whether a request with these headers, which came from `peer`, may be
    /// answered.
    pub async fn verdict(&self, headers: &HeaderMap, peer: IpAddr) -> Verdict {
        if self.users.is_empty() {
            return Verdict::Allowed;
        }
        let Some((user, password)) = credentials(headers) else {
            return Verdict::Denied;
        };
        let known = self.users.get(&user);
        let Some(hash) = known.or_else(|| self.stand_in(&user)).cloned() else {
            return Verdict::Denied;
        };
        let digest = self.checks.digest(&[
            user.as_bytes(),
            hash.as_str().as_bytes(),
            password.as_bytes(),
        ]);
        if let Some(verdict) = self.checks.remembered(&digest) {
            return verdict;
        }
        let Some(place) = Waiting::begin(&self.checks, peer) else {
            return Verdict::TooMany;
        };
        let Ok(turn) = Arc::clone(&self.checks.turn).acquire_owned().await else {
            return Verdict::TooMany;
        };
        // Another request with the same may have been first.
        if let Some(verdict) = self.checks.remembered(&digest) {
            return verdict;
        }
        let is_known = known.is_some();
        // Turn and place go along: a check goes on when its client has left.
        background::wait(move || {
            let is_same = bcrypt::verify(password, hash.as_str()).unwrap_or(false);
            let verdict = place.checks.remember(digest, is_same && is_known);
            drop((place, turn));
            verdict
        })
        .await
    }

    /// The hash that an unknown user is checked against: always the same one,
    /// so that its cost tells nothing.
    fn stand_in(&self, user: &str) -> Option<&PasswordHash> {
        let number = self.checks.users_seed.hash_one(user);
        let users = u64::try_from(self.users.len()).ok()?;
        let at = usize::try_from(number.checked_rem(users)?).ok()?;
        self.users.values().nth(at)
    }
}

/// RFC 7617 §2. One header only: which of two counts would be a guess.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

type Digest = [u8; 32];

impl Checks {
    /// Nothing found yet.
    ///
    /// # Errors
    /// Where the system gives no random numbers.
    pub fn new() -> Result<Self, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self {
            key,
            users_seed: RandomState::new(),
            turn: Arc::new(Semaphore::new(1)),
            state: Mutex::default(),
        })
    }

    fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    fn remembered(&self, digest: &Digest) -> Option<Verdict> {
        let state = self.state();
        if state.good.0.contains(digest) {
            return Some(Verdict::Allowed);
        }
        state.bad.0.contains(digest).then_some(Verdict::Denied)
    }

    fn remember(&self, digest: Digest, is_good: bool) -> Verdict {
        let mut state = self.state();
        if is_good {
            state.good.add(digest);
            return Verdict::Allowed;
        }
        state.bad.add(digest);
        Verdict::Denied
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checks").finish_non_exhaustive()
    }
}

/// The last credentials of one kind, oldest first.
#[derive(Default)]
struct Remembered(std::collections::VecDeque<Digest>);

impl Remembered {
    fn add(&mut self, digest: Digest) {
        if self.0.len() >= MOST_REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(digest);
    }
}

const MOST_REMEMBERED: usize = 128;

/// A check that waits or runs, counted until it is dropped.
struct Waiting {
    checks: Arc<Checks>,
    peer: IpAddr,
}

impl Waiting {
    fn begin(checks: &Arc<Checks>, peer: IpAddr) -> Option<Self> {
        let waiting = &mut checks.state().waiting;
        let all: usize = waiting.values().sum();
        let of_peer = waiting.get(&peer).copied().unwrap_or(0);
        if of_peer >= MOST_OF_ONE_PEER || all >= MOST_WAITING {
            return None;
        }
        waiting.insert(peer, of_peer + 1);
        Some(Self {
            checks: Arc::clone(checks),
            peer,
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let waiting = &mut self.checks.state().waiting;
        if let Some(of_peer) = waiting.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                waiting.remove(&self.peer);
            }
        }
    }
}

const MOST_OF_ONE_PEER: usize = 4;

const MOST_WAITING: usize = 64;

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        time::{Duration, Instant},
    };

    use http::HeaderValue;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn users(all: &[(&str, &str, u32)]) -> BTreeMap<String, PasswordHash> {
        all.iter()
            .map(|&(user, password, cost)| {
                let hash = bcrypt::hash(password, cost).unwrap();
                (user.to_owned(), PasswordHash::for_tests(hash))
            })
            .collect()
    }

    fn auth(all: &[(&str, &str, u32)]) -> Auth {
        Auth::new(users(all), Arc::new(Checks::new().unwrap()))
    }

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        headers
    }

    fn basic(user: &str, password: &str) -> HeaderMap {
        with(&format!(
            "Basic {}",
            STANDARD.encode(format!("{user}:{password}"))
        ))
    }

    #[tokio::test]
    async fn lets_in_who_knows_the_password_and_nobody_else() {
        let auth = auth(&[("prometheus", "pa:ss", 4), ("ops", "other", 4), ("", "", 4)]);
        for _ in 0..2 {
            for (headers, expected) in [
                (basic("prometheus", "pa:ss"), Verdict::Allowed),
                (basic("ops", "other"), Verdict::Allowed),
                (basic("", ""), Verdict::Allowed),
                (basic("prometheus", "pa:sS"), Verdict::Denied),
                (basic("prometheus", "other"), Verdict::Denied),
                (basic("prometheus", ""), Verdict::Denied),
                (basic("Prometheus", "pa:ss"), Verdict::Denied),
                (basic("nobody", "other"), Verdict::Denied),
                (with("bAsIc OnA6"), Verdict::Denied),
                (with("Basic"), Verdict::Denied),
                (with("Basic !"), Verdict::Denied),
                (with("Basic YQ=="), Verdict::Denied),
                (with("Bearer cHJvbWV0aGV1czpwYTpzcw=="), Verdict::Denied),
                (HeaderMap::new(), Verdict::Denied),
            ] {
                assert_eq!(auth.verdict(&headers, PEER).await, expected, "{headers:?}");
            }
        }
        let mut twice = basic("ops", "other");
        twice.append(header::AUTHORIZATION, twice[header::AUTHORIZATION].clone());
        assert_eq!(auth.verdict(&twice, PEER).await, Verdict::Denied);
    }

    #[tokio::test]
    async fn an_unknown_user_is_checked_and_denied_with_the_password_of_its_stand_in() {
        let auth = auth(&[("only", "word", 4)]);
        let verdict = auth.verdict(&basic("nobody", "word"), PEER).await;
        assert_eq!(verdict, Verdict::Denied);
        assert_eq!(auth.checks.state().bad.0.len(), 1);
    }

    #[tokio::test]
    async fn takes_a_hash_that_another_program_made() {
        // Of golang.org/x/crypto/bcrypt, in prometheus/exporter-toolkit.
        let hash = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
        let hash = PasswordHash::for_tests(hash.to_owned());
        let users = BTreeMap::from([("a".to_owned(), hash)]);
        let auth = Auth::new(users, Arc::new(Checks::new().unwrap()));
        for (password, expected) in [
            ("fakepassword", Verdict::Allowed),
            ("fakepasswort", Verdict::Denied),
        ] {
            let verdict = auth.verdict(&basic("a", password), PEER).await;
            assert_eq!(verdict, expected);
        }
    }

    #[tokio::test]
    async fn what_was_found_is_remembered_and_bad_ones_push_no_good_one_out() {
        let auth = auth(&[("ops", "word", 4)]);
        auth.verdict(&basic("ops", "word"), PEER).await;
        for number in 0..MOST_REMEMBERED * 2 {
            let wrong = basic("ops", &format!("wrong {number}"));
            assert_eq!(auth.verdict(&wrong, PEER).await, Verdict::Denied);
        }
        {
            let state = auth.checks.state();
            assert_eq!(state.bad.0.len(), MOST_REMEMBERED);
            assert_eq!(state.good.0.len(), 1);
        }
        // No check can run any more; what is remembered needs none.
        auth.checks.turn.close();
        let word = auth.verdict(&basic("ops", "word"), PEER).await;
        assert_eq!(word, Verdict::Allowed);
        // Other users of the same name have another hash.
        let other = Auth::new(users(&[("ops", "new", 4)]), Arc::clone(&auth.checks));
        let word = other.verdict(&basic("ops", "word"), PEER).await;
        assert_eq!(word, Verdict::TooMany);
    }

    #[tokio::test]
    async fn a_flood_of_one_address_waits_for_itself_only() {
        let auth = auth(&[("ops", "word", 4)]);
        let turn = auth.checks.turn.acquire().await.unwrap();
        let flood: Vec<_> = (0..100)
            .map(|number| {
                let auth = auth.clone();
                let headers = basic("ops", &format!("wrong {number}"));
                tokio::spawn(async move { auth.verdict(&headers, PEER).await })
            })
            .collect();
        let count = |state: &State| state.waiting.values().sum::<usize>();
        let start = Instant::now();
        while count(&auth.checks.state()) < MOST_OF_ONE_PEER {
            assert!(start.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        }
        let scraper = {
            let auth = auth.clone();
            let elsewhere = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
            tokio::spawn(async move { auth.verdict(&basic("ops", "word"), elsewhere).await })
        };
        while count(&auth.checks.state()) < MOST_OF_ONE_PEER + 1 {
            assert!(start.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        }
        drop(turn);
        assert_eq!(scraper.await.unwrap(), Verdict::Allowed);
        let mut verdicts = Vec::new();
        for one in flood {
            verdicts.push(one.await.unwrap());
        }
        let denied = verdicts.iter().filter(|v| **v == Verdict::Denied).count();
        let too_many = verdicts.iter().filter(|v| **v == Verdict::TooMany).count();
        assert_eq!((denied, too_many), (MOST_OF_ONE_PEER, 96));
        assert_eq!(count(&auth.checks.state()), 0);
    }
}
