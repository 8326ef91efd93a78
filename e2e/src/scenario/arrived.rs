//! How much of a body has arrived, so that a scenario goes on only then: what is
//! cut next is cut behind these bytes, not before them.

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::watch;

use crate::until::PATIENCE;

/// A count of bytes that only grows.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrived(watch::Sender<usize>);

impl Arrived {
    /// Waits until there are so many.
    pub(super) async fn at_least(&self, bytes: usize) -> Result<()> {
        let mut count = self.0.subscribe();
        let enough = count.wait_for(|count| *count >= bytes);
        let came = tokio::time::timeout(PATIENCE, enough).await;
        came.with_context(|| format!("{bytes} bytes of a body did not arrive"))??;
        Ok(())
    }
}

/// Reads a body to its end.
pub(super) async fn read(mut body: Incoming, arrived: Arrived) -> hyper::Result<()> {
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            arrived.0.send_modify(|count| *count += data.len());
        }
    }
    Ok(())
}
