//! Global commands of the application that an earlier bot has left behind.
//!
//! Ours are registered in the guild only. Discord shows global ones beside them, in direct
//! messages as well, until somebody deletes them.

use std::time::Duration;

use serde_json::Value;
use serenity::all::{ApplicationId, CommandId, LightMethod};
use serenity::http::{Request, Route};

use super::payload;
use super::rest::{Repeat, Rest, RestError};

const PATIENCE: Duration = Duration::from_secs(30);
/// The type of a command that is typed, as all of ours are.
const TYPED: u64 = 1;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OldCommands {
    /// Names of those that were deleted.
    pub removed: Vec<String>,
    /// Names and ids of those that nobody but their owner can tell the use of.
    pub others: Vec<(String, CommandId)>,
}

/// Deletes global commands with one of our names, and says which others there are.
pub async fn clear(
    rest: &Rest,
    application: ApplicationId,
    ours: &[String],
) -> Result<OldCommands, RestError> {
    let what = "listing the global commands";
    let listed = rest.call(what, Repeat::Safe, PATIENCE, |http| {
        let route = Route::Commands {
            application_id: application,
        };
        let request = Request::new(route, LightMethod::Get);
        // As plain JSON: an earlier bot may have used what serenity does not know.
        async move { http.fire::<Value>(request).await }
    });
    let mut old = OldCommands::default();
    for command in listed.await?.as_array().into_iter().flatten() {
        let name = command["name"].as_str().unwrap_or_default().to_owned();
        let Some(id) = payload::id_of(command).filter(|id| *id > 0) else {
            continue;
        };
        let is_typed = command["type"].as_u64().unwrap_or(TYPED) == TYPED;
        if is_typed && ours.contains(&name) {
            delete(rest, application, CommandId::new(id)).await?;
            old.removed.push(name);
        } else {
            old.others.push((name, CommandId::new(id)));
        }
    }
    Ok(old)
}

async fn delete(rest: &Rest, application: ApplicationId, id: CommandId) -> Result<(), RestError> {
    let what = "deleting a global command";
    let deleted = rest.call(what, Repeat::Safe, PATIENCE, |http| {
        let route = Route::Command {
            application_id: application,
            command_id: id,
        };
        let request = Request::new(route, LightMethod::Delete);
        async move { http.send(request).await }
    });
    match deleted.await {
        Err(RestError::Refused { status: 404, .. }) => Ok(()),
        other => other,
    }
}
