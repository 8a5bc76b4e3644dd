//! `.profile_queue`: how much the profile jobs have to do, and which avatars they could not copy.

use std::time::Duration;

use poise::serenity_prelude::CreateEmbed;

use super::context::{Context, Error, Manual};
use super::resolve_user::StoredNames;
use super::respond::{answer, defer};
use crate::discord::messages::colors::INFO;
use crate::discord::messages::reply::{Reply, fitting_lines};
use crate::leveling::{Grouped, UserId, escape_text};
use crate::profiles::MAX_ATTEMPTS;
use crate::store;
use crate::store::updated_user::{self, Failed, QueueCounts};

const READ_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_SHOWN: u16 = 20;
/// Characters of why an avatar could not be copied.
const MAX_SHOWN_REASON: usize = 120;

/// Show which profiles wait to be stored or copied, and what is parked
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::operators("profile_queue", "profile_queue").private()
)]
pub(super) async fn profile_queue(ctx: Context<'_>) -> Result<(), Error> {
    defer(ctx).await?;
    let database = &ctx.data().bot.env.database;
    let read = store::within(READ_TIMEOUT, async {
        let mut session = database.acquire().await?;
        let queue = updated_user::queue(&mut session, MAX_ATTEMPTS).await?;
        Ok((queue, updated_user::failed(&mut session, MAX_SHOWN).await?))
    });
    let (queue, failed) = read.await?;
    let users: Vec<UserId> = failed.iter().map(|failed| failed.user).collect();
    let names = StoredNames::read(database, &users).await;
    let embed = CreateEmbed::new()
        .title("Profiles")
        .description(describe(&queue, &failed, &names))
        .color(INFO);
    answer(ctx, Reply::embed(embed).private()).await
}

fn describe(queue: &QueueCounts, failed: &[Failed], names: &StoredNames) -> String {
    let QueueCounts {
        unstored,
        pictures,
        failing,
        oldest,
        parked,
    } = queue;
    let mut lines = vec![
        format!("StoredNames to store: {}", Grouped(unstored)),
        format!(
            "Avatars to copy: {}, of which {} have failed before",
            Grouped(pictures),
            Grouped(failing)
        ),
        format!("Parked after {MAX_ATTEMPTS} attempts: {}", Grouped(parked)),
    ];
    if let Some(oldest) = oldest {
        lines.push(format!(
            "The oldest has been waiting since <t:{}:R>",
            oldest.timestamp()
        ));
    }
    if *parked > 0 {
        let hint =
            "`reset_attempts @user` tries a parked one again, `reset_attempts all` all of them.";
        lines.push(hint.to_owned());
    }
    lines.extend(failed.iter().map(|failed| {
        let why = failed.why.as_deref();
        let why = why.and_then(|why| escape_text(why, MAX_SHOWN_REASON));
        format!(
            "{}: {} attempts, {}",
            names.with_mention(failed.user),
            failed.attempts,
            why.as_deref().unwrap_or("no reason recorded")
        )
    }));
    fitting_lines(lines)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::leveling::{Account, Profile};

    #[test]
    fn a_queue_is_described() {
        let queue = QueueCounts {
            unstored: 1,
            pictures: 2,
            failing: 1,
            oldest: DateTime::from_timestamp(1_700_000_000, 0),
            parked: 1,
        };
        let failed = [Failed {
            user: UserId::new(7).unwrap(),
            attempts: 15,
            why: Some("@everyone is **bold**".into()),
        }];
        let alice = Account {
            username: "al_ice".into(),
            ..Account::default()
        };
        let profile = Profile {
            account: alice,
            ..Profile::default()
        };
        let names = StoredNames::from_iter([(failed[0].user, profile)]);
        assert_eq!(
            describe(&queue, &failed, &names),
            "StoredNames to store: 1\n\
             Avatars to copy: 2, of which 1 have failed before\n\
             Parked after 15 attempts: 1\n\
             The oldest has been waiting since <t:1700000000:R>\n\
             `reset_attempts @user` tries a parked one again, `reset_attempts all` all of them.\n\
             al\\_ice <@7>: 15 attempts, @\u{200b}everyone is \\*\\*bold\\*\\*"
        );
        let unnamed = describe(&queue, &failed, &StoredNames::default());
        assert!(unnamed.contains("(name unknown) <@7>: "), "{unnamed}");
        let idle = describe(&QueueCounts::default(), &[], &StoredNames::default());
        assert_eq!(idle.lines().count(), 3);
    }
}
