//! Messages a second through the whole bot: from the simulator's socket to the commit.
//!
//! Every message has an author of its own, so that every one earns and is saved. The
//! simulator writes as fast as the socket takes; the clock runs from then until the
//! frontier has passed the last message.

use std::time::{Duration, Instant};

use discord_sim::{FloodReport, Sim, World};

use crate::Effort;
use crate::aims;
use crate::bot::Client;
use crate::counter::Library;
use crate::database::Scratch;
use crate::measure::{Pair, median, rate};
use crate::table::{Row, Unit, progress};

/// A commit is seen this late at most. More often would cost Postgres too much.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// When the frontier stands still for this long, what is missing was lost.
const STUCK: Duration = Duration::from_secs(10);

/// What one flood took.
#[derive(Clone, Copy, Debug)]
struct Flooded {
    rate: f64,
    /// Of the client, for each message.
    client: Option<Duration>,
    /// Of Postgres.
    postgres: Option<Duration>,
}

/// What one round has measured, in this order.
struct Round {
    serenity: Flooded,
    twilight: Flooded,
    new: Flooded,
    known: Flooded,
    renamed: Flooded,
}

/// Who writes the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Authors {
    /// Users of whom the database knows nothing.
    New,
    /// The authors of the flood before, under the names that are stored: nearly every message of
    /// a real guild.
    Known,
    /// Stored users, each of whom has another name now.
    Renamed,
}

/// Measures new authors, then the same again, then authors who have changed their names.
pub async fn measure(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let messages = effort.pick(100_000, 20_000);
    let rounds = effort.pick(7, 3);
    let mut database = Scratch::make().await?;
    let mut measured = Vec::new();
    for round in 1..=rounds {
        progress(&format!(
            "load: round {round} of {rounds}, {messages} messages"
        ));
        measured.push(Round {
            serenity: count(Library::Serenity, messages).await?,
            twilight: count(Library::Twilight, messages).await?,
            new: bot(&mut database, messages, Authors::New).await?,
            known: bot(&mut database, messages, Authors::Known).await?,
            renamed: bot(&mut database, messages, Authors::Renamed).await?,
        });
    }
    database.remove().await?;
    let known: Measured = ("known users", |round| round.known);
    let renamed: Measured = ("known users, each with another name", |round| round.renamed);
    let new: Measured = ("new users", |round| round.new);
    let serenity: Measured = ("a serenity client that only counts them", |round| {
        round.serenity
    });
    let twilight: Measured = ("a twilight client that only counts them", |round| {
        round.twilight
    });
    Ok(vec![
        row(&measured, known, twilight).aim(aims::LOAD_KNOWN),
        row(&measured, known, serenity).aim(aims::LOAD_KNOWN_BESIDE_SERENITY),
        row(&measured, renamed, twilight).aim(aims::LOAD_RENAMED),
        row(&measured, new, twilight).aim(aims::LOAD_NEW),
    ])
}

/// Whose messages, or which client; and what a round has measured of it.
type Measured = (&'static str, fn(&Round) -> Flooded);

fn row(rounds: &[Round], (who, ours): Measured, (client, reference): Measured) -> Row {
    let rates = rounds
        .iter()
        .map(|round| (ours(round).rate, reference(round).rate));
    let cpu = format!(
        "bot {}, Postgres {}; reference {}",
        usual_cpu(rounds.iter().map(|round| ours(round).client)),
        usual_cpu(rounds.iter().map(|round| ours(round).postgres)),
        usual_cpu(rounds.iter().map(|round| reference(round).client)),
    );
    Row::new(
        format!("load, messages of {who}"),
        Unit::PerSecond,
        Pair::of(&rates.collect::<Vec<_>>()),
        client,
    )
    .cpu(cpu)
}

/// The median in microseconds, where all rounds could see it.
fn usual_cpu(rounds: impl Iterator<Item = Option<Duration>>) -> String {
    let micros: Option<Vec<f64>> = rounds.map(|used| Some(used?.as_secs_f64() * 1e6)).collect();
    let micros = micros.map(|micros| median(micros.into_iter()));
    micros.map_or("?".to_owned(), |micros| format!("{micros:.1} µs"))
}

/// What was used of the processors between two looks, for each message.
fn each(before: Option<Duration>, after: Option<Duration>, messages: u32) -> Option<Duration> {
    Some(after?.saturating_sub(before?) / messages)
}

async fn count(library: Library, messages: u32) -> anyhow::Result<Flooded> {
    let sim = start_sim().await?;
    let mut client = Client::counting(&sim, library, messages as usize)?;
    client.connected(&sim).await?;
    calm_down().await;
    let (before, started) = (client.cpu(), Instant::now());
    flood(&sim, messages).await?;
    client.says_something().await?;
    let took = started.elapsed();
    let used = each(before, client.cpu(), messages);
    client.end().await?;
    Ok(Flooded {
        rate: rate(messages as usize, took),
        client: used,
        postgres: None,
    })
}

async fn bot(database: &mut Scratch, messages: u32, authors: Authors) -> anyhow::Result<Flooded> {
    match authors {
        Authors::New => database.forget_everyone().await?,
        Authors::Known => database.forget_awards().await?,
        Authors::Renamed => {
            database.forget_everyone().await?;
            database.introduce(messages).await?;
        }
    }
    database.tidy().await?;
    let sim = start_sim().await?;
    let mut client = Client::wall_e(&sim, &database.url()?)?;
    client.settled(&sim).await?;
    client.counts(&sim, database).await?;
    calm_down().await;
    let (of_client, of_postgres) = (client.cpu(), database.cpu().await?);
    let started = Instant::now();
    let report = flood(&sim, messages).await?;
    let last = i64::try_from(report.first_id)? + i64::from(messages) - 1;
    let took = committed(database, last).await? - started;
    let of_client = each(of_client, client.cpu(), messages);
    let of_postgres = each(of_postgres, database.cpu().await?, messages);
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
    let renamed = database
        .number("select count(distinct username) from user_point")
        .await?;
    if renamed > 2 {
        progress("load: names of some authors were not saved");
    }
    Ok(Flooded {
        rate: rate(saved as usize, took),
        client: of_client,
        postgres: of_postgres,
    })
}

/// When the frontier has passed the last message, or moved for the last time.
async fn committed(database: &mut Scratch, last: i64) -> anyhow::Result<Instant> {
    let (mut frontier, mut moved) = (0, Instant::now());
    while frontier < last && moved.elapsed() < STUCK {
        let now = database.frontier().await?;
        if now > frontier {
            (frontier, moved) = (now, Instant::now());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(moved)
}

/// A guild of few members. Whoever else writes is a member as their message says, and is on no
/// list that is read meanwhile: it is messages that are measured.
async fn start_sim() -> anyhow::Result<Sim> {
    Sim::start(World::new().members(1)).await
}

async fn flood(sim: &Sim, messages: u32) -> anyhow::Result<FloodReport> {
    sim.flood(messages.into(), messages, sim.channel("general"))
        .await
}

/// What a client still does at its start is over by then.
async fn calm_down() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}
