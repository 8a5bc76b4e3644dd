//! Lost connections, lost sessions, and everything else that goes wrong in the
//! gateway.

use discord_sim::Sim;
use serde_json::json;

use crate::support::{Client, INTENTS, Said, simulation};

async fn begun(sim: &Sim) -> (Client, String) {
    let mut client = Client::connect(sim).await;
    client.identify(&sim.token(), INTENTS).await;
    let ready = client.event("READY").await;
    client.event("GUILD_CREATE").await;
    let session = ready["session_id"].as_str().unwrap_or_default().to_owned();
    (client, session)
}

fn chat(sim: &Sim, text: &str) {
    sim.say(sim.user("alice"), sim.channel("general"), text);
}

#[tokio::test]
async fn a_resume_replays_what_was_missed() {
    let sim = simulation().await;
    let (mut client, session) = begun(&sim).await;
    sim.gateway().drop_connections();
    assert!(matches!(client.said().await, Said::Broken));
    let lost = || (sim.gateway().connections() == 0).then_some(());
    sim.wait("the connection to be gone", lost).await;
    for text in ["one", "two", "three"] {
        chat(&sim, text);
    }
    let mut back = Client::connect(&sim).await;
    back.resume(&sim, &session, client.seq).await;
    for text in ["one", "two", "three"] {
        assert_eq!(back.event("MESSAGE_CREATE").await["content"], text);
    }
    back.event("RESUMED").await;
    chat(&sim, "four");
    assert_eq!(back.event("MESSAGE_CREATE").await["content"], "four");
    assert_eq!(
        (sim.gateway().identifies(), sim.gateway().resumes()),
        (1, 1)
    );
}

#[tokio::test]
async fn what_cannot_be_resumed_is_refused() {
    let sim = simulation().await;
    sim.settings(|settings| settings.replay_buffer = 2);
    let (client, session) = begun(&sim).await;
    sim.gateway().drop_connections();
    for text in ["one", "two", "three"] {
        chat(&sim, text);
    }
    let mut back = Client::connect(&sim).await;
    back.resume(&sim, &session, client.seq).await;
    assert_eq!(back.next().await, json!({ "op": 9, "d": false }));
    back.identify(&sim.token(), INTENTS).await;
    back.event("READY").await;

    let (client, session) = begun(&sim).await;
    sim.gateway().refuse_resumes(1);
    let mut back = Client::connect(&sim).await;
    back.resume(&sim, &session, client.seq).await;
    assert_eq!(back.next().await["op"], 9);
}

#[tokio::test]
async fn an_invalid_session_loses_what_happens() {
    let sim = simulation().await;
    let (mut client, session) = begun(&sim).await;
    sim.gateway().invalid_session(true);
    assert_eq!(client.next().await, json!({ "op": 9, "d": true }));
    sim.gateway().invalid_session(false);
    assert_eq!(client.next().await, json!({ "op": 9, "d": false }));
    chat(&sim, "nobody hears this");
    client.resume(&sim, &session, client.seq).await;
    assert_eq!(client.next().await["d"], false);
    client.identify(&sim.token(), INTENTS).await;
    client.event("READY").await;
    client.event("GUILD_CREATE").await;
    chat(&sim, "but this");
    assert_eq!(client.event("MESSAGE_CREATE").await["content"], "but this");
}

#[tokio::test]
async fn connections_are_ended_in_every_way() {
    let sim = simulation().await;
    let (mut client, _) = begun(&sim).await;
    sim.gateway().reconnect();
    assert_eq!(client.next().await["op"], 7);
    sim.gateway().close(Some(4000));
    assert_eq!(client.closed().await, Some(4000));
    assert_eq!(sim.gateway().sessions().len(), 1, "it can be resumed");

    let (mut client, _) = begun(&sim).await;
    sim.gateway().close(None);
    assert_eq!(client.closed().await, None);

    let (mut client, _) = begun(&sim).await;
    let sessions = sim.gateway().sessions().len();
    sim.gateway().close(Some(4009));
    assert_eq!(client.closed().await, Some(4009));
    let ended = || (sim.gateway().sessions().len() < sessions).then_some(());
    sim.wait("the session to be forgotten", ended).await;

    sim.gateway().refuse_connections();
    let refused = tokio_tungstenite::connect_async(sim.gateway_url()).await;
    assert!(refused.is_err());
    sim.gateway().accept();
    begun(&sim).await;
}

#[tokio::test]
async fn connections_can_be_left_without_an_answer() {
    let sim = simulation().await;
    let (mut client, _) = begun(&sim).await;
    sim.gateway().ignore_connections();
    assert!(matches!(client.said().await, Said::Broken));
    let connecting = tokio::spawn(tokio_tungstenite::connect_async(sim.gateway_url()));
    let ignored = || (sim.gateway().ignored() == 1).then_some(());
    sim.wait("the connection to be taken", ignored).await;
    sim.gateway().accept();
    begun(&sim).await;
    assert!(!connecting.is_finished(), "still nobody answers");
    connecting.abort();
}

#[tokio::test]
async fn identifies_can_be_refused() {
    let sim = simulation().await;
    let mut client = Client::connect(&sim).await;
    sim.gateway().refuse_identifies(true);
    client.identify(&sim.token(), INTENTS).await;
    assert_eq!(client.next().await, json!({ "op": 9, "d": false }));
    assert_eq!(sim.gateway().identifies(), 1);
    assert!(sim.gateway().sessions().is_empty());
    sim.gateway().refuse_identifies(false);
    client.identify(&sim.token(), INTENTS).await;
    client.event("READY").await;
}

#[tokio::test]
async fn a_ready_can_be_spoiled() {
    let sim = simulation().await;
    sim.gateway().spoil_ready(true);
    let mut client = Client::connect(&sim).await;
    client.identify(&sim.token(), INTENTS).await;
    assert!(client.event("READY").await["application"].is_null());
    client.event("GUILD_CREATE").await;
    chat(&sim, "all the same");
    assert_eq!(
        client.event("MESSAGE_CREATE").await["content"],
        "all the same"
    );
}

#[tokio::test]
async fn acks_can_stop() {
    let sim = simulation().await;
    let (mut client, _) = begun(&sim).await;
    sim.gateway().stop_acks();
    client.send(&json!({ "op": 1, "d": null })).await;
    let beaten = || (sim.gateway().heartbeats() == 1).then_some(());
    sim.wait("the heartbeat", beaten).await;
    sim.gateway().resume_acks();
    chat(&sim, "no ACK came before this");
    client.event("MESSAGE_CREATE").await;
}

#[tokio::test]
async fn events_are_held_lost_repeated_swapped_and_made_up() {
    let sim = simulation().await;
    let (mut client, _) = begun(&sim).await;
    sim.gateway().hold();
    chat(&sim, "held");
    sim.gateway().raw_frame("{\"op\":11}");
    assert_eq!(client.next().await["op"], 11, "the event waits");
    sim.gateway().release();
    assert_eq!(client.event("MESSAGE_CREATE").await["content"], "held");

    sim.gateway().lose_next(1);
    chat(&sim, "lost");

    sim.gateway().duplicate_next(1);
    chat(&sim, "twice");
    chat(&sim, "once");
    for text in ["twice", "twice", "once"] {
        assert_eq!(client.event("MESSAGE_CREATE").await["content"], text);
    }

    sim.gateway().swap_next(1);
    chat(&sim, "first");
    chat(&sim, "second");
    chat(&sim, "third");
    for text in ["second", "first", "third"] {
        assert_eq!(client.event("MESSAGE_CREATE").await["content"], text);
    }

    sim.gateway()
        .raw_dispatch("MESSAGE_CREATE", json!({ "id": [] }));
    assert_eq!(client.event("MESSAGE_CREATE").await, json!({ "id": [] }));
}

#[tokio::test]
async fn a_session_can_begin_without_its_guilds() {
    let sim = simulation().await;
    sim.gateway().withhold_guilds();
    let mut client = Client::connect(&sim).await;
    client.identify(&sim.token(), INTENTS).await;
    let ready = client.event("READY").await;
    assert_eq!(ready["guilds"][0]["unavailable"], true);
    chat(&sim, "before the guild");
    assert_eq!(client.next().await["t"], "MESSAGE_CREATE");
    sim.gateway().show_guilds();
    let shown = client.event("GUILD_CREATE").await;
    assert_eq!(shown["id"], sim.guild_id().to_string());
}
