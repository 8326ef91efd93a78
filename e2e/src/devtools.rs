//! The DevTools protocol, as much of it as a test needs: a method is called
//! and its answer awaited; events are passed over.
//!
//! The crates for this protocol are generated from all of it and take long to
//! compile; the few methods that tests call are JSON over the WebSocket client
//! that is here anyway.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long a browser may take to answer; long, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a browser, or to one of its tabs.
#[derive(Debug)]
pub struct DevTools {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    calls: u64,
}

impl DevTools {
    /// Connects to an address that begins with `ws:`.
    ///
    /// # Errors
    ///
    /// Nobody answers there.
    pub async fn connect(address: &str) -> Result<Self> {
        let connecting = timeout(PATIENCE, connect_async(address)).await;
        let (socket, _) = connecting
            .context("no answer in time")?
            .with_context(|| format!("cannot connect to {address}"))?;
        Ok(Self { socket, calls: 0 })
    }

    /// Calls a method and gives its result.
    ///
    /// # Errors
    ///
    /// The browser refuses the call or does not answer it.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.calls += 1;
        let call = json!({ "id": self.calls, "method": method, "params": parameters });
        let answering = timeout(PATIENCE, self.answer(call)).await;
        let mut answer = answering.with_context(|| format!("{method}: no answer in time"))??;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        Ok(answer["result"].take())
    }

    async fn answer(&mut self, call: Value) -> Result<Value> {
        self.socket.send(Message::text(call.to_string())).await?;
        loop {
            let message = self.socket.next().await.context("the browser hung up")??;
            let Message::Text(text) = message else {
                continue;
            };
            let said: Value = serde_json::from_str(&text)?;
            if said["id"] == call["id"] {
                return Ok(said);
            }
        }
    }
}
