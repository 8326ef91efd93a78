use std::future::pending;
use std::time::{Duration, Instant};

use gatemeter_demo::{Service, Traffic};

use crate::running::Running;

#[tokio::test]
async fn a_round_has_every_kind_of_answer_and_leaves_none_out() {
    let demo = Running::start().await;
    let traffic = Traffic {
        services: demo.addresses().to_vec(),
        requests_per_second: 400,
        rounds: Some(1),
    };
    let answers = traffic.send_until(pending()).await;
    assert_eq!(answers.missing, 0, "{answers:?}");
    let statuses = |service| {
        let of_service = answers.by_status.keys();
        let of_service = of_service.filter(|(of, _)| *of == service);
        of_service.map(|(_, status)| *status).collect::<Vec<_>>()
    };
    let api = [200, 201, 204, 401, 404, 429, 500];
    assert_eq!(statuses(Service::Api), api, "{answers:?}");
    assert_eq!(statuses(Service::Discovery), [200, 404]);
    assert_eq!(statuses(Service::Playback), [200, 202, 404]);
    assert_eq!(statuses(Service::Ingestion), [200, 201, 400, 404]);
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn traffic_keeps_to_its_rate_and_ends_when_it_is_asked_to() {
    let demo = Running::start().await;
    let traffic = Traffic {
        services: vec![(Service::Discovery, demo.address(Service::Discovery))],
        requests_per_second: 20,
        rounds: None,
    };
    let start = Instant::now();
    let stop = tokio::time::sleep(Duration::from_secs(1));
    let answers = traffic.send_until(stop).await;
    let seconds = start.elapsed().as_secs_f64();
    let sent: u64 = answers.by_status.values().sum();
    // One at once, then twenty a second.
    let most = seconds * 20.0 + 1.0;
    assert!(sent > 0 && sent as f64 <= most, "{sent} in {seconds} s");
    demo.stop().await.unwrap();
}
