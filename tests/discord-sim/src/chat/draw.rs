//! The bot's messages as text.

use std::fmt::Write as _;
use std::sync::LazyLock;

use chrono::Local;
use regex::{Captures, Regex};
use serde_json::Value;

use crate::Sim;
use crate::chat::moments::with_moments;
use crate::chat::{Heard, News};
use crate::objects::id_in;
use crate::rest::interactions::is_ephemeral;
use crate::rest::validate::items;

/// What a client does not show as it was typed: code, in which all is literal, a backslash that
/// makes the next character literal, times, and mentions.
static MARKED: LazyLock<Regex> = LazyLock::new(|| {
    let code = r"(?<code>```.*?```|`[^`]+`)";
    let escape = r"\\(?<literal>[!-/:-@\[-`{-~])";
    let mention = r"<(?<sign>@!|@&|@|#)(?<id>\d{1,20})>";
    let all = format!(r"(?s){code}|{escape}|(?<moment><t:[^>\s]+>)|{mention}");
    Regex::new(&all).expect("a regex")
});

/// Draws what the bot said: who hears it, what it replies to, text, embeds in a
/// box, files and components. What was deleted is shown once more.
pub fn draw(sim: &Sim, heard: &Heard) -> String {
    let message = &heard.message;
    let mut lines = vec![heading(sim, heard)];
    let content = message["content"].as_str().unwrap_or_default();
    if !content.is_empty() {
        lines.extend(shown(sim, content).lines().map(|line| format!("  {line}")));
    }
    for embed in items(&message["embeds"]) {
        draw_embed(sim, embed, &mut lines);
    }
    for file in items(&message["attachments"]) {
        let name = file["filename"].as_str().unwrap_or_default();
        lines.push(format!("  file {}", harmless(name)));
    }
    let mut number = 0;
    for row in items(&message["components"]) {
        let mut numbered = |part| {
            number += 1;
            component(number, part)
        };
        let parts: Vec<String> = items(&row["components"])
            .iter()
            .map(&mut numbered)
            .collect();
        lines.push(format!("  {}", parts.join(" ")));
    }
    lines.join("\n")
}

fn heading(sim: &Sim, heard: &Heard) -> String {
    let message = &heard.message;
    let name = |user: &Value| {
        let known = id_in(&user["id"]).and_then(|id| sim.display_name(id));
        harmless(&known.unwrap_or_else(|| "somebody".into()))
    };
    let mut heading = name(&message["author"]);
    let channel = id_in(&message["channel_id"]).map(|id| channel_name(sim, id));
    if let Some(channel) = channel {
        let _ = write!(heading, " in {channel}");
    }
    let invoker = &message["interaction_metadata"];
    if invoker.is_object() {
        let _ = write!(heading, ", answering {}", name(&invoker["user"]));
        if let Some(command) = invoker["name"].as_str() {
            let _ = write!(heading, "'s /{command}");
        }
    } else if message["message_reference"].is_object() {
        let _ = write!(
            heading,
            ", replying to {}",
            name(&message["referenced_message"]["author"])
        );
    }
    match heard.news {
        News::Said => {}
        News::Edited => heading.push_str(" (edited)"),
        News::Deleted => heading.push_str(" (deleted)"),
    }
    if is_ephemeral(message) {
        let _ = write!(heading, " (only {} sees this)", name(&invoker["user"]));
    }
    heading.push(':');
    heading
}

fn draw_embed(sim: &Sim, embed: &Value, lines: &mut Vec<String>) {
    lines.push(format!("  \u{256d}{}", "\u{2500}".repeat(40)));
    let mut inside = |text: &str| {
        lines.extend(text.lines().map(|line| {
            let line = format!("  \u{2502} {line}");
            line.trim_end().to_owned()
        }));
    };
    let text = |value: &Value| shown_in_embed(sim, value.as_str().unwrap_or_default());
    // Clients show these two as they are.
    let literal = |value: &Value| harmless(value.as_str().unwrap_or_default());
    inside(&literal(&embed["author"]["name"]));
    inside(&text(&embed["title"]));
    inside(&text(&embed["description"]));
    for field in items(&embed["fields"]) {
        let (name, value) = (text(&field["name"]), text(&field["value"]));
        // A field without a visible name is a continuation.
        let unnamed = name.trim_matches(['\u{200b}', ' ']).is_empty();
        let apart = if unnamed {
            ""
        } else if value.contains('\n') {
            ":\n"
        } else {
            ": "
        };
        inside(&format!("{name}{apart}{value}"));
    }
    inside(&literal(&embed["footer"]["text"]));
    lines.push(format!("  \u{2570}{}", "\u{2500}".repeat(40)));
}

/// A component with the number that it can be pressed by.
fn component(number: usize, part: &Value) -> String {
    let off = if part["disabled"] == true { " off" } else { "" };
    let options: Vec<String> = items(&part["options"]).iter().map(part_name).collect();
    let options = if options.is_empty() {
        String::new()
    } else {
        format!(": {}", options.join(" | "))
    };
    format!("[{number} {}{off}{options}]", part_name(part))
}

/// What a component or a menu's option is called.
pub(crate) fn part_name(part: &Value) -> String {
    let emoji = part["emoji"]["name"].as_str().unwrap_or_default();
    let label = part["label"]
        .as_str()
        .or(part["placeholder"].as_str())
        .unwrap_or_default();
    harmless([emoji, label].join(" ").trim())
}

/// A message's text as a client shows it: mentions by name, since the message brings the
/// accounts that it mentions.
fn shown(sim: &Sim, text: &str) -> String {
    let name = |id| {
        let known = sim.display_name(id);
        format!("@{}", known.unwrap_or_else(|| "unknown-user".into()))
    };
    with_names(sim, text, |found, id| match found {
        Mention::User(_) => name(id),
        Mention::Other(shown) => shown,
    })
}

/// A text in an embed as a client shows it that has seen only the people of the chat: Discord
/// sends no accounts along for embeds, so the mention of any other member stays as it was typed.
/// Roles and channels are known to every client of the guild.
fn shown_in_embed(sim: &Sim, text: &str) -> String {
    let people = sim.people();
    let is_known = |id| people.iter().any(|name| sim.find_user(name) == Some(id));
    with_names(sim, text, |found, id| match found {
        Mention::User(typed) => {
            let known = is_known(id).then(|| sim.display_name(id)).flatten();
            known.map_or(typed, |name| format!("@{name}"))
        }
        Mention::Other(shown) => shown,
    })
}

/// A mention in a text.
enum Mention {
    /// Of a user, as it was typed.
    User(String),
    /// Of a channel or role, as every client shows it.
    Other(String),
}

fn with_names(sim: &Sim, text: &str, draw: impl Fn(Mention, crate::Id) -> String) -> String {
    let named = MARKED.replace_all(text, |found: &Captures<'_>| {
        if let Some(same) = found.name("code").or(found.name("literal")) {
            return same.as_str().to_owned();
        }
        if let Some(moment) = found.name("moment") {
            return with_moments(moment.as_str(), sim.now_ms(), &Local);
        }
        let id = found["id"].parse().unwrap_or_default();
        let mention = match &found["sign"] {
            "#" => Mention::Other(channel_name(sim, id)),
            "@&" => {
                let name = sim.role_name(id).unwrap_or_else(|| "unknown-role".into());
                Mention::Other(format!("@{name}"))
            }
            _ => Mention::User(found[0].to_owned()),
        };
        draw(mention, id)
    });
    harmless(&named)
}

fn channel_name(sim: &Sim, id: crate::Id) -> String {
    let name = sim.channel_name(id);
    name.map_or_else(|| "direct messages".into(), |name| format!("#{name}"))
}

/// Without anything that would steer the terminal or turn its text around. What holds a name
/// together that is written from right to left is seen nowhere.
fn harmless(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '\u{2068}' | '\u{2069}') {
            continue;
        }
        let steers = letter.is_control() && letter != '\n'
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if steers {
            safe.extend(letter.escape_unicode());
        } else {
            safe.push(letter);
        }
    }
    safe
}
