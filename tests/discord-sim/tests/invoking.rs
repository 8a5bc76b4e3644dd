//! What people's clients offer them, ask for and send, and what hostile ones do.

use discord_sim::{Sim, permissions};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, INTENTS, Rest, callback, commands, id, simulation, webhook};

/// `/level name` with suggestions, `/admin add` for moderators, `/lock` for
/// nobody.
async fn registered() -> (Sim, Rest, Client) {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let option = |kind: u8, name: &str, suggests: bool| {
        let description = "d";
        json!({ "type": kind, "name": name, "description": description, "autocomplete": suggests })
    };
    let required = json!({ "type": 6, "name": "whose", "description": "d", "required": true });
    let level = json!({ "name": "level", "description": "d", "options": [
        required, option(3, "name", true), option(4, "number", true), option(8, "role", false),
    ] });
    let add = json!({ "type": 1, "name": "add", "description": "d", "options": [
        option(3, "what", true),
    ] });
    let group = json!({ "type": 2, "name": "levels", "description": "d", "options": [add] });
    let admin = json!({
        "name": "admin", "description": "d", "options": [group],
        "default_member_permissions": permissions::MANAGE_MESSAGES.to_string(),
    });
    let lock = json!({ "name": "lock", "description": "d", "default_member_permissions": "0" });
    let all = json!([level, admin, lock]);
    let (status, body) = rest.send(Method::PUT, &commands(&sim), &all).await;
    assert_eq!(status, 200, "{body}");
    let client = Client::identified(&sim, INTENTS).await;
    (sim, rest, client)
}

/// Lets the bot show a button with the `custom_id` "n".
async fn with_button(sim: &Sim, rest: &Rest, client: &mut Client, flags: u64) -> (Value, u64) {
    let options = json!([{ "name": "whose", "value": sim.user("bob").to_string() }]);
    let asked = sim.slash(sim.user("mod"), sim.channel("general"), "level", &options);
    let interaction = client.event("INTERACTION_CREATE").await;
    let buttons = json!([
        { "type": 2, "style": 1, "label": "next", "custom_id": "n" },
        { "type": 2, "style": 1, "label": "off", "custom_id": "off", "disabled": true },
    ]);
    let menu = json!([{ "type": 3, "custom_id": "m", "options": [
        { "label": "A", "value": "a" }, { "label": "B", "value": "b" },
    ] }]);
    let rows = json!([{ "type": 1, "components": buttons }, { "type": 1, "components": menu }]);
    let data = json!({ "content": "1/2", "components": rows, "flags": flags });
    let answer = json!({ "type": 4, "data": data });
    assert_eq!(rest.post(&callback(&interaction), &answer).await.0, 204);
    if flags == 0 {
        client.event("MESSAGE_CREATE").await;
    }
    let shown = sim.answer_to(asked).await;
    let message = id(&shown);
    (shown, message)
}

#[tokio::test]
async fn suggestions_are_asked_for_and_given() {
    let (sim, rest, mut client) = registered().await;
    let (alice, general) = (sim.user("alice"), sim.channel("general"));
    let typed = json!([{ "name": "number", "value": "x" }, { "name": "name", "value": "He" }]);
    let asked = sim.autocomplete(alice, general, "level", &typed, "name");
    let interaction = client.event("INTERACTION_CREATE").await;
    assert_eq!(interaction["type"], 4);
    assert_eq!(interaction["member"]["user"]["username"], "alice");
    let expected = json!([
        { "name": "number", "type": 4, "value": "x" },
        { "name": "name", "type": 3, "value": "He", "focused": true },
    ]);
    assert_eq!(interaction["data"]["options"], expected, "{interaction}");
    assert!(sim.find_choices(asked).is_none());

    let choices = json!([{ "name": "Hello World", "value": "hello" }]);
    let answer = json!({ "type": 8, "data": { "choices": choices } });
    let (status, said) = rest
        .post(
            &format!("{}?with_response=true", callback(&interaction)),
            &answer,
        )
        .await;
    assert_eq!((status, &said["resource"]), (200, &json!({ "type": 8 })));
    assert_eq!(json!(sim.choices_for(asked).await), choices);
    let again = rest.post(&callback(&interaction), &answer).await.1;
    assert_eq!(again["code"], 40_060);
    let further = json!({ "content": "x" });
    let (status, _) = rest.post(&webhook(&sim, &interaction), &further).await;
    assert_eq!(status, 404, "suggestions are all that there is to say");
}

#[tokio::test]
async fn suggestions_have_limits() {
    let (sim, rest, mut client) = registered().await;
    let (alice, general) = (sim.user("alice"), sim.channel("general"));
    let choice = |name: &str, value: Value| json!({ "name": name, "value": value });
    let long = "x".repeat(101);
    let many: Vec<Value> = (0..26).map(|_| choice("a", json!("a"))).collect();
    for (option, refused) in [
        ("name", json!({ "type": 8, "data": { "choices": many } })),
        ("name", suggestion(&choice("", json!("a")))),
        ("name", suggestion(&choice(&long, json!("a")))),
        ("name", suggestion(&choice("a", json!(long)))),
        ("name", suggestion(&choice("a", json!(1)))),
        ("number", suggestion(&choice("a", json!("1")))),
        ("name", json!({ "type": 4, "data": { "content": "a" } })),
        ("name", json!({ "type": 5 })),
    ] {
        sim.autocomplete(alice, general, "level", &json!([]), option);
        let interaction = client.event("INTERACTION_CREATE").await;
        let (status, body) = rest.post(&callback(&interaction), &refused).await;
        assert_eq!((status, &body["code"]), (400, &json!(50_035)), "{refused}");
    }
    let asked = sim.autocomplete(alice, general, "level", &json!([]), "number");
    let interaction = client.event("INTERACTION_CREATE").await;
    let full: Vec<Value> = (0..25).map(|n| choice(&long[1..], json!(n))).collect();
    let answer = json!({ "type": 8, "data": { "choices": full } });
    assert_eq!(rest.post(&callback(&interaction), &answer).await.0, 204);
    assert_eq!(sim.choices_for(asked).await.len(), 25);
}

fn suggestion(choice: &Value) -> Value {
    json!({ "type": 8, "data": { "choices": [choice] } })
}

#[tokio::test]
async fn suggestions_are_for_those_who_are_offered_the_command() {
    let (sim, rest, mut client) = registered().await;
    let general = sim.channel("general");
    let ask = |who: &str, command: &str, option: &str| {
        sim.try_autocomplete(sim.user(who), general, command, &json!([]), option)
    };
    for (who, command, option, part) in [
        ("alice", "level", "role", "not registered with autocomplete"),
        ("alice", "level", "nothing", "there is no option"),
        (
            "alice",
            "admin levels add",
            "what",
            "default_member_permissions",
        ),
        ("mod", "admin levels", "what", "subcommands"),
    ] {
        let why = ask(who, command, option).expect_err(command);
        assert!(why.contains(part), "{why}");
    }
    ask("mod", "admin levels add", "what").expect("a moderator may");
    let data = client.event("INTERACTION_CREATE").await["data"].clone();
    assert_eq!(
        (&data["options"][0]["type"], &data["options"][0]["name"]),
        (&json!(2), &json!("levels"))
    );
    let add = &data["options"][0]["options"][0];
    assert_eq!((&add["type"], &add["name"]), (&json!(1), &json!("add")));
    assert_eq!(add["options"][0]["focused"], true);

    let chosen = json!({ "type": 3, "name": "a", "description": "d", "autocomplete": true,
        "choices": [{ "name": "a", "value": "a" }] });
    let bad = json!({ "name": "bad", "description": "d", "options": [chosen] });
    assert_eq!(rest.post(&commands(&sim), &bad).await.1["code"], 50_035);
}

#[tokio::test]
async fn commands_are_offered_to_those_with_their_permissions() {
    let (sim, _rest, mut client) = registered().await;
    let general = sim.channel("general");
    let none = json!([]);
    let offered = |who: &str, command: &str| {
        let invoked = sim.try_slash(sim.user(who), general, command, &none);
        invoked.map_err(|why| assert!(why.contains("default_member_permissions"), "{why}"))
    };
    assert!(offered("alice", "admin levels add").is_err());
    assert!(offered("mod", "admin levels add").is_ok());
    assert!(
        offered("boss", "admin levels add").is_ok(),
        "who owns the guild"
    );
    assert!(offered("mod", "lock").is_err(), "0 is for administrators");
    assert!(offered("boss", "lock").is_ok());
    for _ in 0..3 {
        client.event("INTERACTION_CREATE").await;
    }
    sim.force_slash(sim.user("alice"), general, "admin levels add", &none);
    let forced = client.event("INTERACTION_CREATE").await;
    assert_eq!(forced["member"]["user"]["username"], "alice");
    let bits = |bits: &Value| bits.as_str().and_then(|bits| bits.parse::<u64>().ok());
    let held = bits(&forced["member"]["permissions"]).expect("permissions");
    assert_eq!(
        held & permissions::MANAGE_MESSAGES,
        0,
        "so the bot can tell"
    );
    let why = sim
        .try_slash(sim.user("beep"), general, "lock", &none)
        .expect_err("a bot");
    assert!(!why.is_empty());
}

#[tokio::test]
async fn every_interaction_says_who_may_do_what_where() {
    let (sim, rest, mut client) = registered().await;
    let general = sim.channel("general");
    sim.bot_permissions(general, permissions::MENTION_EVERYONE, 0);
    client.event("CHANNEL_UPDATE").await;
    let (shown, message) = with_button(&sim, &rest, &mut client, 0).await;
    let options = json!([
        { "name": "whose", "value": sim.user("bob").to_string() },
        { "name": "role", "value": sim.role("Minions").to_string() },
    ]);
    sim.slash(sim.user("alice"), general, "level", &options);
    sim.click(sim.user("alice"), message, "n");
    sim.autocomplete(sim.user("alice"), general, "level", &json!([]), "name");
    for kind in [2, 3, 4] {
        let seen = client.event("INTERACTION_CREATE").await;
        assert_eq!(seen["type"], kind);
        assert_eq!(
            seen["member"]["permissions"],
            permissions::EVERYONE.to_string()
        );
        let app = permissions::BOT | permissions::MENTION_EVERYONE;
        assert_eq!(
            seen["app_permissions"],
            app.to_string(),
            "as in this channel"
        );
        if kind == 2 {
            let role = sim.role("Minions").to_string();
            assert_eq!(seen["data"]["resolved"]["roles"][&role]["name"], "Minions");
        }
        if kind == 3 {
            assert_eq!(seen["message"], shown, "whole, as REST shows it");
            assert_eq!(
                seen["message"]["components"][0]["components"][0]["custom_id"],
                "n"
            );
        }
    }
}

#[tokio::test]
async fn only_what_is_there_can_be_pressed() {
    let (sim, rest, mut client) = registered().await;
    let (alice, general) = (sim.user("alice"), sim.channel("general"));
    let (_, message) = with_button(&sim, &rest, &mut client, 0).await;
    let (_, secret) = with_button(&sim, &rest, &mut client, 64).await;
    let plain = sim.say(alice, general, "no buttons");
    for (pressed, custom_id, part) in [
        (message, "other", "no component"),
        (message, "off", "disabled"),
        (plain, "n", "no component"),
        (secret, "n", "somebody else"),
        (1, "n", "no such message"),
    ] {
        let why = sim.try_click(alice, pressed, custom_id).expect_err(part);
        assert!(why.contains(part), "{why}");
    }
    let choose = |values: &[&str]| sim.try_choose(alice, message, "m", values);
    assert!(choose(&["c"]).is_err() && choose(&[]).is_err() && choose(&["a", "b"]).is_err());
    choose(&["b"]).expect("it is there");
    client.event("MESSAGE_CREATE").await;
    let chosen = client.event("INTERACTION_CREATE").await;
    assert_eq!(chosen["data"]["values"], json!(["b"]));
    sim.click(sim.user("mod"), secret, "n");
    let own = client.event("INTERACTION_CREATE").await;
    assert_eq!(own["message"]["flags"], 64);

    let asked = sim.forge_click(alice, secret, "drop table");
    let forged = client.event("INTERACTION_CREATE").await;
    assert_eq!(forged["data"]["custom_id"], "drop table");
    assert_eq!(forged["member"]["user"]["id"], alice.to_string());
    assert_eq!(forged["message"]["id"], secret.to_string());
    let answer = json!({ "type": 4, "data": { "content": "no", "flags": 64 } });
    assert_eq!(rest.post(&callback(&forged), &answer).await.0, 204);
    assert_eq!(sim.answer_to(asked).await["content"], "no");
}
