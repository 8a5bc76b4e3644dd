//! Errors about Discord's JSON that name the unreadable field, but never contain its value.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Error, Segment};

/// An error: the field that could not be read, as a path such as `member.roles[3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(String);

/// Parses JSON text into `T`.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Unreadable> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = serde_path_to_error::deserialize(&mut json);
    let read = read.map_err(|error| Unreadable::in_error(&error))?;
    json.end().map_err(|_| Unreadable::not_json())?;
    Ok(read)
}

/// Reads `T` from parsed JSON.
pub fn read<T: DeserializeOwned>(json: &Value) -> Result<T, Unreadable> {
    serde_path_to_error::deserialize(json).map_err(|error| Unreadable::in_error(&error))
}

impl Unreadable {
    /// An error about the field at `path`.
    pub fn at(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    fn not_json() -> Self {
        Self("the whole, which is not JSON".to_owned())
    }

    fn in_error(error: &Error<serde_json::Error>) -> Self {
        if error.inner().is_syntax() || error.inner().is_eof() {
            return Self::not_json();
        }
        let mut path = String::new();
        for segment in error.path() {
            match segment {
                // Writing to a string does not fail.
                Segment::Seq { index } => drop(write!(path, "[{index}]")),
                Segment::Map { key } | Segment::Enum { variant: key } => join(&mut path, key),
                Segment::Unknown => join(&mut path, "?"),
            }
        }
        // serde names a missing field only in its error text, which here contains no value.
        let words = error.inner().to_string();
        let missing = words.strip_prefix("missing field `");
        if let Some((field, _)) = missing.and_then(|rest| rest.split_once('`')) {
            join(&mut path, field);
        }
        if path.is_empty() {
            path.push_str("the whole");
        }
        Self(path)
    }
}

/// Appends a field's name to a path. A name that could come from user data becomes `?`.
fn join(path: &mut String, name: &str) {
    let is_field = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let name = if name.bytes().all(is_field) {
        name
    } else {
        "?"
    };
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Outer {
        list: Vec<Inner>,
        by_key: BTreeMap<String, Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Inner {
        count: u8,
        kind: OddKind,
    }

    #[derive(Debug, Deserialize)]
    enum OddKind {
        One,
    }

    #[test]
    fn the_field_is_named_and_its_value_never() {
        let good = json!({ "count": 1, "kind": "One" });
        for (json, field) in [
            (
                json!({ "list": [good, { "count": "secret", "kind": "One" }] }),
                "list[1].count",
            ),
            (
                json!({ "list": [{ "count": 1_000, "kind": "One" }] }),
                "list[0].count",
            ),
            (
                json!({ "list": [{ "count": 1, "kind": "secret" }] }),
                "list[0].kind",
            ),
            (json!({ "list": [{ "kind": "One" }] }), "list[0].count"),
            (
                json!({ "list": [], "by_key": { "secret 7": { "count": 1 } } }),
                "by_key.?.kind",
            ),
            (json!({ "list": "secret" }), "list"),
            (json!({}), "list"),
            (json!("secret"), "the whole"),
        ] {
            let read = read::<Outer>(&json).unwrap_err();
            let parsed = parse::<Outer>(json.to_string().as_bytes()).unwrap_err();
            assert_eq!(
                (read.to_string(), parsed.to_string()),
                (field.into(), field.into())
            );
        }
        for text in [
            "<html>secret</html>",
            "",
            "{",
            r#"{"list":[],"by_key":{}} secret"#,
        ] {
            let error = parse::<Outer>(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), "the whole, which is not JSON", "{text}");
        }
    }
}
