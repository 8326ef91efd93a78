//! A filter as one writes it on the Rust SDK at first: it reads each header that
//! it needs, asks the proxy how long the request took, makes the names of its
//! metrics from them, and counts at once. The benchmarks compare with it.
//!
//! For each request there is a counter with method, path, status and cache, and a
//! histogram of milliseconds with method and path. An id is kept once it is
//! known: defining a metric again would leak memory in Envoy.

// `proxy_wasm::main!` makes an exported, unmangled function.
#![allow(unsafe_code, missing_docs)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, MetricType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

/// The ids of metrics by their names.
#[derive(Debug, Default)]
struct Metrics(RefCell<HashMap<String, u32>>);

impl Metrics {
    fn id(&self, kind: MetricType, name: String) -> Option<u32> {
        let mut ids = self.0.borrow_mut();
        if let Some(id) = ids.get(&name) {
            return Some(*id);
        }
        let id = hostcalls::define_metric(kind, &name).ok()?;
        ids.insert(name, id);
        Some(id)
    }
}

#[derive(Debug, Default)]
struct Root {
    metrics: Rc<Metrics>,
}

impl Context for Root {}

impl RootContext for Root {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request {
            metrics: Rc::clone(&self.metrics),
            method: String::new(),
            path: String::new(),
        }))
    }
}

#[derive(Debug)]
struct Request {
    metrics: Rc<Metrics>,
    method: String,
    path: String,
}

impl Request {
    /// How long the request took, in nanoseconds.
    fn duration(&self) -> Option<u64> {
        let bytes = self.get_property(vec!["request", "duration"])?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }
}

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        self.method = self.get_http_request_header(":method").unwrap_or_default();
        self.path = self.get_http_request_header(":path").unwrap_or_default();
        Action::Continue
    }

    fn on_log(&mut self) {
        let status = self.get_http_response_header(":status");
        let status = status.unwrap_or_default();
        let cache = match self.get_http_response_header("cache-status") {
            Some(value) if value.contains("hit") => "hit",
            Some(_) => "miss",
            None => "none",
        };
        let Self { method, path, .. } = self;
        let name =
            format!("naive_requests.method={method}.path={path}.status={status}.cache={cache}");
        if let Some(id) = self.metrics.id(MetricType::Counter, name) {
            let _ = hostcalls::increment_metric(id, 1);
        }
        let name = format!("naive_duration.method={method}.path={path}");
        let duration = self.duration().unwrap_or_default();
        if let Some(id) = self.metrics.id(MetricType::Histogram, name) {
            let _ = hostcalls::record_metric(id, duration / 1_000_000);
        }
    }
}
