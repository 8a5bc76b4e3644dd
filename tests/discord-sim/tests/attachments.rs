//! Files of messages: how they come, where they are, and until when.

use std::time::Duration;

use discord_sim::clock::first_id_at;
use discord_sim::{Id, Message, Sim, permissions};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, INTENTS, Rest, id, simulation};

const GONE: &str = "This content is no longer available.";

fn general(sim: &Sim) -> String {
    format!("/channels/{}/messages", sim.channel("general"))
}

fn link(message: &Value) -> &str {
    message["attachments"][0]["url"].as_str().expect("a link")
}

/// Status and body of a link.
async fn open(url: &str) -> (u16, Vec<u8>) {
    let response = reqwest::get(url).await.expect("an answer");
    let status = response.status().as_u16();
    (status, response.bytes().await.expect("a body").to_vec())
}

/// The picture that the CDN gives those who have none.
async fn png(sim: &Sim) -> Vec<u8> {
    open(&format!("{}/embed/avatars/0.png?size=32", sim.cdn_url()))
        .await
        .1
}

async fn upload(rest: &Rest, sim: &Sim, body: &Value, files: &[(&str, &[u8])]) -> Value {
    let sent = rest.upload(Method::POST, &general(sim), body, files).await;
    assert_eq!(sent.0, 200, "{}", sent.1);
    sent.1
}

#[tokio::test]
async fn files_come_back_by_their_links() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let mut client = Client::identified(&sim, INTENTS).await;
    let png = png(&sim).await;
    let body = json!({ "content": "two", "attachments": [
        { "id": 1, "filename": "my notes.txt", "description": "words" },
    ] });
    let files: &[(&str, &[u8])] = &[("a.png", &png), ("b.txt", b"text")];
    let sent = upload(&rest, &sim, &body, files).await;
    let first = &sent["attachments"][0];
    assert_eq!(
        (&first["filename"], &first["size"], &first["content_type"]),
        (&json!("a.png"), &json!(png.len()), &json!("image/png"))
    );
    assert_eq!(
        (&first["width"], &first["height"]),
        (&json!(32), &json!(32))
    );
    let second = &sent["attachments"][1];
    assert_eq!(second["filename"], "my_notes.txt");
    assert_eq!(second["description"], "words");
    assert!(second.get("width").is_none());
    let start = format!(
        "{}/attachments/{}/{}/a.png?ex=",
        sim.cdn_url(),
        sim.channel("general"),
        id(first)
    );
    assert!(link(&sent).starts_with(&start), "{}", link(&sent));
    assert_eq!(open(link(&sent)).await, (200, png.clone()));
    let text = second["proxy_url"].as_str().expect("a link");
    assert_eq!(open(text).await, (200, b"text".to_vec()));
    let event = client.event("MESSAGE_CREATE").await;
    assert_eq!(open(link(&event)).await.0, 200);
    let kept = sim.attachments(id(&sent));
    assert_eq!(kept[0], ("a.png".into(), png));
    assert_eq!(kept[1], ("my_notes.txt".into(), b"text".to_vec()));
    assert_eq!(
        open(link(&sim.message(id(&sent)).expect("it is there")))
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn links_expire_and_are_signed_anew() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let sent = upload(&rest, &sim, &json!({}), &[("a.txt", b"text")]).await;
    let path = format!("{}/{}", general(&sim), id(&sent));
    let old = link(&sent).to_owned();
    let forged = old.replacen("?ex=", "?ex=f", 1);
    let renamed = old.replacen("a.txt", "b.txt", 1);
    let bare = old.split('?').next().expect("a link").to_owned();
    for wrong in [&forged, &renamed, &bare] {
        assert_eq!(open(wrong).await, (404, GONE.into()), "{wrong}");
    }
    sim.advance(Duration::from_secs(86_390));
    assert_eq!(open(&old).await.0, 200);
    sim.advance(Duration::from_secs(11));
    assert_eq!(open(&old).await, (404, GONE.into()));
    let (_, found) = rest.get(&path).await;
    let (_, history) = rest.get(&general(&sim)).await;
    for fresh in [link(&found), link(&history[0])] {
        assert_ne!(fresh, old);
        assert_eq!(open(fresh).await.0, 200);
    }
    sim.settings(|settings| settings.attachment_seconds = 5);
    let (_, short) = rest.get(&path).await;
    sim.advance(Duration::from_secs(6));
    assert_eq!(open(link(&short)).await.0, 404);
    sim.settings(|settings| settings.signed_attachments = false);
    let (_, plain) = rest.get(&path).await;
    assert_eq!(link(&plain), bare);
    sim.advance(Duration::from_hours(1_000));
    assert_eq!(open(&bare).await.0, 200);
}

#[tokio::test]
async fn files_go_with_their_message_and_its_channel() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let sent = upload(&rest, &sim, &json!({}), &[("a.txt", b"text")]).await;
    let path = format!("{}/{}", general(&sim), id(&sent));
    assert_eq!(rest.send(Method::DELETE, &path, &Value::Null).await.0, 204);
    assert_eq!(open(link(&sent)).await, (404, GONE.into()));
    assert!(sim.attachments(id(&sent)).is_empty());
    let sent = upload(&rest, &sim, &json!({}), &[("a.txt", b"text")]).await;
    sim.delete_channel(sim.channel("general"));
    assert_eq!(open(link(&sent)).await.0, 404);
}

#[tokio::test]
async fn edits_keep_what_they_list() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let files: &[(&str, &[u8])] = &[("a.txt", b"a"), ("b.txt", b"b")];
    let sent = upload(&rest, &sim, &json!({}), files).await;
    let path = format!("{}/{}", general(&sim), id(&sent));
    let names = |message: Id| -> Vec<String> {
        let files = sim.attachments(message);
        files.into_iter().map(|(name, _)| name).collect()
    };
    let edit = async |body: &Value, files: &[(&str, &[u8])]| {
        rest.upload(Method::PATCH, &path, body, files).await
    };
    edit(&json!({ "content": "x" }), &[("c.txt", b"c")]).await;
    assert_eq!(names(id(&sent)), ["a.txt", "b.txt", "c.txt"]);
    let list = json!([{ "id": sent["attachments"][1]["id"] }, { "id": 0 }]);
    let (_, edited) = edit(&json!({ "attachments": list }), &[("d.txt", b"d")]).await;
    assert_eq!(names(id(&sent)), ["b.txt", "d.txt"]);
    assert_eq!(edited["attachments"][0]["filename"], "b.txt");
    assert_eq!(edited["attachments"].as_array().map(Vec::len), Some(2));
    assert_eq!(open(link(&edited)).await, (200, b"b".to_vec()));
    assert_eq!(open(link(&sent)).await.0, 404, "a.txt is gone");
    let (status, refused) = edit(&json!({ "attachments": [{ "id": 3 }] }), &[]).await;
    assert_eq!((status, &refused["code"]), (400, &json!(50_035)));
    edit(&json!({ "attachments": [] }), &[]).await;
    assert!(names(id(&sent)).is_empty());
}

#[tokio::test]
async fn files_are_refused_without_permission_and_when_too_large() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let post = async |bytes: &[u8]| {
        let files: &[(&str, &[u8])] = &[("a.bin", bytes)];
        let (path, body) = (general(&sim), json!({}));
        rest.upload(Method::POST, &path, &body, files).await
    };
    let most = vec![7; 10 << 20];
    assert_eq!(post(&most).await.0, 200);
    let (status, refused) = post(&[&most[..], &[7]].concat()).await;
    assert_eq!((status, &refused["code"]), (413, &json!(40_005)));
    sim.bot_permissions(sim.channel("general"), 0, permissions::ATTACH_FILES);
    let (status, refused) = post(b"small").await;
    assert_eq!((status, &refused["code"]), (403, &json!(50_013)));
    assert_eq!(
        rest.post(&general(&sim), &json!({ "content": "x" }))
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn the_bot_can_have_posted_files_before() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    let before = first_id_at(sim.now_ms() - 86_400_000 * 30);
    let message = Message::new(sim.channel("general"), sim.bot_id(), "")
        .file("a.txt", "text")
        .id(before)
        .quietly();
    let posted = sim.post(message);
    assert_eq!(posted, before);
    let (_, history) = rest.get(&general(&sim)).await;
    assert_eq!(history[0]["author"]["id"], sim.bot_id().to_string());
    assert_eq!(open(link(&history[0])).await, (200, b"text".to_vec()));
    assert_eq!(sim.attachments(posted).len(), 1);
}
