//! How fast wall_e is and how much memory it takes, as one table.
//!
//! Run it with `./run_walle.sh bench [--quick] [SECTION…]`, which builds it and starts
//! a durable Postgres for it. It makes a database of its own on the server that
//! `DATABASE_URL` names, and drops it in the end; no other database is touched.
//!
//! # How to read the table
//!
//! A figure alone says more about the machine than about wall_e. So each stands beside
//! a reference that was measured in the same run, in turn with it: what the same work
//! costs when only the unavoidable part of it is done. The last column says what the
//! reference is.
//!
//! - *wall_e* and *reference* are medians of several rounds.
//! - *ratio* is wall_e ÷ reference, the median over the rounds, each of which measures
//!   both: a machine that is slow for a while slows both. For rates (`/s`) more is
//!   better, for everything else less.
//! - *aim* is what the project has set itself, where it has: they stand in `aims`. One that is
//!   missed is named at the end, and the bench ends with 1. Where the aim is a ratio, the best
//!   round counts: what else the machine does makes a round worse and never better.
//! - *CPU a message* is what the processes have used of the processors for each message. On two
//!   cores the simulator, the bot and Postgres share what the reference has almost for itself:
//!   with more cores the ratio of `load` rises, and this stays.
//!
//! With `--floors` only what falls below a much lower floor ends it with 1: for machines on
//! which others work as well, such as those of a CI.

mod aims;
mod award;
mod board;
mod bot;
mod commits;
mod counter;
mod cpu;
mod database;
mod load;
mod measure;
mod memory;
mod profiles;
mod recovery;
mod roles;
mod rules;
mod startup;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};

use crate::aims::Judge;
use crate::table::{Row, Table};

/// Counts what the process holds; `startup` asks it what a million users weigh.
#[global_allocator]
static HELD: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

/// How fast wall_e is, each figure beside a reference measured in the same run.
#[derive(Debug, Parser)]
#[command(
    bin_name = "./run_walle.sh bench",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    /// What to measure; everything if nothing is named
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// Smaller sizes and fewer rounds: for trying a change, not for quoting
    #[arg(long)]
    quick: bool,
    /// Fail only by figures that no slow or busy machine explains
    #[arg(long)]
    floors: bool,
    #[command(subcommand)]
    helper: Option<Helper>,
}

/// A part of the table. `run_walle.sh` reads names and texts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Messages a second through the whole bot, from the socket to the commit: about 2 min
    Load,
    /// One award, also with many rules on XP: about 1 min
    Award,
    /// Ranks, pages and changes of the board, at 7,000 and 1,000,000 users: about 1 min
    Board,
    /// Start and memory with 1,000,000 users: about 2 min
    Startup,
    /// Memory in guilds of 7,000 and 1,000,000 members: about 1 min
    Memory,
    /// Rows a second of the engine's commits, also with many rules on XP: about 2 min
    Commits,
    /// Back after an absence, after another bot's end, after Postgres' return: about 2 min
    Recovery,
    /// Verification of everyone's level roles: about 4 min
    Roles,
    /// REST calls of a quiet day, and how long changed names and avatars take: about 3 min
    Profiles,
}

/// What the bench starts itself as.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
enum Helper {
    /// The reference of `load`: a client that counts messages
    #[command(hide = true)]
    Count(counter::Settings),
}

/// How thorough to be.
#[derive(Clone, Copy, Debug)]
struct Effort {
    quick: bool,
}

impl Effort {
    fn pick<T>(self, thorough: T, quick: T) -> T {
        if self.quick { quick } else { thorough }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.helper {
        Some(Helper::Count(settings)) => counter::count(settings),
        None => {
            let judge = if cli.floors {
                Judge::Floors
            } else {
                Judge::Aims
            };
            bench(&cli.sections, Effort { quick: cli.quick }, judge)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::progress(&format!("bench: {error:?}"));
            ExitCode::FAILURE
        }
    }
}

fn bench(sections: &[Section], effort: Effort, judge: Judge) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let chosen = match sections {
        [] => Section::value_variants(),
        some => some,
    };
    let mut table = Table::default();
    for (number, section) in (1..).zip(chosen) {
        let name = section.to_possible_value();
        let name = name.as_ref().map_or("", |value| value.get_name());
        table::progress(&format!("{name}, part {number} of {} …", chosen.len()));
        let started = Instant::now();
        table.extend(runtime.block_on(measure_section(*section, effort))?);
        table::progress(&format!("{name} took {} s.", started.elapsed().as_secs()));
    }
    table.print()?;
    let missed = table.missed(judge);
    if !missed.is_empty() {
        anyhow::bail!("not as it should be:\n  {}", missed.join("\n  "));
    }
    Ok(())
}

async fn measure_section(section: Section, effort: Effort) -> anyhow::Result<Vec<Row>> {
    match section {
        Section::Load => load::measure(effort).await,
        Section::Award => Ok(award::measure(effort)),
        Section::Board => Ok(board::measure(effort)),
        Section::Startup => startup::measure(effort).await,
        Section::Memory => memory::measure(effort).await,
        Section::Commits => commits::measure(effort).await,
        Section::Recovery => recovery::measure(effort).await,
        Section::Roles => roles::measure(effort).await,
        Section::Profiles => profiles::measure(effort).await,
    }
}
