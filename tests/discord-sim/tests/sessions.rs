//! Sessions across connections: which address they are resumed at, who holds them, and servers that
//! say hello and nothing more.

use discord_sim::{SessionUse, Sim};
use serde_json::json;

use crate::support::{Client, INTENTS, Said, simulation};

async fn begun(sim: &Sim) -> (Client, String) {
    let mut client = Client::connect(sim).await;
    let ready = client.begin(sim, INTENTS).await;
    let session = ready["session_id"].as_str().expect("an id").to_owned();
    (client, session)
}

#[tokio::test]
async fn each_address_has_its_purpose() {
    let sim = simulation().await;
    let (resume_at, gateway) = (sim.resume_gateway_url(), sim.gateway());
    let elsewhere = || (gateway.identifies_elsewhere(), gateway.resumes_elsewhere());
    let (client, session) = begun(&sim).await;
    gateway.drop_connections();
    let mut back = Client::connect_to(&resume_at).await;
    back.resume(&sim, &session, client.seq).await;
    back.event("RESUMED").await;
    assert_eq!(elsewhere(), (0, 0));

    gateway.drop_connections();
    let mut back_at_main = Client::connect(&sim).await;
    back_at_main.resume(&sim, &session, back.seq).await;
    back_at_main.event("RESUMED").await;
    assert_eq!(elsewhere(), (0, 1), "it works, and is counted");
    let mut stray = Client::connect_to(&resume_at).await;
    stray.begin(&sim, INTENTS).await;
    assert_eq!(elsewhere(), (1, 1));
}

#[tokio::test]
async fn hello_can_be_withheld() {
    let sim = simulation().await;
    let (mut client, _) = begun(&sim).await;
    sim.gateway().withhold_hello();
    assert!(matches!(client.said().await, Said::Broken));
    let mut mute = Client::at(&sim.gateway_url()).await;
    mute.identify(&sim.token(), INTENTS).await;
    let unanswered = || (sim.gateway().unanswered() == 1).then_some(());
    sim.wait("the identify", unanswered).await;
    assert_eq!(sim.gateway().ignored(), 1);
    sim.gateway().accept();
    begun(&sim).await;
    // What it is asked to say comes first: before it nothing came.
    sim.gateway().raw_frame(r#"{"op":1}"#);
    assert_eq!(mute.next().await, json!({ "op": 1 }));
}

#[tokio::test]
async fn answers_can_be_withheld_after_hello() {
    let sim = simulation().await;
    let (client, session) = begun(&sim).await;
    sim.gateway().withhold_answers();
    let mut first = Client::connect(&sim).await;
    first.resume(&sim, &session, client.seq).await;
    first.send(&json!({ "op": 1, "d": client.seq })).await;
    assert_eq!(first.next().await["op"], 11, "the resume is passed over");
    let mut second = Client::connect(&sim).await;
    second.identify(&sim.token(), INTENTS).await;
    second.send(&json!({ "op": 1, "d": null })).await;
    assert_eq!(second.next().await["op"], 11, "so is the identify");
    let gateway = sim.gateway();
    assert_eq!((gateway.unanswered(), gateway.ignored()), (2, 0));
    assert_eq!((gateway.identifies(), gateway.resumes()), (2, 0));

    gateway.accept();
    let mut back = Client::connect(&sim).await;
    back.resume(&sim, &session, client.seq).await;
    back.event("RESUMED").await;
}

#[tokio::test]
async fn a_resume_takes_the_session_from_whoever_holds_it() {
    let sim = simulation().await;
    let (mut first, session) = begun(&sim).await;
    let mut second = Client::connect_to(&sim.resume_gateway_url()).await;
    second.resume(&sim, &session, first.seq).await;
    second.event("RESUMED").await;
    assert_eq!(first.closed().await, Some(4000));
    let (resumes, takeovers) = (1, 1);
    let expected = SessionUse { resumes, takeovers };
    assert_eq!(sim.gateway().session_use(&session), expected);
    assert_eq!(sim.gateway().takeovers(), 1);
    drop(first);
    let ended = || (sim.gateway().connections() == 1).then_some(());
    sim.wait("the older connection to end", ended).await;
    sim.say(sim.user("alice"), sim.channel("general"), "still there");
    let heard = second.event("MESSAGE_CREATE").await;
    assert_eq!(heard["content"], "still there");
}

#[tokio::test]
async fn who_has_closed_their_connection_holds_no_session() {
    let sim = simulation().await;
    let (mut client, session) = begun(&sim).await;
    for round in 1..=50 {
        client.close(4000).await;
        let seq = client.seq;
        let mut back = Client::connect_to(&sim.resume_gateway_url()).await;
        back.resume(&sim, &session, seq).await;
        back.event("RESUMED").await;
        let expected = SessionUse {
            resumes: round,
            takeovers: 0,
        };
        assert_eq!(sim.gateway().session_use(&session), expected);
        client = back;
    }
    assert_eq!(sim.gateway().session_use("another"), SessionUse::default());
}
