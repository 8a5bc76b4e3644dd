//! The guild's owner and roles as Discord has told them: kept current by events, asked for
//! while there are none.
//!
//! Between `READY` and `GUILD_CREATE`, and in an outage of the guild, no event tells of changes:
//! then Discord is asked over REST, and what was told last is only used where it does not
//! answer. Decides nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::guild;
use super::rest::{Rest, RestError};
use crate::leveling::{GuildId, GuildRole, RoleId, UserId};

/// How long Discord is asked: a slash command has three seconds in all.
const ASK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long an answer serves the commands that follow.
const ANSWER_LIFETIME: Duration = Duration::from_secs(5);

/// Who owns the guild, and its roles in no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuildFacts {
    /// The owner, who may do everything.
    pub owner: UserId,
    /// All roles, the one that everyone holds among them.
    pub roles: Vec<GuildRole>,
}

/// Facts, and how they are known.
#[derive(Clone, Debug)]
pub struct Told {
    /// The facts.
    pub facts: Arc<GuildFacts>,
    /// Whether Discord says so now; else it said so once, and does not answer.
    pub is_current: bool,
}

/// What is known of the guild. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KnownGuild {
    rest: Rest,
    guild: GuildId,
    known: Arc<Mutex<Known>>,
    /// Held while Discord is asked, so that many commands ask once.
    asking: Arc<tokio::sync::Mutex<()>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Known {
    facts: Option<Arc<GuildFacts>>,
    source: Source,
    /// Goes up with every event, after which an answer to an older question is of no use.
    edition: u64,
    /// When Discord was last asked in vain, and why it was.
    failed: Option<(Instant, RestError)>,
}

/// How the facts are kept.
#[derive(Clone, Copy, Debug, Default)]
enum Source {
    /// No gateway session has begun.
    #[default]
    NotConnected,
    /// Events keep them current.
    Events,
    /// No event does.
    Unknown,
    /// Discord answered then.
    Asked(Instant),
}

impl KnownGuild {
    /// A guild of which nothing is known yet.
    pub fn new(rest: Rest, guild: GuildId) -> Self {
        Self {
            rest,
            guild,
            known: Arc::default(),
            asking: Arc::default(),
            changed: Arc::default(),
        }
    }

    /// Notified when events have changed what is known.
    pub fn changes(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Whether a gateway session has begun: before that nobody should be asked.
    pub fn is_connected(&self) -> bool {
        !matches!(self.known().source, Source::NotConnected)
    }

    /// Whether events keep the facts current.
    pub fn is_kept_by_events(&self) -> bool {
        matches!(self.known().source, Source::Events)
    }

    /// The whole guild was shown.
    pub fn is_shown(&self, facts: GuildFacts) {
        let mut known = self.known();
        known.facts = Some(Arc::new(facts));
        known.source = Source::Events;
        known.edition += 1;
        drop(known);
        self.changed.notify_one();
    }

    /// A session has begun, the guild is unavailable, or an event was not understood: until
    /// the guild is shown again, events say too little.
    pub fn is_in_doubt(&self) {
        let mut known = self.known();
        known.source = Source::Unknown;
        known.edition += 1;
    }

    /// The guild has another owner, perhaps.
    pub fn owner_is(&self, owner: UserId) {
        self.change(|facts| facts.owner = owner);
    }

    /// A role was made or changed.
    pub fn role_is(&self, role: GuildRole) {
        self.change(
            |facts| match facts.roles.iter_mut().find(|known| known.id == role.id) {
                Some(known) => *known = role,
                None => facts.roles.push(role),
            },
        );
    }

    /// A role was deleted.
    pub fn role_is_gone(&self, role: RoleId) {
        self.change(|facts| facts.roles.retain(|known| known.id != role));
    }

    /// The facts; asked for where no event keeps them.
    pub async fn facts(&self) -> Result<Told, RestError> {
        let started = Instant::now();
        if let Some(facts) = self.current() {
            return Ok(facts);
        }
        let _turn = self.asking.lock().await;
        if let Some(facts) = self.current() {
            return Ok(facts);
        }
        let edition = {
            let known = self.known();
            // Whoever asked while this one waited has asked for both.
            if let Some((at, why)) = &known.failed
                && *at >= started
            {
                return known.last(why);
            }
            known.edition
        };
        let answer = guild::owner_and_roles(&self.rest, self.guild, ASK_TIMEOUT).await;
        let mut known = self.known();
        match answer {
            Ok((owner, roles)) => {
                let facts = Arc::new(GuildFacts { owner, roles });
                if known.edition == edition {
                    known.facts = Some(Arc::clone(&facts));
                    if !matches!(known.source, Source::NotConnected) {
                        known.source = Source::Asked(Instant::now());
                    }
                } else if let (Source::Events, Some(shown)) = (known.source, &known.facts) {
                    let facts = Arc::clone(shown);
                    return Ok(Told::now(facts));
                }
                Ok(Told::now(facts))
            }
            Err(error) => {
                known.failed = Some((Instant::now(), error.clone()));
                known.last(&error)
            }
        }
    }

    fn current(&self) -> Option<Told> {
        let known = self.known();
        let is_current = match known.source {
            Source::Events => true,
            Source::Asked(at) => at.elapsed() < ANSWER_LIFETIME,
            Source::NotConnected | Source::Unknown => false,
        };
        let facts = known.facts.as_ref().filter(|_| is_current)?;
        Some(Told::now(Arc::clone(facts)))
    }

    fn change(&self, change: impl FnOnce(&mut GuildFacts)) {
        let mut known = self.known();
        known.edition += 1;
        if let Some(facts) = &mut known.facts {
            change(Arc::make_mut(facts));
        }
        drop(known);
        self.changed.notify_one();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What was told last, for want of an answer.
    fn last(&self, why: &RestError) -> Result<Told, RestError> {
        let facts = self.facts.clone().ok_or_else(|| why.clone())?;
        Ok(Told {
            facts,
            is_current: false,
        })
    }
}

impl Told {
    fn now(facts: Arc<GuildFacts>) -> Self {
        Self {
            facts,
            is_current: true,
        }
    }
}
