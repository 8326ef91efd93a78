//! The titles as vectors, and the search among them.
//!
//! A text becomes a vector by its trigrams: each run of three characters of each
//! word adds to one of 512 dimensions, which one and with which sign its hash
//! says (feature hashing), and the vector is scaled to length one. Two texts are
//! as alike as the cosine of their vectors. So `wintr` finds `Winter`, and what
//! is written alike is found without a model. The search looks at every title: it
//! is exact, and as large as the catalogue may be it takes milliseconds.
//!
//! The index is read from the database and no older than five seconds.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::content::Content;
use crate::database::Database;

const DIMENSIONS: usize = 512;

/// Texts that are less alike have nothing to do with each other: a few trigrams,
/// or dimensions that the hash has given to several.
const LEAST_SIMILARITY: f32 = 0.25;

/// The most titles that are indexed, those with the lowest ids; 2 KiB each.
const MAX_TITLES: i64 = 5_000;

const MAX_AGE: Duration = Duration::from_secs(5);

/// The index of one service.
#[derive(Default)]
pub(crate) struct TitleIndex {
    built: Mutex<Option<(Instant, Arc<Titles>)>>,
}

impl TitleIndex {
    /// The titles as they were at most five seconds ago. Searches that come
    /// while they are read wait for them.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub(super) async fn current(&self, database: &Database) -> Result<Arc<Titles>, sqlx::Error> {
        let mut built = self.built.lock().await;
        if let Some((at, titles)) = &*built
            && at.elapsed() < MAX_AGE
        {
            return Ok(Arc::clone(titles));
        }
        let mut connection = database.checkout().await?;
        let rows: Vec<Content> = sqlx::query_as(
            "SELECT id, title, genre, duration_seconds FROM content ORDER BY id LIMIT $1",
        )
        .bind(MAX_TITLES)
        .fetch_all(&mut *connection)
        .await?;
        drop(connection);
        let titles = Arc::new(Titles::new(rows));
        *built = Some((Instant::now(), Arc::clone(&titles)));
        Ok(titles)
    }
}

/// Titles with their vectors.
pub(super) struct Titles(Vec<(Content, Vector)>);

impl Titles {
    fn new(rows: Vec<Content>) -> Self {
        let with_vector = |row: Content| {
            let vector = Vector::of(&format!("{} {}", row.title, row.genre));
            (row, vector)
        };
        Self(rows.into_iter().map(with_vector).collect())
    }

    /// At most `count` titles that are like `text`, the most alike first, of two
    /// that are as alike the one with the lower id.
    pub(super) fn nearest(&self, text: &str, count: usize) -> Vec<&Content> {
        let wanted = Vector::of(text);
        let mut found: Vec<(f32, &Content)> = self
            .0
            .iter()
            .map(|(title, vector)| (wanted.cosine(vector), title))
            .filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY)
            .collect();
        found.sort_by(|(a, first), (b, second)| b.total_cmp(a).then(first.id.cmp(&second.id)));
        found.truncate(count);
        found.into_iter().map(|(_, title)| title).collect()
    }
}

/// Of length one, or of nothing where the text has no word.
struct Vector(Box<[f32; DIMENSIONS]>);

impl Vector {
    fn of(text: &str) -> Self {
        let mut values = Box::new([0.0_f32; DIMENSIONS]);
        let text = text.to_lowercase();
        for word in text.split(|c: char| !c.is_alphanumeric()) {
            if word.is_empty() {
                continue;
            }
            // The ends of a word count, too.
            let marked: Vec<char> = format!("<{word}>").chars().collect();
            for trigram in marked.windows(3) {
                let mut hasher = DefaultHasher::new();
                trigram.hash(&mut hasher);
                let hash = hasher.finish();
                let sign = if hash & 1 == 0 { 1.0 } else { -1.0 };
                let dimension = usize::try_from(hash >> 32).unwrap_or(0) % DIMENSIONS;
                values[dimension] += sign;
            }
        }
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        if length > 0.0 {
            values.iter_mut().for_each(|value| *value /= length);
        }
        Self(values)
    }

    fn cosine(&self, other: &Self) -> f32 {
        let products = self.0.iter().zip(other.0.iter());
        products.map(|(a, b)| a * b).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(names: &[&str]) -> Titles {
        let rows = (1..).zip(names).map(|(id, name)| Content {
            id,
            title: (*name).to_owned(),
            genre: "drama".to_owned(),
            duration_seconds: 60,
        });
        Titles::new(rows.collect())
    }

    fn found<'a>(titles: &'a Titles, text: &str) -> Vec<&'a str> {
        let found = titles.nearest(text, 20);
        found.iter().map(|title| title.title.as_str()).collect()
    }

    #[test]
    fn finds_a_word_in_any_case_and_with_a_slip() {
        let titles = titles(&["Silent Harbour 1", "Northern Winter 2", "Golden River 3"]);
        for text in ["winter", "WINTER", "wintr", "winter drama"] {
            assert_eq!(found(&titles, text)[0], "Northern Winter 2", "{text}");
        }
        assert_eq!(found(&titles, "harbor"), ["Silent Harbour 1"]);
    }

    #[test]
    fn finds_nothing_where_nothing_is_alike() {
        let titles = titles(&["Silent Harbour 1", "Northern Winter 2"]);
        for text in ["nothing like it", "xyzzy", "%", "_", "!", " ", "\u{1f3ac}"] {
            assert_eq!(found(&titles, text), Vec::<&str>::new(), "{text}");
        }
    }

    #[test]
    fn the_most_alike_comes_first_and_the_lower_id_of_two() {
        let titles = titles(&["Winter River", "Winter", "Winter Garden", "Winter"]);
        let found = titles.nearest("winter", 3);
        let ids: Vec<_> = found.iter().map(|title| title.id).collect();
        assert_eq!(ids, [2, 4, 1]);
    }

    #[test]
    fn a_text_is_as_long_as_one_and_wholly_like_itself() {
        let text = Vector::of("Distant Letters 14 comedy");
        assert!((text.cosine(&text) - 1.0).abs() < 1e-5);
        assert_eq!(Vector::of("?!").cosine(&text).to_bits(), 0.0_f32.to_bits());
    }
}
