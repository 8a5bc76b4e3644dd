//! What was missed counts as if it had not been: after a restart, a lost session,
//! and wherever it was written.

use std::time::Duration;

use discord_sim::permissions::{BOT, CONNECT, MANAGE_CHANNELS, READ_MESSAGE_HISTORY, VIEW_CHANNEL};
use discord_sim::{ChannelKind, Fault, Message, Method, Request, World};
use serde_json::{Value, json};

use crate::support::{Bot, Ledger, Stage, said};

const CHANNELS: &str = "/guilds/{}/channels";
const MESSAGES: &str = "/channels/{}/messages";
const ARCHIVED_THREADS: &str = "/channels/{}/threads/archived/public";
const ACTIVE_THREADS: &str = "/guilds/{}/threads/active";

/// A session ends and what was written quietly before never comes.
async fn lose_the_session(stage: &Stage) {
    let identifies = stage.sim.gateway().identifies();
    stage.sim.gateway().invalid_session(false);
    stage
        .sim
        .wait("a new session", || {
            (stage.sim.gateway().identifies() > identifies).then_some(())
        })
        .await;
}

/// What the bot asks for comes to the simulator.
async fn asked(stage: &Stage, method: Method, pattern: &str) {
    let asked = || (!stage.sim.requests_to(&method, pattern).is_empty()).then_some(());
    stage.sim.wait(&format!("{method} {pattern}"), asked).await;
}

/// The guild's channels, as they are listed now.
async fn channel_list(stage: &Stage) -> Vec<Value> {
    let (origin, guild) = (stage.sim.proxy_url(), stage.sim.guild_id());
    let answer = reqwest::Client::new()
        .get(format!("{origin}/api/v10/guilds/{guild}/channels"))
        .header("Authorization", format!("Bot {}", stage.sim.token()))
        .send()
        .await
        .expect("the simulator answers");
    serde_json::from_str(&answer.text().await.expect("a text")).expect("a list")
}

#[tokio::test]
async fn everything_written_during_a_restart_counts_wherever_it_was_written() {
    let world = World::new().channel("old-thread", ChannelKind::Thread, Some("random"));
    let (mut stage, mut ledger) = Stage::under_way(world).await;
    stage.bot.terminate().await;
    for (round, channel) in [
        "general",
        "random",
        "weekend-plans",
        "how-do-i-start",
        "lounge",
        "old-thread",
    ]
    .into_iter()
    .enumerate()
    {
        stage.sim.advance(Duration::from_secs(30));
        for who in ["alice", "bob", "mod"].into_iter().skip(round % 2) {
            ledger.write(&stage, who, channel, false);
        }
    }
    stage.sim.archive(stage.sim.channel("old-thread"));
    stage.start_again().await;
    ledger.comes_true(&stage).await;
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn the_newest_message_of_all_may_be_in_a_thread_that_was_archived() {
    let world = World::new().channel("old-thread", ChannelKind::Thread, Some("random"));
    let (mut stage, mut ledger) = Stage::under_way(world).await;
    stage.bot.terminate().await;
    stage.rest();
    ledger.write(&stage, "bob", "general", false);
    stage.rest();
    ledger.write(&stage, "alice", "old-thread", false);
    stage.sim.archive(stage.sim.channel("old-thread"));
    stage.start_again().await;
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn a_thread_that_comes_back_while_the_lists_are_read_is_read_too() {
    let world = World::new().channel("old-thread", ChannelKind::Thread, Some("random"));
    let (stage, mut ledger) = Stage::under_way(world).await;
    stage.rest();
    ledger.write(&stage, "alice", "old-thread", false);
    stage.sim.archive(stage.sim.channel("old-thread"));
    // It is archived still when the active ones are listed, and active again when the
    // archived ones are.
    let slowly = Fault::Delay(Duration::from_secs(1));
    let faults = stage.sim.faults();
    faults.next(1, Method::GET, ARCHIVED_THREADS, slowly);
    stage.sim.clear_requests();
    lose_the_session(&stage).await;
    asked(&stage, Method::GET, ARCHIVED_THREADS).await;
    ledger.write(&stage, "bob", "old-thread", true);
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn a_quiet_channel_in_which_something_is_written_while_the_lists_are_read_is_read_too() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.rest();
    ledger.write(&stage, "alice", "general", false);
    let slowly = Fault::Delay(Duration::from_secs(1));
    let faults = stage.sim.faults();
    faults.next(1, Method::GET, ARCHIVED_THREADS, slowly);
    stage.sim.clear_requests();
    lose_the_session(&stage).await;
    asked(&stage, Method::GET, ARCHIVED_THREADS).await;
    // The channels have been listed by now. The first of these two comes too late to be
    // of use, and the second must not be taken for the last of what had been written.
    stage.rest();
    ledger.write(&stage, "bob", "random", false);
    stage.rest();
    ledger.write(&stage, "bob", "weekend-plans", true);
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn archived_threads_of_several_channels_are_listed_side_by_side() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.rest();
    ledger.write(&stage, "alice", "general", false);
    let slowly = Fault::Delay(Duration::from_secs(2));
    let faults = stage.sim.faults();
    faults.next(1, Method::GET, ARCHIVED_THREADS, slowly);
    stage.sim.clear_requests();
    lose_the_session(&stage).await;
    let others_meanwhile = || {
        let lists = stage.sim.requests_to(&Method::GET, ARCHIVED_THREADS);
        let waiting = lists.first().is_some_and(|first| first.status.is_none());
        (waiting && lists.len() > 1).then_some(())
    };
    stage.sim.wait("a second list", others_meanwhile).await;
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn private_threads_that_the_bot_is_in_are_read_when_they_have_been_archived() {
    let mut world = World::new();
    for number in 0..=120 {
        let name = format!("private-{number}");
        world = world.channel(&name, ChannelKind::PrivateThread, Some("random"));
    }
    let (mut stage, mut ledger) = Stage::under_way(world).await;
    for number in 0..=120 {
        let thread = stage.sim.channel(&format!("private-{number}"));
        stage.sim.archive(thread);
        if number < 120 {
            stage.sim.add_bot(thread);
        }
    }
    stage.rest();
    ledger.write(&stage, "bob", "private-7", true);
    ledger.comes_true(&stage).await;
    stage.bot.terminate().await;
    stage.rest();
    // The one made first is on the last page.
    for (who, thread) in [("alice", "private-0"), ("bob", "private-119")] {
        ledger.write(&stage, who, thread, false);
        stage.sim.archive(stage.sim.channel(thread));
    }
    let mut unheard = Ledger::default();
    unheard.write(&stage, "carol", "private-120", false);
    stage.sim.archive(stage.sim.channel("private-120"));
    stage.start_again().await;
    ledger.comes_true(&stage).await;
    let carol = stage.sim.user("carol");
    assert_eq!(stage.database.standing(carol).await, None);
}

#[tokio::test]
async fn a_lost_session_is_read_up_and_a_resumed_one_is_not() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.sim.clear_requests();
    stage.rest();
    stage.sim.gateway().drop_connections();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    assert_eq!(stage.sim.gateway().resumes(), 1);
    assert!(
        stage.sim.requests_to(&Method::GET, MESSAGES).is_empty(),
        "what is replayed need not be read"
    );

    stage.rest();
    ledger.write(&stage, "alice", "random", false);
    ledger.write(&stage, "bob", "general", false);
    lose_the_session(&stage).await;
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn what_comes_live_meanwhile_waits_its_turn() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    // Missed at 61 s, live at 100 s: were the live one counted first, the missed one
    // would be refused as older.
    stage.sim.advance(Duration::from_secs(61));
    ledger.write(&stage, "alice", "random", false);
    stage.sim.faults().next(
        1,
        Method::GET,
        MESSAGES,
        Fault::Delay(Duration::from_secs(2)),
    );
    lose_the_session(&stage).await;
    stage.sim.wait_connected().await;
    stage.sim.advance(Duration::from_secs(39));
    ledger.write(&stage, "alice", "general", true);
    ledger.write(&stage, "bob", "general", true);
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn a_first_start_reads_nothing_and_a_gap_right_after_it_is_read() {
    let database = crate::support::TestDatabase::migrated().await;
    let sim = discord_sim::Sim::start(World::new()).await.unwrap();
    let (alice, general) = (sim.user("alice"), sim.channel("general"));
    sim.post(Message::new(general, alice, "before there was a bot").quietly());
    let bot = Bot::start(&sim, &database.url()).await;
    let stage = Stage { bot, database, sim };
    let mut ledger = Ledger::default();
    stage.rest();
    ledger.write(&stage, "bob", "general", true);
    ledger.comes_true(&stage).await;
    assert_eq!(stage.database.standing(alice).await, None);
    assert!(stage.sim.requests_to(&Method::GET, MESSAGES).is_empty());
}

#[tokio::test]
async fn what_waits_on_a_new_database_is_counted_when_the_bot_ends() {
    let database = crate::support::TestDatabase::migrated().await;
    let sim = discord_sim::Sim::start(World::new()).await.unwrap();
    let faults = sim.faults();
    faults.next(1_000, Method::GET, "/guilds/{}/channels", Fault::Hang);
    let bot = Bot::start(&sim, &database.url()).await;
    let mut stage = Stage { bot, database, sim };
    let mut ledger = Ledger::default();
    ledger.write(&stage, "alice", "general", true);
    // Answered when the message before it has come, or after a moment's patience.
    stage.ask("bob", ".help").await;
    stage.bot.terminate().await;
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn trouble_while_reading_only_delays() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    for _ in 0..3 {
        stage.rest();
        ledger.write(&stage, "alice", "general", false);
        ledger.write(&stage, "bob", "random", false);
    }
    let faults = stage.sim.faults();
    faults.next(6, Method::GET, CHANNELS, Fault::Status(503));
    faults.next(2, Method::GET, ACTIVE_THREADS, Fault::Reset);
    faults.next(7, Method::GET, MESSAGES, Fault::Html(502));
    stage.start_again().await;
    ledger.comes_true(&stage).await;
    stage.bot.logged("cannot be read now; trying").await;
}

#[tokio::test]
async fn after_trouble_the_reading_goes_on_where_it_was() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    for _ in 0..1_000 {
        stage.sim.advance(Duration::from_secs(10));
        ledger.write(&stage, "bob", "general", false);
    }
    stage.sim.clear_requests();
    stage.sim.settings(|settings| settings.rate_limits = false);
    let faults = stage.sim.faults();
    faults.next(9, Method::GET, MESSAGES, Fault::Delay(Duration::ZERO));
    // One more than a call is tried.
    faults.next(6, Method::GET, MESSAGES, Fault::Status(503));
    stage.start_again().await;
    ledger.comes_true(&stage).await;
    let answered = |request: &Request| request.status == Some(200);
    let pages = stage.sim.requests_to(&Method::GET, MESSAGES);
    let mut pages: Vec<String> = pages
        .into_iter()
        .filter(answered)
        .map(|page| page.path + &page.query)
        .collect();
    let count = pages.len();
    pages.sort();
    pages.dedup();
    assert_eq!((count, count - pages.len()), (11, 0), "{pages:?}");
    let log = stage.bot.log();
    for said in ["cannot be read now", "the reading of the history resumes"] {
        assert_eq!(log.matches(said).count(), 1, "{said}: {log}");
    }
}

#[tokio::test]
async fn a_channel_that_discord_refuses_stops_nobody_else() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    let bad_request = Fault::Status(400);
    let random = stage.sim.channel("random");
    let of_random = format!("/channels/{random}/messages");
    let threads_of_random = format!("/channels/{random}/threads/archived/public");
    let faults = stage.sim.faults();
    faults.next(1_000, Method::GET, &of_random, bad_request.clone());
    faults.next(1_000, Method::GET, &threads_of_random, bad_request);
    stage.rest();
    let alice = stage.sim.user("alice");
    stage
        .sim
        .post(Message::new(random, alice, "lost").quietly());
    stage.rest();
    ledger.write(&stage, "bob", "general", false);
    lose_the_session(&stage).await;
    ledger.comes_true(&stage).await;
    stage.bot.logged("name=random").await;
    let log = stage.bot.log();
    let lists = log.matches("is set aside").count();
    assert_eq!(lists, 2, "its messages and its threads: {log}");
    assert!(log.contains("Discord answered 400"), "{log}");
}

#[tokio::test]
async fn a_list_with_something_odd_in_it_is_read_all_the_same() {
    let world = World::new().channel("old-thread", ChannelKind::Thread, Some("random"));
    let (stage, mut ledger) = Stage::under_way(world).await;
    stage.rest();
    ledger.write(&stage, "alice", "random", false);
    ledger.write(&stage, "bob", "old-thread", false);
    stage.sim.archive(stage.sim.channel("old-thread"));
    let mut channels = channel_list(&stage).await;
    channels.insert(0, json!({ "id": "77", "type": "of the future" }));
    // The same page, as if there were always another.
    let old_thread = json!({
        "id": stage.sim.channel("old-thread").to_string(),
        "type": 11,
        "name": "old-thread",
        "last_message_id": stage.sim.snowflake().to_string(),
        "thread_metadata": { "archive_timestamp": "2100-01-01T00:00:00+00:00" },
    });
    let endless = json!({ "threads": [{ "id": [] }, old_thread], "has_more": true });
    let faults = stage.sim.faults();
    faults.next(2, Method::GET, CHANNELS, Fault::Answer(channels.into()));
    faults.next(
        u32::MAX,
        Method::GET,
        ARCHIVED_THREADS,
        Fault::Answer(endless),
    );
    stage.sim.clear_requests();
    lose_the_session(&stage).await;
    ledger.comes_true(&stage).await;
    let log = stage.bot.log();
    assert!(log.contains("id=77"), "{log}");
    // The first page and one more, of each channel that holds threads; and again, where the
    // reading had begun before the guild was there.
    let pages = stage.sim.requests_to(&Method::GET, ARCHIVED_THREADS).len();
    assert!(pages <= 2 * 10, "{pages} pages");
}

#[tokio::test]
async fn a_reading_that_is_interrupted_is_begun_again() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.kill().await;
    stage.rest();
    ledger.write(&stage, "alice", "general", false);
    ledger.write(&stage, "bob", "random", false);
    stage
        .sim
        .faults()
        .next(1_000, Method::GET, MESSAGES, Fault::Hang);
    stage.sim.clear_requests();
    stage.start_again().await;
    asked(&stage, Method::GET, MESSAGES).await;
    stage.bot.kill().await;
    stage.sim.faults().clear();
    stage.start_again().await;
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn a_thousand_messages_cost_ten_calls() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    for _ in 0..1_000 {
        stage.sim.advance(Duration::from_secs(10));
        ledger.write(&stage, "bob", "general", false);
    }
    stage.sim.clear_requests();
    stage.sim.settings(|settings| settings.rate_limits = false);
    stage.start_again().await;
    ledger.comes_true(&stage).await;
    let calls = stage.sim.requests_to(&Method::GET, MESSAGES).len();
    assert!(
        (10..=12).contains(&calls),
        "{calls} calls for a thousand messages"
    );
}

#[tokio::test]
async fn a_long_reading_shows_its_progress() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    for _ in 0..5_050 {
        stage.sim.advance(Duration::from_secs(5));
        ledger.write(&stage, "alice", "random", false);
        ledger.write(&stage, "bob", "general", false);
    }
    stage.sim.settings(|settings| settings.rate_limits = false);
    stage.start_again().await;
    ledger.comes_true(&stage).await;
    let log = stage.bot.log();
    let progress = log
        .lines()
        .filter(|line| line.contains("reading what was missed") && line.contains("messages=10"));
    assert_eq!(progress.count(), 1, "{log}");
}

/// A day and more without the bot. What `who` writes at its beginning is lost, and the
/// newest message is in another channel.
async fn a_long_gap(who: &str) -> (Stage, Ledger) {
    let world = World::new().channel("council", ChannelKind::Text, None);
    let (mut stage, _) = Stage::under_way(world).await;
    stage.bot.terminate().await;
    stage.rest();
    Ledger::default().write(&stage, who, "random", false);
    stage.sim.advance(Duration::from_hours(30));
    let mut kept = Ledger::default();
    kept.write(&stage, "mod", "general", false);
    stage.sim.clear_requests();
    (stage, kept)
}

async fn word_to_the_council(stage: &Stage) -> String {
    let council = stage.sim.channel("council");
    let word = || stage.sim.bot_messages(council).into_iter().next();
    said(&stage.sim.wait("a word", word).await)
}

#[tokio::test]
async fn a_gap_beyond_the_limit_is_told_to_the_council() {
    let (mut stage, kept) = a_long_gap("bob").await;
    stage.start_again().await;
    kept.comes_true(&stage).await;
    assert_eq!(stage.database.standing(stage.sim.user("bob")).await, None);
    let word = word_to_the_council(&stage).await;
    assert!(word.contains("longer than 24 hours"), "{word}");
    assert!(word.contains("set WALLE_CATCH_UP_HOURS to more"), "{word}");
}

#[tokio::test]
async fn a_long_gap_in_which_nobody_could_have_earned_is_told_to_nobody() {
    let (mut stage, mut kept) = a_long_gap("beep").await;
    stage.start_again().await;
    kept.comes_true(&stage).await;
    stage.rest();
    kept.write(&stage, "carol", "general", true);
    kept.comes_true(&stage).await;
    stage.bot.terminate().await;
    assert!(!stage.bot.log().contains("ERROR"), "{}", stage.bot.log());
}

#[tokio::test]
async fn the_word_to_the_council_survives_trouble_and_the_next_gap() {
    let (mut stage, mut kept) = a_long_gap("bob").await;
    let to_the_council = format!("/channels/{}/messages", stage.sim.channel("council"));
    let faults = stage.sim.faults();
    let slowly = Fault::Delay(Duration::from_secs(1));
    faults.next(1, Method::POST, &to_the_council, slowly);
    // More than a call is tried.
    faults.next(6, Method::POST, &to_the_council, Fault::Status(503));
    stage.start_again().await;
    asked(&stage, Method::POST, &to_the_council).await;
    lose_the_session(&stage).await;
    stage.rest();
    kept.write(&stage, "carol", "general", true);
    kept.comes_true(&stage).await;
    let word = word_to_the_council(&stage).await;
    assert!(word.contains("longer than 24 hours"), "{word}");
}

#[tokio::test]
async fn a_council_that_is_not_there_is_made_for_the_word() {
    let (mut stage, _) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    stage.rest();
    Ledger::default().write(&stage, "bob", "random", false);
    stage.sim.advance(Duration::from_hours(30));
    Ledger::default().write(&stage, "mod", "general", false);
    stage.start_again().await;
    let made = || stage.sim.find_channel("council");
    stage.sim.wait("a council", made).await;
    let word = word_to_the_council(&stage).await;
    assert!(word.contains("longer than 24 hours"), "{word}");
}

#[tokio::test]
async fn without_a_council_the_log_says_so() {
    let (mut stage, _) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    let of_the_bot = stage.sim.role("wall_e");
    stage
        .sim
        .role_permissions(of_the_bot, BOT & !MANAGE_CHANNELS);
    stage.rest();
    Ledger::default().write(&stage, "bob", "random", false);
    stage.sim.advance(Duration::from_hours(30));
    Ledger::default().write(&stage, "mod", "general", false);
    stage.start_again().await;
    stage.bot.logged("set WALLE_CATCH_UP_HOURS higher").await;
    stage.bot.logged("set WALLE_COUNCIL_CHANNEL").await;
    let log = stage.bot.log();
    assert!(log.contains("the bot lacks Manage Channels"), "{log}");
    assert_eq!(log.matches("could not be told").count(), 1, "{log}");
    assert_eq!(stage.sim.find_channel("council"), None);
}

#[tokio::test]
async fn a_quiet_guild_is_not_a_long_gap() {
    let (mut stage, mut ledger) =
        Stage::under_way(World::new().channel("council", ChannelKind::Text, None)).await;
    stage.sim.advance(Duration::from_hours(48));
    stage.bot.terminate().await;
    ledger.write(&stage, "bob", "general", false);
    stage.start_again().await;
    ledger.comes_true(&stage).await;
    assert!(
        stage
            .sim
            .bot_messages(stage.sim.channel("council"))
            .is_empty()
    );
}

#[tokio::test]
async fn a_channel_that_may_not_be_read_is_said_once_and_the_rest_is_read() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    let staff = stage.sim.channel("staff");
    for _ in 0..2 {
        stage.rest();
        stage
            .sim
            .post(Message::new(staff, stage.sim.user("mod"), "secret").quietly());
        ledger.write(&stage, "alice", "general", false);
        lose_the_session(&stage).await;
        ledger.comes_true(&stage).await;
    }
    assert_eq!(not_to_be_read(&stage), ["staff"]);
}

/// The channels that the bot is not allowed to read, by its log.
fn not_to_be_read(stage: &Stage) -> Vec<String> {
    let log = stage.bot.log();
    log.lines()
        .filter(|line| line.contains("is not allowed to read"))
        .filter_map(|line| line.split_once("name=").map(|(_, name)| name.to_owned()))
        .collect()
}

#[tokio::test]
async fn a_channel_that_only_looks_empty_is_said_once_and_the_rest_is_read() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    let (random, alice) = (stage.sim.channel("random"), stage.sim.user("alice"));
    stage.sim.bot_permissions(random, 0, READ_MESSAGE_HISTORY);
    for _ in 0..2 {
        stage.rest();
        stage
            .sim
            .post(Message::new(random, alice, "unread").quietly());
        ledger.write(&stage, "bob", "general", false);
        lose_the_session(&stage).await;
        ledger.comes_true(&stage).await;
    }
    stage.bot.logged("is not allowed to read").await;
    assert_eq!(not_to_be_read(&stage), ["random"]);
}

#[tokio::test]
async fn a_forum_that_does_not_show_its_posts_is_said_if_it_is_in_use() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    let questions = stage.sim.channel("questions");
    stage
        .sim
        .bot_permissions(questions, 0, READ_MESSAGE_HISTORY);
    stage.rest();
    ledger.write(&stage, "bob", "general", false);
    lose_the_session(&stage).await;
    ledger.comes_true(&stage).await;
    assert_eq!(
        not_to_be_read(&stage),
        [""; 0],
        "nobody has posted anything"
    );

    stage.rest();
    ledger.write(&stage, "bob", "general", false);
    let post = stage.sim.snowflake().to_string();
    let mut channels = channel_list(&stage).await;
    for channel in &mut channels {
        if channel["name"] == "questions" {
            channel["last_message_id"] = json!(post);
        }
    }
    let listed = Fault::Answer(channels.into());
    stage.sim.faults().next(2, Method::GET, CHANNELS, listed);
    lose_the_session(&stage).await;
    ledger.comes_true(&stage).await;
    stage.bot.logged("is not allowed to read").await;
    assert_eq!(not_to_be_read(&stage), ["questions"]);
}

#[tokio::test]
async fn a_channel_whose_last_message_was_deleted_may_be_read() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    ledger.write(&stage, "bob", "random", true);
    ledger.comes_true(&stage).await;
    stage.sim.advance(Duration::from_mins(10));
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    stage.sim.advance(Duration::from_mins(10));
    let random = stage.sim.channel("random");
    let regretted = Message::new(random, stage.sim.user("bob"), "regretted").quietly();
    stage.sim.delete(random, stage.sim.post(regretted));
    ledger.write(&stage, "alice", "general", false);
    lose_the_session(&stage).await;
    ledger.comes_true(&stage).await;
    // What is said of a gap is said before the next is filled.
    stage.rest();
    ledger.write(&stage, "alice", "general", false);
    lose_the_session(&stage).await;
    ledger.comes_true(&stage).await;
    assert_eq!(not_to_be_read(&stage), [""; 0]);
}

#[tokio::test]
async fn a_channel_that_was_closed_later_is_said_too() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    let random = stage.sim.channel("random");
    stage.rest();
    ledger.write(&stage, "alice", "random", false);
    lose_the_session(&stage).await;
    ledger.comes_true(&stage).await;
    assert_eq!(not_to_be_read(&stage), [""; 0]);

    stage.sim.bot_permissions(random, 0, VIEW_CHANNEL);
    stage.rest();
    let alice = stage.sim.user("alice");
    stage
        .sim
        .post(Message::new(random, alice, "unread").quietly());
    ledger.write(&stage, "bob", "general", false);
    lose_the_session(&stage).await;
    ledger.comes_true(&stage).await;
    stage.bot.logged("is not allowed to read").await;
    assert_eq!(not_to_be_read(&stage), ["random"]);
}

/// Misses a message in `general`, and whatever else was written quietly.
async fn miss_and_catch_up(stage: &Stage, ledger: &mut Ledger) {
    stage.rest();
    ledger.write(stage, "bob", "general", false);
    lose_the_session(stage).await;
    ledger.comes_true(stage).await;
}

/// How often the bot has asked for a channel's messages and archived threads.
fn asked_of(stage: &Stage, channel: &str) -> usize {
    let channel = stage.sim.channel(channel);
    let lists = [
        "messages",
        "threads/archived/public",
        "users/@me/threads/archived/private",
    ];
    let asked = lists.map(|list| {
        let path = format!("/channels/{channel}/{list}");
        stage.sim.requests_to(&Method::GET, &path).len()
    });
    asked.iter().sum()
}

#[tokio::test]
async fn a_channel_that_is_hidden_from_the_bot_is_not_asked_for() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    let (mod_, alice) = (stage.sim.user("mod"), stage.sim.user("alice"));
    let (staff, lounge) = (stage.sim.channel("staff"), stage.sim.channel("lounge"));
    // Whoever may not join a voice channel does not read what is written in it.
    stage.sim.bot_permissions(lounge, 0, CONNECT);
    stage.sim.clear_requests();
    for _ in 0..2 {
        stage.rest();
        for (channel, who) in [(staff, mod_), (lounge, alice)] {
            stage
                .sim
                .post(Message::new(channel, who, "unread").quietly());
        }
        miss_and_catch_up(&stage, &mut ledger).await;
    }
    for channel in ["staff", "lounge"] {
        assert_eq!(asked_of(&stage, channel), 0, "{channel}");
    }
    stage.bot.logged("name=staff").await;
    stage.bot.logged("name=lounge").await;
    let mut named = not_to_be_read(&stage);
    named.sort();
    assert_eq!(named, ["lounge", "staff"], "each once");
}

#[tokio::test]
async fn a_refusal_is_remembered_until_permissions_change() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    let (random, alice) = (stage.sim.channel("random"), stage.sim.user("alice"));
    let of_random = format!("/channels/{random}/messages");
    let faults = stage.sim.faults();
    faults.next(u32::MAX, Method::GET, &of_random, Fault::Status(403));
    let threads = format!("/channels/{random}/threads/archived/public");
    faults.next(u32::MAX, Method::GET, &threads, Fault::Status(403));
    stage.sim.clear_requests();
    for _ in 0..3 {
        stage.rest();
        stage
            .sim
            .post(Message::new(random, alice, "refused").quietly());
        miss_and_catch_up(&stage, &mut ledger).await;
    }
    assert_eq!(asked_of(&stage, "random"), 2, "each list once");

    stage.sim.faults().clear();
    stage.rest();
    ledger.write(&stage, "alice", "random", true);
    ledger.comes_true(&stage).await;
    stage.sim.bot_permissions(random, VIEW_CHANNEL, 0);
    stage.rest();
    ledger.write(&stage, "alice", "random", false);
    miss_and_catch_up(&stage, &mut ledger).await;
    assert!(asked_of(&stage, "random") > 2);
}

#[tokio::test]
async fn a_channel_whose_messages_were_all_deleted_may_be_read() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.rest();
    let random = stage.sim.channel("random");
    let regretted = Message::new(random, stage.sim.user("alice"), "regretted").quietly();
    stage.sim.delete(random, stage.sim.post(regretted));
    for _ in 0..2 {
        miss_and_catch_up(&stage, &mut ledger).await;
    }
    assert_eq!(not_to_be_read(&stage), [""; 0]);
}

#[tokio::test]
async fn a_forum_post_that_nobody_has_answered_counts() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    stage.rest();
    let active = ledger.open_post(&stage, "carol", "questions", false);
    stage.rest();
    let archived = ledger.open_post(&stage, "bob", "questions", false);
    stage.sim.archive(archived);
    let shown = channel_of(&stage, active).await;
    assert_eq!(shown["last_message_id"], Value::Null, "as Discord has it");
    stage.start_again().await;
    ledger.comes_true(&stage).await;
}

async fn channel_of(stage: &Stage, channel: u64) -> Value {
    let origin = stage.sim.proxy_url();
    let answer = reqwest::Client::new()
        .get(format!("{origin}/api/v10/channels/{channel}"))
        .header("Authorization", format!("Bot {}", stage.sim.token()))
        .send()
        .await
        .expect("the simulator answers");
    serde_json::from_str(&answer.text().await.expect("a text")).expect("a channel")
}

#[tokio::test]
async fn a_list_that_promises_more_and_shows_nothing_ends() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    let empty = json!({ "threads": [], "members": [], "has_more": true });
    let faults = stage.sim.faults();
    faults.next(
        u32::MAX,
        Method::GET,
        ARCHIVED_THREADS,
        Fault::Answer(empty),
    );
    stage.sim.clear_requests();
    miss_and_catch_up(&stage, &mut ledger).await;
    let channels = channel_list(&stage).await;
    let pages = stage.sim.requests_to(&Method::GET, ARCHIVED_THREADS).len();
    // The reading begins anew where it had begun before the guild was there.
    assert!(
        pages <= 2 * channels.len(),
        "{pages} pages, at most one a channel in each of two readings"
    );
}

#[tokio::test]
async fn levels_reached_meanwhile_are_one_line_for_each_member() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    // About 40 awards of 20: from level 0 to level 3 or 4.
    for _ in 0..40 {
        stage.rest();
        ledger.write(&stage, "alice", "general", false);
    }
    stage.start_again().await;
    ledger.comes_true(&stage).await;
    let general = stage.sim.channel("general");
    let line = stage
        .sim
        .wait("a line", || {
            stage.sim.bot_messages(general).into_iter().next()
        })
        .await;
    assert!(
        said(&line).contains("reached **level 4**") || said(&line).contains("reached **level 3**"),
        "{line}"
    );
    stage.rest();
    stage.ask("alice", ".help").await;
    assert_eq!(
        stage.sim.bot_messages(general).len(),
        2,
        "one line, and the help"
    );
}
