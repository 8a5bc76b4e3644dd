//! The guild goes for a while and comes back in the same session, or comes late into a new one:
//! what happened meanwhile was not sent, and is made good.

use discord_sim::{Method, World};
use serde_json::json;

use crate::roles::{holds, level_roles, verified};
use crate::support::{Ledger, Stage, wait};

const ALL: [&str; 3] = ["Zero", "One", "Five"];

/// Carol writes and alice leaves and comes back, and the bot hears of none of it.
fn go_unheard(stage: &Stage, ledger: &mut Ledger) {
    let alice = stage.sim.user("alice");
    stage.rest();
    ledger.write(stage, "carol", "random", true);
    stage.sim.leave(alice);
    stage.sim.join(alice);
    assert_eq!(level_roles(&stage.sim, alice), [""; 0]);
}

/// Both are made good without another session, and what comes live counts again.
async fn is_made_good(stage: &Stage, mut ledger: Ledger) {
    let identifies = stage.sim.gateway().identifies();
    ledger.comes_true(stage).await;
    holds(stage, stage.sim.user("alice"), &ALL).await;
    stage.rest();
    ledger.write(stage, "carol", "general", true);
    ledger.comes_true(stage).await;
    assert_eq!(stage.sim.gateway().identifies(), identifies);
}

/// How often something stands in the log.
fn said(stage: &Stage, text: &str) -> usize {
    stage.bot.log().matches(text).count()
}

async fn outage(spoiled: bool) {
    let stage = verified().await;
    let mut ledger = Ledger::default();
    ledger.write(&stage, "carol", "general", true);
    ledger.comes_true(&stage).await;
    stage.sim.gateway().spoil_guilds(spoiled);
    stage.sim.begin_outage();
    stage
        .bot
        .logged("Discord reports an outage of the guild")
        .await;
    go_unheard(&stage, &mut ledger);
    stage.sim.end_outage();
    is_made_good(&stage, ledger).await;
}

#[tokio::test]
async fn what_happens_in_an_outage_is_made_good_when_the_guild_is_back() {
    outage(false).await;
}

#[tokio::test]
async fn a_guild_that_is_back_and_cannot_be_read_is_back_all_the_same() {
    outage(true).await;
}

#[tokio::test]
async fn what_happens_between_ready_and_the_guild_is_made_good() {
    let stage = verified().await;
    let mut ledger = Ledger::default();
    ledger.write(&stage, "carol", "general", true);
    ledger.comes_true(&stage).await;
    stage.sim.begin_outage();
    let verified = said(&stage, "roles are verified");
    stage.sim.gateway().invalid_session(false);
    // What READY alone makes the bot do is over.
    wait("the new session's verification", async || {
        (said(&stage, "roles are verified") > verified).then_some(())
    })
    .await;
    go_unheard(&stage, &mut ledger);
    stage.sim.end_outage();
    is_made_good(&stage, ledger).await;
}

#[tokio::test]
async fn a_guild_that_is_announced_as_unavailable_is_not_back() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.sim.clear_requests();
    let guild = json!({ "id": stage.sim.guild_id().to_string(), "unavailable": true });
    stage.sim.gateway().raw_dispatch("GUILD_CREATE", guild);
    stage
        .bot
        .logged("Discord reports an outage of the guild")
        .await;
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    let lists = stage
        .sim
        .requests_to(&Method::GET, "/guilds/{}/threads/active");
    assert_eq!(lists.len(), 0, "no history is read");
}

#[tokio::test]
async fn a_usual_start_reads_the_history_and_the_members_once() {
    let (mut stage, _) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    stage.sim.clear_requests();
    stage.start_again().await;
    stage.bot.logged("roles are verified").await;
    let count = |path| stage.sim.requests_to(&Method::GET, path).len();
    assert_eq!(count("/guilds/{}/members"), 1);
    // A reading that the guild's coming replaces has begun at most.
    assert!(count("/guilds/{}/threads/active") <= 4);
}
