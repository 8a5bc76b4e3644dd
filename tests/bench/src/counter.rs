//! The references of `load`: clients that count messages and do nothing else with them, one with
//! the library that the bot's gateway is built on, one with serenity's own gateway.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use serenity::all::{ClientBuilder, Event, GatewayIntents, RawEventHandler};
use serenity::http::HttpBuilder;
use twilight_gateway::{ConfigBuilder, Intents, Message, Shard, ShardId};

/// What it is told. Where Discord is it learns as the bot does.
#[derive(Debug, clap::Args)]
pub struct Settings {
    /// What to count with
    library: Library,
    /// After how many messages to say so
    messages: u64,
    #[arg(env = "WALLE_TOKEN", long, hide_env_values = true)]
    token: String,
    #[arg(env = "WALLE_DISCORD_API", long)]
    api: String,
    #[arg(env = "WALLE_DISCORD_CA", long)]
    ca: PathBuf,
}

/// What a client is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Library {
    /// serenity's gateway and its whole model of a message
    Serenity,
    /// twilight's gateway, and of a message the few fields that XP needs
    Twilight,
}

/// Counts until it is killed.
pub fn count(settings: Settings) -> anyhow::Result<()> {
    // Events come in order on it, and faster than on several threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match settings.library {
            Library::Serenity => count_with_serenity(settings).await,
            Library::Twilight => count_with_twilight(settings).await,
        }
    })
}

/// An HTTP client that finds the simulator at Discord's name.
fn rest(settings: &Settings) -> anyhow::Result<reqwest::Client> {
    let address: SocketAddr = settings.api.trim_start_matches("https://").parse()?;
    let certificate = reqwest::Certificate::from_pem(&std::fs::read(&settings.ca)?)?;
    Ok(reqwest::Client::builder()
        .add_root_certificate(certificate)
        .resolve_to_addrs("discord.com", &[address])
        .build()?)
}

/// Says that all was counted. Should nobody read it, the bench has ended.
fn say_counted() {
    let _ = writeln!(std::io::stdout(), "counted");
}

async fn count_with_serenity(settings: Settings) -> anyhow::Result<()> {
    let http = HttpBuilder::new(&settings.token)
        .client(rest(&settings)?)
        .build();
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
            say_counted();
        }
    }
}

/// A frame, as far as it takes to see what it is.
#[derive(Deserialize)]
struct Frame<'a> {
    t: Option<&'a str>,
    #[serde(borrow)]
    d: Option<&'a RawValue>,
}

/// A message, as far as XP needs it.
#[derive(Deserialize)]
#[expect(dead_code, reason = "what is read is what it costs")]
struct NewMessage<'a> {
    id: &'a str,
    channel_id: &'a str,
    #[serde(rename = "type")]
    kind: u8,
    #[serde(borrow)]
    author: Author<'a>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "what is read is what it costs")]
struct Author<'a> {
    id: &'a str,
    #[serde(default)]
    bot: bool,
}

async fn count_with_twilight(settings: Settings) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Gateway {
        url: String,
    }
    let asked = rest(&settings)?
        .get("https://discord.com/api/v10/gateway/bot")
        .header("authorization", format!("Bot {}", settings.token))
        .header("user-agent", "DiscordBot (https://twilight.rs, 0.18)");
    let answer = asked.send().await?.error_for_status()?.bytes().await?;
    let Gateway { url } = serde_json::from_slice(&answer)?;
    let intents = Intents::GUILDS | Intents::GUILD_MESSAGES | Intents::MESSAGE_CONTENT;
    let config = ConfigBuilder::new(settings.token, intents).proxy_url(url);
    let mut shard = Shard::with_config(ShardId::ONE, config.build());
    let mut seen = 0;
    while let Some(item) = shard.next().await {
        let Ok(Message::Text(text)) = item else {
            continue;
        };
        let frame: Frame<'_> = serde_json::from_str(&text)?;
        let (Some("MESSAGE_CREATE"), Some(data)) = (frame.t, frame.d) else {
            continue;
        };
        std::hint::black_box(serde_json::from_str::<NewMessage<'_>>(data.get())?);
        seen += 1;
        if seen == settings.messages {
            say_counted();
        }
    }
    bail!("the gateway connection ended")
}
