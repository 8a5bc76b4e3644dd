//! The gateway's connection by itself, against everything that Discord may do to it.

use std::time::Duration;

use discord_sim::{GatewayControl, Sim, World};
use secrecy::SecretString;
use serde_json::json;
use wall_e::discord::gateway::{Deadlines, Frame, Gateway, Session};
use wall_e::error::Stop;

use crate::support::rest;

/// For servers that say nothing.
const SHORT: Deadlines = Deadlines {
    hello: Duration::from_secs(2),
    ready: Duration::from_secs(2),
};

/// Texts that are no frame of the gateway, or say nothing.
pub const NO_FRAMES: [&str; 11] = [
    "no JSON at all",
    "",
    "null",
    "[]",
    "{}",
    r#"{"op":"zero"}"#,
    r#"{"op":99,"d":null}"#,
    r#"{"op":0,"d":{}}"#,
    r#"{"op":0,"t":null,"s":null,"d":null}"#,
    r#"{"op":9,"d":{}}"#,
    r#"{"op":10,"d":null}"#,
];

/// What Discord does to connections.
type Happening = fn(&GatewayControl<'_>);

/// A simulator, and a connection to it.
struct Line {
    sim: Sim,
    gateway: Gateway,
}

impl Line {
    async fn new() -> Self {
        let sim = Sim::start(World::new()).await.unwrap();
        let gateway = gateway(&sim);
        Self { sim, gateway }
    }

    /// The same, with a session that has begun.
    async fn connected() -> Self {
        let mut line = Self::new().await;
        line.reads("READY").await;
        line.reads("GUILD_CREATE").await;
        line
    }

    /// Reads on until an event of this type comes.
    async fn reads(&mut self, kind: &str) -> Frame {
        reads(&mut self.gateway, kind).await
    }

    /// Someone writes, and the connection delivers it.
    async fn delivers(&mut self) {
        let message = self.says();
        let read = self.reads("MESSAGE_CREATE").await;
        assert!(read.data().contains(&message.to_string()));
    }

    /// Goes on trying until this is true.
    async fn tries_until(&mut self, enough: impl Fn(&GatewayControl<'_>) -> bool) {
        let Self { sim, gateway } = self;
        let trying = async {
            loop {
                if let Err(stop) = gateway.next().await {
                    return stop;
                }
            }
        };
        let enough = || enough(&sim.gateway()).then_some(());
        tokio::select! {
            stop = trying => panic!("it has ended: {stop}"),
            () = sim.wait("enough attempts", enough) => {}
        }
    }

    fn says(&self) -> u64 {
        let (alice, general) = (self.sim.user("alice"), self.sim.channel("general"));
        self.sim.say(alice, general, "hello")
    }

    fn counts(&self) -> (u64, u64) {
        let control = self.sim.gateway();
        (control.identifies(), control.resumes())
    }
}

fn gateway(sim: &Sim) -> Gateway {
    Gateway::new(SecretString::from(sim.token()), rest(sim))
}

async fn reads(gateway: &mut Gateway, kind: &str) -> Frame {
    let reading = async {
        loop {
            let frame = gateway.next().await.expect("the connection lasts");
            if frame.kind() == kind {
                return frame;
            }
        }
    };
    let read = tokio::time::timeout(Duration::from_mins(1), reading).await;
    read.unwrap_or_else(|_| panic!("no {kind} in a minute"))
}

#[tokio::test]
async fn a_session_begins_and_ends() {
    let mut line = Line::connected().await;
    line.delivers().await;
    line.gateway.close().await;
    let control = line.sim.gateway();
    let gone = || (control.connections() == 0).then_some(());
    line.sim.wait("the connection to end", gone).await;
    assert!(control.sessions().is_empty());
    assert_eq!(control.identifies_elsewhere(), 0);
}

#[tokio::test]
async fn what_breaks_a_connection_does_not_end_its_session() {
    let happenings: [(&str, Happening); 8] = [
        ("a close without a code", |gateway| gateway.close(None)),
        ("a close for no known reason", |gateway| {
            gateway.close(Some(4_000));
        }),
        ("a close for too many payloads", |gateway| {
            gateway.close(Some(4_008));
        }),
        ("a close by a proxy", |gateway| gateway.close(Some(1_011))),
        ("a broken line", |gateway| gateway.drop_connections()),
        ("op 7", |gateway| gateway.reconnect()),
        ("op 9 with true", |gateway| gateway.invalid_session(true)),
        ("bytes that are no part of the stream", |gateway| {
            gateway.raw_bytes(b"nonsense");
        }),
    ];
    let mut line = Line::connected().await;
    for (number, (what, happen)) in (1..).zip(happenings) {
        happen(&line.sim.gateway());
        // Before anybody is back, and after.
        line.delivers().await;
        line.delivers().await;
        assert_eq!(line.counts(), (1, number), "{what}");
    }
    assert_eq!(line.sim.gateway().resumes_elsewhere(), 0);
    assert_eq!(line.sim.gateway().takeovers(), 0);
}

#[tokio::test]
async fn what_ends_a_session_is_followed_by_another_one() {
    let happenings: [(&str, Happening); 3] = [
        ("a session that timed out", |gateway| {
            gateway.close(Some(4_009));
        }),
        ("op 9 with false", |gateway| gateway.invalid_session(false)),
        ("a resume that is refused", |gateway| {
            gateway.refuse_resumes(1);
            gateway.drop_connections();
        }),
    ];
    let survived = happenings.map(|(what, happen)| async move {
        let mut line = Line::connected().await;
        happen(&line.sim.gateway());
        line.reads("READY").await;
        line.delivers().await;
        assert_eq!(line.counts().0, 2, "{what}");
    });
    futures_util::future::join_all(survived).await;
}

#[tokio::test]
async fn no_other_session_is_begun_on_codes_that_shut_the_door() {
    for (code, exit) in [
        (4_004, 14),
        (4_010, 20),
        (4_011, 21),
        (4_012, 22),
        (4_013, 19),
        (4_014, 16),
    ] {
        let mut line = Line::connected().await;
        line.sim.gateway().close(Some(code));
        let stop: Stop = loop {
            if let Err(stop) = line.gateway.next().await {
                break stop;
            }
        };
        assert_eq!(stop.exit_code(), exit, "{code}: {stop}");
        assert_eq!(line.counts(), (1, 0), "{code}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left() {
    let silences: [Happening; 2] = [
        |gateway| gateway.ignore_connections(),
        |gateway| gateway.withhold_hello(),
    ];
    for silence in silences {
        let mut line = Line::new().await;
        line.gateway = line.gateway.with_deadlines(SHORT);
        silence(&line.sim.gateway());
        line.tries_until(|gateway| gateway.ignored() >= 2).await;
        line.sim.gateway().accept();
        line.reads("READY").await;
        assert_eq!(line.counts(), (1, 0));
    }
}

#[tokio::test]
async fn a_server_that_answers_no_identify_and_no_resume_is_left() {
    let mut line = Line::new().await;
    line.gateway = line.gateway.with_deadlines(SHORT);
    line.sim.gateway().withhold_answers();
    line.tries_until(|gateway| gateway.unanswered() >= 2).await;
    line.sim.gateway().accept();
    line.reads("READY").await;
    let (identifies, _) = line.counts();
    line.sim.gateway().withhold_answers();
    line.tries_until(|gateway| gateway.unanswered() >= 4).await;
    line.sim.gateway().accept();
    line.delivers().await;
    assert_eq!(line.counts().0, identifies, "the session lasts");
}

#[tokio::test]
async fn a_connection_whose_heartbeats_are_not_answered_is_resumed() {
    let sim = Sim::start(World::new()).await.unwrap();
    sim.settings(|settings| settings.heartbeat_interval = Duration::from_secs(1));
    let gateway = gateway(&sim);
    let mut line = Line { sim, gateway };
    line.reads("READY").await;
    line.sim.gateway().stop_acks();
    line.reads("RESUMED").await;
    line.sim.gateway().resume_acks();
    line.delivers().await;
    assert_eq!(line.counts().0, 1);
}

#[tokio::test]
async fn a_session_goes_on_in_another_process() {
    let mut line = Line::connected().await;
    line.delivers().await;
    let session = line.gateway.hand_over().await.expect("a session");
    assert!(line.gateway.hand_over().await.is_none(), "only once");
    let missed = [line.says(), line.says(), line.says()];
    let mut successor = gateway(&line.sim).resuming(session.clone());
    let mut sequence = session.sequence;
    for message in missed {
        let frame = reads(&mut successor, "MESSAGE_CREATE").await;
        assert!(frame.data().contains(&message.to_string()), "in order");
        assert!(frame.sequence() > Some(sequence));
        sequence = frame.sequence().unwrap();
    }
    reads(&mut successor, "RESUMED").await;
    assert_eq!(line.counts(), (1, 1));
    assert_eq!(line.sim.gateway().takeovers(), 0);
}

#[tokio::test]
async fn a_session_that_nobody_knows_any_more_is_followed_by_another_one() {
    let mut line = Line::connected().await;
    let session = line.gateway.hand_over().await.expect("a session");
    line.sim.gateway().forget_sessions();
    line.gateway = gateway(&line.sim).resuming(session);
    line.reads("READY").await;
    line.delivers().await;
}

#[tokio::test]
async fn where_nobody_answers_at_the_address_for_resuming_the_usual_one_is_taken() {
    let mut line = Line::connected().await;
    let session = line.gateway.hand_over().await.expect("a session");
    for resume_url in [Some("ws://127.0.0.1:1".to_owned()), None] {
        let session = Session {
            resume_url,
            ..session.clone()
        };
        line.gateway = gateway(&line.sim).resuming(session);
        line.reads("RESUMED").await;
        line.gateway.hand_over().await.expect("a session");
    }
    assert_eq!(line.counts(), (1, 2));
}

#[tokio::test]
async fn a_session_of_another_process_is_soon_given_up_if_nobody_answers() {
    let mut line = Line::connected().await;
    let session = line.gateway.hand_over().await.expect("a session");
    line.sim.gateway().withhold_answers();
    line.gateway = gateway(&line.sim).with_deadlines(SHORT).resuming(session);
    line.tries_until(|control| control.unanswered() >= 2).await;
    line.sim.gateway().accept();
    line.reads("READY").await;
    assert_eq!(line.counts().0, 2);
}

/// The library would resume on the same connection, and it panics at an interval of 0.
#[tokio::test]
async fn another_hello_leads_to_another_connection() {
    let mut line = Line::connected().await;
    for (number, interval) in [(1, 45_000), (2, 0)] {
        let written = [line.says(), line.says()];
        let hello = json!({ "op": 10, "d": { "heartbeat_interval": interval } });
        line.sim.gateway().raw_frame(&hello.to_string());
        let written = [written[0], written[1], line.says(), line.says()];
        for message in written {
            let frame = line.reads("MESSAGE_CREATE").await;
            let id = format!("\"id\":\"{message}\"");
            assert!(frame.data().contains(&id), "each once and in order");
        }
        line.reads("RESUMED").await;
        assert_eq!(line.counts(), (1, number), "{interval}");
    }
}

#[tokio::test]
async fn a_session_that_is_never_resumed_is_given_up() {
    let mut line = Line::new().await;
    line.gateway = line.gateway.with_deadlines(Deadlines {
        ready: Duration::from_millis(300),
        ..SHORT
    });
    line.reads("GUILD_CREATE").await;
    let before = line.counts().0;
    line.sim.gateway().withhold_answers();
    line.sim.gateway().drop_connections();
    let Line { sim, gateway } = &mut line;
    let another = || (sim.gateway().identifies() > before).then_some(());
    tokio::select! {
        next = reads(gateway, "READY") => panic!("{next:?} where nothing is answered"),
        begun = sim.wait_for(Duration::from_mins(1), another) => begun.expect("another session"),
    }
    assert_eq!(sim.gateway().resumes(), 0);
    assert!(sim.gateway().unanswered() >= 4);
}

/// The library panics at such an address.
#[tokio::test]
async fn an_address_for_resuming_that_makes_no_sense_does_no_harm() {
    let mut line = Line::connected().await;
    let session = line.sim.gateway().sessions()[0].id.clone();
    let ready = json!({ "session_id": session, "resume_gateway_url": "ws://a b", "guilds": [] });
    line.sim.gateway().raw_dispatch("READY", ready);
    line.reads("READY").await;
    line.sim.gateway().drop_connections();
    line.delivers().await;
    line.sim.gateway().reconnect();
    line.delivers().await;
    assert_eq!(line.counts().0, 1);
}

#[tokio::test]
async fn frames_that_are_none_change_nothing() {
    let mut line = Line::connected().await;
    for frame in NO_FRAMES {
        line.sim.gateway().raw_frame(frame);
        line.delivers().await;
    }
    assert_eq!(line.counts(), (1, 0));
}

#[tokio::test]
async fn a_session_is_handed_over_between_two_connections_too() {
    let mut line = Line::connected().await;
    line.sim.gateway().refuse_connections();
    line.tries_until(|gateway| gateway.connections() == 0).await;
    let session = line.gateway.hand_over().await.expect("a session");
    line.sim.gateway().accept();
    let missed = line.says();
    line.gateway = gateway(&line.sim).resuming(session);
    let read = line.reads("MESSAGE_CREATE").await;
    assert!(read.data().contains(&missed.to_string()));
    assert_eq!(line.counts(), (1, 1));
}
