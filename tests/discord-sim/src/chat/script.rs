//! Plays a scripted conversation and checks what the bot answers.
//!
//! Besides the lines of the chat there are `expect REGEX`, which the bot's next
//! answer must match, and `expect nothing`, which the next answered exchange
//! proves: had the bot said something, that would be its next answer.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use crate::chat::line::{self, Line};
use crate::chat::{Room, draw};

/// How long the bot may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Why a script did not pass.
#[derive(Debug)]
pub struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self(format!("the transcript cannot be written: {error}"))
    }
}

enum Step {
    Act(Line),
    Expect(Regex),
    ExpectNothing,
}

/// Plays the lines of a script and writes the transcript; ends at the first
/// expectation that is not met.
pub async fn play(room: &mut Room, script: &str, to: &mut impl Write) -> Result<(), Failed> {
    let steps = read(script)?;
    let mut answers = 0;
    // The line of an `expect nothing` that is not proved yet.
    let mut quiet_since = None;
    for (number, text, step) in steps {
        match step {
            Step::Act(line) => {
                let is_typed = !matches!(line, Line::Nothing);
                writeln!(to, "{}{text}", if is_typed { "> " } else { "" })?;
                let shown = room.act(line).await;
                let shown = shown.map_err(|why| Failed(format!("line {number}: {why}")))?;
                if !shown.is_empty() {
                    writeln!(to, "{shown}")?;
                }
            }
            Step::ExpectNothing => quiet_since = Some(number),
            Step::Expect(pattern) => {
                let said = next_answer(room, to).await?.ok_or_else(|| {
                    Failed(format!(
                        "line {number}: expected an answer that matches\n  {pattern}\n\
                         but none came within {} seconds",
                        ANSWER_WITHIN.as_secs()
                    ))
                })?;
                if !pattern.is_match(&said) {
                    let quiet = quiet_since.map_or(String::new(), |line| {
                        format!("\n(nothing was expected from line {line} until then)")
                    });
                    return Err(Failed(format!(
                        "line {number}: expected an answer that matches\n  {pattern}\n\
                         but this came:\n{said}{quiet}"
                    )));
                }
                quiet_since = None;
                answers += 1;
            }
        }
    }
    if let Some(number) = quiet_since {
        return Err(Failed(format!(
            "line {number}: `expect nothing` is proved by a later answer, and none is expected"
        )));
    }
    while let Some(heard) = room.overhear() {
        let said = draw(&room.sim, &heard);
        writeln!(to, "{said}")?;
        if room.is_answer(&heard) {
            return Err(Failed(format!(
                "after the last line this came unexpectedly:\n{said}"
            )));
        }
    }
    writeln!(to, "\nAll {answers} answers are as expected.")?;
    Ok(())
}

/// Draws what the bot says until it is an answer to people.
async fn next_answer(room: &mut Room, to: &mut impl Write) -> Result<Option<String>, Failed> {
    let deadline = tokio::time::Instant::now() + ANSWER_WITHIN;
    loop {
        let heard = tokio::time::timeout_at(deadline, room.hear()).await;
        let Ok(Some(heard)) = heard else {
            return Ok(None);
        };
        let said = draw(&room.sim, &heard);
        writeln!(to, "{said}")?;
        if room.is_answer(&heard) {
            return Ok(Some(said));
        }
    }
}

fn read(script: &str) -> Result<Vec<(usize, &str, Step)>, Failed> {
    let step = |(number, text): (usize, &'_ str)| {
        let step = match text.trim().strip_prefix("expect ") {
            Some("nothing") => Ok(Step::ExpectNothing),
            Some(pattern) => RegexBuilder::new(pattern)
                .dot_matches_new_line(true)
                .build()
                .map(Step::Expect)
                .map_err(|why| why.to_string()),
            None => line::parse(text).map(Step::Act),
        };
        step.map_err(|why| Failed(format!("line {number}: {why}")))
    };
    (1..)
        .zip(script.lines())
        .map(|(number, text)| Ok((number, text, step((number, text))?)))
        .collect()
}
