//! A fresh database for each seed, on the server that `DATABASE_URL` names.

use std::str::FromStr;

use anyhow::Context as _;
use chrono::{DateTime, NaiveDate, Utc};
use fault_lab::{Address, Gate, Server, Stop};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use wall_e::leveling::{Points, RequestId, RuleChange, Standing, Timestamp, UserId, XpRules};
use wall_e::store::xp_rule::{self, XpRuleRow};
use wall_e::store::{Database, xp_record};

use crate::day::{Day, Result};

/// In the bot's URL, and searched for in its log. The server asks for none.
pub const PASSWORD: &str = "canary-of-a-password";
/// The server is the seed's own, and so is its one database.
const ROLE: &str = "wall_e";
const NAME: &str = "postgres";

/// The database, with the schema, the levels and the known users in it.
#[derive(Debug)]
pub struct Scratch {
    server: Server,
    session: PgConnection,
}

impl Scratch {
    /// Makes it, on a server of its own beside the one that `DATABASE_URL` names.
    pub async fn make(day: &Day) -> anyhow::Result<Self> {
        let given = std::env::var("DATABASE_URL")
            .context("DATABASE_URL is not set: start this with ./run_walle.sh chaos")?;
        let options = PgConnectOptions::from_str(&given).context("DATABASE_URL")?;
        let socket = options.get_socket().map(|path| path.display().to_string());
        let beside = Address::of(
            socket.as_deref().unwrap_or(options.get_host()),
            options.get_port(),
        );
        let server = Server::make(&beside, ROLE).await?;
        let session = connect(&server).await?;
        let mut scratch = Self { server, session };
        let gate = scratch.gate().await?;
        let store = Database::connect(&url(&gate).into()).await?;
        store.migrate().await?;
        wall_e::import::seed_levels(&store).await?;
        store.close().await;
        scratch.introduce(day).await?;
        Ok(scratch)
    }

    /// A gate before its server.
    pub async fn gate(&self) -> anyhow::Result<Gate> {
        Gate::open_before(self.server.address()).await
    }

    /// Ends the server.
    pub async fn stop(&mut self, how: Stop) -> anyhow::Result<()> {
        self.server.stop(how).await
    }

    /// Starts it again.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.server.start().await?;
        self.session = connect(&self.server).await?;
        Ok(())
    }

    /// Ends everyone's session but this one, as a failover would.
    pub async fn end_sessions(&mut self) -> anyhow::Result<()> {
        let end = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and pid <> pg_backend_pid()";
        run(&mut self.session, end.to_owned()).await
    }

    /// Everyone's messages and points together.
    pub async fn totals(&mut self) -> anyhow::Result<(u64, u64)> {
        let totals: (i64, i64) = sqlx::query_as(
            "select coalesce(sum(message_count), 0)::bigint, coalesce(sum(points), 0)::bigint
             from user_point",
        )
        .fetch_one(&mut self.session)
        .await?;
        Ok((totals.0.try_into()?, totals.1.try_into()?))
    }

    /// Whether there is a frontier from which a gap could be read.
    pub async fn has_frontier(&mut self) -> anyhow::Result<bool> {
        let frontier: i64 = sqlx::query_scalar("select message_id from watermark")
            .fetch_one(&mut self.session)
            .await?;
        Ok(frontier > 0)
    }

    /// How many level-ups wait to be announced.
    pub async fn outbox(&mut self) -> anyhow::Result<i64> {
        let count = sqlx::query_scalar("select count(*) from outbox");
        Ok(count.fetch_one(&mut self.session).await?)
    }

    /// What the bot has counted, in the form of what it should have.
    pub async fn result(&mut self) -> anyhow::Result<Result> {
        let mut result = Result::default();
        let users: Vec<(i64, i64, i64, Option<DateTime<Utc>>)> = sqlx::query_as(
            "select user_id, points, message_count, last_awarded_at from user_point",
        )
        .fetch_all(&mut self.session)
        .await?;
        for (user, points, messages, last) in users {
            let standing = Standing {
                points: Points::new(points.try_into()?).context("points")?,
                message_count: messages.try_into()?,
                last_awarded_at: last.and_then(|at| Timestamp::from_millis(at.timestamp_millis())),
            };
            result.standings.insert(user.try_into()?, standing);
        }
        let days: Vec<(i64, NaiveDate, i64, i64, i64)> =
            sqlx::query_as("select user_id, day, points, messages, by_rules from xp_day")
                .fetch_all(&mut self.session)
                .await?;
        for (user, day, points, messages, by_rules) in days {
            let row = (points.try_into()?, messages.try_into()?, by_rules);
            result.days.insert((user.try_into()?, day), row);
        }
        Ok(result)
    }

    /// What is recorded beside the messages.
    pub async fn rules(&mut self) -> anyhow::Result<XpRules> {
        Ok(xp_record::load(&mut self.session).await?)
    }

    /// Makes the rules of the day, before it begins.
    pub async fn make_rules(&mut self, rules: &[RuleChange]) -> anyhow::Result<()> {
        for (number, change) in (1..).zip(rules) {
            let request = RequestId::new(number).zip(UserId::new(1));
            let row = XpRuleRow {
                request,
                change: *change,
            };
            xp_rule::add(&mut self.session, &row).await?;
        }
        Ok(())
    }

    async fn introduce(&mut self, day: &Day) -> anyhow::Result<()> {
        for (user, standing) in &day.known {
            let last = standing.last_awarded_at.context("they wrote before")?;
            sqlx::query(
                "insert into user_point (user_id, points, message_count, last_awarded_at, hidden)
                 values ($1, $2, $3, $4, false)",
            )
            .bind(i64::try_from(*user)?)
            .bind(i64::try_from(standing.points.get())?)
            .bind(i64::try_from(standing.message_count)?)
            .bind(DateTime::from_timestamp_millis(last.millis()))
            .execute(&mut self.session)
            .await?;
        }
        Ok(())
    }
}

/// What `DATABASE_URL` says for the bot behind the gate.
pub fn url(gate: &Gate) -> String {
    let address = gate.address;
    format!("postgres://{ROLE}:{PASSWORD}@{address}/{NAME}?sslmode=disable")
}

async fn connect(server: &Server) -> anyhow::Result<PgConnection> {
    let options = PgConnectOptions::new_without_pgpass()
        .socket(server.socket_directory())
        .port(server.port())
        .username(ROLE)
        .database(NAME);
    let session = PgConnection::connect_with(&options).await;
    session.context("the seed's Postgres does not answer")
}

async fn run(session: &mut PgConnection, sql: String) -> anyhow::Result<()> {
    // Only this crate's own words, never input.
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(session).await?;
    Ok(())
}
