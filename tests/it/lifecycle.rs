//! Starting, refusing to start, ending, and keeping secrets meanwhile.

use std::time::{Duration, Instant};

use discord_sim::{Fault, Method, Scope, Sim, World};
use fault_lab::{Position, Signal};
use tokio_util::sync::CancellationToken;
use wall_e::leveling::MessageId;
use wall_e::store::watermark::{HeldLines, Lost};
use wall_e::store::{self, lease, watermark};

use crate::support::{Bot, Stage, TestDatabase, command, wait};

#[tokio::test]
async fn an_end_that_was_asked_for_is_quick_and_saves_what_is_in_hand() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut stage, gate) = Stage::open_gated().await;
        gate.set(Position::Shut);
        for who in ["alice", "bob", "carol"] {
            stage.say(who, "hello");
        }
        stage.bot.logged("keeping it and trying again").await;
        let started = Instant::now();
        stage.bot.signal(signal);
        stage.bot.logged("shutting down").await;
        gate.set(Position::Open);
        assert_eq!(
            stage.bot.ended().await.code(),
            Some(0),
            "{}",
            stage.bot.log()
        );
        assert!(started.elapsed() < Duration::from_secs(10));
        assert_eq!(
            stage
                .database
                .number("select count(*) from user_point")
                .await,
            3
        );
        let free = "select count(*) from lease where owner_pid is null";
        assert_eq!(
            stage.database.number(free).await,
            1,
            "the next bot need not wait"
        );
    }
}

#[tokio::test]
async fn an_end_without_a_database_says_that_something_is_not_saved() {
    let (mut stage, gate) = Stage::open_gated().await;
    gate.set(Position::Shut);
    stage.say("alice", "hello");
    stage.bot.logged("keeping it and trying again").await;
    let started = Instant::now();
    assert_eq!(
        stage.bot.terminate().await.code(),
        Some(17),
        "{}",
        stage.bot.log()
    );
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn an_end_without_a_database_is_a_good_one_if_there_is_nothing_to_save() {
    let (mut stage, gate) = Stage::open_gated().await;
    stage.say("alice", "hello");
    let alice = stage.sim.user("alice");
    stage.database.wait_for_messages(alice, 1).await;
    gate.set(Position::Shut);
    // Too soon to earn anything: only the frontier would follow, and the beat is missed.
    stage.say("alice", "hello");
    stage.bot.logged("claiming it again").await;
    assert_eq!(
        stage.bot.terminate().await.code(),
        Some(0),
        "{}",
        stage.bot.log()
    );
}

/// Settings, the exit code they lead to, and words that the log must say.
type Case<'a> = (&'a [(&'a str, &'a str)], i32, &'a str);

#[tokio::test]
async fn each_missing_piece_has_its_sentence_and_its_exit_code() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let url = database.url();
    let wrong_file = sim
        .ca_path()
        .with_file_name("no-such-file")
        .display()
        .to_string();
    let cases: [Case; 9] = [
        (&[("WALLE_TOKEN", "")], 12, "set WALLE_TOKEN"),
        (
            &[("WALLE_TOKEN", ""), ("WALLE_TOKEN_FILE", &wrong_file)],
            12,
            "does not exist",
        ),
        (&[("WALLE_TOKEN", "with a\nline break")], 12, "not a token"),
        (&[("WALLE_GUILD_ID", "")], 13, "set WALLE_GUILD_ID"),
        (&[("WALLE_GUILD_ID", "csss")], 13, "not an id"),
        (
            &[("WALLE_GUILD_ID", "MTIz.canary.token-in-the-wrong-place")],
            13,
            "not an id",
        ),
        (
            &[("WALLE_TOKEN", "MTIz.wrong.canary-of-a-token")],
            14,
            "reset it on the Bot page",
        ),
        (&[("WALLE_GUILD_ID", "100000000000000001")], 15, "invite it"),
        (
            &[(
                "DATABASE_URL",
                "postgres://walle:canary-password@127.0.0.1:1/none",
            )],
            17,
            "check that Postgres runs",
        ),
    ];
    for (settings, code, sentence) in cases {
        let mut bot = Bot::launch(&sim, &url, settings);
        assert_eq!(
            bot.ended().await.code(),
            Some(code),
            "{settings:?}: {}",
            bot.log()
        );
        assert!(bot.log().contains(sentence), "{settings:?}: {}", bot.log());
        assert!(!bot.log().contains("canary"), "{settings:?}: {}", bot.log());
    }
    sim.settings(|settings| settings.message_content_intent = false);
    let mut bot = Bot::launch(&sim, &url, &[]);
    assert_eq!(bot.ended().await.code(), Some(16), "{}", bot.log());
    assert!(bot.log().contains("Message Content"), "{}", bot.log());
}

#[tokio::test]
async fn the_token_can_be_in_a_file() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", sim.token())).unwrap();
    let path = file.path().display().to_string();
    let mut bot = Bot::launch(
        &sim,
        &database.url(),
        &[("WALLE_TOKEN", ""), ("WALLE_TOKEN_FILE", &path)],
    );
    bot.connected(&sim).await;
}

#[tokio::test]
async fn a_rate_limiting_proxy_is_used_by_its_own_address() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let mut bot = Bot::launch(
        &sim,
        &database.url(),
        &[
            ("WALLE_DISCORD_API", &sim.proxy_url()),
            ("WALLE_DISCORD_CA", ""),
        ],
    );
    bot.connected(&sim).await;
    let stage = Stage { bot, database, sim };
    assert!(
        stage
            .ask("alice", ".rank")
            .await
            .starts_with("alice's Stat Card")
    );
}

#[tokio::test]
async fn a_discord_that_is_away_at_the_start_is_waited_for() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new()).await.unwrap();
    sim.faults()
        .next(6, Method::GET, "/users/@me", Fault::Status(500));
    sim.faults().next(6, Method::GET, "/gateway", Fault::Reset);
    let mut bot = Bot::launch(&sim, &database.url(), &[]);
    bot.connected(&sim).await;
    assert!(bot.log().contains("trying again"), "{}", bot.log());
}

#[tokio::test]
async fn a_first_call_that_is_told_to_come_back_much_later_is_made_again() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let much_later = Fault::RateLimited {
        // Longer than one call is tried.
        retry_after: Duration::from_secs(15),
        scope: Scope::Global,
        headers: true,
    };
    sim.faults().next(1, Method::GET, "/gateway", much_later);
    let mut bot = Bot::launch(&sim, &database.url(), &[]);
    let waited = Instant::now();
    while !bot
        .log()
        .contains("Discord cannot be reached; trying again")
    {
        assert!(waited.elapsed() < Duration::from_mins(2), "{}", bot.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bot.connected(&sim).await;
}

#[tokio::test]
async fn a_token_that_is_revoked_stops_every_call_and_the_bot() {
    let mut stage = Stage::open().await;
    stage
        .sim
        .settings(|settings| settings.token = "another".to_owned());
    stage.sim.clear_requests();
    stage.say("alice", ".rank");
    assert_eq!(
        stage.bot.ended().await.code(),
        Some(14),
        "{}",
        stage.bot.log()
    );
    let asked = stage.sim.requests();
    let confirmed = asked
        .last()
        .is_some_and(|last| last.is(&Method::GET, "/users/@me"));
    assert!(
        confirmed && asked.len() == 2,
        "after a 401 that is confirmed nothing is asked any more: {asked:?}"
    );
}

#[tokio::test]
async fn a_second_bot_waits_and_takes_over() {
    let mut stage = Stage::open().await;
    let mut second = Bot::launch(&stage.sim, &stage.database.url(), &[]);
    second.logged("waiting to take over").await;
    let alice = stage.sim.user("alice");
    stage.say("alice", "hello");
    stage.database.wait_for_messages(alice, 1).await;
    stage.bot.kill().await;
    stage
        .sim
        .wait("the second bot", || {
            (stage.sim.gateway().identifies() == 2).then_some(())
        })
        .await;
    second.connected(&stage.sim).await;
    stage.rest();
    stage.say("alice", "and on");
    stage.database.wait_for_messages(alice, 2).await;
    assert_eq!(second.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_new_version_asks_the_old_one_to_end_when_it_stands_by() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    // One that only waits changes nothing, and is not the one that is asked.
    let mut waiting = Bot::launch(&stage.sim, &stage.database.url(), &[]);
    waiting.logged("waiting to take over").await;
    assert_eq!(waiting.terminate().await.code(), Some(0));
    let mut new = Bot::launch_with(&stage.sim, &stage.database.url(), &[], &["--take-over"]);
    new.logged("asked the bot that holds the database to end")
        .await;
    assert_eq!(
        stage.bot.ended().await.code(),
        Some(0),
        "{}",
        stage.bot.log()
    );
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    new.connected(&stage.sim).await;
    stage.bot = new;
    ledger.comes_true(&stage).await;
    // The request was for the owner of that time: this one goes on.
    let beats = async || stage.database.number("select heartbeat from lease").await;
    let before = beats().await;
    wait("three beats", async || {
        (beats().await > before + 2).then_some(())
    })
    .await;
    assert!(!stage.bot.log().contains("asks this one to stop"));
}

#[tokio::test]
async fn an_owner_that_does_not_end_when_asked_is_reported_and_waited_for() {
    let mut stage = Stage::open().await;
    // Holds the database as the bot of an older version would, which knows no request.
    stage.bot.terminate().await;
    let store = stage.database.store().await;
    let lease = lease::claim_if_free(&store).await.unwrap().unwrap().lease;
    let end = CancellationToken::new();
    let owner = tokio::spawn(lease.keep(end.clone()));
    let mut new = Bot::launch_with(&stage.sim, &stage.database.url(), &[], &["--take-over"]);
    new.logged("is still running").await;
    end.cancel();
    assert!(owner.await.unwrap().is_none());
    new.connected(&stage.sim).await;
}

#[tokio::test]
async fn a_bot_that_hung_does_not_write_any_more_once_it_was_replaced() {
    let mut stage = Stage::open().await;
    let alice = stage.sim.user("alice");
    stage.bot.signal(Signal::STOP);
    // The first bot has this in its socket, and will read it when it wakes.
    stage.say("alice", "hello");
    let mut second = Bot::launch(&stage.sim, &stage.database.url(), &[]);
    stage
        .sim
        .wait("the second bot", || {
            (stage.sim.gateway().identifies() == 2).then_some(())
        })
        .await;
    second.connected(&stage.sim).await;
    stage.rest();
    stage.say("alice", "and again");
    stage.database.wait_for_messages(alice, 1).await;
    stage.bot.signal(Signal::CONT);
    assert_eq!(
        stage.bot.ended().await.code(),
        Some(18),
        "{}",
        stage.bot.log()
    );
    let (_, counted) = stage.database.standing(alice).await.unwrap();
    let by_day = stage
        .database
        .number("select sum(messages)::bigint from xp_day")
        .await;
    assert_eq!(counted, by_day, "nothing was added twice");
    assert_eq!(second.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_successor_has_the_database_within_seconds_however_its_owner_ended() {
    for (stopped, in_a_transaction) in [(false, false), (true, false), (true, true)] {
        let database = TestDatabase::migrated().await;
        let store = database.store().await;
        let claimed = lease::claim_if_free(&store).await.unwrap().unwrap();
        let (lease, from) = (claimed.lease, claimed.watermark);
        // A bot that is stopped keeps its sessions, and says nothing any more; those of
        // one that is killed end.
        let lease = stopped.then_some(lease);
        let mut engine = store.connect_apart().await.unwrap();
        let mut batch = store::begin(&mut engine).await.unwrap();
        if in_a_transaction {
            let frontier = MessageId::new(1 << 40).unwrap();
            let moved = watermark::advance(&mut batch, from, Some(frontier), HeldLines::Keep).await;
            assert!(moved.unwrap());
        }
        let started = Instant::now();
        let claimed =
            lease::claim_when_free(&store, &CancellationToken::new(), lease::Standby::Wait).await;
        let taken = claimed.unwrap().expect("nobody cancelled").watermark;
        let took = started.elapsed();
        assert!(
            took < Duration::from_secs(30),
            "stopped {stopped}, in a transaction {in_a_transaction}: {took:?}"
        );
        assert!(taken.owner_epoch > from.owner_epoch);
        assert_eq!(
            (taken.frontier, taken.batch_no),
            (from.frontier, from.batch_no),
            "what was not committed is undone"
        );
        drop((batch, lease));
    }
}

#[tokio::test]
async fn a_lock_that_is_held_for_long_takes_the_database_from_no_healthy_owner() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    let second = Bot::launch(&stage.sim, &stage.database.url(), &[]);
    second.logged("waiting to take over").await;
    let (beats, epoch) = (
        "select heartbeat from lease",
        "select owner_epoch from watermark",
    );
    let owner = stage.database.number(epoch).await;
    let mut session = stage.database.session().await;
    // A row that is held up is no reason at all; and while nobody can ask after the owner,
    // nobody can tell that it is silent.
    for (hold, owner_beats) in [
        (
            "begin; select from watermark for update; select from user_point for update",
            true,
        ),
        ("begin; lock table watermark", false),
    ] {
        sqlx::raw_sql(hold).execute(&mut session).await.unwrap();
        stage.rest();
        ledger.write(&stage, "alice", "general", true);
        if owner_beats {
            // Twice as long as it takes to take over.
            let before = stage.database.number(beats).await;
            wait("the owner to beat on", async || {
                (stage.database.number(beats).await >= before + 7).then_some(())
            })
            .await;
        } else {
            stage.bot.logged("claiming it again").await;
        }
        let release = sqlx::raw_sql("rollback").execute(&mut session).await;
        release.unwrap();
        ledger.comes_true(&stage).await;
        assert_eq!(stage.database.number(epoch).await, owner, "{hold}");
        assert_eq!(stage.sim.gateway().identifies(), 1);
    }
}

/// What a bot of before the table `lease` does: it knows the watermark alone.
mod before_the_lease {
    pub const CLAIM: &str = "update watermark set owner_epoch = owner_epoch + 5,
            heartbeat = heartbeat + 1, owner_pid = pg_backend_pid(),
            owner_started_at = (select backend_start from pg_stat_activity where pid = pg_backend_pid())";
    pub const BEAT: &str = "update watermark set heartbeat = heartbeat + 1, owner_pid = pg_backend_pid(),
            owner_started_at = (select backend_start from pg_stat_activity where pid = pg_backend_pid())";
    pub const RELEASE: &str = "update watermark set owner_pid = null";
}

#[tokio::test]
async fn a_bot_of_before_the_lease_keeps_the_database_until_it_ends() {
    use before_the_lease::{BEAT, CLAIM, RELEASE};
    for gives_free in [true, false] {
        let database = TestDatabase::migrated().await;
        let store = database.store().await;
        let mut old = database.session().await;
        sqlx::raw_sql(CLAIM).execute(&mut old).await.unwrap();
        let epoch = database.number("select owner_epoch from watermark").await;
        let cancel = CancellationToken::new();
        let taking = tokio::spawn({
            let (store, cancel) = (store.clone(), cancel.clone());
            async move { lease::claim_when_free(&store, &cancel, lease::Standby::Wait).await }
        });
        // It beats for longer than a silence may last.
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            sqlx::raw_sql(BEAT).execute(&mut old).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert!(!taking.is_finished(), "it lives");
        assert!(lease::claim_if_free(&store).await.unwrap().is_none());
        if gives_free {
            sqlx::raw_sql(RELEASE).execute(&mut old).await.unwrap();
        }
        drop(old);
        let taken = taking.await.unwrap().unwrap().unwrap();
        assert!(taken.watermark.owner_epoch > epoch);
        let agreed = "select count(*) from lease join watermark using (owner_epoch)";
        assert_eq!(database.number(agreed).await, 1);
    }
}

#[tokio::test]
async fn a_bot_of_before_the_lease_sees_the_beat_and_can_take_over() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let lease = lease::claim_if_free(&store).await.unwrap().unwrap().lease;
    let keeping = tokio::spawn(lease.keep(CancellationToken::new()));
    let beats = "select heartbeat from watermark where owner_pid is not null";
    let before = database.number(beats).await;
    wait("a beat that it sees", async || {
        (database.number(beats).await >= before + 2).then_some(())
    })
    .await;
    database.execute(before_the_lease::CLAIM).await;
    assert_eq!(keeping.await.unwrap(), Some(Lost::TakenOver));
}

#[tokio::test]
async fn a_batch_that_takes_postgres_long_counts_once_whoever_owns_it_in_the_end() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    let second = Bot::launch(&stage.sim, &stage.database.url(), &[]);
    second.logged("waiting to take over").await;
    stage
        .database
        .execute(
            "create function slow() returns trigger language plpgsql as $$ begin
                perform pg_sleep(4); return null; end $$;
             create trigger slow after insert or update on user_point execute function slow()",
        )
        .await;
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    stage
        .database
        .execute("drop trigger slow on user_point")
        .await;
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn what_earns_nothing_moves_the_frontier_too() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    let frontier = "select message_id from watermark";
    let as_stored = |message: u64| i64::try_from(message).unwrap();
    let too_soon = as_stored(ledger.write(&stage, "alice", "general", true));
    wait("the frontier to follow", async || {
        (stage.database.number(frontier).await == too_soon).then_some(())
    })
    .await;
    // And at the end, at once.
    let asked = stage.say("alice", ".rank");
    stage.sim.reply_to(asked).await;
    assert_eq!(stage.bot.terminate().await.code(), Some(0));
    assert_eq!(stage.database.number(frontier).await, as_stored(asked));
}

#[tokio::test]
async fn a_standby_outlasts_a_restart_of_postgres() {
    let (mut stage, gate) = Stage::open_gated().await;
    let mut second = Bot::launch(&stage.sim, &stage.database.url_through(&gate), &[]);
    second.logged("waiting to take over").await;
    gate.set(Position::Shut);
    second.logged("waiting for it").await;
    gate.set(Position::Open);
    stage.bot.kill().await;
    stage
        .sim
        .wait("the second bot", || {
            (stage.sim.gateway().identifies() == 2).then_some(())
        })
        .await;
    assert_eq!(second.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn no_secret_and_nobodys_words_are_logged_even_at_the_most_talkative() {
    for filter in ["info", "debug", "trace"] {
        let database = TestDatabase::migrated().await;
        let sim = Sim::start(World::new()).await.unwrap();
        let mut bot = Bot::launch(&sim, &database.url(), &[("RUST_LOG", filter)]);
        bot.connected(&sim).await;
        let stage = Stage { bot, database, sim };
        stage
            .sim
            .faults()
            .next(2, Method::POST, "/channels/{}/messages", Fault::Status(500));
        stage.ask("alice", ".rank words-of-alice").await;
        stage.say("alice", ".words-of-alice");
        stage.slash("alice", "rank", serde_json::json!([])).await;
        let log = stage.bot.log();
        assert!(
            !log.contains(&stage.sim.token()),
            "{filter}: the token is in the log"
        );
        assert!(
            !log.contains("/callback"),
            "{filter}: an interaction's token is in the log"
        );
        if filter != "trace" {
            assert!(!log.contains("words-of-alice"), "{filter}: {log}");
        }
    }
}

#[tokio::test]
async fn a_crash_leaves_no_memory_behind() {
    // Long enough alive: it waits for a Postgres that is not there. Where no limit can be
    // raised (run_walle.sh has set it to nothing for good) this only sees that it stays so;
    // the test in src/main.rs has the rest.
    let binary = env!("CARGO_BIN_EXE_wall_e");
    let mut bot = tokio::process::Command::new("sh")
        .args(["-c", "ulimit -c unlimited; exec \"$0\" run", binary])
        .env_clear()
        .env("WALLE_TOKEN", "canary")
        .env("WALLE_GUILD_ID", "100000000000000001")
        .env("DATABASE_URL", "postgres://walle@127.0.0.1:1/none")
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("a shell");
    let limits = format!("/proc/{}/limits", bot.id().unwrap());
    wait("a core limit of nothing", async || {
        let limits = std::fs::read_to_string(&limits).ok()?;
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))?;
        let values: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
        (values == ["0", "0"]).then_some(())
    })
    .await;
    bot.kill().await.unwrap();
}

#[tokio::test]
async fn help_explains_every_setting_and_shows_no_value() {
    let output = command()
        .args(["run", "--help"])
        .env("WALLE_TOKEN", "canary")
        .env("DATABASE_URL", "canary")
        .output();
    let output = output.await.unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for setting in [
        "WALLE_TOKEN",
        "WALLE_TOKEN_FILE",
        "WALLE_GUILD_ID",
        "DATABASE_URL",
        "WALLE_DISCORD_API",
        "WALLE_DISCORD_CA",
        "WALLE_DISCORD_CDN",
        "WALLE_AVATAR_CHANNEL",
        "WALLE_PREFIX",
        "WALLE_TIMEZONE",
        "RUST_LOG",
        "WALLE_LOG_FORMAT",
    ] {
        assert!(help.contains(setting), "{setting}");
    }
    assert!(!help.contains("canary"));
    let mistyped = command().arg("rnu").output().await.unwrap();
    assert_eq!(mistyped.status.code(), Some(2));
    assert!(
        String::from_utf8(mistyped.stderr)
            .unwrap()
            .contains("--help")
    );
}
