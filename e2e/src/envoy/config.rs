//! Envoy's configuration of a listener and of a cluster.
//!
//! It has the shape of the one that ships: the filter first in
//! the chain, the stat prefix named after the service, `/metrics` routed to
//! the bridge with the header that marks a scrape, a client's own
//! `x-envoy-original-path` and signal headers removed, and loggers for what no
//! filter sees. What else the shipped one does to paths and client addresses is
//! left out here, so that nothing hides a mistake. It is written as JSON, which
//! Envoy reads as well as YAML.

use std::net::SocketAddr;
use std::path::Path;

use gatemeter_core::signals::RESPONSE_HEADERS;
use serde_json::{Value, json};

use super::{Form, Service};
use crate::artefact;

pub(super) fn listener(service: &Service, filter: &Path) -> Value {
    let connection_manager = connection_manager(service, filter);
    json!({
        "name": service.name,
        "address": socket_address(service.port.address()),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": connection_manager,
        }]}],
    })
}

fn connection_manager(service: &Service, filter: &Path) -> Value {
    let mut http_filters = service.filters_before.clone();
    let mut access_log = Vec::new();
    match service.form {
        Form::HttpFilter => {
            http_filters.push(json!({
                "name": "gatemeter",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                    "config": plugin(service, filter),
                },
            }));
            access_log.push(unparsed_logger(&service.name));
        }
        Form::NativeModule => {
            http_filters.push(json!({
                "name": "gatemeter",
                "typed_config": native(service),
            }));
            access_log.push(unparsed_logger(&service.name));
        }
        Form::AccessLogger => access_log.push(json!({
            "name": "envoy.access_loggers.wasm",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.wasm.v3.WasmAccessLog",
                "config": plugin(service, filter),
            },
        })),
    }
    access_log.push(cut_by_client_logger(&service.name));
    http_filters.extend(service.filters_after.iter().cloned());
    http_filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        },
    }));
    // Headers that only a service, or the route to the bridge, may set.
    let only_ours = [&RESPONSE_HEADERS[..], &["x-gatemeter-scrape"]].concat();
    let mut routes = Vec::new();
    if service.scraped {
        routes.push(metrics_route(&service.name));
    }
    for route in &service.routes {
        let mut route = route.clone();
        route["request_headers_to_remove"] = json!(only_ours);
        routes.push(route);
    }
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": service.name,
        "codec_type": "AUTO",
        // From the first byte of a request to the end of its headers.
        "request_headers_timeout": "1s",
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "early_header_mutation_extensions": [{
            "name": "envoy.http.early_header_mutation.header_mutation",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                "mutations": [{ "remove": "x-envoy-original-path" }],
            },
        }],
        "route_config": {
            "virtual_hosts": [{
                "name": service.name,
                "domains": ["*"],
                "routes": routes,
            }],
        },
        "http_filters": http_filters,
        "access_log": access_log,
    })
}

fn native(service: &Service) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
        "dynamic_module_config": {
            "module": { "local": { "filename": artefact::native_path() } },
            "do_not_close": true,
            "metrics_namespace": "wasmcustom",
        },
        "filter_name": "gatemeter",
        "filter_config": configuration(service),
    })
}

fn plugin(service: &Service, filter: &Path) -> Value {
    json!({
        "name": format!("gatemeter-{}", service.name),
        "root_id": "",
        "vm_config": {
            "vm_id": service.vm_id,
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": filter } },
        },
        "configuration": configuration(service),
        "failure_policy": "FAIL_RELOAD",
    })
}

fn configuration(service: &Service) -> Value {
    let (kind, value) = if service.as_struct {
        ("Struct", service.plugin.clone())
    } else {
        let text = match &service.plugin {
            Value::String(text) => text.clone(),
            json => json.to_string(),
        };
        ("StringValue", Value::from(text))
    };
    json!({
        "@type": format!("type.googleapis.com/google.protobuf.{kind}"),
        "value": value,
    })
}

/// Counts the requests that reach no filter: those that ended with neither a
/// status nor a method. The module as access logger counts them itself.
fn unparsed_logger(service: &str) -> Value {
    let no_status = json!({ "status_code_filter": { "comparison": {
        "op": "EQ",
        "value": { "default_value": 0, "runtime_key": "gatemeter.no_status" },
    }}});
    let no_method = json!({ "header_filter": {
        "header": { "name": ":method", "present_match": false },
    }});
    stats_logger(
        &format!("gatemeter_unparsed_requests_total.service={service}"),
        &[no_status, no_method],
    )
}

/// Counts the responses that the client cut after their headers.
fn cut_by_client_logger(service: &str) -> Value {
    let status = json!({ "status_code_filter": { "comparison": {
        "op": "GE",
        "value": { "default_value": 200, "runtime_key": "gatemeter.least_status" },
    }}});
    let client_gone = json!({ "response_flag_filter": { "flags": ["DC", "DR"] } });
    stats_logger(
        &format!("http_responses_incomplete_total.service={service}.reason=downstream_reset"),
        &[status, client_gone],
    )
}

fn stats_logger(stat: &str, filters: &[Value]) -> Value {
    json!({
        "name": "envoy.access_loggers.stats",
        "filter": { "and_filter": { "filters": filters } },
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config",
            "stats_scope": { "prefix": "wasmcustom" },
            "counters": [{ "stat": { "name": stat }, "value_fixed": 1 }],
        },
    })
}

fn metrics_route(service: &str) -> Value {
    json!({
        "match": { "path": "/metrics" },
        "route": { "cluster": "bridge", "prefix_rewrite": format!("/metrics/{service}") },
        "request_headers_to_add": [{
            "header": { "key": "x-gatemeter-scrape", "value": service },
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }],
    })
}

pub(super) fn cluster(name: &str, endpoint: SocketAddr) -> Value {
    json!({
        "name": name,
        "connect_timeout": "1s",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{
                "endpoint": { "address": socket_address(endpoint) },
            }]}],
        },
    })
}

pub(super) fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": {
        "address": address.ip().to_string(),
        "port_value": address.port(),
    }})
}
