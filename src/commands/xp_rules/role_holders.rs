//! Records who holds a role before the first rule about it is set. From then on, events and lists
//! of members keep that current.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::shown_progress::ShownProgress;
use crate::commands::context::{Context, Error};
use crate::discord::RestError;
use crate::discord::guild::members;
use crate::error::UserError;
use crate::leveling::{Grouped, GuildRole, RequestId, RoleId, RuleSubject, UserId, escape};

/// Members that are handed to the engine at once.
const CHUNK: usize = 1_000;

/// Reads all members, unless it is recorded already who holds this role. What they hold counts from
/// the request on. An error for the caller if they cannot be read.
pub(super) async fn record(
    ctx: Context<'_>,
    role: &GuildRole,
    request: RequestId,
    progress: &mut ShownProgress,
) -> Result<(), Error> {
    let bot = &ctx.data().bot;
    // Not the answer of `watch_role`: an earlier command may have failed to read the members.
    let has_rule = {
        let rules = bot.env.xp.xp_rules();
        rules
            .subjects()
            .any(|one| one == RuleSubject::Role(role.id))
    };
    bot.env.xp.watch_role(role.id);
    if has_rule {
        return Ok(());
    }
    let read_so_far = AtomicU64::new(0);
    let name = escape(&role.name);
    let reading = read_members(ctx, request, &read_so_far);
    let say = || {
        let members = Grouped(read_so_far.load(Ordering::Relaxed));
        format!("I am finding out who holds {name}: {members} members read.")
    };
    progress
        .while_waiting(ctx, reading, say)
        .await
        .map_err(|error| {
            tracing::warn!(%error, role = %role.id, "the holders of a role could not be read; no rule was set");
            let sentence = format!(
                "I could not find out who holds {name}, so no rule was set: Discord did not list the members. Please \
                 try again shortly."
            );
            UserError(sentence).into()
        })
}

/// Hands the members whose roles differ from what is recorded to the engine, with those of their
/// roles that rules name.
async fn read_members(
    ctx: Context<'_>,
    request: RequestId,
    read_so_far: &AtomicU64,
) -> Result<(), RestError> {
    let bot = &ctx.data().bot;
    let list = bot.inbox.list_members(Some(request.as_message())).await;
    let (found, mut differing) = mpsc::unbounded_channel::<(UserId, Box<[RoleId]>)>();
    let reading = members::each(&bot.env.rest, bot.env.guild, move |member| {
        read_so_far.fetch_add(1, Ordering::Relaxed);
        let rules = bot.env.xp.xp_rules();
        if !member.bot && rules.differs(member.user, &member.roles) {
            let named = member
                .roles
                .into_iter()
                .filter(|role| rules.names_role(*role));
            // The receiver waits until this closure is dropped.
            let _ = found.send((member.user, named.collect()));
        }
    });
    let handing_over = async {
        let mut members = Vec::new();
        while differing.recv_many(&mut members, CHUNK).await > 0 {
            list.add(std::mem::take(&mut members)).await;
        }
    };
    let (read, ()) = tokio::join!(reading, handing_over);
    read
}
