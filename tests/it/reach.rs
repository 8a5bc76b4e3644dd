//! Roles that the bot can give no more: moderators are told at once and once, and what can be
//! given again is given to everyone by the bot itself.

use discord_sim::permissions::{BOT, MANAGE_ROLES};
use discord_sim::{ChannelKind, Fault, Method, World};
use serde_json::{Value, json};
use wall_e::leveling::mee6_total;

use crate::roles::{
    DELETE, PUT, holds, is_solved, role_calls, settled, told, verified, verified_in,
};
use crate::support::{Stage, said};

const MEMBERS: &str = "/guilds/{}/members";
const MESSAGE: &str = "/channels/{}/messages/{}";

/// How the bot can lose the level roles.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Manage Roles is unticked on the bot's role.
    Permission,
    /// The bot's role is taken from the bot.
    OwnRole,
    /// The role that lets the bot manage roles is deleted.
    DeletedRole,
    /// The bot's role is moved below all level roles.
    OwnRoleMoved,
    /// Two level roles are moved above the bot's.
    LevelRolesMoved,
}

impl Loss {
    fn happens(self, stage: &Stage) {
        let sim = &stage.sim;
        let own = sim.role("wall_e");
        match self {
            Self::Permission => sim.role_permissions(own, BOT & !MANAGE_ROLES),
            Self::OwnRole => sim.revoke(sim.bot_id(), own),
            Self::DeletedRole => sim.delete_role(sim.role("Helpers")),
            Self::OwnRoleMoved => sim.move_role(own, 1),
            Self::LevelRolesMoved => {
                for name in ["One", "Five"] {
                    sim.move_role(sim.role(name), 99);
                }
            }
        }
    }

    fn is_mended(self, stage: &Stage) {
        let sim = &stage.sim;
        let own = sim.role("wall_e");
        match self {
            Self::Permission | Self::DeletedRole => sim.role_permissions(own, BOT),
            Self::OwnRole => sim.grant(sim.bot_id(), own),
            Self::OwnRoleMoved => sim.move_role(own, 99),
            Self::LevelRolesMoved => {
                for name in ["One", "Five"] {
                    sim.move_role(sim.role(name), 1);
                }
            }
        }
    }

    /// What the council reads.
    fn words(self) -> &'static str {
        match self {
            Self::Permission | Self::OwnRole | Self::DeletedRole => {
                "I don't have permission to manage roles"
            }
            Self::OwnRoleMoved => {
                "The roles Zero of level 0, One of level 1 and Five of level 5 are not below my own role"
            }
            Self::LevelRolesMoved => {
                "The roles One of level 1 and Five of level 5 are not below my own role"
            }
        }
    }
}

/// What a verification says that somebody asks for who earns nothing by it.
async fn verify(stage: &Stage) -> String {
    let (boss, general) = (stage.sim.user("boss"), stage.sim.channel("general"));
    let asked = stage.sim.slash(boss, general, "verify_roles", &json!([]));
    let done = || {
        let text = said(&stage.sim.find_answer(asked)?);
        text.starts_with("Verified").then_some(text)
    };
    stage.sim.wait("the verification", done).await
}

async fn is_lost_and_mended(loss: Loss) {
    // Public, so that the bot can write there whatever it has lost.
    let world = World::new().channel("council", ChannelKind::Text, None);
    let stage = verified_in(world).await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    if let Loss::DeletedRole = loss {
        let helpers = stage.sim.create_role("Helpers", MANAGE_ROLES);
        stage.sim.grant(stage.sim.bot_id(), helpers);
        let own = stage.sim.role("wall_e");
        stage.sim.role_permissions(own, BOT & !MANAGE_ROLES);
        // The role that was made last is the lowest: the bot's own still stands above.
        stage.bot.logged("connected").await;
        verify(&stage).await;
    }
    stage.sim.clear_requests();
    loss.happens(&stage);
    let words = told(&stage, 1).await;
    assert!(words[0].starts_with(loss.words()), "{words:?}");
    assert!(!words[0].contains("Solved"), "{words:?}");
    let pages = stage.sim.requests_to(&Method::GET, MEMBERS);
    assert_eq!(pages.len(), 0, "nobody's roles are looked at for that");

    stage.sim.revoke(alice, stage.sim.role("Five"));
    stage.sim.grant(bob, stage.sim.role("Five"));
    let report = verify(&stage).await;
    assert!(report.contains("2 were wrong"), "{report}");
    assert!(
        report.contains("Out of my reach: the roles of 2 of them. ") && report.contains(&words[0]),
        "{report}"
    );
    assert_eq!(told(&stage, 1).await, words, "said once");
    assert_eq!(role_calls(&stage), 0);

    stage.sim.clear_requests();
    loss.is_mended(&stage);
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
    holds(&stage, bob, &["Zero", "One"]).await;
    is_solved(&stage).await;
    told(&stage, 1).await;
    let requests = stage.sim.requests();
    let last_role = requests
        .iter()
        .rposition(|request| request.is(&PUT.0, PUT.1) || request.is(&DELETE.0, DELETE.1));
    let solved = requests.iter().position(|request| {
        let text = request.body["content"].as_str().unwrap_or_default();
        request.is(&Method::PATCH, MESSAGE) && text.contains("Solved")
    });
    assert!(last_role < solved, "{requests:?}");
}

#[tokio::test]
async fn a_permission_that_is_taken_is_told_once_and_its_return_heals_by_itself() {
    is_lost_and_mended(Loss::Permission).await;
}

#[tokio::test]
async fn a_role_that_is_taken_from_the_bot_is_told_once_and_its_return_heals_by_itself() {
    is_lost_and_mended(Loss::OwnRole).await;
}

#[tokio::test]
async fn a_role_that_is_taken_from_the_bot_is_told_also_where_users_have_a_new_form() {
    let world = World::new().channel("council", ChannelKind::Text, None);
    let stage = verified_in(world).await;
    let odd = json!({ "public_flags": 1_u64 << 40 });
    let odd = odd.as_object().expect("an object").clone();
    stage.sim.settings(|settings| settings.user_fields = odd);
    Loss::OwnRole.happens(&stage);
    let words = told(&stage, 1).await;
    assert!(words[0].starts_with(Loss::OwnRole.words()), "{words:?}");
}

#[tokio::test]
async fn a_deleted_role_that_let_the_bot_manage_roles_is_told_once() {
    is_lost_and_mended(Loss::DeletedRole).await;
}

#[tokio::test]
async fn a_bot_that_is_moved_below_is_told_once_and_its_return_heals_by_itself() {
    is_lost_and_mended(Loss::OwnRoleMoved).await;
}

#[tokio::test]
async fn level_roles_that_are_moved_above_are_told_once_and_their_return_heals_by_itself() {
    is_lost_and_mended(Loss::LevelRolesMoved).await;
}

#[tokio::test]
async fn what_cannot_be_looked_at_at_once_is_looked_at_soon() {
    let stage = verified().await;
    let roles = "/guilds/{}/roles";
    // More often than one call is tried.
    stage
        .sim
        .faults()
        .next(6, Method::GET, roles, Fault::Status(500));
    let own = stage.sim.role("wall_e");
    stage.sim.role_permissions(own, BOT & !MANAGE_ROLES);
    let words = told(&stage, 1).await;
    assert!(
        words[0].starts_with("I don't have permission to manage roles"),
        "{words:?}"
    );
}

#[tokio::test]
async fn a_level_role_that_may_be_given_again_is_given_to_everyone() {
    const KICK: u64 = 1 << 1;
    let stage = verified().await;
    let (alice, five) = (stage.sim.user("alice"), stage.sim.role("Five"));
    stage.sim.role_permissions(five, KICK);
    let words = told(&stage, 1).await;
    assert!(words[0].contains("has moderation permissions"), "{words:?}");
    stage.sim.revoke(alice, five);
    stage.sim.role_permissions(five, 0);
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
    is_solved(&stage).await;
}

/// A moderator gives someone XP, and has the level that it brings announced.
async fn give_xp(stage: &Stage, user: u64, amount: u64) {
    let give = json!([
        { "name": "user", "type": 6, "value": user.to_string() },
        { "name": "amount", "value": amount },
        { "name": "announce", "value": true },
        { "name": "reason", "value": "test" },
    ]);
    stage.slash("mod", "give_xp", give).await;
}

/// Waits for the line about a level; the whole of it.
async fn line(stage: &Stage, user: u64, level: u16) -> String {
    let begin = format!("<@{user}> reached **level {level}**!");
    let general = stage.sim.channel("general");
    let line = || {
        let messages = stage.sim.bot_messages(general);
        let mut texts = messages.iter().map(said);
        texts.find(|text| text.starts_with(&begin))
    };
    stage.sim.wait(&begin, line).await
}

#[tokio::test]
async fn a_role_that_is_refused_for_good_is_asked_for_once_and_costs_no_verification() {
    let stage = verified().await;
    let people: Vec<u64> = (0..3)
        .map(|number| stage.sim.add_person(&format!("person{number}")))
        .collect();
    for user in &people {
        stage.sim.join(*user);
    }
    stage
        .sim
        .settings(|settings| settings.owner_has_two_factor = false);
    stage.sim.require_two_factor(true);
    stage.sim.clear_requests();
    for (number, user) in people.iter().enumerate() {
        give_xp(&stage, *user, mee6_total(1)).await;
        let line = line(&stage, *user, 1).await;
        assert!(!line.contains("New role"), "{line}");
        settled(&stage).await;
        if number == 0 {
            assert!((2..=4).contains(&role_calls(&stage)), "{}", stage.bot.log());
            stage.sim.clear_requests();
        }
    }
    assert_eq!(role_calls(&stage), 0, "of the others nothing is asked for");
    let words = told(&stage, 1).await;
    assert!(
        words[0].starts_with(
            "Discord does not let me give or take the roles Zero of level 0 and One of level 1: the server requires \
             two-factor"
        ),
        "{words:?}"
    );
    let pages = stage.sim.requests_to(&Method::GET, MEMBERS);
    assert_eq!(pages.len(), 0, "no verification");
    // Of a moderator who asks, each is asked for once more.
    let report = verify(&stage).await;
    assert!(
        report.contains("3 were wrong") && report.contains("3 could not be"),
        "{report}"
    );
    assert_eq!(told(&stage, 1).await, words);

    stage.sim.require_two_factor(false);
    for user in &people {
        holds(&stage, *user, &["Zero", "One"]).await;
    }
    is_solved(&stage).await;
}

#[tokio::test]
async fn a_role_call_that_fails_for_one_member_is_tried_again_for_that_member_alone() {
    let stage = verified().await;
    let carol = stage.sim.user("carol");
    stage.say("carol", "hello");
    holds(&stage, carol, &["Zero"]).await;
    settled(&stage).await;
    stage.sim.clear_requests();
    let nothing = Fault::Refused {
        status: 400,
        code: 0,
    };
    stage.sim.faults().next(1, PUT.0, PUT.1, nothing);
    give_xp(&stage, carol, mee6_total(1)).await;
    line(&stage, carol, 1).await;
    holds(&stage, carol, &["Zero", "One"]).await;
    let pages = stage.sim.requests_to(&Method::GET, MEMBERS);
    assert_eq!(pages.len(), 0, "no verification");
    let council = stage.sim.find_channel("council").into_iter();
    let words: Vec<Value> = council
        .flat_map(|council| stage.sim.bot_messages(council))
        .collect();
    assert_eq!(words, Vec::<Value>::new());
}
