//! A fresh database for each test, dropped at its end; on a server of its own where the
//! test stops it.

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use fault_lab::{Address, Gate, Server, Stop};
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Row};
use wall_e::config::LevelNamesSettings;
use wall_e::import::level_names::ChosenNames;
use wall_e::store::Database;

use super::wait;

/// A database of its own, and a session to look into it.
pub struct TestDatabase {
    name: String,
    server: String,
    /// The test's own server, which ends with it.
    own: Option<Server>,
}

impl TestDatabase {
    /// A database with nothing in it.
    pub async fn empty() -> Self {
        Self::on(server(), None).await
    }

    async fn on(server: String, own: Option<Server>) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "walle_it_{}_{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        let mut admin = connect(&server, None).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {name}")))
            .execute(&mut admin)
            .await
            .expect("the tests' role may create databases");
        Self { name, server, own }
    }

    /// A database with the schema and the levels, of which none has a name: the bot has no
    /// roles to make.
    pub async fn migrated() -> Self {
        Self::empty().await.migrate().await
    }

    /// The same with the twenty names of the original guild.
    pub async fn named() -> Self {
        let database = Self::migrated().await;
        let store = database.store().await;
        let names = ChosenNames::read(&LevelNamesSettings::Computing);
        let done = wall_e::import::name_levels(&store, names).await;
        done.expect("the levels are named");
        store.close().await;
        database
    }

    /// The same on a server of its own, which can be stopped.
    pub async fn on_its_own_server() -> Self {
        let beside = PgConnectOptions::from_str(&server()).expect("DATABASE_URL is a URL");
        let role = beside.get_username().to_owned();
        let own = Server::make(&address(&beside), &role).await;
        let own = own.expect("a server of one's own");
        let socket = own.socket_directory().display();
        let url = format!(
            "postgres://{role}@localhost:{}/postgres?host={socket}",
            own.port()
        );
        Self::on(url, Some(own)).await.migrate().await
    }

    /// Stops its own server.
    pub async fn stop(&mut self, how: Stop) {
        let own = self.own.as_mut().expect("a server of its own");
        own.stop(how).await.expect("the server ends");
    }

    /// Starts its own server again.
    pub async fn start(&mut self) {
        let own = self.own.as_mut().expect("a server of its own");
        own.start().await.expect("the server starts");
    }

    async fn migrate(self) -> Self {
        let database = self;
        let store = database.store().await;
        store.migrate().await.expect("the migrations run");
        wall_e::import::seed_levels(&store)
            .await
            .expect("the levels are filled in");
        store.close().await;
        database
    }

    /// What `DATABASE_URL` says for it.
    pub fn url(&self) -> String {
        let mut url = reqwest::Url::parse(&self.server).expect("DATABASE_URL is a URL");
        url.set_path(&self.name);
        url.into()
    }

    /// Where its server listens.
    pub fn server_address(&self) -> Address {
        address(&self.options())
    }

    /// Its URL through a gate before the server.
    pub fn url_through(&self, gate: &Gate) -> String {
        format!(
            "postgres://{}@{}/{}?sslmode=disable",
            self.role(),
            gate.address,
            self.name
        )
    }

    /// Who the tests are to the server.
    pub fn role(&self) -> String {
        self.options().get_username().to_owned()
    }

    fn options(&self) -> PgConnectOptions {
        PgConnectOptions::from_str(&self.server).expect("DATABASE_URL is a URL")
    }

    /// The bot's own view of it.
    pub async fn store(&self) -> Database {
        Database::connect(&self.url().into())
            .await
            .expect("the fresh database answers")
    }

    /// A session, for looking and meddling by hand.
    pub async fn session(&self) -> PgConnection {
        connect(&self.server, Some(&self.name)).await
    }

    pub async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql)
            .execute(&mut self.session().await)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// A setting of the database, for sessions that begin from now on.
    pub async fn set(&self, setting: &str, value: &str) {
        let sql = format!("alter database {} set {setting} = {value}", self.name);
        let mut admin = connect(&self.server, None).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut admin)
            .await
            .expect("the setting is set");
    }

    /// Ends everyone else's sessions, as a restart does.
    pub async fn end_sessions(&self) {
        self.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()",
        )
        .await;
    }

    /// One number.
    pub async fn number(&self, sql: &'static str) -> i64 {
        let row = sqlx::query(sql).fetch_one(&mut self.session().await).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error}")).get(0)
    }

    /// As an operator would, by hand.
    pub async fn insert_user(&self, user: u64, points: i64, messages: i64) {
        sqlx::query(
            "insert into user_point (user_id, points, message_count, last_awarded_at, hidden)
             values ($1, $2, $3, null, false)",
        )
        .bind(i64::try_from(user).expect("an id"))
        .bind(points)
        .bind(messages)
        .execute(&mut self.session().await)
        .await
        .expect("a user can be inserted by hand");
    }

    /// Makes up users with 999,999, 999,998 … points, whose ids count from
    /// 300000000000000001 on.
    pub async fn make_up_users(&self, count: i64) {
        sqlx::query(
            "insert into user_point (user_id, points, message_count)
             select 300000000000000000 + n, 1000000 - n, 1000 + n from generate_series(1, $1) n",
        )
        .bind(count)
        .execute(&mut self.session().await)
        .await
        .expect("users are made up");
    }

    /// Points and messages of a user; `None` without a row.
    pub async fn standing(&self, user: u64) -> Option<(i64, i64)> {
        sqlx::query("select points, message_count from user_point where user_id = $1")
            .bind(i64::try_from(user).expect("an id"))
            .fetch_optional(&mut self.session().await)
            .await
            .expect("user_point can be read")
            .map(|row| (row.get(0), row.get(1)))
    }

    /// All that `user_point` holds of a user, who is there.
    pub async fn user(&self, user: u64) -> Value {
        let row =
            sqlx::query("select to_jsonb(user_point)::text from user_point where user_id = $1")
                .bind(i64::try_from(user).expect("an id"))
                .fetch_one(&mut self.session().await)
                .await
                .expect("the user is known");
        serde_json::from_str(row.get(0)).expect("Postgres writes JSON")
    }

    /// Points and messages of a user's days together.
    pub async fn days(&self, user: u64) -> (i64, i64) {
        let row = sqlx::query(
            "select coalesce(sum(points), 0)::bigint, coalesce(sum(messages), 0)::bigint
             from xp_day where user_id = $1",
        )
        .bind(i64::try_from(user).expect("an id"))
        .fetch_one(&mut self.session().await)
        .await
        .expect("xp_day can be read");
        (row.get(0), row.get(1))
    }

    /// Waits until this many messages of a user have earned; the points they earned.
    pub async fn wait_for_messages(&self, user: u64, messages: i64) -> i64 {
        wait(
            &format!("{messages} counted messages of {user}"),
            async || {
                self.standing(user)
                    .await
                    .filter(|(_, count)| *count >= messages)
                    .map(|(points, _)| points)
            },
        )
        .await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.own.is_some() {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        // A drop cannot await; a thread of its own can.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let mut admin = connect(&server, None).await;
                let drop = format!("drop database if exists {name} with (force)");
                let _ = sqlx::raw_sql(sqlx::AssertSqlSafe(drop))
                    .execute(&mut admin)
                    .await;
            });
        });
        let _ = dropping.join();
    }
}

/// The tests' server.
fn server() -> String {
    std::env::var("DATABASE_URL").expect(
        "the tests need Postgres: run them with `./run_walle.sh test`, or set DATABASE_URL to a server \
         on which databases may be created",
    )
}

fn address(options: &PgConnectOptions) -> Address {
    let socket = options
        .get_socket()
        .map(|directory| directory.display().to_string());
    Address::of(
        socket.as_deref().unwrap_or(options.get_host()),
        options.get_port(),
    )
}

async fn connect(server: &str, database: Option<&str>) -> PgConnection {
    let mut options = PgConnectOptions::from_str(server).expect("DATABASE_URL is a Postgres URL");
    if let Some(database) = database {
        options = options.database(database);
    }
    PgConnection::connect_with(&options).await.expect(
        "the tests' Postgres answers: run the tests with `./run_walle.sh test`, which starts one",
    )
}
