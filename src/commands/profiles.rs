//! `/profile_queue`, `/reset_attempts` and `/reset_profiles`: for operators, what the profile
//! tasks have to do, and how they are made to begin anew.

use std::time::Duration;

use poise::serenity_prelude::CreateEmbed;

use super::all::All;
use super::person::{Names, Person, caller_id};
use super::rights::Right;
use super::target::Someone;
use super::{Context, Error, Manual, answer, defer, usage};
use crate::discord::buttons::{Look, Wish, row};
use crate::discord::reply::{INFO, Reply, fitting_lines};
use crate::error::UserError;
use crate::leveling::{Grouped, UserId, escape, escape_text};
use crate::profiles::MOST_ATTEMPTS;
use crate::store::updated_user::{self, Failed, Queue};
use crate::store::user_point::profiles;
use crate::store::{self, Database};

/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Users whose avatars are dropped in one transaction: a batch of XP waits that long for them.
const RESET_CHUNK: u16 = 2_000;
/// Failed pictures that are listed.
const SHOWN: u16 = 20;
/// Of a reason.
const REASON: usize = 120;

/// Show which profiles wait to be stored or copied, and what is parked
#[poise::command(
    prefix_command,
    slash_command,
    default_member_permissions = "MANAGE_GUILD",
    custom_data = "Manual { usage: \"profile_queue\", example: \"profile_queue\", right: Right::Operator, private: true }"
)]
pub(super) async fn profile_queue(ctx: Context<'_>) -> Result<(), Error> {
    let database = &ctx.data().setting.database;
    let read = store::within(PATIENCE, async {
        let mut session = database.acquire().await?;
        let queue = updated_user::queue(&mut session, MOST_ATTEMPTS).await?;
        Ok((queue, updated_user::failed(&mut session, SHOWN).await?))
    });
    let (queue, failed) = read.await?;
    let users: Vec<UserId> = failed.iter().map(|failed| failed.user).collect();
    let names = Names::read(database, &users).await;
    let embed = CreateEmbed::new()
        .title("Profiles")
        .description(describe(&queue, &failed, &names))
        .color(INFO);
    answer(ctx, Reply::embed(embed).private()).await
}

/// Try an avatar again that could not be copied, or all of them
#[poise::command(
    prefix_command,
    slash_command,
    default_member_permissions = "MANAGE_GUILD",
    custom_data = "Manual {
        usage: \"reset_attempts @user or all\",
        example: \"reset_attempts @alice\",
        right: Right::Operator,
        private: true,
    }"
)]
pub(super) async fn reset_attempts(
    ctx: Context<'_>,
    #[description = "Whose attempts"] user: Option<Someone>,
    #[description = "Everybody's attempts"] all: Option<All>,
) -> Result<(), Error> {
    let sentence = match (user, all) {
        (Some(user), None | Some(All(false))) => reset_attempts_of(ctx, user).await?,
        (None, Some(All(true))) => reset_all_attempts(ctx).await?,
        _ => return Err(UserError(usage(ctx)).into()),
    };
    answer(ctx, Reply::text(sentence).private()).await
}

/// Everybody's, parked or not, some users at a time; what is said of it. Cut off anywhere, another
/// goes on where it was.
async fn reset_all_attempts(ctx: Context<'_>) -> Result<String, Error> {
    defer(ctx).await?;
    let database = &ctx.data().setting.database;
    let (mut users, mut parked, mut last) = (0, 0, None);
    loop {
        let reset = store::within(PATIENCE, async {
            let mut transaction = database.begin().await?;
            let failed = profiles::reset_next_attempts(&mut transaction, last, RESET_CHUNK).await?;
            let users: Vec<UserId> = failed.iter().map(|(user, _)| *user).collect();
            updated_user::hurry(&mut transaction, &users).await?;
            store::commit(transaction).await?;
            Ok(failed)
        });
        let failed = reset.await?;
        let Some((user, _)) = failed.last() else {
            break;
        };
        last = Some(*user);
        users += failed.len();
        let of_parked = failed.iter().filter(|(_, count)| *count >= MOST_ATTEMPTS);
        parked += of_parked.count();
    }
    if users == 0 {
        return Ok("No avatar has failed to copy.".to_owned());
    }
    tracing::info!(by = %caller_id(ctx)?, users, parked, "all failed attempts were reset");
    let people = if users == 1 { "user" } else { "users" };
    Ok(format!(
        "Reset the failed attempts at the avatars of {} {people}, {} of them parked. I am trying them again now.",
        Grouped(users),
        Grouped(parked)
    ))
}

/// Someone's; what is said of it.
async fn reset_attempts_of(ctx: Context<'_>, user: Someone) -> Result<String, Error> {
    defer(ctx).await?;
    let person = Person::find(ctx, user.0).await?;
    let database = &ctx.data().setting.database;
    let reset = store::within(PATIENCE, async {
        let mut transaction = database.begin().await?;
        let before = profiles::reset_attempts(&mut transaction, person.id).await?;
        updated_user::hurry(&mut transaction, &[person.id]).await?;
        store::commit(transaction).await?;
        Ok(before)
    });
    let name = escape(&person.name);
    Ok(match reset.await? {
        Some(0) => format!("{name}'s avatar has not failed to copy."),
        Some(failed) => {
            tracing::info!(user = %person.id, by = %caller_id(ctx)?, failed, "failed attempts were reset");
            let attempts = if failed == 1 { "attempt" } else { "attempts" };
            format!(
                "Reset {failed} failed {attempts} at {name}'s avatar. I am trying it again now."
            )
        }
        None => {
            return Err(UserError(format!("{name} has no XP yet, so no avatar is kept.")).into());
        }
    })
}

/// Drop every stored avatar, and have all of them copied anew
#[poise::command(
    prefix_command,
    slash_command,
    default_member_permissions = "MANAGE_GUILD",
    custom_data = "Manual { usage: \"reset_profiles\", example: \"reset_profiles\", right: Right::Operator, private: false }"
)]
pub(super) async fn reset_profiles(ctx: Context<'_>) -> Result<(), Error> {
    let users = ctx.data().setting.xp.len();
    let question = format!(
        "This drops the stored avatars of up to {} users and spreads their regular checks evenly again. Deleted \
         accounts keep their avatars, and all names and XP stay. The avatars are then copied again, about one a \
         second; until then the leaderboard shows Discord's default ones.",
        Grouped(users)
    );
    let buttons = [
        (Wish::ResetProfiles, "Drop all avatars", Look::Dangerous),
        (Wish::Leave, "Leave everything as it is", Look::Plain),
    ];
    let reply = Reply::text(question).with_buttons(row(caller_id(ctx)?, &buttons));
    answer(ctx, reply).await
}

/// Drops all avatars and buckets, and queues the pictures that are wanted again; some users at a
/// time, by id. Cut off anywhere, another goes on where it was.
#[derive(Debug, Default)]
pub(super) struct AvatarReset {
    /// How many users had something to drop so far.
    pub users: usize,
    /// How many pictures are wanted.
    pictures: u64,
    last: Option<UserId>,
}

impl AvatarReset {
    /// Does the next part, in a transaction of its own; `false` if nothing was left to do.
    pub async fn step(&mut self, database: &Database) -> Result<bool, Error> {
        let reset = store::within(PATIENCE, async {
            let mut transaction = database.begin().await?;
            let users = profiles::reset_next(&mut transaction, self.last, RESET_CHUNK).await?;
            let pictures = updated_user::want_pictures_anew(&mut transaction, &users).await?;
            store::commit(transaction).await?;
            Ok((users, pictures))
        });
        let (reset, pictures) = match reset.await {
            Ok(reset) => reset,
            Err(error) if self.users == 0 => return Err(error.into()),
            Err(error) => {
                let users = self.users;
                tracing::error!(%error, users, "only some of the avatars were dropped");
                let sentence = format!(
                    "The avatars of {} users were dropped, then the database stopped responding. Type \
                     `reset_profiles` again to drop the rest.",
                    Grouped(users)
                );
                return Err(UserError(sentence).into());
            }
        };
        self.users += reset.len();
        self.pictures += pictures;
        self.last = reset.last().copied();
        Ok(self.last.is_some())
    }

    /// What is said when all of it is done.
    pub fn done(&self, by: UserId) -> Reply {
        let Self {
            users, pictures, ..
        } = self;
        tracing::warn!(%by, users, pictures, "all avatars and buckets were dropped");
        Reply::text(format!(
            "The avatars of {} users were dropped. Avatars to copy: {}; `profile_queue` shows how many are left.",
            Grouped(users),
            Grouped(pictures)
        ))
    }
}

fn describe(queue: &Queue, failed: &[Failed], names: &Names) -> String {
    let Queue {
        unstored,
        pictures,
        failing,
        oldest,
        parked,
    } = queue;
    let mut lines = vec![
        format!("Names to store: {}", Grouped(unstored)),
        format!(
            "Avatars to copy: {}, of which {} have failed before",
            Grouped(pictures),
            Grouped(failing)
        ),
        format!("Parked after {MOST_ATTEMPTS} attempts: {}", Grouped(parked)),
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
        let why = why.and_then(|why| escape_text(why, REASON));
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
        let queue = Queue {
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
        let names = Names::from_iter([(failed[0].user, profile)]);
        assert_eq!(
            describe(&queue, &failed, &names),
            "Names to store: 1\n\
             Avatars to copy: 2, of which 1 have failed before\n\
             Parked after 15 attempts: 1\n\
             The oldest has been waiting since <t:1700000000:R>\n\
             `reset_attempts @user` tries a parked one again, `reset_attempts all` all of them.\n\
             al\\_ice <@7>: 15 attempts, @\u{200b}everyone is \\*\\*bold\\*\\*"
        );
        let unnamed = describe(&queue, &failed, &Names::default());
        assert!(unnamed.contains("(name unknown) <@7>: "), "{unnamed}");
        let idle = describe(&Queue::default(), &[], &Names::default());
        assert_eq!(idle.lines().count(), 3);
    }
}
