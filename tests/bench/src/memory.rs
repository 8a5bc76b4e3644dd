//! The memory that the whole bot has in use, in guilds of very different sizes.
//!
//! Everyone's roles have been verified, so that every member was seen; then many members write a
//! message each, with names that the bot has not seen, and all of it is saved.

use std::time::{Duration, Instant};

use anyhow::bail;
use discord_sim::{Sim, World};

use crate::Effort;
use crate::bot::Client;
use crate::counter::Library;
use crate::database::Scratch;
use crate::measure::{Pair, float};
use crate::table::{Row, Unit, progress, thousands};

const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// A list of a million members is a thousand calls.
const RECONCILE_TIMEOUT: Duration = Duration::from_mins(5);

/// Measures a guild of the usual size, and one that is as large as Discord's largest.
pub async fn measure(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let mut database = Scratch::make().await?;
    let mut rows = Vec::new();
    for (members, writers) in [
        (7_000, 7_000),
        (
            effort.pick(1_000_000, 100_000),
            effort.pick(100_000, 10_000),
        ),
    ] {
        let (all, some) = (
            thousands(float(members as usize)),
            thousands(float(writers as usize)),
        );
        progress(&format!("memory: {all} members, of whom {some} write"));
        let ours = of_bot(&mut database, members, writers).await?;
        let counting = of_counter(members, writers).await?;
        rows.push(Row::new(
            format!("the bot's resident memory, {all} members of whom {some} have written"),
            Unit::Megabytes,
            Pair::of(&[(float(ours), float(counting))]),
            "a twilight client that only counts the messages",
        ));
    }
    database.remove().await?;
    Ok(rows)
}

async fn of_bot(database: &mut Scratch, members: u32, writers: u32) -> anyhow::Result<usize> {
    database.forget_everyone().await?;
    let sim = start_sim(members).await?;
    let mut client = Client::wall_e(&sim, &database.url()?)?;
    client.settled(&sim).await?;
    let started = Instant::now();
    while !client.log().contains("roles are verified") {
        if started.elapsed() > RECONCILE_TIMEOUT {
            bail!("the roles are not verified:\n{}", client.log());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    write(&sim, writers).await?;
    client.counts(&sim, database).await?;
    let resident = client.resident_bytes()?;
    client.end().await?;
    Ok(resident)
}

async fn of_counter(members: u32, writers: u32) -> anyhow::Result<usize> {
    let sim = start_sim(members).await?;
    let mut client = Client::counting(&sim, Library::Twilight, writers as usize)?;
    client.connected(&sim).await?;
    write(&sim, writers).await?;
    client.says_something().await?;
    let resident = client.resident_bytes()?;
    client.end().await?;
    Ok(resident)
}

async fn start_sim(members: u32) -> anyhow::Result<Sim> {
    let sim = Sim::start(World::new().members(members)).await?;
    sim.settings(|settings| settings.rate_limits = false);
    Ok(sim)
}

async fn write(sim: &Sim, writers: u32) -> anyhow::Result<()> {
    let channel = sim.channel("general");
    sim.flood(writers.into(), writers, channel).await?;
    Ok(())
}
