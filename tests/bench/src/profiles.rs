//! Profiles and avatars: REST calls of a quiet day, and how long many changes take.
//!
//! The quiet day is played to the tasks with a clock of its own; what has changed is found and
//! worked off by the real bot after an absence.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser as _;
use discord_sim::{Method, Sim, World};
use tokio_util::sync::CancellationToken;
use wall_e::config::{Cli, CliCommand, RightsSettings};
use wall_e::discord::Rest;
use wall_e::discord::channels::avatar_channel::AvatarChannel;
use wall_e::discord::channels::council::Council;
use wall_e::discord::guild::known_guild::KnownGuild;
use wall_e::discord::guild::member_states::MemberStates;
use wall_e::discord::guild::right_roles::RightRoles;
use wall_e::discord::rest::client;
use wall_e::discord::time::DiscordTime;
use wall_e::environment::Environment;
use wall_e::guild_settings::GuildSettings;
use wall_e::job::Job as _;
use wall_e::leveling::GuildId;
use wall_e::profiles::{AvatarLinkRenewal, RotatingRefresh, Unclear};
use wall_e::store::level;
use wall_e::xp::XpCache;

use crate::Effort;
use crate::bot::Client;
use crate::database::Scratch;
use crate::measure::{Pair, float};
use crate::table::{Row, Unit, progress, thousands};

const QUEUE_TIMEOUT: Duration = Duration::from_mins(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How far the clock of the quiet day goes on at a time.
const STEP: TimeDelta = TimeDelta::seconds(20);
/// Where the bot keeps copies of avatars, unless something else is set.
const CHANNEL: &str = "leveling_website_avatar_images";

/// Measures a guild of the usual size.
pub async fn measure(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let members = effort.pick(7_000, 500);
    let sim = Sim::start(World::new().members(members)).await?;
    sim.settings(|settings| settings.rate_limits = false);
    let mut database = Scratch::make().await?;
    database.introduce(members).await?;
    progress("profiles: everyone is seen for the first time");
    work_off(&sim, &mut database).await?;
    let mut rows = quiet_day(&sim, &mut database, members).await?;

    progress("profiles: everyone has another name");
    sim.rename_members(0..members);
    let names = work_off(&sim, &mut database).await?;
    rows.extend(names_drained(&mut database, members, &names).await?);

    let pictures = effort.pick(500, 30);
    progress(&format!("profiles: {pictures} have another avatar"));
    sim.change_avatars(0..pictures);
    sim.settings(|settings| settings.rate_limits = true);
    sim.clear_requests();
    let drained = work_off(&sim, &mut database).await?;
    let posts = posts(&sim)?;
    rows.push(Row::new(
        format!("profiles, {posts} other avatars under Discord's limits, drained in"),
        Unit::Seconds,
        // Five messages in five seconds: the first five come at once.
        Pair::of(&[(
            drained.time.as_secs_f64(),
            float(posts.saturating_sub(1) / 5 * 5).max(1.0),
        )]),
        "the least that five messages in five seconds allow",
    ));
    database.remove().await?;
    Ok(rows)
}

/// What it took a bot to work off what had changed in its absence.
struct Drained {
    time: Duration,
    bytes: usize,
}

/// Starts the bot, and lets it find and do all that there is to do.
async fn work_off(sim: &Sim, database: &mut Scratch) -> anyhow::Result<Drained> {
    let started = Instant::now();
    let mut bot = Client::wall_e(sim, &database.url()?)?;
    bot.connected(sim).await?;
    let mut bytes = 0;
    // All members have been compared when their roles have been verified; what was news is
    // queued a moment later, and the queue is empty when all of it is done.
    let mut quiet = 0;
    while quiet < 25 {
        if started.elapsed() > QUEUE_TIMEOUT {
            bail!("the queue of profiles is not worked off:\n{}", bot.log());
        }
        let verified = bot.log().contains("roles are verified");
        let waiting = database.number("select count(*) from updated_user").await?;
        quiet = if verified && waiting == 0 {
            quiet + 1
        } else {
            0
        };
        bytes = bytes.max(bot.resident_bytes()?);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let time = started.elapsed().saturating_sub(POLL_INTERVAL * quiet);
    bot.end().await?;
    Ok(Drained { time, bytes })
}

/// A day on which nobody changes anything.
async fn quiet_day(sim: &Sim, database: &mut Scratch, members: u32) -> anyhow::Result<Vec<Row>> {
    progress("profiles: a quiet day");
    let store = database.store().await?;
    let rest = rest(sim)?;
    let guild = GuildId::new(sim.guild_id()).context("a guild has an id")?;
    let levels = level::load(&mut *store.acquire().await?).await?;
    let channel = AvatarChannel::new(rest.clone(), store.clone(), guild, CHANNEL.to_owned());
    let known_guild = KnownGuild::new(rest.clone(), guild);
    let rights = RightsSettings::default();
    let right_roles = RightRoles::load(rights, known_guild.clone(), store.clone()).await?;
    let council = Council::new(
        rest.clone(),
        store.clone(),
        guild,
        "council".to_owned(),
        right_roles.clone(),
    );
    let env = Environment {
        guild,
        xp: Arc::new(XpCache::load(&store, levels).await?),
        settings: GuildSettings::load(&store).await?,
        database: store.clone(),
        rest,
        time: DiscordTime::default(),
        council: Arc::new(council),
        members: MemberStates::new(false, None).0,
        known_guild,
        right_roles,
    };
    let links = AvatarLinkRenewal::new(&env, Arc::new(channel));
    let lurkers = RotatingRefresh::new(&env, Unclear::default());
    let now = || {
        let millis = i64::try_from(sim.now_ms())?;
        DateTime::<Utc>::from_timestamp_millis(millis).context("a time")
    };
    // The first reading is the start's and not the day's.
    links.run_once(now()?).await?;
    sim.clear_requests();
    let end = now()? + TimeDelta::days(1);
    while now()? < end {
        links.run_once(now()?).await?;
        lurkers.run_once(now()?).await?;
        sim.advance(STEP.to_std()?);
    }
    store.close().await;
    let count = |path: &str| float(sim.requests_to(&Method::GET, path).len());
    let copies = database
        .number("select count(*) from user_point where avatar_message_id is not null")
        .await?;
    let expired = database
        .number("select count(*) from user_point where avatar_link_expires_at < now()")
        .await?;
    if expired > 0 {
        bail!("{expired} links have expired");
    }
    let who = thousands(members.into());
    Ok(vec![
        Row::new(
            format!("profiles, {who} users, calls a day to look people up"),
            Unit::Times,
            Pair::of(&[(
                count("/guilds/{}/members/{}") + count("/users/{}"),
                f64::from(members),
            )]),
            "one call a day for each user",
        ),
        Row::new(
            format!("profiles, {who} users, calls a day to renew links"),
            Unit::Times,
            Pair::of(&[(
                count("/channels/{}/messages"),
                float(usize::try_from(copies)?),
            )]),
            "one call a day for each copy",
        ),
    ])
}

async fn names_drained(
    database: &mut Scratch,
    members: u32,
    drained: &Drained,
) -> anyhow::Result<Vec<Row>> {
    // The same rows, one after the other.
    let ids = "select user_id, username from user_point order by user_id";
    let users: Vec<(i64, Option<String>)> =
        sqlx::query_as(ids).fetch_all(database.session()).await?;
    let started = Instant::now();
    for (user, name) in &users {
        sqlx::query("update user_point set username = $2 where user_id = $1")
            .bind(user)
            .bind(name)
            .execute(database.session())
            .await?;
    }
    let one_by_one = started.elapsed().as_secs_f64();
    let who = thousands(members.into());
    let bytes = float(drained.bytes);
    Ok(vec![
        Row::new(
            format!("profiles, {who} other names after an absence, start included"),
            Unit::Seconds,
            Pair::of(&[(drained.time.as_secs_f64(), one_by_one)]),
            "storing them one by one by a plain client, once they are known",
        ),
        Row::new(
            format!("profiles, {who} other names, memory of the bot at most"),
            Unit::Bytes,
            Pair::of(&[(bytes, bytes)]),
            "itself",
        ),
    ])
}

/// Avatars that were posted since the requests were cleared.
fn posts(sim: &Sim) -> anyhow::Result<usize> {
    let channel = sim.find_channel(CHANNEL).context("there is a channel")?;
    let path = format!("/channels/{channel}/messages");
    let posts = sim.requests_to(&Method::POST, &path);
    Ok(posts.iter().filter(|post| post.status == Some(200)).count())
}

/// REST calls as the bot makes them.
fn rest(sim: &Sim) -> anyhow::Result<Rest> {
    let (token, api) = (sim.token(), sim.api_url());
    let ca = sim.ca_path().display().to_string();
    let flags = [
        ["--token", &token],
        ["--discord-api", &api],
        ["--discord-ca", &ca],
        ["--database-url", "postgres://nobody@127.0.0.1:1/none"],
    ];
    let words = ["wall_e", "run"].into_iter().chain(flags.concat());
    let CliCommand::Run(settings) = Cli::parse_from(words).command else {
        bail!("it was asked to run");
    };
    let token = settings.discord.token().context("there is a token")?;
    client::rest(&settings.discord, &token, CancellationToken::new())
}
