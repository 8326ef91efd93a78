//! The layer: a recorder into each request's extensions, its headers onto the response.
//!
//! Requests that come with a recorder keep it, and the headers are left to who
//! gave it: so a router with the layer may stand in another one with the layer,
//! and each signal is said once. A service that fails has no response to say
//! anything on.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Pool, Signals};

type PoolState = Arc<dyn Fn() -> Pool + Send + Sync>;

/// Gives each request a [`Signals`] and writes what was said onto its response.
#[derive(Clone, Default)]
pub struct SignalsLayer {
    pool: Option<PoolState>,
}

impl SignalsLayer {
    /// Writes what the handlers say.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks `state` how the pool stands once a response is ready, on each of them.
    #[must_use]
    pub fn pool(mut self, state: impl Fn() -> Pool + Send + Sync + 'static) -> Self {
        self.pool = Some(Arc::new(state));
        self
    }
}

impl fmt::Debug for SignalsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalsLayer")
            .field("pool", &self.pool.is_some())
            .finish()
    }
}

impl<S> Layer<S> for SignalsLayer {
    type Service = SignalsService<S>;

    fn layer(&self, inner: S) -> SignalsService<S> {
        SignalsService {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service with the [`SignalsLayer`] around it.
#[derive(Clone, Debug)]
pub struct SignalsService<S> {
    inner: S,
    layer: SignalsLayer,
}

impl<S, B, C> Service<Request<B>> for SignalsService<S>
where
    S: Service<Request<B>, Response = Response<C>>,
{
    type Response = Response<C>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture<S::Future> {
        let given = request.extensions().get::<Signals>().cloned();
        let ours = given.is_none();
        let signals = given.unwrap_or_else(|| {
            let signals = Signals::new();
            request.extensions_mut().insert(signals.clone());
            signals
        });
        ResponseFuture {
            response: self.inner.call(request),
            pool: self.layer.pool.clone(),
            signals,
            ours,
        }
    }
}

pin_project! {
    /// The response to come, then with its headers.
    pub struct ResponseFuture<F> {
        #[pin]
        response: F,
        pool: Option<PoolState>,
        signals: Signals,
        ours: bool,
    }
}

impl<F, C, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<C>, E>>,
{
    type Output = Result<Response<C>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.response.poll(context))?;
        if let Some(pool) = this.pool {
            this.signals.pool(pool());
        }
        if *this.ours {
            this.signals.write_to(response.headers_mut());
        }
        Poll::Ready(Ok(response))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
