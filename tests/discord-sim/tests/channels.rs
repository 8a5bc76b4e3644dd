//! Channels that the bot or humans make and delete.

use discord_sim::permissions::{self, SEND_MESSAGES, VIEW_CHANNEL};
use discord_sim::{ChannelKind, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, INTENTS, Rest, id, simulation};

#[tokio::test]
async fn the_bot_makes_channels() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let mut client = Client::identified(&sim, INTENTS).await;
    let guild = sim.guild_id();
    let path = format!("/guilds/{guild}/channels");
    let overwrite = json!({
        "id": guild.to_string(), "type": 0, "allow": "0", "deny": SEND_MESSAGES.to_string(),
    });
    let wanted = json!({
        "name": "Level Ups", "type": 0, "topic": "who has risen",
        "parent_id": sim.channel("Text channels").to_string(),
        "permission_overwrites": [overwrite],
    });
    let (status, made) = rest.post(&path, &wanted).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(
        (&made["name"], &made["type"]),
        (&json!("level-ups"), &json!(0))
    );
    for field in ["topic", "parent_id", "permission_overwrites"] {
        assert_eq!(made[field], wanted[field], "{field}");
    }
    assert_eq!(client.event("CHANNEL_CREATE").await, made);
    let channel = sim.channel("level-ups");
    assert_eq!(id(&made), channel);
    let text = format!("/channels/{channel}/messages");
    let (status, _) = rest.post(&text, &json!({ "content": "x" })).await;
    assert_eq!(status, 403, "nobody may write in it, as it was asked for");

    let with = |overwrite: Value| json!({ "name": "x", "permission_overwrites": [overwrite] });
    let about = |bits: u64| with(json!({ "id": guild.to_string(), "deny": bits.to_string() }));
    for (wanted, status, code) in [
        (json!({}), 400, 50_035),
        (json!({ "name": "x".repeat(101) }), 400, 50_035),
        (
            json!({ "name": "x", "topic": "x".repeat(1_025) }),
            400,
            50_035,
        ),
        (json!({ "name": "x", "type": 99 }), 400, 50_035),
        (
            json!({ "name": "x", "parent_id": channel.to_string() }),
            400,
            50_035,
        ),
        (about(permissions::MENTION_EVERYONE), 403, 50_013),
        (about(permissions::MANAGE_ROLES), 403, 50_013),
    ] {
        let (found, body) = rest.post(&path, &wanted).await;
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{wanted}");
    }
    sim.role_permissions(sim.role("wall_e"), permissions::EVERYONE);
    assert_eq!(
        rest.post(&path, &json!({ "name": "x" })).await.1["code"],
        50_013
    );
}

#[tokio::test]
async fn channels_are_deleted_with_all_that_is_in_them() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let mut client = Client::identified(&sim, INTENTS).await;
    let (general, thread) = (sim.channel("general"), sim.channel("weekend-plans"));
    let said = sim.say(sim.user("alice"), general, "hello");
    client.event("MESSAGE_CREATE").await;
    let path = format!("/channels/{general}");
    let delete = async |path: &str| rest.send(Method::DELETE, path, &Value::Null).await;
    let (status, gone) = delete(&path).await;
    assert_eq!((status, &gone["name"]), (200, &json!("general")));
    assert_eq!(client.event("CHANNEL_DELETE").await, gone);
    assert_eq!(
        sim.find_channel("weekend-plans"),
        None,
        "its thread is gone too"
    );
    assert!(sim.message(said).is_none());
    for path in [path, format!("/channels/{thread}")] {
        assert_eq!(delete(&path).await.1["code"], 10_003);
    }

    let random = sim.channel("random");
    sim.bot_permissions(random, 0, permissions::MANAGE_CHANNELS);
    client.event("CHANNEL_UPDATE").await;
    assert_eq!(
        delete(&format!("/channels/{random}")).await.1["code"],
        50_013
    );
    sim.bot_permissions(random, 0, VIEW_CHANNEL);
    client.event("CHANNEL_UPDATE").await;
    assert_eq!(
        delete(&format!("/channels/{random}")).await.1["code"],
        50_001
    );
    sim.rename_channel(random, "odds-and-ends");
    assert_eq!(
        client.event("CHANNEL_UPDATE").await["name"],
        "odds-and-ends"
    );
    sim.delete_channel(random);
    assert_eq!(
        client.event("CHANNEL_DELETE").await["id"],
        random.to_string()
    );
    sim.delete_channel(sim.channel("how-do-i-start"));
    let heard = client.event("THREAD_DELETE").await;
    assert_eq!(heard["parent_id"], sim.channel("questions").to_string());

    sim.delete_channel(sim.channel("Text channels"));
    let orphan = client.event("CHANNEL_UPDATE").await;
    assert_eq!(
        (&orphan["name"], &orphan["parent_id"]),
        (&json!("bot-commands"), &Value::Null)
    );
    client.event("CHANNEL_DELETE").await;
}

#[tokio::test]
async fn a_guild_has_no_more_than_500_channels() {
    let mut world = World::new();
    for number in 0..493 {
        world = world.channel(&format!("c{number}"), ChannelKind::Text, None);
    }
    let sim = discord_sim::Sim::start(world).await.expect("it starts");
    let rest = Rest::by_proxy(&sim);
    let path = format!("/guilds/{}/channels", sim.guild_id());
    let (status, body) = rest.post(&path, &json!({ "name": "one more" })).await;
    assert_eq!((status, &body["code"]), (400, &json!(30_013)));
}

#[tokio::test]
async fn humans_move_channels_between_categories_and_open_threads_in_them() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let mut client = Client::identified(&sim, INTENTS).await;
    let (random, category) = (sim.channel("random"), sim.channel("Text channels"));
    sim.move_channel(random, None);
    let moved = client.event("CHANNEL_UPDATE").await;
    assert_eq!((id(&moved), &moved["parent_id"]), (random, &Value::Null));
    sim.move_channel(random, Some(category));
    let moved = client.event("CHANNEL_UPDATE").await;
    assert_eq!(moved["parent_id"], json!(category.to_string()));

    let made = sim.create_channel_in("quiet", ChannelKind::Voice, Some(category));
    let told = client.event("CHANNEL_CREATE").await;
    assert_eq!(
        (id(&told), &told["type"], &told["parent_id"]),
        (made, &json!(2), &json!(category.to_string()))
    );
    let thread = sim.open_thread(random, "talk");
    let opened = client.event("THREAD_CREATE").await;
    assert_eq!(
        (id(&opened), &opened["parent_id"], &opened["newly_created"]),
        (thread, &json!(random.to_string()), &json!(true))
    );
    let (status, shown) = rest.get(&format!("/channels/{thread}")).await;
    assert_eq!((status, &shown["name"]), (200, &json!("talk")));
    assert_eq!(shown["guild_id"], json!(sim.guild_id().to_string()));
}

#[tokio::test]
#[should_panic(expected = "cannot be moved there")]
async fn no_channel_moves_into_a_channel() {
    let sim = simulation().await;
    sim.move_channel(sim.channel("random"), Some(sim.channel("general")));
}
