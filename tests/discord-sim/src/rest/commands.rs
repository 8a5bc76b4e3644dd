//! Registering slash commands.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use crate::clock::Id;
use crate::objects::{self, text};
use crate::rest::validate::{Form, items};
use crate::rest::{Call, MISSING_ACCESS, Outcome, Refusal, unknown_route};
use crate::state::State;

/// As Discord shows it.
pub(crate) type Command = Value;

const UNKNOWN_COMMAND: Refusal = Refusal::not_found(10_063, "Unknown application command");
const TOO_MANY: Refusal = Refusal::new(
    400,
    30_032,
    "Maximum number of application commands reached (100)",
);
/// Names are lower case wherever there is a difference.
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[-_'\p{L}\p{N}\p{Devanagari}\p{Thai}]{1,32}$").expect("a regex")
});

impl State {
    pub(super) fn route_commands(&mut self, app: Id, rest: &[&str], call: &Call) -> Outcome {
        if app != self.bot {
            return Err(Refusal::new(
                403,
                20_012,
                "You are not authorized to perform this action on this application",
            ));
        }
        let (scope, rest) = match rest {
            ["guilds", guild, rest @ ..] => {
                let guild = super::id("guild_id", guild)?;
                self.own_guild(guild).map_err(|_| MISSING_ACCESS)?;
                (Some(guild), rest)
            }
            rest => (None, rest),
        };
        match (call.method.as_str(), rest) {
            ("GET", ["commands"]) => {
                let commands = self.commands.get(&scope).cloned().unwrap_or_default();
                Ok((200, commands.into()))
            }
            ("PUT", ["commands"]) => self.replace_commands(scope, &call.body),
            ("POST", ["commands"]) => self.add_command(scope, &call.body),
            ("GET", ["commands", id]) => {
                let found = self
                    .commands
                    .get(&scope)
                    .into_iter()
                    .flatten()
                    .find(|one| one["id"] == **id);
                Ok((200, found.cloned().ok_or(UNKNOWN_COMMAND)?))
            }
            ("DELETE", ["commands", id]) => {
                let commands = self.commands.entry(scope).or_default();
                let before = commands.len();
                commands.retain(|one| one["id"] != **id);
                if commands.len() == before {
                    return Err(UNKNOWN_COMMAND);
                }
                Ok((204, Value::Null))
            }
            _ => unknown_route(call),
        }
    }

    /// A global command that was registered before the bot under test came.
    pub(crate) fn leave_command(&mut self, given: &Value) {
        let command = self.registered(None, given);
        self.commands.entry(None).or_default().push(command);
    }

    fn replace_commands(&mut self, scope: Option<Id>, body: &Value) -> Outcome {
        let given = items(body);
        if given.len() > 100 {
            return Err(TOO_MANY);
        }
        let mut form = Form::default();
        let mut names = BTreeSet::new();
        for (at, command) in given.iter().enumerate() {
            check(&mut form, &at.to_string(), command);
            let key = (kind(command), command["name"].as_str());
            if !names.insert(key) {
                form.refuse(
                    &at.to_string(),
                    "APPLICATION_COMMANDS_DUPLICATE_NAME",
                    "Application command names must be unique",
                );
            }
        }
        form.check()?;
        let commands: Vec<Command> = given
            .iter()
            .map(|one| self.registered(scope, one))
            .collect();
        self.commands.insert(scope, commands.clone());
        Ok((200, commands.into()))
    }

    fn add_command(&mut self, scope: Option<Id>, body: &Value) -> Outcome {
        let mut form = Form::default();
        check(&mut form, "", body);
        form.check()?;
        let command = self.registered(scope, body);
        let commands = self.commands.entry(scope).or_default();
        let same = |one: &Command| one["name"] == body["name"] && kind(one) == kind(body);
        if let Some(old) = commands.iter_mut().find(|one| same(one)) {
            *old = command.clone();
            return Ok((200, command));
        }
        if commands.len() == 100 {
            return Err(TOO_MANY);
        }
        commands.push(command.clone());
        Ok((201, command))
    }

    /// A command as it is shown once it is registered. One that existed before
    /// under this name keeps its id.
    fn registered(&mut self, scope: Option<Id>, given: &Value) -> Command {
        let known = self.commands.get(&scope).into_iter().flatten();
        let old = known
            .filter(|one| one["name"] == given["name"] && kind(one) == kind(given))
            .map(|one| one["id"].clone())
            .next();
        let id = old.unwrap_or_else(|| text(self.clock.snowflake()).into());
        let mut command = json!({
            "id": id,
            "application_id": text(self.bot),
            "version": text(self.clock.snowflake()),
            "type": kind(given),
            "description": "",
            "options": [],
            "default_member_permissions": null,
            "nsfw": false,
            "dm_permission": true,
            "contexts": null,
            "integration_types": [0],
            "name_localizations": null,
            "description_localizations": null,
        });
        objects::extend(&mut command, given.clone());
        command["type"] = kind(given).into();
        if let Some(guild) = scope {
            command["guild_id"] = text(guild).into();
        }
        command
    }
}

fn kind(command: &Value) -> u64 {
    command["type"].as_u64().unwrap_or(1)
}

fn check(form: &mut Form, place: &str, command: &Value) {
    let within = |part: &str| [place, part].join(".");
    if kind(command) == 1 {
        check_name(form, &within("name"), &command["name"]);
        form.text(&within("description"), &command["description"], 1, 100);
        check_options(form, place, &command["options"]);
    } else {
        form.text(&within("name"), &command["name"], 1, 32);
    }
}

fn check_name(form: &mut Form, place: &str, name: &Value) {
    let text = name.as_str().unwrap_or_default();
    if !NAME.is_match(text) || text.to_lowercase() != text {
        form.refuse(
            place,
            "APPLICATION_COMMAND_INVALID_NAME",
            "Command name is invalid",
        );
    }
}

fn check_options(form: &mut Form, place: &str, options: &Value) {
    let list = items(options);
    form.max_items(&[place, "options"].join("."), options, 25);
    let mut names = BTreeSet::new();
    let mut optional_before = false;
    for (at, option) in list.iter().enumerate() {
        let here = format!("{place}.options.{at}");
        let within = |part: &str| format!("{here}.{part}");
        check_name(form, &within("name"), &option["name"]);
        form.text(&within("description"), &option["description"], 1, 100);
        if !names.insert(option["name"].as_str()) {
            form.refuse(
                &here,
                "APPLICATION_COMMAND_OPTIONS_NAME_DUPLICATE",
                "Option name already in use",
            );
        }
        let kind = option["type"].as_u64().unwrap_or(0);
        if !(1..=11).contains(&kind) {
            let message = "Value must be one of (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11).";
            form.refuse(&within("type"), "BASE_TYPE_CHOICES", message);
        }
        let required = option["required"].as_bool().unwrap_or(false);
        if required && optional_before {
            form.refuse(
                &here,
                "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
                "Required options must be placed before non-required options",
            );
        }
        optional_before |= !required && kind > 2;
        form.max_items(&within("choices"), &option["choices"], 25);
        let takes_choices = matches!(kind, 3 | 4 | 10) && items(&option["choices"]).is_empty();
        if option["autocomplete"] == true && !takes_choices {
            let message = "Autocomplete is for string, integer and number options without choices";
            let code = "APPLICATION_COMMAND_OPTIONS_AUTOCOMPLETE_INVALID";
            form.refuse(&within("autocomplete"), code, message);
        }
        if kind <= 2 {
            check_options(form, &here, &option["options"]);
        }
    }
}
