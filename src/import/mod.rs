//! Data from elsewhere: the levels of a fresh database and their names, and another bot's dump.
//!
//! A level with a name has a role in the guild, so names are given only by someone's choice, once
//! for each database.
//!
//! An import is one transaction that can be repeated: nobody ever loses points
//! by it. It works only on a database that no bot holds.

pub mod django;
pub mod level_names;

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use crate::error::Stop;
use crate::leveling::{Grouped, Level, Levels};
use crate::store::level_names_choice::{self, NamesSource};
use crate::store::user_point::{self, Imported, ImportedUser};
use crate::store::{self, Database, Transaction, lease, level, updated_user, watermark};
use level_names::ChosenNames;

/// The levels of the original guild: MEE6's curve and twenty names.
const LEVELS: &str = include_str!("../../fixtures/levels.json");

/// Rows written by one statement.
const AT_ONCE: usize = 1_000;

/// What was read from files, checked.
#[derive(Debug)]
pub struct Dump {
    /// The levels, if the files hold any.
    pub levels: Option<Levels>,
    /// The users, each once, with the level that the dump claims for them.
    pub users: Vec<(ImportedUser, Option<u64>)>,
    /// Records of other models, which are not ours.
    pub passed_over: usize,
}

/// Gives a database without levels those of `fixtures/levels.json`, without their names.
pub async fn seed_levels(database: &Database) -> anyhow::Result<()> {
    // An import holds the row for minutes, and is not waited for where there is nothing to do.
    if !level::all(&mut *database.acquire().await?)
        .await?
        .is_empty()
    {
        return Ok(());
    }
    let mut transaction = database.begin().await?;
    // Two processes that start together must not both fill the table.
    watermark::lock(&mut transaction).await?;
    if level::all(&mut transaction).await?.is_empty() {
        let levels = curve()?;
        level::replace_all(&mut transaction, &levels).await?;
        tracing::info!(
            count = levels.rows().len(),
            "filled the new database with the levels"
        );
    }
    Ok(store::commit(transaction).await?)
}

/// Gives the levels the names that the operator has chosen, if this database's have not been
/// chosen yet. Names that could not be read are no matter where nobody asks for them.
pub async fn name_levels(
    database: &Database,
    chosen: anyhow::Result<ChosenNames>,
) -> Result<(), Stop> {
    if let Some(first) = level_names_choice::read(&mut *database.acquire().await?).await? {
        say_kept(&first, chosen.as_ref());
        return Ok(());
    }
    let ChosenNames { source, names } = chosen?;
    let mut transaction = database.begin().await?;
    // Two processes that start together choose once.
    watermark::lock(&mut transaction).await?;
    if level_names_choice::read(&mut transaction).await?.is_some() {
        return Ok(());
    }
    let carries = |level: &Level| level.role_name.is_some() || level.role_id.is_some();
    if level::all(&mut transaction).await?.iter().any(carries) {
        level_names_choice::record(&mut transaction, NamesSource::Existing).await?;
    } else {
        let names: Vec<_> = names
            .iter()
            .map(|(level, name)| (*level, name.as_str()))
            .collect();
        level::rename(&mut transaction, &names).await?;
        level_names_choice::record(&mut transaction, source).await?;
        if !names.is_empty() {
            tracing::info!(
                "gave {} levels the names chosen in WALLE_LEVEL_NAMES",
                names.len()
            );
        }
    }
    Ok(store::commit(transaction).await?)
}

/// Says what has no effect any more in a database whose names came from `first`.
fn say_kept(first: &str, chosen: Result<&ChosenNames, &anyhow::Error>) {
    match chosen {
        // That is the default as well.
        Ok(chosen) if chosen.source == NamesSource::None || chosen.source.as_str() == first => {}
        Ok(_) => tracing::info!(
            "ignored WALLE_LEVEL_NAMES: this database got its level names at its first start; the commands \
             set_level_name and remove_level_name change them"
        ),
        Err(error) => tracing::warn!(
            error = format!("{error:#}"),
            "ignored WALLE_LEVEL_NAMES, which has a mistake; this database keeps its level names"
        ),
    }
}

/// Writes a dump into the database, and says what that changed. Dropped at any
/// point before its end it has changed nothing.
pub async fn save(database: &Database, dump: Dump, fresh_only: bool) -> anyhow::Result<()> {
    // Looked at once more when nobody else can write: a bot that is running is no
    // reason to fail where there is nothing to do.
    if fresh_only && !user_point::is_empty(&mut *database.acquire().await?).await? {
        say_not_fresh();
        return Ok(());
    }
    let Some(claimed) = lease::claim_if_free(database).await? else {
        bail!("another wall_e is using this database; stop it, then import again");
    };
    let end_lease = CancellationToken::new();
    let keeping = tokio::spawn(claimed.lease.keep(end_lease.clone()));
    let saved = save_owned(database, dump, fresh_only, claimed.watermark.owner_epoch).await;
    end_lease.cancel();
    let _ = keeping.await;
    saved
}

async fn save_owned(
    database: &Database,
    dump: Dump,
    fresh_only: bool,
    epoch: i64,
) -> anyhow::Result<()> {
    let mut transaction = database.begin().await?;
    // Held from here on: nobody can take over in the middle, and a batch of the bot before,
    // however late, waits before it locks any user.
    if watermark::lock(&mut transaction).await?.owner_epoch != epoch {
        bail!("another wall_e took over this database meanwhile; stop it, then import again");
    }
    if fresh_only && !user_point::is_empty(&mut transaction).await? {
        say_not_fresh();
        return Ok(());
    }
    let Imported {
        added,
        completed,
        kept,
    } = write(&mut transaction, dump).await?;
    store::commit(transaction)
        .await
        .context("the import could not be committed")?;
    tracing::info!(
        "import finished; new users: {}, completed: {}, unchanged: {}",
        Grouped(added),
        Grouped(completed),
        Grouped(kept)
    );
    Ok(())
}

fn say_not_fresh() {
    tracing::info!("the database already has users, so nothing was imported");
}

async fn write(transaction: &mut Transaction<'_>, dump: Dump) -> anyhow::Result<Imported> {
    if dump.passed_over > 0 {
        tracing::info!(
            records = dump.passed_over,
            "skipped records of other models"
        );
    }
    if let Some(levels) = &dump.levels {
        write_levels(transaction, levels).await?;
    }
    let levels = level::load(transaction).await?;
    let disagreeing = dump
        .users
        .iter()
        .filter(|(user, claimed)| {
            claimed.is_some_and(|claimed| {
                claimed != u64::from(levels.level_at(user.standing.points).0)
            })
        })
        .count();
    if disagreeing > 0 {
        tracing::warn!(
            users = disagreeing,
            "stored levels disagree with the points; the points decide"
        );
    }
    let mut users: Vec<ImportedUser> = dump.users.into_iter().map(|(user, _)| user).collect();
    // By id, as everyone locks them.
    users.sort_unstable_by_key(|row| row.user);
    let mut total = Imported::default();
    let mut done = 0;
    let mut said = 0;
    for part in users.chunks(AT_ONCE) {
        let Imported {
            added,
            completed,
            kept,
        } = user_point::import(transaction, part).await?;
        total.added += added;
        total.completed += completed;
        total.kept += kept;
        done += part.len();
        let percent = done * 100 / users.len();
        if percent / 10 > said {
            said = percent / 10;
            tracing::info!(done, of = users.len(), "importing users: {percent} %");
        }
    }
    updated_user::want_missing_pictures(transaction).await?;
    Ok(total)
}

/// Levels that somebody has changed here are theirs and stay. Either way nobody names them again.
async fn write_levels(transaction: &mut Transaction<'_>, dumped: &Levels) -> anyhow::Result<()> {
    let here = level::load(transaction).await?;
    level_names_choice::record(transaction, NamesSource::Import).await?;
    if here == *dumped {
        tracing::info!("the levels are the same already");
    } else if here == curve()? || here == seed()? {
        level::replace_all(transaction, dumped).await?;
        tracing::info!(count = dumped.rows().len(), "imported the levels");
    } else {
        tracing::warn!("kept the levels of this database, which differ from the defaults");
    }
    Ok(())
}

/// The levels that a fresh database gets: without names.
pub fn curve() -> anyhow::Result<Levels> {
    let mut rows = seed()?.rows().to_vec();
    for level in &mut rows {
        level.role_name = None;
    }
    Ok(Levels::new(rows)?)
}

fn seed() -> anyhow::Result<Levels> {
    let dump = django::parse([("fixtures/levels.json", LEVELS)])?;
    dump.levels.context("fixtures/levels.json holds no levels")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveling::{mee6_points_to_next, mee6_total};

    #[test]
    fn the_levels_are_mee6s_curve_and_twenty_names() {
        let levels = seed().unwrap();
        assert_eq!(levels.rows().len(), 101);
        for (number, level) in (0..).zip(levels.rows()) {
            assert_eq!(level.total_points_required.get(), mee6_total(number));
            assert_eq!(
                level.points_to_next_level.get(),
                mee6_points_to_next(number)
            );
        }
        let named: Vec<_> = levels
            .rows()
            .iter()
            .filter(|level| level.role_name.is_some())
            .collect();
        assert!(
            named
                .iter()
                .map(|level| level.number.0)
                .eq((0..100).step_by(5))
        );
        assert_eq!(named[16].role_name.as_deref(), Some("CD level80"));
    }
}
