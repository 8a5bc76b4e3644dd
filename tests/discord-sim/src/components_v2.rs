//! What other bots' messages are made of since Discord has its Components V2: parts of types that a
//! client which only knows the first eight cannot read.

use serde_json::{Value, json};

/// The flag of messages that are made of them.
pub(crate) const FLAG: u64 = 1 << 15;

/// A container in which every kind of part stands that a message can hold.
pub(crate) fn container(text: &str) -> Value {
    let text = json!({ "type": 10, "id": 2, "content": text });
    let section = json!({
        "type": 9,
        "id": 3,
        "components": [{ "type": 10, "id": 4, "content": "beside a picture" }],
        "accessory": {
            "type": 11,
            "id": 5,
            "media": media("thumbnail.png"),
            "description": null,
            "spoiler": false,
        },
    });
    let pictures = json!({
        "type": 12,
        "id": 7,
        "items": [
            { "media": media("one.png"), "description": "one", "spoiler": false },
            { "media": media("two.png"), "description": null, "spoiler": true },
        ],
    });
    let file = json!({
        "type": 13,
        "id": 8,
        "file": media("file.txt"),
        "name": "file.txt",
        "size": 12,
        "spoiler": false,
    });
    let row = json!({
        "type": 1,
        "id": 9,
        "components": [
            { "type": 2, "id": 10, "style": 5, "label": "more", "url": "https://example.invalid/" },
        ],
    });
    json!([{
        "type": 17,
        "id": 1,
        "accent_color": 0x58_65_f2,
        "spoiler": false,
        "components": [
            text,
            section,
            { "type": 14, "id": 6, "divider": true, "spacing": 1 },
            pictures,
            file,
            row,
        ],
    }])
}

fn media(name: &str) -> Value {
    json!({
        "id": "1",
        "url": format!("https://example.invalid/{name}"),
        "proxy_url": format!("https://images.example.invalid/{name}"),
        "width": 64,
        "height": 64,
        "placeholder": null,
        "placeholder_version": null,
        "content_type": "image/png",
        "loading_state": 2,
        "flags": 0,
    })
}
