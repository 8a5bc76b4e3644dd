//! The CDN's avatars, and every way in which it can go wrong.

use std::time::Duration;

use discord_sim::{CdnFault, Sim, members};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};

use crate::support::simulation;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const HASH: &str = "0123456789abcdef0123456789abcdef";

async fn get(sim: &Sim, path: &str) -> reqwest::Result<Response> {
    let client = Client::builder()
        .timeout(Duration::from_secs(20))
        .redirect(Policy::none())
        .build();
    let url = format!("{}{path}", sim.cdn_url());
    client.expect("a client").get(url).send().await
}

async fn status(sim: &Sim, path: &str) -> u16 {
    get(sim, path).await.expect("an answer").status().as_u16()
}

async fn picture(sim: &Sim, path: &str) -> Vec<u8> {
    let response = get(sim, path).await.expect("an answer");
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(response.headers()["content-type"], "image/png");
    let bytes = response.bytes().await.expect("a picture").to_vec();
    assert!(bytes.starts_with(PNG));
    bytes
}

/// A picture's width and height.
fn size(png: &[u8]) -> (u32, u32) {
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

#[tokio::test]
async fn an_avatar_is_there_while_somebody_has_it() {
    let sim = simulation().await;
    let alice = sim.user("alice");
    let path = format!("/avatars/{alice}/{HASH}.png");
    assert_eq!(status(&sim, &path).await, 404);
    sim.avatar(alice, Some(HASH));
    let first = picture(&sim, &path).await;
    assert_eq!(size(&first), (128, 128));
    assert_eq!(picture(&sim, &path).await, first);
    for side in [16, 256, 4_096] {
        let sized = picture(&sim, &format!("{path}?size={side}")).await;
        assert_eq!(size(&sized), (side, side));
    }
    for wrong in ["8", "100", "8192", "big", ""] {
        assert_eq!(status(&sim, &format!("{path}?size={wrong}")).await, 400);
    }
    let animated = "a_0123456789abcdef0123456789abcdef";
    sim.avatar(alice, Some(animated));
    assert_eq!(status(&sim, &path).await, 404);
    let other = picture(&sim, &format!("/avatars/{alice}/{animated}.png")).await;
    assert_ne!(other, first);
    for nobody in ["/avatars/1/a.png", "/avatars/x/a.png", "/", "/avatars"] {
        assert_eq!(status(&sim, nobody).await, 404, "{nobody}");
    }
    assert_eq!(sim.cdn_requests().len(), 17);
    assert_eq!(sim.cdn_requests()[3], format!("{path}?size=16"));
    sim.clear_cdn_requests();
    assert!(sim.cdn_requests().is_empty());
}

#[tokio::test]
async fn guilds_and_generated_members_have_avatars() {
    let sim = simulation().await;
    let (guild, alice) = (sim.guild_id(), sim.user("alice"));
    let path = format!("/guilds/{guild}/users/{alice}/avatars/{HASH}.png");
    assert_eq!(status(&sim, &path).await, 404);
    sim.guild_avatar(alice, Some(HASH));
    picture(&sim, &path).await;
    assert_eq!(
        status(&sim, &format!("/avatars/{alice}/{HASH}.png")).await,
        404
    );
    let person = (0..100)
        .map(members::generated)
        .find(|one| one.avatar.is_some());
    let person = person.expect("somebody with an avatar");
    let hash = person.avatar.expect("an avatar");
    let path = format!("/avatars/{}/{hash}.png?size=64", person.id);
    assert_eq!(size(&picture(&sim, &path).await), (64, 64));
    sim.guild_avatar(person.id, Some(HASH));
    let own = format!("/guilds/{guild}/users/{}/avatars/{HASH}.png", person.id);
    picture(&sim, &own).await;
    sim.leave(person.id);
    assert_eq!(status(&sim, &own).await, 404);
    picture(&sim, &path).await;
    sim.delete_account(person.id);
    assert_eq!(status(&sim, &path).await, 404);
    for usual in 0..6 {
        picture(&sim, &format!("/embed/avatars/{usual}.png")).await;
    }
    assert_eq!(status(&sim, "/embed/avatars/6.png").await, 404);
}

#[tokio::test]
async fn answers_can_be_other_than_a_picture() {
    let sim = simulation().await;
    let path = "/embed/avatars/1.png?size=64";
    let meet = |fault| sim.cdn_faults().next(1, "/embed/avatars/{}", fault);
    meet(CdnFault::Status(503));
    assert_eq!(status(&sim, path).await, 503);
    meet(CdnFault::Html);
    let html = get(&sim, path).await.expect("an answer");
    assert_eq!(
        (html.status().as_u16(), &html.headers()["content-type"]),
        (200, &"text/html".parse().expect("a value"))
    );
    meet(CdnFault::Redirect("http://127.0.0.1:1/x".into()));
    let redirected = get(&sim, path).await.expect("an answer");
    assert_eq!(redirected.status(), 302);
    assert_eq!(redirected.headers()["location"], "http://127.0.0.1:1/x");
    let length = 200_000;
    meet(CdnFault::Big(length));
    let big = get(&sim, path).await.expect("an answer");
    assert_eq!(big.headers()["content-type"], "image/png");
    assert_eq!(big.content_length(), Some(length));
    assert_eq!(big.bytes().await.expect("a body").len(), 200_000);
    meet(CdnFault::BigChunked(length));
    let chunked = get(&sim, path).await.expect("an answer");
    assert_eq!(chunked.content_length(), None);
    assert_eq!(chunked.bytes().await.expect("a body").len(), 200_000);
    meet(CdnFault::Reset);
    assert!(get(&sim, path).await.is_err());
    assert_eq!(sim.cdn_faults().left(), 0);
    picture(&sim, path).await;

    sim.cdn_faults().next(2, "/avatars/{}/{}", CdnFault::Html);
    picture(&sim, path).await;
    assert_eq!(sim.cdn_faults().left(), 2);
    sim.cdn_faults().clear();
    assert_eq!(sim.cdn_faults().left(), 0);
}

#[tokio::test]
async fn answers_can_stop_before_or_within_the_picture() {
    let sim = simulation().await;
    let path = "/embed/avatars/1.png";
    sim.cdn_faults().next(1, path, CdnFault::Hang);
    let met = || (sim.cdn_faults().left() == 0).then_some(());
    tokio::select! {
        _ = get(&sim, path) => panic!("an answer came"),
        () = sim.wait("the request", met) => {}
    }
    sim.cdn_faults().next(1, path, CdnFault::HangInBody);
    let mut halting = get(&sim, path).await.expect("a head");
    assert_eq!(halting.status(), 200);
    let length = halting.content_length().expect("a length");
    let piece = halting.chunk().await.expect("a piece").expect("a piece");
    assert!(piece.starts_with(PNG) && (piece.len() as u64) < length);
    let more = tokio::time::timeout(Duration::from_millis(100), halting.chunk());
    assert!(more.await.is_err(), "more came");
}
