//! The cache that all services share: Redis where one is named, else a map in this process.
//!
//! A lookup always says what it did, as a member of `Cache-Status` (RFC 9211 §2)
//! whose name is the kind of cache that was really asked, `redis` or `memory`. A
//! Redis that does not answer is a miss with a `detail` (§2.8); the service goes
//! on without it.
//!
//! Keys carry the identity of the database whose rows they hold, so entries
//! outlive neither a throw-away database nor mix with another one's.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gatemeter_signals::Signals;
use redis::AsyncCommands;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

/// How long Redis may take to connect and to answer before the service goes on without it.
const REDIS_PATIENCE: Duration = Duration::from_millis(500);

/// The most entries the map holds; a full map stores nothing new until something expires.
const MEMORY_ENTRIES: usize = 10_000;

/// A cache of JSON texts by key, each kept for the same time.
pub(crate) struct Cache {
    store: Store,
    prefix: String,
    ttl: Duration,
}

enum Store {
    Redis(ConnectionManager),
    Memory(Mutex<HashMap<String, Entry>>),
}

struct Entry {
    value: String,
    expires: Instant,
}

impl Cache {
    /// Connects to Redis at `redis_url`, or opens an empty map.
    ///
    /// # Errors
    ///
    /// Where the URL is no Redis URL or nothing answers there.
    pub(crate) async fn connect(
        redis_url: Option<&str>,
        ttl: Duration,
        instance: &str,
    ) -> Result<Self, redis::RedisError> {
        let store = match redis_url {
            None => Store::Memory(Mutex::default()),
            Some(url) => {
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(REDIS_PATIENCE))
                    .set_response_timeout(Some(REDIS_PATIENCE))
                    .set_number_of_retries(1);
                let client = redis::Client::open(url)?;
                Store::Redis(client.get_connection_manager_with_config(config).await?)
            }
        };
        Ok(Self {
            store,
            prefix: format!("gatemeter-demo:{instance}:"),
            ttl,
        })
    }

    /// The name under which this cache speaks in `Cache-Status`.
    pub(crate) fn name(&self) -> &'static str {
        match self.store {
            Store::Redis(_) => "redis",
            Store::Memory(_) => "memory",
        }
    }

    /// The value under `key`; where there is none, what `load` finds, which is
    /// then kept. `None`: there is no such thing, in the database neither.
    ///
    /// # Errors
    ///
    /// Those of `load`; the cache itself never fails a request.
    pub(crate) async fn lookup<E, F>(
        &self,
        signals: &Signals,
        key: &str,
        load: impl FnOnce() -> F,
    ) -> Result<Option<String>, E>
    where
        F: Future<Output = Result<Option<String>, E>>,
    {
        let lookup = signals.cache(self.name());
        match self.get(key).await {
            Ok(Some(value)) => {
                lookup.hit();
                Ok(Some(value))
            }
            Ok(None) => {
                lookup.miss();
                let loaded = load().await?;
                if let Some(value) = &loaded {
                    self.put(key, value).await;
                }
                Ok(loaded)
            }
            Err(error) => {
                tracing::warn!(%error, "redis did not answer");
                lookup.detail("unavailable").miss();
                load().await
            }
        }
    }

    /// Forgets `keys`. Where Redis does not answer, they go when their time is up.
    pub(crate) async fn forget(&self, keys: &[&str]) {
        let keys: Vec<String> = keys.iter().map(|key| self.full_key(key)).collect();
        match &self.store {
            Store::Redis(manager) => {
                if let Err(error) = manager.clone().del::<_, ()>(keys).await {
                    tracing::warn!(%error, "redis did not forget");
                }
            }
            Store::Memory(map) => {
                let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
                for key in &keys {
                    map.remove(key);
                }
            }
        }
    }

    async fn get(&self, key: &str) -> Result<Option<String>, redis::RedisError> {
        let key = self.full_key(key);
        match &self.store {
            Store::Redis(manager) => manager.clone().get(key).await,
            Store::Memory(map) => {
                let map = map.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                Ok(map
                    .get(&key)
                    .filter(|entry| entry.expires > now)
                    .map(|entry| entry.value.clone()))
            }
        }
    }

    async fn put(&self, key: &str, value: &str) {
        let key = self.full_key(key);
        match &self.store {
            Store::Redis(manager) => {
                let stored = manager
                    .clone()
                    .set_ex::<_, _, ()>(key, value, self.ttl.as_secs())
                    .await;
                if let Err(error) = stored {
                    tracing::warn!(%error, "redis did not store");
                }
            }
            Store::Memory(map) => {
                let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                if map.len() >= MEMORY_ENTRIES {
                    map.retain(|_, entry| entry.expires > now);
                }
                if map.len() < MEMORY_ENTRIES {
                    let entry = Entry {
                        value: value.to_owned(),
                        expires: now + self.ttl,
                    };
                    map.insert(key, entry);
                }
            }
        }
    }

    fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn memory(ttl: Duration) -> Cache {
        Cache::connect(None, ttl, "test").await.unwrap()
    }

    async fn look(cache: &Cache, key: &str, there: Option<&str>) -> (String, Option<String>) {
        let load = || async { Ok::<_, ()>(there.map(str::to_owned)) };
        let signals = Signals::new();
        let value = cache.lookup(&signals, key, load).await.unwrap();
        let headers = signals.headers();
        let [("cache-status", status)] = headers.as_slice() else {
            panic!("{headers:?}");
        };
        (status.clone(), value)
    }

    #[tokio::test]
    async fn a_second_lookup_hits_and_does_not_load() {
        let cache = memory(Duration::from_secs(60)).await;
        let miss = look(&cache, "a", Some("first")).await;
        let hit = look(&cache, "a", Some("second")).await;
        assert_eq!(miss, ("memory;fwd=miss".into(), Some("first".into())));
        assert_eq!(hit, ("memory;hit".into(), Some("first".into())));
    }

    #[tokio::test]
    async fn a_load_that_fails_was_a_miss_all_the_same() {
        let cache = memory(Duration::from_secs(60)).await;
        let signals = Signals::new();
        let load = || async { Err::<Option<String>, _>("no database") };
        let failed = cache.lookup(&signals, "a", load).await;
        assert_eq!(failed, Err("no database"));
        let said = [("cache-status", "memory;fwd=miss".to_owned())];
        assert_eq!(signals.headers(), said);
    }

    #[tokio::test]
    async fn what_does_not_exist_is_not_kept() {
        let cache = memory(Duration::from_secs(60)).await;
        assert_eq!(look(&cache, "a", None).await.1, None);
        assert_eq!(look(&cache, "a", Some("now")).await.0, "memory;fwd=miss");
    }

    #[tokio::test]
    async fn an_entry_is_gone_when_its_time_is_up() {
        let cache = memory(Duration::ZERO).await;
        look(&cache, "a", Some("first")).await;
        assert_eq!(
            look(&cache, "a", Some("second")).await.1,
            Some("second".into())
        );
    }

    #[tokio::test]
    async fn a_forgotten_entry_is_loaded_again() {
        let cache = memory(Duration::from_secs(60)).await;
        look(&cache, "a", Some("first")).await;
        cache.forget(&["a", "never there"]).await;
        assert_eq!(
            look(&cache, "a", Some("second")).await.1,
            Some("second".into())
        );
    }

    #[tokio::test]
    async fn a_full_map_stores_nothing_new() {
        let cache = memory(Duration::from_secs(60)).await;
        for n in 0..=MEMORY_ENTRIES {
            look(&cache, &n.to_string(), Some("value")).await;
        }
        assert_eq!(look(&cache, "0", None).await.0, "memory;hit");
        let last = MEMORY_ENTRIES.to_string();
        assert_eq!(look(&cache, &last, None).await.0, "memory;fwd=miss");
    }

    #[tokio::test]
    async fn an_unreachable_redis_is_an_error_at_the_start() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let url = format!("redis://{address}");
        let connected = Cache::connect(Some(&url), Duration::from_secs(1), "test").await;
        assert!(connected.is_err());
    }
}
