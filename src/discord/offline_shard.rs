//! Builds a serenity context with an unused shard, because poise requires one and only serenity's
//! gateway normally provides it.
//!
//! The shard is not connected to Discord. serenity can only construct one with a websocket
//! handshake, so a local listener completes the handshake once and is dropped. The shard receives
//! no events, sends nothing and never uses TLS.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use serenity::all::{
    Context, GatewayIntents, Shard, ShardId, ShardInfo, ShardManager, ShardManagerOptions,
    ShardMessenger, ShardRunner, ShardRunnerOptions,
};
use serenity::http::HttpBuilder;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Timeout of the handshake; both ends are in this process.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The serenity objects that poise takes with every command.
pub struct OfflineShard {
    /// A placeholder: its HTTP client has no token and is never called.
    pub context: Context,
    /// Manages no shard.
    pub manager: Arc<ShardManager>,
}

impl OfflineShard {
    /// Builds the objects; fails if the local handshake fails or times out.
    pub async fn new() -> anyhow::Result<Self> {
        let http = HttpBuilder::new("").ratelimiter_disabled(true);
        let http = Arc::new(http.build());
        let shard = timeout(HANDSHAKE_TIMEOUT, shard())
            .await
            .context("the local websocket handshake timed out")??;
        let data = Arc::default();
        let (manager, _) = ShardManager::new(ShardManagerOptions {
            data: Arc::clone(&data),
            event_handlers: Vec::new(),
            raw_event_handlers: Vec::new(),
            framework: Arc::new(OnceLock::new()),
            shard_index: 0,
            shard_init: 0,
            shard_total: 1,
            ws_url: Arc::default(),
            http: Arc::clone(&http),
            intents: GatewayIntents::empty(),
            presence: None,
        });
        let runner = ShardRunner::new(ShardRunnerOptions {
            data: Arc::clone(&data),
            event_handlers: Vec::new(),
            raw_event_handlers: Vec::new(),
            framework: None,
            manager: Arc::clone(&manager),
            shard,
            http: Arc::clone(&http),
        });
        let context = Context {
            data,
            shard: ShardMessenger::new(&runner),
            shard_id: ShardId(0),
            http,
        };
        Ok(Self { context, manager })
    }
}

async fn shard() -> anyhow::Result<Shard> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("ws://{}", listener.local_addr()?);
    // The constructor is private, so parse Discord's JSON form `[id, total]`.
    let info: ShardInfo = serde_json::from_str("[0,1]")?;
    let connecting = Shard::new(
        Arc::new(Mutex::new(url)),
        "",
        info,
        GatewayIntents::empty(),
        None,
    );
    let accepting = async {
        let (stream, _) = listener.accept().await?;
        tokio_tungstenite::accept_async(stream).await?;
        anyhow::Ok(())
    };
    let (shard, accepted) = tokio::join!(connecting, accepting);
    accepted?;
    Ok(shard?)
}
