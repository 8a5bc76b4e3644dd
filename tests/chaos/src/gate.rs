//! A gate between the bot and Postgres, that can be shut: what a restart, a network
//! failure or a lost answer looks like from the bot's side.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
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
}

/// Where the server listens.
#[derive(Clone, Debug)]
pub enum Server {
    /// On a unix socket.
    Socket(String),
    /// On a host's port.
    Port(String, u16),
}

/// A listener that passes connections on while it is open.
#[derive(Debug)]
pub struct Gate {
    /// Where it listens.
    pub address: SocketAddr,
    position: watch::Sender<Position>,
}

impl Gate {
    /// An open gate before `server`. It ends with the runtime.
    pub async fn open_before(server: Server) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (position, watched) = watch::channel(Position::Open);
        tokio::spawn(accept(listener, server, watched));
        Ok(Self { address, position })
    }

    /// Moves it.
    pub fn set(&self, position: Position) {
        self.position.send_replace(position);
    }
}

/// Until the gate itself is gone.
async fn accept(listener: TcpListener, server: Server, watched: watch::Receiver<Position>) {
    let mut gone = watched.clone();
    loop {
        let bot = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = gone.wait_for(|_| false) => return,
        };
        let Ok((bot, _)) = bot else { return };
        if *watched.borrow() != Position::Shut {
            tokio::spawn(pass(bot, server.clone(), watched.clone()));
        }
    }
}

async fn pass(mut bot: TcpStream, server: Server, positions: watch::Receiver<Position>) {
    match server {
        Server::Socket(path) => {
            if let Ok(server) = UnixStream::connect(path).await {
                let (from_server, to_server) = server.into_split();
                carry(&mut bot, from_server, to_server, positions).await;
            }
        }
        Server::Port(host, port) => {
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
    let (mut from_bot, mut to_bot) = bot.split();
    let watched = positions.clone();
    let forth = async {
        let mut buffer = vec![0; 64 * 1024];
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
    let back = async { copy(&mut from_server, &mut to_bot).await.map(|_| ()) };
    tokio::select! {
        () = forth => {}
        _ = back => {}
        _ = positions.wait_for(|position| *position == Position::Shut) => {}
    }
}
