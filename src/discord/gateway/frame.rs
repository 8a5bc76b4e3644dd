//! One message of the gateway, read as far as it takes to see what it is.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What a frame is for. Source: Discord's documentation, "Gateway Opcodes".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    /// Something has happened.
    Dispatch,
    /// Connect again, and resume.
    Reconnect,
    /// The session is invalid.
    InvalidSession,
    /// The first thing that is said on a connection.
    Hello,
    /// Nothing that is acted upon here.
    Other,
}

/// A frame. It owns its text; what is borrowed from it was found once.
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
    /// Reads a frame; `None` if it is none.
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
        let kind = kind.map_or(0..0, |kind| place(&text, kind));
        let data = envelope.d.map_or(0..0, |data| place(&text, data.get()));
        let sequence = envelope.s;
        Some(Self {
            text,
            opcode,
            sequence,
            kind,
            data,
        })
    }

    /// The event's type, such as `MESSAGE_CREATE`.
    pub fn kind(&self) -> &str {
        &self.text[self.kind.clone()]
    }

    /// The event's number in its session.
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// The event's data, as JSON.
    pub fn data(&self) -> &str {
        &self.text[self.data.clone()]
    }
}

/// What stands in a JSON string; `None` with escapes, which no type that Discord has needs.
fn unescaped(json: &str) -> Option<&str> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('\\')).then_some(inner)
}

/// Where in `text` a part of it stands.
fn place(text: &str, part: &str) -> Range<usize> {
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
