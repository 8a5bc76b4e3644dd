//! Fills a database with its levels, with the level names that the operator chose, and with the
//! dump of the Python bot.
//!
//! The bot creates a role for each level name. So no level gets a name that nobody asked for, and
//! the names that the operator chose are given only once to a database.
//!
//! An import is one transaction, never takes points from anybody, and may be repeated. It fails
//! while a bot is using the database.

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

/// Users written by one statement.
const BATCH_SIZE: usize = 1_000;

/// The checked content of dump files.
#[derive(Debug)]
pub struct Dump {
    /// `None`: the files hold no levels.
    pub levels: Option<Levels>,
    /// Each user once, with the level number that the dump stores for them.
    pub users: Vec<(ImportedUser, Option<u64>)>,
    /// How many records belong to other models.
    pub skipped: usize,
}

/// Fills an empty table `level` with the levels of MEE6's curve, without names.
pub async fn seed_levels(database: &Database) -> anyhow::Result<()> {
    // Check without the lock first: an import may hold it for minutes.
    if !level::all(&mut *database.acquire().await?)
        .await?
        .is_empty()
    {
        return Ok(());
    }
    let mut transaction = database.begin().await?;
    // Two processes may start together; the second one finds the table filled.
    watermark::lock(&mut transaction).await?;
    if level::all(&mut transaction).await?.is_empty() {
        let levels = Levels::mee6();
        level::replace_all(&mut transaction, &levels).await?;
        tracing::info!(
            count = levels.rows().len(),
            "created the levels of the new database"
        );
    }
    Ok(store::commit(transaction).await?)
}

/// Gives the levels the names that the operator chose, and records the choice. If a choice is
/// recorded already, `chosen` is ignored, and an error in it is only logged.
pub async fn name_levels(
    database: &Database,
    chosen: anyhow::Result<ChosenNames>,
) -> Result<(), Stop> {
    if let Some(first) = level_names_choice::read(&mut *database.acquire().await?).await? {
        log_ignored(&first, chosen.as_ref());
        return Ok(());
    }
    let ChosenNames { source, names } = chosen?;
    let mut transaction = database.begin().await?;
    // Two processes may start together; the second one finds the choice made.
    watermark::lock(&mut transaction).await?;
    if level_names_choice::read(&mut transaction).await?.is_some() {
        return Ok(());
    }
    let has_role = |level: &Level| level.role_name.is_some() || level.role_id.is_some();
    if level::all(&mut transaction).await?.iter().any(has_role) {
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

/// Logs that `chosen` has no effect on a database whose names came from `first`.
fn log_ignored(first: &str, chosen: Result<&ChosenNames, &anyhow::Error>) {
    match chosen {
        // `none` is also the default, so the operator may have set nothing.
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

/// Writes a dump into the database and logs what changed. If the future is dropped before its
/// transaction is committed, nothing changes. With `fresh_only`, does nothing if the database has
/// users.
pub async fn save(database: &Database, dump: Dump, fresh_only: bool) -> anyhow::Result<()> {
    // Checked again below, under the lock. Checking here too means that a running bot is no error
    // if there is nothing to do.
    if fresh_only && !user_point::is_empty(&mut *database.acquire().await?).await? {
        log_not_fresh();
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
    // This lock is held until the end: no bot can take over in between, and a late batch of the
    // previous bot waits here before it locks any user.
    if watermark::lock(&mut transaction).await?.owner_epoch != epoch {
        bail!("another wall_e took over this database meanwhile; stop it, then import again");
    }
    if fresh_only && !user_point::is_empty(&mut transaction).await? {
        log_not_fresh();
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

fn log_not_fresh() {
    tracing::info!("the database already has users, so nothing was imported");
}

async fn write(transaction: &mut Transaction<'_>, dump: Dump) -> anyhow::Result<Imported> {
    if dump.skipped > 0 {
        tracing::info!(records = dump.skipped, "skipped records of other models");
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
            "some users' points do not match the level that the dump stores for them; the points decide"
        );
    }
    let mut users: Vec<ImportedUser> = dump.users.into_iter().map(|(user, _)| user).collect();
    // Every transaction locks users in this order.
    users.sort_unstable_by_key(|row| row.user);
    let mut total = Imported::default();
    let mut done = 0;
    let mut logged = 0;
    for batch in users.chunks(BATCH_SIZE) {
        let Imported {
            added,
            completed,
            kept,
        } = user_point::import(transaction, batch).await?;
        total.added += added;
        total.completed += completed;
        total.kept += kept;
        done += batch.len();
        let percent = done * 100 / users.len();
        if percent / 10 > logged {
            logged = percent / 10;
            tracing::info!(done, of = users.len(), "importing users: {percent} %");
        }
    }
    updated_user::want_missing_pictures(transaction).await?;
    Ok(total)
}

/// Replaces the levels with those of the dump, unless they were changed from the defaults. In both
/// cases [`name_levels`] does not change them afterwards.
async fn write_levels(transaction: &mut Transaction<'_>, dumped: &Levels) -> anyhow::Result<()> {
    let here = level::load(transaction).await?;
    level_names_choice::record(transaction, NamesSource::Import).await?;
    if here == *dumped {
        tracing::info!("the dump has the same levels as this database");
    } else if here == Levels::mee6() || here == Levels::mee6_computing() {
        level::replace_all(transaction, dumped).await?;
        tracing::info!(count = dumped.rows().len(), "imported the levels");
    } else {
        tracing::warn!("kept the levels of this database, which differ from the defaults");
    }
    Ok(())
}
