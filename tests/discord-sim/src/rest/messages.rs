//! Reading, writing, editing and deleting messages.

use serde_json::{Value, json};

use crate::attachments;
use crate::clock::{Id, time_of, timestamp};
use crate::message::message_object;
use crate::objects::{self, id_in};
use crate::permissions::{self, CONNECT, READ_MESSAGE_HISTORY, SEND_MESSAGES};
use crate::rest::guilds::{limit, snowflake};
use crate::rest::validate::{self, Draft, Form, nonce_text};
use crate::rest::{Call, MISSING_PERMISSIONS, Outcome, Refusal, UNKNOWN_MESSAGE};
use crate::state::{Channel, State, Stored};
use crate::world::ChannelKind;

const NOT_A_TEXT_CHANNEL: Refusal =
    Refusal::new(400, 50_008, "Cannot send messages in a non-text channel");
const NOT_YOURS: Refusal = Refusal::new(
    403,
    50_005,
    "Cannot edit a message authored by another user",
);
const NO_REPLY_WITHOUT_HISTORY: Refusal = Refusal::new(
    403,
    160_002,
    "Cannot reply without permission to read message history",
);
const TOO_MANY_OLD_EDITS: Refusal = Refusal::new(
    429,
    30_046,
    "Maximum number of edits to messages older than 1 hour reached. Try again later.",
);
/// From when on a message is old to the limit of edits.
const OLD_MS: u64 = 60 * 60_000;
/// The only flag that an edit can change.
const SUPPRESS_EMBEDS: u64 = 1 << 2;
/// How long a nonce is remembered, in the world's time.
const NONCE_MS: u64 = 5 * 60_000;

impl State {
    pub(super) fn list_messages(&self, channel: Id, call: &Call) -> Outcome {
        let limit = limit(call, 50, 100)?;
        let (before, after, around) = (
            snowflake(call, "before")?,
            snowflake(call, "after")?,
            snowflake(call, "around")?,
        );
        if [before, after, around].iter().flatten().count() > 1 {
            let mut form = Form::default();
            let message = "Only one of 'before', 'after', 'around' may be set.";
            form.refuse("", "MUTUALLY_EXCLUSIVE", message);
            return Err(form.refusal());
        }
        let channel = self.own_channel(channel, 0)?;
        if channel.kind == ChannelKind::Voice {
            self.own_channel(channel.id, CONNECT)?;
        }
        if !channel.holds_messages() {
            return Err(NOT_A_TEXT_CHANNEL);
        }
        if self.permissions_in(channel, self.bot) & READ_MESSAGE_HISTORY == 0 {
            return Ok((200, json!([])));
        }
        let empty = std::collections::BTreeMap::new();
        let all = self.messages.get(&channel.id).unwrap_or(&empty);
        let shown = |stored: &Stored| stored.json.clone();
        let up_to = |end: Id, count| all.range(..end).rev().take(count);
        let mut found: Vec<(Id, Value)> = if let Some(after) = after {
            let above = all.range(after.saturating_add(1)..).take(limit);
            above.map(|(&id, stored)| (id, shown(stored))).collect()
        } else if let Some(around) = around {
            let half = limit / 2;
            let upper = all.range(around..).take(half + 1);
            let both = up_to(around, half).chain(upper);
            both.map(|(&id, stored)| (id, shown(stored))).collect()
        } else {
            let below = up_to(before.unwrap_or(Id::MAX), limit);
            below.map(|(&id, stored)| (id, shown(stored))).collect()
        };
        found.sort_unstable_by_key(|&(id, _)| std::cmp::Reverse(id));
        found.truncate(limit);
        let list: Vec<Value> = found.into_iter().map(|(_, message)| message).collect();
        Ok((200, list.into()))
    }

    pub(super) fn get_message(&self, channel: Id, id: Id) -> Outcome {
        self.own_channel(channel, READ_MESSAGE_HISTORY)?;
        Ok((200, self.stored(channel, id)?.json.clone()))
    }

    pub(super) fn create_message(&mut self, channel: Id, call: &Call) -> Outcome {
        self.own_channel(channel, SEND_MESSAGES)?;
        if !self
            .channels
            .get(&channel)
            .is_some_and(Channel::holds_messages)
        {
            return Err(NOT_A_TEXT_CHANNEL);
        }
        let draft = validate::message(call)?;
        attachments::check(call, &Value::Null)?;
        let granted = self.granted_in(channel);
        if !draft.embeds.is_empty() && granted & permissions::EMBED_LINKS == 0
            || !call.files.is_empty() && granted & permissions::ATTACH_FILES == 0
        {
            return Err(MISSING_PERMISSIONS);
        }
        let now = self.clock.now_ms();
        let nonce = draft.nonce.as_ref().map(nonce_text);
        if draft.enforce_nonce
            && let Some(existing) = self.with_nonce(channel, nonce.as_deref(), now)
        {
            return Ok((200, existing));
        }
        self.check_reference(channel, &draft, granted)?;

        let mut stored = self.draft_message(channel, &draft, call);
        if let Some(given) = &draft.nonce {
            stored.json["nonce"] = given.clone();
        }
        stored.nonce = nonce.map(|nonce| (nonce, now));
        let mut shown = stored.json.clone();
        self.take_message(stored, true);
        // Later readers do not see the nonce.
        if draft.nonce.is_some()
            && let Some(stored) = id_in(&shown["id"]).and_then(|id| self.message_mut(channel, id))
        {
            objects::remove(&mut stored.json, "nonce");
        }
        if draft.reference.is_none() {
            objects::remove(&mut shown, "referenced_message");
        }
        Ok((200, shown))
    }

    pub(super) fn edit_message(&mut self, channel: Id, id: Id, call: &Call) -> Outcome {
        self.own_channel(channel, 0)?;
        let stored = self.stored(channel, id)?;
        if id_in(&stored.json["author"]["id"]) != Some(self.bot) {
            return Err(NOT_YOURS);
        }
        if !call.files.is_empty() && self.granted_in(channel) & permissions::ATTACH_FILES == 0 {
            return Err(MISSING_PERMISSIONS);
        }
        if self.clock.now_ms() > time_of(id) + OLD_MS {
            let limit = self.settings.edits_of_old_messages;
            let taken = self.limits.take_old_edit(channel, limit);
            taken.map_err(|retry_after| Refusal {
                retry_after: Some(retry_after),
                ..TOO_MANY_OLD_EDITS
            })?;
        }
        self.rewrite(channel, id, call)
    }

    pub(super) fn remove_message(&mut self, channel: Id, id: Id) -> Outcome {
        self.own_channel(channel, 0)?;
        let stored = self.stored(channel, id)?;
        let own = id_in(&stored.json["author"]["id"]) == Some(self.bot);
        if !own && self.granted_in(channel) & permissions::MANAGE_MESSAGES == 0 {
            return Err(MISSING_PERMISSIONS);
        }
        self.delete_message(channel, id);
        Ok((204, Value::Null))
    }

    /// A message by the bot, as far as it is the same for messages and for
    /// answers to interactions. It is not in any history yet.
    pub(super) fn draft_message(&mut self, channel: Id, draft: &Draft, call: &Call) -> Stored {
        let id = self.clock.snowflake();
        let author = self
            .user(self.bot)
            .as_ref()
            .map(objects::user)
            .unwrap_or_default();
        let mut json = message_object(id, channel, &author, &draft.content);
        json["embeds"] = draft.embeds.iter().map(rich).collect();
        if draft.components.is_array() {
            json["components"] = with_ids(&draft.components);
        }
        json["flags"] = draft.flags.into();
        if let Some((to, _)) = draft.reference {
            self.refer(&mut json, to);
        }
        let may_everyone = self.granted_in(channel) & permissions::MENTION_EVERYONE != 0;
        let pings = self.resolve_mentions(&mut json, &draft.allowed, may_everyone);
        let mut stored = Stored {
            json,
            files: Vec::new(),
            pings,
            nonce: None,
        };
        self.attach(&mut stored, channel, call);
        stored
    }

    /// Changes those parts of the bot's own message that the body names.
    pub(super) fn rewrite(&mut self, channel: Id, id: Id, call: &Call) -> Outcome {
        let draft = validate::parts(&call.body)?;
        let edited_at = timestamp(self.clock.now_ms());
        let mut stored = self.find_message(id).ok_or(UNKNOWN_MESSAGE)?.clone();
        attachments::check(call, &stored.json["attachments"])?;
        self.reattach(&mut stored, channel, call);
        let Stored {
            mut json, files, ..
        } = stored;
        let names = |part: &str| call.body.get(part).is_some();
        if names("content") {
            json["content"] = draft.content.clone().into();
            let may_everyone = self.granted_in(channel) & permissions::MENTION_EVERYONE != 0;
            self.resolve_mentions(&mut json, &draft.allowed, may_everyone);
        }
        if names("embeds") {
            json["embeds"] = draft.embeds.iter().map(rich).collect();
        }
        if names("components") {
            json["components"] = with_ids(&draft.components);
        }
        if names("flags") {
            let kept = json["flags"].as_u64().unwrap_or(0) & !SUPPRESS_EMBEDS;
            json["flags"] = (kept | draft.flags & SUPPRESS_EMBEDS).into();
        }
        json["edited_timestamp"] = edited_at.into();
        if let Some(stored) = self.find_message_mut(id) {
            stored.files = files;
        }
        self.change_message(channel, id, |stored| *stored = json.clone());
        Ok((200, json))
    }

    pub(super) fn stored(&self, channel: Id, id: Id) -> Result<&Stored, Refusal> {
        let all = self.messages.get(&channel).ok_or(UNKNOWN_MESSAGE)?;
        all.get(&id).ok_or(UNKNOWN_MESSAGE)
    }

    fn message_mut(&mut self, channel: Id, id: Id) -> Option<&mut Stored> {
        self.messages.get_mut(&channel)?.get_mut(&id)
    }

    fn granted_in(&self, channel: Id) -> u64 {
        let channel = self.channels.get(&channel);
        channel.map_or(0, |channel| self.permissions_in(channel, self.bot))
    }

    /// The bot's message of the last minutes that has this nonce.
    fn with_nonce(&self, channel: Id, nonce: Option<&str>, now: u64) -> Option<Value> {
        let wanted = nonce?;
        self.channel_messages(channel)
            .rev()
            .find(|stored| {
                let nonce = stored.nonce.as_ref();
                nonce.is_some_and(|(nonce, at)| nonce == wanted && now < at + NONCE_MS)
            })
            .map(|stored| {
                let mut shown = stored.json.clone();
                shown["nonce"] = wanted.into();
                shown
            })
    }

    fn check_reference(&self, channel: Id, draft: &Draft, granted: u64) -> Result<(), Refusal> {
        let Some((to, must_exist)) = draft.reference else {
            return Ok(());
        };
        if granted & READ_MESSAGE_HISTORY == 0 {
            return Err(NO_REPLY_WITHOUT_HISTORY);
        }
        if must_exist && self.stored(channel, to).is_err() {
            let mut form = Form::default();
            form.refuse(
                "message_reference",
                "REPLIES_UNKNOWN_MESSAGE",
                "Unknown message",
            );
            return Err(form.refusal());
        }
        Ok(())
    }
}

/// An embed as Discord gives it back.
fn rich(embed: &Value) -> Value {
    let mut shown = embed.clone();
    shown["type"] = "rich".into();
    shown
}

/// Components as Discord shows them: each has a number in its message, in order, unless it
/// was given one.
fn with_ids(components: &Value) -> Value {
    fn number(part: &mut Value, next: &mut u64) {
        if let Some(object) = part.as_object_mut() {
            object.entry("id").or_insert((*next).into());
            *next += 1;
            if let Some(Value::Array(inner)) = object.get_mut("components") {
                for part in inner {
                    number(part, next);
                }
            }
        }
    }
    let mut numbered = components.clone();
    let mut next = 1;
    for row in numbered.as_array_mut().into_iter().flatten() {
        number(row, &mut next);
    }
    numbered
}
