//! Start and memory with very many users.
//!
//! The clock of the start runs from the process's own start until the first message
//! that anyone can write has been counted and committed.

use std::time::{Duration, Instant};

use discord_sim::{Sim, World};
use futures_util::TryStreamExt as _;
use sqlx::types::chrono::{DateTime, Utc};
use wall_e::leveling::Place;
use wall_e::store::level;
use wall_e::store::user_point::CachedUser;
use wall_e::xp::XpCache;

use crate::aims;
use crate::bot::Client;
use crate::database::Scratch;
use crate::measure::{Pair, float};
use crate::table::{Row, Unit, progress, thousands};
use crate::{Effort, HELD};

/// A row as the cache reads it.
type UserRow = (i64, i64, i64, Option<DateTime<Utc>>, bool, bool);

/// Measures both.
pub async fn measure(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let users = effort.pick(1_000_000, 100_000);
    let mut database = Scratch::make().await?;
    let (_, empty) = start_bot(&mut database).await?;
    progress(&format!(
        "startup: making up {} users",
        thousands(float(users))
    ));
    fill(&mut database, users).await?;
    let (mut starts, mut resident) = (Vec::new(), Vec::new());
    let dense = float(size_of::<CachedUser>() + size_of::<Place>());
    let rounds = effort.pick(5, 3);
    for round in 1..=rounds {
        progress(&format!("startup: round {round} of {rounds}"));
        let (took, in_use) = start_bot(&mut database).await?;
        starts.push((took.as_secs_f64(), select(&database).await?.as_secs_f64()));
        resident.push((float(in_use - empty) / float(users), dense));
    }
    let held = (held_by_cache(&database).await? / float(users), dense);
    database.remove().await?;
    let with = format!("{} users", thousands(float(users)));
    let in_vecs = "the same fields in two plain Vecs";
    Ok(vec![
        Row::new(
            format!("start to first counted message, {with}"),
            Unit::Seconds,
            Pair::of(&starts),
            "a plain select of the same rows",
        ),
        Row::new(
            format!("cache and board, a user, {with}"),
            Unit::Bytes,
            Pair::of(&[held]),
            in_vecs,
        )
        .aim(aims::BYTES_A_USER),
        Row::new(
            format!("the bot's resident memory, a user, {with}"),
            Unit::Bytes,
            Pair::of(&resident),
            in_vecs,
        ),
    ])
}

/// Users with a long tail of points, in no order of their ids.
async fn fill(database: &mut Scratch, users: usize) -> anyhow::Result<()> {
    let sql = format!(
        "insert into user_point (user_id, points, message_count, last_awarded_at, username, display_name)
         select 100000000000000000 + (number * 7919 % {users}) * 1100000000000 + number,
                points, points / 20 + 1, now() - random() * interval '700 days',
                'someone_' || number, 'Someone ' || number
         from generate_series(1, {users}::bigint) number,
              lateral (select 15 + floor(900000 * power(random(), 6) + 0 * number)::bigint as points) luck"
    );
    database.execute(&sql).await?;
    database.tidy().await
}

/// How long until a message counts, and the memory that the bot then has.
async fn start_bot(database: &mut Scratch) -> anyhow::Result<(Duration, usize)> {
    let sim = Sim::start(World::new()).await?;
    let author = i64::try_from(sim.user("alice"))?;
    let started = Instant::now();
    let mut client = Client::wall_e(&sim, &database.url()?)?;
    client.connected(&sim).await?;
    client.counts(&sim, database).await?;
    let took = started.elapsed();
    let resident = client.resident_bytes()?;
    client.end().await?;
    database.forget_session().await?;
    forget(database, author).await?;
    Ok((took, resident))
}

/// So that the next bot finds them new again, and not resting.
async fn forget(database: &mut Scratch, user: i64) -> anyhow::Result<()> {
    for sql in [
        "delete from user_point where user_id = $1",
        "delete from xp_day where user_id = $1",
    ] {
        sqlx::query(sql)
            .bind(user)
            .execute(database.session())
            .await?;
    }
    Ok(())
}

/// The same rows, decoded and dropped one by one.
async fn select(database: &Scratch) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut session = database.connect().await?;
    let mut rows = sqlx::query_as::<_, UserRow>(
        "select user_id, points, message_count, last_awarded_at, hidden, username is not null
         from user_point",
    )
    .fetch(&mut session);
    while let Some(row) = rows.try_next().await? {
        std::hint::black_box(row);
    }
    Ok(started.elapsed())
}

/// What the cache with its board has allocated, to the byte.
async fn held_by_cache(database: &Scratch) -> anyhow::Result<f64> {
    let store = database.store().await?;
    let levels = level::load(&mut *store.acquire().await?).await?;
    let before = HELD.allocated();
    let cache = XpCache::load(&store, levels).await?;
    let held = HELD.allocated() - before;
    drop(cache);
    store.close().await;
    Ok(float(held))
}
