//! What services say in response headers, where several of them stand behind one
//! Envoy.

use anyhow::{Result, ensure};
use gatemeter_e2e::bridge::Bridge;
use gatemeter_e2e::client::{Call, Client};
use gatemeter_e2e::envoy::{Service, Setup};
use gatemeter_e2e::room::Room;
use gatemeter_e2e::until::until;
use gatemeter_e2e::upstream::Upstream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pools_of_all_hosts_are_summed_and_no_client_sees_them() -> Result<()> {
    let mut room = Room::open()?;
    let (one, two) = (Upstream::start().await?, Upstream::start().await?);
    let service = Service::new("api")?
        .to_cluster("/one", "one")
        .to_cluster("/two", "two");
    let setup = Setup::new()?
        .service(service)
        .cluster("one", one.address())
        .cluster("two", two.address());
    let envoy = setup.start(&mut room).await?;
    let bridge = Bridge::start(&mut room, envoy.admin(), envoy.bridge()).await?;
    let client = Client::new(envoy.service("api")?);
    // Enough connections that both workers of Envoy hear of both hosts.
    for _ in 0..8 {
        for (path, pool) in [("/one", "active=3, idle=7"), ("/two", "active=10, idle=1")] {
            let call = Call::new("GET", path, path).header("x-send-x-db-pool", pool);
            let answer = client.expect(&call, 200).await?;
            let seen = answer.headers.contains_key("x-db-pool");
            ensure!(!seen, "the client sees the pool");
        }
    }
    until("the gauges are the sums", async || {
        let page = bridge.page().await?;
        let labels = [("service", "api")];
        let pool = ["db_connections_active", "db_connections_idle"];
        let pool = pool.map(|name| page.value(name, &labels));
        ensure!(pool == [Some(13.0), Some(8.0)], "{pool:?}");
        Ok(())
    })
    .await?;
    // One host's news changes its own part only.
    let call = Call::new("GET", "/two", "/two").header("x-send-x-db-pool", "active=0, idle=11");
    client.expect(&call, 200).await?;
    until("the news is in the sums", async || {
        let page = bridge.page().await?;
        let active = page.value("db_connections_active", &[("service", "api")]);
        ensure!(active == Some(3.0), "{active:?}");
        Ok(())
    })
    .await?;
    room.close()
}
