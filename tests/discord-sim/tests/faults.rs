//! Every fault of REST, as a client sees it.

use std::time::{Duration, Instant};

use discord_sim::{Fault, Scope, Sim};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Rest, simulation};

async fn post(sim: &Sim, rest: &Rest) -> reqwest::Result<Response> {
    let path = format!("/channels/{}/messages", sim.channel("general"));
    let request = rest
        .request(Method::POST, &path)
        .json(&json!({ "content": "x" }));
    request.timeout(Duration::from_secs(20)).send().await
}

fn fault(sim: &Sim, fault: Fault) {
    sim.faults()
        .next(1, Method::POST, "/channels/{}/messages", fault);
}

fn sent(sim: &Sim) -> usize {
    sim.bot_messages(sim.channel("general")).len()
}

#[tokio::test]
async fn statuses_come_without_the_work() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    for status in [401, 403, 404, 500, 502, 503] {
        fault(&sim, Fault::Status(status));
        let response = post(&sim, &rest).await.expect("an answer");
        assert_eq!(response.status().as_u16(), status);
        let body: Value = response.json().await.expect("JSON");
        assert!(body["message"].is_string());
    }
    fault(&sim, Fault::Html(502));
    let response = post(&sim, &rest).await.expect("an answer");
    assert!(response.text().await.expect("a text").starts_with("<html>"));
    fault(&sim, Fault::Answer(json!({ "odd": [] })));
    let response = post(&sim, &rest).await.expect("an answer");
    assert_eq!(response.status().as_u16(), 200);
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body, json!({ "odd": [] }));
    assert_eq!((sent(&sim), sim.faults().left()), (0, 0));
    assert_eq!(post(&sim, &rest).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn limits_come_with_and_without_headers() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    for scope in [Scope::User, Scope::Global, Scope::Shared] {
        for headers in [true, false] {
            let retry_after = Duration::from_millis(1_500);
            fault(
                &sim,
                Fault::RateLimited {
                    retry_after,
                    scope,
                    headers,
                },
            );
            let response = post(&sim, &rest).await.expect("an answer");
            assert_eq!(response.status(), 429);
            assert_eq!(response.headers().contains_key("retry-after"), headers);
            if headers {
                assert_eq!(response.headers()["retry-after"], "2");
                assert_eq!(response.headers()["x-ratelimit-scope"], scope.name());
            }
            let body: Value = response.json().await.expect("JSON");
            assert_eq!(body["retry_after"], 1.5);
            assert_eq!(body["global"], scope == Scope::Global);
        }
    }
}

#[tokio::test]
async fn work_can_be_done_although_it_seems_to_fail() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    fault(&sim, Fault::Reset);
    assert!(post(&sim, &rest).await.is_err());
    assert_eq!(sent(&sim), 0);
    fault(&sim, Fault::ResetAfter);
    assert!(post(&sim, &rest).await.is_err());
    assert_eq!(sent(&sim), 1);
    fault(&sim, Fault::StatusAfter(500));
    assert_eq!(post(&sim, &rest).await.expect("an answer").status(), 500);
    assert_eq!(sent(&sim), 2);
}

#[tokio::test]
async fn answers_can_be_late_or_never_come() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    fault(&sim, Fault::Delay(Duration::from_millis(50)));
    let asked = Instant::now();
    assert_eq!(post(&sim, &rest).await.expect("an answer").status(), 200);
    assert!(asked.elapsed() >= Duration::from_millis(50));

    fault(&sim, Fault::Hang);
    let hanging = post(&sim, &rest);
    let met = sim.wait("the request", || (sim.faults().left() == 0).then_some(()));
    tokio::select! {
        _ = hanging => panic!("an answer came"),
        () = met => {}
    }
    let requests = sim.requests();
    assert_eq!(requests.last().and_then(|request| request.status), None);
    assert_eq!(sent(&sim), 1);
}

#[tokio::test]
async fn a_fault_can_meet_whatever_comes_next() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    sim.faults().next_of_any(1, Fault::Status(401));
    assert_eq!(rest.get("/users/@me").await.0, 401);
    assert_eq!(rest.get("/users/@me").await.0, 200, "it was a stray one");
}

#[tokio::test]
async fn a_banned_address_is_answered_in_html() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    sim.faults().ban();
    for path in ["/users/@me", "/gateway", "/webhooks/1/token"] {
        let asked = rest.request(Method::GET, path).send().await;
        let response = asked.expect("an answer");
        assert_eq!(response.status(), 429, "{path}");
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/html; charset=UTF-8");
        assert!(!headers.contains_key("retry-after"));
        assert!(!headers.keys().any(|name| name.as_str().starts_with("x-")));
        let page = response.text().await.expect("a text");
        assert!(page.starts_with("<html>"), "{page}");
    }
    assert_eq!(sim.faults().turned_away(), 3);
    sim.faults().lift_ban();
    assert_eq!(rest.get("/users/@me").await.0, 200);
}

#[tokio::test]
async fn a_limit_for_all_routes_lasts_a_while() {
    let sim = simulation().await;
    let rest = Rest::new(&sim);
    sim.faults().limit_all(Duration::from_hours(1));
    for path in ["/users/@me", "/gateway/bot"] {
        let asked = rest.request(Method::GET, path).send().await;
        let response = asked.expect("an answer");
        assert_eq!(response.status(), 429, "{path}");
        let headers = response.headers();
        assert_eq!(headers["x-ratelimit-global"], "true");
        assert_eq!(headers["x-ratelimit-scope"], "global");
        assert!(headers.contains_key("retry-after"));
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["global"], true);
        let seconds = body["retry_after"].as_f64().expect("seconds");
        assert!((3_500.0..=3_600.0).contains(&seconds), "{seconds}");
    }
    let (status, _) = rest.get("/webhooks/1/token").await;
    assert_ne!(status, 429, "it answers an interaction");
    assert_eq!(sim.faults().turned_away(), 2);
    sim.faults().clear();
    assert_eq!(rest.get("/users/@me").await.0, 200);
}
