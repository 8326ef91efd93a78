//! A filter as people write it on the Rust SDK: each request waits until the
//! cluster in the configuration has said whether it may pass. It proves that the
//! host of `host-tests` runs filters that are not made for it.
//!
//! 200 lets the request pass, with the user that the answer names; any other
//! status is the client's answer, with the body. Without an answer the client
//! gets 503. The decisions are counted in `auth.allowed`, `auth.denied` and
//! `auth.failed`.

// `proxy_wasm::main!` makes an exported, unmangled function.
#![allow(unsafe_code, missing_docs)]

use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, Bytes, ContextType, LogLevel, MetricType};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

/// The ids of the counters.
#[derive(Debug, Default, Clone, Copy)]
struct Counters {
    allowed: u32,
    denied: u32,
    failed: u32,
}

#[derive(Debug, Default)]
struct Root {
    cluster: String,
    counters: Counters,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        let Ok(cluster) = String::from_utf8(configuration) else {
            return false;
        };
        if cluster.is_empty() {
            let _ = hostcalls::log(LogLevel::Error, "the configuration names no cluster");
            return false;
        }
        let counter = |name| hostcalls::define_metric(MetricType::Counter, name);
        let (Ok(allowed), Ok(denied), Ok(failed)) = (
            counter("auth.allowed"),
            counter("auth.denied"),
            counter("auth.failed"),
        ) else {
            return false;
        };
        self.cluster = cluster;
        self.counters = Counters {
            allowed,
            denied,
            failed,
        };
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request {
            cluster: self.cluster.clone(),
            counters: self.counters,
            user: None,
        }))
    }
}

#[derive(Debug)]
struct Request {
    cluster: String,
    counters: Counters,
    user: Option<String>,
}

impl Request {
    fn fail(&self) {
        let _ = hostcalls::increment_metric(self.counters.failed, 1);
        self.send_http_response(503, vec![], Some(b"authorization is not available"));
    }
}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        let token = self.get_http_request_header("authorization");
        let token = token.unwrap_or_default();
        let headers = vec![
            (":method", "GET"),
            (":path", "/check"),
            (":authority", "auth"),
            ("authorization", &token),
            ("x-original-path", &path),
        ];
        let timeout = Duration::from_millis(250);
        let called = self.dispatch_http_call(&self.cluster, headers, None, vec![], timeout);
        if called.is_err() {
            self.fail();
        }
        Action::Pause
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        if let Some(user) = &self.user {
            self.set_http_response_header("x-served-for", Some(user));
        }
        Action::Continue
    }
}

impl Context for Request {
    fn on_http_call_response(
        &mut self,
        _token: u32,
        headers: usize,
        body_size: usize,
        _trailers: usize,
    ) {
        if headers == 0 {
            return self.fail();
        }
        let status = self.get_http_call_response_header(":status");
        let status = status.and_then(|status| status.parse().ok());
        if status == Some(200) {
            let _ = hostcalls::increment_metric(self.counters.allowed, 1);
            self.user = self.get_http_call_response_header("x-user");
            self.set_http_request_header("authorization", None);
            self.set_http_request_header("x-user", self.user.as_deref());
            self.resume_http_request();
            return;
        }
        let _ = hostcalls::increment_metric(self.counters.denied, 1);
        let body: Bytes = self
            .get_http_call_response_body(0, body_size)
            .unwrap_or_default();
        self.send_http_response(status.unwrap_or(403), vec![], Some(&body));
    }
}
