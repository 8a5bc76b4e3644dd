//! Reading the world by REST, rate limits, and the log of requests.

use std::time::Duration;

use discord_sim::{ChannelKind, DateHeader, Sim, World, members, permissions};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Rest, simulation};

#[tokio::test]
async fn both_listeners_answer() {
    let sim = simulation().await;
    for rest in [Rest::new(&sim), Rest::by_proxy(&sim)] {
        let (status, body) = rest.get("/gateway/bot").await;
        assert_eq!((status, &body["url"]), (200, &json!(sim.gateway_url())));
    }
    assert!(!sim.requests()[0].by_proxy && sim.requests()[1].by_proxy);
}

#[tokio::test]
async fn answers_say_what_time_it_is_in_the_world() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let date = async || {
        let asked = rest.request(Method::GET, "/gateway").send().await;
        let headers = asked.expect("an answer").headers().clone();
        let date = headers.get("date")?.to_str().expect("a text").to_owned();
        let date = chrono::DateTime::parse_from_rfc2822(&date).expect("a date");
        Some(date.timestamp())
    };
    let now = || i64::try_from(sim.now_ms() / 1_000).expect("a time");
    for (header, off_s) in [(DateHeader::World, 0), (DateHeader::Off(-7_200), -7_200)] {
        sim.settings(|settings| settings.date = header);
        for _ in 0..2 {
            let (before, said) = (now(), date().await.expect("a date"));
            assert!((before..=now()).contains(&(said - off_s)), "{header:?}");
            sim.advance(Duration::from_hours(30));
        }
    }
    sim.settings(|settings| settings.date = DateHeader::Missing);
    assert_eq!(date().await, None);
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    sim.settings(|settings| settings.token = "another".into());
    let refused = json!({ "message": "401: Unauthorized", "code": 0 });
    assert_eq!(rest.get("/users/@me").await, (401, refused));
    assert_eq!(rest.get("/gateway").await.0, 200, "needs none");
}

#[tokio::test]
async fn the_world_can_be_read() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let guild = sim.guild_id();
    let (_, me) = rest.get("/users/@me").await;
    assert_eq!(me["id"], sim.bot_id().to_string());
    let (_, application) = rest.get("/applications/@me").await;
    assert_eq!(application["flags"], 1 << 15 | 1 << 19);
    let (_, found) = rest.get(&format!("/guilds/{guild}?with_counts=true")).await;
    assert_eq!(found["approximate_member_count"], sim.member_count());
    let (_, roles) = rest.get(&format!("/guilds/{guild}/roles")).await;
    let names: Vec<&Value> = roles
        .as_array()
        .into_iter()
        .flatten()
        .map(|role| &role["name"])
        .collect();
    assert!(names.contains(&&json!("Minions")) && names.contains(&&json!("@everyone")));
    let (_, channels) = rest.get(&format!("/guilds/{guild}/channels")).await;
    let threads = channels
        .as_array()
        .into_iter()
        .flatten()
        .filter(|one| one["type"] == 11);
    assert_eq!(threads.count(), 0, "threads are not among the channels");
    let (_, thread) = rest
        .get(&format!("/channels/{}", sim.channel("weekend-plans")))
        .await;
    assert_eq!(thread["parent_id"], sim.channel("general").to_string());
    let (_, guilds) = rest.get("/users/@me/guilds").await;
    assert_eq!(guilds[0]["id"], guild.to_string());
    let path = format!("/guilds/{guild}/members/{}", members::id_of(17));
    let (_, member) = rest.get(&path).await;
    let expected = members::generated(17);
    assert_eq!(member["user"]["username"], expected.username);
    assert_eq!(member["nick"], json!(expected.nick));
}

#[tokio::test]
async fn what_does_not_exist_has_its_code() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let (guild, general) = (sim.guild_id(), sim.channel("general"));
    for (path, status, code) in [
        ("/channels/1".to_owned(), 404, 10_003),
        ("/guilds/1".to_owned(), 404, 10_004),
        (
            format!("/guilds/{guild}/members/{}", members::id_of(900_000)),
            404,
            10_007,
        ),
        (format!("/channels/{general}/messages/1"), 404, 10_008),
        ("/users/1".to_owned(), 404, 10_013),
        (format!("/channels/{}", sim.channel("staff")), 403, 50_001),
        ("/users/abc".to_owned(), 400, 50_035),
        ("/no/such/route".to_owned(), 404, 0),
    ] {
        let (found, body) = rest.get(&path).await;
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{path}");
    }
    sim.bot_in_guild(false);
    assert_eq!(
        rest.get(&format!("/guilds/{guild}")).await.1["code"],
        10_004
    );
}

#[tokio::test]
async fn a_million_members_can_be_paged_through() {
    let sim = Sim::start(World::new().members(1_000_000))
        .await
        .expect("it starts");
    let rest = Rest::by_proxy(&sim);
    let path = format!("/guilds/{}/members", sim.guild_id());
    assert_eq!(sim.member_count(), 1_000_007);
    let (_, one) = rest.get(&path).await;
    assert_eq!(one.as_array().map(Vec::len), Some(1), "the default is one");
    let mut after = "0".to_owned();
    for _ in 0..5 {
        let (_, page) = rest.get(&format!("{path}?limit=1000&after={after}")).await;
        let page = page.as_array().cloned().unwrap_or_default();
        assert_eq!(page.len(), 1_000);
        let ids = page
            .iter()
            .filter_map(|member| member["user"]["id"].as_str());
        let ids: Vec<u64> = ids.filter_map(|id| id.parse().ok()).collect();
        assert!(ids.is_sorted() && ids[0] > after.parse().unwrap_or(u64::MAX));
        after = ids[999].to_string();
    }
    let end = format!("{path}?limit=1000&after={}", u64::MAX);
    assert_eq!(rest.get(&end).await, (200, json!([])));
    assert_eq!(
        rest.get(&format!("{path}?limit=1001")).await.1["code"],
        50_035
    );
    assert_eq!(rest.get(&format!("{path}?limit=0")).await.1["code"], 50_035);
}

#[tokio::test]
async fn those_who_may_ban_can_page_through_the_bans() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let path = format!("/guilds/{}/bans", sim.guild_id());
    let mut banned: Vec<u64> = (0..1_500).map(members::id_of).collect();
    for user in &banned {
        sim.ban(*user);
    }
    assert_eq!(rest.get(&path).await.0, 403, "the bot may not");
    let allowed = permissions::BOT | permissions::BAN_MEMBERS;
    sim.role_permissions(sim.role("wall_e"), allowed);
    banned.sort_unstable();
    let ids = async |query: &str| -> Vec<u64> {
        let (status, page) = rest.get(&format!("{path}{query}")).await;
        assert_eq!(status, 200, "{query}");
        let page = page.as_array().expect("a list").iter();
        let id = |ban: &Value| ban["user"]["id"].as_str()?.parse().ok();
        page.map(|ban| id(ban).expect("an id")).collect()
    };
    assert_eq!(ids("").await, banned[..1_000]);
    let after = banned[999];
    assert_eq!(ids(&format!("?after={after}")).await, banned[1_000..]);
    assert_eq!(
        ids(&format!("?after={after}&limit=2")).await,
        banned[1_000..1_002]
    );
    assert_eq!(
        ids(&format!("?before={after}&limit=2")).await,
        banned[997..999]
    );
    sim.unban(banned[0]);
    assert_eq!(ids("?limit=1").await, banned[1..2]);
    assert_eq!(rest.get(&format!("{path}?limit=1001")).await.0, 400);
}

#[tokio::test]
async fn rates_are_limited_per_channel() {
    let sim = Sim::start(World::new()).await.expect("it starts");
    let rest = Rest::new(&sim);
    let path = format!("/channels/{}/messages", sim.channel("general"));
    let body = json!({ "content": "hello" });
    let mut limited = None;
    // One window of five seconds, or two if the machine is very slow.
    for _ in 0..11 {
        let request = rest.request(Method::POST, &path).json(&body);
        let response = request.send().await.expect("an answer");
        let headers = response.headers();
        assert_eq!(headers["x-ratelimit-limit"], "5");
        assert!(headers.contains_key("x-ratelimit-bucket"));
        assert!(headers.contains_key("x-ratelimit-reset"));
        if response.status() == 429 {
            limited = Some(response);
            break;
        }
    }
    let limited = limited.expect("a limit");
    let headers = limited.headers();
    assert_eq!(headers["x-ratelimit-scope"], "user");
    assert_eq!(headers["x-ratelimit-remaining"], "0");
    assert!(headers.contains_key("retry-after"));
    let body: Value = limited.json().await.expect("JSON");
    assert_eq!(body["global"], false);
    assert!(body["retry_after"].as_f64().is_some_and(|wait| wait <= 5.0));

    let proxy = Rest::by_proxy(&sim);
    for _ in 0..8 {
        assert_eq!(proxy.post(&path, &json!({ "content": "x" })).await.0, 200);
    }
}

#[tokio::test]
async fn requests_are_logged_without_secrets() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let path = format!("/channels/{}/messages", sim.channel("general"));
    let request = rest
        .request(Method::POST, &path)
        .json(&json!({ "content": "hi" }));
    request
        .header("X-Audit-Log-Reason", "because%20of%20tests")
        .send()
        .await
        .expect("an answer");
    let logged = sim.requests_to(&Method::POST, "/channels/{}/messages");
    assert_eq!(logged.len(), 1);
    assert_eq!(logged[0].status, Some(200));
    assert_eq!(logged[0].body["content"], "hi");
    assert_eq!(logged[0].reason.as_deref(), Some("because of tests"));
    assert!(!format!("{logged:?}").contains(&sim.token()));
    let waited = sim
        .wait_for(Duration::from_secs(20), || {
            (sim.requests().len() == 1).then_some(())
        })
        .await;
    assert!(waited.is_some());
}

#[tokio::test]
async fn archived_threads_are_listed_as_their_kind_is() {
    let mut world = World::new();
    for (name, kind) in [
        ("first", ChannelKind::PrivateThread),
        ("second", ChannelKind::PrivateThread),
        ("third", ChannelKind::PrivateThread),
        ("not-joined", ChannelKind::PrivateThread),
        ("public", ChannelKind::Thread),
    ] {
        world = world.channel(name, kind, Some("random"));
    }
    let sim = Sim::start(world).await.expect("it starts");
    let rest = Rest::by_proxy(&sim);
    let random = sim.channel("random");
    // Put away in another order than they were made in.
    for name in ["third", "first", "second", "not-joined", "public"] {
        let thread = sim.channel(name);
        if name != "not-joined" {
            sim.add_bot(thread);
        }
        sim.post(discord_sim::Message::new(thread, sim.user("alice"), "x").quietly());
        sim.advance(Duration::from_secs(1));
        sim.archive(thread);
    }
    let names = async |path: &str| -> Vec<String> {
        let (status, list) = rest.get(path).await;
        assert_eq!(status, 200, "{path}: {list}");
        let threads = list["threads"].as_array().into_iter().flatten();
        let mut names: Vec<String> = threads
            .map(|thread| thread["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        if list["has_more"] == true {
            names.push("…".to_owned());
        }
        names
    };
    let private = format!("/channels/{random}/users/@me/threads/archived/private");
    assert_eq!(names(&private).await, ["third", "second", "first"]);
    assert_eq!(
        names(&format!("{private}?limit=2")).await,
        ["third", "second", "…"]
    );
    let before = format!("{private}?before={}", sim.channel("second"));
    assert_eq!(names(&before).await, ["first"], "an id, not a time");
    let by_time = format!("{private}?before=2026-01-01T00:00:00Z");
    assert_eq!(rest.get(&by_time).await.1["code"], 50_035);
    let public = format!("/channels/{random}/threads/archived/public");
    assert_eq!(names(&public).await, ["public"]);

    for (thread, status) in [("first", 200), ("not-joined", 403)] {
        let path = format!("/channels/{}/messages", sim.channel(thread));
        assert_eq!(rest.get(&path).await.0, status, "{thread}");
    }
    sim.bot_permissions(random, 0, permissions::READ_MESSAGE_HISTORY);
    for path in [&private, &public] {
        assert_eq!(rest.get(path).await.0, 403, "{path}");
    }
}

#[tokio::test]
async fn a_history_is_read_so_often_and_says_so() {
    let sim = Sim::start(World::new()).await.expect("it starts");
    let rest = Rest::new(&sim);
    let path = format!("/channels/{}/messages", sim.channel("general"));
    // One window of five seconds, or two if the machine is very slow.
    for read in 0..12 {
        let asked = rest.request(Method::GET, &path).send().await;
        let response = asked.expect("an answer");
        let header = |name: &str| {
            let value = response.headers().get(name);
            let value = value.unwrap_or_else(|| panic!("{name} is there"));
            value.to_str().expect("a text").to_owned()
        };
        assert_eq!(header("x-ratelimit-limit"), "5");
        assert_eq!(header("x-ratelimit-bucket").len(), 16);
        let left: f64 = header("x-ratelimit-reset-after").parse().expect("seconds");
        assert!((0.0..=5.0).contains(&left), "{left}");
        let until: f64 = header("x-ratelimit-reset").parse().expect("seconds");
        assert!(until > 1.0e9, "{until}");
        let remaining = header("x-ratelimit-remaining");
        if response.status() == 429 {
            assert!(read >= 5, "{read}");
            assert_eq!(remaining, "0");
            assert_eq!(header("x-ratelimit-scope"), "user");
            assert!(header("retry-after").parse::<u64>().is_ok());
            return;
        }
        if read < 5 {
            // Fewer only if a new window has begun.
            let left: i32 = remaining.parse().expect("a number");
            assert!(left >= 4 - read, "{left} after {read}");
        }
    }
    panic!("12 calls came through");
}

#[tokio::test]
async fn the_busiest_second_is_known() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    assert_eq!(sim.peak_calls_per_second(), 0);
    for _ in 0..3 {
        rest.get("/webhooks/1/token").await;
    }
    assert_eq!(sim.peak_calls_per_second(), 0, "they answer interactions");
    rest.get("/users/@me").await;
    assert_eq!(sim.peak_calls_per_second(), 1);
    sim.clear_requests();
    assert_eq!(sim.peak_calls_per_second(), 0);
}

#[tokio::test]
async fn only_bots_that_say_so_are_let_in() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let asked = rest.request(Method::GET, "/users/@me");
    let asked = asked.header("User-Agent", "reqwest/0.12").send().await;
    let response = asked.expect("an answer");
    assert_eq!(response.status(), 403);
    assert_eq!(
        response.headers()["content-type"],
        "text/html; charset=UTF-8"
    );
    assert_eq!(rest.get("/users/@me").await.0, 200);
    assert_eq!(Rest::by_proxy(&sim).get("/users/@me").await.0, 200);
    sim.settings(|settings| settings.rest_needs_user_agent = false);
    let asked = rest.request(Method::GET, "/users/@me");
    let asked = asked.header("User-Agent", "reqwest/0.12").send().await;
    assert_eq!(asked.expect("an answer").status(), 200);

    let picture = format!("{}/embed/avatars/0.png", sim.cdn_url());
    let fetch = async |agent: &str| {
        let client = reqwest::Client::new();
        let asked = client.get(&picture).header("User-Agent", agent).send();
        asked.await.expect("an answer").status().as_u16()
    };
    assert_eq!(fetch("reqwest/0.12").await, 200, "only where that is set");
    sim.settings(|settings| settings.cdn_needs_user_agent = true);
    assert_eq!(fetch("reqwest/0.12").await, 403);
    assert_eq!(fetch("DiscordBot (https://example.invalid, 1)").await, 200);
}
