//! A cache of the guild's owner and roles: updated by events, or over REST while there are none.
//!
//! Between `READY` and `GUILD_CREATE`, and during an outage of the guild, no events report
//! changes. Then this asks Discord over REST, and uses the last known values only if Discord
//! does not answer. Makes no decisions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::discord::guild;
use crate::discord::rest::{Rest, RestError};
use crate::leveling::{GuildId, GuildRole, RoleId, UserId};

/// Timeout of the call: a slash command must be answered within three seconds.
const ASK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long an answer over REST is used for later commands.
const ANSWER_LIFETIME: Duration = Duration::from_secs(5);

/// The guild's owner and roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuildFacts {
    /// The owner, who has every permission.
    pub owner: UserId,
    /// All roles in no particular order, including `@everyone`.
    pub roles: Vec<GuildRole>,
}

/// What [`KnownGuild::facts`] returns.
#[derive(Clone, Debug)]
pub struct Told {
    /// The owner and roles.
    pub facts: Arc<GuildFacts>,
    /// Whether the facts are up to date. If not, they are the last known ones, because Discord
    /// does not answer.
    pub is_current: bool,
}

/// The cache. Cheap to clone; all clones share it.
#[derive(Clone, Debug)]
pub struct KnownGuild {
    rest: Rest,
    guild: GuildId,
    known: Arc<Mutex<KnownState>>,
    /// Held during a call, so that concurrent commands share one.
    asking: Arc<tokio::sync::Mutex<()>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct KnownState {
    facts: Option<Arc<GuildFacts>>,
    source: Source,
    /// Incremented by every event: an answer to a call that began before is not stored.
    edition: u64,
    /// The time and error of the last failed call.
    failed: Option<(Instant, RestError)>,
}

/// Where the facts come from.
#[derive(Clone, Copy, Debug, Default)]
enum Source {
    /// No gateway session has begun.
    #[default]
    NotConnected,
    /// Events keep them current.
    Events,
    /// No events keep them current, and the next use asks over REST.
    Unknown,
    /// Discord answered over REST at this time.
    Asked(Instant),
}

impl KnownGuild {
    /// An empty cache.
    pub fn new(rest: Rest, guild: GuildId) -> Self {
        Self {
            rest,
            guild,
            known: Arc::default(),
            asking: Arc::default(),
            changed: Arc::default(),
        }
    }

    /// Notified when an event has changed the facts.
    pub fn changes(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Whether a gateway session has begun. Before that, nothing should call Discord.
    pub fn is_connected(&self) -> bool {
        !matches!(self.known().source, Source::NotConnected)
    }

    /// Whether events keep the facts current.
    pub fn is_kept_by_events(&self) -> bool {
        matches!(self.known().source, Source::Events)
    }

    /// Stores the facts of a `GUILD_CREATE` event, which shows the whole guild.
    pub fn is_shown(&self, facts: GuildFacts) {
        let mut known = self.known();
        known.facts = Some(Arc::new(facts));
        known.source = Source::Events;
        known.edition += 1;
        drop(known);
        self.changed.notify_one();
    }

    /// Marks the facts as out of date until the next [`KnownGuild::is_shown`]: a session has
    /// begun, the guild is unavailable, or an event could not be read.
    pub fn is_in_doubt(&self) {
        let mut known = self.known();
        known.source = Source::Unknown;
        known.edition += 1;
    }

    /// Handles an event that names the guild's owner.
    pub fn owner_is(&self, owner: UserId) {
        self.change(|facts| facts.owner = owner);
    }

    /// Handles a role that was created or changed.
    pub fn role_is(&self, role: GuildRole) {
        self.change(
            |facts| match facts.roles.iter_mut().find(|known| known.id == role.id) {
                Some(known) => *known = role,
                None => facts.roles.push(role),
            },
        );
    }

    /// Handles a role that was deleted.
    pub fn role_is_gone(&self, role: RoleId) {
        self.change(|facts| facts.roles.retain(|known| known.id != role));
    }

    /// Returns the facts, after a REST call if no events keep them current. Fails if Discord
    /// does not answer and no facts are known.
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
            // A call that failed while this one waited for the lock counts for both.
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

    fn known(&self) -> MutexGuard<'_, KnownState> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownState {
    /// The last known facts, or the error if there are none.
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
