//! Real Redis and PostgreSQL for the service that uses them.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, getuid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::artefact;
use crate::port::Port;
use crate::room::Room;
use crate::until::until;

/// `nobody` and its group on Linux: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;

/// A running Redis.
#[derive(Debug)]
pub struct Redis {
    port: Port,
}

impl Redis {
    /// Starts Redis without persistence under the name `redis`.
    ///
    /// # Errors
    ///
    /// It is missing or does not answer.
    pub async fn start(room: &mut Room) -> Result<Self> {
        let port = Port::reserve()?;
        let mut command = Command::new(artefact::tool("redis-server")?);
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.number().to_string()])
            .current_dir(room.path(""));
        room.start("redis", &mut command)?;
        let redis = Self { port };
        until("Redis answers", async || {
            room.process("redis")?.check_running()?;
            let answer = redis.command("PING").await?;
            ensure!(answer == "+PONG", "{answer}");
            Ok(())
        })
        .await?;
        Ok(redis)
    }

    /// The URL for `REDIS_URL`.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.port.address())
    }

    /// Sends an inline command and gives the first line of the answer.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn command(&self, command: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.port.address()).await?;
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        let line = answer.lines().next();
        Ok(line.context("Redis closed the connection")?.to_owned())
    }
}

/// A running PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    port: Port,
}

impl Postgres {
    /// Makes a cluster in the room and starts it under the name `postgres`;
    /// as `nobody` where the test runs as root.
    ///
    /// # Errors
    ///
    /// It is missing or does not start.
    pub async fn start(room: &mut Room) -> Result<Self> {
        let port = Port::reserve()?;
        let data = room.path("postgres");
        std::fs::create_dir(&data)?;
        if getuid().is_root() {
            std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY))?;
            let_through(&room.path(""))?;
        }
        let initdb = as_nobody(Command::new(artefact::tool("initdb")?))
            .args(["--auth=trust", "--username=gatemeter", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--pgdata"])
            .arg(&data)
            .current_dir(&data)
            .output()?;
        ensure!(
            initdb.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&initdb.stderr)
        );
        let mut command = as_nobody(Command::new(artefact::tool("postgres")?));
        command
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.number().to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "fsync=off"])
            .current_dir(&data);
        // Fast shutdown; SIGTERM would wait for the clients to leave.
        let log = room.path("postgres.log");
        let process = crate::process::Process::start("postgres", &mut command, &log)?;
        room.admit(process.stopped_by(Signal::INT))?;
        let postgres = Self { port };
        until("PostgreSQL accepts connections", async || {
            room.process("postgres")?.check_running()?;
            postgres.ask_for_encryption().await
        })
        .await?;
        Ok(postgres)
    }

    /// The URL for `DATABASE_URL`.
    pub fn url(&self) -> String {
        format!("postgres://gatemeter@{}/postgres", self.port.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The shortest question of its protocol: SSLRequest, which it answers
    /// with one letter.
    async fn ask_for_encryption(&self) -> Result<()> {
        let mut stream = TcpStream::connect(self.port.address()).await?;
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
        let answer = stream.read_u8().await?;
        ensure!(matches!(answer, b'N' | b'S'), "answer {answer}");
        Ok(())
    }
}

fn as_nobody(mut command: Command) -> Command {
    if getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Lets other users reach what they own below a private folder.
fn let_through(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = folder.metadata()?.permissions();
    permissions.set_mode(permissions.mode() | 0o011);
    std::fs::set_permissions(folder, permissions)?;
    Ok(())
}
