//! The gateway's events that we react to: one visible list, one file each.
//!
//! Runs on the gateway's thread, in the order in which events came, so nothing in
//! here waits before it has handed on what the event says.

mod deleted;
mod guild;
mod member;
mod message;
pub mod onlooker;
mod ready;
mod role;
mod sight;
pub mod unknown;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serenity::all::{Context, Event, FullEvent, Interaction, RawEventHandler};
use tokio::sync::mpsc;

use crate::commands::Commands;
use crate::discord::Rest;
use crate::discord::council::Council;
use crate::discord::known_guild::KnownGuild;
use crate::discord::member_states::MemberStates;
use crate::discord::message_gate::MessageGate;
use crate::discord::time::DiscordTime;
use crate::error::Stop;
use crate::leveling::{GuildId, MessageId};
use crate::profiles::Sightings;
use crate::roles::{RoleBook, Verifications};
use crate::xp::{Inbox, XpCache};

/// Everything that a listener may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// The guild served; events of others are passed over.
    pub guild: GuildId,
    /// Whom we know.
    pub xp: Arc<XpCache>,
    /// The way to the engine.
    pub inbox: Inbox,
    /// The same for messages.
    pub gate: MessageGate,
    /// Hears ids, which tell the time.
    pub time: DiscordTime,
    /// What events show of members; has those looked at whose roles may be wrong.
    pub states: MemberStates,
    /// Takes what is seen of users.
    pub sightings: Sightings,
    /// Has roles verified.
    pub verifications: Verifications,
    /// Forgets level roles when something about roles changes.
    pub book: RoleBook,
    /// The guild's roles and its owner, kept current.
    pub known_guild: KnownGuild,
    /// Whoever runs commands.
    pub commands: Arc<Commands>,
    /// What moderators were told.
    pub council: Arc<Council>,
    /// Calls to Discord.
    pub rest: Rest,
    /// Whether commands of an earlier bot have been looked for.
    pub looked_for_old_commands: Arc<AtomicBool>,
    /// Whether it was said that the bot is ready.
    pub said_ready: Arc<AtomicBool>,
    /// What makes going on pointless.
    pub stop: mpsc::Sender<Stop>,
    /// Events that did not parse, by type.
    pub unknown: unknown::Unknown,
}

#[serenity::async_trait]
impl RawEventHandler for Listeners {
    async fn raw_event(&self, ctx: Context, event: Event) {
        match event {
            Event::MessageCreate(event) => {
                message::on_message(self, &event.message);
                if message::runs_command(self, &event.message) {
                    let event = FullEvent::Message {
                        new_message: event.message,
                    };
                    self.commands.dispatch(ctx, event).await;
                }
            }
            Event::InteractionCreate(event) => {
                self.on_interaction(ctx, event.interaction).await;
            }
            Event::Ready(event) => {
                let ready = FullEvent::Ready {
                    data_about_bot: event.ready.clone(),
                };
                tokio::join!(
                    ready::on_ready(self, &event.ready),
                    self.commands.dispatch(ctx.clone(), ready),
                );
            }
            Event::GuildMemberAdd(event) => member::on_add(self, &event),
            Event::GuildMemberUpdate(event) => {
                if event.user.id == ctx.cache.current_user().id {
                    // What the bot itself may do has changed, perhaps.
                    role::look_again(self);
                }
                member::on_update(self, &event);
            }
            Event::GuildMemberRemove(event) => {
                member::on_remove(self, event.guild_id, event.user.id);
            }
            // Comes before the removal.
            Event::GuildBanAdd(event) => member::on_remove(self, event.guild_id, event.user.id),
            Event::GuildMembersChunk(event) => member::on_chunk(self, &event),
            Event::GuildRoleCreate(event) => role::on_create(self, &event.role),
            Event::GuildRoleUpdate(event) => role::on_update(self, &event.role),
            Event::GuildRoleDelete(event) => {
                role::on_delete(self, event.guild_id, event.role_id);
            }
            Event::GuildUpdate(event) => role::on_guild_update(self, &event.guild),
            Event::MessageDelete(event) => {
                deleted::on_messages(self, event.guild_id, &[event.message_id]).await;
            }
            Event::MessageDeleteBulk(event) => {
                deleted::on_messages(self, event.guild_id, &event.ids).await;
            }
            Event::ChannelDelete(event) => deleted::on_channel(self, &event.channel).await,
            Event::GuildCreate(event) => guild::on_create(self, &event.guild).await,
            Event::GuildDelete(event) => guild::on_delete(self, &event.guild),
            Event::Unknown(event) => unknown::on_unknown(self, ctx, event).await,
            _ => {}
        }
    }
}

impl Listeners {
    async fn on_interaction(&self, ctx: Context, interaction: Interaction) {
        if let Some(id) = MessageId::new(interaction.id().get()) {
            self.time.hear(id);
        }
        let event = FullEvent::InteractionCreate { interaction };
        Box::pin(self.commands.dispatch(ctx, event)).await;
    }
}
