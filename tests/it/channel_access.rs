//! Roles that channels make powerful: one that moderates in a channel is no level's, and one that
//! opens a channel becomes a level's only after a moderator has agreed.

use discord_sim::permissions::{EVERYONE, MANAGE_MESSAGES, VIEW_CHANNEL};
use discord_sim::{Fault, Method, Sim, World};
use serde_json::{Value, json};
use wall_e::leveling::mee6_total;

use crate::level_names::carried;
use crate::roles::{holds, is_solved, told, verified};
use crate::support::{
    Bot, Stage, TestDatabase, button, command, id_of, is_private, person, said, wait,
};

const CHANNELS: (Method, &str) = (Method::GET, "/guilds/{}/channels");
const AGREE: &str = "Use it anyway";
const NOT_YOURS: &str = "Only the person who asked can use these buttons.";

/// Makes a channel that only the holders of a role see.
fn private_channel(sim: &Sim, name: &str, role: u64) -> u64 {
    let channel = sim.create_channel(name);
    sim.overwrite(channel, sim.guild_id(), 0, VIEW_CHANNEL);
    sim.overwrite(channel, role, VIEW_CHANNEL, 0);
    channel
}

fn question(role: &str, channels: &str) -> String {
    format!(
        "The role {role} is already in the guild. It opens {channels}, which other members can't see. Whoever reaches \
         level 5 gets in. Nobody holds it. As the role of level 5, 0 would gain it and 0 would lose it."
    )
}

/// What a press comes to at last.
async fn pressed(stage: &Stage, message: &Value, label: &str) -> String {
    said(&stage.press("mod", message, label).await)
}

#[tokio::test]
async fn a_role_that_opens_a_channel_is_asked_about_by_text_and_slash() {
    let stage = Stage::open().await;
    let lounge = stage.sim.create_role("Lounge", 0);
    private_channel(&stage.sim, "*lounge*", lounge);
    let asked = question("Lounge", "#\\*lounge\\*");
    let options = json!([{ "name": "level", "value": 5 }, { "name": "name", "value": "Lounge" }]);
    assert_eq!(stage.slash("mod", "set_level_name", options).await, asked);
    for text in ["Lounge", &format!("<@&{lounge}>")] {
        let message = stage
            .reply("mod", &format!(".set_level_name 5 {text}"))
            .await;
        assert_eq!(said(&message), asked);
        let told = stage.press("bob", &message, AGREE).await;
        assert_eq!(said(&told), NOT_YOURS);
        assert_eq!(
            pressed(&stage, &message, "Cancel").await,
            "Everything stays as it is."
        );
    }
    assert_eq!(carried(&stage, 5).await, (None, None));

    // Whoever is no moderator any more cannot agree.
    let message = stage.reply("mod", ".set_level_name 5 Lounge").await;
    let moderator = stage.sim.user("mod");
    let held = stage.sim.member_roles(moderator);
    for role in &held {
        stage.sim.revoke(moderator, *role);
    }
    assert_eq!(
        pressed(&stage, &message, AGREE).await,
        "Only Minions and Moderator can use this command."
    );
    for role in held {
        stage.sim.grant(moderator, role);
    }
    let told = pressed(&stage, &message, AGREE).await;
    assert!(
        told.starts_with("Level 5 now carries the role Lounge. It was already in the guild."),
        "{told}"
    );
    assert_eq!(carried(&stage, 5).await.0, Some(lounge));
    // Nothing more is asked of what a level carries already.
    stage.sim.rename_role(lounge, "Old lounge");
    wait("the level to follow", async || {
        let (_, name) = carried(&stage, 5).await;
        (name.as_deref() == Some("Old lounge")).then_some(())
    })
    .await;
    private_channel(&stage.sim, "cellar", lounge);
    let told = stage.ask("mod", ".set_level_name 5 Lounge").await;
    assert!(
        told.starts_with("Renamed Old lounge to Lounge for level 5."),
        "{told}"
    );
}

#[tokio::test]
async fn consent_counts_only_for_the_channels_that_were_shown() {
    let stage = Stage::open().await;
    let lounge = stage.sim.create_role("Lounge", 0);
    private_channel(&stage.sim, "lounge", lounge);
    let message = stage.reply("mod", ".set_level_name 5 Lounge").await;
    private_channel(&stage.sim, "cellar", lounge);
    let again = stage.press("mod", &message, AGREE).await;
    assert_eq!(said(&again), question("Lounge", "#lounge and #cellar"));
    assert_eq!(carried(&stage, 5).await, (None, None));
    let told = pressed(&stage, &again, AGREE).await;
    assert!(
        told.starts_with("Level 5 now carries the role Lounge."),
        "{told}"
    );

    // A role of which it was only asked what happens to its holders.
    let held = stage.sim.create_role("Held", 0);
    stage.sim.grant(stage.sim.user("bob"), held);
    let message = stage.reply("mod", ".set_level_name 6 Held").await;
    private_channel(&stage.sim, "attic", held);
    let again = stage.press("mod", &message, "Take it over").await;
    let text = said(&again);
    assert!(
        text.contains("It opens #attic, which other members can't see."),
        "{text}"
    );
    assert!(text.contains("1 member holds it."), "{text}");
    assert_eq!(carried(&stage, 6).await, (None, None));
}

#[tokio::test]
async fn many_channels_are_counted() {
    let stage = Stage::open().await;
    let lounge = stage.sim.create_role("Lounge", 0);
    for number in 1..=12 {
        private_channel(&stage.sim, &format!("room-{number}"), lounge);
    }
    let text = stage.ask("mod", ".set_level_name 5 Lounge").await;
    assert!(
        text.contains("#room-9, #room-10 and 2 more, which"),
        "{text}"
    );
}

#[tokio::test]
async fn a_guild_that_shows_nothing_without_a_role_asks_about_every_role_that_shows_something() {
    let stage = Stage::open().await;
    let guild = stage.sim.guild_id();
    stage.sim.role_permissions(guild, EVERYONE & !VIEW_CHANNEL);
    stage.sim.create_role("Verified", VIEW_CHANNEL);
    let text = stage.ask("mod", ".set_level_name 5 Verified").await;
    assert!(text.contains("It opens #general, #random"), "{text}");
    assert!(!text.contains("#staff"), "closed to this role, too: {text}");
}

#[tokio::test]
async fn a_role_that_moderates_in_a_channel_is_refused_and_the_channel_named() {
    let stage = Stage::open().await;
    let helpers = stage.sim.create_role("Helpers", 0);
    stage
        .sim
        .overwrite(stage.sim.channel("general"), helpers, MANAGE_MESSAGES, 0);
    let refusal = "Helpers has moderation permissions in #general, so it can't be earned by talking. Remove those \
                   permissions, or choose another role with `set_level_name`.";
    assert_eq!(stage.ask("mod", ".set_level_name 5 Helpers").await, refusal);
    let options = json!([{ "name": "level", "value": 5 }, { "name": "name", "value": "Helpers" }]);
    let asked = stage.sim.slash(
        stage.sim.user("mod"),
        stage.sim.channel("general"),
        "set_level_name",
        &options,
    );
    let told = stage.sim.answer_to(asked).await;
    assert_eq!((said(&told).as_str(), is_private(&told)), (refusal, true));
    assert_eq!(carried(&stage, 5).await, (None, None));
    stage
        .sim
        .overwrite(stage.sim.channel("general"), helpers, 0, 0);
    let told = stage.ask("mod", ".set_level_name 5 Helpers").await;
    assert!(
        told.starts_with("Level 5 now carries the role Helpers."),
        "{told}"
    );
}

#[tokio::test]
async fn channels_that_cannot_be_read_are_not_taken_for_none() {
    let stage = Stage::open().await;
    stage.sim.create_role("Lounge", 0);
    stage
        .sim
        .faults()
        .next(99, CHANNELS.0, CHANNELS.1, Fault::Status(500));
    assert_eq!(
        stage.ask("mod", ".set_level_name 5 Lounge").await,
        "Discord is not responding. Please try again shortly."
    );
    stage.sim.faults().clear();
    let strange = json!([
        { "id": "7", "type": 0, "name": "strange", "permission_overwrites": [{ "id": "8", "type": 9 }] },
    ]);
    stage
        .sim
        .faults()
        .next(1, CHANNELS.0, CHANNELS.1, Fault::Answer(strange));
    let text = stage.ask("mod", ".set_level_name 5 Lounge").await;
    assert!(
        text.contains("It may open #strange, whose permissions I can't read."),
        "{text}"
    );
    assert_eq!(carried(&stage, 5).await, (None, None));
    let told = stage.ask("mod", ".set_level_name 5 Lounge").await;
    assert!(
        told.starts_with("Level 5 now carries the role Lounge."),
        "{told}"
    );
}

/// How a level comes to a role that is in the guild.
#[derive(Clone, Copy)]
enum Comes {
    /// The level has the role's name, as a file or a setting gives it.
    ByName,
    /// An import says that the level carries the role of this id.
    ById,
}

/// A bot that starts with level 5 called Lounge, and a role of that name that opens a channel.
/// Alice is at level 5.
async fn started(comes: Comes) -> (Stage, u64) {
    let world = World::new();
    let database = TestDatabase::migrated().await;
    let points = i64::try_from(mee6_total(5)).unwrap();
    database
        .insert_user(person(&world, "alice"), points, 1)
        .await;
    let sim = Sim::start(world).await.unwrap();
    let lounge = sim.create_role("Lounge", 0);
    private_channel(&sim, "den", lounge);
    let id = match comes {
        Comes::ByName => None,
        Comes::ById => Some(i64::try_from(lounge).unwrap()),
    };
    sqlx::query("update level set role_id = $1, role_name = 'Lounge' where number = 5")
        .bind(id)
        .execute(&mut database.session().await)
        .await
        .unwrap();
    let bot = Bot::start(&sim, &database.url()).await;
    bot.logged("roles are verified").await;
    (Stage { bot, database, sim }, lounge)
}

async fn linked_only_with_consent(comes: Comes) {
    let (mut stage, lounge) = started(comes).await;
    let alice = stage.sim.user("alice");
    let notice = "The role Lounge of level 5 opens #den, which other members can't see, so I don't use it before a \
                  moderator agrees. Press the button to use it anyway, or choose another role with `set_level_name`.";
    assert_eq!(told(&stage, 1).await, [notice]);
    let seen = "select count(*) from level where number = 5 and role_seen";
    // Neither by a level-up, nor by coming back, nor after a restart.
    stage.sim.leave(alice);
    stage.sim.join(alice);
    let give = json!([
        { "name": "user", "value": stage.sim.user("bob").to_string() },
        { "name": "amount", "value": mee6_total(6) },
        { "name": "reason", "value": "test" },
    ]);
    stage.slash("mod", "give_xp", give).await;
    stage.restart().await;
    stage.bot.logged("roles are verified").await;
    assert_eq!(stage.database.number(seen).await, 0);
    assert_eq!(told(&stage, 1).await, [notice], "and it is told once");
    for user in ["alice", "bob"] {
        assert_eq!(stage.sim.member_roles(stage.sim.user(user)), [0; 0]);
    }
    let council = stage.sim.channel("council");
    let message = stage.sim.bot_messages(council)[0].clone();
    let forged = stage
        .sim
        .forge_click(alice, id_of(&message), &button(&message, AGREE));
    let refused = stage.sim.answer_to(forged).await;
    assert_eq!(
        said(&refused),
        "Only Minions and Moderator can use this command."
    );
    let agreed = pressed(&stage, &message, AGREE).await;
    assert!(
        agreed.starts_with("Level 5 now carries the role Lounge. It was already in the guild."),
        "{agreed}"
    );
    wait("the role", async || {
        let held = |name| {
            stage
                .sim
                .member_roles(stage.sim.user(name))
                .contains(&lounge)
        };
        (held("alice") && held("bob")).then_some(())
    })
    .await;
    is_solved(&stage).await;
    assert_eq!(stage.database.number(seen).await, 1);
    assert_eq!(carried(&stage, 5).await.0, Some(lounge));
}

#[tokio::test]
async fn a_role_that_has_a_levels_name_and_opens_a_channel_is_asked_about_in_the_council() {
    linked_only_with_consent(Comes::ByName).await;
}

#[tokio::test]
async fn an_imported_role_that_opens_a_channel_is_asked_about_in_the_council() {
    linked_only_with_consent(Comes::ById).await;
}

#[tokio::test]
async fn consent_in_the_council_is_for_the_channels_that_it_names() {
    let (stage, lounge) = started(Comes::ByName).await;
    let council = stage.sim.channel("council");
    let message = stage.sim.bot_messages(council)[0].clone();
    // The bot does not hear of it before the press.
    for event in ["CHANNEL_CREATE", "CHANNEL_UPDATE"] {
        stage.sim.gateway().lose_all(event);
    }
    private_channel(&stage.sim, "cellar", lounge);
    assert_eq!(
        pressed(&stage, &message, AGREE).await,
        "Lounge opens other channels by now. The message above will name them; press its button again."
    );
    assert_eq!(carried(&stage, 5).await.0, None);
    let names_both = || {
        let text = said(&stage.sim.message(id_of(&message))?);
        text.contains("opens #den and #cellar, which").then_some(())
    };
    stage.sim.wait("the message to name both", names_both).await;
    let now = stage.sim.message(id_of(&message)).unwrap();
    let agreed = pressed(&stage, &now, AGREE).await;
    assert!(
        agreed.starts_with("Level 5 now carries the role Lounge."),
        "{agreed}"
    );
    // Pressed once more.
    let moderator = stage.sim.user("mod");
    let again = stage
        .sim
        .forge_click(moderator, id_of(&message), &button(&now, AGREE));
    stage.sim.answer_to(again).await;
    assert_eq!(carried(&stage, 5).await.0, Some(lounge));
}

#[tokio::test]
async fn the_question_goes_when_the_channel_is_open_to_all() {
    let (stage, lounge) = started(Comes::ByName).await;
    let channel = stage.sim.channel("den");
    stage.sim.overwrite(channel, stage.sim.guild_id(), 0, 0);
    is_solved(&stage).await;
    holds_role(&stage, "alice", lounge).await;
    assert_eq!(carried(&stage, 5).await.0, Some(lounge));
}

async fn holds_role(stage: &Stage, name: &str, role: u64) {
    let user = stage.sim.user(name);
    let held = || stage.sim.member_roles(user).contains(&role).then_some(());
    stage.sim.wait("the role", held).await;
}

#[tokio::test]
async fn a_human_who_renames_a_role_to_a_levels_name_is_asked_as_well() {
    let (stage, lounge) = started(Comes::ByName).await;
    let club = stage.sim.create_role("Club", 0);
    private_channel(&stage.sim, "club", club);
    stage.sim.rename_role(club, "Lounge");
    stage.sim.rename_role(lounge, "Elsewhere");
    stage.slash("mod", "verify_roles", json!([])).await;
    let council = stage.sim.channel("council");
    let asked = || {
        let words = stage.sim.bot_messages(council);
        let mut words = words.iter().map(said);
        words
            .any(|word| word.contains("opens #club, which"))
            .then_some(())
    };
    stage.sim.wait("the question", asked).await;
    assert_eq!(carried(&stage, 5).await.0, None);
    assert_eq!(stage.sim.member_roles(stage.sim.user("alice")), [0; 0]);
}

#[tokio::test]
async fn a_level_role_that_comes_to_moderate_a_channel_is_given_no_more_until_it_does_not() {
    let stage = verified().await;
    let (five, carol) = (stage.sim.role("Five"), stage.sim.user("carol"));
    let general = stage.sim.channel("general");
    stage.sim.overwrite(general, five, MANAGE_MESSAGES, 0);
    assert_eq!(
        told(&stage, 1).await,
        [
            "The role Five of level 5 has moderation permissions in #general, so it can't be earned by talking. Remove \
             those permissions, or choose another role with `set_level_name`."
        ]
    );
    let give = json!([
        { "name": "user", "value": carol.to_string() },
        { "name": "amount", "value": mee6_total(5) },
        { "name": "reason", "value": "test" },
    ]);
    stage.slash("mod", "give_xp", give).await;
    holds(&stage, carol, &["Zero", "One"]).await;
    holds(&stage, stage.sim.user("alice"), &["Zero", "One", "Five"]).await;
    // To open a channel for those of a level is what level roles are for.
    stage.sim.overwrite(general, five, VIEW_CHANNEL, 0);
    stage
        .sim
        .overwrite(general, stage.sim.guild_id(), 0, VIEW_CHANNEL);
    is_solved(&stage).await;
    holds(&stage, carol, &["Zero", "One", "Five"]).await;
}

#[tokio::test]
async fn a_deleted_channel_takes_its_problem_with_it() {
    let stage = verified().await;
    let staff = stage.sim.create_channel("helpdesk");
    stage
        .sim
        .overwrite(staff, stage.sim.role("One"), MANAGE_MESSAGES, 0);
    let words = told(&stage, 1).await;
    assert!(
        words[0].contains("moderation permissions in #helpdesk"),
        "{words:?}"
    );
    stage.sim.delete_channel(staff);
    is_solved(&stage).await;
}

#[tokio::test]
async fn a_dry_run_names_the_channels() {
    let (mut stage, _) = started(Comes::ById).await;
    stage.bot.terminate().await;
    let output = command()
        .args(["verify-roles", "--dry-run"])
        .env("WALLE_TOKEN", stage.sim.token())
        .env("WALLE_GUILD_ID", stage.sim.guild_id().to_string())
        .env("WALLE_DISCORD_API", stage.sim.api_url())
        .env("WALLE_DISCORD_CA", stage.sim.ca_path())
        .env("DATABASE_URL", stage.database.url())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = "needs attention: the role \"Lounge\" of level 5 opens #\"den\", which other members can't see";
    assert!(text.contains(words), "{text}");
}
