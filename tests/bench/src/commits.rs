//! Rows a second of the engine's commits, without Discord before them.
//!
//! The engine is fed through its inbox with a message of every user. The references
//! write the same rows of the same users in batches of the same size; they neither
//! award nor order nor keep a frontier. With rules on XP, the reference is the engine
//! itself, in a guild that has none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use chrono_tz::Tz;
use discord_sim::members::id_of;
use sqlx::types::chrono::{DateTime, NaiveDate, Utc};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wall_e::leveling::{MessageId, RequestId, Timestamp, UserId};
use wall_e::store::lease::Lease;
use wall_e::store::watermark::Lost;
use wall_e::store::xp_rule::XpRuleRow;
use wall_e::store::{Database, commit, lease, level, xp_record, xp_rule};
use wall_e::xp::{EligibleMessage, Engine, EngineEnd, EngineHandles, Inbox, XpCache};

use crate::database::Scratch;
use crate::measure::{Pair, rate};
use crate::table::{Row, Unit, progress};
use crate::{Effort, aims, rules};

/// What the engine saves at once when more is waiting.
const BATCH: usize = 2_000;
const ENGINE_TIMEOUT: Duration = Duration::from_mins(2);
const FIRST_AT: i64 = 1_700_000_000_000;
/// Longer than the cooldown.
const ROUND: i64 = 61_000;
/// How many rules a guild has that has many.
const RULES: usize = 500;
/// Records saved in one statement.
const CHUNK: usize = 10_000;

/// Measures rows that are there already: a guild's people come again and again.
pub async fn measure(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let mut rows = beside_a_plain_client(effort).await?;
    rows.push(with_rules(effort).await?);
    Ok(rows)
}

async fn beside_a_plain_client(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let (mut database, users) = guild(effort).await?;
    let store = database.store().await?;
    let engine = Running::start(&store).await?;
    let mut plain = Plain::new(&database, &users).await?;

    let (mut one_table, mut both) = (Vec::new(), Vec::new());
    let rounds = effort.pick(7, 3);
    progress("commits: writing everyone's first day");
    for round in 0..=rounds {
        database.tidy().await?;
        let ours = rate(users.len(), play(&engine.inbox, &users, round).await?);
        database.tidy().await?;
        let points = rate(users.len(), plain.save(false).await?);
        database.tidy().await?;
        let with_days = rate(users.len(), plain.save(true).await?);
        // The first time the days' rows are made and not changed: that is not counted.
        if round > 0 {
            progress(&format!("commits: round {round} of {rounds}"));
            one_table.push((ours, points));
            both.push((ours, with_days));
        }
    }

    engine.end().await?;
    store.close().await;
    drop(plain);
    database.remove().await?;
    Ok(vec![
        Row::new(
            "commits, users saved",
            Unit::PerSecond,
            Pair::of(&one_table),
            "the upsert into user_point alone, by a plain client",
        ),
        Row::new(
            "commits, users saved",
            Unit::PerSecond,
            Pair::of(&both),
            "both upserts (user_point, xp_day), by a plain client",
        ),
    ])
}

/// The engine in a guild with many rules, in turn with the same guild without any.
async fn with_rules(effort: Effort) -> anyhow::Result<Row> {
    let (mut database, users) = guild(effort).await?;
    let store = database.store().await?;
    observe(&store, &users).await?;
    let mut both = Vec::new();
    let rounds = effort.pick(7, 5);
    progress("commits: writing everyone's first day");
    for round in 0..=rounds {
        set_rules(&store).await?;
        let ours = play_alone(&mut database, &store, &users, 2 * round).await?;
        database.execute("truncate xp_rule").await?;
        let without = play_alone(&mut database, &store, &users, 2 * round + 1).await?;
        if round > 0 {
            progress(&format!("commits with rules: round {round} of {rounds}"));
            both.push((ours, without));
        }
    }
    store.close().await;
    database.remove().await?;
    let row = Row::new(
        format!("commits with {RULES} rules, users saved"),
        Unit::PerSecond,
        Pair::of(&both),
        "the same without rules",
    );
    Ok(row.aim(aims::COMMITS_WITH_RULES))
}

/// A database in which everyone is known, and who they are.
async fn guild(effort: Effort) -> anyhow::Result<(Scratch, Vec<UserId>)> {
    let count = effort.pick(60_000, 20_000);
    let users = (0..count).filter_map(|index| UserId::new(id_of(index)));
    let mut database = Scratch::make().await?;
    database.introduce(count).await?;
    Ok((database, users.collect()))
}

/// Saves where the channels stand and who holds the roles that the rules name.
async fn observe(store: &Database, users: &[UserId]) -> anyhow::Result<()> {
    let mut session = store.acquire().await?;
    for records in rules::observed(RULES, users).chunks(CHUNK) {
        xp_record::add(&mut session, records).await?;
    }
    Ok(())
}

async fn set_rules(store: &Database) -> anyhow::Result<()> {
    let mut transaction = store.begin().await?;
    for (request, change) in (1..).filter_map(RequestId::new).zip(rules::changes(RULES)) {
        let moderator = UserId::new(1);
        let request = moderator.map(|moderator| (request, moderator));
        xp_rule::add(&mut transaction, &XpRuleRow { request, change }).await?;
    }
    Ok(commit(transaction).await?)
}

/// One round of an engine that is started for it, as rules are read at the start.
async fn play_alone(
    database: &mut Scratch,
    store: &Database,
    users: &[UserId],
    round: i64,
) -> anyhow::Result<f64> {
    database.tidy().await?;
    let engine = Running::start(store).await?;
    let took = play(&engine.inbox, users, round).await?;
    engine.end().await?;
    Ok(rate(users.len(), took))
}

/// An engine at work.
struct Running {
    inbox: Inbox,
    end: CancellationToken,
    task: JoinHandle<Result<EngineEnd, Lost>>,
    lease: Lease,
}

impl Running {
    async fn start(store: &Database) -> anyhow::Result<Self> {
        let Some(claimed) = lease::claim_if_free(store).await? else {
            bail!("another program has claimed the bench's database");
        };
        let levels = level::load(&mut *store.acquire().await?).await?;
        let cache = Arc::new(XpCache::load(store, levels).await?);
        let (engine, EngineHandles { inbox, .. }) = Engine::new(
            store.clone(),
            cache,
            Tz::Canada__Pacific,
            claimed.watermark,
            Arc::new(Notify::new()),
        );
        let end = CancellationToken::new();
        Ok(Self {
            inbox,
            task: tokio::spawn(engine.run(end.clone())),
            end,
            lease: claimed.lease,
        })
    }

    async fn end(self) -> anyhow::Result<()> {
        self.end.cancel();
        let _ = self.task.await?;
        Ok(self.lease.release().await?)
    }
}

/// A message of every user, through the engine to the commit.
async fn play(inbox: &Inbox, users: &[UserId], round: i64) -> anyhow::Result<Duration> {
    let at = Timestamp::from_millis(FIRST_AT + round * ROUND);
    let Some(first) = at.and_then(MessageId::first_at) else {
        bail!("no ids for round {round}");
    };
    let started = Instant::now();
    for (index, user) in (0..).zip(users) {
        let message = MessageId::new(first.get() + index);
        let Some((message, channel)) = message.zip(rules::channel(index)) else {
            bail!("no id for message {index}");
        };
        inbox.offer(EligibleMessage {
            message,
            channel,
            user: *user,
            profile: None,
            roles: Some(rules::roles(index)),
        });
    }
    if !inbox.settled(ENGINE_TIMEOUT).await {
        bail!("the engine took more than {ENGINE_TIMEOUT:?}");
    }
    Ok(started.elapsed())
}

/// A client that only writes.
struct Plain {
    session: PgConnection,
    batches: Vec<Batch>,
}

/// The columns of one statement.
struct Batch {
    ids: Vec<i64>,
    points: Vec<i64>,
    counts: Vec<i64>,
    times: Vec<Option<DateTime<Utc>>>,
    texts: Vec<Option<String>>,
    days: Vec<NaiveDate>,
}

impl Plain {
    async fn new(database: &Scratch, users: &[UserId]) -> anyhow::Result<Self> {
        let mut ids: Vec<i64> = users
            .iter()
            .map(|user| i64::try_from(user.get()))
            .collect::<Result<_, _>>()?;
        ids.sort_unstable();
        Ok(Self {
            session: database.connect().await?,
            batches: ids.chunks(BATCH).map(Batch::new).collect(),
        })
    }

    async fn save(&mut self, days_too: bool) -> anyhow::Result<Duration> {
        let started = Instant::now();
        for batch in &self.batches {
            let mut transaction = self.session.begin().await?;
            batch.save_points(&mut transaction).await?;
            if days_too {
                batch.add_days(&mut transaction).await?;
            }
            transaction.commit().await?;
        }
        Ok(started.elapsed())
    }
}

impl Batch {
    fn new(ids: &[i64]) -> Self {
        let time = DateTime::from_timestamp_millis(FIRST_AT);
        let day = time.unwrap_or_default().date_naive();
        Self {
            ids: ids.to_vec(),
            points: vec![20; ids.len()],
            counts: vec![1; ids.len()],
            times: vec![time; ids.len()],
            texts: vec![None; ids.len()],
            days: vec![day; ids.len()],
        }
    }

    async fn save_points(&self, session: &mut PgConnection) -> anyhow::Result<()> {
        sqlx::query(
            "insert into user_point as stored
                (user_id, points, message_count, last_awarded_at, username, display_name, nickname, avatar_hash)
             select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[],
                                  $5::text[], $6::text[], $7::text[], $8::text[])
             on conflict (user_id) do update set
                points = excluded.points,
                message_count = excluded.message_count,
                last_awarded_at = excluded.last_awarded_at,
                username = coalesce(stored.username, excluded.username),
                display_name = case when stored.username is null then excluded.display_name else stored.display_name end,
                nickname = case when stored.username is null then excluded.nickname else stored.nickname end,
                avatar_hash = case when stored.username is null then excluded.avatar_hash else stored.avatar_hash end",
        )
        .bind(&self.ids)
        .bind(&self.points)
        .bind(&self.counts)
        .bind(&self.times)
        .bind(&self.texts)
        .bind(&self.texts)
        .bind(&self.texts)
        .bind(&self.texts)
        .execute(session)
        .await?;
        Ok(())
    }

    async fn add_days(&self, session: &mut PgConnection) -> anyhow::Result<()> {
        sqlx::query(
            "insert into xp_day as stored (user_id, day, points, messages)
             select * from unnest($1::bigint[], $2::date[], $3::bigint[], $4::bigint[])
             on conflict (user_id, day) do update set
                points = stored.points + excluded.points,
                messages = stored.messages + excluded.messages",
        )
        .bind(&self.ids)
        .bind(&self.days)
        .bind(&self.points)
        .bind(&self.counts)
        .execute(session)
        .await?;
        Ok(())
    }
}
