//! The table `level_names_choice`: whether this database's level names have been chosen.
//!
//! Holds at most one row, which nothing here changes or deletes.

use super::{Connection, Result};

/// Where the level names of a database came from first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamesSource {
    /// The operator wanted none.
    None,
    /// The twenty of the original guild.
    Computing,
    /// A file of the operator's.
    File,
    /// Another bot's dump.
    Import,
    /// The levels had names already.
    Existing,
}

impl NamesSource {
    /// As it is stored.
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

/// Where the names came from, if they have been chosen.
pub async fn read(connection: &mut Connection) -> Result<Option<String>> {
    let source = sqlx::query_scalar!("select source from level_names_choice");
    Ok(source.fetch_optional(connection).await?)
}

/// Records where the names came from, unless that is recorded already.
pub async fn record(connection: &mut Connection, source: NamesSource) -> Result<()> {
    sqlx::query!(
        "insert into level_names_choice (source) values ($1) on conflict do nothing",
        source.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
