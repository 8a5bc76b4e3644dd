//! Text files in the encodings that people's tools write: UTF-8, with or without a byte order
//! mark, and UTF-16, as `PowerShell` writes with `>`.
//!
//! Guesses nothing else: what is none of these is refused by its line, and an error never
//! holds what stands in a file.

use std::fmt;
use std::io;
use std::path::Path;

use serde_json::error::Category;

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFile {
    /// What it says, without a byte order mark.
    pub text: String,
    /// How it says it.
    pub encoding: Encoding,
}

/// An encoding that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// With a byte order mark or without.
    Utf8,
    /// Little-endian.
    Utf16Le,
    /// Big-endian.
    Utf16Be,
}

/// Why a file cannot be read; to be said after its name.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The system's word.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Bytes that are no text in the encoding that was found.
    #[error("cannot be read: line {line} is not {found}; save the file as UTF-8")]
    Malformed {
        /// What the file's beginning says.
        found: Encoding,
        /// From 1 on.
        line: usize,
    },
    /// UTF-32, which nobody writes by accident.
    #[error("cannot be read: it is UTF-32; save the file as UTF-8")]
    Utf32,
}

/// Reads a file.
pub fn read(path: &Path) -> Result<TextFile, TextError> {
    decode(std::fs::read(path)?)
}

/// Reads a file's bytes. Without a byte order mark they are UTF-16 where every other one of
/// the first two is zero, as in text that begins with a plain character; else UTF-8.
pub fn decode(bytes: Vec<u8>) -> Result<TextFile, TextError> {
    match bytes[..] {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Err(TextError::Utf32),
        [0xff, 0xfe, ref rest @ ..] => utf16(rest, Encoding::Utf16Le),
        [0xfe, 0xff, ref rest @ ..] => utf16(rest, Encoding::Utf16Be),
        [1..=255, 0, ..] => utf16(&bytes, Encoding::Utf16Le),
        [0, 1..=255, ..] => utf16(&bytes, Encoding::Utf16Be),
        [0xef, 0xbb, 0xbf, ref rest @ ..] => utf8(rest.to_vec()),
        _ => utf8(bytes),
    }
}

/// What is wrong with JSON, without the values that serde quotes.
pub fn json_error(error: &serde_json::Error) -> String {
    let said = error.to_string();
    if error.classify() != Category::Data || said.starts_with("missing field") {
        return said;
    }
    match said.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => format!(
            "a field holds what it must not at line {} column {}",
            error.line(),
            error.column()
        ),
    }
}

fn utf8(bytes: Vec<u8>) -> Result<TextFile, TextError> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        TextError::Malformed {
            found: Encoding::Utf8,
            line: valid.split(|byte| *byte == b'\n').count(),
        }
    })?;
    let encoding = Encoding::Utf8;
    Ok(TextFile { text, encoding })
}

fn utf16(bytes: &[u8], encoding: Encoding) -> Result<TextFile, TextError> {
    let units = bytes.chunks(2).map(|unit| match (unit, encoding) {
        (&[low, high], Encoding::Utf16Le) | (&[high, low], _) => u16::from_be_bytes([high, low]),
        // Half a character at the end: as half of a pair alone, which is refused below.
        _ => 0xd800,
    });
    let mut text = String::with_capacity(bytes.len());
    for c in char::decode_utf16(units) {
        let c = c.map_err(|_| TextError::Malformed {
            found: encoding,
            line: 1 + text.matches('\n').count(),
        })?;
        text.push(c);
    }
    Ok(TextFile { text, encoding })
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le => "UTF-16 (little-endian)",
            Self::Utf16Be => "UTF-16 (big-endian)",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    fn encoded(text: &str, encoding: Encoding, mark: bool) -> Vec<u8> {
        let text = if mark {
            format!("\u{feff}{text}")
        } else {
            text.to_owned()
        };
        match encoding {
            Encoding::Utf8 => text.into_bytes(),
            Encoding::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Encoding::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }

    #[test]
    fn what_is_no_text_is_refused_by_its_line() {
        for (bytes, said) in [
            (
                b"a\nb\xe4".to_vec(),
                "cannot be read: line 2 is not UTF-8; save the file as UTF-8",
            ),
            (
                b"\xff\xfea\0\n\0b".to_vec(),
                "cannot be read: line 2 is not UTF-16 (little-endian); save the file as UTF-8",
            ),
            (
                b"\xfe\xff\xdc\x00".to_vec(),
                "cannot be read: line 1 is not UTF-16 (big-endian); save the file as UTF-8",
            ),
            (
                b"\xff\xfe\0\0a\0\0\0".to_vec(),
                "cannot be read: it is UTF-32; save the file as UTF-8",
            ),
        ] {
            let error = decode(bytes.clone()).unwrap_err().to_string();
            assert_eq!(error, said, "{bytes:?}");
        }
    }

    #[test]
    fn an_error_about_json_quotes_no_value() {
        #[derive(Debug, Deserialize)]
        struct Row {
            #[serde(rename = "number")]
            _number: u8,
        }
        for (text, said) in [
            (
                r#"{"number":"secret, expected x"}"#,
                "expected u8 at line 1 column 30",
            ),
            (r#"{"number":777}"#, "expected u8 at line 1 column 13"),
            ("{}", "missing field `number` at line 1 column 2"),
            (
                r#"{"number":"#,
                "EOF while parsing a value at line 1 column 10",
            ),
        ] {
            let error = serde_json::from_str::<Row>(text).unwrap_err();
            assert_eq!(json_error(&error), said);
        }
    }

    proptest! {
        #[test]
        fn every_encoding_says_the_same(text in "[ -~]\\PC{0,40}", mark: bool) {
            for encoding in [Encoding::Utf8, Encoding::Utf16Le, Encoding::Utf16Be] {
                let read = decode(encoded(&text, encoding, mark)).unwrap();
                prop_assert_eq!((&read.text, read.encoding), (&text, encoding));
            }
        }

        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(bytes);
        }
    }
}
