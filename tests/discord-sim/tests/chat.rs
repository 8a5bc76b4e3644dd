//! The chat, played with a very small bot.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use discord_sim::chat::{self, Heard, News, Room};
use discord_sim::{Message, Sim, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, INTENTS, Rest, callback, simulation};
use crate::terminal::Bot;

/// Answers `.ping` with how often it was asked, and says nothing else.
async fn ping_bot(mut client: Client, rest: Rest) {
    let mut asked = 0;
    loop {
        let payload = client.next().await;
        if payload["t"] != "MESSAGE_CREATE" || payload["d"]["content"] != ".ping" {
            continue;
        }
        asked += 1;
        let message = &payload["d"];
        let path = format!(
            "/channels/{}/messages",
            message["channel_id"].as_str().unwrap_or("")
        );
        let reference = json!({ "message_id": message["id"] });
        let body = json!({ "content": format!("pong {asked}"), "message_reference": reference });
        rest.post(&path, &body).await;
    }
}

/// Turns a page that its buttons and its menu turn further, until one of them
/// takes it away.
async fn page_bot(mut client: Client, rest: Rest) {
    let button = |label: &str| json!({ "type": 2, "style": 1, "label": label, "custom_id": label });
    let link = json!({ "type": 2, "style": 5, "label": "docs", "url": "https://example.com" });
    let options = json!([{ "label": "Weekly", "value": "w" }, { "label": "Daily", "value": "d" }]);
    let menu = json!({ "type": 3, "custom_id": "m", "placeholder": "when", "options": options });
    let rows = json!([
        { "type": 1, "components": [button("next"), button("close"), link] },
        { "type": 1, "components": [menu] },
    ]);
    loop {
        let payload = client.next().await;
        let heard = &payload["d"];
        if payload["t"] == "MESSAGE_CREATE" && heard["content"] == ".page" {
            let path = format!(
                "/channels/{}/messages",
                heard["channel_id"].as_str().unwrap_or("")
            );
            let body = json!({ "content": "page 1", "components": rows });
            rest.post(&path, &body).await;
        } else if payload["t"] == "INTERACTION_CREATE" {
            let data = &heard["data"];
            let page = data["values"][0].as_str().unwrap_or("2");
            let turn = json!({ "type": 7, "data": { "content": format!("page {page}") } });
            let close = data["custom_id"] == "close";
            let answer = if close { json!({ "type": 6 }) } else { turn };
            rest.post(&callback(heard), &answer).await;
            if close {
                let application = heard["application_id"].as_str().unwrap_or("");
                let token = heard["token"].as_str().unwrap_or("");
                let original = format!("/webhooks/{application}/{token}/messages/@original");
                rest.send(Method::DELETE, &original, &Value::Null).await;
            }
        }
    }
}

/// Plays a script with the ping bot.
async fn play(script: &str) -> (String, Option<String>) {
    play_with(script, ping_bot).await
}

/// Plays a script: the transcript, and why it failed if it did.
async fn play_with<B: Future<Output = ()>>(
    script: &str,
    bot: impl FnOnce(Client, Rest) -> B,
) -> (String, Option<String>) {
    let sim = simulation().await;
    let client = Client::identified(&sim, INTENTS).await;
    let rest = Rest::new(&sim);
    let mut room = Room::new(sim);
    let mut transcript = Vec::new();
    let failed = tokio::select! {
        () = bot(client, rest) => unreachable!("the bot never ends"),
        played = chat::play(&mut room, script, &mut transcript) => played.err(),
    };
    let transcript = String::from_utf8(transcript).expect("text");
    (transcript, failed.map(|why| why.to_string()))
}

#[tokio::test]
async fn a_script_that_fits_passes() {
    let script = "# a comment\nalice: hello\nexpect nothing\nalice: .ping\n\
        expect replying to alice.*pong 1$\n!advance 61s\nbob #random: .ping\nexpect #random.*pong 2\n";
    let (transcript, failed) = play(script).await;
    assert_eq!(failed, None);
    assert!(
        transcript.contains("> bob #random: .ping\nwall_e in #random"),
        "{transcript}"
    );
}

#[tokio::test]
async fn a_script_that_does_not_fit_says_what_came() {
    let (_, failed) = play("alice: .ping\nexpect pong 7\n").await;
    let failed = failed.expect("it fails");
    assert!(
        failed.contains("line 2") && failed.contains("pong 7"),
        "{failed}"
    );
    assert!(failed.contains("pong 1"), "{failed}");

    let (_, failed) = play("alice: .ping\nexpect nothing\nbob: .ping\nexpect pong 2\n").await;
    assert!(
        failed
            .expect("it fails")
            .contains("nothing was expected from line 2")
    );

    let (_, failed) = play("alice: hello\nexpect nothing\n").await;
    assert!(
        failed
            .expect("it fails")
            .contains("proved by a later answer")
    );

    let (_, failed) = play("nobody: hello\n").await;
    let failed = failed.expect("it fails");
    assert!(failed.contains("There is nobody called nobody") && failed.contains("alice"));
}

#[tokio::test]
async fn buttons_are_seen_pressed_and_taken_away() {
    let script = "alice: .page\nexpect page 1\\s+\\[1 next\\] \\[2 close\\] \\[3 docs\\]\n\
        !press bob next\nexpect \\(edited\\).*page 2\n\
        !press bob 1\nexpect page 2\n\
        !choose bob Daily\nexpect page d.*\\[4 when: Weekly . Daily\\]\n\
        !press bob 2\nexpect \\(deleted\\).*page d\n";
    let (transcript, failed) = play_with(script, page_bot).await;
    assert_eq!(failed, None, "{transcript}");
    for (line, part) in [
        ("!press bob 1", "shows no buttons"),
        (
            "alice: .page\nexpect page\n!press bob far",
            "next, close, docs, when",
        ),
        ("alice: .page\nexpect page\n!press bob docs", "is a link"),
        ("alice: .page\nexpect page\n!press bob 4", "!choose"),
        ("alice: .page\nexpect page\n!choose bob Hourly", "No menu"),
    ] {
        let failed = play_with(line, page_bot).await.1.expect(part);
        assert!(failed.contains(part), "{failed}");
    }
}

#[tokio::test]
async fn people_take_other_names_and_avatars() {
    let sim = simulation().await;
    let bob = sim.user("bob");
    let mut room = Room::new(sim);
    let play = async |room: &mut Room, script: &str| {
        let played = chat::play(room, script, &mut Vec::new()).await;
        played.map_err(|why| why.to_string())
    };
    let shown = |room: &Room| room.sim.account(bob).expect("an account");
    let script = "!avatar bob\n!name bob Bobby Tables\n!username bob bobby\n";
    assert_eq!(play(&mut room, script).await, Ok(()));
    let first = shown(&room);
    assert_eq!(
        (&first["username"], &first["global_name"]),
        (&json!("bobby"), &json!("Bobby Tables"))
    );
    assert_eq!(first["avatar"].as_str().map(str::len), Some(32));
    assert_eq!(
        play(&mut room, "!avatar bobby\n!name bobby\n").await,
        Ok(())
    );
    let second = shown(&room);
    assert_ne!(second["avatar"], first["avatar"]);
    assert!(second["avatar"].is_string() && second["global_name"].is_null());
    assert_eq!(play(&mut room, "!avatar bobby none\n").await, Ok(()));
    assert!(shown(&room)["avatar"].is_null());
    let taken = play(&mut room, "!username bobby alice\n").await;
    assert!(taken.expect_err("it is taken").contains("already"));
}

#[tokio::test]
async fn answers_are_drawn() {
    let sim = simulation().await;
    let user = |name: &str| json!({ "id": sim.user(name).to_string() });
    let heard = |message: Value| Heard {
        message,
        news: News::Said,
    };
    let general = sim.channel("general").to_string();
    let card = json!({
        "author": { "id": sim.bot_id().to_string() },
        "channel_id": general,
        "content": format!("look, <@{}> in <#{general}>\u{202e}", sim.user("bob")),
        "message_reference": {},
        "referenced_message": { "author": user("alice") },
        "embeds": [{
            "title": "alice's Stat Card",
            // Embeds bring no accounts along: only what every client of the guild knows has a name.
            "description": format!("<@1> <@&{}> <#{general}>", sim.role("Minions")),
            "fields": [{ "name": "Level", "value": "15" }],
            "footer": { "text": "1/2" },
        }],
        "components": [{ "components": [
            { "emoji": { "name": "\u{23e9}" } }, { "label": "done", "disabled": true },
        ] }],
    });
    let drawn = chat::draw(&sim, &heard(card));
    let expected = format!(
        "wall_e in #general, replying to alice:\n\
         \x20 look, @bob in #general\\u{{202e}}\n\
         \x20 \u{256d}{line}\n\
         \x20 \u{2502} alice's Stat Card\n\
         \x20 \u{2502} <@1> @Minions #general\n\
         \x20 \u{2502} Level: 15\n\
         \x20 \u{2502} 1/2\n\
         \x20 \u{2570}{line}\n\
         \x20 [1 \u{23e9}] [2 done off]",
        line = "\u{2500}".repeat(40)
    );
    assert_eq!(drawn, expected);

    let whisper = json!({
        "author": { "id": sim.bot_id().to_string() },
        "channel_id": general,
        "content": "no",
        "flags": 64,
        "interaction_metadata": { "name": "rank", "user": user("mod") },
    });
    let drawn = chat::draw(&sim, &heard(whisper));
    assert!(
        drawn.contains("answering mod's /rank (only mod sees this)"),
        "{drawn}"
    );
}

#[tokio::test]
async fn text_is_drawn_as_a_client_draws_it() {
    let sim = simulation().await;
    let bob = sim.user("bob");
    sim.nick(bob, Some(r"_b\_o_b"));
    let draw = |text: &str, embed: Value| {
        let message = json!({
            "author": { "id": sim.bot_id().to_string() },
            "channel_id": sim.channel("general").to_string(),
            "content": text,
            "embeds": [embed],
        });
        let news = News::Said;
        chat::draw(&sim, &Heard { message, news })
    };
    for (text, shown) in [
        (
            r"sana\_the\_3890, \_under\_score\_",
            "sana_the_3890, _under_score_",
        ),
        (
            r"\*\*bold\*\* \`code\` \\ \[x\](y)",
            r"**bold** `code` \ [x](y)",
        ),
        // A backslash before a letter or a space is one, and so is one in code.
        (
            r"C:\temp \ `a\_b` ```c\_d```",
            r"C:\temp \ `a\_b` ```c\_d```",
        ),
        (r"\`a\_b`", "`a_b`"),
        (r"\<@1> \<t:1:R>", "<@1> <t:1:R>"),
        ("\u{2068}\u{5d0}\u{2069} 1", "\u{5d0} 1"),
    ] {
        let drawn = draw(text, json!({ "description": text }));
        assert!(drawn.contains(&format!("\n  {shown}\n")), "{drawn}");
        assert!(drawn.contains(&format!("\u{2502} {shown}\n")), "{drawn}");
    }
    // A name that comes with a mention is no markup.
    let drawn = draw(&format!("<@{bob}>"), Value::Null);
    assert!(drawn.contains(r"@_b\_o_b"), "{drawn}");
    let plain = json!({ "author": { "name": r"a\_b" }, "footer": { "text": r"c\_d" } });
    let drawn = draw("", plain);
    assert!(
        drawn.contains(r"a\_b") && drawn.contains(r"c\_d"),
        "{drawn}"
    );
}

#[tokio::test]
async fn people_are_told_why_they_cannot_speak() {
    let mut room = Room::new(simulation().await);
    for (line, why) in [
        (
            "Alice: hello",
            "There is nobody called Alice. Did you mean alice?",
        ),
        (
            "!join dave\n!leave dave\ndave: hello",
            "dave is not in the guild. Type !join dave first.",
        ),
        (
            "dave: /rank",
            "dave is not in the guild. Type !join dave first.",
        ),
        (
            "!press dave 1",
            "dave is not in the guild. Type !join dave first.",
        ),
        (".rank", "Type alice: .rank"),
    ] {
        let played = chat::play(&mut room, line, &mut Vec::new()).await;
        let failed = played.expect_err(line).to_string();
        assert!(failed.contains(why), "{failed}");
    }
    let back = chat::play(&mut room, "!join dave\ndave: hello", &mut Vec::new()).await;
    back.expect("dave is back");
}

/// Runs the chat without a terminal, types this, and ends the input: what it says, once it ended.
async fn piped(input: &[u8]) -> String {
    let state = tempfile::tempdir().expect("a directory");
    let mut chat = Command::new(env!("CARGO_BIN_EXE_discord-sim"))
        .args(["chat", "--state-dir"])
        .arg(state.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut typing = chat.stdin.take().expect("a pipe");
    typing.write_all(input).expect("it reads");
    let _bot = Bot::connect(state.path()).await;
    // `exit` ends it while the input is open.
    let open = Some(typing).filter(|_| input.ends_with(b"exit\n"));
    let output = tokio::task::spawn_blocking(move || chat.wait_with_output());
    let output = output.await.expect("no panic").expect("it ends");
    drop(open);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn without_a_terminal_lines_are_read_to_their_end() {
    let said = piped(b"!people\n\xff\xfe\nzoe: hi\n").await;
    assert!(
        said.contains("You speak for the people") && said.contains("people: alice"),
        "{said}"
    );
    let invalid = said.find("That was not UTF-8").expect("a sentence");
    assert!(said[invalid..].contains("nobody called zoe"), "{said}");
    assert!(!said.contains('\x1b') && !said.contains("> "), "{said}");
    for ending in ["exit", "quit"] {
        let said = piped(format!("!people\n{ending}\nzoe: hi\nexit\n").as_bytes()).await;
        assert!(!said.contains("zoe"), "{said}");
    }
}

#[tokio::test]
async fn times_and_those_who_are_known_are_drawn() {
    let sim = simulation().await;
    let in_an_hour = sim.now_ms() / 1_000 + 3_600;
    let message = json!({
        "author": { "id": sim.bot_id().to_string() },
        "channel_id": sim.channel("general").to_string(),
        "content": format!("back <t:{in_an_hour}:R>"),
        "embeds": [{ "description": format!("1 - <@{}>, <t:{in_an_hour}:R>", sim.user("bob")) }],
    });
    let drawn = chat::draw(
        &sim,
        &Heard {
            message,
            news: News::Said,
        },
    );
    assert!(drawn.contains("  back in an hour\n"), "{drawn}");
    assert!(drawn.contains("1 - @bob, in an hour\n"), "{drawn}");
}

#[tokio::test]
async fn the_world_of_a_file_can_be_talked_in() {
    let sim = Sim::start(World::new()).await.expect("it starts");
    let room = Room::new(sim);
    assert!(room.sim.people().contains(&"carol".to_owned()));
    assert!(room.sim.channel_names().contains(&"general".to_owned()));
}

#[test]
fn serving_says_when_it_is_ready() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut serving = Command::new(env!("CARGO_BIN_EXE_discord-sim"))
        .args(["serve", "--members", "5", "--state-dir"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let env = directory.path().join("env");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !env.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = std::fs::read_to_string(&env);
    serving.kill().expect("it is running");
    serving.wait().expect("it ends");
    let text = text.expect("the file is there");
    for name in [
        "WALLE_DISCORD_API='https://127.0.0.1:",
        "WALLE_DISCORD_CDN='http://127.0.0.1:",
        "WALLE_DISCORD_CA=",
        "WALLE_TOKEN=",
        "WALLE_GUILD_ID=",
    ] {
        assert!(text.contains(name), "{text}");
    }
    assert!(directory.path().join("ca.pem").exists());
}

#[tokio::test]
async fn files_that_are_kept_where_nobody_talks_are_mentioned_once() {
    let sim = simulation().await;
    let (bot, channel) = (sim.bot_id(), sim.channel("general"));
    let mut room = Room::new(sim);
    for _ in 0..3 {
        let message = Message::new(channel, bot, "<@1>");
        room.sim.post(message.file("avatar.png", *b"bytes"));
    }
    let mut shown = Vec::new();
    for _ in 0..3 {
        let heard = room.hear().await.unwrap();
        shown.push(room.drawn(&heard));
    }
    let first = shown[0].as_deref().unwrap();
    assert!(
        first == "(The bot keeps files in #general. They are not shown here.)",
        "{first}"
    );
    assert_eq!(shown[1..], [None, None]);
}
