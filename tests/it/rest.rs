//! Calls to Discord: what a proxy in front of it asks for is kept, and what was done is not
//! taken for a failure because of the words that come with it.

use std::time::{Duration, Instant};

use discord_sim::{Fault, Method, Scope, Sim, World};
use serde_json::json;
use serenity::all::{ChannelId, LightMethod};
use serenity::http::{Request, Route};
use wall_e::discord::cdn::NoImage;
use wall_e::discord::guild::{members, roles};
use wall_e::discord::{Repeat, Rest, RestError};
use wall_e::leveling::GuildId;

use crate::roles::{PUT, three_names};
use crate::support::{Bot, Stage, cdn, rest, rest_by_proxy, rest_until_revoked, said, wait};

const ME: &str = "/users/@me";
const ROLES: &str = "/guilds/{}/roles";

fn limited(retry_after: Duration, scope: Scope) -> Fault {
    Fault::RateLimited {
        retry_after,
        scope,
        headers: true,
    }
}

#[tokio::test]
async fn through_a_proxy_a_short_wait_is_waited_for() {
    let sim = Sim::start(World::new()).await.unwrap();
    let rest = rest_by_proxy(&sim);
    let wait = limited(Duration::from_millis(1_500), Scope::User);
    sim.faults().next(1, Method::GET, ME, wait);
    let started = Instant::now();
    members::own_id(&rest).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(1_500));
    assert_eq!(sim.requests_to(&Method::GET, ME).len(), 2);
}

#[tokio::test]
async fn through_a_proxy_nothing_is_called_before_a_long_wait_is_over() {
    let sim = Sim::start(World::new()).await.unwrap();
    let rest = rest_by_proxy(&sim);
    let served = GuildId::new(sim.guild_id()).unwrap();
    let hour = Duration::from_hours(1);
    sim.faults()
        .next(1, Method::GET, ME, limited(hour, Scope::User));
    for _ in 0..3 {
        let refused = members::own_id(&rest).await.unwrap_err();
        assert!(
            matches!(refused, RestError::Limited { wait, .. } if wait > hour / 2),
            "{refused}"
        );
        assert!(refused.to_string().contains("rate limit"), "{refused}");
    }
    assert_eq!(sim.requests_to(&Method::GET, ME).len(), 1, "asked once");
    // What is limited apart goes on, until everything is limited.
    roles::list(&rest, served).await.unwrap();
    let global = limited(hour, Scope::Global);
    sim.faults().next(1, Method::GET, ROLES, global);
    for _ in 0..3 {
        roles::list(&rest, served).await.unwrap_err();
    }
    assert_eq!(sim.requests_to(&Method::GET, ROLES).len(), 2);
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_named_by_its_field() {
    let sim = Sim::start(World::new()).await.unwrap();
    let served = GuildId::new(sim.guild_id()).unwrap();
    let rest = rest_by_proxy(&sim);
    let odd = json!([{ "id": "5", "name": ["secret"], "permissions": "0", "position": 1 }]);
    let faults = sim.faults();
    faults.next(1, Method::GET, ROLES, Fault::Answer(odd));
    let error = roles::list(&rest, served).await.unwrap_err().to_string();
    assert!(
        error.contains("[0].name") && !error.contains("secret"),
        "{error}"
    );
    faults.next(1, Method::GET, ROLES, Fault::Html(200));
    let error = roles::list(&rest, served).await.unwrap_err().to_string();
    assert!(error.contains("not JSON"), "{error}");
}

/// So answers what stands in front of Discord: a firewall, a proxy.
#[tokio::test]
async fn a_refusal_that_is_not_discords_own_is_no_answer() {
    let sim = Sim::start(World::new()).await.unwrap();
    let served = GuildId::new(sim.guild_id()).unwrap();
    let rest = rest(&sim);
    for status in [403, 404] {
        sim.faults()
            .next(1, Method::GET, ROLES, Fault::Html(status));
        roles::list(&rest, served).await.expect("asked once more");
        sim.faults()
            .next(20, Method::GET, ROLES, Fault::Html(status));
        let error = roles::list(&rest, served).await.unwrap_err();
        assert!(error.is_away() && !error.is_forbidden(), "{error}");
        sim.faults().clear();
    }
}

#[tokio::test]
async fn what_was_done_is_done_whatever_is_said_of_it() {
    let sim = Sim::start(World::new()).await.unwrap();
    let database = three_names().await;
    let odd = |method, path| sim.faults().next(1, method, path, Fault::HtmlAfter(200));
    let commands = "/applications/{}/guilds/{}/commands";
    odd(Method::PUT, commands);
    let bot = Bot::start(&sim, &database.url()).await;
    bot.logged("the slash commands are registered").await;
    bot.logged("roles are verified").await;
    assert_eq!(sim.requests_to(&Method::PUT, commands).len(), 1);

    let alice = sim.user("alice");
    let callback = "/interactions/{}/{}/callback";
    odd(Method::POST, callback);
    let asked = sim.slash(alice, sim.channel("general"), "rank", &json!([]));
    let answer = sim.answer_to(asked).await;
    assert!(said(&answer).contains("no XP yet"), "{answer}");

    odd(PUT.0, PUT.1);
    sim.say(alice, sim.channel("general"), "hello");
    wait("the role", async || {
        let zero = sim.find_role("Zero")?;
        sim.member_roles(alice).contains(&zero).then_some(())
    })
    .await;

    let messages = "/channels/{}/messages";
    odd(Method::POST, messages);
    let asked = sim.say(alice, sim.channel("general"), ".rank");
    sim.reply_to(asked).await;
    // All of it is over before the next answer, and nothing of it was done twice.
    let stage = Stage { bot, database, sim };
    stage.ask("alice", ".rank").await;
    let sim = &stage.sim;
    assert_eq!(sim.faults().left(), 0);
    assert_eq!(sim.requests_to(&Method::POST, callback).len(), 1);
    assert_eq!(sim.requests_to(&PUT.0, PUT.1).len(), 1);
    assert_eq!(sim.requests_to(&Method::POST, messages).len(), 2);
    let log = stage.bot.log();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

/// A call of the kind that is meant, with time for a short wait.
async fn call(rest: &Rest, method: LightMethod, route: Route<'_>) -> Result<(), RestError> {
    let patience = Duration::from_secs(10);
    rest.call("a call", Repeat::Safe, patience, |api| async move {
        api.send(Request::new(route, method)).await
    })
    .await
}

#[tokio::test]
async fn a_single_401_ends_nothing() {
    let sim = Sim::start(World::new()).await.unwrap();
    let (rest, revoked) = rest_until_revoked(&sim);
    let served = GuildId::new(sim.guild_id()).unwrap();
    let faults = sim.faults();
    faults.next(1, Method::GET, ROLES, Fault::Status(401));
    roles::list(&rest, served).await.unwrap();
    assert_eq!(sim.requests_to(&Method::GET, ROLES).len(), 2);
    assert_eq!(sim.requests_to(&Method::GET, ME).len(), 1, "confirmed");
    // What might be done twice is not repeated, and not called a refusal.
    faults.next(1, Method::POST, ROLES, Fault::Status(401));
    let made = roles::create(&rest, served, "Role", "a test").await;
    assert!(
        matches!(made, Err(ref error) if error.is_away()),
        "{made:?}"
    );
    assert_eq!(sim.requests_to(&Method::POST, ROLES).len(), 1);
    assert!(!revoked.is_cancelled());

    sim.settings(|settings| settings.token = "another".to_owned());
    sim.clear_requests();
    let refused = roles::list(&rest, served).await;
    assert_eq!(refused, Err(RestError::Revoked));
    assert!(revoked.is_cancelled());
    assert_eq!(sim.requests().len(), 2, "the call, and the confirmation");
    roles::list(&rest, served).await.unwrap_err();
    assert_eq!(sim.requests().len(), 2, "and no more");
}

#[tokio::test]
async fn while_an_address_is_banned_one_call_at_a_time_knocks() {
    let sim = Sim::start(World::new()).await.unwrap();
    let rest = rest(&sim);
    sim.faults().ban();
    let callers = (1..=20_u64).map(|number| {
        let channel_id = ChannelId::new(number);
        call(&rest, LightMethod::Get, Route::Channel { channel_id })
    });
    // Each by itself would have knocked several times by then.
    let began = Instant::now();
    let lifting = async {
        let knocked = || sim.faults().turned_away() > 20 && began.elapsed().as_secs() >= 2;
        let again = || knocked().then_some(());
        sim.wait("somebody to knock again", again).await;
        sim.faults().lift_ban();
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(callers), lifting);
    // They had time enough to be served afterwards: there is no such channel.
    let is_served = |answer: &Result<(), RestError>| {
        matches!(answer, Err(RestError::Refused { status: 404, .. }))
    };
    assert!(answers.iter().all(is_served), "{answers:?}");
    // All 20 were under way when the first of them was turned away; then one after a second,
    // and perhaps one two seconds later.
    let turned_away = sim.faults().turned_away();
    assert!((21..=22).contains(&turned_away), "{turned_away}");
}

#[tokio::test]
async fn in_a_long_ban_calls_end_at_once_and_nobody_knocks() {
    let sim = Sim::start(World::new()).await.unwrap();
    let rest = rest(&sim);
    sim.faults().limit_all(Duration::from_hours(1));
    members::own_id(&rest).await.unwrap_err();
    let served = GuildId::new(sim.guild_id()).unwrap();
    for _ in 0..50 {
        let error = roles::list(&rest, served).await.unwrap_err();
        assert!(error.is_away() && error.wait().is_some(), "{error}");
    }
    assert_eq!(sim.faults().turned_away(), 1);
}

#[tokio::test]
async fn while_everything_is_limited_interactions_are_answered() {
    let stage = Stage::open().await;
    let faults = stage.sim.faults();
    faults.limit_all(Duration::from_hours(1));
    stage.say("alice", ".rank");
    stage.bot.logged("Discord refuses all calls").await;
    stage.sim.clear_requests();
    let answer = stage.slash("alice", "rank", json!([])).await;
    assert!(answer.contains("alice"), "{answer}");
    stage.say("bob", ".rank");
    let answer = stage.slash("bob", "rank", json!([])).await;
    assert!(answer.contains("bob"), "{answer}");
    let requests = stage.sim.requests();
    let is_answer = |request: &discord_sim::Request| request.path.starts_with("/interactions/");
    assert!(requests.iter().all(is_answer), "{requests:?}");
    let said = stage.bot.log().matches("Discord refuses all calls").count();
    assert_eq!(said, 1);
}

#[tokio::test]
async fn edits_of_old_messages_that_are_one_too_many_are_not_repeated() {
    const MESSAGE: &str = "/channels/{}/messages/{}";
    let sim = Sim::start(World::new()).await.unwrap();
    let rest = rest(&sim);
    let edit = async || {
        let route = Route::ChannelMessage {
            channel_id: sim.channel("general").into(),
            message_id: 7.into(),
        };
        call(&rest, LightMethod::Patch, route).await
    };
    let too_many = Fault::Refused {
        status: 429,
        code: 30_046,
    };
    sim.faults().next(1, Method::PATCH, MESSAGE, too_many);
    let refused = edit().await.unwrap_err();
    assert!(refused.wait().is_some(), "{refused}");
    assert_eq!(sim.requests_to(&Method::PATCH, MESSAGE).len(), 1);
    // Younger messages of the channel are edited all the same; this one is not there at all.
    let answered = edit().await.unwrap_err();
    assert!(
        matches!(answered, RestError::Refused { status: 404, .. }),
        "{answered}"
    );
}

#[tokio::test]
async fn a_long_limit_on_reading_a_channel_does_not_hold_up_writing_there() {
    const MESSAGES: &str = "/channels/{}/messages";
    let sim = Sim::start(World::new()).await.unwrap();
    let rest = rest(&sim);
    let messages = |method| {
        let channel_id = sim.channel("general").into();
        call(&rest, method, Route::ChannelMessages { channel_id })
    };
    let hour = limited(Duration::from_hours(1), Scope::User);
    sim.faults().next(1, Method::GET, MESSAGES, hour);
    for _ in 0..3 {
        let error = messages(LightMethod::Get).await.unwrap_err();
        assert!(error.wait() > Some(Duration::from_mins(59)), "{error}");
    }
    assert_eq!(sim.requests_to(&Method::GET, MESSAGES).len(), 1);
    // An empty message is refused, which is an answer.
    let answered = messages(LightMethod::Post).await.unwrap_err();
    assert!(
        matches!(answered, RestError::Refused { status: 400, .. }),
        "{answered}"
    );
}

#[tokio::test]
async fn no_more_than_forty_calls_are_made_in_any_second() {
    let sim = Sim::start(World::new()).await.unwrap();
    let rest = rest(&sim);
    let callers = (1..=130_u64).map(|number| {
        let channel_id = ChannelId::new(number);
        call(&rest, LightMethod::Get, Route::Channel { channel_id })
    });
    for answer in futures_util::future::join_all(callers).await {
        let error = answer.unwrap_err();
        assert!(
            matches!(error, RestError::Refused { status: 404, .. }),
            "{error}"
        );
    }
    let peak = sim.peak_calls_per_second();
    assert!(peak <= 40, "{peak}");
    assert_eq!(sim.requests().len(), 130, "and none was too early");
}

#[tokio::test]
async fn every_call_says_what_it_comes_from() {
    let stage = Stage::open().await;
    stage.sim.clear_requests();
    let (general, moderator) = (stage.sim.channel("general"), stage.sim.user("mod"));
    stage.ask("alice", ".rank").await;
    stage.slash("alice", "rank", json!([])).await;
    // Trouble with suggestions passes like any other.
    let callback = "/interactions/{}/{}/callback";
    let faults = stage.sim.faults();
    faults.next(1, Method::POST, callback, Fault::Status(500));
    let typed = json!([{ "name": "level", "value": "1" }]);
    let typed = stage
        .sim
        .autocomplete(moderator, general, "set_level_name", &typed, "level");
    assert!(!stage.sim.choices_for(typed).await.is_empty());
    let expected = format!(
        "DiscordBot (https://wall-e.invalid, {})",
        env!("CARGO_PKG_VERSION")
    );
    let requests = stage.sim.requests();
    assert!(requests.len() >= 4, "{requests:?}");
    for request in requests {
        assert_eq!(request.agent, expected, "{request}");
    }
}

#[tokio::test]
async fn the_cdn_is_told_as_well() {
    let sim = Sim::start(World::new()).await.unwrap();
    sim.settings(|settings| settings.cdn_needs_user_agent = true);
    let image = cdn(&sim).fetch("/embed/avatars/0.png?size=256").await;
    assert!(!matches!(image, Err(NoImage::Status(403))), "{image:?}");
}
