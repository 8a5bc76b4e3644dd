//! The table `level_names_choice`: whether and how the level names of this database were chosen.
//!
//! Holds at most one row, which is never changed or deleted.

use super::{Connection, Result};

/// Where a database's level names first came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamesSource {
    /// The operator chose no names.
    None,
    /// The twenty names of the original guild.
    Computing,
    /// A file that the operator supplied.
    File,
    /// The imported dump of another bot.
    Import,
    /// The levels had names already.
    Existing,
}

impl NamesSource {
    /// The value stored in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Computing => "computing",
            Self::File => "file",
            Self::Import => "import",
            Self::Existing => "existing",
        }
    }
}

/// The stored source of the names; `None` if none has been chosen.
pub async fn read(connection: &mut Connection) -> Result<Option<String>> {
    let source = sqlx::query_scalar!("select source from level_names_choice");
    Ok(source.fetch_optional(connection).await?)
}

/// Stores the source of the names, unless one is stored already.
pub async fn record(connection: &mut Connection, source: NamesSource) -> Result<()> {
    sqlx::query!(
        "insert into level_names_choice (source) values ($1) on conflict do nothing",
        source.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
