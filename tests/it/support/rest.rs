//! Calls to the simulator, set up as the bot sets its own up; without a bot.

use clap::Parser;
use discord_sim::Sim;
use tokio_util::sync::CancellationToken;
use wall_e::config::{Cli, CliCommand, Run};
use wall_e::discord::Rest;
use wall_e::discord::cdn::Cdn;
use wall_e::discord::guild::known_guild::KnownGuild;
use wall_e::discord::guild::right_roles::RightRoles;
use wall_e::discord::rest::client;
use wall_e::leveling::{GuildId, RoleEntry};

use super::TestDatabase;

/// Calls with the simulator's token, under the bot's policy.
pub fn rest(sim: &Sim) -> Rest {
    rest_until_revoked(sim).0
}

/// The same through a proxy that keeps the limits.
pub fn rest_by_proxy(sim: &Sim) -> Rest {
    calls(settings(sim, &sim.proxy_url()), CancellationToken::new())
}

/// The same with what is cancelled when the token is refused.
pub fn rest_until_revoked(sim: &Sim) -> (Rest, CancellationToken) {
    let revoked = CancellationToken::new();
    let calls = calls(settings(sim, &sim.api_url()), revoked.clone());
    (calls, revoked)
}

fn calls(settings: Run, revoked: CancellationToken) -> Rest {
    let settings = settings.discord;
    let token = settings.token().expect("a token");
    client::rest(&settings, &token, revoked).expect("a client")
}

/// The roles whose holders are moderators by this setting.
pub async fn right_roles(sim: &Sim, database: &TestDatabase, moderators: &str) -> RightRoles {
    let mut rights = settings(sim, &sim.api_url()).rights;
    rights.moderators.0 = moderators.split(',').filter_map(RoleEntry::parse).collect();
    let guild = GuildId::new(sim.guild_id()).expect("an id");
    let guild = KnownGuild::new(rest(sim), guild);
    let roles = RightRoles::load(rights, guild, database.store().await);
    roles.await.expect("the pins can be read")
}

/// The simulator's CDN.
pub fn cdn(sim: &Sim) -> Cdn {
    let settings = settings(sim, &sim.api_url());
    Cdn::new(&settings.cdn, &settings.discord).expect("a client")
}

fn settings(sim: &Sim, api: &str) -> Run {
    let (token, cdn) = (sim.token(), sim.cdn_url());
    let ca = sim.ca_path().display().to_string();
    let guild = sim.guild_id().to_string();
    let flags = [
        ["--token", &token],
        ["--guild-id", &guild],
        ["--discord-api", api],
        ["--discord-ca", &ca],
        ["--discord-cdn", &cdn],
        ["--database-url", "postgres://nobody@127.0.0.1:1/none"],
    ];
    let words = ["wall_e", "run"].into_iter().chain(flags.concat());
    let CliCommand::Run(settings) = Cli::parse_from(words).command else {
        unreachable!("it was asked to run");
    };
    settings
}
