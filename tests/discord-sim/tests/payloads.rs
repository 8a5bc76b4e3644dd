//! What Discord has added to its payloads of late, and may add tomorrow.

use discord_sim::{Message, Sim};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, INTENTS, Rest, commands, simulation};

/// The types of all parts, those in parts included, in order.
fn types(parts: &Value, found: &mut Vec<u64>) {
    match parts {
        Value::Array(parts) => parts.iter().for_each(|part| types(part, found)),
        Value::Object(part) => {
            found.extend(part.get("type").and_then(Value::as_u64));
            for inner in ["components", "accessory"] {
                types(part.get(inner).unwrap_or(&Value::Null), found);
            }
        }
        _ => {}
    }
}

/// Asserts that a message is made of Components V2 and of nothing else.
fn is_v2(message: &Value) {
    let mut found = Vec::new();
    types(&message["components"], &mut found);
    assert_eq!(found, [17, 10, 9, 10, 11, 14, 12, 13, 1, 2], "{message}");
    assert_eq!(
        (&message["content"], &message["flags"]),
        (&json!(""), &json!(1 << 15))
    );
}

/// Another bot's message that is made of Components V2, and a human's reply to it.
fn post_both(sim: &Sim, quietly: bool) -> (u64, u64) {
    let (general, alice) = (sim.channel("general"), sim.user("alice"));
    let bot = Message::new(general, 77, "").webhook("Another bot");
    let (first, reply) = (
        bot.components_v2("hello"),
        Message::new(general, alice, "nice"),
    );
    let [first, reply] = [first, reply].map(|one| if quietly { one.quietly() } else { one });
    let first = sim.post(first);
    (first, sim.post(reply.reply_to(first)))
}

#[tokio::test]
async fn messages_of_new_components_are_heard_and_replied_to() {
    let sim = simulation().await;
    let mut client = Client::identified(&sim, INTENTS).await;
    post_both(&sim, false);
    let heard = client.event("MESSAGE_CREATE").await;
    is_v2(&heard);
    assert_eq!(heard["components"][0]["components"][0]["content"], "hello");
    let reply = client.event("MESSAGE_CREATE").await;
    assert_eq!(reply["content"], "nice");
    is_v2(&reply["referenced_message"]);
}

#[tokio::test]
async fn messages_of_new_components_are_in_the_history() {
    let sim = simulation().await;
    let (first, reply) = post_both(&sim, true);
    let path = format!("/channels/{}/messages", sim.channel("general"));
    let (_, list) = Rest::new(&sim).get(&path).await;
    assert_eq!(list[0]["id"], reply.to_string());
    is_v2(&list[0]["referenced_message"]);
    assert_eq!(list[1]["id"], first.to_string());
    is_v2(&list[1]);
}

#[tokio::test]
async fn messages_say_what_kind_of_channel_they_are_in() {
    let sim = simulation().await;
    let mut client = Client::identified(&sim, INTENTS).await;
    let alice = sim.user("alice");
    for (channel, kind) in [
        (sim.channel("general"), 0),
        (sim.channel("weekend-plans"), 11),
        (sim.dm(alice), 1),
    ] {
        let said = sim.say(alice, channel, "hello");
        let heard = client.event("MESSAGE_CREATE").await;
        assert_eq!(heard["channel_type"], kind);
        let shown = sim.message(said).expect("it is there");
        assert!(shown.get("channel_type").is_none(), "REST does not say it");
    }
    let (report, heard) = tokio::join!(
        sim.flood(1, 1, sim.channel("general")),
        client.event("MESSAGE_CREATE")
    );
    report.expect("a connected bot");
    assert_eq!(heard["channel_type"], 0, "a flood is no different");
}

#[tokio::test]
async fn interactions_have_fields_that_nobody_knows() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let all = json!([{ "name": "rank", "description": "d" }]);
    let (status, body) = rest.send(Method::PUT, &commands(&sim), &all).await;
    assert_eq!(status, 200, "{body}");
    let mut client = Client::identified(&sim, INTENTS).await;
    sim.slash(
        sim.user("alice"),
        sim.channel("general"),
        "rank",
        &json!([]),
    );
    let interaction = client.event("INTERACTION_CREATE").await;
    let owners = json!({ "0": sim.guild_id().to_string() });
    assert_eq!(interaction["authorizing_integration_owners"], owners);
    assert_eq!(interaction["context"], 0);
    assert_eq!(interaction["entitlements"], json!([]));
    assert!(interaction["attachment_size_limit"].is_u64());
    assert!(interaction["field_of_tomorrow"].is_object());
}

#[tokio::test]
async fn members_may_join_who_are_there() {
    let sim = simulation().await;
    let mut client = Client::identified(&sim, INTENTS).await;
    let (alice, members) = (sim.user("alice"), sim.member_count());
    sim.nick(alice, Some("Al"));
    let before = client.event("GUILD_MEMBER_UPDATE").await;
    sim.join_again(alice);
    let again = client.event("GUILD_MEMBER_ADD").await;
    assert_eq!(again["user"]["id"], alice.to_string());
    for field in ["nick", "joined_at", "roles", "flags"] {
        assert_eq!(again[field], before[field], "{field}");
    }
    assert_eq!(sim.member_count(), members);
}
