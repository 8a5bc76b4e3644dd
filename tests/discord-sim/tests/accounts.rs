//! Accounts that end and come back, and many that change at once.

use discord_sim::{Id, Sim, members};
use serde_json::{Value, json};

use crate::support::{Client, INTENTS, Rest, simulation};

async fn shown(rest: &Rest, user: Id) -> (u16, Value) {
    rest.get(&format!("/users/{user}")).await
}

/// The author of the latest message in the history.
async fn author(sim: &Sim, rest: &Rest) -> Value {
    let path = format!("/channels/{}/messages?limit=1", sim.channel("general"));
    rest.get(&path).await.1[0]["author"].clone()
}

#[tokio::test]
async fn deleted_and_erased_accounts_leave_and_come_back() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let mut client = Client::identified(&sim, INTENTS).await;
    let generated = members::id_of(5);
    for user in [sim.user("alice"), generated] {
        sim.say(user, sim.channel("general"), "hi");
        client.event("MESSAGE_CREATE").await;
        let (_, before) = shown(&rest, user).await;
        sim.delete_account(user);
        let gone = client.event("GUILD_MEMBER_REMOVE").await;
        assert_eq!(gone["user"]["id"], user.to_string());
        let (status, deleted) = shown(&rest, user).await;
        assert_eq!(status, 200);
        let name = deleted["username"].as_str().expect("a name");
        let digits = name.strip_prefix("deleted_user_").expect("a deleted one");
        assert!(digits.len() == 12 && digits.chars().all(|digit| digit.is_ascii_hexdigit()));
        assert!(deleted["global_name"].is_null() && deleted["avatar"].is_null());
        assert_eq!(deleted["discriminator"], "0");
        assert_eq!(author(&sim, &rest).await, deleted);
        let member = format!("/guilds/{}/members/{user}", sim.guild_id());
        assert_eq!(rest.get(&member).await.1["code"], 10_007);
        sim.username(user, "somebody_else");
        assert_eq!(shown(&rest, user).await.1, deleted);

        sim.erase_account(user);
        let (status, erased) = shown(&rest, user).await;
        assert_eq!((status, &erased["code"]), (404, &json!(10_013)));
        assert_eq!(rest.get(&member).await.1["code"], 10_013);
        assert_eq!(author(&sim, &rest).await, deleted);

        sim.restore_account(user);
        assert_eq!(shown(&rest, user).await.1, before);
        assert_eq!(author(&sim, &rest).await, before);
        assert_eq!(rest.get(&member).await.1["code"], 10_007);
        sim.join(user);
        let joined = client.event("GUILD_MEMBER_ADD").await;
        assert_eq!(joined["user"], before);
        assert_eq!(rest.get(&member).await.0, 200);
    }
}

#[tokio::test]
#[should_panic(expected = "their account is no more")]
async fn whoever_has_no_account_does_not_join() {
    let sim = simulation().await;
    sim.erase_account(sim.user("alice"));
    sim.join(sim.user("alice"));
}

#[tokio::test]
async fn generated_members_change_at_once_and_silently() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let mut client = Client::identified(&sim, INTENTS).await;
    let (touched, user) = (members::id_of(11), members::id_of(12));
    sim.username(touched, "touched");
    client.event("GUILD_MEMBER_UPDATE").await;
    sim.say(user, sim.channel("general"), "hi");
    client.event("MESSAGE_CREATE").await;
    sim.rename_members(10..20);
    sim.rename_members(12..13);
    sim.change_avatars(10..20);
    let expected = members::revised(12, 2, 1);
    let (_, found) = shown(&rest, user).await;
    assert_eq!(found["username"], expected.username);
    assert_eq!(found["avatar"], json!(expected.avatar));
    assert_ne!(found["avatar"], json!(members::generated(12).avatar));
    assert_eq!(author(&sim, &rest).await, found);
    let expected = members::revised(11, 1, 1);
    let (_, found) = shown(&rest, touched).await;
    assert_eq!(found["username"], expected.username);
    assert_eq!(sim.find_user("touched"), None);
    assert_eq!(sim.find_user(&expected.username), Some(touched));
    let others = members::generated(20);
    assert_eq!(shown(&rest, others.id).await.1["username"], others.username);

    // The next that is heard of is another's message, and the list knows all.
    sim.say(user, sim.channel("general"), "again");
    let event = client.event("MESSAGE_CREATE").await;
    assert_eq!(
        event["author"]["username"],
        members::revised(12, 2, 1).username
    );
    let path = format!("/guilds/{}/members?limit=1000", sim.guild_id());
    let mut renamed = 0;
    let mut after = "0".to_owned();
    loop {
        let (_, page) = rest.get(&format!("{path}&after={after}")).await;
        let page = page.as_array().cloned().unwrap_or_default();
        let Some(last) = page.last() else {
            break;
        };
        after = last["user"]["id"].as_str().unwrap_or_default().to_owned();
        let names = page
            .iter()
            .filter_map(|one| one["user"]["username"].as_str());
        renamed += names.filter(|name| name.contains("_v")).count();
    }
    assert_eq!(renamed, 10);
}

#[tokio::test]
async fn what_single_people_do_works_for_generated_ones() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let user = members::id_of(3);
    sim.username(user, "one");
    sim.global_name(user, Some("Two"));
    sim.avatar(user, Some("three"));
    sim.nick(user, Some("Four"));
    sim.guild_avatar(user, Some("five"));
    let path = format!("/guilds/{}/members/{user}", sim.guild_id());
    let (_, member) = rest.get(&path).await;
    let account = &member["user"];
    assert_eq!(
        [
            &account["username"],
            &account["global_name"],
            &account["avatar"],
            &member["nick"],
            &member["avatar"]
        ],
        ["one", "Two", "three", "Four", "five"]
    );
    assert_eq!(sim.account(user).as_ref(), Some(account));
}
