//! Request bodies: JSON, or a form with `payload_json` and files.

use serde_json::Value;

/// A file that came with a form.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// The name of the form's field, `files[0]`.
    pub field: String,
    /// The file's own name.
    pub name: String,
    pub content_type: Option<String>,
    pub bytes: Vec<u8>,
}

/// The JSON of a body (null if there is none) and its files.
pub(crate) fn read(content_type: &str, body: &[u8]) -> (Value, Vec<File>) {
    let boundary = content_type
        .strip_prefix("multipart/form-data")
        .and_then(|parameters| parameters.split_once("boundary="))
        .map(|(_, boundary)| boundary.trim_matches('"'));
    let Some(boundary) = boundary else {
        return (serde_json::from_slice(body).unwrap_or_default(), Vec::new());
    };
    let mut json = Value::Null;
    let mut files = Vec::new();
    for part in parts(body, boundary) {
        if part.field == "payload_json" {
            json = serde_json::from_slice(&part.bytes).unwrap_or_default();
        } else {
            files.push(part);
        }
    }
    (json, files)
}

fn parts(body: &[u8], boundary: &str) -> Vec<File> {
    let delimiter = format!("--{boundary}");
    let mut found = Vec::new();
    let mut rest = body;
    while let Some(at) = position(rest, delimiter.as_bytes()) {
        rest = &rest[at + delimiter.len()..];
        let Some(head_end) = position(rest, b"\r\n\r\n") else {
            break;
        };
        let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
        rest = &rest[head_end + 4..];
        let Some(end) = position(rest, format!("\r\n{delimiter}").as_bytes()) else {
            break;
        };
        found.push(File {
            field: parameter(&head, "name").unwrap_or_default(),
            name: parameter(&head, "filename").unwrap_or_default(),
            content_type: head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-type")
                    .then(|| value.trim().to_owned())
            }),
            bytes: rest[..end].to_vec(),
        });
    }
    found
}

/// `name="value"` in a part's head.
fn parameter(head: &str, name: &str) -> Option<String> {
    head.split(';').find_map(|piece| {
        let (found, value) = piece.trim().split_once('=')?;
        let value = value.lines().next()?.trim_matches('"');
        (found == name).then(|| value.to_owned())
    })
}

fn position(within: &[u8], wanted: &[u8]) -> Option<usize> {
    within
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_taken_apart() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"files[0]\"; \
            filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\x89\r\nPNG\r\n--b\r\n\
            Content-Disposition: form-data; name=\"payload_json\"\r\n\r\n{\"content\":\"x\"}\r\n\
            --b--\r\n";
        let (json, files) = read("multipart/form-data; boundary=b", body);
        assert_eq!(json["content"], "x");
        assert_eq!(files[0].name, "a.png");
        assert_eq!(files[0].field, "files[0]");
        assert_eq!(files[0].content_type.as_deref(), Some("image/png"));
        assert_eq!(files[0].bytes, b"\x89\r\nPNG");
    }
}
