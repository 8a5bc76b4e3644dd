//! Reads text files in the encodings that common tools write: UTF-8, with or without a byte order
//! mark, and UTF-16, which `PowerShell` writes with `>`.
//!
//! Anything else is refused, with the number of the first invalid line. An error never contains
//! text from the file.

use std::fmt;
use std::io;
use std::path::Path;

use serde_json::error::Category;

/// A decoded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFile {
    /// The text, without the byte order mark.
    pub text: String,
    /// The encoding that was detected.
    pub encoding: Encoding,
}

/// A supported encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    Utf8,
    /// UTF-16, little-endian.
    Utf16Le,
    /// UTF-16, big-endian.
    Utf16Be,
}

/// Why a file cannot be read. The text is written to follow the file's name in a sentence.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The operating system reported an error.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The file contains bytes that are invalid in the detected encoding.
    #[error("cannot be read: line {line} is not {found}; save the file as UTF-8")]
    Malformed {
        /// The encoding detected from the file's first bytes.
        found: Encoding,
        /// Number of the first invalid line, counted from 1.
        line: usize,
    },
    /// The file starts with a UTF-32 byte order mark. UTF-32 is too rare to support.
    #[error("cannot be read: it is UTF-32; save the file as UTF-8")]
    Utf32,
}

/// Reads and decodes a file.
pub fn read(path: &Path) -> Result<TextFile, TextError> {
    decode(std::fs::read(path)?)
}

/// Decodes a file's bytes. Without a byte order mark they are taken for UTF-16 if exactly one of
/// the first two bytes is zero, as in a text that starts with a Latin letter; otherwise for UTF-8.
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

/// Describes a JSON error without the values from the document that serde quotes.
pub fn json_error(error: &serde_json::Error) -> String {
    let said = error.to_string();
    if error.classify() != Category::Data || said.starts_with("missing field") {
        return said;
    }
    match said.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => format!(
            "a field has an invalid value at line {} column {}",
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
        // An odd byte at the end: replaced by a lone surrogate, which is refused below.
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
    fn invalid_text_is_refused_with_its_line_number() {
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
        fn every_encoding_decodes_to_the_same_text(text in "[ -~]\\PC{0,40}", mark: bool) {
            for encoding in [Encoding::Utf8, Encoding::Utf16Le, Encoding::Utf16Be] {
                let read = decode(encoded(&text, encoding, mark)).unwrap();
                prop_assert_eq!((&read.text, read.encoding), (&text, encoding));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(bytes);
        }
    }
}
