//! A gate between the bot and Postgres, that can be shut: what a restart, a network
//! failure or a lost answer looks like from the bot's side.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use super::TestDatabase;

/// How wide the gate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Open,
    /// Nobody gets through, and whoever was inside is thrown out.
    Shut,
    /// Whoever sends COMMIT is thrown out once Postgres has it: the answer is lost.
    LosesCommits,
}

/// A listener that passes connections on while it is open.
pub struct Gate {
    address: SocketAddr,
    position: Arc<watch::Sender<Position>>,
}

impl Gate {
    /// An open gate before the server of `database`.
    pub async fn open_before(database: &TestDatabase) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let position = Arc::new(watch::Sender::new(Position::Open));
        let (host, port) = database.server_address();
        let watched = Arc::clone(&position);
        tokio::spawn(async move {
            while let Ok((bot, _)) = listener.accept().await {
                let (host, positions) = (host.clone(), watched.subscribe());
                if *positions.borrow() != Position::Shut {
                    tokio::spawn(pass(bot, host, port, positions));
                }
            }
        });
        Self { address, position }
    }

    /// The database's URL through the gate.
    pub fn url(&self, database: &TestDatabase) -> String {
        format!(
            "postgres://{}@{}/{}?sslmode=disable",
            database.role(),
            self.address,
            database.name()
        )
    }

    pub fn shut(&self) {
        self.position.send_replace(Position::Shut);
    }

    pub fn open(&self) {
        self.position.send_replace(Position::Open);
    }

    /// From now on every COMMIT arrives, and its answer does not.
    pub fn lose_commits(&self) {
        self.position.send_replace(Position::LosesCommits);
    }
}

async fn pass(mut bot: TcpStream, host: String, port: u16, positions: watch::Receiver<Position>) {
    if host.starts_with('/') {
        let server = UnixStream::connect(format!("{host}/.s.PGSQL.{port}")).await;
        let (from_server, to_server) = server.expect("Postgres listens").into_split();
        carry(&mut bot, from_server, to_server, positions).await;
    } else {
        let server = TcpStream::connect((host, port)).await;
        let (from_server, to_server) = server.expect("Postgres listens").into_split();
        carry(&mut bot, from_server, to_server, positions).await;
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
