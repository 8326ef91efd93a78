//! A service on actix-web 4 that says what it knows:
//! `cargo run -p gatemeter-signals --example actix`.
//!
//! actix-web has neither tower layers nor requests of the crate `http` 1, so the
//! layer is the middleware `say_signals`, which a service may copy as it stands.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, Error, HttpMessage, HttpServer, web};
use gatemeter_signals::{Pool, Signals};

async fn say_signals(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let signals = Signals::new();
    request.extensions_mut().insert(signals.clone());
    let mut response = next.call(request).await?;
    for (name, value) in signals.headers() {
        if let Ok(value) = HeaderValue::try_from(value) {
            let name = HeaderName::from_static(name);
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}

async fn search(signals: web::ReqData<Signals>) -> &'static str {
    signals.cache("redis").miss();
    let found = signals.timed("vectordb", async { ["a title"] }).await;
    signals.results(found.len());
    // What your pool says of itself: in use, and open and free.
    signals.pool(Pool { active: 1, idle: 9 });
    "[\"a title\"]"
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("")
            .wrap(from_fn(say_signals))
            .route("/search", web::get().to(search)),
    );
}

fn main() -> std::io::Result<()> {
    actix_web::rt::System::new().block_on(async {
        println!("try: curl -i http://127.0.0.1:8000/search");
        HttpServer::new(|| App::new().configure(routes))
            .workers(1)
            .bind(("127.0.0.1", 8000))?
            .run()
            .await
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test;

    #[::core::prelude::v1::test]
    fn the_middleware_writes_what_the_handler_said() {
        actix_web::rt::System::new().block_on(async {
            let app = test::init_service(App::new().configure(routes)).await;
            let request = test::TestRequest::get().uri("/search").to_request();
            let response = test::call_service(&app, request).await;
            let header = |name| response.headers().get(name).unwrap().to_str().unwrap();
            assert_eq!(header("cache-status"), "redis;fwd=miss");
            assert_eq!(header("x-db-pool"), "active=1, idle=9");
            assert_eq!(header("x-search-results"), "1");
            let timing = header("server-timing");
            assert!(timing.starts_with("vectordb;dur="), "{timing}");

            let request = test::TestRequest::get().uri("/nowhere").to_request();
            let response = test::call_service(&app, request).await;
            assert_eq!(response.status(), 404);
            assert_eq!(response.headers().get("cache-status"), None);
        });
    }
}
