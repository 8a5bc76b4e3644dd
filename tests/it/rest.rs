//! Calls to Discord: what a proxy in front of it asks for is kept, and what was done is not
//! taken for a failure because of the words that come with it.

use std::time::{Duration, Instant};

use discord_sim::{Fault, Method, Scope, Sim, World};
use serde_json::json;
use wall_e::discord::{RestError, guild};
use wall_e::leveling::GuildId;

use crate::roles::{PUT, three_names};
use crate::support::{Bot, Stage, rest_by_proxy, said, wait};

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
    let rest = rest_by_proxy(&sim).await;
    let wait = limited(Duration::from_millis(1_500), Scope::User);
    sim.faults().next(1, Method::GET, ME, wait);
    let started = Instant::now();
    guild::own_id(&rest).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(1_500));
    assert_eq!(sim.requests_to(&Method::GET, ME).len(), 2);
}

#[tokio::test]
async fn through_a_proxy_nothing_is_called_before_a_long_wait_is_over() {
    let sim = Sim::start(World::new()).await.unwrap();
    let rest = rest_by_proxy(&sim).await;
    let served = GuildId::new(sim.guild_id()).unwrap();
    let hour = Duration::from_hours(1);
    sim.faults()
        .next(1, Method::GET, ME, limited(hour, Scope::User));
    for _ in 0..3 {
        let refused = guild::own_id(&rest).await.unwrap_err();
        assert!(
            matches!(refused, RestError::Limited { wait, .. } if wait > hour / 2),
            "{refused}"
        );
        assert!(refused.to_string().contains("rate limit"), "{refused}");
    }
    assert_eq!(sim.requests_to(&Method::GET, ME).len(), 1, "asked once");
    // What is limited apart goes on, until everything is limited.
    guild::roles(&rest, served).await.unwrap();
    let global = limited(hour, Scope::Global);
    sim.faults().next(1, Method::GET, ROLES, global);
    for _ in 0..3 {
        guild::roles(&rest, served).await.unwrap_err();
    }
    assert_eq!(sim.requests_to(&Method::GET, ROLES).len(), 2);
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_named_by_its_field() {
    let sim = Sim::start(World::new()).await.unwrap();
    let served = GuildId::new(sim.guild_id()).unwrap();
    let rest = rest_by_proxy(&sim).await;
    let odd = json!([{ "id": "5", "name": ["secret"], "permissions": "0", "position": 1 }]);
    let faults = sim.faults();
    faults.next(1, Method::GET, ROLES, Fault::Answer(odd));
    let error = guild::roles(&rest, served).await.unwrap_err().to_string();
    assert!(
        error.contains("[0].name") && !error.contains("secret"),
        "{error}"
    );
    faults.next(1, Method::GET, ROLES, Fault::Html(200));
    let error = guild::roles(&rest, served).await.unwrap_err().to_string();
    assert!(error.contains("not JSON"), "{error}");
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
