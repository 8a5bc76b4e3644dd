//! What the address asks for that a client connects to: one zlib stream, a version, an encoding.

use std::collections::BTreeSet;

use discord_sim::Message;
use serde_json::json;

use crate::support::{Client, INTENTS, Said, simulation};

#[tokio::test]
async fn a_compressed_transport_is_one_stream() {
    let sim = simulation().await;
    let mut client = Client::connect_compressed(&sim).await;
    client.begin(&sim, INTENTS).await;
    let (alice, general) = (sim.user("alice"), sim.channel("general"));
    for text in ["one", "two", &"three ".repeat(300)] {
        sim.say(alice, general, text);
        let heard = client.event("MESSAGE_CREATE").await;
        assert_eq!(heard["content"], text);
    }
    client.send(&json!({ "op": 1, "d": client.seq })).await;
    assert_eq!(client.next().await["op"], 11);
    let guild = sim.guild_id().to_string();
    let all = json!({ "op": 8, "d": { "guild_id": guild, "query": "", "limit": 0 } });
    client.send(&all).await;
    for index in 0..3 {
        let chunk = client.event("GUILD_MEMBERS_CHUNK").await;
        assert_eq!(chunk["chunk_index"], index);
    }
    assert_eq!(client.compressed, 10, "every frame, from Hello on");
    sim.gateway().close(Some(4000));
    assert_eq!(client.closed().await, Some(4000));
}

#[tokio::test]
async fn a_session_is_resumed_in_a_stream_of_its_own() {
    let sim = simulation().await;
    let mut client = Client::connect(&sim).await;
    let ready = client.begin(&sim, INTENTS).await;
    let session = ready["session_id"].as_str().expect("an id");
    sim.gateway().drop_connections();
    assert!(matches!(client.said().await, Said::Broken));
    sim.post(Message::new(
        sim.channel("general"),
        sim.user("alice"),
        "missed",
    ));
    let mut back = Client::connect_compressed(&sim).await;
    back.resume(&sim, session, client.seq).await;
    assert_eq!(back.event("MESSAGE_CREATE").await["content"], "missed");
    back.event("RESUMED").await;
    assert_eq!((client.compressed, back.compressed), (0, 3));
}

#[tokio::test]
async fn a_flood_is_part_of_the_stream() {
    let sim = simulation().await;
    let mut client = Client::connect_compressed(&sim).await;
    client.begin(&sim, INTENTS).await;
    let (alice, general) = (sim.user("alice"), sim.channel("general"));
    for round in 0..2 {
        sim.say(alice, general, "between");
        assert_eq!(client.event("MESSAGE_CREATE").await["content"], "between");
        let (mut ids, mut authors) = (BTreeSet::new(), BTreeSet::new());
        let (report, ()) = tokio::join!(sim.flood(1_000, 50, general), async {
            for number in 0..1_000 {
                let before = client.seq;
                let heard = client.event("MESSAGE_CREATE").await;
                assert_eq!(client.seq, before + 1, "message {number} of {round}");
                ids.insert(heard["id"].to_string());
                authors.insert(heard["author"]["id"].to_string());
            }
        });
        assert_eq!(report.expect("a connected bot").messages, 1_000);
        assert_eq!((ids.len(), authors.len()), (1_000, 50));
    }
    sim.say(alice, general, "between");
    assert_eq!(client.event("MESSAGE_CREATE").await["content"], "between");
}

#[tokio::test]
async fn a_stream_can_be_broken() {
    let sim = simulation().await;
    let mut client = Client::connect(&sim).await;
    sim.gateway().raw_bytes(b"no zlib");
    assert_eq!(client.bytes().await, b"no zlib");
}

#[tokio::test]
async fn what_the_address_asks_for_may_be_refused() {
    let sim = simulation().await;
    let url = sim.gateway_url();
    for (query, code) in [
        ("v=9&encoding=json", 4012),
        ("v=10&encoding=etf", 4002),
        ("v=10&encoding=json&compress=zstd-stream", 4002),
    ] {
        let mut client = Client::at(&format!("{url}/?{query}")).await;
        assert_eq!(client.closed().await, Some(code), "{query}");
    }
    for query in ["", "?v=10", "?v=10&encoding=json"] {
        let mut client = Client::at(&format!("{url}/{query}")).await;
        assert_eq!(client.next().await["op"], 10, "{query}");
    }
}
