//! Slash commands, from their registration to the last edit of an answer.

use std::time::Duration;

use discord_sim::Sim;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, INTENTS, Rest, callback, commands, id, simulation, webhook};

fn rank() -> Value {
    let user = json!({ "type": 6, "name": "user", "description": "whose" });
    json!({ "name": "rank", "description": "shows a rank", "options": [user] })
}

async fn registered() -> (Sim, Rest, Client) {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let (status, _) = rest
        .send(Method::PUT, &commands(&sim), &json!([rank()]))
        .await;
    assert_eq!(status, 200);
    let client = Client::identified(&sim, INTENTS).await;
    (sim, rest, client)
}

fn invoke(sim: &Sim) -> u64 {
    sim.slash(sim.user("mod"), sim.channel("general"), "rank", &json!([]))
}

#[tokio::test]
async fn commands_are_checked_before_they_are_registered() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let option = |name: &str, required: bool| json!({ "type": 3, "name": name, "description": "d", "required": required });
    let with = |options: Vec<Value>| json!({ "name": "a", "description": "d", "options": options });
    for bad in [
        json!({ "name": "Rank", "description": "d" }),
        json!({ "name": "two words", "description": "d" }),
        json!({ "name": "rank", "description": "" }),
        json!({ "name": "rank", "description": "x".repeat(101) }),
        with(vec![option("b", false), option("c", true)]),
        with(vec![option("b", false), option("b", false)]),
        with(
            (0..26)
                .map(|number| option(&format!("o{number}"), false))
                .collect(),
        ),
    ] {
        let (status, body) = rest.send(Method::PUT, &commands(&sim), &json!([bad])).await;
        assert_eq!((status, &body["code"]), (400, &json!(50_035)), "{bad}");
    }
    let many: Vec<Value> = (0..101)
        .map(|number| json!({ "name": format!("c{number}"), "description": "d" }))
        .collect();
    let (status, _) = rest.send(Method::PUT, &commands(&sim), &many.into()).await;
    assert_eq!(status, 400);

    assert_eq!(rest.post(&commands(&sim), &rank()).await.0, 201);
    assert_eq!(rest.post(&commands(&sim), &rank()).await.0, 200);
    let (_, listed) = rest.get(&commands(&sim)).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["type"], 1);
    assert!(listed[0]["version"].is_string());
}

#[tokio::test]
async fn a_command_is_invoked_and_answered() {
    let (sim, rest, mut client) = registered().await;
    let alice = sim.user("alice").to_string();
    let options = json!([{ "name": "user", "value": alice }]);
    let id = sim.slash(sim.user("mod"), sim.channel("general"), "rank", &options);
    let interaction = client.event("INTERACTION_CREATE").await;
    assert_eq!(interaction["type"], 2);
    assert_eq!(interaction["member"]["user"]["username"], "mod");
    let data = &interaction["data"];
    assert_eq!(
        data["options"][0],
        json!({ "name": "user", "type": 6, "value": alice })
    );
    assert_eq!(data["resolved"]["users"][&alice]["username"], "alice");
    let member = &data["resolved"]["members"][&alice];
    assert!(member["permissions"].is_string());
    for left_out in ["user", "deaf", "mute"] {
        assert!(member.get(left_out).is_none(), "{left_out}");
    }

    let answer = json!({ "type": 4, "data": { "content": "rank 1", "flags": 64 } });
    assert_eq!(rest.post(&callback(&interaction), &answer).await.0, 204);
    assert_eq!(
        rest.post(&callback(&interaction), &answer).await.1["code"],
        40_060
    );
    let shown = sim.answer_to(id).await;
    assert_eq!(
        (&shown["content"], &shown["flags"]),
        (&json!("rank 1"), &json!(64))
    );
    assert!(
        sim.messages(sim.channel("general")).is_empty(),
        "only one person sees it"
    );

    let original = format!("{}/messages/@original", webhook(&sim, &interaction));
    let (_, edited) = rest
        .send(Method::PATCH, &original, &json!({ "content": "rank 2" }))
        .await;
    assert_eq!(edited["content"], "rank 2");
    assert_eq!(sim.answer_to(id).await["content"], "rank 2");
    let (_, further) = rest
        .post(&webhook(&sim, &interaction), &json!({ "content": "more" }))
        .await;
    assert_eq!(sim.messages(sim.channel("general"))[0]["id"], further["id"]);
    assert_eq!(
        rest.send(Method::DELETE, &original, &Value::Null).await.0,
        204
    );

    sim.advance(Duration::from_mins(15));
    let (status, late) = rest.get(&original).await;
    assert_eq!((status, &late["code"]), (401, &json!(50_027)));
}

#[tokio::test]
async fn an_answer_can_be_deferred() {
    let (sim, rest, mut client) = registered().await;
    let id = invoke(&sim);
    let interaction = client.event("INTERACTION_CREATE").await;
    assert_eq!(
        rest.post(&callback(&interaction), &json!({ "type": 5 }))
            .await
            .0,
        204
    );
    let thinking = client.event("MESSAGE_CREATE").await;
    assert_eq!(thinking["flags"], 128);
    assert!(sim.find_answer(id).is_none());
    let (_, shown) = rest
        .post(&webhook(&sim, &interaction), &json!({ "content": "done" }))
        .await;
    assert_eq!(
        shown["id"], thinking["id"],
        "it takes the place of the deferral"
    );
    assert_eq!(sim.answer_to(id).await["content"], "done");

    let id = invoke(&sim);
    client.event("MESSAGE_UPDATE").await;
    let interaction = client.event("INTERACTION_CREATE").await;
    let defer = json!({ "type": 5, "data": { "flags": 64 } });
    assert_eq!(rest.post(&callback(&interaction), &defer).await.0, 204);
    let body = json!({ "content": "psst", "flags": 0 });
    rest.post(&webhook(&sim, &interaction), &body).await;
    assert_eq!(sim.answer_to(id).await["flags"], 64, "still for one person");
}

#[tokio::test]
async fn late_and_wrong_answers_are_refused() {
    let (sim, rest, mut client) = registered().await;
    invoke(&sim);
    let interaction = client.event("INTERACTION_CREATE").await;
    let answer = json!({ "type": 4, "data": { "content": "x" } });
    let wrong = format!(
        "/interactions/{}/abc/callback",
        interaction["id"].as_str().unwrap_or("")
    );
    assert_eq!(rest.post(&wrong, &answer).await.1["code"], 10_062);
    assert_eq!(
        rest.post(&callback(&interaction), &json!({ "type": 6 }))
            .await
            .0,
        400
    );
    assert_eq!(
        rest.post(&callback(&interaction), &json!({ "type": 4, "data": {} }))
            .await
            .0,
        400
    );
    sim.settings(|settings| settings.answer_within = Duration::ZERO);
    assert_eq!(
        rest.post(&callback(&interaction), &answer).await.1["code"],
        10_062
    );
}

#[tokio::test]
async fn clients_do_not_send_what_is_not_registered() {
    let (sim, _rest, _client) = registered().await;
    let try_slash = |name: &str, options: Value| {
        sim.try_slash(sim.user("mod"), sim.channel("general"), name, &options)
    };
    let why = try_slash("nonsense", json!([])).expect_err("unknown");
    assert!(why.contains("rank"), "{why}");
    assert!(try_slash("rank", json!([{ "name": "page", "value": 1 }])).is_err());
    assert!(try_slash("rank", json!([{ "name": "user", "value": "bob" }])).is_err());
}

#[tokio::test]
async fn buttons_are_pressed() {
    let (sim, rest, mut client) = registered().await;
    invoke(&sim);
    let interaction = client.event("INTERACTION_CREATE").await;
    let button = json!({ "type": 2, "style": 1, "label": "next", "custom_id": "n" });
    let row = json!([{ "type": 1, "components": [button] }]);
    let answer = json!({ "type": 4, "data": { "content": "1/2", "components": row } });
    rest.post(&callback(&interaction), &answer).await;
    let shown = client.event("MESSAGE_CREATE").await;
    let message = shown["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .unwrap_or_default();
    let id = sim.click(sim.user("alice"), message, "n");
    let pressed = client.event("INTERACTION_CREATE").await;
    assert_eq!(
        (&pressed["type"], &pressed["data"]["custom_id"]),
        (&json!(3), &json!("n"))
    );
    assert_eq!(pressed["message"]["id"], shown["id"]);
    let update = json!({ "type": 7, "data": { "content": "2/2" } });
    assert_eq!(rest.post(&callback(&pressed), &update).await.0, 204);
    assert_eq!(client.event("MESSAGE_UPDATE").await["content"], "2/2");
    assert_eq!(sim.answer_to(id).await["content"], "2/2");
}

/// A callback that asks what became of it.
fn telling(interaction: &Value) -> String {
    format!("{}?with_response=1", callback(interaction))
}

#[tokio::test]
async fn callbacks_say_what_became_of_them() {
    let (sim, rest, mut client) = registered().await;
    for flags in [0, 64] {
        let asked = invoke(&sim);
        let interaction = client.event("INTERACTION_CREATE").await;
        let button = json!({ "type": 2, "style": 1, "label": "next", "custom_id": "n" });
        let row = json!([{ "type": 1, "components": [button] }]);
        let data = json!({ "content": "1/2", "components": row, "flags": flags });
        let answer = json!({ "type": 4, "data": data });
        let (status, said) = rest.post(&telling(&interaction), &answer).await;
        assert_eq!(status, 200);
        assert_eq!(said["interaction"]["id"], interaction["id"]);
        assert_eq!(
            said["interaction"]["response_message_ephemeral"],
            flags == 64
        );
        let shown = sim.answer_to(asked).await;
        assert_eq!(said["resource"], json!({ "type": 4, "message": shown }));
        assert_eq!(
            (&shown["content"], &shown["flags"]),
            (&json!("1/2"), &json!(flags))
        );
        if flags == 0 {
            client.event("MESSAGE_CREATE").await;
        }

        sim.click(sim.user("mod"), id(&shown), "n");
        let pressed = client.event("INTERACTION_CREATE").await;
        let update = json!({ "type": 7, "data": { "content": "2/2" } });
        let (_, said) = rest.post(&telling(&pressed), &update).await;
        let message = &said["resource"]["message"];
        assert_eq!(said["interaction"]["response_message_id"], shown["id"]);
        assert_eq!(
            (&message["id"], &message["content"]),
            (&shown["id"], &json!("2/2"))
        );
        let button = &message["components"][0]["components"][0];
        assert_eq!(
            button["custom_id"], row[0]["components"][0]["custom_id"],
            "what is not named stays"
        );
        assert_eq!(
            (&message["components"][0]["id"], &button["id"]),
            (&json!(1), &json!(2))
        );
        if flags == 0 {
            client.event("MESSAGE_UPDATE").await;
        }
    }
    invoke(&sim);
    let interaction = client.event("INTERACTION_CREATE").await;
    let (_, said) = rest
        .post(&telling(&interaction), &json!({ "type": 5 }))
        .await;
    assert_eq!(said["interaction"]["response_message_loading"], true);
    assert_eq!(
        said["resource"],
        json!({ "type": 5 }),
        "nothing to show yet"
    );
}

#[tokio::test]
async fn what_one_person_sees_is_reached_by_the_webhook_alone() {
    let (sim, rest, mut client) = registered().await;
    let asked = invoke(&sim);
    let interaction = client.event("INTERACTION_CREATE").await;
    let answer = json!({ "type": 4, "data": { "content": "psst", "flags": 64 } });
    rest.post(&callback(&interaction), &answer).await;
    let message = id(&sim.answer_to(asked).await);
    let body = json!({ "content": "loud" });
    let methods = [Method::GET, Method::PATCH, Method::DELETE];
    let in_channel = format!("/channels/{}/messages/{message}", sim.channel("general"));
    for method in methods.clone() {
        let (status, refused) = rest.send(method, &in_channel, &body).await;
        assert_eq!((status, &refused["code"]), (404, &json!(10_008)));
    }
    invoke(&sim);
    let other = client.event("INTERACTION_CREATE").await;
    rest.post(&callback(&other), &answer).await;
    let by_other = format!("{}/messages/{message}", webhook(&sim, &other));
    let by_own = format!("{}/messages/{message}", webhook(&sim, &interaction));
    for (method, status) in methods.into_iter().zip([200, 200, 204]) {
        let (refused, _) = rest.send(method.clone(), &by_other, &body).await;
        assert_eq!(refused, 404, "a token is good for its own answers");
        assert_eq!(rest.send(method, &by_own, &body).await.0, status);
    }
    assert!(sim.message(message).is_none());
}

#[tokio::test]
async fn global_commands_are_offered_beside_the_guilds_and_in_direct_messages() {
    let (sim, rest, mut client) = registered().await;
    let (alice, general) = (sim.user("alice"), sim.channel("general"));
    let direct = sim.dm(alice);
    assert!(sim.try_slash(alice, direct, "rank", &json!([])).is_err());
    sim.add_global_command(&json!({ "name": "rank" }));
    sim.add_global_command(&json!({ "name": "play", "dm_permission": false }));
    let global = format!("/applications/{}/commands", sim.bot_id());
    let (status, listed) = rest.get(&global).await;
    assert_eq!((status, listed.as_array().map(Vec::len)), (200, Some(2)));

    sim.slash(alice, general, "rank", &json!([]));
    let own = client.event("INTERACTION_CREATE").await;
    sim.slash_globally(alice, general, "rank", &json!([]));
    let left = client.event("INTERACTION_CREATE").await;
    assert_eq!(left["data"]["id"], listed[0]["id"]);
    assert_ne!(own["data"]["id"], left["data"]["id"]);
    assert!(left["data"].get("guild_id").is_none(), "{left}");

    let asked = sim.slash(alice, direct, "rank", &json!([]));
    let interaction = client.event("INTERACTION_CREATE").await;
    assert_eq!(interaction["user"]["username"], "alice");
    assert!(interaction.get("member").is_none() && interaction.get("guild_id").is_none());
    assert_eq!(
        (&interaction["context"], &interaction["channel"]["type"]),
        (&json!(1), &json!(1))
    );
    let answer = json!({ "type": 4, "data": { "content": "hi", "flags": 64 } });
    assert_eq!(rest.post(&callback(&interaction), &answer).await.0, 204);
    assert_eq!(sim.answer_to(asked).await["content"], "hi");
    assert!(sim.try_slash(alice, direct, "play", &json!([])).is_err());
    assert!(
        sim.try_slash(sim.user("bob"), direct, "rank", &json!([]))
            .is_err()
    );

    let path = format!("{global}/{}", id(&listed[0]));
    assert_eq!(rest.send(Method::DELETE, &path, &Value::Null).await.0, 204);
    assert_eq!(
        rest.send(Method::DELETE, &path, &Value::Null).await.1["code"],
        10_063
    );
    let (status, left) = rest.send(Method::PUT, &global, &json!([])).await;
    assert_eq!((status, left), (200, json!([])));
    assert_eq!(sim.commands().len(), 1, "the guild's own stay");
}
