//! Whether and when people are answered: in a busy channel, who asks too much, commands of an
//! earlier bot, work that takes long, and channels that the bot may not see.

use std::time::Duration;

use discord_sim::{Fault, Method, Sim, World, permissions};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::support::{Bot, Stage, TestDatabase, id_of, is_private, person, said, wait, wait_for};

const TOO_MANY: &str =
    "You can run five commands at once, then one every four seconds. Please wait a little.";
const UNKNOWN: &str = "There is no such command. `/help` lists my commands.";

/// Somebody in `general` invokes a command without options.
fn invoke(stage: &Stage, who: &str, command: &str) -> u64 {
    let (who, general) = (stage.sim.user(who), stage.sim.channel("general"));
    stage.sim.slash(who, general, command, &json!([]))
}

/// Statuses of the calls that post messages.
fn statuses(sim: &Sim) -> Vec<Option<u16>> {
    let posted = sim.requests_to(&Method::POST, "/channels/{}/messages");
    posted.into_iter().map(|request| request.status).collect()
}

#[tokio::test]
async fn in_a_busy_channel_everyone_within_their_allowance_is_answered() {
    let names: Vec<String> = (0..12).map(|number| format!("member{number}")).collect();
    let world = names
        .iter()
        .fold(World::new(), |world, name| world.person(name, &[]));
    let stage = Stage::open_with(world, &[]).await;
    stage.sim.clear_requests();
    // Faster than two a second, and than Discord's five in five seconds.
    let asked: Vec<u64> = (0..2)
        .flat_map(|_| &names)
        .map(|name| stage.say(name, ".rank"))
        .collect();
    for message in &asked {
        wait_for(
            Duration::from_secs(90),
            "an answer to everyone",
            async || stage.sim.find_reply(*message),
        )
        .await;
    }
    // Nobody knocked before the limit was over.
    assert!(
        statuses(&stage.sim)
            .iter()
            .all(|status| *status == Some(200))
    );
    assert_eq!(statuses(&stage.sim).len(), asked.len());
    assert!(!stage.bot.log().contains("ERROR"), "{}", stage.bot.log());
}

#[tokio::test]
async fn who_floods_a_channel_is_told_once_and_holds_up_nobody() {
    let world = World::new();
    let bob = person(&world, "bob");
    let stage = Stage::open_with(world, &[(bob, 99, 5)]).await;
    let general = stage.sim.channel("general");
    let flood: Vec<u64> = (0..20).map(|_| stage.say("alice", ".rank")).collect();
    // It brings bob a level, too.
    let asked = stage.say("bob", ".rank");
    let answer = stage.sim.reply_to(asked).await;
    let line = format!("<@{bob}> reached **level 1**!");
    let lines = || {
        let messages = stage.sim.bot_messages(general);
        messages.into_iter().find(|message| said(message) == line)
    };
    let line = stage.sim.wait("the level-up line", lines).await;
    // What comes next from alice is answered: all of the flood that is answered has been.
    stage.regain_a_command();
    let later = stage.say("alice", ".help rank");
    let later = stage.sim.reply_to(later).await;
    let answers: Vec<Value> = flood
        .iter()
        .filter_map(|message| stage.sim.find_reply(*message))
        .collect();
    let (told, cards): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| said(answer) == TOO_MANY);
    assert_eq!((cards.len(), told.len()), (5, 1));
    for sooner in [answer, line] {
        assert!(id_of(&sooner) < id_of(&later));
    }
}

#[tokio::test]
async fn whose_answers_are_left_out_of_a_full_queue_is_told_once_and_privately() {
    const LEFT_OUT: &str = "Too many commands are waiting in that channel, and I have left out some of yours. Please try again later.";
    let names: Vec<String> = (0..110).map(|number| format!("member{number}")).collect();
    let world = names
        .iter()
        .fold(World::new(), |world, name| world.person(name, &[]));
    let stage = Stage::open_with(world, &[]).await;
    stage.sim.settings(|settings| settings.rate_limits = false);
    let private_words = |who: &str| {
        let direct = stage.sim.dm(stage.sim.user(who));
        stage.sim.bot_messages(direct)
    };
    // One answer holds the channel while the commands of the others come: more than may wait.
    let posts = format!("/channels/{}/messages", stage.sim.channel("general"));
    let faults = stage.sim.faults();
    faults.next(2, Method::POST, &posts, Fault::Hang);
    stage.say("bob", ".rank");
    let is_held = || {
        let posted = stage.sim.requests_to(&Method::POST, &posts);
        (!posted.is_empty()).then_some(())
    };
    stage.sim.wait("an answer on its way", is_held).await;
    let flood: Vec<u64> = (0..4).map(|_| stage.say("alice", ".rank")).collect();
    let asked: Vec<(&String, u64)> = names
        .iter()
        .map(|name| (name, stage.say(name, ".rank")))
        .collect();
    let is_over = async || {
        let is_settled = |who: &str, asked| {
            stage.sim.find_reply(asked).is_some() || !private_words(who).is_empty()
        };
        let all = asked.iter().all(|(who, asked)| is_settled(who, *asked));
        (all && flood.iter().all(|asked| is_settled("alice", *asked))).then_some(())
    };
    wait_for(
        Duration::from_mins(2),
        "an answer or a word to all",
        is_over,
    )
    .await;
    let answered = flood
        .iter()
        .filter(|asked| stage.sim.find_reply(**asked).is_some())
        .count();
    assert!(answered <= 2, "several of hers are left out: {answered}");
    let told: Vec<String> = private_words("alice").iter().map(said).collect();
    assert_eq!(told, [LEFT_OUT]);
}

#[tokio::test]
async fn a_slash_command_too_many_is_told_privately_and_then_ignored() {
    let stage = Stage::open().await;
    let general = stage.sim.channel("general");
    for _ in 0..5 {
        let asked = invoke(&stage, "alice", "rank");
        stage.sim.answer_to(asked).await;
    }
    let told = stage.sim.answer_to(invoke(&stage, "alice", "rank")).await;
    assert_eq!(said(&told), TOO_MANY);
    assert!(is_private(&told), "{told}");
    let ignored = invoke(&stage, "alice", "rank");
    // What is typed into an option is no command.
    let options = json!([{ "name": "level", "value": "" }]);
    let typed = stage.sim.autocomplete(
        stage.sim.user("mod"),
        general,
        "set_level_name",
        &options,
        "level",
    );
    stage.sim.choices_for(typed).await;
    assert!(stage.slash("bob", "rank", json!([])).await.contains("bob"));
    let asked = invoke(&stage, "alice", "rank");
    assert!(said(&stage.sim.answer_to(asked).await).contains("alice"));
    assert!(stage.sim.find_answer(ignored).is_none());
}

#[tokio::test]
async fn who_presses_buttons_too_fast_is_told_once_and_sees_no_failure() {
    let stage = Stage::open().await;
    stage.say("alice", "hello");
    let page = stage.reply("alice", ".ranks").await;
    let (alice, message) = (stage.sim.user("alice"), id_of(&page));
    let button = crate::support::button(&page, "⏩");
    let presses: Vec<u64> = (0..14)
        .map(|_| stage.sim.click(alice, message, &button))
        .collect();
    let answered = || {
        let requests = stage
            .sim
            .requests_to(&Method::POST, "/interactions/{}/{}/callback");
        (requests.len() == presses.len()).then_some(requests)
    };
    let kinds: Vec<Value> = stage
        .sim
        .wait("an answer to each press", answered)
        .await
        .into_iter()
        .map(|request| request.body["type"].clone())
        .collect();
    let count = |kind: u64| {
        let same = |one: &&Value| one.as_u64() == Some(kind);
        kinds.iter().filter(same).count()
    };
    assert_eq!((count(7), count(4), count(6)), (10, 1, 3), "{kinds:?}");
}

#[tokio::test]
async fn commands_of_an_earlier_bot_are_removed_or_answered() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new())
        .await
        .expect("the simulator starts");
    for command in [
        json!({ "name": "rank" }),
        json!({ "name": "play" }),
        json!({ "name": "rank", "type": 2, "description": "" }),
    ] {
        sim.add_global_command(&command);
    }
    let bot = Bot::start(&sim, &database.url()).await;
    bot.logged("roles are verified").await;
    let stage = Stage { bot, database, sim };
    let left = || {
        let left: Vec<(Value, Value)> = stage
            .sim
            .global_commands()
            .into_iter()
            .map(|command| (command["name"].clone(), command["type"].clone()))
            .collect();
        (left == [(json!("play"), json!(1)), (json!("rank"), json!(2))]).then_some(())
    };
    stage.sim.wait("our own name to be free", left).await;
    let notice = || {
        let council = stage.sim.find_channel("council")?;
        let notices = stage.sim.bot_messages(council);
        notices
            .into_iter()
            .find(|notice| said(notice).contains("/play"))
    };
    stage.sim.wait("a word to the council", notice).await;
    stage
        .bot
        .logged("global commands that an earlier bot registered")
        .await;

    let (alice, general) = (stage.sim.user("alice"), stage.sim.channel("general"));
    let told = stage.sim.answer_to(invoke(&stage, "alice", "play")).await;
    assert_eq!(said(&told), UNKNOWN);
    assert!(is_private(&told));
    // In direct messages, where ours are shown too if somebody registers them globally.
    stage
        .sim
        .add_global_command(&json!({ "name": "rank", "options": [
        { "type": 3, "name": "who", "description": "whose", "autocomplete": true },
    ] }));
    let direct = stage.sim.dm(alice);
    for (command, sentence) in [
        ("rank", "This command works only in the server."),
        (
            "play",
            "There is no such command. My commands work only in the server; `/help` lists them there.",
        ),
    ] {
        let asked = stage.sim.slash(alice, direct, command, &json!([]));
        let told = stage.sim.answer_to(asked).await;
        assert_eq!(said(&told), sentence);
        assert!(is_private(&told), "{told}");
    }
    let typed = json!([{ "name": "who", "value": "a" }]);
    let typed = stage.sim.autocomplete(alice, direct, "rank", &typed, "who");
    assert_eq!(stage.sim.choices_for(typed).await, Vec::<Value>::new());
    // In the guild a client lists both; the one of our name is run, whichever it is.
    let asked = stage.sim.slash_globally(alice, general, "rank", &json!([]));
    assert_eq!(
        said(&stage.sim.answer_to(asked).await),
        "alice has no XP yet."
    );
}

#[tokio::test]
async fn trouble_with_an_earlier_bots_commands_holds_nothing_up() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new())
        .await
        .expect("the simulator starts");
    sim.add_global_command(&json!({ "name": "rank" }));
    let path = "/applications/{}/commands";
    sim.faults()
        .next(1_000, Method::GET, path, Fault::Status(500));
    let bot = Bot::start(&sim, &database.url()).await;
    bot.logged("could not look for").await;
    let stage = Stage { bot, database, sim };
    assert!(stage.ask("alice", ".rank").await.contains("alice"));
    let asked = stage.sim.requests_to(&Method::GET, path).len();
    assert!(asked <= 5, "{asked} calls");
    // The next session tries again.
    stage.sim.faults().clear();
    stage.sim.gateway().invalid_session(false);
    let removed = || stage.sim.global_commands().is_empty().then_some(());
    stage.sim.wait("the command to be removed", removed).await;
}

#[tokio::test]
async fn work_that_takes_long_is_deferred_by_itself_and_as_its_answer_is() {
    let stage = Stage::open_with(World::new().person("manager", &["Bot_manager"]), &[]).await;
    let general = stage.sim.channel("general");
    let mut session = stage.database.session().await;
    for (who, command, lock, private) in [
        ("manager", "profile_queue", "updated_user", true),
        ("mod", "xp_log", "xp_change", true),
    ] {
        let mut transaction = session.begin().await.expect("a transaction");
        let lock = format!("lock table {lock} in access exclusive mode");
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock))
            .execute(&mut *transaction)
            .await
            .expect("a lock");
        stage.sim.clear_requests();
        let user = json!([{ "name": "user", "value": stage.sim.user("alice").to_string() }]);
        let options = if command == "xp_log" { user } else { json!([]) };
        let asked = stage
            .sim
            .force_slash(stage.sim.user(who), general, command, &options);
        let deferred = || {
            let answers = stage
                .sim
                .requests_to(&Method::POST, "/interactions/{}/{}/callback");
            answers
                .into_iter()
                .find(|answer| answer.status == Some(200))
        };
        let deferred = stage.sim.wait("a deferral", deferred).await;
        assert_eq!(deferred.body["type"], 5, "{command}");
        let flags = deferred.body["data"]["flags"].as_u64().unwrap_or(0);
        assert_eq!(flags & 64 != 0, private, "{command}");
        transaction
            .rollback()
            .await
            .expect("the lock is given back");
        let answer = stage.sim.answer_to(asked).await;
        assert!(!said(&answer).is_empty(), "{command}");
        assert!(is_private(&answer), "{command}");
    }
}

/// The kinds of the first answers that Discord took, in order.
fn first_answers(sim: &Sim) -> Vec<Value> {
    let answers = sim.requests_to(&Method::POST, "/interactions/{}/{}/callback");
    let taken = answers
        .into_iter()
        .filter(|answer| answer.status == Some(200));
    taken.map(|answer| answer.body["type"].clone()).collect()
}

#[tokio::test]
async fn what_waits_for_a_slow_discord_is_deferred_and_completed() {
    let stage = Stage::open().await;
    stage
        .slash(
            "mod",
            "set_level_name",
            json!([
                { "name": "level", "value": 5 }, { "name": "name", "value": "Five" },
            ]),
        )
        .await;
    // From now on no event tells of the guild: its roles are asked for, and come late.
    let guild = json!({ "id": stage.sim.guild_id().to_string(), "unavailable": true });
    stage.sim.gateway().raw_dispatch("GUILD_DELETE", guild);
    stage
        .bot
        .logged("Discord reports an outage of the guild")
        .await;
    let slow = Fault::Delay(Duration::from_secs(5));
    stage
        .sim
        .faults()
        .next(1_000, Method::GET, "/guilds/{}", slow);
    stage.sim.clear_requests();
    let asked = invoke(&stage, "mod", "levels");
    let shows_levels = |answer: &Value| said(answer).contains("reached by 0 members");
    let page = || stage.sim.find_answer(asked).filter(shows_levels);
    let page = wait_for(Duration::from_secs(30), "the levels", async || page()).await;
    assert_eq!(first_answers(&stage.sim), [5], "deferred");

    stage.sim.clear_requests();
    let next = crate::support::button(&page, "⏩");
    let pressed = stage.sim.click(stage.sim.user("mod"), id_of(&page), &next);
    let edits = || {
        stage
            .sim
            .requests_to(&Method::PATCH, "/webhooks/{}/{}/messages/{}")
    };
    let completed = async || {
        let completed = edits().iter().any(|edit| edit.status == Some(200));
        completed.then(|| stage.sim.find_answer(pressed))
    };
    let page = wait_for(Duration::from_secs(30), "the page", completed).await;
    assert!(page.is_some_and(|page| shows_levels(&page)));
    assert_eq!(first_answers(&stage.sim), [6], "deferred");
}

#[tokio::test]
async fn buttons_are_taken_off_by_themselves_where_the_bot_may_not_see_the_channel() {
    let mut stage = Stage::open().await;
    let general = stage.sim.channel("general");
    stage.say("alice", "hello");
    stage
        .sim
        .bot_permissions(general, 0, permissions::VIEW_CHANNEL);
    let page = stage.sim.answer_to(invoke(&stage, "alice", "ranks")).await;
    crate::support::button(&page, "⏩");
    // A minute before the interaction's token expires.
    let posted_ms = discord_sim::clock::time_of(id_of(&page));
    let closes = "select (extract(epoch from closes_at) * 1000)::bigint from open_buttons";
    let open = "select count(*) from open_buttons where token is not null";
    wait("the buttons to be noted", async || {
        (stage.database.number(open).await == 1).then_some(())
    })
    .await;
    let closes_ms = u64::try_from(stage.database.number(closes).await).unwrap();
    assert_eq!(closes_ms, posted_ms + 14 * 60_000);
    // Also by another process.
    stage.bot.kill().await;
    let due = "update open_buttons set closes_at = now() - interval '1 s'";
    stage.database.execute(due).await;
    let edit = "/webhooks/{}/{}/messages/{}";
    stage
        .sim
        .faults()
        .next(1, Method::PATCH, edit, Fault::Status(500));
    stage.start_again().await;
    wait_for(Duration::from_mins(1), "the buttons to go", async || {
        let row = stage
            .database
            .number("select count(*) from open_buttons")
            .await;
        (row == 0).then_some(())
    })
    .await;
    let page = stage.sim.message(id_of(&page)).expect("the page stays");
    assert_eq!(page["components"], json!([]));
    let log = stage.bot.log();
    assert!(!log.contains("buttons stay where the bot may not"), "{log}");
}

#[tokio::test]
async fn an_answer_is_completed_where_the_bot_may_not_see_the_channel() {
    let stage = Stage::open().await;
    let (moderator, general) = (stage.sim.user("mod"), stage.sim.channel("general"));
    stage
        .sim
        .bot_permissions(general, 0, permissions::VIEW_CHANNEL);
    let asked = stage
        .sim
        .slash(moderator, general, "verify_roles", &json!([]));
    let done = || {
        let answer = stage.sim.find_answer(asked)?;
        said(&answer)
            .starts_with("Verified 7 members")
            .then_some(())
    };
    stage.sim.wait("the result", done).await;
    let options = json!([{ "name": "level", "value": 3 }, { "name": "name", "value": "Three" }]);
    let asked = stage
        .sim
        .slash(moderator, general, "set_level_name", &options);
    let done = || {
        let answer = stage.sim.find_answer(asked)?;
        said(&answer)
            .contains("No members were affected")
            .then_some(())
    };
    stage.sim.wait("how many members it concerns", done).await;
}

#[tokio::test]
async fn a_limit_of_edits_of_old_messages_is_waited_out() {
    let mut stage = Stage::open_with(World::new(), &[]).await;
    stage.say("alice", "hello");
    for _ in 0..3 {
        stage.reply("alice", ".ranks").await;
    }
    let open = "select count(*) from open_buttons";
    wait("the buttons to be noted", async || {
        (stage.database.number(open).await == 3).then_some(())
    })
    .await;
    stage.bot.kill().await;
    stage
        .sim
        .settings(|settings| settings.edits_of_old_messages = 0);
    stage.sim.advance(Duration::from_hours(2));
    let due = "update open_buttons set closes_at = now() - interval '1 s'";
    stage.database.execute(due).await;
    stage.sim.clear_requests();
    stage.start_again().await;
    let postponed = "select count(*) from open_buttons where closes_at > now()";
    let all = async || (stage.database.number(postponed).await == 3).then_some(());
    wait_for(Duration::from_mins(1), "the edits to be postponed", all).await;
    let edits = || {
        stage
            .sim
            .requests_to(&Method::PATCH, "/channels/{}/messages/{}")
    };
    assert_eq!(edits().len(), 1, "one refusal says enough");
    assert!(stage.ask("bob", ".rank").await.contains("bob"));
    stage
        .sim
        .settings(|settings| settings.edits_of_old_messages = 30);
    stage.database.execute(due).await;
    wait("the buttons to be taken off", async || {
        (stage.database.number(open).await == 0).then_some(())
    })
    .await;
}
