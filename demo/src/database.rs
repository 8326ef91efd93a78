//! The database: SQLite in a file, or PostgreSQL, behind a pool that can say how it stands.
//!
//! One set of statements runs on both (`$1` is understood by both, and the
//! types are `BIGINT` and `TEXT` only). Each service has a pool of its own, as
//! it would as a process of its own; tables and seed are the same for all.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use gatemeter_signals::Pool;
use sqlx::any::AnyPoolOptions;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Executor};

/// How long a request waits for a connection before it is answered 503.
const ACQUIRE_PATIENCE: Duration = Duration::from_secs(5);

/// How many titles the seed holds; their ids are 1 to this.
const SEEDED_TITLES: i64 = 120;

const GENRES: [&str; 6] = ["drama", "comedy", "documentary", "crime", "music", "family"];
const FIRST_WORDS: [&str; 5] = ["Silent", "Northern", "Second", "Golden", "Distant"];
const LAST_WORDS: [&str; 8] = [
    "Harbour", "Winter", "Signal", "Garden", "River", "Letters", "Station", "Summer",
];

const TABLES: [&str; 6] = [
    "CREATE TABLE IF NOT EXISTS demo_instance (id TEXT PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS content (
        id BIGINT PRIMARY KEY,
        title TEXT NOT NULL,
        genre TEXT NOT NULL,
        duration_seconds BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS account (
        name TEXT PRIMARY KEY,
        password_hash TEXT NOT NULL)",
    // One row per viewer, title and kind of event, so that traffic does not
    // grow it without bound.
    "CREATE TABLE IF NOT EXISTS playback_event (
        viewer TEXT NOT NULL,
        content_id BIGINT NOT NULL,
        kind TEXT NOT NULL,
        times BIGINT NOT NULL,
        position_ms BIGINT NOT NULL,
        PRIMARY KEY (viewer, content_id, kind))",
    "CREATE TABLE IF NOT EXISTS upload (
        id TEXT PRIMARY KEY,
        bytes BIGINT NOT NULL,
        sha256 TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS upload_metadata (
        id TEXT PRIMARY KEY,
        metadata TEXT NOT NULL)",
];

/// A URL that names no database this program can use.
#[derive(Debug, thiserror::Error)]
#[error("unsupported database scheme \"{scheme}\"; expected postgres, postgresql or sqlite")]
pub struct UnsupportedScheme {
    /// What stands before the colon.
    pub scheme: String,
}

/// Where the database is.
#[derive(Clone)]
pub(crate) struct Location {
    url: String,
    postgres: bool,
}

impl Location {
    /// Checks a URL's scheme; the rest is the driver's to judge.
    ///
    /// # Errors
    ///
    /// Where the scheme is neither PostgreSQL's nor SQLite's.
    pub(crate) fn parse(url: &str) -> Result<Self, UnsupportedScheme> {
        // Only the scheme goes into the message: the rest may hold a password.
        let scheme = url.split(':').next().unwrap_or_default();
        let postgres = match scheme {
            "postgres" | "postgresql" => true,
            "sqlite" => false,
            _ => {
                return Err(UnsupportedScheme {
                    scheme: scheme.to_owned(),
                });
            }
        };
        Ok(Self {
            url: url.to_owned(),
            postgres,
        })
    }

    /// A SQLite file, created where it is missing.
    pub(crate) fn sqlite_file(path: &Path) -> Self {
        let mut url = String::from("sqlite://");
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                    url.push(char::from(*byte));
                }
                other => url.push_str(&format!("%{other:02X}")),
            }
        }
        url.push_str("?mode=rwc");
        Self {
            url,
            postgres: false,
        }
    }

    /// The name of the database system, for the log.
    pub(crate) fn system(&self) -> &'static str {
        if self.postgres {
            "postgresql"
        } else {
            "sqlite"
        }
    }
}

/// One service's pool.
#[derive(Clone)]
pub(crate) struct Database {
    pool: AnyPool,
    checked_out: Arc<AtomicU32>,
}

/// A connection in the hands of a request; active until it is dropped.
pub(crate) struct Checkout {
    connection: PoolConnection<Any>,
    _active: ActiveGuard,
}

/// Counts one connection as active while it lives. The pool's own numbers lag
/// behind: it takes a connection back in a task of its own after the drop.
struct ActiveGuard(Arc<AtomicU32>);

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deref for Checkout {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for Checkout {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

impl Database {
    /// Opens a pool of at most `connections` and tries one of them.
    ///
    /// # Errors
    ///
    /// Where the database cannot be reached.
    pub(crate) async fn open(location: &Location, connections: u32) -> Result<Self, sqlx::Error> {
        sqlx::any::install_default_drivers();
        let postgres = location.postgres;
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if !postgres {
                        // Readers do not wait for a writer, and writers wait for each other.
                        connection
                            .execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000")
                            .await?;
                    }
                    Ok(())
                })
            })
            .connect(&location.url)
            .await?;
        Ok(Self {
            pool,
            checked_out: Arc::default(),
        })
    }

    /// Takes a connection out of the pool.
    ///
    /// # Errors
    ///
    /// Where none is free within five seconds or none can be opened.
    pub(crate) async fn checkout(&self) -> Result<Checkout, sqlx::Error> {
        let connection = self.pool.acquire().await?;
        self.checked_out.fetch_add(1, Ordering::Relaxed);
        Ok(Checkout {
            connection,
            _active: ActiveGuard(Arc::clone(&self.checked_out)),
        })
    }

    /// How the pool stands now.
    pub(crate) fn state(&self) -> Pool {
        let active = self.checked_out.load(Ordering::Relaxed);
        Pool {
            active: active.into(),
            idle: self.pool.size().saturating_sub(active).into(),
        }
    }

    /// Closes all connections, waiting for those in use.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// Creates the tables and the seed where they are missing, and returns the
    /// identity of this database. Several processes may do so at once.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub(crate) async fn prepare(&self, location: &Location) -> Result<String, sqlx::Error> {
        let mut transaction = if location.postgres {
            let mut transaction = self.pool.begin().await?;
            // `IF NOT EXISTS` alone races in PostgreSQL. The lock goes with the transaction.
            transaction
                .execute("SELECT pg_advisory_xact_lock(7161902) IS NULL")
                .await?;
            transaction
        } else {
            self.pool.begin_with("BEGIN IMMEDIATE").await?
        };
        for table in TABLES {
            transaction.execute(table).await?;
        }
        let known: Option<String> = sqlx::query_scalar("SELECT id FROM demo_instance")
            .fetch_optional(&mut *transaction)
            .await?;
        let instance = match known {
            Some(instance) => instance,
            None => seed(&mut transaction).await?,
        };
        transaction.commit().await?;
        Ok(instance)
    }
}

/// Fills empty tables: titles, one account (demo, password demo), and what some viewers watched.
async fn seed(connection: &mut AnyConnection) -> Result<String, sqlx::Error> {
    for id in 1..=SEEDED_TITLES {
        let pick = |words: &[&'static str], step: i64| {
            let index = usize::try_from(id / step).unwrap_or(0) % words.len();
            words[index]
        };
        let first = pick(&FIRST_WORDS, 1);
        let last = pick(&LAST_WORDS, 5);
        sqlx::query(
            "INSERT INTO content (id, title, genre, duration_seconds) VALUES ($1, $2, $3, $4)",
        )
        .bind(id)
        .bind(format!("{first} {last} {id}"))
        .bind(pick(&GENRES, 1))
        .bind(600 + 37 * id)
        .execute(&mut *connection)
        .await?;
    }
    for viewer in 1..=20_i64 {
        for watched in 1..=3 {
            sqlx::query(
                "INSERT INTO playback_event (viewer, content_id, kind, times, position_ms)
                 VALUES ($1, $2, 'start', 1, 0)",
            )
            .bind(viewer.to_string())
            .bind(viewer * watched)
            .execute(&mut *connection)
            .await?;
        }
    }
    let hash = Argon2::default()
        .hash_password(b"demo")
        .map_err(|error| sqlx::Error::Protocol(format!("cannot hash the password: {error}")))?
        .to_string();
    sqlx::query("INSERT INTO account (name, password_hash) VALUES ('demo', $1)")
        .bind(&hash)
        .execute(&mut *connection)
        .await?;
    // The hash's salt is random, so its text tells two databases apart.
    let instance = hash.rsplit('$').next().unwrap_or_default().to_owned();
    sqlx::query("INSERT INTO demo_instance (id) VALUES ($1)")
        .bind(&instance)
        .execute(&mut *connection)
        .await?;
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(folder: &Path) -> (Location, Database) {
        let location = Location::sqlite_file(&folder.join("a b%.sqlite"));
        let database = Database::open(&location, 3).await.unwrap();
        (location, database)
    }

    #[tokio::test]
    async fn preparing_twice_seeds_once() {
        let folder = tempfile::tempdir().unwrap();
        let (location, database) = open(folder.path()).await;
        let first = database.prepare(&location).await.unwrap();
        let second = database.prepare(&location).await.unwrap();
        assert_eq!(first, second);
        let mut connection = database.checkout().await.unwrap();
        let titles: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM content")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        assert_eq!(titles, SEEDED_TITLES);
        assert!(folder.path().join("a b%.sqlite").exists());
    }

    #[tokio::test]
    async fn counts_a_connection_as_active_only_while_it_is_out() {
        let folder = tempfile::tempdir().unwrap();
        let (_, database) = open(folder.path()).await;
        let pool = |active, idle| Pool { active, idle };
        assert_eq!(database.state(), pool(0, 1));
        let first = database.checkout().await.unwrap();
        let second = database.checkout().await.unwrap();
        assert_eq!(database.state(), pool(2, 0));
        drop(first);
        assert_eq!(database.state(), pool(1, 1));
        drop(second);
        assert_eq!(database.state(), pool(0, 2));
    }

    #[test]
    fn refuses_another_scheme_without_showing_the_password() {
        let message = Location::parse("mysql://root:secret@localhost/db")
            .err()
            .unwrap()
            .to_string();
        assert_eq!(
            message,
            "unsupported database scheme \"mysql\"; expected postgres, postgresql or sqlite"
        );
    }
}
