//! What a scenario asks of a proxy, whichever one it runs on.
//!
//! The verbs are those of the traffic. Each runs at once and returns when the
//! proxy has taken it; what it then counts may take a moment to show on a page,
//! which is why [`Proxy::page`] knows what is waited for.

use std::time::Duration;

use thiserror::Error;

use crate::expect::Got;
use crate::page::{Clock, Page};
use crate::scenario::{Config, Direction, End, Exchange, ExchangeId, Status};
use crate::text::Pair;

/// Why a run stopped.
#[derive(Clone, Debug, Error)]
pub enum RunError {
    /// The module does not take its configuration; this is what it says.
    #[error("the configuration is refused: {0}")]
    Refused(String),
    /// The module trapped, or the proxy cannot do what the scenario asks.
    #[error("{0}")]
    Broken(String),
}

/// A proxy with the module in it, configured.
pub trait Proxy {
    /// Whose clock runs.
    fn clock(&self) -> Clock;

    /// A request arrives; where a filter before ours answers it, that is all.
    ///
    /// # Errors
    /// [`RunError::Broken`], here and in every other verb.
    fn request(&mut self, id: ExchangeId, exchange: &Exchange) -> Result<(), RunError>;

    /// The service sends response headers.
    ///
    /// # Errors
    /// See [`Self::request`].
    fn respond(&mut self, id: ExchangeId, status: Status, headers: &[Pair])
    -> Result<(), RunError>;

    /// A chunk of a body passes; `end` says that nothing follows.
    ///
    /// # Errors
    /// See [`Self::request`].
    fn body(
        &mut self,
        id: ExchangeId,
        direction: Direction,
        chunk: &[u8],
        end: bool,
    ) -> Result<(), RunError>;

    /// Trailers pass.
    ///
    /// # Errors
    /// See [`Self::request`].
    fn trailers(
        &mut self,
        id: ExchangeId,
        direction: Direction,
        trailers: &[Pair],
    ) -> Result<(), RunError>;

    /// The proxy follows a redirect of the service to this path itself.
    ///
    /// # Errors
    /// See [`Self::request`].
    fn redirect(&mut self, id: ExchangeId, status: Status, path: &str) -> Result<(), RunError>;

    /// An exchange ends.
    ///
    /// # Errors
    /// See [`Self::request`].
    fn end(&mut self, id: ExchangeId, end: &End) -> Result<(), RunError>;

    /// The codec answers these bytes with a status.
    ///
    /// # Errors
    /// See [`Self::request`].
    fn malformed(&mut self, status: Status, sent: &[u8]) -> Result<(), RunError>;

    /// The codec drops these bytes without an answer.
    ///
    /// # Errors
    /// See [`Self::request`].
    fn unparsed(&mut self, sent: &[u8]) -> Result<(), RunError>;

    /// Time passes. A real proxy may wait for less: no count depends on it.
    ///
    /// # Errors
    /// See [`Self::request`].
    fn advance(&mut self, time: Duration) -> Result<(), RunError>;

    /// Every timer of the module fires. A real proxy ticks by itself.
    ///
    /// # Errors
    /// See [`Self::request`].
    fn tick(&mut self) -> Result<(), RunError>;

    /// The plugin gets another configuration, under open exchanges.
    ///
    /// # Errors
    /// [`RunError::Refused`] where the module does not take it, and the one
    /// before stays in use.
    fn reconfigure(&mut self, config: &Config) -> Result<(), RunError>;

    /// The page as it is once `fits` holds, or as it still is where that does
    /// not come.
    ///
    /// # Errors
    /// See [`Self::request`].
    fn page(&mut self, fits: &mut dyn FnMut(&Page) -> bool) -> Result<Page, RunError>;

    /// What the client of an exchange got so far.
    fn got(&self, id: ExchangeId) -> Option<Got>;

    /// Lines that the module logged.
    fn log(&self) -> Vec<String>;
}
