//! Messages a second through the whole bot: from the simulator's socket to the commit.
//!
//! Every message has an author of its own, so that every one earns and is saved. The
//! simulator writes as fast as the socket takes; the clock runs from then until the
//! frontier has passed the last message.

use std::time::{Duration, Instant};

use discord_sim::{FloodReport, Sim, World};

use crate::Effort;
use crate::bot::Client;
use crate::database::Scratch;
use crate::measure::{Pair, rate};
use crate::table::{Row, Unit, progress};

/// A commit is seen this late at most. More often would cost Postgres too much.
const LOOK: Duration = Duration::from_millis(10);
/// When the frontier stands still for this long, what is missing was lost.
const STUCK: Duration = Duration::from_secs(10);

/// Measures authors who are known, then authors who are not.
pub async fn measure(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let messages = effort.pick(100_000, 20_000);
    let rounds = effort.pick(5, 3);
    let mut database = Scratch::make().await?;
    let (mut known, mut new) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        progress(&format!(
            "load: round {round} of {rounds}, {messages} messages"
        ));
        let counted = count(messages).await?;
        known.push((bot(&mut database, messages, true).await?, counted));
        new.push((bot(&mut database, messages, false).await?, counted));
    }
    database.remove().await?;
    let row = |who: &str, rounds: &[(f64, f64)]| {
        Row::new(
            format!("load, messages of {who} users"),
            Unit::PerSecond,
            Pair::of(rounds),
            "a serenity client that only counts them",
        )
        .aim("≥ 0.8")
    };
    Ok(vec![row("known", &known), row("new", &new)])
}

async fn count(messages: u32) -> anyhow::Result<f64> {
    let sim = start_sim(messages).await?;
    let mut client = Client::counting(&sim, messages as usize)?;
    client.connected(&sim).await?;
    calm_down().await;
    let started = Instant::now();
    flood(&sim, messages).await?;
    client.says_something().await?;
    let took = started.elapsed();
    client.end().await?;
    Ok(rate(messages as usize, took))
}

async fn bot(database: &mut Scratch, messages: u32, known: bool) -> anyhow::Result<f64> {
    database.forget_everyone().await?;
    if known {
        database.introduce(messages).await?;
    }
    database.tidy().await?;
    let sim = start_sim(messages).await?;
    let mut client = Client::wall_e(&sim, &database.url()?)?;
    client.settled(&sim).await?;
    client.counts(&sim, database).await?;
    calm_down().await;
    let started = Instant::now();
    let report = flood(&sim, messages).await?;
    let last = i64::try_from(report.first_id)? + i64::from(messages) - 1;
    let took = committed(database, last).await? - started;
    client.end().await?;
    let saved = database
        .number("select sum(messages)::bigint - 1 from xp_day")
        .await?;
    let saved = u32::try_from(saved)?;
    if saved < messages {
        let missing = messages - saved;
        progress(&format!(
            "load: {missing} messages were not saved; they do not count"
        ));
    }
    Ok(rate(saved as usize, took))
}

/// When the frontier has passed the last message, or moved for the last time.
async fn committed(database: &mut Scratch, last: i64) -> anyhow::Result<Instant> {
    let (mut frontier, mut moved) = (0, Instant::now());
    while frontier < last && moved.elapsed() < STUCK {
        let now = database.frontier().await?;
        if now > frontier {
            (frontier, moved) = (now, Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(moved)
}

async fn start_sim(members: u32) -> anyhow::Result<Sim> {
    Sim::start(World::new().members(members)).await
}

async fn flood(sim: &Sim, messages: u32) -> anyhow::Result<FloodReport> {
    sim.flood(messages.into(), messages, sim.channel("general"))
        .await
}

/// What a client still does at its start is over by then.
async fn calm_down() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}
