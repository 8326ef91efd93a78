//! What the listener of a scenario needs of Envoy: a route for each exchange,
//! found by the header that names it, which leads to the fate that the scenario
//! foresees.

use anyhow::{Context, Result};
use gatemeter_scenarios::scenario::{
    Act, Config, Exchange, ExchangeId, Fate, Flag, Form, LocalReply, Scenario, Verb,
};
use serde_json::{Value, json};

use super::service::EXCHANGE;
use crate::envoy::{self, Service};

/// Clusters that the routes lead to: the service by protocol, one that nobody
/// listens for, one without endpoints, and one without room.
pub(super) const HTTP1: &str = "service";
pub(super) const HTTP2: &str = "service-http2";
pub(super) const REFUSING: &str = "refusing";
pub(super) const EMPTY: &str = "empty";
pub(super) const FULL: &str = "full";

/// Request header by which the fault filter in front answers.
pub(super) const ABORT: &str = "x-envoy-fault-abort-request";

const FAULT_AFTER: &str = "fault-after";
const FAULT: &str = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";

/// The name of an exchange in the header.
pub(super) fn mark(service: &str, id: ExchangeId) -> String {
    format!("{service}.{}", id.0)
}

/// The plugin configuration, with another name for the service, so that many
/// scenarios fit into one Envoy.
pub(super) fn plugin(config: &Config, service: &str) -> Value {
    match config {
        Config::Json(map) => {
            let mut map = map.clone();
            if map.contains_key("service") {
                map.insert("service".to_owned(), json!(service));
            }
            Value::from(map)
        }
        Config::Text(text) => Value::from(text.clone()),
    }
}

/// The listener of a scenario; `filter` is the form of the filter, where it is one.
pub(super) fn service(scenario: &Scenario, name: &str, filter: envoy::Form) -> Result<Service> {
    let always = json!({ "numerator": 100, "denominator": "HUNDRED" });
    let mut listener = Service::new(name)?
        .vm_id("scenarios")
        .not_scraped()
        .plugin_configuration(plugin(&scenario.config, name))
        .filter_before(json!({
            "name": "fault-before",
            "typed_config": {
                "@type": FAULT,
                "abort": { "header_abort": {}, "percentage": always },
            },
        }))
        .filter_after(json!({ "name": FAULT_AFTER, "typed_config": { "@type": FAULT } }));
    listener = listener.form(match scenario.form {
        Form::AccessLogger => envoy::Form::AccessLogger,
        Form::Filter => filter,
    });
    for (index, exchange) in scenario.exchanges.iter().enumerate() {
        let id = ExchangeId(index);
        if let Some(mut route) = route(scenario, id, exchange)? {
            route["match"] = json!({
                "prefix": "/",
                "headers": [{
                    "name": EXCHANGE,
                    "string_match": { "exact": mark(name, id) },
                }],
            });
            listener = listener.route(route);
        }
    }
    Ok(listener)
}

/// Whether the exchange becomes a WebSocket.
pub(super) fn upgrades(scenario: &Scenario, id: ExchangeId) -> bool {
    has(
        scenario,
        id,
        |verb| matches!(verb, Verb::Respond(status, _) if status.0 == 101),
    )
}

fn has(scenario: &Scenario, id: ExchangeId, wanted: impl Fn(&Verb) -> bool) -> bool {
    scenario.steps.iter().any(|step| match &step.act {
        Act::Exchange(of, verb) => *of == id && wanted(verb),
        _ => false,
    })
}

/// The route of an exchange without its match; none where no route is to match.
fn route(scenario: &Scenario, id: ExchangeId, exchange: &Exchange) -> Result<Option<Value>> {
    let http2 = exchange.request.http2;
    let to = |cluster: &str| json!({ "route": { "cluster": cluster, "timeout": "0s" } });
    let to_service = || to(if http2 { HTTP2 } else { HTTP1 });
    let mut route = match &exchange.fate {
        Fate::Served | Fate::BeforeFilter(_) => to_service(),
        Fate::LocalReply(LocalReply { status, flag, .. }) => match flag {
            None => json!({ "direct_response": { "status": status.0 } }),
            Some(Flag::Nr) => return Ok(None),
            Some(Flag::Uc) => to_service(),
            Some(Flag::Uf) => to(REFUSING),
            Some(Flag::Uh) => to(EMPTY),
            Some(Flag::Uo) => to(FULL),
            Some(Flag::Ut) => {
                let mut route = to_service();
                route["route"]["timeout"] = json!("0.1s");
                route
            }
            Some(Flag::Fi) => {
                let mut route = to_service();
                route["typed_per_filter_config"] = json!({ FAULT_AFTER: {
                    "@type": FAULT,
                    "abort": {
                        "http_status": status.0,
                        "percentage": { "numerator": 100, "denominator": "HUNDRED" },
                    },
                }});
                route
            }
        },
    };
    if let Some(path) = &exchange.request.rewritten {
        let action = route.get_mut("route");
        action.context("a direct response rewrites no path")?["regex_rewrite"] = json!({
            "pattern": { "regex": "^.*$" },
            "substitution": path,
        });
    }
    if has(scenario, id, |verb| matches!(verb, Verb::Redirect(..))) {
        route["route"]["internal_redirect_policy"] = json!({
            "max_internal_redirects": 5,
            "redirect_response_codes": [301, 302, 303, 307, 308],
            "allow_cross_scheme_redirect": true,
        });
    }
    Ok(Some(route))
}
