//! How fast the bot is back: after an absence, after another bot's end, after Postgres'.
//!
//! Discord's rate limits are off: what is measured is the bot, and they would be what
//! takes the time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use discord_sim::{Message, Method, Sim, World};
use fault_lab::Signal;
use serde_json::Value;

use crate::Effort;
use crate::aims;
use crate::bot::Client;
use crate::database::Scratch;
use crate::measure::{Pair, float};
use crate::table::{Row, Unit, progress};

/// Discord's most for one call.
const PAGE: u32 = 100;
const CHANNELS: [&str; 3] = ["general", "random", "bot-commands"];
const PEOPLE: u32 = 500;
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const RECOVERY_TIMEOUT: Duration = Duration::from_mins(3);

/// Measures all of it.
pub async fn measure(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let mut database = Scratch::make().await?;
    let mut rows = catch_up(&mut database, effort.pick(100_000, 10_000)).await?;
    rows.extend(deploy(&mut database, effort.pick(3, 1)).await?);
    rows.extend(lost_connection(&mut database, effort.pick(5, 2)).await?);
    rows.extend(takeover(&mut database, effort.pick(3, 1)).await?);
    rows.push(postgres(&mut database, effort.pick(3, 1)).await?);
    database.remove().await?;
    Ok(rows)
}

/// So many messages are missed, and read.
async fn catch_up(database: &mut Scratch, missed: u32) -> anyhow::Result<Vec<Row>> {
    database.forget_everyone().await?;
    let sim = quiet_sim().await?;
    let mut client = Client::wall_e(&sim, &database.url()?)?;
    client.settled(&sim).await?;
    let first = sim.say(sim.user("alice"), sim.channel("general"), "hello");
    frontier_at(database, first).await?;
    client.end().await?;
    database.forget_session().await?;

    progress(&format!("recovery: {missed} messages are missed"));
    let mut last = first;
    for number in 0..missed {
        sim.advance(Duration::from_millis(500));
        let channel = sim.channel(CHANNELS[number as usize % CHANNELS.len()]);
        last = sim.post(
            Message::new(
                channel,
                discord_sim::members::id_of(number % PEOPLE),
                "hello",
            )
            .quietly(),
        );
    }
    sim.clear_requests();
    let started = Instant::now();
    let mut client = Client::wall_e(&sim, &database.url()?)?;
    client.settled(&sim).await?;
    frontier_at(database, last).await?;
    let took = started.elapsed();
    let calls = sim.requests_to(&Method::GET, "/channels/{}/messages").len();
    client.end().await?;

    let started = Instant::now();
    let read = plain_reading(&sim, first).await?;
    let plain = started.elapsed();
    if read < missed as usize {
        bail!("the plain client read {read} messages of {missed}");
    }
    let pair = |ours: f64, reference: f64| Pair::of(&[(ours, reference)]);
    let what = format!("recovery, {missed} missed messages");
    Ok(vec![
        Row::new(
            format!("{what}, from start to counted"),
            Unit::Seconds,
            pair(took.as_secs_f64(), plain.as_secs_f64()),
            "a plain client that only reads the same pages, one after another",
        ),
        Row::new(
            format!("{what}, REST calls"),
            Unit::Times,
            pair(float(calls), f64::from(missed.div_ceil(PAGE))),
            "the least that Discord's pages of 100 allow",
        ),
    ])
}

/// Every message after `first`, page by page.
async fn plain_reading(sim: &Sim, first: u64) -> anyhow::Result<usize> {
    let http = reqwest::Client::new();
    let mut read = 0;
    for name in CHANNELS {
        let mut after = first;
        loop {
            let channel = sim.channel(name);
            let url = format!(
                "{}/api/v10/channels/{channel}/messages?limit={PAGE}&after={after}",
                sim.proxy_url()
            );
            let answer = http
                .get(url)
                .header("Authorization", format!("Bot {}", sim.token()))
                .send()
                .await?;
            let page: Vec<Value> = serde_json::from_str(&answer.text().await?)?;
            read += page.len();
            let Some(newest) = page.first().filter(|_| page.len() == PAGE as usize) else {
                break;
            };
            after = newest["id"]
                .as_str()
                .context("a message has an id")?
                .parse()?;
        }
    }
    Ok(read)
}

/// What it took until a message was counted again.
struct Back {
    time: Duration,
    /// REST calls.
    calls: usize,
    /// Those of them that read history.
    readings: usize,
}

/// A bot takes over from one that runs, on its session; beside it a bot that is started when the
/// other has ended, on a session of its own.
async fn deploy(database: &mut Scratch, rounds: u32) -> anyhow::Result<Vec<Row>> {
    let mut measured = Vec::new();
    for round in 1..=rounds {
        progress(&format!("recovery: a deploy, round {round} of {rounds}"));
        database.forget_everyone().await?;
        let sim = quiet_sim().await?;
        let mut first = Client::wall_e(&sim, &database.url()?)?;
        first.settled(&sim).await?;
        first.counts(&sim, database).await?;
        let taken = back(&sim, database, async |database| {
            let second = Client::wall_e_taking_over(&sim, &database.url()?)?;
            first.ended().await?;
            Ok(second)
        });
        let (second, deployed) = taken.await?;
        let started = back(&sim, database, async |database| {
            second.end().await?;
            database.forget_session().await?;
            Client::wall_e(&sim, &database.url()?)
        });
        let (third, restarted) = started.await?;
        third.end().await?;
        measured.push((deployed, restarted));
    }
    Ok(back_rows(
        "recovery, deploy",
        &measured,
        "a stop and a start, which begins a session",
    ))
}

/// A connection is lost and the session goes on; beside it one whose session Discord ends too.
async fn lost_connection(database: &mut Scratch, rounds: u32) -> anyhow::Result<Vec<Row>> {
    database.forget_everyone().await?;
    let sim = quiet_sim().await?;
    let mut client = Client::wall_e(&sim, &database.url()?)?;
    client.settled(&sim).await?;
    client.counts(&sim, database).await?;
    let mut measured = Vec::new();
    for round in 1..=rounds {
        progress(&format!(
            "recovery: a lost connection, round {round} of {rounds}"
        ));
        let (goes_on, begins);
        (client, goes_on) = lose(client, &sim, database, false).await?;
        (client, begins) = lose(client, &sim, database, true).await?;
        measured.push((goes_on, begins));
    }
    client.end().await?;
    Ok(back_rows(
        "recovery, lost connection that is resumed",
        &measured,
        "one whose session Discord ends, with a wait of one to five seconds",
    ))
}

async fn lose(
    client: Client,
    sim: &Sim,
    database: &mut Scratch,
    ends_session: bool,
) -> anyhow::Result<(Client, Back)> {
    // A connection that has lasted is replaced at once.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let resumes = sim.gateway().resumes();
    let lost = back(sim, database, async |_| {
        if ends_session {
            sim.gateway().invalid_session(false);
        } else {
            sim.gateway().drop_connections();
        }
        Ok(client)
    });
    let (client, back) = lost.await?;
    if ends_session == (sim.gateway().resumes() > resumes) {
        bail!("the session was not lost as it should have been");
    }
    Ok((client, back))
}

/// Measures from `begin` until a message counts that is written after it.
async fn back(
    sim: &Sim,
    database: &mut Scratch,
    begin: impl AsyncFnOnce(&mut Scratch) -> anyhow::Result<Client>,
) -> anyhow::Result<(Client, Back)> {
    sim.clear_requests();
    sim.advance(Duration::from_secs(61));
    let started = Instant::now();
    let mut client = begin(database).await?;
    client.counts(sim, database).await?;
    let time = started.elapsed();
    let back = Back {
        time,
        calls: sim.requests().len(),
        readings: sim.requests_to(&Method::GET, "/channels/{}/messages").len(),
    };
    Ok((client, back))
}

fn back_rows(what: &str, measured: &[(Back, Back)], reference_is: &str) -> Vec<Row> {
    let row = |name: &str, unit, figure: fn(&Back) -> f64| {
        let rounds = measured
            .iter()
            .map(|(ours, reference)| (figure(ours), figure(reference)));
        let pair = Pair::of(&rounds.collect::<Vec<_>>());
        Row::new(format!("{what}, {name}"), unit, pair, reference_is)
    };
    vec![
        row("until a message is counted", Unit::Seconds, |back| {
            back.time.as_secs_f64()
        }),
        row("REST calls until then", Unit::Times, |back| {
            float(back.calls)
        }),
        row("of these, pages of history", Unit::Times, |back| {
            float(back.readings)
        }),
    ]
}

/// A second bot waits; the first is killed, or hangs.
async fn takeover(database: &mut Scratch, rounds: u32) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (signal, what) in [(Signal::KILL, "killed"), (Signal::STOP, "stopped dead")] {
        let mut measured = Vec::new();
        for round in 1..=rounds {
            progress(&format!(
                "recovery: a bot is {what}, round {round} of {rounds}"
            ));
            database.forget_everyone().await?;
            let sim = quiet_sim().await?;
            let started = Instant::now();
            let mut first = Client::wall_e(&sim, &database.url()?)?;
            first.connected(&sim).await?;
            let alone = started.elapsed();
            let second = Client::wall_e(&sim, &database.url()?)?;
            until("a standby", || {
                second.log().contains("waiting to take over")
            })
            .await?;
            let started = Instant::now();
            first.signal(signal)?;
            until("a new session", || sim.gateway().identifies() == 2).await?;
            measured.push((started.elapsed().as_secs_f64(), alone.as_secs_f64()));
            first.signal(Signal::KILL)?;
            second.end().await?;
        }
        let reference_is = "the start of a bot that is alone";
        let name = format!("recovery, takeover from a bot that was {what}");
        rows.push(
            Row::new(name, Unit::Seconds, Pair::of(&measured), reference_is).aim(aims::TAKEOVER),
        );
    }
    Ok(rows)
}

/// Postgres lets nobody in for a while; a message is said meanwhile.
async fn postgres(database: &mut Scratch, rounds: u32) -> anyhow::Result<Row> {
    database.forget_everyone().await?;
    let sim = quiet_sim().await?;
    let mut client = Client::wall_e(&sim, &database.url()?)?;
    client.settled(&sim).await?;
    client.counts(&sim, database).await?;
    let mut measured = Vec::new();
    for round in 1..=rounds {
        progress(&format!(
            "recovery: Postgres is away, round {round} of {rounds}"
        ));
        database.admit(false).await?;
        sim.advance(Duration::from_secs(61));
        let kept = client.log().matches("keeping it and trying again").count();
        let said = sim.say(sim.user("alice"), sim.channel("general"), "hello");
        let noticed = until("the bot to notice", || {
            client.log().matches("keeping it and trying again").count() > kept
        });
        noticed.await.with_context(|| client.log())?;
        database.admit(true).await?;
        let started = Instant::now();
        let session = database.connect().await?;
        let plain = started.elapsed();
        drop(session);
        let started = Instant::now();
        frontier_at(database, said).await?;
        measured.push((started.elapsed().as_secs_f64(), plain.as_secs_f64()));
    }
    client.end().await?;
    let what = "recovery, from Postgres' return to the commit";
    Ok(Row::new(
        what,
        Unit::Seconds,
        Pair::of(&measured),
        "a plain client's new session",
    ))
}

async fn quiet_sim() -> anyhow::Result<Sim> {
    let sim = Sim::start(World::new().members(PEOPLE)).await?;
    sim.settings(|settings| settings.rate_limits = false);
    Ok(sim)
}

async fn frontier_at(database: &mut Scratch, message: u64) -> anyhow::Result<()> {
    let message = i64::try_from(message)?;
    let started = Instant::now();
    while database.number("select message_id from watermark").await? < message {
        if started.elapsed() > RECOVERY_TIMEOUT {
            bail!("the frontier does not get there");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

async fn until(what: &str, mut look: impl FnMut() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while !look() {
        if started.elapsed() > RECOVERY_TIMEOUT {
            bail!("waited too long for {what}");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}
