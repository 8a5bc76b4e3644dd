//! What can be typed, as a pure parser. Its errors say what to type instead.

use std::sync::LazyLock;
use std::time::Duration;

use hyper::Method;
use regex::Regex;

/// A line that was understood.
#[derive(Debug)]
pub(crate) enum Line {
    /// Empty, or a comment.
    Nothing,
    /// Somebody says something.
    Say {
        who: String,
        channel: Option<String>,
        text: String,
    },
    /// Somebody invokes a slash command.
    Slash {
        who: String,
        channel: Option<String>,
        command: String,
        options: Vec<(String, String)>,
    },
    /// Something happens to the world.
    World(Verb),
}

/// What can happen to the world.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Help,
    People,
    Advance(Duration),
    Join(String),
    Leave(String),
    Nick {
        who: String,
        nick: Option<String>,
    },
    Name {
        who: String,
        name: Option<String>,
    },
    Username {
        who: String,
        name: String,
    },
    Avatar {
        who: String,
        shown: bool,
    },
    Press {
        who: String,
        label: String,
    },
    Choose {
        who: String,
        labels: Vec<String>,
    },
    Faults {
        status: u16,
        count: u32,
        method: Method,
        pattern: String,
    },
    Drop,
    Reconnect,
    Invalid,
    Wait,
}

/// What `!help` says.
pub(crate) const HELP: &str = "\
NAME: text                 NAME says something in #general
NAME #channel: text        … or in another channel; @bob and #random are turned into mentions
NAME: /command user:bob    NAME invokes a slash command (quote values with spaces: name:\"two words\")
!people                    lists people, channels and roles
!advance 61s               moves the clock (s, m, h, d)
!join NAME, !leave NAME    somebody joins, new or back again, or leaves
!nick NAME new name        changes a name in the guild (without one: takes it off)
!name NAME new name        changes a display name (without one: takes it off)
!username NAME newname     changes a username, which this chat uses too
!avatar NAME               changes an avatar; !avatar NAME none removes it
!press NAME LABEL          NAME presses a button of the bot's last message that has buttons
                           (or its number)
!choose NAME A, B          NAME chooses options in a menu of that message
!faults 500 2 POST /channels/{}/messages
                           the next 2 such requests fail with status 500
!drop, !reconnect, !invalid
                           the bot's connection breaks, is asked to resume, loses its session
!wait                      waits until the bot is back after one of these
!help                      shows this list
exit, quit                 ends the chat";

/// What can come after an exclamation mark.
const VERBS: [&str; 16] = [
    "help",
    "people",
    "advance",
    "join",
    "leave",
    "nick",
    "name",
    "username",
    "avatar",
    "press",
    "choose",
    "faults",
    "drop",
    "reconnect",
    "invalid",
    "wait",
];

static SPEECH: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?<who>[^\s:#!/]+)(?:\s+#(?<channel>[^\s:]+))?\s*:\s*(?<text>.*)$")
        .expect("a regex")
});
static OPTION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?:^|\s)(?<name>[\w-]+):").expect("a regex"));

/// Reads a line, or says what to type.
pub(crate) fn parse(line: &str) -> Result<Line, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Line::Nothing);
    }
    if let Some(verb) = line.strip_prefix('!') {
        return parse_verb(verb).map(Line::World);
    }
    let Some(speech) = SPEECH.captures(line) else {
        return Err(what_to_type(line));
    };
    let who = speech["who"].to_owned();
    let channel = speech.name("channel").map(|name| name.as_str().to_owned());
    let text = speech["text"].trim().to_owned();
    if text.is_empty() {
        return Err(format!(
            "Type what {who} says after the colon: {who}: hello."
        ));
    }
    let Some(command) = text.strip_prefix('/') else {
        return Ok(Line::Say { who, channel, text });
    };
    let (command, options) = parse_command(command)?;
    Ok(Line::Slash {
        who,
        channel,
        command,
        options,
    })
}

/// What to type instead of a line that nobody is named in.
fn what_to_type(line: &str) -> String {
    let first = line.split_whitespace().next().unwrap_or_default();
    if matches!(line, "help" | "?" | "h" | "/help") {
        "Type !help for a list of what you can type, or alice: .help to ask the bot.".into()
    } else if line.starts_with(['.', '/']) {
        format!("Type alice: {line} (the line begins with the name of who types it).")
    } else if VERBS.contains(&first) {
        format!("Type !{line} (with an exclamation mark before it).")
    } else {
        "Type NAME: text, for example alice: hello (or !help).".into()
    }
}

fn parse_command(text: &str) -> Result<(String, Vec<(String, String)>), String> {
    let found: Vec<_> = OPTION.captures_iter(text).collect();
    let starts: Vec<(usize, usize)> = found
        .iter()
        .filter_map(|option| option.get(0))
        .map(|whole| (whole.start(), whole.end()))
        .collect();
    let words_end = starts.first().map_or(text.len(), |&(start, _)| start);
    let command = text[..words_end].trim().to_owned();
    if command.is_empty() {
        return Err("Type a command's name after the slash: mod: /rank user:alice.".into());
    }
    let options = found
        .iter()
        .enumerate()
        .map(|(at, option)| {
            let end = starts.get(at + 1).map_or(text.len(), |&(start, _)| start);
            let value = text[starts[at].1..end].trim().trim_matches('"');
            (option["name"].to_owned(), value.to_owned())
        })
        .collect();
    Ok((command, options))
}

fn parse_verb(text: &str) -> Result<Verb, String> {
    let (verb, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let name = |example: &str| {
        if rest.is_empty() || rest.contains(char::is_whitespace) {
            Err(format!("Type !{verb} and one name, for example {example}."))
        } else {
            Ok(rest.trim_start_matches('@').to_owned())
        }
    };
    match verb {
        "help" => Ok(Verb::Help),
        "people" => Ok(Verb::People),
        "advance" => duration(rest)
            .map(Verb::Advance)
            .ok_or_else(|| "Type !advance and a time, for example !advance 61s.".into()),
        "join" => name("!join dave").map(Verb::Join),
        "leave" => name("!leave bob").map(Verb::Leave),
        "nick" => renaming(rest)
            .map(|(who, nick)| Verb::Nick { who, nick })
            .ok_or_else(|| "Type !nick, a name and the new name: !nick bob Bobby.".into()),
        "name" => renaming(rest)
            .map(|(who, name)| Verb::Name { who, name })
            .ok_or_else(|| "Type !name, a name and the new name: !name bob Bobby.".into()),
        "username" => match rest.split_whitespace().collect::<Vec<_>>()[..] {
            [who, name] => Ok(Verb::Username {
                who: who.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err("Type !username and two names: !username bob bobby.".into()),
        },
        "avatar" => match renaming(rest) {
            Some((who, None)) => Ok(Verb::Avatar { who, shown: true }),
            Some((who, Some(none))) if none == "none" => Ok(Verb::Avatar { who, shown: false }),
            _ => Err(
                "Type !avatar and a name, for example !avatar bob (or !avatar bob none).".into(),
            ),
        },
        "press" => match rest.split_once(char::is_whitespace) {
            Some((who, label)) => {
                let (who, label) = (who.to_owned(), label.trim().to_owned());
                Ok(Verb::Press { who, label })
            }
            None => Err("Type !press, a name and a button: !press alice \u{23e9}.".into()),
        },
        "choose" => match rest.split_once(char::is_whitespace) {
            Some((who, labels)) => {
                let labels = labels.split(',').map(|label| label.trim().to_owned());
                Ok(Verb::Choose {
                    who: who.to_owned(),
                    labels: labels.collect(),
                })
            }
            None => Err("Type !choose, a name and options: !choose alice Weekly.".into()),
        },
        "faults" => faults(rest).ok_or_else(|| {
            "Type !faults STATUS COUNT METHOD PATH, for example \
             !faults 500 2 POST /channels/{}/messages."
                .into()
        }),
        "drop" => Ok(Verb::Drop),
        "reconnect" => Ok(Verb::Reconnect),
        "invalid" => Ok(Verb::Invalid),
        "wait" => Ok(Verb::Wait),
        other => Err(format!("There is no !{other}; type !help for a list.")),
    }
}

/// A name, and what they are to be called, if anything.
fn renaming(text: &str) -> Option<(String, Option<String>)> {
    let (who, name) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let name = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
    (!who.is_empty()).then(|| (who.to_owned(), name))
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let (digits, seconds) = match unit {
        's' => (text.strip_suffix('s')?, 1),
        'm' => (text.strip_suffix('m')?, 60),
        'h' => (text.strip_suffix('h')?, 3_600),
        'd' => (text.strip_suffix('d')?, 86_400),
        _ => (text, 1),
    };
    let number: u64 = digits.trim().parse().ok()?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

fn faults(text: &str) -> Option<Verb> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [status, count, method, pattern] = words.as_slice() else {
        return None;
    };
    let status = status
        .parse()
        .ok()
        .filter(|status| (400..600).contains(status))?;
    Some(Verb::Faults {
        status,
        count: count.parse().ok()?,
        method: method.to_uppercase().parse().ok()?,
        pattern: (*pattern).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_names_who_and_where() {
        let Ok(Line::Say { who, channel, text }) = parse("alice #random: hello: you") else {
            panic!("not understood");
        };
        assert_eq!(
            (who.as_str(), channel.as_deref()),
            ("alice", Some("random"))
        );
        assert_eq!(text, "hello: you");
    }

    #[test]
    fn commands_have_options() {
        let Ok(Line::Slash {
            command, options, ..
        }) = parse("mod: /set_level_name level:5 name:\"two words\"")
        else {
            panic!("not understood");
        };
        assert_eq!(command, "set_level_name");
        let expected = [("level", "5"), ("name", "two words")];
        assert!(
            options
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .eq(expected)
        );
    }

    #[test]
    fn verbs_are_understood() {
        let verb = |line| match parse(line) {
            Ok(Line::World(verb)) => verb,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(verb("!advance 61s"), Verb::Advance(Duration::from_secs(61)));
        assert_eq!(verb("!advance 2d"), Verb::Advance(Duration::from_hours(48)));
        let nick = Some("Bobby Tables".into());
        assert_eq!(
            verb("!nick bob Bobby Tables"),
            Verb::Nick {
                who: "bob".into(),
                nick
            }
        );
        let avatar = |shown| Verb::Avatar {
            who: "bob".into(),
            shown,
        };
        assert_eq!(verb("!avatar bob"), avatar(true));
        assert_eq!(verb("!avatar bob none"), avatar(false));
        assert!(matches!(
            verb("!faults 500 2 POST /channels/{}/messages"),
            Verb::Faults {
                status: 500,
                count: 2,
                ..
            }
        ));
    }

    #[test]
    fn lines_without_a_name_are_told_where_it_goes() {
        for (line, hint) in [
            ("help", "Type !help "),
            ("?", "Type !help "),
            (".rank", "Type alice: .rank"),
            (
                ".give_xp @bob 5 thanks",
                "Type alice: .give_xp @bob 5 thanks",
            ),
            ("/rank user:alice", "Type alice: /rank user:alice"),
            ("advance 61s", "Type !advance 61s"),
            ("hello", "alice: hello"),
        ] {
            let why = parse(line).expect_err(line);
            assert!(why.contains(hint), "{line}: {why}");
        }
        for verb in VERBS {
            // There is such a verb, whatever else it needs.
            let known = parse(&format!("!{verb}"));
            assert!(
                !known.is_err_and(|why| why.contains("There is no")),
                "{verb}"
            );
        }
    }

    #[test]
    fn mistyped_lines_are_told_what_to_type() {
        for line in [
            "hello",
            "alice:",
            "!advance soon",
            "!join",
            "!avatar",
            "!avatar bob nice",
            "!username bob",
            "!name",
            "!nonsense",
            "!faults 500",
            "!choose alice",
            "mod: /",
        ] {
            let why = parse(line).expect_err(line);
            assert!(
                why.ends_with('.') && (why.contains("Type") || why.contains("!help")),
                "{why}"
            );
        }
    }
}
