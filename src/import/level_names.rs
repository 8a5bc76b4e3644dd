//! Reads the level names that the operator chose for a fresh database: none, the twenty of the
//! original guild, or those of a file.
//!
//! Saves nothing. An error names the file, the line and the reason.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{anyhow, bail};

use crate::config::LevelNamesSettings;
use crate::leveling::{COMPUTING_NAMES, LevelNumber, RoleName, TOP_LEVEL};
use crate::store::level_names_choice::NamesSource;
use crate::text_file;

/// The names for the levels of a fresh database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenNames {
    /// Where the names come from.
    pub source: NamesSource,
    /// By level. The other levels get no name.
    pub names: BTreeMap<LevelNumber, RoleName>,
}

impl ChosenNames {
    /// Reads the names that the setting `WALLE_LEVEL_NAMES` asks for.
    pub fn read(setting: &LevelNamesSettings) -> anyhow::Result<Self> {
        let (source, names) = match setting {
            LevelNamesSettings::None => (NamesSource::None, BTreeMap::new()),
            LevelNamesSettings::Computing => (NamesSource::Computing, computing()),
            LevelNamesSettings::File(path) => (NamesSource::File, read_file(path)?),
        };
        Ok(Self { source, names })
    }
}

fn computing() -> BTreeMap<LevelNumber, RoleName> {
    let names = COMPUTING_NAMES.map(|(level, name)| (level, RoleName::of_level(name)));
    names.into()
}

fn read_file(path: &Path) -> anyhow::Result<BTreeMap<LevelNumber, RoleName>> {
    let file = path.display();
    let read = text_file::read(path).map_err(|error| {
        anyhow!(
            "WALLE_LEVEL_NAMES (or --level-names): {file} {error}; expected none, computing, or a file with lines \
             such as: 5 Missing Semicolon"
        )
    })?;
    parse(&read.text)
        .map_err(|error| anyhow!("WALLE_LEVEL_NAMES (or --level-names): {file}, {error}"))
}

/// Reads lines `LEVEL NAME`. Skips empty lines and lines that begin with `#`.
fn parse(text: &str) -> anyhow::Result<BTreeMap<LevelNumber, RoleName>> {
    let mut names = BTreeMap::new();
    let mut lines: BTreeMap<LevelNumber, usize> = BTreeMap::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (number, name) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            bail!(
                "line {line}: expected a level's number and its name, such as: 5 Missing Semicolon"
            );
        }
        let level = number.parse().ok().map(LevelNumber);
        let Some(level) = level.filter(|level| *level <= TOP_LEVEL) else {
            bail!("line {line}: there is no level {number}; levels go from 0 to {TOP_LEVEL}");
        };
        let name = RoleName::parse(name).map_err(|error| anyhow!("line {line}: {error}"))?;
        if let Some(first) = lines.insert(level, line) {
            bail!("line {line}: level {level} has a name already, in line {first}");
        }
        if let Some((other, _)) = names.iter().find(|(_, other)| **other == name) {
            let first = lines[other];
            bail!("line {line}: that is the name of level {other} already, in line {first}");
        }
        names.insert(level, name);
    }
    if names.is_empty() {
        bail!("the file names no level; if levels are to have no names, set none");
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_names_levels_line_by_line() {
        let text = "# ours\r\n\r\n0 Hello World\r\n  5\t\"Missing  Semicolon\"\n100 # the last";
        let names = parse(text).unwrap();
        let found: Vec<_> = names
            .iter()
            .map(|(level, name)| (level.0, name.as_str()))
            .collect();
        let expected = [
            (0, "Hello World"),
            (5, "Missing Semicolon"),
            (100, "# the last"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_line_that_is_wrong_is_named_with_its_reason() {
        for (text, said) in [
            (
                "0 Zero\nFive 5",
                "line 2: expected a level's number and its name",
            ),
            ("-5 Five", "line 1: expected a level's number"),
            ("[\n{\"model\": 1}]", "line 1: expected a level's number"),
            (
                "5 Five\n\n101 Beyond",
                "line 3: there is no level 101; levels go from 0 to 100",
            ),
            (
                "99999999999999999999 Beyond",
                "line 1: there is no level 99999999999999999999",
            ),
            ("5", "line 1: A role's name needs 1 to 100 characters"),
            ("5 <@&175928847299117063>", "line 1: A mention cannot be"),
            ("5 @everyone", "line 1: `@everyone` and `@here`"),
            (
                "5 Five\n05 Fünf",
                "line 2: level 5 has a name already, in line 1",
            ),
            (
                "5 Five\n# and\n6  \"Five\"",
                "line 3: that is the name of level 5 already, in line 1",
            ),
            ("# nothing\n", "the file names no level"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with(said) || error.contains(said),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn the_two_words_are_no_names_and_twenty() {
        let none = ChosenNames::read(&LevelNamesSettings::None).unwrap();
        assert_eq!(none.names.len(), 0);
        let computing = ChosenNames::read(&LevelNamesSettings::Computing).unwrap();
        assert_eq!(computing.names.len(), 20);
        assert_eq!(
            computing.names[&LevelNumber(5)].as_str(),
            "Missing Semicolon"
        );
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let file = LevelNamesSettings::File("/no/such/names".into());
        let error = ChosenNames::read(&file).unwrap_err().to_string();
        assert!(
            error.contains("WALLE_LEVEL_NAMES") && error.contains("/no/such/names cannot be read"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn nothing_in_a_file_breaks_the_reader(text in "(\\PC{0,20}|[0-9]{1,3} [a-z]{0,5}|\n){0,20}") {
            let _ = parse(&text);
        }
    }
}
