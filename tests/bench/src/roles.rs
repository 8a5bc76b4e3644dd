//! Verification of everyone's level roles: time, REST calls and memory.
//!
//! Discord's rate limits are off: they would be what takes the time, at ten role calls in
//! ten seconds. The command line's verification is measured, which does what the bot's does.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use discord_sim::{Method, Sim, World, members::id_of};
use serde_json::Value;
use tokio::process::Command;

use crate::Effort;
use crate::database::Scratch;
use crate::measure::{Pair, float};
use crate::table::{Row, Unit, progress, thousands};

/// Discord's most for one call.
const PAGE: u32 = 1_000;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What one verification took.
struct Cost {
    time: Duration,
    /// Pages of members.
    pages: usize,
    /// Roles given and taken.
    changes: usize,
    /// The most memory that it had in use.
    bytes: usize,
}

/// Measures a guild of the usual size, and a very big one.
pub async fn measure(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let mut database = Scratch::make().await?;
    database
        .execute("update level set role_name = 'Zero' where number = 0")
        .await?;
    let usual = effort.pick(7_000, 2_000);
    let mut rows = Vec::new();
    let sim = sim(usual).await?;
    database.introduce(usual).await?;
    for wrong in [usual, 0, 40] {
        for member in 0..wrong.min(40) * u32::from(wrong != usual) {
            sim.revoke(id_of(member), sim.role("Zero"));
        }
        rows.extend(verify(&sim, &database, usual, wrong).await?);
    }
    drop(sim);
    database.forget_everyone().await?;
    database
        .execute("update level set role_id = null, role_seen = false")
        .await?;
    let big = effort.pick(1_000_000, 50_000);
    let sim = self::sim(big).await?;
    database.introduce(100).await?;
    rows.extend(verify(&sim, &database, big, 100).await?);
    database.remove().await?;
    Ok(rows)
}

async fn sim(members: u32) -> anyhow::Result<Sim> {
    let sim = Sim::start(World::new().members(members)).await?;
    sim.settings(|settings| settings.rate_limits = false);
    Ok(sim)
}

async fn verify(
    sim: &Sim,
    database: &Scratch,
    members: u32,
    wrong: u32,
) -> anyhow::Result<Vec<Row>> {
    let what = format!(
        "roles, {} members, {} wrong",
        thousands(members.into()),
        thousands(wrong.into())
    );
    progress(&what);
    sim.clear_requests();
    let cost = run(sim, database).await?;
    // Some of the simulator's members are bots, which have no level.
    let people = (wrong as usize * 9 / 10)..=wrong as usize;
    if !people.contains(&cost.changes) {
        bail!("{what}: {} roles were changed", cost.changes);
    }
    // Members who are there by name, the bot among them, fill the last page.
    let passes = if wrong > 0 { 2 } else { 1 };
    let least = f64::from((members + 7).div_ceil(PAGE) * passes);
    let plain = plain_client(sim, cost.pages, cost.changes).await?;
    let pair = |ours: f64, reference: f64| Pair::of(&[(ours, reference)]);
    Ok(vec![
        Row::new(
            what.clone(),
            Unit::Seconds,
            pair(cost.time.as_secs_f64(), plain.as_secs_f64()),
            "a plain client that makes as many calls, one after another",
        ),
        Row::new(
            format!("{what}, pages read"),
            Unit::Times,
            pair(float(cost.pages), least),
            "the least: once, and once more to see what came of it",
        ),
        Row::new(
            format!("{what}, role calls"),
            Unit::Times,
            pair(float(cost.changes), float(cost.changes)),
            "one for each difference: bots have no level",
        ),
        Row::new(
            format!("{what}, memory at most"),
            Unit::Bytes,
            pair(float(cost.bytes), float(cost.bytes)),
            "itself",
        ),
    ])
}

/// One verification from the command line.
async fn run(sim: &Sim, database: &Scratch) -> anyhow::Result<Cost> {
    let binary = std::env::current_exe()?.with_file_name("wall_e");
    let started = Instant::now();
    let mut child = Command::new(binary)
        .args(["verify-roles", "--json"])
        .env_remove("RUST_LOG")
        .env("WALLE_TOKEN", sim.token())
        .env("WALLE_GUILD_ID", sim.guild_id().to_string())
        .env("WALLE_DISCORD_API", sim.api_url())
        .env("WALLE_DISCORD_CA", sim.ca_path())
        .env("DATABASE_URL", database.url()?)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let process = child.id().context("it runs")?;
    let mut bytes = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        bytes = most_bytes(process).unwrap_or(bytes);
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    let time = started.elapsed();
    if !status.success() {
        bail!("the verification ended with {status}");
    }
    let count = |method: &Method, path: &str| sim.requests_to(method, path).len();
    let role = "/guilds/{}/members/{}/roles/{}";
    Ok(Cost {
        time,
        pages: count(&Method::GET, "/guilds/{}/members"),
        changes: count(&Method::PUT, role) + count(&Method::DELETE, role),
        bytes,
    })
}

/// The most memory that a process has had in use.
fn most_bytes(process: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The same calls by a client that does nothing else.
async fn plain_client(sim: &Sim, pages: usize, changes: usize) -> anyhow::Result<Duration> {
    let client = reqwest::Client::new();
    let token = format!("Bot {}", sim.token());
    let guild = format!("{}/api/v10/guilds/{}", sim.proxy_url(), sim.guild_id());
    let role = sim.role("Zero");
    let started = Instant::now();
    let mut after: u64 = 0;
    for _ in 0..pages {
        let url = format!("{guild}/members?limit={PAGE}&after={after}");
        let answer = client
            .get(url)
            .header("authorization", &token)
            .send()
            .await?;
        let page = answer.error_for_status()?.text().await?;
        let members: Vec<Value> = serde_json::from_str(&page)?;
        let last = members
            .last()
            .and_then(|member| member["user"]["id"].as_str());
        // Around again, for a second pass.
        after = if members.len() < PAGE as usize {
            0
        } else {
            last.context("a member has an id")?.parse()?
        };
    }
    for number in 0..changes {
        let member = id_of(u32::try_from(number)?);
        let url = format!("{guild}/members/{member}/roles/{role}");
        let answer = client
            .put(url)
            .header("authorization", &token)
            .send()
            .await?;
        answer.error_for_status()?;
    }
    Ok(started.elapsed())
}
