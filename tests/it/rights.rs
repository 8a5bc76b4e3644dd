//! Who has which right when roles have twins, are renamed or deleted, and while the guild is
//! not there.

use discord_sim::{Fault, Method, Sim, World};
use serde_json::{Value, json};

use crate::support::{Bot, Stage, TestDatabase, person, said, wait};

const ONLY: &str = "Only Minions and Moderator can use this command.";
const NOT_NOW: &str = "I can't check right now who may do that. Please try again shortly.";

/// The usual guild and `mod2`, who is a moderator and nothing else.
fn world() -> World {
    World::new().person("mod2", &["Moderator"])
}

async fn open(world: World) -> Stage {
    Stage::open_on(world, TestDatabase::migrated().await).await
}

/// What the council reads, the last message first.
fn council(sim: &Sim) -> Vec<String> {
    let Some(channel) = sim.find_channel("council") else {
        return Vec::new();
    };
    sim.bot_messages(channel).iter().rev().map(said).collect()
}

async fn council_says(sim: &Sim, parts: &[&str]) {
    let says = |text: &String| parts.iter().all(|part| text.contains(part));
    let said = || council(sim).iter().any(says).then_some(());
    sim.wait(&format!("{parts:?} in the council"), said).await;
}

async fn is_pinned(stage: &Stage, name: &str, role: Option<u64>) {
    let expected = role.map(|role| i64::try_from(role).unwrap());
    let mut session = stage.database.session().await;
    wait(&format!("the pin of {name}"), async || {
        let pin: Option<i64> = sqlx::query_scalar("select role_id from role_pin where name = $1")
            .bind(name)
            .fetch_optional(&mut session)
            .await
            .unwrap();
        (pin == expected).then_some(())
    })
    .await;
}

async fn is_refused(stage: &Stage, who: &str) -> bool {
    let answer = stage.ask(who, ".levels").await;
    assert_ne!(answer, NOT_NOW);
    answer.starts_with("Only ")
}

#[tokio::test]
async fn a_second_role_of_a_name_gives_nobody_rights() {
    let mut stage = open(world()).await;
    let (alice, real) = (stage.sim.user("alice"), stage.sim.role("Moderator"));
    is_pinned(&stage, "Moderator", Some(real)).await;
    let twin = stage.sim.create_role("Moderator", 0);
    stage.sim.grant(alice, twin);
    let answer = stage
        .ask("alice", &format!(".give_xp <@{alice}> 50 x"))
        .await;
    assert_eq!(answer, ONLY);
    assert!(
        !is_refused(&stage, "mod2").await,
        "the real one keeps its rights"
    );
    council_says(
        &stage.sim,
        &[
            "WALLE_MODERATOR_ROLES",
            "Moderator",
            &real.to_string(),
            &twin.to_string(),
        ],
    )
    .await;
    // What is remembered outlives the process.
    stage.restart().await;
    assert!(is_refused(&stage, "alice").await);
    assert!(!is_refused(&stage, "mod2").await);
    stage.sim.delete_role(twin);
    council_says(&stage.sim, &[&twin.to_string(), "**Solved.**"]).await;
    assert_eq!(council(&stage.sim).len(), 1, "it was told once");
}

#[tokio::test]
async fn a_rename_locks_nobody_out() {
    let mut stage = open(world()).await;
    let moderator = stage.sim.role("Moderator");
    is_pinned(&stage, "Moderator", Some(moderator)).await;
    stage.sim.rename_role(moderator, "*Guards*");
    let only = "Only Minions and \\*Guards\\* can use this command.";
    assert_eq!(stage.ask("alice", ".levels").await, only);
    assert!(!is_refused(&stage, "mod2").await);
    // Nobody may earn it by its new name either.
    let told = stage.ask("mod2", ".set_level_name 5 *Guards*").await;
    assert!(told.contains("gives its members rights"), "{told}");
    stage.restart().await;
    assert!(!is_refused(&stage, "mod2").await);
    assert_eq!(stage.ask("alice", ".levels").await, only);
    assert_eq!(
        council(&stage.sim),
        Vec::<String>::new(),
        "nothing is wrong"
    );
}

#[tokio::test]
async fn a_name_of_several_roles_gives_nothing_until_one_is_left() {
    let stage = open(world().role("Moderator", 0)).await;
    let roles = stage.sim.roles();
    let mut called = roles.iter().filter(|role| role["name"] == "Moderator");
    let twin: u64 = called.next().unwrap()["id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(is_refused(&stage, "mod2").await);
    assert!(!is_refused(&stage, "boss").await);
    council_says(
        &stage.sim,
        &["2 roles have that name", "none of them gives rights"],
    )
    .await;
    stage
        .bot
        .logged("a role named in the settings gives no rights")
        .await;
    stage.sim.delete_role(twin);
    council_says(&stage.sim, &["2 roles have that name", "**Solved.**"]).await;
    assert!(!is_refused(&stage, "mod2").await);
}

#[tokio::test]
async fn a_setting_that_names_no_role_is_said_at_the_start() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(world()).await.unwrap();
    let minions = sim.role("Minions").to_string();
    let settings = [
        ("WALLE_MODERATOR_ROLES", format!("{minions},Guards")),
        ("WALLE_PRIVACY_ROLES", "175928847299117063".to_owned()),
        ("WALLE_OPERATOR_ROLES", String::new()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let mut bot = Bot::launch(&sim, &database.url(), &settings);
    bot.connected(&sim).await;
    bot.logged("roles are verified").await;
    let stage = Stage { bot, database, sim };
    council_says(
        &stage.sim,
        &[
            "WALLE_MODERATOR_ROLES names the role Guards",
            "no role of that name",
        ],
    )
    .await;
    council_says(
        &stage.sim,
        &["WALLE_PRIVACY_ROLES names the role with the id 175928847299117063"],
    )
    .await;
    stage
        .bot
        .logged("WALLE_MODERATOR_ROLES names the role Guards")
        .await;
    // An id is as good as a name.
    assert!(!is_refused(&stage, "mod").await);
    assert!(is_refused(&stage, "mod2").await);
    stage
        .sim
        .rename_role(stage.sim.role("Minions"), "Minions of old");
    let only = "Only Minions of old and Guards can use this command.";
    assert_eq!(stage.ask("alice", ".levels").await, only);
    stage
        .sim
        .grant(stage.sim.user("mod2"), stage.sim.create_role("Guards", 0));
    council_says(&stage.sim, &["names the role Guards", "**Solved.**"]).await;
    assert!(!is_refused(&stage, "mod2").await);
}

#[tokio::test]
async fn a_role_that_was_deleted_is_followed_by_the_only_other_of_its_name() {
    let stage = open(world()).await;
    let (before, mod2) = (stage.sim.role("Moderator"), stage.sim.user("mod2"));
    is_pinned(&stage, "Moderator", Some(before)).await;
    stage.sim.delete_role(before);
    is_pinned(&stage, "Moderator", None).await;
    assert!(is_refused(&stage, "mod2").await);
    council_says(
        &stage.sim,
        &["names the role Moderator", "no role of that name"],
    )
    .await;
    let new = stage.sim.create_role("Moderator", 0);
    stage.sim.grant(mod2, new);
    is_pinned(&stage, "Moderator", Some(new)).await;
    assert!(!is_refused(&stage, "mod2").await);
    // While a twin waits, the rights move on at once, and that is said.
    let twin = stage.sim.create_role("Moderator", 0);
    stage.sim.delete_role(new);
    is_pinned(&stage, "Moderator", Some(twin)).await;
    council_says(
        &stage.sim,
        &["was deleted", &twin.to_string(), "from now on"],
    )
    .await;
    assert!(is_refused(&stage, "mod2").await);
}

#[tokio::test]
async fn the_owner_is_known_in_an_outage_and_before_the_guild_is_shown() {
    let stage = open(world()).await;
    let guild = stage.sim.guild_id().to_string();
    let outage = json!({ "id": guild, "unavailable": true });
    stage.sim.gateway().raw_dispatch("GUILD_DELETE", outage);
    stage
        .bot
        .logged("Discord reports an outage of the guild")
        .await;
    for status in [None, Some(500)] {
        if let Some(status) = status {
            // Longer than any answer is remembered: what the gateway said last serves.
            let fault = Fault::Status(status);
            stage
                .sim
                .faults()
                .next(1_000, Method::GET, "/guilds/{}", fault);
        }
        assert!(!is_refused(&stage, "boss").await, "{status:?}");
        assert!(!is_refused(&stage, "mod2").await, "{status:?}");
        assert!(is_refused(&stage, "alice").await, "{status:?}");
    }
}

#[tokio::test]
async fn who_is_given_the_guild_may_command_at_once_and_who_gave_it_no_longer() {
    let stage = open(world()).await;
    let alice = stage.sim.user("alice");
    assert!(!is_refused(&stage, "boss").await);
    assert!(is_refused(&stage, "alice").await);
    stage.sim.hand_over(alice);
    assert!(!is_refused(&stage, "alice").await);
    assert!(is_refused(&stage, "boss").await);
    let asked = stage.sim.requests_to(&Method::GET, "/guilds/{}");
    assert_eq!(asked.len(), 0, "the event says it");
}

/// A bot to which Discord shows no guild, neither over the gateway nor over REST.
async fn in_the_dark(world: World, database: TestDatabase) -> Stage {
    let sim = Sim::start(world).await.unwrap();
    sim.gateway().withhold_guilds();
    sim.faults()
        .next(1_000, Method::GET, "/guilds/{}", Fault::Status(500));
    let bot = Bot::start(&sim, &database.url()).await;
    Stage { bot, database, sim }
}

#[tokio::test]
async fn nobody_is_refused_before_it_can_be_told() {
    let world = world();
    let alice = person(&world, "alice");
    let stage = in_the_dark(world, TestDatabase::migrated().await).await;
    for who in ["boss", "mod2", "alice"] {
        assert_eq!(stage.ask(who, ".levels").await, NOT_NOW, "{who}");
    }
    let bob = stage.sim.user("bob");
    assert_eq!(
        stage.ask("alice", &format!(".hide_xp <@{bob}>")).await,
        NOT_NOW
    );
    assert!(
        stage
            .ask("alice", ".hide_xp")
            .await
            .contains("is now hidden")
    );
    let help = stage.ask("mod2", ".help").await;
    assert!(
        help.contains(".rank") && help.contains("Please try again shortly"),
        "{help}"
    );
    // Of an interaction's caller Discord says what they may do.
    let told = stage.slash("boss", "xp_log", user(alice)).await;
    assert_eq!(told, "No moderator has changed alice's XP.");
    stage.sim.gateway().show_guilds();
    wait("rights to be told", async || {
        (stage.ask("mod2", ".levels").await != NOT_NOW).then_some(())
    })
    .await;
    assert!(!is_refused(&stage, "boss").await);
    assert!(is_refused(&stage, "alice").await);
}

#[tokio::test]
async fn the_guild_is_asked_for_where_it_is_not_shown() {
    let sim = Sim::start(world()).await.unwrap();
    sim.gateway().withhold_guilds();
    let database = TestDatabase::migrated().await;
    let bot = Bot::start(&sim, &database.url()).await;
    let stage = Stage { bot, database, sim };
    assert!(!is_refused(&stage, "boss").await);
    assert!(!is_refused(&stage, "mod2").await);
    assert!(is_refused(&stage, "alice").await);
}

#[tokio::test]
async fn a_new_council_is_not_shown_to_a_second_role_of_the_name() {
    let stage = open(world()).await;
    let (moderator, minions) = (stage.sim.role("Moderator"), stage.sim.role("Minions"));
    is_pinned(&stage, "Moderator", Some(moderator)).await;
    let twin = stage.sim.create_role("Moderator", 0);
    council_says(&stage.sim, &[&twin.to_string()]).await;
    let made = stage.sim.requests_to(&Method::POST, "/guilds/{}/channels");
    let overwrites = made[0].body["permission_overwrites"].as_array().unwrap();
    let shown = |role: u64| {
        let id = role.to_string();
        let mut overwrites = overwrites.iter();
        overwrites.any(|one| one["id"] == id && one["allow"] != "0")
    };
    assert!(
        shown(moderator) && shown(minions) && !shown(twin),
        "{overwrites:?}"
    );
}

fn user(id: u64) -> Value {
    json!([{ "name": "user", "type": 6, "value": id.to_string() }])
}
