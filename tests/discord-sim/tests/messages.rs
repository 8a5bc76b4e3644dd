//! Writing and reading messages by REST: what is accepted, what is refused.

use std::time::Duration;

use discord_sim::{Message, Sim, permissions};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, INTENTS, Rest, simulation};

fn general(sim: &Sim) -> String {
    format!("/channels/{}/messages", sim.channel("general"))
}

fn id(message: &Value) -> u64 {
    message["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_message_goes_out_and_comes_back() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let mut client = Client::identified(&sim, INTENTS).await;
    let asked = sim.say(sim.user("alice"), sim.channel("general"), ".rank");
    client.event("MESSAGE_CREATE").await;
    let body = json!({
        "content": "here",
        "embeds": [{ "title": "alice's Stat Card" }],
        "message_reference": { "message_id": asked.to_string() },
    });
    let (status, sent) = rest.post(&general(&sim), &body).await;
    assert_eq!(status, 200);
    assert!(
        sent.get("guild_id").is_none() && sent.get("member").is_none(),
        "as in REST"
    );
    let heard = client.event("MESSAGE_CREATE").await;
    assert_eq!(heard["id"], sent["id"]);
    assert_eq!(heard["embeds"][0]["type"], "rich");
    assert_eq!(sim.reply_to(asked).await["id"], sent["id"]);
    assert_eq!(
        sim.pings(id(&sent)).users,
        [sim.user("alice")],
        "the one replied to"
    );

    let path = format!("{}/{}", general(&sim), id(&sent));
    let (_, edited) = rest
        .send(Method::PATCH, &path, &json!({ "content": "there" }))
        .await;
    assert_eq!(edited["content"], "there");
    assert_eq!(
        edited["embeds"][0]["title"], "alice's Stat Card",
        "not named, so kept"
    );
    client.event("MESSAGE_UPDATE").await;
    assert_eq!(rest.send(Method::DELETE, &path, &Value::Null).await.0, 204);
    client.event("MESSAGE_DELETE").await;
    assert_eq!(rest.get(&path).await.1["code"], 10_008);
}

#[tokio::test]
async fn history_is_paged_newest_first() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let (alice, channel) = (sim.user("alice"), sim.channel("general"));
    for number in 1..=120 {
        sim.post(Message::new(channel, alice, "x").id(number * 10).quietly());
    }
    let page = async |query: &str| -> Vec<u64> {
        let (status, page) = rest.get(&format!("{}?{query}", general(&sim))).await;
        assert_eq!(status, 200, "{query}: {page}");
        page.as_array().into_iter().flatten().map(id).collect()
    };
    assert_eq!(page("").await.len(), 50);
    assert_eq!(page("limit=3").await, [1_200, 1_190, 1_180]);
    assert_eq!(page("limit=2&before=50").await, [40, 30]);
    assert_eq!(page("limit=2&after=50").await, [70, 60]);
    assert_eq!(page("limit=3&around=50").await, [60, 50, 40]);
    assert_eq!(page("limit=100&after=1190").await, [1_200]);
    let (status, _) = rest
        .get(&format!("{}?after=1&before=9", general(&sim)))
        .await;
    assert_eq!(status, 400);
    assert_eq!(
        rest.get(&format!("{}?limit=101", general(&sim))).await.0,
        400
    );
    let (_, one) = rest.get(&format!("{}?limit=1", general(&sim))).await;
    assert!(one[0].get("member").is_none(), "REST shows no member");

    sim.bot_permissions(channel, 0, permissions::READ_MESSAGE_HISTORY);
    assert_eq!(page("").await, [0u64; 0]);
}

#[tokio::test]
async fn what_is_too_long_or_empty_is_refused() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let post = async |body: Value| rest.post(&general(&sim), &body).await;
    assert_eq!(post(json!({ "content": "  " })).await.1["code"], 50_006);
    assert_eq!(
        post(json!({ "content": "\u{e9}".repeat(2_000) })).await.0,
        200
    );

    let (status, body) = post(json!({ "content": "x".repeat(2_001) })).await;
    assert_eq!((status, &body["code"]), (400, &json!(50_035)));
    let error = &body["errors"]["content"]["_errors"][0];
    assert_eq!(error["code"], "BASE_TYPE_MAX_LENGTH");

    let field = json!({ "name": "n", "value": "v" });
    let long = "x".repeat(1_024);
    for (embed, place) in [
        (json!({ "title": "x".repeat(257) }), "/embeds/0/title"),
        (
            json!({ "description": "x".repeat(4_097) }),
            "/embeds/0/description",
        ),
        (
            json!({ "footer": { "text": "x".repeat(2_049) } }),
            "/embeds/0/footer/text",
        ),
        (
            json!({ "author": { "name": "x".repeat(257) } }),
            "/embeds/0/author/name",
        ),
        (
            json!({ "fields": vec![field.clone(); 26] }),
            "/embeds/0/fields",
        ),
        (
            json!({ "fields": [{ "name": "", "value": "v" }] }),
            "/embeds/0/fields/0/name",
        ),
        (
            json!({ "fields": [{ "name": "n" }] }),
            "/embeds/0/fields/0/value",
        ),
        (
            json!({ "fields": vec![json!({ "name": "n", "value": long }); 6] }),
            "/embeds",
        ),
        (
            json!({ "title": "t", "image": { "url": "ftp://x" } }),
            "/embeds/0/image/url",
        ),
    ] {
        let (status, body) = post(json!({ "embeds": [embed] })).await;
        assert_eq!(status, 400, "{place}");
        let errors = body["errors"].pointer(&format!("{place}/_errors"));
        assert!(errors.is_some(), "{place}: {body}");
    }
    let row = |ids: &[&str]| {
        let part = |id: &&str| json!({ "type": 2, "style": 1, "label": "x", "custom_id": id });
        json!({ "type": 1, "components": ids.iter().map(part).collect::<Vec<_>>() })
    };
    for components in [
        json!([row(&["a", "a"])]),
        json!([row(&["1", "2", "3", "4", "5", "6"])]),
        json!([row(&[""])]),
    ] {
        let (status, body) = post(json!({ "content": "x", "components": components })).await;
        assert_eq!(status, 400, "{body}");
    }
    assert_eq!(
        post(json!({ "content": "x", "nonce": "n".repeat(26) }))
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn a_nonce_makes_a_message_once() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let body = json!({ "content": "level 5!", "nonce": "123", "enforce_nonce": true });
    let (_, first) = rest.post(&general(&sim), &body).await;
    let (status, again) = rest.post(&general(&sim), &body).await;
    assert_eq!((status, &again["id"]), (200, &first["id"]));
    assert_eq!(sim.bot_messages(sim.channel("general")).len(), 1);
    sim.advance(Duration::from_mins(10));
    let (_, later) = rest.post(&general(&sim), &body).await;
    assert_ne!(
        later["id"], first["id"],
        "it is forgotten after some minutes"
    );
}

#[tokio::test]
async fn only_allowed_mentions_ping() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let (alice, bob) = (sim.user("alice"), sim.user("bob"));
    let minions = sim.role("Minions");
    let content = format!("<@{alice}> <@{bob}> <@&{minions}> @everyone");
    let post = async |allowed: Value| {
        let mut body = json!({ "content": content });
        if !allowed.is_null() {
            body["allowed_mentions"] = allowed;
        }
        let (status, sent) = rest.post(&general(&sim), &body).await;
        assert_eq!(status, 200, "{sent}");
        (sim.pings(id(&sent)), sent)
    };
    let (pings, sent) = post(json!({ "parse": [] })).await;
    assert_eq!(pings, discord_sim::Pings::default());
    assert_eq!(sent["mentions"], json!([]));
    let (pings, sent) = post(json!({ "users": [bob.to_string()] })).await;
    assert_eq!(pings.users, [bob]);
    assert_eq!(sent["mentions"][0]["id"], bob.to_string());
    let (pings, _) = post(Value::Null).await;
    assert_eq!(pings.users, [alice, bob]);
    assert!(
        !pings.everyone && pings.roles.is_empty(),
        "the bot has no right to"
    );
    sim.bot_permissions(sim.channel("general"), permissions::MENTION_EVERYONE, 0);
    let (pings, sent) = post(Value::Null).await;
    assert!(pings.everyone && pings.roles == [minions]);
    assert_eq!(sent["mention_everyone"], true);
    let both = json!({ "parse": ["users"], "users": [bob.to_string()] });
    let (status, _) = rest
        .post(
            &general(&sim),
            &json!({ "content": "x", "allowed_mentions": both }),
        )
        .await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn replies_need_their_message() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let reply = |must: Option<bool>| {
        let mut reference = json!({ "message_id": "5" });
        if let Some(must) = must {
            reference["fail_if_not_exists"] = must.into();
        }
        json!({ "content": "x", "message_reference": reference })
    };
    let (status, body) = rest.post(&general(&sim), &reply(None)).await;
    assert_eq!((status, &body["code"]), (400, &json!(50_035)));
    let (status, sent) = rest.post(&general(&sim), &reply(Some(false))).await;
    assert_eq!((status, &sent["type"]), (200, &json!(19)));
}

#[tokio::test]
async fn permissions_are_looked_at() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let channel = sim.channel("general");
    let asked = sim.say(sim.user("alice"), channel, "hi");
    let text = json!({ "content": "x" });
    let embed = json!({ "embeds": [{ "title": "x" }] });
    let reply = json!({ "content": "x", "message_reference": { "message_id": asked.to_string() } });
    for (denied, body, code) in [
        (permissions::VIEW_CHANNEL, &text, 50_001),
        (permissions::SEND_MESSAGES, &text, 50_013),
        (permissions::EMBED_LINKS, &embed, 50_013),
        (permissions::READ_MESSAGE_HISTORY, &reply, 160_002),
    ] {
        sim.bot_permissions(channel, 0, denied);
        let (status, refused) = rest.post(&general(&sim), body).await;
        assert_eq!((status, &refused["code"]), (403, &json!(code)));
    }
    sim.bot_permissions(channel, 0, permissions::SEND_MESSAGES_IN_THREADS);
    let thread = format!("/channels/{}/messages", sim.channel("weekend-plans"));
    assert_eq!(rest.post(&thread, &text).await.1["code"], 50_013);
    assert_eq!(rest.post(&general(&sim), &text).await.0, 200);
    let path = format!("{}/{asked}", general(&sim));
    assert_eq!(
        rest.send(Method::PATCH, &path, &text).await.1["code"],
        50_005
    );
    let forum = format!("/channels/{}/messages", sim.channel("questions"));
    assert_eq!(rest.post(&forum, &text).await.1["code"], 50_008);
}

#[tokio::test]
async fn forms_carry_files() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let body = "--xx\r\nContent-Disposition: form-data; name=\"payload_json\"\r\n\r\n\
        {\"content\":\"with a file\"}\r\n--xx\r\nContent-Disposition: form-data; \
        name=\"files[0]\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n--xx--\r\n";
    let response = rest
        .request(Method::POST, &general(&sim))
        .header("Content-Type", "multipart/form-data; boundary=xx")
        .body(body)
        .send()
        .await
        .expect("an answer");
    let sent: Value = response.json().await.expect("JSON");
    assert_eq!(sent["content"], "with a file");
    assert_eq!(sent["attachments"][0]["filename"], "a.png");
    assert_eq!(sent["attachments"][0]["size"], 3);
    assert_eq!(sim.requests()[0].files, ["a.png"]);
}

#[tokio::test]
async fn links_are_unfurled_unless_that_is_suppressed() {
    const SUPPRESS_EMBEDS: u64 = 1 << 2;
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    for (content, links) in [
        (
            "see https://evil.example/x now",
            &["https://evil.example/x"][..],
        ),
        ("DISCORD.gg/abc", &["DISCORD.gg/abc"]),
        (
            "https:\u{200b}//evil.example discord.gg\u{200b}/abc discord.gg",
            &[],
        ),
    ] {
        let (_, sent) = rest
            .post(&general(&sim), &json!({ "content": content }))
            .await;
        assert_eq!(sim.unfurled(id(&sent)), links, "{content}");
        let embed = json!([{ "title": "a card" }]);
        let body = json!({ "content": content, "embeds": embed, "flags": SUPPRESS_EMBEDS });
        let (_, sent) = rest.post(&general(&sim), &body).await;
        assert_eq!(sim.unfurled(id(&sent)), Vec::<String>::new(), "{content}");
        assert_eq!(
            sent["embeds"],
            json!([]),
            "the message's own are hidden too"
        );
    }
}

#[tokio::test]
async fn old_messages_are_edited_so_often_and_not_more() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let (_, sent) = rest.post(&general(&sim), &json!({ "content": "x" })).await;
    let path = format!("{}/{}", general(&sim), id(&sent));
    sim.settings(|settings| settings.edits_of_old_messages = 1);
    let edit = json!({ "content": "y" });
    for hours in [0, 1, 2] {
        sim.advance(std::time::Duration::from_hours(hours));
        let response = rest.request(Method::PATCH, &path).json(&edit).send().await;
        let response = response.expect("an answer");
        let retry_after = response.headers().contains_key("retry-after");
        let (status, body) = crate::support::read(response).await;
        let refused = (429, json!(30_046), true);
        let expected = if hours == 2 {
            refused
        } else {
            (200, Value::Null, false)
        };
        assert_eq!((status, body["code"].clone(), retry_after), expected);
    }
}
