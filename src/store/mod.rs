//! The database. The only module that knows SQL; one file for each table.
//!
//! Functions take a connection, so that callers compose them in one transaction.
//!
//! No two transactions wait for each other in a circle, since all lock in one order. A
//! transaction locks rows of several tables in the order `watermark`, `lease`, `user_point`,
//! `xp_day`, `updated_user`, `role_work`, `outbox`, and of one table by ascending id, all that it
//! needs of it at once. A statement that writes many rows says `order by`; where an update or a
//! delete would follow the plan's order, its rows are locked first, `for no key update`, which
//! leaves a row of `updated_user` free to refer to its user. `tests/it/tidy.rs` looks for it.
//!
//! Ids and counts become `bigint`s here and nowhere else. Nothing in here decides
//! anything about XP.

pub mod channel;
pub mod council_notice;
pub mod gateway_session;
pub mod history_interval;
pub mod lease;
pub mod level;
pub mod level_names_choice;
pub mod open_buttons;
pub mod outbox;
pub mod profile_bucket;
pub mod role_deletion;
pub mod role_pin;
pub mod role_work;
pub mod updated_user;
pub mod user_point;
pub mod verification;
pub mod watermark;
pub mod xp_change;
pub mod xp_day;

use std::str::FromStr;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _};

use crate::leveling::{ChannelId, LevelNumber, MessageId, Points, RoleId, Timestamp, UserId};

/// One session with the database, or one transaction on it.
pub type Connection = sqlx::PgConnection;
/// A transaction: undone unless it is committed.
pub type Transaction<'a> = sqlx::Transaction<'a, sqlx::Postgres>;
/// What the database answers.
pub type Result<T> = std::result::Result<T, Error>;

/// The database could not be asked, or refused, or holds what it must not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The driver's own word, which says its cause already and never the password.
    #[error("{0}")]
    Database(sqlx::Error),
    /// A migration failed or was changed after it had been applied.
    #[error("{0}")]
    Migration(sqlx::migrate::MigrateError),
    /// Whether the work was done is unknown.
    #[error("Postgres did not answer within {0:?}")]
    TimedOut(Duration),
    /// Names are kept as Discord sends them, which only UTF-8 can do.
    #[error(
        "the database's encoding is {0}, and must be UTF8: create it with `createdb --encoding=UTF8`"
    )]
    Encoding(String),
    /// A value that no wall_e would have written.
    #[error("the table {table} holds {what} {value}, which cannot be")]
    Corrupt {
        /// Where it stands.
        table: &'static str,
        /// Which column.
        what: &'static str,
        /// What it says.
        value: i64,
    },
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl Error {
    /// Whether Postgres refused the values themselves: asking again with the same
    /// ones is of no use. (Class 22 of its error codes, "data exception".)
    pub fn is_about_the_values(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        error.code().is_some_and(|code| code.starts_with("22"))
    }

    /// Whether a time limit was hit: less at once may fit into it.
    pub fn is_time_limit(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| is_time_limit(&code))
            }
            _ => false,
        }
    }

    /// Whether the server is away: not reached, not ready, full, or closed to writers.
    /// Asking again later is of use.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| is_passing(&code))
            }
            Self::Database(error) => matches!(
                error,
                sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed
            ),
            _ => false,
        }
    }
}

/// Postgres' error codes for its own time limits: of a statement, a lock, a transaction.
fn is_time_limit(code: &str) -> bool {
    ["57014", "55P03", "25P04"].contains(&code)
}

/// Postgres' error codes that are about the server and not about what was asked.
fn is_passing(code: &str) -> bool {
    const SERVER: [&str; 5] = [
        "08",    // the connection broke
        "53",    // no disk, no memory, no more connections
        "57P0",  // starting up, shutting down, ended by an administrator
        "25006", // it lets nobody write
        "25P03", // it gave up a session that paused in a transaction
    ];
    SERVER.iter().any(|start| code.starts_with(start))
}

/// How long a session is waited for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a small statement may take before its session is given up.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a database that does not answer yet is waited for at start.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Commands and tasks together never need more.
const MAX_CONNECTIONS: u32 = 5;

/// What every session asks of the server: to end by itself what a dead connection
/// left behind, before it can hold up the living for hours.
const SESSION_OPTIONS: [(&str, &str); 6] = [
    ("lock_timeout", "10s"),
    ("statement_timeout", "5min"),
    ("idle_in_transaction_session_timeout", "15s"),
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// The same for a session apart: the engine's holds the row that a successor needs. A bot that
/// is stopped between two statements must not hold it for longer; and a statement that the bot
/// has given up goes on in the server for that long.
const APART_OPTIONS: [(&str, &str); 2] = [
    ("idle_in_transaction_session_timeout", "2s"),
    ("statement_timeout", "20s"),
];

/// A pool of sessions with one Postgres database.
#[derive(Clone, Debug)]
pub struct Database {
    pool: sqlx::PgPool,
}

impl Database {
    /// Connects once, so that a wrong address is known at once; a server that is
    /// still starting is waited for a little.
    pub async fn connect(url: &SecretString) -> Result<Self> {
        let options = PgConnectOptions::from_str(url.expose_secret())?
            .application_name("wall_e")
            .options(SESSION_OPTIONS)
            // Statements are logged by nobody: their arguments are people's data.
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        let database = Self { pool };
        let started = Instant::now();
        let mut session = loop {
            match database.connect_apart().await {
                Err(error) if error.is_passing() && started.elapsed() < START_PATIENCE => {
                    tracing::warn!(%error, "the database does not answer yet; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                other => break other?,
            }
        };
        let encoding = sqlx::query!(r#"select current_setting('server_encoding') as "name!""#);
        let encoding = encoding.fetch_one(&mut session).await?.name;
        if encoding != "UTF8" {
            return Err(Error::Encoding(encoding));
        }
        session.close().await?;
        Ok(database)
    }

    /// Brings the schema up to date. Safe to repeat, and safe while others do.
    pub async fn migrate(&self) -> Result<()> {
        sqlx::migrate!()
            .run(&self.pool)
            .await
            .map_err(Error::Migration)
    }

    /// A session from the pool.
    pub async fn acquire(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Postgres>> {
        Ok(self.pool.acquire().await?)
    }

    /// A transaction on a session from the pool.
    pub async fn begin(&self) -> Result<Transaction<'static>> {
        Ok(self.pool.begin().await?)
    }

    /// A transaction that sees the whole database as it was at its first look, whatever
    /// others commit meanwhile, and changes nothing.
    pub async fn begin_snapshot(&self) -> Result<Transaction<'static>> {
        let begin = "begin isolation level repeatable read, read only";
        Ok(self.pool.begin_with(begin).await?)
    }

    /// Ends all sessions politely.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A session of its own, outside the pool: for what must not wait for others,
    /// or must be given up whole when an answer fails to come.
    pub async fn connect_apart(&self) -> Result<Connection> {
        let options = self.pool.connect_options();
        let options = options.as_ref().clone().options(APART_OPTIONS);
        within(ACQUIRE_TIMEOUT, async {
            Ok(Connection::connect_with(&options).await?)
        })
        .await
    }
}

/// A transaction on a session of one's own.
pub async fn begin(session: &mut Connection) -> Result<Transaction<'_>> {
    Ok(session.begin().await?)
}

/// Gives up waiting after `patience`; what was asked may have been done all the same.
pub async fn within<T>(patience: Duration, asked: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(patience, asked)
        .await
        .unwrap_or(Err(Error::TimedOut(patience)))
}

/// Makes what a transaction did true for everyone.
pub async fn commit(transaction: Transaction<'_>) -> Result<()> {
    Ok(transaction.commit().await?)
}

/// Undoes a transaction at once. One that is only dropped is undone when its session is
/// used next, and holds its rows until then.
pub async fn roll_back(transaction: Transaction<'_>) -> Result<()> {
    Ok(transaction.rollback().await?)
}

/// An id, a count or points as a `bigint`; what wall_e holds always fits.
fn bigint(number: u64) -> i64 {
    i64::try_from(number).expect("ids and points are at most i64::MAX")
}

fn timestamptz(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.millis()).expect("message times are within chrono's range")
}

fn timestamp(at: DateTime<Utc>) -> Option<Timestamp> {
    Timestamp::from_millis(at.timestamp_millis())
}

/// Reads a `bigint` of a named column back as what it stands for.
fn read<T>(
    table: &'static str,
    what: &'static str,
    value: i64,
    parse: fn(u64) -> Option<T>,
) -> Result<T> {
    u64::try_from(value)
        .ok()
        .and_then(parse)
        .ok_or(Error::Corrupt { table, what, value })
}

fn user_id(table: &'static str, value: i64) -> Result<UserId> {
    read(table, "user_id", value, UserId::new)
}

fn message_id(table: &'static str, value: i64) -> Result<MessageId> {
    read(table, "message_id", value, MessageId::new)
}

fn channel_id(table: &'static str, value: i64) -> Result<ChannelId> {
    read(table, "channel_id", value, ChannelId::new)
}

fn role_id(table: &'static str, value: i64) -> Result<RoleId> {
    read(table, "role_id", value, RoleId::new)
}

fn level_number(table: &'static str, what: &'static str, value: i32) -> Result<LevelNumber> {
    read(table, what, value.into(), |number| {
        u16::try_from(number).ok().map(LevelNumber)
    })
}

fn points(table: &'static str, what: &'static str, value: i64) -> Result<Points> {
    read(table, what, value, Points::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_is_told_from_a_statement_that_is_wrong() {
        for (code, passing) in [
            ("08006", true),
            ("08P01", true),
            ("53100", true),
            ("53300", true),
            ("57P01", true),
            ("57P03", true),
            ("25006", true),
            ("25P03", true),
            // The statement's own limit, and the transaction's own fault.
            ("57014", false),
            ("25P02", false),
            ("22021", false),
            ("23505", false),
            ("42P01", false),
            ("28P01", false),
        ] {
            assert_eq!(is_passing(code), passing, "{code}");
            assert_eq!(is_time_limit(code), code == "57014", "{code}");
        }
        for (error, passing) in [
            (sqlx::Error::PoolTimedOut, true),
            (sqlx::Error::PoolClosed, true),
            (
                sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()),
                true,
            ),
            (sqlx::Error::RowNotFound, false),
        ] {
            assert_eq!(Error::from(error).is_passing(), passing);
        }
        assert!(Error::TimedOut(ACQUIRE_TIMEOUT).is_passing());
    }
}
