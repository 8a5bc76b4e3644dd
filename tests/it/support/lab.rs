//! A running engine over a Postgres that can be cut off.

use std::sync::Arc;

use fault_lab::Gate;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wall_e::leveling::UserId;
use wall_e::store::Database;
use wall_e::store::watermark::Lost;
use wall_e::xp::{EngineEnd, EngineHandles, Gap, Inbox, XpCache};

use super::{TestDatabase, engine, standings};

/// A running engine that reaches Postgres through a gate, and a connection beside the gate.
pub struct Lab {
    pub inbox: Inbox,
    pub gaps: watch::Receiver<Option<Gap>>,
    pub cache: Arc<XpCache>,
    pub end: CancellationToken,
    pub running: JoinHandle<Result<EngineEnd, Lost>>,
    pub gate: Gate,
    /// Reaches Postgres directly, not through the gate.
    pub store: Database,
    pub database: TestDatabase,
}

impl Lab {
    pub async fn open() -> Self {
        Self::open_on(TestDatabase::migrated().await).await
    }

    pub async fn open_on(database: TestDatabase) -> Self {
        let gate = Gate::open_before(database.server_address()).await;
        let gate = gate.expect("a gate");
        let through = Database::connect(&database.url_through(&gate).into()).await;
        let (engine, EngineHandles { inbox, gaps }, cache) =
            engine(&through.expect("the gate is open")).await;
        let end = CancellationToken::new();
        Self {
            inbox,
            gaps,
            cache,
            running: tokio::spawn(engine.run(end.clone())),
            end,
            gate,
            store: database.store().await,
            database,
        }
    }

    pub async fn points(&self, user: UserId) -> Option<u64> {
        let standing = standings(&self.store).await.remove(&user)?;
        Some(standing.points.get())
    }

    /// Ends the engine. The database stays while the result is kept.
    pub async fn ends_well(self) -> TestDatabase {
        self.end.cancel();
        self.running.await.unwrap().expect("the engine ends well");
        self.database
    }
}
