//! Does what a line says, and hears what the bot says.

use std::time::Duration;

use regex::Regex;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::chat::draw::{draw, part_name};
use crate::chat::line::{HELP, Line, Verb};
use crate::members::mix;
use crate::objects::id_in;
use crate::rest::validate::items;
use crate::{Fault, Id, Sim};

/// How long to wait for the bot to come, or to come back.
const CONNECT_WITHIN: Duration = Duration::from_mins(2);
/// How long to wait for its commands.
const REGISTER_WITHIN: Duration = Duration::from_secs(20);
/// The type of a component that is a menu.
const MENU: u64 = 3;
const USUAL_CHANNEL: &str = "general";

/// Something that the bot said.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The message as it is now, or was last.
    pub message: Value,
    /// What is new about it.
    pub news: News,
}

/// What is new about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It is new itself.
    Said,
    /// It was said before and has changed.
    Edited,
    /// It is gone.
    Deleted,
}

/// People who talk, and the bot that is listened to.
#[derive(Debug)]
pub struct Room {
    /// The simulation they are in.
    pub sim: Sim,
    heard: UnboundedReceiver<Heard>,
    /// Where people have spoken so far.
    spoken_in: Vec<Id>,
    /// How many sessions had begun or been resumed before the last trouble.
    sessions_before: u64,
    /// The bot's last message that has components.
    with_buttons: Option<Id>,
    has_shown_a_file: bool,
    /// The last message that somebody was made to say, until it is asked for.
    said: Option<Id>,
}

impl Room {
    /// Listens to the bot of a simulation.
    pub fn new(sim: Sim) -> Self {
        let (to, heard) = unbounded_channel();
        sim.listen(to);
        Self {
            sim,
            heard,
            spoken_in: Vec::new(),
            sessions_before: 0,
            with_buttons: None,
            has_shown_a_file: false,
            said: None,
        }
    }

    /// Waits for the bot; false if it does not come.
    pub async fn wait_for_bot(&self) -> bool {
        let connected = || self.sim.is_connected().then_some(());
        self.sim.wait_for(CONNECT_WITHIN, connected).await.is_some()
    }

    /// What the bot says next.
    pub async fn hear(&mut self) -> Option<Heard> {
        let heard = self.heard.recv().await;
        self.notice(heard)
    }

    /// What the bot has said by now and nobody has heard yet.
    pub(crate) fn overhear(&mut self) -> Option<Heard> {
        let heard = self.heard.try_recv().ok();
        self.notice(heard)
    }

    fn notice(&mut self, heard: Option<Heard>) -> Option<Heard> {
        let heard = heard?;
        let id = id_in(&heard.message["id"]);
        let bare = items(&heard.message["components"]).is_empty();
        if !bare && heard.news != News::Deleted {
            self.with_buttons = id;
        } else if self.with_buttons == id {
            self.with_buttons = None;
        }
        Some(heard)
    }

    /// Whether it was said where people talk: the bot's own channels, where it
    /// keeps copies and reports, are none of their business.
    pub(crate) fn is_answer(&self, heard: &Heard) -> bool {
        let channel = id_in(&heard.message["channel_id"]);
        channel.is_some_and(|channel| self.spoken_in.contains(&channel))
    }

    /// What to show of what was heard. Files that the bot keeps where nobody talks are no
    /// conversation: one line says where they are.
    pub fn drawn(&mut self, heard: &Heard) -> Option<String> {
        let is_file = !items(&heard.message["attachments"]).is_empty();
        if !is_file || self.is_answer(heard) {
            return Some(draw(&self.sim, heard));
        }
        if std::mem::replace(&mut self.has_shown_a_file, true) {
            return None;
        }
        let channel = id_in(&heard.message["channel_id"]);
        let channel = channel.and_then(|channel| self.sim.channel_name(channel));
        Some(format!(
            "(The bot keeps files in #{}. They are not shown here.)",
            channel.unwrap_or_default()
        ))
    }

    /// Does what a line says; returns what to show, or says what to type.
    pub(crate) async fn act(&mut self, line: Line) -> Result<String, String> {
        match line {
            Line::Nothing => {}
            Line::Say { who, channel, text } => {
                let who = self.member(&who)?;
                let channel = self.place(channel.as_deref())?;
                let message = self.sim.say(who, channel, &self.with_mentions(&text));
                self.said = Some(message);
            }
            Line::Slash {
                who,
                channel,
                command,
                options,
            } => {
                let id = self.member(&who)?;
                let channel = self.place(channel.as_deref())?;
                // A bot that has just come may not have registered any yet.
                let any = || (!self.sim.commands().is_empty()).then_some(());
                self.sim.wait_for(REGISTER_WITHIN, any).await;
                let options = self.options(&command, &options)?;
                self.sim
                    .try_slash(id, channel, &command, &options)
                    .map_err(|why| format!("{who} cannot invoke /{command}: {why}."))?;
            }
            Line::World(verb) => return self.happen(verb).await,
        }
        Ok(String::new())
    }

    /// The message that was said since this was asked last.
    pub(crate) fn take_said(&mut self) -> Option<Id> {
        self.said.take()
    }

    /// What the buttons of the bot's last message that has any are called, and the options of
    /// its menus.
    pub(crate) fn pressable(&self) -> (Vec<String>, Vec<String>) {
        let parts = self.parts().map_or(Vec::new(), |(_, parts)| parts);
        let buttons = parts.iter().filter(|part| part["type"] != MENU);
        let options = parts.iter().flat_map(|part| items(&part["options"]));
        (
            buttons.map(part_name).collect(),
            options.map(part_name).collect(),
        )
    }

    async fn happen(&mut self, verb: Verb) -> Result<String, String> {
        let sim = &self.sim;
        match verb {
            Verb::Help => return Ok(HELP.into()),
            Verb::People => return Ok(self.who_is_there()),
            Verb::Advance(by) => sim.advance(by),
            Verb::Join(who) => {
                let id = sim.find_user(&who).unwrap_or_else(|| sim.add_person(&who));
                sim.join(id);
            }
            Verb::Leave(who) => sim.leave(self.person(&who)?),
            Verb::Nick { who, nick } => sim.nick(self.person(&who)?, nick.as_deref()),
            Verb::Name { who, name } => sim.global_name(self.person(&who)?, name.as_deref()),
            Verb::Username { who, name } => {
                let id = self.person(&who)?;
                if sim.find_user(&name).is_some() {
                    return Err(format!("Somebody is already called {name}."));
                }
                sim.username(id, &name);
            }
            Verb::Avatar { who, shown } => {
                let new = sim.snowflake();
                let hash = format!("{:016x}{:016x}", mix(new), mix(!new));
                sim.avatar(self.person(&who)?, Some(&*hash).filter(|_| shown));
            }
            Verb::Press { who, label } => self.press(&who, &label)?,
            Verb::Choose { who, labels } => self.choose(&who, &labels)?,
            Verb::Faults {
                status,
                count,
                method,
                pattern,
            } => {
                sim.faults()
                    .next(count, method, &pattern, Fault::Status(status));
            }
            Verb::Drop => {
                self.sessions_before = self.sessions();
                self.sim.gateway().drop_connections();
            }
            Verb::Reconnect => {
                self.sessions_before = self.sessions();
                self.sim.gateway().reconnect();
            }
            Verb::Invalid => {
                self.sessions_before = self.sessions();
                self.sim.gateway().invalid_session(false);
            }
            Verb::Wait => {
                let back =
                    || (sim.is_connected() && self.sessions() > self.sessions_before).then_some(());
                let waited = sim.wait_for(CONNECT_WITHIN, back).await;
                return waited
                    .map(|()| String::new())
                    .ok_or("The bot did not come back.".into());
            }
        }
        Ok(String::new())
    }

    fn press(&self, who: &str, label: &str) -> Result<(), String> {
        let id = self.member(who)?;
        let (message, parts) = self.parts()?;
        let part = named_part(&parts, label).ok_or_else(|| {
            let all: Vec<String> = parts.iter().map(part_name).collect();
            format!(
                "There is no button {label}. These exist: {}.",
                all.join(", ")
            )
        })?;
        if part["type"] == MENU {
            return Err(format!(
                "{label} is a menu: type !choose {who} and an option."
            ));
        }
        let custom_id = part["custom_id"].as_str();
        let custom_id = custom_id.ok_or_else(|| format!("{label} is a link."))?;
        self.sim
            .try_click(id, message, custom_id)
            .map_err(|why| format!("{who} cannot press {label}: {why}."))?;
        Ok(())
    }

    /// Chooses in the first menu that has all these options.
    fn choose(&self, who: &str, labels: &[String]) -> Result<(), String> {
        let id = self.member(who)?;
        let (message, parts) = self.parts()?;
        let chosen = parts.iter().find_map(|menu| {
            let options = items(&menu["options"]);
            let value = |label: &String| {
                let found = options.iter().find(|one| one["label"] == label.as_str());
                found.and_then(|one| one["value"].as_str())
            };
            let values: Option<Vec<&str>> = labels.iter().map(value).collect();
            Some((menu["custom_id"].as_str()?, values?))
        });
        let asked = labels.join(", ");
        let (menu, values) = chosen.ok_or_else(|| format!("No menu has the options {asked}."))?;
        self.sim
            .try_choose(id, message, menu, &values)
            .map_err(|why| format!("{who} cannot choose {asked}: {why}."))?;
        Ok(())
    }

    /// The bot's last message that has components, and these, in order.
    fn parts(&self) -> Result<(Id, Vec<Value>), String> {
        let message = self.with_buttons.ok_or("The bot shows no buttons.")?;
        let json = self.sim.message(message).unwrap_or_default();
        let rows = items(&json["components"]).iter();
        let parts = rows.flat_map(|row| items(&row["components"])).cloned();
        Ok((message, parts.collect()))
    }

    /// Who and what there is.
    pub(crate) fn who_is_there(&self) -> String {
        let list = |names: Vec<String>| names.join(", ");
        format!(
            "people: {}\nchannels: {}\nroles: {}",
            list(self.sim.people()),
            list(
                self.sim
                    .channel_names()
                    .iter()
                    .map(|name| format!("#{name}"))
                    .collect()
            ),
            list(self.sim.role_names()),
        )
    }

    fn sessions(&self) -> u64 {
        self.sim.gateway().identifies() + self.sim.gateway().resumes()
    }

    fn person(&self, name: &str) -> Result<Id, String> {
        let name = name.trim_start_matches('@');
        self.sim.find_user(name).ok_or_else(|| {
            let people = self.sim.people();
            let small = name.to_lowercase();
            match people.iter().find(|known| known.to_lowercase() == small) {
                Some(known) => format!(
                    "There is nobody called {name}. Did you mean {known}? Capital letters count."
                ),
                None => format!(
                    "There is nobody called {name}. These people are here: {}.",
                    people.join(", ")
                ),
            }
        })
    }

    /// Somebody who can act in the guild.
    fn member(&self, name: &str) -> Result<Id, String> {
        let id = self.person(name)?;
        if self.sim.is_member(id) {
            return Ok(id);
        }
        Err(format!(
            "{name} is not in the guild. Type !join {name} first."
        ))
    }

    fn place(&mut self, channel: Option<&str>) -> Result<Id, String> {
        let name = channel.unwrap_or(USUAL_CHANNEL);
        let id = self.sim.find_channel(name).ok_or_else(|| {
            let names = self.sim.channel_names().join(", #");
            format!("There is no channel #{name}. These exist: #{names}.")
        })?;
        if !self.spoken_in.contains(&id) {
            self.spoken_in.push(id);
        }
        Ok(id)
    }

    /// `@bob` and `#random` as a client sends them.
    fn with_mentions(&self, text: &str) -> String {
        let sim = &self.sim;
        let people = sim.people().into_iter().filter_map(|name| {
            let id = sim.find_user(&name)?;
            Some((format!("@{name}"), format!("<@{id}>")))
        });
        let roles = sim.role_names().into_iter().filter_map(|name| {
            let id = sim.find_role(&name)?;
            Some((format!("@{name}"), format!("<@&{id}>")))
        });
        let channels = sim.channel_names().into_iter().filter_map(|name| {
            let id = sim.find_channel(&name)?;
            Some((format!("#{name}"), format!("<#{id}>")))
        });
        let mut known: Vec<(String, String)> = people.chain(roles).chain(channels).collect();
        // The longest name first: @moderator is not @mod and some letters.
        known.sort_by_key(|(typed, _)| std::cmp::Reverse(typed.len()));
        known
            .into_iter()
            .fold(text.to_owned(), |text, (typed, sent)| {
                let pattern = format!(r"{}\b", regex::escape(&typed));
                Regex::new(&pattern).map_or(text.clone(), |pattern| {
                    pattern.replace_all(&text, sent.as_str()).into_owned()
                })
            })
    }

    /// Options by name and value, with the ids that their types ask for.
    fn options(&self, command: &str, typed: &[(String, String)]) -> Result<Value, String> {
        let commands = self.sim.commands();
        let mut words = command.split_whitespace();
        let first = words.next().unwrap_or_default();
        let mut level = commands.iter().find(|one| one["name"] == first);
        for word in words {
            let Some(here) = level else {
                break;
            };
            let inner = items(&here["options"]);
            level = inner.iter().find(|one| one["name"] == word);
            if let (None, Some(option)) = (level, inner.first()) {
                let name = option["name"].as_str().unwrap_or_default();
                return Err(format!(
                    "Type what comes after /{first} by name, for example /{first} {name}:{word}."
                ));
            }
        }
        let defined = level.map_or(&[][..], |level| items(&level["options"]));
        let mut options = Vec::new();
        for (name, value) in typed {
            let kind = defined.iter().find(|one| one["name"] == name.as_str());
            let kind = kind.and_then(|one| one["type"].as_u64());
            let value = match kind {
                Some(6 | 9) => self.person(value)?.to_string(),
                Some(7) => {
                    let channel = self.sim.find_channel(value.trim_start_matches('#'));
                    channel
                        .ok_or_else(|| format!("There is no channel {value}."))?
                        .to_string()
                }
                Some(8) => {
                    let role = self.sim.find_role(value.trim_start_matches('@'));
                    role.ok_or_else(|| format!("There is no role {value}."))?
                        .to_string()
                }
                _ => value.clone(),
            };
            options.push(json!({ "name": name, "value": value }));
        }
        Ok(options.into())
    }
}

/// The component that is meant by a label, an emoji, both, or the number that it
/// is drawn with.
fn named_part<'a>(parts: &'a [Value], name: &str) -> Option<&'a Value> {
    let by_label = parts
        .iter()
        .find(|part| part["label"] == name || part["emoji"]["name"] == name);
    let by_both = || parts.iter().find(|part| part_name(part) == name);
    let by_number = || parts.get(name.parse::<usize>().ok()?.checked_sub(1)?);
    by_label.or_else(by_both).or_else(by_number)
}
