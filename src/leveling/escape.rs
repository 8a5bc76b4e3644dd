//! How a name, or any text of people's, is shown: only ever as text.

/// Shown of a name: as long as a role's may be. A person's has 32 at most, imported data
/// may hold anything.
const LONGEST: usize = 100;

/// A name made safe to stand in a message: nothing in it formats, links, pings,
/// reorders the text around it or breaks the line. The name itself stays readable.
pub fn escape(name: &str) -> String {
    escape_text(name, LONGEST).unwrap_or_else(|| "(no name)".to_owned())
}

/// The same for any text of people's, cut off after so many characters; `None` if there is
/// nothing to see.
pub fn escape_text(text: &str, longest: usize) -> Option<String> {
    let name: String = text
        .trim()
        .chars()
        .filter(|c| !reorders(*c))
        .take(longest)
        .collect();
    if is_blank(&name) {
        return None;
    }
    let mut safe = String::with_capacity(name.len());
    let mut rest = name.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' | '*' | '_' | '~' | '`' | '|' | '<' | '[' | ']' => safe.extend(['\\', c]),
            // A quote, a heading or a list, where the name begins the line.
            '>' | '#' | '-' if safe.is_empty() => safe.extend(['\\', c]),
            // A mention or a link; a zero-width space in it makes it plain text.
            '@' => safe.extend([c, '\u{200b}']),
            ':' if rest.as_str().starts_with("//") => safe.extend([c, '\u{200b}']),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => safe.push(' '),
            c => safe.push(c),
        }
    }
    Some(safe)
}

/// Whether there is nothing to see.
pub(super) fn is_blank(name: &str) -> bool {
    name.chars().all(is_unseen)
}

/// Characters that change the order of what is around them.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}')
}

/// Characters that show nothing. A joiner between two emoji is one of these, and is
/// kept where something else is seen.
fn is_unseen(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            '\u{00ad}' | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
                | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{2800}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_names_are_only_text() {
        for (name, shown) in [
            ("Alice", "Alice"),
            ("**bold**", r"\*\*bold\*\*"),
            ("<@1>", "\\<@\u{200b}1>"),
            ("@everyone", "@\u{200b}everyone"),
            ("[x](https://evil)", "\\[x\\](https:\u{200b}//evil)"),
            ("# Anne-Marie: #1", "\\# Anne-Marie: #1"),
            ("a\nb", "a b"),
            ("\u{202e}eve", "eve"),
            ("\u{200b}\u{200d}\u{3164}", "(no name)"),
            ("", "(no name)"),
            ("👩‍👩‍👧", "👩‍👩‍👧"),
        ] {
            assert_eq!(escape(name), shown, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_pings_or_breaks_the_line(name in "\\PC{0,40}|[@<>#&!a-z0-9]{0,40}") {
            let shown = escape(&name);
            for hostile in ["@everyone", "@here", "://", "\n", "\r"] {
                prop_assert!(!shown.contains(hostile), "{:?}", shown);
            }
            prop_assert!(!shown.replace("\\<", "").contains('<'), "{:?}", shown);
            prop_assert!(!shown.is_empty());
        }
    }
}
