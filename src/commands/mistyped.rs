//! A word that is almost a command: which one was meant.
//!
//! Pure. Words that are far from every command are left to other bots and to people who
//! begin a sentence with the prefix.

/// The name that was meant by the first word of what was typed, if one is near enough.
pub(super) fn meant<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer than any command with two letters too many.
    const LONGEST: usize = 40;
    let word = typed.split_whitespace().next()?.to_lowercase();
    if word.len() > LONGEST {
        return None;
    }
    names
        .map(|name| (strsim::damerau_levenshtein(&word, name), name))
        .filter(|(distance, name)| *distance <= slips_in(name))
        .min()
        .map(|(_, name)| name)
}

/// How many letters may be wrong: in a short word two make another word.
fn slips_in(name: &str) -> usize {
    if name.len() > 5 { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_told_from_other_words() {
        let names = ["rank", "ranks", "help", "set_level_name"];
        for (typed, expected) in [
            ("rnak", Some("rank")),
            ("RANKK @alice", Some("rank")),
            ("hlep", Some("help")),
            ("setlevelname 5", Some("set_level_name")),
            ("", None),
            ("...", None),
            ("5 is what I got", None),
            ("play a song", None),
            ("ra", None),
        ] {
            assert_eq!(meant(typed, names.into_iter()), expected, "{typed:?}");
        }
        assert_eq!(meant(&"rank".repeat(1_000), names.into_iter()), None);
    }
}
