//! A gateway session: the data needed to resume it, in this process or in another one.

use reqwest::Url;
use serde::Deserialize;

/// The data with which a session is resumed. The hand-over stores it in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The `session_id` of `READY`.
    pub id: String,
    /// The sequence number of the last event received; Discord sends the later ones again.
    pub sequence: u64,
    /// The URL at which Discord wants it to be resumed; `None` for the usual one.
    pub resume_url: Option<String>,
}

/// The fields of `READY` that describe the session.
#[derive(Deserialize)]
struct ReadyData {
    session_id: String,
    #[serde(default)]
    resume_gateway_url: serde_json::Value,
}

impl Session {
    /// Reads the session from the data of `READY`; `None` if that has no session id. An invalid
    /// resume URL counts as none.
    pub(super) fn of_ready(data: &str, sequence: u64) -> Option<Self> {
        let ready: ReadyData = serde_json::from_str(data).ok()?;
        let resume_url = ready.resume_gateway_url.as_str().and_then(address);
        Some(Self {
            id: ready.session_id,
            sequence,
            resume_url,
        })
    }

    /// Drops a stored resume URL unless it is as safe as the `usual` one and in the same domain.
    /// The token is sent there, and someone who can write to the database must not get it.
    pub(super) fn stay_near(&mut self, usual: &str) {
        self.stay_as_safe_as(usual);
        let stored = self.resume_url.take();
        let near = stored.filter(|url| are_near(url, usual));
        self.resume_url = near.and_then(|url| address(&url));
    }

    /// Drops a resume URL without TLS if the `usual` one has TLS, because the token is sent there.
    pub(super) fn stay_as_safe_as(&mut self, usual: &str) {
        let is_safe = |url: &String| url.starts_with("wss:") || !usual.starts_with("wss:");
        self.resume_url = self.resume_url.take().filter(is_safe);
    }
}

/// Whether two URLs have the same host, or hosts with the same last two labels (`discord.gg`).
fn are_near(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (Url::parse(one), Url::parse(other)) else {
        return false;
    };
    let domain = |url: &Url| {
        let labels = url.domain()?.rsplit('.').take(2);
        Some(labels.map(str::to_owned).collect::<Vec<_>>())
    };
    one.host_str() == other.host_str() || (domain(&one).is_some() && domain(&one) == domain(&other))
}

/// Checks and normalizes a gateway URL; `None` if it is no `ws` or `wss` URL with a host, or has a
/// query or a fragment. Twilight panics at a URL that does not parse.
pub(super) fn address(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_socket = matches!(url.scheme(), "ws" | "wss") && url.host_str().is_some();
    let is_bare = url.query().is_none() && url.fragment().is_none();
    (is_socket && is_bare).then(|| url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_has_a_gateways_address() {
        for (text, expected) in [
            ("wss://gateway.discord.gg", Some("wss://gateway.discord.gg")),
            (
                "wss://gateway-us-east1-b.discord.gg/",
                Some("wss://gateway-us-east1-b.discord.gg"),
            ),
            ("ws://127.0.0.1:8080", Some("ws://127.0.0.1:8080")),
            ("https://discord.com", None),
            ("wss://a b", None),
            ("wss://", None),
            ("wss://a/?v=9", None),
            ("", None),
        ] {
            assert_eq!(address(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn no_session_is_resumed_less_safely_than_it_began() {
        let resumed_at = |usual: &str, wanted: &str| {
            let ready = format!(r#"{{"session_id":"a","resume_gateway_url":"{wanted}"}}"#);
            let mut session = Session::of_ready(&ready, 1).unwrap();
            session.stay_as_safe_as(usual);
            session.resume_url
        };
        for (usual, wanted, is_kept) in [
            ("wss://a", "wss://b", true),
            ("wss://a", "ws://b", false),
            ("ws://127.0.0.1:1", "ws://127.0.0.1:2", true),
            ("ws://127.0.0.1:1", "wss://b", true),
        ] {
            let resumed_at = resumed_at(usual, wanted);
            assert_eq!(resumed_at.is_some(), is_kept, "{usual} {wanted}");
        }
    }

    #[test]
    fn a_stored_session_is_resumed_near_where_sessions_begin_and_nowhere_else() {
        for (usual, stored, is_kept) in [
            (
                "wss://gateway.discord.gg",
                "wss://gateway-us-east1-b.discord.gg",
                true,
            ),
            (
                "wss://gateway.discord.gg",
                "wss://discord.gg.evil.example",
                false,
            ),
            ("wss://gateway.discord.gg", "wss://evildiscord.gg", false),
            ("wss://gateway.discord.gg", "ws://gateway.discord.gg", false),
            ("wss://gateway.discord.gg", "nonsense", false),
            (
                "wss://gateway.discord.gg",
                "wss://gateway.discord.gg/?v=9",
                false,
            ),
            ("ws://127.0.0.1:1", "ws://127.0.0.1:2", true),
            ("ws://127.0.0.1:1", "ws://127.0.0.2:1", false),
            ("ws://localhost:1", "ws://localhost:2", true),
        ] {
            let mut session = Session {
                id: "a".to_owned(),
                sequence: 1,
                resume_url: Some(stored.to_owned()),
            };
            session.stay_near(usual);
            let expected = is_kept.then_some(stored);
            assert_eq!(session.resume_url.as_deref(), expected, "{usual} {stored}");
        }
    }

    #[test]
    fn a_session_is_resumed_where_ready_says_or_where_it_began() {
        let session = |data: &str| Session::of_ready(data, 1);
        let whole = session(r#"{"session_id":"a","resume_gateway_url":"wss://b.c","v":10}"#);
        assert_eq!(whole.unwrap().resume_url.as_deref(), Some("wss://b.c"));
        for odd in ["7", "null", r#""nonsense""#] {
            let data = format!(r#"{{"session_id":"a","resume_gateway_url":{odd}}}"#);
            assert_eq!(session(&data).unwrap().resume_url, None, "{odd}");
        }
        assert_eq!(session(r#"{"v":"ten"}"#), None);
    }
}
