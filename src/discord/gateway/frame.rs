//! One message of the gateway (a frame), parsed only as far as its envelope: the opcode, the
//! sequence number and the event's type. The event's data stays JSON text.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What a frame is for. Source: Discord's documentation, "Gateway Opcodes".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    /// An event.
    Dispatch,
    /// Discord asks the bot to reconnect and resume.
    Reconnect,
    /// The session is invalid.
    InvalidSession,
    /// The first frame of every connection.
    Hello,
    /// Any other opcode; twilight handles heartbeats itself.
    Other,
}

/// A frame. Owns its text and remembers where in it the type and the data are, so that
/// [`Self::kind`] and [`Self::data`] parse nothing.
#[derive(Debug)]
pub struct Frame {
    text: String,
    pub(super) opcode: Opcode,
    sequence: Option<u64>,
    kind: Range<usize>,
    data: Range<usize>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    op: u64,
    s: Option<u64>,
    #[serde(borrow)]
    t: Option<&'a RawValue>,
    #[serde(borrow)]
    d: Option<&'a RawValue>,
}

impl Frame {
    /// Parses a frame; `None` if the text is not JSON or has no valid opcode.
    pub(super) fn read(text: String) -> Option<Self> {
        let envelope: Envelope<'_> = serde_json::from_str(&text).ok()?;
        let opcode = match envelope.op {
            0 => Opcode::Dispatch,
            7 => Opcode::Reconnect,
            9 => Opcode::InvalidSession,
            10 => Opcode::Hello,
            _ => Opcode::Other,
        };
        let kind = envelope.t.and_then(|kind| unescaped(kind.get()));
        let kind = kind.map_or(0..0, |kind| range_in(&text, kind));
        let data = envelope.d.map_or(0..0, |data| range_in(&text, data.get()));
        let sequence = envelope.s;
        Some(Self {
            text,
            opcode,
            sequence,
            kind,
            data,
        })
    }

    /// The event's type, such as `MESSAGE_CREATE`; empty if there is none.
    pub fn kind(&self) -> &str {
        &self.text[self.kind.clone()]
    }

    /// The event's sequence number within its session.
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// The event's data as JSON; empty if there is none.
    pub fn data(&self) -> &str {
        &self.text[self.data.clone()]
    }
}

/// The content of a JSON string; `None` if it contains escapes. No event type of Discord does.
fn unescaped(json: &str) -> Option<&str> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('\\')).then_some(inner)
}

/// The byte range of `part` in `text`. `part` must be a slice of `text`.
fn range_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_is_found_in_its_frame() {
        for text in [
            r#"{"t":"MESSAGE_CREATE","s":7,"op":0,"d":{"id":"1","content":"é \"}"}}"#,
            r#" { "op" : 0, "d" : {"id":"1","content":"é \"}"} , "new": [1], "s": 7, "t": "MESSAGE_CREATE" } "#,
        ] {
            let frame = Frame::read(text.to_owned()).unwrap();
            assert_eq!((frame.opcode, frame.sequence), (Opcode::Dispatch, Some(7)));
            assert_eq!(frame.kind(), "MESSAGE_CREATE");
            assert_eq!(frame.data(), r#"{"id":"1","content":"é \"}"}"#);
        }
    }

    #[test]
    fn what_is_no_frame_is_none() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            "no JSON",
            r#"{"op":"zero"}"#,
            r#"{"op":-1}"#,
        ] {
            assert!(Frame::read(text.to_owned()).is_none(), "{text}");
        }
        for (text, opcode) in [
            (r#"{"op":99,"d":null}"#, Opcode::Other),
            (r#"{"op":9,"d":false}"#, Opcode::InvalidSession),
            (r#"{"op":0,"t":null,"s":null,"d":null}"#, Opcode::Dispatch),
            (r#"{"op":0,"t":"\u0041","s":1,"d":[]}"#, Opcode::Dispatch),
        ] {
            let frame = Frame::read(text.to_owned()).unwrap();
            assert_eq!(frame.opcode, opcode, "{text}");
            assert_eq!(frame.kind(), "", "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_reader(text in "\\PC{0,80}|\\{\"op\":0,\"t\":\"\\PC{0,9}\",\"d\":\\PC{0,30}\\}") {
            if let Some(frame) = Frame::read(text) {
                let _ = (frame.kind(), frame.data());
            }
        }
    }
}
