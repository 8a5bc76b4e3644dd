//! A database for the bench alone, on the server that `DATABASE_URL` names.
//!
//! Made afresh for each section and dropped after it: the bench writes into no
//! database that it has not made.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use discord_sim::members::id_of;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use wall_e::store::Database;

use crate::cpu;

/// One bench at a time: a second one would only measure the first.
const NAME: &str = "wall_e_bench_scratch";

/// The database, with the schema and the levels in it.
pub struct Scratch {
    server: String,
    session: PgConnection,
}

impl Scratch {
    /// Makes it; one that an interrupted bench left behind is dropped.
    pub async fn make() -> anyhow::Result<Self> {
        let server = std::env::var("DATABASE_URL")
            .context("DATABASE_URL is not set: start this with ./run_walle.sh bench")?;
        let mut admin = connect(&server, None).await?;
        for statement in ["drop database if exists", "create database"] {
            run(&mut admin, format!("{statement} {NAME}")).await?;
        }
        let session = connect(&server, Some(NAME)).await?;
        let scratch = Self { server, session };
        let store = scratch.store().await?;
        store.migrate().await?;
        wall_e::import::seed_levels(&store).await?;
        store.close().await;
        Ok(scratch)
    }

    /// Drops it.
    pub async fn remove(self) -> anyhow::Result<()> {
        self.session.close().await?;
        let mut admin = connect(&self.server, None).await?;
        // What was killed a moment ago may not have left yet.
        run(&mut admin, format!("drop database {NAME} with (force)")).await
    }

    /// What `DATABASE_URL` says for it.
    pub fn url(&self) -> anyhow::Result<String> {
        let mut url = reqwest::Url::parse(&self.server).context("DATABASE_URL is not a URL")?;
        url.set_path(NAME);
        Ok(url.into())
    }

    /// The bot's own view of it.
    pub async fn store(&self) -> anyhow::Result<Database> {
        Ok(Database::connect(&self.url()?.into()).await?)
    }

    /// A plain session, for references.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        connect(&self.server, Some(NAME)).await
    }

    /// The bench's own session, for filling and looking.
    pub fn session(&mut self) -> &mut PgConnection {
        &mut self.session
    }

    /// Runs statements.
    pub async fn execute(&mut self, sql: &str) -> anyhow::Result<()> {
        run(&mut self.session, sql.to_owned()).await
    }

    /// Lets the bot in, or throws it out and keeps it out; the bench's session stays.
    pub async fn admit(&mut self, bot: bool) -> anyhow::Result<()> {
        // A database cannot be closed from within.
        let mut admin = connect(&self.server, None).await?;
        run(
            &mut admin,
            format!("alter database {NAME} allow_connections {bot}"),
        )
        .await?;
        if !bot {
            let others = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()";
            self.execute(others).await?;
        }
        Ok(())
    }

    /// One number; 0 for null.
    pub async fn number(&mut self, sql: &'static str) -> anyhow::Result<i64> {
        let number: Option<i64> = sqlx::query_scalar(sql).fetch_one(&mut self.session).await?;
        Ok(number.unwrap_or_default())
    }

    /// How much of the processors the server has used, but for this session; `None` where it
    /// runs elsewhere.
    pub async fn cpu(&mut self) -> anyhow::Result<Option<Duration>> {
        let session = self.number("select pg_backend_pid()::bigint").await?;
        Ok(u32::try_from(session).ok().and_then(cpu::of_postgres))
    }

    /// The message up to which everything has been applied.
    pub async fn frontier(&mut self) -> anyhow::Result<i64> {
        self.number("select message_id from watermark").await
    }

    /// Nobody has earned anything, and no bot holds the database.
    pub async fn forget_everyone(&mut self) -> anyhow::Result<()> {
        self.execute(
            "truncate user_point, updated_user, xp_day, outbox, role_work, gateway_session;
             update watermark set message_id = 0, owner_pid = null; update lease set owner_pid = null",
        )
        .await
    }

    /// Everybody keeps their name, and may earn again without a level in reach.
    pub async fn forget_awards(&mut self) -> anyhow::Result<()> {
        self.execute(
            "update user_point set points = total_points_required, last_awarded_at = '2020-01-01',
                    bucket_number = 1 + user_id % 336
             from level where number = 10 + user_id % 40;
             truncate updated_user, xp_day, outbox, role_work, gateway_session;
             update watermark set message_id = 0, owner_pid = null; update lease set owner_pid = null",
        )
        .await
    }

    /// The session that a bot has left is resumed by nobody: as if the next one were started much
    /// later, or is on another simulator.
    pub async fn forget_session(&mut self) -> anyhow::Result<()> {
        self.execute("truncate gateway_session").await
    }

    /// Stores this many of the simulator's members, each with room to earn a few times
    /// within their level: announcing levels is limited by Discord and is not measured.
    pub async fn introduce(&mut self, members: u32) -> anyhow::Result<()> {
        let ids = (0..members)
            .map(|index| i64::try_from(id_of(index)))
            .collect::<Result<Vec<_>, _>>()?;
        sqlx::query(
            "insert into user_point (user_id, points, message_count, last_awarded_at, username, bucket_number)
             select user_id, total_points_required + user_id % (points_to_next_level - 300), 40,
                    '2020-01-01', 'user' || user_id, 1 + user_id % 336
             from unnest($1::bigint[]) user_id
             join level on number = 10 + user_id % 40",
        )
        .bind(ids)
        .execute(&mut self.session)
        .await?;
        Ok(())
    }

    /// Does now what Postgres would do in the background, while something is measured.
    pub async fn tidy(&mut self) -> anyhow::Result<()> {
        for statement in ["vacuum analyze", "checkpoint"] {
            self.execute(statement).await?;
        }
        // The disk may still be busy with it.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(())
    }
}

async fn run(session: &mut PgConnection, sql: String) -> anyhow::Result<()> {
    // Only this crate's own words, never input.
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(session).await?;
    Ok(())
}

async fn connect(server: &str, database: Option<&str>) -> anyhow::Result<PgConnection> {
    let mut options = PgConnectOptions::from_str(server).context("DATABASE_URL")?;
    if let Some(database) = database {
        options = options.database(database);
    }
    PgConnection::connect_with(&options)
        .await
        .context("Postgres does not answer")
}
