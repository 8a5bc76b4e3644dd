//! What Tab completes, as a pure function of what is typed and what there is.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::rest::validate::items;

/// What there is to complete with.
#[derive(Debug, Clone, Default)]
pub(super) struct Vocabulary {
    pub(super) people: Vec<String>,
    pub(super) channels: Vec<String>,
    pub(super) roles: Vec<String>,
    /// The bot's slash commands, as it registered them.
    pub(super) commands: Vec<Value>,
    /// What the bot's last buttons are called.
    pub(super) buttons: Vec<String>,
    /// The options of its last menus.
    pub(super) menu_options: Vec<String>,
}

/// Verbs, and whether a person's name comes next.
const VERBS: [(&str, bool); 16] = [
    ("help", false),
    ("people", false),
    ("advance", false),
    ("join", true),
    ("leave", true),
    ("nick", true),
    ("name", true),
    ("username", true),
    ("avatar", true),
    ("press", true),
    ("choose", true),
    ("faults", false),
    ("drop", false),
    ("reconnect", false),
    ("invalid", false),
    ("wait", false),
];

/// Discord's types of options.
const SUBCOMMAND: u64 = 1;
const SUBCOMMAND_GROUP: u64 = 2;
const STRING: u64 = 3;
const BOOLEAN: u64 = 5;
const USER: u64 = 6;
const CHANNEL: u64 = 7;
const ROLE: u64 = 8;
const MENTIONABLE: u64 = 9;

/// Who speaks and where, as far as the colon.
static HEADER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\s*[^\s:#!/]+(?:\s+#[^\s:]+)?\s*:\s*").expect("a regex"));

/// Completes what stands before the cursor: where the completed word starts, and what it could
/// become. A space at its end says that the word is finished.
pub(super) fn complete(known: &Vocabulary, typed: &str) -> (usize, Vec<String>) {
    let (start, candidates) = if typed.starts_with('!') {
        verb(known, typed)
    } else if let Some(header) = HEADER.find(typed) {
        speech(known, typed, header.end())
    } else {
        speaker(known, typed)
    };
    let begun = typed[start..].to_lowercase();
    let mut found: Vec<String> = candidates
        .into_iter()
        .filter(|candidate| {
            let candidate = candidate.to_lowercase();
            // A name in quotes is found by its first letters too.
            candidate.starts_with(&begun)
                || candidate
                    .strip_prefix('"')
                    .is_some_and(|name| name.starts_with(&begun))
        })
        .collect();
    found.sort_by_key(|candidate| candidate.to_lowercase());
    found.dedup();
    (start, found)
}

/// Who speaks, in which channel, or what is no speech.
fn speaker(known: &Vocabulary, typed: &str) -> (usize, Vec<String>) {
    let start = word_start(typed);
    if typed[..start].trim().is_empty() {
        let people = known.people.iter().map(|name| format!("{name}: "));
        let verbs = VERBS.iter().map(|(verb, more)| finished_verb(verb, *more));
        let ends = ["exit", "quit"].map(str::to_owned);
        return (start, people.chain(verbs).chain(ends).collect());
    }
    let channels = known.channels.iter().map(|name| format!("#{name}: "));
    (start, channels.collect())
}

fn verb(known: &Vocabulary, typed: &str) -> (usize, Vec<String>) {
    let Some((verb, rest)) = typed.split_once(' ') else {
        let verbs = VERBS.iter().map(|(verb, more)| finished_verb(verb, *more));
        return (0, verbs.collect());
    };
    let verb = verb.trim_start_matches('!');
    let at = typed.len() - rest.len();
    let named = VERBS.iter().any(|&(one, more)| more && one == verb);
    match (verb, rest.split_once(' ')) {
        (_, None) if named => (at, people(known)),
        ("press", Some((_, label))) => (typed.len() - label.len(), known.buttons.clone()),
        ("choose", Some((_, labels))) => {
            let last = labels.rsplit(',').next().unwrap_or_default().trim_start();
            (typed.len() - last.len(), known.menu_options.clone())
        }
        ("avatar", Some((_, none))) => (typed.len() - none.len(), vec!["none".into()]),
        _ => (typed.len(), Vec::new()),
    }
}

/// What is said, from where the header ends.
fn speech(known: &Vocabulary, typed: &str, from: usize) -> (usize, Vec<String>) {
    let text = &typed[from..];
    let start = from + word_start(text);
    let is_first = text[..start - from].trim().is_empty();
    let sign = text.chars().next().filter(char::is_ascii_punctuation);
    match sign.filter(|sign| !matches!(sign, '@' | '#' | '"' | '<')) {
        Some(sign) if is_first => (start, command_names(known, &sign.to_string())),
        Some('/') => slash(known, typed, from + 1),
        Some(_) => (start, text_argument(known, text, &typed[start..])),
        None => (start, mention(known, &typed[start..])),
    }
}

/// What can come after the name of a text command.
fn text_argument(known: &Vocabulary, text: &str, word: &str) -> Vec<String> {
    match word.chars().next() {
        Some('@' | '#') => mention(known, word),
        Some('"') => known.roles.iter().map(|name| quoted(name)).collect(),
        _ if text[1..].starts_with("help ") => command_names(known, ""),
        _ => people(known)
            .into_iter()
            .map(|name| format!("@{name}"))
            .chain(people(known).into_iter().filter(|_| !word.is_empty()))
            .chain(
                known
                    .roles
                    .iter()
                    .filter(|_| !word.is_empty())
                    .map(|name| one_word(name)),
            )
            .collect(),
    }
}

/// The rest of a slash command, from after the slash.
fn slash(known: &Vocabulary, typed: &str, from: usize) -> (usize, Vec<String>) {
    let text = &typed[from..];
    let start = from + word_start(text);
    let word = &typed[start..];
    let mut words = typed[from..start].split_whitespace();
    let first = words.next().unwrap_or_default();
    let Some(mut here) = known.commands.iter().find(|one| one["name"] == first) else {
        return (start, Vec::new());
    };
    let mut used = Vec::new();
    for word in words {
        let inner = items(&here["options"]).iter();
        if let Some((name, _)) = word.split_once(':') {
            used.push(name);
        } else if let Some(deeper) = inner.clone().find(|one| one["name"] == word) {
            here = deeper;
        }
    }
    let options = items(&here["options"]);
    if let Some((name, value)) = word.split_once(':') {
        let option = options.iter().find(|one| one["name"] == name);
        let values = option.map(|option| values(known, option, value));
        return (typed.len() - value.len(), values.unwrap_or_default());
    }
    let names = options.iter().filter_map(|option| {
        let name = option["name"].as_str()?;
        let deeper = matches!(option["type"].as_u64(), Some(SUBCOMMAND | SUBCOMMAND_GROUP));
        let sign = if deeper { ' ' } else { ':' };
        (!used.contains(&name)).then(|| format!("{name}{sign}"))
    });
    (start, names.collect())
}

/// What an option of a slash command can be.
fn values(known: &Vocabulary, option: &Value, begun: &str) -> Vec<String> {
    let role = |name: &String| {
        if begun.starts_with('"') {
            quoted(name)
        } else {
            one_word(name)
        }
    };
    let roles = || known.roles.iter().map(role);
    let choices = items(&option["choices"]);
    if !choices.is_empty() {
        let names = choices.iter().filter_map(|choice| choice["name"].as_str());
        return names.map(|name| format!("{name} ")).collect();
    }
    match option["type"].as_u64() {
        Some(USER) => people(known),
        Some(CHANNEL) => known
            .channels
            .iter()
            .map(|name| format!("#{name} "))
            .collect(),
        Some(ROLE) => roles().collect(),
        Some(MENTIONABLE) => people(known).into_iter().chain(roles()).collect(),
        Some(BOOLEAN) => ["True ", "False "].map(str::to_owned).into(),
        // Any text may be a role's name; before it begins, none is proposed.
        Some(STRING) if !begun.is_empty() => roles().collect(),
        _ => Vec::new(),
    }
}

fn mention(known: &Vocabulary, word: &str) -> Vec<String> {
    match word.chars().next() {
        Some('@') => {
            let names = known.people.iter().chain(&known.roles);
            names.map(|name| format!("@{name} ")).collect()
        }
        Some('#') => known
            .channels
            .iter()
            .map(|name| format!("#{name} "))
            .collect(),
        _ => Vec::new(),
    }
}

fn people(known: &Vocabulary) -> Vec<String> {
    known.people.iter().map(|name| format!("{name} ")).collect()
}

fn command_names(known: &Vocabulary, sign: &str) -> Vec<String> {
    let names = known.commands.iter().filter_map(|one| one["name"].as_str());
    names.map(|name| format!("{sign}{name} ")).collect()
}

fn finished_verb(verb: &str, more: bool) -> String {
    let more = more || matches!(verb, "advance" | "faults");
    format!("!{verb}{}", if more { " " } else { "" })
}

/// A name, in quotes if it needs them.
fn one_word(name: &str) -> String {
    if name.contains(char::is_whitespace) {
        quoted(name)
    } else {
        format!("{name} ")
    }
}

fn quoted(name: &str) -> String {
    format!("\"{name}\" ")
}

/// Where the last word begins; an open quote makes one word of all that follows.
fn word_start(text: &str) -> usize {
    let quotes = text.matches('"').count();
    let until = if quotes % 2 == 1 {
        text.rfind('"').unwrap_or_default()
    } else {
        text.len()
    };
    let space = text[..until].rfind(char::is_whitespace);
    space.map_or(0, |space| {
        space + text[space..].chars().next().map_or(0, char::len_utf8)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known() -> Vocabulary {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let option = |name: &str, kind: u64| json!({ "name": name, "type": kind });
        Vocabulary {
            people: list(&["alice", "bob", "mod"]),
            channels: list(&["general", "random"]),
            roles: list(&["Minions", "Syntax Error"]),
            commands: vec![
                json!({ "name": "rank", "options": [option("user", USER)] }),
                json!({ "name": "ranks" }),
                json!({ "name": "help", "options": [option("command", STRING)] }),
                json!({ "name": "set", "options": [
                    { "name": "role", "type": SUBCOMMAND, "options": [
                        option("role", ROLE), option("where", CHANNEL), option("loud", BOOLEAN),
                        option("name", STRING), option("who", MENTIONABLE),
                        { "name": "how", "type": STRING, "choices": [{ "name": "slow", "value": "s" }] },
                    ] },
                ] }),
            ],
            buttons: list(&["next", "close"]),
            menu_options: list(&["Weekly", "Daily"]),
        }
    }

    /// The typed text with each of its completions.
    fn completed(typed: &str) -> Vec<String> {
        let (start, found) = complete(&known(), typed);
        let whole = |end: &String| format!("{}{end}", &typed[..start]);
        found.iter().map(whole).collect()
    }

    #[test]
    fn who_speaks_where_is_completed() {
        assert_eq!(completed("al"), ["alice: "]);
        assert_eq!(completed("alice #r"), ["alice #random: "]);
        assert_eq!(completed("ex"), ["exit"]);
        assert!(completed("").contains(&"bob: ".to_owned()));
        assert!(completed("zoe").is_empty());
    }

    #[test]
    fn commands_are_completed() {
        assert_eq!(completed("alice: .ra"), ["alice: .rank ", "alice: .ranks "]);
        assert_eq!(completed("alice #random: !he"), ["alice #random: !help "]);
        assert_eq!(completed("mod: /se"), ["mod: /set "]);
        assert_eq!(
            completed("mod: .help ra"),
            ["mod: .help rank ", "mod: .help ranks "]
        );
        assert!(completed("alice: hello ra").is_empty());
    }

    #[test]
    fn options_and_their_values_are_completed() {
        assert_eq!(completed("mod: /rank u"), ["mod: /rank user:"]);
        assert_eq!(completed("mod: /rank user:al"), ["mod: /rank user:alice "]);
        assert_eq!(completed("mod: /set r"), ["mod: /set role "]);
        for begun in ["syn", "\"syn"] {
            assert_eq!(
                completed(&format!("mod: /set role role:{begun}")),
                ["mod: /set role role:\"Syntax Error\" "]
            );
        }
        assert_eq!(
            completed("mod: /set role where:#r"),
            ["mod: /set role where:#random "]
        );
        assert_eq!(
            completed("mod: /set role loud:t"),
            ["mod: /set role loud:True "]
        );
        assert_eq!(
            completed("mod: /set role how:s"),
            ["mod: /set role how:slow "]
        );
        assert_eq!(
            completed("mod: /set role who:Mi"),
            ["mod: /set role who:Minions "]
        );
        assert_eq!(
            completed("mod: /set role name:mi"),
            ["mod: /set role name:Minions "]
        );
        assert!(completed("mod: /set role name:").is_empty());
        let unused = completed("mod: /set role role:Minions ");
        assert!(
            !unused.contains(&"mod: /set role role:Minions role:".to_owned()),
            "{unused:?}"
        );
        assert!(
            unused.contains(&"mod: /set role role:Minions how:".to_owned()),
            "{unused:?}"
        );
    }

    #[test]
    fn names_are_completed_in_what_is_said() {
        assert_eq!(completed("alice: hi @bo"), ["alice: hi @bob "]);
        assert_eq!(completed("alice: see #ge"), ["alice: see #general "]);
        assert_eq!(
            completed("bob: .rank @m"),
            ["bob: .rank @Minions ", "bob: .rank @mod "]
        );
        assert_eq!(completed("bob: .rank al"), ["bob: .rank alice "]);
        assert_eq!(
            completed("mod: .set 5 \"syn"),
            ["mod: .set 5 \"Syntax Error\" "]
        );
    }

    #[test]
    fn what_happens_to_the_world_is_completed() {
        assert_eq!(completed("!ad"), ["!advance "]);
        assert_eq!(completed("!nick bo"), ["!nick bob "]);
        assert_eq!(completed("!press bob ne"), ["!press bob next"]);
        assert_eq!(
            completed("!choose bob Weekly, da"),
            ["!choose bob Weekly, Daily"]
        );
        assert_eq!(completed("!avatar bob n"), ["!avatar bob none"]);
        for (verb, _) in VERBS {
            assert!(
                crate::chat::line::HELP.contains(&format!("!{verb}")),
                "{verb}"
            );
        }
    }
}
