//! The architecture, as checks: who may know what, and how a file begins.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the inside out: each may use itself and those before it.
const LAYERS: [&[&str]; 13] = [
    &["leveling", "backoff", "job", "text_file", "output"],
    &["store"],
    &["error"],
    &["exit_code"],
    &["config"],
    &["discord", "guild_settings", "import", "xp"],
    &["environment", "message_gate"],
    &["bans", "profiles"],
    &["roles"],
    &["bot"],
    &["commands", "check"],
    &["listeners", "jobs"],
    &["app"],
];

/// Words that only certain modules may say.
const WORLDS: [(&str, &[&str]); 7] = [
    ("sqlx", &["store"]),
    ("serenity", &["discord", "listeners", "commands"]),
    ("poise", &["discord", "listeners", "commands"]),
    ("twilight_gateway", &["discord"]),
    ("tokio_tungstenite", &["discord"]),
    ("reqwest", &["discord", "config"]),
    ("std::env", &["config"]),
];

#[test]
fn every_file_says_what_it_is() {
    for path in files("src").chain(files("tests")) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//! "),
            "{} does not open with `//!`",
            path.display()
        );
    }
}

#[test]
fn modules_use_only_those_further_in() {
    for path in files("src") {
        let module = module_of(&path);
        let Some(own) = layer(&module) else {
            assert!(
                ["lib", "main"].contains(&module.as_str()),
                "{module} has no layer: add it to LAYERS"
            );
            continue;
        };
        let text = code(&path);
        assert!(
            !text.contains("crate::{"),
            "{}: one `use crate::…` for each module",
            path.display()
        );
        for used in words_after(&text, "crate::") {
            let theirs =
                layer(&used).unwrap_or_else(|| panic!("{}: no layer has {used}", path.display()));
            assert!(
                theirs < own || used == module,
                "{} uses crate::{used}, which is further out",
                path.display()
            );
        }
    }
}

#[test]
fn each_world_is_known_only_where_it_belongs() {
    for path in files("src") {
        let (module, text) = (module_of(&path), code(&path));
        for (word, allowed) in WORLDS {
            let says = text.lines().any(|line| {
                line.contains(&format!("{word}::")) || line.contains(&format!("use {word}"))
            });
            let may = allowed.contains(&module.as_str());
            assert!(!says || may, "{} speaks of {word}", path.display());
        }
    }
}

/// Names of the rules of XP, and of what applies them.
const XP_RULES: [&str; 15] = [
    "xp",
    "may_earn",
    "may_command",
    "award",
    "Award",
    "COOLDOWN_MS",
    "cooldown",
    "Standing",
    "Points",
    "Progress",
    "Board",
    "TOP_LEVEL",
    "mee6_total",
    "EligibleMessage",
    "XpCache",
];

#[test]
fn discord_knows_no_xp() {
    for path in files("src/discord") {
        let text = code(&path);
        let shipped = text.split("#[cfg(test)]").next().unwrap();
        let known = xp_rules_in(shipped);
        assert!(known.is_empty(), "{}: {known:?}", path.display());
    }
}

#[test]
fn a_rule_of_xp_is_found_in_whatever_way_it_is_used() {
    for (line, found) in [
        ("use crate::xp::Inbox;", "xp"),
        ("use crate::leveling::{MessageFacts, may_earn};", "may_earn"),
        ("if leveling::may_earn(&facts) {", "may_earn"),
        ("fn points(&self) -> Points {", "Points"),
    ] {
        assert_eq!(xp_rules_in(line), [found]);
    }
    assert!(xp_rules_in("let expired = awarded(Pointers::new());").is_empty());
}

/// The rules of XP that the code names.
fn xp_rules_in(code: &str) -> Vec<&str> {
    let names = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    names.filter(|name| XP_RULES.contains(name)).collect()
}

/// How a call could be made past our limits, brake and policy: through serenity's client, or by
/// poise, which uses it.
const PAST_OUR_CLIENT: [&str; 15] = [
    "Http",
    ".http",
    "dispatch_autocomplete",
    "create_response(",
    "create_followup(",
    "edit_response(",
    "send_message(",
    "send_files(",
    "ctx.reply(",
    "ctx.say(",
    "ctx.send(",
    "ctx.defer",
    "_reply(",
    "register_globally",
    "ratelimiter",
];

#[test]
fn no_call_is_made_past_the_rest_client() {
    for path in files("src") {
        // It has one without a token, since poise asks for it.
        if path.ends_with("discord/offline_shard.rs") {
            continue;
        }
        let text = code(&path);
        for line in text.lines() {
            for way in PAST_OUR_CLIENT {
                // The error of serenity's requests that cannot be built.
                let line = line.replace("HttpError", "").replace("Error::Http", "");
                assert!(!line.contains(way), "{}: {line}", path.display());
            }
        }
    }
    let offline = code(Path::new("src/discord/offline_shard.rs"));
    // What stands in quotes is left out.
    assert_eq!(offline.matches("HttpBuilder::new()").count(), 1);
    assert!(!offline.contains("token"), "serenity's client has no token");
}

/// What could open a connection through serenity's own gateway, and with it reach its TLS.
const SERENITYS_GATEWAY: [&str; 6] = [
    "ClientBuilder::new",
    "serenity::Client",
    "ShardManager",
    "Shard::new",
    "start_shard",
    "tokio_tungstenite",
];

/// rustls-webpki 0.102 has known weaknesses, and serenity does not compile without it: nothing of
/// ours may reach it. See `.cargo/deny.toml`.
#[test]
fn nothing_connects_through_serenitys_gateway() {
    let offline = Path::new("src/discord/offline_shard.rs");
    for path in files("src").filter(|path| path != offline) {
        let text = code(&path).replace("OfflineShard::new", "");
        for word in SERENITYS_GATEWAY {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
    let text = code(offline);
    // What stands in quotes is no code: the address of the one connection.
    let raw = fs::read_to_string(offline).unwrap();
    assert_eq!(text.matches("Shard::new").count(), 1);
    assert_eq!(raw.matches("ws://").count(), 1);
    assert!(!raw.contains("wss://"));
    assert!(raw.contains(r#"TcpListener::bind(("127.0.0.1", 0))"#));
}

#[test]
fn every_migration_is_numbered_and_says_why() {
    let mut names: Vec<_> = fs::read_dir("migrations")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    for (number, path) in (1..).zip(names) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with(&format!("{number:04}_")),
            "{name} is out of order"
        );
        assert!(
            fs::read_to_string(&path).unwrap().starts_with("-- "),
            "{name} does not open with its reason"
        );
    }
}

/// Tables whose rows several tasks write at the same time.
const SHARED: [&str; 5] = [
    "user_point",
    "updated_user",
    "xp_day",
    "role_work",
    "outbox",
];
/// What tells a statement that writes a single row: its key.
const ONE_ROW: [&str; 3] = ["where user_id = $1", "where message_id = $1", "values ($1"];

#[test]
fn whoever_writes_many_rows_locks_them_in_order() {
    let mut written = 0;
    for path in files("src/store") {
        let text = fs::read_to_string(&path).unwrap();
        for statement in statements(&text) {
            let writes = SHARED.iter().any(|table| {
                ["insert into", "update", "delete from"]
                    .iter()
                    .any(|verb| words(&statement).contains(&format!("{verb} {table} ")))
            });
            if !writes || ONE_ROW.iter().any(|key| words(&statement).contains(key)) {
                continue;
            }
            written += 1;
            assert!(
                statement.contains("order by"),
                "{}: no order in which rows are locked: {statement}",
                path.display()
            );
        }
    }
    assert!(written > 10, "{written} statements were found");
}

/// The texts of a file's queries.
fn statements(text: &str) -> impl Iterator<Item = String> {
    let after = text.split("query!(").skip(1);
    after.filter_map(|rest| Some(rest.split('"').nth(1)?.to_owned()))
}

/// A text with single spaces.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ") + " "
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// `src/store/level.rs` and `src/store/mod.rs` are of `store`.
fn module_of(path: &Path) -> String {
    let first = path
        .strip_prefix("src")
        .unwrap()
        .components()
        .next()
        .unwrap();
    first
        .as_os_str()
        .to_str()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned()
}

/// A file's lines without comments and without what stands in quotes.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|line| line.split('"').step_by(2).chain(["\n"]))
        .collect()
}

/// The identifiers that follow `prefix`.
fn words_after(text: &str, prefix: &str) -> Vec<String> {
    let word = |rest: &str| {
        rest.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    text.match_indices(prefix)
        .map(|(at, _)| word(&text[at + prefix.len()..]))
        .filter(|word| !word.is_empty())
        .collect()
}

fn files(root: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(root)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(
        !found.is_empty(),
        "the tests run at the top of the checkout"
    );
    found.into_iter()
}
