//! Deletes global commands that an earlier bot of the same application left behind.
//!
//! This bot registers its commands in the guild only. Discord shows global commands next to them,
//! and in direct messages, until they are deleted.

use std::time::Duration;

use serde_json::Value;
use serenity::all::{ApplicationId, CommandId, LightMethod};
use serenity::http::{Request, Route};

use super::payload;
use super::rest::{Repeat, Rest, RestError};

const COMMANDS_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The command type of slash commands, which all of the bot's commands are.
const SLASH_COMMAND: u64 = 1;

/// The global commands that [`clear`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OldCommands {
    /// Names of the deleted commands.
    pub removed: Vec<String>,
    /// Names and ids of the remaining commands, which only the application's owner can judge.
    pub others: Vec<(String, CommandId)>,
}

/// Deletes global slash commands with a name in `ours`, and reports the other global commands.
pub async fn clear(
    rest: &Rest,
    application: ApplicationId,
    ours: &[String],
) -> Result<OldCommands, RestError> {
    let what = "listing the global commands";
    let listed = rest.call(what, Repeat::Safe, COMMANDS_CALL_TIMEOUT, |http| {
        let route = Route::Commands {
            application_id: application,
        };
        let request = Request::new(route, LightMethod::Get);
        // As plain JSON: an earlier bot may have used features that serenity cannot read.
        async move { http.fire::<Value>(request).await }
    });
    let mut old = OldCommands::default();
    for command in listed.await?.as_array().into_iter().flatten() {
        let name = command["name"].as_str().unwrap_or_default().to_owned();
        let Some(id) = payload::id_of(command).filter(|id| *id > 0) else {
            continue;
        };
        let is_slash_command = command["type"].as_u64().unwrap_or(SLASH_COMMAND) == SLASH_COMMAND;
        if is_slash_command && ours.contains(&name) {
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
    let deleted = rest.call(what, Repeat::Safe, COMMANDS_CALL_TIMEOUT, |http| {
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
