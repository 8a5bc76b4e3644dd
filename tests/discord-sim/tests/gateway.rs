//! Sessions: how they begin, what they hear, what is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use discord_sim::{Message, members};
use serde_json::{Value, json};

use crate::support::{Client, INTENTS, simulation};

#[tokio::test]
async fn a_session_begins_with_ready_and_the_guild() {
    let sim = simulation().await;
    let mut client = Client::connect(&sim).await;
    client.identify(&sim.token(), INTENTS).await;
    let ready = client.event("READY").await;
    assert_eq!(ready["v"], 10);
    assert_eq!(ready["guilds"][0]["unavailable"], true);
    assert_eq!(ready["resume_gateway_url"], sim.resume_gateway_url());
    assert_ne!(sim.resume_gateway_url(), sim.gateway_url());
    let guild = client.event("GUILD_CREATE").await;
    assert_eq!(guild["id"], sim.guild_id().to_string());
    assert_eq!(guild["member_count"], sim.member_count());
    let members = guild["members"].as_array().map(Vec::len);
    assert_eq!(members, Some(1), "only the bot");
    sim.wait_connected().await;
    assert_eq!(sim.gateway().identifies(), 1);
}

#[tokio::test]
async fn what_is_not_in_order_is_closed_with_its_code() {
    let sim = simulation().await;
    sim.settings(|settings| settings.message_content_intent = false);
    let token = sim.token();
    let identify = |token: &str, intents: u64, more: Value| {
        let mut data = json!({ "token": token, "intents": intents, "properties": {} });
        if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
            data.extend(more);
        }
        json!({ "op": 2, "d": data }).to_string()
    };
    let cases = [
        (identify("wrong", 1, Value::Null), 4004),
        (identify(&token, 1 << 40, Value::Null), 4013),
        (identify(&token, 1 << 15, Value::Null), 4014),
        (identify(&token, 1, json!({ "shard": [1, 1] })), 4010),
        (json!({ "op": 3, "d": {} }).to_string(), 4003),
        (json!({ "op": 99 }).to_string(), 4001),
        ("this is not JSON".to_owned(), 4002),
        (
            format!("{{\"op\":1,\"d\":\"{}\"}}", "x".repeat(4_096)),
            4002,
        ),
    ];
    for (payload, code) in cases {
        let mut client = Client::connect(&sim).await;
        client.send_text(&payload).await;
        assert_eq!(client.closed().await, Some(code), "{payload}");
    }
    assert_eq!(sim.gateway().identifies(), 0);
    let mut client = Client::identified(&sim, 1).await;
    client.identify(&token, 1).await;
    assert_eq!(client.closed().await, Some(4005));
}

#[tokio::test]
async fn a_client_that_sends_too_much_is_closed() {
    let sim = simulation().await;
    let mut client = Client::connect(&sim).await;
    for _ in 0..121 {
        client.send(&json!({ "op": 1, "d": null })).await;
    }
    for _ in 0..120 {
        assert_eq!(client.next().await["op"], 11);
    }
    assert_eq!(client.closed().await, Some(4008));
}

#[tokio::test]
async fn a_bot_that_identifies_too_often_loses_its_token() {
    let sim = simulation().await;
    sim.settings(|settings| settings.identify_limit = 1);
    let token = sim.token();
    let mut first = Client::identified(&sim, INTENTS).await;
    let mut second = Client::connect(&sim).await;
    second.identify(&token, INTENTS).await;
    assert_eq!(second.closed().await, Some(4004));
    assert_eq!(first.closed().await, Some(4004));
    assert_ne!(sim.token(), token);
}

#[tokio::test]
async fn heartbeats_are_acknowledged_and_missed() {
    let sim = simulation().await;
    let mut client = Client::identified(&sim, INTENTS).await;
    client.send(&json!({ "op": 1, "d": client.seq })).await;
    assert_eq!(client.next().await["op"], 11);
    sim.gateway().request_heartbeat();
    assert_eq!(client.next().await["op"], 1);

    sim.settings(|settings| settings.heartbeat_interval = Duration::from_millis(20));
    let mut silent = Client::connect(&sim).await;
    assert_eq!(silent.closed().await, Some(4009));
}

#[tokio::test]
async fn large_payloads_are_compressed_on_request() {
    let sim = simulation().await;
    let mut client = Client::connect(&sim).await;
    let data = json!({
        "token": sim.token(), "intents": INTENTS, "properties": {}, "compress": true,
    });
    client.send(&json!({ "op": 2, "d": data })).await;
    client.event("READY").await;
    client.event("GUILD_CREATE").await;
    assert_eq!(client.compressed, 2);
    sim.say(sim.user("alice"), sim.channel("general"), "hello");
    client.event("MESSAGE_CREATE").await;
    assert_eq!(client.compressed, 2, "small ones are not");
}

#[tokio::test]
async fn every_kind_of_message_is_heard() {
    let sim = simulation().await;
    let mut client = Client::identified(&sim, INTENTS).await;
    let (alice, general) = (sim.user("alice"), sim.channel("general"));

    let text = format!("hello <@{}> and @everyone", sim.user("bob"));
    let first = sim.say(alice, general, &text);
    let heard = client.event("MESSAGE_CREATE").await;
    assert_eq!(heard["id"], first.to_string());
    assert_eq!(heard["type"], 0);
    assert_eq!(heard["guild_id"], sim.guild_id().to_string());
    assert!(heard["member"]["roles"].is_array() && heard["member"].get("user").is_none());
    assert!(heard["mentions"][0]["member"].is_object());
    assert_eq!(heard["mention_everyone"], true);

    sim.post(Message::new(general, sim.user("bob"), "yes").reply_to(first));
    let heard = client.event("MESSAGE_CREATE").await;
    assert_eq!(heard["type"], 19);
    assert_eq!(heard["referenced_message"]["id"], first.to_string());

    sim.post(Message::new(general, alice, "").forward_of(first));
    let heard = client.event("MESSAGE_CREATE").await;
    assert_eq!(heard["message_reference"]["type"], 1);
    assert_eq!(heard["message_snapshots"][0]["message"]["content"], text);

    sim.post(Message::new(general, 77, "from outside").webhook("GitHub"));
    let heard = client.event("MESSAGE_CREATE").await;
    assert_eq!(heard["webhook_id"], "77");
    assert!(heard.get("member").is_none());

    sim.post(Message::new(general, alice, "").kind(7).id(1_234));
    let heard = client.event("MESSAGE_CREATE").await;
    assert_eq!((&heard["type"], &heard["id"]), (&json!(7), &json!("1234")));

    sim.say(
        members::id_of(3),
        sim.channel("weekend-plans"),
        "in a thread",
    );
    let heard = client.event("MESSAGE_CREATE").await;
    assert_eq!(
        heard["channel_id"],
        sim.channel("weekend-plans").to_string()
    );
    assert!(heard["member"].is_object(), "a generated member is one");

    sim.say(sim.user("beep"), general, "beep");
    assert_eq!(client.event("MESSAGE_CREATE").await["author"]["bot"], true);

    sim.edit(general, first, "hello again");
    let heard = client.event("MESSAGE_UPDATE").await;
    assert_eq!(heard["content"], "hello again");
    assert!(heard["edited_timestamp"].is_string());

    sim.delete(general, first);
    assert_eq!(
        client.event("MESSAGE_DELETE").await["id"],
        first.to_string()
    );

    let private = sim.dm(alice);
    sim.say(alice, private, "psst");
    let heard = client.event("MESSAGE_CREATE").await;
    assert!(heard.get("guild_id").is_none() && heard.get("member").is_none());

    // What the bot cannot see, it does not hear of.
    sim.say(sim.user("mod"), sim.channel("staff"), "secret");
    sim.say(alice, general, "public");
    assert_eq!(client.event("MESSAGE_CREATE").await["content"], "public");
}

#[tokio::test]
async fn members_come_go_and_change() {
    let sim = simulation().await;
    let mut client = Client::identified(&sim, INTENTS).await;
    let before = sim.member_count();
    let dave = sim.add_person("dave");
    sim.join_pending(dave);
    let heard = client.event("GUILD_MEMBER_ADD").await;
    assert_eq!(heard["user"]["username"], "dave");
    assert_eq!(heard["pending"], true);
    assert_eq!(sim.member_count(), before + 1);
    sim.pass_screening(dave);
    assert_eq!(client.event("GUILD_MEMBER_UPDATE").await["pending"], false);
    sim.nick(dave, Some("Dave!"));
    assert_eq!(client.event("GUILD_MEMBER_UPDATE").await["nick"], "Dave!");
    sim.grant(dave, sim.role("Minions"));
    let heard = client.event("GUILD_MEMBER_UPDATE").await;
    assert_eq!(heard["roles"], json!([sim.role("Minions").to_string()]));
    sim.avatar(dave, Some("abc"));
    let heard = client.event("GUILD_MEMBER_UPDATE").await;
    assert_eq!(heard["user"]["avatar"], "abc");
    sim.leave(members::id_of(5));
    client.event("GUILD_MEMBER_REMOVE").await;
    assert_eq!(sim.member_count(), before);
    sim.join(members::id_of(5));
    let heard = client.event("GUILD_MEMBER_ADD").await;
    assert_eq!(heard["flags"], 1, "rejoined");
}

#[tokio::test]
async fn flags_tell_how_far_a_member_is_with_onboarding() {
    let sim = simulation().await;
    let mut client = Client::identified(&sim, INTENTS).await;
    sim.onboarding(true);
    client.event("GUILD_UPDATE").await;
    let alice = sim.user("alice");
    sim.leave(alice);
    client.event("GUILD_MEMBER_REMOVE").await;
    sim.join(alice);
    assert_eq!(client.event("GUILD_MEMBER_ADD").await["flags"], 1);
    sim.start_onboarding(alice);
    assert_eq!(client.event("GUILD_MEMBER_UPDATE").await["flags"], 1 | 8);
    sim.complete_onboarding(alice);
    assert_eq!(
        client.event("GUILD_MEMBER_UPDATE").await["flags"],
        1 | 2 | 8
    );
    let bob = sim.user("bob");
    sim.bypass_verification(bob);
    assert_eq!(client.event("GUILD_MEMBER_UPDATE").await["flags"], 4);
}

#[tokio::test]
async fn only_what_the_intents_ask_for_is_heard() {
    let sim = simulation().await;
    let mut deaf = Client::identified(&sim, 1).await;
    let mut blind = Client::identified(&sim, 1 | 1 << 9).await;
    let (alice, general) = (sim.user("alice"), sim.channel("general"));
    sim.say(alice, general, "hello");
    assert_eq!(blind.event("MESSAGE_CREATE").await["content"], "");
    sim.say(alice, general, &format!("<@{}> hello", sim.bot_id()));
    let heard = blind.event("MESSAGE_CREATE").await;
    assert_ne!(heard["content"], "", "it mentions the bot");
    sim.nick(alice, Some("Al"));
    sim.bot_in_guild(false);
    deaf.event("GUILD_DELETE").await;
    blind.event("GUILD_DELETE").await;
}

#[tokio::test]
async fn members_are_sent_in_chunks() {
    let sim = simulation().await;
    let mut client = Client::identified(&sim, INTENTS).await;
    let guild = sim.guild_id().to_string();
    let all = json!({ "op": 8, "d": { "guild_id": guild, "query": "", "limit": 0, "nonce": "n" } });
    client.send(&all).await;
    let mut ids = BTreeSet::new();
    for index in 0..3 {
        let chunk = client.event("GUILD_MEMBERS_CHUNK").await;
        assert_eq!(chunk["chunk_index"], index);
        assert_eq!(chunk["chunk_count"], 3);
        assert_eq!(chunk["nonce"], "n");
        for member in chunk["members"].as_array().into_iter().flatten() {
            ids.insert(member["user"]["id"].to_string());
        }
    }
    assert_eq!(ids.len(), sim.member_count());

    client.send(&all).await;
    let limited = client.event("RATE_LIMITED").await;
    assert_eq!(limited["opcode"], 8);
    sim.advance(Duration::from_secs(31));
    client.send(&all).await;
    for _ in 0..3 {
        client.event("GUILD_MEMBERS_CHUNK").await;
    }

    let alice = sim.user("alice").to_string();
    let some = json!({ "guild_id": guild, "user_ids": [alice, "5"] });
    client.send(&json!({ "op": 8, "d": some })).await;
    let chunk = client.event("GUILD_MEMBERS_CHUNK").await;
    assert_eq!(chunk["members"][0]["user"]["id"], alice);
    assert_eq!(chunk["not_found"], json!(["5"]));

    let named = json!({ "guild_id": guild, "query": "ali", "limit": 5 });
    client.send(&json!({ "op": 8, "d": named })).await;
    let chunk = client.event("GUILD_MEMBERS_CHUNK").await;
    assert_eq!(chunk["members"][0]["user"]["id"], alice);
}

#[tokio::test]
async fn a_flood_arrives_whole_and_in_order() {
    let sim = simulation().await;
    let mut client = Client::identified(&sim, INTENTS).await;
    let count = 5_000;
    let mut authors = BTreeSet::new();
    let (report, ()) = tokio::join!(sim.flood(count, 50, sim.channel("general")), async {
        for number in 0..count {
            let before = client.seq;
            let heard = client.event("MESSAGE_CREATE").await;
            assert_eq!(client.seq, before + 1, "message {number}");
            authors.insert(heard["author"]["id"].to_string());
        }
    });
    let report = report.expect("a connected bot");
    assert_eq!(report.messages, count);
    assert_eq!(authors.len(), 50);
    sim.say(sim.user("alice"), sim.channel("general"), "after the flood");
    let heard = client.event("MESSAGE_CREATE").await;
    assert_eq!(heard["content"], "after the flood");
    let last = report.first_id + count - 1;
    assert!(heard["id"].as_str().and_then(|id| id.parse().ok()) > Some(last));
}
