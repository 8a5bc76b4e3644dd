//! `.ranks` and `/ranks`: the board, page by page, and its buttons.

use std::time::Duration;

use discord_sim::{Fault, Method, World};
use serde_json::{Value, json};
use wall_e::leveling::Grouped;

use crate::support::{Stage, TestDatabase, button, id_of, is_private, person, said, wait};

/// 24 users made up, and alice, who is first once she has said something.
async fn board() -> Stage {
    let world = World::new();
    let database = TestDatabase::migrated().await;
    database.make_up_users(24).await;
    database
        .insert_user(person(&world, "alice"), 999_998, 50)
        .await;
    Stage::open_on(world, database).await
}

fn footer(message: &Value) -> &str {
    message["embeds"][0]["footer"]["text"]
        .as_str()
        .unwrap_or_default()
}

fn buttons(message: &Value) -> usize {
    let rows = message["components"].as_array().into_iter().flatten();
    rows.map(|row| row["components"].as_array().map_or(0, Vec::len))
        .sum()
}

/// Lines of a page.
fn rows(message: &Value) -> Vec<String> {
    let text = message["embeds"][0]["description"].as_str();
    text.unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_page_has_ten_rows_and_the_callers_own_is_marked() {
    let stage = board().await;
    let page = stage.reply("alice", ".ranks").await;
    let alice = stage.sim.user("alice").to_string();
    // The question itself has earned some XP.
    let points = stage
        .database
        .standing(stage.sim.user("alice"))
        .await
        .unwrap()
        .0;
    let text = said(&page)
        .replace(&alice, "ALICE")
        .replace(&Grouped(points).to_string(), "POINTS");
    insta::assert_snapshot!(text, @r"
    Rank - User - Messages - XP - Level
    **1 - alice <@ALICE> - 51 - POINTS - 79** ◀
    2 - (name unknown) <@300000000000000001> - 1,001 - 999,999 - 79
    3 - (name unknown) <@300000000000000002> - 1,002 - 999,998 - 79
    4 - (name unknown) <@300000000000000003> - 1,003 - 999,997 - 79
    5 - (name unknown) <@300000000000000004> - 1,004 - 999,996 - 79
    6 - (name unknown) <@300000000000000005> - 1,005 - 999,995 - 79
    7 - (name unknown) <@300000000000000006> - 1,006 - 999,994 - 79
    8 - (name unknown) <@300000000000000007> - 1,007 - 999,993 - 79
    9 - (name unknown) <@300000000000000008> - 1,008 - 999,992 - 79
    10 - (name unknown) <@300000000000000009> - 1,009 - 999,991 - 79
    ");
    assert_eq!(footer(&page), "1/3");
    let slash = stage.slash("alice", "ranks", json!([])).await;
    assert_eq!(slash, said(&page));
    let pings = stage.sim.pings(id_of(&page));
    assert!(pings.users.is_empty(), "{pings:?}");
    // Nobody else's row is marked for bob.
    assert!(!stage.ask("bob", ".ranks").await.contains('◀'));
}

#[tokio::test]
async fn every_row_says_the_stored_name_as_text() {
    let world = World::new();
    let alice = person(&world, "alice");
    let database = TestDatabase::migrated().await;
    database.make_up_users(12).await;
    database.insert_user(alice, 2_000_000, 50).await;
    let named = "update user_point set username = 'user_' || user_id % 100,
        display_name = case when user_id % 100 = 2 then 'Second <@1> @everyone' end,
        nickname = case when user_id % 100 = 3 then repeat('*', 300)
                        when user_id % 100 = 4 then repeat('😀', 300)
                        when user_id % 100 = 5 then '' end
        where user_id between 300000000000000001 and 300000000000000010";
    database.execute(named).await;
    let stage = Stage::open_on(world, database).await;
    // The bot sees her among the members.
    wait("alice's name", async || {
        let alice = stage.database.user(alice).await;
        (alice["username"] == json!("alice")).then_some(())
    })
    .await;
    let page = stage.reply("bob", ".ranks").await;
    let rows = rows(&page);
    let name = |at: usize| {
        let (_, name) = rows[at].split_once(" - ").expect("a row");
        name.split_once(" <@").expect("a mention").0.to_owned()
    };
    assert_eq!(name(1), r"user\_1");
    assert_eq!(name(2), "Second \\<@\u{200b}1> @\u{200b}everyone");
    assert_eq!(name(3), r"\*".repeat(32));
    assert_eq!(name(4), "😀".repeat(32));
    assert_eq!(name(5), "(no name)");
    assert_eq!(name(0), "alice");
    let pings = stage.sim.pings(id_of(&page));
    assert!(pings.users.is_empty() && !pings.everyone, "{pings:?}");
    let second = stage.press("bob", &page, "⏩").await;
    assert!(said(&second).contains("12 - (name unknown) <@"), "{second}");
}

#[tokio::test]
async fn a_database_that_does_not_answer_costs_the_names_and_not_the_page() {
    let (stage, gate) = Stage::open_gated().await;
    stage.say("alice", "hello");
    let alice = stage.sim.user("alice");
    stage.database.wait_for_messages(alice, 1).await;
    assert!(stage.ask("alice", ".ranks").await.contains("1 - alice <@"));
    gate.set(fault_lab::Position::Shut);
    let page = stage.slash("carol", "ranks", json!([])).await;
    assert!(page.contains("1 - (name unknown) <@"), "{page}");
}

#[tokio::test]
async fn a_page_or_a_person_can_be_asked_for() {
    let stage = board().await;
    let (alice, last) = (stage.sim.user("alice"), 300_000_000_000_000_024_u64);
    for (text, expected) in [
        (".ranks 2".to_owned(), "2/3"),
        (".ranks  3 ".to_owned(), "3/3"),
        (format!(".ranks <@{alice}>"), "1/3"),
        (format!(".ranks {alice}"), "1/3"),
    ] {
        assert_eq!(footer(&stage.reply("bob", &text).await), expected, "{text}");
    }
    let option = |name: &str, kind: u8, value: Value| json!([{ "name": name, "type": kind, "value": value }]);
    let general = stage.sim.channel("general");
    for (options, expected) in [
        (option("page", 4, 2.into()), "2/3"),
        (option("user", 6, alice.to_string().into()), "1/3"),
    ] {
        let asked = stage
            .sim
            .slash(stage.sim.user("bob"), general, "ranks", &options);
        assert_eq!(footer(&stage.sim.answer_to(asked).await), expected);
    }
    let usage = "Usage: `.ranks [page or @user]`, for example `.ranks 2`.";
    let no_page = |page: &str| format!("There is no page {page}; the pages are 1 to 3.");
    for (typed, expected) in [
        ("0", no_page("0")),
        ("-1", no_page("-1")),
        ("4", no_page("4")),
        ("100", no_page("100")),
        ("101", no_page("101")),
        ("99999999999999999999", usage.to_owned()),
        ("five", usage.to_owned()),
        ("2 3", usage.to_owned()),
        ("@everyone", usage.to_owned()),
        ("<@1> <@2>", usage.to_owned()),
    ] {
        assert_eq!(stage.ask("bob", &format!(".ranks {typed}")).await, expected);
    }
    // Someone of the board who was never in the guild, and is not known to Discord either.
    assert_eq!(
        stage.ask("bob", &format!(".ranks {last}")).await,
        format!("There is no user with the id {last}.")
    );
    let carol = stage.sim.user("carol");
    assert_eq!(
        stage.ask("bob", &format!(".ranks <@{carol}>")).await,
        "carol has no XP yet."
    );
    let beep = stage.sim.user("beep");
    assert_eq!(
        stage.ask("bob", &format!(".ranks <@{beep}>")).await,
        "beep has no XP yet. Bots do not earn any."
    );
}

#[tokio::test]
async fn buttons_go_round_and_close() {
    let stage = board().await;
    for by_slash in [false, true] {
        let mut page = if by_slash {
            let (bob, general) = (stage.sim.user("bob"), stage.sim.channel("general"));
            let asked = stage.sim.slash(bob, general, "ranks", &json!([]));
            stage.sim.answer_to(asked).await
        } else {
            stage.reply("bob", ".ranks").await
        };
        for (label, expected) in [("⏪", "3/3"), ("⏩", "1/3"), ("⏩", "2/3"), ("⏪", "1/3")] {
            page = stage.press("bob", &page, label).await;
            assert_eq!(footer(&page), expected);
        }
        let first = rows(&page)[0].clone();
        assert!(
            first.starts_with("1 - (name unknown) <@300000000000000001> - "),
            "{first}"
        );
        let message = id_of(&page);
        stage
            .sim
            .click(stage.sim.user("bob"), message, &button(&page, "✅"));
        stage
            .sim
            .wait("the page to go", || {
                stage.sim.message(message).is_none().then_some(())
            })
            .await;
    }
}

#[tokio::test]
async fn buttons_answer_only_whoever_asked() {
    let stage = board().await;
    let page = stage.reply("bob", ".ranks").await;
    for label in ["⏪", "⏩", "✅"] {
        let told = stage.press("alice", &page, label).await;
        assert_eq!(
            said(&told),
            "Only the person who asked can use these buttons."
        );
        assert!(is_private(&told));
    }
    let still = stage.sim.message(id_of(&page)).expect("it stays");
    assert_eq!(footer(&still), "1/3");
}

#[tokio::test]
async fn buttons_work_across_a_restart_and_no_longer_than_a_quarter_of_an_hour() {
    let mut stage = board().await;
    let page = stage.reply("bob", ".ranks").await;
    stage.restart().await;
    let page = stage.press("bob", &page, "⏩").await;
    assert_eq!(footer(&page), "2/3");
    stage.sim.advance(Duration::from_mins(15));
    let pressed = stage
        .sim
        .click(stage.sim.user("bob"), id_of(&page), &button(&page, "⏩"));
    // The page without its buttons comes first.
    let whisper = || stage.sim.find_answer(pressed).filter(is_private);
    let told = stage.sim.wait("a word to bob", whisper).await;
    assert_eq!(
        said(&told),
        "These buttons have stopped working; type the command again."
    );
    let late = stage.sim.message(id_of(&page)).expect("the page stays");
    assert_eq!((buttons(&late), footer(&late)), (0, "2/3"));
}

#[tokio::test]
async fn buttons_that_do_not_work_any_more_are_taken_off_by_themselves() {
    let mut stage = board().await;
    let open = "select count(*) from open_buttons";
    let (typed, shut) = (
        stage.reply("bob", ".ranks").await,
        stage.sim.channel("general"),
    );
    let asked = stage
        .sim
        .slash(stage.sim.user("bob"), shut, "ranks", &json!([]));
    let slashed = stage.sim.answer_to(asked).await;
    let gone = stage.reply("bob", ".ranks 2").await;
    wait("the buttons to be noted", async || {
        (stage.database.number(open).await == 3).then_some(())
    })
    .await;
    stage.bot.kill().await;
    stage.sim.delete(shut, id_of(&gone));
    stage
        .database
        .execute("update open_buttons set closes_at = now() - interval '1 s'")
        .await;
    stage.sim.faults().next(
        2,
        Method::PATCH,
        "/channels/{}/messages/{}",
        Fault::Status(500),
    );
    stage.start_again().await;
    wait("the buttons to be taken off", async || {
        (stage.database.number(open).await == 0).then_some(())
    })
    .await;
    for page in [typed, slashed] {
        let now = stage.sim.message(id_of(&page)).expect("the page stays");
        assert_eq!((buttons(&now), footer(&now)), (0, "1/3"));
    }
}

#[tokio::test]
async fn who_hides_is_on_no_page_and_leaves_no_gap() {
    let mut stage = board().await;
    stage
        .database
        .execute("update user_point set hidden = true where user_id = 300000000000000001")
        .await;
    let alice = stage.sim.user("alice");
    stage
        .database
        .execute("update user_point set hidden = true where message_count = 50")
        .await;
    stage.restart().await;
    for who in ["alice", "bob"] {
        let page = stage.reply(who, ".ranks").await;
        assert_eq!(footer(&page), "1/3", "23 visible");
        let text = said(&page);
        assert!(!text.contains(&alice.to_string()), "{text}");
        assert!(
            rows(&page)[0].starts_with("1 - (name unknown) <@300000000000000002>"),
            "{text}"
        );
        assert!(rows(&page)[9].starts_with("10 - "), "{text}");
    }
    for who in ["alice", "bob"] {
        assert_eq!(
            stage.ask(who, &format!(".ranks <@{alice}>")).await,
            "alice keeps their XP hidden."
        );
    }
}

#[tokio::test]
async fn an_empty_board_says_so() {
    let stage = Stage::open().await;
    assert_eq!(
        stage.slash("bob", "ranks", json!([])).await,
        "Nobody has any XP yet."
    );
    assert_eq!(
        stage.ask("bob", ".ranks 2").await,
        "There is no page 2; there is only page 1."
    );
}

#[tokio::test]
async fn the_board_is_read_when_a_page_is_shown() {
    let stage = board().await;
    let page = stage.reply("bob", ".ranks").await;
    stage.rest();
    let carol = stage.sim.user("carol");
    stage.say("carol", "hello");
    stage.database.wait_for_messages(carol, 1).await;
    let page = stage.press("bob", &page, "⏪").await;
    assert!(said(&page).contains(&carol.to_string()), "{page}");
}

#[tokio::test]
async fn ids_that_no_button_has_are_refused() {
    let stage = board().await;
    let page = stage.reply("bob", ".ranks").await;
    let bob = stage.sim.user("bob");
    for forged in [
        "nonsense",
        "turn:ranks:1:on",
        "turn:ranks:99999999999999999999:on:5",
        "",
    ] {
        let pressed = stage.sim.forge_click(bob, id_of(&page), forged);
        let told = stage.sim.answer_to(pressed).await;
        assert_eq!(said(&told), "This button no longer works.", "{forged:?}");
        assert!(is_private(&told));
    }
    let far = format!("turn:ranks:{}:on:{bob}", u64::MAX);
    let pressed = stage.sim.forge_click(bob, id_of(&page), &far);
    assert_eq!(footer(&stage.sim.answer_to(pressed).await), "1/3");
}

#[tokio::test]
async fn trouble_at_discord_does_not_lose_a_page() {
    let stage = board().await;
    for fault in [Fault::Status(500), Fault::ResetAfter, Fault::Html(502)] {
        stage
            .sim
            .faults()
            .next(1, Method::POST, "/channels/{}/messages", fault.clone());
        let page = stage.reply("bob", ".ranks").await;
        stage.sim.faults().next(
            1,
            Method::POST,
            "/interactions/{}/{}/callback",
            fault.clone(),
        );
        let page = stage.press("bob", &page, "⏩").await;
        assert_eq!(footer(&page), "2/3", "{fault:?}");
    }
    for status in [403, 404] {
        stage.sim.faults().next(
            1,
            Method::POST,
            "/channels/{}/messages",
            Fault::Status(status),
        );
        stage.say("bob", ".ranks");
        let met = || (stage.sim.faults().left() == 0).then_some(());
        stage.sim.wait("the refusal", met).await;
        assert_eq!(footer(&stage.reply("bob", ".ranks").await), "1/3");
    }
}
