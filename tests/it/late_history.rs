//! One channel or list that does not answer holds up nothing else: it is set aside, told of,
//! and counted when it answers, to the same sum as if it always had.

use std::time::Duration;

use discord_sim::permissions::VIEW_CHANNEL;
use discord_sim::{ChannelKind, Fault, Message, Method, Scope, World};
use fault_lab::{Gate, Position};

use crate::support::{Bot, Ledger, Stage, said, wait_for};

/// Longer than the pauses between the first attempts.
const RETRIES: Duration = Duration::from_mins(2);
const EVER: u32 = u32::MAX;

/// What must have counted so far, and what must count in the end.
struct Written {
    heard: Ledger,
    all: Ledger,
}

impl Written {
    /// In `random` nothing is read; what is heard live counts there too.
    fn write(&mut self, stage: &Stage, who: &str, channel: &str, heard: bool) {
        let message = self.all.write(stage, who, channel, heard);
        if heard || channel == "general" {
            self.heard.add(stage.sim.user(who), message);
        }
    }
}

/// The bot was stopped, and something was written in two channels, of which one is going to
/// fail: by different people, by one in both within a minute, and by one in the failing one only.
async fn missed_in_two_channels() -> (Stage, Written) {
    let world = World::new()
        .channel("council", ChannelKind::Text, None)
        .channel("old-thread", ChannelKind::Thread, Some("random"));
    let (mut stage, ledger) = Stage::under_way(world).await;
    let mut written = Written {
        heard: ledger.clone(),
        all: ledger,
    };
    stage.bot.terminate().await;
    stage.sim.advance(Duration::from_secs(30));
    // Within the cooldown of what was counted before.
    written.write(&stage, "alice", "random", false);
    for round in 0..8 {
        stage.sim.advance(Duration::from_secs(20));
        written.write(&stage, "alice", "random", false);
        stage.sim.advance(Duration::from_secs(20));
        written.write(&stage, "alice", "general", false);
        written.write(&stage, "bob", "general", false);
        if round % 3 == 0 {
            written.write(&stage, "carol", "random", false);
        }
        stage.sim.advance(Duration::from_secs(25));
        written.write(&stage, "alice", "general", false);
    }
    stage.sim.advance(Duration::from_secs(10));
    written.write(&stage, "mod", "random", false);
    (stage, written)
}

fn messages_of(stage: &Stage, channel: &str) -> String {
    format!("/channels/{}/messages", stage.sim.channel(channel))
}

async fn council_says(stage: &Stage, part: &str) -> String {
    let council = stage.sim.channel("council");
    let texts = || stage.sim.bot_messages(council).iter().map(said).collect();
    wait_for(RETRIES, part, async || {
        let texts: Vec<String> = texts();
        texts.into_iter().find(|text| text.contains(part))
    })
    .await
}

async fn nothing_is_missing(stage: &Stage) {
    wait_for(RETRIES, "what was missing to be counted", async || {
        let missing = "select count(*) from history_interval";
        (stage.database.number(missing).await == 0).then_some(())
    })
    .await;
    let kept = "select count(*) from history_counted";
    assert_eq!(stage.database.number(kept).await, 0);
}

async fn a_sick_channel_holds_up_nothing(fault: Fault) {
    let (mut stage, mut written) = missed_in_two_channels().await;
    let of_random = messages_of(&stage, "random");
    let faults = stage.sim.faults();
    faults.next(EVER, Method::GET, &of_random, fault);
    stage.start_again().await;
    written.heard.comes_true(&stage).await;
    let general = stage.sim.channel("general");
    let line = || {
        let lines = stage.sim.bot_messages(general);
        lines
            .into_iter()
            .find(|line| said(line).contains("level 1"))
    };
    stage.sim.wait("a level-up line", line).await;
    stage.bot.logged("is set aside").await;
    assert!(
        stage.bot.log().contains("name=random"),
        "{}",
        stage.bot.log()
    );

    // What comes live counts, also right after the gap and in the failing channel, in which
    // the bot can write.
    written.write(&stage, "mod", "general", true);
    written.write(&stage, "carol", "random", true);
    written.heard.comes_true(&stage).await;
    let random = stage.sim.channel("random");
    let asked = stage.sim.say(stage.sim.user("boss"), random, ".help");
    stage.sim.reply_to(asked).await;
    written.all.add(stage.sim.user("boss"), asked);
    written.heard.add(stage.sim.user("boss"), asked);
    let told = council_says(&stage, &format!("<#{random}> (random)")).await;
    assert!(told.contains("not counted yet"), "{told}");
    // Whoever is killed before the commit has not heard it.
    written.heard.comes_true(&stage).await;

    // Another start, and another gap.
    stage.bot.kill().await;
    stage.rest();
    written.write(&stage, "bob", "general", false);
    written.write(&stage, "bob", "random", false);
    stage.rest();
    written.write(&stage, "carol", "general", false);
    stage.start_again().await;
    written.heard.comes_true(&stage).await;
    stage.rest();
    written.write(&stage, "alice", "random", true);
    written.heard.comes_true(&stage).await;

    stage.sim.faults().clear();
    // An answer of 600 s is believed; whoever starts the bot again has it tried at once.
    stage.restart().await;
    nothing_is_missing(&stage).await;
    written.all.comes_true(&stage).await;
    let solved = council_says(&stage, "Solved").await;
    assert!(solved.contains("(random)"), "{solved}");
    stage.rest();
    written.write(&stage, "alice", "general", true);
    written.all.comes_true(&stage).await;
}

#[tokio::test]
async fn a_channel_that_answers_500_holds_up_nothing() {
    a_sick_channel_holds_up_nothing(Fault::Status(500)).await;
}

#[tokio::test]
async fn a_channel_that_answers_html_holds_up_nothing() {
    a_sick_channel_holds_up_nothing(Fault::Html(200)).await;
}

#[tokio::test]
async fn a_channel_with_a_long_rate_limit_holds_up_nothing() {
    let limited = Fault::RateLimited {
        retry_after: Duration::from_mins(10),
        scope: Scope::User,
        headers: true,
    };
    a_sick_channel_holds_up_nothing(limited).await;
}

#[tokio::test]
async fn a_channel_that_answers_again_is_counted_without_a_restart() {
    let (mut stage, written) = missed_in_two_channels().await;
    let of_random = messages_of(&stage, "random");
    let faults = stage.sim.faults();
    faults.next(EVER, Method::GET, &of_random, Fault::Status(500));
    stage.start_again().await;
    written.heard.comes_true(&stage).await;
    council_says(&stage, "(random)").await;
    stage.sim.faults().clear();
    nothing_is_missing(&stage).await;
    written.all.comes_true(&stage).await;
    council_says(&stage, "Solved").await;
}

#[tokio::test]
async fn a_list_of_threads_that_fails_holds_up_nothing() {
    for list in ["archived", "active"] {
        let (mut stage, mut written) = missed_in_two_channels().await;
        stage.rest();
        written.write(&stage, "alice", "old-thread", false);
        stage.sim.advance(Duration::from_secs(20));
        written.write(&stage, "alice", "general", false);
        let random = stage.sim.channel("random");
        let path = if list == "archived" {
            stage.sim.archive(stage.sim.channel("old-thread"));
            format!("/channels/{random}/threads/archived/public")
        } else {
            format!("/guilds/{}/threads/active", stage.sim.guild_id())
        };
        let faults = stage.sim.faults();
        faults.next(EVER, Method::GET, &path, Fault::Status(500));
        stage.start_again().await;
        // The channel itself answers.
        let bob = stage.sim.user("bob");
        stage.database.wait_for_messages(bob, 8).await;
        stage.bot.logged("is set aside").await;
        council_says(&stage, "threads").await;
        stage.rest();
        written.write(&stage, "bob", "general", true);
        stage.database.wait_for_messages(bob, 9).await;
        // By now it is in the other list.
        if list == "active" {
            stage.sim.archive(stage.sim.channel("old-thread"));
        }
        stage.sim.faults().clear();
        nothing_is_missing(&stage).await;
        written.all.comes_true(&stage).await;
        council_says(&stage, "Solved").await;
    }
}

#[tokio::test]
async fn what_can_never_be_read_is_told_and_forgotten() {
    for is_deleted in [true, false] {
        let (mut stage, written) = missed_in_two_channels().await;
        let random = stage.sim.channel("random");
        let of_random = messages_of(&stage, "random");
        let faults = stage.sim.faults();
        faults.next(EVER, Method::GET, &of_random, Fault::Status(500));
        stage.start_again().await;
        written.heard.comes_true(&stage).await;
        council_says(&stage, "(random)").await;
        if is_deleted {
            stage.sim.delete_channel(random);
        } else {
            stage.sim.bot_permissions(random, 0, VIEW_CHANNEL);
        }
        let why = if is_deleted {
            "it was deleted"
        } else {
            "I don't have permission to read"
        };
        let told = council_says(&stage, why).await;
        assert!(told.contains("(random)"), "{told}");
        nothing_is_missing(&stage).await;
        council_says(&stage, "Solved").await;
        written.heard.comes_true(&stage).await;
    }
}

#[tokio::test]
async fn while_discord_is_away_as_a_whole_everything_waits() {
    let (mut stage, written) = missed_in_two_channels().await;
    let faults = stage.sim.faults();
    faults.next(
        EVER,
        Method::GET,
        "/channels/{}/messages",
        Fault::Status(503),
    );
    let channels = format!("/guilds/{}/channels", stage.sim.guild_id());
    faults.next(2, Method::GET, &channels, Fault::Delay(Duration::ZERO));
    faults.next(EVER, Method::GET, &channels, Fault::Status(503));
    stage.start_again().await;
    stage.bot.logged("cannot be read now; trying").await;
    let asked = || stage.sim.requests_to(&Method::GET, &channels).len();
    let more = || (asked() > 4).then_some(());
    stage
        .sim
        .wait("the bot to look whether Discord answers", more)
        .await;
    stage.sim.faults().clear();
    written.all.comes_true(&stage).await;
    assert_eq!(
        stage
            .database
            .number("select count(*) from history_interval")
            .await,
        0
    );
    assert!(
        !stage.bot.log().contains("is set aside"),
        "{}",
        stage.bot.log()
    );
}

#[tokio::test]
async fn many_late_messages_are_counted_in_parts() {
    let (mut stage, mut written) = missed_in_two_channels().await;
    for _ in 0..700 {
        stage.sim.advance(Duration::from_secs(35));
        written.write(&stage, "carol", "random", false);
        stage.sim.advance(Duration::from_secs(15));
        written.write(&stage, "carol", "general", false);
    }
    stage.sim.settings(|settings| settings.rate_limits = false);
    let of_random = messages_of(&stage, "random");
    // The first pages come, and then no more.
    let faults = stage.sim.faults();
    faults.next(3, Method::GET, &of_random, Fault::Delay(Duration::ZERO));
    faults.next(EVER, Method::GET, &of_random, Fault::Status(500));
    stage.start_again().await;
    stage.bot.logged("missed messages have been counted").await;
    stage.sim.faults().clear();
    nothing_is_missing(&stage).await;
    written.all.comes_true(&stage).await;
}

#[tokio::test]
async fn a_post_in_a_failing_forum_is_read_when_its_list_answers() {
    let (mut stage, written) = missed_in_two_channels().await;
    let mut all = written.all;
    let questions = stage.sim.channel("questions");
    stage.rest();
    let post = all.open_post(&stage, "carol", "questions", false);
    stage.sim.archive(post);
    let quiet = Message::new(post, stage.sim.user("beep"), "bots earn nothing").quietly();
    stage.sim.post(quiet);
    stage.sim.archive(post);
    let path = format!("/channels/{questions}/threads/archived/public");
    let faults = stage.sim.faults();
    faults.next(EVER, Method::GET, &path, Fault::Html(200));
    stage.start_again().await;
    council_says(&stage, "(questions)").await;
    stage.sim.faults().clear();
    nothing_is_missing(&stage).await;
    all.comes_true(&stage).await;
}

/// Postgres goes in the middle of a late count: a part has been counted, and another has not.
async fn postgres_goes_in_a_late_count(how: Position) {
    let (mut stage, mut written) = missed_in_two_channels().await;
    for _ in 0..300 {
        stage.sim.advance(Duration::from_secs(35));
        written.write(&stage, "carol", "random", false);
        stage.sim.advance(Duration::from_secs(15));
        written.write(&stage, "carol", "general", false);
    }
    stage.sim.settings(|settings| settings.rate_limits = false);
    let of_random = messages_of(&stage, "random");
    let faults = stage.sim.faults();
    faults.next(EVER, Method::GET, &of_random, Fault::Status(500));
    let gate = Gate::open_before(stage.database.server_address()).await;
    let gate = gate.expect("a gate");
    let gone = || (!stage.sim.is_connected()).then_some(());
    stage.sim.wait("the old connection to end", gone).await;
    stage.bot = Bot::start(&stage.sim, &stage.database.url_through(&gate)).await;
    written.heard.comes_true(&stage).await;
    let start = "select coalesce(min(after_id), 0) from history_interval";
    let began = wait_for(RETRIES, "the interval", async || {
        Some(stage.database.number(start).await).filter(|after| *after > 0)
    })
    .await;

    // Pages come, and make a part; then they fail for some attempts.
    if how == Position::LosesCommits {
        gate.set(how);
    }
    let faults = stage.sim.faults();
    faults.clear();
    faults.next(2, Method::GET, &of_random, Fault::Delay(Duration::ZERO));
    faults.next(8, Method::GET, &of_random, Fault::Status(500));
    wait_for(RETRIES, "a part to be counted", async || {
        (stage.database.number(start).await != began).then_some(())
    })
    .await;
    gate.set(how);
    stage.rest();
    written.write(&stage, "bob", "random", true);
    let met = || (stage.sim.faults().left() == 0).then_some(());
    if how == Position::Shut {
        stage.bot.logged("the database").await;
    } else {
        wait_for(RETRIES, "the reading to go on", async || met()).await;
    }
    gate.set(Position::Open);
    nothing_is_missing(&stage).await;
    written.all.comes_true(&stage).await;
}

#[tokio::test]
async fn a_database_that_goes_between_two_late_parts_counts_each_once() {
    postgres_goes_in_a_late_count(Position::Shut).await;
}

#[tokio::test]
async fn a_late_part_whose_commit_is_not_answered_counts_once() {
    postgres_goes_in_a_late_count(Position::LosesCommits).await;
}
