//! REST calls to the simulator, set up as the bot sets its own up; without a bot.

use clap::Parser;
use discord_sim::Sim;
use tokio_util::sync::CancellationToken;
use wall_e::config::{Cli, Command};
use wall_e::discord::{Rest, client};

/// Calls with the simulator's token, under the bot's policy.
pub async fn rest(sim: &Sim) -> Rest {
    let (token, api) = (sim.token(), sim.api_url());
    let ca = sim.ca_path().display().to_string();
    let flags = [
        ["--token", &token],
        ["--discord-api", &api],
        ["--discord-ca", &ca],
        ["--database-url", "postgres://nobody@127.0.0.1:1/none"],
    ];
    let words = ["wall_e", "run"].into_iter().chain(flags.concat());
    let Command::Run(settings) = Cli::parse_from(words).command else {
        unreachable!("it was asked to run");
    };
    let token = settings.discord.token().expect("a token");
    let rest = client::rest(&settings.discord, &token, CancellationToken::new());
    rest.await.expect("a client")
}
