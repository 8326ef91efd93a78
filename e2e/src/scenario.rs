//! Real Envoy as a proxy that runs scenarios: the verbs of
//! [`gatemeter_scenarios::proxy::Proxy`] said by a real client and a real
//! service, and the page of the real bridge.
//!
//! One Envoy serves all scenarios of a [`Stage`], each with a listener of its
//! own. The clock is real, so `advance` waits for a quarter of a second at
//! most and `tick` does nothing; a worker is not chosen but found by Envoy,
//! which has two.

mod arrived;
mod caller;
mod listener;
mod service;
mod stage;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gatemeter_scenarios::expect::Got;
use gatemeter_scenarios::page::{Clock, Page};
use gatemeter_scenarios::proxy::{Proxy, RunError};
use gatemeter_scenarios::scenario::{
    Config, Direction, End, Exchange, ExchangeId, Fate, Flag, LocalReply, Scenario, Status,
};
use gatemeter_scenarios::text::Pair;

use self::caller::Caller;
use self::service::{EXCHANGE, Held};
use self::stage::refusals;
use crate::client::get;
use crate::envoy::stat;
use crate::raw;
use crate::until::until;

pub use self::stage::Stage;

/// How long a page may take to become as it is to be. The filter pushes every
/// 100 ms.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long `advance` waits at most: two ticks, so that what one worker counted
/// is pushed before another one goes on.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// What marks a line that the module logged: Envoy's words for one of
/// proxy-wasm, our own for a native one.
const LOGGED: [&str; 2] = ["wasm log", "gatemeter: "];

fn broken(error: anyhow::Error) -> RunError {
    RunError::Broken(format!("{error:#}"))
}

/// One scenario on Envoy.
#[derive(Debug)]
pub struct EnvoyProxy<'s> {
    stage: &'s mut Stage,
    scenario: &'s Scenario,
    name: &'s str,
    address: SocketAddr,
    /// How much was logged before.
    logged: usize,
    open: BTreeMap<ExchangeId, Open>,
    /// Requests whose client left: the service must not be the one to end them.
    left: Vec<Held>,
    got: BTreeMap<ExchangeId, Got>,
}

/// An exchange that is not over.
#[derive(Debug)]
struct Open {
    caller: Caller,
    /// None where the request does not reach the service.
    held: Option<Held>,
    /// Bytes of the request's and of the response's body that were sent.
    sent: [usize; 2],
}

impl Open {
    /// Sends a chunk of a body, and waits until it is at the other side.
    async fn pass(&mut self, direction: Direction, chunk: &[u8], end: bool) -> Result<()> {
        let [asked, answered] = &mut self.sent;
        match (direction, &self.held) {
            (Direction::Request, held) => {
                self.caller.send_body(chunk, end).await?;
                *asked += chunk.len();
                if let Some(held) = held {
                    held.received(*asked).await?;
                }
            }
            (Direction::Response, Some(held)) => {
                held.send(chunk);
                *answered += chunk.len();
                self.caller.received(*answered).await?;
            }
            (Direction::Response, None) => {}
        }
        Ok(())
    }
}

impl EnvoyProxy<'_> {
    fn open(&mut self, id: ExchangeId) -> Result<&mut Open> {
        let open = self.open.get_mut(&id);
        open.with_context(|| format!("exchange {} is not open", id.0))
    }

    /// Waits for the response headers, which must have this status.
    fn answered(&mut self, id: ExchangeId, Status(status): Status) -> Result<()> {
        let open = self.open.get_mut(&id).context("the exchange is not open")?;
        let got = self.stage.runtime.block_on(open.caller.answered())?;
        ensure!(
            got.status == status,
            "exchange {} was answered {}, not {status}",
            id.0,
            got.status
        );
        self.got.insert(id, got);
        Ok(())
    }

    fn begin(&mut self, id: ExchangeId, exchange: &Exchange) -> Result<()> {
        let mark = listener::mark(self.name, id);
        let mut marks = vec![(EXCHANGE, mark)];
        if let Fate::BeforeFilter(Status(status)) = exchange.fate {
            marks.push((listener::ABORT, status.to_string()));
        }
        let upgrades = listener::upgrades(self.scenario, id);
        let caller = Caller::send(self.address, &exchange.request, &marks, upgrades);
        let caller = self.stage.runtime.block_on(caller)?;
        let open = Open {
            caller,
            held: None,
            sent: [0; 2],
        };
        self.open.insert(id, open);
        match &exchange.fate {
            Fate::BeforeFilter(status) => {
                self.answered(id, *status)?;
                self.finish(id, true)
            }
            Fate::Served
            | Fate::LocalReply(LocalReply {
                flag: Some(Flag::Uc | Flag::Ut),
                ..
            }) => self.hold(id),
            Fate::LocalReply(_) => Ok(()),
        }
    }

    /// Waits until the request, or its next hop, is at the service.
    fn hold(&mut self, id: ExchangeId) -> Result<()> {
        let mark = listener::mark(self.name, id);
        let held = self
            .stage
            .runtime
            .block_on(self.stage.service.held(&mark))?;
        self.open(id)?.held = Some(held);
        Ok(())
    }

    /// Waits for the end of the response.
    fn finish(&mut self, id: ExchangeId, whole: bool) -> Result<()> {
        let open = self.open.remove(&id).context("the exchange is not open")?;
        self.stage.runtime.block_on(open.caller.ended(whole))
    }

    /// The client goes away.
    fn leave(&mut self, id: ExchangeId) {
        let held = self.open.remove(&id).and_then(|open| open.held);
        self.left.extend(held);
    }

    fn finish_as(&mut self, id: ExchangeId, end: &End) -> Result<()> {
        let is_socket = self.got.get(&id).is_some_and(|got| got.status == 101);
        let held = self.open(id)?.held.as_ref();
        match end {
            // A socket ends by one side leaving it.
            End::Finished if is_socket => {
                self.leave(id);
                Ok(())
            }
            End::Finished => {
                held.context("nobody answers")?.finish();
                self.finish(id, true)
            }
            End::Reset => {
                held.context("nobody answers")?.hang_up();
                self.finish(id, false)
            }
            End::Aborted => {
                self.leave(id);
                Ok(())
            }
            End::LocalReply(reply) => {
                if reply.flag == Some(Flag::Uc) {
                    held.context("nobody hangs up")?.hang_up();
                }
                self.answered(id, reply.status)?;
                self.finish(id, true)
            }
        }
    }

    fn respond_with(&mut self, id: ExchangeId, status: Status, headers: &[Pair]) -> Result<()> {
        let headers = caller::headers(headers)?;
        let held = self.open(id)?.held.as_ref().context("nobody answers")?;
        held.respond(http::StatusCode::from_u16(status.0)?, headers);
        Ok(())
    }

    /// Has Envoy take another configuration; gives what the filter says if it
    /// does not.
    fn replace(&mut self, config: &Config) -> Result<Option<String>> {
        let logged = self.stage.log().len();
        let admin = self.stage.envoy.admin();
        let read = async || {
            let success = stat(admin, "listener_manager.lds.update_success").await?;
            let rejected = stat(admin, "listener_manager.lds.update_rejected").await?;
            anyhow::Ok([success, rejected])
        };
        // One for each listener that a worker has told the main thread to have taken.
        let taken = async || stat(admin, "listener_manager.listener_create_success").await;
        let plugin = listener::plugin(config, self.name);
        let Stage { runtime, envoy, .. } = &mut *self.stage;
        let rejected = runtime.block_on(async {
            let before = read().await?;
            let taken_before = taken().await?;
            let old = envoy.replace(self.name, plugin)?;
            let after = until("Envoy has looked at the configuration", async || {
                let after = read().await?;
                ensure!(after != before, "not yet");
                Ok(after)
            })
            .await?;
            let rejected = after[1] - before[1];
            if rejected > 0 {
                // So that the next change is not refused for this one.
                envoy.replace(self.name, old)?;
                until("Envoy has the one before", async || {
                    ensure!(read().await? != after, "not yet");
                    Ok(())
                })
                .await?;
            } else {
                let workers = stat(admin, "server.concurrency").await?;
                until("all workers have the configuration", async || {
                    let has_it = taken().await? - taken_before;
                    ensure!(has_it >= workers, "{has_it} of {workers} have");
                    Ok(())
                })
                .await?;
            }
            anyhow::Ok(rejected)
        })?;
        if rejected > 0 {
            let log = self.stage.log();
            return Ok(Some(refusals(log.get(logged..).unwrap_or_default())));
        }
        Ok(None)
    }
}

impl Proxy for EnvoyProxy<'_> {
    fn clock(&self) -> Clock {
        Clock::Real
    }

    fn request(&mut self, id: ExchangeId, exchange: &Exchange) -> Result<(), RunError> {
        self.begin(id, exchange).map_err(broken)
    }

    fn respond(
        &mut self,
        id: ExchangeId,
        status: Status,
        headers: &[Pair],
    ) -> Result<(), RunError> {
        self.respond_with(id, status, headers)
            .and_then(|()| self.answered(id, status))
            .map_err(broken)
    }

    fn body(
        &mut self,
        id: ExchangeId,
        direction: Direction,
        chunk: &[u8],
        end: bool,
    ) -> Result<(), RunError> {
        let runtime = self.stage.runtime.handle().clone();
        let open = self.open(id).map_err(broken)?;
        let sent = runtime.block_on(open.pass(direction, chunk, end));
        sent.map_err(broken)?;
        Ok(())
    }

    fn trailers(
        &mut self,
        id: ExchangeId,
        direction: Direction,
        trailers: &[Pair],
    ) -> Result<(), RunError> {
        let runtime = self.stage.runtime.handle().clone();
        let trailers = caller::headers(trailers).map_err(broken)?;
        let open = self.open(id).map_err(broken)?;
        match (direction, &open.held) {
            (Direction::Request, _) => {
                let sent = runtime.block_on(open.caller.send_trailers(trailers));
                sent.map_err(broken)?;
            }
            (Direction::Response, Some(held)) => held.trailers(trailers),
            (Direction::Response, None) => {}
        }
        Ok(())
    }

    fn redirect(&mut self, id: ExchangeId, status: Status, path: &str) -> Result<(), RunError> {
        let authority = gatemeter_scenarios::scenario::AUTHORITY;
        let location = format!("http://{authority}{path}").into_bytes();
        self.respond_with(id, status, &[(b"location".to_vec(), location)])
            .and_then(|()| {
                self.open(id)?
                    .held
                    .as_ref()
                    .context("nobody answers")?
                    .finish();
                self.hold(id)
            })
            .map_err(broken)
    }

    fn end(&mut self, id: ExchangeId, end: &End) -> Result<(), RunError> {
        self.finish_as(id, end).map_err(broken)
    }

    fn malformed(&mut self, Status(status): Status, sent: &[u8]) -> Result<(), RunError> {
        let answered = self.stage.runtime.block_on(raw::http1(self.address, sent));
        let answered = answered.map_err(broken)?;
        if answered != status {
            let text = format!("Envoy answered {answered}, not {status}");
            return Err(RunError::Broken(text));
        }
        Ok(())
    }

    fn unparsed(&mut self, sent: &[u8]) -> Result<(), RunError> {
        let cut = self.stage.runtime.block_on(raw::cut(self.address, sent));
        cut.map_err(broken)
    }

    fn advance(&mut self, time: Duration) -> Result<(), RunError> {
        std::thread::sleep(time.min(LONGEST_WAIT));
        Ok(())
    }

    fn tick(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    fn reconfigure(&mut self, config: &Config) -> Result<(), RunError> {
        match self.replace(config).map_err(broken)? {
            None => Ok(()),
            Some(reason) => Err(RunError::Refused(reason)),
        }
    }

    fn page(&mut self, fits: &mut dyn FnMut(&Page) -> bool) -> Result<Page, RunError> {
        let start = Instant::now();
        let address = self.stage.bridge.address();
        loop {
            let answer = self.stage.runtime.block_on(get(address, "/metrics"));
            let answer = answer.map_err(broken)?;
            let text = answer.text().map_err(broken)?;
            let page = Page::parse(text).map_err(|error| RunError::Broken(error.to_string()))?;
            let page = page.of_service(self.name);
            if fits(&page) || start.elapsed() > PATIENCE {
                return Ok(page);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn got(&self, id: ExchangeId) -> Option<Got> {
        self.got.get(&id).cloned()
    }

    fn log(&self) -> Vec<String> {
        let log = self.stage.log();
        let here = log.get(self.logged..).unwrap_or_default();
        let lines = here
            .lines()
            .filter(|line| LOGGED.iter().any(|by| line.contains(by)));
        lines.map(str::to_owned).collect()
    }
}
