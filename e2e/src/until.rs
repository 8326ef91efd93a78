//! Waiting for something to become true, with a limit.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long a test waits for what should happen at once: the filter pushes
/// every 100 ms, processes start in a second. Long, because the machine may be
/// busy; it costs time only where a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `attempt` until it succeeds, and gives its value.
///
/// # Errors
///
/// The last error of `attempt`, if none succeeded within [`PATIENCE`].
pub async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > PATIENCE => {
                return Err(error).with_context(|| {
                    format!(
                        "gave up after {} s waiting until {what}",
                        PATIENCE.as_secs()
                    )
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Waits until `condition` holds.
///
/// # Errors
///
/// It did not hold within [`PATIENCE`].
pub async fn until_true(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    until(what, async || {
        anyhow::ensure!(condition(), "not so yet");
        Ok(())
    })
    .await
}
