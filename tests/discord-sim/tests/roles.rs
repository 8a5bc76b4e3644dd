//! Roles, as the bot deals with them and as humans do.

use discord_sim::{Sim, World, members, permissions};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, INTENTS, Rest, id, simulation};

const MODERATION: u64 = 1 << 2;

async fn connected() -> (Sim, Rest, Client, String) {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let client = Client::identified(&sim, INTENTS).await;
    let roles = format!("/guilds/{}/roles", sim.guild_id());
    (sim, rest, client, roles)
}

/// The names of the roles, the highest first.
fn ladder(sim: &Sim) -> Vec<String> {
    let name = |role: Value| role["name"].as_str().unwrap_or_default().to_owned();
    sim.roles().into_iter().map(name).collect()
}

#[tokio::test]
async fn the_bot_makes_roles() {
    let (sim, rest, mut client, roles) = connected().await;
    let wanted = json!({
        "name": "Level 5", "permissions": "0", "color": 0x00FF_AA00, "hoist": true,
        "mentionable": true,
    });
    let (status, made) = rest.post(&roles, &wanted).await;
    assert_eq!(status, 200, "{made}");
    for (field, value) in wanted.as_object().into_iter().flatten() {
        assert_eq!(made[field], *value, "{field}");
    }
    assert_eq!(
        (&made["position"], &made["managed"]),
        (&json!(1), &json!(false))
    );
    let heard = client.event("GUILD_ROLE_CREATE").await;
    let guild = sim.guild_id().to_string();
    assert_eq!(heard, json!({ "guild_id": guild, "role": made }));
    let expected = [
        "wall_e",
        "Minions",
        "Moderator",
        "Bot_manager",
        "Level 5",
        "@everyone",
    ];
    assert_eq!(ladder(&sim), expected, "the others moved up");
    let path = format!("{roles}/{}", id(&made));
    assert_eq!(rest.get(&path).await, (200, made));

    let (_, plain) = rest.post(&roles, &json!({})).await;
    assert_eq!(plain["name"], "new role");
    assert_eq!(plain["permissions"], permissions::EVERYONE.to_string());
    client.event("GUILD_ROLE_CREATE").await;

    let long = json!({ "name": "x".repeat(101) });
    let admin = json!({ "permissions": permissions::ADMINISTRATOR.to_string() });
    for (wanted, status, code) in [
        (long, 400, 50_035),
        (json!({ "color": 1 << 24 }), 400, 50_035),
        (json!({ "permissions": "all" }), 400, 50_035),
        (admin, 403, 50_013),
    ] {
        let (found, body) = rest.post(&roles, &wanted).await;
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{wanted}");
    }
}

#[tokio::test]
async fn a_guild_has_no_more_than_250_roles() {
    let mut world = World::new();
    for number in 0..245 {
        world = world.role(&format!("r{number}"), 0);
    }
    let sim = Sim::start(world).await.expect("it starts");
    let rest = Rest::by_proxy(&sim);
    let roles = format!("/guilds/{}/roles", sim.guild_id());
    assert_eq!(sim.roles().len(), 250);
    let (status, body) = rest.post(&roles, &json!({ "name": "one more" })).await;
    assert_eq!((status, &body["code"]), (400, &json!(30_005)));
}

#[tokio::test]
async fn the_bot_changes_and_deletes_roles_below_its_own() {
    let (sim, rest, mut client, roles) = connected().await;
    let role = sim.role("Minions");
    let path = format!("{roles}/{role}");
    let (status, changed) = rest
        .send(Method::PATCH, &path, &json!({ "name": "Mini", "color": 5 }))
        .await;
    assert_eq!((status, &changed["name"]), (200, &json!("Mini")));
    let kept = permissions::MANAGE_MESSAGES.to_string();
    assert_eq!(changed["permissions"], kept, "what is not named stays");
    assert_eq!(client.event("GUILD_ROLE_UPDATE").await["role"], changed);

    let everyone = format!("{roles}/{}", sim.guild_id());
    let own = format!("{roles}/{}", sim.role("wall_e"));
    let managed = sim.create_managed_role("Booster");
    client.event("GUILD_ROLE_CREATE").await;
    let managed = format!("{roles}/{managed}");
    let unknown = format!("{roles}/1");
    let name = json!({ "name": "other" });
    let (change, delete) = (Method::PATCH, Method::DELETE);
    for (method, path, status, code) in [
        (&change, &unknown, 404, 10_011),
        (&change, &own, 403, 50_013),
        (&change, &everyone, 400, 50_028),
        (&delete, &unknown, 404, 10_011),
        (&delete, &everyone, 400, 50_028),
        (&delete, &managed, 400, 50_028),
    ] {
        let (found, body) = rest.send(method.clone(), path, &name).await;
        assert_eq!(
            (found, &body["code"]),
            (status, &json!(code)),
            "{method} {path}"
        );
    }

    sim.move_role(role, 99);
    client.event("GUILD_ROLE_UPDATE").await;
    client.event("GUILD_ROLE_UPDATE").await;
    for method in [&change, &delete] {
        let (_, body) = rest.send(method.clone(), &path, &name).await;
        assert_eq!(body["code"], 50_013, "it is above the bot's now");
    }
    sim.move_role(role, 1);
    for _ in 0..5 {
        client.event("GUILD_ROLE_UPDATE").await;
    }
    assert!(sim.member_roles(sim.user("mod")).contains(&role));
    assert_eq!(rest.send(delete, &path, &Value::Null).await.0, 204);
    let heard = client.event("GUILD_ROLE_DELETE").await;
    let guild = sim.guild_id().to_string();
    assert_eq!(
        heard,
        json!({ "guild_id": guild, "role_id": role.to_string() })
    );
    let left = sim.member_roles(sim.user("mod"));
    assert_eq!(left, [sim.role("Moderator")]);
    assert_eq!(
        sim.roles().last().map(|role| role["position"].clone()),
        Some(json!(0))
    );
}

#[tokio::test]
async fn roles_are_put_in_order() {
    let (sim, rest, mut client, roles) = connected().await;
    let place = |name: &str, position: u64| json!({ "id": sim.role(name).to_string(), "position": position });
    let swapped = json!([place("Bot_manager", 2), place("Moderator", 1)]);
    let (status, all) = rest.send(Method::PATCH, &roles, &swapped).await;
    assert_eq!((status, all.as_array().map(Vec::len)), (200, Some(5)));
    for name in ["Bot_manager", "Moderator"] {
        assert_eq!(
            client.event("GUILD_ROLE_UPDATE").await["role"]["name"],
            name
        );
    }
    let expected = ["wall_e", "Minions", "Bot_manager", "Moderator", "@everyone"];
    assert_eq!(ladder(&sim), expected);

    // At one position the older role, which has the lower id, is the higher.
    let tied = json!([place("Bot_manager", 1)]);
    assert_eq!(rest.send(Method::PATCH, &roles, &tied).await.0, 200);
    client.event("GUILD_ROLE_UPDATE").await;
    assert_eq!(ladder(&sim), expected);

    for (body, code) in [
        (json!([place("Minions", 4)]), 0),
        (json!([place("Minions", 5)]), 50_013),
        (json!([place("Minions", 0)]), 50_035),
        (json!([place("wall_e", 1)]), 50_013),
        (json!([{ "id": "1", "position": 1 }]), 10_011),
    ] {
        let (_, refused) = rest.send(Method::PATCH, &roles, &body).await;
        let found = refused["code"].as_u64().unwrap_or(0);
        // The bot's own role is older than any: a tie with it is below it.
        assert_eq!(found, code, "{body}");
    }
}

#[tokio::test]
async fn the_bot_gives_and_takes_roles() {
    let (sim, rest, mut client, roles) = connected().await;
    let guild = sim.guild_id();
    let (alice, minion) = (sim.user("alice"), sim.role("Minions"));
    let path = |user: u64, role: u64| format!("/guilds/{guild}/members/{user}/roles/{role}");
    let own = path(alice, minion);
    assert_eq!(
        rest.send(Method::PUT, &own, &Value::Null).await,
        (204, Value::Null)
    );
    let heard = client.event("GUILD_MEMBER_UPDATE").await;
    assert_eq!(heard["roles"], json!([minion.to_string()]));
    assert_eq!(sim.member_roles(alice), [minion]);
    let (_, counts) = rest.get(&format!("{roles}/member-counts")).await;
    assert_eq!(counts[minion.to_string()], 2);
    assert_eq!(counts[sim.role("Bot_manager").to_string()], 0);
    assert!(counts.get(guild.to_string()).is_none(), "not @everyone");
    assert_eq!(rest.send(Method::PUT, &own, &Value::Null).await.0, 204);
    assert_eq!(rest.send(Method::DELETE, &own, &Value::Null).await.0, 204);
    let heard = client.event("GUILD_MEMBER_UPDATE").await;
    assert_eq!(
        heard["roles"],
        json!([]),
        "what changes nothing is not told"
    );
    let generated = members::id_of(3);
    let touched = path(generated, minion);
    assert_eq!(rest.send(Method::PUT, &touched, &Value::Null).await.0, 204);
    assert_eq!(sim.member_roles(generated), [minion]);

    let managed = sim.create_managed_role("Booster");
    for (user, role, status, code) in [
        (1, minion, 404, 10_007),
        (alice, 1, 404, 10_011),
        (alice, guild, 404, 10_011),
        (alice, managed, 403, 50_013),
        (alice, sim.role("wall_e"), 403, 50_013),
    ] {
        for method in [Method::PUT, Method::DELETE] {
            let (found, body) = rest.send(method, &path(user, role), &Value::Null).await;
            assert_eq!(
                (found, &body["code"]),
                (status, &json!(code)),
                "{user} {role}"
            );
        }
    }
    sim.role_permissions(sim.role("wall_e"), permissions::EVERYONE);
    assert_eq!(
        rest.send(Method::PUT, &own, &Value::Null).await.1["code"],
        50_013
    );
    assert_eq!(rest.post(&roles, &json!({})).await.1["code"], 50_013);
}

#[tokio::test]
async fn a_guild_that_demands_two_factor_refuses_a_bot_whose_owner_has_none() {
    let (sim, rest, mut client, roles) = connected().await;
    let (guild, alice, minion) = (sim.guild_id(), sim.user("alice"), sim.role("Minions"));
    let own = format!("/guilds/{guild}/members/{alice}/roles/{minion}");
    sim.settings(|settings| settings.owner_has_two_factor = false);
    assert_eq!(rest.send(Method::PUT, &own, &Value::Null).await.0, 204);
    client.event("GUILD_MEMBER_UPDATE").await;
    sim.require_two_factor(true);
    assert_eq!(client.event("GUILD_UPDATE").await["mfa_level"], 1);
    for (method, path) in [(Method::DELETE, &own), (Method::POST, &roles)] {
        let (status, body) = rest.send(method, path, &json!({})).await;
        assert_eq!((status, &body["code"]), (403, &json!(60_003)));
    }
    sim.settings(|settings| settings.owner_has_two_factor = true);
    assert_eq!(rest.send(Method::DELETE, &own, &Value::Null).await.0, 204);
}

#[tokio::test]
async fn humans_deal_with_roles_too() {
    let (sim, _rest, mut client, _) = connected().await;
    let role = sim.create_role("Level 1", 0);
    let heard = client.event("GUILD_ROLE_CREATE").await;
    assert_eq!(
        (id(&heard["role"]), &heard["role"]["position"]),
        (role, &json!(1))
    );
    sim.rename_role(role, "Level one");
    assert_eq!(
        client.event("GUILD_ROLE_UPDATE").await["role"]["name"],
        "Level one"
    );
    sim.role_permissions(role, permissions::ADMINISTRATOR);
    let heard = client.event("GUILD_ROLE_UPDATE").await;
    assert_eq!(
        heard["role"]["permissions"],
        permissions::ADMINISTRATOR.to_string()
    );
    sim.move_role(role, 3);
    let mut moved = Vec::new();
    for _ in 0..3 {
        let heard = client.event("GUILD_ROLE_UPDATE").await;
        moved.push(
            heard["role"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
    }
    assert_eq!(moved, ["Bot_manager", "Moderator", "Level one"]);
    sim.delete_role(role);
    assert_eq!(
        client.event("GUILD_ROLE_DELETE").await["role_id"],
        role.to_string()
    );
    assert_eq!(sim.find_role("Level one"), None);

    let managed = sim.create_managed_role("Booster");
    let heard = client.event("GUILD_ROLE_CREATE").await;
    assert_eq!(heard["role"]["managed"], true);
    assert!(heard["role"]["tags"]["integration_id"].is_string());
    assert_eq!(sim.role("Booster"), managed);
}

#[tokio::test]
async fn bans_are_heard_by_moderators_alone() {
    let (sim, _rest, mut client, _) = connected().await;
    let mut moderator = Client::identified(&sim, INTENTS | MODERATION).await;
    let bob = sim.user("bob");
    sim.ban(bob);
    let heard = moderator.event("GUILD_BAN_ADD").await;
    assert_eq!(heard["user"]["id"], bob.to_string());
    moderator.event("GUILD_MEMBER_REMOVE").await;
    client.event("GUILD_MEMBER_REMOVE").await;
    sim.unban(bob);
    moderator.event("GUILD_BAN_REMOVE").await;
    sim.join(bob);
    moderator.event("GUILD_MEMBER_ADD").await;
    let stranger = sim.add_person("eve");
    sim.ban(stranger);
    let heard = moderator.event("GUILD_BAN_ADD").await;
    assert_eq!(heard["user"]["username"], "eve", "who was never there");
}

#[tokio::test]
async fn names_are_stored_without_the_white_space_around_them() {
    let (sim, rest, mut client, roles) = connected().await;
    for (wanted, stored) in [
        (" Level 5\u{a0}", "Level 5"),
        ("Missing  Semicolon", "Missing  Semicolon"),
        ("\u{2003} ", "new role"),
        ("", "new role"),
    ] {
        let (status, made) = rest.post(&roles, &json!({ "name": wanted })).await;
        assert_eq!((status, &made["name"]), (200, &json!(stored)), "{wanted:?}");
        let heard = client.event("GUILD_ROLE_CREATE").await;
        assert_eq!(heard["role"]["name"], stored, "{wanted:?}");
        let role = sim.create_role("before", 0);
        client.event("GUILD_ROLE_CREATE").await;
        sim.rename_role(role, wanted);
        assert_eq!(sim.role_name(role).as_deref(), Some(stored), "by a human");
        client.event("GUILD_ROLE_UPDATE").await;
        let path = format!("{roles}/{}", id(&made));
        let body = json!({ "name": wanted });
        let (status, changed) = rest.send(Method::PATCH, &path, &body).await;
        assert_eq!(
            (status, &changed["name"]),
            (200, &json!(stored)),
            "{wanted:?}"
        );
        client.event("GUILD_ROLE_UPDATE").await;
    }
}
