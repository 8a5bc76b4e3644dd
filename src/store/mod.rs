//! The database. The only module that contains SQL, with one file for each table.
//!
//! Functions take a connection, so that callers can combine them in one transaction.
//!
//! Transactions cannot deadlock, because all of them lock rows in the same order. The order of
//! tables is `watermark`, `lease`, `user_point`, `xp_day`, `updated_user`, `role_work`, `outbox`.
//! Within a table a transaction locks all rows that it needs at once, by ascending id. A statement
//! that writes many rows has an `order by`. An update or delete would lock rows in the order of the
//! query plan, so it locks them first with `for no key update`, which still lets a row of
//! `updated_user` refer to its user. `tests/it/tidy.rs` checks this.
//!
//! Ids and counts are converted to `bigint` only here. Texts from Discord and from people lose their
//! NUL characters here, which Postgres cannot store. This module makes no decision about XP.

pub mod banned_user;
pub mod channel;
pub mod channel_parent;
pub mod council_notice;
mod durable_queue;
pub mod gateway_session;
pub mod guild_setting;
pub mod history_interval;
pub mod lease;
pub mod level;
pub mod level_names_choice;
pub mod open_buttons;
pub mod outbox;
pub mod profile_bucket;
pub mod reconcile_state;
pub mod recorded_xp;
pub mod role_deletion;
pub mod role_holder;
pub mod role_pin;
pub mod role_work;
pub mod updated_user;
pub mod user_point;
pub mod watermark;
pub mod xp_change;
pub mod xp_day;
pub mod xp_record;
pub mod xp_rule;

use std::str::FromStr;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _};

use crate::leveling::{ChannelId, LevelNumber, MessageId, Points, RoleId, Timestamp, UserId};

/// A session with the database, or a transaction on it.
pub type Connection = sqlx::PgConnection;
/// A transaction. It is rolled back unless it is committed.
pub type Transaction<'a> = sqlx::Transaction<'a, sqlx::Postgres>;
/// The result of a database operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a database operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The driver's error. Its text includes the cause and never the password.
    #[error("{0}")]
    Database(sqlx::Error),
    /// A migration failed, or its file was changed after it had been applied.
    #[error("{0}")]
    Migration(sqlx::migrate::MigrateError),
    /// The operation timed out. Whether it took effect is unknown.
    #[error("Postgres did not answer within {0:?}")]
    TimedOut(Duration),
    /// The database does not use UTF-8, so it cannot store every name that Discord sends.
    #[error(
        "the database's encoding is {0}, and must be UTF8: create it with `createdb --encoding=UTF8`"
    )]
    Encoding(String),
    /// A value that no version of wall_e writes.
    #[error("the table {table} holds {what} {value}, which is invalid")]
    Corrupt {
        /// The table that holds it.
        table: &'static str,
        /// The column, or a description of the value.
        what: &'static str,
        /// The invalid value, or the id that identifies it.
        value: i64,
    },
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl Error {
    /// Whether Postgres rejected the values themselves, so that a retry with the same values would
    /// fail again. (Class 22 of its error codes, "data exception".)
    pub fn is_about_the_values(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        error.code().is_some_and(|code| code.starts_with("22"))
    }

    /// Whether a time limit was exceeded, so that a smaller batch may succeed.
    pub fn is_time_limit(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| is_time_limit(&code))
            }
            _ => false,
        }
    }

    /// Whether the server is temporarily unavailable: not reachable, not ready, out of resources or
    /// read-only. A later retry may succeed.
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

/// Postgres' error codes for its time limits on statements, locks and transactions.
fn is_time_limit(code: &str) -> bool {
    ["57014", "55P03", "25P04"].contains(&code)
}

/// Postgres' error codes that concern the server instead of the statement.
fn is_passing(code: &str) -> bool {
    const SERVER: [&str; 5] = [
        "08",    // the connection failed
        "53",    // out of disk space, memory or connections
        "57P0",  // starting up, shutting down, or stopped by an administrator
        "25006", // read-only
        "25P03", // it ended a session that was idle in a transaction
    ];
    SERVER.iter().any(|start| code.starts_with(start))
}

/// Timeout for getting a session, from the pool or by a new connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of a small statement, after which the caller gives up its session.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the start waits for a database that does not answer yet.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Commands and jobs together never need more sessions.
const MAX_CONNECTIONS: u32 = 5;

/// Options of every session. With them the server itself ends the statements and transactions of a
/// dead connection, which could otherwise block other sessions for hours.
const SESSION_OPTIONS: [(&str, &str); 6] = [
    ("lock_timeout", "10s"),
    ("statement_timeout", "5min"),
    ("idle_in_transaction_session_timeout", "15s"),
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// Stricter options for sessions outside the pool. The engine's session locks the row that the next
/// owner needs. If the bot stops between two statements, the lock ends after the first limit. A
/// statement that the bot has given up runs on in the server until the second limit.
const UNPOOLED_OPTIONS: [(&str, &str); 2] = [
    ("idle_in_transaction_session_timeout", "2s"),
    ("statement_timeout", "20s"),
];

/// A connection pool for one Postgres database.
#[derive(Clone, Debug)]
pub struct Database {
    pool: sqlx::PgPool,
}

impl Database {
    /// Connects once, so that a wrong address fails immediately. Waits about ten seconds for
    /// a server that is still starting.
    pub async fn connect(url: &SecretString) -> Result<Self> {
        let options = PgConnectOptions::from_str(url.expose_secret())?
            .application_name("wall_e")
            .options(SESSION_OPTIONS)
            // Statements are not logged, since their arguments are personal data.
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        let database = Self { pool };
        let started = Instant::now();
        let mut session = loop {
            match database.connect_apart().await {
                Err(error) if error.is_passing() && started.elapsed() < START_TIMEOUT => {
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

    /// Applies all pending migrations. It may be repeated, and several bots may do it at once.
    pub async fn migrate(&self) -> Result<()> {
        sqlx::migrate!()
            .run(&self.pool)
            .await
            .map_err(Error::Migration)
    }

    /// Takes a session from the pool. Waits up to three seconds for one.
    pub async fn acquire(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Postgres>> {
        Ok(self.pool.acquire().await?)
    }

    /// Begins a transaction on a session from the pool.
    pub async fn begin(&self) -> Result<Transaction<'static>> {
        Ok(self.pool.begin().await?)
    }

    /// Begins a read-only transaction. It sees the whole database as of its first query, whatever
    /// other sessions commit meanwhile.
    pub async fn begin_snapshot(&self) -> Result<Transaction<'static>> {
        let begin = "begin isolation level repeatable read, read only";
        Ok(self.pool.begin_with(begin).await?)
    }

    /// Closes all sessions of the pool and waits until they are closed.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Opens a session outside the pool, for work that must not wait for a pooled session, or whose
    /// session is dropped when an answer does not come.
    pub async fn connect_apart(&self) -> Result<Connection> {
        let options = self.pool.connect_options();
        let options = options.as_ref().clone().options(UNPOOLED_OPTIONS);
        within(ACQUIRE_TIMEOUT, async {
            Ok(Connection::connect_with(&options).await?)
        })
        .await
    }
}

/// Begins a transaction on this session.
pub async fn begin(session: &mut Connection) -> Result<Transaction<'_>> {
    Ok(session.begin().await?)
}

/// Fails with [`Error::TimedOut`] after `timeout`. The operation may still take effect.
pub async fn within<T>(timeout: Duration, asked: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(timeout, asked)
        .await
        .unwrap_or(Err(Error::TimedOut(timeout)))
}

/// Commits a transaction.
pub async fn commit(transaction: Transaction<'_>) -> Result<()> {
    Ok(transaction.commit().await?)
}

/// Rolls a transaction back immediately. A transaction that is only dropped keeps its locks until
/// its session is used next.
pub async fn roll_back(transaction: Transaction<'_>) -> Result<()> {
    Ok(transaction.rollback().await?)
}

/// Converts an id, a count or points to `bigint`. All values in wall_e are at most `i64::MAX`.
fn bigint(number: u64) -> i64 {
    i64::try_from(number).expect("ids and points are at most i64::MAX")
}

fn timestamptz(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.millis()).expect("message times are within chrono's range")
}

fn timestamp(at: DateTime<Utc>) -> Option<Timestamp> {
    Timestamp::from_millis(at.timestamp_millis())
}

/// Parses a `bigint` of the column `what`; [`Error::Corrupt`] if `parse` refuses it.
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

/// The message after which a row holds; `None` if it holds for all messages.
fn after_id(table: &'static str, value: i64) -> Result<Option<MessageId>> {
    (value != 0)
        .then(|| read(table, "after_id", value, MessageId::new))
        .transpose()
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
            // The statement timed out, and the transaction had failed before.
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
