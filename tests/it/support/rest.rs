//! Calls to the simulator, set up as the bot sets its own up; without a bot.

use clap::Parser;
use discord_sim::Sim;
use tokio_util::sync::CancellationToken;
use wall_e::config::{Cli, Command, Run};
use wall_e::discord::cdn::Cdn;
use wall_e::discord::{Rest, client};

/// Calls with the simulator's token, under the bot's policy.
pub async fn rest(sim: &Sim) -> Rest {
    let settings = settings(sim).discord;
    let token = settings.token().expect("a token");
    let rest = client::rest(&settings, &token, CancellationToken::new());
    rest.await.expect("a client")
}

/// The simulator's CDN.
pub fn cdn(sim: &Sim) -> Cdn {
    let settings = settings(sim);
    Cdn::new(&settings.cdn, &settings.discord).expect("a client")
}

fn settings(sim: &Sim) -> Run {
    let (token, api, cdn) = (sim.token(), sim.api_url(), sim.cdn_url());
    let ca = sim.ca_path().display().to_string();
    let guild = sim.guild_id().to_string();
    let flags = [
        ["--token", &token],
        ["--guild-id", &guild],
        ["--discord-api", &api],
        ["--discord-ca", &ca],
        ["--discord-cdn", &cdn],
        ["--database-url", "postgres://nobody@127.0.0.1:1/none"],
    ];
    let words = ["wall_e", "run"].into_iter().chain(flags.concat());
    let Command::Run(settings) = Cli::parse_from(words).command else {
        unreachable!("it was asked to run");
    };
    settings
}
