//! A gate between the bot and Postgres, that can be shut: what a network failure, a lost
//! answer or a slow server looks like from the bot's side. Never starts or stops a server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// How wide the gate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Everyone gets through.
    Open,
    /// Nobody gets through, and whoever was inside is thrown out.
    Shut,
    /// Whoever sends COMMIT is thrown out once Postgres has it: the answer is lost.
    LosesCommits,
    /// Whatever Postgres says comes this much later.
    Slow(Duration),
}

/// Where a Postgres listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// On a unix socket.
    Socket(PathBuf),
    /// On a host's port.
    Port(String, u16),
}

impl Address {
    /// As connection options have it: a host or the directory of a socket, and a port.
    pub fn of(host: &str, port: u16) -> Self {
        if host.starts_with('/') {
            Self::Socket(PathBuf::from(host).join(format!(".s.PGSQL.{port}")))
        } else {
            Self::Port(host.to_owned(), port)
        }
    }
}

/// A listener that passes connections on while it is open. It ends when it is dropped.
#[derive(Debug)]
pub struct Gate {
    /// Where it listens.
    pub address: SocketAddr,
    position: watch::Sender<Position>,
    passed: Arc<AtomicUsize>,
}

impl Gate {
    /// An open gate before the server that listens, now or later, at `server`.
    pub async fn open_before(server: Address) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.context("no port is free")?;
        let address = listener.local_addr()?;
        let (position, watched) = watch::channel(Position::Open);
        let passed = Arc::new(AtomicUsize::new(0));
        tokio::spawn(accept(listener, server, watched, Arc::clone(&passed)));
        Ok(Self {
            address,
            position,
            passed,
        })
    }

    /// Moves it.
    pub fn set(&self, position: Position) {
        self.position.send_replace(position);
    }

    /// How many connections it has passed on.
    pub fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    server: Address,
    watched: watch::Receiver<Position>,
    passed: Arc<AtomicUsize>,
) {
    let mut gone = watched.clone();
    loop {
        let bot = tokio::select! {
            accepted = listener.accept() => accepted,
            // Never true: this ends when the sender is gone.
            _ = gone.wait_for(|_| false) => return,
        };
        let Ok((bot, _)) = bot else { return };
        if *watched.borrow() != Position::Shut {
            passed.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(pass(bot, server.clone(), watched.clone()));
        }
    }
}

/// A server that is not there is a connection that breaks at once.
async fn pass(mut bot: TcpStream, server: Address, positions: watch::Receiver<Position>) {
    match server {
        Address::Socket(path) => {
            if let Ok(server) = UnixStream::connect(path).await {
                let (from_server, to_server) = server.into_split();
                carry(&mut bot, from_server, to_server, positions).await;
            }
        }
        Address::Port(host, port) => {
            if let Ok(server) = TcpStream::connect((host, port)).await {
                let (from_server, to_server) = server.into_split();
                carry(&mut bot, from_server, to_server, positions).await;
            }
        }
    }
}

async fn carry(
    bot: &mut TcpStream,
    mut from_server: impl AsyncReadExt + Unpin,
    mut to_server: impl AsyncWriteExt + Unpin,
    mut positions: watch::Receiver<Position>,
) {
    const BUFFER: usize = 64 * 1024;
    let (mut from_bot, mut to_bot) = bot.split();
    let watched = positions.clone();
    let forth = async {
        let mut buffer = vec![0; BUFFER];
        while let Ok(length @ 1..) = from_bot.read(&mut buffer).await {
            if to_server.write_all(&buffer[..length]).await.is_err() {
                return;
            }
            let commits = buffer[..length].windows(6).any(|word| word == b"COMMIT");
            if commits && *watched.borrow() == Position::LosesCommits {
                // Postgres has read it by the time it reads the end that follows.
                let _ = to_server.shutdown().await;
                return;
            }
        }
    };
    let back = async {
        let mut buffer = vec![0; BUFFER];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            let position = *watched.borrow();
            if let Position::Slow(by) = position {
                tokio::time::sleep(by).await;
            }
            if to_bot.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = forth => {}
        () = back => {}
        _ = positions.wait_for(|position| *position == Position::Shut) => {}
    }
}
