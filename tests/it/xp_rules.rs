//! `.no_xp`, `.earn_xp`, `.xp_multiplier` and `.xp_rules`, and what messages earn under the rules.

use std::time::Duration;

use discord_sim::{ChannelKind, Fault, Message, Method, World};
use fault_lab::Position;
use serde_json::{Value, json};

use crate::check::{check, printed};
use crate::support::{Ledger, Stage, button, id_of, said, wait};

const USED: &str = "Usage: `.no_xp #channel, @role or @user`, for example `.no_xp #bot-commands`.";

fn channel(id: u64) -> Value {
    json!([{ "name": "channel", "value": id.to_string() }])
}

fn role(id: u64) -> Value {
    json!([{ "name": "role", "value": id.to_string() }])
}

fn user(id: u64) -> Value {
    json!([{ "name": "user", "value": id.to_string() }])
}

/// The options of `/xp_multiplier` for everyone, or with more options for others.
fn percent(percent: &str, more: Value) -> Value {
    let mut options = json!([{ "name": "percent", "value": percent }]);
    if let (Some(options), Value::Array(more)) = (options.as_array_mut(), more) {
        options.extend(more);
    }
    options
}

/// A guild under rules, and what was written in it.
struct Scene {
    stage: Stage,
    ledger: Ledger,
}

impl Scene {
    async fn open() -> Self {
        Self::open_in(World::new()).await
    }

    async fn open_in(world: World) -> Self {
        let (stage, ledger) = Stage::under_way(world).await;
        Self { stage, ledger }
    }

    /// A moderator types a command, which is answered like this.
    async fn told(&self, text: &str, answer: &str) {
        assert_eq!(self.stage.ask("mod", text).await, answer, "{text}");
    }

    /// As [`Self::told`], for a command that may show its progress first.
    async fn told_in_the_end(&self, text: &str, answer: &str) {
        self.stage.regain_a_command();
        let asked = self.stage.say("mod", text);
        let is_told = || {
            let told = said(&self.stage.sim.find_reply(asked)?);
            (told == answer).then_some(())
        };
        self.stage.sim.wait(answer, is_told).await;
    }

    /// Someone writes after their cooldown, and earns this many percent of the usual XP.
    fn earns(&mut self, who: &str, channel: u64, percent: u16) -> u64 {
        let (stage, user) = (&self.stage, self.stage.sim.user(who));
        stage.rest();
        let message = stage.sim.say(user, channel, "hello");
        self.ledger.earns(user, message, percent);
        message
    }

    /// As [`Self::earns`], while the bot hears nothing.
    fn earns_unheard(&mut self, who: &str, channel: u64, percent: u16) {
        let (stage, user) = (&self.stage, self.stage.sim.user(who));
        stage.rest();
        let message = Message::new(channel, user, "hello").quietly();
        let message = stage.sim.post(message);
        self.ledger.earns(user, message, percent);
    }

    fn id(&self, channel: &str) -> u64 {
        self.stage.sim.channel(channel)
    }

    /// Everyone has what they must have, and a replay of all messages comes to the same.
    async fn comes_true(&self) {
        self.ledger.comes_true(&self.stage).await;
        let sim = &self.stage.sim;
        let names = sim.channel_names();
        let all: Vec<Value> = names
            .iter()
            .flat_map(|name| sim.messages(sim.channel(name)))
            .collect();
        let replayed = check(&self.stage, Some(&all)).await;
        assert!(replayed.status.success(), "{}", printed(&replayed));
    }

    async fn rows(&self) -> i64 {
        self.stage
            .database
            .number("select count(*) from xp_rule")
            .await
    }
}

#[tokio::test]
async fn rules_are_set_and_ended_by_text_and_by_slash() {
    let scene = Scene::open().await;
    let sim = &scene.stage.sim;
    let (general, category) = (sim.channel("general"), sim.channel("Text channels"));
    let (minions, alice) = (sim.role("Minions"), sim.user("alice"));
    for (typed, options, earns, scope) in [
        (
            format!("<#{general}>"),
            channel(general),
            "Messages in #general earn",
            "",
        ),
        (
            "\"text channels\"".to_owned(),
            channel(category),
            "Messages in #Text channels earn",
            " That goes for the 3 channels in this category, and for their threads.",
        ),
        (
            "#questions".to_owned(),
            channel(sim.channel("questions")),
            "Messages in #questions earn",
            " That goes for its posts.",
        ),
        (
            format!("<#{}>", sim.channel("weekend-plans")),
            channel(sim.channel("weekend-plans")),
            "Messages in #weekend-plans earn",
            "",
        ),
        (
            "lounge".to_owned(),
            channel(sim.channel("lounge")),
            "Messages in #lounge earn",
            "",
        ),
        (
            format!("<@&{minions}>"),
            role(minions),
            "Members with Minions earn",
            "",
        ),
        (format!("<@{alice}>"), user(alice), "alice earns", ""),
    ] {
        let set = format!("{earns} no XP from now on.{scope}");
        let again = format!("{earns} XP again.");
        scene.told(&format!(".no_xp {typed}"), &set).await;
        let already = format!("{earns} no XP already.");
        let slash = async |command, options: &Value| {
            let answered = scene.stage.slash("mod", command, options.clone()).await;
            answered.replace(" There is one about", "…")
        };
        assert_eq!(slash("no_xp", &options).await, already);
        assert_eq!(slash("earn_xp", &options).await, again);
        assert_eq!(slash("earn_xp", &options).await, "There is no such rule.");
        assert_eq!(slash("no_xp", &options).await, set);
        scene.told(&format!(".earn_xp {typed}"), &again).await;
        scene
            .told(&format!(".earn_xp {typed}"), "There is no such rule.")
            .await;
    }
    let rules = "select count(*) from xp_rule where moderator_id is not null";
    assert_eq!(scene.stage.database.number(rules).await, 7 * 4);
}

#[tokio::test]
async fn multipliers_are_set_and_ended_by_text_and_by_slash() {
    let scene = Scene::open().await;
    let sim = &scene.stage.sim;
    let (general, minions) = (sim.channel("general"), sim.role("Minions"));
    for (typed, options, earns) in [
        ("everyone".to_owned(), json!([]), "Everyone earns"),
        (
            general.to_string(),
            channel(general),
            "Messages in #general earn",
        ),
        (
            "@Minions".to_owned(),
            role(minions),
            "Members with Minions earn",
        ),
    ] {
        let told = async |text: &str, answer: &str| {
            let text = format!(".xp_multiplier {typed} {text}");
            scene.told(&text, &format!("{earns} {answer}")).await;
        };
        let slash = async |set: &str, more: &Value| {
            let options = percent(set, more.clone());
            scene.stage.slash("mod", "xp_multiplier", options).await
        };
        told("200 2h", "200 % XP for 2 hours.").await;
        told("200 % 1d", "200 % XP for 1 day.").await;
        told("150%", "150 % XP from now on.").await;
        told("150", "150 % XP already.").await;
        told("off", "the usual XP from now on.").await;
        let mut timed = options.clone();
        let duration = json!({ "name": "duration", "value": "90m" });
        timed.as_array_mut().unwrap().push(duration);
        assert_eq!(
            slash("1000", &timed).await,
            format!("{earns} 1000 % XP for 90 minutes.")
        );
        assert_eq!(
            slash("off", &options).await,
            format!("{earns} the usual XP from now on.")
        );
        assert_eq!(slash("off", &options).await, "There is no such rule.");
    }
}

/// What a rule about the role of everyone is answered with.
const EVERYONE: &str = "A rule cannot be about the role that everyone has. To change what everyone earns, use `xp_multiplier` \
                        with the word `everyone`, such as `xp_multiplier everyone 200`.";
const PERCENTAGE: &str = "The percentage must be a whole number from 1 to 1,000, such as `200` for twice the usual XP, or \
                          `off` to end a multiplier.";
const DURATION: &str = "Type the duration as a number with `m`, `h` or `d`, such as `90m`, `2h` or `3d`: at least 1 \
                        minute, at most 90 days.";

#[tokio::test]
async fn what_is_not_there_or_there_twice_is_answered_with_what_to_type() {
    let world = World::new()
        .channel("general", ChannelKind::Voice, None)
        .role("Random", 0)
        .other_guild("Elsewhere");
    let scene = Scene::open_in(world).await;
    let sim = &scene.stage.sim;
    let (guild, beep) = (sim.guild_id(), sim.user("beep"));
    let elsewhere = sim.guild("Elsewhere");
    let not_found = "Mention the channel, role or user, or type its name or id.";
    for (text, answer) in [
        (".no_xp".to_owned(), USED.replace("Usage", "Name one channel, one role or one user. Usage")),
        (".no_xp everyone".to_owned(), EVERYONE.to_owned()),
        (".no_xp @everyone".to_owned(), EVERYONE.to_owned()),
        (format!(".no_xp <@&{guild}>"), EVERYONE.to_owned()),
        (".xp_multiplier @everyone 200".to_owned(), EVERYONE.to_owned()),
        (format!(".no_xp <@{beep}>"), "Bots do not earn any XP.".to_owned()),
        (
            ".no_xp #nowhere".to_owned(),
            format!("There is no channel called nowhere. {not_found}"),
        ),
        (
            ".no_xp @nobody".to_owned(),
            format!("There is no role called nobody. {not_found}"),
        ),
        (
            ".no_xp **x**".to_owned(),
            format!("There is no channel or role called \\*\\*x\\*\\*. {not_found}"),
        ),
        (
            ".no_xp 175928847299117063".to_owned(),
            "There is no channel, role or user with the id 175928847299117063. Mention the one that you mean, or type \
             its name."
                .to_owned(),
        ),
        (
            format!(".no_xp <#{elsewhere}>"),
            format!(
                "There is no channel with the id {elsewhere} in this server, or I cannot see it. Mention the channel, or \
                 type its name."
            ),
        ),
        (
            ".no_xp <@&175928847299117063>".to_owned(),
            "There is no role with the id 175928847299117063 in this server. Mention the role, or type its name."
                .to_owned(),
        ),
    ] {
        scene.told(&text, &answer).await;
    }
    let several = scene.stage.ask("mod", ".no_xp general").await;
    assert!(
        several.starts_with("2 channels or roles are called general: the channel `")
            && several.ends_with("Type the id of the one that you mean, or mention it."),
        "{several}"
    );
    let several = scene.stage.ask("mod", ".no_xp RANDOM").await;
    assert!(
        several.starts_with("2 channels or roles are called RANDOM: "),
        "{several}"
    );
    // The exact name of only one of them.
    scene
        .told(
            ".no_xp Random",
            "Members with Random earn no XP from now on.",
        )
        .await;
    scene
        .told(
            ".no_xp #RANDOM",
            "Messages in #random earn no XP from now on.",
        )
        .await;
    assert_eq!(scene.rows().await, 2);
}

#[tokio::test]
async fn mistakes_in_a_multiplier_are_answered_with_what_to_type() {
    let scene = Scene::open().await;
    let sim = &scene.stage.sim;
    let used = "Usage: `.xp_multiplier #channel, @role or everyone, percent or off, [duration]`, for example \
                `.xp_multiplier everyone 200 2h`. Put a name of several words in quotes.";
    for (text, answer) in [
        (".xp_multiplier everyone".to_owned(), used.to_owned()),
        (
            ".xp_multiplier Text channels 200".to_owned(),
            used.to_owned(),
        ),
        (
            ".xp_multiplier everyone 2x".to_owned(),
            PERCENTAGE.to_owned(),
        ),
        (
            ".xp_multiplier everyone 0".to_owned(),
            format!("{PERCENTAGE} `no_xp` lets a channel, a role or a user earn nothing."),
        ),
        (
            ".xp_multiplier everyone 1001".to_owned(),
            PERCENTAGE.to_owned(),
        ),
        (
            ".xp_multiplier everyone 200 2".to_owned(),
            DURATION.to_owned(),
        ),
        (
            ".xp_multiplier everyone 200 91d".to_owned(),
            DURATION.to_owned(),
        ),
        (
            ".xp_multiplier everyone off 2h".to_owned(),
            "`off` ends a multiplier at once, so it takes no duration.".to_owned(),
        ),
        (
            format!(".xp_multiplier <@{}> 200", sim.user("alice")),
            "A multiplier is for a channel, a role or everyone, not for one user.".to_owned(),
        ),
        (
            ".xp_rules 2".to_owned(),
            "There is no page 2; there is only page 1.".to_owned(),
        ),
    ] {
        scene.told(&text, &answer).await;
    }
    assert_eq!(scene.rows().await, 0);
}

#[tokio::test]
async fn mistakes_in_slash_commands_are_answered_with_what_to_choose() {
    let scene = Scene::open().await;
    let sim = &scene.stage.sim;
    let (guild, beep) = (sim.guild_id(), sim.user("beep"));
    let one = format!("Name one channel, one role or one user. {USED}");
    let slash = async |command, options| scene.stage.slash("mod", command, options).await;
    let usage = one
        .replace("no_xp #ch", "earn_xp #ch")
        .replace("`.no_xp #bot", "`.earn_xp #bot");
    assert_eq!(slash("no_xp", json!([])).await, one);
    assert_eq!(slash("earn_xp", json!([])).await, usage);
    let both = json!([
        { "name": "channel", "value": sim.channel("random").to_string() },
        { "name": "role", "value": sim.role("Minions").to_string() },
    ]);
    assert_eq!(slash("no_xp", both.clone()).await, one);
    assert_eq!(slash("no_xp", role(guild)).await, EVERYONE);
    assert_eq!(slash("no_xp", user(beep)).await, "Bots do not earn any XP.");
    assert_eq!(
        slash("xp_multiplier", percent("200", role(guild))).await,
        EVERYONE
    );
    assert_eq!(
        slash("xp_multiplier", percent("200", both)).await,
        "Choose a channel or a role, not both; without either, the multiplier is for everyone."
    );
    assert_eq!(
        slash("xp_multiplier", percent("-1", json!([]))).await,
        PERCENTAGE
    );
    let wrong = json!([{ "name": "duration", "value": "soon" }]);
    assert_eq!(
        slash("xp_multiplier", percent("200", wrong)).await,
        DURATION
    );
    assert_eq!(scene.rows().await, 0);
}

#[tokio::test]
async fn values_are_suggested() {
    let scene = Scene::open().await;
    let (moderator, general) = (scene.stage.sim.user("mod"), scene.id("general"));
    for (option, typed, expected) in [
        (
            "percent",
            "",
            json!(["50", "75", "125", "150", "200", "300", "500", "off"]),
        ),
        ("percent", "17", json!(["17"])),
        ("percent", "o", json!(["off"])),
        ("percent", "many", json!([])),
        ("duration", "3", json!(["30m", "30d"])),
        ("duration", "45m", json!(["45m"])),
    ] {
        let given = json!([{ "name": option, "value": typed }]);
        let asked =
            scene
                .stage
                .sim
                .autocomplete(moderator, general, "xp_multiplier", &given, option);
        let choices = scene.stage.sim.choices_for(asked).await;
        let values: Vec<Value> = choices.iter().map(|one| one["value"].clone()).collect();
        assert_eq!(Value::from(values), expected, "{option} {typed}");
    }
}

#[tokio::test]
async fn nothing_is_earned_where_a_rule_says_so() {
    let mut scene = Scene::open().await;
    let [general, random, lounge, questions] =
        ["general", "random", "lounge", "questions"].map(|name| scene.id(name));
    let [plans, post] = ["weekend-plans", "how-do-i-start"].map(|name| scene.id(name));
    let places = [general, random, lounge, plans, post];
    let alice = scene.stage.sim.user("alice");
    for (rule, silent) in [
        (format!("<#{general}>"), vec![general, plans]),
        (format!("<#{plans}>"), vec![plans]),
        ("\"Text channels\"".to_owned(), vec![general, random, plans]),
        (format!("<#{questions}>"), vec![post]),
        (format!("<#{lounge}>"), vec![lounge]),
        (format!("<@{alice}>"), places.to_vec()),
    ] {
        let set = scene.stage.ask("mod", &format!(".no_xp {rule}")).await;
        assert!(set.contains(" no XP from now on."), "{set}");
        for place in places {
            let percent = if silent.contains(&place) { 0 } else { 100 };
            scene.earns("alice", place, percent);
        }
        // Nothing starts a cooldown where nothing is earned.
        if rule == format!("<#{general}>") {
            scene.earns("bob", general, 0);
            let soon = scene
                .stage
                .sim
                .say(scene.stage.sim.user("bob"), random, "hello");
            scene.ledger.earns(scene.stage.sim.user("bob"), soon, 100);
        }
        let ended = scene.stage.ask("mod", &format!(".earn_xp {rule}")).await;
        assert!(ended.contains(" XP again."), "{ended}");
        scene.earns("alice", silent[0], 100);
    }
    scene.comes_true().await;
}

#[tokio::test]
async fn multipliers_of_everyone_a_channel_and_a_role_are_multiplied() {
    let mut scene = Scene::open().await;
    let [general, random, plans] =
        ["general", "random", "weekend-plans"].map(|name| scene.id(name));
    let sim = &scene.stage.sim;
    sim.grant(sim.user("alice"), sim.role("Bot_manager"));
    let ask = async |scene: &Scene, text: &str| {
        let told = scene
            .stage
            .ask("mod", &format!(".xp_multiplier {text}"))
            .await;
        assert!(told.contains(" XP f"), "{told}");
    };
    ask(&scene, "everyone 50").await;
    scene.earns("alice", general, 50);
    ask(&scene, "\"Text channels\" 300").await;
    scene.earns("alice", general, 150);
    scene.earns("bob", plans, 150);
    // Of nested channels the greatest applies.
    ask(&scene, &format!("<#{general}> 120")).await;
    scene.earns("alice", general, 150);
    ask(&scene, &format!("<#{plans}> 1000")).await;
    scene.earns("alice", plans, 500);
    // Of roles as well.
    ask(&scene, "@Bot_manager 200").await;
    scene.earns("alice", general, 300);
    scene.earns("bob", general, 150);
    ask(&scene, "@Minions 40").await;
    let sim = &scene.stage.sim;
    sim.grant(sim.user("alice"), sim.role("Minions"));
    scene.earns("alice", random, 300);
    // At most 1,000 %.
    ask(&scene, "everyone 1000").await;
    scene.earns("alice", plans, 1_000);
    ask(&scene, "everyone off").await;
    scene.earns("bob", scene.id("lounge"), 100);
    // At least 1 XP.
    ask(&scene, "everyone 1").await;
    scene.earns("bob", scene.id("lounge"), 1);
    scene.comes_true().await;
}

#[tokio::test]
async fn a_rule_for_a_time_ends_by_itself() {
    let mut scene = Scene::open().await;
    let general = scene.id("general");
    scene
        .told(
            ".xp_multiplier everyone 200 1h",
            "Everyone earns 200 % XP for 1 hour.",
        )
        .await;
    scene.earns("alice", general, 200);
    scene.stage.sim.advance(Duration::from_mins(57));
    scene.earns("bob", general, 200);
    let list = scene.stage.ask("mod", ".xp_rules").await;
    assert!(list.contains("everyone: 200 % XP until <t:"), "{list}");
    scene.stage.sim.advance(Duration::from_mins(1));
    scene.earns("alice", general, 100);
    scene
        .told(".xp_multiplier everyone off", "There is no such rule.")
        .await;
    let list = scene.stage.ask("mod", ".xp_rules").await;
    assert!(list.starts_with("There are no rules on XP."), "{list}");
    scene.comes_true().await;
}

#[tokio::test]
async fn who_holds_a_role_is_known_from_the_list_from_events_and_from_messages() {
    let world = World::new().members(1_200).role("Muted", 0);
    let mut scene = Scene::open_in(world).await;
    let general = scene.id("general");
    let sim = &scene.stage.sim;
    let muted = sim.role("Muted");
    sim.grant(sim.user("alice"), muted);
    // The rule is not set before the holders are known.
    let members = "/guilds/{}/members";
    sim.faults()
        .next(50, Method::GET, members, Fault::Status(500));
    scene
        .told_in_the_end(
            ".no_xp @Muted",
            "I could not find out who holds Muted, so no rule was set: Discord did not list the members. Please try again \
             shortly.",
        )
        .await;
    assert_eq!(scene.rows().await, 0);
    scene.stage.sim.faults().clear();
    scene.earns("alice", general, 100);
    let options = role(muted);
    let set = scene.stage.slash("mod", "no_xp", options).await;
    assert_eq!(set, "Members with Muted earn no XP from now on.");
    // They are saved with the rule, in case the bot dies now.
    let holders = "select count(*) from role_holder where holds";
    assert_eq!(scene.stage.database.number(holders).await, 1);
    scene.earns("alice", general, 0);
    scene.earns("bob", general, 100);

    let sim = &scene.stage.sim;
    sim.grant(sim.user("bob"), muted);
    sim.revoke(sim.user("alice"), muted);
    scene.earns("bob", general, 0);
    scene.earns("alice", general, 100);
    // An event is lost: the message itself shows the roles.
    scene.stage.sim.gateway().lose_next(1);
    let sim = &scene.stage.sim;
    sim.grant(sim.user("carol"), muted);
    scene.earns("carol", general, 0);
    sim_revoke_unheard(&scene, "carol", muted);
    scene.earns("carol", general, 100);
    // Another rule about the role needs no list.
    scene.stage.sim.clear_requests();
    scene
        .told(".xp_multiplier @Muted 50", "Members with Muted earn 50 % XP from now on. But a rule says that they earn none; `earn_xp` ends it.")
        .await;
    let lists = scene.stage.sim.requests_to(&Method::GET, members);
    assert!(lists.is_empty(), "{lists:?}");
    scene
        .told(".earn_xp @Muted", "Members with Muted earn XP again.")
        .await;
    scene.earns("bob", general, 50);
    scene.comes_true().await;
}

#[tokio::test]
async fn a_long_list_of_members_shows_its_progress() {
    let mut scene = Scene::open_in(World::new().members(1_500)).await;
    let general = scene.id("general");
    let members = "/guilds/{}/members";
    let sim = &scene.stage.sim;
    // The second page is late.
    sim.faults()
        .next(1, Method::GET, members, Fault::Delay(Duration::ZERO));
    let slow = Fault::Delay(Duration::from_secs(4));
    sim.faults().next(1, Method::GET, members, slow);
    sim.grant(sim.user("alice"), sim.role("Minions"));
    let asked = scene.stage.say("mod", ".xp_multiplier @Minions 200 2h");
    let progress = said(&scene.stage.sim.reply_to(asked).await);
    assert_eq!(
        progress,
        "I am finding out who holds Minions: 1,000 members read."
    );
    let done = || {
        let text = said(&scene.stage.sim.find_reply(asked)?);
        (text == "Members with Minions earn 200 % XP for 2 hours.").then_some(())
    };
    scene.stage.sim.wait("the rule to be set", done).await;
    scene.earns("alice", general, 200);
    scene.comes_true().await;
}

fn sim_revoke_unheard(scene: &Scene, who: &str, role: u64) {
    let sim = &scene.stage.sim;
    sim.gateway().lose_next(1);
    sim.revoke(sim.user(who), role);
}

#[tokio::test]
async fn a_category_is_the_channels_in_it_at_the_time() {
    let mut scene = Scene::open().await;
    let (random, category) = (scene.id("random"), scene.id("Text channels"));
    scene
        .told(
            ".no_xp \"Text channels\"",
            "Messages in #Text channels earn no XP from now on. That goes for the 3 channels in this category, and for \
             their threads.",
        )
        .await;
    scene.earns("alice", random, 0);
    scene.stage.sim.move_channel(random, None);
    scene.earns("alice", random, 100);
    let sim = &scene.stage.sim;
    let new = sim.create_channel_in("new", ChannelKind::Text, Some(category));
    scene.earns("alice", new, 0);
    let thread = scene.stage.sim.open_thread(new, "talk");
    scene.earns("bob", thread, 0);
    scene.stage.sim.move_channel(new, None);
    scene.earns("bob", thread, 100);
    scene.stage.sim.move_channel(random, Some(category));
    scene.earns("alice", random, 0);
    scene
        .told(
            ".earn_xp #random",
            "There is no such rule. There is one about #Text channels; `earn_xp` ends that one too.",
        )
        .await;
    scene
        .told(
            ".no_xp #random",
            "Messages in #random earn no XP from now on.",
        )
        .await;
    scene
        .told(
            ".earn_xp #random",
            "Messages in #random earn XP again. They still earn none, though, as long as there is such a rule about \
             #Text channels.",
        )
        .await;
    scene.comes_true().await;

    scene.stage.sim.delete_channel(category);
    scene.earns("alice", random, 100);
    scene.comes_true().await;
    let list = scene.stage.ask("mod", ".xp_rules").await;
    let heading = "Rules on XP\n**Ended, since the channel or role was deleted**\n";
    assert!(
        list.starts_with(&format!(
            "{heading}the channel {category}: no XP; ended <t:"
        )),
        "{list}"
    );
}

#[tokio::test]
async fn rules_hold_for_what_was_missed_and_after_a_restart() {
    let mut scene = Scene::open().await;
    let [general, random] = ["general", "random"].map(|name| scene.id(name));
    scene
        .told(
            ".no_xp #random",
            "Messages in #random earn no XP from now on.",
        )
        .await;
    let moderators = scene
        .stage
        .ask("mod", ".xp_multiplier @Moderator 300")
        .await;
    assert_eq!(
        moderators,
        "Members with Moderator earn 300 % XP from now on."
    );
    scene.stage.bot.terminate().await;
    scene.earns_unheard("alice", random, 0);
    scene.earns_unheard("alice", general, 100);
    // Given while the bot was away, so it counts from the end of the gap.
    let sim = &scene.stage.sim;
    sim.grant(sim.user("alice"), sim.role("Moderator"));
    scene.earns_unheard("alice", general, 100);
    scene.stage.start_again().await;
    scene.stage.bot.logged("roles are verified").await;
    scene.ledger.comes_true(&scene.stage).await;
    scene.earns("alice", general, 300);
    scene.earns("alice", random, 0);
    scene.comes_true().await;
}

#[tokio::test]
async fn a_command_that_comes_twice_sets_one_rule() {
    let scene = Scene::open().await;
    let sim = &scene.stage.sim;
    let options = channel(sim.channel("general"));
    sim.gateway().duplicate_next(1);
    let told = scene.stage.slash("mod", "no_xp", options).await;
    assert!(
        told == "Messages in #general earn no XP from now on."
            || told == "This has been done already.",
        "{told}"
    );
    assert_eq!(scene.rows().await, 1);
    sim.gateway().duplicate_next(1);
    let asked = scene.stage.say("mod", ".earn_xp #general");
    sim.reply_to(asked).await;
    scene
        .told(".earn_xp #general", "There is no such rule.")
        .await;
    assert_eq!(scene.rows().await, 2);
}

#[tokio::test]
async fn without_postgres_no_rule_is_set_and_the_answer_says_so() {
    let (stage, gate) = Stage::open_gated().await;
    let general = stage.sim.channel("general");
    gate.set(Position::Shut);
    let away = "The database is unavailable. Please try again shortly.";
    assert_eq!(stage.slash("mod", "no_xp", channel(general)).await, away);
    assert_eq!(stage.slash("mod", "xp_rules", json!([])).await, away);
    gate.set(Position::Open);
    let set = async || {
        let told = stage.slash("mod", "no_xp", channel(general)).await;
        (told == "Messages in #general earn no XP from now on.").then_some(())
    };
    wait("Postgres to be back", set).await;
    let rows = stage.database.number("select count(*) from xp_rule").await;
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn the_list_shows_every_rule_with_who_made_it_in_pages() {
    let world = (0..9).fold(World::new().role("**VIP**", 0), |world, number| {
        world.channel(&format!("room-{number}"), ChannelKind::Text, None)
    });
    let scene = Scene::open_in(world).await;
    let sim = &scene.stage.sim;
    let (boss, alice) = (sim.user("boss"), sim.user("alice"));
    for text in [
        ".no_xp @**VIP**".to_owned(),
        format!(".no_xp <@{alice}>"),
        ".xp_multiplier everyone 150 3d".to_owned(),
        ".no_xp #weekend-plans".to_owned(),
    ] {
        let told = scene.stage.ask("boss", &text).await;
        assert!(told.contains(" XP "), "{told}");
    }
    for number in 0..9 {
        let text = format!(".xp_multiplier #room-{number} 200");
        scene.stage.ask("boss", &text).await;
    }
    wait("the boss's name to be stored", async || {
        let named = "select count(*) from user_point where username in ('boss', 'alice')";
        (scene.stage.database.number(named).await == 2).then_some(())
    })
    .await;
    let list = scene.stage.reply("boss", ".xp_rules").await;
    let by = format!(", by boss <@{boss}>");
    let lines: Vec<String> = said(&list).lines().map(str::to_owned).collect();
    assert_eq!(lines[1], "**Everyone**");
    assert!(
        lines[2].starts_with("everyone: 150 % XP until <t:") && lines[2].ends_with(&by),
        "{lines:?}"
    );
    assert_eq!(lines[3], "**Categories and channels**");
    let rooms = lines.iter().filter(|line| line.contains("#room-")).count();
    assert_eq!((lines.len(), rooms), (13, 8));
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("#weekend-plans: no XP; since <t:"))
    );
    assert_eq!(list["embeds"][0]["footer"]["text"], "1/2");
    let second = said(&scene.stage.press("boss", &list, "⏩").await);
    let lines: Vec<&str> = second.lines().collect();
    assert_eq!(
        (lines[1], lines[3], lines[5]),
        ("**Categories and channels**", "**Roles**", "**Users**")
    );
    assert!(
        lines[4].starts_with("\\*\\*VIP\\*\\*: no XP; since"),
        "{second}"
    );
    assert!(
        lines[6].starts_with(&format!("alice <@{alice}>: no XP; since")),
        "{second}"
    );
    let slash = scene
        .stage
        .slash("mod", "xp_rules", json!([{ "name": "page", "value": 2 }]))
        .await;
    assert_eq!(slash, second);
    let next = button(&list, "⏩");
    let forged = next.replace(&boss.to_string(), &alice.to_string());
    let pressed = sim.forge_click(alice, id_of(&list), &forged);
    assert_eq!(
        said(&sim.answer_to(pressed).await),
        "Only Minions and Moderator can use this command."
    );

    sim.delete_role(sim.role("**VIP**"));
    sim.delete_channel(sim.channel("room-0"));
    let gone = async || {
        scene.stage.regain_a_command();
        let list = scene.stage.ask("boss", ".xp_rules 2").await;
        let lines: Vec<&str> = list.lines().collect();
        (lines.get(1) == Some(&"**Users**") || list.contains("**Ended, ")).then_some(list)
    };
    let list = wait("both rules to end", gone).await;
    assert!(
        list.contains("**Ended, since the channel or role was deleted**")
            && list.contains(": 200 % XP; ended <t:"),
        "{list}"
    );
    // A bot that starts afterwards knows it from the database.
    let rows = "select count(*) from xp_rule where request_id is null";
    assert_eq!(scene.stage.database.number(rows).await, 2);
}
