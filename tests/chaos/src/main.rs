//! Plays a recorded day to the real bot, many times, while everything around it fails
//! by a seeded schedule; after each the database must be what the day comes to.
//!
//! - `day` the messages, and what they come to
//! - `rules` the guild's rules on XP, and who holds the roles that they name
//! - `schedule` what goes wrong in a seed
//! - `play` does both and compares
//! - `bot`, `database` the real bot, and a real Postgres of the seed's own

mod bot;
mod database;
mod day;
mod play;
mod rules;
mod schedule;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};

use crate::day::Day;
use crate::play::{Verdict, play};
use crate::schedule::Schedule;

/// A seed that takes longer than this hangs.
const AT_MOST: Duration = Duration::from_mins(5);

/// Plays a recorded day to the bot while everything around it fails.
#[derive(Debug, Parser)]
#[command(bin_name = "./run_walle.sh chaos")]
struct Cli {
    /// How many schedules are played
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    from: u64,
    /// Only this one, and what goes wrong in it
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// How many are played at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// A seed that was played.
struct Played {
    seed: u64,
    schedule: Schedule,
    verdict: Verdict,
    took: Duration,
    directory: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let (seeds, verbose) = match cli.seed {
        Some(seed) => (seed..=seed, true),
        None => (cli.from..=cli.from + cli.seeds.max(1) - 1, false),
    };
    let started = Instant::now();
    let count = seeds.clone().count();
    let day = Arc::new(Day::recorded());
    let mut all = Vec::with_capacity(count);
    let mut playing = futures_util::stream::iter(seeds)
        .map(|seed| spawned(seed, Arc::clone(&day), verbose))
        .buffer_unordered(cli.jobs.max(1));
    let bar = progress_bar(count);
    while let Some(played) = playing.next().await {
        bar.inc(1);
        if bar.is_hidden() {
            say(&format!(
                "{:>4} of {count}: {}",
                bar.position(),
                played.line()
            ));
        }
        if !played.passed() {
            // At once: someone may want to look before the others are done.
            bar.suspend(|| say(&played.report()));
        }
        all.push(played);
    }
    bar.finish_and_clear();
    let failed = summary(&mut all, started.elapsed());
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// On a terminal; elsewhere it stays hidden, and there is a line for each seed.
fn progress_bar(seeds: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} seeds, {eta} left");
    let bar = ProgressBar::new(seeds.try_into().unwrap_or(u64::MAX));
    bar.enable_steady_tick(Duration::from_secs(1));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// In a task of its own: seeds that are played side by side share no thread.
async fn spawned(seed: u64, day: Arc<Day>, verbose: bool) -> Played {
    let played = tokio::spawn(one(seed, day, verbose)).await;
    played.unwrap_or_else(|panic| Played {
        seed,
        schedule: Schedule::of(seed),
        verdict: Verdict::not_played(panic.to_string()),
        took: Duration::ZERO,
        directory: directory_of(seed),
    })
}

async fn one(seed: u64, day: Arc<Day>, verbose: bool) -> Played {
    let started = Instant::now();
    let schedule = Schedule::of(seed);
    if verbose {
        say(&format!("seed {seed}: {schedule}"));
    }
    let directory = directory_of(seed);
    let ready = std::fs::remove_dir_all(&directory)
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .and_then(|()| std::fs::create_dir_all(&directory));
    let verdict = match ready {
        Ok(()) => {
            let log = directory.join("bot.log");
            let played = tokio::time::timeout(AT_MOST, play(&day, &schedule, &log)).await;
            played.unwrap_or_else(|_| Verdict::failed(format!("hangs for {AT_MOST:?}")))
        }
        Err(error) => Verdict::not_played(format!("{}: {error}", directory.display())),
    };
    if verdict.passed() && !verbose {
        // What is left behind is overwritten the next time.
        let _ = std::fs::remove_dir_all(&directory);
    }
    Played {
        seed,
        schedule,
        verdict,
        took: started.elapsed(),
        directory,
    }
}

impl Played {
    fn passed(&self) -> bool {
        self.verdict.passed()
    }

    fn line(&self) -> String {
        let outcome = match &self.verdict {
            verdict if verdict.passed() => "passed",
            verdict if verdict.not_played.is_some() => "NOT PLAYED",
            _ => "FAILED",
        };
        let seconds = self.took.as_secs_f64();
        let troubles = self.schedule.troubles.len();
        let seed = self.seed;
        format!("seed {seed} {outcome} in {seconds:.1} s, {troubles} troubles")
    }

    /// All that is needed to find out why.
    fn report(&self) -> String {
        let Self {
            seed,
            schedule,
            verdict,
            ..
        } = self;
        let what = match &verdict.not_played {
            Some(why) => {
                format!("could not be played, which says nothing of the bot: {why}\n{schedule}")
            }
            None => format!(
                "failed: {} lost, {} doubled\n{schedule}\n{}",
                verdict.lost,
                verdict.doubled,
                verdict.problems.join("\n")
            ),
        };
        format!(
            "\nseed {seed} {what}\nthe bot's log: {}\nagain: ./run_walle.sh chaos --seed {seed}",
            self.directory.join("bot.log").display()
        )
    }
}

/// Says what came of it all; the number of seeds that failed.
fn summary(all: &mut [Played], took: Duration) -> usize {
    all.sort_unstable_by_key(|played| played.seed);
    let failed = all.iter().filter(|played| !played.passed()).count();
    let not_played = all
        .iter()
        .filter(|played| played.verdict.not_played.is_some())
        .count();
    let lost: u64 = all.iter().map(|played| played.verdict.lost).sum();
    let doubled: u64 = all.iter().map(|played| played.verdict.doubled).sum();
    let messages: usize = all.iter().map(|played| played.verdict.played).sum();
    say(&format!(
        "{} seeds in {:.0} s: {messages} messages played, {lost} lost, {doubled} doubled",
        all.len(),
        took.as_secs_f64()
    ));
    for played in all.iter().filter(|played| !played.passed()) {
        say(&played.line());
    }
    if not_played > 0 {
        say(&format!(
            "{not_played} could not be played to their end: the chaos itself failed there, and says nothing of the bot"
        ));
    }
    say(&format!("{} passed, {failed} failed", all.len() - failed));
    failed
}

/// Beside the programs, where a clean build takes it away.
fn directory_of(seed: u64) -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.with_file_name("chaos").join(format!("seed-{seed}"))
}

fn say(line: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stdout(), "{line}");
}
