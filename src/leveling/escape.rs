//! Escapes names and other user-written text, so that Discord shows them as plain text.
//!
//! Two methods make text inert in Discord. A backslash before a punctuation character disables
//! its formatting and is not shown. Discord finds mentions, links and invites by patterns that
//! ignore backslashes: an invisible zero-width space (U+200B) inside one breaks the pattern.

use std::fmt;

/// Maximum length of a name as shown, in characters: Discord's limit for a role's name. A user's
/// name has at most 32 characters, but imported data may hold names of any length.
const MAX_CHARS: usize = 100;
/// Longest allowed run of invisible characters, not counting tag characters. An emoji made of
/// joined emoji has up to two in a row.
const MAX_INVISIBLE: usize = 2;
/// Longest allowed run of tag characters. The flags made of them need six.
const MAX_TAGS: usize = 6;
/// Maximum number of combining marks on one character: more than any language needs, and too few
/// to overlap the next line.
const MAX_MARKS: usize = 3;
const ZERO_WIDTH_SPACE: char = '\u{200b}';
/// These two enclose right-to-left text, so that it does not reorder the text after it.
const ISOLATE: char = '\u{2068}';
const END_ISOLATE: char = '\u{2069}';

/// Makes a name safe for a message: it cannot format, link, ping, reorder the text around it,
/// overlap other lines or break its own line. The name itself stays readable. A name without any
/// visible character becomes "(no name)".
pub fn escape(name: &str) -> String {
    escape_text(name, MAX_CHARS).unwrap_or_else(|| "(no name)".to_owned())
}

/// Makes any user-written text safe in the same way as [`escape`], and cuts it off after `longest`
/// characters. `None` if the text has no visible character.
pub fn escape_text(text: &str, longest: usize) -> Option<String> {
    let chars = bounded(text.trim(), longest);
    if chars.iter().copied().all(is_invisible) {
        return None;
    }
    let mut safe = String::with_capacity(chars.len());
    let isolates = chars.iter().copied().any(is_right_to_left);
    safe.extend(isolates.then_some(ISOLATE));
    let mut before = Before::default();
    for (at, &c) in chars.iter().enumerate() {
        let rest = &chars[at + 1..];
        match c {
            '\\' | '*' | '_' | '~' | '`' | '|' | '<' | '[' | ']' => safe.extend(['\\', c]),
            // A quote, a heading, subtext or a list, if the name begins the line.
            '>' | '#' | '-' if !before.seen => safe.extend(['\\', c]),
            '.' | ')' if before.only_digits && rest.first().is_none_or(|c| c.is_whitespace()) => {
                safe.extend(['\\', c]);
            }
            '@' => safe.extend([c, ZERO_WIDTH_SPACE]),
            // Any link with a scheme.
            ':' if rest.starts_with(&['/', '/']) => safe.extend([c, ZERO_WIDTH_SPACE]),
            // Links and invites without a scheme: `discord.gg/…`, `www.…`.
            '/' if before.dot_in_word => safe.extend([ZERO_WIDTH_SPACE, c]),
            '.' if before.word.eq_ignore_ascii_case("www") => safe.extend([c, ZERO_WIDTH_SPACE]),
            c if breaks_line(c) => safe.push(' '),
            c => safe.push(c),
        }
        before.advance(c);
    }
    safe.extend(isolates.then_some(END_ISOLATE));
    Some(safe)
}

/// What precedes the current character.
#[derive(Default)]
struct Before {
    /// A visible character precedes.
    seen: bool,
    /// Digits precede, and no other visible character.
    only_digits: bool,
    /// The first characters of the current word, as many as are needed to recognise `www`.
    word: String,
    dot_in_word: bool,
}

impl Before {
    fn advance(&mut self, c: char) {
        if !is_invisible(c) {
            self.only_digits = c.is_ascii_digit() && (self.only_digits || !self.seen);
            self.seen = true;
        }
        if c.is_whitespace() {
            self.dot_in_word = false;
        }
        self.dot_in_word |= matches!(c, '.' | '．' | '。' | '｡');
        if c.is_alphanumeric() && self.word.len() < "www.".len() {
            self.word.push(c);
        } else if !c.is_alphanumeric() {
            self.word.clear();
        }
    }
}

/// The part of a text that is shown: at most `longest` characters, without characters that reorder
/// text and without excess invisible characters and combining marks.
fn bounded(text: &str, longest: usize) -> Vec<char> {
    let (mut invisible, mut tags, mut marks) = (0, 0, 0);
    let fits = |c: &char| {
        let run = |run: &mut usize, is_one: bool| {
            *run = if is_one { *run + 1 } else { 0 };
            *run
        };
        run(&mut invisible, is_invisible_non_tag(*c)) <= MAX_INVISIBLE
            && run(&mut tags, is_tag(*c)) <= MAX_TAGS
            && run(&mut marks, is_mark(*c)) <= MAX_MARKS
    };
    let chars = text.chars().filter(|c| !reorders(*c));
    chars.filter(fits).take(longest).collect()
}

/// Whether no character of the name is visible.
pub(super) fn is_blank(name: &str) -> bool {
    name.chars().all(is_invisible)
}

/// Displays a name in quotes for a terminal or a log, with control characters escaped.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", spell_out(self.0))
    }
}

/// Puts a text on one line: control characters, line breaks and characters that reorder text are
/// replaced by Rust's escape sequences.
pub fn spell_out(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => safe.extend(c.escape_default()),
            c if breaks_line(c) || reorders(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

/// Bidirectional control characters, which reorder the text around them.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}')
}

/// Letters of right-to-left scripts, which also reorder the digits after them.
fn is_right_to_left(c: char) -> bool {
    matches!(c,
        '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}'
            | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}'
    )
}

fn breaks_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Invisible characters except tags. The joiner between two emoji is one of them; [`bounded`] keeps
/// short runs.
fn is_invisible_non_tag(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            '\u{00ad}' | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
                | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{2800}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        )
}

/// Tag characters, which are visible only as the flags of England, Scotland and Wales, and the
/// supplementary variation selectors, which never are.
fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0000}'..='\u{e01ef}')
}

/// Whether this character is invisible by itself.
pub(super) fn is_invisible(c: char) -> bool {
    is_invisible_non_tag(c) || is_tag(c)
}

/// Combining marks above or below another character. Not all of Unicode's, only those that fonts
/// stack.
fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{610}'..='\u{61a}'
            | '\u{64b}'..='\u{65f}' | '\u{6d6}'..='\u{6dc}' | '\u{6df}'..='\u{6e4}' | '\u{e31}'
            | '\u{e34}'..='\u{e3a}' | '\u{e47}'..='\u{e4e}' | '\u{eb1}' | '\u{eb4}'..='\u{ebc}'
            | '\u{ec8}'..='\u{ecd}' | '\u{f71}'..='\u{f84}' | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{a66f}'..='\u{a672}'
            | '\u{fe20}'..='\u{fe2f}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_terminal_shows_a_name_as_text() {
        for (name, shown) in [
            ("Z\u{351}\u{36b}al", "\"Z\u{351}\u{36b}al\""),
            (
                "\u{7530}\u{4e2d} O'Brien \\",
                "\"\u{7530}\u{4e2d} O'Brien \\\"",
            ),
            ("a\x1b[2J\nb\u{202e}", r#""a\u{1b}[2J\nb\u{202e}""#),
        ] {
            assert_eq!(Quoted(name).to_string(), shown);
        }
    }

    #[test]
    fn hostile_names_are_only_text() {
        for (name, shown) in [
            ("Alice", "Alice"),
            ("lena.k-2", "lena.k-2"),
            ("and/or", "and/or"),
            ("**bold**", r"\*\*bold\*\*"),
            ("<@1>", "\\<@\u{200b}1>"),
            ("@everyone", "@\u{200b}everyone"),
            ("[x](https://evil)", "\\[x\\](https:\u{200b}//evil)"),
            (
                "https://evil.example/x",
                "https:\u{200b}//evil.example\u{200b}/x",
            ),
            ("discord.gg/abc", "discord.gg\u{200b}/abc"),
            (
                "x Discord.com/invite/abc",
                "x Discord.com\u{200b}/invite\u{200b}/abc",
            ),
            ("www.evil.example", "www.\u{200b}evil.example"),
            ("(WWW.evil", "(WWW.\u{200b}evil"),
            ("awww. so", "awww. so"),
            ("<:pepe:1>", "\\<:pepe:1>"),
            ("<t:1700000000:R>", "\\<t:1700000000:R>"),
            ("</rank:1>", "\\</rank:1>"),
            ("# Anne-Marie: #1", "\\# Anne-Marie: #1"),
            ("\u{200b}# x", "\u{200b}\\# x"),
            ("-# small", "\\-# small"),
            (">>> quote", "\\>>> quote"),
            ("- item", "\\- item"),
            ("1. item", "1\\. item"),
            ("12) item", "12\\) item"),
            ("1.5", "1.5"),
            ("a 1. b", "a 1. b"),
            ("a\nb", "a b"),
            ("a\r\n\n\n\n\u{2028}b", "a  b"),
            ("\u{202e}eve", "eve"),
            ("אבג 12", "\u{2068}אבג 12\u{2069}"),
            ("\u{200b}\u{200d}\u{3164}", "(no name)"),
            ("\u{e0061}\u{e007f}", "(no name)"),
            ("", "(no name)"),
            ("👩‍👩‍👧", "👩‍👩‍👧"),
            (
                "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
                "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            ),
            ("Việt", "Việt"),
        ] {
            assert_eq!(escape(name), shown, "{name:?}");
        }
        let zalgo = format!("Z{}a", "\u{335}".repeat(40));
        assert_eq!(escape(&zalgo), "Z\u{335}\u{335}\u{335}a");
        let padded = format!("a{}b", "\u{3164}".repeat(40));
        assert_eq!(escape(&padded), "a\u{3164}\u{3164}b");
    }

    /// The characters that have no backslash before them.
    fn unescaped(shown: &str) -> Vec<char> {
        let mut bare = Vec::new();
        let mut chars = shown.chars();
        while let Some(c) = chars.next() {
            if c == '\\' {
                chars.next();
            } else {
                bare.push(c);
            }
        }
        bare
    }

    /// Whether a client would show a link in this text: a scheme, `www.` or an invite's host.
    fn has_link(shown: &str) -> bool {
        shown.contains("://")
            || shown.to_lowercase().split_whitespace().any(|word| {
                let invites = [
                    "discord.gg/",
                    "discord.com/",
                    "discordapp.com/",
                    "discord.gift/",
                ];
                word.starts_with("www.") && !word.starts_with("www.\u{200b}")
                    || invites.iter().any(|invite| word.contains(invite))
            })
    }

    fn longest_run(shown: &str, is_one: impl Fn(char) -> bool) -> usize {
        let runs = shown.chars().scan(0, |run, c| {
            *run = if is_one(c) { *run + 1 } else { 0 };
            Some(*run)
        });
        runs.max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn nothing_that_discord_would_act_on_is_left(
            name in "\\PC{0,40}|[@<>#&!a-z0-9]{0,40}|(\\PC{0,3}(https?://|www\\.|discord\\.gg/|discord\\.com/invite/|<t:1>|<:a:1>|@here|\\n# |\\n> |\\[a\\]\\(|\\*\\*|[.:/\\\\wW]){0,4}){0,5}",
        ) {
            let shown = escape(&name);
            prop_assert!(!shown.is_empty());
            prop_assert!(!has_link(&shown), "{:?}", shown);
            for hostile in ["@everyone", "@here", "\n", "\r"] {
                prop_assert!(!shown.contains(hostile), "{:?}", shown);
            }
            prop_assert!(!shown.chars().any(breaks_line), "{:?}", shown);
            let bare = unescaped(&shown);
            for c in ['*', '_', '~', '`', '|', '<', '[', ']'] {
                prop_assert!(!bare.contains(&c), "{:?}", shown);
            }
            for pair in bare.windows(2) {
                prop_assert!(pair[0] != '@' || pair[1] == ZERO_WIDTH_SPACE, "{:?}", shown);
            }
            let first = bare.iter().find(|c| !is_invisible(**c) && **c != ISOLATE);
            let begins = shown.trim_start_matches(|c| is_invisible(c) || c == ISOLATE);
            prop_assert!(
                begins.starts_with('\\') || !first.is_some_and(|c| ['>', '#', '-'].contains(c)),
                "{:?}", shown
            );
        }

        #[test]
        fn nothing_reorders_or_swamps_the_rest_of_the_line(
            name in "([a-z]|א|\u{202e}|\u{2067}|\u{2069}|\u{335}|\u{200b}|\u{3164}|\u{e0061}|\\n){0,200}",
        ) {
            let shown = escape(&name);
            let isolates = shown.matches(ISOLATE).count();
            prop_assert_eq!(isolates, shown.matches(END_ISOLATE).count());
            prop_assert!(isolates <= 1);
            let inner = shown.trim_start_matches(ISOLATE).trim_end_matches(END_ISOLATE);
            prop_assert!(!inner.chars().any(reorders), "{:?}", shown);
            prop_assert_eq!(isolates == 1, inner.chars().any(is_right_to_left));
            prop_assert!(inner.chars().count() <= MAX_CHARS);
            prop_assert!(longest_run(inner, is_invisible_non_tag) <= MAX_INVISIBLE);
            prop_assert!(longest_run(inner, is_mark) <= MAX_MARKS);
            prop_assert!(longest_run(inner, is_tag) <= MAX_TAGS);
        }
    }
}
