//! The callbacks of one HTTP exchange. `core` decides what they mean.
//!
//! In Envoy they come as: create, request headers, response headers, log,
//! done, delete. The log callback is where an exchange is counted; the end of
//! the context is where it stops being open.

use gatemeter_core::exchange::Exchange;
use gatemeter_core::recorder::Recorder;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::host::Proxy;
use crate::root::SharedRecorder;

/// The stream context of one exchange; empty where its root was never configured.
pub(crate) struct HttpExchange {
    inner: Option<(SharedRecorder, Exchange)>,
}

impl HttpExchange {
    pub(crate) fn new(recorder: Option<SharedRecorder>) -> Self {
        let inner = recorder.and_then(|recorder| {
            let exchange = Exchange::start(&mut *recorder.try_borrow_mut().ok()?, &Proxy);
            Some((recorder, exchange))
        });
        Self { inner }
    }

    fn with(&mut self, act: impl FnOnce(&mut Exchange, &mut Recorder)) {
        if let Some((recorder, exchange)) = &mut self.inner
            && let Ok(mut recorder) = recorder.try_borrow_mut()
        {
            act(exchange, &mut recorder);
        }
    }
}

impl Context for HttpExchange {}

impl HttpContext for HttpExchange {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        self.with(|exchange, recorder| exchange.on_request_headers(recorder, &Proxy));
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        self.with(|exchange, recorder| exchange.on_response_headers(recorder, &Proxy));
        Action::Continue
    }

    fn on_log(&mut self) {
        self.with(|exchange, recorder| exchange.on_log(recorder, &Proxy));
    }
}

/// The SDK drops the context in the delete callback, whatever came before it:
/// an exchange can neither stay open nor be lost.
impl Drop for HttpExchange {
    fn drop(&mut self) {
        self.with(|exchange, recorder| exchange.on_end(recorder, &Proxy));
    }
}
