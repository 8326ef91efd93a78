//! Tests of the whole bridge in process, against an admin interface that does
//! what Envoy should not, and against clients that do what scrapers should not.

// What the pages hold, and how they are asked for.
mod pages;
// The live page.
mod live;
// What Envoy does wrong.
mod faults;
// What an answer can be that Envoy would never give.
mod bad_answers;
// What clients do wrong.
mod clients;
// What a request can be that a scraper would never send.
mod requests;
// TLS, passwords and headers.
mod web_file;
// A new configuration takes over.
mod reload;
// How much time and memory either can cost the process.
mod bounds;
// Start, end, and the process around it.
mod life_cycle;
// The pages as promtool, the official parsers and Prometheus read them.
mod validators;
// Any bytes that are near what Envoy sends.
mod mutations;
// Several Envoys, and one of them by name.
mod envoys;
// The services' own pages.
mod sources;
// What the bridge says of itself.
mod own;
// What docs/bridge.md says.
mod documentation;
// What docs/reference/ says.
mod reference;
// The arithmetic for any stats, read back by a parser that is not ours.
mod exactness;

// The two ends that the tests play, and their certificates.
mod certificates;
mod client;
mod fake_admin;

use std::{net::SocketAddr, time::Duration};

use gatemeter_bridge::{
    app::{self, Ended},
    config::{Config, Key, Settings},
    server::reload::Reloader,
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

/// Stats of one service with the numbers of the metrics guide.
const STATS: &str = "\
http.admin.downstream_rq_active: 1
http.admin.downstream_rq_tx_reset: 0
http.api.downstream_rq_active: 42
http.api.downstream_rq_tx_reset: 2
wasmcustom.cache_hits_total.service=api.cache_type=redis: 8934
wasmcustom.cache_misses_total.service=api.cache_type=redis: 234
wasmcustom.db_connections_active.service=api: 15
wasmcustom.db_connections_idle.service=api: 25
wasmcustom.gatemeter_filter_info.service=api.version=0%2E1%2E0: 1
wasmcustom.http_request_duration_nanoseconds_sum.service=api.method=GET.path=/api/content: 23450000000
wasmcustom.http_request_duration_seconds_bin.service=api.method=GET.path=/api/content.status=200.le=0.001: 45
wasmcustom.http_request_duration_seconds_bin.service=api.method=GET.path=/api/content.status=200.le=0.005: 189
wasmcustom.http_request_duration_seconds_bin.service=api.method=GET.path=/api/content.status=200.le=1.0: 1289
";

/// A bridge in this process on a free port.
struct Bridge {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    running: JoinHandle<Ended>,
    reloader: Reloader,
}

impl Bridge {
    /// A bridge that reads `admin`, and waits a second for it.
    async fn start(admin: &str) -> Self {
        Self::start_with(admin, &[]).await
    }

    async fn start_with(admin: &str, settings: &[(Key, &str)]) -> Self {
        Self::of(config(admin, settings)).await
    }

    /// A bridge with this configuration file, on a free port.
    async fn start_from(yaml: &str) -> Self {
        let mut settings = Settings::from_yaml("bridge.yml", yaml);
        // It reads Envoy by itself.
        settings.set(Key::LiveEnabled, "false");
        settings.set(Key::WebListenAddress, "127.0.0.1:0");
        Self::of(settings.try_into().unwrap()).await
    }

    async fn of(config: Config) -> Self {
        Self::run(app::build(config).await.unwrap())
    }

    fn run(bound: app::Bound) -> Self {
        let reloader = bound.reloader();
        let address = bound.address();
        let (end, ending) = oneshot::channel();
        let running = tokio::spawn(bound.run(async {
            let _ = ending.await;
        }));
        Self {
            address,
            end,
            running,
            reloader,
        }
    }

    /// Ends it and says how that went.
    async fn end(self) -> Ended {
        self.end.send(()).unwrap();
        within(self.running).await.unwrap()
    }
}

fn config(admin: &str, settings: &[(Key, &str)]) -> Config {
    let mut all = Settings::default();
    all.set(Key::EnvoyAdmin, admin);
    all.set(Key::EnvoyTimeout, "1s");
    all.set(Key::WebListenAddress, "127.0.0.1:0");
    // Its reads would be among those that are counted.
    all.set(Key::LiveEnabled, "false");
    for (key, value) in settings {
        all.set(*key, value);
    }
    all.try_into().unwrap()
}

/// A limit on everything that is waited for.
async fn within<T>(waited_for: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), waited_for)
        .await
        .expect("done within 20 s")
}

/// Waits until `condition` holds, with a limit.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(Duration::from_secs(20), waiting).await.is_err() {
        panic!("not within 20 s: {what}");
    }
}
