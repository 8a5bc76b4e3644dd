//! The reference of `load`: the same serenity, on the same kind of runtime, behind the
//! same REST front, that counts messages and does nothing else with them.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use serenity::all::{ClientBuilder, Event, GatewayIntents, RawEventHandler};
use serenity::http::HttpBuilder;

/// What it is told. Where Discord is it learns as the bot does.
#[derive(Debug, clap::Args)]
pub struct Settings {
    /// After how many messages to say so
    messages: u64,
    #[arg(env = "WALLE_TOKEN", long, hide_env_values = true)]
    token: String,
    #[arg(env = "WALLE_DISCORD_API", long)]
    api: String,
    #[arg(env = "WALLE_DISCORD_CA", long)]
    ca: PathBuf,
}

/// Counts until it is killed.
pub fn count(settings: Settings) -> anyhow::Result<()> {
    // As the bot has it: events come in order, and faster than on several threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(count_messages(settings))
}

async fn count_messages(settings: Settings) -> anyhow::Result<()> {
    let address: SocketAddr = settings.api.trim_start_matches("https://").parse()?;
    let certificate = reqwest::Certificate::from_pem(&std::fs::read(&settings.ca)?)?;
    let rest = reqwest::Client::builder()
        .add_root_certificate(certificate)
        .resolve_to_addrs("discord.com", &[address])
        .build()?;
    let http = HttpBuilder::new(&settings.token).client(rest).build();
    let intents =
        GatewayIntents::GUILDS | GatewayIntents::GUILD_MESSAGES | GatewayIntents::MESSAGE_CONTENT;
    let counter = Counter {
        wanted: settings.messages,
        seen: AtomicU64::new(0),
    };
    let mut client = ClientBuilder::new_with_http(http, intents)
        .raw_event_handler(counter)
        .await?;
    client.start().await.context("the gateway connection ended")
}

struct Counter {
    wanted: u64,
    seen: AtomicU64,
}

#[serenity::async_trait]
impl RawEventHandler for Counter {
    async fn raw_event(&self, _: serenity::all::Context, event: Event) {
        let Event::MessageCreate(_) = event else {
            return;
        };
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.wanted {
            // Should nobody read it, the bench has ended.
            let _ = writeln!(std::io::stdout(), "counted");
        }
    }
}
