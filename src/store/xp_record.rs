//! What is recorded beside the messages and decides what they earn: the tables `xp_rule`,
//! `channel_parent` and `role_holder` together.

use super::{Connection, Result, channel_parent, role_holder, xp_rule};
use crate::leveling::{MessageId, XpRecord, XpRules};

/// Loads everything that is recorded.
pub async fn load(connection: &mut Connection) -> Result<XpRules> {
    let mut rules = XpRules::default();
    for row in xp_rule::all(connection).await? {
        rules.record(&XpRecord::Rule(row.change));
    }
    for record in channel_parent::all(connection).await? {
        rules.record(&record);
    }
    for record in role_holder::all(connection).await? {
        rules.record(&record);
    }
    Ok(rules)
}

/// Saves what was observed. Call it in the transaction that moves the watermark: rules that end are
/// added each time.
pub async fn add(connection: &mut Connection, records: &[XpRecord]) -> Result<()> {
    let (mut parents, mut holders) = (Vec::new(), Vec::new());
    for record in records {
        match *record {
            XpRecord::Rule(change) => {
                let row = xp_rule::XpRuleRow {
                    request: None,
                    change,
                };
                xp_rule::add(connection, &row).await?;
            }
            XpRecord::Parent {
                channel,
                parent,
                after,
            } => parents.push((channel, parent, after)),
            XpRecord::Holds {
                role,
                user,
                holds,
                after,
            } => holders.push((user, role, holds, after)),
        }
    }
    if !parents.is_empty() {
        channel_parent::add(connection, &parents).await?;
    }
    if !holders.is_empty() {
        role_holder::add(connection, &holders).await?;
    }
    Ok(())
}

/// Moves what was recorded after an id from the future to `newest`. Returns whether there was any.
pub async fn put_back(connection: &mut Connection, newest: MessageId) -> Result<bool> {
    let moved = [
        xp_rule::put_back(connection, newest).await?,
        channel_parent::put_back(connection, newest).await?,
        role_holder::put_back(connection, newest).await?,
    ];
    Ok(moved.contains(&true))
}
